//! The index of a layer: all its entries, sorted, with their content hashes.
//!
//! # File format, version 1
//!
//! ```text
//! "cooper-index 1\n"   16 bytes with a trailing NUL
//! BLAKE3 of the body   32 bytes
//! body                 postcard: Vec<Entry>
//! ```

use std::io;

use crate::checksum::{TreeDigest, TreeHasher};
use crate::layer::Entry;
use crate::path::{self, RelPath};

const MAGIC: &[u8; 16] = b"cooper-index 1\n\0";

/// Why bytes are not an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Another format or version.
    #[error("not an index of version 1")]
    Version,
    /// The checksum differs.
    #[error("checksum mismatch")]
    Checksum,
    /// The body does not decode.
    #[error("undecodable body")]
    Body,
}

/// All entries of one layer in path order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerIndex {
    entries: Vec<Entry>,
}

impl LayerIndex {
    /// Sorts `entries`; of several with one path the last one stays.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        if !entries.is_sorted_by(|a, b| a.path < b.path) {
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            entries.reverse();
            entries.dedup_by(|later, kept| later.path == kept.path);
            entries.reverse();
        }
        Self { entries }
    }

    /// Returns the entries in path order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// Returns an index of entries as they are, in whatever order.
    #[cfg(test)]
    pub(crate) fn of_entries(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// Keeps the entries that `wanted` says.
    pub(crate) fn retain(&mut self, wanted: impl FnMut(&Entry) -> bool) {
        self.entries.retain(wanted);
    }

    /// Returns the entry at `path`.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.position(path.as_bytes()).map(|at| &self.entries[at])
    }

    fn position(&self, path: &[u8]) -> Option<usize> {
        self.entries
            .binary_search_by(|entry| path::compare(entry.path.as_bytes(), path))
            .ok()
    }

    /// Returns how many bytes the regular files hold, hard links counted once.
    pub fn content_size(&self) -> u64 {
        let mut seen = std::collections::HashSet::new();
        let fresh = |entry: &&Entry| entry.hardlink.is_none_or(|group| seen.insert(group));
        self.entries.iter().filter(fresh).map(Entry::size).sum()
    }

    /// Returns the digest of this layer's content: whiteouts and opaque marks count, mtimes do not.
    pub fn digest(&self) -> TreeDigest {
        let mut hasher = TreeHasher::new();
        for entry in &self.entries {
            let opaque = matches!(entry.kind, crate::layer::EntryKind::Dir { opaque: true });
            hasher.add(entry.path.as_bytes(), entry, 0, opaque);
        }
        hasher.finish()
    }

    /// Writes the index in its file format.
    pub fn encode(&self) -> Vec<u8> {
        // A file's entry takes some 50 bytes besides its path.
        let body = Vec::with_capacity(self.entries.len() * 112);
        let body = postcard::to_extend(&self.entries, body).expect("entries always serialise");
        let mut file = Vec::with_capacity(MAGIC.len() + 32 + body.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(blake3::hash(&body).as_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// Reads an index from its file format.
    pub fn decode(file: &[u8]) -> Result<Self, DecodeError> {
        let rest = file.strip_prefix(MAGIC).ok_or(DecodeError::Version)?;
        let (sum, body) = rest.split_at_checked(32).ok_or(DecodeError::Checksum)?;
        if blake3::hash(body).as_bytes() != sum {
            return Err(DecodeError::Checksum);
        }
        let entries = postcard::from_bytes(body).map_err(|_| DecodeError::Body)?;
        Ok(Self { entries })
    }
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
