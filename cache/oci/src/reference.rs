//! Image references, with docker's normalisation.
//!
//! `busybox` means `docker.io/library/busybox`, `localhost/x` and `host:5000/x`
//! name their registry, everything else is below `docker.io`. The grammar is that
//! of the distribution project's `reference` package.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Digest, DigestError};

/// The registry of references that name none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of references that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format: {input:?}{}", hint(input))]
    Format {
        /// The text as given.
        input: String,
    },
    /// There is nothing to name a repository.
    #[error("invalid reference format: repository name must have at least one component")]
    Empty,
    /// A repository has capital letters.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    Uppercase {
        /// The repository's name as given.
        name: String,
    },
    /// The name is too long.
    #[error(
        "invalid reference format: repository name must not be more than {NAME_MAX} characters"
    )]
    TooLong {
        /// The length.
        length: usize,
    },
    /// The tag is malformed.
    #[error(
        "invalid reference format: invalid tag {tag:?} (letters, digits, '_', '.' and '-', at most {TAG_MAX}, not starting with '.' or '-')"
    )]
    Tag {
        /// The tag as given.
        tag: String,
    },
    /// The digest is malformed.
    #[error("invalid reference format: {input:?}")]
    Digest {
        /// The text as given.
        input: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// It looks like an image ID.
    #[error("invalid repository name ({input}), cannot specify 64-byte hexadecimal strings")]
    Identifier {
        /// The text as given.
        input: String,
    },
}

fn hint(input: &str) -> &'static str {
    if input.contains("://") {
        " (a reference has no URL scheme)"
    } else if input.contains(char::is_whitespace) {
        " (it contains a space)"
    } else {
        ""
    }
}

/// A normalised image reference: registry, repository, and a tag, a digest, both
/// or neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the registry: `docker.io`, `localhost:5000`, …
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository inside the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the canonical name without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the reference with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(&self) -> Self {
        let mut reference = self.clone();
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        reference
    }

    /// Returns the reference with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag)?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// Returns the reference with another digest; the tag stays.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns the reference without tag and digest.
    #[must_use]
    pub fn without_tag(&self) -> Self {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// Returns the short name that people write: `busybox` for
    /// `docker.io/library/busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// Returns the short form that people write, with tag and digest.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    /// Returns what a manifest is asked for by: the digest, else the tag, else
    /// `latest`.
    pub fn manifest_name(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    fn suffixed(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(input: &str) -> Result<Self, ReferenceError> {
        if input.len() == 64
            && input
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(ReferenceError::Identifier {
                input: input.to_owned(),
            });
        }
        let (name, digest) = match input.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (input, None),
        };
        let (domain, rest) = split_domain(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.is_empty() && (tag.is_none() || domain.is_none()) && digest.is_none() {
            return Err(ReferenceError::Empty);
        }
        if path.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase {
                name: path.to_owned(),
            });
        }
        let malformed = || ReferenceError::Format {
            input: input.to_owned(),
        };
        if !is_path(path) || !domain.is_none_or(is_domain) {
            return Err(malformed());
        }
        tag.map_or(Ok(()), check_tag)?;
        let digest =
            digest
                .map(str::parse)
                .transpose()
                .map_err(|source| ReferenceError::Digest {
                    input: input.to_owned(),
                    source,
                })?;
        let (domain, path) = canonical(domain, path);
        if path.len() > NAME_MAX {
            return Err(ReferenceError::TooLong { length: path.len() });
        }
        Ok(Self {
            domain,
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Splits off the first component if it names a registry: it has a dot, a colon
/// or a capital letter, or is `localhost`.
fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn canonical(domain: Option<&str>, path: &str) -> (String, String) {
    let domain = match domain {
        None | Some(LEGACY_DEFAULT_DOMAIN) => DEFAULT_DOMAIN,
        Some(domain) => domain,
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if valid {
        Ok(())
    } else {
        Err(ReferenceError::Tag {
            tag: tag.to_owned(),
        })
    }
}

/// `component ("/" component)*`
fn is_path(path: &str) -> bool {
    path.split('/').all(is_component)
}

/// Lower-case letters and digits, joined by one `.`, one or two `_`, or any
/// number of `-`.
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_in_words = bytes.first().is_some_and(word) && bytes.last().is_some_and(word);
    ends_in_words
        && bytes
            .split(word)
            .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|b| *b == b'-'))
}

/// A host name or address with an optional port.
fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) => {
                let literal = !address.is_empty()
                    && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return literal && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.name()))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised() {
        // (input, canonical, familiar)
        let at = format!("@sha256:{HEX}");
        let cases = [
            ("busybox", "docker.io/library/busybox", "busybox"),
            (
                "busybox:1.36",
                "docker.io/library/busybox:1.36",
                "busybox:1.36",
            ),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            (
                "index.docker.io/library/busybox",
                "docker.io/library/busybox",
                "busybox",
            ),
            ("me/app", "docker.io/me/app", "me/app"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/app", "localhost/app", "localhost/app"),
            (
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
            ),
            ("ghcr.io/a/b", "ghcr.io/a/b", "ghcr.io/a/b"),
            ("HOST/app", "HOST/app", "HOST/app"),
            ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
            (
                "127.0.0.1/a__b/c--d/e.f_g",
                "127.0.0.1/a__b/c--d/e.f_g",
                "127.0.0.1/a__b/c--d/e.f_g",
            ),
            (
                "app:Tag_1.2-3",
                "docker.io/library/app:Tag_1.2-3",
                "app:Tag_1.2-3",
            ),
            (
                "docker.io:443/app",
                "docker.io:443/app",
                "docker.io:443/app",
            ),
        ];
        for (input, canonical, familiar) in cases {
            for suffix in ["", &at] {
                let reference: Reference = format!("{input}{suffix}").parse().unwrap();
                assert_eq!(
                    reference.to_string(),
                    format!("{canonical}{suffix}"),
                    "{input}"
                );
                assert_eq!(
                    reference.familiar(),
                    format!("{familiar}{suffix}"),
                    "{input}"
                );
                assert_eq!(reference.to_string().parse(), Ok(reference), "{input}");
            }
        }
    }

    #[test]
    fn parts() {
        let reference: Reference = format!("h:1/a/b:t@sha256:{HEX}").parse().unwrap();
        assert_eq!(reference.domain(), "h:1");
        assert_eq!(reference.path(), "a/b");
        assert_eq!(reference.tag(), Some("t"));
        assert_eq!(reference.digest().unwrap().hex(), HEX);
        assert_eq!(reference.manifest_name(), format!("sha256:{HEX}"));
        assert_eq!(reference.with_tag("u").unwrap().to_string(), "h:1/a/b:u");
        assert_eq!(reference.without_tag().to_string(), "h:1/a/b");
        assert!(reference.with_tag("-u").is_err());
    }

    #[test]
    fn the_default_tag_is_only_added_where_none_is() {
        let digested = format!("a@sha256:{HEX}");
        let cases = [
            ("a", "docker.io/library/a:latest"),
            ("a:b", "docker.io/library/a:b"),
            (&digested, &format!("docker.io/library/{digested}")),
        ];
        for (input, expected) in cases {
            let reference: Reference = input.parse().unwrap();
            assert_eq!(reference.with_default_tag().to_string(), expected);
        }
        assert_eq!("a".parse::<Reference>().unwrap().manifest_name(), "latest");
    }

    #[test]
    fn malformed_references_are_named() {
        let format = |input: &str| ReferenceError::Format {
            input: input.to_owned(),
        };
        let tag = |tag: &str| ReferenceError::Tag {
            tag: tag.to_owned(),
        };
        let long_tag = "t".repeat(129);
        let long_name = "a".repeat(256);
        let cases = [
            ("", ReferenceError::Empty),
            (":tag", ReferenceError::Empty),
            (
                "App",
                ReferenceError::Uppercase {
                    name: "App".to_owned(),
                },
            ),
            (
                "me/App:x",
                ReferenceError::Uppercase {
                    name: "me/App".to_owned(),
                },
            ),
            ("a:", tag("")),
            ("a:.b", tag(".b")),
            ("a:b:c", tag("b:c")),
            ("a:b/c", format("a:b/c")),
            (&format!("a:{long_tag}"), tag(&long_tag)),
            ("a//b", format("a//b")),
            ("/a", format("/a")),
            ("a/", format("a/")),
            ("-a", format("-a")),
            ("a-", format("a-")),
            ("a___b", format("a___b")),
            ("a..b", format("a..b")),
            ("a b", format("a b")),
            ("http://h/a", format("http://h/a")),
            ("h:x/a", format("h:x/a")),
            ("-h.io/a", format("-h.io/a")),
            (
                HEX,
                ReferenceError::Identifier {
                    input: HEX.to_owned(),
                },
            ),
            (&long_name, ReferenceError::TooLong { length: 264 }),
        ];
        for (input, expected) in cases {
            assert_eq!(input.parse::<Reference>().unwrap_err(), expected, "{input}");
        }
        assert_eq!(
            "http://h/a".parse::<Reference>().unwrap_err().to_string(),
            "invalid reference format: \"http://h/a\" (a reference has no URL scheme)"
        );
        for bad in ["a@", "a@sha256:12", "a@md5:00"] {
            assert!(
                matches!(bad.parse::<Reference>(), Err(ReferenceError::Digest { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn serde_uses_the_canonical_text() {
        let reference: Reference = serde_json::from_str("\"busybox:1\"").unwrap();
        assert_eq!(
            serde_json::to_string(&reference).unwrap(),
            "\"docker.io/library/busybox:1\""
        );
        assert!(serde_json::from_str::<Reference>("\"A\"").is_err());
    }
}
