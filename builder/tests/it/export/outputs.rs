//! Parameters of outputs.

use crate::support::layout::Image;
use crate::support::{Context, Cooper};

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
