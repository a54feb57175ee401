//! Bad input: each case of `testdata/dockerfiles/negative` and those that need more than files.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::support::layout;
use crate::support::process::run;
use crate::support::{Context, Cooper, NONE, need};

fn cases() -> Vec<PathBuf> {
    let dir = need::source_tree().join("testdata/dockerfiles/negative");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    cases.sort();
    cases
}

/// Options in the first line of a Dockerfile: `# args: --target x`.
fn options(case: &std::path::Path) -> Vec<String> {
    let dockerfile = std::fs::read_to_string(case.join("Dockerfile")).expect("a Dockerfile");
    let first = dockerfile.lines().next().unwrap_or_default();
    first
        .strip_prefix("# args: ")
        .map(|options| options.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

#[test]
fn every_case_fails_with_what_it_expects() {
    let Some(cooper) = Cooper::new() else { return };
    let mut wrong = String::new();
    for case in cases() {
        let name = case.file_name().unwrap_or_default().to_string_lossy();
        let expected = std::fs::read_to_string(case.join("expected")).expect("expectations");
        let context = Context::copy_of(&case);
        std::fs::remove_file(context.join("expected")).expect("remove");
        let outcome = cooper.build(&context, &options(&case));
        let missing: Vec<_> = expected
            .lines()
            .filter(|line| !outcome.stderr.contains(line))
            .collect();
        if outcome.code() != 1 || !missing.is_empty() {
            let _ = writeln!(wrong, "\n### {name}: missing {missing:?} in {outcome}");
        }
        if outcome.stderr.contains("panicked") {
            let _ = writeln!(wrong, "\n### {name}: a panic");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_dockerfile_that_is_none() {
    let Some(cooper) = Cooper::new() else { return };
    let directory = Context::empty();
    directory.sh("mkdir Dockerfile");
    cooper.build(&directory, NONE).exits(1).says("directory");

    let missing = Context::empty();
    cooper.build(&missing, NONE).exits(1).says("Dockerfile");

    let binary = Context::empty();
    std::fs::copy(env!("CARGO_BIN_EXE_cooper"), binary.join("Dockerfile")).expect("copy");
    binary.sh("truncate -s 200000 Dockerfile");
    let outcome = cooper.build(&binary, NONE).exits(1).says("Dockerfile");
    assert!(outcome.stderr.len() < 20_000, "a screenful, not the binary");

    let long = Context::empty().with("Dockerfile", "# a comment line\n".repeat(700_000));
    let outcome = cooper.build(&long, NONE).exits(1);
    assert!(outcome.stderr.len() < 20_000, "a screenful, not the file");

    let endless = Context::empty();
    endless.sh("ln -s /dev/zero Dockerfile");
    cooper.build(&endless, NONE).exits(1).says("larger than");

    let nul = Context::new("FROM busybox\nRUN echo \0\n");
    cooper.build(&nul, NONE).exits(1);
}

#[test]
fn a_context_that_is_none() {
    let Some(cooper) = Cooper::new() else { return };
    let missing = cooper.scratch("no-such-directory");
    run(cooper.build_command(&missing, &["--progress=plain"]))
        .exits(1)
        .says("no-such-directory");
    let file = cooper.scratch("file");
    std::fs::write(&file, "x").expect("write");
    run(cooper.build_command(&file, &["--progress=plain"]))
        .exits(1)
        .says("file");
}

#[test]
fn a_definition_from_stdin_that_cannot_be_built() {
    let Some(cooper) = Cooper::new() else { return };
    let busybox = cooper.busybox_context();
    let from_stdin = |input: &[u8]| {
        cooper
            .start(&["build", busybox.as_str(), "-"], input)
            .finish()
    };
    from_stdin(b"FROM busybox\nCOPY a /\n")
        .exits(1)
        .says("through stdin")
        .says("cooper build -f - DIRECTORY");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    from_stdin(&tar).exits(1).says("archive refused");
}

#[test]
fn a_dockerfile_that_is_in_the_context_only() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty().with("In.context", "FROM scratch\n");
    cooper
        .build(&context, &["-f", "In.context"])
        .exits(1)
        .says("did you mean -f ")
        .says("/In.context?");
}

#[test]
fn a_base_for_another_architecture() {
    let Some(cooper) = Cooper::new() else { return };
    let foreign = cooper.scratch("foreign");
    layout::with_config(cooper.busybox_layout(), &foreign, |config| {
        config["architecture"] = "s390x".into();
    });
    let context = Context::new("FROM foreign\nRUN true\n");
    cooper
        .build(
            &context,
            &[format!(
                "--build-context=foreign=oci-layout://{}",
                foreign.display()
            )],
        )
        .exits(1)
        .says("s390x");
}

#[test]
fn a_corrupt_archive_is_not_loaded() {
    let Some(cooper) = Cooper::new() else { return };
    let good = cooper.scratch("good.tar");
    layout::archive(cooper.busybox_layout(), "victim:latest", &good);
    let bytes = std::fs::read(&good).expect("the archive");

    let load = |name: &str, bytes: &[u8]| {
        let file = cooper.scratch(name);
        std::fs::write(&file, bytes).expect("write");
        cooper.run(&[OsStr::new("load"), OsStr::new("-i"), file.as_os_str()])
    };
    load("empty.tar", b"").exits(1).says("empty.tar");
    load("text.tar", b"this is no archive\n")
        .exits(1)
        .says("text.tar");
    load("cut.tar", &bytes[..bytes.len() / 2])
        .exits(1)
        .says("cut.tar");
    let mut spoilt = bytes.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 1;
    load("spoilt.tar", &spoilt).exits(1).says("sha256:");
    cooper.run(&["inspect", "victim"]).exits(1);
    load("good.tar", &bytes).ok();
    cooper.run(&["run", "--rm", "victim", "true"]).ok();
    cooper
        .run(&["load", "-i", "/no/such/file.tar"])
        .exits(1)
        .says("/no/such/file.tar");
}

#[test]
fn a_failed_step_shows_its_tail_and_its_line() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nRUN true\nRUN for i in $(seq 500); do echo line $i; done; exit 9\n",
    );
    let outcome = cooper.build(&context, NONE).exits(1);
    for text in ["line 1\n", "line 250\n", "line 500", "Dockerfile:3", "9"] {
        assert!(outcome.stderr.contains(text), "{text:?} in {outcome}");
    }
}

#[test]
fn an_output_that_cannot_be_written() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nLABEL a=b\n");
    cooper
        .build(&context, &["-otype=oci,dest=/proc/no/such/file.tar"])
        .exits(1)
        .says("/proc/no/such");
    // Whoever reads or holds the output fails, not the files that go into it.
    for kind in ["tar", "oci"] {
        let full = format!("-otype={kind},dest=/dev/full");
        let outcome = cooper.build(&context, &[&full]).exits(1);
        outcome.says("cannot write /dev/full").says("No space left");
    }
    cooper
        .build(&context, &["-otype=ocy,dest=x"])
        .exits(1)
        .says("oci");
}

#[test]
fn a_failed_step_can_be_looked_into() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nENV kept=yes\nWORKDIR /w\nUSER 7\n\
         RUN --mount=type=secret,id=s echo partial >/tmp/part; cat /run/secrets/s; exit 3\n",
    )
    .with("secret", "hush");
    let secret = format!("--secret=id=s,src={}", context.join("secret").display());
    for _ in 0..2 {
        cooper
            .build(&context, &[&secret])
            .exits(1)
            .says("failed: exit code: 3")
            .says("cooper run --rm -it failed-step");
    }
    let look = "cat /tmp/part; pwd; id -u; echo $kept; ls /run/secrets 2>&1 | grep -c s$";
    let seen = cooper.run(&["run", "--rm", "failed-step", "sh", "-c", look]);
    assert_eq!(seen.out(), "partial\n/w\n7\nyes\n0\n");
    let images = cooper.run(&["images", "-aq"]).ok();
    assert_eq!(
        images.out().lines().count(),
        1,
        "the last failure replaces the one before"
    );
}
