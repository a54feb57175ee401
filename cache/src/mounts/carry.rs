//! RUN cache mounts on their way to other machines.
//!
//! A mount is packed as an index of its entries ([`LayerIndex`] in its file format, in zstd) and
//! the contents of its files, one after the other in the order of the index, names of one file
//! once. That stream is cut where its content says so (FastCDC), so that a file that is added or
//! grows changes the chunks around it and no others; each chunk is a blob of its own, in zstd.
//!
//! What is unpacked comes from elsewhere and is not trusted: every path must be clean and below
//! an entry that is a directory, nothing is created through a link, devices and marks of overlays
//! are refused, as are attributes that only the system sets, and every content must have the hash
//! that the index gives it. A mount appears by one rename, whole or not at all.
//!
//! Not carried: devices, sockets, and files that are called as the marks of layers are (`.wh.…`).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cooper_oci::{Descriptor, Digest};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::used_file;
use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::{EntryKind, LayerIndex, Limits};
use crate::lock::{FileLock, Mode};
use crate::path::RelPath;
use crate::store::Store;

/// The least, the usual and the greatest length of a chunk, in bytes.
const CHUNK: (u32, u32, u32) = (512 << 10, 2 << 20, 8 << 20);
/// How chunks are compressed.
const LEVEL: i32 = 3;
/// How many chunks are compressed together.
const BATCH: usize = 8;
/// The longest index that is unpacked, in bytes.
const MAX_INDEX: usize = 1 << 30;

/// The type of a chunk, and of an index.
const CHUNK_TYPE: &str = "application/vnd.cooper.mount.chunk.v1+zstd";
const INDEX_TYPE: &str = "application/vnd.cooper.mount.index.v1+zstd";

/// A packed cache mount: blobs that are in the store, or can be brought there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedMount {
    /// The name of its directory.
    pub name: String,
    /// Its index.
    pub index: MountBlob,
    /// The contents of its files.
    #[serde(default)]
    pub chunks: Vec<MountBlob>,
}

/// A part of a packed mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountBlob {
    /// Digest of the packed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// The number of bytes that they unpack to.
    pub length: u64,
}

impl PackedMount {
    /// Returns the blobs, the index first.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let descriptor = |media_type, blob: &MountBlob| {
            Descriptor::new(media_type, blob.digest.clone(), blob.size)
        };
        let chunks = self.chunks.iter().map(|blob| descriptor(CHUNK_TYPE, blob));
        [descriptor(INDEX_TYPE, &self.index)]
            .into_iter()
            .chain(chunks)
            .collect()
    }
}

/// Why a packed mount is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The index is none.
    #[error("its index cannot be read: {reason}")]
    Index {
        /// Why.
        reason: String,
    },
    /// An entry is none that a cache mount may have.
    #[error("{path}: {reason}")]
    Entry {
        /// Its path as it was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The chunks do not hold what the index says.
    #[error("{path} has other content than its index says")]
    Content {
        /// The file.
        path: String,
    },
    /// It is larger than any sensible one.
    #[error("it would unpack to more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Its name is none of a mount.
    #[error("{name:?} is not the name of a cache mount")]
    Name {
        /// The name.
        name: String,
    },
}

impl Store {
    /// Returns the names of the cache mounts that can be carried.
    pub fn portable_mounts(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.mount_names()?;
        names.retain(|name| is_name(name));
        names.sort();
        Ok(names)
    }

    /// Packs the cache mount `name` into blobs of the store; nothing if there is none, or if a step
    /// uses it, for it could change meanwhile.
    pub fn pack_mount(&self, name: &str) -> Result<Option<PackedMount>, StoreError> {
        let dir = self.mounts_dir().join(name);
        let used = used_file(&self.mounts_dir(), name);
        let alone = FileLock::attempt(&used, Mode::Exclusive)?;
        let Some(_alone) = alone.filter(|lock| lock.is_current(&used) && dir.is_dir()) else {
            return Ok(None);
        };
        let mut index = self.layers().scan_upper(&dir)?;
        index.retain(|entry| is_portable(&entry.kind));
        for entry in index.entries_mut() {
            if let EntryKind::Dir { opaque } = &mut entry.kind {
                *opaque = false;
            }
        }
        let plain = index.encode();
        let packed = pack(&plain)?;
        let index_blob = self.put(&packed, plain.len())?;
        let contents = Contents::of(&index, &dir);
        Ok(Some(PackedMount {
            name: name.to_owned(),
            index: index_blob,
            chunks: self.chunks(contents)?,
        }))
    }

    fn put(&self, packed: &[u8], length: usize) -> Result<MountBlob, StoreError> {
        Ok(MountBlob {
            digest: self.blobs().put(packed)?,
            size: packed.len() as u64,
            length: length as u64,
        })
    }

    /// Cuts a stream into chunks and keeps each as a blob.
    fn chunks(&self, contents: Contents) -> Result<Vec<MountBlob>, StoreError> {
        let (least, usual, most) = CHUNK;
        let broken = |error: io::Error| StoreError::io("read", &self.mounts_dir(), error);
        let mut cutter = fastcdc::v2020::StreamCDC::new(contents, least, usual, most);
        let mut chunks = Vec::new();
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            for chunk in cutter.by_ref().take(BATCH) {
                batch.push(chunk.map_err(|error| broken(error.into()))?.data);
            }
            if batch.is_empty() {
                return Ok(chunks);
            }
            let packed = batch
                .par_iter()
                .map(|data| self.put(&pack(data)?, data.len()));
            chunks.extend(packed.collect::<Result<Vec<_>, StoreError>>()?);
        }
    }

    /// Makes a cache mount of blobs that are in the store; returns whether there was none before.
    pub fn unpack_mount(&self, mount: &PackedMount) -> Result<bool, StoreError> {
        if !is_name(&mount.name) {
            let name = mount.name.clone();
            return Err(MountError::Name { name }.into());
        }
        let dir = self.mounts_dir().join(&mount.name);
        if dir.exists() {
            return Ok(false);
        }
        fs::create_dir_all(self.mounts_dir()).during("create", &self.mounts_dir())?;
        let index = self.index_of(&mount.index)?;
        let staging = self.layers().prepare()?;
        let mut stream = Chunks {
            store: self,
            left: mount.chunks.iter(),
            current: io::Cursor::default(),
        };
        staging.restore(&index, &mut stream)?;
        match fs::rename(staging.fs(), &dir) {
            // Another process was faster; its mount is as good.
            Err(_) if dir.exists() => Ok(false),
            other => other.during("rename", &dir).map(|()| true),
        }
    }

    fn index_of(&self, blob: &MountBlob) -> Result<LayerIndex, StoreError> {
        let unreadable = |reason: String| StoreError::from(MountError::Index { reason });
        if blob.length > MAX_INDEX as u64 {
            return Err(unreadable(format!("it is {} bytes long", blob.length)));
        }
        let packed = self.blobs().read(&blob.digest)?;
        let plain = unpack(&packed, blob.length).map_err(|error| unreadable(error.to_string()))?;
        let index = LayerIndex::decode(&plain).map_err(|error| unreadable(error.to_string()))?;
        check(&index)?;
        Ok(index)
    }
}

/// Whether a name is one that the builder gives: no mirror of a repository, and no way out.
fn is_name(name: &str) -> bool {
    let (hash, number) = name.split_once('.').unwrap_or((name, "0"));
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    hash.len() == 64
        && hash.bytes().all(hexadecimal)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_portable(kind: &EntryKind) -> bool {
    match kind {
        EntryKind::Dir { .. }
        | EntryKind::File { .. }
        | EntryKind::Symlink { .. }
        | EntryKind::Fifo => true,
        EntryKind::CharDev { .. } | EntryKind::BlockDev { .. } | EntryKind::Whiteout => false,
    }
}

/// Refuses an index that no cache mount has.
fn check(index: &LayerIndex) -> Result<(), StoreError> {
    let limit = Limits::default().bytes;
    let mut bytes: u64 = 0;
    for entry in index.entries() {
        let refuse = |reason| {
            Err(StoreError::from(MountError::Entry {
                path: String::from_utf8_lossy(entry.path.as_bytes()).into_owned(),
                reason,
            }))
        };
        let name = entry.path.as_bytes();
        if RelPath::clean(name) != entry.path || name.contains(&0) {
            return refuse("is not a path below the mount");
        }
        if !is_portable(&entry.kind) {
            return refuse("is a device");
        }
        if entry.kind == (EntryKind::Dir { opaque: true }) {
            return refuse("has a mark of overlays");
        }
        if entry.xattrs.iter().any(|(name, _)| !is_xattr(name)) {
            return refuse("has attributes that a cache may not set");
        }
        if entry.mode & !0o7777 != 0 {
            return refuse("has an impossible mode");
        }
        bytes = bytes.saturating_add(entry.size());
    }
    if bytes > limit {
        return Err(MountError::TooLarge { limit }.into());
    }
    let sorted = index.entries().is_sorted_by(|a, b| a.path < b.path);
    let rooted = index
        .entries()
        .first()
        .is_some_and(|entry| entry.path.is_root() && entry.is_dir());
    if !sorted || !rooted {
        let reason = "its entries are out of order".to_owned();
        return Err(MountError::Index { reason }.into());
    }
    Ok(())
}

fn is_xattr(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
}

fn pack(data: &[u8]) -> Result<Vec<u8>, StoreError> {
    zstd::bulk::compress(data, LEVEL)
        .map_err(|error| StoreError::io("pack", Path::new("chunk"), error))
}

/// Unpacks exactly `length` bytes.
fn unpack(packed: &[u8], length: u64) -> io::Result<Vec<u8>> {
    let capacity = usize::try_from(length).map_err(io::Error::other)?;
    let mut plain = Vec::new();
    // Grown as it comes: what a blob says of itself is no reason to reserve memory.
    let decoder = zstd::stream::read::Decoder::new(packed)?;
    decoder
        .take(length.saturating_add(1))
        .read_to_end(&mut plain)?;
    if plain.len() == capacity {
        return Ok(plain);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it does not unpack to {length} bytes"),
    ))
}

/// The contents of a mount's files as one stream.
struct Contents {
    files: std::vec::IntoIter<(PathBuf, u64)>,
    current: Option<(File, PathBuf, u64)>,
}

impl Contents {
    fn of(index: &LayerIndex, dir: &Path) -> Self {
        let files: Vec<_> = unique_files(index)
            .map(|(path, size)| (path.under(dir), size))
            .collect();
        Self {
            files: files.into_iter(),
            current: None,
        }
    }
}

impl Read for Contents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some((file, path, left)) = &mut self.current else {
                match self.files.next() {
                    None => return Ok(0),
                    Some((_, 0)) => continue,
                    Some((path, size)) => {
                        self.current = Some((File::open(&path)?, path, size));
                        continue;
                    }
                }
            };
            let most = usize::try_from(*left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let count = file.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::Error::other(format!(
                    "{} became shorter",
                    path.display()
                )));
            }
            *left -= count as u64;
            if *left == 0 {
                self.current = None;
            }
            return Ok(count);
        }
    }
}

/// Iterates over the regular files, those with several names once.
fn unique_files(index: &LayerIndex) -> impl Iterator<Item = (&RelPath, u64)> {
    let mut seen = std::collections::HashSet::new();
    index.entries().iter().filter_map(move |entry| {
        let fresh = entry.hardlink.is_none_or(|group| seen.insert(group));
        (entry.is_file() && fresh).then_some((&entry.path, entry.size()))
    })
}

/// Chunks of the store as one stream.
struct Chunks<'a> {
    store: &'a Store,
    left: std::slice::Iter<'a, MountBlob>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(blob) = self.left.next() else {
                return Ok(0);
            };
            if blob.length > u64::from(CHUNK.2) {
                return Err(io::Error::other("a chunk is longer than any is"));
            }
            let packed = self
                .store
                .blobs()
                .read(&blob.digest)
                .map_err(io::Error::other)?;
            self.current = io::Cursor::new(unpack(&packed, blob.length)?);
        }
    }
}

impl crate::layer::Staging {
    /// Makes the entries of `index` below `fs/` with the contents that `stream` gives in order.
    fn restore(&self, index: &LayerIndex, stream: &mut dyn Read) -> Result<(), StoreError> {
        let mut write = |file: &mut File, path: &RelPath, (size, content): (u64, ContentHash)| {
            let mut hasher = blake3::Hasher::new();
            let mut left = size;
            let mut buffer = vec![0; 256 << 10];
            while left > 0 {
                let most = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let count = stream
                    .read(&mut buffer[..most])
                    .during("unpack", path.as_path())?;
                if count == 0 {
                    break;
                }
                hasher.update(&buffer[..count]);
                file.write_all(&buffer[..count])
                    .during("write", path.as_path())?;
                left -= count as u64;
            }
            if left > 0 || ContentHash::from_bytes(hasher.finalize().into()) != content {
                let path = path.to_string();
                return Err(StoreError::from(MountError::Content { path }));
            }
            Ok(())
        };
        self.fill_from(index, &mut write)
    }
}
