//! The root, standard and extra mounts, and what remains of them.

use crate::support::{Sandbox, run, try_run};
use cooper_runner::{Mount, MountKind, Propagation, Rootfs, RunError, TmpfsOptions, WindowSize};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

crate::cases! {
    standard_mounts, writes_reach_the_upper, nothing_remains_of_mount_points,
    mount_points_hidden_by_the_image_are_cleaned, mount_points_used_by_the_process_stay,
    hosts_and_resolv_conf, secrets, binds, recursive_readonly_binds, overlays_as_sources, tmpfs,
    readonly_root, directory_roots, empty_images, five_hundred_layers, long_paths,
    the_same_directories_twice, missing_sources, one_device_number, mounts_in_mounts,
}

fn mount(target: &str, kind: MountKind) -> Mount {
    Mount {
        target: target.into(),
        kind,
        create_target: true,
    }
}

fn bind(source: &Path, readonly: bool) -> MountKind {
    MountKind::Bind {
        source: source.to_owned(),
        subpath: None,
        readonly,
        recursive: true,
        propagation: Propagation::Private,
    }
}

fn standard_mounts() {
    let sandbox = Sandbox::new();
    let output = run(&sandbox
        .spec("cut -d' ' -f5,6 /proc/self/mountinfo | sort; ls /dev; ls -l /dev/null /dev/fd"));
    for line in [
        "/proc rw,nosuid,nodev,noexec,relatime",
        "/sys ro,nosuid,nodev,noexec,relatime",
        "/dev rw,nosuid",
        "/dev/pts rw,nosuid,noexec,relatime",
        "/dev/mqueue rw,nosuid,nodev,noexec,relatime",
        "/dev/shm rw,nosuid,nodev,noexec,relatime",
        "/proc/sys ro,nosuid,nodev,noexec,relatime",
    ] {
        assert!(
            output.lines().any(|got| got == line),
            "{line:?} not in {output}"
        );
    }
    let devices = "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert!(output.contains(devices), "{output}");
    assert!(output.contains("crw-rw-rw-"), "{output}");
    // What `df` and `mount` call each.
    let sources = run(&sandbox.spec("awk '{ print $1, $2 }' /proc/mounts"));
    for line in [
        "overlay /",
        "proc /proc",
        "sysfs /sys",
        "tmpfs /dev",
        "devpts /dev/pts",
    ] {
        assert!(
            sources.lines().any(|got| got == line),
            "{line:?} not in {sources}"
        );
    }
    let sizes = run(&sandbox.spec("stat -f -c '%b %S' /dev/shm; stat -c %a /dev/shm; echo x > /dev/shm/x; echo y > /dev/null; dd if=/dev/zero bs=1 count=1 2>/dev/null | wc -c"));
    assert_eq!(sizes, "16384 4096\n1777\n1\n");
}

fn writes_reach_the_upper() {
    let sandbox = Sandbox::new();
    run(&sandbox
        .spec("echo x > /f; chmod 640 /etc/passwd; rm /etc/group; mkdir /d; mknod /tmp/n c 1 3"));
    let upper = sandbox.upper();
    assert_eq!(std::fs::read(upper.join("f")).unwrap(), b"x\n");
    assert_eq!(
        std::fs::metadata(upper.join("etc/passwd")).unwrap().mode() & 0o7777,
        0o640
    );
    let whiteout = std::fs::symlink_metadata(upper.join("etc/group")).unwrap();
    assert_eq!(
        (whiteout.rdev(), whiteout.mode() & 0o170_000),
        (0, 0o020_000)
    );
    assert_eq!(
        sandbox.changes(),
        [
            "d",
            "dev",
            "etc",
            "etc/group",
            "etc/passwd",
            "f",
            "proc",
            "sys",
            "tmp",
            "tmp/n"
        ]
    );
}

fn nothing_remains_of_mount_points() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("cat /etc/hosts /run/secrets/token; ls -d /cache/deep/er");
    spec.hosts = Some(b"hosts\n".to_vec());
    spec.resolv_conf = Some(b"resolv\n".to_vec());
    let secret = MountKind::File {
        data: b"secret\n".to_vec(),
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    spec.mounts.push(mount("/run/secrets/token", secret));
    spec.mounts.push(mount(
        "/cache/deep/er",
        MountKind::Tmpfs {
            size: None,
            mode: 0o755,
            options: TmpfsOptions::default(),
        },
    ));
    assert_eq!(run(&spec), "hosts\nsecret\n/cache/deep/er\n");
    assert_eq!(sandbox.changes(), ["dev", "proc", "sys"]);
}

/// The stub layer is at the bottom, so a link above hides its mount points.
fn mount_points_hidden_by_the_image_are_cleaned() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.base().join("real/kept")).unwrap();
    symlink("/real", sandbox.base().join("link")).unwrap();
    symlink("/dangling", sandbox.base().join("dangling-link")).unwrap();
    let mut spec = sandbox.spec("ls -d /real/kept/a/b; cat /dangling");
    spec.mounts.push(mount(
        "/link/kept/a/b",
        MountKind::Tmpfs {
            size: None,
            mode: 0o700,
            options: TmpfsOptions::default(),
        },
    ));
    let file = MountKind::File {
        data: b"data\n".to_vec(),
        mode: 0o444,
        uid: 0,
        gid: 0,
    };
    spec.mounts.push(mount("/dangling-link", file));
    assert_eq!(run(&spec), "/real/kept/a/b\ndata\n");
    assert_eq!(sandbox.changes(), ["dev", "proc", "sys"]);
}

fn mount_points_used_by_the_process_stay() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.base().join("real")).unwrap();
    symlink("/real", sandbox.base().join("link")).unwrap();
    let mut spec = sandbox.spec("touch /real/a/mine; chmod 711 /real");
    spec.mounts.push(mount(
        "/link/a/b",
        MountKind::Tmpfs {
            size: None,
            mode: 0o700,
            options: TmpfsOptions::default(),
        },
    ));
    run(&spec);
    assert_eq!(
        sandbox.changes(),
        ["dev", "proc", "real", "real/a", "real/a/mine", "sys"]
    );
}

fn hosts_and_resolv_conf() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.base().join("etc/hosts"), "image\n").unwrap();
    let mut spec = sandbox.spec(
        "cat /etc/hosts; echo more >> /etc/hosts; cat /etc/hosts; stat -c '%a %u' /etc/hosts",
    );
    assert_eq!(run(&spec), "image\nimage\nmore\n644 0\n");
    spec.hosts = Some(b"given\n".to_vec());
    assert_eq!(run(&spec), "given\ngiven\nmore\n644 0\n");
    // The first run's change of the image's own file.
    assert_eq!(
        std::fs::read(sandbox.upper().join("etc/hosts")).unwrap(),
        b"image\nmore\n"
    );
}

fn secrets() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("stat -c '%a %u %g %s' /run/secrets/s; cat /run/secrets/s 2>&1; stat -f -c %T /run/secrets/s; /run/script");
    let secret = |mode, uid| MountKind::File {
        data: b"#!/bin/sh\necho ran\n".to_vec(),
        mode,
        uid,
        gid: 7,
    };
    spec.mounts.push(mount("/run/secrets/s", secret(0o400, 5)));
    spec.mounts.push(mount("/run/script", secret(0o755, 0)));
    assert_eq!(run(&spec), "400 5 7 19\n#!/bin/sh\necho ran\ntmpfs\nran\n");
}

fn binds() {
    let sandbox = Sandbox::new();
    let source = sandbox.top.join("source");
    std::fs::create_dir_all(source.join("sub/dir")).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    let mut spec = sandbox
        .spec("cat /a/file; echo new > /a/new; echo x > /b/x || echo refused; ls /c; cat /f");
    spec.mounts.push(mount("/a", bind(&source, false)));
    spec.mounts.push(mount("/b", bind(&source, true)));
    let sub = MountKind::Bind {
        source: source.clone(),
        subpath: Some("sub".into()),
        readonly: true,
        recursive: false,
        propagation: Propagation::Private,
    };
    spec.mounts.push(mount("/c", sub));
    spec.mounts
        .push(mount("/f", bind(&source.join("file"), true)));
    let output = run(&spec);
    assert!(
        output.starts_with("content") && output.ends_with("refused\ndir\ncontent"),
        "{output}"
    );
    assert!(source.join("new").exists() && !source.join("x").exists());
    assert_eq!(sandbox.changes(), ["dev", "proc", "sys"]);
}

fn recursive_readonly_binds() {
    let sandbox = Sandbox::new();
    let mut spec =
        sandbox.spec("echo x > /host/dev/shm/cooper-test && echo written; ls -d /host/proc/self");
    spec.mounts.push(mount("/host", bind(Path::new("/"), true)));
    let output = run(&spec);
    assert!(
        output.contains("Read-only") && output.contains("/host/proc/self"),
        "{output}"
    );
}

fn overlays_as_sources() {
    let sandbox = Sandbox::new();
    let directory = |name: &str| {
        let path = sandbox.top.join(name);
        std::fs::create_dir_all(path.join("in")).unwrap();
        path
    };
    let (one, two, upper, work) = (
        directory("one"),
        directory("two"),
        directory("u"),
        directory("w"),
    );
    std::fs::write(one.join("in/one"), "1").unwrap();
    std::fs::write(two.join("in/two"), "2").unwrap();
    let overlay = |lowers: &[&PathBuf], upper, subpath: Option<&str>| MountKind::Overlay {
        lowers: lowers.iter().map(|path| (*path).clone()).collect(),
        upper,
        userxattr: false,
        subpath: subpath.map(PathBuf::from),
    };
    let mut spec = sandbox
        .spec("ls /ro/in; touch /ro/x; ls /rw; touch /rw/x; ls /file; ls /single; touch /single/x");
    spec.mounts
        .push(mount("/ro", overlay(&[&one, &two], None, None)));
    spec.mounts.push(mount(
        "/rw",
        overlay(&[&one, &two], Some((upper.clone(), work)), Some("in")),
    ));
    spec.mounts.push(mount(
        "/file",
        overlay(&[&one, &two], None, Some("/in/../in/two")),
    ));
    spec.mounts
        .push(mount("/single", overlay(&[&two], None, Some("in"))));
    let outcome = try_run(&spec).unwrap();
    let lines: Vec<&str> = outcome.output.lines().collect();
    assert_eq!(lines[..2], ["one", "two"], "{lines:?}");
    assert!(lines[2].contains("Read-only"));
    assert_eq!(lines[3..7], ["one", "two", "/file", "two"], "{lines:?}");
    assert!(lines[7].contains("Read-only"));
    assert!(upper.join("in/x").exists());
}

fn tmpfs() {
    let sandbox = Sandbox::new();
    let mut spec =
        sandbox.spec("stat -c %a /t; dd if=/dev/zero of=/t/f bs=64k 2>/dev/null; stat -c %s /t/f");
    spec.mounts.push(mount(
        "/t",
        MountKind::Tmpfs {
            size: Some(1 << 20),
            mode: 0o1770,
            options: TmpfsOptions::default(),
        },
    ));
    assert_eq!(run(&spec), "1770\n1048576\n");
}

fn readonly_root() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec(
        "echo x > /f || echo refused; echo x > /dev/shm/x && echo shm; echo > /t/x && echo t",
    );
    spec.readonly_rootfs = true;
    spec.mounts.push(mount(
        "/t",
        MountKind::Tmpfs {
            size: None,
            mode: 0o755,
            options: TmpfsOptions::default(),
        },
    ));
    let output = run(&spec);
    assert!(output.ends_with("refused\nshm\nt\n"), "{output}");
}

fn directory_roots() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("echo x > /f; cat /etc/hosts");
    spec.rootfs = Rootfs::Directory(sandbox.base());
    spec.hosts = Some(b"h\n".to_vec());
    spec.mounts.push(mount(
        "/new/t",
        MountKind::Tmpfs {
            size: None,
            mode: 0o755,
            options: TmpfsOptions::default(),
        },
    ));
    assert_eq!(run(&spec), "h\n");
    let base = sandbox.base();
    assert!(base.join("f").exists() && base.join("proc").exists());
    assert!(!base.join("etc/hosts").exists() && !base.join("new").exists());
}

fn empty_images() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.command(&["/b/sh", "-c", "/b/busybox ls /"]);
    if let Rootfs::Overlay { lowers, .. } = &mut spec.rootfs {
        lowers.clear();
    }
    spec.mounts
        .push(mount("/b", bind(&sandbox.base().join("bin"), true)));
    assert_eq!(run(&spec), "b\ndev\nproc\nsys\n");
    assert_eq!(sandbox.changes(), ["dev", "proc", "sys"]);
}

fn five_hundred_layers() {
    let sandbox = Sandbox::new();
    let mut layers = Vec::new();
    for index in 0..499 {
        let layer = sandbox.top.join(format!("layers/{index:03}"));
        std::fs::create_dir_all(&layer).unwrap();
        std::fs::write(layer.join(format!("f{index}")), "").unwrap();
        layers.insert(0, layer);
    }
    let mut spec = sandbox.spec("ls / | grep -c '^f[0-9]'");
    if let Rootfs::Overlay { lowers, .. } = &mut spec.rootfs {
        layers.append(lowers);
        lowers.append(&mut layers);
        lowers.truncate(499);
        lowers[498] = sandbox.base();
    }
    assert_eq!(run(&spec), "498\n");
}

fn long_paths() {
    let sandbox = Sandbox::new();
    let long = sandbox.top.join("x".repeat(200)).join("y:z,\\w".repeat(30));
    for name in ["fs", "work", "lower"] {
        std::fs::create_dir_all(long.join(name)).unwrap();
    }
    std::fs::write(long.join("lower/from-lower"), "").unwrap();
    let odd = sandbox.top.join("a\\b:c,d");
    std::fs::create_dir_all(odd.join("fs")).unwrap();
    std::fs::create_dir_all(odd.join("work")).unwrap();
    for upper in [&long, &odd] {
        let mut spec = sandbox.spec("ls /from-lower; echo x > /f");
        spec.rootfs = Rootfs::Overlay {
            lowers: vec![long.join("lower"), sandbox.base()],
            upper: upper.join("fs"),
            work: upper.join("work"),
            userxattr: false,
        };
        assert_eq!(run(&spec), "/from-lower\n");
        assert!(upper.join("fs/f").exists());
    }
}

/// A volatile overlay leaves a mark that forbids mounting its directories again.
fn the_same_directories_twice() {
    let sandbox = Sandbox::new();
    for round in ["1", "2", "3"] {
        assert_eq!(
            run(&sandbox.spec("echo x >> /rounds; wc -l < /rounds")).trim(),
            round
        );
    }
}

fn missing_sources() {
    let sandbox = Sandbox::new();
    let mut spec = sandbox.spec("true");
    spec.mounts
        .push(mount("/a", bind(&sandbox.top.join("missing"), false)));
    match try_run(&spec).unwrap_err() {
        RunError::MountSource { target, path, .. } => {
            assert_eq!((target, path), ("/a".into(), sandbox.top.join("missing")));
        }
        error => panic!("{error:?}"),
    }
    spec.mounts.clear();
    let kind = MountKind::Tmpfs {
        size: None,
        mode: 0o755,
        options: TmpfsOptions::default(),
    };
    spec.mounts.push(Mount {
        target: "/absent".into(),
        kind,
        create_target: false,
    });
    let error = try_run(&spec).unwrap_err();
    assert!(
        matches!(&error, RunError::Mount { target, .. } if target == Path::new("/absent")),
        "{error:?}"
    );
}

/// Layers and mount points on one file system look like one file system.
fn one_device_number() {
    let sandbox = Sandbox::new();
    let mut spec =
        sandbox.spec("touch /new; stat -c %d / /bin /bin/busybox /etc/passwd /new /stub");
    spec.mounts.push(mount(
        "/stub/t",
        MountKind::Tmpfs {
            size: None,
            mode: 0o755,
            options: TmpfsOptions::default(),
        },
    ));
    let output = run(&spec);
    let first = output.lines().next().unwrap();
    assert!(output.lines().all(|device| device == first), "{output}");
}

fn mounts_in_mounts() {
    let sandbox = Sandbox::new();
    let source = sandbox.top.join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = sandbox.spec("ls /t/in; stat -f -c %T /t /t/in; ls -d /dev/mine");
    spec.mounts.push(mount(
        "/t",
        MountKind::Tmpfs {
            size: None,
            mode: 0o755,
            options: TmpfsOptions::default(),
        },
    ));
    spec.mounts.push(mount("/t/in/side", bind(&source, true)));
    spec.mounts.push(mount(
        "/dev/mine",
        MountKind::Tmpfs {
            size: None,
            mode: 0o755,
            options: TmpfsOptions::default(),
        },
    ));
    spec.terminal = None::<WindowSize>;
    assert_eq!(run(&spec), "side\ntmpfs\ntmpfs\n/dev/mine\n");
    assert_eq!(sandbox.changes(), ["dev", "proc", "sys"]);
}
