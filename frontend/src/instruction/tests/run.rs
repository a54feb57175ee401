//! RUN and its flags.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
            "RUN --mount=type=bind,a\\\"b x",
            &[
                "invalid-mount@type=bind,a\\\"b: failed to parse csv mounts (separate fields with commas; quote a field as a whole)",
            ],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[
        ("RUN", &[]),
        ("RUN --device=vendor.com/class=name,required x", &[]),
    ]);
}
