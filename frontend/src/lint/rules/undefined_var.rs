use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::scope::Scope;
use super::super::walk::Step;
use super::super::{Check, Findings, Given, Rule};
use crate::instruction::{ArgDefinition, Kind, each_word};
use crate::lower::NO_VARIABLES;
use crate::source::{Span, Spanned};
use crate::word::Lexer;

pub(super) static RULE: Rule = Rule {
    name: "UndefinedVar",
    summary: "Variables are set before they are used",
    doc: "\
A variable that is set neither by an `ENV` or `ARG` of the stage nor by its base image expands to
nothing, silently. An `ARG` above the first `FROM` has to be declared again in the stage that
uses it, and so has what the build itself knows (`TARGETARCH`, `SOURCE_DATE_EPOCH`). Commands in shell form are not looked at, as there it is the shell that expands; nor
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
    given: Given::Nothing,
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    // Without the base image anything may be set.
    if !step.scope.complete {
        return;
    }
    if let Kind::Arg(definitions) = &step.instruction.kind {
        return check_arg(step, definitions, findings);
    }
    let mut undefined = BTreeMap::new();
    each_word(step.instruction, &mut |word| {
        collect(
            word.text,
            word.lexer(step.plan.lexer()),
            step.scope,
            &mut undefined,
        );
    });
    for (name, span) in undefined {
        report(step, step.scope, &name, span, findings);
    }
}

/// Looks at the defaults that count; each name is known to those after it.
fn check_arg(step: &Step<'_>, definitions: &[ArgDefinition], findings: &mut Findings<'_>) {
    let mut scope = Cow::Borrowed(step.scope);
    let given = &step.plan.settings.build_args;
    for (at, definition) in definitions.iter().enumerate() {
        let mut undefined = BTreeMap::new();
        if let Some(default) = &definition.default
            && !given.contains_key(&definition.name.value)
        {
            collect(default, step.plan.lexer(), &scope, &mut undefined);
        }
        for (name, span) in undefined {
            report(step, &scope, &name, span, findings);
        }
        if at + 1 < definitions.len() {
            scope.to_mut().declare(step.plan, definition);
        }
    }
}

/// Adds the variables of a word that nothing sets, each with its first place.
fn collect(
    word: &Spanned<String>,
    lexer: Lexer,
    scope: &Scope,
    undefined: &mut BTreeMap<String, Span>,
) {
    if !word.contains('$') {
        return;
    }
    let value = lexer.expand(word, &scope.env);
    for name in value.map(|value| value.unmatched).unwrap_or_default() {
        let place = reference(word, &name);
        undefined.entry(name).or_insert(place);
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

fn report(step: &Step<'_>, scope: &Scope, name: &str, span: Span, findings: &mut Findings<'_>) {
    let declared = || scope.declared.iter().map(String::as_str);
    if declared().any(|one| one == name) || NO_VARIABLES.contains(&name) {
        return;
    }
    let near = findings.suggestion(name, "$", scope.env.names().chain(declared()));
    let mut globals = step.plan.dockerfile.global_args();
    let global = step.plan.globals.get(name).is_some() || globals.any(|one| one.name.value == name);
    let help = global.then(|| format!("declare it in this stage too: `ARG {name}`"));
    let message = format!("Usage of undefined variable '${name}'{near}");
    findings.warn_with_help(step.instruction, span, message, help);
}
