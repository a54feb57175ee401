//! COPY and ADD.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
            "COPY --form=x a",
            &[
                "unknown-flag@--form=x: unknown flag: --form (did you mean `--from`?)",
                "missing-argument@a: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            ],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[
        ("COPY --exclude=a --exclude=b . .", &[]),
        (
            "ADD --checksum=sha256:x --unpack=false --keep-git-dir http://a/b /c",
            &[],
        ),
    ]);
}
