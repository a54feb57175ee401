//! Other tools read what cooper writes, and the other way round.

use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::layout::Image;
use crate::support::peers::{DockerRegistry, Podman, skopeo};
use crate::support::process::tool;
use crate::support::{Context, Cooper, need};

fn context() -> Context {
    Context::new(
        "FROM busybox\nENV greeting=hello\nCOPY f /tmp/f\n\
         RUN mkdir /data && cp /tmp/f /data/f && ln /data/f /data/hard && ln -s f /data/soft && mkdir -m 1777 /data/d && \
         chown 5:6 /data/d && rm /etc/group\nCMD echo $greeting; cat /data/hard\n",
    )
    .with("f", "content\n".repeat(1000))
}

fn archive(cooper: &Cooper, kind: &str, compression: &str) -> PathBuf {
    let file = cooper.scratch(&format!("{kind}-{compression}.tar"));
    let output = format!(
        "-otype={kind},name=example/image:1,compression={compression},dest={}",
        file.display()
    );
    cooper.build(&context(), &[output]).ok();
    file
}

#[test]
fn skopeo_inspects_and_copies_archives() {
    if need::tool("skopeo").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    for (kind, transport, compression) in [
        ("oci", "oci-archive", "gzip"),
        ("oci", "oci-archive", "zstd"),
        ("oci", "oci-archive", "uncompressed"),
        ("docker", "docker-archive", "gzip"),
    ] {
        let file = archive(&cooper, kind, compression);
        let source = format!("{transport}:{}", file.display());
        let inspected = skopeo(&cooper, &["inspect", "--config", &source])
            .ok()
            .out();
        let config: Value = serde_json::from_str(&inspected).expect("JSON");
        assert_eq!(config["config"]["Env"][1], "greeting=hello", "{source}");
        let dest = cooper.scratch(&format!("copied-{kind}-{compression}"));
        let target = format!("oci:{}:1", dest.display());
        skopeo(&cooper, &["copy", "-q", &source, &target]).ok();
        assert_eq!(Image::read(&dest).config["rootfs"], config["rootfs"]);
    }
}

#[test]
fn umoci_unpacks_a_layout() {
    if need::root().and_then(|()| need::tool("umoci")).is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let layout = cooper.build_layout(&context(), &["-t=example/image:1"]);
    let bundle = cooper.scratch("bundle");
    let image = format!("{}:1", layout.display());
    tool(
        "umoci",
        &[
            OsStr::new("unpack"),
            OsStr::new("--image"),
            OsStr::new(&image),
            bundle.as_os_str(),
        ],
    );
    let root = bundle.join("rootfs");
    let listing = tool(
        "sh",
        &[
            OsStr::new("-euc"),
            OsStr::new("cd $0/data; stat -c '%n %a %u:%g %h' d f; readlink soft; cmp f hard"),
            root.as_os_str(),
        ],
    );
    assert_eq!(listing.out(), "d 1777 5:6 2\nf 644 0:0 2\nf\n");
    assert!(!root.join("etc/group").exists(), "the whiteout is honoured");
}

#[test]
fn podman_loads_and_runs_archives() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(podman) = Podman::new(&cooper) else {
        return;
    };
    for (kind, compression) in [("oci", "gzip"), ("oci", "zstd"), ("docker", "gzip")] {
        let file = archive(&cooper, kind, compression);
        podman
            .command(&["load", "-q", "-i"], &[file.as_os_str()])
            .ok();
        let outcome = podman.run_image("example/image:1", &[]).ok();
        assert_eq!(
            outcome.out(),
            format!("hello\n{}", "content\n".repeat(1000))
        );
        podman.command(&["rmi", "-f"], &["example/image:1"]).ok();
    }
}

#[test]
fn what_podman_saves_is_loaded() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(podman) = Podman::new(&cooper) else {
        return;
    };
    for format in ["oci-archive", "docker-archive"] {
        let file = cooper.scratch(format);
        podman
            .command(
                &["save", "-q", "--format", format, "-o"],
                &[
                    file.as_os_str(),
                    OsStr::new("docker.io/library/probe:latest"),
                ],
            )
            .ok();
        cooper
            .run(&[OsStr::new("load"), OsStr::new("-i"), file.as_os_str()])
            .ok();
        cooper
            .run(&["run", "--rm", "probe", "echo", format])
            .ok()
            .prints(&format!("{format}\n"));
        cooper.run(&["rmi", "probe"]).ok();
    }
}

#[test]
fn a_registry_takes_a_push_and_gives_it_back() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let name = format!("{}/team/image:1", registry.host());
    cooper.build(&context(), &[format!("-t={name}")]).ok();
    cooper.run(&["push", &name]).ok();

    let Some(other) = Cooper::new() else { return };
    other.run(&["pull", &name]).ok();
    let outcome = other.run(&["run", "--rm", &name]).ok();
    assert_eq!(
        outcome.out(),
        format!("hello\n{}", "content\n".repeat(1000))
    );

    // As a base image, too, and pushed on with the layers that the registry has already.
    let child = format!("{}/team/child:1", registry.host());
    let from = Context::new(&format!("FROM {name}\nRUN echo child >/child\n"));
    let Some(third) = Cooper::new() else { return };
    third
        .build(&from, &[format!("-otype=registry,name={child}")])
        .ok();
    other.run(&["pull", &child]).ok();
    other
        .run(&["run", "--rm", &child, "cat", "/child"])
        .ok()
        .prints("child\n");
}

#[test]
fn a_pulled_image_is_pushed_on_byte_for_byte() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    if need::tool("skopeo").is_none() {
        return;
    }
    let from = format!("{}/from/image:1", registry.host());
    let to = format!("{}/to/image:1", registry.host());
    let source = format!("oci:{}:latest", cooper.busybox_layout().display());
    let target = format!("docker://{from}");
    skopeo(
        &cooper,
        &["copy", "-q", "--dest-tls-verify=false", &source, &target],
    )
    .ok();
    let digest = |name: &str| {
        let name = format!("docker://{name}");
        skopeo(
            &cooper,
            &[
                "inspect",
                "--tls-verify=false",
                "--format={{.Digest}}",
                &name,
            ],
        )
        .ok()
        .out()
    };
    cooper.run(&["pull", &from]).ok();
    cooper.run(&["tag", &from, &to]).ok();
    cooper.run(&["push", &to]).ok();
    assert_eq!(digest(&from), digest(&to));
}

#[test]
fn skopeo_and_cooper_meet_at_a_registry() {
    if need::tool("skopeo").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let mine = format!("{}/by/cooper:1", registry.host());
    cooper.build(&context(), &[format!("-t={mine}")]).ok();
    cooper.run(&["push", &mine]).ok();
    let dest = cooper.scratch("pulled");
    let (source, target) = (
        format!("docker://{mine}"),
        format!("oci:{}:1", dest.display()),
    );
    skopeo(
        &cooper,
        &["copy", "-q", "--src-tls-verify=false", &source, &target],
    )
    .ok();
    assert_eq!(
        Image::read(&dest).config["config"]["Env"][1],
        "greeting=hello"
    );

    for format in ["oci", "v2s2"] {
        let theirs = format!("{}/by/skopeo:{format}", registry.host());
        let source = format!("oci:{}:latest", cooper.busybox_layout().display());
        let target = format!("docker://{theirs}");
        skopeo(
            &cooper,
            &[
                "copy",
                "-q",
                "--dest-tls-verify=false",
                "--format",
                format,
                &source,
                &target,
            ],
        )
        .ok();
        cooper.run(&["pull", &theirs]).ok();
        cooper
            .run(&["run", "--rm", &theirs, "echo", format])
            .ok()
            .prints(&format!("{format}\n"));
    }
}
