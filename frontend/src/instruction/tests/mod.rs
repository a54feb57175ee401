//! Fragments that parse or fail, one file an instruction family; what they mean is tested with
//! lowering.

mod command;
mod config;
mod copy;
mod from;
mod health;
mod keyword;
mod onbuild;
mod run;
mod variables;

use crate::source::SourceFile;
use crate::stage::parse;

/// Parses a fragment below `FROM a` and shows the errors as `code@text: message`.
fn errors(fragment: &str) -> Vec<String> {
    let source = SourceFile::new("Dockerfile", format!("FROM a\n{fragment}"));
    match parse(&source) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .into_iter()
            .map(|error| format!("{}@{}: {error}", error.code, source.slice(error.span)))
            .collect(),
    }
}

/// Asserts what each fragment is reported for, if for anything.
fn assert_errors(table: &[(&str, &[&str])]) {
    for (fragment, want) in table {
        assert_eq!(errors(fragment), *want, "{fragment}");
    }
}

#[test]
fn all_errors_of_a_file_are_reported_at_once() {
    let found = errors("RNU a\nCOPY b\nENV\nRUN ok\nRUN --foo x");
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn what_does_not_parse_hides_nothing_that_is_wrong_anyway() {
    let table: &[(&str, &[&str])] = &[
        (
            "RNU a\nEXPOSE x\nSTOPSIGNAL y",
            &[
                "unknown-instruction@RNU",
                "invalid-port@x",
                "invalid-signal@y",
            ],
        ),
        (
            "RNU a\nRUN --mount=type=x b\nCOPY --chmod=9 a b\nADD --checksum=y http://a/b c",
            &[
                "unknown-instruction@RNU",
                "invalid-mount@type=x",
                "invalid-chmod@9",
                "invalid-checksum@y",
            ],
        ),
        // What depends on variables, on the base image or on options is left for later.
        (
            "RNU a\nEXPOSE $p\nCOPY --chown=u a b\nRUN --security=insecure x\nUSER ${x:?y}",
            &["unknown-instruction@RNU"],
        ),
        // So is what a broken FROM may have been about.
        (
            "FROM a b\nCOPY --from=s a b\nFROM scratch AS s\nEXPOSE x",
            &["from-arguments@a b", "invalid-port@x"],
        ),
        ("ENV\nONBUILD EXPOSE x", &["missing-argument@ENV"]),
    ];
    for (fragment, want) in table {
        let found = errors(fragment);
        let found: Vec<_> = found
            .iter()
            .map(|error| error.split(": ").next().unwrap_or_default())
            .collect();
        assert_eq!(found, *want, "{fragment}");
    }
}

#[test]
fn a_file_must_have_a_stage() {
    let table: &[(&str, &str)] = &[
        ("", "the Dockerfile cannot be empty"),
        (
            "# nothing\n",
            "file with no instructions (a Dockerfile needs at least one FROM)",
        ),
        (
            "ARG a\n",
            "dockerfile contains no stages to build (a Dockerfile needs at least one FROM)",
        ),
        (
            "RUN a\nRUN b\nFROM c\n",
            "no build stage in current context: RUN before FROM",
        ),
        (
            "\u{7f}ELF\0\u{1}\n",
            "Dockerfile is a binary file, not a Dockerfile",
        ),
    ];
    for (text, want) in table {
        let errors = parse(&SourceFile::new("Dockerfile", *text)).unwrap_err();
        let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(messages, [*want], "{text:?}");
    }
}

#[test]
fn a_build_argument_counts_in_place_of_the_syntax_directive() {
    let read = |text: &str, given: &str| {
        let args = [("BUILDKIT_SYNTAX".to_owned(), given.to_owned())].into();
        let source = SourceFile::new("Dockerfile", text);
        crate::parse_for(&source, &args).map_err(|errors| errors[0].to_string())
    };
    let foreign = "# syntax=example.com/mine:1\nFROM a\n";
    let table: &[(&str, &str, Option<&str>)] = &[
        (foreign, "dockerfile.v0", None),
        (foreign, "docker/dockerfile:1.7", None),
        (
            "// syntax=example.com/mine:1\nFROM a\n",
            "",
            Some(
                "the Dockerfile asks for the frontend image example.com/mine:1, which cannot be run",
            ),
        ),
        (
            foreign,
            "",
            Some(
                "the Dockerfile asks for the frontend image example.com/mine:1, which cannot be run",
            ),
        ),
        (
            "FROM a\n",
            "example.com/x",
            Some(
                "--build-arg BUILDKIT_SYNTAX asks for the frontend image example.com/x, which cannot be run (leave it away, or say BUILDKIT_SYNTAX=dockerfile.v0)",
            ),
        ),
    ];
    for (text, given, want) in table {
        assert_eq!(read(text, given).err().as_deref(), *want, "{text} {given}");
    }
}
