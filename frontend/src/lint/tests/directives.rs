//! `# check=` and what overrules it.

use super::*;

#[test]
fn directives_and_comments_switch_rules() {
    let two = "FROM a as B\nMAINTAINER c\n";
    let names = |text: &str, args: Args| {
        let case = Case {
            args,
            ..Case::default()
        };
        let warnings = case.warnings(text).into_iter();
        let shown = warnings.map(|warning| {
            format!(
                "{}{}",
                warning.rule.name,
                if warning.error { "!" } else { "" }
            )
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    let key = "BUILDKIT_DOCKERFILE_CHECK";
    let table: &[(String, Args, &str)] = &[
        (
            two.into(),
            &[],
            "StageNameCasing FromAsCasing MaintainerDeprecated",
        ),
        (
            format!("# check=skip=FromAsCasing,StageNameCasing\n{two}"),
            &[],
            "MaintainerDeprecated",
        ),
        (format!("# check=skip=all\n{two}"), &[], ""),
        (format!("# check=skip=all;error=true\n{two}"), &[], ""),
        (
            format!("# check=error=true;skip=StageNameCasing\n{two}"),
            &[],
            "FromAsCasing! MaintainerDeprecated!",
        ),
        (format!("# check=skip=all // none of it\n{two}"), &[], ""),
        (
            format!("\n# check=skip=FromAsCasing\n{two}"),
            &[],
            "StageNameCasing MaintainerDeprecated",
        ),
        (
            format!("# why\n# check=skip=all\n{two}"),
            &[],
            "MaintainerDeprecated",
        ),
        (
            "FROM a as b\n# check=skip=MaintainerDeprecated\nMAINTAINER c\nMAINTAINER d\n".into(),
            &[],
            "FromAsCasing MaintainerDeprecated",
        ),
        (
            "FROM a as b\n# check=error=true\nMAINTAINER c\n".into(),
            &[],
            "FromAsCasing MaintainerDeprecated!",
        ),
        (
            "FROM a\n# nothing\n# check=experimental=all\nARG b\n".into(),
            &[],
            "InvalidDefinitionDescription",
        ),
        (
            format!("# check=skip=all;experimental=all\n# x\n{two}"),
            &[],
            "InvalidDefinitionDescription",
        ),
        (
            format!("# check=skip=all\n{two}"),
            &[("BUILDKIT_DOCKERFILE_CHECK", "skip=FromAsCasing;error=1")],
            "StageNameCasing! MaintainerDeprecated!",
        ),
    ];
    for (text, args, want) in table {
        assert_eq!(names(text, args), *want, "{key} {args:?}\n{text}");
    }
}

#[test]
fn unknown_rules_and_options_are_reported() {
    let told = |text: &str| {
        let source = SourceFile::new("Dockerfile", text);
        match Config::of(&source, &Case::default().plan(&source)) {
            Ok((_, warnings)) => warnings,
            Err(errors) => errors,
        }
        .iter()
        .map(|one| format!("{} {one}", source.line_column(one.span.start).line))
        .collect::<Vec<_>>()
    };
    let table: &[(&str, &[&str])] = &[
        ("# check=skip=JSONArgsRecommended\nFROM a\n", &[]),
        (
            "# check=skip=StageNameCase\nFROM a\n",
            &["1 there is no build check \"StageNameCase\" (did you mean `StageNameCasing`?)"],
        ),
        (
            "# check=skip=fromascasing\n\nFROM a\n",
            &["1 there is no build check \"fromascasing\" (did you mean `FromAsCasing`?)"],
        ),
        (
            "# check=skip=Whatever;experimental=all\n\nFROM a\n",
            &["1 there is no build check \"Whatever\""],
        ),
        (
            "FROM a\n# check=skip=UndefinedVra\nRUN b\n",
            &["3 there is no build check \"UndefinedVra\" (did you mean `UndefinedVar`?)"],
        ),
        (
            "# check=skip\n\nFROM a\n",
            &["1 invalid check option \"skip\""],
        ),
        (
            "# check=ignore=A\n\nFROM a\n",
            &["1 invalid check option \"ignore=A\""],
        ),
        (
            "# check=error=maybe\n\nFROM a\n",
            &["1 failed to parse check option error=\"maybe\": not true or false"],
        ),
    ];
    for (text, want) in table {
        assert_eq!(told(text), *want, "{text}");
    }
}
