//! The same input, the same bytes.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::layout::Image;
use crate::support::process::run;
use crate::support::{Context, Cooper, Outcome};

const EPOCH: &str = "1700000000";

fn context() -> Context {
    Context::new(
        "FROM busybox AS one\nRUN mkdir /d && echo 1 > /d/f && ln /d/f /d/g && chown 5:6 /d/f\n\
         FROM busybox\nCOPY --from=one /d /d\nCOPY f /f\nRUN rm /d/g && touch /d /old -d @1000\n",
    )
    .with("f", "content")
}

/// Builds into a store and layout of its own; returns the manifest's digest and the config.
fn digest(cooper: &mut Cooper, store: &str, args: &[&str], rewrite: bool) -> (String, Value) {
    cooper.set_root(cooper.scratch(store));
    let context = context();
    let dest: PathBuf = cooper.scratch(&format!("{store}-layout"));
    let output = format!(
        "-otype=oci,tar=false,dest={},rewrite-timestamp={rewrite}",
        dest.display()
    );
    let mut command = cooper.build_command(context.path(), &[&[output.as_str()], args].concat());
    command.env("SOURCE_DATE_EPOCH", EPOCH);
    run(command).ok();
    let image = Image::read(&dest);
    (image.manifest_digest, image.config)
}

#[test]
fn stores_times_and_jobs_leave_no_trace() {
    let Some(mut cooper) = Cooper::new() else {
        return;
    };
    let (first, config) = digest(&mut cooper, "one", &["--jobs=1"], true);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(digest(&mut cooper, "two", &["--jobs=8"], true).0, first);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    // Without the times of files the two differ: the case is one.
    let (one, _) = digest(&mut cooper, "three", &[], false);
    assert_ne!(one, first);
    // Nor does the mode of what a process makes, whoever runs it.
    for umask in ["0", "077"] {
        let made = umask_digest(&mut cooper, umask);
        assert_eq!(made, first, "{umask}");
    }
    // An archive too, byte for byte; and from the cache.
    let again = digest(&mut cooper, "one", &[], true).0;
    assert_eq!(again, first);
}

/// Does the same below a shell with another mask of modes, into a store of its own.
fn umask_digest(cooper: &mut Cooper, umask: &str) -> String {
    cooper.set_root(cooper.scratch(&format!("umask-{umask}")));
    let context = context();
    let dest = cooper.scratch(&format!("umask-{umask}-layout"));
    let output = format!(
        "-otype=oci,tar=false,dest={},rewrite-timestamp=true",
        dest.display()
    );
    let build = cooper.build_command(context.path(), &[output.as_str(), "--jobs=2"]);
    let mut command = cooper.bare_command("sh");
    let script = format!("umask {umask}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(build.get_program());
    command
        .args(build.get_args())
        .env("SOURCE_DATE_EPOCH", EPOCH);
    for (name, value) in build.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    run(command).ok();
    Image::read(&dest).manifest_digest
}

#[test]
fn file_times_are_bounded_or_set() {
    let Some(cooper) = Cooper::new() else { return };
    let context = context();
    let times = |args: &[&str]| {
        cooper.build(&context, &[&["-t=timed"], args].concat()).ok();
        let script = "stat -c %Y /d /old /f /bin/busybox | tr '\n' ' '";
        cooper
            .run(&["run", "--rm", "timed", "sh", "-c", script])
            .ok()
            .out()
    };
    let plain = times(&[]);
    let plain: Vec<&str> = plain.split(' ').collect();
    let base = plain[3];
    assert_eq!(plain[..2], ["1000", "1000"]);
    assert!(plain[2] > EPOCH, "{plain:?}");
    let epoch = format!("--source-date-epoch={EPOCH}");
    let bounded = times(&[&epoch, "--rewrite-timestamp"]);
    assert_eq!(bounded, format!("1000 1000 {EPOCH} {base} "));
    assert_eq!(times(&["--timestamp=5"]), format!("5 5 5 {base} "));
    let created = cooper
        .run(&["inspect", "--format", "{{.Created}}", "timed"])
        .ok();
    assert_eq!(created.out(), "1970-01-01T00:00:05Z\n");
    let outcome = cooper.build(&context, &["--rewrite-timestamp"]);
    assert!(
        outcome.stderr.contains("needs a time to go by"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_differs_between_two_executions_is_named() {
    let Some(cooper) = Cooper::new() else { return };
    let verify = |dockerfile: &str, args: &[&str]| -> Outcome {
        let context = Context::new(dockerfile).with("f", "content");
        cooper.build(
            &context,
            &[&["-t=x", "--verify-reproducible"], args].concat(),
        )
    };
    let times = ["--source-date-epoch=1700000000", "--rewrite-timestamp"];
    let random = "FROM busybox\nCOPY f /f\n\
        RUN cat /proc/sys/kernel/random/uuid > /id && touch /same && \
        echo > /$(cat /proc/sys/kernel/random/boot_id) && sleep 1\n";
    let outcome = verify(random, &times);
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    for words in [
        "not reproducible: 1 path differs",
        "Dockerfile:3",
        "/id: content",
    ] {
        assert!(
            outcome.stderr.contains(words),
            "no {words:?} in {}",
            outcome.stderr
        );
    }
    assert!(!outcome.stderr.contains("/same:"), "{}", outcome.stderr);
    assert_eq!(cooper.run(&["images", "-q"]).ok().out(), "");

    let steady = "FROM busybox\nCOPY f /f\nRUN echo 1 > /one && sleep 1\n";
    let outcome = verify(steady, &[]);
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("/one: mtime ("),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("only times differ"),
        "{}",
        outcome.stderr
    );
    verify(steady, &times).ok();
    assert_ne!(cooper.run(&["images", "-q"]).ok().out(), "");
}
