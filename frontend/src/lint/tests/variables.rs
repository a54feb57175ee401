//! ARG, ENV and LABEL, and what refers to them.

use super::{Case, table};

#[test]
fn undefined_var() {
    table(
        "UndefinedVar",
        &[
            (
                "FROM a\nCOPY $foo .\n",
                &["2 [$foo] Usage of undefined variable '$foo'"],
            ),
            (
                "FROM a\nENV PATH=$PAHT:/app\n",
                &["2 [$PAHT] Usage of undefined variable '$PAHT' (did you mean $PATH?)"],
            ),
            (
                "FROM a\nLABEL a=${b}${c} d=$b\n",
                &[
                    "2 [${b}] Usage of undefined variable '$b'",
                    "2 [${c}] Usage of undefined variable '$c'",
                ],
            ),
            (
                "FROM a\nARG v=$foo\n",
                &["2 [$foo] Usage of undefined variable '$foo'"],
            ),
            (
                "FROM a\nENV a=1 b=$a\n",
                &["2 [$a] Usage of undefined variable '$a'"],
            ),
            (
                "FROM a\nRUN --mount=type=cache,target=/c/$id x\n",
                &["2 [$id] Usage of undefined variable '$id'"],
            ),
            (
                "FROM a\nCOPY <<E /f\nit's $x\nE\n",
                &["2 [$x] Usage of undefined variable '$x'"],
            ),
            (
                "FROM a\nWORKDIR /$x\nUSER $x\nEXPOSE 8$x\nVOLUME /$x\nSTOPSIGNAL 9$x\n",
                &[
                    "2 [$x] Usage of undefined variable '$x'",
                    "3 [$x] Usage of undefined variable '$x'",
                    "4 [$x] Usage of undefined variable '$x'",
                    "5 [$x] Usage of undefined variable '$x'",
                    "6 [$x] Usage of undefined variable '$x'",
                ],
            ),
            (
                "ARG V=1\nFROM a\nLABEL v=$V\n",
                &["3 [$V] Usage of undefined variable '$V'"],
            ),
            ("FROM a\nARG foo\nCOPY $foo .\n", &[]),
            ("FROM a\nENV v=$BASE_VERSION\n", &[]),
            ("FROM a AS b\nENV x=1\nFROM b\nLABEL x=$x\n", &[]),
            ("FROM scratch\nENV PATH=$PATH:/x\n", &[]),
            (
                "FROM a\nRUN echo $x\nCMD echo $x\nENTRYPOINT [\"$x\"]\nHEALTHCHECK CMD $x\nONBUILD ENV a=$x\n",
                &[],
            ),
            ("FROM a\nCOPY <<'E' /f\n$x\nE\nLABEL a='$x' b=\\$x\n", &[]),
            ("FROM a\nLABEL a=${x:-1} b=${x+1}\n", &[]),
        ],
    );
    let trigger = Case {
        image: |config| config.config.on_build.push("ENV x=1".to_owned()),
        ..Case::default()
    };
    trigger.table("UndefinedVar", &[("FROM a\nLABEL x=$x\n", &[])]);
    let global = Case::default().warnings("ARG V=1\nFROM a\nLABEL v=$V\n");
    assert_eq!(
        global[0].help.as_deref(),
        Some("declare it in this stage too: `ARG V`")
    );
}

#[test]
fn legacy_key_value_format() {
    let message = |name: &str| {
        format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format")
    };
    table(
        "LegacyKeyValueFormat",
        &[
            (
                "FROM a\nENV b c d\n",
                &[&format!("2 [b c d] {}", message("ENV"))],
            ),
            (
                "FROM a\nlabel b c\n",
                &[&format!("2 [b c] {}", message("LABEL"))],
            ),
            ("FROM a\nENV b=c\nLABEL d=e\nARG f g\n", &[]),
        ],
    );
}

#[test]
fn secrets_used_in_arg_or_env() {
    let message =
        |what: &str| format!("Do not use ARG or ENV instructions for sensitive data ({what})");
    table(
        "SecretsUsedInArgOrEnv",
        &[
            (
                "FROM a\nARG AWS_SECRET_ACCESS_KEY\n",
                &[&format!(
                    "2 [AWS_SECRET_ACCESS_KEY] {}",
                    message("ARG \"AWS_SECRET_ACCESS_KEY\"")
                )],
            ),
            (
                "ARG token=x\nFROM a\n",
                &[&format!("1 [token] {}", message("ARG \"token\""))],
            ),
            (
                "FROM a\nENV A=1 DbPassword=1 DB_PassWD=2 APIKEY=3\n",
                &[
                    &format!("2 [DB_PassWD] {}", message("ENV \"DB_PassWD\"")),
                    &format!("2 [APIKEY] {}", message("ENV \"APIKEY\"")),
                ],
            ),
            (
                "FROM a\nENV PUBLIC_KEY=1 KEYBOARD=2 TOKEN_FILE=3 KEY_VERSION=4 AUTHOR=5\n",
                &[],
            ),
            ("FROM a\nLABEL password=x\n", &[]),
        ],
    );
}

#[test]
fn invalid_definition_description() {
    let message = |kind: &str, name: &str| {
        format!("Comment for {kind} should follow the format: `# {name} <description>`")
    };
    table(
        "InvalidDefinitionDescription",
        &[
            (
                "# check=experimental=all\n\n# x\nFROM a AS b\n",
                &[&format!("4 [FROM] {}", message("FROM", "b"))],
            ),
            (
                "# check=experimental=all\n\n# x\nARG a\nFROM a\n# y\narg c\n",
                &[
                    &format!("4 [ARG] {}", message("ARG", "a")),
                    &format!("7 [arg] {}", message("ARG", "c")),
                ],
            ),
            (
                "# check=experimental=all\n\n# x\nARG a b\nFROM a\n",
                &[&format!("4 [ARG] {}", message("ARG", "<arg_key>"))],
            ),
            (
                "# check=experimental=all\n# syntax=docker/dockerfile:1\nFROM a AS b\n",
                &[],
            ),
            (
                "# check=experimental=all\n\n# about\n# b is b\nFROM a AS b\n# b is\nARG a b\n",
                &[],
            ),
            ("# check=experimental=all\n\n# x\nFROM a\n# y\nRUN z\n", &[]),
            ("# x\nFROM a AS b\n", &[]),
        ],
    );
}
