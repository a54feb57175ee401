//! FROM lines.

use super::{Case, table};

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
