//! CMD, ENTRYPOINT and SHELL.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
        (
            "SHELL /bin/sh",
            &["shell-not-json@/bin/sh: SHELL requires the arguments to be in JSON form"],
        ),
        (
            "SHELL []",
            &["missing-argument@SHELL: SHELL requires at least one argument"],
        ),
        ("CMD --x a", &["unknown-flag@--x: unknown flag: --x"]),
        (
            "ENTRYPOINT [\"a\", [1]]",
            &[
                "json-not-strings@[1]: when using JSON array syntax, arrays must be comprised of strings only",
            ],
        ),
        (
            "SHELL",
            &["missing-argument@SHELL: SHELL requires at least one argument"],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[
        ("CMD", &[]),
        ("ENTRYPOINT", &[]),
        ("CMD []", &[]),
        ("CMD [\"a\"] b", &[]),
        ("CMD ['a']", &[]),
        ("CMD [ -f x ] && y", &[]),
    ]);
}
