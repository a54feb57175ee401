//! Content descriptors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{Extra, null_default};
use crate::{Digest, Platform};

/// Names some content: its type, digest and size (OCI image spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The content's media type.
    #[serde(default)]
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// Where else the content may be had (foreign layers).
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The content itself, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The platform of the image behind a manifest in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of an artifact behind a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Descriptor {
    /// Makes a descriptor of the three fields that every one has.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
            extra: Extra::new(),
        }
    }

    /// Describes `bytes`.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// Returns the descriptor with a platform.
    #[must_use]
    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Returns the descriptor with one annotation more.
    #[must_use]
    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Returns whether `bytes` are the content that this describes.
    pub fn verifies(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.size && self.digest.verifies(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::OCI_MANIFEST;

    #[test]
    fn field_order_and_unknown_fields() {
        let digest = Digest::sha256(b"x");
        let text = format!(
            r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":1,"urls":["https://a"],"annotations":{{"a":"1","b":"2"}},"data":"eA==","platform":{{"architecture":"arm64","os":"linux","variant":"v8"}},"artifactType":"t","new":{{"z":1,"a":2}}}}"#
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor.extra["new"]["a"], 2);
        assert_eq!(serde_json::to_string(&descriptor).unwrap(), text);
        assert!(descriptor.verifies(b"x"));
        assert!(!descriptor.verifies(b"xx"));
    }

    #[test]
    fn empty_fields_are_omitted_and_nulls_read() {
        let digest = Digest::sha256(b"");
        let text = format!(
            r#"{{"mediaType":"t","digest":"{digest}","size":0,"urls":null,"annotations":null,"platform":null}}"#
        );
        let descriptor: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(descriptor, Descriptor::of("t", b""));
        assert_eq!(
            serde_json::to_string(&descriptor).unwrap(),
            format!(r#"{{"mediaType":"t","digest":"{digest}","size":0}}"#)
        );
    }

    #[test]
    fn negative_sizes_and_bad_digests_are_refused() {
        let digest = Digest::sha256(b"");
        let negative = format!(r#"{{"mediaType":"t","digest":"{digest}","size":-1}}"#);
        assert!(serde_json::from_str::<Descriptor>(&negative).is_err());
        let bad = r#"{"mediaType":"t","digest":"sha256:../..","size":1}"#;
        assert!(serde_json::from_str::<Descriptor>(bad).is_err());
    }
}
