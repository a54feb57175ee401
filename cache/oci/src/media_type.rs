//! Media types of OCI and Docker documents and layers.

use std::fmt;
use std::str::FromStr;

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI empty descriptor's content.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// OCI layer, uncompressed.
pub const OCI_LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI non-distributable layer, uncompressed (deprecated, still found).
pub const OCI_LAYER_NONDISTRIBUTABLE_TAR: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// OCI non-distributable layer, gzip (deprecated, still found).
pub const OCI_LAYER_NONDISTRIBUTABLE_GZIP: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
/// OCI non-distributable layer, zstd (deprecated, still found).
pub const OCI_LAYER_NONDISTRIBUTABLE_ZSTD: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 1 (refused).
pub const DOCKER_MANIFEST_V1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker signed manifest, schema 1 (refused).
pub const DOCKER_MANIFEST_V1_SIGNED: &str =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, uncompressed.
pub const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd (unofficial; BuildKit and containerd write and read it).
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker foreign layer, uncompressed: fetched from the descriptor's URLs.
pub const DOCKER_FOREIGN_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// Docker foreign layer, gzip: fetched from the descriptor's URLs.
pub const DOCKER_FOREIGN_LAYER_GZIP: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// The `Accept` values of a manifest request, in order of preference.
pub const MANIFEST_ACCEPT: &[&str] = &[
    OCI_INDEX,
    OCI_MANIFEST,
    DOCKER_MANIFEST_LIST,
    DOCKER_MANIFEST,
];

/// How a layer's tar stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// A plain tar stream.
    None,
    /// gzip, possibly of several members.
    Gzip,
    /// zstd, possibly of several frames.
    Zstd,
}

impl Compression {
    /// Returns the media type of a layer that is compressed so.
    pub const fn layer_media_type(self, docker: bool) -> &'static str {
        match (self, docker) {
            (Self::None, false) => OCI_LAYER_TAR,
            (Self::Gzip, false) => OCI_LAYER_GZIP,
            (Self::Zstd, false) => OCI_LAYER_ZSTD,
            (Self::None, true) => DOCKER_LAYER_TAR,
            (Self::Gzip, true) => DOCKER_LAYER_GZIP,
            (Self::Zstd, true) => DOCKER_LAYER_ZSTD,
        }
    }

    /// Recognises the compression by a stream's first bytes (four suffice).
    pub fn detect(prefix: &[u8]) -> Self {
        match prefix {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A zstd frame, or a skippable frame as zstd:chunked and eStargz-like writers put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// A compression name that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression {name:?} (expected uncompressed, gzip or zstd)")]
pub struct UnknownCompression {
    /// The name as given.
    pub name: String,
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    /// Parses BuildKit's `compression=` values; `none` is `uncompressed`.
    fn from_str(name: &str) -> Result<Self, UnknownCompression> {
        match name {
            "uncompressed" | "none" => Ok(Self::None),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(UnknownCompression {
                name: name.to_owned(),
            }),
        }
    }
}

/// Returns whether this is an image index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_MANIFEST_LIST)
}

/// Returns whether this is an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Returns whether this is an image configuration.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Returns whether this is one of Docker's types rather than OCI's.
pub fn is_docker(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.docker.")
}

/// Returns whether this is a layer that registries need not hold.
pub fn is_foreign_layer(media_type: &str) -> bool {
    matches!(
        media_type,
        DOCKER_FOREIGN_LAYER_TAR
            | DOCKER_FOREIGN_LAYER_GZIP
            | OCI_LAYER_NONDISTRIBUTABLE_TAR
            | OCI_LAYER_NONDISTRIBUTABLE_GZIP
            | OCI_LAYER_NONDISTRIBUTABLE_ZSTD
    )
}

/// Returns a layer type's compression; none when this is no layer type.
pub fn layer_compression(media_type: &str) -> Option<Compression> {
    match media_type {
        OCI_LAYER_TAR
        | OCI_LAYER_NONDISTRIBUTABLE_TAR
        | DOCKER_LAYER_TAR
        | DOCKER_FOREIGN_LAYER_TAR => Some(Compression::None),
        OCI_LAYER_GZIP
        | OCI_LAYER_NONDISTRIBUTABLE_GZIP
        | DOCKER_LAYER_GZIP
        | DOCKER_FOREIGN_LAYER_GZIP => Some(Compression::Gzip),
        OCI_LAYER_ZSTD | OCI_LAYER_NONDISTRIBUTABLE_ZSTD | DOCKER_LAYER_ZSTD => {
            Some(Compression::Zstd)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classification() {
        // (type, index, manifest, config, docker, layer compression)
        let cases = [
            (OCI_INDEX, true, false, false, false, None),
            (DOCKER_MANIFEST_LIST, true, false, false, true, None),
            (OCI_MANIFEST, false, true, false, false, None),
            (DOCKER_MANIFEST, false, true, false, true, None),
            (OCI_CONFIG, false, false, true, false, None),
            (DOCKER_CONFIG, false, false, true, true, None),
            (
                OCI_LAYER_TAR,
                false,
                false,
                false,
                false,
                Some(Compression::None),
            ),
            (
                DOCKER_LAYER_GZIP,
                false,
                false,
                false,
                true,
                Some(Compression::Gzip),
            ),
            (
                OCI_LAYER_ZSTD,
                false,
                false,
                false,
                false,
                Some(Compression::Zstd),
            ),
            ("text/html", false, false, false, false, None),
        ];
        for (name, index, manifest, config, docker, layer) in cases {
            assert_eq!(is_index(name), index, "{name}");
            assert_eq!(is_manifest(name), manifest, "{name}");
            assert_eq!(is_config(name), config, "{name}");
            assert_eq!(is_docker(name), docker, "{name}");
            assert_eq!(layer_compression(name), layer, "{name}");
        }
    }

    #[test]
    fn layer_types_name_their_compression() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for docker in [false, true] {
                let name = compression.layer_media_type(docker);
                assert_eq!(layer_compression(name), Some(compression));
                assert_eq!(is_docker(name), docker);
            }
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert!("estargz".parse::<Compression>().is_err());
    }

    #[test]
    fn detection_by_content() {
        assert_eq!(Compression::detect(&[0x1f, 0x8b, 8, 0]), Compression::Gzip);
        assert_eq!(
            Compression::detect(&[0x28, 0xb5, 0x2f, 0xfd]),
            Compression::Zstd
        );
        assert_eq!(
            Compression::detect(&[0x51, 0x2a, 0x4d, 0x18]),
            Compression::Zstd
        );
        assert_eq!(Compression::detect(b"bin/"), Compression::None);
        assert_eq!(Compression::detect(b""), Compression::None);
    }
}
