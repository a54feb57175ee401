use super::super::{Check, Findings, Rule};
use std::collections::BTreeMap;

use super::super::walk::Step;
use crate::instruction::each_word;
use crate::source::{Span, Spanned};

pub(super) static RULE: Rule = Rule {
    name: "UndefinedVar",
    summary: "Variables are set before they are used",
    doc: "\
A variable that is set neither by an `ENV` or `ARG` of the stage nor by its base image expands to
nothing, silently. An `ARG` above the first `FROM` has to be declared again in the stage that
uses it. Commands in shell form are not looked at, as there it is the shell that expands; nor
are expressions that say what is to happen, such as `${name:-default}`.

If the name looks like one that is set, the message says so.",
    bad: &[
        "FROM alpine AS base\nCOPY $foo .\n",
        "FROM alpine\nENV PATH=$PAHT:/app/bin\n",
        "ARG VERSION=1\nFROM alpine\nLABEL version=$VERSION\n",
    ],
    good: &[
        "FROM alpine AS base\nARG foo\nCOPY $foo .\n",
        "FROM alpine\nENV HOME=/home\nENV BIN=$HOME/bin\n",
        "FROM alpine\nRUN echo $foo\nCMD [\"$foo\"]\n",
        "FROM alpine\nLABEL version=${VERSION:-1}\n",
    ],
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    // Without the base image anything may be set.
    if !step.scope.complete {
        return;
    }
    let mut undefined: BTreeMap<String, Span> = BTreeMap::new();
    each_word(step.instruction, &mut |word| {
        if !word.text.contains('$') {
            return;
        }
        let value = word
            .lexer(step.plan.lexer())
            .expand(word.text, &step.scope.env);
        for name in value.map(|value| value.unmatched).unwrap_or_default() {
            let place = reference(word.text, &name);
            undefined.entry(name).or_insert(place);
        }
    });
    for (name, span) in undefined {
        report(step, &name, span, findings);
    }
}

/// Returns where a word refers to a variable first.
fn reference(word: &Spanned<String>, name: &str) -> Span {
    let starts = word.match_indices('$').map(|(at, _)| at);
    let found = starts.into_iter().find_map(|at| {
        let rest = &word[at + 1..];
        let brace = usize::from(rest.starts_with('{'));
        let after = rest[brace..].strip_prefix(name)?;
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        (!goes_on).then(|| at..at + 1 + brace + name.len() + usize::from(after.starts_with('}')))
    });
    found.map_or(word.span, |range| word.place(range))
}

fn report(step: &Step<'_>, name: &str, span: Span, findings: &mut Findings<'_>) {
    let declared = || step.scope.declared.iter().map(String::as_str);
    if declared().any(|one| one == name) {
        return;
    }
    let near = findings.suggestion(name, "$", step.scope.env.names().chain(declared()));
    let mut globals = step.plan.dockerfile.global_args();
    let global = step.plan.globals.get(name).is_some() || globals.any(|one| one.name.value == name);
    let help = global.then(|| format!("declare it in this stage too: `ARG {name}`"));
    let message = format!("Usage of undefined variable '${name}'{near}");
    findings.warn_with_help(step.instruction, span, message, help);
}
