use super::super::{Check, Findings, Given, Rule};
use cooper_oci::Platform;

use super::super::quoted;
use super::super::walk::FromLine;

pub(super) static RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    summary: "`FROM --platform` is not a constant",
    doc: "\
With a constant platform the file builds for that one only, whatever `cooper build --platform`
asks for. Leave the flag out, or use `$BUILDPLATFORM` for a stage that runs on the building
machine. A stage whose name holds the system or the architecture is meant for that platform and
is left alone.",
    bad: &["FROM --platform=linux/amd64 alpine AS base\n"],
    good: &[
        "FROM alpine AS base\n",
        "FROM --platform=$BUILDPLATFORM alpine AS base\n",
        "FROM --platform=linux/amd64 alpine AS build_amd64\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let (Some(value), Some(word)) = (&line.platform, &line.stage.platform) else {
        return;
    };
    if word.contains('$') {
        return;
    }
    let name = line
        .stage
        .name
        .as_ref()
        .map_or("", |name| name.value.as_str());
    let meant = value
        .word
        .parse::<Platform>()
        .is_ok_and(|platform| name.contains(&platform.os) || name.contains(&platform.architecture));
    if !meant {
        let shown = quoted(&value.word);
        let message = format!("FROM --platform flag should not use constant value {shown}");
        findings.warn(line.stage, word.span, message);
    }
}
