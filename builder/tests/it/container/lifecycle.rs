//! Starting, ending, waiting, restarting, naming, removing.

use std::time::{Duration, Instant};

use super::limits::groups;
use super::loaded;

#[test]
fn a_container_lives_from_create_to_rm() {
    let Some(scene) = loaded() else { return };
    let made = scene.run(&["create", "--name=web", "busybox", "sleep", "1000"]);
    let id = made.ok().out();
    let listed = ["ps", "-a", "--no-trunc", "--format={{.ID}} {{.State}}"];
    scene
        .run(&listed)
        .ok()
        .prints(&format!("{} created\n", id.trim()));
    scene.run(&["start", "web"]).ok().prints("web\n");
    assert_eq!(scene.fact("web", "{{.State.Running}}"), "true");
    scene.run(&["rm", "web"]).exits(1).says("cooper stop");
    scene.run(&["stop", "-t", "0", "web"]).ok().prints("web\n");
    assert_eq!(
        scene.fact("web", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 137"
    );
    scene.run(&["rename", "web", "shop"]).ok();
    scene
        .run(&["start", "web"])
        .exits(1)
        .says("no such container");
    scene.run(&["restart", "-t", "0", "shop"]).ok();
    scene.run(&["kill", "-s", "KILL", "shop"]).ok();
    scene.run(&["wait", "shop"]).ok().prints("137\n");
    scene.run(&["rm", id[..12].trim()]).ok();
    scene.run(&["ps", "-aq"]).ok().prints("");
}

#[test]
fn stop_sends_the_signal_of_the_image_and_then_kills() {
    let Some(scene) = loaded() else { return };
    let script = "trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    scene.detached(
        &["--name=nice", "--stop-signal=USR1"],
        &["sh", "-c", script],
    );
    scene.await_log("nice", "ready");
    scene.run(&["stop", "nice"]).ok();
    assert_eq!(scene.fact("nice", "{{.State.ExitCode}}"), "3");
    scene.await_log("nice", "caught");
}

#[test]
fn the_end_is_waited_for() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=one"], &["sh", "-c", "sleep 0.3; exit 5"]);
    scene.run(&["wait", "one"]).ok().prints("5\n");
    scene.run(&["wait", "one", "no"]).exits(1).prints("5\n");
}

#[test]
fn failures_are_started_again_as_often_as_the_policy_says() {
    let Some(scene) = loaded() else { return };
    let options = ["--name=bad", "--restart=on-failure:2"];
    let script = "cut -d ' ' -f 1 /proc/uptime; exit 4";
    scene.detached(&options, &["sh", "-c", script]);
    scene.await_fact("bad", "{{.State.Status}} {{.RestartCount}}", "exited 2");
    let log = scene.run(&["logs", "bad"]).ok().out();
    let times: Vec<f64> = log
        .lines()
        .map(|line| line.parse().expect("seconds"))
        .collect();
    let [first, second, third] = times[..] else {
        panic!("three starts: {log}")
    };
    // Each waits twice as long as the one before, from a tenth of a second on; the kernel counts
    // in hundredths.
    assert!(second - first > 0.08 && third - second > 0.18, "{log}");
    scene.detached(&["--name=good", "--restart=on-failure"], &["true"]);
    scene.await_fact("good", "{{.State.Status}} {{.RestartCount}}", "exited 0");
}

#[test]
fn a_stopped_container_is_not_started_again() {
    let Some(scene) = loaded() else { return };
    scene.detached(
        &["--name=always", "--restart=always"],
        &["sh", "-c", "exit 1"],
    );
    scene.await_fact("always", "{{.State.Restarting}}", "true");
    scene.run(&["stop", "always"]).ok();
    assert_eq!(scene.fact("always", "{{.State.Status}}"), "exited");
    scene
        .run(&["run", "--rm", "--restart=always", "busybox", "true"])
        .exits(125);
    scene.run(&["update", "--restart=no", "always"]).ok();
    assert_eq!(
        scene.fact("always", "{{.HostConfig.RestartPolicy.Name}}"),
        "no"
    );
}

#[test]
fn a_paused_container_does_nothing() {
    let Some(scene) = loaded() else { return };
    let script = "i=0; while :; do i=$((i+1)); echo $i > /count; done";
    scene.detached(&["--name=busy"], &["sh", "-c", script]);
    let begun = "while [ ! -s /count ]; do sleep 0.02; done";
    scene.run(&["exec", "busy", "sh", "-c", begun]).ok();
    scene.run(&["pause", "busy"]).ok();
    assert_eq!(scene.fact("busy", "{{.State.Status}}"), "paused");
    // Without a control group it is signals that hold it.
    let held = groups(&scene, "busy").is_empty().then_some("T");
    let pid = scene.fact("busy", "{{.State.Pid}}");
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
        let (_, state) = stat.rsplit_once(") ").expect("a state");
        state.starts_with('T').then_some("T")
    };
    assert_eq!(state(), held);
    scene.run(&["exec", "busy", "true"]).exits(1).says("paused");
    let count = || scene.run(&["cp", "busy:/count", "-"]).ok().stdout;
    assert_eq!(count(), count());
    scene
        .run(&["pause", "busy"])
        .exits(1)
        .says("paused already");
    scene.run(&["unpause", "busy"]).ok();
    assert_eq!(state(), None);
    scene.run(&["unpause", "busy"]).exits(1).says("not paused");
    scene.run(&["pause", "busy"]).ok();
    scene.run(&["stop", "-t", "0", "busy"]).ok();
}

#[test]
fn what_goes_at_its_end_is_gone_and_its_name_free() {
    let Some(scene) = loaded() else { return };
    for _ in 0..3 {
        scene
            .run(&["run", "--rm", "--name=again", "busybox", "true"])
            .ok();
    }
    scene.detached(&["--rm", "--name=later"], &["sleep", "1000"]);
    scene.run(&["stop", "-t0", "later"]).ok();
    scene.run(&["ps", "-aq"]).ok().prints("");
}

#[test]
fn lists_and_prunes_go_by_filters() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=up", "--label=a=b"], &["sleep", "1000"]);
    scene
        .run(&["run", "--name=down", "busybox", "sh", "-c", "exit 7"])
        .exits(7);
    let names = |args: &[&str]| {
        let args = [&["ps", "--format={{.Names}}"], args].concat();
        scene.run(&args).ok().out()
    };
    assert_eq!(names(&[]), "up\n");
    assert_eq!(names(&["-a"]), "down\nup\n");
    assert_eq!(names(&["-l"]), "down\n");
    assert_eq!(names(&["--filter=exited=7"]), "down\n");
    assert_eq!(names(&["--filter=label=a"]), "up\n");
    // No answer is no.
    let asked = scene.run(&["container", "prune"]).ok();
    asked.says("Are you sure you want to continue?");
    assert_eq!(names(&["-a"]), "down\nup\n");
    let pruned = scene.start(&["container", "prune"], b"y\n");
    let pruned = pruned.finish().ok().out();
    assert!(pruned.contains("Total reclaimed space"), "{pruned}");
    assert_eq!(names(&["-a"]), "up\n");
}

#[test]
fn many_containers_start_at_once() {
    let Some(scene) = loaded() else { return };
    let begun = Instant::now();
    let starts: Vec<_> = (0..20)
        .map(|_| scene.start(&["run", "-d", "busybox", "sleep", "1000"], b""))
        .collect();
    for start in starts {
        start.finish_within(Duration::from_secs(120)).ok();
    }
    let listed = scene.run(&["ps", "-q"]).ok().out();
    assert_eq!(listed.lines().count(), 20, "after {:?}", begun.elapsed());
}

#[test]
fn the_layers_of_a_container_survive_their_image() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=kept"], &["sleep", "1000"]);
    scene.run(&["rmi", "-f", "busybox"]);
    scene.run(&["prune", "--all", "--force"]).ok();
    scene.run(&["restart", "-t0", "kept"]).ok();
    scene.run(&["exec", "kept", "ls", "/bin/busybox"]).ok();
}
