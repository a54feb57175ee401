//! What containers wrote.

use super::loaded;

#[test]
fn logs_keep_both_streams_and_their_times() {
    let Some(scene) = loaded() else { return };
    let script = "echo one; echo two >&2; printf three";
    scene
        .run(&["run", "--name=web", "busybox", "sh", "-c", script])
        .ok();
    let log = scene.run(&["logs", "web"]).ok();
    assert_eq!(
        (log.out().as_str(), log.stderr.as_str()),
        ("one\nthree", "two\n")
    );
    scene.run(&["logs", "--tail=0", "web"]).ok().prints("");
    scene.run(&["logs", "--until=1h", "web"]).ok().prints("");
    scene
        .run(&["logs", "--since=1h", "web"])
        .ok()
        .prints("one\nthree");
    let stamped = scene.run(&["logs", "-t", "web"]).ok().out();
    let (time, rest) = stamped.split_once(' ').expect("a time");
    assert!(
        time.parse::<jiff_time::Time>().is_ok() && rest.starts_with("one\n"),
        "{stamped}"
    );
}

/// The form of a time in a log, nine digits after the second.
mod jiff_time {
    pub(super) struct Time;

    impl std::str::FromStr for Time {
        type Err = ();

        fn from_str(text: &str) -> Result<Self, ()> {
            let shape = |char: char| if char.is_ascii_digit() { '0' } else { char };
            let shape: String = text.chars().map(shape).collect();
            if shape == "0000-00-00T00:00:00.000000000Z" {
                Ok(Self)
            } else {
                Err(())
            }
        }
    }
}

#[test]
fn following_ends_with_the_container() {
    let Some(scene) = loaded() else { return };
    let script = "for i in 1 2 3; do echo $i; sleep 0.1; done";
    scene.detached(&["--name=web"], &["sh", "-c", script]);
    scene.run(&["logs", "-f", "web"]).ok().prints("1\n2\n3\n");
}

#[test]
fn small_logs_are_rotated_and_read_back() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--name=web",
        "--log-opt=max-size=1k",
        "--log-opt=max-file=2",
    ];
    let script = "for i in $(seq 100); do echo line $i; done";
    let args = [&["run"], &options[..], &["busybox", "sh", "-c", script]].concat();
    scene.run(&args).ok();
    let log = scene.run(&["logs", "web"]).ok().out();
    assert!(log.ends_with("line 99\nline 100\n"), "{log}");
    assert!(!log.contains("line 1\n"), "the oldest are gone: {log}");
    let path = scene.fact("web", "{{.LogPath}}");
    assert!(std::path::Path::new(&format!("{path}.1")).exists());
    assert!(!std::path::Path::new(&format!("{path}.2")).exists());
    let bad = ["run", "--log-opt=max-size=big", "busybox", "true"];
    scene.run(&bad).exits(125).says("max-size");
}

#[test]
fn a_container_without_a_log_says_so() {
    let Some(scene) = loaded() else { return };
    let args = [
        "run",
        "--log-driver=none",
        "--name=web",
        "busybox",
        "echo",
        "x",
    ];
    scene.run(&args).ok().prints("x\n");
    scene.run(&["logs", "web"]).exits(1).says("keeps no log");
}
