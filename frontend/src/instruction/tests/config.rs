//! WORKDIR, USER, EXPOSE, VOLUME, STOPSIGNAL and MAINTAINER.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
            "USER",
            &["missing-argument@USER: USER requires exactly one argument"],
        ),
        (
            "STOPSIGNAL",
            &["missing-argument@STOPSIGNAL: STOPSIGNAL requires exactly one argument"],
        ),
        (
            "MAINTAINER",
            &["missing-argument@MAINTAINER: MAINTAINER requires exactly one argument"],
        ),
        (
            "VOLUME",
            &["missing-argument@VOLUME: VOLUME requires at least one argument"],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[("STOPSIGNAL 9", &[]), ("MAINTAINER a b <c>", &[])]);
}
