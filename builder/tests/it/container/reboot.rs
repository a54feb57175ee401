//! What is left of containers when the machine's power goes: a boot is played by namespaces, which
//! end with all that is in them. The second has other process numbers, another boot ID, no network
//! and no control group of the first.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::loaded;
use crate::support::need;

/// Boots, runs `script` and takes the power away.
#[track_caller]
fn boot(root: &Path, scratch: &Path, number: u32, script: &str) -> Output {
    let start = format!(
        "set -eu
        ip link set lo up
        mount -t tmpfs run /run
        echo 00000000-0000-4000-8000-00000000000{number} > \"$SCRATCH/boot\"
        mount --bind \"$SCRATCH/boot\" /proc/sys/kernel/random/boot_id
        cooper() {{ \"$COOPER\" --root \"$ROOT\" \"$@\"; }}
        await() {{ for _ in $(seq 500); do if \"$@\"; then return; fi; sleep 0.02; done; false; }}
        {script}"
    );
    let kinds = [
        "--net",
        "--mount",
        "--ipc",
        "--uts",
        "--pid",
        "--mount-proc",
    ];
    Command::new("unshare")
        .args(kinds)
        .args(["--fork", "--kill-child", "sh", "-c", &start])
        .env("COOPER", env!("CARGO_BIN_EXE_cooper"))
        .env("ROOT", root)
        .env("SCRATCH", scratch)
        .env("HOME", scratch)
        .stdin(Stdio::null())
        .output()
        .expect("starts")
}

#[track_caller]
fn prints(output: &Output, expected: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{said}");
    assert_eq!(text, expected, "{said}");
}

const BEFORE: &str = r#"
    cooper network create --subnet 10.77.0.0/24 net >/dev/null
    serve='echo kept > /data/file; echo mine > /own; nc -ll -p 80 -e /bin/echo served'
    cooper run -d --name always --restart always --network net -p 127.0.0.1:8077:80 \
        -v data:/data busybox sh -c "$serve" >/dev/null
    cooper run -d --name limited -m 64m --network net busybox sleep 1000 >/dev/null
    cooper run -d --name paused --restart unless-stopped busybox sleep 1000 >/dev/null
    cooper run -d --name gone --rm -v only:/its busybox sleep 1000 >/dev/null
    cooper create --name made busybox sh -c 'echo made' >/dev/null
    cooper run --name ended busybox sh -c 'exit 3' || true
    await cooper exec always test -s /own
    cooper pause paused >/dev/null
    cooper ps -a --format '{{.Names}} {{.State}}' | sort
"#;

const AFTER: &str = r#"
    for id in $(ls "$ROOT/containers"); do
        find /sys/fs/cgroup -depth -type d -name "$id" -exec rmdir {} + || true
    done
    cooper ps -a --format '{{.Names}} {{.State}}' | sort
    cooper ps -q
    cooper inspect --format '{{.State.Pid}} {{.State.ExitCode}}' always ended
    cooper start always limited made >/dev/null
    await cooper exec limited sh -c 'nc always 80 </dev/null | grep -q served'
    busybox nc 127.0.0.1 8077 </dev/null
    cooper exec always cat /data/file /own
    cooper inspect --format '{{.HostConfig.Memory}}' limited
    cooper wait made
    cooper logs made
    cooper restart -t 0 paused
    cooper ps --format '{{.Names}}' | sort
    cooper system prune -f >/dev/null
    cooper rm -f always limited paused >/dev/null
    cooper network rm net
    cooper volume ls -q | sort
    cooper ps -aq
"#;

#[test]
fn after_a_reboot_the_next_command_sees_the_truth_and_starts_what_is_asked_for() {
    let Some(scene) = loaded() else { return };
    if need::root().is_none() || need::tool("ip").is_none() || need::tool("busybox").is_none() {
        return;
    }
    let scratch = scene.scratch("boots");
    std::fs::create_dir(&scratch).expect("makes");
    let before = boot(scene.root(), &scratch, 1, BEFORE);
    let running = "always running\nended exited\ngone running\nlimited running\nmade created\n\
        paused paused\n";
    prints(&before, running);
    let after = boot(scene.root(), &scratch, 2, AFTER);
    let expected = "always exited\nended exited\nlimited exited\nmade created\npaused exited\n\
        0 137\n0 3\n\
        served\nkept\nmine\n67108864\n0\nmade\npaused\nalways\nlimited\npaused\nnet\ndata\nonly\n";
    prints(&after, expected);
}
