//! HEALTHCHECK.

use super::assert_errors;
use crate::instruction::parse_duration;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
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
            "HEALTHCHECK CMD []",
            &["missing-argument@CMD []: Missing command after HEALTHCHECK CMD"],
        ),
        (
            "HEALTHCHECK --retries=x CMD a",
            &["invalid-retries@x: --retries must be a number, not \"x\""],
        ),
        (
            "HEALTHCHECK --every=1s CMD",
            &[
                "unknown-flag@--every=1s: unknown flag: --every (known flags: --interval, --timeout, --start-period, --start-interval, --retries)",
                "missing-argument@CMD: Missing command after HEALTHCHECK CMD",
            ],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[
        ("HEALTHCHECK --interval=0s CMD [\"a\"]", &[]),
        ("healthcheck none", &[]),
        ("HEALTHCHECK --interval=5s NONE", &[]),
        ("HEALTHCHECK --retries= CMD a", &[]),
    ]);
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
