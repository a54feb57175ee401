//! What is known in a stage before each of its instructions.

use crate::image::ResolvedImages;
use crate::instruction::{ArgDefinition, Instruction, Kind};
use crate::plan::{Base, Plan};
use crate::word::Environment;

/// The state of a stage under way, as far as the rules ask for it.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// ENV and ARG values.
    pub(super) env: Environment,
    /// ARGs that have been declared, with a value or without.
    pub(super) declared: Vec<String>,
    /// Whether the variables of the base are known.
    pub(super) complete: bool,
    /// Whether somebody has chosen a shell.
    pub(super) shell: bool,
    /// Whether a WORKDIR of this file is in force.
    pub(super) workdir: bool,
}

impl Scope {
    /// Starts a stage; `done` holds the scopes at the ends of earlier stages.
    pub(super) fn start(
        plan: &Plan,
        index: usize,
        images: &ResolvedImages,
        done: &[Option<Self>],
    ) -> Self {
        let base = match &plan.bases[index] {
            Base::Replaced(base) => base.as_ref(),
            base => base,
        };
        let mut scope = match base {
            Base::Stage(stage) => done.get(*stage).cloned().flatten().unwrap_or_default(),
            Base::Image(request) => images
                .get(&request.key)
                .map(|image| {
                    let config = &image.config.config;
                    let mut scope = Self {
                        complete: true,
                        shell: !config.shell.is_empty(),
                        ..Self::default()
                    };
                    for entry in &config.env {
                        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                        scope.env.set(name, value);
                    }
                    scope
                })
                .unwrap_or_default(),
            Base::Scratch | Base::Local(_) | Base::Replaced(_) => Self {
                complete: true,
                ..Self::default()
            },
        };
        if scope.env.get("PATH").is_none() {
            scope.env.set("PATH", crate::lower::DEFAULT_PATH);
        }
        scope
    }

    /// Takes an instruction's effect in. Words that do not expand have been reported as errors
    /// elsewhere and count as empty.
    pub(super) fn apply(&mut self, plan: &Plan, instruction: &Instruction) {
        let lexer = plan.lexer();
        match &instruction.kind {
            Kind::Env(pairs) => {
                let expand = |word: &str, env: &Environment| {
                    lexer
                        .expand(word, env)
                        .map(|value| value.word)
                        .unwrap_or_default()
                };
                let values: Vec<_> = pairs
                    .iter()
                    .map(|pair| {
                        (
                            expand(&pair.name, &self.env),
                            expand(&pair.value, &self.env),
                        )
                    })
                    .collect();
                for (name, value) in values {
                    self.env.set(name, value);
                }
            }
            Kind::Arg(definitions) => {
                for definition in definitions {
                    self.declare(plan, definition);
                }
            }
            Kind::Shell(_) => self.shell = true,
            Kind::Workdir(_) => self.workdir = true,
            _ => {}
        }
    }

    /// Takes one ARG in: the value given for it, else its default, else the global one.
    pub(super) fn declare(&mut self, plan: &Plan, definition: &ArgDefinition) {
        let name = definition.name.value.as_str();
        let given = plan.settings.build_args.get(name).cloned();
        let value = match (given, &definition.default) {
            (Some(given), _) => Some(given),
            (None, Some(default)) => {
                let expanded = plan.lexer().expand(default, &self.env);
                expanded.ok().map(|value| value.word)
            }
            (None, None) => plan.globals.get(name).map(str::to_owned),
        };
        if let Some(value) = value {
            self.env.set(name, value);
        }
        self.declared.push(name.to_owned());
    }
}
