//! Caches that machines share: what is in one, and the places where one can lie.
//!
//! A shared cache is a list of results by solver key, and the layers that they are made of as
//! packed blobs. It is carried in BuildKit's public form (`document`): a manifest whose
//! configuration is the list. A `layout` keeps the blobs and the manifest: a directory
//! (`layout`), a registry (`registry`) or a service that keeps blobs by name (`shelf`: `bucket`,
//! `actions`, `azure`); an image can have the list in its own configuration (`inline`).
//!
//! This module knows no graph and no solve: which results are offered, and which are asked for, is
//! `build::sharing`'s. Its invariants:
//!
//! - What is read is checked for shape before anything of it is used: indexes in range, chains
//!   without loops, sizes bounded. A list that another builder wrote, or a later version, is told
//!   from damage.
//! - A blob is sent only if the place does not have it, and before the manifest that names it.

mod actions;
mod azure;
mod bucket;
pub(crate) mod document;
pub(crate) mod inline;
pub(crate) mod layout;
pub(crate) mod registry;
mod service;
mod shelf;
mod sign;

use std::io::{self, Read};
use std::path::PathBuf;

use cooper_cache::StoreError;
use cooper_oci::{Descriptor, Digest, DocumentError, Reference};
use thiserror::Error;

use crate::build::FetchError;
use crate::registry::RegistryError;

pub(crate) use document::{Cargo, Contents, Document, LayerNote, Offer};
pub use service::ServiceError;
pub(crate) use shelf::Depot;
pub use sign::Keys;

/// The type of the list, as BuildKit calls it.
pub(crate) const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// The longest list that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Why a shared cache cannot be read or written.
#[derive(Debug, Error)]
pub enum SharedCacheError {
    /// The registry refused, or could not be reached.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The service refused, or could not be reached.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A file of a directory cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The directory has no such cache.
    #[error("{} has no cache {wanted:?}; it has {available}", dir.display())]
    NotThere {
        /// The directory.
        dir: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What it has.
        available: String,
    },
    /// A blob does not have the digest that it is named by.
    #[error("{place} is damaged: {digest} has other content")]
    Corrupt {
        /// Where it was read.
        place: String,
        /// Its name.
        digest: Digest,
    },
    /// A manifest cannot be understood.
    #[error("{place} is no cache")]
    Document {
        /// Where it was read.
        place: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The list cannot be understood.
    #[error("{place} is no cache: {reason}")]
    Malformed {
        /// Where it was read.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was found is neither a cache nor an image with one.
    #[error("{place} is an image without a cache in it")]
    NoCache {
        /// Where it was read.
        place: String,
    },
    /// A layer that is not here cannot be brought in.
    #[error(transparent)]
    Fetch(Box<FetchError>),
    /// A layer could not be packed or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SharedCacheError {
    /// Whether the cache's service is one that this machine has not, such as GitHub's outside of
    /// its jobs.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Service(ServiceError::Absent { .. }))
    }

    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Service(error) => error.hint(),
            Self::NoCache { .. } => Some(
                "build it with --cache-to type=inline, or name a cache that --cache-to \
                 type=registry has written"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// A cache to be written, with everything that it names.
pub(crate) struct Bundle<'a> {
    /// The list.
    pub(crate) config: Vec<u8>,
    /// The blobs that it names, each once.
    pub(crate) blobs: Vec<Descriptor>,
    /// Whether the manifest is one of an image, else an index of blobs.
    pub(crate) image_manifest: bool,
    /// Whether the types are docker's.
    pub(crate) docker: bool,
    /// Gives a blob's bytes from an offset on.
    pub(crate) open: &'a OpenBlob<'a>,
    /// Repositories that have a blob already.
    pub(crate) elsewhere: &'a (dyn Fn(&Descriptor) -> Vec<Reference> + Sync),
    /// Asked often; once it says yes the export ends.
    pub(crate) canceled: &'a (dyn Fn() -> bool + Sync),
}

/// Opens a blob at an offset.
pub(crate) type OpenBlob<'a> = dyn Fn(&Descriptor, u64) -> io::Result<Box<dyn Read>> + Sync + 'a;

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Blobs that were sent.
    pub(crate) blobs: usize,
    /// Blobs that were there.
    pub(crate) present: usize,
}

impl Bundle<'_> {
    /// Returns the manifest: its descriptor, its bytes, and the list's descriptor.
    fn manifest(&self) -> (Descriptor, Vec<u8>, Descriptor) {
        use cooper_oci::{Index, Manifest};
        let list = Descriptor::of(CONFIG_TYPE, &self.config);
        let blobs = self.blobs.clone();
        let (media_type, bytes) = if self.image_manifest && !self.docker {
            let manifest = Manifest::oci(list.clone(), blobs);
            (manifest.media_type().to_owned(), manifest.to_json())
        } else {
            let entries = blobs.into_iter().chain([list.clone()]).collect();
            let index = if self.docker {
                Index::docker(entries)
            } else {
                Index::oci(entries)
            };
            (index.media_type().to_owned(), index.to_json())
        };
        (Descriptor::of(media_type, &bytes), bytes, list)
    }
}
