//! `cooper build`: where input comes from and where results go.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::layout::{self, Image};
use crate::support::process::{run, start, tool};
use crate::support::tree;
use crate::support::{Context, Cooper, need};

fn small() -> Context {
    let context = Context::new("FROM busybox\nLABEL made=by-test\nCOPY f /f\nRUN echo y >/g\n")
        .with("f", "x\n");
    // The time of a copied file is part of its layer.
    context.sh("touch -d '2020-01-01 00:00:00' f");
    context
}

#[test]
fn the_store_is_the_default_output() {
    let Some(cooper) = Cooper::new() else { return };
    let iid = cooper.scratch("iid");
    let metadata = cooper.scratch("metadata.json");
    cooper
        .build(
            &small(),
            &[
                "-t=example/one:1".to_owned(),
                "-t=two".to_owned(),
                format!("--iidfile={}", iid.display()),
                format!("--metadata-file={}", metadata.display()),
            ],
        )
        .ok()
        .prints("");
    let id = std::fs::read_to_string(iid).expect("the image ID");
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id:?}");
    let metadata: Value =
        serde_json::from_slice(&std::fs::read(metadata).expect("metadata")).expect("JSON");
    assert_eq!(metadata["containerimage.config.digest"], id);

    let images = cooper.run(&["images"]).ok().out();
    assert!(images.contains("example/one"), "{images}");
    assert!(images.contains("two"), "{images}");
    let inspected = cooper.run(&["inspect", "two"]).ok().out();
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(inspected[0]["Id"], id);
    assert_eq!(inspected[0]["Config"]["Labels"]["made"], "by-test");
    let history = cooper.run(&["history", "two"]).ok().out();
    assert!(history.contains("COPY f /f"), "{history}");

    cooper.run(&["rmi", "two"]).ok();
    cooper.run(&["inspect", "two"]).exits(1).says("two");
    cooper.run(&["inspect", "example/one:1"]).ok();
}

#[test]
fn the_metadata_of_an_archive_name_it() {
    let Some(cooper) = Cooper::new() else { return };
    let metadata = cooper.scratch("metadata.json");
    let to = |name: &str| cooper.scratch(name).display().to_string();
    cooper
        .build(
            &small(),
            &[
                "-t=example/one:1".to_owned(),
                format!("--output=type=oci,dest={}", to("image.tar")),
                format!("--output=type=local,dest={}", to("files")),
                format!("--metadata-file={}", metadata.display()),
            ],
        )
        .ok();
    let metadata: Value =
        serde_json::from_slice(&std::fs::read(metadata).expect("metadata")).expect("JSON");
    assert_eq!(metadata["image.name"], "docker.io/example/one:1");
    assert_eq!(
        metadata["containerimage.descriptor"]["digest"],
        metadata["containerimage.digest"]
    );
}

#[test]
fn quiet_prints_the_image_id_alone() {
    let Some(cooper) = Cooper::new() else { return };
    let outcome = run(cooper.build_command(small().path(), &["-q", "-t=a"])).ok();
    let id = outcome.out();
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id:?}");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn an_oci_layout_holds_what_was_built() {
    let Some(cooper) = Cooper::new() else { return };
    let dest = cooper.build_layout(&small(), &["-t=example/one:1"]);
    let image = Image::read(&dest);
    assert_eq!(
        image.manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    let layers = image.manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 3);
    for layer in layers {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        let digest = layer["digest"].as_str().expect("a digest");
        let blob = layout::read_blob(&dest, digest);
        assert_eq!(layer["size"], blob.len());
    }
    let diff_ids = image.config["rootfs"]["diff_ids"].as_array().expect("ids");
    assert_eq!(diff_ids.len(), 3);
    for (layer, diff_id) in image.layers().iter().zip(diff_ids) {
        let sum = tool(
            "sh",
            &[
                "-c",
                "gzip -dc \"$0\" | sha256sum | cut -d' ' -f1",
                layout::blob(&dest, layer).to_str().expect("UTF-8"),
            ],
        );
        assert_eq!(format!("sha256:{}", sum.out().trim()), *diff_id);
    }
    let annotations = &layout::index(&dest)["manifests"][0]["annotations"];
    assert_eq!(
        annotations["io.containerd.image.name"],
        "docker.io/example/one:1"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
}

#[test]
fn layers_are_compressed_as_asked() {
    let Some(cooper) = Cooper::new() else { return };
    for (compression, media_type, magic) in [
        ("gzip", "+gzip", &b"\x1f\x8b"[..]),
        ("zstd", "+zstd", &b"\x28\xb5\x2f\xfd"[..]),
        ("uncompressed", "", &b""[..]),
    ] {
        let dest = cooper.scratch(compression);
        cooper
            .build(
                &small(),
                &[format!(
                    "-otype=oci,tar=false,force-compression=true,compression={compression},dest={}",
                    dest.display()
                )],
            )
            .ok();
        let image = Image::read(&dest);
        let layer = &image.manifest["layers"][2];
        assert_eq!(
            layer["mediaType"],
            format!("application/vnd.oci.image.layer.v1.tar{media_type}")
        );
        let blob = layout::read_blob(&dest, layer["digest"].as_str().expect("a digest"));
        assert!(blob.starts_with(magic), "{compression}");
    }
}

#[test]
fn many_outputs_of_one_build() {
    let Some(cooper) = Cooper::new() else { return };
    let [oci, docker, tar, local] =
        ["oci.tar", "docker.tar", "root.tar", "root-dir"].map(|name| cooper.scratch(name));
    cooper
        .build(
            &small(),
            &[
                format!("-otype=oci,dest={}", oci.display()),
                format!("-otype=docker,name=a/b:c,dest={}", docker.display()),
                format!("-otype=tar,dest={}", tar.display()),
                format!("-otype=local,dest={}", local.display()),
            ],
        )
        .ok();
    let names =
        |file: &std::path::Path| -> Vec<String> { tree::read_tar(file).into_keys().collect() };
    assert!(names(&oci).contains(&"oci-layout".to_owned()));
    assert!(names(&docker).contains(&"manifest.json".to_owned()));
    assert_eq!(tree::read_tar(&tar)["g"], "g 644 0:0 \"y\\n\"");
    assert_eq!(std::fs::read_to_string(local.join("g")).expect("g"), "y\n");
    assert!(local.join("bin/busybox").exists());
}

#[test]
fn a_tarball_on_standard_output() {
    let Some(cooper) = Cooper::new() else { return };
    let outcome = cooper.build(&small(), &["-otype=tar,dest=-"]).ok();
    let file = cooper.scratch("stdout.tar");
    std::fs::write(&file, &outcome.stdout).expect("write");
    assert_eq!(tree::read_tar(&file)["f"], "f 644 0:0 \"x\\n\"");
}

#[test]
fn a_dockerfile_from_standard_input() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty().with("f", "x");
    let mut command = cooper.command();
    command
        .args(["build", "--progress=plain", "-f-", "-t=a"])
        .arg(cooper.busybox_context())
        .arg(context.path());
    start(command, b"FROM busybox\nCOPY f /\n").finish().ok();
    cooper
        .run(&["run", "--rm", "a", "cat", "/f"])
        .ok()
        .prints("x");
}

#[test]
fn the_second_name_of_a_dockerfile() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty().with("Containerfile", "FROM busybox\nLABEL a=b\n");
    cooper.build(&context, &["-t=a"]).ok();
}

#[test]
fn only_what_the_target_needs_is_built_and_independent_stages_run_at_once() {
    let Some(cooper) = Cooper::new() else { return };
    // Each ends only once it has met the others.
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\n\
             RUN --mount=type=cache,id=meeting,target=/m echo {name} >/{name} && touch /m/{name} && \
             for i in $(seq 600); do [ -e /m/a -a -e /m/b -a -e /m/c ] && exit; sleep 0.1; done; \
             exit 1\n"
        )
    };
    let context = Context::new(&format!(
        "{}{}{}\
         FROM busybox AS unused\nRUN echo unused stage; exit 1\n\
         FROM busybox AS all\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\n\
         FROM unused\n",
        stage("a"),
        stage("b"),
        stage("c"),
    ));
    let outcome = cooper.build(&context, &["--target=all", "-t=a"]).ok();
    assert!(!outcome.stderr.contains("unused"), "{outcome}");
}

#[test]
fn an_image_that_was_built_is_a_base() {
    let Some(cooper) = Cooper::new() else { return };
    cooper
        .build(
            &Context::new("FROM busybox\nENV who=base\nRUN echo base >/b\n"),
            &["-t=mine/base"],
        )
        .ok();
    let context = Context::new("FROM mine/base\nRUN echo $who; cat /b\n");
    let steps = cooper.steps(&context, &["-t=child"]).ok();
    assert_eq!(steps.output(), "base\nbase\n");
}

#[test]
fn a_loaded_image_is_a_base() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.load_busybox();
    let context = Context::new("FROM busybox\nRUN echo hi\n");
    let mut command = cooper.command();
    command
        .args(["build", "--progress=plain", "-t=a"])
        .arg(context.path());
    run(command).ok();
    cooper
        .run(&["run", "--rm", "busybox", "echo", "x"])
        .ok()
        .prints("x\n");
}

#[test]
fn an_archive_that_cooper_wrote_can_be_loaded() {
    let Some(cooper) = Cooper::new() else { return };
    for kind in ["oci", "docker"] {
        let tar = cooper.scratch("image.tar");
        let output = format!("-otype={kind},name=loaded/{kind}:1,dest={}", tar.display());
        cooper.build(&small(), &[output]).ok();
        let Some(other) = Cooper::new() else { return };
        other
            .run(&[OsStr::new("load"), OsStr::new("-i"), tar.as_os_str()])
            .ok();
        let name = format!("loaded/{kind}:1");
        other
            .run(&["run", "--rm", &name, "cat", "/f", "/g"])
            .ok()
            .prints("x\ny\n");
    }
}

#[test]
fn named_contexts_take_the_place_of_images() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.load_busybox();
    let context = Context::new("FROM nosuch/image\nCOPY --from=files f /\nRUN cat /f\n");
    let files = Context::empty().with("f", "from a directory\n");
    let mut command = cooper.command();
    command
        .args(["build", "--progress=plain", "-t=a"])
        .arg("--build-context=nosuch/image=docker-image://busybox")
        .arg(format!("--build-context=files={}", files.path().display()))
        .arg(context.path());
    run(command).ok().says("from a directory");
}

#[test]
fn the_root_may_come_from_the_environment() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.load_busybox();
    let mut command = cooper.bare_command(env!("CARGO_BIN_EXE_cooper"));
    command.env("COOPER_ROOT", cooper.root()).arg("images");
    assert!(run(command).ok().out().contains("busybox"));
}

#[test]
fn a_build_from_the_same_bytes_gives_the_same_image() {
    let digests: Vec<String> = (0..2)
        .map_while(|_| {
            let cooper = Cooper::new()?;
            let dest = cooper.build_layout(&small(), &["--build-arg=SOURCE_DATE_EPOCH=1700000000"]);
            Some(Image::read(&dest).layers()[1].clone())
        })
        .collect();
    if let [one, two] = &digests[..] {
        assert_eq!(one, two, "the layer of COPY");
    }
}

#[test]
fn the_output_of_local_keeps_modes() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /bin/f\n").with("f", "x");
    context.sh("chmod 750 f");
    let dest = cooper.scratch("out");
    cooper
        .build(&context, &[format!("-o={}", dest.display())])
        .ok();
    let mode = std::fs::metadata(dest.join("bin/f"))
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o750);
}

#[test]
fn add_downloads_with_mode_0600_and_checks_the_digest() {
    let Some(cooper) = Cooper::new() else { return };
    let registry = crate::support::registry::FakeRegistry::honest(cooper.busybox_layout());
    let image = Image::read(cooper.busybox_layout());
    let config = image.manifest["config"]["digest"]
        .as_str()
        .expect("a digest");
    let url = format!("http://{}/v2/any/blobs/{config}", registry.host());
    let wrong = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    let good = Context::new(&format!("FROM scratch\nADD --checksum={config} {url} /f\n"));
    let tar = cooper.scratch("out.tar");
    let output = format!("-otype=tar,dest={}", tar.display());
    cooper.build(&good, &[&output]).ok();
    assert!(tree::read_tar(&tar)["f"].starts_with("f 600 0:0 "));

    let bad = Context::new(&format!("FROM scratch\nADD --checksum={wrong} {url} /f\n"));
    cooper.build(&bad, &[&output]).exits(1).says(wrong);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let Some(cooper) = Cooper::new() else { return };
    assert!(cooper.run(&["--version"]).ok().out().starts_with("cooper "));
    assert!(
        cooper
            .run(&["build", "--help"])
            .ok()
            .out()
            .contains("--build-arg")
    );
    cooper.run(&["biuld", "."]).exits(1).says("build");
    cooper
        .run(&["build", "--taget=x", "."])
        .exits(125)
        .says("--target");
}

#[test]
fn a_terminal_gets_a_live_view_and_the_failure_in_full() {
    if need::tool("script").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo to the end; sleep 0.5; exit 5\n");
    let line = format!(
        "{} --root {} build {} {}",
        env!("CARGO_BIN_EXE_cooper"),
        cooper.root().display(),
        cooper.busybox_context(),
        context.path().display()
    );
    let mut command = cooper.bare_command("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm");
    let outcome = run(command).exits(1);
    let text = outcome.out();
    for part in ["\x1b[", "to the end", "Dockerfile:2"] {
        assert!(text.contains(part), "{part:?} in {outcome}");
    }
}
