//! Images in the store and lists of images: importing, filtering, pruning, indexes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::http::{Response, Server};
use crate::support::peers::{DockerRegistry, skopeo};
use crate::support::{Context, Cooper, NONE, layout, need};

/// An archive with one file.
fn archive(cooper: &Cooper) -> PathBuf {
    let dir = cooper.scratch("tree");
    std::fs::create_dir_all(dir.join("etc")).expect("mkdir");
    std::fs::write(dir.join("etc/motd"), "hello\n").expect("write");
    let file = cooper.scratch("tree.tar.gz");
    let mut tar = cooper.bare_command("tar");
    tar.arg("-czf").arg(&file).arg("-C").arg(&dir).arg("etc");
    crate::support::process::run(tar).ok();
    file
}

fn files_of(cooper: &Cooper, image: &str) -> String {
    let dest = cooper.scratch("imported");
    let _ = std::fs::remove_dir_all(&dest);
    let output = format!("-otype=local,dest={}", dest.display());
    cooper
        .build(&Context::new(&format!("FROM {image}\n")), &[output])
        .ok();
    std::fs::read_to_string(dest.join("etc/motd")).expect("the file")
}

#[test]
fn archives_of_files_become_images() {
    let Some(cooper) = Cooper::new() else { return };
    let file = archive(&cooper);
    let path = file.to_str().expect("text");
    let options = ["-c", "CMD [\"/bin/app\"]", "-c=ENV A=1", "-m", "by hand"];
    let args = [
        &["import"][..],
        &options,
        &["--platform=linux/s390x", path, "files:1"],
    ]
    .concat();
    let id = cooper.run(&args).ok().out();
    assert!(id.starts_with("sha256:"), "{id}");
    let format = "{{.Id}} {{.Os}}/{{.Architecture}} {{json .Config.Cmd}} {{.Config.Env}} {{len .RootFS.Layers}}";
    let shown = cooper.run(&["inspect", "-f", format, "files:1"]).ok();
    shown.prints(&format!(
        "{} linux/s390x [\"/bin/app\"] [A=1] 1\n",
        id.trim()
    ));
    let comment = cooper
        .run(&["history", "--format={{.Comment}}", "files:1"])
        .ok();
    comment.prints("by hand\n");

    let bytes = std::fs::read(&file).expect("the archive");
    cooper
        .start(&["import", "-", "piped"], &bytes)
        .finish()
        .ok();
    assert_eq!(files_of(&cooper, "piped"), "hello\n");
    let server = Server::start(move |_| Response::ok(bytes.clone()));
    cooper
        .run(&["import", &server.url("tree.tar.gz"), "fetched"])
        .ok();
    assert_eq!(files_of(&cooper, "fetched"), "hello\n");

    for (args, input, expected) in [
        (
            &["import", "-"][..],
            &b"no archive at all"[..],
            "an image is made of a tar",
        ),
        (&["import", "-"], b"", "it is empty"),
        (&["import", "/nonexistent"], b"", "cannot read /nonexistent"),
        (&["import", path, "Not/Valid"], b"", "Not/Valid"),
        (&["import", "-c=RUN x", path], b"", "RUN x"),
    ] {
        cooper.start(args, input).finish().exits(1).says(expected);
    }
}

#[test]
fn images_are_filtered_and_pruned() {
    let Some(cooper) = Cooper::new() else { return };
    let build = |tag: &str, label: &str| {
        let context = Context::new(&format!("FROM busybox\nLABEL stage={label}\n"));
        cooper.build(&context, &["-t", tag]).ok();
    };
    build("app:1", "test");
    build("app:2", "live");
    build("team/web:1", "test");
    build("gone:1", "old");
    build("gone:1", "new");
    let list = |args: &[&str]| -> Vec<String> {
        let format = "--format={{.Repository}}:{{.Tag}}";
        let listed = cooper.run(&[&["images", format], args].concat()).ok().out();
        let mut lines: Vec<_> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let dangling = ["<none>:<none>"];
    assert_eq!(list(&["-f", "dangling=true"]), dangling);
    assert_eq!(
        list(&["--filter=label=stage=test"]),
        ["app:1", "team/web:1"]
    );
    assert_eq!(
        list(&["-f=label=stage=test", "-f=reference=app*"]),
        ["app:1"]
    );
    assert_eq!(list(&["-f", "reference=*/*"]), ["team/web:1"]);
    assert_eq!(list(&["a*"]), ["app:1", "app:2"]);
    assert_eq!(list(&["app:2"]), ["app:2"]);
    let wrong = cooper.run(&["images", "-f", "lable=x"]).exits(125);
    wrong.says("did you mean label?");

    let pruned = cooper.run(&["image", "prune", "-f"]).ok().out();
    assert!(
        pruned.starts_with("Deleted Images:\ndeleted: sha256:"),
        "{pruned}"
    );
    assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(list(&["-f", "dangling=true"]), [""; 0]);
    let asked = cooper
        .start(&["image", "prune", "-a"], b"n\n")
        .finish()
        .ok();
    assert_eq!(asked.out(), "");
    let filter = "--filter=label=stage=test";
    let all = cooper.run(&["image", "prune", "-a", "-f", filter]).ok();
    assert!(all.out().contains("untagged: team/web:1\n"), "{all}");
    assert_eq!(list(NONE), ["app:2", "gone:1"]);
}

/// Copies of busybox that say they are for other platforms, in a registry.
fn platforms(cooper: &Cooper, registry: &DockerRegistry) {
    for architecture in ["amd64", "arm64"] {
        let dir: PathBuf = cooper.scratch(architecture);
        layout::with_config(cooper.busybox_layout(), Path::new(&dir), |config| {
            config["architecture"] = architecture.into();
        });
        let source = format!("oci:{}", dir.display());
        let target = format!("docker://{}/parts/{architecture}:1", registry.host());
        skopeo(
            cooper,
            &["copy", "-q", "--dest-tls-verify=false", &source, &target],
        )
        .ok();
    }
}

#[test]
fn lists_are_made_of_what_registries_have() {
    if need::tool("skopeo").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let Some(other) = Cooper::new() else { return };
    let Some(elsewhere) = DockerRegistry::start(&other) else {
        return;
    };
    platforms(&cooper, &registry);
    let part = |architecture: &str| format!("{}/parts/{architecture}:1", registry.host());
    // The second registry has none of the blobs: they are copied.
    for target in [&registry, &elsewhere] {
        let list = format!("{}/whole:1", target.host());
        let create = ["manifest", "create", &list, &part("amd64")];
        let created = cooper.run(&create).ok();
        created.prints(&format!("Created manifest list {list}\n"));
        cooper.run(&create).exits(1).says("--amend");
        cooper
            .run(&["manifest", "create", "-a", &list, &part("arm64")])
            .ok();
        let annotate = [
            "manifest",
            "annotate",
            "--variant=v8",
            "--os-features=a,b",
            &list,
            &part("arm64"),
        ];
        cooper.run(&annotate).ok();
        let missing = ["manifest", "annotate", "--os=linux", &list, "nobody/knows"];
        cooper
            .run(&missing)
            .exits(1)
            .says("there is no image nobody/knows");
        let shown = cooper.run(&["manifest", "inspect", &list]).ok().out();
        let index: Value = serde_json::from_str(&shown).expect("JSON");
        let platform = |at: usize| index["manifests"][at]["platform"].clone();
        assert_eq!(platform(0)["architecture"], "amd64");
        assert_eq!(
            (&platform(1)["architecture"], &platform(1)["variant"]),
            (&"arm64".into(), &"v8".into())
        );
        let digest = cooper
            .run(&["manifest", "push", "--purge", &list])
            .ok()
            .out();
        let pushed = format!("docker://{list}");
        let raw = skopeo(
            &cooper,
            &["inspect", "--raw", "--tls-verify=false", &pushed],
        )
        .ok();
        assert_eq!(
            cooper_oci::Digest::sha256(&raw.stdout).to_string(),
            digest.trim()
        );
        assert_eq!(
            serde_json::from_slice::<Value>(&raw.stdout).expect("JSON"),
            index
        );
        cooper.run(&["pull", "--platform=linux/arm64", &list]).ok();
        let verbose = cooper.run(&["manifest", "inspect", "-v", &list]).ok().out();
        let verbose: Value = serde_json::from_str(&verbose).expect("JSON");
        assert_eq!(verbose[1]["Descriptor"]["platform"]["variant"], "v8");
        assert!(verbose[0]["OCIManifest"]["layers"].is_array(), "{verbose}");
        cooper
            .run(&["manifest", "rm", &list])
            .exits(1)
            .says("there is no list");
    }

    let tools = |args: &[&str]| cooper.run(&[&["buildx", "imagetools"], args].concat());
    let name = format!("{}/tools:1", registry.host());
    tools(&["create", "-t", &name, &part("amd64")]).ok();
    let added = tools(&["create", "--append", "-t", &name, &part("arm64")])
        .ok()
        .out();
    let format = "{{range $on, $image := .Image}}{{$on}}={{$image.Architecture}} {{end}}{{.SBOM}}";
    tools(&["inspect", &name, "--format", format])
        .ok()
        .prints("linux/amd64=amd64 linux/arm64=arm64 map[]\n");
    tools(&["inspect", &name, "--raw", "--format", format]).exits(125);
    let inspected = tools(&["inspect", &name]).ok().out();
    assert!(
        inspected.contains("Platform:  linux/arm64\n"),
        "{inspected}"
    );
    let digest = added
        .trim()
        .rsplit('@')
        .next()
        .expect("a digest")
        .to_owned();
    assert!(inspected.contains(&digest), "{inspected}");
    tools(&["create", &part("amd64")])
        .exits(1)
        .says("give --tag");
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let Some(cooper) = Cooper::new() else { return };
    let file = cooper.scratch("file");
    let load = || cooper.run(&["load", "-i", file.to_str().expect("text")]);
    let text = "password = hunter2\n".repeat(100);
    std::fs::write(&file, &text).expect("write");
    load().exits(1).says("it is no archive: neither a tar");
    // A header whose sum is right, with somebody's text in place of a number.
    let mut header = tar::Header::new_ustar();
    header.set_path("f").expect("a name");
    header.as_mut_bytes()[124..132].copy_from_slice(b"hunter2\0");
    header.set_cksum();
    std::fs::write(&file, [header.as_bytes().as_slice(), &[0; 1024]].concat()).expect("write");
    let outcome = load().exits(1);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}

#[test]
fn archives_are_loaded_out_of_every_compression() {
    let Some(cooper) = Cooper::new() else { return };
    let archive = cooper.scratch("busybox.tar");
    let path = archive.to_str().expect("text");
    let output = format!("-otype=docker,dest={path},name=app:1");
    cooper
        .build(&Context::new("FROM busybox\n"), &[output])
        .ok();
    for (tool, suffix) in [
        ("gzip", "gz"),
        ("bzip2", "bz2"),
        ("xz", "xz"),
        ("zstd", "zst"),
    ] {
        if need::tool(tool).is_none() {
            continue;
        }
        crate::support::process::tool(tool, &["-k", "-q", path]);
        let other = Cooper::new().expect("as before");
        let packed = format!("{path}.{suffix}");
        other
            .run(&["load", "-i", &packed])
            .ok()
            .prints("Loaded image: app:1\n");
        other.run(&["rmi", "--no-prune", "app:1"]).ok();
    }
}

#[test]
fn all_tags_of_a_repository_go_and_come_at_once() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    cooper.load_busybox();
    let name = |tag: &str| format!("{}/some/app{tag}", registry.host());
    for tag in [":1", ":2", ":latest"] {
        cooper.run(&["tag", "busybox", &name(tag)]).ok();
    }
    cooper.run(&["tag", "busybox", &name("-not:1")]).ok();
    let pushed = cooper.run(&["push", "-a", &name("")]).ok().out();
    assert_eq!(pushed.lines().count(), 3, "{pushed}");
    let other = Cooper::new().expect("as before");
    let pull = |args: &[&str]| {
        let mut command = cooper.command();
        command.arg("--root").arg(other.root()).args(args);
        crate::support::process::run(command)
    };
    let pulled = pull(&["pull", "--all-tags", "--disable-content-trust", &name("")]).ok();
    let expected = [":1", ":2", ":latest"].map(|tag| name(tag) + "\n").concat();
    assert_eq!(pulled.out(), expected);
    pull(&["pull", "-a", &name(":1")])
        .exits(1)
        .says("--all-tags means all of a repository");
    pull(&["pull", "--disable-content-trust=false", &name(":1")])
        .exits(1)
        .says("signatures");
    cooper
        .run(&["push", "-a", &name("-none")])
        .exits(1)
        .says("no image here");
}

#[test]
fn an_image_tells_where_its_files_are_and_when_it_was_named() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo 1 > /one\nRUN echo 2 > /two\n");
    cooper.build(&context, &["-q", "-t=where:1"]).ok();
    let show = |format: &str| {
        let shown = cooper.run(&["inspect", "-f", format, "where:1"]).ok();
        shown.out().trim_end().to_owned()
    };
    cooper.run(&["run", "--rm", "where:1", "true"]).ok();
    assert_eq!(show("{{.GraphDriver.Name}}"), "overlayfs");
    let upper = show("{{.GraphDriver.Data.UpperDir}}");
    let two = std::fs::read_to_string(Path::new(&upper).join("two"));
    assert_eq!(two.expect("the file of the highest layer"), "2\n");
    let lowers = show("{{.GraphDriver.Data.LowerDir}}");
    let below = lowers.split(':').next().expect("a layer");
    assert!(Path::new(below).join("one").exists(), "{lowers}");
    assert_eq!(lowers.split(':').count(), 2, "{lowers}");

    let named = show("{{.Metadata.LastTagTime}}");
    cooper.run(&["tag", "where:1", "where:2"]).ok();
    let again = show("{{.Metadata.LastTagTime}}");
    assert!(named.starts_with("20") && again > named, "{named} {again}");
    assert_eq!(show("{{.Parent}}{{.DockerVersion}}"), "");

    let tree = cooper.run(&["images", "--tree"]).ok().out();
    let lines: Vec<_> = tree.lines().collect();
    let header = "IMAGE            ID             DISK USAGE   CONTENT SIZE   USED";
    assert_eq!(lines[0], header);
    let at = lines
        .iter()
        .position(|line| *line == "where:1")
        .expect("a name");
    assert!(lines[at + 1].starts_with("where:2 "), "{tree}");
    assert!(lines[at + 2].starts_with("└─ linux/"), "{tree}");
    assert!(!tree.contains('✔'), "{tree}");
    cooper.run(&["create", "--name=of-it", "where:1"]).ok();
    let used = cooper.run(&["images", "--tree", "where"]).ok().out();
    assert_eq!(used.matches('✔').count(), 2, "{used}");
    cooper
        .run(&["images", "--tree", "-q"])
        .exits(125)
        .says("--quiet");
}

#[test]
fn images_that_nothing_unpacked_are_as_large_as_their_files() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY zeros /\nCOPY more /more\n")
        .with("zeros", vec![0; 5_000_000])
        .with("more", "x".repeat(1000));
    let archive = cooper.scratch("zeros.tar").display().to_string();
    for compression in ["gzip", "zstd"] {
        let output =
            format!("--output=type=oci,compression={compression},dest={archive},name=zeros:1");
        cooper.build(&context, &[&output]).ok();
        let Some(other) = Cooper::new() else { return };
        other.run(&["load", "-i", &archive]).ok();
        let unpacked = std::fs::read_dir(other.root().join("layers/sha256")).expect("layers");
        assert_eq!(unpacked.count(), 0);
        for _ in 0..2 {
            let print = |args: &[&str], text: &str| other.run(args).ok().prints(text);
            print(&["inspect", "-f", "{{.Size}}", "zeros:1"], "5001000\n");
            print(&["images", "--format", "{{.Size}}"], "5MB\n");
            print(
                &["history", "-H=false", "--format", "{{.Size}}", "zeros:1"],
                "1000\n5000000\n",
            );
            print(
                &["system", "df", "--format", "{{.Type}} {{.Size}}"],
                "Images 5MB\nContainers 0B\nLocal Volumes 0B\nBuild Cache 0B\n",
            );
        }
        // Looked into, it has not grown.
        other.run(&["run", "--rm", "zeros:1", "/none"]).exits(127);
        other
            .run(&["inspect", "-f", "{{.Size}}", "zeros:1"])
            .ok()
            .prints("5001000\n");
    }
}
