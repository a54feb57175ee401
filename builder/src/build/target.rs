//! The targets of a build on their way into one graph.
//!
//! A target is a Dockerfile with options; it comes in as many *variants* as platforms are
//! asked for. Each variant has its own plan and its own images, and all of them end in one
//! graph, where what is the same in two of them is there once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use cooper_frontend::image::{ImageLayers, ImageName, ImageRequest, ResolvedImage, ResolvedImages};
use cooper_frontend::lower::{self, GraphBuilder};
use cooper_frontend::plan::Plan;
use cooper_frontend::{Diagnostic, LoweredTarget, SourceFile, parse_for};
use cooper_oci::Platform;
use rayon::prelude::*;

use super::check::Checked;
use super::context::{ContextFiles, Contexts};
use super::definition::Definition;
use super::engine::{Engine, TargetParts, Workshop};
use super::error::{BuildError, MAIN_CONTEXT};
use super::fetch::{Fetcher, FetcherParts, Surroundings};
use super::resolve::{ResolveImageError, Resolver};
use super::secrets::Secrets;
use super::{Request, Target, settings};
use crate::options::{BuildOptions, NamedContext};
use crate::progress::Progress;
use crate::ssh::Agents;

/// Where git and ssh are looked for if the environment does not say.
const PROGRAMS: &str = "/usr/local/bin:/usr/bin:/bin";

/// A target whose definition has been read.
pub(super) struct TargetBuild<'a> {
    /// What was asked for.
    pub(super) target: &'a Target<'a>,
    /// The Dockerfile.
    pub(super) source: SourceFile,
    /// What its steps work with.
    pub(super) engine: Arc<Engine>,
    /// One for each platform, in the order asked for.
    pub(super) variants: Vec<Variant>,
    /// The time stamped on what it creates, in seconds since 1970.
    pub(super) epoch: Option<i64>,
    contexts: Contexts,
}

/// A target for one platform.
pub(super) struct Variant {
    pub(super) platform: Platform,
    /// What tells it from the other variants of the build; empty if there is none.
    pub(super) label: String,
    plan: Plan,
    images: ResolvedImages,
    lowered: Option<LoweredTarget>,
}

impl Variant {
    /// Returns what it became in the graph; targets are lowered before anything asks.
    pub(super) fn lowered(&self) -> &LoweredTarget {
        self.lowered
            .as_ref()
            .expect("all targets are lowered first")
    }

    /// Returns the images that were asked for, with their answers.
    pub(super) fn images(&self) -> &ResolvedImages {
        &self.images
    }
}

impl<'a> TargetBuild<'a> {
    /// Reads the Dockerfile, opens the contexts and makes the plans. Of a Dockerfile that cannot be
    /// built, the checks say what they can.
    pub(super) fn read(
        target: &'a Target<'a>,
        request: &Request<'_>,
        shared: &Arc<Workshop>,
        checked: &mut Vec<Checked>,
    ) -> Result<Self, BuildError> {
        let options = target.options;
        let label = request.label(target);
        let fetcher = fetcher(shared, options, request)?;
        let definition = Definition::load(shared, options, request, &fetcher, label)?;
        let source = definition.source.clone();
        let epoch = if options.epoch_of_context {
            Some(definition.time(shared.store())?)
        } else {
            options.source_date_epoch
        };
        let given = options.epoch_of_context.then_some(epoch).flatten();
        let variants = variants(&source, options, given, label).map_err(|mut errors| {
            let found = Checked::broken(&definition, options, shared.store(), false, &mut errors);
            if let Some(found) = found {
                found.add_to(checked);
            }
            wrong(&source, errors)
        })?;
        let contexts = definition.contexts(options, shared.store())?;
        let parts = TargetParts {
            contexts: contexts.clone(),
            fetcher,
            epoch,
            dns: options.dns.clone(),
            cdi: options.cdi_dirs.clone(),
        };
        Ok(Self {
            target,
            source,
            engine: Arc::new(Engine::new(Arc::clone(shared), parts)),
            variants,
            epoch,
            contexts,
        })
    }

    /// Returns a context by name.
    pub(super) fn context(&self, name: &str) -> Option<&ContextFiles> {
        self.contexts.get(name)
    }

    /// Returns what waits for images, a variant each.
    pub(super) fn askers(&mut self) -> impl Iterator<Item = Asker<'_>> {
        let (options, source) = (self.target.options, &self.source);
        self.variants.iter_mut().map(move |variant| Asker {
            plan: &variant.plan,
            images: &mut variant.images,
            options,
            source,
            label: &variant.label,
        })
    }

    /// Puts all variants into the graph and runs the build checks.
    pub(super) fn lower(
        &mut self,
        graph: &mut GraphBuilder,
        progress: &Progress,
        checked: &mut Vec<Checked>,
    ) -> Result<(), BuildError> {
        let identities: BTreeMap<_, _> = self
            .contexts
            .iter()
            .map(|(name, context)| (name.clone(), context.identity()))
            .collect();
        for at in 0..self.variants.len() {
            let found = self.checked(at);
            let variant = &mut self.variants[at];
            let place = lower::Target {
                label: variant.label.clone(),
                contexts: identities.clone(),
            };
            let lowered = variant.plan.lower_into(graph, place, &variant.images);
            let (found, lowered) = match (found, lowered) {
                (Ok(found), Ok(lowered)) => (found, lowered),
                (found, lowered) => {
                    let mut errors = lowered.err().unwrap_or_default();
                    match found {
                        Ok(found) => found.add_to(checked),
                        Err(more) => errors.extend(more),
                    }
                    return Err(wrong(&self.source, errors));
                }
            };
            let verdict = found.verdict();
            found.add_to(checked);
            verdict?;
            for warning in &lowered.warnings {
                progress.warn(warning.to_string());
            }
            variant.lowered = Some(lowered);
        }
        Ok(())
    }

    /// Runs the build checks alone, with the images that are known.
    pub(super) fn check(&self, checked: &mut Vec<Checked>) {
        let found = (0..self.variants.len()).filter_map(|at| self.checked(at).ok());
        found.for_each(|found| found.add_to(checked));
    }

    fn checked(&self, at: usize) -> Result<Checked, Vec<Diagnostic>> {
        let main = self.contexts.get(MAIN_CONTEXT);
        let ignore = main.and_then(ContextFiles::ignore);
        let Variant { plan, images, .. } = &self.variants[at];
        Checked::run(&self.source, plan, images, ignore)
    }

    /// Returns the image that this target comes to, for another one to start from.
    fn image_for(&self, platform: &Platform) -> Option<ResolvedImage> {
        let ranked = self.variants.iter().filter_map(|variant| {
            let lowered = variant.lowered.as_ref()?;
            Some((platform.rank(&variant.platform)?, lowered))
        });
        let (_, lowered) = ranked.min_by_key(|(rank, _)| *rank)?;
        Some(ResolvedImage {
            config: lowered.image.clone(),
            layers: ImageLayers::Target {
                vertex: lowered.target,
                history: lowered.history.clone(),
            },
            reference: None,
            digest: None,
        })
    }
}

/// Makes the plan for each platform that is asked for. `epoch` counts as the build argument of
/// that name.
fn variants(
    source: &SourceFile,
    options: &BuildOptions,
    epoch: Option<i64>,
    label: &str,
) -> Result<Vec<Variant>, Vec<Diagnostic>> {
    let dockerfile = parse_for(source, &options.build_args)?;
    let platforms = options.platforms();
    let several = platforms.len() > 1;
    let one = |platform: &Platform| {
        let mut settings = settings::of(options, platform);
        if let Some(epoch) = epoch {
            let argument = "SOURCE_DATE_EPOCH".to_owned();
            settings.build_args.insert(argument, epoch.to_string());
        }
        Ok(Variant {
            plan: Plan::new(&dockerfile, &settings)?,
            label: if several {
                words(label, &platform.to_string())
            } else {
                label.to_owned()
            },
            platform: platform.clone(),
            images: ResolvedImages::new(),
            lowered: None,
        })
    };
    platforms.iter().map(one).collect()
}

/// Reads a target's secrets and keys, which also bring in its context, and keeps the secrets
/// from being shown.
pub(super) fn fetcher(
    shared: &Workshop,
    options: &BuildOptions,
    request: &Request<'_>,
) -> Result<Arc<Fetcher>, BuildError> {
    let variable = |name: &str| (request.environment)(name).map(OsString::from_vec);
    let surroundings = Surroundings {
        path: variable("PATH").unwrap_or_else(|| PROGRAMS.into()),
        home: variable("HOME").map(Into::into),
    };
    let secrets = Secrets::read(&options.secrets, request.environment)?;
    for id in secrets.empty() {
        request.progress.warn(format!("the secret {id} is empty"));
    }
    request.progress.redact(secrets.values());
    let agents = Agents::start(&options.ssh, &shared.scratch("agents"), &surroundings.path)?;
    Ok(Fetcher::new(FetcherParts {
        store: shared.store().clone(),
        client: shared.remote().client().clone(),
        secrets,
        agents,
        surroundings,
        epoch: options.source_date_epoch,
    }))
}

/// Returns the two with a space between them, unless the first is empty.
pub(super) fn words(label: &str, text: &str) -> String {
    if label.is_empty() {
        text.to_owned()
    } else {
        format!("{label} {text}")
    }
}

fn wrong(source: &SourceFile, diagnostics: Vec<Diagnostic>) -> BuildError {
    BuildError::Dockerfile {
        file: source.clone(),
        diagnostics,
    }
}

/// Returns the targets in rounds, by position: those of a round need only earlier ones.
pub(super) fn rounds(targets: &[Target<'_>]) -> Result<Vec<Vec<usize>>, BuildError> {
    let mut needs: Vec<Vec<usize>> = Vec::with_capacity(targets.len());
    for target in targets {
        let bases = target.options.build_contexts.iter();
        let bases = bases.filter_map(|(name, context)| match context {
            NamedContext::Target(base) => Some((name, base)),
            _ => None,
        });
        needs.push(
            bases
                .map(|(name, base)| {
                    position(targets, base).ok_or_else(|| no_target(target, name, base))
                })
                .collect::<Result<_, _>>()?,
        );
    }
    let mut round_of: Vec<Option<usize>> = vec![None; targets.len()];
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    while round_of.contains(&None) {
        let ready: Vec<usize> = (0..targets.len())
            .filter(|&at| round_of[at].is_none())
            .filter(|&at| needs[at].iter().all(|&need| round_of[need].is_some()))
            .collect();
        if ready.is_empty() {
            let left = targets.iter().zip(&round_of);
            let left = left.filter(|(_, round)| round.is_none());
            let names: Vec<_> = left.map(|(target, _)| target.name).collect();
            return Err(BuildError::Definition {
                message: format!("the targets {} need each other", names.join(", ")),
                hint: "take one of their `target:` contexts out".to_owned(),
                source: None,
            });
        }
        for &at in &ready {
            round_of[at] = Some(rounds.len());
        }
        rounds.push(ready);
    }
    Ok(rounds)
}

fn position(targets: &[Target<'_>], name: &str) -> Option<usize> {
    targets.iter().position(|target| target.name == name)
}

fn no_target(target: &Target<'_>, context: &str, base: &str) -> BuildError {
    BuildError::Definition {
        message: format!(
            "the context {context} of {} is the target {base}, which is not part of this build",
            if target.name.is_empty() {
                "this build"
            } else {
                target.name
            }
        ),
        hint: format!("name {base} beside it, or leave that context out"),
        source: None,
    }
}

/// A plan that waits for images.
pub(super) struct Asker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) images: &'a mut ResolvedImages,
    pub(super) options: &'a BuildOptions,
    pub(super) source: &'a SourceFile,
    pub(super) label: &'a str,
}

/// What is asked by one or more plans.
struct Question {
    request: ImageRequest,
    /// Who asks, by position; the first one is told of in an error.
    askers: Vec<usize>,
}

/// Answers questions about images.
pub(super) struct Answers<'a, 'b> {
    pub(super) shared: &'a Workshop,
    pub(super) progress: &'a Progress,
    /// Targets that others can start from.
    pub(super) done: &'a [Option<TargetBuild<'b>>],
}

impl Answers<'_, '_> {
    /// Answers the plans' questions until they have no more; ONBUILD triggers can raise new
    /// ones. What several plans ask is looked up once.
    pub(super) fn resolve(&self, askers: &mut [Asker<'_>]) -> Result<(), BuildError> {
        loop {
            let questions = questions(askers);
            if questions.is_empty() {
                return Ok(());
            }
            let asking: &[Asker<'_>] = askers;
            let answer = |question: &Question| self.answer(question, &asking[question.askers[0]]);
            // For one no pool of threads is started.
            let answers: Vec<ResolvedImage> = match &*questions {
                [one] => vec![answer(one)?],
                many => many
                    .par_iter()
                    .map(answer)
                    .collect::<Result<_, BuildError>>()?,
            };
            for (question, answer) in questions.into_iter().zip(answers) {
                for at in question.askers {
                    let key = question.request.key.clone();
                    askers[at].images.insert(key, answer.clone());
                }
            }
        }
    }

    fn answer(&self, question: &Question, asker: &Asker<'_>) -> Result<ResolvedImage, BuildError> {
        let request = &question.request;
        let failed = |cause| {
            let error = BuildError::Image {
                file: asker.source.clone(),
                span: request.span,
                suggestion: request.suggestion.clone(),
                source: Box::new(cause),
            };
            error.within(asker.label)
        };
        if let Some(base) = target_of(request, asker.options) {
            return self.of_target(base, request).map_err(failed);
        }
        let name = match &request.reference {
            Some(reference) => reference.with_default_tag().to_string(),
            None => request.name.clone(),
        };
        let step = self
            .progress
            .step(format!("[internal] load metadata for {name}"));
        let remote = self.shared.remote();
        let resolver = Resolver {
            store: self.shared.store(),
            remote,
            contexts: &asker.options.build_contexts,
            pull: asker.options.pull,
            short_names: &asker.options.registry.short_names,
            canceled: &|| remote.canceled(),
        };
        step.end_with(resolver.resolve(request)).map_err(failed)
    }

    fn of_target(
        &self,
        base: &str,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let done = self.done.iter().flatten();
        let target = done
            .into_iter()
            .find(|done| done.target.name == base)
            .ok_or_else(|| ResolveImageError::NotAnImage {
                name: request.name.clone(),
            })?;
        target.image_for(&request.platform).ok_or_else(|| {
            let found = target
                .variants
                .iter()
                .map(|variant| variant.platform.to_string());
            ResolveImageError::Platform {
                name: format!("target {base}"),
                found: found.collect::<Vec<_>>().join(", "),
                wanted: request.platform.to_string(),
            }
        })
    }
}

/// Returns the target that a request for a named context means.
fn target_of<'o>(request: &ImageRequest, options: &'o BuildOptions) -> Option<&'o str> {
    let ImageName::Context(name) = &request.key.name else {
        return None;
    };
    let given = options.build_contexts.iter().rev();
    match given.into_iter().find(|(known, _)| known == name)? {
        (_, NamedContext::Target(base)) => Some(base),
        _ => None,
    }
}

/// Collects what is asked, each image once: a context means something else to each target.
fn questions(askers: &[Asker<'_>]) -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    for (at, asker) in askers.iter().enumerate() {
        for request in asker.plan.requests(asker.images) {
            let shared = matches!(request.key.name, ImageName::Reference(_));
            let same = questions.iter_mut().find(|known| {
                let other = askers[known.askers[0]].options;
                let same = (shared && other.pull == asker.options.pull)
                    || std::ptr::eq(other, asker.options);
                same && known.request.key == request.key
            });
            match same {
                Some(known) => known.askers.push(at),
                None => questions.push(Question {
                    request,
                    askers: vec![at],
                }),
            }
        }
    }
    questions
}
