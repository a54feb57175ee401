//! Layers: an index of everything in them, and the bytes of their files.
//!
//! A layer's content is immutable once it has its name. A built one is named by the
//! content of its index ([`LayerId::Built`]), a pulled one by its tar
//! ([`LayerId::Pulled`]). Its bytes are in a directory in overlayfs upper form, which
//! serves as an overlay lower as it is, or in packs ([`Files`]): what only copies or
//! outputs read needs no files, and [`Layers::ensure_dir`] creates them when something
//! mounts the layer. A pulled layer starts as a blob with a note of it in `pending/`; looking into
//! it unpacks the bytes of its files into one pack, and mounting it creates them.
//!
//! Invariants: a layer's directory appears by one rename with `fs/` or `places` and all
//! packs, `index` and `stamp` complete; whoever finds it may use it. `fs/` appears by
//! one rename too, before the packs go. A directory committed
//! under an earlier boot may have lost data that was never synced, so it is
//! verified once before its first use under a later one.

mod apply;
mod archive;
mod chunked;
mod compare;
mod copy;
mod digest;
mod disk;
mod entry;
mod files;
mod form;
mod id;
mod index;
mod lowers;
mod pack;
mod packed;
mod pool;
mod recent;
mod resume;
mod scan;
mod sieve;
mod snapshot;
mod squash;
mod staging;
mod tar_read;
mod tar_write;
mod unpack;
mod verify;
mod walk;
mod wanted;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cooper_oci::{Compression, Descriptor, DiffId};
use rayon::prelude::*;

use crate::content::Blobs;
use crate::error::{IoContext, StoreError};
use crate::images::read_json;
use crate::lease::Mark;
use crate::lock::ClaimGuard;
use crate::path::RelPath;
use crate::store::Shared;
use crate::tree::MergedTree;

pub use apply::Limits;
use apply::Shape;
pub use archive::{
    Decompressed, Unpack, Unpacked, detect_archive, open_archive, pack_archive, unpack_archive,
};
pub use chunked::{TAR_SIZE, TOC_DIGEST};
pub use compare::{Difference, Reason};
pub(crate) use copy::write_nodes as write_files;
pub use copy::{CopyItem, Source};
pub use entry::{Entry, EntryKind, Timestamp, Xattr};
pub use files::{FileBytes, FileReader, Files, Packed};
pub use id::LayerId;
pub use index::{DecodeError, LayerIndex};
pub use pack::{FileTimes, Form, Repacking};
use recent::FileIdentity;
pub(crate) use recent::RecentIndices;
pub use scan::{Confirm, Found, NeedleGroup, Needles};
pub use snapshot::Snapshot;
pub use staging::Staging;
pub use tar_read::{NotAHeader, TarMember, TarReader};
pub(crate) use tar_write::{Marks, write_end as write_tar_end, write_nodes as write_tar_nodes};
pub(crate) use verify::{damage, discard};
pub(crate) use walk::{hash_open_while, kind_of};
pub(crate) use wanted::Wanted;
use wanted::WhileWanted;

/// A layer whose content is there, as files or in packs.
#[derive(Debug, Clone)]
pub struct Layer {
    id: LayerId,
    dir: PathBuf,
    index: Arc<OnceLock<Arc<LayerIndex>>>,
    recent: Arc<RecentIndices>,
}

impl Layer {
    fn new(id: LayerId, dir: PathBuf, recent: &Arc<RecentIndices>) -> Self {
        Self {
            id,
            dir,
            index: Arc::default(),
            recent: recent.clone(),
        }
    }

    /// Returns the layer's name.
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// Returns the directory that serves as an overlay lower; [`Layers::ensure_dir`] makes it.
    pub fn fs(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Returns where the bytes of its files are.
    pub fn files(&self) -> Result<Files, StoreError> {
        let packed = Packed::load(&self.dir)?;
        Ok(packed.map_or_else(
            || Files::Dir(self.fs()),
            |packed| Files::Packed(Arc::new(packed)),
        ))
    }

    /// Returns the index, read at the first call.
    pub fn index(&self) -> Result<Arc<LayerIndex>, StoreError> {
        if let Some(index) = self.index.get() {
            return Ok(index.clone());
        }
        let file = FileIdentity::of(&self.dir.join("index")).ok();
        let known = file.and_then(|file| self.recent.get(file));
        let index = match known {
            Some(known) => known,
            None => Arc::new(read_index(&self.dir)?),
        };
        if let Some(file) = file {
            self.recent.keep(file, index.clone());
        }
        Ok(self.index.get_or_init(|| index).clone())
    }

    /// Returns how many bytes the layer's files hold.
    pub fn size(&self) -> Result<u64, StoreError> {
        Ok(self.index()?.content_size())
    }
}

fn read_index(dir: &Path) -> Result<LayerIndex, StoreError> {
    let path = dir.join("index");
    let file = fs::read(&path).during("read", &path)?;
    LayerIndex::decode(&file).map_err(|error| StoreError::Corrupt {
        path,
        reason: error.to_string(),
    })
}

/// The layers of a store.
#[derive(Debug, Clone)]
pub struct Layers {
    shared: Arc<Shared>,
    /// What everything that is packed or digested is searched for.
    watched: Option<Arc<Needles>>,
    /// Receives the index of every layer that is committed.
    made: Option<Arc<Mutex<MadeLayers>>>,
    /// Ends what is being packed or digested.
    wanted: Option<Wanted>,
}

/// Layers as they were made, with the times of their files; an equal one may have been there.
pub type MadeLayers = HashMap<LayerId, Arc<LayerIndex>>;

impl Layers {
    pub(crate) fn new(shared: Arc<Shared>, wanted: Option<Wanted>) -> Self {
        Self {
            shared,
            watched: None,
            made: None,
            wanted,
        }
    }

    /// Returns these layers; what is packed or digested through them ends soon after `wanted` says
    /// no, with [`StoreError::Canceled`].
    #[must_use]
    pub fn while_wanted(&self, wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Some(Wanted::new(wanted)),
            ..self.clone()
        }
    }

    /// Does something that writes a layer's tar, for as long as that is wanted.
    fn wanted<T>(&self, make: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &self.wanted {
            Some(wanted) => wanted.or_canceled(make()),
            None => make(),
        }
    }

    /// Gives `source` a stream to write to that ends when nobody wants it any more.
    fn streamed(
        &self,
        to: &mut dyn Write,
        source: impl FnOnce(&mut dyn Write) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match &self.wanted {
            Some(wanted) => source(&mut WhileWanted { to, wanted }),
            None => source(to),
        }
    }

    /// Returns these layers; they keep the indices of what is committed through them.
    #[must_use]
    pub fn recording(&self) -> Self {
        Self {
            made: Some(Arc::default()),
            ..self.clone()
        }
    }

    /// Takes the indices of what was committed since the last call, or since
    /// [`recording`](Self::recording).
    pub fn take_made(&self) -> MadeLayers {
        let made = self.made.as_ref();
        made.map(|made| std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }

    /// Returns the blobs of the same store.
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.shared.clone())
    }

    /// Makes an empty layer to be filled: `fs/` as overlay upper, `work/` as its workdir.
    pub fn prepare(&self) -> Result<Staging, StoreError> {
        Staging::create(&self.shared)
    }

    /// Turns what an overlay left in `staging` into a layer, hashing its files.
    ///
    /// If a layer of the same content is there already, that one is returned.
    pub fn commit(&self, staging: Staging) -> Result<Layer, StoreError> {
        let upper = walk::scan_upper(&staging, self.shared.options.userxattr)?;
        self.publish(staging, upper.index)
    }

    /// Does the same without the files that were copied up from `base` and are as they were.
    ///
    /// `base`, the tree of the layers below, is asked for only if something was copied up.
    pub fn commit_over<E: From<StoreError>>(
        &self,
        staging: Staging,
        base: impl FnOnce() -> Result<MergedTree, E>,
    ) -> Result<Layer, E> {
        let upper = walk::scan_upper(&staging, self.shared.options.userxattr)?;
        if upper.copied_up.is_empty() {
            return Ok(self.publish(staging, upper.index)?);
        }
        let index = walk::drop_unchanged(&staging, upper, &base()?)?;
        Ok(self.publish(staging, index)?)
    }

    /// Returns what the upper directory of an overlay holds; files are not hashed.
    pub fn scan_upper(&self, upper: &std::path::Path) -> Result<LayerIndex, StoreError> {
        let opaque = disk::opaque_xattr(self.shared.options.userxattr);
        Ok(LayerIndex::new(walk::scan(upper, opaque)?))
    }

    /// Turns `staging`, whose content `index` describes, into a layer.
    ///
    /// The caller vouches for the index; only its shape is checked: every
    /// entry's directory must be an entry too, save the root.
    pub fn commit_indexed(&self, staging: Staging, index: LayerIndex) -> Result<Layer, StoreError> {
        check_shape(&index)?;
        self.publish(staging, index)
    }

    fn publish(&self, staging: Staging, index: LayerIndex) -> Result<Layer, StoreError> {
        let id = LayerId::Built(index.digest());
        self.publish_as(staging, index, id)
    }

    fn publish_as(
        &self,
        staging: Staging,
        index: LayerIndex,
        id: LayerId,
    ) -> Result<Layer, StoreError> {
        let dir = self.shared.layout.layer(&id);
        let index = Arc::new(index);
        if let Some(made) = &self.made {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.insert(id.clone(), index.clone());
        }
        if let Some(layer) = self.get(&id)? {
            return Ok(layer);
        }
        let file = staging.publish(&dir, &index, &self.shared.boot_id)?;
        self.shared.recent.keep(file, index.clone());
        let layer = Layer::new(id, dir, &self.shared.recent);
        let _ = layer.index.set(index);
        Ok(layer)
    }

    /// Whether the layer is known: unpacked, packed, or as a blob that can be unpacked.
    pub fn has(&self, id: &LayerId) -> bool {
        self.get(id).is_ok_and(|layer| layer.is_some()) || self.registered_blob(id).is_some()
    }

    /// Returns an unpacked layer; nothing if it is not, or was damaged by a crash.
    pub fn get(&self, id: &LayerId) -> Result<Option<Layer>, StoreError> {
        let dir = self.shared.layout.layer(id);
        let in_use = &self.shared.in_use;
        let layer = |dir| Some(Layer::new(id.clone(), dir, &self.shared.recent));
        if in_use.has(id) {
            return Ok(layer(dir));
        }
        let period = in_use.period();
        if verify::is_sound(&self.shared, id, &dir)?
            && self.shared.mark_used(&dir.join("stamp"), Mark::Modified)?
        {
            in_use.note(id, period);
            return Ok(layer(dir));
        }
        match id {
            // A layer built here and packed is the layer that its tar would unpack to.
            LayerId::Pulled(diff_id) => match self.alias(diff_id) {
                Some(built @ LayerId::Built(_)) => self.get(&built),
                _ => Ok(None),
            },
            LayerId::Built(_) => Ok(None),
        }
    }

    /// Unpacks the layer that `blob`, which is in the store, holds as gzip, zstd or plain tar.
    ///
    /// Fails if its tar is not what `diff_id` says, or if it is hostile.
    pub fn apply(&self, diff_id: &DiffId, blob: &Descriptor) -> Result<Layer, StoreError> {
        let id = LayerId::Pulled(diff_id.clone());
        if let Some(layer) = self.get(&id)? {
            return Ok(layer);
        }
        let layer = self.unpack(id, diff_id, blob, Shape::Pack)?;
        self.register_blob(diff_id, blob)?;
        Ok(layer)
    }

    /// Unpacks a blob as the layer `id`, whose tar has the digest `diff_id`.
    fn unpack(
        &self,
        id: LayerId,
        diff_id: &DiffId,
        blob: &Descriptor,
        shape: Shape,
    ) -> Result<Layer, StoreError> {
        let file = self.blobs().open(&blob.digest)?;
        let staging = self.prepare()?;
        let index = apply::unpack_layer(file, &staging, diff_id, Limits::default(), shape)?;
        if let LayerId::Built(expected) = &id
            && index.digest() != *expected
        {
            return Err(StoreError::TreeMismatch {
                expected: *expected,
                actual: index.digest(),
            });
        }
        self.publish_as(staging, index, id)
    }

    /// Notes that `blob` holds the layer, to be unpacked when it is needed.
    pub fn register_blob(&self, diff_id: &DiffId, blob: &Descriptor) -> Result<(), StoreError> {
        let path = self.shared.layout.pending(diff_id);
        self.shared.write_atomic(&path, &crate::images::json(blob))
    }

    /// Returns the registered blob of a layer, if the blob is in the store.
    pub fn pending_blob(&self, diff_id: &DiffId) -> Option<Descriptor> {
        let blob = self.noted_blob(diff_id)?;
        self.blobs().has(&blob.digest).then_some(blob)
    }

    /// Returns the blob that a layer came in, if the blob is in the store; none if the layer was
    /// packed here, and may as well be packed otherwise.
    pub fn original_blob(&self, diff_id: &DiffId) -> Option<Descriptor> {
        self.pending_blob(diff_id)
            .filter(|blob| !pack::is_own(blob))
    }

    /// Returns the registered blob of a layer, be it in the store or not.
    pub fn noted_blob(&self, diff_id: &DiffId) -> Option<Descriptor> {
        read_json(&self.shared.layout.pending(diff_id)).ok()?
    }

    /// Notes that the tar of the layer `id`, which another store made, has the digest `diff_id`:
    /// its blob can be [registered](Self::register_blob) and stands for it from then on.
    pub fn adopt(&self, id: &LayerId, diff_id: &DiffId) -> Result<(), StoreError> {
        if pack::known_diff_id(self, id).is_some() {
            return Ok(());
        }
        pack::remember_diff_id(self, id, diff_id)
    }

    /// Returns the digest of the layer's tar if that has been made, here or elsewhere.
    pub fn noted_diff_id(&self, id: &LayerId) -> Option<DiffId> {
        pack::known_diff_id(self, id)
    }

    /// Returns the blob of the store that holds the layer as it was brought in.
    fn registered_blob(&self, id: &LayerId) -> Option<Descriptor> {
        self.pending_blob(&self.noted_diff_id(id)?)
    }

    /// Returns the layer with all its files, creating them if need be.
    pub fn ensure_dir(&self, id: &LayerId) -> Result<Layer, StoreError> {
        let layer = self.ensure_as(id, Shape::Files)?;
        self.create_files(&layer)?;
        Ok(layer)
    }

    /// Returns the layer, unpacking its registered blob into a pack if need be.
    pub fn ensure(&self, id: &LayerId) -> Result<Layer, StoreError> {
        self.ensure_as(id, Shape::Pack)
    }

    fn ensure_as(&self, id: &LayerId, shape: Shape) -> Result<Layer, StoreError> {
        if let Some(layer) = self.get(id)? {
            return Ok(layer);
        }
        let diff_id = self.noted_diff_id(id);
        let noted = diff_id.and_then(|diff_id| Some((self.pending_blob(&diff_id)?, diff_id)));
        let Some((blob, diff_id)) = noted else {
            return Err(StoreError::MissingLayer { id: id.clone() });
        };
        // All steps of a build begin on the same base: one unpacks it, the others wait. That one
        // works with threads of its own, so that it is no matter if those of the pool wait, too.
        let _claim = self.claim(&self.shared.layout.layer(id))?;
        if let Some(layer) = self.get(id)? {
            return Ok(layer);
        }
        let unpacked = self.unpack(id.clone(), &diff_id, &blob, shape);
        if matches!(id, LayerId::Built(_)) && unpacked.as_ref().is_err_and(is_lie) {
            // It stands for nothing: what was built on it is built anew.
            let path = self.shared.layout.pending(&diff_id);
            let _ = fs::remove_file(path);
        }
        unpacked
    }

    /// Waits until the caller alone makes what is to be at `path`.
    fn claim(&self, path: &Path) -> Result<ClaimGuard, StoreError> {
        let name = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
        ClaimGuard::wait(self.shared.layout.dir("locks").join(name.as_str()))
    }

    /// Returns whether the layer is there, with its files if they are to be `mounted`.
    pub fn is_ready(&self, id: &LayerId, mounted: bool) -> Result<bool, StoreError> {
        let layer = self.get(id)?;
        Ok(layer.is_some_and(|layer| !mounted || layer.fs().exists()))
    }

    /// Returns the merged tree of `chain`, base first, unpacking what is not unpacked yet.
    pub fn tree(&self, chain: &[LayerId]) -> Result<MergedTree, StoreError> {
        let load = |id: &LayerId| {
            let layer = self.ensure(id)?;
            Ok((layer.index()?, layer.files()?))
        };
        let layers: Result<_, StoreError> = match chain {
            [] => Ok(Vec::new()),
            [one] => load(one).map(|layer| vec![layer]),
            many => many.par_iter().map(load).collect(),
        };
        Ok(MergedTree::new(layers?))
    }

    /// Returns the digest of the layer's tar, making that tar once if need be.
    pub fn diff_id(&self, id: &LayerId) -> Result<DiffId, StoreError> {
        match id {
            LayerId::Pulled(diff_id) => Ok(diff_id.clone()),
            LayerId::Built(_) => self.wanted(|| pack::diff_id(self, id)),
        }
    }

    /// Returns the digests of the tars of `ids`; those that are not known are made at once.
    pub fn diff_ids(&self, ids: &[LayerId]) -> Result<Vec<DiffId>, StoreError> {
        // What is known is a small file each, read sooner than threads are woken.
        let known: Option<Vec<_>> = ids.iter().map(|id| pack::known_diff_id(self, id)).collect();
        let made = || ids.par_iter().map(|id| self.diff_id(id)).collect();
        known.map_or_else(made, Ok)
    }

    /// Returns a blob that holds the layer in this compression, packing it once if need be.
    ///
    /// The bytes depend on the layer, the compression and the level alone. The
    /// default levels are 5 for gzip and 3 for zstd.
    pub fn pack(
        &self,
        id: &LayerId,
        compression: Compression,
        level: Option<i32>,
    ) -> Result<Descriptor, StoreError> {
        self.wanted(|| pack::pack(self, id, compression, level))
    }

    /// Returns a blob that holds the layer as another tar, packing it once if need be, and the
    /// digest of that tar, by which the layer is known from now on.
    pub fn repack(
        &self,
        id: &LayerId,
        how: &Repacking,
    ) -> Result<(DiffId, Descriptor), StoreError> {
        self.wanted(|| pack::repack(self, id, how))
    }

    /// Returns the blob that the layer's plain tar would be in the store, which it need not be:
    /// [`write_plain`](Self::write_plain) makes it. None if the tar has to be made to be known.
    pub fn plain_tar(&self, id: &LayerId) -> Result<Option<Descriptor>, StoreError> {
        pack::plain_tar(self, id)
    }

    /// Writes the plain tar that `blob` describes; fails, if only at its end, if the layer's is
    /// another one.
    pub fn write_plain(
        &self,
        id: &LayerId,
        blob: &Descriptor,
        to: &mut dyn Write,
    ) -> Result<(), StoreError> {
        self.wanted(|| pack::write_plain(self, id, blob, to))
    }

    /// Writes the layer's tar: from the blob that it came as, else made from its files.
    pub fn write_tar(&self, id: &LayerId, to: &mut dyn Write) -> Result<(), StoreError> {
        if let Some(blob) = self.registered_blob(id) {
            let path = self.blobs().path(&blob.digest);
            let file = self.blobs().open(&blob.digest)?;
            return self.streamed(to, |to| {
                apply::decompress_to(file, to).during("read", &path)
            });
        }
        let layer = self.ensure(id)?;
        let (index, files) = (layer.index()?, layer.files()?);
        self.streamed(to, |to| tar_write::write_layer(&index, &files, to))
    }

    /// Returns how many bytes the layer's files hold; they need not be unpacked for that. What was
    /// counted once is remembered.
    pub fn content_size(&self, id: &LayerId) -> Result<u64, StoreError> {
        let memo = self.memo(id, "size");
        if let Ok(Some(known)) = read_json::<u64>(&memo) {
            return Ok(known);
        }
        let size = match (self.get(id)?, self.registered_blob(id)) {
            (Some(layer), _) => layer.size()?,
            (None, Some(blob)) => apply::content_size(self.blobs().open(&blob.digest)?)?,
            (None, None) => return Err(StoreError::MissingLayer { id: id.clone() }),
        };
        // In a store that cannot be written it is counted again.
        let _ = self.shared.write_atomic(&memo, &crate::images::json(&size));
        Ok(size)
    }

    /// Returns the name of the layer whose tar has this digest, be it here or not.
    ///
    /// A layer that was built here goes by its own name, so that what was built on it is found
    /// again: but only while it is here, since the note of its tar may outlive it.
    pub fn name_of(&self, diff_id: &DiffId) -> LayerId {
        self.alias(diff_id)
            .filter(|built| self.has(built))
            .unwrap_or_else(|| LayerId::Pulled(diff_id.clone()))
    }

    /// Returns the built layer that once was packed to the tar of this digest.
    pub(crate) fn alias(&self, diff_id: &DiffId) -> Option<LayerId> {
        let text = fs::read_to_string(self.shared.layout.alias(diff_id)).ok()?;
        text.trim_end().parse().ok()
    }

    /// Returns where something that was computed about a layer is remembered.
    pub(crate) fn memo(&self, id: &LayerId, what: &str) -> PathBuf {
        let (algorithm, hex) = id.parts();
        self.shared
            .layout
            .dir("memos")
            .join(format!("{algorithm}-{hex}.{what}"))
    }

    fn set_alias(&self, diff_id: &DiffId, id: &LayerId) -> Result<(), StoreError> {
        let path = self.shared.layout.alias(diff_id);
        self.shared
            .write_atomic(&path, format!("{id}\n").as_bytes())
    }

    /// Returns the ids of all unpacked layers.
    pub fn list(&self) -> Result<Vec<LayerId>, StoreError> {
        let mut found = Vec::new();
        for algorithm in ["blake3", "sha256", "sha512"] {
            let dir = self.shared.layout.dir("layers").join(algorithm);
            for item in fs::read_dir(&dir).during("list", &dir)? {
                let name = item.during("list", &dir)?.file_name();
                found.extend(format!("{algorithm}:{}", name.to_string_lossy()).parse::<LayerId>());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Whether a blob turned out not to be the layer that it was said to be.
fn is_lie(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::TreeMismatch { .. }
            | StoreError::DiffIdMismatch { .. }
            | StoreError::Archive(_)
    )
}

/// Checks that every entry's directory is an entry before it.
fn check_shape(index: &LayerIndex) -> Result<(), StoreError> {
    let mut open: Vec<&RelPath> = Vec::new();
    for entry in index.entries() {
        while open.last().is_some_and(|dir| !entry.path.starts_with(dir)) {
            open.pop();
        }
        let parent = entry.path.parent();
        let held = match &parent {
            None => true,
            Some(parent) => parent.is_root() || open.last().is_some_and(|dir| *dir == parent),
        };
        if !held {
            let value = entry.path.to_string();
            return Err(StoreError::Invalid {
                what: "index: no directory for",
                value,
            });
        }
        if entry.is_dir() {
            open.push(&entry.path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod tar_tests;
#[cfg(test)]
mod tests;
