use super::super::walk::File;
use super::super::{Check, Findings, Given, Rule};
use super::super::{Site, is_description};
use crate::instruction::Kind;
use crate::source::Spanned;

pub(super) static RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    summary: "A comment right above a stage or `ARG` describes it",
    doc: "\
`cooper build --call=outline` and `--call=targets` show the comments that stand directly above a
`FROM` or an `ARG` and begin with the name of the stage (in small letters) or of the argument. Any
other comment there is reported, as its author may have meant one; an empty line below it says that it is not.",
    bad: &["# not a description\nFROM scratch AS base\n# nor this\nARG VERSION=1\n"],
    good: &[
        "# not a description\n\nFROM scratch AS base\n",
        "# base is for compiling\nFROM scratch AS base\n# VERSION is the version\nARG VERSION=1\n",
        "# about nothing\nFROM scratch\n",
    ],
    given: Given::Nothing,
    experimental: true,
    check: Check::File(check),
};

fn check(file: &File<'_>, findings: &mut Findings<'_>) {
    for stage in &file.dockerfile.stages {
        if let Some(name) = &stage.name {
            report(stage.into(), &stage.keyword, "FROM", &[name], findings);
        }
    }
    for instruction in file.instructions() {
        if let Kind::Arg(definitions) = &instruction.kind {
            let names: Vec<_> = definitions.iter().map(|one| &one.name).collect();
            report(
                instruction.into(),
                &instruction.keyword,
                "ARG",
                &names,
                findings,
            );
        }
    }
}

fn report(
    site: Site<'_>,
    keyword: &Spanned<String>,
    instruction: &str,
    names: &[&Spanned<String>],
    findings: &mut Findings<'_>,
) {
    let mut lines = site
        .comments
        .iter()
        .rev()
        .filter(|line| is_description(line));
    let Some(last) = lines.next() else { return };
    let first = last.split_whitespace().next().unwrap_or_default();
    if names.iter().any(|name| name.value == first) {
        return;
    }
    let example = match names {
        [name] => name.value.as_str(),
        _ => "<arg_key>",
    };
    let message =
        format!("Comment for {instruction} should follow the format: `# {example} <description>`");
    findings.warn(site, keyword.span, message);
}
