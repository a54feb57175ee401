//! FROM and the names of stages.

use super::{Case, Expect, check};
use crate::support::NONE;

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
