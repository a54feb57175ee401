//! Fragments that parse or fail; what they mean is tested with lowering.

use super::*;
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

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn errors_name_the_token_and_what_would_help() {
    let table: &[(&str, &[&str])] = &[
        (
            "RNU make",
            &["unknown-instruction@RNU: unknown instruction: RNU (did you mean `RUN`?)"],
        ),
        (
            "copi a b",
            &["unknown-instruction@copi: unknown instruction: copi (did you mean `COPY`?)"],
        ),
        (
            "FORM a",
            &["unknown-instruction@FORM: unknown instruction: FORM (did you mean `FROM`?)"],
        ),
        (
            "FROM a b",
            &["from-arguments@a b: FROM requires either one or three arguments"],
        ),
        (
            "FROM",
            &["from-arguments@FROM: FROM requires either one or three arguments"],
        ),
        (
            "FROM a AS 1x",
            &[
                "invalid-stage-name@1x: invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
            ],
        ),
        (
            "COPY --form=x a b",
            &["unknown-flag@--form=x: unknown flag: --form (did you mean `--from`?)"],
        ),
        (
            "COPY --from a b",
            &["missing-flag-value@--from: missing a value on flag: from"],
        ),
        (
            "COPY --link=maybe a b",
            &["invalid-flag-value@maybe: expecting boolean value for flag link, not: maybe"],
        ),
        (
            "COPY --chown=1 --chown=2 a b",
            &["duplicate-flag@--chown=2: duplicate flag specified: chown"],
        ),
        (
            "ADD --from=x a b",
            &[
                "unknown-flag@--from=x: unknown flag: --from (known flags: --chown, --chmod, --link, --exclude, --checksum, --unpack, --keep-git-dir)",
            ],
        ),
        (
            "COPY a",
            &[
                "missing-argument@a: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            ],
        ),
        (
            "COPY [\"a\"]",
            &[
                "missing-argument@[\"a\"]: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            ],
        ),
        (
            "COPY a <<EOF\nEOF",
            &["heredoc-destination@<<EOF: COPY cannot accept a heredoc as a destination"],
        ),
        (
            "RUN [\"a\", 1]",
            &[
                "json-not-strings@1: when using JSON array syntax, arrays must be comprised of strings only",
            ],
        ),
        (
            "RUN --network=hots x",
            &["invalid-network@hots: unsupported network mode \"hots\" (did you mean `host`?)"],
        ),
        (
            "RUN --security=x y",
            &["invalid-security@x: security \"x\" is not valid"],
        ),
        (
            "ENV",
            &["missing-argument@ENV: ENV requires at least one argument"],
        ),
        (
            "ENV a",
            &["missing-argument@a: ENV must have two arguments (write ENV a=value)"],
        ),
        (
            "ENV a=1 b c=2 d",
            &[
                "missing-equals@b: Syntax error - can't find = in \"b\". Must be of the form: name=value",
                "missing-equals@d: Syntax error - can't find = in \"d\". Must be of the form: name=value",
            ],
        ),
        ("ENV =x", &["blank-name@: ENV names can not be blank"]),
        (
            "ARG",
            &["missing-argument@ARG: ARG requires at least one argument"],
        ),
        ("ARG =x", &["blank-name@=x: ARG names can not be blank"]),
        (
            "WORKDIR",
            &["missing-argument@WORKDIR: WORKDIR requires exactly one argument"],
        ),
        (
            "EXPOSE",
            &["missing-argument@EXPOSE: EXPOSE requires at least one argument"],
        ),
        (
            "VOLUME []",
            &["missing-argument@VOLUME: VOLUME requires at least one argument"],
        ),
        (
            "VOLUME [\"\"]",
            &["empty-volume@\"\": VOLUME specified can not be an empty string"],
        ),
        (
            "SHELL /bin/sh",
            &["shell-not-json@/bin/sh: SHELL requires the arguments to be in JSON form"],
        ),
        (
            "SHELL []",
            &["missing-argument@SHELL: SHELL requires at least one argument"],
        ),
        (
            "HEALTHCHECK",
            &["missing-argument@HEALTHCHECK: HEALTHCHECK requires at least one argument"],
        ),
        (
            "HEALTHCHECK CMD",
            &["missing-argument@CMD: Missing command after HEALTHCHECK CMD"],
        ),
        (
            "HEALTHCHECK NONE x",
            &["healthcheck-none-arguments@x: HEALTHCHECK NONE takes no arguments"],
        ),
        (
            "HEALTHCHECK RUN x",
            &["unknown-healthcheck@RUN: Unknown type \"RUN\" in HEALTHCHECK (try CMD)"],
        ),
        (
            "HEALTHCHECK --interval=1x --timeout=1us --retries=-1 CMD a",
            &[
                "invalid-duration@1x: time: invalid duration \"1x\" (write a number with a unit, such as 30s, 1m30s or 500ms)",
                "invalid-duration@1us: Interval \"timeout\" cannot be less than 1ms",
                "invalid-retries@-1: --retries cannot be negative (-1)",
            ],
        ),
        (
            "ONBUILD",
            &["missing-argument@ONBUILD: ONBUILD requires at least one argument"],
        ),
        (
            "ONBUILD onbuild RUN a",
            &["invalid-trigger@onbuild: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
        ),
        (
            "ONBUILD FROM a",
            &["invalid-trigger@FROM: FROM isn't allowed as an ONBUILD trigger"],
        ),
        ("CMD --x a", &["unknown-flag@--x: unknown flag: --x"]),
        (
            "RUN --mount=type=bind,a\\\"b x",
            &[
                "invalid-mount@type=bind,a\\\"b: failed to parse csv mounts (separate fields with commas; quote a field as a whole)",
            ],
        ),
    ];
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
fn odd_commands_that_docker_accepts_parse() {
    for fragment in [
        "RUN",
        "CMD",
        "ENTRYPOINT",
        "CMD []",
        "CMD [\"a\"] b",
        "CMD ['a']",
        "ONBUILD NONSENSE x",
        "STOPSIGNAL 9",
        "HEALTHCHECK --interval=0s CMD [\"a\"]",
        "healthcheck none",
        "MAINTAINER a b <c>",
        "LABEL a b c",
        "COPY --exclude=a --exclude=b . .",
        "ADD --checksum=sha256:x --unpack=false --keep-git-dir http://a/b /c",
        "RUN --device=vendor.com/class=name,required x",
    ] {
        assert_eq!(errors(fragment), [""; 0], "{fragment}");
    }
}

#[test]
fn durations_are_read_as_go_reads_them() {
    let table: &[(&str, Option<i64>)] = &[
        ("0", Some(0)),
        ("1s", Some(1_000_000_000)),
        ("1m30s", Some(90_000_000_000)),
        ("1.5h", Some(5_400_000_000_000)),
        ("500ms", Some(500_000_000)),
        (".5s", Some(500_000_000)),
        ("-1s", Some(-1_000_000_000)),
        ("10", None),
        ("s", None),
        ("1x", None),
        ("1..5s", None),
        ("", None),
    ];
    for (text, want) in table {
        assert_eq!(parse_duration(text), *want, "{text}");
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
