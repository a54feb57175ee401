//! Sources and destinations of COPY and ADD that meet in unusual ways.

use super::{Case, Expect, check, fails_in, tree_in};
use crate::support::NONE;

#[test]
fn destinations() {
    check(&[
        tree_in(
            "are relative to the working directory",
            "printf a >a",
            "FROM busybox\nWORKDIR /w\nCOPY a .\nCOPY a ./sub/\nCOPY a ../x\nCOPY a b\n",
            &[
                "w/ 755 0:0",
                r#"w/a 644 0:0 "a""#,
                r#"w/b 644 0:0 "a""#,
                "w/sub/ 755 0:0",
                r#"w/sub/a 644 0:0 "a""#,
                r#"x 644 0:0 "a""#,
            ],
        ),
        tree_in(
            "a new directory has neither the source's mode nor its owner",
            "mkdir -m 700 d; printf x >d/f",
            "FROM busybox AS s\nRUN mkdir -m 750 /d && printf y >/d/f && chown -R 5:6 /d\n\
             FROM busybox\nCOPY d /a\nCOPY --from=s /d /b\n",
            &[
                "a/ 755 0:0",
                r#"a/f 644 0:0 "x""#,
                "b/ 755 0:0",
                r#"b/f 644 5:6 "y""#,
            ],
        ),
        tree_in(
            "a nested directory takes the source's mode and owner",
            "mkdir d; mkdir -m 711 d/e; printf x >d/e/f",
            "FROM busybox\nRUN mkdir -p -m 700 /t/e && chown 3:4 /t/e && chmod 755 /t\n\
             COPY --chown=8:9 d /t\n",
            &["t/ 755 0:0", "t/e/ 711 8:9", r#"t/e/f 644 8:9 "x""#],
        ),
        tree_in(
            "a nested link is replaced by a file, not written through",
            "mkdir d; printf new >d/l",
            "FROM busybox\nRUN mkdir /t && printf old >/t/real && ln -s real /t/l\nCOPY d /t\n",
            &[
                "t/ 755 0:0",
                r#"t/l 644 0:0 "new""#,
                r#"t/real 644 0:0 "old""#,
            ],
        ),
        fails_in(
            "a nested link is not followed by a directory",
            "mkdir -p d/l; printf x >d/l/f",
            "FROM busybox\nRUN mkdir -p /t /real && ln -s ../real /t/l\nCOPY d /t\n",
            &["cannot copy \"d\"", "cannot copy to non-directory: /t/l"],
        ),
        fails_in(
            "links that run in circles",
            "printf a >a",
            "FROM busybox\nRUN ln -s l2 /l1 && ln -s l1 /l2\nCOPY a /l1\n",
            &["too many links"],
        ),
        tree_in(
            "links that climb above the root stay in it",
            "printf a >a",
            "FROM busybox\nRUN ln -s ../../../../etc /l\nCOPY a /l/a\n",
            &[r#"etc/a 644 0:0 "a""#, "l -> ../../../../etc"],
        ),
        fails_in(
            "a file on the way",
            "printf a >a",
            "FROM busybox\nRUN touch /f\nCOPY a /f/a\n",
            &["cannot copy \"a\"", "/f"],
        ),
        fails_in(
            "a file, then a directory, onto one new name",
            "mkdir d; printf x >d/x; printf b >b",
            "FROM busybox\nCOPY b d /new\n",
            &["cannot copy \"d\"", "/new"],
        ),
    ]);
}

#[test]
fn sources() {
    check(&[
        tree_in(
            "a wildcard takes files as they are and directories' contents",
            "mkdir d1 d2; printf x >d1/x; printf y >d2/y; printf b >d3",
            "FROM busybox\nCOPY d* /w/\n",
            &[
                "w/ 755 0:0",
                r#"w/d3 644 0:0 "b""#,
                r#"w/x 644 0:0 "x""#,
                r#"w/y 644 0:0 "y""#,
            ],
        ),
        tree_in(
            "a backslash goes with the expansion of variables and quotes no wildcard",
            "printf x >'a*b'; printf y >acb",
            "FROM busybox\nCOPY a\\*b /w/\n",
            &["w/ 755 0:0", r#"w/a*b 644 0:0 "x""#, r#"w/acb 644 0:0 "y""#],
        ),
        fails_in(
            "a wildcard that matches a link to nowhere",
            "ln -s nowhere l; printf x >l2",
            "FROM busybox\nCOPY l* /n/\n",
            &["symbolic link to nowhere"],
        ),
        fails_in(
            "an unquoted blank splits a name even after a backslash",
            "printf a >'a b'",
            "FROM busybox\nCOPY a\\ b /x\n",
            &["not found"],
        ),
        tree_in(
            "an empty directory is copied",
            "mkdir d",
            "FROM busybox\nCOPY d /n\n",
            &["n/ 755 0:0"],
        ),
        tree_in(
            "a stage's owners, modes and special bits come along",
            "",
            "FROM busybox AS s\nRUN mkdir -p /d/e && printf x >/d/e/f && mkfifo /d/p && \
             chown -R 5:6 /d && chmod 4711 /d/e/f && chmod 2770 /d/e\n\
             FROM busybox\nCOPY --from=s /d /n\n",
            &[
                "n/ 755 0:0",
                "n/e/ 2770 5:6",
                r#"n/e/f 4711 5:6 "x""#,
                "n/p| 644 5:6",
            ],
        ),
        tree_in(
            "--parents keeps a stage's owners on the way",
            "",
            "FROM busybox AS s\nRUN mkdir -p /p/q && printf x >/p/q/f && chown 5:6 /p && \
             chmod 710 /p\nFROM busybox\nCOPY --parents --from=s /p/q/f /n/\n",
            &[
                "n/ 755 0:0",
                "n/p/ 710 5:6",
                "n/p/q/ 755 0:0",
                r#"n/p/q/f 644 0:0 "x""#,
            ],
        ),
        tree_in(
            "--parents leaves behind what is before `/./`",
            "mkdir -p a/b/c; printf x >a/b/c/f",
            "FROM busybox\nCOPY --parents a/./b/c/f /n/\n",
            &[
                "n/ 755 0:0",
                "n/b/ 755 0:0",
                "n/b/c/ 755 0:0",
                r#"n/b/c/f 644 0:0 "x""#,
            ],
        ),
        tree_in(
            "`user:` has group 0",
            "printf a >a",
            "FROM busybox\nCOPY --chown=mail: a /\n",
            &[r#"a 644 8:0 "a""#],
        ),
    ]);
}

#[test]
fn what_is_missing_is_explained() {
    check(&[
        fails_in(
            "by the line of .dockerignore that leaves it out",
            "printf x >app.key; printf '# keys\\n*.key\\n' >.dockerignore",
            "FROM busybox\nCOPY app.key /\n",
            &[
                "\"app.key\": not found",
                "app.key exists, but `*.key` on line 2 of .dockerignore",
            ],
        ),
        fails_in(
            "by the pattern that leaves out a directory above it",
            "mkdir -p a/b; printf x >a/b/f; printf 'a\\n' >.dockerignore",
            "FROM busybox\nCOPY a/b/f /\n",
            &["a/b/f exists, but `a` on line 1 of .dockerignore"],
        ),
        fails_in(
            "by a name that is nearly the same",
            "mkdir src; printf x >src/main.c",
            "FROM busybox\nCOPY src/mian.c /\n",
            &["did you mean src/main.c?"],
        ),
        fails_in(
            "by the same name elsewhere",
            "mkdir -p deep/down; printf x >deep/down/here.txt",
            "FROM busybox\nCOPY here.txt /\n",
            &["did you mean deep/down/here.txt?"],
        ),
        fails_in(
            "by where a link leads",
            "ln -s ../outside l",
            "FROM busybox\nCOPY l /\n",
            &["l is a symbolic link to ../outside, which is not in the build context"],
        ),
        fails_in(
            "by a name in the stage",
            "",
            "FROM busybox AS s\nRUN touch /result\nFROM busybox\nCOPY --from=s /resutl /\n",
            &["\"/resutl\": not found", "did you mean /result?"],
        ),
        Case {
            name: "an owner that is not in the image is warned of",
            setup: "printf a >a",
            dockerfile: "FROM busybox\nCOPY --chown=nosuch:neither a /\n",
            args: NONE,
            expect: Expect::Output(&[
                "warning: user \"nosuch\" is not in /etc/passwd of the image; the owner is 0:0",
                "warning: group \"neither\" is not in /etc/group of the image; the group is 0",
            ]),
        },
    ]);
}
