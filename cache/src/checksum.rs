//! Digests of file trees.
//!
//! # Encoding, version 1
//!
//! A [`TreeDigest`] is BLAKE3 in key-derivation mode (context
//! `cooper tree digest 1`) over the entries of a tree in path order. Integers
//! are little-endian; *bytes* are a `u32` length and the bytes. Each entry is
//!
//! ```text
//! path bytes      relative to the digested root, which itself is empty
//! tag u8          0 dir, 1 opaque dir, 2 file, 3 symlink, 4 char device,
//!                 5 block device, 6 fifo, 7 whiteout, 8 further name
//! tag 8:          ordinal u32 of the entry it is another name of; nothing else
//! mode u32, uid u32, gid u32          (not for a whiteout)
//! xattrs          count u32, then name and value bytes, sorted by name
//! body            file: size u64, BLAKE3 [32]; symlink: target bytes;
//!                 devices: major u32, minor u32
//! ```
//!
//! Modification times are no part of it. An ordinal counts the entries of this
//! digest from 0, so that neither names outside the digested subtree nor the
//! layer that holds an entry have an influence.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::layer::{Entry, EntryKind};

/// Names the encoding; a change of the encoding changes this and the pinned test.
const CONTEXT: &str = "cooper tree digest 1";

/// Content of a file tree without modification times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeDigest([u8; 32]);

/// BLAKE3 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Stands for a file whose bytes were not looked at.
    pub const UNHASHED: Self = Self([0; 32]);

    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Wraps a BLAKE3 hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the raw hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TreeDigest {
    /// Wraps a raw digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the raw digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Feeds entries, in path order, into a [`TreeDigest`].
pub(crate) struct TreeHasher {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    ordinal: u32,
    /// (layer, hard link group) → ordinal of the first name met.
    links: HashMap<(usize, u32), u32>,
}

impl TreeHasher {
    pub(crate) fn new() -> Self {
        Self {
            hasher: blake3::Hasher::new_derive_key(CONTEXT),
            buffer: Vec::with_capacity(32 << 10),
            ordinal: 0,
            links: HashMap::new(),
        }
    }

    /// Adds `entry` of layer number `layer` under the name `path`; `opaque` overrides the entry's own.
    pub(crate) fn add(&mut self, path: &[u8], entry: &Entry, layer: usize, opaque: bool) {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        bytes(&mut self.buffer, path);
        let first = entry
            .hardlink
            .map(|group| *self.links.entry((layer, group)).or_insert(ordinal));
        match first {
            Some(first) if first != ordinal => {
                self.buffer.push(8);
                number(&mut self.buffer, first);
            }
            _ => object(&mut self.buffer, entry, opaque),
        }
        if self.buffer.len() >= 30 << 10 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    pub(crate) fn finish(mut self) -> TreeDigest {
        self.hasher.update(&self.buffer);
        TreeDigest(self.hasher.finalize().into())
    }
}

fn object(to: &mut Vec<u8>, entry: &Entry, opaque: bool) {
    to.push(match entry.kind {
        EntryKind::Dir { .. } => u8::from(opaque),
        EntryKind::File { .. } => 2,
        EntryKind::Symlink { .. } => 3,
        EntryKind::CharDev { .. } => 4,
        EntryKind::BlockDev { .. } => 5,
        EntryKind::Fifo => 6,
        EntryKind::Whiteout => return to.push(7),
    });
    number(to, entry.mode);
    number(to, entry.uid);
    number(to, entry.gid);
    number(to, entry.xattrs.len() as u32);
    for (name, value) in &entry.xattrs {
        bytes(to, name);
        bytes(to, value);
    }
    match &entry.kind {
        EntryKind::File { size, content } => {
            to.extend_from_slice(&size.to_le_bytes());
            to.extend_from_slice(content.as_bytes());
        }
        EntryKind::Symlink { target } => bytes(to, target),
        EntryKind::CharDev { major, minor } | EntryKind::BlockDev { major, minor } => {
            number(to, *major);
            number(to, *minor);
        }
        EntryKind::Dir { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
    }
}

fn bytes(to: &mut Vec<u8>, value: &[u8]) {
    number(to, value.len() as u32);
    to.extend_from_slice(value);
}

fn number(to: &mut Vec<u8>, value: u32) {
    to.extend_from_slice(&value.to_le_bytes());
}

fn hex(bytes: &[u8; 32], to: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
}

impl fmt::Display for TreeDigest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, to)
    }
}

impl fmt::Debug for TreeDigest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, to)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, to)
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hexadecimal digits")]
pub struct NotADigest;

impl FromStr for TreeDigest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digits = text.as_bytes();
        if digits.len() != 64 || digits.iter().any(u8::is_ascii_uppercase) {
            return Err(NotADigest);
        }
        let mut raw = [0; 32];
        for (byte, pair) in raw.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).ok_or(NotADigest);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(raw))
    }
}

impl Serialize for TreeDigest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TreeDigest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
