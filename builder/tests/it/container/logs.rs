//! What containers wrote.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::loaded;
use crate::support::{need, process};

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
    // Both files, in the order of writing: every line from some one on to the last.
    let lines: Vec<_> = log.lines().collect();
    let first = 101 - lines.len();
    let expected: Vec<_> = (first..=100).map(|line| format!("line {line}")).collect();
    assert_eq!(lines, expected);
    assert!(first > 1, "the oldest are gone: {log}");
    let path = scene.fact("web", "{{.LogPath}}");
    let path = std::path::Path::new(&path);
    let beside = std::fs::read_dir(path.parent().expect("has one")).expect("lists");
    let names = beside.map(|entry| entry.expect("lists").file_name().into_string());
    let mut names: Vec<_> = names
        .map(|name| name.expect("UTF-8"))
        .filter(|name| name.starts_with("json.log"))
        .collect();
    names.sort();
    assert_eq!(names, ["json.log", "json.log.1"]);
    let newest = std::fs::read_to_string(path)
        .expect("reads")
        .lines()
        .count();
    let older = std::fs::read_to_string(path.with_file_name("json.log.1"));
    let older = older.expect("reads");
    assert_eq!(older.lines().count() + newest, lines.len());
    // A file is full with the line that reaches the limit.
    let last = older.lines().last().map_or(0, str::len) + 1;
    assert!(
        older.len() >= 1024 && older.len() - last < 1024,
        "{}",
        older.len()
    );
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

#[test]
fn compressed_logs_of_the_local_driver_are_read_back() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--log-driver=local",
        "--log-opt=max-size=1k",
        "--log-opt=max-file=9",
    ];
    let script = "for i in $(seq 50); do echo line $i; done";
    let args = [
        &["run", "--name=web"],
        &options[..],
        &["busybox", "sh", "-c", script],
    ]
    .concat();
    scene.run(&args).ok();
    let lines: Vec<_> = (1..=50).map(|line| format!("line {line}\n")).collect();
    scene.run(&["logs", "web"]).ok().prints(&lines.concat());
    let path = scene.fact("web", "{{.LogPath}}");
    assert!(std::path::Path::new(&format!("{path}.1.gz")).exists());
    assert_eq!(scene.fact("web", "{{.HostConfig.LogConfig.Type}}"), "local");
}

#[test]
fn lines_carry_what_was_asked_for_as_details() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--name=web",
        "--label=tier=a b",
        "--label=other=x",
        "-e=CITY=Rome",
        "--log-opt=labels=tier",
        "--log-opt=env=CITY",
        "--log-opt=tag={{.Name}}",
    ];
    let args = [&["run"], &options[..], &["busybox", "echo", "said"]].concat();
    scene.run(&args).ok();
    let details = scene.run(&["logs", "--details", "web"]).ok();
    details.prints("CITY=Rome,tag=web,tier=a+b said\n");
    scene.run(&["logs", "web"]).ok().prints("said\n");
    for (option, says) in [
        ("tag={{.Colour}}", ".Colour"),
        ("colour=red", "json-file has no option colour"),
    ] {
        let option = format!("--log-opt={option}");
        let bad = ["run", &option, "busybox", "true"];
        scene.run(&bad).exits(125).says(says);
    }
    let unknown = ["run", "--log-driver=journal", "busybox", "true"];
    scene
        .run(&unknown)
        .exits(125)
        .says("did you mean \"journald\"?");
}

/// Both of the container's streams, told by their severity, as a server gets them.
#[test]
fn lines_are_sent_to_a_syslog_server_and_kept_as_well() {
    let Some(scene) = loaded() else { return };
    let path = scene.scratch("log");
    let server = UnixDatagram::bind(&path).expect("binds");
    server
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time");
    let address = format!("--log-opt=syslog-address=unixgram://{}", path.display());
    let options = [
        "--name=web",
        "--log-driver=syslog",
        &address,
        "--log-opt=syslog-facility=local0",
        "--log-opt=syslog-format=rfc5424",
        "--log-opt=tag=app",
    ];
    let script = "echo one; sleep 0.1; echo two >&2";
    let args = [&["run"], &options[..], &["busybox", "sh", "-c", script]].concat();
    scene.run(&args).ok();
    for (head, end) in [("<134>1 ", " app - one"), ("<131>1 ", " app - two")] {
        let mut bytes = [0; 500];
        let count = server.recv(&mut bytes).expect("a line");
        let line = String::from_utf8_lossy(&bytes[..count]);
        assert!(line.starts_with(head) && line.ends_with(end), "{line}");
    }
    scene.run(&["logs", "web"]).ok().prints("one\n");
}

#[test]
fn syslog_servers_are_reached_by_udp_and_tcp() {
    let Some(scene) = loaded() else { return };
    let run = |address: &str| {
        let address = format!("--log-opt=syslog-address={address}");
        let options = ["--log-driver=syslog", &address, "--network=host"];
        scene.run(&[&["run", "--rm"], &options[..], &["busybox", "echo", "said"]].concat())
    };
    let inside = ["run"];
    let udp = scene.in_network(&inside, || UdpSocket::bind("127.0.0.1:0").expect("binds"));
    udp.set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time");
    let port = udp.local_addr().expect("an address").port();
    run(&format!("udp://127.0.0.1:{port}")).ok();
    let mut bytes = [0; 500];
    let count = udp.recv(&mut bytes).expect("a line");
    let line = String::from_utf8_lossy(&bytes[..count]);
    assert!(
        line.starts_with("<30>") && line.ends_with("]: said"),
        "{line}"
    );
    let tcp = scene.in_network(&inside, || TcpListener::bind("127.0.0.1:0").expect("binds"));
    let port = tcp.local_addr().expect("an address").port();
    let reader = std::thread::spawn(move || {
        // The command looks whether there is a server; then comes the container.
        let lines = tcp.incoming().flatten().map(|stream| {
            let mut line = String::new();
            let _ = BufReader::new(stream).read_line(&mut line);
            line
        });
        lines.into_iter().find(|line| !line.is_empty())
    });
    run(&format!("tcp://127.0.0.1:{port}")).ok();
    let line = reader.join().expect("no panic").expect("a line");
    assert!(line.ends_with("]: said\n"), "{line}");
    let nobody = run(&format!("tcp://127.0.0.1:{port}"));
    nobody.exits(125).says("cannot start the log driver syslog");
    scene.run(&["ps", "-aq"]).ok().prints("");
}

/// The journal of this machine is another one: what the container's command sees below /run is the
/// test's.
#[test]
fn lines_are_sent_to_the_journal_by_its_own_protocol() {
    let Some(scene) = loaded() else { return };
    if need::root().is_none() {
        return;
    }
    let path = scene.scratch("journal");
    let server = UnixDatagram::bind(&path).expect("binds");
    server
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time");
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  ln -s \"$0\" /run/systemd/journal/socket && exec \"$@\"";
    let mut command = scene.bare_command("unshare");
    command.args(["-m", "sh", "-c", script]).arg(&path);
    command
        .arg(env!("CARGO_BIN_EXE_cooper"))
        .arg("--root")
        .arg(scene.root());
    let options = [
        "--name=web",
        "--network=host",
        "--log-driver=journald",
        "-e=CITY=Rome",
    ];
    let more = [
        "--log-opt=env=CITY",
        "--log-opt=tag=app",
        "busybox",
        "echo",
        "said",
    ];
    command.arg("run").args(options).args(more);
    process::run(command).ok();
    let mut bytes = [0; 2000];
    let count = server.recv(&mut bytes).expect("an entry");
    let entry = String::from_utf8_lossy(&bytes[..count]);
    for line in [
        "MESSAGE=said",
        "PRIORITY=6",
        "CONTAINER_NAME=web",
        "CONTAINER_TAG=app",
        "SYSLOG_IDENTIFIER=app",
        "IMAGE_NAME=busybox",
        "CITY=Rome",
    ] {
        assert!(entry.lines().any(|found| found == line), "{line}: {entry}");
    }
    scene.run(&["logs", "web"]).ok().prints("said\n");
}
