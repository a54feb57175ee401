//! Which stages the target needs, with the triggers that run in them.

use std::collections::HashSet;

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::image::{ImageKey, ImageRequest, ResolvedImages};
use crate::instruction::{Instruction, Kind};
use crate::source::Span;

use super::trigger::Trigger;
use super::{Base, From, Plan, from_words};

/// The reachable part of a plan, given the images known so far.
pub(crate) struct Reach {
    /// For each stage: its commands if it is reachable.
    pub(crate) stages: Vec<Option<Vec<Command>>>,
    /// Images still unknown, each once, in the order met.
    pub(crate) missing: Vec<ImageRequest>,
    /// Triggers that do not parse.
    pub(crate) errors: Diagnostics,
}

/// An instruction of a reachable stage.
pub(crate) struct Command {
    pub(crate) instruction: Instruction,
    /// Where its `--from` parts read, in the order of [`from_words`].
    pub(crate) from: Vec<Option<From>>,
    /// For a trigger: what it is known by.
    pub(crate) trigger: Option<Trigger>,
}

impl Reach {
    /// Walks from the target to everything it needs.
    pub(crate) fn find(plan: &Plan, images: &ResolvedImages) -> Self {
        let count = plan.dockerfile.stages.len();
        let mut reach = Self {
            stages: std::iter::repeat_with(|| None).take(count).collect(),
            missing: Vec::new(),
            errors: Vec::new(),
        };
        let mut asked = HashSet::new();
        let mut pending = if plan.all_stages {
            (0..count).collect()
        } else {
            vec![plan.target]
        };
        while let Some(index) = pending.pop() {
            if reach.stages[index].is_some() {
                continue;
            }
            let commands = reach.commands(plan, index, images, &mut asked);
            for from in commands
                .iter()
                .flat_map(|command| command.from.iter().flatten())
            {
                match from {
                    From::Stage(stage) => pending.push(*stage),
                    From::Image(request) => reach.ask(request, images, &mut asked),
                    From::Scratch | From::Local(_) => {}
                }
            }
            if let Base::Stage(base) = plan.bases[index] {
                pending.push(base);
            }
            reach.stages[index] = Some(commands);
        }
        reach
    }

    fn ask(
        &mut self,
        request: &ImageRequest,
        images: &ResolvedImages,
        asked: &mut HashSet<ImageKey>,
    ) {
        if !images.contains_key(&request.key) && asked.insert(request.key.clone()) {
            self.missing.push(request.clone());
        }
    }

    /// Returns a stage's instructions, triggers of its base first.
    fn commands(
        &mut self,
        plan: &Plan,
        index: usize,
        images: &ResolvedImages,
        asked: &mut HashSet<ImageKey>,
    ) -> Vec<Command> {
        let stage = &plan.dockerfile.stages[index];
        let base = match &plan.bases[index] {
            Base::Replaced(base) => {
                if let Base::Image(request) = base.as_ref() {
                    self.ask(request, images, asked);
                }
                return Vec::new();
            }
            base => base,
        };
        if let Base::Image(request) = base {
            self.ask(request, images, asked);
        }
        let mut commands = Vec::new();
        for trigger in triggers(plan, base, images, stage.span) {
            match trigger.parse() {
                Ok(instruction) => {
                    commands.extend(self.command(plan, instruction, Some(trigger)));
                }
                Err(errors) => self.errors.extend(errors),
            }
        }
        for instruction in &stage.instructions {
            commands.extend(self.command(plan, instruction.clone(), None));
        }
        commands
    }

    fn command(
        &mut self,
        plan: &Plan,
        instruction: Instruction,
        trigger: Option<Trigger>,
    ) -> Option<Command> {
        let resolved = resolve_sources(plan, &instruction);
        let placed = match &trigger {
            Some(trigger) => resolved
                .map(|from| {
                    from.into_iter()
                        .map(|from| trigger.place_request(from))
                        .collect()
                })
                .map_err(|errors| trigger.relocate(errors)),
            None => resolved,
        };
        match placed {
            Ok(from) => Some(Command {
                instruction,
                from,
                trigger,
            }),
            Err(errors) => {
                self.errors.extend(errors);
                None
            }
        }
    }
}

/// Returns the triggers that a base brings along; `from` is the line that names the base.
fn triggers(plan: &Plan, base: &Base, images: &ResolvedImages, from: Span) -> Vec<Trigger> {
    match base {
        Base::Image(request) => images.get(&request.key).map(|image| {
            let texts = image.config.config.on_build.iter();
            texts.map(|text| Trigger::of_image(text, from)).collect()
        }),
        Base::Stage(stage) if !matches!(plan.bases[*stage], Base::Replaced(_)) => {
            let instructions = plan.dockerfile.stages[*stage].instructions.iter();
            let texts = instructions.filter_map(|instruction| match &instruction.kind {
                Kind::OnBuild(onbuild) => Some(Trigger::of_stage(&onbuild.trigger, instruction)),
                _ => None,
            });
            Some(texts.collect())
        }
        _ => None,
    }
    .unwrap_or_default()
}

fn resolve_sources(
    plan: &Plan,
    instruction: &Instruction,
) -> Result<Vec<Option<From>>, Diagnostics> {
    let mut errors = Vec::new();
    let mut sources = Vec::new();
    for word in from_words(instruction) {
        let resolved = word.map(|(kind, word)| plan.resolve_from(&word, kind == "copy"));
        match resolved.transpose() {
            Ok(from) => sources.push(from),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(sources)
    } else {
        Err(errors)
    }
}

/// Checks names and cycles in all stages, needed or not.
pub(super) fn check(plan: &Plan) -> Diagnostics {
    let mut errors = Vec::new();
    let mut needs: Vec<Vec<(usize, Span)>> = Vec::new();
    for (index, stage) in plan.dockerfile.stages.iter().enumerate() {
        let mut edges = Vec::new();
        if let Base::Stage(base) = plan.bases[index] {
            edges.push((base, stage.base.span));
        }
        if !matches!(plan.bases[index], Base::Replaced(_)) {
            for instruction in &stage.instructions {
                match resolve_sources(plan, instruction) {
                    Ok(sources) => edges.extend(stage_edges(&sources, instruction)),
                    Err(found) => errors.extend(found),
                }
            }
        }
        needs.push(edges);
    }
    errors.extend(find_cycle(plan, &needs));
    errors
}

fn stage_edges(sources: &[Option<From>], instruction: &Instruction) -> Vec<(usize, Span)> {
    let words = from_words(instruction);
    let pairs = sources.iter().zip(words);
    pairs
        .filter_map(|(source, word)| match (source, word) {
            (Some(From::Stage(stage)), Some((_, word))) => Some((*stage, word.span)),
            _ => None,
        })
        .collect()
}

/// Finds a stage that needs itself; iterative, as chains can be long.
fn find_cycle(plan: &Plan, needs: &[Vec<(usize, Span)>]) -> Option<Diagnostic> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; needs.len()];
    for root in 0..needs.len() {
        let mut path = vec![(root, 0)];
        while let Some((stage, edge)) = path.pop() {
            if edge == 0 && marks[stage] == Mark::Done {
                continue;
            }
            marks[stage] = Mark::Open;
            let Some(&(next, span)) = needs[stage].get(edge) else {
                marks[stage] = Mark::Done;
                continue;
            };
            path.push((stage, edge + 1));
            match marks[next] {
                Mark::Open => return Some(cycle_error(plan, &path, next, span)),
                Mark::New => path.push((next, 0)),
                Mark::Done => {}
            }
        }
    }
    None
}

fn cycle_error(plan: &Plan, path: &[(usize, usize)], again: usize, span: Span) -> Diagnostic {
    let start = path
        .iter()
        .position(|&(stage, _)| stage == again)
        .unwrap_or(0);
    let mut names: Vec<_> = path[start..]
        .iter()
        .map(|&(stage, _)| plan.stage_label(stage))
        .collect();
    names.push(plan.stage_label(again));
    let message = format!(
        "circular dependency detected on stage: {}",
        plan.stage_label(again)
    );
    Diagnostic::error(Code::CircularDependency, span, message)
        .with_note(format!("the stages need each other: {}", names.join(" → ")))
}
