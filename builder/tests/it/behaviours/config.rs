//! The image's config.

use super::{Case, Expect, check};
use crate::support::NONE;

const ENV_PATH: &str = "[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"]";

const fn config(
    name: &'static str,
    dockerfile: &'static str,
    fields: &'static [(&'static str, &'static str)],
) -> Case {
    Case::new(name, "", dockerfile, Expect::Config(fields))
}

#[test]
fn commands() {
    check(&[
        config(
            "ENTRYPOINT clears an inherited CMD",
            "FROM busybox\nENTRYPOINT [\"e\"]\n",
            &[("/config/Entrypoint", "[\"e\"]"), ("/config/Cmd", "null")],
        ),
        config(
            "but not one of its own stage, whatever the order",
            "FROM busybox\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n",
            &[("/config/Cmd", "[\"c\"]")],
        ),
        config(
            "and the parent stage's is inherited too",
            "FROM busybox AS p\nCMD [\"c\"]\nFROM p\nENTRYPOINT [\"e\"]\n",
            &[("/config/Cmd", "null")],
        ),
        config(
            "`CMD []` removes it",
            "FROM busybox\nCMD []\n",
            &[("/config/Cmd", "null")],
        ),
        config(
            "no argument at all",
            "FROM busybox\nCMD\nENTRYPOINT\n",
            &[
                ("/config/Cmd", r#"["/bin/sh","-c",""]"#),
                ("/config/Entrypoint", r#"["/bin/sh","-c",""]"#),
            ],
        ),
        config(
            "what is no JSON is shell form",
            "FROM busybox\nCMD [\"a\"] b\nENTRYPOINT ['a']\n",
            &[
                ("/config/Cmd", r#"["/bin/sh","-c","[\"a\"] b"]"#),
                ("/config/Entrypoint", r#"["/bin/sh","-c","['a']"]"#),
            ],
        ),
        config(
            "shell form keeps inner blanks; a continuation joins without a newline",
            "FROM busybox\nCMD echo  a \\\n  b\n",
            &[("/config/Cmd", r#"["/bin/sh","-c","echo  a   b"]"#)],
        ),
        config(
            "SHELL",
            "FROM busybox\nSHELL [\"/bin/ash\", \"-ec\"]\nCMD x\n",
            &[
                ("/config/Cmd", r#"["/bin/ash","-ec","x"]"#),
                ("/config/Shell", r#"["/bin/ash","-ec"]"#),
            ],
        ),
    ]);
}

#[test]
fn fields() {
    check(&[
        config(
            "HEALTHCHECK replaces the earlier one whole",
            "FROM busybox\nHEALTHCHECK --interval=5s --retries=2 CMD old\n\
             HEALTHCHECK --timeout=1m --start-period=500ms CMD [\"new\"]\n",
            &[(
                "/config/Healthcheck",
                r#"{"Test":["CMD","new"],"Timeout":60000000000,"StartPeriod":500000000}"#,
            )],
        ),
        config(
            "HEALTHCHECK NONE",
            "FROM busybox\nHEALTHCHECK NONE\n",
            &[("/config/Healthcheck", r#"{"Test":["NONE"]}"#)],
        ),
        config(
            "EXPOSE",
            "FROM busybox\nEXPOSE 8080:80\nEXPOSE 82/TCP 90-92 53/udp\n",
            &[(
                "/config/ExposedPorts",
                r#"{"80/tcp":{},"82/tcp":{},"90/tcp":{},"91/tcp":{},"92/tcp":{},"53/udp":{}}"#,
            )],
        ),
        config(
            "STOPSIGNAL is kept as written",
            "FROM busybox\nSTOPSIGNAL 9\n",
            &[("/config/StopSignal", "\"9\"")],
        ),
        config(
            "ONBUILD is kept as written, unknown instructions too",
            "FROM busybox\nONBUILD RUN  echo  hi\nONBUILD NOSUCH thing\n",
            &[("/config/OnBuild", r#"["RUN  echo  hi","NOSUCH thing"]"#)],
        ),
        config(
            "labels, user, volumes, working directory",
            "FROM busybox\nLABEL a=1 \"b c\"=2\nUSER mail\nVOLUME /v /w\nWORKDIR /x\nWORKDIR y\n",
            &[
                ("/config/Labels", r#"{"a":"1","b c":"2"}"#),
                ("/config/User", "\"mail\""),
                ("/config/Volumes", r#"{"/v":{},"/w":{}}"#),
                ("/config/WorkingDir", "\"/x/y\""),
            ],
        ),
        Case {
            name: "--label comes after the file's",
            setup: "",
            dockerfile: "FROM busybox\nLABEL a=1 b=2\n",
            args: &["--label=a=9", "--label=c=3"],
            expect: Expect::Config(&[("/config/Labels", r#"{"a":"9","b":"2","c":"3"}"#)]),
        },
        config(
            "scratch has a path and a working directory",
            "FROM scratch\nLABEL a=b\n",
            &[
                ("/config/Env", ENV_PATH),
                ("/config/WorkingDir", "\"/\""),
                ("/rootfs/diff_ids", "[]"),
            ],
        ),
        config(
            "MAINTAINER is the author",
            "FROM busybox\nMAINTAINER me\n",
            &[("/author", "\"me\"")],
        ),
    ]);
}

#[test]
fn history() {
    check(&[
        config(
            "each instruction has its entry; metadata makes no layer",
            "FROM busybox\nENV a=b\nRUN true\nWORKDIR /w\nCMD [\"x\"]\n",
            &[
                ("/history/1/created_by", "\"ENV a=b\""),
                ("/history/1/empty_layer", "true"),
                (
                    "/history/2/created_by",
                    "\"RUN /bin/sh -c true # buildkit\"",
                ),
                ("/history/2/empty_layer", "null"),
                ("/history/3/created_by", "\"WORKDIR /w\""),
                ("/history/3/empty_layer", "null"),
                ("/history/4/created_by", "\"CMD [\\\"x\\\"]\""),
                ("/history/4/empty_layer", "true"),
                ("/history/5", "null"),
                ("/rootfs/diff_ids/3", "null"),
            ],
        ),
        config(
            "`WORKDIR /` makes none",
            "FROM busybox\nWORKDIR /\n",
            &[("/rootfs/diff_ids/1", "null")],
        ),
    ]);
}

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
