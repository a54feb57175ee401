use super::super::{Check, Findings, Rule};
use std::collections::BTreeMap;

use super::super::walk::Step;
use super::super::words::each_word;
use crate::source::Span;

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
        let lexer = step.plan.lexer();
        let lexer = if word.inline {
            lexer.ignore_quotes()
        } else {
            lexer
        };
        let value = lexer.expand(word.text, &step.scope.env);
        for name in value.map(|value| value.unmatched).unwrap_or_default() {
            undefined.entry(name).or_insert(word.span);
        }
    });
    for (name, span) in undefined {
        report(step, &name, span, findings);
    }
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
