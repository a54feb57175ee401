//! What a build says of its images: the facts of its provenance, and what is looked through for
//! packages.
//!
//! Nothing secret is a fact. The values of secrets, of keys, and of build arguments that are named
//! like secrets are replaced wherever they turn up, in the Dockerfile's text too, before a
//! predicate is made of the facts; the predicates are searched like everything that leaves.

use cooper_cache::Timestamp;
use cooper_frontend::Span;
use cooper_frontend::image::{ImageKey, ImageLayers, ImageName, ResolvedImage};
use cooper_frontend::ir::{BuildOp, MountKind, NetworkMode, SourceOp};
use cooper_frontend::lint::is_secret_name;
use cooper_oci::{DiffId, Reference};
use serde_json::Value;

use super::context::ContextFiles;
use super::error::{BuildError, MAIN_CONTEXT, OpError};
use super::fetch::address;
use super::leaks::Guard;
use super::solve::{RecipeStep, Solved};
use super::target::{TargetBuild, Variant};
use crate::attest::provenance::{ConfigSource, Dependency, Facts, Run, Step, StepLayers, Wanted};
use crate::attest::sbom::{self, Document};
use crate::attest::{Attestation, Purl, op};
use crate::git::split_credentials;
use crate::image::{Image, known_blob, rfc3339};
use crate::options::{
    BuildNetwork, BuildOptions, ContextSource, DockerfileSource, Provenance, Vcs,
};
use crate::progress::{Progress, Secrets as Redaction};

/// What stands for a value that is not told.
const HIDDEN: &str = "[REDACTED]";

/// When the build of a target began, and what tells it from others.
pub(super) struct Clock {
    started: Timestamp,
    id: String,
}

impl Clock {
    /// Returns the clock of one target of a build that began at `started`.
    pub(super) fn since(started: Timestamp) -> Self {
        Self {
            started,
            // Without random numbers there is a build all the same, of no name.
            id: crate::container::random_id().unwrap_or_default(),
        }
    }

    /// Returns what the build is called, as buildx has it: by builder, node and build. There is
    /// one builder here, and docker's own has this name.
    pub(super) fn reference(&self) -> String {
        format!("default/default/{}", self.id)
    }
}

/// Who can tell of a target.
pub(super) struct Witness<'a> {
    pub(super) clock: &'a Clock,
    /// All targets: each may have fetched what another one uses.
    pub(super) targets: &'a [TargetBuild<'a>],
    pub(super) target: &'a TargetBuild<'a>,
    pub(super) guard: &'a Guard,
}

impl Witness<'_> {
    fn options(&self) -> &BuildOptions {
        self.target.target.options
    }

    /// Returns what is said of an image.
    pub(super) fn attestations(
        &self,
        variant: &Variant,
        solved: &Solved,
        image: &Image,
        progress: &Progress,
    ) -> Result<Vec<Attestation>, BuildError> {
        let attest = &self.options().attest;
        let mut said = Vec::new();
        if let Some(file_name) = &attest.sbom {
            let step = progress.step("listing packages");
            let listed = self.packages(variant, solved, image, file_name, progress);
            said.extend(step.end_with(listed)?);
        }
        if let Some(asked) = &attest.provenance {
            said.push(self.facts(variant, solved, Some(image)).attestation(asked));
        }
        Ok(said)
    }

    /// Returns what the metadata file tells of how each variant was made; nothing if it does not.
    pub(super) fn told(&self, solved: &[Solved]) -> Vec<Value> {
        let options = self.options();
        let Some(mode) = options.metadata_provenance else {
            return Vec::new();
        };
        let asked = Provenance {
            mode,
            ..Provenance::default()
        };
        let variants = self.target.variants.iter().zip(solved);
        variants
            .map(|(variant, solved)| self.facts(variant, solved, None).predicate(&asked))
            .collect()
    }

    /// Lists the packages of an image and of whatever else is to be looked through.
    fn packages(
        &self,
        variant: &Variant,
        solved: &Solved,
        image: &Image,
        file_name: &str,
        progress: &Progress,
    ) -> Result<Vec<Attestation>, BuildError> {
        let engine = &self.target.engine;
        let internal = |source: OpError| BuildError::Internal { source };
        let name = self.options().tags.first();
        let name = name.map_or_else(|| "image".to_owned(), Reference::familiar);
        let mut trees = vec![(name, engine.root_tree(&solved.root).map_err(internal)?)];
        for (stage, root) in &solved.scanned {
            trees.push((stage.clone(), engine.root_tree(root).map_err(internal)?));
        }
        if variant.lowered().scans.context {
            let files = self.target.context(MAIN_CONTEXT);
            let tree = match files {
                Some(ContextFiles::Dir(context)) => Some(context.scan(&[])?.tree()),
                Some(ContextFiles::Root(root)) => Some(engine.root_tree(root).map_err(internal)?),
                _ => None,
            };
            trees.extend(tree.map(|tree| ("context".to_owned(), tree)));
        }
        let created = image.config.created.as_deref().unwrap_or_default();
        let mut said = Vec::with_capacity(trees.len());
        for (number, (name, tree)) in trees.iter().enumerate() {
            for path in sbom::unreadable(tree) {
                progress.warn(format!(
                    "the list of packages lacks those of {path}: Berkeley DB is not read"
                ));
            }
            let packages = sbom::scan(tree)?;
            let document = Document {
                name,
                created: &whole_seconds(created),
                file_name: &if number == 0 {
                    file_name.to_owned()
                } else {
                    beside(file_name, name)
                },
                packages: &packages,
            };
            said.push(document.attestation());
        }
        Ok(said)
    }

    /// Collects what is known of how a variant was made, without anything secret, and of the layers
    /// of the `image` that it is in.
    fn facts(&self, variant: &Variant, solved: &Solved, image: Option<&Image>) -> Facts {
        let options = self.options();
        let hiding = Hiding::new(options, self.guard.redaction());
        let mut steps = Vec::with_capacity(solved.recipe.len());
        for step in &solved.recipe {
            steps.push(Step {
                op: hiding.op(&step.op),
                inputs: step.inputs.clone(),
                lines: step.span.map(|span| self.lines(span)),
            });
        }
        let ids = |found: &dyn Fn(&MountKind) -> Option<Wanted>| {
            let mut wanted: Vec<Wanted> = mounts(&solved.recipe).filter_map(found).collect();
            wanted.sort();
            wanted.dedup();
            wanted
        };
        let network = |step: &RecipeStep| match &step.op {
            BuildOp::Exec(exec) => exec.network != NetworkMode::None,
            _ => false,
        };
        Facts {
            source: self.config_source(),
            options: request(options),
            arguments: hiding.arguments(options),
            locals: locals(options, &solved.recipe),
            secrets: ids(&|mount| match mount {
                MountKind::Secret { id, required, .. } => Some(wanted(id, *required)),
                _ => None,
            }),
            ssh: ids(&|mount| match mount {
                MountKind::Ssh { id, required, .. } => Some(wanted(id, *required)),
                _ => None,
            }),
            dependencies: self.dependencies(variant, &solved.recipe),
            hermetic: !solved.recipe.iter().any(network),
            steps,
            layers: image.map_or_else(Vec::new, |image| {
                self.layers(variant, &solved.recipe, image)
            }),
            vcs: hiding.vcs(options.vcs.as_ref()),
            dockerfile: hiding.redaction.mask(self.target.source.text()),
            // The clock is no part of a result that is to be the same each time.
            run: options.source_date_epoch.is_none().then(|| Run {
                id: self.clock.id.clone(),
                started: rfc3339(self.clock.started),
                finished: rfc3339(super::engine::now(None)),
            }),
        }
    }

    /// Returns the layers of the result, and of the images that steps read.
    fn layers(&self, variant: &Variant, recipe: &[RecipeStep], image: &Image) -> Vec<StepLayers> {
        let layers = self.target.engine.layers();
        let of_image = |step: &RecipeStep| {
            let BuildOp::Source(SourceOp::Image(op)) = &step.op else {
                return None;
            };
            let resolved = variant.images().get(&op.unkeyed.key)?;
            let ImageLayers::Stored(names) = &resolved.layers else {
                return None;
            };
            let diff_ids = resolved.config.rootfs.diff_ids.iter();
            let blob = |(name, diff_id): (&String, &DiffId)| {
                let id = name.parse().ok()?;
                known_blob(layers, &id, diff_id).ok()?
            };
            names.iter().zip(diff_ids).map(blob).collect()
        };
        let steps = recipe.iter().enumerate();
        let mut known: Vec<StepLayers> = steps
            .filter_map(|(step, recipe)| {
                let layers = of_image(recipe)?;
                Some(StepLayers { step, layers })
            })
            .collect();
        let result = image.known_blobs(layers).ok().flatten();
        if let (Some(step), Some(layers)) = (recipe.len().checked_sub(1), result)
            && known.last().is_none_or(|last| last.step != step)
        {
            known.push(StepLayers { step, layers });
        }
        known
    }

    /// Returns first and last line of a part of the Dockerfile.
    fn lines(&self, span: Span) -> (usize, usize) {
        let line = |offset: usize| self.target.source.line_column(offset).line;
        (line(span.start), line(span.end.max(span.start + 1) - 1))
    }

    fn config_source(&self) -> ConfigSource {
        let options = self.options();
        let context = match &options.context {
            ContextSource::Git(git) => self.dependency(&address(git)),
            ContextSource::Http(url) => self.dependency(&split_credentials(url).0),
            ContextSource::Dir(_) | ContextSource::Stdin => None,
        };
        // Relative to the context, or a bare name: where that is on this machine is no fact.
        let path = match (&options.dockerfile, options.context.dir()) {
            (DockerfileSource::Path(path), Some(dir)) => {
                let within = path.strip_prefix(dir).ok();
                let bare = path.file_name().map(std::path::Path::new);
                within.or(bare).unwrap_or(path).display().to_string()
            }
            (DockerfileSource::Path(path), None) if path.is_relative() => {
                path.display().to_string()
            }
            (DockerfileSource::Url(url), _) => split_credentials(url).0,
            _ => self
                .target
                .source
                .name()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        ConfigSource { context, path }
    }

    /// Returns everything from elsewhere that the steps read, with the images that plans asked for.
    fn dependencies(&self, variant: &Variant, recipe: &[RecipeStep]) -> Vec<Dependency> {
        let mut found: Vec<Dependency> = variant.bases();
        for step in recipe {
            let BuildOp::Source(source) = &step.op else {
                continue;
            };
            found.extend(match source {
                SourceOp::Http(http) => {
                    let url = split_credentials(&http.url).0;
                    let wanted = http.checksum.as_ref().map(ToString::to_string);
                    self.dependency(&url)
                        .or_else(|| Some(named(&url, &wanted?)))
                }
                SourceOp::Git(git) => {
                    let commit = git.checksum.clone().or_else(|| git.reference.clone());
                    let commit = commit.filter(|name| crate::git::is_object_name(name));
                    self.dependency(&address(git))
                        .or_else(|| Some(named(&address(git), &commit?)))
                }
                SourceOp::Local(local) => self.context_dependency(&local.name),
                SourceOp::Image(_) | SourceOp::Scratch => None,
            });
        }
        found.extend(self.config_source().context);
        found.sort();
        found.dedup();
        found
    }

    /// Returns what a context is that was fetched.
    fn context_dependency(&self, name: &str) -> Option<Dependency> {
        match self.target.context(name)? {
            ContextFiles::Git(git) => self.dependency(&address(git)),
            ContextFiles::Http(url) => self.dependency(&split_credentials(url).0),
            ContextFiles::Dir(_) | ContextFiles::Root(_) => None,
        }
    }

    /// Returns what an address gave, whichever target asked it.
    fn dependency(&self, address: &str) -> Option<Dependency> {
        let mut targets = self.targets.iter();
        let what = targets.find_map(|target| target.engine.fetcher().found(address))?;
        Some(named(address, &what))
    }
}

impl Variant {
    /// Returns the images that this starts from or copies from.
    fn bases(&self) -> Vec<Dependency> {
        let base = |(key, image): (&ImageKey, &ResolvedImage)| {
            let digest = image.digest.as_ref()?;
            let uri = if let Some(reference) = &image.reference {
                Purl::image(reference, &key.platform)
            } else {
                let (ImageName::Reference(name) | ImageName::Context(name)) = &key.name;
                Purl::new("oci", "", name, "").with("platform", key.platform.to_string())
            };
            Some(named(&uri.to_string(), digest.as_str()))
        };
        self.images().iter().filter_map(base).collect()
    }
}

/// Returns a dependency of that digest (`sha256:…`), or of a commit of that name.
fn named(uri: &str, what: &str) -> Dependency {
    let (algorithm, hex) = what.split_once(':').unwrap_or(match what.len() {
        64 => ("sha256", what),
        _ => ("sha1", what),
    });
    Dependency {
        uri: uri.to_owned(),
        digest: (algorithm.to_owned(), hex.to_owned()),
    }
}

fn wanted(id: &str, required: bool) -> Wanted {
    Wanted {
        id: id.to_owned(),
        optional: !required,
    }
}

fn mounts(recipe: &[RecipeStep]) -> impl Iterator<Item = &MountKind> {
    recipe.iter().flat_map(|step| match &step.op {
        BuildOp::Exec(exec) => exec.mounts.iter().map(|mount| &mount.kind).collect(),
        _ => Vec::new(),
    })
}

/// Returns the options that say nothing private, by the names that BuildKit has for them.
fn request(options: &BuildOptions) -> Vec<(String, String)> {
    let mut request = Vec::new();
    let mut add = |key: &str, value: String| request.push((key.to_owned(), value));
    if let Some(target) = &options.target {
        add("target", target.clone());
    }
    if !options.platforms.is_empty() {
        let platforms: Vec<_> = options.platforms.iter().map(ToString::to_string).collect();
        add("platform", platforms.join(","));
    }
    match options.network {
        BuildNetwork::Default => {}
        BuildNetwork::Host => add("force-network-mode", "host".to_owned()),
        BuildNetwork::None => add("force-network-mode", "none".to_owned()),
    }
    request
}

/// Returns the names of the directories of this machine that were read.
fn locals(options: &BuildOptions, recipe: &[RecipeStep]) -> Vec<String> {
    let mut locals: Vec<String> = recipe
        .iter()
        .filter_map(|step| match &step.op {
            BuildOp::Source(SourceOp::Local(local)) => Some(local.name.clone()),
            _ => None,
        })
        .collect();
    if matches!(
        options.context,
        ContextSource::Git(_) | ContextSource::Http(_)
    ) {
        locals.retain(|name| name != MAIN_CONTEXT);
    } else {
        locals.push("dockerfile".to_owned());
    }
    locals.sort();
    locals.dedup();
    locals
}

/// Takes out what is not to be told.
struct Hiding {
    redaction: Redaction,
    /// Build arguments that are named like secrets.
    names: Vec<String>,
}

impl Hiding {
    fn new(options: &BuildOptions, known: &Redaction) -> Self {
        let mut hiding = Self {
            redaction: known.clone(),
            names: Vec::new(),
        };
        for (name, value) in &options.build_args {
            if is_secret_name(name) {
                hiding.redaction.add(value.as_bytes());
                hiding.names.push(name.clone());
            }
        }
        hiding
    }

    fn arguments(&self, options: &BuildOptions) -> Vec<(String, String)> {
        let value = |name: &String, value: &String| {
            if self.names.contains(name) {
                HIDDEN.to_owned()
            } else {
                self.redaction.clean(value)
            }
        };
        let arguments = options.build_args.iter();
        let arguments =
            arguments.map(|(name, given)| (format!("build-arg:{name}"), value(name, given)));
        let labels = options.labels.iter();
        let labels =
            labels.map(|(name, given)| (format!("label:{name}"), self.redaction.clean(given)));
        arguments.chain(labels).collect()
    }

    fn vcs(&self, known: Option<&Vcs>) -> Vec<(&'static str, String)> {
        let Some(vcs) = known else {
            return Vec::new();
        };
        let within = |path: &std::path::Path| match path.to_string_lossy() {
            path if path.is_empty() => ".".to_owned(),
            path => path.into_owned(),
        };
        let beside = vcs.dockerfile.as_deref().and_then(std::path::Path::parent);
        let facts = [
            ("localdir:context", Some(within(&vcs.context))),
            ("localdir:dockerfile", beside.map(within)),
            ("revision", Some(vcs.revision.clone())),
            ("source", vcs.source.clone()),
        ];
        let facts = facts.into_iter();
        facts
            .filter_map(|(key, value)| Some((key, self.redaction.clean(&value?))))
            .collect()
    }

    fn op(&self, op: &BuildOp) -> Value {
        let mut value = match op {
            BuildOp::Exec(exec) => {
                let mut exec = exec.clone();
                for (name, value) in &mut exec.env {
                    if self.names.contains(name) {
                        HIDDEN.clone_into(value);
                    }
                }
                self::op(&BuildOp::Exec(exec))
            }
            op => self::op(op),
        };
        self.clean(&mut value);
        value
    }

    fn clean(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.redaction.clean(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.clean(value)),
            Value::Object(values) => values.values_mut().for_each(|value| self.clean(value)),
            _ => {}
        }
    }
}

/// Returns the name of a file beside `file`: `sbom-NAME.spdx.json` beside `sbom.spdx.json`.
fn beside(file: &str, name: &str) -> String {
    let (stem, rest) = file.split_at(file.find('.').unwrap_or(file.len()));
    format!("{stem}-{}{rest}", name.replace('/', "_"))
}

/// Returns a time as SPDX wants it: whole seconds in UTC.
fn whole_seconds(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>();
    let secs = parsed.map_or(0, jiff::Timestamp::as_second);
    rfc3339(Timestamp { secs, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_others_keep_their_endings() {
        assert_eq!(beside("sbom.spdx.json", "build"), "sbom-build.spdx.json");
        assert_eq!(beside("list", "a/b"), "list-a_b");
    }

    #[test]
    fn digests_and_commits_are_told_apart() {
        let sha1 = "a".repeat(40);
        assert_eq!(named("u", &sha1).digest, ("sha1".to_owned(), sha1.clone()));
        let sha256 = "b".repeat(64);
        for what in [sha256.clone(), format!("sha256:{sha256}")] {
            assert_eq!(named("u", &what).digest.0, "sha256");
        }
    }

    #[test]
    fn times_have_whole_seconds() {
        assert_eq!(
            whole_seconds("2023-11-14T22:13:20.12+01:00"),
            "2023-11-14T21:13:20Z"
        );
        assert_eq!(whole_seconds(""), "1970-01-01T00:00:00Z");
    }
}
