//! Health checks.

use super::{documents, loaded};

#[test]
fn a_check_turns_healthy_after_a_delay_and_unhealthy_after_failures() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--name=web",
        "--health-cmd=cat /ok",
        "--health-interval=100ms",
        "--health-retries=2",
        "--health-start-period=30s",
        "--health-start-interval=100ms",
    ];
    scene.detached(
        &options,
        &["sh", "-c", "sleep 0.5; echo fine > /ok; sleep 1000"],
    );
    scene.await_fact("web", "{{.State.Health.Status}}", "healthy");
    let listed = scene.run(&["ps", "--format={{.Status}}"]).ok().out();
    assert!(listed.ends_with("(healthy)\n"), "{listed}");
    scene.run(&["exec", "web", "rm", "/ok"]).ok();
    scene.await_fact("web", "{{.State.Health.Status}}", "unhealthy");
    let health = &documents(&scene.run(&["inspect", "web"]).ok())[0]["State"]["Health"];
    let log = health["Log"].as_array().expect("a list");
    assert!(log.len() <= 5 && !log.is_empty(), "{health}");
    assert_eq!(log.last().expect("one")["ExitCode"], 1, "{health}");
}

#[test]
fn a_check_that_takes_too_long_has_failed() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--name=web",
        "--health-cmd=sleep 1000",
        "--health-interval=50ms",
        "--health-timeout=100ms",
        "--health-retries=1",
    ];
    scene.detached(&options, &["sleep", "1000"]);
    scene.await_fact("web", "{{.State.Health.Status}}", "unhealthy");
    let health = &documents(&scene.run(&["inspect", "web"]).ok())[0]["State"]["Health"];
    let last = health["Log"]
        .as_array()
        .expect("a list")
        .last()
        .expect("one")
        .clone();
    assert_eq!(last["ExitCode"], -1);
    assert!(
        last["Output"]
            .as_str()
            .expect("text")
            .contains("exceeded timeout")
    );
    scene.detached(&["--name=none", "--no-healthcheck"], &["sleep", "1000"]);
    assert!(documents(&scene.run(&["inspect", "none"]).ok())[0]["State"]["Health"].is_null());
}
