//! Global ARGs and the variables that exist without being declared.

use cooper_oci::Platform;

use crate::error::Diagnostics;
use crate::settings::BuildSettings;
use crate::stage::Dockerfile;
use crate::word::{Environment, Lexer};

use super::word_error;

/// Evaluates everything that FROM lines can use, and lists what cannot be evaluated.
pub(super) fn arguments(
    dockerfile: &Dockerfile,
    settings: &BuildSettings,
) -> (Environment, Diagnostics) {
    let mut env = platform_arguments(dockerfile, settings);
    let lexer = Lexer::new(dockerfile.directives.escape);
    let mut errors = Vec::new();
    for definition in dockerfile.global_args() {
        let name = definition.name.value.as_str();
        if let Some(value) = settings.build_args.get(name) {
            env.set(name, value);
        } else if let Some(default) = &definition.default {
            match lexer.expand(default, &env) {
                Ok(value) => env.set(name, value.word),
                Err(error) => errors.push(word_error(default, &error)),
            }
        }
    }
    (env, errors)
}

/// `BUILDPLATFORM`, `TARGETPLATFORM` and their parts, and `TARGETSTAGE`; all
/// can be overridden by `--build-arg`.
fn platform_arguments(dockerfile: &Dockerfile, settings: &BuildSettings) -> Environment {
    let last = dockerfile
        .stages
        .last()
        .and_then(|stage| stage.name.as_ref());
    let stage = settings
        .target
        .as_deref()
        .filter(|target| !target.is_empty());
    let stage = stage
        .or(last.map(|name| name.value.as_str()))
        .unwrap_or("default");
    let mut env = Environment::default();
    let mut set = |name: String, value: &str| {
        let value = settings
            .build_args
            .get(&name)
            .map_or(value, String::as_str)
            .to_owned();
        if !value.is_empty() {
            env.set(name, value);
        }
    };
    for (prefix, platform) in [
        ("BUILD", &settings.build_platform),
        ("TARGET", &settings.platform),
    ] {
        for (part, value) in platform_parts(platform) {
            set(format!("{prefix}{part}"), &value);
        }
    }
    set("TARGETSTAGE".to_owned(), stage);
    env
}

fn platform_parts(platform: &Platform) -> [(&'static str, String); 5] {
    [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", platform.variant.clone().unwrap_or_default()),
    ]
}
