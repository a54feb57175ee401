//! Package URLs: what a package is called across ecosystems (package-url specification).

use std::fmt;

use cooper_oci::{Platform, Reference};

/// A package URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purl {
    /// Kind of package, such as `deb`.
    pub kind: &'static str,
    /// What the name belongs to, segments separated by `/`; may be empty.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version; may be empty.
    pub version: String,
    /// What else tells it apart, by key; empty values are left out.
    pub qualifiers: Vec<(&'static str, String)>,
}

impl Purl {
    /// Returns the URL of a package without qualifiers.
    pub fn new(kind: &'static str, namespace: &str, name: &str, version: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            qualifiers: Vec::new(),
        }
    }

    /// Returns this URL with one more qualifier.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.qualifiers.push((key, value.into()));
        self
    }

    /// Returns the URL of an image, as BuildKit writes it.
    pub fn image(reference: &Reference, platform: &Platform) -> Self {
        let name = reference.familiar_name();
        let (namespace, name) = name.rsplit_once('/').unwrap_or(("", &name));
        let version = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => cooper_oci::DEFAULT_TAG.to_owned(),
        };
        let mut purl = Self::new("docker", namespace, name, &version);
        if let (Some(_), Some(digest)) = (reference.tag(), reference.digest()) {
            purl = purl.with("digest", digest.to_string());
        }
        purl.with("platform", platform.to_string())
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        let segments = self.namespace.split('/').filter(|part| !part.is_empty());
        for part in segments {
            write!(f, "/{}", Escaped(part, b""))?;
        }
        write!(f, "/{}", Escaped(&self.name, b""))?;
        if !self.version.is_empty() {
            write!(f, "@{}", Escaped(&self.version, b":"))?;
        }
        let mut given: Vec<_> = self.qualifiers.iter().collect();
        given.retain(|(_, value)| !value.is_empty());
        given.sort();
        for (number, (key, value)) in given.into_iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            write!(f, "{mark}{key}={}", Escaped(value, b":"))?;
        }
        Ok(())
    }
}

/// Text with all bytes percent-encoded but letters, digits, `.-_~` and some more.
struct Escaped<'a>(&'a str, &'static [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
            if plain || self.1.contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_written_as_the_specification_has_them() {
        let deb = Purl::new("deb", "debian", "libstdc++6", "12.2.0-14+deb12u1")
            .with("distro", "debian-12")
            .with("arch", "amd64")
            .with("upstream", "");
        assert_eq!(
            deb.to_string(),
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
        );
        let npm = Purl::new("npm", "@types", "node", "1.0.0");
        assert_eq!(npm.to_string(), "pkg:npm/%40types/node@1.0.0");
        let go = Purl::new("golang", "github.com/a", "b", "");
        assert_eq!(go.to_string(), "pkg:golang/github.com/a/b");
    }

    #[test]
    fn images_have_the_urls_that_buildkit_gives_them() {
        let platform = Platform::new("linux", "amd64");
        let of = |name: &str| Purl::image(&name.parse().expect("valid"), &platform).to_string();
        assert_eq!(
            of("alpine:3.18"),
            "pkg:docker/alpine@3.18?platform=linux%2Famd64"
        );
        assert_eq!(
            of("r.example:5000/a/b"),
            "pkg:docker/r.example%3A5000/a/b@latest?platform=linux%2Famd64"
        );
    }
}
