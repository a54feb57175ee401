//! Builds that end before their time.

use std::ffi::OsStr;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::process::await_no_process_with;
use crate::support::{Context, Cooper, mounts, need};

/// A number that no other process has on its command line.
fn unlikely_seconds(test: u32) -> String {
    format!("{}{test}", 7_000_000 + std::process::id())
}

fn slow(seconds: &str) -> Context {
    Context::new(&format!(
        "FROM busybox AS one\nRUN echo quick >/quick\nRUN echo begun one; sleep {seconds} & \
         sleep {seconds}\n\
         FROM busybox AS two\nRUN trap '' INT TERM; echo begun two; sleep {seconds}; sleep {seconds}\n\
         FROM busybox\nCOPY --from=one /quick /\nCOPY --from=two /etc/passwd /\n"
    ))
}

fn quick(context: &Context) {
    context.write(
        "Dockerfile",
        "FROM busybox AS one\nRUN echo quick >/quick\nFROM one\nRUN cat /quick\n",
    );
}

#[track_caller]
fn nothing_is_left(cooper: &Cooper, seconds: &str) {
    await_no_process_with(seconds, Duration::from_secs(60));
    assert_eq!(mounts::below(cooper.root()), Vec::<String>::new());
}

#[test]
fn an_interrupt_kills_every_step_and_exits_130() {
    let Some(cooper) = Cooper::new() else { return };
    for (test, signal, group) in [
        (1, Signal::INT, false),
        (2, Signal::INT, true),
        (3, Signal::TERM, false),
    ] {
        let seconds = unlikely_seconds(test);
        let context = slow(&seconds);
        let mut build = cooper.start_build(&context, &["-t=a"]);
        build.wait_until_says("begun one");
        build.wait_until_says("begun two");
        if group {
            build.signal_group(signal);
        } else {
            build.signal(signal);
        }
        let outcome = build.finish_within(Duration::from_secs(60));
        let expected = if signal == Signal::TERM {
            [130, 143]
        } else {
            [130; 2]
        };
        assert!(expected.contains(&outcome.code()), "{outcome}");
        nothing_is_left(&cooper, &seconds);

        quick(&context);
        let again = cooper.steps(&context, &["-t=a"]).ok();
        assert!(
            !again
                .executed()
                .contains(&"RUN echo quick >/quick".to_owned())
        );
        cooper.run(&["rmi", "a"]).ok();
    }
}

#[test]
fn a_killed_build_leaves_no_process_and_can_be_repeated() {
    let Some(cooper) = Cooper::new() else { return };
    let seconds = unlikely_seconds(4);
    let context = slow(&seconds);
    let mut build = cooper.start_build(&context, &["-t=a"]);
    build.wait_until_says("begun one");
    build.signal(Signal::KILL);
    build.finish();
    nothing_is_left(&cooper, &seconds);
    quick(&context);
    cooper.steps(&context, &["-t=a"]).ok();
    cooper
        .run(&["run", "--rm", "a", "cat", "/quick"])
        .ok()
        .prints("quick\n");
}

#[test]
fn a_read_only_store_is_a_clear_error() {
    if need::root().is_none() {
        return;
    }
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let tmpfs = mounts::Tmpfs::mount(cooper.scratch("small"), "size=4m,mode=755");
    tmpfs.remount("ro");
    cooper.set_root(tmpfs.path().join("root"));
    let outcome = cooper
        .build(&Context::new("FROM busybox\nRUN true\n"), &["-t=a"])
        .exits(1);
    assert!(
        outcome.stderr.to_lowercase().contains("read-only"),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("small/root"), "{outcome}");
}

fn tar_with(name: &str, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, name, &*vec![7; size])
        .expect("append");
    tar.into_inner().expect("finish")
}

#[test]
fn a_full_disk_is_a_clear_error_and_loses_nothing() {
    if need::root().is_none() {
        return;
    }
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let tmpfs = mounts::Tmpfs::mount(cooper.scratch("small"), "size=24m,mode=755");
    cooper.set_root(tmpfs.path().join("root"));
    let fits = Context::new("FROM busybox\nRUN echo kept >/kept\n");
    cooper.build(&fits, &["-t=fits"]).ok();

    let in_run = Context::new("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=60\n");
    let outcome = cooper.build(&in_run, &["-t=big"]).exits(1);
    assert!(
        outcome.stderr.contains("No space left on device"),
        "{outcome}"
    );

    let in_copy = Context::new("FROM busybox\nCOPY big /big\n").with("big", vec![7; 60_000_000]);
    let outcome = cooper.build(&in_copy, &["-t=big"]).exits(1);
    assert!(
        outcome
            .stderr
            .to_lowercase()
            .contains("no space left on device"),
        "{outcome}"
    );

    assert!(outcome.stderr.contains("small/root/tmp/"), "{outcome}");

    let archive = cooper.scratch("large.tar");
    let large = "blobs/sha256/0000000000000000000000000000000000000000000000000000000000000000";
    std::fs::write(&archive, tar_with(large, 60_000_000)).expect("write");
    let outcome = cooper
        .run(&[OsStr::new("load"), OsStr::new("-i"), archive.as_os_str()])
        .exits(1)
        .says("No space left on device")
        .says("small/root/tmp/");
    assert!(!outcome.stderr.contains("cannot be read"), "{outcome}");

    let again = cooper.steps(&fits, &["-t=fits"]).ok();
    assert_eq!(again.executed(), Vec::<String>::new());
    cooper
        .run(&["run", "--rm", "fits", "cat", "/kept"])
        .ok()
        .prints("kept\n");
    let small = Context::new("FROM busybox\nRUN echo also >/also\n");
    cooper.build(&small, &["-t=small"]).ok();
}
