use super::super::{Check, Findings, Given, Rule};
use cooper_oci::Reference;

use super::super::walk::FromLine;

pub(super) static RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    summary: "`FROM` names an image even without build arguments",
    doc: "\
A file that builds only with some `--build-arg` surprises whoever has nothing but the file.
Give the `ARG`s that a `FROM` uses a default with which the line is still the name of an image.",
    bad: &["ARG TAG\nFROM busybox:${TAG}\n"],
    good: &[
        "ARG TAG=latest\nFROM busybox:${TAG}\n",
        "ARG VARIANT\nFROM busybox:stable${VARIANT}\n",
        "ARG TAG\nFROM busybox:${TAG:-stable}\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let base = &line.stage.base;
    // Without build arguments these are the defaults, and the plan has found them good.
    if !base.contains('$') || line.plan.settings.build_args.is_empty() {
        return;
    }
    let defaults = line.defaults.get_or_init(|| line.plan.default_globals());
    let name = defaults
        .as_ref()
        .and_then(|env| line.plan.lexer().expand(base, env).ok());
    if name.is_none_or(|name| name.word.parse::<Reference>().is_err()) {
        let message = format!(
            "Default value for ARG {} results in empty or invalid base image name",
            base.value
        );
        findings.warn(line.stage, base.span, message);
    }
}
