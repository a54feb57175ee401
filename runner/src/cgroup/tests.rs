use super::*;

fn all() -> Limits {
    Limits {
        memory: Some(1 << 20),
        memory_swap: Some(3 << 20),
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        cpuset_cpus: Some("0-1".into()),
        cpuset_mems: Some("0".into()),
        ..Limits::default()
    }
}

#[test]
fn devices_and_processes_are_limited_in_both_versions() {
    let limits = Limits {
        memory_reservation: Some(4096),
        pids: Some(7),
        io_weight: Some(1000),
        io_rates: vec![IoRate {
            device: (8, 16),
            kind: IoKind::ReadBytes,
            rate: 1 << 20,
        }],
        ..Limits::default()
    };
    assert_eq!(
        written(&limits, Version::One),
        [
            "memory.soft_limit_in_bytes=4096",
            "blkio.weight=1000",
            "blkio.throttle.read_bps_device=8:16 1048576",
            "pids.max=7"
        ]
    );
    assert_eq!(
        written(&limits, Version::Two),
        [
            "memory.low=4096",
            "io.weight=default 10000",
            "io.max=8:16 rbps=1048576",
            "pids.max=7"
        ]
    );
    assert_eq!(limits.controllers("io"), ["memory", "pids", "io"]);
}

fn written(limits: &Limits, version: Version) -> Vec<String> {
    let settings = limits.settings(version).into_iter();
    settings
        .map(|setting| {
            let implied = if setting.implied { "?" } else { "" };
            format!("{}{implied}={}", setting.file, setting.value)
        })
        .collect()
}

#[test]
fn each_version_has_files_of_its_own() {
    assert_eq!(
        written(&all(), Version::One),
        [
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=3145728",
            "cpu.shares=512",
            "cpu.cfs_period_us=50000",
            "cpu.cfs_quota_us=25000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ]
    );
    assert_eq!(
        written(&all(), Version::Two),
        [
            "memory.max=1048576",
            "memory.swap.max=2097152",
            "cpu.weight=20",
            "cpu.max=25000 50000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ]
    );
}

#[test]
fn what_is_not_given_follows_docker() {
    let memory = Limits {
        memory: Some(100),
        ..Limits::default()
    };
    let unlimited = Limits {
        memory_swap: Some(-1),
        ..memory.clone()
    };
    let quota = Limits {
        cpu_quota: Some(-1),
        ..Limits::default()
    };
    for (limits, one, two) in [
        (
            memory,
            &[
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes?=200",
            ][..],
            &["memory.max=100", "memory.swap.max?=100"][..],
        ),
        (
            unlimited,
            &[
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=-1",
            ],
            &["memory.max=100", "memory.swap.max=max"],
        ),
        (quota, &["cpu.cfs_quota_us=-1"], &["cpu.max=max 100000"]),
        (Limits::default(), &[], &[]),
    ] {
        assert_eq!(written(&limits, Version::One), one);
        assert_eq!(written(&limits, Version::Two), two);
    }
}

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /box /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

const GROUPS: &str = "\
9:name=systemd:/init
4:memory:/box/job/7
1:cpu,cpuacct:/
0::/app.slice
";

#[test]
fn only_the_hierarchies_of_the_limits_are_touched() {
    let mounted = Mounted::parse(HYBRID, GROUPS);
    let memory = mounted.needed(&["memory"], false).expect("there is one");
    assert_eq!(memory.len(), 1);
    let own = memory[0].mount.join("job/7");
    assert_eq!(own, Path::new("/sys/fs/cgroup/memory/job/7"));
    assert_eq!(
        mounted
            .needed(&["cpu", "memory"], false)
            .expect("two")
            .len(),
        2
    );
    assert_eq!(mounted.needed(&[], true).expect("all").len(), 3);
    let error = mounted.needed(&["cpuset"], false).expect_err("none");
    assert_eq!(
        error.to_string(),
        "this system has no control group for cpuset"
    );
}

/// Directories stand for a hierarchy: the kernel's files appear when they are written.
#[test]
fn version_two_hands_controllers_down_to_the_group() {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = dir.path().display();
    let info = format!("41 31 0:38 / {mount} rw - cgroup2 cgroup2 rw\n");
    let mut mounted = Mounted::parse(&info, "0::/\n");
    mounted.hierarchies[0].allow_for_tests(&["memory", "cpu"]);
    let limits = Limits {
        memory: Some(4096),
        ..Limits::default()
    };
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).expect(path);

    let create = |parent| Cgroup::create_in(&mounted, parent, "step", &limits, Purpose::Limits);
    let group = create(None).expect("made");
    assert_eq!(read("cgroup.subtree_control"), "+memory");
    assert_eq!(read("cooper/cgroup.subtree_control"), "+memory");
    assert_eq!(read("cooper/step/memory.max"), "4096");
    group.enter(None).expect("joined");
    assert_eq!(read("cooper/step/cgroup.procs"), "0");
    let events = dir.path().join("cooper/step/memory.events");
    fs::write(events, "low 0\noom 2\noom_kill 1\n").expect("write");
    assert_eq!(group.memory_kills(), 1);

    create(Some("ci-jobs.slice")).expect("made");
    assert_eq!(
        read("ci.slice/ci-jobs.slice/cgroup.subtree_control"),
        "+memory"
    );
}

#[test]
fn without_root_the_uppermost_group_that_was_handed_over_is_divided() {
    let dir = tempfile::tempdir().expect("a directory");
    let info = format!(
        "41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n",
        dir.path().display()
    );
    let mut mounted = Mounted::parse(&info, "0::/user.slice/user@1.service/app/shell.scope\n");
    mounted.hierarchies[0].allow_for_tests(&["pids"]);
    let own = dir.path().join("user.slice/user@1.service/app/shell.scope");
    fs::create_dir_all(own).expect("makes");
    // A file in its place stands for a directory that cannot be made.
    for taken in ["cooper", "user.slice/cooper"] {
        fs::write(dir.path().join(taken), "").expect("writes");
    }
    let limits = Limits {
        pids: Some(9),
        ..Limits::default()
    };
    let group = Cgroup::create_in(&mounted, None, "c", &limits, Purpose::Freezing).expect("made");
    let wanted = dir.path().join("user.slice/user@1.service/cooper/c");
    assert_eq!(group.directories(), std::slice::from_ref(&wanted));
    assert_eq!(
        fs::read_to_string(wanted.join("pids.max")).expect("there"),
        "9"
    );
}

#[test]
fn a_group_is_handed_on_changed_and_frozen() {
    let dir = tempfile::tempdir().expect("a directory");
    let info = format!(
        "41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n",
        dir.path().display()
    );
    let mut mounted = Mounted::parse(&info, "0::/\n");
    mounted.hierarchies[0].allow_for_tests(&["pids", "memory"]);
    let limits = |pids| Limits {
        pids: Some(pids),
        ..Limits::default()
    };
    let made = Cgroup::create_in(&mounted, None, "c", &limits(5), Purpose::Freezing);
    let directories = made.expect("made").release();
    let group = directories[0].clone();
    fs::write(group.join("cgroup.controllers"), "pids memory\n").expect("writes");
    let mut adopted = Cgroup::adopt(directories);
    let changed = Limits {
        memory: Some(8192),
        ..limits(7)
    };
    let extended = adopted.extend(&mounted, None, "c", &changed, Purpose::Limits);
    extended.expect("changed");
    let read = |file: &str| fs::read_to_string(group.join(file)).expect(file);
    assert_eq!(
        (read("pids.max"), read("memory.max")),
        ("7".into(), "8192".into())
    );
    assert!(!adopted.freeze(true), "without the file it cannot be done");
    fs::write(group.join("cgroup.freeze"), "0").expect("writes");
    fs::write(group.join("cgroup.events"), "populated 1\nfrozen 1\n").expect("writes");
    assert!(adopted.freeze(true));
    assert_eq!(read("cgroup.freeze"), "1");
}

#[test]
fn processes_have_a_number_in_each_namespace() {
    let own = i32::try_from(std::process::id()).expect("fits");
    assert_eq!(own_number(own), Some(own));
    assert_eq!(own_number(i32::MAX), None);
}
