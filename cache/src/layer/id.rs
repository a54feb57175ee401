//! Names of layers.

use std::fmt;
use std::str::FromStr;

use cooper_oci::{DiffId, Digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checksum::TreeDigest;
use crate::error::StoreError;

/// Names a layer: a built one by its content, a pulled one by its tar.
///
/// Written `blake3:<hex>` or `sha256:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerId {
    /// A layer that was built here, named by its content without mtimes.
    Built(TreeDigest),
    /// A layer that came as a tar, named by that tar's digest.
    Pulled(DiffId),
}

impl LayerId {
    /// Returns the file name components of this id: algorithm and hex.
    pub(crate) fn parts(&self) -> (&'static str, String) {
        match self {
            Self::Built(digest) => ("blake3", digest.to_string()),
            Self::Pulled(DiffId(digest)) => (digest.algorithm().as_str(), digest.hex().to_owned()),
        }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built(digest) => write!(to, "blake3:{digest}"),
            Self::Pulled(DiffId(digest)) => write!(to, "{digest}"),
        }
    }
}

impl FromStr for LayerId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let invalid = || StoreError::Invalid {
            what: "layer id",
            value: text.to_owned(),
        };
        match text.strip_prefix("blake3:") {
            Some(hex) => hex.parse().map(Self::Built).map_err(|_| invalid()),
            None => text
                .parse::<Digest>()
                .map(|digest| Self::Pulled(DiffId(digest)))
                .map_err(|_| invalid()),
        }
    }
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip_and_junk_is_refused() {
        for text in [
            format!("blake3:{}", "ab".repeat(32)),
            format!("sha256:{}", "0f".repeat(32)),
        ] {
            assert_eq!(text.parse::<LayerId>().expect("valid").to_string(), text);
        }
        for text in ["", "blake3:", "blake3:zz", "sha256:12", "md5:00"] {
            assert!(text.parse::<LayerId>().is_err(), "{text}");
        }
    }
}
