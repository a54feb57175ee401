//! `type=local`: what a second machine finds in a directory.

use serde_json::Value;

use super::{BELOW_B, NOTHING, machines, three_readers};
use crate::support::layout::{self, Image};
use crate::support::{Context, Cooper, need};

/// Returns the options that write and read a cache in a directory of `cooper`'s.
fn caches(cooper: &Cooper) -> (String, String) {
    let dir = cooper.scratch("cache").display().to_string();
    (
        format!("--cache-to=type=local,dest={dir},mode=max"),
        format!("--cache-from=type=local,src={dir}"),
    )
}

#[test]
fn an_empty_machine_without_a_network_executes_nothing() {
    if need::root().is_none() {
        return;
    }
    let Some((here, there)) = machines() else {
        return;
    };
    let context = three_readers();
    let (to, from) = caches(&here);
    here.steps(&context, &["-t=a", &to]).ok();
    let apart = |args: &[&str]| there.in_network(&["create"], || there.steps(&context, args).ok());
    let second = apart(&["-t=a", &from]);
    assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b1");
    assert_eq!(
        apart(&["-t=a"]).executed(),
        NOTHING,
        "the cache is not needed twice"
    );

    context.write("b", "b2");
    assert_eq!(apart(&["-t=a", &from]).executed(), BELOW_B);
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
    there.run(&["cache", "fsck"]).ok();
}

#[test]
fn a_change_on_an_empty_machine_executes_only_what_is_below_it() {
    let Some((here, there)) = machines() else {
        return;
    };
    let context = three_readers();
    let (to, from) = caches(&here);
    here.steps(&context, &["-otype=cacheonly", &to]).ok();
    context.write("b", "b2");
    let second = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(second.executed(), BELOW_B);
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
}

#[test]
fn a_parent_rebuilt_to_the_same_content_stops_the_rebuild_on_another_machine() {
    let Some((here, there)) = machines() else {
        return;
    };
    let context = Context::new(
        "FROM busybox AS count\nCOPY in /in\nRUN wc -l </in >/count\n\
         FROM busybox\nCOPY --from=count /count /\nRUN echo expensive >/f\n",
    )
    .with("in", "x\n");
    let (to, from) = caches(&here);
    here.steps(&context, &["-otype=cacheonly", &to]).ok();
    context.write("in", "y\n");
    let second = there.steps(&context, &["-t=a", &from]).ok();
    assert_eq!(second.executed(), ["COPY in /in", "RUN wc -l </in >/count"]);
    there
        .run(&["run", "--rm", "a", "cat", "/f"])
        .ok()
        .prints("expensive\n");
}

#[test]
fn the_image_of_a_machine_that_executed_nothing_is_the_same_byte_for_byte() {
    let Some((here, there)) = machines() else {
        return;
    };
    let context = three_readers();
    let (to, from) = caches(&here);
    let first = Image::read(&here.build_layout(&context, &[to])).manifest_digest;
    let second = Image::read(&there.build_layout(&context, &[from])).manifest_digest;
    assert_eq!(second, first);
}

#[test]
fn min_has_what_is_part_of_the_image_and_max_all() {
    let Some(here) = Cooper::new() else { return };
    let context = three_readers();
    let dir = here.scratch("cache").display().to_string();
    let from = |tag: &str| format!("--cache-from=type=local,src={dir},tag={tag}");
    for mode in ["min", "max"] {
        let to = format!("--cache-to=type=local,dest={dir},tag={mode},mode={mode}");
        here.steps(&context, &["-otype=cacheonly", &to]).ok();
    }
    for (mode, executed) in [("min", 7), ("max", 0)] {
        let Some(there) = Cooper::new() else { return };
        let final_stage = there.steps(&context, &["-t=a", &from(mode)]).ok();
        assert_eq!(final_stage.executed(), NOTHING, "{mode}");
        let Some(there) = Cooper::new() else { return };
        let stage = there
            .steps(&context, &["-t=a", "--target=two", &from(mode)])
            .ok();
        assert_eq!(stage.executed().len(), executed.min(2), "{mode}");
    }
}

#[test]
fn blobs_are_kept_once_and_reset_removes_what_is_not_named() {
    let Some(here) = Cooper::new() else { return };
    let dir = here.scratch("cache");
    let blobs = || {
        let found = std::fs::read_dir(dir.join("blobs/sha256")).expect("blobs");
        found.count()
    };
    let export = |context: &Context, more: &str| {
        let to = format!(
            "--cache-to=type=local,dest={},mode=max{more}",
            dir.display()
        );
        here.build(context, &["-otype=cacheonly", &to]).ok()
    };
    let context = three_readers();
    let first = export(&context, "");
    first.says("sent 7 blobs, 0 were there");
    let alone = blobs();
    export(&context, "").says("sent 0 blobs, 7 were there");
    assert_eq!(blobs(), alone);
    export(&context, ",tag=other").says("sent 0 blobs, 7 were there");
    let tags = layout::index(&dir)["manifests"].as_array().map(Vec::len);
    assert_eq!((blobs(), tags), (alone, Some(2)));
    context.write("a", "a2");
    export(&context, "").says("sent 4 blobs, 3 were there");
    export(&context, ",reset=true").says("sent 0 blobs, 7 were there");
    let tags = layout::index(&dir)["manifests"].as_array().map(Vec::len);
    assert_eq!((blobs(), tags), (alone, Some(1)));
}

#[test]
fn layers_are_packed_as_the_image_was_unless_another_way_is_asked_for() {
    let Some(here) = Cooper::new() else { return };
    let context = three_readers();
    let dir = here.scratch("cache");
    let image = format!(
        "-otype=oci,dest={},compression=zstd",
        here.scratch("a.tar").display()
    );
    let types = |more: &str| {
        let to = format!("--cache-to=type=local,dest={}{more}", dir.display());
        here.build(&context, &[image.as_str(), &to]).ok();
        let manifest = Image::manifest_of(&dir);
        let layers = manifest["layers"].as_array().expect("layers").clone();
        let mut types: Vec<_> = layers
            .iter()
            .map(|layer| layer["mediaType"].to_string())
            .collect();
        types.dedup();
        types
    };
    let of = |name: &str| format!("\"application/vnd.oci.image.layer.v1.tar+{name}\"");
    assert_eq!(types(""), [of("zstd")]);
    assert_eq!(
        types(",compression=gzip,force-compression=true"),
        [of("gzip")]
    );
}

#[test]
fn the_manifest_is_buildkits_in_each_of_its_forms() {
    let Some(here) = Cooper::new() else { return };
    let context = three_readers();
    for (more, media_type, list) in [
        ("", "application/vnd.oci.image.manifest.v1+json", "layers"),
        (
            ",image-manifest=false",
            "application/vnd.oci.image.index.v1+json",
            "manifests",
        ),
        (
            ",oci-mediatypes=false",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "manifests",
        ),
    ] {
        let Some(there) = Cooper::new() else { return };
        let dir = there.scratch("cache");
        let to = format!("--cache-to=type=local,dest={}{more}", dir.display());
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        let manifest = Image::manifest_of(&dir);
        assert_eq!(manifest["mediaType"], media_type);
        let config = match list {
            "layers" => manifest["config"].clone(),
            _ => manifest[list]
                .as_array()
                .expect("a list")
                .last()
                .expect("one")
                .clone(),
        };
        assert_eq!(
            config["mediaType"],
            "application/vnd.buildkit.cacheconfig.v0"
        );
        let digest = config["digest"].as_str().expect("a digest");
        let config: Value = serde_json::from_slice(&layout::read_blob(&dir, digest)).expect("JSON");
        assert!(
            config["records"][0]["digest"]
                .as_str()
                .expect("a key")
                .starts_with("blake3:")
        );
        let from = format!("--cache-from=type=local,src={}", dir.display());
        let second = there.steps(&context, &["-otype=cacheonly", &from]).ok();
        assert_eq!(second.executed(), NOTHING, "{more}");
    }
}

#[test]
fn a_cache_gets_no_result_with_a_secret_in_it_and_no_value_of_one() {
    let Some((here, there)) = machines() else {
        return;
    };
    let context = Context::new(
        "FROM busybox AS keys\nARG TOKEN\n\
         RUN --mount=type=secret,id=s cat /run/secrets/s >/leak; echo $TOKEN >/dev/null\n\
         FROM busybox\nCOPY --from=keys /etc/group /g\n",
    );
    let secret = here.scratch("secret");
    std::fs::write(&secret, "a-very-secret-value").expect("write");
    let (to, from) = caches(&here);
    let id = format!("--secret=id=s,src={}", secret.display());
    let args = [
        "-otype=cacheonly",
        "--build-arg=TOKEN=another-secret-value",
        &id,
    ];
    let args: Vec<&str> = args.into_iter().collect();
    let first = here
        .build(&context, &[&args[..], &[to.as_str()]].concat())
        .ok();
    first.says("the secret s is in it");
    let script = format!(
        "! zcat -f {}/blobs/sha256/* | grep -qE 'very-secret|another-secret'",
        here.scratch("cache").display()
    );
    crate::support::process::tool("sh", &["-c", &script]);
    let second = there
        .steps(&context, &[&args[..], &[from.as_str()]].concat())
        .ok();
    assert_eq!(
        second.executed(),
        NOTHING,
        "what is below it is known by its definition"
    );
}
