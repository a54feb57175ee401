use std::collections::BTreeMap;

use cooper_oci::ImageConfig;

use super::*;
use crate::image::ResolvedImage;
use crate::settings::BuildSettings;
use crate::stage::parse;

/// `--build-arg` values.
type Args = &'static [(&'static str, &'static str)];

/// A build to check: the file, and what differs from a build without options.
struct Case {
    args: Args,
    ignore: &'static str,
    all_stages: bool,
    /// Changes the configuration of every base image.
    image: fn(&mut ImageConfig),
}

impl Default for Case {
    fn default() -> Self {
        Self {
            args: &[],
            ignore: "",
            all_stages: true,
            image: |_| {},
        }
    }
}

impl Case {
    fn plan(&self, source: &SourceFile) -> Plan {
        let mut settings = BuildSettings::new("linux/amd64".parse().unwrap());
        let args = self.args.iter();
        settings.build_args = args.map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let plan = Plan::new(&parse(source).unwrap(), &settings).unwrap();
        if self.all_stages {
            plan.with_all_stages()
        } else {
            plan
        }
    }

    fn images(&self, plan: &Plan) -> ResolvedImages {
        let requests = plan.requests(&BTreeMap::new()).into_iter();
        requests
            .map(|request| {
                let mut config = ImageConfig::new(&request.platform);
                config.config.env.push("PATH=/bin".to_owned());
                config.config.env.push("BASE_VERSION=1".to_owned());
                (self.image)(&mut config);
                let image = ResolvedImage {
                    config,
                    layers: Vec::new().into(),
                    reference: None,
                    digest: None,
                };
                (request.key, image)
            })
            .collect()
    }

    fn warnings(&self, text: &str) -> Vec<Warning> {
        let source = SourceFile::new("Dockerfile", text);
        let plan = self.plan(&source);
        let images = self.images(&plan);
        let ignore = DockerIgnore::parse(self.ignore).unwrap();
        let inputs = Inputs::new(&source, &plan, &images).with_ignore(Some(&ignore));
        let (config, _) = Config::of(&source, &plan).unwrap();
        check(&inputs, &config)
    }

    /// Returns what a rule says, with the line that docker counts and the token.
    fn said(&self, rule: &str, text: &str) -> Vec<String> {
        let source = SourceFile::new("Dockerfile", text);
        let warnings = self.warnings(text).into_iter();
        warnings
            .filter(|warning| warning.rule.name == rule)
            .map(|warning| {
                let line = source.line_column(warning.location.start).line;
                format!(
                    "{line} [{}] {}",
                    source.slice(warning.span),
                    warning.message
                )
            })
            .collect()
    }

    fn table(&self, rule: &str, rows: &[(&str, &[&str])]) {
        assert!(RULES.iter().any(|known| known.name == rule), "{rule}");
        for (text, want) in rows {
            assert_eq!(self.said(rule, text), *want, "{rule}:\n{text}");
        }
    }
}

fn table(rule: &str, rows: &[(&str, &[&str])]) {
    Case::default().table(rule, rows);
}

#[test]
fn the_documentation_s_examples_are_what_they_say() {
    for rule in RULES {
        let switch = format!("# check=experimental={}\n", rule.name);
        let case = |file: &str| {
            let args: &[_] = if file.starts_with("ARG TAG\n") {
                &[("TAG", "1")]
            } else {
                &[]
            };
            let case = Case {
                args,
                ..Case::default()
            };
            let text = if rule.experimental {
                format!("{switch}\n{file}")
            } else {
                file.to_owned()
            };
            case.said(rule.name, &text)
        };
        for file in rule.bad {
            assert!(!case(file).is_empty(), "{}:\n{file}", rule.name);
        }
        for file in rule.good {
            assert_eq!(case(file), [""; 0], "{}:\n{file}", rule.name);
        }
    }
}

#[test]
fn a_clean_file_has_no_warnings() {
    let text = "ARG VERSION=1\nFROM --platform=$BUILDPLATFORM golang:$VERSION AS build\n\
        ARG TARGETARCH\nWORKDIR /src\nCOPY . .\nRUN GOARCH=$TARGETARCH go build $UNSET\n\
        FROM scratch\nCOPY --from=build /src/app /\nENTRYPOINT [\"/app\"]\n";
    assert_eq!(Case::default().warnings(text), []);
}

#[test]
fn stage_name_casing() {
    table(
        "StageNameCasing",
        &[
            (
                "FROM a AS BuilderBase\n",
                &["1 [BuilderBase] Stage name 'BuilderBase' should be lowercase"],
            ),
            ("FROM a AS builder-base\n", &[]),
            (
                "FROM a AS x\nFROM b AS \\\n  Y\n",
                &["2 [Y] Stage name 'Y' should be lowercase"],
            ),
        ],
    );
}

#[test]
fn from_as_casing() {
    table(
        "FromAsCasing",
        &[
            (
                "FROM a as b\n",
                &["1 [as] 'as' and 'FROM' keywords' casing do not match"],
            ),
            (
                "from a AS b\n",
                &["1 [AS] 'AS' and 'from' keywords' casing do not match"],
            ),
            ("FROM a AS b\nfrom a as c\n", &[]),
            ("FROM as\n", &[]),
        ],
    );
}

#[test]
fn no_empty_continuation() {
    table(
        "NoEmptyContinuation",
        &[
            (
                "FROM a\nCOPY x \\\n\n.\n",
                &["4 [] Empty continuation line"],
            ),
            (
                "FROM a\nRUN a \\\n\n  b \\\n\n  c\n",
                &["6 [] Empty continuation line"],
            ),
            ("FROM a\nRUN a \\\n# note\n  b\n", &[]),
            ("FROM \\\n\n a\n", &["3 [] Empty continuation line"]),
        ],
    );
}

#[test]
fn consistent_instruction_casing() {
    let upper = "should match the case of the command majority (uppercase)";
    let lower = "should match the case of the command majority (lowercase)";
    table(
        "ConsistentInstructionCasing",
        &[
            (
                "FROM a\nrun b\n",
                &[&format!("2 [run] Command 'run' {upper}")],
            ),
            (
                "from a\nrun b\nUSER c\n",
                &[&format!("3 [USER] Command 'USER' {lower}")],
            ),
            (
                "arg A\nFROM a\nUSER c\n",
                &[&format!("1 [arg] Command 'arg' {upper}")],
            ),
            (
                "From a\nRun b\n",
                &[
                    &format!("1 [From] Command 'From' {upper}"),
                    &format!("2 [Run] Command 'Run' {upper}"),
                ],
            ),
            ("FROM a\nRUN b\n", &[]),
            ("from a\nrun b\nonbuild RUN c\n", &[]),
        ],
    );
}

#[test]
fn duplicate_stage_name() {
    let message = "Duplicate stage name \"a\", stage names should be unique";
    table(
        "DuplicateStageName",
        &[
            ("FROM x AS a\nFROM y AS a\n", &[&format!("2 [a] {message}")]),
            (
                "FROM x AS a\nFROM y AS A\nFROM z AS a\n",
                &[&format!("2 [A] {message}"), &format!("3 [a] {message}")],
            ),
            ("FROM x AS a\nFROM y AS b\nFROM z\nFROM z\n", &[]),
        ],
    );
}

#[test]
fn reserved_stage_name() {
    let message = |name: &str| {
        format!("Stage name should not use the same name as reserved stage \"{name}\"")
    };
    table(
        "ReservedStageName",
        &[
            (
                "FROM x AS scratch\n",
                &[&format!("1 [scratch] {}", message("scratch"))],
            ),
            (
                "FROM x AS Context\n",
                &[&format!("1 [Context] {}", message("context"))],
            ),
            ("FROM scratch AS contexts\n", &[]),
        ],
    );
}

#[test]
fn json_args_recommended() {
    let message = |name: &str| {
        format!(
            "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
        )
    };
    table(
        "JSONArgsRecommended",
        &[
            (
                "FROM a\nCMD x y\n",
                &[&format!("2 [x y] {}", message("CMD"))],
            ),
            (
                "FROM a\nENTRYPOINT x\n",
                &[&format!("2 [x] {}", message("ENTRYPOINT"))],
            ),
            (
                "FROM a\nCMD ['x']\n",
                &[&format!("2 [['x']] {}", message("CMD"))],
            ),
            ("FROM a\nCMD [\"x\"]\n", &[]),
            ("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nCMD x\n", &[]),
            ("FROM a AS b\nSHELL [\"/bin/bash\"]\nFROM b\nCMD x\n", &[]),
            (
                "FROM a\nCMD x\nSHELL [\"/bin/bash\"]\n",
                &[&format!("2 [x] {}", message("CMD"))],
            ),
            ("FROM a\nHEALTHCHECK CMD x\nONBUILD CMD x\n", &[]),
        ],
    );
    let with_shell = Case {
        image: |config| config.config.shell.push("/bin/bash".to_owned()),
        ..Case::default()
    };
    with_shell.table("JSONArgsRecommended", &[("FROM a\nCMD x\n", &[])]);
}

#[test]
fn maintainer_deprecated() {
    table(
        "MaintainerDeprecated",
        &[
            (
                "FROM a\nMAINTAINER b\n",
                &["2 [MAINTAINER] Maintainer instruction is deprecated in favor of using label"],
            ),
            ("FROM a\nLABEL maintainer=b\n", &[]),
        ],
    );
}

#[test]
fn undefined_arg_in_from() {
    table(
        "UndefinedArgInFrom",
        &[
            (
                "FROM a:1$V\n",
                &["1 [a:1$V] FROM argument 'V' is not declared"],
            ),
            (
                "ARG VERSION=1\nFROM a:1$VERSIN\n",
                &["2 [a:1$VERSIN] FROM argument 'VERSIN' is not declared (did you mean VERSION?)"],
            ),
            (
                "FROM --platform=linux$BUILDPLATFROM a\n",
                &[
                    "1 [linux$BUILDPLATFROM] FROM argument 'BUILDPLATFROM' is not declared (did you mean BUILDPLATFORM?)",
                ],
            ),
            (
                "FROM a AS b\nARG V=1\nFROM a:1$V\n",
                &["3 [a:1$V] FROM argument 'V' is not declared"],
            ),
            ("ARG V\nFROM a:1$V\n", &[]),
            (
                "FROM --platform=$TARGETPLATFORM$TARGETVARIANT a:${V:-1}\n",
                &[],
            ),
        ],
    );
}

#[test]
fn workdir_relative_path() {
    let message = |path: &str| {
        format!("Relative workdir \"{path}\" can have unexpected results if the base image changes")
    };
    table(
        "WorkdirRelativePath",
        &[
            (
                "FROM a\nWORKDIR app/src\n",
                &[&format!("2 [app/src] {}", message("app/src"))],
            ),
            (
                "FROM a\nARG D=x\nWORKDIR $D\n",
                &[&format!("3 [$D] {}", message("x"))],
            ),
            (
                "FROM scratch\nWORKDIR a\nWORKDIR b\n",
                &[&format!("2 [a] {}", message("a"))],
            ),
            ("FROM a\nARG D=/x\nWORKDIR $D\nWORKDIR b\n", &[]),
            ("FROM a AS b\nWORKDIR /b\nFROM b\nWORKDIR c\n", &[]),
            (
                "FROM a AS b\nWORKDIR /b\nFROM a\nWORKDIR c\n",
                &[&format!("4 [c] {}", message("c"))],
            ),
        ],
    );
}

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
fn multiple_instructions_disallowed() {
    let message = |name: &str| {
        format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        )
    };
    table(
        "MultipleInstructionsDisallowed",
        &[
            (
                "FROM a\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n",
                &[
                    &format!("2 [CMD] {}", message("CMD")),
                    &format!("3 [CMD] {}", message("CMD")),
                ],
            ),
            (
                "FROM a\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]\n",
                &[&format!("2 [ENTRYPOINT] {}", message("ENTRYPOINT"))],
            ),
            (
                "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD a\n",
                &[&format!("2 [HEALTHCHECK] {}", message("HEALTHCHECK"))],
            ),
            (
                "FROM a\nCMD [\"a\"]\nENTRYPOINT [\"b\"]\nHEALTHCHECK CMD c\nONBUILD CMD d\n",
                &[],
            ),
            ("FROM a AS b\nCMD [\"a\"]\nFROM b\nCMD [\"b\"]\n", &[]),
            ("FROM a\nUSER a\nUSER b\n", &[]),
        ],
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
fn invalid_base_image_platform() {
    let arm = Case {
        image: |config| config.architecture = "arm64".to_owned(),
        ..Case::default()
    };
    arm.table(
        "InvalidBaseImagePlatform",
        &[
            ("ARG V=1\nFROM a:v$V\n", &["2 [a:v$V] Base image a:v1 was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build"]),
            ("FROM --platform=linux/arm64 a AS x_arm64\n", &[]),
            ("FROM scratch\n", &[]),
        ],
    );
    table("InvalidBaseImagePlatform", &[("FROM a\n", &[])]);
}

#[test]
fn redundant_target_platform() {
    let message = |word: &str| {
        format!(
            "Setting platform to predefined {word} in FROM is redundant as this is the default behavior"
        )
    };
    table(
        "RedundantTargetPlatform",
        &[
            (
                "FROM --platform=$TARGETPLATFORM a\n",
                &[&format!(
                    "1 [$TARGETPLATFORM] {}",
                    message("$TARGETPLATFORM")
                )],
            ),
            (
                "FROM --platform=${TARGETPLATFORM} a\n",
                &[&format!(
                    "1 [${{TARGETPLATFORM}}] {}",
                    message("${TARGETPLATFORM}")
                )],
            ),
            ("FROM --platform=$BUILDPLATFORM a\n", &[]),
            ("FROM --platform=$TARGETOS/$TARGETARCH a\n", &[]),
            ("FROM --platform=${TARGETPLATFORM}/v2 a\n", &[]),
            ("FROM a\n", &[]),
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
fn invalid_default_arg_in_from() {
    let given = Case {
        args: &[("TAG", "1"), ("IMAGE", "a")],
        ..Case::default()
    };
    let message = |word: &str| {
        format!("Default value for ARG {word} results in empty or invalid base image name")
    };
    given.table(
        "InvalidDefaultArgInFrom",
        &[
            (
                "ARG TAG\nFROM a:$TAG\n",
                &[&format!("2 [a:$TAG] {}", message("a:$TAG"))],
            ),
            (
                "ARG IMAGE\nFROM $IMAGE AS b\n",
                &[&format!("2 [$IMAGE] {}", message("$IMAGE"))],
            ),
            (
                "ARG IMAGE=${IMAGE:?needed}\nFROM $IMAGE\n",
                &[&format!("2 [$IMAGE] {}", message("$IMAGE"))],
            ),
            ("ARG TAG=2\nFROM a:$TAG\n", &[]),
            ("ARG TAG\nFROM a:1$TAG\n", &[]),
            ("ARG TAG\nFROM a:${TAG:-2}\n", &[]),
            ("FROM a\n", &[]),
        ],
    );
}

#[test]
fn from_platform_flag_const_disallowed() {
    let message = "FROM --platform flag should not use constant value";
    table(
        "FromPlatformFlagConstDisallowed",
        &[
            (
                "FROM --platform=linux/arm64 a\n",
                &[&format!("1 [linux/arm64] {message} \"linux/arm64\"")],
            ),
            (
                "FROM --platform=linux/arm64 a AS b\n",
                &[&format!("1 [linux/arm64] {message} \"linux/arm64\"")],
            ),
            ("FROM --platform=linux/arm64 a AS b_arm64\n", &[]),
            ("FROM --platform=linux/arm64 a AS linux-b\n", &[]),
            ("ARG P=linux/arm64\nFROM --platform=$P a\n", &[]),
            ("FROM a\n", &[]),
        ],
    );
}

#[test]
fn copy_ignored_file() {
    let ignoring = Case {
        ignore: "*/tmp/*\nsecret\nnode_modules\n!node_modules/keep\n*.log\n",
        ..Case::default()
    };
    let message = |name: &str, path: &str| {
        format!("Attempting to {name} file \"{path}\" that is excluded by .dockerignore")
    };
    ignoring.table(
        "CopyIgnoredFile",
        &[
            (
                "FROM a\nCOPY secret /\n",
                &[&format!("2 [secret] {}", message("Copy", "secret"))],
            ),
            (
                "FROM a\nCOPY ./a/tmp/x b /\n",
                &[&format!("2 [./a/tmp/x] {}", message("Copy", "./a/tmp/x"))],
            ),
            (
                "FROM a\nARG F=secret/key\nADD $F /\n",
                &[&format!("3 [$F] {}", message("Add", "secret/key"))],
            ),
            (
                "FROM a\nCOPY node_modules node_modules/keep . *.log /\n",
                &[],
            ),
            (
                "FROM a\nCOPY --from=b secret /\nADD https://secret /\n",
                &[],
            ),
        ],
    );
    table("CopyIgnoredFile", &[("FROM a\nCOPY secret /\n", &[])]);
}

#[test]
fn expose_proto_casing() {
    table(
        "ExposeProtoCasing",
        &[
            (
                "FROM a\nEXPOSE 80/TcP\n",
                &["2 [80/TcP] Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"],
            ),
            (
                "FROM a\nARG P=UDP\nEXPOSE 1 2/$P\n",
                &["3 [2/$P] Defined protocol '2/UDP' in EXPOSE instruction should be lowercase"],
            ),
            ("FROM a\nEXPOSE 80/tcp 81\n", &[]),
        ],
    );
}

#[test]
fn expose_invalid_format() {
    let message = "EXPOSE instruction should not define an IP address or host-port mapping, found";
    table(
        "ExposeInvalidFormat",
        &[
            (
                "FROM a\nEXPOSE 127.0.0.1:80:80 90\n",
                &[&format!("2 [127.0.0.1:80:80] {message} '127.0.0.1:80:80'")],
            ),
            (
                "FROM a\nEXPOSE 8080:80\n",
                &[&format!("2 [8080:80] {message} '8080:80'")],
            ),
            ("FROM a\nEXPOSE 80 81-82/udp\n", &[]),
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

#[test]
fn rules_of_stages_skip_what_is_not_built() {
    let text = "FROM a as b\nCMD x\nLABEL x=$x\nFROM a\nLABEL y=$y\n";
    let built = Case {
        all_stages: false,
        ..Case::default()
    };
    let names = |case: &Case| -> Vec<_> {
        let warnings = case.warnings(text).into_iter();
        warnings
            .map(|warning| (warning.rule.name, warning.location.start))
            .collect()
    };
    assert_eq!(names(&built), [("FromAsCasing", 0), ("UndefinedVar", 36)]);
    assert_eq!(names(&Case::default()).len(), 4);
}

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

#[test]
fn addresses_have_the_rule_s_words() {
    for (name, want) in [
        ("JSONArgsRecommended", "json-args-recommended"),
        ("StageNameCasing", "stage-name-casing"),
        ("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env"),
        ("UndefinedArgInFrom", "undefined-arg-in-from"),
    ] {
        assert_eq!(kebab(name), want);
    }
}

#[test]
fn names_are_unique_and_documented() {
    let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 22);
    for rule in RULES {
        assert!(
            !rule.summary.ends_with('.') && rule.doc.ends_with('.'),
            "{}",
            rule.name
        );
    }
}
