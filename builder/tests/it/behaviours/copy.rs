//! COPY.

use std::time::Duration;

use rustix::process::Signal;

use super::{Case, Expect, check};
use crate::support::process::tool;
use crate::support::{Context, Cooper, NONE, need};

#[test]
fn sources_are_found_as_buildkit_finds_them() {
    check(&[
        Case {
            name: "`**` without --parents acts as one `*`",
            setup: "mkdir -p d/f; printf a >a.txt; printf e >d/e.txt; printf g >d/f/g.txt",
            dockerfile: "FROM busybox\nCOPY **/*.txt /1/\n",
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/e.txt 644 0:0 "e""#]),
        },
        Case {
            name: "of several sources the last is what a path without a slash is",
            setup: "printf 1 >one; printf 2 >two",
            dockerfile: "FROM busybox\nCOPY one two /dest\n",
            args: NONE,
            expect: Expect::Tree(&[r#"dest 644 0:0 "2""#]),
        },
        Case {
            name: "several sources go into a directory that is there already",
            setup: "printf 1 >one; printf 2 >two",
            dockerfile: "FROM busybox\nWORKDIR /dest\nCOPY one two /dest\n",
            args: NONE,
            expect: Expect::Tree(&[
                "dest/ 755 0:0",
                r#"dest/one 644 0:0 "1""#,
                r#"dest/two 644 0:0 "2""#,
            ]),
        },
        Case {
            name: "a user that nobody knows is root, and a group the user's",
            setup: "printf x >f",
            dockerfile: "FROM busybox\nCOPY --chown=nobdy f /a\nCOPY --chown=7:nogrp f /b\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 0:0 "x""#, r#"b 644 7:7 "x""#]),
        },
        Case {
            name: "`!` in a class is a character",
            setup: "printf x >'!.txt'; printf a >a.txt; printf b >b.txt",
            dockerfile: "FROM busybox\nCOPY [!a].txt /2/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "2/ 755 0:0",
                r#"2/!.txt 644 0:0 "x""#,
                r#"2/a.txt 644 0:0 "a""#,
            ]),
        },
        Case {
            name: "`^` negates a class",
            setup: "printf x >'!.txt'; printf a >a.txt; printf b >b.txt",
            dockerfile: "FROM busybox\nCOPY [^a].txt /2/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "2/ 755 0:0",
                r#"2/!.txt 644 0:0 "x""#,
                r#"2/b.txt 644 0:0 "b""#,
            ]),
        },
        Case {
            name: "a wildcard that matches nothing creates nothing",
            setup: "",
            dockerfile: "FROM busybox\nCOPY nomatch* /3/\n",
            args: NONE,
            expect: Expect::Tree(&[]),
        },
        Case {
            name: "a name that is missing is an error",
            setup: "",
            dockerfile: "FROM busybox\nCOPY missing.txt /3/\n",
            args: NONE,
            expect: Expect::Fails(&["missing.txt"]),
        },
        Case {
            name: "`..` is clamped to the context",
            setup: "printf a >a.txt",
            dockerfile: "FROM busybox\nCOPY ../../a.txt /4\n",
            args: NONE,
            expect: Expect::Tree(&[r#"4 644 0:0 "a""#]),
        },
        Case {
            name: "a symlink out of the context is not found",
            setup: "ln -s ../outside-of-this-context l",
            dockerfile: "FROM busybox\nCOPY l /l\n",
            args: NONE,
            expect: Expect::Fails(&["not found"]),
        },
        Case {
            name: "an absolute symlink resolves inside the context",
            setup: "printf a >a.txt; ln -s /a.txt abs",
            dockerfile: "FROM busybox\nCOPY abs /abs\n",
            args: NONE,
            expect: Expect::Tree(&[r#"abs 644 0:0 "a""#]),
        },
        Case {
            name: "a symlink to a directory copies its contents; links inside stay links",
            setup: "mkdir d; printf x >d/f; ln -s f d/lf; ln -s d ld",
            dockerfile: "FROM busybox\nCOPY ld /5/\n",
            args: NONE,
            expect: Expect::Tree(&["5/ 755 0:0", r#"5/f 644 0:0 "x""#, "5/lf -> f"]),
        },
        Case {
            name: "and so through a wildcard",
            setup: "mkdir d; printf x >d/f; ln -s d ld",
            dockerfile: "FROM busybox\nCOPY l* /5/\n",
            args: NONE,
            expect: Expect::Tree(&["5/ 755 0:0", r#"5/f 644 0:0 "x""#]),
        },
        Case {
            name: "and so from a stage",
            setup: "",
            dockerfile: "FROM busybox AS s\nRUN mkdir /d && printf x >/d/f && ln -s d /ld\n\
                         FROM busybox\nCOPY --from=s /ld /5/\n",
            args: NONE,
            expect: Expect::Tree(&["5/ 755 0:0", r#"5/f 644 0:0 "x""#]),
        },
        Case {
            name: "a trailing slash on a file is forgiven",
            setup: "printf a >a.txt",
            dockerfile: "FROM busybox\nCOPY a.txt/ /1\n",
            args: NONE,
            expect: Expect::Tree(&[r#"1 644 0:0 "a""#]),
        },
        Case {
            name: "quotes do not join a name with a blank",
            setup: "printf a >'a b'",
            dockerfile: "FROM busybox\nCOPY \"a b\" /x\n",
            args: NONE,
            expect: Expect::Fails(&["Dockerfile:2:6", "matching double-quote"]),
        },
        Case {
            name: "the JSON form takes a name with a blank",
            setup: "printf a >'a b'",
            dockerfile: "FROM busybox\nCOPY [\"a b\", \"/x\"]\n",
            args: NONE,
            expect: Expect::Tree(&[r#"x 644 0:0 "a""#]),
        },
    ]);
}

#[test]
fn destinations_keep_what_they_are() {
    check(&[
        Case {
            name: "a directory that exists keeps mode and owner",
            setup: "mkdir d; printf x >d/f",
            dockerfile: "FROM busybox\nRUN mkdir -m 700 /t && chown 33:33 /t\nCOPY d/ /t/\n",
            args: NONE,
            expect: Expect::Tree(&["t/ 700 33:33", r#"t/f 644 0:0 "x""#]),
        },
        Case {
            name: "/tmp stays 1777",
            setup: "mkdir d; printf x >d/f",
            dockerfile: "FROM busybox\nCOPY d/ /tmp/\n",
            args: NONE,
            expect: Expect::Tree(&[r#"tmp/f 644 0:0 "x""#]),
        },
        Case {
            name: "--chown concerns new entries only",
            setup: "mkdir d; printf x >d/f",
            dockerfile: "FROM busybox\nRUN mkdir -m 700 /t && chown 33:33 /t\n\
                         COPY --chown=5:6 d/ /t/\n",
            args: NONE,
            expect: Expect::Tree(&["t/ 700 33:33", r#"t/f 644 5:6 "x""#]),
        },
        Case {
            name: "new parents take the --chown owner",
            setup: "mkdir d; printf x >d/f",
            dockerfile: "FROM busybox\nCOPY --chown=5:6 d/ /n/m/\n",
            args: NONE,
            expect: Expect::Tree(&["n/ 755 5:6", "n/m/ 755 5:6", r#"n/m/f 644 5:6 "x""#]),
        },
        Case {
            name: "a directory does not replace a file",
            setup: "mkdir d; printf x >d/f",
            dockerfile: "FROM busybox\nRUN touch /t\nCOPY d/ /t\n",
            args: NONE,
            expect: Expect::Fails(&["/t"]),
        },
        Case {
            name: "a file does not replace a directory",
            setup: "mkdir d; printf x >d/f",
            dockerfile: "FROM busybox\nRUN mkdir -p /t/f\nCOPY d/ /t/\n",
            args: NONE,
            expect: Expect::Fails(&["t/f"]),
        },
        Case {
            name: "a symlink to a file is written through, dangling or not",
            setup: "printf a >a.txt",
            dockerfile: "FROM busybox\n\
                         RUN printf old >/f && ln -s f /l && ln -s nowhere /dl\n\
                         COPY a.txt /l\nCOPY a.txt /dl\n",
            args: NONE,
            expect: Expect::Tree(&[
                r#"f 644 0:0 "a""#,
                "l -> f",
                "dl -> nowhere",
                r#"nowhere 644 0:0 "a""#,
            ]),
        },
        Case {
            name: "two sources onto one new name leave the last",
            setup: "printf a >a; printf b >b",
            dockerfile: "FROM busybox\nCOPY a b /new\n",
            args: NONE,
            expect: Expect::Tree(&[r#"new 644 0:0 "b""#]),
        },
        Case {
            name: "an absolute symlink at the destination stays inside the image",
            setup: "printf a >a.txt",
            dockerfile: "FROM busybox\nRUN mkdir /real && ln -s /real /l\nCOPY a.txt /l/sub/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "l -> /real",
                "real/ 755 0:0",
                "real/sub/ 755 0:0",
                r#"real/sub/a.txt 644 0:0 "a""#,
            ]),
        },
    ]);
}

#[test]
fn owners_and_modes() {
    check(&[
        Case {
            name: "a number alone is user and group",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --chown=8 a /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 8:8 "a""#]),
        },
        Case {
            name: "a user name brings its group",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --chown=sync a /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 4:100 "a""#]),
        },
        Case {
            name: "a group alone leaves root",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --chown=:8 a /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 0:8 "a""#]),
        },
        Case {
            name: "an unknown user is root",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --chown=nosuch a /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 0:0 "a""#]),
        },
        Case {
            name: "an unknown group is the user's",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --chown=sync:nosuch a /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"a 644 4:100 "a""#]),
        },
        Case {
            name: "a name in scratch is an error",
            setup: "printf a >a",
            dockerfile: "FROM scratch\nCOPY --chown=sync a /\n",
            args: NONE,
            expect: Expect::Fails(&["sync"]),
        },
        Case {
            name: "an octal --chmod applies to directories too",
            setup: "mkdir -p d/s; printf x >d/f; printf y >d/s/g; ln -s f d/l",
            dockerfile: "FROM busybox\nCOPY --chmod=0640 d/ /9/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "9/ 640 0:0",
                r#"9/f 640 0:0 "x""#,
                "9/l -> f",
                "9/s/ 640 0:0",
                r#"9/s/g 640 0:0 "y""#,
            ]),
        },
        Case {
            name: "the destination itself gets no special bits",
            setup: "mkdir -p d/s; printf x >d/f",
            dockerfile: "FROM busybox\nCOPY --chmod=1777 d/ /4/\n",
            args: NONE,
            expect: Expect::Tree(&["4/ 777 0:0", r#"4/f 1777 0:0 "x""#, "4/s/ 1777 0:0"]),
        },
        Case {
            name: "a symbolic --chmod tells files from directories",
            setup: "mkdir -p d/s; printf x >d/f; chmod 600 d/f; chmod 700 d/s",
            dockerfile: "FROM busybox\nCOPY --chmod=u=rwX,go=rX d/ /9/\n",
            args: NONE,
            expect: Expect::Tree(&["9/ 755 0:0", r#"9/f 644 0:0 "x""#, "9/s/ 755 0:0"]),
        },
    ]);
}

#[test]
fn kinds_of_files() {
    check(&[
        Case {
            name: "hard links survive within one directory",
            setup: "mkdir d; printf x >d/a; ln d/a d/b",
            dockerfile: "FROM busybox\nCOPY d /12/\n",
            args: NONE,
            expect: Expect::Tree(&["12/ 755 0:0", r#"12/a 644 0:0 "x""#, "12/b == 12/a"]),
        },
        Case {
            name: "but not between two sources",
            setup: "printf x >a; ln a b",
            dockerfile: "FROM busybox\nCOPY a b /12/\n",
            args: NONE,
            expect: Expect::Tree(&["12/ 755 0:0", r#"12/a 644 0:0 "x""#, r#"12/b 644 0:0 "x""#]),
        },
        Case {
            name: "fifos, mode 0, odd names and setuid",
            setup: "mkdir d; mkfifo d/p; : >d/z; chmod 0 d/z; : >\"d/$(printf 'n\\nl')\"
                    : >\"d/$(printf 'r\\377')\"; : >d/s; chmod 4755 d/s",
            dockerfile: "FROM busybox\nCOPY d /13/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "13/ 755 0:0",
                r#"13/n\nl 644 0:0 """#,
                r"13/p| 644 0:0",
                r#"13/r\xff 644 0:0 """#,
                r#"13/s 4755 0:0 """#,
                r#"13/z 0 0:0 """#,
            ]),
        },
        Case {
            name: "--parents keeps the parents' modes",
            setup: "mkdir -m 750 p; mkdir p/q; printf x >p/q/f",
            dockerfile: "FROM busybox\nCOPY --parents p/q/f /14/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "14/ 755 0:0",
                "14/p/ 750 0:0",
                "14/p/q/ 755 0:0",
                r#"14/p/q/f 644 0:0 "x""#,
            ]),
        },
        Case {
            name: "--parents matches `**` at any depth",
            setup: "mkdir -p d/f; printf a >a.txt; printf e >d/e.txt; printf g >d/f/g.txt",
            dockerfile: "FROM busybox\nCOPY --parents **/*.txt /1/\n",
            args: NONE,
            expect: Expect::Tree(&[
                "1/ 755 0:0",
                r#"1/a.txt 644 0:0 "a""#,
                "1/d/ 755 0:0",
                r#"1/d/e.txt 644 0:0 "e""#,
                "1/d/f/ 755 0:0",
                r#"1/d/f/g.txt 644 0:0 "g""#,
            ]),
        },
        Case {
            name: "--exclude leaves files out",
            setup: "mkdir d; printf a >d/a.txt; printf b >d/b.md",
            dockerfile: "FROM busybox\nCOPY --exclude=*.md d /1/\n",
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/a.txt 644 0:0 "a""#]),
        },
    ]);
}

#[test]
fn link_ignores_the_layers_below() {
    check(&[
        Case {
            name: "a symlink on the way becomes a directory",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nRUN mkdir /real && ln -s real /lnk\nCOPY --link a /lnk/\n",
            args: NONE,
            expect: Expect::Tree(&["lnk/ 755 0:0", r#"lnk/a 644 0:0 "a""#, "real/ 755 0:0"]),
        },
        Case {
            name: "a parent becomes root's, 755",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nRUN mkdir -m 700 /p && chown 1:1 /p\nCOPY --link a /p/\n",
            args: NONE,
            expect: Expect::Tree(&["p/ 755 0:0", r#"p/a 644 0:0 "a""#]),
        },
        Case {
            name: "a user's name is an error",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --link --chown=sync a /\n",
            args: NONE,
            expect: Expect::Fails(&["sync"]),
        },
    ]);
}

#[test]
fn of_the_contexts_attributes_only_capabilities_are_kept() {
    if need::root()
        .and_then(|()| need::tool("setcap"))
        .and_then(|()| need::tool("getfattr"))
        .is_none()
    {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n").with("f", "x");
    context.sh("setfattr -n user.note -v x f; setcap cap_net_raw+ep f");
    let dest = cooper.scratch("out");
    cooper
        .build(&context, &[format!("-o={}", dest.display())])
        .ok();
    let file = dest.join("f");
    let listed = tool(
        "getfattr",
        &["-d", "-m", "-", file.to_str().expect("UTF-8")],
    )
    .out();
    assert!(listed.contains("security.capability"), "{listed}");
    assert!(!listed.contains("user.note"), "{listed}");
}

#[test]
fn what_the_reference_says() {
    const MODES: &[&str] = &["--build-arg=MODE=440"];
    check(&[
        Case {
            name: "modes are octal or symbolic, and may come from an argument",
            setup: "mkdir d && echo x >f && chmod 644 f && cp f d/f && echo x >d/run && chmod 755 d/run",
            dockerfile: "FROM busybox\nARG MODE\nCOPY --chmod=$MODE f /m/\nCOPY --chmod=+x f /n/\n\
                         COPY --chmod=g=u f /o/\nCOPY --chmod=u=rwX,go=rX d /p/\n\
                         RUN stat -c %a /m/f /n/f /o/f /p/f /p/run\n",
            args: MODES,
            expect: Expect::Output(&["440", "755", "664", "644", "755"]),
        },
        Case {
            name: "owners are names or numbers; a number alone is the group's too",
            setup: "echo x >f",
            dockerfile: "FROM busybox\nCOPY --chown=55:daemon f /a/\nCOPY --chown=bin f /b/\n\
                         COPY --chown=1 f /c/\nCOPY --chown=10:11 f /d/\n\
                         RUN stat -c %u:%g /a/f /b/f /c/f /d/f\n",
            args: NONE,
            expect: Expect::Output(&["55:1", "2:2", "1:1", "10:11"]),
        },
        Case::new(
            "brackets in a name are escaped by brackets",
            "echo x >'arr[0].txt'",
            "FROM busybox\nCOPY arr[[]0].txt /dest/\nADD arr[[]0].txt /dest2\nRUN ls /dest /dest2\n",
            Expect::Output(&["/dest2", "", "/dest:", "arr[0].txt"]),
        ),
        Case::new(
            "a directory is not copied over a file, nor a file over a directory",
            "mkdir d && echo x >d/a && echo y >f",
            "FROM busybox\nRUN echo 1 >/t && mkdir -p /u/f\nCOPY d /t\n",
            Expect::Fails(&["cannot copy to non-directory: /t"]),
        ),
        Case::new(
            "a file does not replace a directory of its name",
            "echo y >f",
            "FROM busybox\nRUN mkdir -p /u/f\nCOPY f /u/\n",
            Expect::Fails(&["cannot replace directory /u/f with a file"]),
        ),
        Case::new(
            "parents stay from a dot and a slash on, and `**` is any number of directories",
            "mkdir -p x/y src/x/y && touch x/y/a.txt x/y/b.txt src/a.txt src/x/b.txt src/x/y/c.txt",
            "FROM busybox\nCOPY --parents ./x/./y/*.txt /p/\nCOPY --parents ./src/**/*.txt /p/\n\
             RUN cd /p && find . -type f | sort\n",
            Expect::Output(&[
                "./src/a.txt",
                "./src/x/b.txt",
                "./src/x/y/c.txt",
                "./y/a.txt",
                "./y/b.txt",
            ]),
        ),
        // The reference's own example is of files that the wildcard names, which BuildKit copies all
        // the same: a pattern is matched below what is copied.
        Case::new(
            "what is excluded of a directory is not copied; what is named itself is",
            "mkdir d; cd d; touch home.txt home.md home.rs",
            "FROM busybox\nCOPY --exclude=*.txt --exclude=*.md d /d/\n\
             COPY --exclude=*.txt d/hom*t /e/\nRUN ls /d /e\n",
            Expect::Output(&["/d:", "home.rs", "", "/e:", "home.txt"]),
        ),
    ]);
}

#[test]
fn an_interrupt_ends_a_copy_of_many_files() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY tree /tree\n");
    context.sh("mkdir tree; truncate -s 1G tree/large
                seq 8000 | (cd tree && split -l 1 -a 4 - f)");
    let mut build = cooper.start_build(&context, NONE);
    build.wait_until_says("load build context");
    build.signal(Signal::INT);
    build.finish_within(Duration::from_secs(60)).exits(130);
    context.sh("rm tree/large");
    cooper.build(&context, &["-otype=cacheonly"]).ok();
}
