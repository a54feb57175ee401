//! COPY and ADD where names, kinds and destinations meet in unusual ways.

use super::{Case, Expect, check};
use crate::support::NONE;

const fn tree(
    name: &'static str,
    setup: &'static str,
    dockerfile: &'static str,
    lines: &'static [&'static str],
) -> Case {
    Case::new(name, setup, dockerfile, Expect::Tree(lines))
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
fn destinations() {
    check(&[
        tree(
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
        tree(
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
        tree(
            "a nested directory takes the source's mode and owner",
            "mkdir d; mkdir -m 711 d/e; printf x >d/e/f",
            "FROM busybox\nRUN mkdir -p -m 700 /t/e && chown 3:4 /t/e && chmod 755 /t\n\
             COPY --chown=8:9 d /t\n",
            &["t/ 755 0:0", "t/e/ 711 8:9", r#"t/e/f 644 8:9 "x""#],
        ),
        tree(
            "a nested link is replaced by a file, not written through",
            "mkdir d; printf new >d/l",
            "FROM busybox\nRUN mkdir /t && printf old >/t/real && ln -s real /t/l\nCOPY d /t\n",
            &[
                "t/ 755 0:0",
                r#"t/l 644 0:0 "new""#,
                r#"t/real 644 0:0 "old""#,
            ],
        ),
        fails(
            "a nested link is not followed by a directory",
            "mkdir -p d/l; printf x >d/l/f",
            "FROM busybox\nRUN mkdir -p /t /real && ln -s ../real /t/l\nCOPY d /t\n",
            &["cannot copy \"d\"", "cannot copy to non-directory: /t/l"],
        ),
        fails(
            "links that run in circles",
            "printf a >a",
            "FROM busybox\nRUN ln -s l2 /l1 && ln -s l1 /l2\nCOPY a /l1\n",
            &["too many links"],
        ),
        tree(
            "links that climb above the root stay in it",
            "printf a >a",
            "FROM busybox\nRUN ln -s ../../../../etc /l\nCOPY a /l/a\n",
            &[r#"etc/a 644 0:0 "a""#, "l -> ../../../../etc"],
        ),
        fails(
            "a file on the way",
            "printf a >a",
            "FROM busybox\nRUN touch /f\nCOPY a /f/a\n",
            &["cannot copy \"a\"", "/f"],
        ),
        fails(
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
        tree(
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
        tree(
            "a backslash goes with the expansion of variables and quotes no wildcard",
            "printf x >'a*b'; printf y >acb",
            "FROM busybox\nCOPY a\\*b /w/\n",
            &["w/ 755 0:0", r#"w/a*b 644 0:0 "x""#, r#"w/acb 644 0:0 "y""#],
        ),
        fails(
            "a wildcard that matches a link to nowhere",
            "ln -s nowhere l; printf x >l2",
            "FROM busybox\nCOPY l* /n/\n",
            &["symbolic link to nowhere"],
        ),
        fails(
            "an unquoted blank splits a name even after a backslash",
            "printf a >'a b'",
            "FROM busybox\nCOPY a\\ b /x\n",
            &["not found"],
        ),
        tree(
            "an empty directory is copied",
            "mkdir d",
            "FROM busybox\nCOPY d /n\n",
            &["n/ 755 0:0"],
        ),
        tree(
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
        tree(
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
        tree(
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
        tree(
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
        fails(
            "by the line of .dockerignore that leaves it out",
            "printf x >app.key; printf '# keys\\n*.key\\n' >.dockerignore",
            "FROM busybox\nCOPY app.key /\n",
            &[
                "\"app.key\": not found",
                "app.key exists, but `*.key` on line 2 of .dockerignore",
            ],
        ),
        fails(
            "by the pattern that leaves out a directory above it",
            "mkdir -p a/b; printf x >a/b/f; printf 'a\\n' >.dockerignore",
            "FROM busybox\nCOPY a/b/f /\n",
            &["a/b/f exists, but `a` on line 1 of .dockerignore"],
        ),
        fails(
            "by a name that is nearly the same",
            "mkdir src; printf x >src/main.c",
            "FROM busybox\nCOPY src/mian.c /\n",
            &["did you mean src/main.c?"],
        ),
        fails(
            "by the same name elsewhere",
            "mkdir -p deep/down; printf x >deep/down/here.txt",
            "FROM busybox\nCOPY here.txt /\n",
            &["did you mean deep/down/here.txt?"],
        ),
        fails(
            "by where a link leads",
            "ln -s ../outside l",
            "FROM busybox\nCOPY l /\n",
            &["l is a symbolic link to ../outside, which is not in the build context"],
        ),
        fails(
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

#[test]
fn archives_beside_other_sources() {
    check(&[
        tree(
            "an archive and a file",
            "printf x >r; tar cf a.tar r; printf f >f",
            "FROM busybox\nADD a.tar f /1/\nADD f a.tar /2/\n",
            &[
                "1/ 755 0:0",
                r#"1/f 644 0:0 "f""#,
                r#"1/r 644 0:0 "x""#,
                "2/ 755 0:0",
                r#"2/f 644 0:0 "f""#,
                r#"2/r 644 0:0 "x""#,
            ],
        ),
        tree(
            "the later source wins",
            "printf x >r; tar cf a.tar r; printf f >r",
            "FROM busybox\nADD a.tar r /1/\nADD r a.tar /2/\n",
            &[
                "1/ 755 0:0",
                r#"1/r 644 0:0 "f""#,
                "2/ 755 0:0",
                r#"2/r 644 0:0 "x""#,
            ],
        ),
        tree(
            "an archive's file takes the place of a directory before it",
            "mkdir -p e/d; printf x >e/d/r; printf f >d; tar cf a.tar d",
            "FROM busybox\nADD e a.tar /1/\n",
            &["1/ 755 0:0", r#"1/d 644 0:0 "f""#],
        ),
        tree(
            "the archive's own top directory changes nothing",
            "mkdir -m 700 t; printf x >t/f; tar --owner=5 --group=5 -C t -cf a.tar .; rm -r t",
            "FROM busybox\nRUN mkdir -m 711 /old\nADD a.tar /old/\nADD a.tar /new/\n",
            &[
                "new/ 755 0:0",
                r#"new/f 644 5:5 "x""#,
                "old/ 711 0:0",
                r#"old/f 644 5:5 "x""#,
            ],
        ),
        tree(
            "a new destination takes the --chown owner",
            "printf x >f; tar cf a.tar f",
            "FROM busybox\nADD --chown=7:8 a.tar /n/\n",
            &["n/ 755 7:8", r#"n/f 644 7:8 "x""#],
        ),
        fails(
            "an archive onto a file",
            "printf x >f; tar cf a.tar f",
            "FROM busybox\nRUN touch /t\nADD a.tar /t\n",
            &["cannot copy \"a.tar\"", "/t"],
        ),
        fails(
            "an archive that breaks off is refused",
            "head -c 20000 /dev/urandom >r; tar cf a.tar r; truncate -s 8000 a.tar",
            "FROM busybox\nADD a.tar /1/\n",
            &["cannot copy \"a.tar\"", "malformed archive"],
        ),
        tree(
            "a directory that holds an archive is copied",
            "mkdir d; printf x >r; tar cf d/a.tar r; rm r",
            "FROM busybox\nADD d /1/\nRUN tar tf /1/a.tar && rm /1/a.tar\n",
            &["1/ 755 0:0"],
        ),
    ]);
}
