//! Whole files with all that all rules say of them, as docker's documentation of the checks and
//! its own tests have them.

use super::*;

/// A file, build arguments and a .dockerignore, and `LINE Rule message` of each warning.
struct Row(&'static str, Args, &'static str, &'static [&'static str]);

/// Returns what is said of a file, errors with a mark.
fn all(text: &str, args: Args, ignore: &'static str) -> Vec<String> {
    let case = Case {
        args,
        ignore,
        ..Case::default()
    };
    let source = SourceFile::new("Dockerfile", text);
    let warnings = case.warnings(text).into_iter();
    warnings
        .map(|warning| {
            let line = source.line_column(warning.location.start).line;
            let mark = if warning.error { "!" } else { "" };
            format!("{line} {}{mark} {}", warning.rule.name, warning.message)
        })
        .collect()
}

fn rows(table: &[Row]) {
    for Row(text, args, ignore, want) in table {
        assert_eq!(all(text, args, ignore), *want, "{args:?}\n{text}");
    }
}

const NAMES_AND_CASE: &[Row] = &[
    Row(
        "FROM alpine AS BuilderBase\n",
        &[],
        "",
        &["1 StageNameCasing Stage name 'BuilderBase' should be lowercase"],
    ),
    Row("FROM alpine AS builder-base\n", &[], "", &[]),
    Row(
        "FROM debian:latest as builder\n",
        &[],
        "",
        &["1 FromAsCasing 'as' and 'FROM' keywords' casing do not match"],
    ),
    Row("from debian:latest as deb-builder\n", &[], "", &[]),
    Row(
        "\nfrom scratch AS base\n\nfrom scratch as base2\n",
        &[],
        "",
        &["2 FromAsCasing 'AS' and 'from' keywords' casing do not match"],
    ),
    Row(
        "From alpine\nRun echo hello > /greeting.txt\nEntRYpOiNT [\"cat\", \"/greeting.txt\"]\n",
        &[],
        "",
        &[
            "1 ConsistentInstructionCasing Command 'From' should match the case of the command majority (uppercase)",
            "2 ConsistentInstructionCasing Command 'Run' should match the case of the command majority (uppercase)",
            "3 ConsistentInstructionCasing Command 'EntRYpOiNT' should match the case of the command majority (uppercase)",
        ],
    ),
    Row(
        "from alpine\nrun echo hello > /greeting.txt\nentrypoint [\"cat\", \"/greeting.txt\"]\n",
        &[],
        "",
        &[],
    ),
    Row(
        "frOM scratch as base\nfrom scratch as base2\n",
        &[],
        "",
        &[
            "1 ConsistentInstructionCasing Command 'frOM' should match the case of the command majority (lowercase)",
            "1 FromAsCasing 'as' and 'frOM' keywords' casing do not match",
        ],
    ),
    Row(
        "FROM scratch\ncopy Dockerfile /foo\nCOPY Dockerfile /bar\n",
        &[],
        "",
        &[
            "2 ConsistentInstructionCasing Command 'copy' should match the case of the command majority (uppercase)",
        ],
    ),
    Row(
        "from scratch\nCOPY Dockerfile /foo\ncopy Dockerfile /bar\n",
        &[],
        "",
        &[
            "2 ConsistentInstructionCasing Command 'COPY' should match the case of the command majority (lowercase)",
        ],
    ),
    // What stands above the stages neither counts nor is looked at.
    Row("arg A=1\narg B=1\nFROM scratch\nCOPY a /b\n", &[], "", &[]),
    Row("FROM alpine\nRUN <<'EOT'\nenv\nEOT\n", &[], "", &[]),
    Row(
        "FROM debian:latest AS builder\nRUN x\n\nFROM golang:latest AS builder\n",
        &[],
        "",
        &["4 DuplicateStageName Duplicate stage name \"builder\", stage names should be unique"],
    ),
    Row("FROM scratch AS b1\nFROM scratch AS b2\n", &[], "", &[]),
    Row(
        "FROM alpine AS scratch\nFROM alpine AS context\n",
        &[],
        "",
        &[
            "1 ReservedStageName Stage name should not use the same name as reserved stage \"scratch\"",
            "2 ReservedStageName Stage name should not use the same name as reserved stage \"context\"",
        ],
    ),
    Row("FROM scratch\nFROM scratch AS a\n", &[], "", &[]),
    Row(
        "FROM alpine\nEXPOSE \\\n\n80\n",
        &[],
        "",
        &["4 NoEmptyContinuation Empty continuation line"],
    ),
    Row("FROM alpine\nEXPOSE \\\n# Port\n80\n", &[], "", &[]),
    Row(
        "\nFROM scratch\n# a comment\nCOPY Dockerfile \\\n\n.\nCOPY Dockerfile \\\n.\n",
        &[],
        "",
        &["6 NoEmptyContinuation Empty continuation line"],
    ),
];

#[test]
fn names_and_case() {
    rows(NAMES_AND_CASE);
}

const BASE_IMAGES: &[Row] = &[
    Row(
        "ARG base=scratch\nFROM $base\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "ARG BUILDPLATFORM=linux/amd64\nFROM --platform=$BUILDPLATFORM scratch\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM --platform=$BUILDPLATFORM scratch\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "ARG DEBUG\nFROM scratch${DEBUG}\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "ARG DEBUG\nFROM scra${DEBUG:-tch}\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "ARG DEBUG=\"\"\nFROM scratch${DEBUG-@bogus}\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "ARG tag=latest\nFROM busybox:${tag}${version} AS b\nCOPY Dockerfile .\n",
        &[],
        "",
        &["2 UndefinedArgInFrom FROM argument 'version' is not declared"],
    ),
    Row(
        "ARG MY_OS=linux\nARG MY_ARCH=amd64\nFROM --platform=linux/amd64${MYARCH} busybox\n",
        &[],
        "",
        &["3 UndefinedArgInFrom FROM argument 'MYARCH' is not declared (did you mean MY_ARCH?)"],
    ),
    Row(
        "FROM --platform=$TARGETPLATFORM alpine AS builder\nRUN x\n",
        &[],
        "",
        &[
            "1 RedundantTargetPlatform Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ],
    ),
    Row(
        "# check=skip=RedundantTargetPlatform\nFROM --platform=$TARGETPLATFORM scratch\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM --platform=linux/amd64 alpine AS base\nRUN x\n",
        &[],
        "",
        &[
            "1 FromPlatformFlagConstDisallowed FROM --platform flag should not use constant value \"linux/amd64\"",
        ],
    ),
    Row(
        "FROM --platform=linux/amd64 scratch AS my_amd64_stage\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM --platform=linux/amd64 scratch AS linux\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM --platform=${BUILDPLATFORM} alpine AS base\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM --platform=linux/amd64 alpine AS build_amd64\nFROM --platform=linux/arm64 alpine AS build_arm64\nFROM build_${TARGETARCH} AS build\n",
        &[],
        "",
        &[],
    ),
    Row(
        "ARG VERSION\nFROM busybox:$VERSION\n",
        &[("VERSION", "latest")],
        "",
        &[
            "2 InvalidDefaultArgInFrom Default value for ARG busybox:$VERSION results in empty or invalid base image name",
        ],
    ),
    Row(
        "ARG IMAGE\nFROM $IMAGE\n",
        &[("IMAGE", "busybox:latest")],
        "",
        &[
            "2 InvalidDefaultArgInFrom Default value for ARG $IMAGE results in empty or invalid base image name",
        ],
    ),
    Row(
        "ARG SFX=\"box:\"\nFROM busy${SFX}\n",
        &[("SFX", "box:latest")],
        "",
        &[
            "2 InvalidDefaultArgInFrom Default value for ARG busy${SFX} results in empty or invalid base image name",
        ],
    ),
    Row(
        "ARG VERSION=\"latest\"\nFROM busybox:${VERSION}\n",
        &[("VERSION", "latest")],
        "",
        &[],
    ),
    Row(
        "ARG BUSYBOX_VARIANT=\"\"\nFROM busybox:stable${BUSYBOX_VARIANT}\n",
        &[("BUSYBOX_VARIANT", "-musl")],
        "",
        &[],
    ),
    Row(
        "\tARG BUSYBOX_VARIANT\n\tFROM busybox:stable${BUSYBOX_VARIANT}\n",
        &[("BUSYBOX_VARIANT", "-musl")],
        "",
        &[],
    ),
    Row(
        "ARG TAG\nFROM alpine:${TAG:-3.14}\n",
        &[("TAG", "3")],
        "",
        &[],
    ),
];

#[test]
fn base_images() {
    rows(BASE_IMAGES);
}

const VARIABLES: &[Row] = &[
    Row(
        "FROM scratch\nARG foo\nCOPY Dockerfile${foo} .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM alpine AS base\nARG foo=Dockerfile\n\nFROM base\nCOPY $foo .\n",
        &[],
        "",
        &[],
    ),
    Row("FROM alpine\nRUN echo $PATH\n", &[], "", &[]),
    Row(
        "FROM alpine\nCOPY $foo .\nARG foo=bar\nRUN echo $foo\n",
        &[],
        "",
        &["2 UndefinedVar Usage of undefined variable '$foo'"],
    ),
    Row(
        "FROM alpine\nARG DIR_BINARIES=binaries/\nARG DIR_ASSETS=assets/\nARG DIR_CONFIG=config/\nCOPY $DIR_ASSET .\n",
        &[],
        "",
        &["5 UndefinedVar Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)"],
    ),
    Row(
        "FROM alpine\nENV PATH=$PAHT:/app/bin\n",
        &[],
        "",
        &["2 UndefinedVar Usage of undefined variable '$PAHT' (did you mean $PATH?)"],
    ),
    // The names of one ARG are known to those after them.
    Row("FROM a\nARG x=1 y=$x\n", &[], "", &[]),
    Row(
        "FROM a\nARG y=$x x=1\n",
        &[],
        "",
        &["2 UndefinedVar Usage of undefined variable '$x'"],
    ),
    Row("FROM a\nARG x y=$x\n", &[], "", &[]),
    // A given value takes the place of a default, which then says nothing.
    Row("FROM a\nARG y=$x\n", &[("y", "1")], "", &[]),
    // What a build knows of itself has to be declared like any other argument.
    Row(
        "FROM a\nENV a=$TARGETARCH\n",
        &[],
        "",
        &["2 UndefinedVar Usage of undefined variable '$TARGETARCH'"],
    ),
    Row("FROM a\nARG TARGETARCH\nENV a=$TARGETARCH\n", &[], "", &[]),
    Row(
        "FROM a\nENV a=$SOURCE_DATE_EPOCH\n",
        &[("SOURCE_DATE_EPOCH", "1")],
        "",
        &["2 UndefinedVar Usage of undefined variable '$SOURCE_DATE_EPOCH'"],
    ),
    Row(
        "FROM a\nARG SOURCE_DATE_EPOCH\nENV a=$SOURCE_DATE_EPOCH\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM a\nENV a=$http_proxy\n",
        &[("http_proxy", "p")],
        "",
        &["2 UndefinedVar Usage of undefined variable '$http_proxy'"],
    ),
    // These two are never variables.
    Row(
        "FROM a\nENV a=$BUILDKIT_SBOM_SCAN_STAGE$BUILDKIT_SBOM_SCAN_CONTEXT\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM a\nENV testkey value\nLABEL key value\n",
        &[],
        "",
        &[
            "2 LegacyKeyValueFormat \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
            "3 LegacyKeyValueFormat \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ],
    ),
    Row(
        "FROM a\n# check=skip=LegacyKeyValueFormat\nENV testkey value\n# check=skip=LegacyKeyValueFormat\nLABEL key value\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch\nARG SECRET_PASSPHRASE\nENV SUPER_Secret=foo\nENV password=bar secret=baz\n\
             ARG super_duper_secret_token=foo auth=bar\nENV apikey=bar sunflower=foo\nENV git_key=\nENV PUBLIC_KEY=\n\
             ARG public_token\nARG SECRET_PASSPHRASE_FILE\nENV password_file=bar secret_File=baz\nARG AUTH_MODULE_VERSION\n\
             # check=skip=SecretsUsedInArgOrEnv // allow secret in environment\nENV password=bar\n\
             # check=skip=SecretsUsedInArgOrEnv // allow secret in arg\nARG password\n\
             # check=skip=all // is local to only this instruction\nENV alternate_password=bar\n\
             # check=skip=all // is local to only this instruction\nARG alternate_password\n",
        &[],
        "",
        &[
            "2 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ARG \"SECRET_PASSPHRASE\")",
            "3 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ENV \"SUPER_Secret\")",
            "4 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ENV \"password\")",
            "4 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ENV \"secret\")",
            "5 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ARG \"super_duper_secret_token\")",
            "5 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ARG \"auth\")",
            "6 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ENV \"apikey\")",
            "7 SecretsUsedInArgOrEnv Do not use ARG or ENV instructions for sensitive data (ENV \"git_key\")",
        ],
    ),
    Row(
        "# check=skip=all;experimental=InvalidDefinitionDescription\n# foo this is the foo\nARG foo=bar\n\n\
             # base this is the base image\nFROM scratch AS base\n\n# version this is the version number\nARG version=latest\n\n\
             # baz this is the baz\nARG foo=baz bar=qux baz=quux\n#\nARG bit=bat\n\n# comment for something else\nCOPY Dockerfile .\n",
        &[],
        "",
        &[],
    ),
    Row(
        "# check=experimental=InvalidDefinitionDescription\n# bar this is the bar\nARG foo=bar\n# BasE this is the BasE image\n\
             FROM scratch AS base\n# definitely a bad comment\nARG version=latest\n# definitely a bad comment\nARG foo=baz bar=qux baz=quux\n",
        &[],
        "",
        &[
            "3 InvalidDefinitionDescription Comment for ARG should follow the format: `# foo <description>`",
            "5 InvalidDefinitionDescription Comment for FROM should follow the format: `# base <description>`",
            "7 InvalidDefinitionDescription Comment for ARG should follow the format: `# version <description>`",
            "9 InvalidDefinitionDescription Comment for ARG should follow the format: `# <arg_key> <description>`",
        ],
    ),
    Row(
        "# check=experimental=all\n\n# a non-descriptive comment\n\nFROM scratch AS base\n\n# another\n\nARG VERSION=1\n",
        &[],
        "",
        &[],
    ),
];

#[test]
fn variables() {
    rows(VARIABLES);
}

const INSTRUCTIONS: &[Row] = &[
    Row(
        "FROM alpine\nRUN apk add bash\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT echo \"hello world\"\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch AS base\nSHELL [\"/usr/bin/customshell\"]\n\nFROM base\nENTRYPOINT mycommand\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch\n# check=skip=JSONArgsRecommended\nCMD mycommand\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch\nMAINTAINER me@example.org\n",
        &[],
        "",
        &["2 MaintainerDeprecated Maintainer instruction is deprecated in favor of using label"],
    ),
    Row(
        "FROM scratch\nLABEL org.opencontainers.image.authors=\"me@example.org\"\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch\n# check=skip=MaintainerDeprecated\nMAINTAINER me@example.org\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM nginx AS web\nWORKDIR usr/share/nginx/html\nCOPY public .\n",
        &[],
        "",
        &[
            "2 WorkdirRelativePath Relative workdir \"usr/share/nginx/html\" can have unexpected results if the base image changes",
        ],
    ),
    Row(
        "FROM scratch\nWORKDIR app/\n",
        &[],
        "",
        &[
            "2 WorkdirRelativePath Relative workdir \"app/\" can have unexpected results if the base image changes",
        ],
    ),
    Row(
        "FROM scratch AS a\nWORKDIR /app\n\nFROM a AS b\nWORKDIR subdir/\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch\n# check=skip=WorkdirRelativePath\nWORKDIR app/\n",
        &[],
        "",
        &[],
    ),
    Row(
        "FROM scratch\nENTRYPOINT [\"/myapp\"]\nCMD [\"/myapp\"]\nHEALTHCHECK CMD [\"/myapp\"]\nCOPY <<EOF /a.txt\nHello, World!\nEOF\n\
             ENTRYPOINT [\"/myotherapp\"]\nCMD [\"/myotherapp\"]\nHEALTHCHECK CMD [\"/myotherapp\"]\n",
        &[],
        "",
        &[
            "2 MultipleInstructionsDisallowed Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used",
            "3 MultipleInstructionsDisallowed Multiple CMD instructions should not be used in the same stage because only the last one will be used",
            "4 MultipleInstructionsDisallowed Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used",
        ],
    ),
    Row(
        "FROM scratch AS a\nENTRYPOINT [\"/a\"]\nCMD [\"/a\"]\n\nFROM a AS b\nENTRYPOINT [\"/b\"]\nCMD [\"/b\"]\n",
        &[],
        "",
        &[],
    ),
    Row(
        "\nFROM scratch\nCOPY Dockerfile .\nADD Dockerfile /windy\n",
        &[],
        "\nDockerfile\n",
        &[
            "3 CopyIgnoredFile Attempting to Copy file \"Dockerfile\" that is excluded by .dockerignore",
            "4 CopyIgnoredFile Attempting to Add file \"Dockerfile\" that is excluded by .dockerignore",
        ],
    ),
    Row(
        "FROM scratch\nCOPY ./a/tmp/helloworld.txt /helloworld.txt\n",
        &[],
        "*/tmp/*\n",
        &[
            "2 CopyIgnoredFile Attempting to Copy file \"./a/tmp/helloworld.txt\" that is excluded by .dockerignore",
        ],
    ),
    Row(
        "FROM scratch\nCOPY ./forever/helloworld.txt /helloworld.txt\n",
        &[],
        "*/tmp/*\n",
        &[],
    ),
    Row(
        "# check=skip=CopyIgnoredFile\n\nFROM scratch\nCOPY Dockerfile .\n",
        &[],
        "Dockerfile\n",
        &[],
    ),
    Row(
        "FROM scratch AS base\nCOPY Dockerfile /foobar\n\nFROM base\nCOPY --from=base /foobar /Dockerfile\n",
        &[],
        "foobar\n",
        &[],
    ),
    Row(
        "FROM scratch\nCOPY ./Dockerfile .\n",
        &[],
        "**\n!Dockerfile\n",
        &[],
    ),
    Row("FROM scratch\nCOPY . .\n", &[], "**\n!Dockerfile\n", &[]),
    Row(
        "FROM scratch\nEXPOSE 80/TcP 8080/TCP 8080/udp\n",
        &[],
        "",
        &[
            "2 ExposeProtoCasing Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
            "2 ExposeProtoCasing Defined protocol '8080/TCP' in EXPOSE instruction should be lowercase",
        ],
    ),
    Row(
        "FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5000 8000\n",
        &[],
        "",
        &[
            "2 ExposeInvalidFormat EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
            "2 ExposeInvalidFormat EXPOSE instruction should not define an IP address or host-port mapping, found '5000:5000'",
            "2 ExposeInvalidFormat EXPOSE instruction should not define an IP address or host-port mapping, found '[::1]:8080:8080'",
        ],
    ),
];

#[test]
fn instructions() {
    let signals = "to prevent unintended behavior related to OS signals";
    assert_eq!(
        all("FROM alpine\nENTRYPOINT my-program start\n", &[], ""),
        [format!(
            "2 JSONArgsRecommended JSON arguments recommended for ENTRYPOINT {signals}"
        )]
    );
    assert_eq!(
        all("FROM scratch\nCMD mycommand\n", &[], ""),
        [format!(
            "2 JSONArgsRecommended JSON arguments recommended for CMD {signals}"
        )]
    );
    rows(INSTRUCTIONS);
}

#[test]
fn directives() {
    const FILE: &str = "FROM scratch as base\ncopy Dockerfile .\n";
    const AS: &str = "2 FromAsCasing 'as' and 'FROM' keywords' casing do not match";
    const AS_ERROR: &str = "2 FromAsCasing! 'as' and 'FROM' keywords' casing do not match";
    const KEY: &str = "BUILDKIT_DOCKERFILE_CHECK";
    let table: &[(&str, Args, &[&str])] = &[
        ("#check=skip=all", &[], &[]),
        ("#check=skip=all;error=true", &[], &[]),
        (
            "#check=skip=ConsistentInstructionCasing,FromAsCasing",
            &[],
            &[],
        ),
        ("#check=skip=ConsistentInstructionCasing", &[], &[AS]),
        (
            "#check=skip=ConsistentInstructionCasing;error=true",
            &[],
            &[AS_ERROR],
        ),
        (
            "#check=skip=all",
            &[(KEY, "skip=ConsistentInstructionCasing;error=true")],
            &[AS_ERROR],
        ),
        ("#check=error=true", &[(KEY, "skip=all")], &[]),
    ];
    for (line, args, want) in table {
        assert_eq!(
            all(&format!("{line}\n{FILE}"), args, ""),
            *want,
            "{line} {args:?}"
        );
    }
}
