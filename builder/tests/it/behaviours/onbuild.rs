//! ONBUILD.

use super::{Case, Expect, check, config};
use crate::support::NONE;

#[test]
fn onbuild() {
    check(&[
        config(
            "triggers run once, in the child, and are not inherited",
            "FROM busybox AS p\nONBUILD ENV a=b\nFROM p AS c\nFROM c\nENV d=e\n",
            &[
                ("/config/OnBuild", "null"),
                ("/config/Env/1", "\"a=b\""),
                ("/config/Env/2", "\"d=e\""),
                ("/config/Env/3", "null"),
            ],
        ),
        Case {
            name: "an unknown instruction fails when it runs",
            setup: "",
            dockerfile: "FROM busybox AS p\nONBUILD NOSUCH thing\nFROM p\n",
            args: NONE,
            expect: Expect::Fails(&["NOSUCH"]),
        },
        Case {
            name: "a trigger may copy from another stage",
            setup: "",
            dockerfile: "FROM busybox AS data\nRUN printf x >/f\n\
                         FROM busybox AS p\nONBUILD COPY --from=data /f /g\nFROM p\n",
            args: NONE,
            expect: Expect::Tree(&[r#"g 644 0:0 "x""#]),
        },
    ]);
}
