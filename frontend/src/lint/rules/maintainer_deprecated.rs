use super::super::{Check, Findings, Given, Rule};
use crate::instruction::{Instruction, Kind};

pub(super) static RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    summary: "The author is a label, not a `MAINTAINER`",
    doc: "\
`MAINTAINER` sets a single field of the image that few tools show. The label
`org.opencontainers.image.authors` says the same, is listed with the image's other facts and can
be queried.",
    bad: &["FROM alpine\nMAINTAINER moby@example.com\n"],
    good: &["FROM alpine\nLABEL org.opencontainers.image.authors=\"moby@example.com\"\n"],
    given: Given::Nothing,
    experimental: false,
    check: Check::Line(check),
};

fn check(instruction: &Instruction, findings: &mut Findings<'_>) {
    if matches!(instruction.kind, Kind::Maintainer(_)) {
        let message = "Maintainer instruction is deprecated in favor of using label";
        findings.warn(instruction, instruction.keyword.span, message);
    }
}
