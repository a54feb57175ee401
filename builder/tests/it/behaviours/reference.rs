//! The public reference of the Dockerfile, section by section: what its sentences say happens, for
//! those that no other table here holds. The Dockerfiles are the reference's own cases in small.

use super::{Case, Expect, check, output};
use crate::support::NONE;

const fn given(
    name: &'static str,
    args: &'static [&'static str],
    dockerfile: &'static str,
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
fn format_and_directives() {
    check(&[
        output(
            "instructions are not case-sensitive, and `#` within a line is an argument",
            "FROM busybox\nrUn echo 'some # of things'\n",
            &["some # of things"],
        ),
        output(
            "blanks before comments and instructions go, those in arguments stay",
            "FROM busybox\n        # a comment\n    RUN echo \"\\\n     hello\\\n     world\"\n",
            &["     hello     world"],
        ),
        output(
            "comments in a continued line are removed before the shell sees it",
            "FROM busybox\nRUN echo hello \\\n# comment\nworld\n",
            &["hello world"],
        ),
        output(
            "a directive is written in any case and with any blanks",
            "#\t  eScApE=`\nFROM busybox\nRUN echo a `\n  b c:\\\n",
            &["a b c:\\"],
        ),
        output(
            "no directive stands below a comment or an instruction",
            "# about\n# escape=`\nFROM busybox\n# escape=`\nRUN echo a \\\n b\n",
            &["a b"],
        ),
        Case::new(
            "a directive cannot be continued",
            "",
            "# esc \\\nape=`\nFROM busybox\n",
            Expect::Fails(&["unknown instruction: ape=`"]),
        ),
        Case::new(
            "a directive stands once",
            "",
            "# escape=`\n# escape=`\nFROM busybox\n",
            Expect::Fails(&["Dockerfile:2:"]),
        ),
        Case::new(
            "with the usual escape a path that ends in it takes the next line in",
            "",
            "FROM busybox\nCOPY Dockerfile c:\\\\\nRUN dir c:\\\n",
            Expect::Fails(&["\"c:RUN\": not found"]),
        ),
    ]);
}

#[test]
fn variables() {
    check(&[
        Case::new(
            "an escaped variable is a literal one",
            "",
            "FROM busybox\nENV FOO=/bar\nWORKDIR ${FOO}\nADD . $FOO\nCOPY \\$FOO /quux\n",
            Expect::Fails(&["\"$FOO\": not found"]),
        ),
        output(
            "patterns are globs whose `*` and `?` can be escaped",
            "FROM busybox\nENV str=foobarbaz lit=a*b?c\n\
             ENV a=${str#f*b} b=${str##f*b} c=${str%b*} d=${str%%b*} e=${str/ba/fo} \
             f=${str//ba/fo} g=${lit#a\\*} h=${lit%\\?c}\nRUN echo $a $b $c $d $e $f $g '$h' \"$h\"\n",
            &["arbaz az foobar foo fooforbaz fooforfoz b?c $h a*b"],
        ),
        output(
            "one instruction sees the values from before it",
            "FROM busybox\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nRUN echo $def $ghi\n",
            &["hello bye"],
        ),
        output(
            "ENV takes quotes and backslashes, or one name and the rest of the line",
            "FROM busybox\nENV MY_NAME=\"John Doe\" MY_DOG=Rex\\ The\\ Dog \\\n    MY_CAT=fluffy\n\
             ENV ONE TWO= THREE=world\nRUN echo \"$MY_NAME, $MY_DOG, $MY_CAT, $ONE\"\n",
            &["John Doe, Rex The Dog, fluffy, TWO= THREE=world"],
        ),
        output(
            "the exec form has no shell, unless it names one",
            "FROM busybox\nRUN [\"echo\", \"$HOME\"]\nRUN [\"sh\", \"-c\", \"echo $HOME\"]\n",
            &["$HOME", "/root"],
        ),
    ]);
}

#[test]
fn arguments() {
    check(&[
        given(
            "an argument counts from its line on",
            &["--build-arg=username=33"],
            "FROM busybox\nUSER ${username:-daemon}\nRUN id -un\nARG username\nUSER $username\nRUN id -u\n",
            &["daemon", "33"],
        ),
        given(
            "ENV overrides ARG, and can take its value over",
            &["--build-arg=V=v2", "--build-arg=W=w2"],
            "FROM busybox\nARG V W\nENV V=v1 W=${W:-w1} X=${X:-x1}\nRUN echo $V $W $X\n",
            &["v1 w2 x1"],
        ),
        output(
            "stages based on a stage have its arguments, others have not",
            "ARG VERSION=latest\nFROM busybox AS a\nARG VERSION\nARG only=here\nFROM a AS b\n\
             RUN echo $only $VERSION\nFROM busybox\nCOPY --from=b /etc/passwd /p\nRUN echo none$only$VERSION\n",
            &["here latest", "none"],
        ),
        given(
            "proxies come in both cases without ARG",
            &["--build-arg=HTTPS_PROXY=http://p"],
            "FROM busybox\nRUN env | grep -i proxy | sort\n",
            &["HTTPS_PROXY=http://p", "https_proxy=http://p"],
        ),
        given(
            "the builder's own arguments are no variables of steps",
            &[
                "--build-arg=BUILDKIT_BUILD_NAME=x",
                "--build-arg=BUILDKIT_GIT_ADVICE=1",
                "--build-arg=BUILDKIT_MULTI_PLATFORM=0",
                "--build-arg=BUILDKIT_SANDBOX_HOSTNAME=box",
                "--build-arg=BUILDKIT_SYNTAX=dockerfile.v0",
            ],
            "FROM busybox\nRUN env | grep -c BUILDKIT; hostname\n",
            &["0", "box"],
        ),
    ]);
}

#[test]
fn mounts() {
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
            "a bind is the context, read-only; what rw writes is gone afterwards",
            "FROM busybox\nWORKDIR /w\n\
             RUN --mount=type=bind,target=. ls && touch z 2>/dev/null || echo read-only\n\
             RUN --mount=target=.,readwrite echo x >z; cat z\nRUN ls | wc -l\n",
            &["Dockerfile", "read-only", "x", "0"],
        ),
    ]);
}

#[test]
fn copies() {
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
fn here_documents() {
    check(&[
        output(
            "a here-document is a program's input, the shell's text or a script of its own",
            "FROM busybox\nRUN <<EOT sh\n  set -e\n  echo piped\nEOT\nRUN <<EOT\n  echo shell\nEOT\n\
             RUN <<EOT\n#!/bin/cat\nscript\nEOT\n",
            &["piped", "shell", "#!/bin/cat", "script"],
        ),
        output(
            "several stand on one line, and a dash strips tabs",
            "FROM busybox\nRUN <<FILE1 cat > file1 && <<FILE2 cat > file2\nI am\nfirst\nFILE1\nI am\n\
             second\nFILE2\nRUN cat file1 file2; <<-X cat\n\t\ttab\n\tX\n",
            &["I am", "first", "I am", "second", "tab"],
        ),
        output(
            "in COPY variables count, unless a part of the word is quoted",
            "FROM busybox\nARG FOO=bar\nCOPY <<-EOT /a\n\thello ${FOO}\nEOT\nCOPY <<-\"EOT\" /b\n\
             \thello ${FOO}\nEOT\nCOPY <<E\"O\"T /c\nhello ${FOO}\nEOT\nRUN cat /a /b /c\n",
            &["hello bar", "hello ${FOO}", "hello ${FOO}"],
        ),
    ]);
}

#[test]
fn configuration() {
    check(&[
        Case::new(
            "labels come from what the last stage is based on, and the last value wins",
            "",
            "FROM busybox AS base\nLABEL a=1 b=2\nFROM busybox AS other\nLABEL c=3\nRUN touch /x\n\
             FROM base\nCOPY --from=other /x /x\n\
             LABEL b=3 \"com.example.vendor\"=\"ACME Incorporated\" text=\"spans \\\nlines\"\n",
            Expect::Config(&[(
                "/config/Labels",
                r#"{"a":"1","b":"3","com.example.vendor":"ACME Incorporated","text":"spans lines"}"#,
            )]),
        ),
        Case::new(
            "volumes are words or an array, ports have protocols and ranges",
            "",
            "FROM busybox\nVOLUME /v /w\nVOLUME [\"/third\"]\nEXPOSE 80/udp 80 9000-9001/tcp\n",
            Expect::Config(&[
                ("/config/Volumes", r#"{"/third":{},"/v":{},"/w":{}}"#),
                (
                    "/config/ExposedPorts",
                    r#"{"80/tcp":{},"80/udp":{},"9000/tcp":{},"9001/tcp":{}}"#,
                ),
            ]),
        ),
        Case::new(
            "the last of CMD, ENTRYPOINT and HEALTHCHECK counts, and signals expand",
            "",
            "FROM busybox\nENV S=SIGKILL\nSTOPSIGNAL $S\nCMD a\nCMD [\"b\"]\nENTRYPOINT c\n\
             ENTRYPOINT [\"d\"]\nHEALTHCHECK CMD x\n\
             HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=2s --retries=4 \\\n\
             CMD [\"y\"]\n",
            Expect::Config(&[
                ("/config/StopSignal", "\"SIGKILL\""),
                ("/config/Cmd", r#"["b"]"#),
                ("/config/Entrypoint", r#"["d"]"#),
                (
                    "/config/Healthcheck",
                    r#"{"Interval":300000000000,"Retries":4,"StartInterval":2000000000,"StartPeriod":1000000000,"Test":["CMD","y"],"Timeout":3000000000}"#,
                ),
            ]),
        ),
        output(
            "SHELL counts for the instructions below it, each replaces the one before",
            "FROM busybox\nRUN echo $-\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN false || echo $-\n\
             SHELL [\"/bin/sh\", \"-fc\"]\nRUN echo $-\n",
            &["c", "ce", "cf"],
        ),
        output(
            "relative working directories add up",
            "FROM busybox\nENV DIRPATH=/path\nWORKDIR $DIRPATH/$DIRNAME\nRUN pwd\nWORKDIR /a\n\
             WORKDIR b\nWORKDIR c\nRUN pwd\n",
            &["/path", "/a/b/c"],
        ),
    ]);
}
