//! ONBUILD.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
        (
            "ONBUILD MAINTAINER x",
            &["invalid-trigger@MAINTAINER: MAINTAINER isn't allowed as an ONBUILD trigger"],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[("ONBUILD NONSENSE x", &[])]);
}
