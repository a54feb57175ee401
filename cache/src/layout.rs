//! The directory tree of a store and its format version.
//!
//! ```text
//! ROOT/
//!   format                     one line: "cooper-store 1 trusted" or "… user"
//!   lock                       leases: shared flock; gc, if no build runs: exclusive flock
//!   leases/NUMBER              a lease while its owner has it flocked; its mtime says since when
//!   collector                  exclusive flock of the one collector or checker
//!   driver                     boot id and how layers are mounted under it
//!   counted                    free bytes and time (JSON) when the store was counted last
//!   holds/NAME                 layers (JSON) that a container needs
//!   hold-lists/HEX             a further link to each different one of these
//!   uses                       keys of records, one for each use since the last collection
//!   gate                       shared flock to mark something as used, exclusive to take it
//!   blobs/sha256/HEX           verified bytes
//!   layers/blake3/HEX/         a built layer
//!   layers/sha256/HEX/         a pulled layer
//!     fs/                      overlayfs upper form, immutable; or, until it is mounted:
//!     packs/NUMBER             the bytes of its files; layers share packs by hard links
//!     places                   where in them each file is, see layer::files
//!     index                    see layer::index
//!     marks                    how far its tar was digested where, see layer::resume
//!     stamp                    boot id under which it was written or verified
//!   origins/sha256/HEX         repositories (JSON) that are known to have a blob
//!   pending/sha256/HEX         descriptor (JSON) of the blob of a layer not unpacked
//!   aliases/sha256/HEX         diff id of a built layer → its layer id
//!   memos/ALGO-HEX.diff_id     digest of a built layer's tar, once it was made (JSON)
//!   memos/ALGO-HEX.bytes       what a layer's files take on disk, once they were counted
//!   memos/ALGO-HEX.gzip-5      descriptor of a packed blob (JSON), by compression and level
//!   memos/ALGO-HEX.gzip-5-until-SECONDS  diff id and blob (JSON) of the layer with other file
//!                              times, none later than that; `at-`: all of them that
//!   memos/ALGO-HEX.squash-HEX  layer that this and others below it were squashed to (JSON)
//!   memos/ALGO-HEX.clean       marks of what the layer does not hold (JSON, see layer::scan)
//!   mark-key                   what those marks are keyed with; mode 0600
//!   records/HH/HEX             solver records, by key
//!   images/sha256/HEX          image records (JSON), by config digest
//!   refs/HEX                   {reference, image} (JSON), by hash of the reference
//!   builds/HEX                 what builds of a Dockerfile note about themselves
//!   contexts/HEX               stat indices of build contexts
//!   mounts/NAME/               a RUN cache mount; NAME.used, NAME.lock: flocked by its users
//!   known_hosts                keys of the ssh servers that git has met
//!   locks/HEX                  claims: flock
//!   meta/, meta.lock           details (sled), under an exclusive flock
//!   tmp/OWNER/, tmp/OWNER.lock unfinished work; the lock file is flocked by its owner
//! ```
//!
//! Everything but `fs/`, `mounts/` and `known_hosts` is written under `tmp/` and renamed.

use std::fs;
use std::path::{Path, PathBuf};

use cooper_oci::{DiffId, Digest};

use crate::error::{IoContext, StoreError};
use crate::layer::LayerId;

/// Paths inside a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

const DIRS: &[&str] = &[
    "blobs/sha256",
    "blobs/sha512",
    "layers/blake3",
    "layers/sha256",
    "layers/sha512",
    "pending/sha256",
    "pending/sha512",
    "aliases/sha256",
    "memos",
    "records",
    "images/sha256",
    "refs",
    "contexts",
    "mounts",
    "locks",
    "tmp",
];

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the tree, or checks that it is one of this format.
    pub(crate) fn ensure(&self, userxattr: bool) -> Result<(), StoreError> {
        let format = self.root.join("format");
        let flavour = if userxattr { "user" } else { "trusted" };
        let supported = format!("cooper-store 1 {flavour}");
        match fs::read_to_string(&format) {
            Ok(found) if found.trim_end() == supported => return Ok(()),
            // What a crash leaves of a tree that was just being made.
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                let found = found.trim_end().to_owned();
                return Err(StoreError::Format {
                    path: format,
                    found,
                    supported,
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("read", &format, error)),
        }
        for dir in DIRS {
            let dir = self.root.join(dir);
            fs::create_dir_all(&dir).map_err(|error| refused("create", &dir, error))?;
        }
        // The format file comes last: a tree without one is simply made again.
        let temporary = self.root.join(format!("format.{}", std::process::id()));
        fs::write(&temporary, format!("{supported}\n")).during("write", &temporary)?;
        fs::rename(&temporary, &format).during("rename", &temporary)
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.by_digest("blobs", digest)
    }

    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        let (algorithm, hex) = id.parts();
        let mut path = self.root.join("layers");
        path.push(algorithm);
        path.push(hex);
        path
    }

    pub(crate) fn pending(&self, id: &DiffId) -> PathBuf {
        self.by_digest("pending", &id.0)
    }

    pub(crate) fn alias(&self, id: &DiffId) -> PathBuf {
        self.by_digest("aliases", &id.0)
    }

    pub(crate) fn origins(&self, digest: &Digest) -> PathBuf {
        self.by_digest("origins", digest)
    }

    pub(crate) fn image(&self, id: &Digest) -> PathBuf {
        self.by_digest("images", id)
    }

    fn by_digest(&self, kind: &str, digest: &Digest) -> PathBuf {
        let mut path = self.root.join(kind);
        path.push(digest.algorithm().as_str());
        path.push(digest.hex());
        path
    }
}

/// Classifies an error on the store's own tree: a refusal there means the cache is read-only.
pub(crate) fn refused(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => StoreError::ReadOnly {
            path: path.to_owned(),
            source,
        },
        _ => StoreError::io(action, path, source),
    }
}
