//! FROM.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
    ]);
}
