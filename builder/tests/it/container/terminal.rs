//! Containers at a terminal, and how commands end.

use rustix::process::Signal;

use super::{Scene, loaded};
use crate::support::need;
use crate::support::terminal::Terminal;

/// Starts `cooper ARGS` at a terminal of 30 rows and 90 columns.
fn at_terminal(scene: &Scene, args: &[&str]) -> Option<Terminal> {
    need::tool("setsid")?;
    let mut command = scene.command();
    command.args(args);
    Some(scene.in_network(args, || Terminal::start(&command, 30, 90)))
}

#[test]
fn the_window_follows_that_of_the_command() {
    let Some(scene) = loaded() else { return };
    let script = "trap 'echo now $(stty size)' WINCH; echo first $(stty size); \
                  while :; do sleep 0.05; done";
    let run = [
        "run",
        "--rm",
        "-it",
        "--name=web",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let Some(mut terminal) = at_terminal(&scene, &run) else {
        return;
    };
    terminal.shows("first 30 90");
    terminal.resize(41, 121);
    terminal.shows("now 41 121");
    let exec = ["exec", "-it", "web", "sh", "-c", script];
    let Some(mut joined) = at_terminal(&scene, &exec) else {
        return;
    };
    joined.shows("first 30 90");
    joined.resize(20, 70);
    joined.shows("now 20 70");
    // Keys are the container's: it gets the interrupt, not the command.
    joined.types("\x03");
    assert_eq!(joined.ends(), Some(130));
    terminal.types("\x03");
    assert_eq!(terminal.ends(), Some(130));
}

#[test]
fn keys_detach_and_the_container_goes_on() {
    let Some(scene) = loaded() else { return };
    let shell = "echo ready; while read line; do echo got $line; done";
    let run = ["run", "-it", "--name=web", "busybox", "sh", "-c", shell];
    let Some(mut terminal) = at_terminal(&scene, &run) else {
        return;
    };
    terminal.shows("ready");
    terminal.types("\x10a\n");
    terminal.shows("got \u{10}a");
    terminal.types("\x10\x11");
    assert_eq!(terminal.ends(), Some(0));
    assert_eq!(scene.fact("web", "{{.State.Status}}"), "running");
    let attach = ["attach", "--detach-keys=ctrl-a,x", "web"];
    let Some(mut terminal) = at_terminal(&scene, &attach) else {
        return;
    };
    terminal.types("again\n");
    terminal.shows("got again");
    terminal.types("\x01x");
    assert_eq!(terminal.ends(), Some(0));
    let exec = ["exec", "-it", "web", "sh", "-c", "echo here; sleep 1000"];
    let Some(mut terminal) = at_terminal(&scene, &exec) else {
        return;
    };
    terminal.shows("here");
    terminal.types("\x10\x11");
    assert_eq!(terminal.ends(), Some(0));
    assert_eq!(scene.fact("web", "{{.State.Status}}"), "running");
    let log = scene.run(&["logs", "web"]).ok().out();
    assert!(log.contains("got again"), "{log}");
}

#[test]
fn a_terminal_without_one_is_refused() {
    let Some(scene) = loaded() else { return };
    let refused = ["run", "--rm", "-it", "busybox", "true"];
    scene.run(&refused).exits(1).says("stdin is no terminal");
    // As docker does, -t alone is allowed.
    let allowed = ["run", "--rm", "-t", "busybox", "tty"];
    scene.run(&allowed).ok().prints("/dev/pts/0\r\n");
}

#[test]
fn signals_are_passed_on_or_not() {
    let Some(scene) = loaded() else { return };
    let script = "trap 'echo caught; exit 9' TERM; echo ready >&2; while :; do sleep 0.02; done";
    let command = ["busybox", "sh", "-c", script];
    let mut passed = scene.start(&[&["run", "--rm"], &command[..]].concat(), b"");
    passed.wait_until_says("ready");
    passed.signal(Signal::TERM);
    passed.finish().exits(9).prints("caught\n");
    let options = ["run", "--name=web", "--sig-proxy=false"];
    let mut alone = scene.start(&[&options[..], &command].concat(), b"");
    alone.wait_until_says("ready");
    alone.signal(Signal::TERM);
    assert_eq!(alone.finish().code(), 143);
    assert_eq!(scene.fact("web", "{{.State.Status}}"), "running");
}

/// 125 is cooper's own failure, 126 and 127 are what could not be executed, and the rest is the
/// command's, with 128 and the number of the signal that ended it.
#[test]
fn each_command_ends_with_the_containers_code() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    for (args, code) in [
        (
            &["run", "--rm", "--init", "busybox", "sh", "-c", "kill -9 $$"][..],
            137,
        ),
        (
            &[
                "run",
                "--rm",
                "--init",
                "busybox",
                "sh",
                "-c",
                "kill -15 $$",
            ],
            143,
        ),
        (&["run", "--rm", "busybox", "sh", "-c", "exit 200"], 200),
        (
            &[
                "run",
                "--rm",
                "-v=/no/such",
                "--entrypoint=/none",
                "busybox",
            ],
            127,
        ),
        (&["run", "--rm", "-u=nobody-there", "busybox", "true"], 125),
        (
            &["run", "--rm", "--network=none-such", "busybox", "true"],
            125,
        ),
        (&["exec", "web", "sh", "-c", "exit 3"], 3),
        (&["exec", "web", "sh", "-c", "kill -9 $$"], 137),
        (&["exec", "web", "no-such-program"], 127),
        (&["exec", "web", "/etc"], 126),
        (&["exec", "no-such-container", "true"], 1),
        (&["start", "no-such-container"], 1),
        (&["attach", "no-such-container"], 1),
    ] {
        let outcome = scene.run(args);
        assert_eq!(outcome.code(), code, "{outcome}");
    }
    scene
        .run(&["create", "--name=once", "busybox", "sh", "-c", "exit 6"])
        .ok();
    assert_eq!(scene.run(&["start", "-a", "once"]).code(), 6);
    scene.run(&["wait", "once"]).ok().prints("6\n");
}
