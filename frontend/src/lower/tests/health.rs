//! HEALTHCHECK.

use super::*;

#[test]
fn the_last_health_check_counts() {
    assert_configs(&[
        (
            "HEALTHCHECK CMD curl -f x",
            r#"{"Healthcheck":{"Test":["CMD-SHELL","curl -f x"]}}"#,
        ),
        (
            "HEALTHCHECK --interval=1m --timeout=2s --start-period=0s --start-interval=5ms --retries=3 CMD [\"a\"]",
            r#"{"Healthcheck":{"Test":["CMD","a"],"Interval":60000000000,"Timeout":2000000000,"StartInterval":5000000,"Retries":3}}"#,
        ),
        (
            "HEALTHCHECK CMD a\nHEALTHCHECK NONE",
            r#"{"Healthcheck":{"Test":["NONE"]}}"#,
        ),
        (
            "HEALTHCHECK --interval=5s NONE",
            r#"{"Healthcheck":{"Test":["NONE"]}}"#,
        ),
        (
            "HEALTHCHECK --retries= CMD a",
            r#"{"Healthcheck":{"Test":["CMD-SHELL","a"]}}"#,
        ),
        (
            "SHELL [\"/bin/x\"]\nHEALTHCHECK CMD a",
            r#"{"Healthcheck":{"Test":["CMD-SHELL","a"]},"Shell":["/bin/x"]}"#,
        ),
    ]);
}

#[test]
fn history_lines_are_dockers() {
    assert_history(&[(
        "HEALTHCHECK --interval=30s CMD a b",
        "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
    )]);
}
