use super::super::walk::FromLine;
use super::super::{Check, Findings, Given, Rule};

pub(super) static RULE: Rule = Rule {
    name: "FromAsCasing",
    summary: "`AS` is written in the same case as its `FROM`",
    doc: "\
Keywords may be written in capitals or in small letters. A line that does both reads as if one
of its keywords were a name.",
    bad: &["FROM debian as builder\n", "from debian AS builder\n"],
    good: &["FROM debian AS builder\n", "from debian as builder\n"],
    given: Given::Nothing,
    experimental: false,
    check: Check::From(check),
};

fn check(line: &FromLine<'_>, findings: &mut Findings<'_>) {
    let Some(keyword) = &line.stage.as_keyword else {
        return;
    };
    let from = &line.stage.keyword;
    let small = |text: &str| !text.contains(|c: char| c.is_ascii_uppercase());
    if small(from) != small(keyword) {
        let (keyword_text, from_text) = (&keyword.value, &from.value);
        let message = format!("'{keyword_text}' and '{from_text}' keywords' casing do not match");
        findings.warn(line.stage, keyword.span, message);
    }
}
