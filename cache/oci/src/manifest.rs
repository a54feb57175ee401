//! Image manifests and indexes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{self, DocumentError, Extra, null_default};
use crate::{Descriptor, Platform, media_type};

const MANIFEST: &str = "image manifest";
const INDEX: &str = "image index";

/// An image manifest, OCI's or Docker's schema 2 (OCI image spec, manifest.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u64,
    /// The manifest's own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// Another manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Manifest {
    /// Makes an OCI manifest.
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self::with_type(media_type::OCI_MANIFEST, config, layers)
    }

    /// Makes a Docker schema 2 manifest.
    pub fn docker(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self::with_type(media_type::DOCKER_MANIFEST, config, layers)
    }

    fn with_type(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }

    /// Reads a manifest; refuses other schema versions, other media types and
    /// documents that could also be read as an index.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        check_header(MANIFEST, bytes, media_type::is_manifest, &["manifests"])?;
        json::parse(MANIFEST, bytes)
    }

    /// Returns the bytes as BuildKit writes them.
    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec_pretty(self)
    }

    /// Returns the media type, OCI's when the document names none.
    pub fn media_type(&self) -> &str {
        self.media_type
            .as_deref()
            .unwrap_or(media_type::OCI_MANIFEST)
    }
}

/// An image index, or Docker's manifest list (OCI image spec, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u64,
    /// The index's own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The type of an artifact that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Another manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Fields that are not known.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Index {
    /// Makes an OCI index.
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self::with_type(media_type::OCI_INDEX, manifests)
    }

    /// Makes a Docker manifest list.
    pub fn docker(manifests: Vec<Descriptor>) -> Self {
        Self::with_type(media_type::DOCKER_MANIFEST_LIST, manifests)
    }

    fn with_type(media_type: &str, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            extra: Extra::new(),
        }
    }

    /// Reads an index; refuses other schema versions, other media types and
    /// documents that could also be read as a manifest.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        check_header(INDEX, bytes, media_type::is_index, &["config", "layers"])?;
        json::parse(INDEX, bytes)
    }

    /// Returns the bytes as BuildKit writes them.
    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec_pretty(self)
    }

    /// Returns the media type, OCI's when the document names none.
    pub fn media_type(&self) -> &str {
        self.media_type.as_deref().unwrap_or(media_type::OCI_INDEX)
    }

    /// Returns the manifest (or nested index) to use for `platform`: the closest
    /// of those that run on it, the first of equals. A lone entry that names no
    /// platform serves any (its configuration tells).
    pub fn pick(&self, platform: &Platform) -> Option<&Descriptor> {
        let ranked = self.manifests.iter().filter_map(|manifest| {
            let rank = platform.rank(manifest.platform.as_ref()?)?;
            Some((rank, manifest))
        });
        ranked
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, manifest)| manifest)
            .or_else(|| match self.manifests.as_slice() {
                [only] if only.platform.is_none() => Some(only),
                _ => None,
            })
    }

    /// Returns the platforms on offer, normalised, in order and without
    /// repetitions; attestations (`unknown/unknown`) are left out.
    pub fn platforms(&self) -> Vec<Platform> {
        let mut platforms = Vec::new();
        for platform in self.manifests.iter().filter_map(|m| m.platform.as_ref()) {
            let platform = platform.normalized();
            if platform.os != "unknown" && !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        platforms
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(flatten)]
    fields: Extra,
}

fn check_header(
    kind: &'static str,
    bytes: &[u8],
    accepts: fn(&str) -> bool,
    foreign: &[&'static str],
) -> Result<(), DocumentError> {
    let header: Header = json::parse(kind, bytes)?;
    if header.schema_version != 2 {
        return Err(DocumentError::SchemaVersion {
            kind,
            found: header.schema_version,
        });
    }
    if let Some(found) = header
        .media_type
        .filter(|found| !found.is_empty() && !accepts(found))
    {
        return Err(DocumentError::MediaType { kind, found });
    }
    match foreign
        .iter()
        .find(|field| header.fields.contains_key(**field))
    {
        Some(field) => Err(DocumentError::Ambiguous { kind, field }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        Manifest::oci(
            config,
            vec![Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer")],
        )
    }

    #[test]
    fn manifests_are_written_as_buildkit_does() {
        let expected = r#"{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    "size": 2
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85",
      "size": 5
    }
  ]
}"#;
        let text = String::from_utf8(manifest().to_json()).unwrap();
        assert_eq!(text, expected);
        assert_eq!(Manifest::from_json(text.as_bytes()).unwrap(), manifest());
    }

    #[test]
    fn ambiguous_and_foreign_documents_are_refused() {
        let as_text = |value: &serde_json::Value| value.to_string().into_bytes();
        let mut value = serde_json::to_value(manifest()).unwrap();
        value["manifests"] = serde_json::json!([]);
        let error = Manifest::from_json(&as_text(&value)).unwrap_err();
        assert!(matches!(
            error,
            DocumentError::Ambiguous {
                field: "manifests",
                ..
            }
        ));

        let index = serde_json::json!({"schemaVersion": 2, "manifests": [], "layers": []});
        let error = Index::from_json(&as_text(&index)).unwrap_err();
        assert!(matches!(
            error,
            DocumentError::Ambiguous {
                field: "layers",
                ..
            }
        ));

        let error = Index::from_json(&manifest().to_json()).unwrap_err();
        assert!(matches!(error, DocumentError::MediaType { .. }));

        let error = Manifest::from_json(br#"{"schemaVersion":1,"fsLayers":[]}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unsupported image manifest with schemaVersion 1 (only 2 is supported; schema 1 images must be pushed again with a current tool)"
        );
        assert!(matches!(
            Manifest::from_json(b"<html>"),
            Err(DocumentError::Json { .. })
        ));
    }

    fn entry(platform: &str) -> Descriptor {
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, platform.as_bytes());
        if platform.is_empty() {
            return descriptor;
        }
        let mut parts = platform.split('/');
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        let mut platform = Platform::new(os, architecture);
        platform.variant = parts.next().map(str::to_owned);
        descriptor.with_platform(platform)
    }

    #[test]
    fn picking_prefers_the_closest_platform() {
        let list = &[
            "linux/386",
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/arm64/v8",
        ][..];
        let cases: &[(&str, &[&str], Option<usize>)] = &[
            ("linux/amd64", list, Some(1)),
            ("linux/arm64", list, Some(4)),
            ("linux/arm/v7", list, Some(3)),
            ("linux/arm/v6", list, Some(2)),
            ("linux/386", list, Some(0)),
            ("linux/s390x", list, None),
            ("windows/amd64", list, None),
            ("linux/amd64", &["linux/386", "linux/arm64"], Some(0)),
            ("linux/amd64", &["linux/amd64", "linux/amd64"], Some(0)),
            ("linux/amd64", &["linux/amd64/v3", "linux/amd64"], Some(1)),
            (
                "linux/amd64/v3",
                &["linux/amd64", "linux/amd64/v2"],
                Some(1),
            ),
            ("linux/amd64", &["unknown/unknown"], None),
            ("linux/amd64", &[""], Some(0)),
            ("linux/amd64", &["", ""], None),
            ("linux/amd64", &["", "linux/amd64"], Some(1)),
        ];
        for (platform, entries, expected) in cases {
            let index = Index::oci(entries.iter().map(|e| entry(e)).collect());
            let picked = index
                .pick(&platform.parse().unwrap())
                .map(std::ptr::from_ref);
            let expected = expected.map(|i| std::ptr::from_ref(&index.manifests[i]));
            assert_eq!(picked, expected, "{platform} of {entries:?}");
        }
    }

    #[test]
    fn offered_platforms_leave_out_attestations() {
        let index = Index::oci(
            [
                "linux/amd64",
                "unknown/unknown",
                "linux/arm64/v8",
                "linux/arm64",
                "",
            ]
            .map(entry)
            .to_vec(),
        );
        let names: Vec<_> = index.platforms().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm64"]);
    }
}
