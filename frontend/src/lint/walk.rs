//! One walk over a file for all rules.

use std::cell::OnceCell;

use crate::dockerignore::DockerIgnore;
use crate::image::{ImageRequest, ResolvedImage};
use crate::instruction::{Instruction, Kind};
use crate::plan::{Base, Command, Plan, Reach};
use crate::source::{SourceFile, Span};
use crate::stage::{Dockerfile, Stage};
use crate::word::{Environment, Expansion};

use super::scope::Scope;
use super::{Check, Config, Findings, Inputs, RULES, Rule, StepCheck, Warning};

/// The whole file.
pub(super) struct File<'a> {
    pub(super) dockerfile: &'a Dockerfile,
}

impl<'a> File<'a> {
    /// Returns all instructions but FROM, in order.
    pub(super) fn instructions(&self) -> impl Iterator<Item = &'a Instruction> {
        self.dockerfile.preamble.iter().chain(self.in_stages())
    }

    /// Returns the instructions below the first FROM, without FROM lines.
    pub(super) fn in_stages(&self) -> impl Iterator<Item = &'a Instruction> {
        let stages = self.dockerfile.stages.iter();
        stages.flat_map(|stage| &stage.instructions)
    }
}

/// A FROM line with its variables expanded.
pub(super) struct FromLine<'a> {
    pub(super) source: &'a SourceFile,
    pub(super) plan: &'a Plan,
    pub(super) stage: &'a Stage,
    pub(super) base: Option<Expansion>,
    pub(super) platform: Option<Expansion>,
    /// The base image, if it is one and known.
    pub(super) image: Option<(&'a ImageRequest, &'a ResolvedImage)>,
    /// Global ARGs without build arguments; `None` if they cannot be evaluated.
    pub(super) defaults: &'a OnceCell<Option<Environment>>,
}

/// An instruction of a stage that is built.
pub(super) struct Step<'a> {
    pub(super) plan: &'a Plan,
    pub(super) ignore: Option<&'a DockerIgnore>,
    pub(super) instruction: &'a Instruction,
    /// What is known before it.
    pub(super) scope: &'a Scope,
}

/// Calls `visit` with each port of an EXPOSE, variables expanded.
pub(super) fn each_port(step: &Step<'_>, visit: &mut dyn FnMut(&str, Span)) {
    let Kind::Expose(ports) = &step.instruction.kind else {
        return;
    };
    for port in ports {
        let value = step.plan.lexer().expand(port, &step.scope.env);
        for word in value.map(|value| value.words).unwrap_or_default() {
            visit(&word, port.span);
        }
    }
}

/// Runs the rules that `config` wants; the warnings come in the order of the file.
pub fn check(inputs: &Inputs<'_>, config: &Config) -> Vec<Warning> {
    let mut walk = Walk {
        inputs,
        findings: Findings {
            rule: RULES[0],
            config,
            warnings: Vec::new(),
        },
    };
    walk.files();
    walk.base_lines();
    walk.lines();
    walk.stages();
    let mut warnings = walk.findings.warnings;
    warnings.sort_by_key(|warning| warning.location.start);
    warnings
}

struct Walk<'a> {
    inputs: &'a Inputs<'a>,
    findings: Findings<'a>,
}

impl<'a> Walk<'a> {
    /// Picks the functions of one kind, with their rules, that are to run.
    fn pick<F>(&self, kind: impl Fn(&'static Check) -> Option<F>) -> Vec<(&'static Rule, F)> {
        let config = self.findings.config;
        RULES
            .iter()
            .filter_map(|rule| Some((*rule, kind(&rule.check)?)))
            .filter(|(rule, _)| config.runs(rule))
            .collect()
    }

    fn dockerfile(&self) -> &'a Dockerfile {
        &self.inputs.plan.dockerfile
    }

    fn files(&mut self) {
        let file = File {
            dockerfile: self.dockerfile(),
        };
        let checks = self.pick(|check| match check {
            Check::File(check) => Some(check),
            _ => None,
        });
        for (rule, check) in checks {
            self.findings.rule = rule;
            check(&file, &mut self.findings);
        }
    }

    fn base_lines(&mut self) {
        let checks = self.pick(|check| match check {
            Check::From(check) => Some(check),
            _ => None,
        });
        if checks.is_empty() {
            return;
        }
        let Inputs {
            source,
            plan,
            images,
            ..
        } = *self.inputs;
        let defaults = OnceCell::new();
        let expand = |word: &str| plan.lexer().expand(word, &plan.globals).ok();
        for (index, stage) in self.dockerfile().stages.iter().enumerate() {
            let image = match &plan.bases[index] {
                Base::Image(request) => images.get(&request.key).map(|image| (&**request, image)),
                _ => None,
            };
            let line = FromLine {
                source,
                plan,
                stage,
                base: expand(&stage.base),
                platform: stage.platform.as_ref().and_then(|word| expand(word)),
                image,
                defaults: &defaults,
            };
            for (rule, check) in &checks {
                self.findings.rule = rule;
                check(&line, &mut self.findings);
            }
        }
    }

    fn lines(&mut self) {
        let checks = self.pick(|check| match check {
            Check::Line(check) => Some(check),
            _ => None,
        });
        let file = File {
            dockerfile: self.dockerfile(),
        };
        for instruction in file.instructions() {
            for (rule, check) in &checks {
                self.findings.rule = rule;
                check(instruction, &mut self.findings);
            }
        }
    }

    fn stages(&mut self) {
        let stages = self.pick(|check| match check {
            Check::Stage(check) => Some(check),
            _ => None,
        });
        let steps = self.pick(|check| match check {
            Check::Step(check) => Some(check),
            _ => None,
        });
        if stages.is_empty() && steps.is_empty() {
            return;
        }
        let Inputs { plan, images, .. } = *self.inputs;
        let reach = Reach::find(plan, images);
        let mut done: Vec<Option<Scope>> = Vec::new();
        for (index, commands) in reach.stages.iter().enumerate() {
            let Some(commands) = commands else {
                done.push(None);
                continue;
            };
            if !matches!(plan.bases[index], Base::Replaced(_)) {
                for (rule, check) in &stages {
                    self.findings.rule = rule;
                    check(&plan.dockerfile.stages[index], &mut self.findings);
                }
            }
            let mut scope = Scope::start(plan, index, images, &done);
            for command in commands {
                self.step(&steps, command, &scope);
                scope.apply(plan, &command.instruction);
            }
            done.push(Some(scope));
        }
    }

    /// Runs the rules on one instruction. A trigger stands in no file of the user's.
    fn step(&mut self, checks: &[(&'static Rule, &StepCheck)], command: &Command, scope: &Scope) {
        if command.trigger.is_some() {
            return;
        }
        let step = Step {
            plan: self.inputs.plan,
            ignore: self.inputs.ignore,
            instruction: &command.instruction,
            scope,
        };
        for (rule, check) in checks {
            self.findings.rule = rule;
            check(&step, &mut self.findings);
        }
    }
}
