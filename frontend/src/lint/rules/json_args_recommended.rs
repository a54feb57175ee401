use super::super::walk::Step;
use super::super::{Check, Findings, Given, Rule};
use crate::instruction::{CommandForm, Kind, almost_json};

pub(super) static RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    summary: "`CMD` and `ENTRYPOINT` are JSON arrays",
    doc: "\
A command that is no JSON array is run by a shell. The shell is then process 1 of the container
and does not pass on signals: the program does not hear that it should stop, and is killed ten
seconds later. As a JSON array the program itself is process 1. It then has the duties of one,
such as reaping orphaned children.

A stage that chooses its shell with `SHELL`, or whose base image does, is left alone: there the
shell is wanted.",
    bad: &[
        "FROM alpine\nENTRYPOINT my-program start\n",
        "FROM alpine\nCMD my-program start\n",
    ],
    good: &[
        "FROM alpine\nENTRYPOINT [\"my-program\", \"start\"]\n",
        "FROM alpine\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT echo hello\n",
        "FROM alpine\nHEALTHCHECK CMD true\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    let (Kind::Cmd(command) | Kind::Entrypoint(command)) = &step.instruction.kind else {
        return;
    };
    // Whether the base chose a shell is not known before it has been looked up.
    let CommandForm::Shell(text) = &command.form else {
        return;
    };
    if step.scope.shell {
        return;
    }
    let name = step.instruction.kind.name();
    let message = format!(
        "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
    );
    findings.warn_with_help(step.instruction, command.span, message, almost_json(text));
}
