//! CMD, ENTRYPOINT and SHELL.

use super::*;

#[test]
fn commands_are_stored_in_their_form() {
    assert_configs(&[
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
        (
            "CMD ['a']",
            r#"{"Cmd":["/bin/sh","-c","['a']"],"ArgsEscaped":true}"#,
        ),
        (
            "CMD [\"a\",]",
            r#"{"Cmd":["/bin/sh","-c","[\"a\",]"],"ArgsEscaped":true}"#,
        ),
        (
            "SHELL [\"a\"]\nSHELL [\"b\", \"-c\"]\nENTRYPOINT x",
            r#"{"Entrypoint":["b","-c","x"],"Shell":["b","-c"]}"#,
        ),
    ]);
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
    assert_history(&[
        (
            "CMD [\"a\", \"b \\\"c\\\"\"]",
            "CMD [\"a\" \"b \\\"c\\\"\"]",
        ),
        ("CMD a", "CMD [\"/bin/sh\" \"-c\" \"a\"]"),
        ("ENTRYPOINT [\"x\"]", "ENTRYPOINT [\"x\"]"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "SHELL [/bin/bash -c]"),
    ]);
}
