//! Identity, confinement, exit, signals.

use crate::support::{RUNNER, Sandbox, run, try_run, try_run_on};
use cooper_runner::{
    CapSet, Capability, Exit, Network, Resource, Rlimit, Rootfs, RunError, Runner, RunnerOptions,
    Seccomp, Stdio, UserSpec, WindowSize,
};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

crate::cases! {
    confinement_matches_docker, other_capability_sets, privileged_sees_devices, users_and_groups,
    environment_and_directory, exit_codes, command_errors, set_up_errors, network_none, hostname,
    limits, background_processes_die, a_killer_kills, terminal, dropping_the_runner_kills,
    death_of_the_caller_kills, warm_children_work, many_at_once, stdin_is_passed,
    non_root_may_reopen_its_output, large_plans, no_new_privileges, only_the_own_cgroup_is_visible,
}

fn confinement_matches_docker() {
    let sandbox = Sandbox::new();
    let status = run(&sandbox.spec("cat /proc/self/status; umask; cat /proc/$$/comm"));
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "Groups:\t0 ",
        "0022",
    ] {
        assert!(
            status.lines().any(|got| got == line),
            "{line:?} not in {status}"
        );
    }
    assert_eq!(run(&sandbox.spec("echo $$")), "1\n");
}

fn other_capability_sets() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("grep Cap /proc/self/status; chown 1:1 /tmp && echo changed");
    spec.capabilities = CapSet::docker()
        .without(Capability::CHOWN)
        .with(Capability::NET_ADMIN);
    let outcome = try_run(&spec).unwrap();
    assert!(
        outcome.output.contains("CapEff:\t00000000a80435fa"),
        "{}",
        outcome.output
    );
    assert!(!outcome.output.contains("changed"));
    spec.capabilities = CapSet::empty();
    spec.user = UserSpec("daemon".to_owned());
    assert!(
        try_run(&spec)
            .unwrap()
            .output
            .contains("CapBnd:\t0000000000000000")
    );
    spec.capabilities = CapSet::docker();
    let output = try_run(&spec).unwrap().output;
    assert!(output.contains("CapEff:\t0000000000000000"), "{output}");
    assert!(output.contains("CapBnd:\t00000000a80425fb"), "{output}");
}

fn privileged_sees_devices() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(
        "grep -e CapEff -e Seccomp: /proc/self/status; test -w /proc/sys/kernel/hostname && echo w; \
         ls /dev | wc -l; mount -t tmpfs x /tmp && echo mounted",
    );
    spec.privileged = true;
    let output = run(&spec);
    assert!(output.contains("Seccomp:\t0") && output.contains("w\n") && output.contains("mounted"));
    let devices: usize = output
        .lines()
        .find_map(|line| line.trim().parse().ok())
        .unwrap();
    assert!(devices > 15, "{output}");
}

fn users_and_groups() {
    let sandbox = Sandbox::new();
    let table = [
        ("", "uid=0(root) gid=0(root) groups=0(root) /root\n"),
        (
            "daemon",
            "uid=1(daemon) gid=1(daemon) groups=1(daemon),2(bin) /usr/sbin\n",
        ),
        (
            "mail:users",
            "uid=8(mail) gid=100(users) groups=100(users) /var/mail\n",
        ),
        ("4242", "uid=4242 gid=0(root) groups=0(root) /\n"),
    ];
    for (user, expected) in table {
        let mut spec = sandbox.spec("echo $(id) $HOME");
        spec.user = UserSpec(user.to_owned());
        assert_eq!(run(&spec), expected, "{user:?}");
    }
    let mut spec = sandbox.spec("id");
    spec.user = UserSpec("nobody".to_owned());
    let error = try_run(&spec).unwrap_err();
    assert!(
        matches!(&error, RunError::UnknownUser { user } if user == "nobody"),
        "{error:?}"
    );
    spec.user = UserSpec("root:wheel".to_owned());
    let error = try_run(&spec).unwrap_err();
    assert!(
        matches!(&error, RunError::UnknownGroup { group } if group == "wheel"),
        "{error:?}"
    );
}

fn environment_and_directory() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.command(&["env"]);
    spec.env = vec![
        ("A".into(), "b=c".into()),
        ("PATH".into(), "/nowhere:/bin".into()),
    ];
    assert_eq!(run(&spec), "A=b=c\nPATH=/nowhere:/bin\nHOME=/root\n");
    let mut spec = sandbox.spec("pwd");
    spec.cwd = PathBuf::from("/etc");
    assert_eq!(run(&spec), "/etc\n");
    let mut spec = sandbox.spec("pwd; stat -c '%a %u:%g' /missing .");
    spec.cwd = PathBuf::from("/missing/too");
    assert_eq!(run(&spec), "/missing/too\n755 0:0\n755 0:0\n");
    spec.cwd = PathBuf::from("/etc/passwd/below");
    let error = try_run(&spec).unwrap_err();
    assert!(
        matches!(error, RunError::WorkingDirectory { .. }),
        "{error:?}"
    );
}

fn exit_codes() {
    let sandbox = Sandbox::new();
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("sh -c 'kill -9 $$'; exit $?", Exit::Code(137)),
    ] {
        assert_eq!(
            try_run(&sandbox.spec(script)).unwrap().exit,
            exit,
            "{script}"
        );
    }
    assert_eq!(Exit::Signal(9).shell_code(), 137);
}

fn command_errors() {
    let sandbox = Sandbox::new();
    let base = sandbox.base();
    std::fs::write(base.join("bin/plain"), "echo x").unwrap();
    std::fs::write(base.join("bin/script"), "#!/no/such/thing\n").unwrap();
    std::fs::write(base.join("bin/garbage"), "\x01\x02\x03").unwrap();
    for name in ["script", "garbage"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(base.join("bin").join(name), mode).unwrap();
    }
    let error = |program: &str| try_run(&sandbox.command(&[program])).unwrap_err();
    for program in ["nothing", "/bin/nothing", "/bin/sh/x"] {
        let error = error(program);
        assert!(
            matches!(error, RunError::NotFound { .. }),
            "{program} {error:?}"
        );
        assert_eq!(error.exit_code(), 127);
    }
    for program in ["script", "/bin/script"] {
        let error = error(program);
        assert!(
            matches!(error, RunError::NoInterpreter { .. }),
            "{program} {error:?}"
        );
        assert_eq!(error.exit_code(), 127);
    }
    for program in ["plain", "/bin/plain", "/etc", "/bin/garbage", "garbage"] {
        let error = error(program);
        assert!(
            matches!(error, RunError::NotExecutable { .. }),
            "{program} {error:?}"
        );
        assert_eq!(error.exit_code(), 126);
    }
    let none: [&str; 0] = [];
    assert!(matches!(
        try_run(&sandbox.command(&none)).unwrap_err(),
        RunError::NoCommand
    ));
}

fn set_up_errors() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("true");
    spec.rootfs = Rootfs::Overlay {
        lowers: vec!["/nonexistent".into()],
        upper: sandbox.upper(),
        work: sandbox.top.join("work"),
        userxattr: false,
    };
    let error = try_run(&spec).unwrap_err();
    assert!(
        matches!(error, RunError::Rootfs { lowers: 1, .. }),
        "{error:?}"
    );
    assert_eq!(error.exit_code(), 125);
}

fn network_none() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(
        "ip -o link; ip -o addr; nc -l -p 9999 & \
         until echo x | nc 127.0.0.1 9999 2>/dev/null; do sleep 0.05; done; wait; ls /sys/class/net",
    );
    spec.network = Network::None;
    let output = run(&spec);
    assert!(output.contains("lo: <LOOPBACK,UP"), "{output}");
    assert!(
        output.contains("127.0.0.1/8") && !output.contains("eth"),
        "{output}"
    );
    assert!(output.lines().any(|line| line == "x"), "{output}");
    assert_eq!(output.lines().last(), Some("lo"));
}

fn hostname() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("hostname; cat /etc/hostname");
    "buildkitsandbox".clone_into(&mut spec.hostname);
    spec.hostname_file = Some(b"other\n".to_vec());
    assert_eq!(run(&spec), "buildkitsandbox\nother\n");
}

fn limits() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("ulimit -n; ulimit -Hn; umask");
    spec.rlimits.push(Rlimit {
        resource: Resource::OpenFiles,
        soft: Some(77),
        hard: Some(88),
    });
    spec.umask = 0o77;
    assert_eq!(run(&spec), "77\n88\n0077\n");
}

fn background_processes_die() {
    let sandbox = Sandbox::new();
    let script = "(while sleep 0.05; do echo x >> /tmp/ticks; done) & until [ -s /tmp/ticks ]; do sleep 0.05; done; exit 4";
    assert_eq!(try_run(&sandbox.spec(script)).unwrap().exit, Exit::Code(4));
    let ticks = || {
        std::fs::read(sandbox.upper().join("tmp/ticks"))
            .unwrap()
            .len()
    };
    let before = ticks();
    assert!(before > 0);
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(ticks(), before);
}

fn a_killer_kills() {
    let sandbox = Sandbox::new();
    let process = RUNNER
        .spawn(&sandbox.spec("sleep 100"), Stdio::null().unwrap())
        .unwrap();
    assert!(process.pid().is_some_and(|pid| pid > 1));
    let killer = process.killer().unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        killer.kill(libc::SIGKILL).unwrap();
        killer
    });
    assert_eq!(process.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    thread.join().unwrap().kill(libc::SIGTERM).unwrap();
}

fn terminal() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("tty; stty size; readlink /proc/self/fd/0; test -c /dev/console && echo con; read x; echo got $x; ls -l /dev/pts/0 | cut -c1-10");
    spec.terminal = Some(WindowSize { rows: 33, cols: 99 });
    spec.user = UserSpec("daemon".to_owned());
    let mut process = RUNNER.spawn(&spec, Stdio::null().unwrap()).unwrap();
    process.started().unwrap();
    let mut master = File::from(process.take_terminal().unwrap());
    master.write_all(b"hello\n").unwrap();
    let mut output = Vec::new();
    let mut buffer = [0; 1000];
    // A terminal whose other side is gone reads as an I/O error.
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        output.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
    let output = String::from_utf8(output).unwrap().replace("\r\n", "\n");
    let lines: Vec<&str> = output.lines().filter(|line| *line != "hello").collect();
    assert_eq!(
        lines,
        [
            "/dev/pts/0",
            "33 99",
            "/dev/pts/0",
            "con",
            "got hello",
            "crw--w----"
        ]
    );
}

fn dropping_the_runner_kills() {
    let sandbox = Sandbox::new();
    let runner = Runner::start(RunnerOptions::new(sandbox.top.join("scratch"))).unwrap();
    let script = "while sleep 0.02; do echo x >> /tmp/ticks; done";
    let process = runner
        .spawn(&sandbox.spec(script), Stdio::null().unwrap())
        .unwrap();
    let ticks = sandbox.upper().join("tmp/ticks");
    wait_until(|| ticks.exists());
    drop(runner);
    let before = std::fs::read(&ticks).unwrap().len();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(std::fs::read(&ticks).unwrap().len(), before);
    let error = process.wait().unwrap_err();
    assert!(matches!(error, RunError::Worker { .. }), "{error:?}");
}

const HELPER: &str = "COOPER_TEST_CALLER";

/// Runs a process for ever, as the caller that the next test kills.
pub(crate) fn become_helper() -> Option<ExitCode> {
    let top = PathBuf::from(std::env::var_os(HELPER)?);
    let sandbox = Sandbox::at(top);
    let mut options = RunnerOptions::new(sandbox.top.join("scratch"));
    options.warm = 1;
    let runner = Runner::start(options).unwrap();
    let script = "while sleep 0.02; do echo x >> /tmp/ticks; done";
    let _ = runner.run(&sandbox.spec(script), Stdio::null().unwrap());
    Some(ExitCode::SUCCESS)
}

fn death_of_the_caller_kills() {
    let top = std::env::temp_dir().join(format!("cooper-test-{}-caller", std::process::id()));
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before_mounts = mounts();
    let mut caller = std::process::Command::new(std::env::current_exe().unwrap())
        .env(HELPER, &top)
        .spawn()
        .unwrap();
    let ticks = top.join("fs/tmp/ticks");
    wait_until(|| ticks.exists());
    caller.kill().unwrap();
    caller.wait().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let before = std::fs::read(&ticks).unwrap().len();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(std::fs::read(&ticks).unwrap().len(), before);
    assert_eq!(mounts(), before_mounts);
    std::fs::remove_dir_all(&top).unwrap();
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn warm_children_work() {
    let sandbox = Sandbox::new();
    let mut options = RunnerOptions::new(sandbox.top.join("scratch"));
    options.warm = 2;
    let runner = Runner::start(options).unwrap();
    for round in 0..6 {
        let mut spec =
            sandbox.spec("cat /proc/self/status | grep CapEff; ls /sys/class/net; exit 0");
        // Another base makes the prepared children useless.
        spec.network = if round / 2 == 1 {
            Network::None
        } else {
            Network::Host
        };
        let outcome = try_run_on(&runner, &spec).unwrap();
        assert!(
            outcome.output.starts_with("CapEff:\t00000000a80425fb\n"),
            "{outcome:?}"
        );
        assert_eq!(
            outcome.output.lines().count() == 2,
            spec.network == Network::None,
            "{outcome:?}"
        );
    }
}

fn many_at_once() {
    let sandboxes: Vec<Sandbox> = (0..40).map(|_| Sandbox::new()).collect();
    std::thread::scope(|scope| {
        for (index, sandbox) in sandboxes.iter().enumerate() {
            scope.spawn(move || {
                let script = format!("sleep 0.1; echo {index}; exit {index}");
                let outcome = try_run(&sandbox.spec(&script)).unwrap();
                assert_eq!(outcome.exit, Exit::Code(index as i32));
                assert_eq!(outcome.output, format!("{index}\n"));
            });
        }
    });
}

fn stdin_is_passed() {
    let sandbox = Sandbox::new();
    let (stdin, mut feed) = std::io::pipe().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stdio = Stdio {
        stdin: stdin.into(),
        stdout: writer.try_clone().unwrap().into(),
        stderr: writer.into(),
    };
    let process = RUNNER.spawn(&sandbox.command(&["cat"]), stdio).unwrap();
    feed.write_all(b"through").unwrap();
    drop(feed);
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert!(process.wait().unwrap().success());
    assert_eq!(output, "through");
}

fn non_root_may_reopen_its_output() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("echo out > /dev/stdout; echo err > /dev/stderr");
    spec.user = UserSpec("daemon".to_owned());
    assert_eq!(run(&spec), "out\nerr\n");
}

fn large_plans() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("cat /big | wc -c; echo $ENVVAR | wc -c");
    spec.env.push(("ENVVAR".into(), "x".repeat(100_000).into()));
    spec.mounts.push(cooper_runner::Mount {
        target: "/big".into(),
        kind: cooper_runner::MountKind::File {
            data: vec![b'y'; 3 << 20],
            mode: 0o400,
            uid: 0,
            gid: 0,
        },
        create_target: true,
    });
    assert_eq!(
        run(&spec).split_whitespace().collect::<Vec<_>>(),
        ["3145728", "100001"]
    );
}

fn no_new_privileges() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("grep -e NoNewPrivs -e Seccomp: /proc/self/status");
    spec.no_new_privileges = true;
    assert_eq!(run(&spec), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    spec.no_new_privileges = false;
    spec.seccomp = Seccomp::Unconfined;
    assert_eq!(run(&spec), "NoNewPrivs:\t0\nSeccomp:\t0\n");
}

/// Whatever is mounted for control groups begins at the container's own, and is read-only.
fn only_the_own_cgroup_is_visible() {
    let sandbox = Sandbox::new();
    let output =
        run(&sandbox.spec("cat /proc/self/mountinfo; mkdir /sys/fs/cgroup/x || echo refused"));
    let (mounts, refused) = output.trim_end().rsplit_once('\n').expect("lines");
    assert_eq!(refused, "refused", "{output}");
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let below: Vec<_> = fields
        .filter(|fields| fields[4].starts_with("/sys/fs/cgroup"))
        .collect();
    assert!(!below.is_empty(), "{output}");
    for fields in below {
        assert_eq!(fields[3], "/", "{output}");
        assert!(
            fields[5].split(',').any(|option| option == "ro"),
            "{output}"
        );
    }
}
