//! .dockerignore.

use super::{Case, Expect, check};
use crate::support::{Context, Cooper};

use crate::support::NONE;
const COPY_ALL: &str = "FROM busybox\nCOPY c /1/\n";

#[test]
fn patterns() {
    check(&[
        Case {
            name: "`.` has no effect",
            setup: "mkdir c; printf a >c/a; echo . >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/a 644 0:0 "a""#]),
        },
        Case {
            name: "a pattern above the context never matches",
            setup: "mkdir c; printf b >c/b.txt; printf '../b.txt\\n../c\\n' >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/b.txt 644 0:0 "b""#]),
        },
        Case {
            name: "BOM, CRLF, blanks, comments and a leading slash",
            setup:
                "mkdir c; for f in a b d e; do printf $f >c/$f; done
                    printf '\\357\\273\\277c/a\\r\\n  c/b  \\r\\n# c/e\\r\\n/c/d\\n' >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/e 644 0:0 "e""#]),
        },
        Case {
            name: "an open class is an error",
            setup: "mkdir c; echo '[' >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Fails(&[".dockerignore"]),
        },
        Case {
            name: "a lone `!` is an error",
            setup: "mkdir c; echo '!' >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Fails(&[".dockerignore"]),
        },
        Case {
            name: "children of an excluded directory come back",
            setup: "mkdir -p c/x/s; printf y >c/x/y; printf z >c/x/z; printf y >c/x/s/y
                    printf '**/x\\n!**/y\\n' >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Tree(&[
                "1/ 755 0:0",
                "1/x/ 755 0:0",
                "1/x/s/ 755 0:0",
                r#"1/x/s/y 644 0:0 "y""#,
                r#"1/x/y 644 0:0 "y""#,
            ]),
        },
        Case {
            name: "the last match wins",
            setup: "mkdir c; printf a >c/a; printf b >c/b
                    printf 'c/*\\n!c/a\\n!c/b\\nc/b\\n' >.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/a 644 0:0 "a""#]),
        },
        Case {
            name: "the Dockerfile may be ignored and is read all the same",
            setup: "mkdir c; printf a >c/a; printf 'Dockerfile\\n.dockerignore\\n' >.dockerignore",
            dockerfile: "FROM busybox\nCOPY . /1/\n",
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", "1/c/ 755 0:0", r#"1/c/a 644 0:0 "a""#]),
        },
        Case {
            name: "X.dockerignore replaces .dockerignore",
            setup: "mkdir c; printf a >c/a; printf b >c/b; echo c/a >.dockerignore
                    echo c/b >Dockerfile.dockerignore",
            dockerfile: COPY_ALL,
            args: NONE,
            expect: Expect::Tree(&["1/ 755 0:0", r#"1/a 644 0:0 "a""#]),
        },
    ]);
}

#[test]
fn a_named_directory_has_its_own_ignore_file() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY --from=extra . /\n");
    let extra = Context::empty()
        .with("kept", "k")
        .with("dropped", "d")
        .with(".dockerignore", "dropped\n.dockerignore\n");
    let dest = cooper.scratch("out");
    cooper
        .build(
            &context,
            &[
                format!("--build-context=extra={}", extra.path().display()),
                format!("-otype=local,dest={}", dest.display()),
            ],
        )
        .ok();
    let names: Vec<_> = std::fs::read_dir(&dest)
        .expect("the output")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["kept"]);
}

#[test]
fn an_ignore_file_lies_beside_a_dockerfile_outside_the_context() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty()
        .with("a", "a")
        .with("b", "b")
        .with(".dockerignore", "a\n");
    let elsewhere = Context::empty()
        .with("other", "FROM scratch\nCOPY . /\n")
        .with("other.dockerignore", "b\n.dockerignore\n");
    let dest = cooper.scratch("out");
    cooper
        .build(
            &context,
            &[
                format!("-f={}", elsewhere.join("other").display()),
                format!("-otype=local,dest={}", dest.display()),
            ],
        )
        .ok();
    assert!(dest.join("a").exists());
    assert!(!dest.join("b").exists());
}
