//! What tells two layers apart, path by path.

use std::fmt;

use crate::layer::{Entry, EntryKind, LayerIndex, Timestamp};
use crate::path::RelPath;

/// A path that is not the same in two layers, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub path: RelPath,
    /// What differs.
    pub reasons: Vec<Reason>,
}

/// What differs of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Only the first layer has it.
    OnlyFirst,
    /// Only the second layer has it.
    OnlySecond,
    /// It is another kind of object.
    Kind,
    /// Its bytes are others.
    Content {
        /// Lengths in the two layers.
        sizes: (u64, u64),
    },
    /// The link leads elsewhere, the device has other numbers, the opaque mark is not in both.
    Target,
    /// Its permissions are others.
    Mode(u32, u32),
    /// Its owner or group is another.
    Owner((u32, u32), (u32, u32)),
    /// Its extended attributes are others.
    Xattrs,
    /// It has other names as well, or lacks some.
    Links,
    /// It was modified at another second.
    Mtime(i64, i64),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyFirst => write!(f, "only the first build made it"),
            Self::OnlySecond => write!(f, "only the second build made it"),
            Self::Kind => write!(f, "another kind of file"),
            Self::Content { sizes: (a, b) } if a == b => write!(f, "content"),
            Self::Content { sizes: (a, b) } => write!(f, "content ({a} and {b} bytes)"),
            Self::Target => write!(f, "target"),
            Self::Mode(a, b) => write!(f, "mode ({a:o} and {b:o})"),
            Self::Owner(a, b) => write!(f, "owner ({}:{} and {}:{})", a.0, a.1, b.0, b.1),
            Self::Xattrs => write!(f, "extended attributes"),
            Self::Links => write!(f, "hard links"),
            Self::Mtime(a, b) => write!(f, "mtime ({a} and {b})"),
        }
    }
}

impl LayerIndex {
    /// Returns what differs between two layers, in path order; `time` says what a time of
    /// modification counts as.
    pub fn differences(&self, other: &Self, time: impl Fn(Timestamp) -> i64) -> Vec<Difference> {
        let (mut ours, mut theirs) = (
            self.entries().iter().peekable(),
            other.entries().iter().peekable(),
        );
        let mut found = Vec::new();
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return found,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.path.cmp(&b.path),
            };
            let (a, b) = (
                order.is_le().then(|| ours.next()).flatten(),
                order.is_ge().then(|| theirs.next()).flatten(),
            );
            let reasons = match (a, b) {
                (Some(a), Some(b)) => reasons(a, b, &time),
                (Some(_), None) => vec![Reason::OnlyFirst],
                _ => vec![Reason::OnlySecond],
            };
            if let Some(entry) = a.or(b)
                && !reasons.is_empty()
            {
                let path = entry.path.clone();
                found.push(Difference { path, reasons });
            }
        }
    }
}

fn reasons(a: &Entry, b: &Entry, time: &impl Fn(Timestamp) -> i64) -> Vec<Reason> {
    let mut reasons = Vec::new();
    match (&a.kind, &b.kind) {
        (EntryKind::File { .. }, EntryKind::File { .. }) if a.kind != b.kind => {
            let sizes = (a.size(), b.size());
            reasons.push(Reason::Content { sizes });
        }
        (one, two) if std::mem::discriminant(one) != std::mem::discriminant(two) => {
            return vec![Reason::Kind];
        }
        (one, two) if one != two => reasons.push(Reason::Target),
        _ => {}
    }
    if a.mode != b.mode {
        reasons.push(Reason::Mode(a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        reasons.push(Reason::Owner((a.uid, a.gid), (b.uid, b.gid)));
    }
    if a.xattrs != b.xattrs {
        reasons.push(Reason::Xattrs);
    }
    if a.hardlink.is_some() != b.hardlink.is_some() {
        reasons.push(Reason::Links);
    }
    let (one, two) = (time(a.mtime), time(b.mtime));
    if one != two {
        reasons.push(Reason::Mtime(one, two));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContentHash;

    #[test]
    fn each_difference_is_named_with_its_path() {
        let file = |path: &str, data: &[u8]| {
            Entry::file(path.into(), 0o644, data.len() as u64, ContentHash::of(data))
        };
        let mut first = vec![
            file("a", b"1"),
            Entry::symlink("b".into(), b"x"[..].to_vec()),
            file("c", b""),
            file("d", b""),
            file("e", b""),
            file("f", b""),
        ];
        let mut second = vec![
            file("a", b"22"),
            Entry::symlink("b".into(), b"y"[..].to_vec()),
            Entry::dir("c".into(), 0o755),
            file("e", b""),
            file("f", b""),
            file("g", b""),
        ];
        second[3].mode = 0o600;
        second[3].uid = 5;
        second[3].xattrs = vec![(b"user.a"[..].into(), b"b"[..].into())];
        second[3].hardlink = Some(1);
        first[5].mtime.secs = 3;
        second[4].mtime.secs = 4;
        let (first, second) = (LayerIndex::new(first), LayerIndex::new(second));
        let told = |time: fn(Timestamp) -> i64| {
            let all = first.differences(&second, time).into_iter();
            all.map(|one| {
                let reasons: Vec<String> = one.reasons.iter().map(Reason::to_string).collect();
                format!("{}: {}", one.path, reasons.join(", "))
            })
            .collect::<Vec<_>>()
        };
        let mut expected = vec![
            "/a: content (1 and 2 bytes)",
            "/b: target",
            "/c: another kind of file",
            "/d: only the first build made it",
            "/e: mode (644 and 600), owner (0:0 and 5:0), extended attributes, hard links",
            "/f: mtime (3 and 4)",
            "/g: only the second build made it",
        ];
        assert_eq!(told(|time| time.secs), expected);
        expected.remove(5);
        assert_eq!(told(|_| 0), expected);
        assert!(first.differences(&first, |time| time.secs).is_empty());
    }
}
