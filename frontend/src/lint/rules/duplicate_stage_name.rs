use super::super::{Check, Findings, Given, Rule};
use std::collections::HashSet;

use super::super::quoted;
use super::super::walk::File;

pub(super) static RULE: Rule = Rule {
    name: "DuplicateStageName",
    summary: "No two stages have the same name",
    doc: "\
`--target`, `COPY --from` and `FROM` find a stage by its name. If several stages have it, the
last one above the place that asks is taken, which changes when stages are moved.",
    bad: &["FROM debian AS builder\nFROM golang AS builder\n"],
    good: &[
        "FROM debian AS deb-builder\nFROM golang AS go-builder\n",
        "FROM debian\nFROM golang\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::File(check),
};

fn check(file: &File<'_>, findings: &mut Findings<'_>) {
    let mut seen = HashSet::new();
    for stage in &file.dockerfile.stages {
        let Some(name) = &stage.name else { continue };
        if !seen.insert(name.value.as_str()) {
            let shown = quoted(&name.value);
            let message = format!("Duplicate stage name {shown}, stage names should be unique");
            findings.warn(stage, name.span, message);
        }
    }
}
