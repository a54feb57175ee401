//! Files that cannot be built: what the checks say of the rest.

use super::*;

/// Returns the rules that have something to say, with the line of each.
fn said(text: &str, target: Option<&str>) -> Vec<String> {
    let source = SourceFile::new("Dockerfile", text);
    let mut settings = BuildSettings::new("linux/amd64".parse().unwrap());
    settings.target = target.map(str::to_owned);
    let errors = parse(&source).and_then(|file| Plan::new(&file, &settings).map(drop));
    let errors = errors.unwrap_err();
    let Some(plan) = Plan::salvage(&source, &settings) else {
        return vec!["nothing is certain".to_owned()];
    };
    let (config, _) = Config::of(&source, &plan).unwrap();
    let images = ResolvedImages::new();
    let warnings = check_broken(&Inputs::new(&source, &plan, &images), &config, &errors);
    let line = |warning: &Warning| source.line_column(warning.location.start).line;
    let told = warnings.iter();
    told.map(|warning| format!("{} {}", line(warning), warning.rule.name))
        .collect()
}

#[test]
fn warnings_come_with_the_errors() {
    let rows: &[(&str, &[&str])] = &[
        (
            "FROM scratch as Base\nWORKDIR x\nRUNN make\nMAINTAINER me\nENV a b\nWORKDIR y\n",
            &[
                "1 StageNameCasing",
                "1 FromAsCasing",
                "2 WorkdirRelativePath",
                "4 MaintainerDeprecated",
                "5 LegacyKeyValueFormat",
            ],
        ),
        // Whether a variable is undefined below a line that cannot be read, nobody knows.
        (
            "FROM scratch\nLABEL a=$x\nENV x\nLABEL b=$x\n",
            &["2 UndefinedVar"],
        ),
        (
            "ARG 1=\nARG=\nFROM $x\nMAINTAINER me\n",
            &["4 MaintainerDeprecated"],
        ),
        (
            "FROM a b c d\nCMD x\nCMD y\nLABEL a=$b\n",
            &["2 MultipleInstructionsDisallowed"],
        ),
        // A plan that fails: names that are wrong, a target that is not there.
        (
            "FROM scratch as a\nRUN x\nCOPY --from=7 a b\nMAINTAINER me\n",
            &["1 FromAsCasing", "4 MaintainerDeprecated"],
        ),
        (
            "FROM $nothing\nmaintainer me\nLABEL a=$b\n",
            &[
                "1 UndefinedArgInFrom",
                "2 ConsistentInstructionCasing",
                "2 MaintainerDeprecated",
            ],
        ),
        // What the comments at the top say counts.
        ("# check=skip=all\nFROM scratch as a\nRUNN\n", &[]),
        (
            "FROM scratch as a\n# check=skip=all\nMAINTAINER me\nRUNN\n",
            &["1 FromAsCasing"],
        ),
        ("# escape=x\nFROM scratch as a\n", &["nothing is certain"]),
        (
            "# syntax=other/frontend\nFROM scratch as a\n",
            &["nothing is certain"],
        ),
        ("FROM scratch as a\nRUN \0\nRUNN\n", &["nothing is certain"]),
        ("RUNN\n", &["nothing is certain"]),
        ("", &["nothing is certain"]),
    ];
    for (text, want) in rows {
        assert_eq!(said(text, None), *want, "{text}");
    }
    let text = "FROM scratch as a\nMAINTAINER me\n";
    let want = ["1 FromAsCasing", "2 MaintainerDeprecated"];
    assert_eq!(said(text, Some("none")), want);
}
