//! How layers are kept: without files until something mounts them, and in large numbers.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::support::http::Server;
use crate::support::mounts::Tmpfs;
use crate::support::{Context, Cooper, layout, need};

/// Returns what is in the directories of the layers that were built: `fs` or `packs`.
fn forms(cooper: &Cooper) -> Vec<&'static str> {
    let mut found = Vec::new();
    for layer in built(cooper) {
        found.extend(
            ["fs", "packs"]
                .iter()
                .filter(|form| layer.join(form).exists()),
        );
    }
    found.sort_unstable();
    found
}

fn built(cooper: &Cooper) -> Vec<PathBuf> {
    let layers = std::fs::read_dir(cooper.root().join("layers/blake3")).expect("layers");
    layers.map(|layer| layer.expect("a layer").path()).collect()
}

#[test]
fn what_nothing_mounts_gets_no_files() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox AS copied\nCOPY tree /tree\nFROM copied AS again\nCOPY --from=copied /tree /again\n\
         FROM copied AS run\nRUN cat /tree/* >/all\n",
    )
    .with("tree/a", "a one\n")
    .with("tree/b", "b one\n");
    let tar = cooper.scratch("image.tar");
    let output = format!("-otype=docker,dest={}", tar.display());
    cooper.build(&context, &["--target=again", &output]).ok();
    cooper.build(&context, &["--target=again", "-t=again"]).ok();
    assert_eq!(forms(&cooper), ["packs", "packs"]);
    let inodes = built(&cooper).into_iter().map(|layer| {
        let pack = std::fs::metadata(layer.join("packs/0")).expect("a pack");
        (pack.ino(), pack.nlink())
    });
    let inodes: Vec<_> = inodes.collect();
    assert_eq!(inodes[0], inodes[1], "the bytes are there once");
    assert_eq!(inodes[0].1, 2);
    // A RUN mounts the first; the second stays as it is.
    cooper.build(&context, &["--target=run", "-t=run"]).ok();
    assert_eq!(forms(&cooper), ["fs", "fs", "packs"]);
    cooper
        .run(&["run", "--rm", "run", "cat", "/all"])
        .ok()
        .prints("a one\nb one\n");
    cooper
        .run(&["run", "--rm", "again", "cat", "/again/b"])
        .ok()
        .prints("b one\n");
    assert_eq!(forms(&cooper), ["fs", "fs", "fs"]);
    cooper.run(&["fsck"]).ok();
}

/// Returns in which form the layers of images are that were not built here.
fn brought(cooper: &Cooper) -> Vec<&'static str> {
    let layers = std::fs::read_dir(cooper.root().join("layers/sha256")).expect("layers");
    let forms = layers.flat_map(|layer| {
        let layer = layer.expect("a layer").path();
        ["fs", "packs"]
            .into_iter()
            .filter(move |form| layer.join(form).exists())
    });
    forms.collect()
}

#[test]
fn a_base_gets_files_when_something_mounts_it() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox AS copied\nCOPY f /bin/f\nFROM scratch AS taken\nCOPY --from=busybox /bin /bin\n\
         FROM copied AS run\nRUN cat /bin/f >/g\n",
    )
    .with("f", "f\n");
    let tar = cooper.scratch("image.tar");
    let output = format!("-otype=oci,dest={}", tar.display());
    cooper.build(&context, &["--target=copied", &output]).ok();
    cooper.build(&context, &["--target=taken", "-t=taken"]).ok();
    assert_eq!(brought(&cooper), ["packs"]);
    cooper.run(&["fsck"]).ok();
    cooper
        .run(&["run", "--rm", "taken", "/bin/busybox", "echo", "runs"])
        .ok()
        .prints("runs\n");
    assert_eq!(brought(&cooper), ["packs"]);
    cooper.build(&context, &["--target=run", "-t=run"]).ok();
    assert_eq!(brought(&cooper), ["fs"]);
    cooper.run(&["fsck"]).ok();
    // What is mounted first is never packed.
    let Some(other) = Cooper::new() else { return };
    other.build(&context, &["--target=run", "-t=run"]).ok();
    assert_eq!(brought(&other), ["fs"]);
    cooper.run(&["load", "-i", &tar.display().to_string()]).ok();
}

#[test]
fn a_copy_that_a_run_mounts_is_written_as_files_at_once() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nCOPY f /f\nRUN cat /f >/g\n").with("f", "f\n");
    cooper.build(&context, &["-otype=cacheonly"]).ok();
    assert_eq!(forms(&cooper), ["fs", "fs"]);
}

#[test]
fn archives_and_downloads_get_files_when_something_mounts_them() {
    const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1700000000";
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty();
    // Two archives with hard links of their own; the second one replaces a file, a directory and
    // a link of the first one, and deletes one.
    context.sh(
        "mkdir -p one/d/sub two/d; echo a >one/a; ln one/a one/b; echo s >one/d/sub/s; echo o >one/old
         ln -s a one/soft; head -c 3000000 /dev/zero >one/large; chmod 4750 one/a
         echo x >two/x; ln two/x two/y; echo sub >two/d/sub; echo soft >two/soft; touch two/.wh.old; touch -d @1 one/d two/d
         tar -C one --owner=3 --group=4 -cf one.tar .; tar -C two -czf two.tgz .; mkdir served; cp one.tar served/",
    );
    let server = Server::of_files(&context.join("served"));
    context.write(
        "Dockerfile",
        format!(
            "FROM busybox AS added\nADD one.tar two.tgz /t/\nADD {url} /got.tar\n\
             FROM added AS mounted\nRUN cd /t && stat -c '%n %a %u:%g %h' * && cat a soft d/sub >/seen\n",
            url = server.url("/one.tar")
        ),
    );
    let layout = cooper.build_layout(&context, &["--target=added", "-t=x:1", EPOCH]);
    // The download itself, what ADD makes of it, and the archives.
    assert_eq!(forms(&cooper), ["packs", "packs", "packs"]);
    let packed = layout::Image::read(&layout).layers();
    let run = cooper
        .build(&context, &["--target=mounted", "-t=mounted", EPOCH])
        .ok();
    run.says("a 4750 3:4 2")
        .says("x 644 0:0 2")
        .says("y 644 0:0 2")
        .says("b 4750 3:4 2");
    cooper
        .run(&[
            "run",
            "--rm",
            "mounted",
            "sh",
            "-c",
            "cat /seen; ls /t; stat -c %Y /t/d; wc -c </t/large; wc -c </got.tar",
        ])
        .ok()
        .prints("a\nsoft\nsub\na\nb\nd\nlarge\nsoft\nx\ny\n1\n3000000\n3010560\n");
    cooper.run(&["fsck"]).ok();
    // Made as files at once, it is the same.
    let Some(other) = Cooper::new() else { return };
    other
        .build(&context, &["--target=mounted", "-otype=cacheonly", EPOCH])
        .ok();
    let layout = other.build_layout(&context, &["--target=added", "-t=x:1", EPOCH]);
    assert_eq!(layout::Image::read(&layout).layers(), packed);
}

#[test]
fn squashed_layers_get_files_when_something_mounts_them() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY a b /\nCOPY c /b\n")
        .with("a", "a".repeat(10_000))
        .with("b", "b")
        .with("c", "c");
    cooper.build(&context, &["--squash", "-t=squashed"]).ok();
    assert_eq!(forms(&cooper), ["packs", "packs", "packs"]);
    let shared = built(&cooper).into_iter().filter(|layer| {
        let packs = std::fs::read_dir(layer.join("packs")).expect("packs");
        let mut packs = packs.map(|pack| pack.expect("a pack").metadata().expect("stat"));
        packs.any(|pack| pack.size() == 10_001 && pack.nlink() == 2)
    });
    assert_eq!(shared.count(), 2, "the large file is there once");
    let mounted = Context::new("FROM squashed\nCOPY --from=busybox / /\nRUN cat /b >/seen\n");
    cooper.build(&mounted, &["-t=mounted"]).ok();
    cooper
        .run(&["run", "--rm", "mounted", "sh", "-c", "cat /seen; wc -c </a"])
        .ok()
        .prints("c10000\n");
    cooper.run(&["fsck"]).ok();
}

#[test]
fn a_changed_file_alone_is_stored_anew() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nCOPY tree /tree\n")
        .with("tree/a", "a".repeat(100_000))
        .with("tree/b", "b");
    cooper.build(&context, &["-t=one"]).ok();
    context.write("tree/b", "changed");
    cooper.build(&context, &["-t=two"]).ok();
    let mut packs = Vec::new();
    for layer in built(&cooper) {
        for pack in std::fs::read_dir(layer.join("packs")).expect("packs") {
            let pack = pack.expect("a pack").metadata().expect("stat");
            packs.push((pack.size(), pack.nlink()));
        }
    }
    packs.sort_unstable();
    assert_eq!(packs, [(7, 1), (100_001, 2), (100_001, 2)]);
    cooper.run(&["rmi", "one"]).ok();
    cooper.run(&["prune", "--all"]).ok();
    let script = "cat /tree/b; wc -c </tree/a";
    let two = cooper.run(&["run", "--rm", "two", "sh", "-c", script]).ok();
    two.prints("changed100000\n");
    cooper.run(&["fsck"]).ok();
}

/// What lies at the bottom is merged to one layer, once, for steps, mounts and containers.
#[test]
fn an_image_has_more_layers_than_overlayfs_stacks() {
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    // Thousands of small files: root has them in memory.
    let memory = need::is_root().then(|| Tmpfs::mount(cooper.scratch("memory"), "size=1g"));
    if let Some(memory) = &memory {
        cooper.set_root(memory.path().join("root"));
    }
    let copies: Vec<_> = (1..=510).map(|n| format!("COPY f /d/f{n}\n")).collect();
    let copies = copies.concat();
    let text = format!(
        "FROM busybox AS long\n{copies}RUN rm /d/f1 /d/f510 && ls /d | wc -l >/count\n\
         FROM busybox AS short\nRUN --mount=from=long,target=/m ls /m/d | wc -l >/seen\n"
    );
    let context = Context::new(&text).with("f", "f");
    let tar = cooper.scratch("image.tar");
    let output = format!("-otype=docker,dest={}", tar.display());
    cooper
        .build(&context, &["--target=long", "-t=many", &output])
        .ok();
    cooper.run(&["load", "-i", &tar.display().to_string()]).ok();
    cooper.build(&context, &["-t=few"]).ok();
    let count = built(&cooper).len();
    let run = ["run", "-d", "--name=long", "many", "sh", "-c", "sleep 100"];
    cooper.run(&run).ok();
    assert_eq!(built(&cooper).len(), count, "merged once");
    // The collector leaves what a container stands on.
    cooper.run(&["prune", "--all"]).ok();
    let script = "cat /count; ls /d | wc -l; cat /d/f2";
    let exec = cooper.run(&["exec", "long", "sh", "-c", script]).ok();
    exec.prints("508\n508\nf");
    cooper.run(&["rm", "-f", "long"]).ok();
    cooper
        .run(&["run", "--rm", "few", "cat", "/seen"])
        .ok()
        .prints("508\n");
    assert!(std::fs::metadata(&tar).expect("the archive").len() > 510 * 1024);
    cooper.run(&["fsck"]).ok();
}
