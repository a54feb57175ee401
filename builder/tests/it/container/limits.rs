//! Limits on what containers use, as the kernel has them and as it makes them felt.

use std::path::PathBuf;

use super::{Scene, loaded};
use crate::support::{Context, need};

/// A scene on a machine whose control groups this user may divide.
fn limited() -> Option<Scene> {
    need::root()?;
    loaded()
}

/// Returns the directories of a container's control group.
pub(super) fn groups(scene: &Scene, name: &str) -> Vec<PathBuf> {
    let id = scene.fact(name, "{{.Id}}");
    let state = scene.root().join("containers").join(id).join("state.json");
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(state).expect("a state")).expect("JSON");
    let groups = state["cgroup"].as_array().expect("a list").iter();
    groups
        .map(|group| group.as_str().expect("a path").into())
        .collect()
}

/// Returns what the kernel has in the first of `files` that a container's group has: those of
/// version 1, then 2.
#[track_caller]
fn limit(scene: &Scene, name: &str, files: [&str; 2]) -> String {
    let groups = groups(scene, name);
    let mut texts = groups
        .iter()
        .flat_map(|group| files.map(|file| group.join(file)))
        .filter_map(|file| std::fs::read_to_string(file).ok());
    let text = texts.next();
    let text = text.unwrap_or_else(|| panic!("{groups:?} have none of {files:?}"));
    text.trim().to_owned()
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];

#[test]
fn limits_are_the_kernels_and_can_be_changed_while_it_runs() {
    let Some(scene) = limited() else { return };
    let options = [
        "--name",
        "cc",
        "-m",
        "64m",
        "--memory-swap",
        "128m",
        "--cpus",
        ".5",
    ];
    scene.detached(&options, &["sleep", "1000"]);
    assert_eq!(limit(&scene, "cc", MEMORY), "67108864");
    let quota = ["cpu.cfs_quota_us", "cpu.max"];
    assert!(["50000", "50000 100000"].contains(&limit(&scene, "cc", quota).as_str()));
    let host = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}}";
    assert_eq!(scene.fact("cc", host), "67108864 134217728 500000000");

    // More memory than memory and swap together had before, and a controller that is new.
    let update = [
        "update",
        "-m",
        "256m",
        "--memory-swap",
        "512m",
        "--pids-limit",
        "7",
        "cc",
    ];
    assert_eq!(scene.run(&update).ok().out(), "cc\n");
    assert_eq!(limit(&scene, "cc", MEMORY), "268435456");
    assert_eq!(limit(&scene, "cc", PIDS), "7");
    let pid = scene.fact("cc", "{{.State.Pid}}");
    let of_process = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let id = scene.fact("cc", "{{.Id}}");
    for controller in ["memory", "pids"] {
        let mut lines = of_process.lines();
        let within = lines.any(|line| {
            (line.contains(&format!(":{controller}:")) || line.starts_with("0::"))
                && line.ends_with(&id)
        });
        assert!(within, "{controller} in {of_process}");
    }
    assert_eq!(scene.fact("cc", "{{.HostConfig.PidsLimit}}"), "7");
    let said = scene.run(&["update", "-m", "4m", "cc"]).exits(1);
    said.says("less than 6 MiB");
    // What was asked for holds at the next start too.
    scene.run(&["restart", "-t", "0", "cc"]).ok();
    assert_eq!(limit(&scene, "cc", MEMORY), "268435456");
    let left = groups(&scene, "cc");
    scene.run(&["rm", "-f", "cc"]).ok();
    assert!(
        !left.is_empty() && left.iter().all(|group| !group.exists()),
        "{left:?}"
    );
}

#[test]
fn a_container_sees_its_own_limits_and_no_other_group() {
    let Some(scene) = limited() else { return };
    scene.detached(&["--name", "other", "-m", "32m"], &["sleep", "1000"]);
    let look = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; \
                find . -type d | wc -l";
    let seen = scene.run(&["run", "--rm", "-m", "64m", "busybox", "sh", "-c", look]);
    let seen = seen.out();
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(lines[0], "67108864", "{seen}");
    // One for each hierarchy at most, and none within.
    let directories: usize = lines[1].parse().expect("a number");
    assert!(directories <= 16, "{seen}");
    let id = scene.fact("other", "{{.Id}}");
    let find = format!("find /sys/fs/cgroup -name '{id}*' | wc -l");
    let found = scene.run(&["run", "--rm", "busybox", "sh", "-c", &find]);
    assert_eq!(found.ok().out(), "0\n");
    let step = format!("FROM busybox\nRUN [ $({find}) = 0 ]\n");
    scene
        .build(&Context::new(&step), &["-otype=cacheonly"])
        .ok();
}

#[test]
fn with_one_hierarchy_a_container_has_a_group_without_limits_too() {
    let Some(scene) = limited() else { return };
    let top = std::path::Path::new("/sys/fs/cgroup");
    if !top.join("cgroup.controllers").exists() {
        need::skip::<()>("there are hierarchies of version 1 here");
        return;
    }
    scene.detached(&["--name", "cc"], &["sleep", "1000"]);
    let groups = groups(&scene, "cc");
    let id = scene.fact("cc", "{{.Id}}");
    assert_eq!(groups, [top.join("cooper").join(id)]);
    let members = || std::fs::read_to_string(groups[0].join("cgroup.procs")).expect("a group");
    assert_eq!(members().trim(), scene.fact("cc", "{{.State.Pid}}"));
    // What joins the container is in its group, which is the root of what it sees.
    let exec = [
        "exec",
        "cc",
        "sh",
        "-c",
        "cat /proc/self/cgroup; sleep 1000 >/dev/null 2>&1 &",
    ];
    assert_eq!(scene.run(&exec).ok().out(), "0::/\n");
    assert_eq!(members().lines().count(), 2);
    scene.run(&["update", "--pids-limit", "7", "cc"]).ok();
    assert_eq!(limit(&scene, "cc", PIDS), "7");
    scene.run(&["rm", "-f", "cc"]).ok();
    assert!(!groups[0].exists());
}

#[test]
fn each_limit_reaches_the_kernel() {
    let Some(scene) = limited() else { return };
    let cases: &[(&[&str], [&str; 2], [&str; 2])] = &[
        (
            &["--cpu-shares=512"],
            ["cpu.shares", "cpu.weight"],
            ["512", "20"],
        ),
        (
            &["--cpu-period=50000", "--cpu-quota=25000"],
            ["cpu.cfs_period_us", "cpu.max"],
            ["50000", "25000 50000"],
        ),
        (
            &["--cpuset-cpus=0", "--cpuset-mems=0"],
            ["cpuset.cpus", "cpuset.cpus"],
            ["0", "0"],
        ),
        (
            &["-m=64m", "--memory-reservation=32m"],
            ["memory.soft_limit_in_bytes", "memory.low"],
            ["33554432", "33554432"],
        ),
        (
            &["-m=64m", "--memory-swappiness=7"],
            ["memory.swappiness", "memory.max"],
            ["7", "67108864"],
        ),
        (
            &["-m=64m", "--cgroup-parent=cooper-test"],
            ["memory.limit_in_bytes", "memory.max"],
            ["67108864", "67108864"],
        ),
    ];
    for (options, files, expected) in cases {
        let named = [&["--name=cc"], *options].concat();
        scene.detached(&named, &["sleep", "1000"]);
        let found = limit(&scene, "cc", *files);
        assert!(expected.contains(&found.as_str()), "{options:?}: {found}");
        scene.run(&["rm", "-f", "cc"]).ok();
    }
    for parent in ["/sys/fs/cgroup/cooper-test", "/sys/fs/cgroup/*/cooper-test"] {
        // The parent is the user's, who named it; here that is this test.
        let remove = format!("for dir in {parent}; do [ ! -d $dir ] || rmdir $dir; done");
        let status = std::process::Command::new("sh")
            .args(["-c", &remove])
            .status();
        assert!(status.expect("sh").success(), "{parent}");
    }
    let where_it_runs = "grep Cpus_allowed_list /proc/self/status";
    let pinned = [
        "run",
        "--rm",
        "--cpuset-cpus=0",
        "busybox",
        "sh",
        "-c",
        where_it_runs,
    ];
    scene.run(&pinned).ok().prints("Cpus_allowed_list:\t0\n");
}

#[test]
fn a_group_without_a_killer_says_so() {
    let Some(scene) = limited() else { return };
    let options = ["--name=cc", "-m=64m", "--oom-kill-disable"];
    let args = [&["run", "-d"], &options[..], &["busybox", "sleep", "1000"]].concat();
    let outcome = scene.run(&args).ok();
    let directory = groups(&scene, "cc")[0].join("memory.oom_control");
    match std::fs::read_to_string(directory) {
        Ok(control) => assert!(control.starts_with("oom_kill_disable 1\n"), "{control}"),
        // Version 2 has no such thing.
        Err(_) => drop(outcome.says("WARNING: this kernel has no memory.oom_control")),
    }
    assert_eq!(scene.fact("cc", "{{.HostConfig.OomKillDisable}}"), "true");
}

#[test]
fn rates_at_devices_are_the_kernels() {
    let Some(scene) = limited() else { return };
    let disks = std::fs::read_dir("/sys/block").expect("lists").flatten();
    let mut disks = disks.map(|disk| disk.file_name().to_string_lossy().into_owned());
    let Some(disk) = disks.find(|name| std::path::Path::new("/dev").join(name).exists()) else {
        need::skip::<()>("no disk in /dev");
        return;
    };
    let numbers = std::fs::read_to_string(format!("/sys/block/{disk}/dev")).expect("numbers");
    let numbers = numbers.trim();
    let read = format!("--device-read-bps=/dev/{disk}:1mb");
    let write = format!("--device-write-iops=/dev/{disk}:77");
    scene.detached(&["--name=cc", &read, &write], &["sleep", "1000"]);
    let rate = limit(&scene, "cc", ["blkio.throttle.read_bps_device", "io.max"]);
    assert!(
        rate.starts_with(numbers) && rate.contains("1048576"),
        "{rate}"
    );
    let rate = limit(&scene, "cc", ["blkio.throttle.write_iops_device", "io.max"]);
    assert!(rate.starts_with(numbers) && rate.contains("77"), "{rate}");
    let path = "{{(index .HostConfig.BlkioDeviceReadBps 0).Path}}";
    assert_eq!(scene.fact("cc", path), format!("/dev/{disk}"));
    // A disk whose scheduler knows no weights is said to have none.
    let weight = format!("--blkio-weight-device=/dev/{disk}:300");
    let args = [
        "run",
        "-d",
        "--name=dd",
        &weight,
        "busybox",
        "sleep",
        "1000",
    ];
    let outcome = scene.run(&args).ok();
    let said = outcome.stderr.contains("weight") && outcome.stderr.contains("is left out");
    let files = groups(&scene, "dd").into_iter().flat_map(|group| {
        let names = [
            "blkio.weight_device",
            "blkio.bfq.weight_device",
            "io.weight",
            "io.bfq.weight",
        ];
        names.map(|name| std::fs::read_to_string(group.join(name)).unwrap_or_default())
    });
    let written = files.collect::<String>().contains(&format!("{numbers} "));
    assert!(said != written, "{outcome}");
    let weight = "{{(index .HostConfig.BlkioWeightDevice 0).Weight}}";
    assert_eq!(scene.fact("dd", weight), "300");
}

#[test]
fn what_uses_up_its_memory_is_killed_and_says_so() {
    let Some(scene) = limited() else { return };
    // `tail` keeps what has no line's end in memory.
    let hungry = ["tail", "/dev/zero"];
    let args = [
        &[
            "run",
            "--name",
            "cc",
            "-m",
            "16m",
            "--memory-swap",
            "16m",
            "busybox",
        ][..],
        &hungry,
    ];
    scene.run(&args.concat()).exits(137);
    assert_eq!(
        scene.fact("cc", "{{.State.OOMKilled}} {{.State.ExitCode}}"),
        "true 137"
    );
    scene
        .run(&["run", "--name", "dd", "-m", "16m", "busybox", "true"])
        .ok();
    assert_eq!(scene.fact("dd", "{{.State.OOMKilled}}"), "false");
}

#[test]
fn processes_are_counted_and_those_of_exec_with_them() {
    let Some(scene) = limited() else { return };
    scene.detached(&["--name", "cc", "--pids-limit", "6"], &["sleep", "1000"]);
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 >/dev/null 2>&1 & done; wait";
    let outcome = scene.run(&["exec", "cc", "sh", "-c", script]);
    assert!(outcome.stderr.contains("can't fork"), "{outcome}");
    assert_ne!(outcome.code(), 0, "{outcome}");
}

#[test]
fn a_container_without_limits_can_be_given_them() {
    let Some(scene) = limited() else { return };
    scene.detached(&["--name", "cc"], &["sleep", "1000"]);
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(groups(&scene, "cc").len(), usize::from(unified));
    scene.run(&["update", "--memory", "32m", "cc"]).ok();
    assert_eq!(limit(&scene, "cc", MEMORY), "33554432");
    let members = groups(&scene, "cc")[0].join("cgroup.procs");
    let members = std::fs::read_to_string(members).expect("a list");
    assert_eq!(members.trim(), scene.fact("cc", "{{.State.Pid}}"));
}

#[test]
fn a_killed_monitor_leaves_no_group() {
    let Some(scene) = limited() else { return };
    scene.detached(&["--name", "cc", "-m", "32m"], &["sleep", "1000"]);
    // Held still by the group, which is what a kill alone does not end.
    scene.run(&["pause", "cc"]).ok();
    let left = groups(&scene, "cc");
    scene.kill_monitor("cc");
    scene.await_fact("cc", "{{.State.Status}}", "exited");
    assert!(left.iter().all(|group| !group.exists()), "{left:?}");
}

#[test]
fn a_limited_container_is_held_still_as_a_whole() {
    let Some(scene) = limited() else { return };
    let script = "while :; do echo x; sleep .01; done";
    scene.detached(&["--name", "cc", "-m", "32m"], &["sh", "-c", script]);
    scene.await_log("cc", "x");
    scene.run(&["pause", "cc"]).ok();
    let lines = || scene.run(&["logs", "cc"]).ok().out().len();
    let before = lines();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(lines(), before);
    scene.run(&["unpause", "cc"]).ok();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while lines() == before {
        assert!(std::time::Instant::now() < deadline, "it does not go on");
    }
    scene.run(&["pause", "cc"]).ok();
    scene.run(&["kill", "cc"]).ok();
    assert_eq!(scene.run(&["wait", "cc"]).ok().out(), "137\n");
}

#[test]
fn wishes_that_are_none_of_a_groups_are_kept_too() {
    let Some(scene) = limited() else { return };
    let options = ["--oom-score-adj", "321", "--shm-size", "8m"];
    let script = "cat /proc/self/oom_score_adj; df -k /dev/shm | tail -n 1 | awk '{print $2}'";
    let args = [
        &["run", "--rm"],
        &options[..],
        &["busybox", "sh", "-c", script],
    ]
    .concat();
    assert_eq!(scene.run(&args).ok().out(), "321\n8192\n");
    let missing = [
        "run",
        "--rm",
        "--device-read-bps",
        "/dev/null:1m",
        "busybox",
        "true",
    ];
    scene
        .run(&missing)
        .exits(125)
        .says("/dev/null is no block device");
}
