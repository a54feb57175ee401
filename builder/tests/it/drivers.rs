//! Where there are no overlays: every root file system is a copy.

use crate::support::mounts::Tmpfs;
use crate::support::{Context, Cooper, need};

const VFS: &str = "--storage-driver=vfs";

/// Everything that a step can do to what it found, over several stages.
fn example() -> Context {
    let context = Context::new(
        "FROM busybox AS base\n\
         COPY tree /tree\n\
         RUN mkdir -p /opt/a/b /gone/deep && echo one >/opt/a/b/file && echo x >/gone/deep/f \\\n\
             && ln /opt/a/b/file /opt/a/linked && ln -s a/b /opt/link && chmod 4755 /opt/a/b/file\n\
         FROM base AS changed\n\
         RUN rm -r /gone /tree/sub && mkdir /tree/sub && echo new >/tree/sub/new \\\n\
             && echo more >>/opt/a/b/file && rm /opt/a/linked && chown 7:8 /tree/kept \\\n\
             && mkfifo /opt/pipe && touch /opt/temporary && rm /opt/temporary\n\
         RUN rm /opt/link && mkdir /opt/link && echo x >/opt/link/x && mv /tree/moved /opt/moved\n\
         FROM busybox\n\
         COPY --from=changed /opt /opt\n\
         COPY --from=changed /tree /tree\n\
         RUN --mount=from=base,source=/opt/a,target=/m,rw \\\n\
             --mount=type=cache,target=/cache --mount=target=/context \\\n\
             cat /m/b/file /context/tree/kept >/seen && echo lost >/m/lost && touch /cache/x\n\
         WORKDIR /opt/work\n\
         RUN ls -l / /opt /tree | wc -l >count\n",
    );
    let context = ["tree/kept", "tree/moved", "tree/sub/a", "tree/sub/b"]
        .into_iter()
        .fold(context, |context, name| context.with(name, name));
    context.sh("find . -exec touch -d '2020-01-01 00:00:00' {} +");
    context
}

#[test]
fn both_drivers_make_the_same_image() {
    let (Some(overlay), Some(vfs)) = (Cooper::new(), Cooper::new()) else {
        return;
    };
    let context = example();
    let digest = |cooper: &Cooper, driver: &str| {
        let iid = cooper.scratch("iid");
        let tar = cooper.scratch("image.tar");
        let options = [
            driver.to_owned(),
            "--timestamp=1600000000".to_owned(),
            "-t=example".to_owned(),
            format!("--iidfile={}", iid.display()),
        ];
        cooper.build(&context, &options).ok();
        let save = ["save", "-o", &tar.display().to_string(), "example"].map(str::to_owned);
        cooper.run(&save).ok();
        cooper.run(&["fsck"]).ok();
        (
            std::fs::read(iid).expect("ID"),
            std::fs::read(tar).expect("image"),
        )
    };
    let (first, image) = digest(&overlay, "--storage-driver=overlay");
    let (second, copied) = digest(&vfs, VFS);
    assert_eq!(
        String::from_utf8_lossy(&first),
        String::from_utf8_lossy(&second)
    );
    assert!(image == copied, "the archives are the same bytes");
    // Nothing was mounted, so nothing has files.
    for kind in ["blake3", "sha256"] {
        let layers = std::fs::read_dir(vfs.root().join("layers").join(kind)).expect("layers");
        let mut layers = layers.map(|layer| layer.expect("a layer").path());
        assert!(layers.all(|layer| !layer.join("fs").exists()), "{kind}");
    }
    // Either driver takes up what the other one made.
    let steps = vfs.steps(
        &context,
        &["--storage-driver=overlay", "--timestamp=1600000000"],
    );
    steps.outcome.ok();
}

#[test]
fn a_container_without_overlays_keeps_what_it_wrote() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN mkdir /d && echo a >/d/a && echo b >/d/b\n");
    cooper.build(&context, &[VFS, "-t=example"]).ok();
    let script = "echo changed >/d/a; rm /d/b; echo new >/d/c; cat /d/a";
    let run = ["run", VFS, "--name=kept", "example", "sh", "-c", script];
    cooper.run(&run).ok().prints("changed\n");
    // The driver of a container is the one that it was started with.
    let diff = cooper.run(&["diff", "kept"]).ok();
    diff.prints("C /d\nC /d/a\nD /d/b\nA /d/c\n");
    let inspected = cooper.run(&["inspect", "-f", "{{.Driver}}", "kept"]).ok();
    inspected.prints("vfs\n");
    cooper.run(&["commit", "kept", "committed"]).ok();
    let script = "cat /d/a /d/c; ls /d";
    let shown = cooper
        .run(&["run", "--rm", "committed", "sh", "-c", script])
        .ok();
    shown.prints("changed\nnew\na\nc\n");
    cooper
        .run(&["start", "-a", "kept"])
        .ok()
        .prints("changed\n");
    let to = cooper.scratch("copied");
    cooper
        .run(&["cp", "kept:/d/c", &to.display().to_string()])
        .ok();
    assert_eq!(std::fs::read_to_string(to).expect("a file"), "new\n");
    cooper.run(&["rm", "kept"]).ok();
    cooper.run(&["fsck"]).ok();
}

#[test]
fn a_failed_step_can_be_looked_into_without_overlays() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo left >/left && false\n");
    cooper.build(&context, &[VFS]).exits(1);
    let shown = cooper.run(&["run", VFS, "--rm", "failed-step", "cat", "/left"]);
    shown.ok().prints("left\n");
}

/// An overlay's upper directory is not taken from another overlay.
#[test]
fn where_no_overlay_can_be_mounted_copies_are_made_unasked() {
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    if need::root().is_none() {
        return;
    }
    let memory = Tmpfs::mount(cooper.scratch("memory"), "size=256m");
    let at = |name: &str| memory.path().join(name);
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(at(name)).expect("mkdir");
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("upper").display(),
        at("work").display()
    );
    let merged = at("merged");
    let status = std::process::Command::new("mount")
        .args(["-t", "overlay", "-o", &options, "overlay"])
        .arg(&merged)
        .status();
    assert!(status.expect("mount").success());
    cooper.set_root(merged.join("root"));
    let context = Context::new("FROM busybox\nRUN echo made >/made\nRUN cat /made\n");
    let built = cooper.build(&context, &["-t=example"]);
    let run = cooper.run(&["run", "--rm", "example", "cat", "/made"]);
    let driver = std::fs::read_to_string(cooper.root().join("driver"));
    let doctor = cooper.run(&["doctor"]);
    let _ = std::process::Command::new("umount")
        .arg("-l")
        .arg(&merged)
        .status();
    built.ok();
    run.ok().prints("made\n");
    assert!(driver.expect("it is noted").ends_with(" vfs\n"));
    assert!(doctor.out().contains("in a copy"), "{}", doctor.out());
}

#[test]
fn a_driver_that_does_not_exist_is_refused() {
    let Some(cooper) = Cooper::new() else { return };
    let refused = cooper.run(&["images", "--storage-driver=overly"]).exits(1);
    refused
        .says("\"overly\" is no storage driver")
        .says("overlay");
}
