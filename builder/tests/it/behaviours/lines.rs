//! The form of the file: directives, comments, continuations.

use super::{Case, Expect, check, given, output, refused};
use crate::support::NONE;

#[test]
fn directives_and_lines() {
    check(&[
        given(
            "the escape directive",
            NONE,
            "# escape=`\nFROM busybox\nRUN echo a `\n  b\\c\n",
            &["a bc"],
        ),
        given(
            "a directive after a comment is a comment",
            NONE,
            "# hello\n# escape=`\nFROM busybox\nRUN echo a \\\n  b\n",
            &["a b"],
        ),
        refused(
            "a directive given twice",
            "# escape=`\n# escape=\\\nFROM busybox\n",
        ),
        given(
            "a continuation with blanks after it, comments and empty lines inside",
            NONE,
            "FROM busybox\nRUN echo a \\  \n# comment\n\n  b\n",
            &["a b"],
        ),
        given(
            "a continuation at the end of the file",
            NONE,
            "FROM busybox\nRUN echo a \\",
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
fn what_the_reference_says() {
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
