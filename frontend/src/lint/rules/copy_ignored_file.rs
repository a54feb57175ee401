use super::super::quoted;
use super::super::walk::Step;
use super::super::{Check, Findings, Given, Rule};
use crate::dockerignore::{DockerIgnore, Verdict, clean};
use crate::instruction::Kind;

pub(super) static RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    summary: "`COPY` and `ADD` name no files that `.dockerignore` leaves out",
    doc: "\
Files that `.dockerignore` leaves out are not part of the build context: for a `COPY` they do not
exist, and the build fails there. Patterns such as `*.txt` are not looked at, as they may match
other files.",
    bad: &[
        "FROM scratch\nCOPY app.log /logs/\n",
        "FROM scratch\nADD app.log app.conf /etc/\n",
    ],
    good: &[
        "FROM scratch\nCOPY app.conf /etc/\n",
        "FROM scratch\nCOPY *.log /logs/\n",
    ],
    given: Given::Ignored("*.log\n"),
    experimental: false,
    check: Check::Step(check),
};

fn check(step: &Step<'_>, findings: &mut Findings<'_>) {
    let Some(ignore) = step.ignore.filter(|ignore| !ignore.is_empty()) else {
        return;
    };
    let (files, name) = match &step.instruction.kind {
        Kind::Copy(files) if files.from.is_none() => (files, "Copy"),
        Kind::Add(files) => (files, "Add"),
        _ => return,
    };
    for source in &files.sources {
        let Ok(value) = step.plan.lexer().expand(source, &step.scope.env) else {
            continue;
        };
        if is_plain(&value.word) && is_left_out(ignore, &value.word) {
            let shown = quoted(&value.word);
            let message =
                format!("Attempting to {name} file {shown} that is excluded by .dockerignore");
            findings.warn(step.instruction, source.span, message);
        }
    }
}

/// Whether a source is the path of one file in the context.
fn is_plain(source: &str) -> bool {
    let remote = source.contains("://") || source.starts_with("git@");
    !remote && !source.contains(['*', '?', '[', '\\'])
}

fn is_left_out(ignore: &DockerIgnore, source: &str) -> bool {
    let path = clean(&format!("/{source}"));
    let path = path.trim_start_matches('/');
    // A directory counts only if nothing in it is taken back in.
    !path.is_empty() && path != "." && ignore.verdict(path, true) == Verdict::Exclude
}
