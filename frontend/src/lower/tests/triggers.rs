//! ONBUILD.

use super::*;

#[test]
fn triggers_of_an_image_run_first_and_once() {
    let case = Case::new("FROM a AS x\nRUN own\nFROM x\nRUN child\n").image(|_, config| {
        config.config.on_build = vec!["ENV t=1".into(), "RUN trigger".into()];
    });
    let lowered = case.lower();
    assert_eq!(
        history(&lowered),
        [
            "ENV t=1",
            "RUN /bin/sh -c trigger # buildkit",
            "RUN /bin/sh -c own # buildkit",
            "RUN /bin/sh -c child # buildkit",
        ]
    );
    assert!(lowered.image.config.on_build.is_empty());
    let shown: Vec<_> = lowered
        .steps
        .values()
        .map(|step| step.display.as_str())
        .collect();
    assert_eq!(shown[1], "[x 2/3] ONBUILD RUN trigger");
}

#[test]
fn triggers_of_a_stage_run_in_the_next_one() {
    let lowered =
        Case::new("FROM a AS x\nONBUILD RUN t\nRUN own\nFROM x AS y\nFROM y\nRUN z\n").lower();
    assert_eq!(
        history(&lowered),
        [
            "RUN /bin/sh -c own # buildkit",
            "RUN /bin/sh -c t # buildkit",
            "RUN /bin/sh -c z # buildkit",
        ]
    );
    let own = Case::new("FROM a\nONBUILD RUN t\n").lower();
    assert_eq!(own.image.config.on_build, ["RUN t"]);
    assert!(own.history.is_empty());
}

#[test]
fn triggers_can_raise_further_images() {
    let case = Case::new("FROM a\n").image(|name, config| {
        if name == "a" {
            config.config.on_build = vec!["COPY --from=b /x /y".into()];
        }
    });
    assert_eq!(
        graph(&case.lower()),
        [
            "image layer-of-docker.io/library/a:latest()",
            "image layer-of-docker.io/library/b:latest()",
            "file copy 1:/x -> /y(0,1)",
        ]
    );
}

#[test]
fn heredocs_in_triggers_work() {
    let lowered = Case::new("FROM a AS x\nONBUILD RUN <<EOF\none\nEOF\nFROM x\n").lower();
    assert_eq!(exec(&lowered).args[2], "one\n");
}

#[test]
fn broken_triggers_are_reported_at_from() {
    let case = Case::new("FROM scratch\nFROM a AS x\n").image(|_, config| {
        config.config.on_build = vec!["NONSENSE x".into(), "FROM b".into(), "ENV a=${b".into()];
    });
    let errors = case.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("unknown-instruction@FROM a AS x: "),
        "{errors:?}"
    );
    let late = Case::new("FROM a AS x\n").image(|_, config| {
        config.config.on_build = vec!["ENV a=${b".into()];
    });
    assert!(
        late.errors()[0].starts_with("missing-brace@FROM a AS x: "),
        "{:?}",
        late.errors()
    );
}

#[test]
fn triggers_are_stored_as_written() {
    assert_configs(&[
        ("ONBUILD RUN a  b \\\n c", r#"{"OnBuild":["RUN a  b  c"]}"#),
        ("ONBUILD NONSENSE x", r#"{"OnBuild":["NONSENSE x"]}"#),
        (
            "onbuild COPY <<a /b\n1\na",
            r#"{"OnBuild":["COPY <<a /b\n1\na"]}"#,
        ),
        (
            "ONBUILD HEALTHCHECK CMD x",
            r#"{"OnBuild":["HEALTHCHECK CMD x"]}"#,
        ),
        (
            "ONBUILD COPY --from=build /a /b\nONBUILD RUN x",
            r#"{"OnBuild":["COPY --from=build /a /b","RUN x"]}"#,
        ),
    ]);
}

#[test]
fn a_trigger_is_no_line_of_the_history() {
    assert!(below_base("ONBUILD RUN x").history.is_empty());
}
