//! What the command line changes of the image, of what is read and of what is said.

use serde_json::Value;

use crate::support::layout::{self, Image};
use crate::support::process::run;
use crate::support::{Context, Cooper};

/// Builds a layout and returns its image.
fn image(cooper: &Cooper, dockerfile: &str, args: &[&str]) -> Image {
    Image::read(&cooper.build_layout(&Context::new(dockerfile), args))
}

#[test]
fn variables_are_set_and_unset() {
    let Some(cooper) = Cooper::new() else { return };
    let text = "FROM busybox\nENV B=file\nRUN test $A-$B = 1-file\n";
    let args = [
        "--env=A=1",
        "--env=B=flag",
        "--env=UNSET_HERE",
        "--unsetenv=PATH",
    ];
    let env = image(&cooper, text, &args).config["config"]["Env"].clone();
    assert_eq!(env, serde_json::json!(["A=1", "B=file"]));
}

#[test]
fn build_arguments_come_from_files() {
    let Some(cooper) = Cooper::new() else { return };
    let file = cooper.scratch("args.conf");
    std::fs::write(&file, "# a comment\n\nA=of file\n  B=of file\n").expect("write");
    let option = format!("--build-arg-file={}", file.display());
    let text = "FROM busybox\nARG A\nARG B\nLABEL a=$A b=$B\n";
    let labels = image(&cooper, text, &[&option, "--build-arg=B=of flag"]);
    let labels = &labels.config["config"]["Labels"];
    assert_eq!(
        (&labels["a"], &labels["b"]),
        (&"of file".into(), &"of flag".into())
    );
    std::fs::write(&file, "A=1\nB\n").expect("write");
    let context = Context::new(text);
    cooper
        .build(&context, &[&option])
        .exits(1)
        .says("args.conf:2")
        .says("no value");
}

#[test]
fn the_first_base_is_replaced() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM no-such-image\nRUN test -x /bin/busybox\n");
    cooper
        .build(&context, &["--from=busybox", "-otype=cacheonly"])
        .ok();
}

#[test]
fn another_file_says_what_is_ignored() {
    let Some(cooper) = Cooper::new() else { return };
    let context =
        Context::new("FROM busybox\nCOPY . /c\nRUN test -e /c/kept && ! test -e /c/left\n")
            .with("kept", "")
            .with("left", "")
            .with(".dockerignore", "kept\n");
    let file = cooper.scratch("ignore");
    std::fs::write(&file, "left\n").expect("write");
    let option = format!("--ignorefile={}", file.display());
    cooper
        .build(&context, &[option.as_str(), "-otype=cacheonly"])
        .ok();
    let missing = ["--ignorefile=no-such-file", "-otype=cacheonly"];
    cooper
        .build(&context, &missing)
        .exits(1)
        .says("there is no file no-such-file");
}

#[test]
fn modes_do_not_depend_on_the_umask_if_asked() {
    let Some(cooper) = Cooper::new() else { return };
    let under = |umask: &str| {
        let context = Context::new("FROM busybox\nCOPY d /d\nRUN --mount=target=/m ls -l /m\n");
        context.sh(&format!(
            "umask {umask}; mkdir -p d/e; echo x >d/f; echo y >d/e/g; chmod u+x d/f; chmod u+s d/e/g; ln -s f d/l"
        ));
        context
    };
    let (open, closed) = (under("002"), under("077"));
    let args = ["--normalize-modes", "-otype=cacheonly"];
    let first = cooper.steps(&open, &args).ok();
    assert_eq!(first.executed().len(), 2);
    assert_eq!(
        cooper.steps(&closed, &args).ok().executed(),
        Vec::<String>::new()
    );
    let file = cooper.scratch("tree.tar");
    let output = format!("-otype=tar,dest={}", file.display());
    cooper
        .build(&closed, &["--normalize-modes", output.as_str()])
        .ok();
    let tree = crate::support::tree::read_tar(&file);
    let found: Vec<_> = tree
        .values()
        .filter(|line| line.starts_with("d/"))
        .collect();
    let want = [
        "d/ 755 0:0",
        "d/e/ 755 0:0",
        r#"d/e/g 644 0:0 "y\n""#,
        r#"d/f 755 0:0 "x\n""#,
        "d/l -> f",
    ];
    assert_eq!(found, want);
    // Unasked they count as they are.
    let kept = cooper.steps(&closed, &["-otype=cacheonly"]).ok();
    assert_eq!(kept.executed().len(), 2);
}

#[test]
fn history_is_left_out() {
    let Some(cooper) = Cooper::new() else { return };
    let text = "FROM busybox\nRUN echo x >/x\n";
    let with = image(&cooper, text, &[]);
    let without = image(&cooper, text, &["--omit-history"]);
    assert!(
        with.config["history"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
    assert!(
        without.config["history"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    assert_eq!(with.config["rootfs"], without.config["rootfs"]);
    assert_eq!(with.config["created"], without.config["created"]);
}

#[test]
fn annotations_go_where_they_are_meant_for() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\n");
    let args = [
        "--annotation=A.b=plain",
        "--annotation=manifest[linux/s390x]:other=no",
        "--annotation=manifest,manifest-descriptor:both=yes",
    ];
    let dest = cooper.build_layout(&context, &args);
    let manifest = Image::read(&dest).manifest["annotations"].clone();
    assert_eq!(manifest, serde_json::json!({"A.b": "plain", "both": "yes"}));
    let entry = &layout::index(&dest)["manifests"][0]["annotations"];
    assert_eq!(
        (&entry["both"], &entry["A.b"]),
        (&"yes".into(), &Value::Null)
    );
    cooper
        .build(&context, &["--annotation=index:a=b"])
        .exits(1)
        .says("index annotations not supported for single platform export");
}

#[test]
fn an_index_and_its_entries_are_annotated() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n").with("f", "x");
    let args = [
        "--platform=linux/amd64,linux/arm64",
        "--annotation=index:of=index",
        "--annotation=index-descriptor:of=layout",
        "--annotation=manifest-descriptor[linux/arm64]:of=arm",
    ];
    let dest = cooper.build_layout(&context, &args);
    let entry = &layout::index(&dest)["manifests"][0];
    assert_eq!(entry["annotations"]["of"], "layout");
    let digest = entry["digest"].as_str().expect("a digest");
    let index: Value = serde_json::from_slice(&layout::read_blob(&dest, digest)).expect("JSON");
    assert_eq!(index["annotations"]["of"], "index");
    let of = |at: usize| &index["manifests"][at]["annotations"]["of"];
    assert_eq!((of(0), of(1)), (&Value::Null, &"arm".into()));
    // One platform has an index if one is asked for, and otherwise none to annotate.
    let of_index = "--annotation=index:of=index";
    for one in ["--build-arg=BUILDKIT_MULTI_PLATFORM=1", "--provenance=true"] {
        let dest = cooper.build_layout(&context, &[of_index, one]);
        let entry = &layout::index(&dest)["manifests"][0];
        let index = layout::read_blob(&dest, entry["digest"].as_str().expect("a digest"));
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        assert_eq!(index["annotations"]["of"], "index", "{one}");
    }
    let outcome = cooper.build(&context, &[of_index]).exits(1);
    outcome.says("BUILDKIT_MULTI_PLATFORM=1");
}

#[test]
fn results_that_are_too_old_do_not_count() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo once\n");
    let runs = |args: &[&str]| {
        let all = [args, &["-otype=cacheonly"]].concat();
        let steps = cooper.steps(&context, &all).ok().executed();
        steps.iter().any(|step| step.contains("RUN"))
    };
    assert!(runs(&[]));
    assert!(!runs(&["--cache-ttl=1h"]));
    assert!(runs(&["--cache-ttl=0"]));
    // A result of 1970 is older than a day.
    assert!(runs(&["--build-arg=SOURCE_DATE_EPOCH=60", "--no-cache"]));
    assert!(!runs(&[]));
    assert!(runs(&["--cache-ttl=24h"]));
}

#[test]
fn stages_that_are_not_there_are_warned_of() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox AS build\nRUN echo x\n");
    cooper
        .build(&context, &["--no-cache-filter=biuld", "-otype=cacheonly"])
        .ok()
        .says("there is no stage biuld (did you mean `build`?)");
    cooper
        .build(&context, &["--target=0"])
        .exits(1)
        .says("target stage \"0\" could not be found");
}

#[test]
fn progress_goes_to_the_log_file() {
    let Some(cooper) = Cooper::new() else { return };
    let log = cooper.scratch("build.log");
    let option = format!("--logfile={}", log.display());
    let context = Context::new("FROM busybox\nRUN echo said\n");
    let command = cooper.build_command(context.path(), &[option.as_str(), "-otype=cacheonly"]);
    let outcome = run(command).ok();
    assert_eq!(outcome.stderr, "");
    let text = std::fs::read_to_string(log).expect("the log");
    assert!(text.contains("said"), "{text}");
}

#[test]
fn places_that_cannot_be_written_stop_the_build_before_it_starts() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo too late\n");
    let dir = cooper.scratch("taken");
    std::fs::create_dir(&dir).expect("mkdir");
    std::fs::write(dir.join("file"), "").expect("write");
    let dir = dir.display();
    let missing = cooper.scratch("none/iid");
    for (option, message) in [
        (format!("-otype=oci,dest={dir}"), "it is a directory"),
        (format!("--metadata-file={dir}"), "it is a directory"),
        (format!("--iidfile={}", missing.display()), "does not exist"),
        (
            format!("-otype=local,dest={dir}/file/x"),
            "it is not a directory",
        ),
    ] {
        let outcome = cooper.build(&context, &[&option]).exits(1).says(message);
        assert!(!outcome.stderr.contains("too late"), "{}", outcome.stderr);
    }
}

#[test]
fn docker_spellings_build_too() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\n");
    for group in ["buildx", "builder", "image"] {
        let mut command = cooper.command();
        command
            .args([
                "-D",
                "-l",
                "info",
                group,
                "build",
                "-otype=cacheonly",
                "--builder=x",
            ])
            .arg(cooper.busybox_context())
            .arg(context.path());
        run(command).ok();
    }
    cooper.run(&["image", "ls"]).ok();
    cooper.run(&["buildx", "ls"]).ok();
    cooper
        .run(&["-H", "tcp://far:2376", "images"])
        .exits(1)
        .says("no daemon");
}
