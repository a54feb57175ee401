//! One stage: what it starts from, and its instructions in order.

use std::collections::HashMap;
use std::sync::Arc;

use cooper_oci::{ImageConfig, Platform};
use cooper_solver::VertexId;

use crate::dockerignore::clean;
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::image::{ImageLayers, ImageRequest};
use crate::instruction::Kind;
use crate::ir::BuildOp;
use crate::plan::{Base, Command, From, Plan, word_error};
use crate::source::{Span, Spanned};
use crate::word::Environment;

use super::graph::image_label;
use super::{HistoryItem, Lowering, Step};

/// The search path of images that set none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a stage has come to.
#[derive(Clone)]
pub(super) struct StageState {
    /// The vertex with all layers so far; `None` without layers.
    pub(super) layers: Option<VertexId>,
    /// ENV and ARG values.
    pub(super) env: Environment,
    /// Where each variable stands in the image's environment.
    env_places: HashMap<String, usize>,
    pub(super) image: ImageConfig,
    pub(super) history: Vec<HistoryItem>,
    /// ARGs declared so far, with their values.
    pub(super) build_args: Vec<(String, Option<String>)>,
    pub(super) platform: Platform,
}

/// A stage under way.
pub(super) struct StageLowering<'l, 'a> {
    pub(super) lowering: &'l mut Lowering<'a>,
    pub(super) state: StageState,
    pub(super) index: usize,
    /// Whether this stage itself has a CMD.
    pub(super) cmd_set: bool,
    pub(super) ignore_cache: bool,
    is_trigger: bool,
    /// Where the instruction that is being lowered is written.
    at: Span,
    step: usize,
    total: usize,
}

impl Lowering<'_> {
    /// Lowers a stage whose base stages are done.
    pub(super) fn stage(&mut self, index: usize, commands: &[Command]) -> StageState {
        let stage = &self.plan.dockerfile.stages[index];
        let name = stage.name.as_ref().map_or("", |name| name.value.as_str());
        let ignore_cache = self.plan.settings.no_cache.covers(name);
        let counted = commands
            .iter()
            .filter(|command| is_counted(&command.instruction.kind));
        let external = matches!(self.plan.bases[index], Base::Image(_) | Base::Local(_));
        let total = counted.count() + usize::from(external);
        let state = self.start(index);
        let mut lowering = StageLowering {
            state,
            index,
            cmd_set: false,
            ignore_cache,
            is_trigger: false,
            at: stage.span,
            step: 0,
            total,
            lowering: self,
        };
        lowering.begin();
        for command in commands {
            lowering.command(command);
        }
        lowering.state
    }

    fn start(&mut self, index: usize) -> StageState {
        let wanted = self.plan.platforms[index].clone();
        let platform = wanted.unwrap_or_else(|| self.plan.settings.platform.clone());
        let base = match &self.plan.bases[index] {
            Base::Replaced(base) => base.as_ref().clone(),
            base => base.clone(),
        };
        match base {
            Base::Stage(base) => {
                let done = self.done[base].clone();
                done.unwrap_or_else(|| StageState::empty(self.plan.settings.platform.clone()))
            }
            Base::Image(request) => self.start_image(&request, platform),
            Base::Local(name) => StageState {
                layers: Some(self.graph.local_layer(&name)),
                ..StageState::empty(platform)
            },
            Base::Scratch | Base::Replaced(_) => {
                StageState::empty(self.plan.settings.platform.clone())
            }
        }
    }

    fn start_image(&mut self, request: &ImageRequest, platform: Platform) -> StageState {
        let Some(image) = self.images.get(&request.key) else {
            return StageState::empty(platform);
        };
        let mut config = image.config.clone();
        config.created = None;
        let history = match &image.layers {
            ImageLayers::Target { history, .. } => history.clone(),
            ImageLayers::Stored(_) => Vec::new(),
        };
        let layers = self.graph.image(request, image);
        StageState {
            layers,
            image: config,
            history,
            ..StageState::empty(platform)
        }
    }
}

impl StageState {
    /// The state of a stage from scratch.
    fn empty(platform: Platform) -> Self {
        let mut image = ImageConfig::new(&platform);
        "/".clone_into(&mut image.config.working_dir);
        Self {
            layers: None,
            env: Environment::default(),
            env_places: HashMap::new(),
            image,
            history: Vec::new(),
            build_args: Vec::new(),
            platform,
        }
    }
}

impl StageState {
    /// Sets a variable of the image; one that is there keeps its place.
    pub(super) fn set_env(&mut self, name: String, value: String) {
        let env = &mut self.image.config.env;
        let entry = format!("{name}={value}");
        let place = *self.env_places.entry(name.clone()).or_insert(env.len());
        if place == env.len() {
            env.push(entry);
        } else {
            env[place] = entry;
        }
        self.env.set(name, value);
    }
}

/// Whether an instruction counts as a step.
fn is_counted(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_)
    )
}

impl StageLowering<'_, '_> {
    /// Takes over what the base says.
    fn begin(&mut self) {
        let config = &mut self.state.image.config;
        config.on_build.clear();
        if !config.env.iter().any(|entry| entry.starts_with("PATH=")) {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for (place, entry) in config.env.iter().enumerate() {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.state.env.set(name, value);
            self.state
                .env_places
                .entry(name.to_owned())
                .or_insert(place);
        }
        if !config.working_dir.is_empty() {
            config.working_dir = clean(&format!("/{}", config.working_dir));
        }
        let plan = self.lowering.plan;
        if !matches!(plan.bases[self.index], Base::Stage(_)) {
            for (name, value) in &plan.settings.env {
                self.state.set_env(name.clone(), value.clone());
            }
        }
        self.describe_base();
    }

    fn describe_base(&mut self) {
        let plan = self.lowering.plan;
        let label = match &plan.bases[self.index] {
            Base::Image(request) => match self.lowering.images.get(&request.key) {
                Some(image) => image_label(request, image),
                None => request.name.clone(),
            },
            Base::Local(name) => name.clone(),
            _ => return,
        };
        let span = plan.dockerfile.stages[self.index].span;
        let step = self.next_step(format!("FROM {label}"), span);
        if let Some(vertex) = self.state.layers {
            self.lowering.graph.describe(vertex, step);
        }
    }

    /// Lowers one instruction; errors are collected.
    fn command(&mut self, command: &Command) {
        self.is_trigger = command.trigger.is_some();
        let result = self.dispatch(command);
        if let Err(errors) = result {
            self.lowering.errors.extend(match &command.trigger {
                Some(trigger) => trigger.relocate(errors),
                None => errors,
            });
        }
    }

    fn dispatch(&mut self, command: &Command) -> Result<(), Diagnostics> {
        let span = match &command.trigger {
            Some(trigger) => trigger.place(),
            None => command.instruction.span,
        };
        self.at = span;
        let original = &command.instruction.original;
        match &command.instruction.kind {
            Kind::Run(run) => self.run(run, &command.from, original, span),
            Kind::Copy(copy) => {
                let from = command.from.first().and_then(Option::as_ref);
                self.copy(copy, from, false, original, span)
            }
            Kind::Add(add) => self.copy(add, None, true, original, span),
            Kind::Workdir(path) => self.workdir(path, original, span),
            kind => self.meta(kind),
        }
    }

    /// Expands a word in the stage's environment.
    pub(super) fn expand(&self, word: &Spanned<String>) -> Result<String, Diagnostic> {
        let value = self.lowering.plan.lexer().expand(word, &self.state.env);
        value
            .map(|value| value.word)
            .map_err(|error| word_error(word, &error))
    }

    /// Expands several words; all that fail are reported.
    pub(super) fn expand_all(&self, words: &[Spanned<String>]) -> Result<Vec<String>, Diagnostics> {
        let mut errors = Vec::new();
        let mut values = Vec::new();
        for word in words {
            self.expand(word)
                .map_or_else(|error| errors.push(error), |value| values.push(value));
        }
        if errors.is_empty() {
            Ok(values)
        } else {
            Err(errors)
        }
    }

    /// Expands a word that may be absent; an empty value counts as absent.
    pub(super) fn expand_option(
        &self,
        word: Option<&Spanned<String>>,
    ) -> Result<Option<String>, Diagnostic> {
        let value = word.map(|word| self.expand(word)).transpose()?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    /// Returns the absolute working directory.
    pub(super) fn workdir_or_root(&self) -> &str {
        let dir = &self.state.image.config.working_dir;
        if dir.is_empty() { "/" } else { dir }
    }

    /// Adds a line to the history.
    pub(super) fn commit(&mut self, created_by: String, layer: Option<VertexId>) {
        self.state.history.push(HistoryItem {
            created_by,
            comment: "buildkit.dockerfile.v0".to_owned(),
            author: String::new(),
            layer,
            span: self.at,
        });
    }

    /// Counts a step and says how it is shown.
    pub(super) fn next_step(&mut self, command: String, span: Span) -> Step {
        self.step += 1;
        let plan = self.lowering.plan;
        let stage = plan.stage_label(self.index);
        let several = plan.dockerfile.stages.len() > 1;
        let shown = self
            .lowering
            .graph
            .labelled(if several { &stage } else { "" });
        let shown = if shown.is_empty() {
            shown
        } else {
            format!("{shown} ")
        };
        let (index, total) = (self.step, self.total);
        let width = total.to_string().len();
        let trigger = if self.is_trigger { "ONBUILD " } else { "" };
        let display = format!("[{shown}{index:>width$}/{total}] {trigger}{command}");
        Step {
            stage,
            index,
            total,
            command,
            display,
            span,
            words: Vec::new(),
            image: Arc::new(self.state.image.clone()),
        }
    }

    /// Adds to `step` the words that its failure may be about.
    pub(super) fn with_words(&self, step: Step, words: Vec<Spanned<String>>) -> Step {
        let words = if self.is_trigger { Vec::new() } else { words };
        Step { words, ..step }
    }

    /// Returns an instruction's text with the variables that are set expanded
    /// and its name in upper case.
    pub(super) fn shown(&self, text: &str) -> String {
        let lexer = self.lowering.plan.lexer().keep_quotes().keep_unset();
        let expanded = lexer.expand(text, &self.state.env);
        let text = expanded.map_or_else(|_| text.to_owned(), |value| value.word);
        match text.split_once(' ') {
            Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
            None => text.to_uppercase(),
        }
    }

    /// Adds the vertex of a step on top of the stage's layers.
    pub(super) fn push_layer(&mut self, op: BuildOp, inputs: &[VertexId], step: Step) -> VertexId {
        let graph = &mut *self.lowering.graph;
        let vertex = graph.add(op, inputs, &step.display, self.ignore_cache);
        graph.describe(vertex, step);
        self.state.layers = Some(vertex);
        vertex
    }

    /// Returns the vertex that a `--from` reads.
    pub(super) fn source(
        &mut self,
        from: &From,
        path: &str,
        span: Span,
    ) -> Result<VertexId, Diagnostic> {
        let lowering = &mut *self.lowering;
        let vertex = match from {
            From::Scratch => None,
            From::Local(name) => Some(lowering.graph.local(name, path)),
            From::Image(request) => {
                let image = lowering.images.get(&request.key);
                image.and_then(|image| lowering.graph.image(request, image))
            }
            From::Stage(stage) => {
                let Some(Some(state)) = lowering.done.get(*stage) else {
                    return Err(later_stage(lowering.plan, *stage, self.index, span));
                };
                state.layers
            }
        };
        Ok(vertex.unwrap_or_else(|| lowering.graph.scratch()))
    }
}

fn later_stage(plan: &Plan, from: usize, here: usize, span: Span) -> Diagnostic {
    let (from, here) = (plan.stage_label(from), plan.stage_label(here));
    let message = format!(
        "cannot copy from stage {from:?}, it needs to be defined before current stage {here:?}"
    );
    Diagnostic::error(Code::LaterStage, span, message)
        .with_help(format!("move {from} above {here}"))
}
