//! Escapes that worked against other runtimes and builders, through the commands of a user. The
//! runner's own tests try the same below the command line.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Scene, loaded};
use crate::support::process::Outcome;
use crate::support::{Context, mounts, need};

const BINARY: &str = env!("CARGO_BIN_EXE_cooper");

/// How often a race is run.
const ROUNDS: usize = 12;

/// Returns a directory of the host that nothing may get into.
fn outside(scene: &Scene) -> String {
    let dir = scene.scratch("outside");
    fs::create_dir(&dir).expect("makes");
    fs::write(dir.join("secret"), "of the host\n").expect("writes");
    dir.display().to_string()
}

#[track_caller]
fn assert_untouched(dir: &str) {
    let found = fs::read_dir(dir).expect("reads").flatten();
    let names: Vec<_> = found.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["secret"]);
    let secret = fs::read_to_string(Path::new(dir).join("secret"));
    assert_eq!(secret.expect("reads"), "of the host\n");
    assert_eq!(mounts::below(Path::new(dir)), Vec::<String>::new());
}

/// Builds an image on busybox by `script`.
#[track_caller]
fn image(scene: &Scene, name: &str, script: &str) {
    let context = Context::new(&format!("FROM busybox\nRUN {script}\n"));
    scene.build(&context, &["-t", name]).ok();
}

/// CVE-2019-5736 and CVE-2016-9962: a container waits for processes that join it, to write to what
/// they execute and to look through their descriptors.
#[test]
fn a_process_that_joins_gives_nothing_away() {
    let Some(scene) = loaded() else { return };
    let before = fs::read(BINARY).expect("reads");
    let marks = scene.root().display().to_string();
    let script = "printf '#!/proc/self/exe\\n' > /bin/trap; chmod 755 /bin/trap; \
        ln -s /proc/self/exe /bin/direct; touch /ready; while :; do for p in /proc/[0-9]*; do \
        case $(readlink $p/exe) in */cooper*|*memfd*) echo overwritten > $p/exe && echo WRITTEN;; esac; \
        for f in $p/fd/*; do case $(readlink $f) in \"$MARK\"*) echo LEAKED $f;; esac; done; \
        done 2>/dev/null; done";
    let mark = format!("-e=MARK={marks}");
    scene.detached(&["--name=web", &mark], &["sh", "-c", script]);
    let ready = [
        "exec",
        "web",
        "sh",
        "-c",
        "until [ -e /ready ]; do sleep 0.01; done",
    ];
    scene.run(&ready).ok();
    for _ in 0..ROUNDS {
        scene.run(&["exec", "web", "true"]).ok();
        for program in ["trap", "direct"] {
            let outcome = scene.run(&["exec", "web", program, "/bin/true"]);
            assert!(outcome.code() != 0, "{outcome}");
        }
    }
    scene.run(&["logs", "web"]).ok().prints("");
    assert!(
        fs::read(BINARY).expect("reads") == before,
        "the program was written to"
    );
}

/// CVE-2024-21626: a working directory that leads through a descriptor to the host.
#[test]
fn working_directories_stay_inside() {
    let Some(scene) = loaded() else { return };
    image(
        &scene,
        "linked",
        "for n in $(seq 3 24); do ln -s /proc/self/fd/$n /fd$n; done",
    );
    scene
        .run(&["run", "-d", "--name=web", "linked", "sleep", "1000"])
        .ok();
    let refused = |outcome: Outcome| {
        let code = outcome.code();
        assert!([125, 126, 127].contains(&code), "{outcome}");
        assert!(outcome.out().is_empty(), "{outcome}");
    };
    for number in 3..24 {
        for dir in [format!("/proc/self/fd/{number}"), format!("/fd{number}")] {
            refused(scene.run(&["exec", "-w", &dir, "web", "cat", "../../../etc/hostname"]));
            if number % 4 == 3 {
                refused(scene.run(&["run", "--rm", "-w", &dir, "linked", "pwd"]));
            }
        }
    }
    let context = Context::new("FROM linked\nWORKDIR /fd7\nRUN cat ../../../etc/hostname\n");
    assert_ne!(scene.build(&context, &[] as &[&str]).code(), 0);
}

#[test]
fn no_descriptor_of_cooper_is_inherited() {
    let Some(scene) = loaded() else { return };
    let expected = "0\n1\n2\n3\n";
    let list = ["ls", "/proc/self/fd"];
    scene
        .run(&[&["run", "--rm", "busybox"][..], &list].concat())
        .ok()
        .prints(expected);
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    scene
        .run(&[&["exec", "web"][..], &list].concat())
        .ok()
        .prints(expected);
    let context = Context::new("FROM busybox\nRUN ls /proc/self/fd > /out\n");
    scene.build(&context, &["-t=listed"]).ok();
    scene
        .run(&["run", "--rm", "listed", "cat", "/out"])
        .ok()
        .prints(expected);
}

/// CVE-2018-15664: between the look at a path and its use a link takes the place of a directory.
#[test]
fn copies_cannot_be_led_out_by_a_race() {
    let Some(scene) = loaded() else { return };
    let outside = outside(&scene);
    // The container has a directory of the same path, which is where links lead.
    let script = format!(
        "mkdir -p {outside} /dir /real; echo inside > {outside}/secret; touch /ready; \
         while :; do mv /dir /real/dir; ln -s {outside} /dir; rm /dir; mv /real/dir /dir; done"
    );
    scene.detached(&["--name=web"], &["sh", "-c", &script]);
    let ready = [
        "exec",
        "web",
        "sh",
        "-c",
        "until [ -e /ready ]; do sleep 0.01; done",
    ];
    scene.run(&ready).ok();
    let (own, got) = (scene.scratch("own"), scene.scratch("got"));
    fs::write(&own, "x").expect("writes");
    let (own, got) = (own.display().to_string(), got.display().to_string());
    for _ in 0..ROUNDS {
        // Whether there is something at the moment is the container's luck.
        scene.run(&["cp", "web:/dir/secret", &got]);
        if let Ok(text) = fs::read_to_string(&got) {
            assert_eq!(text, "inside\n");
        }
        scene.run(&["cp", &own, "web:/dir/planted"]);
    }
    assert_untouched(&outside);
}

/// CVE-2019-14271: what a container has for libraries and configuration is nothing to the process
/// that copies its files.
#[test]
fn copying_loads_nothing_of_the_container() {
    let Some(scene) = loaded() else { return };
    let traps = "for d in /lib /usr/lib /lib64 /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu; do \
        mkdir -p $d; for l in libnss_files.so.2 libnss_compat.so.2 libc.so.6 libgcc_s.so.1; do \
        mkfifo $d/$l; done; done; mkfifo /etc/nsswitch.conf /etc/ld.so.preload /etc/localtime";
    image(&scene, "traps", traps);
    scene.run(&["create", "--name=web", "traps", "true"]).ok();
    // Whoever opened one of them would wait for ever.
    let out = scene.scratch("out").display().to_string();
    scene.run(&["cp", "web:/etc/passwd", &out]).ok();
    scene.run(&["cp", &out, "web:/tmp/passwd"]).ok();
}

/// Mounts on paths that an image made links of stay inside.
#[test]
fn linked_targets_of_volumes_stay_inside() {
    let Some(scene) = loaded() else { return };
    let outside = outside(&scene);
    let up = "../../../../../../../../../..";
    let links =
        format!("ln -s {outside} /a; ln -s {up}{outside} /b; ln -s /proc/1/root{outside} /c");
    image(&scene, "linked", &links);
    let data = scene.scratch("data");
    fs::create_dir(&data).expect("makes");
    for link in ["/a", "/b", "/c", "/a/../a"] {
        let bind = format!("-v={}:{link}/x", data.display());
        let tmpfs = format!("--tmpfs={link}/y");
        // One that leads through proc may be refused.
        scene.run(&["run", "--rm", &bind, &tmpfs, "linked", "true"]);
        assert_untouched(&outside);
    }
    let volume = ["run", "--rm", "-v=data:/a", "linked", "cat", "/a/secret"];
    assert_ne!(scene.run(&volume).code(), 0);
}

/// CVE-2021-30465: a container swaps a directory of a volume for a link while another one is
/// started with a mount below it.
#[test]
fn mounts_below_a_shared_volume_stay_inside_it() {
    let Some(scene) = loaded() else { return };
    let outside = outside(&scene);
    let shared = scene.scratch("shared");
    fs::create_dir_all(shared.join("dir")).expect("makes");
    let bind = format!("-v={}:/v", shared.display());
    let up = "../../../../../../../../../..";
    let script = format!(
        "mkdir -p /v/dir; ln -s {up}{outside} /v/link; touch /v/ready; while :; do \
         mv /v/dir /v/aside; mv /v/link /v/dir; mv /v/dir /v/link; mv /v/aside /v/dir; done"
    );
    scene.detached(&["--name=racer", &bind], &["sh", "-c", &script]);
    let ready = [
        "exec",
        "racer",
        "sh",
        "-c",
        "until [ -e /v/ready ]; do sleep 0.01; done",
    ];
    scene.run(&ready).ok();
    for _ in 0..ROUNDS {
        let args = [
            "run",
            "--rm",
            &bind,
            "--tmpfs=/v/dir",
            "--tmpfs=/v/dir/deep",
            "busybox",
        ];
        let outcome = scene.run(&[&args[..], &["ls", "/v/dir/secret"]].concat());
        assert_ne!(outcome.code(), 0, "{outcome}");
        assert_untouched(&outside);
    }
}

/// CVE-2024-23651: the source of a cache mount, or of a bind, is a link that a step made.
#[test]
fn linked_sources_of_mounts_stay_inside() {
    let Some(scene) = loaded() else { return };
    let outside = outside(&scene);
    let up = "../../../../../../../../../..";
    for target in [
        outside.clone(),
        format!("{up}{outside}"),
        format!("/proc/1/root{outside}"),
    ] {
        let context = Context::new(&format!(
            "FROM busybox AS made\nRUN ln -s {target} /sub\n\
             FROM busybox\nARG N\n\
             RUN --mount=type=cache,id=c,target=/c rm -rf /c/sub; ln -s {target} /c/sub\n\
             RUN --mount=type=cache,id=c,source=sub,target=/x ls /x; touch /x/planted; exit 7\n"
        ));
        scene.build(&context, &["--no-cache"]).exits(1);
        assert_untouched(&outside);
        let bind = Context::new(&format!(
            "FROM busybox AS made\nRUN ln -s {target} /sub\n\
             FROM busybox\nRUN --mount=from=made,source=/sub,target=/x,rw cat /x/secret\n"
        ));
        let outcome = scene.build(&bind, &["--no-cache"]).exits(1);
        assert!(!outcome.stderr.contains("of the host"), "{outcome}");
        assert_untouched(&outside);
    }
}

/// CVE-2024-23651: a step swaps a directory of a cache mount for a link while another one mounts
/// it.
#[test]
fn a_symlink_race_on_a_cache_mount_stays_inside() {
    let Some(scene) = loaded() else { return };
    let outside = outside(&scene);
    let up = "../../../../../../../../../..";
    let racer = Context::new(&format!(
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c mkdir -p /c/sub; \
         ln -s {up}{outside} /c/link; echo racing; until [ -e /c/done ]; do mv /c/sub /c/aside; \
         mv /c/link /c/sub; mv /c/sub /c/link; mv /c/aside /c/sub; done\n"
    ));
    let mut racing = scene.start_build(&racer, &["--no-cache"]);
    racing.wait_until_says("racing");
    let prey = Context::new(
        "FROM busybox\nRUN --mount=type=cache,id=c,source=sub,target=/x \
         ls /x/secret && echo ESCAPED; touch /x/planted; true\n",
    );
    for _ in 0..ROUNDS {
        // One that finds a link where it mounts may fail.
        let outcome = scene.build(&prey, &["--no-cache"]);
        assert!(!outcome.stderr.contains(" ESCAPED\n"), "{outcome}");
    }
    let end = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c touch /c/done\n";
    scene.build(&Context::new(end), &["--no-cache"]).ok();
    racing.finish().ok();
    assert_untouched(&outside);
}

/// CVE-2024-23652: what was made for a mount is taken away afterwards, by a path that the step
/// made a link of meanwhile.
#[test]
fn what_was_made_for_a_mount_is_taken_away_inside() {
    let Some(scene) = loaded() else { return };
    let outside = outside(&scene);
    fs::create_dir_all(Path::new(&outside).join("a")).expect("makes");
    fs::write(Path::new(&outside).join("a/b"), "").expect("writes");
    let up = "../../../../../../../../../..";
    for (kind, at) in [
        ("tmpfs", "/m/a/b"),
        ("cache", "/m/a/b/c"),
        ("tmpfs", "/m/secret"),
    ] {
        for target in [outside.clone(), format!("{up}{outside}")] {
            let context = Context::new(&format!(
                "FROM busybox\nRUN --mount=type={kind},target={at} \
                 mv /m /gone 2>/dev/null || umount {at}; mv /m /gone; ln -s {target} /m\n\
                 RUN --mount=type={kind},target=/n/a/b rm -rf /n; ln -s {target} /n; true\n"
            ));
            scene.build(&context, &["--no-cache"]);
            assert!(Path::new(&outside).join("a/b").exists(), "{at}: {target}");
            assert!(
                Path::new(&outside).join("secret").exists(),
                "{at}: {target}"
            );
        }
    }
}

/// CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: what set-up mounts or writes to is replaced by
/// something of the container's, so that masks miss and writes go elsewhere.
#[test]
fn masks_hold_whatever_the_container_brings() {
    let Some(scene) = loaded() else { return };
    let dev = scene.scratch("dev");
    fs::create_dir(&dev).expect("makes");
    let target = "/proc/sys/kernel/core_pattern";
    for name in ["null", "console", "zero", "ptmx"] {
        symlink(target, dev.join(name)).expect("links");
    }
    fs::create_dir(dev.join("pts")).expect("makes");
    symlink(target, dev.join("pts/0")).expect("links");
    let before = fs::read_to_string(target).expect("reads");
    let script = format!(
        "cat /proc/timer_list /proc/kcore /proc/keys 2>/dev/null | head -c 9; \
         echo '|/trap' > {target} && echo WRITTEN; echo h > /proc/sysrq-trigger && echo WRITTEN"
    );
    let binds = ["/dev", "/dev/pts"].map(|path| format!("-v={}:{path}", dev.display()));
    for bind in &binds {
        for terminal in ["--tty=false", "--tty=true"] {
            let args = [
                "run", "--rm", bind, terminal, "busybox", "sh", "-c", &script,
            ];
            let outcome = scene.run(&args);
            let said = outcome.out().replace("sh: can't create", "");
            assert!(!said.contains("WRITTEN"), "{outcome}");
        }
    }
    assert_eq!(fs::read_to_string(target).expect("reads"), before);
    let data = scene.scratch("data");
    fs::create_dir(&data).expect("makes");
    for below in [
        "/proc",
        "/proc/self",
        "/proc/sys/kernel",
        "/proc/self/attr",
        "/proc/thread-self",
    ] {
        let bind = format!("-v={}:{below}", data.display());
        let outcome = scene.run(&["run", "--rm", &bind, "busybox", "true"]);
        let outcome = outcome.exits(125);
        outcome.says("nothing can be mounted over /proc");
    }
}

/// A build's step that has all privileges has them because it was allowed, and not without.
#[test]
fn privileges_have_to_be_allowed() {
    let Some(scene) = loaded() else { return };
    if need::root().is_none() {
        return;
    }
    let context = Context::new("FROM busybox\nRUN --security=insecure mount -t tmpfs t /mnt\n");
    let refused = scene.build(&context, &[] as &[&str]);
    refused.exits(1).says("security.insecure");
}
