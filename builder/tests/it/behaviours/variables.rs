//! ARG and ENV: expansion and scopes.

use super::{Case, Expect, check, env, given, output, refused};
use crate::support::NONE;

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
        refused(
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
        refused("`^^` is unknown", "FROM busybox\nENV b=B\nENV x=${b^^}\n"),
        refused("`:=` is unknown", "FROM busybox\nENV x=${v:=w}\n"),
        refused(
            "`:?` with an unset variable fails",
            "FROM busybox\nENV x=\"${v:?not set}\"\n",
        ),
        refused(
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
        given(
            "a stage based on another inherits its ARGs",
            NONE,
            "FROM busybox AS a\nARG X=1\nFROM a\nRUN echo $X\n",
            &["1"],
        ),
        given(
            "a global ARG is not seen in a stage",
            NONE,
            "ARG G=1\nFROM busybox\nRUN echo \"<$G>\"\nARG G\nRUN echo \"<$G>\"\n",
            &["<>", "<1>"],
        ),
        given(
            "a later default is still overridden",
            &["--build-arg=G=given"],
            "FROM busybox\nARG G=first\nARG G=later\nRUN echo $G\n",
            &["given"],
        ),
        given(
            "a platform argument may have a default of its own",
            NONE,
            "FROM busybox\nARG TARGETARCH=mine\nRUN echo $TARGETARCH\n",
            &["mine"],
        ),
        given(
            "and is overridden from outside",
            &["--build-arg=TARGETARCH=given"],
            "FROM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH\n",
            &["given"],
        ),
        given(
            "ENV beats ARG",
            &["--build-arg=A=given"],
            "FROM busybox\nARG A=arg\nENV A=env\nRUN echo $A\n",
            &["env"],
        ),
        given(
            "an ARG after an ENV, given from outside, is what RUN sees",
            &["--build-arg=A=given"],
            "FROM busybox\nENV A=env\nARG A\nRUN echo $A\n",
            &["given"],
        ),
        given(
            "proxy arguments need no ARG and come in both cases",
            &["--build-arg=http_proxy=http://127.0.0.1:9"],
            "FROM busybox\nRUN echo $HTTP_PROXY $http_proxy\n",
            &["http://127.0.0.1:9 http://127.0.0.1:9"],
        ),
        given(
            "a global ARG reaches FROM",
            &["--build-arg=BASE=busy"],
            "ARG BASE=nothing\nFROM ${BASE}box\nRUN echo ok\n",
            &["ok"],
        ),
    ]);
}

#[test]
fn what_the_reference_says_of_expansion() {
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
fn what_the_reference_says_of_arguments() {
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
