//! The image configuration.

#![expect(
    clippy::zero_sized_map_values,
    reason = "sets are JSON objects of empty objects here: Go's map[string]struct{}"
)]

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{self, DocumentError, Extra, null_default};
use crate::{ChainId, DiffId, Digest, Platform};

/// The value of Go's `map[string]struct{}`: `{}`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Empty {}

/// An image configuration (OCI image spec, config.md, with Docker's extensions).
///
/// It is written with its top-level fields in alphabetical order, unknown ones
/// among them, as BuildKit's exporter does; the objects inside keep the order of
/// Go's structures. Times stay the RFC 3339 text that they were read as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ImageConfig {
    /// When the image was made.
    #[serde(default)]
    pub created: Option<String>,
    /// Who made it; empty if unknown.
    #[serde(default, deserialize_with = "null_default")]
    pub author: String,
    /// The CPU architecture, in Go's names.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// The CPU variant.
    #[serde(default)]
    pub variant: Option<String>,
    /// The operating system, in Go's names.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// The operating system's version (Windows).
    #[serde(default, rename = "os.version")]
    pub os_version: Option<String>,
    /// Features of the operating system (Windows).
    #[serde(default, rename = "os.features", deserialize_with = "null_default")]
    pub os_features: Vec<String>,
    /// How a container of the image runs.
    #[serde(default, deserialize_with = "null_default")]
    pub config: RuntimeConfig,
    /// The layers.
    #[serde(default, deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// How the layers came about.
    #[serde(default, deserialize_with = "null_default")]
    pub history: Vec<History>,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ImageConfig {
    /// Makes the configuration of an image without layers for `platform`.
    pub fn new(platform: &Platform) -> Self {
        let mut config = Self::default();
        config.set_platform(platform);
        config
    }

    /// Reads a configuration.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        json::parse("image configuration", bytes)
    }

    /// Returns the bytes as BuildKit writes them.
    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec(self)
    }

    /// Returns the digest of [`Self::to_json`]: the image's ID.
    pub fn digest(&self) -> Digest {
        Digest::sha256(self.to_json())
    }

    /// Returns the platform as the configuration states it.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }

    /// States the platform.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.os.clone_from(&platform.os);
        self.architecture.clone_from(&platform.architecture);
        self.variant.clone_from(&platform.variant);
        self.os_version.clone_from(&platform.os_version);
        self.os_features.clone_from(&platform.os_features);
    }

    /// Returns the identity of the layer stack; none without layers.
    pub fn chain_id(&self) -> Option<ChainId> {
        ChainId::of(&self.rootfs.diff_ids)
    }
}

impl Serialize for ImageConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: BTreeMap<&str, Field<'_>> = BTreeMap::new();
        for (name, value) in &self.extra {
            fields.insert(name, Field::Other(value));
        }
        let texts = [
            ("created", self.created.as_deref()),
            ("author", Some(&*self.author).filter(|a| !a.is_empty())),
            ("architecture", Some(&*self.architecture)),
            ("variant", self.variant.as_deref()),
            ("os", Some(&*self.os)),
            ("os.version", self.os_version.as_deref()),
        ];
        for (name, text) in texts {
            fields.extend(text.map(|text| (name, Field::Text(text))));
        }
        if !self.os_features.is_empty() {
            fields.insert("os.features", Field::Texts(&self.os_features));
        }
        fields.insert("config", Field::Config(&self.config));
        fields.insert("rootfs", Field::RootFs(&self.rootfs));
        if !self.history.is_empty() {
            fields.insert("history", Field::History(&self.history));
        }
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, field) in &fields {
            map.serialize_entry(name, field)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Text(&'a str),
    Texts(&'a [String]),
    Config(&'a RuntimeConfig),
    RootFs(&'a RootFs),
    History(&'a [History]),
    Other(&'a serde_json::Value),
}

/// How containers of an image run (the configuration's `config` object).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RuntimeConfig {
    /// `user[:group]`, names or numbers.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// `port/protocol`.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`, in the order set.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub env: Vec<String>,
    /// The entry point; an empty one is written as none.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub entrypoint: Option<Vec<String>>,
    /// The command; an empty one is written as none.
    #[serde(skip_serializing_if = "none_or_empty")]
    pub cmd: Option<Vec<String>>,
    /// Mount points of volumes.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub volumes: BTreeMap<String, Empty>,
    /// The working directory.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Labels.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Windows: the arguments are escaped already.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// How health is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds on top of the image.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub on_build: Vec<String>,
    /// The shell of shell-form instructions.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub shell: Vec<String>,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a container's health is probed. Durations are nanoseconds, 0 inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, `CMD` with arguments, or `CMD-SHELL` with one command line.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub test: Vec<String>,
    /// Time between two probes.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a probe has failed.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time at the start during which failures do not count.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two probes during the start period.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub typ: String,
    /// The layers, base first.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<DiffId>,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            typ: layers(),
            diff_ids: Vec::new(),
            extra: Extra::new(),
        }
    }
}

fn layers() -> String {
    "layers".to_owned()
}

/// One step that made an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction; empty if unknown.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What made the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The step has no layer.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
fn none_or_empty(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference to the field"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference to the field"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        String::from_utf8(ImageConfig::from_json(text.as_bytes()).unwrap().to_json()).unwrap()
    }

    #[test]
    fn a_full_configuration_keeps_its_bytes() {
        let diff_id = Digest::sha256(b"layer");
        let text = [
            r#"{"architecture":"arm64","author":"me","config":{"User":"app:1","ExposedPorts":{"80/tcp":{}},"#,
            r#""Env":["B=2","A=1"],"Entrypoint":["/bin/x"],"Cmd":["a","b"],"Volumes":{"/data":{}},"#,
            r#""WorkingDir":"/w","Labels":{"a":"1","z":"\u003c2\u003e"},"StopSignal":"SIGINT","ArgsEscaped":true,"#,
            r#""Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":1000000000,"Timeout":2000000000,"#,
            r#""StartPeriod":3000000000,"StartInterval":4000000000,"Retries":5},"OnBuild":["RUN x"],"#,
            r#""Shell":["/bin/sh","-c"],"Zzz":{"k":[1,null]}},"created":"2024-01-02T03:04:05.123456789Z","#,
            r#""history":[{"created":"2024-01-02T03:04:05Z","created_by":"RUN a \u0026\u0026 b # buildkit","#,
            r#""author":"me","comment":"buildkit.dockerfile.v0"},{"created_by":"CMD [\"a\"]","empty_layer":true}],"#,
            r#""moby.buildkit.cache.v0":"eA==","os":"linux","os.features":["f"],"os.version":"1","#,
            &format!(r#""rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},"variant":"v8"}}"#),
        ]
        .concat();
        assert_eq!(round_trip(&text), text);
    }

    #[test]
    fn empty_fields_are_omitted() {
        let mut config = ImageConfig::new(&"linux/amd64".parse().unwrap());
        config.config.cmd = Some(Vec::new());
        let text = String::from_utf8(config.to_json()).unwrap();
        let expected = r#"{"architecture":"amd64","config":{},"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(text, expected);
        assert_eq!(config.digest(), Digest::sha256(expected));
        assert_eq!(config.chain_id(), None);
    }

    #[test]
    fn the_nulls_of_older_tools_are_read() {
        let text = r#"{"architecture":"amd64","config":{"Hostname":"","User":"","ExposedPorts":null,"Env":null,"Cmd":null,"Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null,"Healthcheck":null,"Shell":null,"StopSignal":null},"container_config":null,"history":null,"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::from_json(text.as_bytes()).unwrap();
        assert_eq!(config.config.extra["Hostname"], "");
        assert_eq!(config.extra["container_config"], serde_json::Value::Null);
        assert_eq!(
            String::from_utf8(config.to_json()).unwrap(),
            r#"{"architecture":"amd64","config":{"Hostname":""},"container_config":null,"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
        );
        assert_eq!(
            ImageConfig::from_json(b"{}").unwrap(),
            ImageConfig::default()
        );
    }

    #[test]
    fn broken_configurations_are_named() {
        let error = ImageConfig::from_json(b"[]").unwrap_err();
        assert_eq!(error.to_string(), "invalid image configuration");
        let bad = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:zz"]}}"#;
        assert!(ImageConfig::from_json(bad).is_err());
    }
}
