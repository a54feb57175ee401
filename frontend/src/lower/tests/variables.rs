//! ENV, LABEL and ARG.

use super::*;

/// What `RUN` sees of some variables.
fn seen(case: &Case, names: &[&str]) -> String {
    let lowered = case.lower();
    let env = &exec(&lowered).env;
    let value = |name: &&str| {
        let found = env.iter().find(|(known, _)| known == name);
        format!("{name}={}", found.map_or("-", |(_, value)| value))
    };
    names.iter().map(value).collect::<Vec<_>>().join(" ")
}

#[test]
fn scopes_and_precedence_of_arguments() {
    type Arguments = &'static [(&'static str, &'static str)];
    let table: &[(&str, Arguments, &str)] = &[
        ("ARG G=g\nFROM a\nRUN x", &[], "G=-"),
        ("ARG G=g\nFROM a\nARG G\nRUN x", &[], "G=g"),
        ("ARG G=g\nFROM a\nARG G=s\nRUN x", &[], "G=s"),
        ("ARG G=g\nFROM a\nARG G=s\nRUN x", &[("G", "b")], "G=b"),
        ("ARG G=g\nFROM a\nARG G\nRUN x", &[("G", "b")], "G=b"),
        ("FROM a\nARG G\nRUN x", &[], "G=-"),
        ("FROM a\nRUN x", &[("G", "b")], "G=-"),
        ("FROM a\nARG G=1\nENV G=2\nRUN x", &[("G", "b")], "G=2"),
        ("FROM a\nENV G=2\nARG G=1\nRUN x", &[("G", "b")], "G=b"),
        (
            "FROM a\nARG G=first\nARG G=later\nRUN x",
            &[("G", "b")],
            "G=b",
        ),
        ("FROM a AS p\nARG G=1\nFROM p\nRUN x", &[], "G=1"),
        ("FROM a\nARG H=h\nARG G=${H}g\nRUN x", &[], "G=hg"),
        ("ARG H=h\nARG G=${H}g\nFROM a\nARG G\nRUN x", &[], "G=hg"),
        ("FROM a\nARG G=${x:?unused}\nRUN x", &[("G", "b")], "G=b"),
        (
            "FROM a\nENV abc=hello\nENV abc=bye G=$abc\nRUN x",
            &[],
            "G=hello",
        ),
        ("FROM a\nENV G <<EOF\nRUN x", &[], "G=<<EOF"),
        ("FROM a\nENV G='a b' \nRUN x", &[], "G=a b"),
        ("FROM a\nENV G a \"b\"\nRUN x", &[], "G=a b"),
    ];
    for (text, args, want) in table {
        let case = args
            .iter()
            .fold(Case::new(text), |case, (name, value)| case.arg(name, value));
        assert_eq!(seen(&case, &["G"]), *want, "{text}");
    }
}

#[test]
fn platform_arguments_exist_when_declared() {
    let names = [
        "TARGETPLATFORM",
        "TARGETARCH",
        "TARGETVARIANT",
        "BUILDOS",
        "TARGETSTAGE",
    ];
    let declared =
        "FROM a AS end\nARG TARGETPLATFORM TARGETARCH TARGETVARIANT BUILDOS TARGETSTAGE\nRUN x";
    let arm =
        |case: Case| case.with(|settings| settings.platform = "linux/arm/v7".parse().unwrap());
    assert_eq!(
        seen(&arm(Case::new(declared)), &names),
        "TARGETPLATFORM=linux/arm/v7 TARGETARCH=arm TARGETVARIANT=v7 BUILDOS=linux TARGETSTAGE=end"
    );
    assert_eq!(
        seen(&Case::new("FROM a\nRUN x"), &["TARGETARCH"]),
        "TARGETARCH=-"
    );
    let versions = Case::new("FROM a\nARG TARGETOSVERSION BUILDOSVERSION TARGETOS\nRUN x");
    let names = ["TARGETOSVERSION", "BUILDOSVERSION", "TARGETOS"];
    assert_eq!(
        seen(&versions, &names),
        "TARGETOSVERSION=- BUILDOSVERSION=- TARGETOS=linux"
    );
    let windows = "windows(10.0.17763.1879)/amd64";
    let versions = versions.with(|settings| settings.platform = windows.parse().unwrap());
    assert_eq!(
        seen(&versions, &names),
        "TARGETOSVERSION=10.0.17763.1879 BUILDOSVERSION=- TARGETOS=windows"
    );
    assert_eq!(
        seen(&versions.arg("TARGETOSVERSION", "11"), &names[..1]),
        "TARGETOSVERSION=11"
    );
    assert_eq!(
        seen(
            &Case::new("FROM a\nARG TARGETSTAGE\nRUN x"),
            &["TARGETSTAGE"]
        ),
        "TARGETSTAGE=default"
    );
    let mine = "FROM a\nARG TARGETARCH=mine\nRUN x";
    assert_eq!(seen(&Case::new(mine), &["TARGETARCH"]), "TARGETARCH=mine");
    assert_eq!(
        seen(&Case::new(mine).arg("TARGETARCH", "arg"), &["TARGETARCH"]),
        "TARGETARCH=arg"
    );
}

#[test]
fn history_lists_declared_arguments_with_their_values() {
    let lowered = Case::new("FROM a\nARG x=1\nARG y\nARG x=2\nENV y=env\nARG z\nRUN c\n").lower();
    assert_eq!(
        lowered.history.last().unwrap().created_by,
        "RUN |3 x=2 y=env z= /bin/sh -c c # buildkit"
    );
}

#[test]
fn proxy_arguments_are_not_recorded_unless_declared() {
    let plain = Case::new("FROM a\nRUN c\n").arg("HTTP_PROXY", "p").lower();
    assert_eq!(history(&plain), ["RUN /bin/sh -c c # buildkit"]);
    let declared = Case::new("FROM a\nARG HTTP_PROXY\nRUN c\n")
        .arg("HTTP_PROXY", "p")
        .lower();
    assert_eq!(
        history(&declared),
        [
            "ARG HTTP_PROXY=p",
            "RUN |1 HTTP_PROXY=p /bin/sh -c c # buildkit"
        ]
    );
}

#[test]
fn each_failing_word_is_reported() {
    assert_eq!(
        errors_below_base("ENV a=${x:?one} b=${y:?two}\nLABEL c=${d^^}"),
        [
            "required-variable@${x:?one}: failed to process \"${x:?one}\": x: one (set x, with --build-arg x=… if it is an ARG)",
            "required-variable@${y:?two}: failed to process \"${y:?two}\": y: two (set y, with --build-arg y=… if it is an ARG)",
            "unsupported-modifier@${d^^}: failed to process \"${d^^}\": unsupported modifier (^) in substitution",
        ]
    );
}

#[test]
fn invalid_bytes_in_labels_are_replaced() {
    let source = SourceFile::from_bytes("f", b"FROM scratch\nLABEL a=\"x\xffy\"\n");
    let dockerfile = parse(&source).unwrap();
    let plan = Plan::new(
        &dockerfile,
        &BuildSettings::new(Platform::new("linux", "amd64")),
    )
    .unwrap();
    let lowered = plan.lower(&ResolvedImages::new()).unwrap();
    assert_eq!(lowered.image.config.labels["a"], "x\u{fffd}y");
}

#[test]
fn labels_are_stored_by_name() {
    assert_configs(&[
        (
            "LABEL a=1 \"b c\"='d e'",
            r#"{"Labels":{"a":"1","b c":"d e"}}"#,
        ),
        ("LABEL a b  c", r#"{"Labels":{"a":"b  c"}}"#),
    ]);
}

#[test]
fn history_lines_are_dockers() {
    assert_history(&[
        ("ENV a=b c=\"d e\"", "ENV a=b c=d e"),
        ("LABEL a=b c=d", "LABEL a=b c=d"),
        ("ARG a", "ARG a"),
        ("ARG a=1 b", "ARG a=1 b"),
    ]);
}
