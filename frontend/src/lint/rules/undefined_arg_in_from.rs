use super::super::walk::FromLine;
use super::super::{Check, Findings, Given, Rule};
use crate::source::Span;

/// Arguments that exist on every platform's terms, but may be empty.
const PLATFORM_ARGS: [&str; 4] = [
    "BUILDVARIANT",
    "BUILDOSVERSION",
    "TARGETVARIANT",
    "TARGETOSVERSION",
];

pub(super) static RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    summary: "`FROM` uses only arguments that are declared above it",
    doc: "\
A `FROM` line knows the `ARG`s above the first `FROM` and the platform arguments such as
`BUILDPLATFORM`; nothing else, not even the `ARG`s of the stage before it. Any other name counts
as empty, which mostly gives an image that nobody meant. A name with a default, as in
`${VARIANT:-slim}`, is accepted.",
    bad: &[
        "FROM node:22${VARIANT} AS build\n",
        "FROM --platform=linux/amd64$BUILDPLATFROM node:22 AS build_amd64\n",
    ],
    good: &[
        "ARG VARIANT=-alpine3.20\nFROM node:22${VARIANT} AS build\n",
        "FROM --platform=$BUILDPLATFORM node:22 AS build\n",
        "FROM node:${VERSION:-22}\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let words = [
        (line.base.as_ref(), Some(&line.stage.base)),
        (line.platform.as_ref(), line.stage.platform.as_ref()),
    ];
    for (value, word) in words {
        let (Some(value), Some(word)) = (value, word) else {
            continue;
        };
        for name in &value.unmatched {
            report(line, name, word.span, findings);
        }
    }
}

fn report(line: &FromLine<'_>, name: &str, span: Span, findings: &mut Findings<'_>) {
    let declared = || {
        line.plan
            .dockerfile
            .global_args()
            .map(|one| one.name.value.as_str())
    };
    if declared().any(|one| one == name) || PLATFORM_ARGS.contains(&name) {
        return;
    }
    let near = findings.suggestion(name, "", declared().chain(line.plan.globals.names()));
    let message = format!("FROM argument '{name}' is not declared{near}");
    findings.warn(line.stage, span, message);
}
