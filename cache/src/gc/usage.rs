//! What the store takes on disk, in real blocks, shared data counted once.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cooper_oci::Digest;

use super::{list, needs::Needs};
use crate::error::StoreError;
use crate::layer::LayerId;
use crate::lease::{Mark, used_at};
use crate::mounts::used_file;
use crate::store::Store;

/// Bytes on disk, in real blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Unpacked layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Solver records and details.
    pub records: u64,
    /// RUN cache mounts.
    pub mounts: u64,
    /// Everything else.
    pub other: u64,
}

/// What an entry of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageKind {
    /// A layer, with the blobs it is packed in.
    Layer,
    /// A RUN cache mount.
    CacheMount,
}

/// One entry of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEntry {
    /// Layer id, or name of a cache mount.
    pub id: String,
    /// What it is.
    pub kind: UsageKind,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether an image or a container needs it.
    pub in_use: bool,
    /// Whether several results need it.
    pub shared: bool,
    /// When it was used last, in seconds since the epoch.
    pub last_used: i64,
    /// How often results that need it were used.
    pub uses: u64,
    /// Keys of the records of results that need it.
    pub records: Vec<[u8; 32]>,
}

impl Store {
    /// Counts the store's disk usage; a file of several names counts once.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let mut seen = HashSet::new();
        let mut total = DiskUsage::default();
        for path in list(self.root())? {
            let bytes = blocks(&path, &mut seen);
            match path.file_name().and_then(|name| name.to_str()) {
                Some("layers") => total.layers += bytes,
                Some("blobs") => total.blobs += bytes,
                Some("records" | "meta" | "memos" | "uses") => total.records += bytes,
                Some("mounts") => total.mounts += bytes,
                _ => total.other += bytes,
            }
        }
        Ok(total)
    }

    /// Returns the layers and cache mounts of the store, each with what it takes.
    pub fn usage_entries(&self) -> Result<Vec<UsageEntry>, StoreError> {
        let images: Vec<_> = self.images().list()?;
        let images: Vec<_> = images.into_iter().map(|(image, _)| image).collect();
        let needs = Needs::gather(self, &images)?;
        let now = u64::try_from(crate::lease::Moment::now().seconds()).unwrap_or(0);
        let counts = self.take_uses(now)?;
        let mut by_layer: HashMap<&LayerId, Vec<[u8; 32]>> = HashMap::new();
        for record in &needs.records {
            for id in &record.layers {
                by_layer.entry(id).or_default().push(record.key);
            }
        }
        let mut entries = Vec::new();
        for id in self.layers().list()? {
            let records = by_layer.remove(&id).unwrap_or_default();
            let used = |key: &[u8; 32]| counts.get(key.as_slice()).map_or(0, |uses| uses.count);
            let dir = self.shared().layout.layer(&id);
            entries.push(UsageEntry {
                kind: UsageKind::Layer,
                bytes: self.layer_bytes(&id) + needs.blob_bytes(self, &id),
                in_use: needs.rooted.contains(&id),
                shared: records.len() + needs.images_of(&id) > 1,
                last_used: used_at(&dir.join("stamp"), Mark::Modified)
                    .map_or(0, crate::lease::Moment::seconds),
                uses: records.iter().map(used).sum(),
                records,
                id: id.to_string(),
            });
        }
        for name in self.mount_names()? {
            entries.push(self.mount_entry(name));
        }
        Ok(entries)
    }

    fn mount_entry(&self, name: String) -> UsageEntry {
        let mounts = self.mounts_dir();
        UsageEntry {
            kind: UsageKind::CacheMount,
            bytes: blocks(&mounts.join(&name), &mut HashSet::new()),
            in_use: false,
            shared: false,
            last_used: used_at(&used_file(&mounts, &name), Mark::Modified)
                .map_or(0, crate::lease::Moment::seconds),
            uses: 0,
            records: Vec::new(),
            id: name,
        }
    }

    /// Returns the bytes that a layer takes: its files, and its share of the packs that it has in
    /// common with others, so that the sum over all layers is what they take together.
    pub(super) fn layer_bytes(&self, id: &LayerId) -> u64 {
        let dir = self.shared().layout.layer(id);
        let Ok(packs) = fs::read_dir(dir.join("packs")) else {
            return self.own_bytes(id);
        };
        let listed = fs::read_dir(dir).into_iter().flatten().chain(packs);
        let files = listed.filter_map(|file| file.ok()?.metadata().ok());
        files
            .map(|meta| meta.blocks() * 512 / meta.nlink().max(1))
            .sum()
    }

    /// Returns the bytes that a layer's files take, counted once for good: they never change.
    fn own_bytes(&self, id: &LayerId) -> u64 {
        let memo = self.layers().memo(id, "bytes");
        let known = fs::read_to_string(&memo).ok();
        if let Some(bytes) = known.and_then(|text| text.parse().ok()) {
            return bytes;
        }
        let bytes = blocks(&self.shared().layout.layer(id), &mut HashSet::new());
        let _ = self
            .shared()
            .write_atomic(&memo, bytes.to_string().as_bytes());
        bytes
    }

    /// Returns the bytes that a blob takes.
    pub(super) fn blob_bytes(&self, digest: &Digest) -> u64 {
        let path = self.blobs().path(digest);
        fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
    }
}

/// Returns the bytes that `path` and all below it occupy; what vanishes meanwhile counts nothing.
///
/// A store holds hundreds of thousands of files, so the walk uses all cores.
pub(super) fn blocks(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let (sender, receiver) = std::sync::mpsc::channel();
    ignore::WalkBuilder::new(path)
        .standard_filters(false)
        .threads(rayon::current_num_threads())
        .build_parallel()
        .run(|| {
            let sender = sender.clone();
            Box::new(move |item| {
                if let Ok(meta) = item.and_then(|item| item.metadata()) {
                    // The receiver outlives the walk.
                    let _ = sender.send(((meta.dev(), meta.ino()), meta.blocks()));
                }
                ignore::WalkState::Continue
            })
        });
    drop(sender);
    receiver
        .into_iter()
        .filter(|(inode, _)| seen.insert(*inode))
        .map(|(_, blocks)| blocks * 512)
        .sum()
}
