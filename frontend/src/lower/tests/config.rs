//! WORKDIR, USER, VOLUME, STOPSIGNAL and MAINTAINER; EXPOSE has a file of its own.

use super::*;

#[test]
fn words_become_fields() {
    assert_configs(&[
        ("USER a:b", r#"{"User":"a:b"}"#),
        ("ARG u=me\nUSER $u", r#"{"User":"me"}"#),
        ("STOPSIGNAL 9", r#"{"StopSignal":"9"}"#),
        ("STOPSIGNAL SIGRTMIN+3", r#"{"StopSignal":"SIGRTMIN+3"}"#),
        ("WORKDIR a\nWORKDIR b/../c", r#"{"WorkingDir":"/a/c"}"#),
        ("WORKDIR /a/\nWORKDIR ../..", r#"{"WorkingDir":"/"}"#),
        ("VOLUME /a b", r#"{"Volumes":{"/a":{},"b":{}}}"#),
        ("VOLUME [\"/a b\"]", r#"{"Volumes":{"/a b":{}}}"#),
        ("USER a b", r#"{"User":"a b"}"#),
        ("WORKDIR /a b", r#"{"WorkingDir":"/a b"}"#),
        ("STOPSIGNAL kill", r#"{"StopSignal":"kill"}"#),
        (
            "ENV DIRPATH=/path\nWORKDIR $DIRPATH/$DIRNAME",
            r#"{"WorkingDir":"/path"}"#,
        ),
    ]);
}

#[test]
fn history_lines_are_dockers() {
    assert_history(&[
        ("USER a", "USER a"),
        ("WORKDIR /x", "WORKDIR /x"),
        ("WORKDIR /", "WORKDIR /"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ("EXPOSE 90 80", "EXPOSE [80/tcp 90/tcp]"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ("MAINTAINER me <m@x>", "MAINTAINER me <m@x>"),
    ]);
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
