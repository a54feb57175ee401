use super::super::{Check, Findings, Given, Rule};
use crate::instruction::{Instruction, Kind};

pub(super) static RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    summary: "`ENV` and `LABEL` are written with `=`",
    doc: "\
Without `=` the rest of the line is the value, blanks included, so that only one variable fits on
a line and a second pair becomes part of the first one's value unnoticed.",
    bad: &["FROM alpine\nENV foo bar\n", "FROM alpine\nLABEL foo bar\n"],
    good: &[
        "FROM alpine\nENV foo=bar other=\"b a r\"\n",
        "FROM alpine\nENV foo= bar=1\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::Line(check),
};

fn check(instruction: &Instruction, findings: &mut Findings<'_>) {
    let (Kind::Env(pairs) | Kind::Label(pairs)) = &instruction.kind else {
        return;
    };
    let Some(pair) = pairs.iter().find(|pair| pair.legacy) else {
        return;
    };
    let name = instruction.kind.name();
    let message = format!(
        "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
    );
    findings.warn(instruction, pair.name.span.join(pair.value.span), message);
}
