//! Garbage collection and disk usage.
//!
//! Roots are the images and the solver's records. What they need, directly or
//! through aliases, memos and pending blobs, stays; everything else goes. The
//! collector works only while it holds the store's lock alone, so no lease is
//! out; it removes names first, referrers before what they refer to, and then
//! the bytes. A crash on the way leaves garbage, never a dangling hit.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cooper_oci::{Descriptor, DiffId, Digest};

use crate::error::{IoContext, StoreError};
use crate::images::{ImageRecord, read_json};
use crate::layer::{LayerId, discard};
use crate::lock::{ClaimGuard, FileLock, Mode};
use crate::store::{Store, sweep_tmp};

/// What a collection may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Remove solver records too, with the layers that only they keep.
    pub records: bool,
    /// Remove images without a name.
    pub dangling_images: bool,
}

/// What a collection took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Blobs.
    pub blobs: Vec<cooper_oci::Digest>,
    /// Number of solver records.
    pub records: u64,
    /// Images.
    pub images: Vec<cooper_oci::Digest>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether running builds kept the collector from starting.
    pub busy: bool,
}

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

/// Everything that roots need.
#[derive(Default)]
struct Live {
    layers: HashSet<LayerId>,
    blobs: HashSet<Digest>,
}

impl Store {
    /// Removes what no image and no record needs; nothing while a lease is held.
    pub fn gc(&self, options: GcOptions) -> Result<GcReport, StoreError> {
        let lock = FileLock::attempt(&self.shared().layout.dir("lock"), Mode::Exclusive)?;
        let Some(_lock) = lock else {
            return Ok(GcReport {
                busy: true,
                ..GcReport::default()
            });
        };
        let mut report = GcReport::default();
        let images = self.kept_images(options, &mut report)?;
        let live = self.live(&images, options)?;
        self.collect_records(&live, options, &mut report)?;
        self.collect_layers(&live, options, &mut report)?;
        self.collect_blobs(&live, options, &mut report)?;
        if !options.dry_run {
            self.collect_notes()?;
            sweep_tmp(&self.shared().layout.dir("tmp"))?;
        }
        Ok(report)
    }

    /// Returns the images that stay, and removes those that do not.
    fn kept_images(
        &self,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<Vec<ImageRecord>, StoreError> {
        let mut kept = Vec::new();
        for (image, names) in self.images().list()? {
            if !options.dangling_images || !names.is_empty() {
                kept.push(image);
                continue;
            }
            if !options.dry_run {
                self.images().remove(&image.id)?;
            }
            report.images.push(image.id);
        }
        Ok(kept)
    }

    fn live(&self, images: &[ImageRecord], options: GcOptions) -> Result<Live, StoreError> {
        let mut live = Live::default();
        for image in images {
            live.blobs.insert(image.id.clone());
            live.blobs.extend(
                image
                    .manifest
                    .iter()
                    .map(|manifest| manifest.digest.clone()),
            );
            for layer in &image.layers {
                live.layers.insert(layer.layer.clone());
                live.layers.insert(LayerId::Pulled(layer.diff_id.clone()));
                live.blobs
                    .extend(layer.blobs.iter().map(|blob| blob.digest.clone()));
            }
        }
        if !options.records {
            for key in self.records().keys()? {
                live.layers
                    .extend(self.records().needs(&key)?.unwrap_or_default());
            }
        }
        let layers = self.layers();
        for id in live.layers.clone() {
            if let LayerId::Pulled(diff_id) = &id {
                live.layers.extend(layers.alias(diff_id));
                live.blobs
                    .extend(layers.pending_blob(diff_id).map(|blob| blob.digest));
            }
        }
        for (memo, id) in self.memos()? {
            if live.layers.contains(&id)
                && let Some(blob) = read_json::<Descriptor>(&memo)?
            {
                live.blobs.insert(blob.digest);
            }
        }
        Ok(live)
    }

    /// Returns the memo files, each with the layer that it is about.
    pub(crate) fn memos(&self) -> Result<Vec<(PathBuf, LayerId)>, StoreError> {
        let about = |path: PathBuf| {
            let name = path
                .file_name()?
                .to_str()?
                .split_once('.')?
                .0
                .replacen('-', ":", 1);
            Some((path.clone(), name.parse().ok()?))
        };
        Ok(list(&self.shared().layout.dir("memos"))?
            .into_iter()
            .filter_map(about)
            .collect())
    }

    fn collect_records(
        &self,
        live: &Live,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let records = self.records();
        for key in records.keys()? {
            let needs = records.needs(&key)?;
            let known = |id: &LayerId| live.layers.contains(id) && self.layers().has(id);
            if !options.records && needs.is_some_and(|needs| needs.iter().all(known)) {
                continue;
            }
            report.records += 1;
            if !options.dry_run {
                records.remove(&key)?;
            }
        }
        Ok(())
    }

    fn collect_layers(
        &self,
        live: &Live,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let dead = self
            .layers()
            .list()?
            .into_iter()
            .filter(|id| !live.layers.contains(id));
        for id in dead {
            let dir = self.shared().layout.layer(&id);
            report.bytes += usage(&dir, &mut HashSet::new());
            if !options.dry_run {
                discard(self.shared(), &dir);
            }
            report.layers.push(id);
        }
        Ok(())
    }

    fn collect_blobs(
        &self,
        live: &Live,
        options: GcOptions,
        report: &mut GcReport,
    ) -> Result<(), StoreError> {
        let blobs = self.blobs();
        for digest in blobs
            .list()?
            .into_iter()
            .filter(|digest| !live.blobs.contains(digest))
        {
            report.bytes += usage(&blobs.path(&digest), &mut HashSet::new());
            if !options.dry_run {
                blobs.remove(&digest)?;
            }
            report.blobs.push(digest);
        }
        Ok(())
    }

    /// Removes notes about what is gone: aliases, memos, pending blobs, abandoned files.
    fn collect_notes(&self) -> Result<(), StoreError> {
        let layers = self.layers();
        for (path, diff_id) in self.by_diff_id("aliases")? {
            let built = layers.alias(&diff_id);
            if !built.is_some_and(|id| self.shared().layout.layer(&id).exists()) {
                remove(&path)?;
            }
        }
        for (path, diff_id) in self.by_diff_id("pending")? {
            if layers.pending_blob(&diff_id).is_none() {
                remove(&path)?;
            }
        }
        for (path, id) in self.memos()? {
            if !layers.has(&id) {
                remove(&path)?;
            }
        }
        for path in list(&self.shared().layout.dir("contexts"))? {
            if path.extension().is_some() {
                remove(&path)?;
            }
        }
        for path in list(&self.shared().layout.dir("locks"))? {
            drop(ClaimGuard::attempt(path)?);
        }
        Ok(())
    }

    /// Returns the files of `aliases` or `pending` with the diff ids they are named by.
    pub(crate) fn by_diff_id(&self, kind: &str) -> Result<Vec<(PathBuf, DiffId)>, StoreError> {
        let mut found = Vec::new();
        for dir in list(&self.shared().layout.dir(kind))? {
            for path in list(&dir)? {
                let part = |path: &Path| {
                    path.file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                };
                if let (Some(algorithm), Some(hex)) = (part(&dir), part(&path))
                    && let Ok(digest) = format!("{algorithm}:{hex}").parse()
                {
                    found.push((path, DiffId(digest)));
                }
            }
        }
        Ok(found)
    }

    /// Counts the store's disk usage; a file of several names counts once.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let mut seen = HashSet::new();
        let mut total = DiskUsage::default();
        for path in list(self.root())? {
            let bytes = usage(&path, &mut seen);
            match path.file_name().and_then(|name| name.to_str()) {
                Some("layers") => total.layers += bytes,
                Some("blobs") => total.blobs += bytes,
                Some("records" | "meta" | "memos") => total.records += bytes,
                Some("mounts") => total.mounts += bytes,
                _ => total.other += bytes,
            }
        }
        Ok(total)
    }
}

/// Returns the paths in `dir`, sorted.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let items = fs::read_dir(dir).during("list", dir)?;
    let paths: Result<Vec<PathBuf>, _> = items.map(|item| item.map(|item| item.path())).collect();
    let mut paths = paths.during("list", dir)?;
    paths.sort();
    Ok(paths)
}

pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Returns the bytes that `path` and all below it occupy; what vanishes meanwhile counts nothing.
///
/// A store holds hundreds of thousands of files, so the walk uses all cores.
fn usage(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImageLayer;
    use crate::testing::{layer, store};

    #[test]
    fn images_and_records_keep_what_they_need_and_the_rest_goes() {
        let (_dir, store) = store();
        let of_image = layer(&store, "image");
        let of_record = layer(&store, "record");
        let orphan = layer(&store, "orphan");
        let packed = store
            .layers()
            .pack(&of_image, cooper_oci::Compression::Gzip, None)
            .expect("pack");
        let lost = store
            .layers()
            .pack(&orphan, cooper_oci::Compression::Gzip, None)
            .expect("pack");
        let config = store.blobs().put(b"config").expect("put");
        let diff_id = store.layers().diff_id(&of_image).expect("diff id");
        let image = ImageRecord {
            id: config.clone(),
            layers: vec![ImageLayer {
                diff_id,
                layer: of_image.clone(),
                blobs: Vec::new(),
            }],
            manifest: None,
            created: None,
            size: 5,
        };
        store.images().put(&image).expect("put");
        store
            .records()
            .put(&[1; 32], b"v", std::slice::from_ref(&of_record))
            .expect("put");

        let plan = store
            .gc(GcOptions {
                dry_run: true,
                ..GcOptions::default()
            })
            .expect("gc");
        assert!(store.layers().has(&orphan));
        let done = store.gc(GcOptions::default()).expect("gc");
        assert_eq!(plan, done);
        assert_eq!(
            (done.layers, done.blobs, done.records),
            (vec![orphan.clone()], vec![lost.digest], 0)
        );
        assert!(done.bytes > 0 && !store.layers().has(&orphan));
        assert!(store.layers().has(&of_record) && store.blobs().has(&packed.digest));
        assert_eq!(store.memos().expect("memos").len(), 2);

        let lease = store.lease().expect("lease");
        let all = GcOptions {
            records: true,
            dangling_images: true,
            dry_run: false,
        };
        assert!(store.gc(all).expect("gc").busy);
        drop(lease);
        let done = store.gc(all).expect("gc");
        assert_eq!(
            (
                done.layers.len(),
                done.blobs.len(),
                done.records,
                done.images.len()
            ),
            (2, 2, 1, 1)
        );
        assert_eq!(store.memos().expect("memos"), []);
        assert_eq!(store.gc(all).expect("gc"), GcReport::default());
    }

    #[test]
    fn usage_counts_blocks_once() {
        let (_dir, store) = store();
        layer(&store, "x");
        store.blobs().put(&vec![7; 100_000]).expect("put");
        let usage = store.disk_usage().expect("usage");
        assert!(usage.blobs >= 100_000 && usage.blobs < 130_000, "{usage:?}");
        assert!(usage.layers >= 4096, "{usage:?}");
    }
}
