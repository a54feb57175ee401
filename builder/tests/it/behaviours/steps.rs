//! RUN steps that cannot start, that share caches, and that are interrupted.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Case, Expect, build_tree, check, written};
use crate::support::{Context, Cooper, NONE};

const fn output(
    name: &'static str,
    setup: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, setup, dockerfile, Expect::Output(lines))
}

const fn fails(
    name: &'static str,
    setup: &'static str,
    dockerfile: &'static str,
    texts: &'static [&'static str],
) -> Case {
    Case::new(name, setup, dockerfile, Expect::Fails(texts))
}

#[test]
fn a_step_that_cannot_start_says_what_to_do() {
    check(&[
        fails(
            "a program that is not there",
            "",
            "FROM busybox\nRUN [\"nosuch\"]\n",
            &[
                "(exit code 127)",
                "install nosuch in an earlier RUN, or set PATH",
            ],
        ),
        fails(
            "an image without a shell",
            "",
            "FROM scratch\nCOPY Dockerfile /\nRUN echo\n",
            &["the image has no /bin/sh: give the command in exec form"],
        ),
        fails(
            "a program for another architecture",
            "cp /bin/busybox x || cp /usr/bin/busybox x
             printf '\\000\\026' | dd of=x bs=1 seek=18 conv=notrunc 2>/dev/null",
            "FROM busybox\nCOPY --chmod=755 x /x\nRUN [\"/x\"]\n",
            &[
                "(exit code 126)",
                "/x is made for another architecture than this machine's (linux/",
            ],
        ),
        fails(
            "a script without its first line",
            "echo echo hi >x",
            "FROM busybox\nCOPY --chmod=755 x /x\nRUN [\"/x\"]\n",
            &[
                "(exit code 126)",
                "without a first line that names its interpreter",
            ],
        ),
        fails(
            "a script with carriage returns",
            "printf '#!/bin/sh\\r\\necho hi\\r\\n' >x",
            "FROM busybox\nCOPY --chmod=755 x /x\nRUN [\"/x\"]\n",
            &["(exit code 127)", "carriage return"],
        ),
        fails(
            "a file that is not executable",
            "echo x >x",
            "FROM busybox\nCOPY x /x\nRUN [\"/x\"]\n",
            &["(exit code 126)", "use COPY --chmod=755"],
        ),
        fails(
            "a command that the shell does not find",
            "",
            "FROM busybox\nRUN nosuch\n",
            &[
                "exit code: 127",
                "install it in an earlier RUN, or check PATH",
            ],
        ),
        fails(
            "a step that is killed",
            "",
            "FROM busybox\nRUN kill -9 $$; sh -c 'kill -9 $$'; exit 137\n",
            &["137", "for want of memory"],
        ),
        fails(
            "a user that is not in the image",
            "",
            "FROM busybox\nUSER nosuch\nRUN true\n",
            &["nosuch", "name it by number"],
        ),
        fails(
            "a mount of what is not there",
            "mkdir src",
            "FROM busybox\nRUN --mount=source=scr,target=/m ls /m\n",
            &["not found", "did you mean src?"],
        ),
        fails(
            "a secret that was not given",
            "",
            "FROM busybox\nRUN --mount=type=secret,id=tok,required=true true\n",
            &["secret tok was not given", "--secret id=tok,src=FILE"],
        ),
    ]);
}

#[test]
fn directories_of_a_step() {
    check(&[
        output(
            "a working directory that is gone is made again",
            "",
            "FROM busybox\nWORKDIR /w/x\nRUN rm -r /w; cd /\nRUN pwd; stat -c '%a %u:%g' /w /w/x\n",
            &["/w/x", "755 0:0", "755 0:0"],
        ),
        output(
            "the root keeps the mode and owner that a step or an archive gave it",
            "",
            "FROM busybox\nRUN chmod 711 / && chown 3:4 /\nRUN stat -c '%a %u:%g' /\n\
             WORKDIR /w\nRUN stat -c '%a %u:%g' /\n",
            &["711 3:4", "711 3:4"],
        ),
        output(
            "mounts lie in the order of their targets",
            "",
            "FROM busybox\nRUN --mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a \
             touch /a/b/x && ls /a /a/b\n",
            &["/a:", "b", "", "/a/b:", "x"],
        ),
        output(
            "a bind of one file",
            "printf 'x\\n' >f",
            "FROM busybox\nRUN --mount=source=f,target=/x/f cat /x/f; ls /x\nRUN test ! -e /x && echo gone\n",
            &["x", "f", "gone"],
        ),
        output(
            "a cache that begins with a directory of the context",
            "mkdir -p d; printf 'x\\n' >d/f",
            "FROM busybox AS s\nCOPY d /d\nFROM busybox\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d cat /c/f; echo y >/c/g\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d ls /c\n",
            &["x", "f", "g"],
        ),
        output(
            "a relative target of a cache, and `..`",
            "",
            "FROM busybox\nWORKDIR /w/x\nRUN --mount=type=cache,target=../c touch /w/c/f && ls /w/c\n",
            &["f"],
        ),
        Case {
            name: "a process changes nothing by opening, linking or setting what is set",
            setup: "",
            dockerfile: "FROM busybox\nRUN printf a >/a\n\
                         RUN : >>/a; chmod 644 /a; chown 0:0 /a; ln /a /b\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 0:0 "a""#, r#"b 644 0:0 "a""#]),
        },
    ]);
}

#[test]
fn a_step_on_scratch_leaves_the_kernels_directories_and_no_other_stub() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM scratch\nCOPY --from=busybox /bin/busybox /bin/sh\n\
         RUN --mount=type=secret,id=s --mount=type=tmpfs,target=/a/b [\"/bin/sh\", \"-c\", \"echo >/f\"]\n",
    );
    let secret = cooper.scratch("secret");
    std::fs::write(&secret, "s").expect("write");
    let secret = format!("--secret=id=s,src={}", secret.display());
    let tree = build_tree(&cooper, &context, &[&secret]).expect("a build");
    let paths: Vec<&str> = tree.keys().map(String::as_str).collect();
    assert_eq!(paths, ["bin", "bin/sh", "dev", "f", "proc", "sys"]);
    for dir in ["dev", "proc", "sys"] {
        assert_eq!(tree[dir], format!("{dir}/ 755 0:0"));
    }
}

fn two_at_once(sharing: &str, body: &str) -> Context {
    let mount = format!("--mount=type=cache,id=both,target=/c,sharing={sharing}");
    Context::new(&format!(
        "FROM busybox AS one\nRUN {mount} {body}\n\
         FROM busybox AS two\nRUN {mount} : two; {body}\n\
         FROM busybox\nCOPY --from=one /etc/passwd /1\nCOPY --from=two /etc/passwd /2\n"
    ))
}

#[test]
fn sharing_of_caches() {
    let Some(cooper) = Cooper::new() else { return };
    // Whether a step meets the other's mark.
    let body = "if mkdir /c/here 2>/dev/null; then sleep 0.5; rmdir /c/here; echo alone; \
                else echo met; fi";
    for (sharing, expected) in [
        ("locked", ["alone", "alone"]),
        ("private", ["alone", "alone"]),
        ("shared", ["alone", "met"]),
    ] {
        let args = ["--no-cache", "--jobs=4", "-otype=cacheonly"];
        let outcome = cooper.build(&two_at_once(sharing, body), &args).ok();
        let mut said = written(&outcome.stderr);
        said.sort();
        assert_eq!(said, expected, "{sharing}");
    }
}

#[test]
fn an_interrupt_ends_the_wait_for_a_locked_cache() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nARG who\nRUN --mount=type=cache,id=long,target=/c,sharing=locked \
         echo $who $((40 + 2)); sleep 30\n",
    );
    let mut holder = cooper.start_build(&context, &["--build-arg=who=holder"]);
    holder.wait_until_says("holder 42");
    let mut waiter = cooper.start_build(&context, &["--build-arg=who=waiter"]);
    waiter.wait_until_says("another step has locked");
    let begun = Instant::now();
    waiter.signal(Signal::INT);
    let outcome = waiter.finish_within(Duration::from_secs(10)).exits(130);
    assert!(begun.elapsed() < Duration::from_secs(1), "{outcome}");
    holder.signal(Signal::INT);
    holder.finish_within(Duration::from_secs(10)).exits(130);
}

#[test]
fn an_interrupt_ends_a_copy_of_many_files() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY tree /tree\n");
    context.sh("mkdir tree; truncate -s 1G tree/large
                seq 8000 | (cd tree && split -l 1 -a 4 - f)");
    let mut build = cooper.start_build(&context, NONE);
    build.wait_until_says("load build context");
    let begun = Instant::now();
    build.signal(Signal::INT);
    let outcome = build.finish_within(Duration::from_secs(20)).exits(130);
    assert!(begun.elapsed() < Duration::from_secs(2), "{outcome}");
    context.sh("rm tree/large");
    cooper.build(&context, &["-otype=cacheonly"]).ok();
}
