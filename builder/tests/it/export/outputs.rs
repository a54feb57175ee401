//! Parameters of outputs.

use crate::support::layout::{self, Image};
use crate::support::process::run;
use crate::support::{Context, Cooper, need};

fn context() -> Context {
    Context::new("FROM busybox\nRUN seq 100000 > /numbers\nCOPY f /f\n").with("f", "content")
}

#[test]
fn one_build_has_several_outputs_with_the_same_layers() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = |name: &str| cooper.scratch(name).display().to_string();
    let args = [
        format!("-otype=oci,tar=false,dest={}", dir("gzip")),
        format!("-otype=oci,tar=false,dest={},compression=zstd", dir("zstd")),
        format!("-otype=docker,tar=false,dest={},name=a:1", dir("docker")),
        format!("-otype=local,dest={}", dir("local")),
        "-otype=image,name=kept:1".to_owned(),
    ];
    cooper.build(&context(), &args).ok();
    let read = |name: &str| Image::read(&cooper.scratch(name));
    let (gzip, zstd, docker) = (read("gzip"), read("zstd"), read("docker"));
    assert_eq!(gzip.config, zstd.config);
    assert_eq!(gzip.layers(), docker.layers());
    let types = |image: &Image| image.manifest["layers"][1]["mediaType"].clone();
    assert_eq!(types(&zstd), "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(types(&gzip), "application/vnd.oci.image.layer.v1.tar+gzip");
    let docker_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert_eq!(types(&docker), docker_type);
    assert_eq!(
        std::fs::read(cooper.scratch("local/f")).expect("read"),
        b"content"
    );
    cooper
        .run(&["run", "--rm", "kept:1", "cat", "/f"])
        .ok()
        .prints("content");
}

#[test]
fn nothing_but_the_archive_goes_to_stdout() {
    let Some(cooper) = Cooper::new() else { return };
    for output in ["-o-", "-otype=oci,dest=-", "-otype=docker,dest=-"] {
        let built = cooper.build(&context(), &["-q", output]).ok();
        assert_eq!(built.stdout.len() % 512, 0, "{output}");
        assert!(built.stdout.ends_with(&[0; 1024]), "{output}");
        assert!(built.stderr.starts_with("sha256:"), "{}", built.stderr);
    }
    let built = cooper.build(&context(), &["-q", "-otype=cacheonly"]).ok();
    assert!(built.out().starts_with("sha256:") && built.stderr.is_empty());
}

#[test]
fn a_directory_is_filled_or_made_equal() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY d /d\nCOPY f /now-a-file\n")
        .with("d/in", "1")
        .with("f", "2");
    let dest = cooper.scratch("dest");
    let outside = cooper.scratch("outside");
    std::fs::create_dir_all(dest.join("d/old/deep")).expect("mkdir");
    std::fs::create_dir_all(&outside).expect("mkdir");
    std::fs::write(outside.join("kept"), "").expect("write");
    std::fs::write(dest.join("d/mine"), "").expect("write");
    std::os::unix::fs::symlink(&outside, dest.join("link")).expect("link");
    let build = |mode: &str| {
        let output = format!("-otype=local,dest={}{mode}", dest.display());
        cooper.build(&context, &[output]).ok();
    };
    build("");
    assert!(dest.join("d/mine").exists() && dest.join("d/in").exists());
    std::fs::remove_file(dest.join("now-a-file")).expect("remove");
    std::fs::create_dir(dest.join("now-a-file")).expect("mkdir");
    build(",mode=delete");
    let mut left: Vec<_> = std::fs::read_dir(dest.join("d")).expect("list").collect();
    let only = left.pop().expect("one").expect("entry").file_name();
    assert!(left.is_empty() && only == "in");
    assert!(!dest.join("link").exists() && outside.join("kept").exists());
    assert_eq!(std::fs::read(dest.join("now-a-file")).expect("read"), b"2");
}

#[test]
fn an_image_need_not_be_stored() {
    let Some(cooper) = Cooper::new() else { return };
    cooper
        .build(&context(), &["-otype=image,name=x,store=false"])
        .ok();
    assert_eq!(cooper.run(&["images", "-q"]).ok().out(), "");
    let dest = cooper.scratch("dated");
    let output = format!(
        "-otype=oci,tar=false,dest={},source-date-epoch=7",
        dest.display()
    );
    cooper.build(&context(), &[output]).ok();
    assert_eq!(Image::read(&dest).config["created"], "1970-01-01T00:00:07Z");
}

#[test]
fn layers_with_other_file_times_are_compressed_as_each_output_says() {
    let Some(cooper) = Cooper::new() else { return };
    let build = |name: &str, compression: &str| {
        let dest = cooper.scratch(name);
        let output = format!(
            "-otype=oci,tar=false,dest={},compression={compression},rewrite-timestamp=true",
            dest.display()
        );
        let args = ["--source-date-epoch=1700000000", &output];
        cooper.build(&context(), &args).ok();
        Image::read(&dest)
    };
    let kinds = |image: &Image| {
        let layers = image.manifest["layers"].as_array().expect("layers").iter();
        let kind = |layer: &serde_json::Value| {
            let name = layer["mediaType"].as_str().expect("a type");
            name.rsplit('.').next().expect("a word").to_owned()
        };
        layers.map(kind).collect::<Vec<_>>()
    };
    // The base comes as it came.
    let gzip = build("gzip", "gzip");
    assert_eq!(kinds(&gzip), ["tar+gzip", "tar+gzip", "tar+gzip"]);
    let zstd = build("zstd", "zstd");
    assert_eq!(kinds(&zstd), ["tar+gzip", "tar+zstd", "tar+zstd"]);
    let plain = build("plain", "uncompressed");
    assert_eq!(kinds(&plain), ["tar+gzip", "tar", "tar"]);
    assert_eq!(build("again", "gzip").manifest, gzip.manifest);
    for image in [&zstd, &plain] {
        assert_eq!(image.config, gzip.config);
    }
    // Two in one build, and one that the store kept.
    let both = ["zstd", "gzip"].map(|kind| {
        format!(
            "-otype=oci,tar=false,dest={},compression={kind},rewrite-timestamp=true",
            cooper.scratch(&format!("both-{kind}")).display()
        )
    });
    let args = ["--source-date-epoch=1600000000", &both[0], &both[1]];
    cooper.build(&context(), &args).ok();
    let read = |name: &str| kinds(&Image::read(&cooper.scratch(name)));
    assert_eq!(read("both-zstd"), ["tar+gzip", "tar+zstd", "tar+zstd"]);
    assert_eq!(read("both-gzip"), ["tar+gzip", "tar+gzip", "tar+gzip"]);
}

/// The store keeps packed layers as a layout has them.
#[test]
fn a_layout_of_packed_layers_is_copied_by_the_kernel() {
    if need::tool("strace").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nRUN dd if=/dev/urandom of=/random bs=1024 count=3000 2>/dev/null\n",
    );
    let output = |name: &str| {
        let dest = cooper.scratch(name);
        format!("-otype=oci,tar=false,dest={}", dest.display())
    };
    // The image, too, so that a full disk takes no layer of it away between the two.
    let kept = "-otype=image,name=kept".to_owned();
    cooper.build(&context, &[output("first"), kept]).ok();
    let first = Image::read(&cooper.scratch("first"));

    let trace = cooper.scratch("trace");
    let build = cooper.build_command(context.path(), &[output("second")]);
    let mut command = cooper.bare_command("strace");
    let calls = "trace=read,pread64,readv,mmap,copy_file_range,sendfile,splice,write,ioctl";
    command.args(["-f", "-y", "-q", "-s", "0", "-e", calls, "-o"]);
    command.arg(&trace).arg(build.get_program());
    command.args(build.get_args());
    for (name, value) in build.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    run(command).ok();
    assert_eq!(
        Image::read(&cooper.scratch("second")).manifest,
        first.manifest
    );
    let trace = std::fs::read_to_string(trace).expect("read");
    for digest in first.layers() {
        let source = layout::blob(&cooper.root().join("x"), &digest);
        let hex = source
            .file_name()
            .expect("digits")
            .to_string_lossy()
            .into_owned();
        let touching: Vec<&str> = trace.lines().filter(|line| line.contains(&hex)).collect();
        assert!(!touching.is_empty(), "{digest} went nowhere");
        for line in touching {
            assert!(line.contains("copy_file_range("), "{line}");
        }
    }
}

#[test]
fn plain_layers_go_into_archives_past_the_store() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nCOPY large small /d/\nRUN ln /d/small /d/hard\n")
        .with("large", "0123456789".repeat(300_001))
        .with("small", "s");
    let file = cooper.scratch("file.tar");
    let dir = cooper.scratch("dir");
    let outputs = [
        format!(
            "-otype=oci,compression=uncompressed,dest={}",
            file.display()
        ),
        format!(
            "-otype=oci,compression=uncompressed,tar=false,dest={}",
            dir.display()
        ),
        "-otype=image,name=kept:1".to_owned(),
    ];
    cooper.build(&context, &outputs).ok();
    let image = Image::read(&dir);
    let plain = &image.layers()[1..];
    let diff_ids: Vec<_> = image.config["rootfs"]["diff_ids"]
        .as_array()
        .expect("diff ids")[1..]
        .iter()
        .map(|id| id.as_str().expect("text"))
        .collect();
    assert_eq!(plain, diff_ids);
    for digest in plain {
        layout::read_blob(&dir, digest);
        assert!(!layout::blob(cooper.root(), digest).exists(), "{digest}");
    }
    // Saved by another command, loaded elsewhere, and saved again from the blobs that came: the
    // bytes are the same.
    let save = |cooper: &Cooper, name: &str| {
        let file = cooper.scratch(name);
        let to = file.display().to_string();
        let args = ["save", "--compression=uncompressed", "-o", &to, "kept:1"];
        cooper.run(&args).ok();
        std::fs::read(&file).expect("read")
    };
    let streamed = save(&cooper, "streamed.tar");
    let other = Cooper::new().expect("as before");
    let path = cooper.scratch("streamed.tar").display().to_string();
    other.run(&["load", "-i", &path]).ok();
    for digest in plain {
        assert!(layout::blob(other.root(), digest).exists(), "{digest}");
    }
    assert!(save(&other, "stored.tar") == streamed, "other bytes");
    // What changed in the store is no layer of any archive.
    let layers = std::fs::read_dir(cooper.root().join("layers/blake3")).expect("layers");
    for layer in layers {
        let large = layer.expect("a layer").path().join("fs/d/large");
        if large.exists() {
            let mut bytes = std::fs::read(&large).expect("read");
            bytes[2_000_000] ^= 1;
            std::fs::write(&large, bytes).expect("write");
        }
    }
    std::fs::remove_file(&path).expect("remove");
    let args = ["save", "--compression=uncompressed", "-o", &path, "kept:1"];
    let outcome = cooper.run(&args);
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("content differs from its index"),
        "{}",
        outcome.stderr
    );
    assert!(!cooper.scratch("streamed.tar").exists());
}
