//! ENV, LABEL and ARG.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
            "LABEL a=b c",
            &[
                "missing-equals@c: Syntax error - can't find = in \"c\". Must be of the form: name=value",
            ],
        ),
        (
            "LABEL",
            &["missing-argument@LABEL: LABEL requires at least one argument"],
        ),
        ("LABEL =x", &["blank-name@: LABEL names can not be blank"]),
        (
            "ENV --x a=b c",
            &[
                "unknown-flag@--x: unknown flag: --x",
                "missing-equals@c: Syntax error - can't find = in \"c\". Must be of the form: name=value",
            ],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[("LABEL a b c", &[])]);
}
