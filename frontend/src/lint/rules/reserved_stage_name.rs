use super::super::quoted;
use super::super::walk::FromLine;
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "ReservedStageName",
    summary: "No stage is called `context` or `scratch`",
    doc: "\
`FROM scratch` starts from nothing, and `context` stands for the build context. A stage of that
name cannot be relied on to be found.",
    bad: &["FROM alpine AS scratch\nFROM alpine AS context\n"],
    good: &["FROM alpine AS builder\nFROM scratch\n"],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let Some(name) = &line.stage.name else { return };
    if matches!(name.as_str(), "context" | "scratch") {
        let shown = quoted(name);
        let message = format!("Stage name should not use the same name as reserved stage {shown}");
        findings.warn(line.stage, name.span, message);
    }
}
