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

/// Wrong Dockerfiles of each family of instructions: where the fault is shown, what is said of it,
/// and what would help.
const WRONG: [(&str, &[&str]); 50] = [
    (
        "FRM busybox\nRUN x\n",
        &[
            "Dockerfile:1:1",
            "Dockerfile:2:1",
            "unknown instruction: FRM",
            "no build stage in current context: RUN before FROM",
            "did you mean `FROM`?",
            "a Dockerfile starts with FROM; only ARG may stand before it",
        ],
    ),
    (
        "FROM busybox AS 1a\n",
        &[
            "Dockerfile:1:17",
            "invalid name for build stage: \"1a\", name can't start with a ",
            "begin with a letter and go on with letters, digits, `-`,",
        ],
    ),
    (
        "FROM busybox:$TAG\n",
        &[
            "Dockerfile:1:6",
            "failed to parse stage name \"busybox:\": invalid reference for",
            "TAG is not set here: give it a default with `ARG TAG=…` ",
        ],
    ),
    (
        "FROM --platfrm=linux/amd64 busybox\n",
        &[
            "Dockerfile:1:6",
            "unknown flag: --platfrm",
            "did you mean `--platform`?",
        ],
    ),
    (
        "FROM busybox AS\n",
        &[
            "Dockerfile:1:6",
            "FROM requires either one or three arguments",
            "write `FROM image` or `FROM image AS name`",
        ],
    ),
    (
        "FROM busybox\nRUN --mount=type=cach,target=/x x\n",
        &[
            "Dockerfile:2:13",
            "unsupported mount type \"cach\"",
            "did you mean `cache`?",
        ],
    ),
    (
        "FROM busybox\nRUN --mount=type=cache,target=/a,sharing=lock x\n",
        &[
            "Dockerfile:2:34",
            "unsupported sharing value \"lock\"",
            "use shared, private or locked",
        ],
    ),
    (
        "FROM busybox\nRUN --mount=type=bind,source=nosuch,target=/a \\\n   echo hi \\\n  && echo there\n",
        &[
            "Dockerfile:2:30",
            "\"/nosuch\": not found",
            "there is nothing of that name in the build context",
        ],
    ),
    (
        "FROM busybox\nRUN --mount=type=secret,id=a,mode=0999 x\n",
        &[
            "Dockerfile:2:30",
            "invalid value 0999 for mode",
            "write an octal mode, such as 0440 or 0755",
        ],
    ),
    (
        "FROM busybox\nRUN --network=hots x\n",
        &[
            "Dockerfile:2:15",
            "unsupported network mode \"hots\"",
            "did you mean `host`?",
        ],
    ),
    (
        "FROM busybox\nRUN <<EOF\necho hi\nEOFF\n",
        &[
            "Dockerfile:2:5",
            "unterminated heredoc",
            "a line with exactly `EOF` and nothing else must end it",
        ],
    ),
    (
        "FROM busybox\nRUN echo a \\\n # comment\n && nosuchprogram --flag \\\n && echo b\n",
        &[
            "Dockerfile:2:1",
            "process \"/bin/sh -c echo a  && nosuchprogram --flag  && echo",
            "exit code 127 is a shell's answer to a command that is n",
        ],
    ),
    (
        "FROM busybox\nRUN [\"nosuchprogram\", \"x\"]\n",
        &[
            "Dockerfile:2:1",
            "cannot run \"nosuchprogram x\" (exit code 127)",
            "install nosuchprogram in an earlier RUN, or set PATH so ",
        ],
    ),
    (
        "FROM busybox\nCOPY a.tx /x\n",
        &[
            "Dockerfile:2:6",
            "\"a.tx\": not found",
            "did you mean a.txt?",
        ],
    ),
    (
        "FROM busybox\nCOPY a.txt\n",
        &[
            "Dockerfile:2:6",
            "COPY requires at least two arguments, but only one was provi",
            "add what the instruction is to work on",
        ],
    ),
    (
        "FROM busybox AS build\nFROM busybox\nCOPY --from=build /nosuch/file /b\n",
        &[
            "Dockerfile:3:19",
            "\"/nosuch/file\": not found",
            "there is nothing of that name in the stage or image",
        ],
    ),
    (
        "FROM busybox\nCOPY --chmod=u+q a.txt /x\n",
        &[
            "Dockerfile:2:14",
            "invalid chmod parameter: 'u+q' is no mode",
            "write an octal mode such as 0755, or a symbolic one such",
        ],
    ),
    (
        "FROM busybox\nCOPY --exclude=[ a.txt /x\n",
        &[
            "Dockerfile:2:16",
            "syntax error in pattern \"[\"",
            "close each `[` with `]`, and put a character after each ",
        ],
    ),
    (
        "FROM busybox\nCOPY <<EOF <<EOF2 /x\nhi\nEOF\n",
        &[
            "Dockerfile:2:12",
            "unterminated heredoc",
            "a line with exactly `EOF2` and nothing else must end it",
        ],
    ),
    (
        "FROM busybox\nCOPY <<EOF /x\n$a ${b\nEOF\n",
        &["Dockerfile:3:4", "missing '}'", "close the substitution"],
    ),
    (
        "FROM busybox\nCOPY d /etc/passwd\n",
        &[
            "Dockerfile:2:8",
            "cannot copy \"d\"",
            "/etc/passwd exists and is not a directory; a directory's",
        ],
    ),
    (
        "FROM busybox\nADD --checksum=sha256:12 http://127.0.0.1:9/x /x\n",
        &[
            "Dockerfile:2:16",
            "invalid checksum \"sha256:12\": invalid digest length: sha256 ",
            "write --checksum=sha256: and 64 hexadecimal digits",
        ],
    ),
    (
        "FROM busybox\nADD http://127.0.0.1:9/x /x\n",
        &[
            "Dockerfile:2:5",
            "cannot download http://127.0.0.1:9/x",
            "check the address, the network and the proxy settings",
        ],
    ),
    (
        "FROM busybox\nADD --keep-git-dir=true git@127.0.0.1:x/y.git#main /x\n",
        &[
            "Dockerfile:2:25",
            "ssh agent default was not given",
            "pass it with --ssh default, or keys with --ssh default=FILE",
        ],
    ),
    (
        "FROM busybox\nENV a\n",
        &[
            "Dockerfile:2:5",
            "ENV must have two arguments",
            "write ENV a=value",
        ],
    ),
    (
        "FROM busybox\nENV a=1 \\\n  b=${c^^} \\\n  d=${e\n",
        &[
            "Dockerfile:3:5",
            "Dockerfile:4:5",
            "failed to process \"${c^^}\": unsupported modifier (^) in substitution",
            "failed to process \"${e\": syntax error: missing '}'",
            "known are :- - :+ + :? ? and # ## % %% / // with a pattern",
            "close the substitution with `}`; a literal `$` is writte",
        ],
    ),
    (
        "FROM busybox\nENV a=\"x\n",
        &[
            "Dockerfile:2:7",
            "failed to process \"\\\"x\": unexpected end of statement while l",
            "close the quote, or escape it if it is meant literally; ",
        ],
    ),
    (
        "FROM busybox\nLABEL =x\n",
        &[
            "Dockerfile:2:7",
            "LABEL names can not be blank",
            "write NAME=value, without blanks around `=`",
        ],
    ),
    (
        "FROM busybox\nARG\n",
        &[
            "Dockerfile:2:1",
            "ARG requires at least one argument",
            "add what the instruction is to work on",
        ],
    ),
    (
        "FROM busybox\nONBUILD ONBUILD RUN x\n",
        &[
            "Dockerfile:2:9",
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            "write ONBUILD and one instruction other than ONBUILD, FR",
        ],
    ),
    (
        "FROM busybox AS p\nONBUILD COPY nosuch /x\nFROM p\nRUN true\n",
        &[
            "Dockerfile:2:1",
            "\"nosuch\": not found",
            "in the trigger `ONBUILD COPY nosuch /x`",
            "there is nothing of that name in the build context",
        ],
    ),
    (
        "FROM busybox AS p\nONBUILD COPY --from=nope /a /b\nFROM p\n",
        &["Dockerfile:2:21", "nope: not in the local store"],
    ),
    (
        "FROM busybox AS p\nONBUILD RUN --mount=type=cach,target=/x ls\nFROM p\n",
        &["Dockerfile:2:21", "unsupported mount type \"cach\""],
    ),
    (
        "FROM busybox AS p\nONBUILD RUN \\\n  --mount=type=cach,target=/x ls\nFROM p\n",
        &["Dockerfile:2:1", "unsupported mount type \"cach\""],
    ),
    (
        "FROM busybox\nADD https://h/b.git?subdir=y&refs=x /z\n",
        &[
            "Dockerfile:2:30",
            "unexpected query \"refs\"",
            "did you mean ref?",
        ],
    ),
    (
        "FROM busybox\nADD https://h/b.git?submodules=2&ref=x /z\n",
        &["Dockerfile:2:21", "invalid submodules value"],
    ),
    (
        "FROM busybox\nADD https://h/b.git?ref=x&ref=y /z\n",
        &["Dockerfile:2:27", "query \"ref\" has multiple values"],
    ),
    (
        "FROM busybox AS p\nONBUILD RUNN foo\nFROM p\n",
        &[
            "Dockerfile:2:9",
            "unknown instruction: RUNN",
            "a stage that starts from this one runs the trigger",
            "did you mean `RUN`?",
        ],
    ),
    (
        "FROM busybox\nHEALTHCHECK --interval=3x CMD true\n",
        &[
            "Dockerfile:2:24",
            "time: invalid duration \"3x\"",
            "write a number with a unit, such as 30s, 1m30s or 500ms",
        ],
    ),
    (
        "FROM busybox\nHEALTHCHECK CM true\n",
        &[
            "Dockerfile:2:13",
            "Unknown type \"CM\" in HEALTHCHECK (try CMD)",
            "write HEALTHCHECK CMD followed by the command, or HEALTH",
        ],
    ),
    (
        "FROM busybox\nEXPOSE 80/tpc 90-80\n",
        &[
            "Dockerfile:2:8",
            "Dockerfile:2:15",
            "invalid proto: tpc",
            "invalid containerPort: 90-80",
            "write a number up to 65535 or a rising range, with tcp, ",
        ],
    ),
    (
        "FROM busybox\nUSER nosuch\nRUN id\n",
        &[
            "Dockerfile:3:1",
            "cannot run \"/bin/sh -c id\" (exit code 125)",
            "make the user in an earlier RUN (adduser nosuch), or nam",
        ],
    ),
    (
        "FROM busybox\nWORKDIR /etc/passwd\n",
        &[
            "Dockerfile:2:1",
            "cannot make the directory: /etc/passwd is something else",
            "name another directory, or remove /etc/passwd in a RUN b",
        ],
    ),
    (
        "FROM busybox\nSTOPSIGNAL SIGFOO\n",
        &[
            "Dockerfile:2:12",
            "invalid signal: SIGFOO",
            "write a name such as SIGTERM, or a number",
        ],
    ),
    (
        "FROM busybox\nSHELL /bin/sh\n",
        &[
            "Dockerfile:2:7",
            "SHELL requires the arguments to be in JSON form",
            "for example SHELL [\"/bin/bash\", \"-c\"]",
        ],
    ),
    (
        "FROM busybox\nVOLUME []\n",
        &[
            "Dockerfile:2:1",
            "VOLUME requires at least one argument",
            "add what the instruction is to work on",
        ],
    ),
    (
        "# escape=x\nFROM busybox\n",
        &[
            "Dockerfile:1:10",
            "invalid escape token 'x' does not match ` or \\",
            "use `# escape=\\` or `# escape=` followed by a backtick",
        ],
    ),
    (
        "# syntax=example/other:1\nFROM busybox\n",
        &[
            "Dockerfile:1:10",
            "the Dockerfile asks for the frontend image example/other:1, ",
            "only docker/dockerfile is built in; remove the directive",
        ],
    ),
    (
        "FROM busybox AS a\nCOPY --from=c / /\nFROM a AS c\n",
        &[
            "Dockerfile:3:6",
            "circular dependency detected on stage: a",
            "the stages need each other: a → c → a",
            "move what both stages need to a stage of its own",
        ],
    ),
    (
        "FROM busybox\nENTRYPOINT\nRUN --device=a.b/c=d x\n",
        &[
            "Dockerfile:2:1",
            "Dockerfile:3:14",
            "device a.b/c=d is not allowed",
            "pass --allow device=a.b/c=d if you trust this Dockerfile",
        ],
    ),
];

#[test]
fn each_fault_is_shown_where_it_is_with_what_would_help() {
    let Some(cooper) = Cooper::new() else { return };
    let mut wrong = String::new();
    for (dockerfile, expected) in WRONG {
        let context = Context::new(dockerfile).with("a.txt", "x\n");
        context.sh("mkdir d");
        let outcome = cooper.build(&context, NONE);
        let missing = |word: &&&str| !outcome.stderr.contains(**word);
        let missing: Vec<_> = expected.iter().filter(missing).collect();
        if outcome.code() != 1 || !missing.is_empty() {
            let _ = writeln!(wrong, "\n### {dockerfile}missing {missing:?} in {outcome}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
