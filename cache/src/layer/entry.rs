//! One file system object of a layer.

use serde::{Deserialize, Serialize};

use crate::checksum::ContentHash;
use crate::path::RelPath;

/// A point in time as file systems keep it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct Timestamp {
    /// Seconds since the epoch, rounded down.
    pub secs: i64,
    /// Nanoseconds, less than 10⁹.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory. An opaque one hides what lower layers have in it.
    Dir {
        /// Whether lower layers' content is hidden.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// BLAKE3 of the bytes; [`ContentHash::UNHASHED`] in a context not hashed yet.
        content: ContentHash,
    },
    /// A symbolic link.
    Symlink {
        /// The target, as written.
        target: Box<[u8]>,
    },
    /// A character device.
    CharDev {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDev {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The mark that lower layers' entry of this name is deleted.
    Whiteout,
}

/// An extended attribute: name and value.
pub type Xattr = (Box<[u8]>, Box<[u8]>);

/// One object of a layer, with everything but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is, below the layer's root.
    pub path: RelPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification. Not part of any digest.
    pub mtime: Timestamp,
    /// `security.capability` and `user.*`, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Entries of one layer with the same number are names of one object.
    pub hardlink: Option<u32>,
}

impl Entry {
    /// Returns a directory owned by root.
    pub fn dir(path: RelPath, mode: u32) -> Self {
        Self::new(path, EntryKind::Dir { opaque: false }, mode)
    }

    /// Returns a regular file owned by root.
    pub fn file(path: RelPath, mode: u32, size: u64, content: ContentHash) -> Self {
        Self::new(path, EntryKind::File { size, content }, mode)
    }

    /// Returns a symbolic link owned by root.
    pub fn symlink(path: RelPath, target: impl Into<Box<[u8]>>) -> Self {
        Self::new(
            path,
            EntryKind::Symlink {
                target: target.into(),
            },
            0o777,
        )
    }

    /// Returns a mark that `path` is deleted.
    pub fn whiteout(path: RelPath) -> Self {
        Self::new(path, EntryKind::Whiteout, 0)
    }

    /// Returns an entry owned by root, modified at the epoch, without attributes.
    pub fn new(path: RelPath, kind: EntryKind, mode: u32) -> Self {
        Self {
            path,
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Vec::new(),
            hardlink: None,
        }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Dir { .. })
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. })
    }

    /// Whether this marks a deletion.
    pub fn is_whiteout(&self) -> bool {
        matches!(self.kind, EntryKind::Whiteout)
    }

    /// Returns the length of a regular file; 0 for everything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        }
    }
}
