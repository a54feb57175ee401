//! Caches that are missing, damaged, somebody else's, or out of reach.

use std::path::Path;

use serde_json::json;

use super::{NOTHING, machines, three_readers};
use crate::support::peers::{DockerRegistry, free_port};
use crate::support::registry::{Access, FakeRegistry, Lie};
use crate::support::{Cooper, layout};

#[test]
fn a_cache_that_cannot_be_read_is_warned_of_and_the_build_goes_on() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    let honest = FakeRegistry::honest(cooper.busybox_layout());
    let closed = FakeRegistry::start(
        cooper.busybox_layout(),
        Access::Basic("someone:else".to_owned()),
        Lie::None,
    );
    let broken = cooper.scratch("broken");
    std::fs::create_dir(&broken).expect("mkdir");
    std::fs::write(broken.join("index.json"), "{").expect("write");
    let busybox = cooper.busybox_layout().display();
    for (from, said) in [
        (format!("{}/x:missing", honest.host()), "404"),
        (format!("{}/x:1", closed.host()), "cooper login"),
        (format!("127.0.0.1:{}/x:1", free_port()), "refused"),
        (
            format!("{}/x:1", honest.host()),
            "is an image without a cache in it",
        ),
        (
            "type=local,src=nowhere".to_owned(),
            "cannot read nowhere/index.json",
        ),
        (
            format!("type=local,src={}", broken.display()),
            "is no cache",
        ),
        (
            format!("type=local,src={busybox},tag=other"),
            "has no cache \"other\"",
        ),
    ] {
        let args = [
            "-otype=cacheonly".to_owned(),
            format!("--cache-from={from}"),
        ];
        let outcome = cooper.build(&context, &args).ok();
        let warned = format!("{} is not used: ", named(&from));
        let lines: Vec<_> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains(&warned))
            .collect();
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "{from}: {outcome}"
        );
    }
}

/// Returns what a cache is called in messages.
fn named(from: &str) -> String {
    match from.strip_prefix("type=local,src=") {
        Some(dir) if !dir.contains(",tag=") => format!("{dir}:latest"),
        Some(dir) => dir.replace(",tag=", ":"),
        None => from.to_owned(),
    }
}

#[test]
fn a_cache_of_another_builder_is_told_from_damage() {
    let Some(cooper) = Cooper::new() else { return };
    let dir = cooper.scratch("theirs");
    let layer = b"a layer".as_slice();
    let blob = |bytes: &[u8]| {
        let digest = cooper_oci::Digest::sha256(bytes).to_string();
        let path = layout::blob(&dir, &digest);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
        std::fs::write(path, bytes).expect("write");
        digest
    };
    // As moby/buildkit's cache/remotecache/v1 describes it.
    let config = json!({
        "layers": [{
            "blob": blob(layer),
            "parent": -1,
            "annotations": {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "diffID": cooper_oci::Digest::sha256("tar").to_string(),
                "size": layer.len(),
                "createdAt": "2024-05-01T10:00:00.123456789Z",
            },
        }],
        "records": [
            { "digest": cooper_oci::Digest::sha256("source").to_string() },
            {
                "layers": [{ "layer": 0, "createdAt": "2024-05-01T10:00:00Z" }],
                "digest": cooper_oci::Digest::sha256("exec").to_string(),
                "inputs": [[{ "link": 0, "selector": "/etc" }]],
            },
        ],
    })
    .to_string();
    let digest = blob(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.buildkit.cacheconfig.v0",
            "digest": digest,
            "size": config.len(),
        },
        "layers": [],
    })
    .to_string();
    let top = blob(manifest.as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": top,
        "size": manifest.len(),
        "annotations": { "org.opencontainers.image.ref.name": "latest" },
    }]});
    std::fs::write(dir.join("index.json"), index.to_string()).expect("write");
    let from = format!("--cache-from=type=local,src={}", dir.display());
    cooper
        .build(&three_readers(), &["-otype=cacheonly", &from])
        .ok()
        .says("was written by another builder");
}

/// Changes one byte in the middle of each layer of a cache.
fn spoil_layers(dir: &Path) {
    for digest in layer_digests(dir) {
        let path = layout::blob(dir, &digest);
        let mut bytes = std::fs::read(&path).expect("read");
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(path, bytes).expect("write");
    }
}

#[test]
fn a_damaged_or_missing_layer_is_made_anew() {
    for missing in [false, true] {
        let Some((here, there)) = machines() else {
            return;
        };
        let context = three_readers();
        let dir = here.scratch("cache");
        let to = format!("--cache-to=type=local,dest={},mode=max", dir.display());
        let from = format!("--cache-from=type=local,src={}", dir.display());
        here.build(&context, &["-otype=cacheonly", &to]).ok();
        if missing {
            for layer in layer_digests(&dir) {
                std::fs::remove_file(layout::blob(&dir, &layer)).expect("remove");
            }
        } else {
            spoil_layers(&dir);
        }
        let second = there.steps(&context, &["-t=a", &from]).ok();
        assert_eq!(second.executed().len(), 7, "{}", second.outcome);
        let said = there.build(&context, &["-t=b", "--no-cache", &from]).ok();
        assert!(!said.stderr.contains("is not used any further"));
        there
            .run(&["run", "--rm", "a", "cat", "/all"])
            .ok()
            .prints("a1b1");
        there.run(&["cache", "fsck"]).ok();
    }
}

fn layer_digests(dir: &Path) -> Vec<String> {
    let manifest = layout::Image::manifest_of(dir);
    let layers = manifest["layers"].as_array().expect("layers").clone();
    let digest = |layer: &serde_json::Value| layer["digest"].as_str().expect("digest").to_owned();
    layers.iter().map(digest).collect()
}

#[test]
fn a_good_cache_serves_beside_a_bad_one() {
    let Some((here, there)) = machines() else {
        return;
    };
    let context = three_readers();
    let (good, bad) = (here.scratch("good"), here.scratch("bad"));
    let to = |dir: &Path| format!("--cache-to=type=local,dest={},mode=max", dir.display());
    let from = |dir: &Path| format!("--cache-from=type=local,src={}", dir.display());
    here.build(&context, &["-otype=cacheonly", &to(&good), &to(&bad)])
        .ok();
    spoil_layers(&bad);
    let args = [
        "-t=a",
        "--cache-from=type=local,src=nowhere",
        &from(&bad),
        &from(&good),
    ];
    let second = there.steps(&context, &args).ok();
    assert_eq!(second.executed(), NOTHING, "{}", second.outcome);
    there
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b1");
}

#[test]
fn a_cache_that_cannot_be_written_fails_the_build_unless_that_is_no_error() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    let nobody = format!("type=registry,ref=127.0.0.1:{}/x:1", free_port());
    let file = cooper.scratch("file");
    std::fs::write(&file, "").expect("write");
    let in_file = format!("type=local,dest={}/x", file.display());
    for to in [nobody, in_file] {
        let to = format!("--cache-to={to}");
        let failed = cooper.build(&context, &["-t=a", &to]).exits(1);
        failed
            .says("cannot write the cache to")
            .says("ignore-error=true");
        cooper
            .run(&["run", "--rm", "a", "cat", "/all"])
            .ok()
            .prints("a1b1");
        let to = format!("{to},ignore-error=true");
        let done = cooper.build(&context, &["-t=a", &to]).ok();
        done.says("the cache was not written to");
    }
}

#[test]
fn a_missing_cache_is_written_by_the_same_build() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let context = three_readers();
    let cache = format!("{}/team/cache", registry.host());
    let args = [
        "-otype=cacheonly".to_owned(),
        format!("--cache-from={cache}"),
        format!("--cache-to=type=registry,ref={cache},mode=max"),
    ];
    here.build(&context, &args).ok().says("is not used");
    let second = there.steps(&context, &args).ok();
    assert_eq!(second.executed(), NOTHING);
}
