use super::*;

/// The configuration object after a fragment below `FROM base`, as JSON.
fn config(fragment: &str) -> String {
    let mut config = below_base(fragment).result.image.config;
    config.env.clear();
    serde_json::to_string(&config).unwrap()
}

#[test]
fn instructions_edit_the_configuration() {
    let table: &[(&str, &str)] = &[
        (
            "CMD [\"a\", \"b\"]",
            r#"{"Cmd":["a","b"],"ArgsEscaped":true}"#,
        ),
        (
            "CMD a  b",
            r#"{"Cmd":["/bin/sh","-c","a  b"],"ArgsEscaped":true}"#,
        ),
        (
            "CMD [\"a\"] b",
            r#"{"Cmd":["/bin/sh","-c","[\"a\"] b"],"ArgsEscaped":true}"#,
        ),
        (
            "CMD a \\\n b",
            r#"{"Cmd":["/bin/sh","-c","a  b"],"ArgsEscaped":true}"#,
        ),
        ("CMD", r#"{"Cmd":["/bin/sh","-c",""],"ArgsEscaped":true}"#),
        ("CMD a\nCMD []", r#"{"ArgsEscaped":true}"#),
        ("ENTRYPOINT [\"a\"]", r#"{"Entrypoint":["a"]}"#),
        ("ENTRYPOINT a", r#"{"Entrypoint":["/bin/sh","-c","a"]}"#),
        ("ENTRYPOINT []", r"{}"),
        (
            "CMD a\nENTRYPOINT [\"b\"]",
            r#"{"Entrypoint":["b"],"Cmd":["/bin/sh","-c","a"],"ArgsEscaped":true}"#,
        ),
        (
            "ENTRYPOINT [\"b\"]\nCMD a",
            r#"{"Entrypoint":["b"],"Cmd":["/bin/sh","-c","a"],"ArgsEscaped":true}"#,
        ),
        (
            "SHELL [\"/bin/bash\", \"-c\"]\nCMD a",
            r#"{"Cmd":["/bin/bash","-c","a"],"ArgsEscaped":true,"Shell":["/bin/bash","-c"]}"#,
        ),
        ("USER a:b", r#"{"User":"a:b"}"#),
        ("ARG u=me\nUSER $u", r#"{"User":"me"}"#),
        ("STOPSIGNAL 9", r#"{"StopSignal":"9"}"#),
        ("STOPSIGNAL SIGRTMIN+3", r#"{"StopSignal":"SIGRTMIN+3"}"#),
        ("WORKDIR a\nWORKDIR b/../c", r#"{"WorkingDir":"/a/c"}"#),
        ("WORKDIR /a/\nWORKDIR ../..", r#"{"WorkingDir":"/"}"#),
        ("VOLUME /a b", r#"{"Volumes":{"/a":{},"b":{}}}"#),
        ("VOLUME [\"/a b\"]", r#"{"Volumes":{"/a b":{}}}"#),
        (
            "LABEL a=1 \"b c\"='d e'",
            r#"{"Labels":{"a":"1","b c":"d e"}}"#,
        ),
        ("LABEL a b  c", r#"{"Labels":{"a":"b  c"}}"#),
        (
            "HEALTHCHECK CMD curl -f x",
            r#"{"Healthcheck":{"Test":["CMD-SHELL","curl -f x"]}}"#,
        ),
        (
            "HEALTHCHECK --interval=1m --timeout=2s --start-period=0s --start-interval=5ms --retries=3 CMD [\"a\"]",
            r#"{"Healthcheck":{"Test":["CMD","a"],"Interval":60000000000,"Timeout":2000000000,"StartInterval":5000000,"Retries":3}}"#,
        ),
        (
            "HEALTHCHECK CMD a\nHEALTHCHECK NONE",
            r#"{"Healthcheck":{"Test":["NONE"]}}"#,
        ),
        ("ONBUILD RUN a  b \\\n c", r#"{"OnBuild":["RUN a  b  c"]}"#),
        ("ONBUILD NONSENSE x", r#"{"OnBuild":["NONSENSE x"]}"#),
        (
            "onbuild COPY <<a /b\n1\na",
            r#"{"OnBuild":["COPY <<a /b\n1\na"]}"#,
        ),
    ];
    for (fragment, want) in table {
        assert_eq!(config(fragment), *want, "{fragment}");
    }
}

#[test]
fn entrypoint_drops_a_command_of_the_base_only() {
    let inherited = |text: &str| {
        let case = Case::new(text).image(|_, config| config.config.cmd = Some(vec!["old".into()]));
        let config = case.lower().result.image.config;
        (
            config.cmd.unwrap_or_default().join(" "),
            config.entrypoint.unwrap_or_default().join(" "),
        )
    };
    let pair = |cmd: &str, entrypoint: &str| (cmd.to_owned(), entrypoint.to_owned());
    assert_eq!(inherited("FROM a"), pair("old", ""));
    assert_eq!(inherited("FROM a\nENTRYPOINT [\"e\"]"), pair("", "e"));
    assert_eq!(
        inherited("FROM a AS x\nCMD [\"c\"]\nFROM x\nENTRYPOINT [\"e\"]"),
        pair("", "e")
    );
    assert_eq!(
        inherited("FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]"),
        pair("c", "e")
    );
}

#[test]
fn history_lines_are_dockers() {
    let table: &[(&str, &str)] = &[
        (
            "CMD [\"a\", \"b \\\"c\\\"\"]",
            "CMD [\"a\" \"b \\\"c\\\"\"]",
        ),
        ("CMD a", "CMD [\"/bin/sh\" \"-c\" \"a\"]"),
        ("ENTRYPOINT [\"x\"]", "ENTRYPOINT [\"x\"]"),
        ("ENV a=b c=\"d e\"", "ENV a=b c=d e"),
        ("LABEL a=b c=d", "LABEL a=b c=d"),
        ("ARG a", "ARG a"),
        ("ARG a=1 b", "ARG a=1 b"),
        ("USER a", "USER a"),
        ("WORKDIR /x", "WORKDIR /x"),
        ("WORKDIR /", "WORKDIR /"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ("EXPOSE 90 80", "EXPOSE [80/tcp 90/tcp]"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "SHELL [/bin/bash -c]"),
        ("MAINTAINER me <m@x>", "MAINTAINER me <m@x>"),
        (
            "HEALTHCHECK --interval=30s CMD a b",
            "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
    ];
    for (fragment, want) in table {
        let lowered = below_base(fragment);
        let item = lowered.history.last().unwrap();
        assert_eq!(item.created_by, *want, "{fragment}");
        assert_eq!(item.comment, "buildkit.dockerfile.v0");
        assert_eq!(item.layer.is_some(), *want == "WORKDIR /x", "{fragment}");
    }
    assert!(below_base("ONBUILD RUN x").history.is_empty());
}

#[test]
fn workdir_makes_the_directory_for_the_user() {
    let lowered = below_base("USER u\nWORKDIR a");
    assert_eq!(graph(&lowered)[1], "file mkdir /a 755 for u(0)");
    let root = below_base("WORKDIR /");
    assert_eq!(root.graph.len(), 1);
}

#[test]
fn maintainer_is_the_author() {
    assert_eq!(below_base("MAINTAINER me").image.author, "me");
}

#[test]
fn values_that_make_no_sense_are_errors() {
    let table: &[(&str, &str)] = &[
        (
            "STOPSIGNAL NOPE",
            "invalid-signal@NOPE: invalid signal: NOPE",
        ),
        ("STOPSIGNAL 0", "invalid-signal@0: invalid signal: 0"),
        (
            "VOLUME $none",
            "empty-volume@$none: VOLUME specified can not be an empty string",
        ),
        (
            "USER ${x:?who}",
            "required-variable@${x:?who}: failed to process \"${x:?who}\": x: who (set x, with --build-arg x=… if it is an ARG)",
        ),
        (
            "WORKDIR /a/${x",
            "missing-brace@${x: failed to process \"/a/${x\": syntax error: missing '}'",
        ),
    ];
    for (fragment, want) in table {
        assert_eq!(errors_below_base(fragment), [*want], "{fragment}");
    }
}
