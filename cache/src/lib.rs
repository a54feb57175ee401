//! Content and snapshots on disk.
//!
//! A [`Store`] is one directory that any number of processes use at once. It
//! holds blobs by digest ([`Blobs`]), layers as directories with an index
//! ([`Layers`]), solver records by key ([`Records`]), images and their names
//! ([`Images`]). A [`MergedTree`] is a stack of layers seen as one tree without
//! mounting it; a [`ContextScan`] gives the same view of a user's directory.
//!
//! What it does not do: it mounts nothing, runs nothing and talks to no
//! registry; which key means what is the solver's and the builder's business.
//!
//! Invariants: what has a name is complete and does not change. Data is
//! renamed into place before a record of it is written, so that a crash at any
//! moment leaves garbage in `tmp/` and never a dangling hit. The tree on disk,
//! the locks and the collector's roots are described in `docs/adr/0003`.
//!
//! ```
//! use cooper_cache::{Store, StoreOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let store = Store::open(dir.path(), StoreOptions::default())?;
//! let staging = store.layers().prepare()?;
//! std::fs::write(staging.fs().join("hello"), "world")?;
//! let layer = store.layers().commit(staging)?;
//! let tree = store.layers().tree(&[layer.id().clone()])?;
//! assert_eq!(tree.read(&"hello".into())?, b"world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checksum;
mod content;
mod context;
mod driver;
mod error;
mod fsck;
mod gc;
mod holds;
mod images;
mod layer;
mod layout;
mod lease;
mod lock;
mod meta;
mod mounts;
mod notes;
mod origins;
mod path;
mod records;
mod store;
#[cfg(test)]
mod testing;
mod tree;
mod uses;

pub use checksum::{ContentHash, NotADigest, TreeDigest};
pub use content::{BlobWriter, Blobs};
pub use context::{ContextFilter, ContextScan, ContextTree, Verdict};
pub use driver::{Driver, UnknownDriver};
pub use error::{ArchiveError, ResolveError, StoreError};
pub use fsck::{FsckReport, Problem};
pub use gc::{DiskUsage, Evict, GcOptions, GcReport, Policy, UsageEntry, UsageKind};
pub use images::{ImageLayer, ImageRecord, Images, Lookup, PlatformImage};
pub use layer::{
    Confirm, CopyItem, DecodeError, Decompressed, Difference, Entry, EntryKind, FileBytes,
    FileReader, FileTimes, Files, Form, Found, Layer, LayerId, LayerIndex, Layers, Limits,
    MadeLayers, NeedleGroup, Needles, NotAHeader, Packed, Reason, Repacking, Snapshot, Source,
    Staging, TAR_SIZE, TOC_DIGEST, TarMember, TarReader, Timestamp, Unpack, Unpacked, Xattr,
    detect_archive, open_archive, pack_archive, unpack_archive,
};
pub use lease::Lease;
pub use lock::ClaimGuard;
pub use mounts::{MountBlob, MountError, MountHold, PackedMount};
pub use notes::Notes;
pub use origins::Origins;
pub use path::RelPath;
pub use records::Records;
pub use store::{Store, StoreOptions};
pub use tree::{MergedTree, Node, ResolvedPath};
