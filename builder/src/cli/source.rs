//! `--secret` and `--build-context`: what a build may read besides its context.

use std::path::PathBuf;

use cooper_oci::Digest;

use super::value::{ValueError, csv, pair};
use crate::options::{NamedContext, SecretSource, SecretSpec};

/// Returns the secret that `text` names.
///
/// `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID` alone for the variable of that name; `type`
/// may be given, and makes `src` a variable's name if it is `env`.
pub fn secret(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<SecretSpec, ValueError> {
    const KEYS: [&str; 5] = ["id", "src", "source", "env", "type"];
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in csv(text)? {
        let (key, value) = pair(&field)?;
        let value = value.ok_or_else(|| {
            ValueError::new(format!("{field:?} is no KEY=VALUE pair")).hint("write id=ID,src=FILE")
        })?;
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => return Err(ValueError::unknown("secret type", &value, &["file", "env"])),
            _ => return Err(ValueError::unknown("key", &key, &KEYS)),
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ValueError::new("no id").hint("write id=ID,src=FILE or id=ID,env=NAME"))?;
    let source = match (file, variable, kind.as_deref()) {
        (Some(_), Some(_), _) => return Err(ValueError::new("both src and env are given")),
        (Some(name), None, Some("env")) | (None, Some(name), _) => SecretSource::Env(name),
        (Some(path), None, _) => SecretSource::File(path.into()),
        (None, None, Some("file")) => SecretSource::File(PathBuf::from(&id)),
        (None, None, _) if is_set(&id) => SecretSource::Env(id.clone()),
        (None, None, _) => {
            let problem = format!("neither src nor env is given, and no variable {id} is set");
            return Err(ValueError::new(problem));
        }
    };
    Ok(SecretSpec { id, source })
}

/// Returns the named context that `text` describes: `NAME=DIR`, `NAME=docker-image://REF` or
/// `NAME=oci-layout://DIR[:TAG][@DIGEST]`.
pub fn build_context(text: &str) -> Result<(String, NamedContext), ValueError> {
    let (name, value) = pair(text)?;
    let value = value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| ValueError::new("no value").hint("write NAME=DIR"))?;
    let context = match value.split_once("://") {
        None => NamedContext::Dir(value.into()),
        Some(("docker-image", reference)) => NamedContext::Image(
            reference
                .parse::<cooper_oci::Reference>()
                .map_err(|error| ValueError::new(error.to_string()))?
                .with_default_tag(),
        ),
        Some(("oci-layout", layout)) => oci_layout(layout)?,
        Some((scheme, _)) => {
            let known = ["docker-image", "oci-layout"];
            return Err(ValueError::unknown("scheme", scheme, &known));
        }
    };
    Ok((name, context))
}

fn oci_layout(text: &str) -> Result<NamedContext, ValueError> {
    let (text, digest) = match text.rsplit_once('@') {
        Some((text, digest)) => {
            let digest: Digest = digest
                .parse()
                .map_err(|error: cooper_oci::DigestError| ValueError::new(error.to_string()))?;
            (text, Some(digest))
        }
        None => (text, None),
    };
    let (dir, tag) = match text.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') => (dir, Some(tag.to_owned())),
        _ => (text, None),
    };
    if dir.is_empty() {
        return Err(ValueError::new("no directory").hint("write NAME=oci-layout://DIR[:TAG]"));
    }
    Ok(NamedContext::OciLayout {
        dir: dir.into(),
        tag,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let set = |name: &str| name == "TOKEN";
        let file = |id: &str, path: &str| {
            Ok(SecretSpec {
                id: id.into(),
                source: SecretSource::File(path.into()),
            })
        };
        let env = |id: &str, name: &str| {
            Ok(SecretSpec {
                id: id.into(),
                source: SecretSource::Env(name.into()),
            })
        };
        let error = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("id=a,src=/x", file("a", "/x")),
            ("source=x y,id=a", file("a", "x y")),
            ("type=file,id=a,src=x", file("a", "x")),
            ("type=file,id=a", file("a", "a")),
            ("id=a,env=B", env("a", "B")),
            ("type=env,id=a,src=B", env("a", "B")),
            ("id=TOKEN", env("TOKEN", "TOKEN")),
            (
                "id=a",
                error("neither src nor env is given, and no variable a is set"),
            ),
            ("src=x", error("no id")),
            ("id=a,src=x,env=B", error("both src and env are given")),
            ("id=a,sorce=x", error("unknown key \"sorce\"")),
            ("x", error("\"x\" is no KEY=VALUE pair")),
            (
                "type=keyring,id=a",
                error("unknown secret type \"keyring\""),
            ),
        ] {
            let found = secret(text, &set).map_err(|error| error.to_string());
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn named_contexts_are_directories_or_images() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let layout = |dir: &str, tag: Option<&str>, digest: Option<&str>| {
            Ok(NamedContext::OciLayout {
                dir: dir.into(),
                tag: tag.map(str::to_owned),
                digest: digest.map(|digest| digest.parse().expect("valid")),
            })
        };
        let error = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("../src", Ok(NamedContext::Dir("../src".into()))),
            (
                "docker-image://alpine",
                Ok(NamedContext::Image("alpine:latest".parse().expect("valid"))),
            ),
            ("oci-layout:///d", layout("/d", None, None)),
            ("oci-layout://d:v1", layout("d", Some("v1"), None)),
            ("oci-layout:///d:v/e", layout("/d:v/e", None, None)),
            (
                &*format!("oci-layout://d@{digest}"),
                layout("d", None, Some(&digest)),
            ),
            (
                &*format!("oci-layout://d:1@{digest}"),
                layout("d", Some("1"), Some(&digest)),
            ),
            ("oci-layout://:x", error("no directory")),
            ("docker-imag://x", error("unknown scheme \"docker-imag\"")),
            ("", error("no value")),
        ] {
            let found = build_context(&format!("name={text}")).map_err(|error| error.to_string());
            assert_eq!(
                found,
                expected.map(|context| ("name".to_owned(), context)),
                "{text:?}"
            );
        }
        assert!(build_context("=x").is_err());
        assert!(build_context("name").is_err());
    }
}
