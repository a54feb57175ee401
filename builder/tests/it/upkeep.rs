//! The store over time: pruning, damage, moves.

use std::process::Command;

use crate::support::{Context, Cooper, NONE};

fn context() -> Context {
    Context::new("FROM busybox\nCOPY f /f\nRUN cat /f /f >/twice\n").with("f", "content\n")
}

#[test]
fn pruning_keeps_images_and_what_they_need() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build(&context(), &["-t=kept"]).ok();
    cooper
        .build(
            &Context::new("FROM busybox\nRUN head -c 5000000 /dev/zero >/big\n"),
            NONE,
        )
        .ok();
    cooper.run(&["prune", "--all"]).ok();
    cooper.run(&["fsck"]).ok();
    cooper
        .run(&["run", "--rm", "kept", "cat", "/twice"])
        .ok()
        .prints("content\ncontent\n");
    cooper.build(&context(), &["-t=again"]).ok();

    cooper.run(&["rmi", "kept"]).ok();
    cooper.run(&["rmi", "again"]).ok();
    cooper.run(&["prune", "--all"]).ok();
    let layers = Command::new("du")
        .args(["-s", "--block-size=1K"])
        .arg(cooper.root())
        .output()
        .expect("du");
    let size = String::from_utf8_lossy(&layers.stdout);
    let kibibytes: u64 = size
        .split('\t')
        .next()
        .unwrap_or("")
        .parse()
        .expect("a number");
    assert!(kibibytes < 4_000, "an empty store takes {kibibytes} KiB");
    cooper.build(&context(), &["-t=kept"]).ok();
}

#[test]
fn nothing_is_pruned_under_a_running_build() {
    let Some(cooper) = Cooper::new() else { return };
    let slow = Context::new("FROM busybox\nRUN echo x >/x; echo begun; sleep 2\nRUN cat /x\n");
    let mut build = cooper.start_build(&slow, &["-t=slow"]);
    build.wait_until_says("begun");
    cooper.run(&["prune", "--all"]);
    build.finish().ok();
    cooper
        .run(&["run", "--rm", "slow", "cat", "/x"])
        .ok()
        .prints("x\n");
}

#[test]
fn a_damaged_blob_is_found() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.load_busybox();
    cooper.run(&["fsck"]).ok();
    let script = "f=$(find \"$0\" -type f -size +100k | head -1); test -n \"$f\"; \
                  printf X | dd of=\"$f\" bs=1 seek=50000 conv=notrunc 2>/dev/null";
    let status = Command::new("sh")
        .args(["-euc", script])
        .arg(cooper.root())
        .status()
        .expect("sh");
    assert!(status.success());
    cooper.run(&["fsck"]).exits(1);
}

#[test]
fn a_store_can_be_moved() {
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    cooper.build(&context(), &["-t=a"]).ok();
    let elsewhere = cooper.scratch("elsewhere");
    std::fs::rename(cooper.root(), &elsewhere).expect("rename");
    cooper.set_root(elsewhere);
    let steps = cooper.steps(&context(), &["-t=a"]).ok();
    assert_eq!(steps.executed(), Vec::<String>::new());
    cooper
        .run(&["run", "--rm", "a", "cat", "/f"])
        .ok()
        .prints("content\n");
}
