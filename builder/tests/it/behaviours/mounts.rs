//! RUN --mount.

use std::time::Duration;

use rustix::process::Signal;

use super::{Case, Expect, check, given, output, written};
use crate::support::{Context, Cooper, NONE};

#[test]
fn mounts() {
    check(&[
        Case {
            name: "a bind mount of the context is read-only",
            setup: "printf x >f",
            dockerfile: "FROM busybox\nRUN --mount=target=/m cat /m/f; echo; \
                         touch /m/g 2>/dev/null || echo read-only\n",
            args: NONE,
            expect: Expect::Output(&["x", "read-only"]),
        },
        Case {
            name: "what is written to a bind mount vanishes",
            setup: "printf x >f",
            dockerfile: "FROM busybox\nRUN --mount=target=/m,rw echo y >/m/g; cat /m/g\n\
                         RUN --mount=target=/m ls /m | grep -x g || echo gone\n",
            args: NONE,
            expect: Expect::Output(&["y", "gone"]),
        },
        output(
            "a bind mount of a stage's directory",
            "FROM busybox AS s\nRUN mkdir /d && echo x >/d/f\n\
             FROM busybox\nRUN --mount=from=s,source=/d,target=/m ls /m\n",
            &["f"],
        ),
        output(
            "a cache keeps its content and belongs to root",
            "FROM busybox\nUSER mail\nRUN --mount=type=cache,target=/c stat -c '%a %u:%g' /c\n\
             USER root\nRUN --mount=type=cache,target=/c echo x >/c/f\n\
             RUN --mount=type=cache,target=/c cat /c/f\n",
            &["755 0:0", "x"],
        ),
        output(
            "another owner is another cache",
            "FROM busybox\nRUN --mount=type=cache,id=i,target=/c echo x >/c/f\n\
             RUN --mount=type=cache,id=i,target=/c,uid=8,gid=8,mode=0700 \
             ls /c | wc -l; stat -c '%a %u:%g' /c\n",
            &["0", "700 8:8"],
        ),
        output(
            "a cache that begins with a stage's files",
            "FROM busybox AS s\nRUN mkdir /d && echo x >/d/f\nFROM busybox\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d cat /c/f\n",
            &["x"],
        ),
        output(
            "a tmpfs",
            "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=65536 stat -f -c %T /t; \
             head -c 100000 /dev/zero 2>/dev/null >/t/f || echo full\n",
            &["tmpfs", "full"],
        ),
        output(
            "a relative target is relative to WORKDIR",
            "FROM busybox\nWORKDIR /w\nRUN --mount=type=tmpfs,target=t stat -f -c %T /w/t\n",
            &["tmpfs"],
        ),
        Case {
            name: "a mount without target",
            setup: "",
            dockerfile: "FROM busybox\nRUN --mount=type=tmpfs true\n",
            args: NONE,
            expect: Expect::Fails(&["target"]),
        },
    ]);
}

#[test]
fn what_the_reference_says() {
    check(&[
        given(
            "a secret is known by its target, and is a file, a variable or both",
            &["--secret=id=token,src=/etc/hostname"],
            "FROM busybox\nRUN --mount=type=secret,target=/etc/token test -s /etc/token && echo there\n\
             RUN --mount=type=secret,id=token,env=T,target=/x,mode=0440,uid=5 \
             printf %s \"$T\" | cmp - /x && stat -c '%a %u' /x\n\
             RUN --mount=type=secret,id=token,env=T ls /run/secrets/token 2>/dev/null || echo no file\n\
             RUN --mount=type=secret,id=none ls /run/secrets/none 2>/dev/null || echo none\n",
            &["there", "440 5", "no file", "none"],
        ),
        output(
            "a new cache has the mode and owner that are asked for, or begins as a stage's files",
            "FROM busybox AS s\nRUN mkdir -p /src/sub && echo seeded >/src/sub/f\nFROM busybox\n\
             RUN --mount=type=cache,target=/c,from=s,source=/src/sub cat /c/f\n\
             RUN --mount=type=cache,target=/d,mode=0700,uid=7,gid=8 stat -c '%a %u %g' /d\n\
             RUN --mount=type=cache,target=/c,from=s,source=/src/sub,ro touch /c/g 2>/dev/null || echo read-only\n\
             RUN --mount=type=tmpfs,target=/t,size=1m df -k /t | awk 'END { print $2 }'\n",
            &["seeded", "700 7 8", "read-only", "1024"],
        ),
        output(
            "a cache that begins as a stage's files keeps their modes, and its own unless one is asked for",
            "FROM busybox AS s\nRUN mkdir -p /src/sub && touch /src/sub/f && chmod 640 /src/sub/f && \
             chown 3:4 /src /src/sub/f && chmod 1777 /src\nFROM busybox\n\
             RUN --mount=type=cache,target=/c,from=s,source=/src stat -c '%a %u %g' /c /c/sub /c/sub/f\n\
             RUN --mount=type=cache,target=/c,from=s,source=/src,uid=7 stat -c '%a %u %g' /c /c/sub/f\n\
             RUN --mount=type=cache,target=/c,from=s,mode=0700 stat -c '%a %u %g' /c /c/src\n",
            &[
                "1777 3 4", "755 0 0", "640 3 4", "755 7 0", "640 3 4", "700 0 0", "1777 3 4",
            ],
        ),
        output(
            "a bind is the context, read-only; what rw writes is gone afterwards",
            "FROM busybox\nWORKDIR /w\n\
             RUN --mount=type=bind,target=. ls && touch z 2>/dev/null || echo read-only\n\
             RUN --mount=target=.,readwrite echo x >z; cat z\nRUN ls | wc -l\n",
            &["Dockerfile", "read-only", "x", "0"],
        ),
    ]);
}

#[test]
fn secrets() {
    let Some(cooper) = Cooper::new() else { return };
    let secret = cooper.scratch("token");
    std::fs::write(&secret, "hunter2\n").expect("write");
    let context = Context::new(
        "FROM busybox\n\
         RUN --mount=type=secret,id=token stat -c '%a %u:%g' /run/secrets/token\n\
         RUN --mount=type=secret,id=token,target=/t,mode=0440,uid=8 \
         stat -c '%a %u:%g' /t; wc -c </t\n\
         RUN --mount=type=secret,id=token,env=TOKEN printf %s \"$TOKEN\" | wc -c; test ! -e /run/secrets/token && echo no file\n\
         RUN --mount=type=secret,id=absent ls /run/secrets/absent 2>/dev/null || echo absent\n",
    );
    let tar = cooper.scratch("image.tar");
    let outcome = cooper
        .build(
            &context,
            &[
                format!("--secret=id=token,src={}", secret.display()),
                format!("-otype=oci,dest={}", tar.display()),
            ],
        )
        .ok();
    assert_eq!(
        super::written(&outcome.stderr),
        ["400 0:0", "440 8:0", "8", "8", "no file", "absent"]
    );
    for place in [tar.as_path(), cooper.root()] {
        let found = std::process::Command::new("grep")
            .args(["-r", "--files-with-matches", "hunter2"])
            .arg(place)
            .output()
            .expect("grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}

#[test]
fn a_secret_from_the_environment() {
    let Some(cooper) = Cooper::new() else { return };
    let context =
        Context::new("FROM busybox\nRUN --mount=type=secret,id=t,required wc -c </run/secrets/t\n");
    // A variable that is not set is an empty secret, and the later of two counts: as docker has it.
    for (secrets, expected) in [
        (&["--secret=id=t,env=MY_TOKEN"][..], "5"),
        (&["--secret=type=env,id=t,src=MY_TOKEN"], "5"),
        (&["--secret=id=t,env=UNSET_TOKEN"], "0"),
        (&["--secret=type=env,id=t"], "0"),
        (
            &[
                "--secret=id=t,env=UNSET_TOKEN",
                "--secret=id=t,env=MY_TOKEN",
            ],
            "5",
        ),
    ] {
        let args = [&["--progress=plain", "--no-cache"], secrets].concat();
        let mut command = cooper.build_command(context.path(), &args);
        command.env("MY_TOKEN", "12345");
        let outcome = crate::support::process::run(command).ok();
        assert_eq!(super::written(&outcome.stderr), [expected], "{secrets:?}");
        let warned = outcome.stderr.contains("the secret t is empty");
        assert_eq!(warned, expected == "0", "{secrets:?}");
    }
}

#[test]
fn a_secret_from_a_pipe() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nRUN --mount=type=secret,id=t wc -c </run/secrets/t\n\
         RUN --mount=type=secret,id=t cut -c 3- /run/secrets/t\n",
    );
    let pipe = cooper.scratch("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || std::fs::write(pipe, "1234567\n").expect("write"))
    };
    let secret = format!("--secret=id=t,src={}", pipe.display());
    let outcome = cooper.build(&context, &["--progress=plain", &secret]).ok();
    writer.join().expect("written");
    assert_eq!(super::written(&outcome.stderr), ["8", "34567"]);
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
         echo $who $((40 + 2)); sleep 3000\n",
    );
    let mut holder = cooper.start_build(&context, &["--build-arg=who=holder"]);
    holder.wait_until_says("holder 42");
    let mut waiter = cooper.start_build(&context, &["--build-arg=who=waiter"]);
    waiter.wait_until_says("another step has locked");
    waiter.signal(Signal::INT);
    waiter.finish_within(Duration::from_secs(60)).exits(130);
    holder.signal(Signal::INT);
    holder.finish_within(Duration::from_secs(60)).exits(130);
}
