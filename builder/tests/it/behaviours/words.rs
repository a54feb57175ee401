//! Variables, scopes, stages and the form of the file.

use super::{Case, Expect, check};

use crate::support::NONE;

const fn env(name: &'static str, dockerfile: &'static str, env: &'static [&'static str]) -> Case {
    Case::new(name, "", dockerfile, Expect::Env(env))
}

const fn fails(name: &'static str, dockerfile: &'static str) -> Case {
    Case::new(name, "", dockerfile, Expect::Fails(&["Dockerfile:"]))
}

const fn output(
    name: &'static str,
    dockerfile: &'static str,
    args: &'static [&'static str],
    lines: &'static [&'static str],
) -> Case {
    Case {
        name,
        setup: "",
        dockerfile,
        args,
        expect: Expect::Output(lines),
    }
}

#[test]
fn expansion() {
    check(&[
        env(
            "defaults and alternatives",
            "FROM busybox\nENV a=A\nENV b=${a:-d} c=${n:-d} d=${a:+y} e=${n:+y} f=${n-x}\n",
            &["a=A", "b=A", "c=d", "d=y", "e=", "f=x"],
        ),
        env(
            "prefixes and suffixes",
            "FROM busybox\nENV p=a/b/c.tar.gz\n\
             ENV q=${p#*/} r=${p##*/} s=${p%.*} t=${p%%.*}\n",
            &[
                "p=a/b/c.tar.gz",
                "q=b/c.tar.gz",
                "r=c.tar.gz",
                "s=a/b/c.tar",
                "t=a/b/c",
            ],
        ),
        env(
            "replacement, without anchors",
            "FROM busybox\nENV b=foofoo\n\
             ENV u=${b/o/0} v=${b//o/0} w=${b/o/} x=${b/#foo/Q}\n",
            &["b=foofoo", "u=f0ofoo", "v=f00f00", "w=fofoo", "x=foofoo"],
        ),
        fails(
            "`//` wants a second slash",
            "FROM busybox\nENV b=foo\nENV x=${b//o}\n",
        ),
        env(
            "`$$`, `$1` and `$@` are empty, a lone `$` stays",
            "FROM busybox\nENV a=x$$y b=x$1y c=x$@y d=\"x$ y\"\n",
            &["a=xy", "b=xy", "c=xy", "d=x$ y"],
        ),
        env(
            "quotes and backslashes",
            "FROM busybox\nENV b=B\nENV x='$b' y=\"a\\tb\" z=a\\tb q=a\\ b\n",
            &["b=B", "x=$b", "y=a\\tb", "z=atb", "q=a b"],
        ),
        fails("`^^` is unknown", "FROM busybox\nENV b=B\nENV x=${b^^}\n"),
        fails("`:=` is unknown", "FROM busybox\nENV x=${v:=w}\n"),
        fails(
            "`:?` with an unset variable fails",
            "FROM busybox\nENV x=\"${v:?not set}\"\n",
        ),
        fails(
            "a message with blanks must be quoted in ENV",
            "FROM busybox\nENV x=${v:?not set}\n",
        ),
        env(
            "one line sees the environment before it; an overridden variable keeps its place",
            "FROM busybox\nENV abc=hello\nENV z=1\nENV abc=bye def=$abc\nENV ghi=$abc\n",
            &["abc=bye", "z=1", "def=hello", "ghi=bye"],
        ),
        env(
            "`ENV a=<<EOF` is a literal",
            "FROM busybox\nENV a=<<EOF\n",
            &["a=<<EOF"],
        ),
        env(
            "the old form of ENV",
            "FROM busybox\nENV a b  c\n",
            &["a=b  c"],
        ),
    ]);
}

#[test]
fn scopes_of_arguments() {
    check(&[
        output(
            "a stage based on another inherits its ARGs",
            "FROM busybox AS a\nARG X=1\nFROM a\nRUN echo $X\n",
            NONE,
            &["1"],
        ),
        output(
            "a global ARG is not seen in a stage",
            "ARG G=1\nFROM busybox\nRUN echo \"<$G>\"\nARG G\nRUN echo \"<$G>\"\n",
            NONE,
            &["<>", "<1>"],
        ),
        output(
            "a later default is still overridden",
            "FROM busybox\nARG G=first\nARG G=later\nRUN echo $G\n",
            &["--build-arg=G=given"],
            &["given"],
        ),
        output(
            "a platform argument may have a default of its own",
            "FROM busybox\nARG TARGETARCH=mine\nRUN echo $TARGETARCH\n",
            NONE,
            &["mine"],
        ),
        output(
            "and is overridden from outside",
            "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH\n",
            &["--build-arg=TARGETARCH=given"],
            &["given"],
        ),
        output(
            "ENV beats ARG",
            "FROM busybox\nARG A=arg\nENV A=env\nRUN echo $A\n",
            &["--build-arg=A=given"],
            &["env"],
        ),
        output(
            "an ARG after an ENV, given from outside, is what RUN sees",
            "FROM busybox\nENV A=env\nARG A\nRUN echo $A\n",
            &["--build-arg=A=given"],
            &["given"],
        ),
        output(
            "proxy arguments need no ARG and come in both cases",
            "FROM busybox\nRUN echo $HTTP_PROXY $http_proxy\n",
            &["--build-arg=http_proxy=http://127.0.0.1:9"],
            &["http://127.0.0.1:9 http://127.0.0.1:9"],
        ),
        output(
            "a global ARG reaches FROM",
            "ARG BASE=nothing\nFROM ${BASE}box\nRUN echo ok\n",
            &["--build-arg=BASE=busy"],
            &["ok"],
        ),
    ]);
}

#[test]
fn names_of_stages() {
    check(&[
        Case {
            name: "COPY --from ignores case",
            setup: "",
            dockerfile: "FROM busybox AS Base\nRUN printf x >/f\n\
                         FROM busybox\nCOPY --from=BASE /f /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"f 644 0:0 "x""#]),
        },
        Case {
            name: "--target ignores case",
            setup: "",
            dockerfile: "FROM busybox AS Base\nRUN printf x >/f\nFROM busybox\nRUN exit 1\n",
            args: &["--target=BASE"],
            expect: Expect::Tree(&[r#"f 644 0:0 "x""#]),
        },
        Case {
            name: "FROM does not ignore case",
            setup: "",
            dockerfile: "FROM busybox AS Base\nFROM BASE\n",
            args: NONE,
            expect: Expect::Fails(&["BASE"]),
        },
        Case {
            name: "--target takes no number",
            setup: "",
            dockerfile: "FROM busybox AS one\nFROM busybox\n",
            args: &["--target=0"],
            expect: Expect::Fails(&["target stage \"0\""]),
        },
        Case {
            name: "COPY --from takes a number",
            setup: "",
            dockerfile: "FROM busybox\nRUN printf x >/f\nFROM busybox\nCOPY --from=0 /f /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"f 644 0:0 "x""#]),
        },
        Case {
            name: "the last stage of a name wins",
            setup: "",
            dockerfile: "FROM busybox AS s\nRUN printf 1 >/f\nFROM busybox AS s\n\
                         RUN printf 2 >/f\nFROM busybox\nCOPY --from=s /f /\n",
            args: NONE,
            expect: Expect::Tree(&[r#"f 644 0:0 "2""#]),
        },
    ]);
}

#[test]
fn directives_and_lines() {
    check(&[
        output(
            "the escape directive",
            "# escape=`\nFROM busybox\nRUN echo a `\n  b\\c\n",
            NONE,
            &["a bc"],
        ),
        output(
            "a directive after a comment is a comment",
            "# hello\n# escape=`\nFROM busybox\nRUN echo a \\\n  b\n",
            NONE,
            &["a b"],
        ),
        fails(
            "a directive given twice",
            "# escape=`\n# escape=\\\nFROM busybox\n",
        ),
        output(
            "a continuation with blanks after it, comments and empty lines inside",
            "FROM busybox\nRUN echo a \\  \n# comment\n\n  b\n",
            NONE,
            &["a b"],
        ),
        output(
            "a continuation at the end of the file",
            "FROM busybox\nRUN echo a \\",
            NONE,
            &["a"],
        ),
        Case {
            name: "a byte that is no UTF-8 becomes U+FFFD",
            setup: "printf 'FROM busybox\\nLABEL a=x\\377y\\n' >Dockerfile",
            dockerfile: "",
            args: NONE,
            expect: Expect::Config(&[("/config/Labels/a", "\"x\u{fffd}y\"")]),
        },
        Case {
            name: "a line of more than 65535 bytes",
            setup: "{ echo FROM busybox; printf 'ENV a='; head -c 70000 /dev/zero | tr '\\0' x
                    echo; } >Dockerfile",
            dockerfile: "",
            args: NONE,
            expect: Expect::Fails(&["65535"]),
        },
        Case {
            name: "CRLF",
            setup: "printf 'FROM busybox\\r\\nRUN echo a \\\\\\r\\n  b\\r\\n' >Dockerfile",
            dockerfile: "",
            args: NONE,
            expect: Expect::Output(&["a b"]),
        },
    ]);
}

#[test]
fn heredocs() {
    check(&[
        output(
            "no errexit",
            "FROM busybox\nRUN <<EOT\necho a\nfalse\necho b\nEOT\n",
            NONE,
            &["a", "b"],
        ),
        output(
            "a shebang chooses the interpreter",
            "FROM busybox\nRUN <<EOT\n#!/bin/sed 1d;s/o/0/g;p;q\nfoo\nEOT\n",
            NONE,
            &["f00", "f00"],
        ),
        output(
            "into a command",
            "FROM busybox\nRUN cat <<A - <<B /dev/fd/3 3<<C\nalpha\nA\nbeta\nB\ngamma\nC\n",
            NONE,
            &["beta", "gamma"],
        ),
        output(
            "tabs are stripped with `-`",
            "FROM busybox\nRUN <<-EOT\n\techo a\n\tEOT\n",
            NONE,
            &["a"],
        ),
        output(
            "the terminator is exact",
            "FROM busybox\nRUN <<EOT\necho a\n: EOT\nEOT\n",
            NONE,
            &["a"],
        ),
        Case {
            name: "into a file, with expansion",
            setup: "",
            dockerfile: "FROM busybox\nARG who=me\nCOPY <<one <<'two' /d/\n$who \\\\ \\a\none\n\
                         $who \\\\\ntwo\n",
            args: NONE,
            expect: Expect::Tree(&[
                "d/ 755 0:0",
                r#"d/one 644 0:0 "me \\ a\n""#,
                r#"d/two 644 0:0 "$who \\\\\n""#,
            ]),
        },
        Case {
            name: "content keeps its carriage returns",
            setup: "printf 'FROM busybox\\r\\nCOPY <<E /f\\r\\nab\\r\\nE\\r\\n' >Dockerfile",
            dockerfile: "",
            args: NONE,
            expect: Expect::Tree(&[r#"f 644 0:0 "ab\r\n""#]),
        },
        output(
            "a shift is no heredoc",
            "FROM busybox\nRUN echo $((1<<3))\n",
            NONE,
            &["8"],
        ),
    ]);
}
