//! From Dockerfile text to graph, configuration and history, one file an
//! instruction family.

mod command;
mod config;
mod copy;
mod expose;
mod health;
mod run;
mod settings;
mod stages;
mod targets;
mod triggers;
mod variables;

use std::fmt::Write as _;

use cooper_oci::{ImageConfig, Platform};

use crate::image::{ImageName, ResolvedImage, ResolvedImages};
use crate::ir::{BuildOp, CopyAction, ExecOp, FileAction, FileOp, MountKind, SourceOp, Unpack};
use crate::plan::Plan;
use crate::settings::BuildSettings;
use crate::source::SourceFile;
use crate::stage::parse;

use super::Lowered;

/// A build of a text with images that are made up as asked for.
pub(super) struct Case {
    pub(super) text: String,
    pub(super) settings: BuildSettings,
    /// Edits the configuration of each image by its name as written.
    pub(super) image: fn(&str, &mut ImageConfig),
}

impl Case {
    pub(super) fn new(text: &str) -> Self {
        let platform = Platform::new("linux", "amd64");
        Self {
            text: text.to_owned(),
            settings: BuildSettings::new(platform),
            image: |_, _| {},
        }
    }

    pub(super) fn with(mut self, edit: impl FnOnce(&mut BuildSettings)) -> Self {
        edit(&mut self.settings);
        self
    }

    pub(super) fn image(mut self, edit: fn(&str, &mut ImageConfig)) -> Self {
        self.image = edit;
        self
    }

    pub(super) fn arg(mut self, name: &str, value: &str) -> Self {
        self.settings
            .build_args
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Lowers, or shows the errors as `code@text: message`.
    pub(super) fn try_lower(&self) -> Result<Lowered, Vec<String>> {
        self.lower_with(&ResolvedImages::new(), Plan::lower)
    }

    /// Lowers by `lower`, with `known` images and made up ones.
    pub(super) fn lower_with<T>(
        &self,
        known: &ResolvedImages,
        lower: impl FnOnce(&Plan, &ResolvedImages) -> Result<T, crate::Diagnostics>,
    ) -> Result<T, Vec<String>> {
        let source = SourceFile::new("Dockerfile", self.text.as_str());
        let show = |errors: Vec<crate::Diagnostic>| {
            let shown = errors
                .into_iter()
                .map(|error| format!("{}@{}: {error}", error.code, source.slice(error.span)));
            shown.collect::<Vec<_>>()
        };
        let dockerfile = parse(&source).map_err(show)?;
        let plan = Plan::new(&dockerfile, &self.settings).map_err(show)?;
        let mut images = known.clone();
        loop {
            let requests = plan.requests(&images);
            if requests.is_empty() {
                break;
            }
            for request in requests {
                let mut config = ImageConfig::new(&request.platform);
                config.config.env = vec!["PATH=/bin".to_owned()];
                (self.image)(&request.name, &mut config);
                let layer = match &request.key.name {
                    ImageName::Reference(name) | ImageName::Context(name) => {
                        format!("layer-of-{name}")
                    }
                };
                let image = ResolvedImage {
                    config,
                    layers: vec![layer].into(),
                    reference: None,
                    digest: None,
                };
                assert!(images.insert(request.key, image).is_none(), "asked twice");
            }
        }
        lower(&plan, &images).map_err(show)
    }

    pub(super) fn lower(&self) -> Lowered {
        self.try_lower()
            .unwrap_or_else(|errors| panic!("{}\n{errors:#?}", self.text))
    }

    pub(super) fn errors(&self) -> Vec<String> {
        self.try_lower().err().unwrap_or_default()
    }
}

/// Lowers a fragment below `FROM base`.
pub(super) fn below_base(fragment: &str) -> Lowered {
    Case::new(&format!("FROM base\n{fragment}")).lower()
}

/// Shows the errors of a fragment below `FROM base`.
pub(super) fn errors_below_base(fragment: &str) -> Vec<String> {
    Case::new(&format!("FROM base\n{fragment}")).errors()
}

/// Asserts the configuration object after fragments below `FROM base`, as JSON without `Env`.
pub(super) fn assert_configs(table: &[(&str, &str)]) {
    for (fragment, want) in table {
        let mut config = below_base(fragment).result.image.config;
        config.env.clear();
        let found = serde_json::to_string(&config).unwrap();
        assert_eq!(found, *want, "{fragment}");
    }
}

/// Asserts the last line of the history of fragments below `FROM base`.
pub(super) fn assert_history(table: &[(&str, &str)]) {
    for (fragment, want) in table {
        let lowered = below_base(fragment);
        let item = lowered.history.last().unwrap();
        assert_eq!(item.created_by, *want, "{fragment}");
        assert_eq!(item.comment, "buildkit.dockerfile.v0");
        assert_eq!(item.layer.is_some(), *want == "WORKDIR /x", "{fragment}");
    }
}

/// Returns the `created_by` lines.
pub(super) fn history(lowered: &Lowered) -> Vec<&str> {
    lowered
        .history
        .iter()
        .map(|item| item.created_by.as_str())
        .collect()
}

/// Returns the operation of the target's last vertex.
pub(super) fn exec(lowered: &Lowered) -> &ExecOp {
    let target = lowered.target.expect("has layers");
    match &lowered.graph.vertex(target).op {
        BuildOp::Exec(exec) => exec,
        other => panic!("not an exec: {other:?}"),
    }
}

/// Shows the graph, one vertex a line, inputs as numbers.
pub(super) fn graph(lowered: &Lowered) -> Vec<String> {
    lowered
        .graph
        .iter()
        .map(|(id, vertex)| {
            let inputs: Vec<_> = lowered
                .graph
                .inputs(id)
                .iter()
                .map(|input| input.index().to_string())
                .collect();
            let cache = if vertex.ignore_cache { "!" } else { "" };
            format!("{}{cache}({})", show(&vertex.op), inputs.join(","))
        })
        .collect()
}

fn show(op: &BuildOp) -> String {
    match op {
        BuildOp::Source(SourceOp::Image(image)) => format!("image {}", image.layers.join("+")),
        BuildOp::Source(SourceOp::Scratch) => "scratch".to_owned(),
        BuildOp::Source(SourceOp::Local(local)) => {
            format!("local {} [{}]", local.name, local.paths.join(" "))
        }
        BuildOp::Source(SourceOp::Http(http)) => format!("http {} as {}", http.url, http.filename),
        BuildOp::Source(SourceOp::Git(git)) => format!("git {}", git.remote),
        BuildOp::Exec(exec) => {
            let mut text = format!(
                "exec{} {:?}",
                if exec.base { "" } else { " bare" },
                exec.args
            );
            for mount in &exec.mounts {
                let _ = write!(text, " {}", show_mount(&mount.kind, &mount.target));
            }
            text
        }
        BuildOp::File(file) => show_file(file),
        BuildOp::Merge => "merge".to_owned(),
        BuildOp::Diff => "diff".to_owned(),
    }
}

pub(super) fn show_mount(kind: &MountKind, target: &str) -> String {
    match kind {
        MountKind::Bind { input, source, rw } => {
            format!(
                "bind {input}:{source} on {target}{}",
                if *rw { " rw" } else { "" }
            )
        }
        MountKind::Cache {
            id,
            sharing,
            mode,
            uid,
            gid,
            owned,
            input,
            source,
            readonly,
        } => {
            let seed = input.map_or(String::new(), |input| format!(" from {input}:{source}"));
            let ro = if *readonly { " ro" } else { "" };
            let owner = if *owned || input.is_none() {
                format!("{mode:o} {uid}:{gid}")
            } else {
                "as it is".to_owned()
            };
            format!("cache {id} {sharing:?} {owner}{seed} on {target}{ro}")
        }
        MountKind::Tmpfs { size } => format!("tmpfs {size:?} on {target}"),
        MountKind::Secret {
            id,
            env,
            required,
            mode,
            uid,
            gid,
        } => {
            let env = env
                .as_deref()
                .map_or(String::new(), |env| format!(" env {env}"));
            let must = if *required { " required" } else { "" };
            format!("secret {id}{env}{must} {mode:o} {uid}:{gid} on {target}")
        }
        MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid,
        } => {
            let must = if *required { " required" } else { "" };
            format!("ssh {id}{must} {mode:o} {uid}:{gid} on {target}")
        }
    }
}

fn show_file(file: &FileOp) -> String {
    let actions: Vec<_> = file
        .actions
        .iter()
        .map(|action| match action {
            FileAction::Copy(copy) => show_copy(copy),
            FileAction::Inline(inline) => {
                let data = String::from_utf8_lossy(&inline.data);
                let mut text = format!("inline {}={data:?} -> {}", inline.name, inline.dest);
                push_owner(&mut text, inline.chown.as_deref(), inline.chmod.as_deref());
                text
            }
            FileAction::Mkdir { path, mode, owner } => {
                let owner = owner
                    .as_deref()
                    .map_or(String::new(), |owner| format!(" for {owner}"));
                format!("mkdir {path} {mode:o}{owner}")
            }
        })
        .collect();
    format!(
        "file{} {}",
        if file.base { "" } else { " bare" },
        actions.join("; ")
    )
}

fn show_copy(copy: &CopyAction) -> String {
    let sources: Vec<_> = copy
        .sources
        .iter()
        .map(|source| {
            let below = source
                .parents
                .as_deref()
                .map_or(String::new(), |below| format!("//{below}"));
            format!(
                "{}{below}{}",
                source.path,
                if source.required { "" } else { "?" }
            )
        })
        .collect();
    let mut text = format!("copy {}:{} -> {}", copy.input, sources.join(" "), copy.dest);
    push_owner(&mut text, copy.chown.as_deref(), copy.chmod.as_deref());
    if !copy.exclude.is_empty() {
        let _ = write!(text, " exclude={}", copy.exclude.join(","));
    }
    if copy.unpack == Unpack::IfArchive {
        text.push_str(" unpack");
    }
    text
}

fn push_owner(text: &mut String, chown: Option<&str>, chmod: Option<&str>) {
    for (name, value) in [("chown", chown), ("chmod", chmod)] {
        if let Some(value) = value {
            let _ = write!(text, " {name}={value}");
        }
    }
}
