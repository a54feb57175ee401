use super::super::quoted;
use super::super::walk::Step;
use super::super::{Check, Findings, Given, Rule};
use crate::instruction::Kind;

pub(super) static RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    summary: "The first `WORKDIR` of a stage is absolute",
    doc: "\
A relative `WORKDIR` continues the one before it. If that is the base image's own, the result
depends on a directory that this file does not name, and the base image can change it.",
    bad: &["FROM nginx AS web\nWORKDIR usr/share/nginx/html\n"],
    good: &[
        "FROM nginx AS web\nWORKDIR /usr/share/nginx/html\nWORKDIR app\n",
        "FROM nginx AS base\nWORKDIR /srv\nFROM base\nWORKDIR app\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    let Kind::Workdir(word) = &step.instruction.kind else {
        return;
    };
    if step.scope.workdir {
        return;
    }
    let Ok(path) = step.plan.lexer().expand(word, &step.scope.env) else {
        return;
    };
    if !path.word.starts_with('/') {
        let shown = quoted(&path.word);
        let message = format!(
            "Relative workdir {shown} can have unexpected results if the base image changes"
        );
        findings.warn(step.instruction, word.span, message);
    }
}
