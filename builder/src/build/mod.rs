//! From options to finished builds.
//!
//! ```text
//! for each target and platform:
//!   options → Definition → Plan ⇄ resolved images ─┐
//! all of them:                                     ├→ one graph → solve
//! for each target:                                 │
//!   Image (one a platform) → search for secrets → outputs  ←────────────┘
//! ```
//!
//! Impure steps are the reading of the definitions, image resolution, the solve and the
//! outputs; between them are the front end's functions. [`build`] prints nothing: it
//! reports to a [`Progress`] and returns what was made, or a [`BuildError`].
//!
//! # Several targets
//!
//! A build is a list of [`Target`]s. Each has options of its own (Dockerfile, contexts,
//! arguments, secrets, outputs); store, process runner and display are shared. They become
//! one graph and are solved together, so that a stage that two targets have in common runs
//! once: vertices that are the same are one from the start, and such that turn out to be the
//! same (by the content of what they read) are run once by the solver. Contexts are shared
//! where they are the same directory read by the same ignore rules.
//!
//! A target can start from what another one comes to: its options have a
//! [`NamedContext::Target`](crate::options::NamedContext::Target) with the other one's name.
//! A target without outputs is only there for that: nothing of it runs that no other target
//! needs.

mod advice;
mod ahead;
mod aside;
mod attest;
pub(crate) mod cdi;
mod check;
mod context;
mod definition;
mod destination;
mod engine;
mod error;
mod explain;
mod failure;
mod fetch;
mod index;
mod journal;
mod leaks;
mod memory;
mod ops;
mod output;
mod outputs;
mod remote;
mod repack;
mod resolve;
mod scene;
mod secrets;
mod settings;
mod sharing;
mod solve;
mod squash;
mod step_image;
mod target;
mod verify;

use std::sync::{Arc, OnceLock};

use cooper_cache::{Store, Timestamp};
use cooper_frontend::lower::GraphBuilder;
use cooper_oci::{Descriptor, Digest};
use cooper_solver::CancelToken;

use crate::image::{DatedLayer, Image, ImageSet, Parts, Squashed};
use crate::options::{BuildOptions, CacheMode, CachePlace, CacheTo};
use crate::progress::Progress;
use crate::registry::Client;
use crate::shared_cache;

pub use check::{Checked, Inspection, check, describe, list_targets};
pub use context::ContextError;
pub use error::{BuildError, OpError, exit_words};
pub(crate) use failure::BUSYBOX;
pub use failure::FailedStep;
pub use journal::Explained;
pub use leaks::Leak;
pub use memory::{Memory, StepMemory};
pub use outputs::write_metadata;
pub use remote::FetchError;
pub use step_image::step_image;
pub use verify::Unsteady;

pub(crate) use output::{Root, RootLayer};
pub use sharing::mounts::{Moved, export_mounts, import_mounts};
#[cfg(test)]
pub use {
    cdi::CdiError, destination::DestinationError, ops::FileError, ops::InvalidMode,
    resolve::ResolveImageError, secrets::SecretError,
};

use attest::{Clock, Witness};
use engine::{Engine, Workshop};
use leaks::Guard;
use remote::{Broken, RemoteLayers};
use sharing::Imports;
use sharing::export::Export;
use sharing::harvest::Harvest;
use solve::Solved;
use target::{Answers, TargetBuild, Variant, rounds};

/// What a build needs besides its options.
pub struct Session {
    /// Where everything is kept.
    pub store: Store,
    /// How registries are reached.
    pub client: Client,
    /// Content of this machine's /etc/resolv.conf.
    pub resolv_conf: Vec<u8>,
}

/// What a build made.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// The image ID, digest of the configuration. Of several platforms' images it is this
    /// machine's, or the first.
    pub id: Option<Digest>,
    /// Whether there is an index, of images for several platforms.
    pub indexed: bool,
    /// The manifest, or the index of several platforms, if an output made one.
    pub manifest: Option<Descriptor>,
    /// Names that the image has now.
    pub names: Vec<String>,
    /// What this build of it is called: builder, node and an ID of its own, as buildx has it.
    pub reference: String,
    /// What the metadata file tells of how it was made, each with its key.
    pub provenance: Vec<(String, serde_json::Value)>,
}

impl Built {
    /// Returns what the result is known by: the image ID, or the digest of an index that an
    /// output made.
    pub fn digest(&self) -> Option<&Digest> {
        let index = self.manifest.as_ref().filter(|_| self.indexed);
        index.map(|index| &index.digest).or(self.id.as_ref())
    }
}

/// How a build went.
#[derive(Debug)]
pub struct Outcome {
    /// What was made, by target, or why something was not.
    pub result: Result<Vec<Built>, BuildError>,
    /// What the build checks found, by Dockerfile; empty if the build did not come to them.
    pub checked: Vec<Checked>,
    /// Why steps were executed or not; empty if the build did not come to them.
    pub explained: Vec<Explained>,
}

/// One of the things that are built.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What it is called; a lone target may have the empty name.
    pub name: &'a str,
    /// What is asked for.
    pub options: &'a BuildOptions,
}

/// What a build is told besides its [`Session`].
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What to build; names are unique.
    pub targets: &'a [Target<'a>],
    /// Who is told how it goes.
    pub progress: &'a Progress,
    /// Stops it.
    pub cancel: &'a CancelToken,
    /// Looks up environment variables, for secrets.
    pub environment: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Is shown the first RUN that fails, as it was, once nothing else runs any more.
    pub on_failure: Option<&'a OnFailure<'a>>,
}

/// What is done about a failed RUN before all that it had is gone.
pub type OnFailure<'a> = dyn Fn(&BuildError, &FailedStep<'_>) + 'a;

impl Request<'_> {
    /// Returns what is put before the names of a target's steps.
    fn label<'t>(&self, target: &Target<'t>) -> &'t str {
        if self.targets.len() > 1 {
            target.name
        } else {
            ""
        }
    }

    /// Whether the build is executed twice.
    fn is_verified(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| target.options.verify_reproducible)
    }

    /// Returns when the oldest results that count were made, in seconds since 1970 like `now`:
    /// the build as a whole is as strict as the strictest of its targets.
    fn oldest_result(&self, now: i64) -> Option<i64> {
        let ages = self
            .targets
            .iter()
            .filter_map(|target| target.options.cache_ttl);
        let least = ages.min()?.as_secs();
        Some(now.saturating_sub(i64::try_from(least).unwrap_or(i64::MAX)))
    }

    /// Returns how many steps may run at once: as many as any target allows.
    fn jobs(&self) -> usize {
        let jobs = self.targets.iter().map(|target| target.options.jobs.get());
        jobs.max().unwrap_or(1)
    }

    /// Returns how much memory the RUN steps that run at once may take: the least of any target.
    fn memory_budget(&self) -> Option<u64> {
        let targets = self.targets.iter();
        targets
            .filter_map(|target| target.options.memory_budget)
            .min()
    }
}

/// Builds what is asked for.
pub fn build(session: &Session, request: &Request<'_>) -> Outcome {
    let mut outcome = Outcome {
        result: Ok(Vec::new()),
        checked: Vec::new(),
        explained: Vec::new(),
    };
    outcome.result = run(
        session,
        request,
        &mut outcome.checked,
        &mut outcome.explained,
    );
    outcome
}

fn run(
    session: &Session,
    request: &Request<'_>,
    checked: &mut Vec<Checked>,
    explained: &mut Vec<Explained>,
) -> Result<Vec<Built>, BuildError> {
    for target in request.targets {
        destination::check(target.options)?;
    }
    let _lease = session.store.lease()?;
    let mut imports = Imports::load(request, &session.client);
    loop {
        let remote = RemoteLayers::new(
            session.client.clone(),
            request.progress.clone(),
            request.cancel.clone(),
        );
        imports.offer_layers(&remote);
        let shared = Workshop::new(
            &session.store,
            remote,
            session.resolv_conf.clone(),
            request.cancel.clone(),
        );
        let mut broken = Vec::new();
        let built = attempt(shared, &imports, request, checked, explained, &mut broken);
        if built.is_ok() || broken.is_empty() {
            return built;
        }
        imports.forget(&broken, request.progress);
        checked.clear();
        explained.clear();
    }
}

/// Builds with what `imports` offer; fills `broken` with those that did not keep it.
fn attempt(
    mut shared: Workshop,
    imports: &Imports,
    request: &Request<'_>,
    checked: &mut Vec<Checked>,
    explained: &mut Vec<Explained>,
    broken: &mut Vec<Broken>,
) -> Result<Vec<Built>, BuildError> {
    if request.is_verified() {
        shared.record();
    }
    if request.on_failure.is_some() {
        shared.keep_failure();
    }
    let shared = Arc::new(shared);
    let built = execute(&shared, imports, request, checked, explained);
    *broken = shared.remote().broken();
    built
}

fn execute(
    shared: &Arc<Workshop>,
    imports: &Imports,
    request: &Request<'_>,
    checked: &mut Vec<Checked>,
    explained: &mut Vec<Explained>,
) -> Result<Vec<Built>, BuildError> {
    let started = engine::now(None);
    let mut graph = GraphBuilder::default();
    let targets = prepare(request, shared, &mut graph, checked)?;
    let guards = guards(&targets, shared, request.progress)?;
    for guard in &guards {
        for found in checked.iter_mut() {
            found.mask(guard.redaction());
        }
    }
    let plan = Prepared {
        started,
        targets: &targets,
        guards: &guards,
    };
    let built = plan.execute(shared, imports, request, graph, explained);
    // Each guard knows the secrets of all targets.
    let noted = guards.first().map(|guard| guard.note_suspects(shared));
    let built = built?;
    noted.transpose()?;
    Ok(built)
}

/// Targets that are in the graph.
struct Prepared<'a> {
    started: Timestamp,
    targets: &'a [TargetBuild<'a>],
    guards: &'a [Guard],
}

impl Prepared<'_> {
    /// Solves the graph and writes all outputs.
    fn execute(
        &self,
        shared: &Arc<Workshop>,
        imports: &Imports,
        request: &Request<'_>,
        graph: GraphBuilder,
        explained: &mut Vec<Explained>,
    ) -> Result<Vec<Built>, BuildError> {
        let (targets, progress) = (self.targets, request.progress);
        let solved = solve::solve_graph(shared, imports, graph, targets, request, explained);
        let solved = solved.inspect_err(|error| show_failure(error, shared, request))?;
        shared.hurry();
        let (mut solved, harvests) = solved;
        shared.remote().keep_bases(shared.store())?;
        if request.is_verified() {
            solved = verified(request, shared, targets, solved)?;
        }
        let mut built = Vec::with_capacity(targets.len());
        for (number, (target, guard)) in targets.iter().zip(self.guards).enumerate() {
            let label = request.label(target.target);
            let clock = Clock::since(self.started);
            let witness = Witness {
                clock: &clock,
                targets,
                target,
                guard,
            };
            let (solved, harvest) = (&solved[number], &harvests[number]);
            let finished = finish(&witness, solved, harvest, label, progress);
            built.push(finished.map_err(|error| error.within(label))?);
        }
        // Outputs have brought in more.
        shared.remote().keep_bases(shared.store())?;
        // After all outputs: what was pushed need not be sent again.
        for (number, (target, guard)) in targets.iter().zip(self.guards).enumerate() {
            let roots: Vec<Root> = solved[number].iter().map(|one| one.root.clone()).collect();
            let export = Export {
                engine: &target.engine,
                options: target.target.options,
                guard,
                harvest: &harvests[number],
                roots: &roots,
                progress,
            };
            let label = request.label(target.target);
            export.run().map_err(|error| error.within(label))?;
        }
        Ok(built)
    }
}

/// Executes everything once more and compares.
fn verified(
    request: &Request<'_>,
    shared: &Arc<Workshop>,
    targets: &[TargetBuild<'_>],
    solved: Vec<Vec<Solved>>,
) -> Result<Vec<Vec<Solved>>, BuildError> {
    let made = shared.layers().take_made();
    let first = verify::Round { solved, made };
    let mut graph = GraphBuilder::default();
    let again = prepare(request, shared, &mut graph, &mut Vec::new())?;
    let none = Imports::default();
    let solved = solve::solve_graph(shared, &none, graph, &again, request, &mut Vec::new())?;
    let (solved, _) = solved;
    let made = shared.layers().take_made();
    let second = verify::Round { solved, made };
    verify::compare(shared, targets, &first, &second)?;
    Ok(first.solved)
}

/// Brings all targets into the graph, those that others start from first.
fn prepare<'a>(
    request: &Request<'a>,
    shared: &Arc<Workshop>,
    graph: &mut GraphBuilder,
    checked: &mut Vec<Checked>,
) -> Result<Vec<TargetBuild<'a>>, BuildError> {
    let mut done: Vec<Option<TargetBuild<'a>>> = Vec::new();
    done.resize_with(request.targets.len(), || None);
    for round in rounds(request.targets)? {
        let mut fresh = Vec::with_capacity(round.len());
        for &at in &round {
            let target = &request.targets[at];
            let read = TargetBuild::read(target, request, shared, checked);
            fresh.push(read.map_err(|error| error.within(request.label(target)))?);
        }
        let answers = Answers {
            shared,
            progress: request.progress,
            done: &done,
        };
        let mut askers: Vec<_> = fresh.iter_mut().flat_map(TargetBuild::askers).collect();
        let resolved = answers.resolve(&mut askers);
        drop(askers);
        if let Err(error) = resolved {
            for target in &fresh {
                target.check(checked);
            }
            return Err(error);
        }
        for (at, mut target) in round.into_iter().zip(fresh) {
            target.lower(graph, request.progress, checked)?;
            done[at] = Some(target);
        }
    }
    Ok(done.into_iter().flatten().collect())
}

fn show_failure(error: &BuildError, shared: &Workshop, request: &Request<'_>) {
    let (Some(show), Some(failure)) = (request.on_failure, shared.failure()) else {
        return;
    };
    if let Some(step) = FailedStep::of(shared, failure) {
        show(error, &step);
    }
}

/// Prepares to keep the secrets of all targets out of the outputs of each.
fn guards(
    targets: &[TargetBuild<'_>],
    shared: &Workshop,
    progress: &Progress,
) -> Result<Vec<Guard>, BuildError> {
    let mut guards = Vec::with_capacity(targets.len());
    for target in targets {
        let secrets = targets.iter().map(|one| one.engine.secrets());
        let options = target.target.options;
        let all = targets.iter().map(|one| one.target.options);
        let keys = all.flat_map(leaks::keys).collect();
        let guard = Guard::new(shared.layers(), secrets, keys, options, progress)?;
        if let Some(needles) = guard.needles() {
            shared.watch(needles);
        }
        guards.push(guard);
    }
    if let Some(guard) = guards.first() {
        guard.warn_of_gaps(progress);
    }
    Ok(guards)
}

/// Makes a target's image and writes its outputs.
fn finish(
    witness: &Witness<'_>,
    solved: &[Solved],
    harvest: &Harvest,
    label: &str,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let (target, guard) = (witness.target, witness.guard);
    let options = target.target.options;
    if options.outputs.is_empty() {
        return Ok(Built::default());
    }
    let mut sources = Vec::with_capacity(solved.len());
    let mut images = Vec::with_capacity(solved.len());
    for (variant, solved) in target.variants.iter().zip(solved) {
        let root = &solved.root;
        let (engine, ids) = (&target.engine, root.ids());
        engine.remote().adopt(engine.store(), ids.iter())?;
        let squashed = squash::squash(&target.engine, root, options.squash, progress)?;
        let mut image = assemble(target, variant, root, squashed)?;
        let mut packed = repack::repack(image.clone(), target, root, progress)?;
        packed.attestations = witness.attestations(variant, solved, &packed, progress)?;
        image.attestations.clone_from(&packed.attestations);
        sources.push(image);
        if options.cache_to.iter().any(is_inline) {
            inline_cache(&mut packed, root, harvest, progress);
        }
        images.push(note_blobs(packed, engine));
    }
    let roots = || solved.iter().map(|solved| &solved.root);
    let products = target.variants.iter().zip(&sources).zip(roots());
    let products = products.map(|((variant, image), root)| leaks::Product {
        image,
        root,
        history: &variant.lowered().history,
        file: &target.source,
        tags: &options.tags,
    });
    let clearance = leaks::Clearance {
        guard,
        engine: &target.engine,
        products: products.collect(),
        outputs: &options.outputs,
        progress,
        granted: OnceLock::new(),
    };
    let platforms = target.variants.iter().map(|variant| &variant.platform);
    let made = outputs::Made {
        engine: &target.engine,
        options,
        set: ImageSet {
            several: images.len() > 1 || is_set(options, MULTI_PLATFORM),
            images,
        },
        roots: platforms.zip(roots()).collect(),
        told: witness.told(solved),
        reference: witness.clock.reference(),
        progress,
        clearance: &clearance,
    };
    outputs::write(&made, label)
}

fn is_inline(to: &CacheTo) -> bool {
    to.place == CachePlace::Inline
}

/// Puts what is known of the image's layers into its configuration.
fn inline_cache(image: &mut Image, root: &Root, harvest: &Harvest, progress: &Progress) {
    let layers = image.layers.iter().map(|layer| &layer.layer);
    if !layers.eq(root.layers.iter().map(|layer| &layer.id)) {
        progress.warn(
            "the image gets no cache within: its layers are not those of the steps, since they \
             were squashed or given other times",
        );
        return;
    }
    let offers = harvest.offers(CacheMode::Min, std::slice::from_ref(root));
    image.add(shared_cache::inline::fields(&offers, root));
}

/// Notes where layers that are not here can be had, so that they can be sent on from there.
fn note_blobs(mut image: Image, engine: &Engine) -> Image {
    let layers = engine.layers();
    for layer in &mut image.layers {
        if layer.blobs.is_empty() && !layers.has(&layer.layer) {
            let known = engine.remote().blob(&layer.layer);
            layer.blobs.extend(known.map(|(blob, _)| blob));
        }
    }
    image
}

/// The build argument by which one platform is written as several are: an index, and a directory
/// for each platform where files are written.
pub const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// Returns whether a build argument is true, as Go's `strconv.ParseBool` has it.
pub fn is_set(options: &BuildOptions, argument: &str) -> bool {
    let value = options.build_args.get(argument).map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn assemble(
    target: &TargetBuild<'_>,
    variant: &Variant,
    root: &Root,
    squashed: Option<Squashed>,
) -> Result<Image, BuildError> {
    let lowered = variant.lowered();
    let base_created = lowered
        .image
        .history
        .iter()
        .rev()
        .find_map(|entry| entry.created.clone());
    let dated: Vec<_> = root
        .layers
        .iter()
        .map(|layer| DatedLayer {
            id: layer.id.clone(),
            created: layer.created,
        })
        .collect();
    let parts = Parts {
        config: lowered.image.clone(),
        base_created,
        history: &lowered.history,
        root: &dated,
        squashed,
        epoch: target.epoch,
        omit_history: target.target.options.omit_history,
    };
    Ok(Image::assemble(parts, target.engine.layers())?)
}

#[cfg(test)]
mod tests;
