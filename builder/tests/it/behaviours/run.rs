//! RUN: users, the sandbox, mounts, what remains.

use super::{Case, Expect, check, output};
use crate::support::{Context, Cooper};

use crate::support::NONE;

const fn tree(
    name: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, "", dockerfile, Expect::Tree(lines))
}

#[test]
fn users() {
    check(&[
        output(
            "a user brings its supplementary groups",
            "FROM busybox\nUSER daemon\nRUN id -u; for g in $(id -G); do echo $g; done | sort -u\n",
            &["1", "1", "2", "3", "4"],
        ),
        output(
            "a group leaves only itself",
            "FROM busybox\nUSER mail:users\nRUN id -u; for g in $(id -G); do echo $g; done | sort -u\n",
            &["8", "100"],
        ),
        output(
            "a bare number has group 0 and home /",
            "FROM busybox\nUSER 4242\nRUN id -u; id -g; echo $HOME\n",
            &["4242", "0", "/"],
        ),
        output(
            "HOME is that of the build's own passwd",
            "FROM busybox\nRUN echo 'new:x:77:77::/home/new:/bin/sh' >>/etc/passwd\n\
             USER new\nRUN echo $HOME\nUSER root\nRUN echo $HOME\n",
            &["/home/new", "/root"],
        ),
        Case {
            name: "an unknown user is no error without a RUN",
            setup: "",
            dockerfile: "FROM busybox\nUSER nosuch\n",
            args: NONE,
            expect: Expect::Config(&[("/config/User", "\"nosuch\"")]),
        },
        Case {
            name: "but with one",
            setup: "",
            dockerfile: "FROM busybox\nUSER nosuch\nRUN true\n",
            args: NONE,
            expect: Expect::Fails(&["nosuch"]),
        },
    ]);
}

#[test]
fn sandbox() {
    check(&[
        output(
            "capabilities, privileges, seccomp, umask",
            "FROM busybox\nRUN grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; umask\n",
            &[
                "CapInh:\t0000000000000000",
                "CapPrm:\t00000000a80425fb",
                "CapEff:\t00000000a80425fb",
                "CapBnd:\t00000000a80425fb",
                "CapAmb:\t0000000000000000",
                "NoNewPrivs:\t0",
                "Seccomp:\t2",
                "0022",
            ],
        ),
        output(
            "a namespace of processes; the shell is the first",
            "FROM busybox\nRUN echo $$\n",
            &["1"],
        ),
        output(
            "standard input is empty",
            "FROM busybox\nRUN cat; readlink /proc/self/fd/0\n",
            &["/dev/null"],
        ),
        output(
            "--network=none leaves the loopback device",
            "FROM busybox\nRUN --network=none ls /sys/class/net; cat /proc/net/dev | wc -l\n",
            &["lo", "3"],
        ),
        output(
            "masked and read-only paths",
            "FROM busybox\nRUN head -c1 /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware | wc -l; \
             echo x 2>/dev/null >/proc/sys/kernel/hostname || echo read-only\n",
            &["0", "0", "read-only"],
        ),
        output(
            "devices",
            "FROM busybox\nRUN ls /dev/null /dev/zero /dev/full /dev/random /dev/urandom \
             /dev/tty | wc -l; stat -c '%a' /dev/shm; echo x >/dev/null && echo written\n",
            &["6", "1777", "written"],
        ),
        Case {
            name: "--network=none of the whole build",
            setup: "",
            dockerfile: "FROM busybox\nRUN ls /sys/class/net\n",
            args: &["--network=none"],
            expect: Expect::Output(&["lo"]),
        },
        Case {
            name: "added hosts",
            setup: "",
            dockerfile: "FROM busybox\nRUN grep example /etc/hosts | tr '\\t' ' '\n",
            args: &["--add-host=example.test:192.0.2.7"],
            expect: Expect::Output(&["192.0.2.7 example.test"]),
        },
        output(
            "a program in exec form",
            "FROM busybox\nRUN [\"echo\", \"$HOME\", \"a  b\"]\n",
            &["$HOME a  b"],
        ),
    ]);
}

#[test]
fn what_a_run_leaves() {
    check(&[
        tree(
            "no stubs of mounts and files of the sandbox",
            "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=tmpfs,target=/a/b \
             --mount=type=cache,target=/c test -d /a/b -a -d /c && printf x >/f\n",
            &[r#"f 644 0:0 "x""#],
        ),
        tree(
            "a scratch image gets nothing from COPY but the copy",
            "FROM busybox\nRUN rm /etc/group && mkdir /etc/group && printf x >/etc/group/f\n",
            &["etc/group/ 755 0:0", r#"etc/group/f 644 0:0 "x""#],
        ),
        tree(
            "a directory that was replaced shows nothing of the old one",
            "FROM busybox\nRUN mkdir -p /d && printf a >/d/old\n\
             RUN rm -r /d && mkdir /d && printf b >/d/new\n",
            &["d/ 755 0:0", r#"d/new 644 0:0 "b""#],
        ),
        tree(
            "a hard link to a file of a lower layer has its content",
            "FROM busybox\nRUN printf x >/a\nRUN ln /a /b\nRUN rm /a\n",
            &[r#"b 644 0:0 "x""#],
        ),
        tree(
            "a file in the form of a whiteout vanishes",
            "FROM busybox\nRUN printf x >/.wh.file; printf y >/kept\n",
            &[r#"kept 644 0:0 "y""#],
        ),
        tree(
            "writes to a volume are kept",
            "FROM busybox\nVOLUME /v\nRUN mkdir /v && printf x >/v/f\n",
            &["v/ 755 0:0", r#"v/f 644 0:0 "x""#],
        ),
        tree(
            "WORKDIR is made, and is the user's",
            "FROM busybox\nUSER mail\nWORKDIR /a/b\n",
            &["a/ 755 8:8", "a/b/ 755 8:8"],
        ),
        tree(
            "WORKDIR makes the target of a dangling link",
            "FROM busybox\nRUN ln -s there /l\nWORKDIR /l\n",
            &["l -> there", "there/ 755 0:0"],
        ),
        output(
            "processes in the background end with the step",
            "FROM busybox\nRUN sleep 1000 & echo started\nRUN ps | grep -q [s]leep || echo none\n",
            &["started", "none"],
        ),
    ]);
}

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
        Context::new("FROM busybox\nRUN --mount=type=secret,id=t wc -c </run/secrets/t\n");
    let mut command = cooper.build_command(
        context.path(),
        &["--progress=plain", "--secret=id=t,env=MY_TOKEN"],
    );
    command.env("MY_TOKEN", "12345");
    let outcome = crate::support::process::run(command).ok();
    assert_eq!(super::written(&outcome.stderr), ["5"]);
}
