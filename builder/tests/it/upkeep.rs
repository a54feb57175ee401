//! The store over time: pruning, damage, moves.

use std::process::Command;

use crate::support::process::tool;
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
fn beside_a_running_build_everything_else_is_pruned() {
    let Some(cooper) = Cooper::new() else { return };
    let old = Context::new("FROM busybox\nRUN head -c 5000000 /dev/zero >/old\n");
    cooper.build(&old, NONE).ok();
    let before = cooper
        .run(&["du", "--format", "{{.Size}} {{.Description}}"])
        .ok();
    assert!(
        before.out().contains("5.02MB [2/2] RUN head"),
        "{}",
        before.out()
    );
    std::thread::sleep(std::time::Duration::from_millis(50));
    let slow = Context::new("FROM busybox\nRUN echo x >/x; echo begun; sleep 2\nRUN cat /x\n");
    let mut build = cooper.start_build(&slow, &["-t=slow"]);
    build.wait_until_says("begun");
    cooper.run(&["prune", "--all"]).ok();
    let after = cooper.run(&["du", "--format", "{{.Description}}"]).ok();
    assert!(!after.out().contains("head -c"), "{}", after.out());
    build.finish().ok();
    cooper
        .run(&["run", "--rm", "slow", "cat", "/x"])
        .ok()
        .prints("x\n");
}

/// Builds a step that leaves so many bytes.
fn fill(cooper: &Cooper, name: &str, bytes: usize) -> Context {
    let context = Context::new(&format!(
        "FROM busybox\nRUN echo {name}; head -c {bytes} /dev/zero >/{name}\n"
    ));
    cooper.build(&context, &[NO_IMAGE]).ok();
    context
}

/// The cache alone keeps what such a build makes.
const NO_IMAGE: &str = "--output=type=cacheonly";

#[test]
fn pruning_to_a_size_takes_what_was_used_longest_ago() {
    let Some(cooper) = Cooper::new() else { return };
    let first = fill(&cooper, "first", 6_000_000);
    let second = fill(&cooper, "second", 6_000_000);
    // Used again, the first is worth more than the second.
    cooper.build(&first, &[NO_IMAGE]).ok();
    let said = cooper
        .run(&["prune", "--max-used-space=12m", "--dry-run"])
        .ok();
    let taken: Vec<_> = said.out().lines().map(str::to_owned).collect();
    let built = taken
        .iter()
        .filter(|line| line.starts_with("layer blake3:"));
    assert_eq!(built.count(), 1, "{taken:?}");
    cooper.run(&["prune", "--max-used-space=12m"]).ok();
    assert_eq!(cooper.steps(&first, &[NO_IMAGE]).ok().executed().len(), 0);
    assert_eq!(cooper.steps(&second, &[NO_IMAGE]).ok().executed().len(), 1);
    cooper.run(&["prune", "--filter=until=1h"]).ok();
    assert_eq!(cooper.steps(&second, &[NO_IMAGE]).ok().executed().len(), 0);
    cooper.run(&["prune", "--filter=type=exec.cachemount"]).ok();
    assert_eq!(cooper.steps(&second, &[NO_IMAGE]).ok().executed().len(), 0);
    cooper.run(&["prune", "--filter=type=regular"]).ok();
    assert_eq!(cooper.steps(&second, &[NO_IMAGE]).ok().executed().len(), 1);
}

#[test]
fn builds_collect_what_the_configuration_says() {
    let Some(cooper) = Cooper::new() else { return };
    let config = cooper.scratch("config.toml");
    std::fs::write(
        &config,
        "[cache]\nmax-used-space = \"12m\"\nreserved-space = \"0\"\nmin-free-space = \"0\"\n",
    )
    .expect("write");
    let config = format!("--config={}", config.display());
    fill(&cooper, "first", 6_000_000);
    let next = Context::new("FROM busybox\nRUN head -c 6000000 /dev/zero >/next\n");
    cooper.build(&next, &[config.as_str(), NO_IMAGE]).ok();
    let left = cooper.run(&["du", "--format", "{{.Description}}"]).ok();
    assert!(
        left.out().contains("/next") && !left.out().contains("/first"),
        "{}",
        left.out()
    );
}

#[test]
fn a_step_does_not_start_beyond_the_hard_limit() {
    let Some(cooper) = Cooper::new() else { return };
    let config = cooper.scratch("config.toml");
    std::fs::write(&config, "[cache]\nhard-limit = \"6m\"\n").expect("write");
    let config = format!("--config={}", config.display());
    let context =
        Context::new("FROM busybox\nRUN head -c 9000000 /dev/zero >/big\nRUN echo never >/never\n");
    cooper
        .build(&context, &[config.as_str()])
        .exits(1)
        .says("more than the limit of")
        .says("hard-limit");
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
fn what_a_repair_removes_the_next_build_heals() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN seq 9 >/made\nCOPY f g /copied/\n")
        .with("f", "first")
        .with("g", "second");
    let archive = cooper.scratch("a.tar");
    let output = format!("-otype=oci,dest={}", archive.display());
    let build = || {
        cooper
            .build(&context, &["-t=a", "-otype=image", &output])
            .ok()
    };
    build();
    let flip =
        "flip() { printf X | dd of=\"$1\" bs=1 seek=$2 conv=notrunc 2>/dev/null; }; cd \"$0\";";
    for plant in [
        "flip layers/blake3/*/packs/0 3",
        "flip layers/blake3/*/places 50",
        "flip layers/blake3/*/fs/made 3",
        "for f in layers/blake3/*/index; do flip $f 60; done",
        "rm -r layers/blake3/*/packs",
        "rm -r layers/blake3/*",
        "for f in $(find blobs -type f -size +2k); do truncate -s 100 $f; done",
        "for f in $(find records -type f); do flip $f 50; done",
    ] {
        let status = Command::new("sh")
            .args(["-euc", &format!("{flip} {plant}")])
            .arg(cooper.root())
            .status()
            .expect("sh");
        assert!(status.success(), "{plant}");
        cooper.run(&["cache", "fsck"]).exits(1);
        cooper.run(&["cache", "fsck", "--repair"]).ok();
        cooper.run(&["cache", "fsck"]).ok();
        build();
        cooper
            .run(&[
                "run",
                "--rm",
                "a",
                "sh",
                "-c",
                "tail -n1 /made; cat /copied/*",
            ])
            .ok()
            .prints("9\nfirstsecond");
        // What runs has files; what is copied is to lie in a pack again.
        cooper.run(&["rmi", "a"]).ok();
        cooper.run(&["prune", "--all"]).ok();
        build();
        cooper.run(&["cache", "fsck"]).ok();
    }
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

#[test]
fn a_store_is_sound_whatever_was_made_of_its_layers() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a value that is looked for").expect("written");
    let secret = format!("--secret=id=s,src={}", secret.display());
    let output = |more: &str| format!("-o=type=oci,dest={}/o.tar{more}", dir.path().display());
    cooper.build(&context(), &["-t=squashed", "--squash"]).ok();
    for more in ["", ",compression=zstd", ",rewrite-timestamp=true"] {
        let epoch = "--build-arg=SOURCE_DATE_EPOCH=1000";
        cooper
            .build(&context(), &[&secret, epoch, &output(more)])
            .ok();
    }
    cooper.run(&["fsck"]).ok();
    // Each thing that is remembered is checked, though.
    let memos = cooper.root().join("memos");
    let mut damaged = 0;
    for memo in std::fs::read_dir(memos).expect("memos").flatten() {
        std::fs::write(memo.path(), "{\"").expect("written");
        damaged += 1;
    }
    let found = cooper.run(&["fsck"]).exits(1).out();
    assert!(found.contains(&format!("{damaged} damaged")), "{found}");
    cooper.run(&["fsck", "--repair"]);
    cooper.run(&["fsck"]).ok();
}

#[test]
fn shells_accept_their_completions() {
    let Some(cooper) = Cooper::new() else { return };
    for shell in ["bash", "zsh", "fish"] {
        let script = cooper.run(&["completion", shell]).ok().out();
        assert!(script.contains("cooper"), "{shell}");
    }
    let script = cooper.run(&["completion", "bash"]).ok().out();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, script).expect("written");
    let asked = format!(
        "set -e; . {}; COMP_WORDS=(cooper buil) COMP_CWORD=1; \
         _cooper cooper buil cooper; echo \"${{COMPREPLY[*]}}\"",
        file.path().display()
    );
    let completed = tool("bash", &["-c", &asked]).ok().out();
    assert!(
        completed.split_whitespace().any(|word| word == "build"),
        "{completed}"
    );
    cooper.run(&["completion", "tcsh"]).exits(125);
}

/// The first build into an empty store collects; what the next one needs again is no garbage.
#[test]
fn a_base_that_was_brought_in_for_an_archive_stays() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nENV A=1\n");
    let output = format!("-otype=oci,dest={}", cooper.scratch("i.tar").display());
    let blobs = || std::fs::read_dir(cooper.root().join("blobs/sha256")).map_or(0, Iterator::count);
    cooper.build(&context, &[&output]).ok();
    let kept = blobs();
    assert!(kept > 0, "the base's layer is there");
    cooper.build(&context, &[&output]).ok();
    assert_eq!(blobs(), kept);
    // It belongs to the cache, and goes with it.
    cooper.run(&["prune", "--all"]).ok();
    assert_eq!(blobs(), 0);
    cooper.build(&context, &[&output]).ok();
    cooper.run(&["fsck"]).ok();
}
