use super::super::quoted;
use super::super::{Check, Findings, Given, Rule};
use crate::instruction::{Instruction, Kind};

const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
const HARMLESS: [&str; 3] = ["public", "file", "version"];

pub(super) static RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    summary: "Secrets are mounted, not passed in `ARG` or `ENV`",
    doc: "\
The values of `ENV` are part of the image, and those of `ARG` of its history: whoever can pull the
image can read them. `RUN --mount=type=secret` shows a secret to one step and leaves no trace of
it. Variables are judged by their names: one of the words apikey, auth, credential, credentials,
key, password, pword, passwd, secret and token between underscores is suspicious, unless the
name also has public, file or version.",
    bad: &[
        "FROM scratch\nARG AWS_SECRET_ACCESS_KEY\n",
        "FROM scratch\nENV PASSWORD=hunter2\n",
    ],
    good: &[
        "FROM scratch\nARG PUBLIC_KEY\nENV TOKEN_FILE=/run/secrets/token KEYBOARD=us KEY_VERSION=2\n",
    ],
    given: Given::Nothing,
    experimental: false,
    check: Check::Line(check),
};

fn check(instruction: &Instruction, findings: &mut Findings<'_>) {
    let names: Vec<_> = match &instruction.kind {
        Kind::Arg(definitions) => definitions.iter().map(|one| &one.name).collect(),
        Kind::Env(pairs) => pairs.iter().map(|pair| &pair.name).collect(),
        _ => return,
    };
    for name in names.into_iter().filter(|name| is_secret(name)) {
        let (kind, shown) = (instruction.kind.name(), quoted(name));
        let message =
            format!("Do not use ARG or ENV instructions for sensitive data ({kind} {shown})");
        findings.warn(instruction, name.span, message);
    }
}

/// Whether a variable's name says that its value is a secret.
pub fn is_secret(name: &str) -> bool {
    let any = |list: &[&str]| {
        let mut words = name.split('_');
        words.any(|word| list.iter().any(|one| word.eq_ignore_ascii_case(one)))
    };
    any(&SECRET) && !any(&HARMLESS)
}
