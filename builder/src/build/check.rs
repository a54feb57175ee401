//! Build checks, and what can be asked of a Dockerfile without building it.

use std::sync::Arc;

use cooper_cache::Store;
use cooper_frontend::describe::{Outline, Target, outline, targets};
use cooper_frontend::dockerignore::DockerIgnore;
use cooper_frontend::image::ResolvedImages;
use cooper_frontend::lower::{self, GraphBuilder};
use cooper_frontend::plan::Plan;
use cooper_frontend::{Diagnostic, SourceFile, lint, parse_for};

use super::context::ContextFiles;
use super::definition::Definition;
use super::engine::Workshop;
use super::error::{BuildError, MAIN_CONTEXT};
use super::remote::RemoteLayers;
use super::target::{Answers, Asker, TargetBuild, fetcher, rounds};
use super::{Request, Session, settings};
use crate::options::{BuildOptions, NamedContext};
use crate::progress::Secrets;

/// What the checks have to say of a Dockerfile.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The Dockerfile.
    pub file: SourceFile,
    /// Violations in the order of the file.
    pub warnings: Vec<lint::Warning>,
    /// What is wrong with the directives that switch checks, and what is odd otherwise.
    pub notes: Vec<Diagnostic>,
}

impl Checked {
    /// Keeps secrets out of what is shown of the Dockerfile.
    pub(super) fn mask(&mut self, secrets: &Secrets) {
        self.file = SourceFile::new(self.file.name(), secrets.mask(self.file.text()));
        let warned = self.warnings.iter_mut().map(|one| &mut one.message);
        let noted = self.notes.iter_mut().map(|one| &mut one.message);
        for message in warned.chain(noted) {
            *message = secrets.mask(message);
        }
    }

    /// Runs the checks.
    pub(super) fn run(
        file: &SourceFile,
        plan: &Plan,
        images: &ResolvedImages,
        ignore: Option<&DockerIgnore>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (config, mut notes) = lint::Config::of(file, plan)?;
        notes.extend(plan.remarks().cloned());
        let inputs = lint::Inputs::new(file, plan, images).with_ignore(ignore);
        Ok(Self {
            file: file.clone(),
            warnings: lint::check(&inputs, &config),
            notes,
        })
    }

    /// Runs the checks on what can be read of a file that cannot be built, and adds what is wrong
    /// with their own options to `errors`. Returns nothing if nothing can be said of the file.
    pub(super) fn broken(
        definition: &Definition,
        options: &BuildOptions,
        store: &Store,
        all_stages: bool,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let file = &definition.source;
        let settings = settings::of(options, &options.platforms()[0]);
        let mut plan = Plan::salvage(file, &settings)?;
        if all_stages {
            plan = plan.with_all_stages();
        }
        let (config, mut notes) = match lint::Config::of(file, &plan) {
            Ok(config) => config,
            Err(more) => {
                errors.extend(more);
                errors.sort_by_key(|error| error.span.start);
                return None;
            }
        };
        notes.extend(plan.remarks().cloned());
        // A context that cannot be opened is an error for another time.
        let contexts = definition.contexts(options, store).unwrap_or_default();
        let ignore = contexts.get(MAIN_CONTEXT).and_then(ContextFiles::ignore);
        let images = ResolvedImages::new();
        let inputs = lint::Inputs::new(file, &plan, &images).with_ignore(ignore);
        Some(Self {
            file: file.clone(),
            warnings: lint::check_broken(&inputs, &config, errors),
            notes,
        })
    }

    /// Adds what was found here to what was found before, each violation of a file once.
    pub(super) fn add_to(self, all: &mut Vec<Self>) {
        let same = |known: &&mut Self| {
            known.file.name() == self.file.name() && known.file.text() == self.file.text()
        };
        let Some(known) = all.iter_mut().find(same) else {
            return all.push(self);
        };
        for warning in self.warnings {
            if !known.warnings.contains(&warning) {
                known.warnings.push(warning);
            }
        }
    }

    /// Forgets what does not stop the build.
    pub fn keep_errors(&mut self) {
        self.warnings.retain(|warning| warning.error);
        self.notes.clear();
    }

    /// Returns the rules whose violation stops the build, each once.
    pub fn errors(&self) -> Vec<&'static str> {
        let errors = self.warnings.iter().filter(|warning| warning.error);
        let mut names: Vec<_> = errors.map(|warning| warning.rule.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Fails if a violation stops the build.
    pub(super) fn verdict(&self) -> Result<(), BuildError> {
        let rules = self.errors();
        if rules.is_empty() {
            return Ok(());
        }
        Err(BuildError::Checks { rules })
    }
}

/// The outcome of checks without a build.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What they found; none if the Dockerfile cannot be understood at all.
    pub checked: Option<Checked>,
    /// Why a build would fail before its first step.
    pub error: Option<BuildError>,
}

/// Checks each target, or its whole file if no stage of it is named.
pub fn check(session: &Session, request: &Request<'_>) -> Vec<Inspection> {
    let mut found: Vec<Inspection> = Vec::new();
    found.resize_with(request.targets.len(), Inspection::default);
    if let Err(error) = check_all(session, request, &mut found)
        && let Some(first) = found.first_mut()
    {
        first.error.get_or_insert(error);
    }
    found
}

fn check_all(
    session: &Session,
    request: &Request<'_>,
    found: &mut [Inspection],
) -> Result<(), BuildError> {
    let _lease = session.store.lease()?;
    let shared = Arc::new(workshop(session, request));
    let mut bases = Vec::new();
    bases.resize_with(request.targets.len(), || None);
    let mut graph = GraphBuilder::default();
    for at in rounds(request.targets)?.into_iter().flatten() {
        let answers = Answers {
            shared: &shared,
            progress: request.progress,
            done: &bases,
        };
        let target = &request.targets[at];
        let asked = Asked { target, request };
        let inspection = &mut found[at];
        let result = asked.check(&answers, &mut graph, &mut inspection.checked);
        inspection.error = result.err();
        if inspection.error.is_none() && asked.is_base() {
            bases[at] = asked.as_base(&shared, &answers, &mut graph).ok();
        }
    }
    Ok(())
}

/// One of the targets that are checked.
struct Asked<'a, 'r> {
    target: &'a super::Target<'a>,
    request: &'r Request<'a>,
}

impl<'a> Asked<'a, '_> {
    /// Returns whether another target starts from this one.
    fn is_base(&self) -> bool {
        let targets = self.request.targets.iter();
        let mut contexts = targets.flat_map(|other| &other.options.build_contexts);
        let own = NamedContext::Target(self.target.name.to_owned());
        contexts.any(|(_, context)| *context == own)
    }

    /// Brings the target into a graph that nobody solves, for the checks of those that start
    /// from it.
    fn as_base(
        &self,
        shared: &Arc<Workshop>,
        answers: &Answers<'_, '_>,
        graph: &mut GraphBuilder,
    ) -> Result<TargetBuild<'a>, BuildError> {
        let mut build = TargetBuild::read(self.target, self.request, shared, &mut Vec::new())?;
        let mut askers: Vec<_> = build.askers().collect();
        answers.resolve(&mut askers)?;
        drop(askers);
        build.lower(graph, self.request.progress, &mut Vec::new())?;
        Ok(build)
    }

    fn check(
        &self,
        answers: &Answers<'_, '_>,
        graph: &mut GraphBuilder,
        checked: &mut Option<Checked>,
    ) -> Result<(), BuildError> {
        let options = self.target.options;
        let definition = load(answers.shared, options, self.request)?;
        let file = &definition.source;
        let wrong = |diagnostics| BuildError::Dockerfile {
            file: file.clone(),
            diagnostics,
        };
        let all_stages = options.target.is_none();
        let plan = match plan(file, options) {
            Ok(plan) if all_stages => plan.with_all_stages(),
            Ok(plan) => plan,
            Err(mut errors) => {
                let store = answers.shared.store();
                *checked = Checked::broken(&definition, options, store, all_stages, &mut errors);
                return Err(wrong(errors));
            }
        };
        let contexts = definition.contexts(options, answers.shared.store())?;
        let ignore = contexts.get(MAIN_CONTEXT).and_then(ContextFiles::ignore);
        let mut images = ResolvedImages::new();
        let missing = answers.resolve(&mut [Asker {
            plan: &plan,
            images: &mut images,
            options,
            source: file,
            label: "",
        }]);
        if missing.is_err() {
            images = ResolvedImages::new();
        }
        *checked = Some(Checked::run(file, &plan, &images, ignore).map_err(wrong)?);
        missing?;
        let place = lower::Target::default();
        plan.lower_into(graph, place, &images).map_err(wrong)?;
        Ok(())
    }
}

/// Lists the stages that can be built.
pub fn list_targets(
    session: &Session,
    options: &BuildOptions,
    request: &Request<'_>,
) -> Result<(SourceFile, Vec<Target>), BuildError> {
    let _lease = session.store.lease()?;
    let file = load(&workshop(session, request), options, request)?.source;
    match parse_for(&file, &options.build_args) {
        Ok(dockerfile) => Ok((file, targets(&dockerfile))),
        Err(diagnostics) => Err(BuildError::Dockerfile { file, diagnostics }),
    }
}

/// Describes what the target takes.
pub fn describe(
    session: &Session,
    options: &BuildOptions,
    request: &Request<'_>,
) -> Result<(SourceFile, Outline), BuildError> {
    let _lease = session.store.lease()?;
    let file = load(&workshop(session, request), options, request)?.source;
    match plan(&file, options).and_then(|plan| outline(&plan)) {
        Ok(outline) => Ok((file, outline)),
        Err(diagnostics) => Err(BuildError::Dockerfile { file, diagnostics }),
    }
}

/// Returns what no step will ever work with.
fn workshop(session: &Session, request: &Request<'_>) -> Workshop {
    let (progress, cancel) = (request.progress.clone(), request.cancel.clone());
    let remote = RemoteLayers::new(session.client.clone(), progress, cancel.clone());
    Workshop::new(&session.store, remote, Vec::new(), cancel)
}

fn load(
    shared: &Workshop,
    options: &BuildOptions,
    request: &Request<'_>,
) -> Result<Definition, BuildError> {
    let fetcher = fetcher(shared, options, request)?;
    Definition::load(shared, options, request, &fetcher, "")
}

fn plan(file: &SourceFile, options: &BuildOptions) -> Result<Plan, Vec<Diagnostic>> {
    let settings = settings::of(options, &options.platforms()[0]);
    let dockerfile = parse_for(file, &options.build_args)?;
    Plan::new(&dockerfile, &settings)
}
