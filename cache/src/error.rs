//! What can go wrong in the store, with the path or digest it went wrong on.

use std::io;
use std::path::{Path, PathBuf};

use cooper_oci::{DiffId, Digest};
use rustix::io::Errno;
use thiserror::Error;

use crate::checksum::TreeDigest;
use crate::layer::LayerId;
use crate::mounts::MountError;
use crate::path::RelPath;

/// A failure of the store on disk.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "create", "read", "rename"…
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The store's directory cannot be written.
    #[error("the cache directory {} is read-only", path.display())]
    ReadOnly {
        /// The path that refused.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file system or the user's quota is exhausted.
    #[error("no space left for {}", path.display())]
    NoSpace {
        /// The file being written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory holds something this version cannot read.
    #[error("{} has store format {found:?}; this version reads {supported:?}", path.display())]
    Format {
        /// The format file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        supported: String,
    },
    /// A blob is not in the store.
    #[error("blob {digest} is not in the store")]
    MissingBlob {
        /// The blob asked for.
        digest: Digest,
    },
    /// The bytes do not have the promised digest.
    #[error("expected digest {expected}, got {actual}")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// The bytes are more or fewer than promised.
    #[error("expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// What was promised.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// A layer unpacks to another tar than its image says.
    #[error("layer has diff id {actual}, its image promises {expected}")]
    DiffIdMismatch {
        /// What the image config says.
        expected: DiffId,
        /// What the tar hashes to.
        actual: DiffId,
    },
    /// A layer of a shared cache unpacks to other files than the cache says.
    #[error("layer unpacks to {actual}, not to the {expected} that it is called")]
    TreeMismatch {
        /// What it is called.
        expected: TreeDigest,
        /// What it unpacks to.
        actual: TreeDigest,
    },
    /// A cache mount from elsewhere is refused.
    #[error("cannot unpack a cache mount")]
    Mount(#[from] MountError),
    /// A layer is neither unpacked nor known by a blob.
    #[error("layer {id} is not in the store")]
    MissingLayer {
        /// The layer asked for.
        id: LayerId,
    },
    /// A file of the store does not hold what it should.
    #[error("{} is corrupt: {reason}", path.display())]
    Corrupt {
        /// The file or directory.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// A file changed between being hashed and being copied.
    #[error("{} changed while it was being read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Whoever asked for the work no longer wants it.
    #[error("stopped before the end")]
    Canceled,
    /// A name given to the store is malformed.
    #[error("{value:?} is not a valid {what}")]
    Invalid {
        /// What kind of name.
        what: &'static str,
        /// The name.
        value: String,
    },
    /// An owner cannot be represented in this user namespace.
    #[error(
        "{path} belongs to {uid}:{gid}, which this user namespace does not map; add it to /etc/subuid and /etc/subgid or build as root"
    )]
    UnmappedOwner {
        /// The entry.
        path: RelPath,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// An archive was refused.
    #[error("archive refused")]
    Archive(#[from] ArchiveError),
    /// A path could not be resolved.
    #[error("cannot resolve a path")]
    Resolve(#[from] ResolveError),
    /// The details database failed.
    #[error("details database {}: {message}", path.display())]
    Meta {
        /// The database's directory.
        path: PathBuf,
        /// What it says.
        message: String,
    },
    /// The store takes more than it may, and nothing more can be collected.
    #[error(
        "the store takes {used} bytes, more than the limit of {limit}, and all of it is needed"
    )]
    Full {
        /// Bytes that it takes.
        used: u64,
        /// Bytes that it may take.
        limit: u64,
    },
    /// Another process holds a lock that cannot be waited for.
    #[error("the store is in use: a build or a container is running ({} is locked)", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Classifies an I/O error met while doing `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { path, source },
            Some(Errno::ROFS) => Self::ReadOnly { path, source },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Whether the system said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Attaches action and path to an I/O result.
pub(crate) trait IoContext<T> {
    /// Maps the error to a [`StoreError`] naming `action` and `path`.
    fn during(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::io(action, path, error.into()))
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The stream is no tar, or broken.
    #[error("malformed archive{}", at(after.as_ref()))]
    Malformed {
        /// The last entry that could be read.
        after: Option<RelPath>,
        /// The reader's answer.
        source: io::Error,
    },
    /// An entry would be written outside the destination.
    #[error("entry {path:?} leads outside the destination")]
    Escapes {
        /// The name in the archive.
        path: String,
    },
    /// An entry's name has a component that no directory can hold.
    #[error("entry {path:?} has an impossible name")]
    BadName {
        /// The name in the archive.
        path: String,
    },
    /// A hard link names nothing in this archive.
    #[error("hard link {path} points to {target:?}, which this archive does not hold")]
    DanglingLink {
        /// The link.
        path: RelPath,
        /// What it names.
        target: String,
    },
    /// A device node needs a privilege this process lacks.
    #[error("{path} is a device node ({major}:{minor}), which needs root to create")]
    Device {
        /// The entry.
        path: RelPath,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// An entry is of a type that file systems do not have.
    #[error("{path} has the unknown entry type {kind:?}")]
    UnknownType {
        /// The entry.
        path: RelPath,
        /// The tar type flag.
        kind: char,
    },
    /// The archive grows beyond what was allowed.
    #[error("the archive unpacks to more than {limit} bytes, which no honest one of its size does")]
    TooLarge {
        /// The limit that was reached.
        limit: u64,
    },
    /// The archive holds more entries than was allowed.
    #[error("the archive holds more than {limit} entries")]
    TooMany {
        /// The limit that was reached.
        limit: u64,
    },
    /// A directory and another kind of entry collide.
    #[error("{path} is in the way of the archive's entry")]
    InTheWay {
        /// What is there.
        path: RelPath,
    },
}

fn at(after: Option<&RelPath>) -> String {
    after
        .map(|path| format!(" (after {path})"))
        .unwrap_or_default()
}

/// Why a path does not resolve inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// Too many symbolic links were followed.
    #[error("{path} goes through more than {limit} symbolic links")]
    Loop {
        /// The path asked for.
        path: RelPath,
        /// The limit.
        limit: usize,
    },
    /// Nothing is there.
    #[error("{path} does not exist")]
    NotFound {
        /// The path asked for.
        path: RelPath,
    },
    /// A component on the way is not a directory.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The component.
        path: RelPath,
    },
    /// A file's content was never hashed, so that its tree has no digest.
    #[error("{path} was not hashed")]
    Unhashed {
        /// The file.
        path: RelPath,
    },
}
