//! Here-documents.

use super::{Case, Expect, check, given, output};
use crate::support::NONE;

#[test]
fn heredocs() {
    check(&[
        given(
            "no errexit",
            NONE,
            "FROM busybox\nRUN <<EOT\necho a\nfalse\necho b\nEOT\n",
            &["a", "b"],
        ),
        given(
            "a shebang chooses the interpreter",
            NONE,
            "FROM busybox\nRUN <<EOT\n#!/bin/sed 1d;s/o/0/g;p;q\nfoo\nEOT\n",
            &["f00", "f00"],
        ),
        given(
            "into a command",
            NONE,
            "FROM busybox\nRUN cat <<A - <<B /dev/fd/3 3<<C\nalpha\nA\nbeta\nB\ngamma\nC\n",
            &["beta", "gamma"],
        ),
        given(
            "tabs are stripped with `-`",
            NONE,
            "FROM busybox\nRUN <<-EOT\n\techo a\n\tEOT\n",
            &["a"],
        ),
        given(
            "the terminator is exact",
            NONE,
            "FROM busybox\nRUN <<EOT\necho a\n: EOT\nEOT\n",
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
        given(
            "a shift is no heredoc",
            NONE,
            "FROM busybox\nRUN echo $((1<<3))\n",
            &["8"],
        ),
    ]);
}

#[test]
fn what_the_reference_says() {
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
