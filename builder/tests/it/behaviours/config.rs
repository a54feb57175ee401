//! What other instructions write to the image's configuration, and its history.

use super::{Case, Expect, check, config, output};

const ENV_PATH: &str = "[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"]";

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
fn what_the_reference_says() {
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
