use super::super::walk::FromLine;
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    summary: "`FROM` does not ask for the target platform, which is the default",
    doc: "\
Without `--platform` a base image is taken for the platform that is built for. Saying
`--platform=$TARGETPLATFORM` changes nothing and makes a reader look for the reason.",
    bad: &[
        "FROM --platform=$TARGETPLATFORM alpine AS builder\n",
        "FROM --platform=${TARGETPLATFORM} alpine AS builder\n",
    ],
    good: &[
        "FROM alpine AS builder\n",
        "FROM --platform=$BUILDPLATFORM alpine AS builder\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let (Some(value), Some(word)) = (&line.platform, &line.stage.platform) else {
        return;
    };
    let alone = value.unmatched.is_empty() && value.matched.iter().eq(["TARGETPLATFORM"]);
    if alone && line.plan.globals.get("TARGETPLATFORM") == Some(value.word.as_str()) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.value
        );
        findings.warn(line.stage, word.span, message);
    }
}
