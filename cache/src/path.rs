//! Relative paths as bytes, ordered so that a directory's subtree is contiguous.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A cleaned path below some root: components joined by `/`, no leading or
/// trailing slash, no empty, `.` or `..` component. The root itself is empty.
///
/// Names are bytes, not text. The order compares component by component, so
/// that a directory comes right before everything below it, and everything
/// below it before its next sibling.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelPath(#[serde(with = "bytes")] Box<[u8]>);

mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(value: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[u8]>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Box<[u8]>;
            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("path bytes")
            }
            fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Self::Value, E> {
                Ok(value.into())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

impl RelPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Cleans `path` lexically: slashes are merged, `.` dropped, `..` clamped at the root.
    pub fn clean(path: impl AsRef<[u8]>) -> Self {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.as_ref().split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        Self(parts.join(&b'/').into())
    }

    /// Wraps bytes that are already clean.
    pub(crate) fn from_clean(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as an [`OsStr`].
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Returns the path as a relative [`Path`].
    pub fn as_path(&self) -> &Path {
        Path::new(self.as_os_str())
    }

    /// Returns `root` with this path below it.
    pub fn under(&self, root: &Path) -> PathBuf {
        if self.is_root() {
            return root.to_owned();
        }
        let mut joined = OsString::with_capacity(root.as_os_str().len() + self.0.len() + 1);
        joined.push(root);
        joined.push("/");
        joined.push(self.as_os_str());
        joined.into()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last component; none for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .filter(|name| !name.is_empty())
    }

    /// Returns the containing directory; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// Appends one name, or a clean relative path.
    #[must_use]
    pub fn join(&self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        if self.is_root() {
            return Self(name.into());
        }
        if name.is_empty() {
            return self.clone();
        }
        let mut joined = Vec::with_capacity(self.0.len() + 1 + name.len());
        joined.extend_from_slice(&self.0);
        joined.push(b'/');
        joined.extend_from_slice(name);
        Self(joined.into())
    }

    /// Returns the components in order.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Returns this path relative to `base`, if it lies at or below it.
    pub fn strip_prefix(&self, base: &Self) -> Option<Self> {
        if base.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(base.as_bytes())?;
        match rest.first() {
            None => Some(Self::root()),
            Some(b'/') => Some(Self(rest[1..].into())),
            Some(_) => None,
        }
    }

    /// Whether this path is `base` or below it.
    pub fn starts_with(&self, base: &Self) -> bool {
        below(&self.0, &base.0)
    }
}

/// Whether clean `path` is `base` or below it.
pub(crate) fn below(path: &[u8], base: &[u8]) -> bool {
    base.is_empty() || (path.starts_with(base) && matches!(path.get(base.len()), None | Some(b'/')))
}

/// Compares clean paths component by component.
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // A slash sorts below every byte a name can hold (names hold no NUL).
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    let at = common(a, b);
    match (a.get(at), b.get(at)) {
        (Some(x), Some(y)) => rank(*x).cmp(&rank(*y)),
        _ => a.len().cmp(&b.len()),
    }
}

/// Returns how many bytes at their beginning are the same, looking at eight at once.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (words, _) = a.as_chunks::<8>();
    let (others, _) = b.as_chunks::<8>();
    let differ = |(x, y): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
    let mut at = 0;
    for difference in words.iter().zip(others).map(differ) {
        if difference != 0 {
            return at + difference.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let same = |(x, y): &(&u8, &u8)| x == y;
    at + a[at..].iter().zip(&b[at..]).take_while(same).count()
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl AsRef<[u8]> for RelPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for RelPath {
    fn from(path: &str) -> Self {
        Self::clean(path)
    }
}

impl From<&Path> for RelPath {
    fn from(path: &Path) -> Self {
        Self::clean(path.as_os_str().as_bytes())
    }
}

impl From<OsString> for RelPath {
    fn from(path: OsString) -> Self {
        Self::clean(path.into_vec())
    }
}

/// Writes the path with a leading slash; bytes that are no text become U+FFFD.
impl fmt::Display for RelPath {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "/{}", lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}", lossy(&self.0))
    }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_clamps_at_the_root() {
        for (given, expected) in [
            ("/", ""),
            ("a//b/./c/", "a/b/c"),
            ("../../a.txt", "a.txt"),
            ("/a/../../b", "b"),
            ("..", ""),
        ] {
            assert_eq!(
                RelPath::from(given).as_bytes(),
                expected.as_bytes(),
                "{given}"
            );
        }
    }

    #[test]
    fn a_subtree_is_contiguous_in_the_order() {
        let mut paths: Vec<RelPath> = ["a-b", "a/b", "a", "", "a/b/c", "a/b.c", "b", "a b"]
            .map(RelPath::from)
            .into();
        paths.sort();
        let sorted: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(
            sorted,
            ["/", "/a", "/a/b", "/a/b/c", "/a/b.c", "/a b", "/a-b", "/b"]
        );
    }

    #[test]
    fn prefixes_end_at_component_borders() {
        let path = RelPath::from("usr/lib/x");
        assert_eq!(path.strip_prefix(&"usr".into()), Some("lib/x".into()));
        assert_eq!(path.strip_prefix(&"usr/li".into()), None);
        assert_eq!(path.strip_prefix(&path), Some(RelPath::root()));
        assert!(path.starts_with(&RelPath::root()) && !path.starts_with(&"us".into()));
    }

    #[test]
    fn parents_and_names() {
        let path = RelPath::from("a/b");
        assert_eq!(path.parent(), Some("a".into()));
        assert_eq!(path.file_name(), Some(&b"b"[..]));
        assert_eq!(RelPath::from("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert_eq!(RelPath::root().join("x").join("y"), "x/y".into());
    }
}
