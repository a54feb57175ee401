//! RUN: users, the sandbox, what remains, and steps that cannot start.

use super::{Case, Expect, build_tree, check, fails_in, of_tree, output, output_in};
use crate::support::{Context, Cooper, NONE};

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
        of_tree(
            "no stubs of mounts and files of the sandbox",
            "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=tmpfs,target=/a/b \
             --mount=type=cache,target=/c test -d /a/b -a -d /c && printf x >/f\n",
            &[r#"f 644 0:0 "x""#],
        ),
        of_tree(
            "a scratch image gets nothing from COPY but the copy",
            "FROM busybox\nRUN rm /etc/group && mkdir /etc/group && printf x >/etc/group/f\n",
            &["etc/group/ 755 0:0", r#"etc/group/f 644 0:0 "x""#],
        ),
        of_tree(
            "a directory that was replaced shows nothing of the old one",
            "FROM busybox\nRUN mkdir -p /d && printf a >/d/old\n\
             RUN rm -r /d && mkdir /d && printf b >/d/new\n",
            &["d/ 755 0:0", r#"d/new 644 0:0 "b""#],
        ),
        of_tree(
            "a hard link to a file of a lower layer has its content",
            "FROM busybox\nRUN printf x >/a\nRUN ln /a /b\nRUN rm /a\n",
            &[r#"b 644 0:0 "x""#],
        ),
        of_tree(
            "a file in the form of a whiteout vanishes",
            "FROM busybox\nRUN printf x >/.wh.file; printf y >/kept\n",
            &[r#"kept 644 0:0 "y""#],
        ),
        of_tree(
            "writes to a volume are kept",
            "FROM busybox\nVOLUME /v\nRUN mkdir /v && printf x >/v/f\n",
            &["v/ 755 0:0", r#"v/f 644 0:0 "x""#],
        ),
        of_tree(
            "WORKDIR is made, and is the user's",
            "FROM busybox\nUSER mail\nWORKDIR /a/b\n",
            &["a/ 755 8:8", "a/b/ 755 8:8"],
        ),
        of_tree(
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
fn directories_of_a_step() {
    check(&[
        output_in(
            "a working directory that is gone is made again",
            "",
            "FROM busybox\nWORKDIR /w/x\nRUN rm -r /w; cd /\nRUN pwd; stat -c '%a %u:%g' /w /w/x\n",
            &["/w/x", "755 0:0", "755 0:0"],
        ),
        output_in(
            "the root keeps the mode and owner that a step or an archive gave it",
            "",
            "FROM busybox\nRUN chmod 711 / && chown 3:4 /\nRUN stat -c '%a %u:%g' /\n\
             WORKDIR /w\nRUN stat -c '%a %u:%g' /\n",
            &["711 3:4", "711 3:4"],
        ),
        output_in(
            "mounts lie in the order of their targets",
            "",
            "FROM busybox\nRUN --mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a \
             touch /a/b/x && ls /a /a/b\n",
            &["/a:", "b", "", "/a/b:", "x"],
        ),
        output_in(
            "a bind of one file",
            "printf 'x\\n' >f",
            "FROM busybox\nRUN --mount=source=f,target=/x/f cat /x/f; ls /x\nRUN test ! -e /x && echo gone\n",
            &["x", "f", "gone"],
        ),
        output_in(
            "a cache that begins with a directory of the context",
            "mkdir -p d; printf 'x\\n' >d/f",
            "FROM busybox AS s\nCOPY d /d\nFROM busybox\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d cat /c/f; echo y >/c/g\n\
             RUN --mount=type=cache,target=/c,from=s,source=/d ls /c\n",
            &["x", "f", "g"],
        ),
        output_in(
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

#[test]
fn a_step_that_cannot_start_says_what_to_do() {
    check(&[
        fails_in(
            "a program that is not there",
            "",
            "FROM busybox\nRUN [\"nosuch\"]\n",
            &[
                "(exit code 127)",
                "install nosuch in an earlier RUN, or set PATH",
            ],
        ),
        fails_in(
            "an image without a shell",
            "",
            "FROM scratch\nCOPY Dockerfile /\nRUN echo\n",
            &["the image has no /bin/sh: give the command in exec form"],
        ),
        fails_in(
            "a program for another architecture",
            "cp /bin/busybox x || cp /usr/bin/busybox x
             printf '\\000\\026' | dd of=x bs=1 seek=18 conv=notrunc 2>/dev/null",
            "FROM busybox\nCOPY --chmod=755 x /x\nRUN [\"/x\"]\n",
            &[
                "(exit code 126)",
                "/x is made for another architecture than this machine's (linux/",
            ],
        ),
        fails_in(
            "a script without its first line",
            "echo echo hi >x",
            "FROM busybox\nCOPY --chmod=755 x /x\nRUN [\"/x\"]\n",
            &[
                "(exit code 126)",
                "without a first line that names its interpreter",
            ],
        ),
        fails_in(
            "a script with carriage returns",
            "printf '#!/bin/sh\\r\\necho hi\\r\\n' >x",
            "FROM busybox\nCOPY --chmod=755 x /x\nRUN [\"/x\"]\n",
            &["(exit code 127)", "carriage return"],
        ),
        fails_in(
            "a file that is not executable",
            "echo x >x",
            "FROM busybox\nCOPY x /x\nRUN [\"/x\"]\n",
            &["(exit code 126)", "use COPY --chmod=755"],
        ),
        fails_in(
            "a command that the shell does not find",
            "",
            "FROM busybox\nRUN nosuch\n",
            &[
                "exit code: 127",
                "install it in an earlier RUN, or check PATH",
            ],
        ),
        fails_in(
            "a step that is killed",
            "",
            "FROM busybox\nRUN kill -9 $$; sh -c 'kill -9 $$'; exit 137\n",
            &["137", "for want of memory"],
        ),
        fails_in(
            "a user that is not in the image",
            "",
            "FROM busybox\nUSER nosuch\nRUN true\n",
            &["nosuch", "name it by number"],
        ),
        fails_in(
            "a mount of what is not there",
            "mkdir src",
            "FROM busybox\nRUN --mount=source=scr,target=/m ls /m\n",
            &["not found", "did you mean src?"],
        ),
        fails_in(
            "a secret that was not given",
            "",
            "FROM busybox\nRUN --mount=type=secret,id=tok,required=true true\n",
            &["secret tok was not given", "--secret id=tok,src=FILE"],
        ),
    ]);
}
