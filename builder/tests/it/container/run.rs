//! `cooper run` and its relatives.

use std::time::Duration;

use rustix::process::Signal;

use super::loaded;
use crate::support::process::{await_no_process_with, run};
use crate::support::{Context, Cooper, mounts, need};

#[test]
fn exit_codes() {
    let Some(cooper) = loaded() else { return };
    let code = |args: &[&str]| {
        let mut all = vec!["run", "--rm"];
        all.extend(args);
        cooper.run(&all).code()
    };
    assert_eq!(code(&["busybox", "true"]), 0);
    assert_eq!(code(&["busybox", "sh", "-c", "exit 42"]), 42);
    assert_eq!(code(&["busybox", "no-such-program"]), 127);
    assert_eq!(code(&["busybox", "/etc/passwd"]), 126);
    assert_eq!(code(&["busybox", "/etc"]), 126);
    assert_eq!(code(&["127.0.0.1:1/no/such:image"]), 125);
    assert_eq!(code(&["--no-such-option", "busybox"]), 125);
}

#[test]
fn options() {
    let Some(cooper) = loaded() else { return };
    let data = cooper.scratch("data");
    std::fs::create_dir(&data).expect("mkdir");
    std::fs::write(data.join("f"), "from the host\n").expect("write");
    let volume = format!("-v={}:/data", data.display());
    let read_only = format!("-v={}:/data:ro", data.display());
    let cases: &[(&[&str], &str)] = &[
        (&["busybox", "echo", "a  b", "c"], "a  b c\n"),
        (
            &[
                "-e",
                "A=1",
                "-e",
                "B=",
                "busybox",
                "sh",
                "-c",
                "echo $A-$B-",
            ],
            "1--\n",
        ),
        (&["-w", "/tmp/new/dir", "busybox", "pwd"], "/tmp/new/dir\n"),
        (&["-u", "mail", "busybox", "id", "-un"], "mail\n"),
        (
            &["-u", "7:8", "busybox", "sh", "-c", "id -u; id -g"],
            "7\n8\n",
        ),
        (&["--entrypoint", "echo", "busybox", "x"], "x\n"),
        (&[&volume, "busybox", "cat", "/data/f"], "from the host\n"),
        (
            &[
                &read_only,
                "busybox",
                "sh",
                "-c",
                "touch /data/x 2>/dev/null || echo ro",
            ],
            "ro\n",
        ),
        (
            &["--network", "none", "busybox", "ls", "/sys/class/net"],
            "lo\n",
        ),
        (&["busybox", "sh", "-c", "echo $$"], "1\n"),
        (
            &["busybox", "sh", "-c", "touch /written && ls /written"],
            "/written\n",
        ),
        (&["busybox", "ls", "-d", "/written"], ""),
    ];
    for (args, expected) in cases {
        let mut all = vec!["run", "--rm"];
        all.extend(*args);
        let outcome = cooper.run(&all);
        assert_eq!(outcome.out(), *expected, "{outcome}");
    }
    assert_eq!(mounts::below(cooper.root()), Vec::<String>::new());
}

#[test]
fn standard_input_is_passed_with_i_only() {
    let Some(cooper) = loaded() else { return };
    cooper
        .start(&["run", "--rm", "-i", "busybox", "cat"], b"some input\n")
        .finish()
        .ok()
        .prints("some input\n");
    cooper
        .start(&["run", "--rm", "busybox", "cat"], b"some input\n")
        .finish()
        .ok()
        .prints("");
    // Large enough to fill every pipe on the way.
    let large = vec![b'x'; 3_000_000];
    let outcome = cooper
        .start(&["run", "--rm", "-i", "busybox", "cat"], &large)
        .finish()
        .ok();
    assert_eq!(outcome.stdout.len(), large.len());
}

#[test]
fn the_streams_are_kept_apart() {
    let Some(cooper) = loaded() else { return };
    let outcome = cooper
        .run(&[
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo out; echo err >&2",
        ])
        .ok();
    assert_eq!(outcome.out(), "out\n");
    assert_eq!(outcome.stderr, "err\n");
}

#[test]
fn a_terminal_with_t() {
    if need::tool("script").is_none() {
        return;
    }
    let Some(cooper) = loaded() else { return };
    let line = format!(
        "stty rows 33 cols 77; {} --root {} run --rm -it busybox sh -c 'tty; stty size'",
        env!("CARGO_BIN_EXE_cooper"),
        cooper.root().display()
    );
    let mut command = cooper.bare_command("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm");
    let outcome = cooper.in_network(&["run"], || run(command)).ok();
    let text = outcome.out().replace('\r', "");
    assert!(
        text.contains("/dev/pts/") || text.contains("/dev/console"),
        "{outcome}"
    );
    assert!(text.contains("33 77"), "{outcome}");
}

#[test]
fn signals_are_passed_on() {
    let Some(cooper) = loaded() else { return };
    let seconds = format!("{}9", 6_000_000 + std::process::id());
    let script =
        format!("trap 'echo caught >&2; exit 7' TERM; echo ready >&2; sleep {seconds} & wait");
    let mut container = cooper.start(&["run", "--rm", "busybox", "sh", "-c", &script], b"");
    container.wait_until_says("ready");
    container.signal(Signal::TERM);
    container
        .finish_within(Duration::from_secs(60))
        .exits(7)
        .says("caught");
    await_no_process_with(&seconds, Duration::from_secs(60));
}

#[test]
fn a_container_outlives_a_killed_run_and_not_its_monitor() {
    let Some(cooper) = loaded() else { return };
    let seconds = format!("{}8", 6_000_000 + std::process::id());
    let script = format!("echo ready >&2; sleep {seconds}");
    let args = ["run", "--name=left", "busybox", "sh", "-c", &script];
    let mut container = cooper.start(&args, b"");
    container.wait_until_says("ready");
    container.signal(Signal::KILL);
    container.finish();
    let listed = cooper.run(&["ps", "--format={{.Names}} {{.State}}"]).ok();
    listed.prints("left running\n");
    cooper.kill_monitor("left");
    await_no_process_with(&seconds, Duration::from_secs(60));
    let listed = cooper.run(&["ps", "-a", "--format={{.Names}} {{.State}}"]);
    listed.ok().prints("left exited\n");
    cooper.run(&["rm", "left"]).ok();
    assert_eq!(mounts::below(cooper.root()), Vec::<String>::new());
}

#[test]
fn a_named_container_is_listed_while_it_runs() {
    let Some(cooper) = loaded() else { return };
    let mut container = cooper.start(
        &[
            "run",
            "--rm",
            "--name",
            "listed",
            "busybox",
            "sh",
            "-c",
            "echo ready >&2; sleep 2",
        ],
        b"",
    );
    container.wait_until_says("ready");
    let listed = cooper.run(&["ps"]).ok().out();
    assert!(
        listed.contains("listed") && listed.contains("busybox"),
        "{listed}"
    );
    cooper
        .run(&["run", "--rm", "--name", "listed", "busybox", "true"])
        .exits(125)
        .says("listed");
    container.finish().ok();
    assert!(!cooper.run(&["ps"]).ok().out().contains("listed"));
}

#[test]
fn the_config_of_the_image_is_used() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nENV who=me\nWORKDIR /w\nUSER mail\nENTRYPOINT [\"sh\", \"-c\"]\n\
         CMD [\"echo $who; pwd; id -un\"]\n",
    );
    cooper.build(&context, &["-t=a"]).ok();
    cooper
        .run(&["run", "--rm", "a"])
        .ok()
        .prints("me\n/w\nmail\n");
    cooper
        .run(&["run", "--rm", "a", "echo other"])
        .ok()
        .prints("other\n");

    let nothing = Context::new("FROM scratch\nCOPY f /f\n").with("f", "x");
    cooper.build(&nothing, &["-t=nothing"]).ok();
    cooper.run(&["run", "--rm", "nothing"]).exits(125);
    cooper.run(&["run", "--rm", "nothing", "/f"]).exits(126);
}

#[test]
fn an_image_that_cannot_be_pulled_is_said_once() {
    let Some(cooper) = Cooper::new() else { return };
    for command in [&["run", "--rm"][..], &["create"], &["pull"]] {
        let args = [command, &["127.0.0.1:1/nothing"]].concat();
        let outcome = cooper.run(&args);
        let code = if command[0] == "run" { 125 } else { 1 };
        let outcome = outcome.exits(code);
        let said = outcome
            .stderr
            .matches("cannot resolve 127.0.0.1:1/nothing")
            .count();
        assert_eq!(said, 1, "{outcome}");
    }
    let quiet = cooper.run(&["run", "-q", "127.0.0.1:1/nothing"]).exits(125);
    assert!(quiet.stderr.starts_with("ERROR: cannot resolve"), "{quiet}");
}

#[test]
fn what_does_not_exist_is_said_as_docker_says_it() {
    let Some(cooper) = Cooper::new() else { return };
    for (args, said) in [
        (&["inspect"][..], "no such object: nothing"),
        (&["inspect", "--type=image"], "no such image: nothing"),
        (
            &["inspect", "--type=container"],
            "no such container: nothing",
        ),
        (&["inspect", "--type=volume"], "no such volume: nothing"),
        (&["inspect", "--type=network"], "no such network: nothing"),
        (&["container", "inspect"], "no such container: nothing"),
        (&["image", "inspect"], "no such image: nothing"),
        (&["logs"], "no such container: nothing"),
        (&["rm"], "no such container: nothing"),
        (&["rmi"], "no such image: nothing"),
        (&["volume", "rm"], "no such volume: nothing"),
        (&["network", "rm"], "no such network: nothing"),
    ] {
        let args = [args, &["nothing"]].concat();
        cooper.run(&args).exits(1).says(said);
    }
}

#[test]
fn an_image_for_another_architecture_is_not_run() {
    let Some(cooper) = Cooper::new() else { return };
    let foreign = cooper.scratch("foreign");
    crate::support::layout::with_config(cooper.busybox_layout(), &foreign, |config| {
        config["architecture"] = "s390x".into();
    });
    let archive = cooper.scratch("foreign.tar");
    crate::support::layout::archive(&foreign, "foreign:latest", &archive);
    let mut command = cooper.command();
    command.arg("load").arg("-i").arg(&archive);
    if run(command).code() == 0 {
        cooper
            .run(&["run", "--rm", "foreign", "true"])
            .exits(125)
            .says("s390x");
    }
}

#[test]
fn what_docker_refuses_together_is_refused() {
    let Some(scene) = loaded() else { return };
    let rows: [(&[&str], &str); 7] = [
        (&["--ulimit=as=1024"], "unknown limit \"as\""),
        (
            &["--uts=host", "--hostname=x"],
            "--hostname has no meaning with --uts=host",
        ),
        (
            &["--uts=host", "--domainname=x"],
            "--domainname has no meaning with --uts=host",
        ),
        (
            &["--network=container:x", "--hostname=y"],
            "--network=container:NAME",
        ),
        (
            &["--detach", "--attach=stdout"],
            "--detach and --attach exclude each other",
        ),
        (
            &["--rm", "--restart=always"],
            "--rm and --restart exclude each other",
        ),
        (
            &["--platform=linux/s390x", "--pull=never"],
            "not for linux/s390x",
        ),
    ];
    for (options, said) in rows {
        let args = [&["run"], options, &["busybox", "true"]].concat();
        scene.run(&args).exits(125).says(said);
    }
    scene.run(&["ps", "-aq"]).ok().prints("");
    let discarded = [
        "run",
        "--rm",
        "--network=host",
        "-p=80:80",
        "busybox",
        "true",
    ];
    scene
        .run(&discarded)
        .ok()
        .says("WARNING: published ports mean nothing");
    scene
        .run(&["rm", "-f", "absent"])
        .ok()
        .says("no such container: absent")
        .prints("");
    let taken = [
        "--isolation=default",
        "--runtime=runc",
        "--disable-content-trust",
    ];
    let streams = ["-a=STDOUT", "-a=STDERR", "--kernel-memory=64m"];
    let args = [
        &["run", "--rm"],
        &taken[..],
        &streams,
        &["busybox", "echo", "hi"],
    ]
    .concat();
    let outcome = scene.run(&args).ok().prints("hi\n");
    outcome.says("WARNING: --kernel-memory is left out");
    let made = ["create", "-a=stdout", "--name=web", "busybox", "true"];
    scene.run(&made).ok();
    let refused = scene.run(&["create", "-a=foo", "busybox", "true"]);
    refused.exits(1).says("unknown stream \"foo\"");
    scene
        .run(&["update", "web"])
        .exits(1)
        .says("nothing is to be changed");
    let refused = scene.run(&["update", "--cpus=9999", "web"]).exits(1);
    refused.says("Range of CPUs is from 0.01 to");
    for args in [["cp", "web:", "out"], ["cp", "/etc/hosts", "web:"]] {
        scene.run(&args).exits(1).says("no path in container web");
    }
}

#[test]
fn what_was_asked_for_is_found_where_docker_has_it() {
    let Some(scene) = loaded() else { return };
    let options = [
        "--name=web",
        "-p=127.0.0.1:8080:80",
        "-p=7000-7001:7000-7001/udp",
        "--dns=1.1.1.1",
        "--dns-search=x.y",
        "--dns-option=ndots:2",
        "--add-host=a:1.2.3.4",
        "--add-host=here:host-gateway",
        "--security-opt=systempaths=unconfined",
    ];
    let made = [&["create"], &options[..], &["busybox", "true"]].concat();
    scene.run(&made).ok();
    for (field, expected) in [
        (
            "json .HostConfig.PortBindings",
            r#"{"7000/udp":[{"HostIp":"","HostPort":"7000"}],"7001/udp":[{"HostIp":"","HostPort":"7001"}],"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#,
        ),
        (".HostConfig.Dns", "[1.1.1.1]"),
        (".HostConfig.DnsSearch", "[x.y]"),
        (".HostConfig.DnsOptions", "[ndots:2]"),
        (".HostConfig.ExtraHosts", "[a:1.2.3.4 here:host-gateway]"),
        (".HostConfig.PublishAllPorts", "false"),
        (".HostConfig.MaskedPaths", "[]"),
        (".HostConfig.Runtime", "runc"),
        (".HostsPath", ""),
    ] {
        let template = format!("{{{{{field}}}}}");
        assert_eq!(scene.fact("web", &template), expected, "{field}");
    }
    let json = scene
        .run(&["inspect", "-f=json", "web", "busybox"])
        .ok()
        .out();
    let found: serde_json::Value = serde_json::from_str(&json).expect("one line of JSON");
    assert_eq!(found[0]["Name"], "/web");
    assert_eq!(found[1]["Os"], "linux");
    scene.run(&["volume", "create", "data"]).ok();
    let json = scene
        .run(&["volume", "inspect", "-f=json", "data"])
        .ok()
        .out();
    assert!(
        json.starts_with("[{") && json.lines().count() == 1,
        "{json}"
    );
    let shown = [
        "stats",
        "-a",
        "--no-stream",
        "--format={{.Container}} {{.Name}}",
        "web",
    ];
    assert_eq!(scene.run(&shown).ok().out(), "web web\n");
}

#[test]
fn without_shared_memory_there_is_none() {
    let Some(scene) = loaded() else { return };
    let look = "grep -c ' /dev/shm ' /proc/mounts; ls -A /dev/shm | wc -l";
    let args = |mode| ["run", "--rm", mode, "busybox", "sh", "-c", look];
    scene.run(&args("--ipc=none")).ok().prints("0\n0\n");
    scene.run(&args("--ipc=private")).ok().prints("1\n0\n");
    scene.run(&args("--shm-size=0")).ok().prints("1\n0\n");
}
