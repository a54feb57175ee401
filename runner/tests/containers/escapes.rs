//! Escapes that worked against other runtimes, each shown to fail.

use crate::support::{Sandbox, run, try_run};
use cooper_runner::{Mount, MountKind, Propagation, RunError, TmpfsOptions};
use rustix::net::{AddressFamily, SocketType};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::ExitCode;

crate::cases! {
    linked_mount_targets_stay_inside, linked_subpaths_stay_inside,
    directories_of_proc_are_no_working_directory, no_descriptor_leaks, masked_paths_are_empty,
    masks_cannot_be_removed, readonly_paths_refuse_writes, the_filter_denies,
    the_own_executable_cannot_be_written, the_host_is_out_of_sight, a_linked_proc_is_refused,
    passwd_may_be_anything,
}

fn tmpfs(target: &str) -> Mount {
    let kind = MountKind::Tmpfs {
        size: None,
        mode: 0o755,
        options: TmpfsOptions::default(),
    };
    Mount {
        target: target.into(),
        kind,
        create_target: true,
    }
}

fn linked_mount_targets_stay_inside() {
    let sandbox = Sandbox::new();
    let outside = sandbox.top.join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    let base = sandbox.base();
    symlink(&outside, base.join("absolute")).unwrap();
    symlink(
        "../../../../../../../..".to_owned() + outside.to_str().unwrap(),
        base.join("relative"),
    )
    .unwrap();
    symlink("/proc/1/root", base.join("magic")).unwrap();
    let mut spec = sandbox.spec("true");
    spec.mounts = ["/absolute/a", "/relative/b", "/../../../c"]
        .map(tmpfs)
        .into();
    run(&spec);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(sandbox.changes(), ["dev", "proc", "sys"]);
    spec.mounts = vec![tmpfs("/magic/d")];
    let _ = try_run(&spec);
    assert!(!PathBuf::from("/d").exists());
}

fn linked_subpaths_stay_inside() {
    let sandbox = Sandbox::new();
    let source = sandbox.top.join("source");
    std::fs::create_dir_all(source.join("etc")).unwrap();
    std::fs::write(source.join("etc/passwd"), "inside").unwrap();
    symlink("/etc", source.join("link")).unwrap();
    symlink("../../../../../../../../etc", source.join("dots")).unwrap();
    for subpath in ["link/passwd", "dots/passwd", "../../../../../../etc/passwd"] {
        for overlay in [false, true] {
            let subpath = Some(PathBuf::from(subpath));
            let kind = if overlay {
                let lowers = vec![source.clone()];
                MountKind::Overlay {
                    lowers,
                    upper: None,
                    userxattr: false,
                    subpath,
                }
            } else {
                MountKind::Bind {
                    source: source.clone(),
                    subpath,
                    readonly: true,
                    recursive: true,
                    propagation: Propagation::Private,
                }
            };
            let mut spec = sandbox.spec("cat /x");
            spec.mounts.push(Mount {
                target: "/x".into(),
                kind,
                create_target: true,
            });
            assert_eq!(run(&spec), "inside");
        }
    }
}

/// CVE-2024-21626: a working directory of `/proc/self/fd/N` on the host.
fn directories_of_proc_are_no_working_directory() {
    let sandbox = Sandbox::new();
    symlink("/proc/self/fd", sandbox.base().join("fds")).unwrap();
    symlink("/proc/self/fd/7", sandbox.base().join("fd7")).unwrap();
    for number in 0..40 {
        for path in [format!("/proc/self/fd/{number}"), format!("/fds/{number}")] {
            let mut spec = sandbox.spec("pwd");
            spec.cwd = PathBuf::from(&path);
            let error = try_run(&spec).unwrap_err();
            assert!(
                matches!(error, RunError::WorkingDirectory { .. }),
                "{path} {error:?}"
            );
        }
    }
    let mut spec = sandbox.spec("pwd");
    spec.cwd = PathBuf::from("/fd7");
    assert!(matches!(
        try_run(&spec).unwrap_err(),
        RunError::WorkingDirectory { .. }
    ));
}

fn no_descriptor_leaks() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.command(&["ls", "/proc/self/fd"]);
    spec.mounts.push(tmpfs("/t"));
    // Number 3 is the directory that ls reads.
    assert_eq!(run(&spec), "0\n1\n2\n3\n");
}

fn masked_paths_are_empty() {
    let sandbox = Sandbox::new();
    let script = "cd /proc; for i in acpi asound scsi; do ls $i 2>/dev/null; done; ls /sys/firmware; \
        cat kcore keys timer_list interrupts latency_stats sched_debug timer_stats 2>/dev/null; true";
    assert_eq!(run(&sandbox.spec(script)), "");
    let base = sandbox.base();
    std::fs::write(base.join("etc/hidden"), "x").unwrap();
    symlink("hidden", base.join("etc/link")).unwrap();
    let mut spec = sandbox.spec("cat /etc/hidden; ls /root; echo x > /etc/passwd || echo refused");
    std::fs::write(base.join("root/file"), "x").unwrap();
    spec.masked_paths = ["/etc/link", "/root"].map(PathBuf::from).into();
    spec.readonly_paths = vec![PathBuf::from("/etc/passwd")];
    let output = run(&spec);
    assert!(
        output.ends_with("refused\n") && !output.contains('x'),
        "{output}"
    );
}

fn masks_cannot_be_removed() {
    let sandbox = Sandbox::new();
    let script = "umount /proc/interrupts; umount /sys/firmware; umount -l /proc/sys; mount -t proc x /tmp; \
        mount -o remount,rw /sys; mount -o bind / /tmp; unshare -r true; unshare -m true; cat /proc/interrupts";
    let outcome = try_run(&sandbox.spec(script)).unwrap();
    let refused = outcome.output.lines().filter(|line| {
        line.contains("Operation not permitted")
            || line.contains("permission denied")
            || line.contains("must be superuser")
    });
    assert_eq!(refused.count(), 8, "{}", outcome.output);
    assert_eq!(outcome.output.lines().count(), 8, "{}", outcome.output);
}

fn readonly_paths_refuse_writes() {
    let sandbox = Sandbox::new();
    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/proc/irq/default_smp_affinity",
    ] {
        let outcome =
            try_run(&sandbox.spec(&format!("test ! -e {path} || echo x > {path}"))).unwrap();
        assert!(
            !outcome.exit.success() || outcome.output.is_empty(),
            "{path} {outcome:?}"
        );
        assert!(
            outcome.output.is_empty() || outcome.output.contains("Read-only"),
            "{path} {outcome:?}"
        );
    }
}

const PROBE: &str = "COOPER_TEST_PROBE";

/// Makes system calls that busybox has no command for, and prints how they fare.
#[expect(clippy::print_stdout, reason = "the test reads it")]
pub(crate) fn become_probe() -> Option<ExitCode> {
    std::env::var_os(PROBE)?;
    let socket = |family| {
        rustix::net::socket(family, SocketType::SEQPACKET, None)
            .map_err(rustix::io::Errno::raw_os_error)
    };
    println!("{:?}", socket(AddressFamily::VSOCK).err());
    println!(
        "{:?}",
        socket(AddressFamily::from_raw(libc::AF_ALG as u16)).err()
    );
    println!("{:?}", socket(AddressFamily::UNIX).err());
    let flags = rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC;
    println!(
        "{:?}",
        rustix::mount::fsopen("tmpfs", flags)
            .err()
            .map(rustix::io::Errno::raw_os_error)
    );
    let threads = std::thread::spawn(|| 1).join().unwrap();
    println!("{threads}");
    Some(ExitCode::SUCCESS)
}

/// The probe is this program, in the host's root bound into the container.
fn the_filter_denies() {
    let sandbox = Sandbox::new();
    let own = std::env::current_exe().unwrap();
    let mut spec = sandbox.spec(&format!("exec chroot /host {}", own.display()));
    spec.env.push((PROBE.into(), "1".into()));
    let kind = MountKind::Bind {
        source: "/".into(),
        subpath: None,
        readonly: true,
        recursive: true,
        propagation: Propagation::Private,
    };
    spec.mounts.push(Mount {
        target: "/host".into(),
        kind,
        create_target: true,
    });
    let (denied, allowed) = (format!("{:?}", Some(libc::EPERM)), "None");
    assert_eq!(
        run(&spec),
        format!("{denied}\n{denied}\n{allowed}\n{denied}\n1\n")
    );
    let mut spec = sandbox.spec("unshare -U true; unshare -n true; ip link add d0 type dummy");
    spec.user = cooper_runner::UserSpec("daemon".to_owned());
    let outcome = try_run(&spec).unwrap();
    assert_eq!(
        outcome.output.matches("not permitted").count(),
        3,
        "{outcome:?}"
    );
}

/// CVE-2019-5736: what a container runs as `/proc/self/exe` is the runtime's executable.
fn the_own_executable_cannot_be_written() {
    let sandbox = Sandbox::new();
    let base = sandbox.base();
    std::fs::write(base.join("bin/trap"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(
        base.join("bin/trap"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    symlink("/proc/self/exe", base.join("bin/direct")).unwrap();
    let own = std::env::current_exe().unwrap();
    let before = std::fs::metadata(&own).unwrap().modified().unwrap();
    for program in ["trap", "direct"] {
        // The dynamic loader is missing from the root, or the program is this test, which knows
        // nothing to do there; either way what counts is the file.
        let _ = try_run(&sandbox.command(&[program, "/bin/true"]));
    }
    assert_eq!(std::fs::metadata(&own).unwrap().modified().unwrap(), before);
    assert!(worker_executable_is_read_only());
}

/// Looks at the mount that the executable of each worker of this process is on.
fn worker_executable_is_read_only() -> bool {
    let workers = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            command.starts_with(b"cooper-worker")
        });
    let read_only: Vec<bool> = workers
        .map(|worker| {
            let executable = std::fs::File::open(worker.path().join("exe")).unwrap();
            let flags = rustix::fs::fstatvfs(executable).unwrap().f_flag;
            flags.contains(rustix::fs::StatVfsMountFlags::RDONLY)
        })
        .collect();
    !read_only.is_empty() && read_only.into_iter().all(|read_only| read_only)
}

fn the_host_is_out_of_sight() {
    let sandbox = Sandbox::new();
    let output = run(&sandbox.spec("ps | wc -l; cat /proc/self/mountinfo | grep -c ' / / '; ls /; chroot /bin /busybox ls ../../.."));
    let lines: Vec<&str> = output.lines().map(str::trim).collect();
    assert!(lines[0].parse::<u32>().unwrap() <= 5, "{lines:?}");
    assert_eq!(
        lines[2..9],
        ["bin", "dev", "etc", "proc", "root", "sys", "tmp"],
        "{lines:?}"
    );
    assert!(lines.contains(&"busybox"));
}

fn a_linked_proc_is_refused() {
    let sandbox = Sandbox::new();
    symlink("/tmp", sandbox.base().join("proc")).unwrap();
    let error = try_run(&sandbox.spec("true")).unwrap_err();
    assert!(matches!(error, RunError::SetUp { .. }), "{error:?}");
}

/// A user database that blocks, leads out or never ends stops nothing but its own process.
fn passwd_may_be_anything() {
    for kind in ["fifo", "proc", "zero", "loop"] {
        let sandbox = Sandbox::new();
        let passwd = sandbox.base().join("etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        match kind {
            "fifo" => {
                let mode = rustix::fs::Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &passwd,
                    rustix::fs::FileType::Fifo,
                    mode,
                    0,
                )
                .unwrap();
            }
            "proc" => symlink("/proc/self/fd/3", &passwd).unwrap(),
            "zero" => symlink("/dev/zero", &passwd).unwrap(),
            _ => symlink("passwd", &passwd).unwrap(),
        }
        assert!(try_run(&sandbox.spec("true")).is_err(), "{kind}");
    }
}
