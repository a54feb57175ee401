use super::super::walk::FromLine;
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "StageNameCasing",
    summary: "Names of stages are written in lower case",
    doc: "\
Instructions are written in capitals by convention; a stage's name in small letters cannot be
taken for one. Names are also compared without regard to case, so that `Build` and `build` are
the same stage: one spelling throughout avoids the question.",
    bad: &["FROM alpine AS BuilderBase\n"],
    good: &["FROM alpine AS builder-base\n"],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let Some(name) = &line.stage.name else { return };
    let written = line.source.slice(name.span);
    if written != name.value {
        let message = format!("Stage name '{written}' should be lowercase");
        findings.warn(line.stage, name.span, message);
    }
}
