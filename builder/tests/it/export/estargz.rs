//! Layers whose files can be pulled one by one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::layout::{self, Image};
use crate::support::peers::{DockerRegistry, Podman, skopeo};
use crate::support::process::{Outcome, run, tool};
use crate::support::{Context, Cooper, need};

const CHUNK: usize = 4 << 20;

fn context() -> Context {
    let long = "d".repeat(90);
    Context::new(&format!(
        "FROM busybox\nCOPY tree /tree\nRUN cd /tree && cp small one && ln one two && ln -s small soft && mkfifo pipe && \
         mkdir -p {long}/{long} && cp small {long}/{long}/f && rm /etc/group\n"
    ))
    .with("tree/small", "some text\n")
    .with("tree/empty", "")
    .with("tree/chunk", "c".repeat(CHUNK))
    .with("tree/large", "0123456789abcde\n".repeat((2 * CHUNK + 48) / 16))
}

fn build(cooper: &Cooper, name: &str, more: &str) -> (PathBuf, Image) {
    let dir = cooper.scratch(name);
    let output = format!(
        "-otype=oci,tar=false,compression=estargz,dest={}{more}",
        dir.display()
    );
    cooper
        .build(&context(), &[output, "-t=example/x:1".to_owned()])
        .ok();
    let image = Image::read(&dir);
    (dir, image)
}

/// Reads layer `number` by the specification alone.
fn read(layout: &Path, image: &Image, number: usize) -> Outcome {
    let layer = &image.manifest["layers"][number];
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let said = &layer["annotations"];
    let mut command = Command::new("python3");
    command
        .arg(need::source_tree().join("builder/tests/it/export/estargz.py"))
        .arg(layout::blob(layout, &text(&layer["digest"])))
        .arg(text(&image.config["rootfs"]["diff_ids"][number]))
        .arg(text(&said["containerd.io/snapshot/stargz/toc.digest"]))
        .arg(text(&said["io.containers.estargz.uncompressed-size"]));
    run(command).ok()
}

#[test]
fn files_are_found_by_the_index_at_the_end() {
    let Some(cooper) = Cooper::new() else { return };
    let (dir, image) = build(&cooper, "layout", "");
    let media_type = &image.manifest["layers"][1]["mediaType"];
    assert_eq!(*media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(
        image.manifest["layers"][0]["annotations"].is_null(),
        "the base's"
    );
    let copied = read(&dir, &image, 1).out();
    let expected = [
        "reg .no.prefetch.landmark 1 1 -".to_owned(),
        "dir tree/ 0 1 -".to_owned(),
        format!("reg tree/chunk {CHUNK} 1 -"),
        "reg tree/empty 0 1 -".to_owned(),
        format!("reg tree/large {} 3 -", 2 * CHUNK + 48),
        "reg tree/small 10 1 -".to_owned(),
    ];
    let lines: Vec<_> = copied
        .lines()
        .filter(|line| *line != "dir ./ 0 1 -")
        .collect();
    assert_eq!(lines, expected);
    let made = read(&dir, &image, 2).out();
    let long = "d".repeat(90);
    for line in [
        "reg etc/.wh.group 0 1 -",
        "fifo tree/pipe 0 1 -",
        "hardlink tree/two 0 1 tree/one",
        "symlink tree/soft 0 1 small",
        &format!("reg tree/{long}/{long}/f 10 1 -"),
    ] {
        assert!(made.lines().any(|one| one == line), "no {line} in {made}");
    }
    // The same bytes again, in another store; and with the base's layer, if that is asked for.
    let other = Cooper::new().expect("as before");
    let digests = |(_, image): (PathBuf, Image)| image.layers();
    let forced = build(&cooper, "forced", ",force-compression=true");
    read(&forced.0, &forced.1, 0);
    assert_eq!(digests(build(&cooper, "again", "")), image.layers());
    let epoch = ",rewrite-timestamp=true,source-date-epoch=1";
    let one = digests(build(&cooper, "one", epoch));
    assert_eq!(digests(build(&other, "two", epoch)), one);
}

#[test]
fn others_read_it_as_a_gzip_layer() {
    if need::root().and_then(|()| need::tool("umoci")).is_none() || need::tool("skopeo").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let (dir, image) = build(&cooper, "layout", "");
    let copied = cooper.scratch("copied");
    let names = [&dir, &copied].map(|dir| format!("oci:{}:1", dir.display()));
    skopeo(&cooper, &["copy", "-q", &names[0], &names[1]]).ok();
    assert_eq!(
        Image::read(&copied).config["rootfs"],
        image.config["rootfs"]
    );
    let bundle = cooper.scratch("bundle");
    let layout = format!("{}:1", dir.display());
    let args = ["unpack", "--image", &layout, &bundle.display().to_string()];
    tool("umoci", &args.map(std::ffi::OsStr::new));
    let read = |path: &str| std::fs::read(bundle.join("rootfs/tree").join(path)).expect("read");
    assert_eq!(read("two"), b"some text\n");
    assert_eq!(read("large").len(), 2 * CHUNK + 48);
    assert!(!bundle.join("rootfs/etc/group").exists());
    // As an archive it comes back into a store and runs.
    let file = cooper.scratch("x.tar");
    let output = format!("-otype=docker,compression=estargz,dest={}", file.display());
    cooper.build(&context(), &[&output, "-t=x"]).ok();
    let other = Cooper::new().expect("as before");
    other.run(&["load", "-i", &file.display().to_string()]).ok();
    let shown = ["run", "--rm", "x", "tail", "-c16", "/tree/large"];
    other.run(&shown).ok().prints("0123456789abcde\n");
}

#[test]
fn a_registry_and_podman_take_it_as_an_image() {
    let Some(cooper) = Cooper::new() else { return };
    let (Some(registry), Some(podman)) = (DockerRegistry::start(&cooper), Podman::new(&cooper))
    else {
        return;
    };
    let name = format!("{}/chunks:1", registry.host());
    let output = format!("-otype=registry,compression=estargz,name={name}");
    cooper.build(&context(), &[&output]).ok();
    let address = format!("docker://{name}");
    let args = ["inspect", "--raw", "--tls-verify=false", &address];
    let manifest: serde_json::Value =
        serde_json::from_str(&skopeo(&cooper, &args).ok().out()).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers");
    let made = layers.last().expect("a layer");
    assert_eq!(
        made["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );
    assert!(made["annotations"]["containerd.io/snapshot/stargz/toc.digest"].is_string());
    let pull = ["pull", "-q", "--tls-verify=false"];
    podman.command(&pull, &[&name]).ok();
    let shown = podman.run_image(&name, &["tail", "-c16", "/tree/large"]);
    shown.ok().prints("0123456789abcde\n");
}

#[test]
fn an_image_of_the_store_keeps_its_chunks() {
    let Some(cooper) = Cooper::new() else { return };
    cooper
        .build(
            &context(),
            &["-otype=image,name=kept:1,compression=estargz"],
        )
        .ok();
    cooper
        .run(&["run", "--rm", "kept:1", "cat", "/tree/small"])
        .ok()
        .prints("some text\n");
    let file = cooper.scratch("kept.tar").display().to_string();
    cooper.run(&["save", "-o", &file, "kept:1"]).ok();
    let dir = cooper.scratch("unpacked");
    std::fs::create_dir(&dir).expect("mkdir");
    let args = ["-xf", &file, "-C", &dir.display().to_string()];
    tool("tar", &args.map(std::ffi::OsStr::new));
    let image = Image::read(&dir);
    for number in [1, 2] {
        read(&dir, &image, number);
    }
    cooper.run(&["fsck"]).ok();
}
