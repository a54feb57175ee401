//! Layers packed while later steps run.
//!
//! The last step of these builds waits at a gate that the test opens once it has seen what the
//! build did meanwhile, so that nothing here depends on how fast anything is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::process::Running;
use crate::support::{Context, Cooper, layout};

/// A build whose last step waits for the test.
struct Gated<'a> {
    cooper: &'a Cooper,
    context: Context,
    gate: PathBuf,
}

impl<'a> Gated<'a> {
    /// The first steps are those of `dockerfile`.
    fn new(cooper: &'a Cooper, dockerfile: &str) -> Self {
        let gate = cooper.scratch("gate");
        std::fs::create_dir_all(&gate).expect("mkdir");
        let context = Context::new(&format!(
            "{dockerfile}\nRUN echo begun; while [ ! -e /gate/open ]; do sleep 0.05; done; echo $NUMBER >/last\n"
        ));
        Self {
            cooper,
            context,
            gate,
        }
    }

    fn start(&self, args: &[String]) -> Running {
        let _ = std::fs::remove_file(self.gate.join("open"));
        let volume = format!("--volume={}:/gate:ro", self.gate.display());
        let args: Vec<String> = args.iter().cloned().chain([volume]).collect();
        let mut running = self.cooper.start_build(&self.context, &args);
        running.wait_until_says("begun");
        running
    }

    fn open(&self) {
        std::fs::write(self.gate.join("open"), "").expect("open the gate");
    }
}

/// Returns the memos of layers that end like that.
fn memos(cooper: &Cooper, end: &str) -> usize {
    let Ok(memos) = std::fs::read_dir(cooper.root().join("memos")) else {
        return 0;
    };
    let names = memos.flatten().map(|memo| memo.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(end))
        .count()
}

#[track_caller]
fn wait_for(what: &str, running: &Running, done: impl Fn() -> bool) {
    // Packing ahead has the least priority of all that a busy machine does.
    let deadline = Instant::now() + Duration::from_secs(600);
    while !done() {
        let so_far = running.stderr_so_far();
        assert!(Instant::now() < deadline, "{what} never happened: {so_far}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn layers_are_packed_as_outputs_and_caches_want_them_while_a_later_step_runs() {
    let Some(cooper) = Cooper::new() else { return };
    let at = |name: &str| cooper.scratch(name).display().to_string();
    let epoch = "--build-arg=SOURCE_DATE_EPOCH=1700000000".to_owned();
    for (number, (args, memo)) in [
        (
            vec![format!("--output=type=oci,dest={}", at("gzip.tar"))],
            ".gzip-5",
        ),
        (
            vec![format!(
                "--output=type=oci,compression=zstd,dest={}",
                at("zstd.tar")
            )],
            ".zstd-3",
        ),
        (
            vec![format!(
                "--output=type=docker,compression=gzip,compression-level=9,dest={}",
                at("docker.tar")
            )],
            ".gzip-9",
        ),
        (
            vec![
                format!(
                    "--output=type=oci,rewrite-timestamp=true,dest={}",
                    at("times.tar")
                ),
                epoch,
            ],
            ".gzip-5-until-1700000000",
        ),
        (
            vec![format!(
                "--output=type=oci,compression=estargz,dest={}",
                at("chunks.tar")
            )],
            ".estargz-5",
        ),
        (
            vec![
                "--output=type=cacheonly".to_owned(),
                format!(
                    "--cache-to=type=local,dest={},compression=zstd,compression-level=5",
                    at("cache")
                ),
            ],
            ".zstd-5",
        ),
        (vec!["--tag=stored".to_owned()], ".diff_id"),
    ]
    .into_iter()
    .enumerate()
    {
        let build = Gated::new(
            &cooper,
            &format!(
                "FROM busybox\nENV NUMBER={number}\nCOPY data /data\nRUN seq {number}00000 {number}99999 >/numbers"
            ),
        );
        build.context.write("data", format!("{number}"));
        let before = memos(&cooper, memo);
        let running = build.start(&args);
        wait_for(memo, &running, || memos(&cooper, memo) == before + 2);
        build.open();
        running.finish().ok();
        // The last step's own is made by the output, no other one again.
        assert_eq!(memos(&cooper, memo), before + 3, "{memo}");
    }
}

#[test]
fn what_earlier_builds_made_is_packed_while_a_later_step_runs() {
    let Some(cooper) = Cooper::new() else { return };
    let first = Context::new("FROM busybox\nRUN seq 100000 >/numbers\nRUN echo more >/more\n");
    cooper.build(&first, &["--output=type=cacheonly"]).ok();
    assert_eq!(memos(&cooper, ".gzip-5"), 0);
    let build = Gated::new(
        &cooper,
        "FROM busybox\nRUN seq 100000 >/numbers\nRUN echo more >/more",
    );
    let archive = cooper.scratch("a.tar");
    let running = build.start(&[format!("--output=type=oci,dest={}", archive.display())]);
    wait_for("two blobs", &running, || memos(&cooper, ".gzip-5") == 2);
    build.open();
    running.finish().ok();
}

#[test]
fn layers_packed_ahead_are_those_that_are_packed_at_the_end() {
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let dockerfile = "FROM busybox\nARG SOURCE_DATE_EPOCH=1700000000\nRUN seq 400000 >/numbers";
    let mut manifests = Vec::new();
    for (store, ahead) in [("one", true), ("two", false)] {
        cooper.set_root(cooper.scratch(store));
        let build = Gated::new(&cooper, dockerfile);
        let dest = cooper.scratch(&format!("{store}-layout"));
        let args = [
            format!("--output=type=oci,tar=false,dest={}", dest.display()),
            "--timestamp=1700000000".to_owned(),
        ];
        let running = build.start(&args);
        let memo = ".gzip-5-at-1700000000";
        if ahead {
            wait_for(memo, &running, || memos(&cooper, memo) == 1);
        }
        build.open();
        running.finish().ok();
        manifests.push(layout::Image::manifest_of(&dest));
    }
    assert_eq!(manifests[0], manifests[1]);
}

#[test]
fn a_secret_in_a_layer_packed_ahead_stops_the_output() {
    let Some(cooper) = Cooper::new() else { return };
    let build = Gated::new(
        &cooper,
        "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token >/stolen",
    );
    build.context.write("token", "correct-horse-battery-staple");
    let archive = cooper.scratch("a.tar");
    let running = build.start(&[
        format!("--output=type=oci,dest={}", archive.display()),
        format!(
            "--secret=id=token,src={}",
            build.context.join("token").display()
        ),
    ]);
    wait_for("a blob", &running, || memos(&cooper, ".gzip-5") == 1);
    build.open();
    running
        .finish()
        .exits(1)
        .says("the secret token is in /stolen");
    assert!(!archive.exists());
}

#[test]
fn packing_ahead_ends_with_the_build() {
    let Some(cooper) = Cooper::new() else { return };
    // Minutes of work at that level.
    let build = Gated::new(
        &cooper,
        "FROM busybox\nRUN head -c 400000000 /dev/urandom >/noise",
    );
    let archive = cooper.scratch("a.tar");
    let running = build.start(&[format!(
        "--output=type=oci,compression=zstd,compression-level=22,dest={}",
        archive.display()
    )]);
    let in_work = || {
        let owners = std::fs::read_dir(cooper.root().join("tmp")).expect("tmp");
        let files = owners
            .flatten()
            .filter_map(|owner| std::fs::read_dir(owner.path()).ok());
        let mut files = files
            .flatten()
            .flatten()
            .filter_map(|file| file.metadata().ok());
        files.any(|file| file.is_file() && file.len() > 1 << 20)
    };
    wait_for("packing", &running, in_work);
    running.signal(Signal::INT);
    running.finish_within(Duration::from_secs(120)).exits(130);
    assert_eq!(memos(&cooper, ".zstd-22"), 0);
    cooper.run(&["cache", "fsck"]).ok();
}
