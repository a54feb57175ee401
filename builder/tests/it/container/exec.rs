//! Further programs in running containers.

use crate::support::need;
use crate::support::process::run;

use super::loaded;

#[test]
fn a_program_runs_inside_with_the_containers_ways() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--name=web",
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-u",
        "mail",
        "-h",
        "host",
    ];
    scene.detached(&options, &["sleep", "1000"]);
    let cases: &[(&[&str], &[&str], &str)] = &[
        (
            &[],
            &["sh", "-c", "echo $A $HOSTNAME; pwd; id -un"],
            "1 host\n/tmp\nmail\n",
        ),
        (
            &["-e", "A=2", "-u", "root", "-w", "/"],
            &["sh", "-c", "echo $A; pwd; id -un"],
            "2\n/\nroot\n",
        ),
        (&[], &["sh", "-c", "kill -0 1 && echo sees"], "sees\n"),
    ];
    for (options, command, expected) in cases {
        let args = [&["exec"], *options, &["web"], *command].concat();
        scene.run(&args).ok().prints(expected);
    }
    let code = |command: &[&str]| scene.run(&[&["exec", "web"], command].concat()).code();
    assert_eq!(code(&["sh", "-c", "exit 9"]), 9);
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), 137);
    assert_eq!(code(&["no-such-program"]), 127);
    assert_eq!(code(&["/etc/passwd"]), 126);
    let piped = scene.start(&["exec", "-i", "web", "cat"], b"some input\n");
    piped.finish().ok().prints("some input\n");
    scene.run(&["stop", "-t0", "web"]).ok();
    scene
        .run(&["exec", "web", "true"])
        .exits(1)
        .says("not running");
}

#[test]
fn a_detached_program_goes_on_alone() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    let script = "sleep 0.2; echo done > /f";
    scene
        .run(&["exec", "-d", "web", "sh", "-c", script])
        .ok()
        .prints("");
    let read = "while [ ! -s /f ]; do sleep 0.02; done; cat /f";
    scene
        .run(&["exec", "web", "sh", "-c", read])
        .ok()
        .prints("done\n");
    let top = scene.run(&["top", "web"]).ok().out();
    assert!(top.contains("PID") && top.contains("sleep 1000"), "{top}");
}

#[test]
fn a_program_has_a_terminal_with_t() {
    if need::tool("script").is_none() {
        return;
    }
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    let line = format!(
        "stty rows 33 cols 77; {} --root {} exec -it web sh -c 'tty; stty size; exit 6'",
        env!("CARGO_BIN_EXE_cooper"),
        scene.root().display()
    );
    let mut command = scene.bare_command("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm");
    let outcome = run(command).exits(6);
    let text = outcome.out();
    assert!(
        text.contains("/dev/pts/") && text.contains("33 77"),
        "{outcome}"
    );
}

#[test]
fn attaching_shows_what_comes_and_the_end() {
    let Some(scene) = loaded() else { return };
    let script = "while [ ! -e /go ]; do sleep 0.02; done; echo seen; exit 8";
    scene.detached(&["--name=web"], &["sh", "-c", script]);
    let attached = scene.start(&["attach", "web"], b"");
    // Whether it is attached already shows only in what it gets; the end comes to it in any case.
    std::thread::sleep(std::time::Duration::from_millis(300));
    scene.run(&["exec", "web", "touch", "/go"]).ok();
    attached.finish().exits(8).prints("seen\n");
    let started = scene.run(&["start", "-a", "web"]);
    started.exits(8).prints("seen\n");
}

#[test]
fn a_further_process_has_a_working_directory_that_is_there() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=web", "-w=/made"], &["sleep", "1000"]);
    scene.run(&["exec", "web", "pwd"]).ok().prints("/made\n");
    let missing = scene.run(&["exec", "-w=/missing", "web", "pwd"]).exits(127);
    missing.says("working directory \"/missing\" cannot be entered");
    scene.run(&["diff", "web"]).ok().prints("A /made\n");
}
