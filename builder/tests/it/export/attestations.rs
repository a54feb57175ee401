//! What is said of images beside them: who reads it, what is in it, what never is.

use std::path::Path;

use base64::Engine;
use serde_json::Value;

use crate::support::layout::{self, Image};
use crate::support::peers::{DockerRegistry, skopeo};
use crate::support::process::run;
use crate::support::repository::Repositories;
use crate::support::{Context, Cooper, need};

const SLSA: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
const BOTH: [&str; 2] = ["--provenance=mode=max", "--sbom=true"];

fn context() -> Context {
    Context::new(
        "FROM busybox AS tool\nRUN echo made > /made\nFROM busybox\nARG V\nARG API_TOKEN\n\
         COPY --from=tool /made /made\nCOPY status /var/lib/dpkg/status\n",
    )
    .with(
        "status",
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n",
    )
}

/// The entries of an index: images, and what is said of them.
fn entries(index: &Value) -> (Vec<Value>, Vec<Value>) {
    let entries = index["manifests"].as_array().expect("manifests").clone();
    let said = |entry: &Value| entry["platform"]["os"] == "unknown";
    (
        entries
            .iter()
            .filter(|entry| !said(entry))
            .cloned()
            .collect(),
        entries
            .iter()
            .filter(|entry| said(entry))
            .cloned()
            .collect(),
    )
}

fn json(layout: &Path, digest: &Value) -> Value {
    let bytes = layout::read_blob(layout, digest.as_str().expect("a digest"));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Returns the statements of the only image of a layout by their predicates' types.
#[track_caller]
fn statements(layout: &Path) -> Vec<(String, Value)> {
    let top = layout::index(layout);
    let index = json(layout, &top["manifests"][0]["digest"]);
    let (images, said) = entries(&index);
    assert_eq!((images.len(), said.len()), (1, 1), "{index:#}");
    let annotations = &said[0]["annotations"];
    assert_eq!(
        annotations["vnd.docker.reference.type"],
        "attestation-manifest"
    );
    assert_eq!(
        annotations["vnd.docker.reference.digest"],
        images[0]["digest"]
    );
    let manifest = json(layout, &said[0]["digest"]);
    let config = json(layout, &manifest["config"]["digest"]);
    let layers = manifest["layers"].as_array().expect("layers");
    let mut statements = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        assert_eq!(config["rootfs"]["diff_ids"][number], layer["digest"]);
        let statement = json(layout, &layer["digest"]);
        let kind = &statement["predicateType"];
        assert_eq!(*kind, layer["annotations"]["in-toto.io/predicate-type"]);
        let digest = format!(
            "sha256:{}",
            statement["subject"][0]["digest"]["sha256"]
                .as_str()
                .expect("digits")
        );
        assert_eq!(images[0]["digest"], digest);
        let kind = kind.as_str().expect("a type").to_owned();
        statements.push((kind, statement["predicate"].clone()));
    }
    statements
}

/// Returns the configuration of the only image of a layout with statements.
fn config(layout: &Path) -> Value {
    let index = json(layout, &layout::index(layout)["manifests"][0]["digest"]);
    let manifest = json(layout, &entries(&index).0[0]["digest"]);
    json(layout, &manifest["config"]["digest"])
}

fn purls(document: &Value) -> Vec<String> {
    let packages = document["packages"].as_array().expect("packages").iter();
    let purl = |package: &Value| {
        let locator = package["externalRefs"][0]["referenceLocator"].as_str();
        locator.map(str::to_owned)
    };
    packages.filter_map(purl).collect()
}

#[test]
fn attestations_hang_on_an_image_as_buildkit_hangs_them() {
    let Some(cooper) = Cooper::new() else { return };
    let args = ["-t=example/app:1", "--build-arg=V=1", BOTH[0], BOTH[1]];
    let layout = cooper.build_layout(&context(), &args);
    let said = statements(&layout);
    let kinds: Vec<_> = said.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, [SPDX, SLSA]);
    assert_eq!(
        purls(&said[0].1),
        ["pkg:deb/debian/libc6@2.36-9?arch=amd64"]
    );
    let definition = &said[1].1["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:V"], "1");
    let base = &definition["resolvedDependencies"][0];
    let uri = base["uri"].as_str().expect("a uri");
    assert!(
        uri.contains("busybox") && uri.contains("platform="),
        "{uri}"
    );
    assert_eq!(base["digest"]["sha256"].as_str().map(str::len), Some(64));
    let steps = &definition["internalParameters"]["buildConfig"]["llbDefinition"];
    let runs = |step: &&Value| step["op"]["Op"]["exec"]["meta"]["args"][2] == "echo made > /made";
    assert_eq!(
        steps.as_array().expect("steps").iter().filter(runs).count(),
        1
    );
    let metadata = &said[1].1["runDetails"]["metadata"];
    assert_ne!(metadata["startedOn"], Value::Null);
    let file = &metadata["buildkit_metadata"]["source"]["infos"][0]["data"];
    let file = base64::engine::general_purpose::STANDARD
        .decode(file.as_str().expect("text"))
        .expect("base64");
    assert!(String::from_utf8_lossy(&file).starts_with("FROM busybox AS tool\n"));

    // Nothing is said unless it is asked for; the image is the same.
    let index = json(&layout, &layout::index(&layout)["manifests"][0]["digest"]);
    let plain = cooper.build_layout(&context(), &["-t=example/app:1", "--build-arg=V=1"]);
    let top = layout::index(&plain);
    assert_eq!(
        index["manifests"][0]["digest"],
        top["manifests"][0]["digest"]
    );
}

#[test]
fn readers_of_images_find_the_image() {
    let Some(cooper) = Cooper::new() else { return };
    let file = cooper.scratch("app.tar");
    let output = format!("-otype=oci,name=example/app:1,dest={}", file.display());
    let args = [
        "-t=example/app:1",
        &output,
        "-otype=image",
        BOTH[0],
        BOTH[1],
    ];
    cooper.build(&context(), &args).ok();
    let cat = ["run", "--rm", "example/app:1", "cat", "/made"];
    cooper.run(&cat).ok().prints("made\n");
    let tree = cooper.run(&["history", "-q", "example/app:1"]).ok().out();
    assert!(!tree.is_empty());
    let from = Context::new("FROM example/app:1\nRUN cat /made\n");
    cooper.build(&from, &["-t=derived", "--pull=never"]).ok();

    // What the store has is sent on with what is said of it.
    let saved = cooper.scratch("saved");
    let tar = cooper.scratch("saved.tar");
    let tar = tar.display().to_string();
    cooper
        .run(&["save", "--format=oci", "-o", &tar, "example/app:1"])
        .ok();
    std::fs::create_dir(&saved).expect("mkdir");
    crate::support::process::tool(
        "tar",
        &["-xf", &tar, "-C", &saved.display().to_string()].map(std::ffi::OsStr::new),
    );
    assert_eq!(statements(&saved).len(), 2);

    cooper.run(&["rmi", "-f", "example/app:1"]).ok();
    for archive in [&file.display().to_string(), &tar] {
        let loaded = cooper.run(&["load", "-i", archive]).ok().out();
        assert!(loaded.contains("example/app:1"), "{loaded}");
        cooper.run(&cat).ok().prints("made\n");
        cooper.run(&["rmi", "-f", "example/app:1"]).ok();
    }
    if need::tool("skopeo").is_none() {
        return;
    }
    let source = format!("oci-archive:{}", file.display());
    let config = skopeo(&cooper, &["inspect", "--config", &source])
        .ok()
        .out();
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config["os"], "linux");
    let copied = cooper.scratch("copied");
    let dest = format!("oci:{}:1", copied.display());
    skopeo(&cooper, &["copy", "-q", "--all", &source, &dest]).ok();
    assert_eq!(statements(&copied).len(), 2);
}

#[test]
fn registries_take_them_with_the_image() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let name = format!("{}/app:1", registry.host());
    let tag = format!("-t={name}");
    cooper
        .build(&context(), &[&*tag, "--push", BOTH[0], BOTH[1]])
        .ok();
    let shown = |format: &str| {
        let args = ["buildx", "imagetools", "inspect", &name, "--format", format];
        cooper.run(&args).ok().out()
    };
    let packages = "{{range .SBOM.SPDX.packages}}{{.name}}@{{.versionInfo}} {{end}}";
    let packages = shown(packages);
    assert!(
        packages.ends_with("@<no value> libc6@2.36-9 \n"),
        "{packages}"
    );
    let frontend = "{{.Provenance.SLSA.buildDefinition.externalParameters.request.frontend}}";
    assert_eq!(shown(frontend), "dockerfile.v0\n");
    assert_eq!(shown("{{.Name}} {{.Image.OS}}"), format!("{name} linux\n"));
    let raw = cooper.run(&["buildx", "imagetools", "inspect", "--raw", &name]);
    let digest = cooper_oci::Digest::sha256(&raw.ok().stdout);
    assert_eq!(shown("{{.Manifest.Digest}}"), format!("{digest}\n"));
    assert_eq!(shown("{{len .Manifest.Manifests}}"), "2\n");
    if need::tool("skopeo").is_none() {
        return;
    }
    let copy = |to: &str| {
        let dest = cooper.scratch(to);
        let (source, target) = (
            format!("docker://{name}"),
            format!("oci:{}:1", dest.display()),
        );
        let args = [
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            &source,
            &target,
        ];
        skopeo(&cooper, &args).ok();
        dest
    };
    let first = statements(&copy("first"));
    let provenance = &first[1].1;
    assert_eq!(first.len(), 2, "{provenance}");
    // Pushed again from the store, and pulled as an image.
    cooper.run(&["push", &name]).ok();
    assert_eq!(statements(&copy("second")), first);
    cooper.run(&["rmi", "-f", &name]).ok();
    cooper.run(&["pull", &name]).ok();
    cooper
        .run(&["run", "--rm", &name, "cat", "/made"])
        .ok()
        .prints("made\n");
}

#[test]
fn an_artifact_says_what_image_it_is_about() {
    let Some(cooper) = Cooper::new() else { return };
    let dest = cooper.scratch("layout");
    let output = format!(
        "-otype=oci,tar=false,oci-artifact=true,dest={}",
        dest.display()
    );
    cooper.build(&context(), &[BOTH[0], BOTH[1], &output]).ok();
    let top = layout::index(&dest);
    let (images, said) = entries(&json(&dest, &top["manifests"][0]["digest"]));
    let manifest = json(&dest, &said[0]["digest"]);
    for key in ["mediaType", "digest", "size"] {
        assert_eq!(manifest["subject"][key], images[0][key], "{key}");
    }
    assert_eq!(
        manifest["artifactType"],
        "application/vnd.docker.attestation.manifest.v1+json"
    );
    let config = &manifest["config"];
    assert_eq!(config["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(json(&dest, &config["digest"]), serde_json::json!({}));
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2));
    // It takes an image all the same.
    let archive = cooper.scratch("artifact.tar").display().to_string();
    let output = format!("-otype=oci,oci-artifact=true,dest={archive}");
    cooper.build(&context(), &[BOTH[0], BOTH[1], &output]).ok();
    cooper.run(&["load", "-i", &archive]).ok();
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let name = format!("{}/artifact:1", registry.host());
    let push = format!("-otype=registry,oci-artifact=true,name={name}");
    cooper.build(&context(), &[BOTH[0], BOTH[1], &push]).ok();
    if need::tool("skopeo").is_none() {
        return;
    }
    let source = format!("docker://{name}");
    let raw = skopeo(
        &cooper,
        &["inspect", "--raw", "--tls-verify=false", &source],
    )
    .ok();
    let index: Value = serde_json::from_str(&raw.out()).expect("JSON");
    let said = &entries(&index).1[0];
    assert_eq!(
        said["annotations"]["vnd.docker.reference.type"],
        "attestation-manifest"
    );
}

#[test]
fn nothing_secret_is_said() {
    const VALUE: &str = "corr3ct-h0rse+battery/staple";
    let Some(cooper) = Cooper::new() else { return };
    std::fs::write(cooper.scratch("token"), VALUE).expect("write");
    let secret = format!(
        "--secret=id=token,src={}",
        cooper.scratch("token").display()
    );
    let context = Context::new(&format!(
        "# {VALUE}\nFROM busybox\nRUN --mount=type=secret,id=token,required true\n\
         ARG API_TOKEN\n"
    ));
    let copied = format!("--build-arg=COPIED={VALUE}");
    let token = "--build-arg=API_TOKEN=0123456789abcdef";
    let metadata = cooper.scratch("metadata.json");
    let to_metadata = format!("--metadata-file={}", metadata.display());
    let dest = cooper.scratch("layout");
    let output = format!("-otype=oci,tar=false,dest={}", dest.display());
    let args = [&*secret, &copied, token, &to_metadata, &output, BOTH[0]];
    let mut command = cooper.build_command(context.path(), &args);
    command.env("BUILDX_METADATA_PROVENANCE", "max");
    run(command).ok();
    let said = statements(&dest);
    let text = said[0].1.to_string();
    let request = &said[0].1["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:API_TOKEN"], "[REDACTED]");
    assert_eq!(request["secrets"][0]["id"], "token");
    let metadata = std::fs::read_to_string(metadata).expect("read");
    assert!(metadata.contains("build-arg:API_TOKEN"), "{metadata}");
    let infos = &said[0].1["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"];
    let file = base64::engine::general_purpose::STANDARD
        .decode(infos[0]["data"].as_str().expect("text"))
        .expect("base64");
    let file = String::from_utf8(file).expect("text");
    assert!(file.contains("FROM busybox\n"), "{file}");
    for text in [&text, &metadata, &file] {
        for value in [VALUE, "0123456789abcdef"] {
            assert!(!text.contains(value), "{text}");
        }
    }
    // What the user says is searched like all that leaves.
    let named = format!("--provenance=builder-id=https://ci.example/{VALUE}");
    let outcome = cooper.build(&context, &[&*secret, "-t=x", &named]);
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    let words = "the secret token is in provenance.json, in runDetails.builder.id";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
}

#[test]
fn the_least_tells_nothing_that_was_passed_in() {
    let Some(cooper) = Cooper::new() else { return };
    let metadata = cooper.scratch("metadata.json");
    let args = [
        "-t=app".to_owned(),
        "--build-arg=V=passed-in".to_owned(),
        "--label=a=passed-in".to_owned(),
        format!("--metadata-file={}", metadata.display()),
    ];
    cooper.build(&context(), &args).ok();
    let text = std::fs::read_to_string(&metadata).expect("read");
    assert!(!text.contains("passed-in"), "{text}");
    let metadata: Value = serde_json::from_str(&text).expect("JSON");
    let told = &metadata["buildx.build.provenance"];
    let request = &told["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["locals"][0]["name"], "context");
}

/// Returns what the provenance in a layout says of the build that BuildKit's fields have no
/// place for elsewhere.
#[track_caller]
fn buildkit_metadata(layout: &Path) -> Value {
    let said = statements(layout);
    let (_, provenance) = said.iter().find(|(kind, _)| kind == SLSA).expect("one");
    provenance["runDetails"]["metadata"]["buildkit_metadata"].clone()
}

#[test]
fn the_most_tells_the_layers_of_steps() {
    let Some(cooper) = Cooper::new() else { return };
    for options in [&[][..], &["--squash"], &["--timestamp=0"]] {
        let dest = cooper.scratch(&format!("layout{}", options.len()));
        let output = format!("-otype=oci,tar=false,dest={}", dest.display());
        let args = [&[&*output, BOTH[0]], options].concat();
        cooper.build(&context(), &args).ok();
        let said = statements(&dest);
        let definition =
            &said[0].1["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"];
        let steps = definition.as_array().expect("steps");
        let layers = &buildkit_metadata(&dest)["layers"];
        let config = config(&dest);
        let of_step = |number: usize| {
            let layers = layers[format!("step{number}:0")][0].as_array();
            let digest = |layer: &Value| layer["digest"].as_str().expect("digest").to_owned();
            layers.map(|layers| layers.iter().map(digest).collect::<Vec<_>>())
        };
        // Every layer of the result, by what it came in or by its tar; the base's come first.
        let result = of_step(steps.len() - 1).expect("the result");
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("layers");
        assert_eq!(result.len(), diff_ids.len(), "{options:?} {layers:#}");
        let is_base = |step: &Value| {
            let name = step["op"]["Op"]["source"]["identifier"].as_str();
            name.is_some_and(|name| name.starts_with("docker-image://"))
        };
        let base = steps.iter().position(is_base).expect("a base");
        let base = of_step(base).expect("the base");
        assert_eq!(base[..], result[..base.len()], "{options:?}");
        if options != ["--timestamp=0"] {
            assert!(
                result[base.len()..] == diff_ids[base.len()..],
                "{options:?}"
            );
        }
    }
}

#[test]
fn what_git_knows_of_a_directory_is_told() {
    let (Some(cooper), Some(repositories)) = (Cooper::new(), Repositories::new()) else {
        return;
    };
    repositories.make(
        "r",
        "mkdir -p app/docker; printf 'FROM scratch\nCOPY f /\n' > app/docker/Dockerfile\n\
         echo x > app/f; commit one\n\
         git remote add origin https://me:hush@host.example/app.git\n",
    );
    let (top, commit) = (repositories.join("r"), repositories.commit("r", "HEAD"));
    let build = |dest: &str, mode: &str, variables: &[(&str, &str)]| {
        let dest = cooper.scratch(dest);
        let output = format!("-otype=oci,tar=false,dest={}", dest.display());
        let file = top.join("app/docker/Dockerfile").display().to_string();
        let args = [&*output, mode, "-f", &*file];
        let mut command = cooper.build_command(&top.join("app"), &args);
        command.envs(variables.iter().copied());
        run(command).ok();
        dest
    };
    let clean = serde_json::json!({
        "localdir:context": "app",
        "localdir:dockerfile": "app/docker",
        "revision": commit,
        "source": "https://host.example/app.git",
    });
    for mode in ["--provenance=mode=min", "--provenance=mode=max"] {
        let dest = build(mode, mode, &[]);
        assert_eq!(buildkit_metadata(&dest)["vcs"], clean, "{mode}");
        assert_eq!(config(&dest)["config"].get("Labels"), None);
    }
    let dest = build("off", "--provenance=true", &[("BUILDX_GIT_INFO", "0")]);
    assert_eq!(buildkit_metadata(&dest).get("vcs"), None);

    std::fs::write(top.join("app/f"), "changed").expect("write");
    let checked = [
        ("BUILDX_GIT_CHECK_DIRTY", "1"),
        ("BUILDX_GIT_LABELS", "full"),
    ];
    let dest = build("dirty", "--provenance=true", &checked);
    let dirty = format!("{commit}-dirty");
    assert_eq!(buildkit_metadata(&dest)["vcs"]["revision"], *dirty);
    let labels = &config(&dest)["config"]["Labels"];
    assert_eq!(
        *labels,
        serde_json::json!({
            "com.docker.image.source.entrypoint": "app/docker/Dockerfile",
            "org.opencontainers.image.revision": dirty,
            "org.opencontainers.image.source": "https://host.example/app.git",
        })
    );
}

#[test]
fn reproducible_images_have_reproducible_attestations() {
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let mut index = |store: &str| {
        cooper.set_root(cooper.scratch(store));
        let dest = cooper.scratch(&format!("{store}-layout"));
        let output = format!(
            "-otype=oci,tar=false,dest={},rewrite-timestamp=true",
            dest.display()
        );
        let context = context();
        let mut command = cooper.build_command(context.path(), &[&*output, BOTH[0], BOTH[1]]);
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        run(command).ok();
        layout::index(&dest)["manifests"][0]["digest"].clone()
    };
    assert_eq!(index("one"), index("two"));
}

#[test]
fn plain_files_have_statements_beside_them() {
    let Some(cooper) = Cooper::new() else { return };
    let dest = cooper.scratch("out");
    let output = format!("-otype=local,dest={}", dest.display());
    let args = [
        &*output,
        "--provenance=mode=min,filename=how.json",
        "--sbom=true",
    ];
    cooper.build(&context(), &args).ok();
    let read = |name: &str| -> Value {
        let bytes = std::fs::read(dest.join(name)).expect(name);
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let (provenance, sbom) = (read("how.json"), read("sbom.spdx.json"));
    assert_eq!(provenance["predicateType"], SLSA);
    assert_eq!(purls(&sbom["predicate"]).len(), 1);
    let subjects = provenance["subject"].as_array().expect("subjects");
    let made = subjects.iter().find(|subject| subject["name"] == "made");
    let digest = cooper_oci::Digest::sha256(b"made\n");
    assert_eq!(made.expect("a subject")["digest"]["sha256"], digest.hex());

    let tar = cooper.scratch("out.tar");
    let output = format!("-otype=tar,dest={}", tar.display());
    let args = [&*output, "--provenance=inline-only=true", "--sbom=true"];
    cooper.build(&context(), &args).ok();
    let listed = ["-tf".into(), tar.into_os_string()];
    let listed = crate::support::process::tool("tar", &listed.each_ref().map(|arg| &**arg)).out();
    let there = |name: &str| listed.lines().any(|line| line == name);
    assert!(
        there("sbom.spdx.json") && !there("provenance.json"),
        "{listed}"
    );
}

#[test]
fn packages_are_listed_of_all_that_is_to_be_looked_through() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\n\
         FROM busybox AS build\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY Cargo.lock /src/\n\
         FROM busybox AS other\nCOPY Gemfile.lock /src/\n\
         FROM busybox\nCOPY --from=build /src/Cargo.lock /dev/null/\n\
         COPY --from=other /src/Gemfile.lock /app/\n",
    )
    .with(
        "Cargo.lock",
        "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n",
    )
    .with("Gemfile.lock", "GEM\n  specs:\n    rack (3.0.8)\n");
    let text = std::fs::read_to_string(context.join("Dockerfile")).expect("read");
    let text = text.replace("COPY --from=build /src/Cargo.lock /dev/null/\n", "");
    let text = text.replace(
        "FROM busybox AS other\n",
        "FROM build AS other\nRUN rm /src/Cargo.lock\n",
    );
    std::fs::write(context.join("Dockerfile"), text).expect("write");
    let layout = cooper.build_layout(&context, &["--sbom=true"]);
    let said = statements(&layout);
    let found: Vec<_> = said
        .iter()
        .map(|(_, document)| (document["name"].as_str().expect("a name"), purls(document)))
        .collect();
    let (gem, cargo) = (
        "pkg:gem/rack@3.0.8".to_owned(),
        "pkg:cargo/a@1.0.0".to_owned(),
    );
    assert_eq!(
        found,
        [
            ("image", vec![gem.clone()]),
            ("build", vec![cargo.clone()]),
            ("other", vec![gem.clone()]),
            ("context", vec![cargo, gem]),
        ]
    );
}

#[test]
fn docker_archives_go_without() {
    let Some(cooper) = Cooper::new() else { return };
    let dest = cooper.scratch("docker");
    let output = format!("-otype=docker,tar=false,dest={}", dest.display());
    let outcome = cooper.build(&context(), &[&*output, "--sbom=true"]).ok();
    assert!(
        outcome.stderr.contains("holds no attestations"),
        "{}",
        outcome.stderr
    );
    assert_eq!(Image::read(&dest).config["os"], "linux");
    assert_eq!(
        layout::index(&dest)["manifests"][0]["platform"]["os"],
        "linux"
    );
}

#[test]
fn each_platform_has_its_own() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n").with("f", "");
    let platforms = "--platform=linux/amd64,linux/arm64";
    let layout = cooper.build_layout(&context, &[platforms, "--provenance=mode=min"]);
    let index = json(&layout, &layout::index(&layout)["manifests"][0]["digest"]);
    let (images, said) = entries(&index);
    let about: Vec<_> = said
        .iter()
        .map(|entry| &entry["annotations"]["vnd.docker.reference.digest"])
        .collect();
    let digests: Vec<_> = images.iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(about, digests);
}
