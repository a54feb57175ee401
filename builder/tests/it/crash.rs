//! A crash at any moment, a full disk, a disk that turns read-only: nothing is lost, nothing is
//! believed that is not so.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::process::Running;
use crate::support::{Context, Cooper, mounts, need};

/// Numbers that look random and are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

const TEXT: &str = "FROM busybox AS one\nCOPY tree /tree\nRUN cat /tree/* | wc -c >/size\n\
     FROM busybox AS two\nRUN --mount=type=cache,target=/c echo x >>/c/f; seq 500 >/seq\n\
     FROM busybox\nCOPY --from=one /tree /tree\nCOPY --from=one /size /\n\
     COPY --from=two /seq /\nRUN cat /size /seq >/sum\n";

/// A build of a few steps that differs from round to round.
fn context() -> Context {
    let context = Context::new(TEXT);
    context.sh("mkdir tree; for i in $(seq 60); do printf %0500d $i >tree/$i; done");
    context
}

/// Returns the file that the build comes to for this content of `tree/round`.
fn sum(round: &str) -> String {
    let numbers: Vec<_> = (1..=500).map(|number| number.to_string()).collect();
    format!("{}\n{}\n", 60 * 500 + round.len(), numbers.join("\n"))
}

/// The image is what it has to be, and nothing in the store is damaged.
fn is_right(cooper: &Cooper, context: &Context, round: &str, what: &str) {
    let checked = cooper.run(&["fsck"]);
    assert_eq!(checked.code(), 0, "after {what}: {checked}");
    let built = cooper.build(context, &["-t=a"]);
    assert_eq!(built.code(), 0, "after {what}: {built}");
    let read = cooper.run(&["run", "--rm", "a", "cat", "/sum"]).ok();
    assert!(read.out() == sum(round), "after {what}: {read}");
}

/// Kills what `start` starts at random moments of its life, `count` times.
fn kill(seed: u64, count: u64, start: impl Fn(&Cooper, &Context) -> Running) {
    let Some(cooper) = Cooper::new() else { return };
    let context = context();
    context.write("tree/round", "first");
    let began = Instant::now();
    start(&cooper, &context).finish();
    let life = began.elapsed().as_micros() as u64;
    let mut numbers = Numbers(seed);
    for round in 0..count {
        let text = format!("round {round}");
        context.write("tree/round", &text);
        let process = start(&cooper, &context);
        let moment = numbers.below(life);
        std::thread::sleep(Duration::from_micros(moment));
        process.signal(Signal::KILL);
        process.finish();
        is_right(
            &cooper,
            &context,
            &text,
            &format!("kill {round} at {moment} us"),
        );
    }
}

#[test]
fn builds_that_are_killed_at_a_hundred_random_moments_lose_nothing() {
    kill(0x9e37_79b9, 100, |cooper, context| {
        cooper.start_build(context, &["-t=a"])
    });
}

#[test]
fn exports_that_are_killed_at_a_hundred_random_moments_lose_nothing() {
    kill(0x2545_f491, 100, |cooper, context| {
        let tar = cooper.scratch("out.tar");
        let output = format!("-otype=oci,dest={}", tar.display());
        cooper.start_build(context, &["-t=a", "-otype=image", &output])
    });
}

#[test]
fn collections_that_are_killed_at_a_hundred_random_moments_lose_nothing() {
    kill(0x6a09_e667, 100, |cooper, context| {
        cooper.build(context, &["-t=a"]).ok();
        cooper.start(&["prune", "--all", "--max-used-space=1m"], &[])
    });
}

#[test]
fn a_disk_that_is_full_at_any_step_loses_nothing() {
    if need::root().is_none() {
        return;
    }
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let context = context();
    let mut failed = 0;
    for (round, blocks) in (600..5_000).step_by(400).enumerate() {
        let text = format!("round {round}");
        context.write("tree/round", &text);
        let small = format!("size={blocks}k,mode=755");
        let disk = mounts::Tmpfs::mount(cooper.scratch(&format!("disk{round}")), &small);
        cooper.set_root(disk.path().join("root"));
        let built = cooper.build(&context, &["-t=a"]);
        if built.code() != 0 {
            failed += 1;
            let said = built.stderr.to_lowercase();
            assert!(said.contains("no space left on device"), "{small}: {built}");
        }
        disk.remount("size=64m");
        is_right(&cooper, &context, &text, &small);
    }
    assert!(failed >= 3, "the disk was full {failed} times only");
}

#[test]
fn a_disk_that_turns_read_only_under_a_build_loses_nothing() {
    if need::root().is_none() {
        return;
    }
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let context = context();
    let disk = mounts::Tmpfs::mount(cooper.scratch("disk"), "size=64m,mode=755");
    cooper.set_root(disk.path().join("root"));
    let mut numbers = Numbers(0xbb67_ae85);
    for round in 0..10 {
        let text = format!("round {round}");
        context.write("tree/round", &text);
        let build = cooper.start_build(&context, &["-t=a"]);
        std::thread::sleep(Duration::from_millis(numbers.below(150)));
        // Files open for writing keep a file system writable: then the build is let through.
        let turned = disk.try_remount("ro");
        let ended = build.finish();
        if turned && ended.code() != 0 {
            let said = ended.stderr.to_lowercase();
            assert!(
                said.contains("read-only") || said.contains("read only"),
                "{ended}"
            );
        }
        disk.remount("rw");
        is_right(
            &cooper,
            &context,
            &text,
            &format!("read-only in round {round}"),
        );
    }
}
