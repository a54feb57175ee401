//! Content digests and the identifiers that are made of them.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

/// A string that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:hex` form.
    #[error("invalid digest {input:?}: expected ALGORITHM:HEX, such as sha256:<64 hex digits>")]
    Format {
        /// The text as given.
        input: String,
    },
    /// The algorithm is none that can be verified.
    #[error("unsupported digest algorithm {algorithm:?} (supported: sha256, sha512)")]
    Algorithm {
        /// The algorithm's name as given.
        algorithm: String,
    },
    /// The encoded part has the wrong length for its algorithm.
    #[error("invalid digest length: {algorithm} takes {expected} hex digits, found {found}")]
    Length {
        /// The digest's algorithm.
        algorithm: Algorithm,
        /// How many hex digits the algorithm takes.
        expected: usize,
        /// How many characters there are.
        found: usize,
    },
    /// The encoded part holds something else than lower-case hex digits.
    #[error("invalid digest {input:?}: only the digits 0-9 and a-f may follow the colon")]
    Encoding {
        /// The text as given.
        input: String,
    },
}

/// A registered digest algorithm (OCI image spec, descriptor.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which everybody uses.
    Sha256,
    /// SHA-512, optional in the specification.
    Sha512,
}

impl Algorithm {
    /// Returns the name before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A validated digest of some bytes: `sha256:<64 lower-case hex digits>` or the
/// sha512 equivalent. It is safe to use as a file name below its algorithm.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Box<str>);

impl Digest {
    /// Hashes `bytes` with SHA-256.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Self {
        Self::encode(Algorithm::Sha256, &Sha256::digest(bytes.as_ref()))
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        }
    }

    /// Returns the part after the colon.
    pub fn hex(&self) -> &str {
        &self.0[self.algorithm().as_str().len() + 1..]
    }

    /// Returns the first 12 hex digits, as short image IDs are shown.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// Returns the whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns where a directory or an archive keeps the blob of this digest, relative to its top
    /// (OCI image spec, image-layout.md, "Blobs").
    pub fn layout_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm(), self.hex())
    }

    /// Returns the digest whose [`layout_path`](Self::layout_path) is `path`.
    pub fn of_layout_path(path: &str) -> Option<Self> {
        let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
        format!("{algorithm}:{hex}").parse().ok()
    }

    /// Returns whether `bytes` have this digest.
    pub fn verifies(&self, bytes: &[u8]) -> bool {
        let mut hasher = Hasher::new(self.algorithm());
        hasher.update(bytes);
        hasher.finish() == *self
    }

    fn encode(algorithm: Algorithm, raw: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(8 + raw.len() * 2);
        text.push_str(algorithm.as_str());
        text.push(':');
        for byte in raw {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self(text.into_boxed_str())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(input: &str) -> Result<Self, DigestError> {
        let Some((name, hex)) = input.split_once(':').filter(|(name, _)| !name.is_empty()) else {
            return Err(DigestError::Format {
                input: input.to_owned(),
            });
        };
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => {
                return Err(DigestError::Algorithm {
                    algorithm: name.to_owned(),
                });
            }
        };
        if hex.len() != algorithm.hex_len() {
            let (expected, found) = (algorithm.hex_len(), hex.chars().count());
            return Err(DigestError::Length {
                algorithm,
                expected,
                found,
            });
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Encoding {
                input: input.to_owned(),
            });
        }
        Ok(Self(input.into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a [`Digest`] incrementally with any supported algorithm.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Starts a digest of nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// Returns the digest of everything added.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::encode(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => Digest::encode(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Computes a SHA-256 [`Digest`] incrementally.
#[derive(Clone, Debug, Default)]
pub struct Sha256Hasher(Sha256);

impl Sha256Hasher {
    /// Starts a digest of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of everything added.
    pub fn finish(self) -> Digest {
        Digest::encode(Algorithm::Sha256, &self.0.finalize())
    }

    /// Returns the state after everything added, for [`resume`](Self::resume).
    pub fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// Goes on where another hasher was when it gave this state; none if it is no such state.
    pub fn resume(state: &[u8]) -> Option<Self> {
        let state = state.try_into().ok()?;
        Sha256::deserialize(&state).ok().map(Self)
    }
}

impl io::Write for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! digest_newtype {
    ($name:ident) => {
        impl $name {
            /// Returns the digest.
            pub fn digest(&self) -> &Digest {
                &self.0
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                Self(digest)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(input: &str) -> Result<Self, DigestError> {
                input.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// The digest of a layer's uncompressed tar stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

/// The identity of a stack of layers (OCI image spec, config.md, "Layer ChainID").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub Digest);

digest_newtype!(DiffId);
digest_newtype!(ChainId);

impl ChainId {
    /// Returns the identity of `layers`, base first; none for an empty stack.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        let join = |chain: Digest, next: &DiffId| Digest::sha256(format!("{chain} {next}"));
        Some(Self(rest.iter().fold(first.0.clone(), join)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_answers() {
        assert_eq!(Digest::sha256(b"abc").to_string(), ABC);
        let mut hasher = Sha256Hasher::new();
        hasher.update(b"a");
        let mut resumed = Sha256Hasher::resume(&hasher.state()).expect("a state");
        for hasher in [&mut hasher, &mut resumed] {
            hasher.update(b"bc");
        }
        assert_eq!(hasher.finish().as_str(), ABC);
        assert_eq!(resumed.finish().as_str(), ABC);
        assert!(Sha256Hasher::resume(b"none").is_none());
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"abc");
        let digest = hasher.finish();
        assert!(
            digest
                .as_str()
                .starts_with("sha512:ddaf35a193617abacc417349ae204131")
        );
        assert_eq!(digest.hex().len(), 128);
        assert!(digest.verifies(b"abc"));
        assert!(!digest.verifies(b"abd"));
    }

    #[test]
    fn parts() {
        let digest: Digest = ABC.parse().unwrap();
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(digest.hex(), &ABC[7..]);
        assert_eq!(digest.short(), "ba7816bf8f01");
    }

    #[test]
    fn a_blob_in_a_layout_is_named_by_its_digest() {
        let digest: Digest = ABC.parse().unwrap();
        let path = digest.layout_path();
        assert_eq!(path, ABC.replace("sha256:", "blobs/sha256/"));
        assert_eq!(Digest::of_layout_path(&path), Some(digest));
        let below = format!("{path}/x");
        for other in ["abc/layer.tar", "blobs/sha256/short", "blobs", &below] {
            assert_eq!(Digest::of_layout_path(other), None, "{other}");
        }
    }

    #[test]
    fn malformed_digests_are_named() {
        let upper = ABC.to_uppercase().replace("SHA", "sha");
        let cases: &[(&str, &str)] = &[
            (
                "",
                "invalid digest \"\": expected ALGORITHM:HEX, such as sha256:<64 hex digits>",
            ),
            (
                ":ab",
                "invalid digest \":ab\": expected ALGORITHM:HEX, such as sha256:<64 hex digits>",
            ),
            (
                "md5:abc",
                "unsupported digest algorithm \"md5\" (supported: sha256, sha512)",
            ),
            (
                "sha256:abc",
                "invalid digest length: sha256 takes 64 hex digits, found 3",
            ),
            (
                "sha512:",
                "invalid digest length: sha512 takes 128 hex digits, found 0",
            ),
        ];
        for (input, message) in cases {
            assert_eq!(
                input.parse::<Digest>().unwrap_err().to_string(),
                *message,
                "{input}"
            );
        }
        assert!(matches!(
            upper.parse::<Digest>(),
            Err(DigestError::Encoding { .. })
        ));
        let traversal = format!("sha256:{}", "../".repeat(21) + "x");
        assert!(matches!(
            traversal.parse::<Digest>(),
            Err(DigestError::Encoding { .. })
        ));
    }

    #[test]
    fn serde_validates() {
        let digest: Digest = serde_json::from_str(&format!("\"{ABC}\"")).unwrap();
        assert_eq!(
            serde_json::to_string(&digest).unwrap(),
            format!("\"{ABC}\"")
        );
        assert!(serde_json::from_str::<DiffId>("\"sha256:12\"").is_err());
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let (a, b) = (DiffId(Digest::sha256(b"a")), DiffId(Digest::sha256(b"b")));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(std::slice::from_ref(&a)).unwrap().0, a.0);
        let expected = Digest::sha256(format!("{a} {b}").as_bytes());
        assert_eq!(ChainId::of(&[a, b]).unwrap().0, expected);
    }
}
