//! From options to a finished build.
//!
//! ```text
//! options → Definition → Plan ⇄ resolved images → graph → solve → Image → outputs
//! ```
//!
//! Impure steps are the reading of the definition, image resolution, the solve and the
//! outputs; between them are the front end's functions. [`build`] prints nothing: it
//! reports to a [`Progress`] and returns what was made, or a [`BuildError`].

mod check;
mod context;
mod definition;
mod detail;
mod engine;
mod error;
mod index;
mod ops;
mod output;
mod outputs;
mod remote;
mod resolve;
mod scene;
mod secrets;
mod squash;

use std::sync::Arc;

use cooper_cache::{Batch, Store, Table};
use cooper_frontend::image::ResolvedImages;
use cooper_frontend::ir::{BuildOp, NetworkMode, SourceOp, Ulimit};
use cooper_frontend::lower::Lowered;
use cooper_frontend::plan::Plan;
use cooper_frontend::settings::{self, BuildSettings};
use cooper_frontend::{SourceFile, parse};
use cooper_oci::{Descriptor, Digest, Platform};
use cooper_solver::{CancelToken, SolveError, SolveOptions, VertexId, solve};
use rayon::prelude::*;

use crate::image::Image;
use crate::options::{BuildNetwork, BuildOptions, NamedContext, NoCache};
use crate::progress::Progress;
use crate::registry::Client;

pub use check::{Checked, Inspection, check, describe, list_targets};
pub use detail::StepDetail;
pub use error::{BuildError, OpError, exit_words};
pub use resolve::ResolveImageError;

use engine::{Engine, EngineParts};
use index::StoreIndex;
use ops::BoundOp;
use output::Root;
use remote::RemoteLayers;
use resolve::Resolver;
use secrets::Secrets;

/// Host name of RUN steps, which users of BuildKit may have come to rely on.
const HOSTNAME: &str = "buildkitsandbox";

/// What a build needs besides its options.
pub struct Session {
    /// Where everything is kept.
    pub store: Store,
    /// How registries are reached.
    pub client: Client,
    /// Content of /etc/resolv.conf in RUN steps.
    pub resolv_conf: Vec<u8>,
}

/// What a build made.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// The image ID: digest of the configuration.
    pub id: Option<Digest>,
    /// The manifest, if an output made one.
    pub manifest: Option<Descriptor>,
    /// Names that the image has now.
    pub names: Vec<String>,
}

/// How a build went.
#[derive(Debug)]
pub struct Outcome {
    /// What was made, or why nothing was.
    pub result: Result<Built, BuildError>,
    /// What the build checks found; none if the build did not come to them.
    pub checked: Option<Checked>,
}

/// What a build is told besides its [`Session`].
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What to build.
    pub options: &'a BuildOptions,
    /// Who is told how it goes.
    pub progress: &'a Progress,
    /// Stops it.
    pub cancel: &'a CancelToken,
    /// Looks up environment variables, for secrets.
    pub environment: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// Builds what is asked for.
pub fn build(session: Session, request: &Request<'_>) -> Outcome {
    let mut checked = None;
    let result = run(session, request, &mut checked);
    Outcome { result, checked }
}

fn run(
    session: Session,
    request: &Request<'_>,
    checked: &mut Option<Checked>,
) -> Result<Built, BuildError> {
    let Request {
        options,
        progress,
        cancel,
        environment,
    } = *request;
    let _lease = session.store.lease()?;
    let step = progress.step(format!(
        "[internal] load build definition from {}",
        definition::name(options)
    ));
    let definition = step.end_with(definition::read(options))?;
    let source = definition.source;
    let wrong = |diagnostics| BuildError::Dockerfile {
        file: source.clone(),
        diagnostics,
    };
    let dockerfile = parse(&source).map_err(wrong)?;
    let plan = Plan::new(&dockerfile, &build_settings(options)).map_err(wrong)?;
    let secrets = Secrets::read(&options.secrets, environment)?;
    progress.redact(secrets.values());
    let contexts = definition::contexts(options, definition.path.as_deref(), &session.store)?;
    let remote = RemoteLayers::new(session.client.clone(), progress.clone(), cancel.clone());
    let resolved = resolve_images(&session.store, &remote, &plan, options, progress, &source)?;
    let lowered = plan.lower(&resolved).map_err(wrong)?;
    let ignore = contexts.get("context").map(context::LocalContext::ignore);
    let found = checked.insert(Checked::run(&source, &plan, &resolved, ignore).map_err(wrong)?);
    found.verdict()?;
    for warning in &lowered.warnings {
        progress.warn(&warning.message);
    }
    let engine = Arc::new(Engine::new(EngineParts {
        store: session.store,
        contexts,
        secrets,
        remote,
        epoch: options.source_date_epoch,
        resolv_conf: session.resolv_conf,
        cancel: cancel.clone(),
    }));
    let root = solve_graph(&engine, &lowered, options, progress, cancel, &source)?;
    engine.remote().keep_images(engine.store())?;
    let squashed = squash::squash(&engine, &root, options.squash, progress)?;
    let image = assemble(&engine, lowered, &root, squashed, options)?;
    outputs::write(&engine, &image, &root, options, progress)
}

fn build_settings(options: &BuildOptions) -> BuildSettings {
    let host = Platform::host();
    let mut settings = BuildSettings::new(options.platform.clone());
    settings.platform_explicit = options.platform != host;
    settings.build_platform = host;
    settings.target.clone_from(&options.target);
    settings.build_args.clone_from(&options.build_args);
    settings.labels.clone_from(&options.labels);
    settings.named_contexts = options
        .build_contexts
        .iter()
        .map(|(name, context)| {
            let kind = match context {
                NamedContext::Dir(_) => settings::NamedContext::Local,
                NamedContext::OciLayout { .. } | NamedContext::Image(_) => {
                    settings::NamedContext::Image
                }
            };
            (name.clone(), kind)
        })
        .collect();
    settings.no_cache = match &options.no_cache {
        NoCache::Off => settings::NoCache::None,
        NoCache::All => settings::NoCache::All,
        NoCache::Stages(names) => {
            settings::NoCache::Stages(names.iter().map(|name| name.to_lowercase()).collect())
        }
    };
    settings.network = match options.network {
        BuildNetwork::Host => NetworkMode::Default,
        BuildNetwork::None => NetworkMode::None,
    };
    settings.add_hosts = options
        .add_hosts
        .iter()
        .map(|host| (host.name.clone(), host.address.to_string()))
        .collect();
    settings.shm_size = options.limits.shm_size;
    settings.ulimits = options.limits.ulimits.iter().map(ulimit).collect();
    settings.hostname = Some(HOSTNAME.to_owned());
    settings
}

fn ulimit(limit: &crate::options::Ulimit) -> Ulimit {
    let value = |limit: Option<u64>| {
        limit
            .and_then(|value| i64::try_from(value).ok())
            .unwrap_or(-1)
    };
    Ulimit {
        name: limit.name.clone(),
        soft: value(limit.soft),
        hard: value(limit.hard),
    }
}

/// Answers the plan's questions until it has no more; ONBUILD triggers can raise new ones.
fn resolve_images(
    store: &Store,
    remote: &RemoteLayers,
    plan: &Plan,
    options: &BuildOptions,
    progress: &Progress,
    source: &SourceFile,
) -> Result<ResolvedImages, BuildError> {
    let canceled = || remote.canceled();
    let resolver = Resolver {
        store,
        remote,
        contexts: &options.build_contexts,
        pull: options.pull,
        canceled: &canceled,
    };
    let mut resolved = ResolvedImages::new();
    loop {
        let requests = plan.requests(&resolved);
        if requests.is_empty() {
            return Ok(resolved);
        }
        let answers: Vec<_> = requests
            .par_iter()
            .map(|request| {
                let name = match &request.reference {
                    Some(reference) => reference.with_default_tag().to_string(),
                    None => request.name.clone(),
                };
                let step = progress.step(format!("[internal] load metadata for {name}"));
                let answer = step.end_with(resolver.resolve(request)).map_err(|cause| {
                    BuildError::Image {
                        file: source.clone(),
                        span: request.span,
                        suggestion: request.suggestion.clone(),
                        source: Box::new(cause),
                    }
                })?;
                Ok((request.key.clone(), answer))
            })
            .collect::<Result<_, BuildError>>()?;
        resolved.extend(answers);
    }
}

fn solve_graph(
    engine: &Arc<Engine>,
    lowered: &Lowered,
    options: &BuildOptions,
    progress: &Progress,
    cancel: &CancelToken,
    source: &SourceFile,
) -> Result<Root, BuildError> {
    let Some(target) = lowered.target else {
        return Ok(Root::default());
    };
    let graph = lowered
        .graph
        .map(|_, vertex| BoundOp::new(vertex.op.clone(), Arc::clone(engine)));
    let names = graph
        .reachable(&[target])
        .into_iter()
        .filter_map(|id| Some((id, step_name(lowered, id)?)));
    let vertices = progress.vertices(names);
    let events = |event| vertices.show(event);
    let index = StoreIndex::new(engine.store(), engine.remote());
    let mut how = SolveOptions::new(options.jobs.get(), cancel);
    how.events = &events;
    let solved = solve(&graph, &[target], &index, &how);
    keep_details(engine.store(), &index);
    let outputs = solved.map_err(|error| failure(error, lowered, source))?;
    match outputs.first() {
        Some(output) => Ok(output
            .root()
            .map_err(|source| BuildError::Internal { source })?
            .clone()),
        None => Ok(Root::default()),
    }
}

/// Returns what a vertex is called in front of people; none for those that say nothing to them.
fn step_name(lowered: &Lowered, id: VertexId) -> Option<String> {
    if let Some(step) = lowered.steps.get(&id) {
        return Some(step.display.clone());
    }
    let vertex = lowered.graph.vertex(id);
    match &vertex.op {
        BuildOp::Source(_) => Some(vertex.name.clone()),
        _ => None,
    }
}

/// Writes what is known of the executed steps, for later questions. Losing it loses no result.
fn keep_details(store: &Store, index: &StoreIndex<'_>) {
    let mut batch = Batch::default();
    for (key, detail) in index.take_details() {
        batch.put(Table::Components, key.as_bytes().to_vec(), detail);
    }
    if !batch.is_empty() {
        let _ = store.meta().apply(&batch);
    }
}

fn failure(error: SolveError<OpError>, lowered: &Lowered, source: &SourceFile) -> BuildError {
    match error {
        SolveError::Op {
            vertex,
            source: cause,
            ..
        } => BuildError::Step {
            step: lowered
                .steps
                .get(&blamed(vertex, &cause, lowered))
                .map(|step| Box::new(step.clone())),
            name: lowered.graph.vertex(vertex).name.clone(),
            file: source.clone(),
            source: Box::new(cause),
        },
        SolveError::Canceled => BuildError::Interrupted,
        other => BuildError::Solver {
            message: other.to_string(),
        },
    }
}

/// Returns the step to blame: for a bad layer of a base image its FROM, not who needed it first.
fn blamed(vertex: VertexId, cause: &OpError, lowered: &Lowered) -> VertexId {
    let OpError::BaseLayer { layer, .. } = cause else {
        return vertex;
    };
    let layer = layer.to_string();
    let brings_it = |op: &BuildOp| match op {
        BuildOp::Source(SourceOp::Image(image)) => image.layers.contains(&layer),
        _ => false,
    };
    let from = lowered
        .steps
        .keys()
        .find(|id| brings_it(&lowered.graph.vertex(**id).op));
    from.copied().unwrap_or(vertex)
}

fn assemble(
    engine: &Engine,
    lowered: Lowered,
    root: &Root,
    squashed: Option<crate::image::Squashed>,
    options: &BuildOptions,
) -> Result<Image, BuildError> {
    let base_created = lowered
        .image
        .history
        .iter()
        .rev()
        .find_map(|entry| entry.created.clone());
    let dated: Vec<_> = root
        .layers
        .iter()
        .map(|layer| crate::image::DatedLayer {
            id: layer.id.clone(),
            created: layer.created,
        })
        .collect();
    let parts = crate::image::Parts {
        config: lowered.image,
        base_created,
        history: &lowered.history,
        root: &dated,
        squashed,
        epoch: options.source_date_epoch,
    };
    Ok(Image::assemble(parts, engine.layers())?)
}
