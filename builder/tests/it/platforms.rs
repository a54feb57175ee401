//! Several platforms in one build: what is built, and what comes of it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::layout;
use crate::support::peers::{DockerRegistry, skopeo};
use crate::support::process::run;
use crate::support::{Context, Cooper, need};

/// Runs something here, once, and copies it into an image for each platform.
fn cross() -> Context {
    Context::new(
        "FROM --platform=$BUILDPLATFORM busybox AS tool\n\
         RUN --mount=type=cache,target=/c echo ran >>/c/log; cp /c/log /log\n\
         FROM scratch\n\
         ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM\n\
         COPY --from=tool /log /log\n\
         LABEL target=$TARGETPLATFORM parts=$TARGETOS-$TARGETARCH-$TARGETVARIANT\n\
         CMD [\"/log\"]\n",
    )
}

const THREE: &str = "--platform=linux/amd64,linux/arm64/v8";
const ARM: &str = "--platform=arm";

fn names(value: &Value) -> Vec<String> {
    let entries = value["manifests"].as_array().expect("manifests");
    let name = |entry: &Value| {
        let platform = &entry["platform"];
        let parts = ["os", "architecture", "variant"].map(|part| platform[part].as_str());
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    };
    entries.iter().map(name).collect()
}

#[test]
fn what_runs_here_runs_once_for_all_platforms() {
    let Some(cooper) = Cooper::new() else { return };
    let files = cooper.scratch("files");
    let output = format!("--output={}", files.display());
    let steps = cooper.steps(&cross(), &[THREE, ARM, &output]).ok();
    let runs = steps.executed();
    let runs: Vec<_> = runs.iter().filter(|step| step.starts_with("RUN")).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    for platform in ["linux_amd64", "linux_arm64", "linux_arm_v7"] {
        let log = std::fs::read_to_string(files.join(platform).join("log")).expect("log");
        assert_eq!(log, "ran\n", "{platform}");
    }
    let again = cooper.steps(&cross(), &[THREE, ARM, &output]).ok();
    assert_eq!(again.executed(), Vec::<String>::new());
}

#[test]
fn an_archive_holds_an_index_of_the_platforms() {
    let Some(cooper) = Cooper::new() else { return };
    let layout = cooper.build_layout(&cross(), &[THREE, ARM, "-t=example/multi:1"]);
    let top = layout::index(&layout);
    let entries = top["manifests"].as_array().expect("manifests");
    assert_eq!(entries.len(), 1, "{top}");
    assert_eq!(
        entries[0]["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(
        entries[0]["annotations"]["io.containerd.image.name"],
        "docker.io/example/multi:1"
    );
    let read = |digest: &Value| -> Value {
        let bytes = layout::read_blob(&layout, digest.as_str().expect("digest"));
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let index = read(&entries[0]["digest"]);
    assert_eq!(
        names(&index),
        ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    );
    let labels = [
        json!({ "target": "linux/amd64", "parts": "linux-amd64-" }),
        json!({ "target": "linux/arm64", "parts": "linux-arm64-" }),
        json!({ "target": "linux/arm/v7", "parts": "linux-arm-v7" }),
    ];
    let manifests = index["manifests"].as_array().expect("manifests");
    for (entry, labels) in manifests.iter().zip(labels) {
        let manifest = read(&entry["digest"]);
        let config = read(&manifest["config"]["digest"]);
        assert_eq!(config["config"]["Labels"], labels);
        assert_eq!(config["architecture"], entry["platform"]["architecture"]);
        assert_eq!(config["variant"], entry["platform"]["variant"]);
    }
}

#[test]
fn the_store_keeps_all_platforms_under_one_name() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build(&cross(), &[THREE, "-t=multi:1"]).ok();
    let listed = cooper.run(&["images"]).ok().out();
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["REPOSITORY", "TAG", "PLATFORM"],
            ["multi", "1", "linux/amd64"],
            ["multi", "1", "linux/arm64"],
        ]
    );
    let inspect = |name: &str| -> Value {
        let text = cooper.run(&["inspect", name]).ok().out();
        serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
    };
    let host = cooper_oci::Platform::host();
    let own = inspect("multi:1");
    assert_eq!(own["Architecture"], host.architecture);
    assert_eq!(own["Platforms"].as_array().map(Vec::len), Some(2), "{own}");

    // Saved, removed and loaded it is what it was.
    let archive = cooper.scratch("multi.tar");
    let archive = archive.to_str().expect("text");
    cooper.run(&["tag", "multi:1", "other"]).ok();
    cooper.run(&["save", "-o", archive, "other"]).ok();
    cooper.run(&["rmi", "multi:1"]).ok();
    assert_eq!(inspect("other")["Platforms"], own["Platforms"]);
    cooper.run(&["rmi", "other"]).ok();
    assert_eq!(cooper.run(&["images", "-q"]).ok().out(), "");
    cooper.run(&["load", "-i", archive]).ok();
    assert_eq!(inspect("other")["Platforms"], own["Platforms"]);

    // A base is taken for the platform that it is needed for.
    let derived = Context::new("FROM other\nLABEL derived=1\n");
    for platform in ["linux/arm64", "linux/amd64"] {
        let option = format!("--platform={platform}");
        cooper
            .build(&derived, &[option.as_str(), "--pull=never", "-t=derived"])
            .ok();
        let labels = inspect("derived")["Config"]["Labels"].take();
        assert_eq!(labels["target"], platform);
    }
    cooper
        .build(&derived, &["--platform=linux/s390x", "--pull=never"])
        .exits(1)
        .says("linux/s390x");
    cooper
        .run(&["save", "--platform=linux/s390x", "-o", archive, "other"])
        .exits(1)
        .says("it has linux/amd64, linux/arm64");

    // Each platform's image can be looked at.
    for platform in ["linux/arm64", "linux/amd64"] {
        let option = format!("--platform={platform}");
        let args = ["inspect", "-f=json", &option, "other"];
        let line = cooper.run(&args).ok().out();
        let shown: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line.lines().count(), 1);
        assert_eq!(shown[0]["Config"]["Labels"]["target"], platform);
        let args = [
            "history",
            "--no-trunc",
            "--format={{.ID}}",
            &option,
            "other",
        ];
        let history = cooper.run(&args).ok().out();
        assert!(
            history.starts_with(shown[0]["Id"].as_str().expect("text")),
            "{history}"
        );
    }
    for command in ["inspect", "history"] {
        let args = [command, "--platform=linux/s390x", "other"];
        cooper.run(&args).exits(1).says("no image for linux/s390x");
    }
}

#[test]
fn those_platforms_are_saved_and_loaded_that_are_named() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build(&cross(), &[THREE, "-t=other"]).ok();
    let platforms = || -> usize {
        let text = cooper.run(&["inspect", "other"]).ok().out();
        let shown = serde_json::from_str::<Value>(&text).expect("JSON")[0].take();
        shown["Platforms"].as_array().map_or(1, Vec::len)
    };
    let [both, one] = ["both.tar", "one.tar"].map(|name| cooper.scratch(name));
    let both = both.to_str().expect("text");
    let one = one.to_str().expect("text");
    let arm = "--platform=linux/arm64";
    let list = "--platform=linux/arm64,linux/amd64";
    cooper.run(&["save", list, "-o", both, "other"]).ok();
    cooper.run(&["save", arm, "-o", one, "other"]).ok();
    let amd = "--platform=linux/amd64";
    for (load, count) in [
        (&["load", "-i", both][..], 2),
        (&["load", list, "-i", both], 2),
        (&["load", arm, amd, "-i", both], 2),
        (&["load", arm, "-i", both], 1),
        (&["load", "-i", one], 1),
    ] {
        cooper.run(&["rmi", "other"]).ok();
        cooper.run(load).ok();
        assert_eq!(platforms(), count, "{load:?}");
    }
    let neither = ["load", "--platform=linux/arm64,linux/s390x", "-i", both];
    cooper.run(&neither).exits(1).says("linux/s390x");

    // An image for one platform is no other's.
    let single = Context::new("FROM scratch\nLABEL a=b\n");
    cooper.build(&single, &["-t=single", arm]).ok();
    let file = cooper.scratch("single.tar");
    let file = file.to_str().expect("text");
    let other = "--platform=linux/s390x";
    let place = "localhost:1/single";
    cooper.run(&["tag", "single", place]).ok();
    for refused in [
        &["save", other, "-o", file, "single"][..],
        &["push", other, place],
        &["history", other, "single"],
        &["inspect", other, "single"],
    ] {
        let outcome = cooper.run(refused).exits(1);
        outcome.says("no image for linux/s390x").says("linux/arm64");
    }
    assert!(!std::path::Path::new(file).exists());
    cooper.run(&["save", arm, "-o", file, "single"]).ok();
    let load = ["load", other, "-i", file];
    cooper.run(&load).exits(1).says("it has linux/arm64");
    cooper.run(&["load", arm, "-i", file]).ok();
}

#[test]
fn a_registry_gets_an_index() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let name = format!("{}/multi:1", registry.host());
    let output = "--output=type=registry,registry.insecure=true";
    cooper
        .build(&cross(), &[THREE, output, &format!("-t={name}")])
        .ok();
    let raw = |name: &str| -> Value {
        let address = format!("docker://{name}");
        let args = ["inspect", "--raw", "--tls-verify=false", &address];
        serde_json::from_str(&skopeo(&cooper, &args).ok().out()).expect("JSON")
    };
    let built = raw(&name);
    assert_eq!(names(&built), ["linux/amd64", "linux/arm64"]);

    let copy = format!("{}/copy:1", registry.host());
    cooper.run(&["tag", &name, &copy]).ok();
    cooper.run(&["push", &copy]).ok();
    assert_eq!(raw(&copy), built);
    let one = format!("{}/one:1", registry.host());
    cooper.run(&["tag", &name, &one]).ok();
    cooper.run(&["push", "--platform=linux/arm64", &one]).ok();
    let one = raw(&one);
    assert_eq!(
        one["config"]["digest"].as_str().map(str::len),
        Some(71),
        "{one}"
    );

    // What was pushed is a base for each of its platforms.
    cooper.run(&["rmi", "--force", &name, &copy]).ok();
    let derived = Context::new(&format!("FROM {name}\nLABEL derived=1\n"));
    let layout = cooper.build_layout(&derived, &["--platform=linux/arm64"]);
    let image = layout::Image::read(&layout);
    assert_eq!(image.config["config"]["Labels"]["target"], "linux/arm64");
}

#[test]
fn outputs_that_cannot_hold_several_platforms_say_so() {
    let Some(cooper) = Cooper::new() else { return };
    let archive = cooper.scratch("d.tar");
    let output = format!("--output=type=docker,dest={}", archive.display());
    cooper
        .build(&cross(), &[THREE, &output])
        .exits(1)
        .says("docker exporter does not currently support exporting manifest lists")
        .says("type=oci");
    assert!(!archive.exists());
    let flat = cooper.scratch("flat");
    let output = format!(
        "--output=type=local,platform-split=false,dest={}",
        flat.display()
    );
    cooper.build(&cross(), &[THREE, &output]).ok();
    assert!(flat.join("log").is_file());
    let split = cooper.scratch("split.tar");
    let output = format!(
        "--output=type=tar,platform-split=true,dest={}",
        split.display()
    );
    cooper
        .build(&cross(), &["--platform=linux/arm64", &output])
        .ok();
    let listed = crate::support::process::tool("tar", &["-tf".as_ref(), split.as_os_str()]).ok();
    assert_eq!(listed.out(), "linux_arm64/\nlinux_arm64/log\n");
    let one = cooper.scratch("one");
    let output = format!("--output=type=local,dest={}", one.display());
    let argument = "--build-arg=BUILDKIT_MULTI_PLATFORM=1";
    cooper
        .build(&cross(), &["--platform=linux/arm64", argument, &output])
        .ok();
    assert!(one.join("linux_arm64/log").is_file());
    let layout = cooper.scratch("layout");
    let output = format!("--output=type=oci,tar=false,dest={}", layout.display());
    cooper
        .build(&cross(), &["--platform=linux/arm64", argument, &output])
        .ok();
    let index = std::fs::read_to_string(layout.join("index.json")).expect("an index");
    assert!(index.contains("image.index.v1+json"), "{index}");
    cooper
        .build(&cross(), &["--platform=linux/amd64,lunix"])
        .exits(1)
        .says("lunix");
}

#[test]
fn an_error_names_the_platform_that_it_is_of() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nARG TARGETARCH\nCOPY only-$TARGETARCH /\n")
        .with("only-amd64", "x");
    cooper
        .build(&context, &[THREE])
        .exits(1)
        .says("[linux/arm64 1/1]")
        .says("only-arm64");
}

/// Programs of a machine that there is no emulator for, as far as the kernel looks at them.
fn foreign_elf() -> Vec<u8> {
    // EM_AVR32, which qemu has never had: ELF of 32 bits, big-endian, executable.
    let mut elf = b"\x7fELF\x01\x02\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([0, 2, 0x18, 0xad]);
    elf.resize(128, 0);
    elf
}

#[test]
fn a_program_that_nothing_executes_is_said_to_be_another_platforms() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY p /p\nRUN [\"/p\"]\n");
    std::fs::write(context.path().join("p"), foreign_elf()).expect("write");
    context.sh("chmod 755 p");
    for (platform, text) in [
        (
            "linux/avr32",
            "linux/avr32 programs cannot be executed on this machine",
        ),
        ("linux/avr32", "nothing emulates it"),
        ("linux/avr32", "Dockerfile:3"),
        (
            "local",
            "is made for another architecture than this machine's",
        ),
    ] {
        let option = format!("--platform={platform}");
        cooper.build(&context, &[option]).exits(1).says(text);
    }
    // What the image says it is for does not matter where the program can be executed.
    let context = Context::new(
        "FROM --platform=$BUILDPLATFORM busybox AS b\n\
         FROM scratch\nCOPY --from=b /bin/busybox /bin/sh\nRUN true\n",
    );
    cooper.build(&context, &["--platform=linux/avr32"]).ok();
}

#[test]
fn foreign_programs_run_where_an_emulator_is_registered() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(foreign) = need::image("busybox-arm64") else {
        return;
    };
    let option = format!("--build-context=foreign=oci-layout://{}", foreign.display());
    let context = Context::new(
        "FROM --platform=$BUILDPLATFORM busybox AS native\n\
         RUN uname -m >/native\n\
         FROM foreign\n\
         COPY --from=native /native /native\n\
         RUN uname -m >/emulated && cat /native /emulated | tr '\\n' ' '\n",
    );
    let args = ["--platform=linux/arm64", option.as_str(), "-t=emulated"];
    let command = cooper.build_command(context.path(), &args);
    let mounted = Path::new("/proc/sys/fs/binfmt_misc/status").exists();
    let emulator = "/usr/bin/qemu-aarch64-static";
    let doctor = cooper.run(&["doctor"]).out();
    let outcome = if doctor.contains("linux/arm64") {
        run(command)
    } else {
        run(command)
            .exits(1)
            .says("linux/arm64 programs cannot be executed on this machine")
            .says("tonistiigi/binfmt --install arm64");
        if mounted || !need::is_root() {
            let _: Option<()> = need::skip("no emulator for linux/arm64 is registered here");
            return;
        }
        if need::tool("qemu-aarch64-static").is_none() {
            return;
        }
        let command = cooper.build_command(context.path(), &args);
        // A program that is not there is said to be missing before a step looks for it.
        run(registered(&cooper, &command, "/nowhere/qemu"))
            .exits(1)
            .says("its emulator /nowhere/qemu is not there")
            .says("with the flag F");
        run(registered(&cooper, &command, emulator))
    };
    let native = std::env::consts::ARCH;
    outcome.ok().says(&format!("{native} aarch64 "));

    // A container of another platform that nobody asked for by name is told of.
    for (option, told) in [("--rm", true), ("--platform=linux/arm64", false)] {
        let mut asked = cooper.command();
        asked.args(["run", option, "emulated", "uname", "-m"]);
        let asked = if doctor.contains("linux/arm64") {
            asked
        } else {
            registered(&cooper, &asked, emulator)
        };
        let outcome = run(asked);
        let text = "warning: image emulated is for linux/arm64, this machine is";
        assert_eq!(outcome.stderr.contains(text), told, "{}", outcome.stderr);
    }
}

/// Returns `command` with an emulator registered, without the flag F, while it runs: nobody else has the file system
/// mounted, and its handlers go with its last mount.
fn registered(cooper: &Cooper, command: &Command, emulator: &str) -> Command {
    const SCRIPT: &str = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; \
        printf %s \"$0\" >/proc/sys/fs/binfmt_misc/register; exec \"$@\"";
    const LINE: &str = r":test-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:";
    let mut wrapped = cooper.bare_command("unshare");
    wrapped
        .args(["--mount", "sh", "-euc", SCRIPT])
        .arg(format!("{LINE}{emulator}:OP"))
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}
