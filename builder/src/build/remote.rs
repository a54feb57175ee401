//! Layers that are known but not here yet: fetched when something needs their bytes.
//!
//! They are base images' and shared caches'. A cache that does not give what it offers is noted as
//! [broken](RemoteLayers::broken), for the build to be done without it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cooper_cache::{BlobWriter, LayerId, Layers, PackedMount, Store, StoreError};
use cooper_oci::{Descriptor, DiffId, Reference};
use thiserror::Error;

use cooper_solver::{CacheKey, CancelToken};

use crate::http::{TRANSFERS, at_once};
use crate::progress::Progress;
use crate::pull::{self, PullError};
use crate::registry::{Client, Resolved};
use crate::shared_cache::{Depot, LayerNote, ServiceError};

/// Where a layer's blob can be had.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// In a repository of a registry.
    Registry(Reference),
    /// In an OCI layout directory.
    Layout(PathBuf),
    /// In a service that keeps blobs by name.
    Depot(Depot),
}

/// A layer that could not be brought in.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The registry did not give it.
    #[error("cannot fetch a layer of {image}")]
    Registry {
        /// The image.
        image: String,
        /// Why.
        source: Box<PullError>,
    },
    /// The layout's blob cannot be read.
    #[error("cannot read {}", path.display())]
    Layout {
        /// The blob's file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The service did not give it.
    #[error(transparent)]
    Service(Box<ServiceError>),
    /// The store could not take it, or its bytes are wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ServiceError> for FetchError {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

/// A layer that can be had.
#[derive(Clone, Debug)]
struct Known {
    origin: Origin,
    diff_id: DiffId,
    blob: Descriptor,
    /// The number of the shared cache that offers it; none for a base image's.
    cache: Option<usize>,
}

/// A shared cache that did not keep what it promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Its number.
    pub(crate) cache: usize,
    /// What it did not give, and why, in one line.
    pub(crate) reason: String,
}

/// The layers of base images and shared caches that a build can have.
pub(crate) struct RemoteLayers {
    client: Client,
    progress: Progress,
    cancel: CancelToken,
    known: Mutex<HashMap<LayerId, Known>>,
    /// Names of layers by their tars, as shared caches know them.
    names: Mutex<HashMap<DiffId, LayerId>>,
    /// Cache mounts that shared caches have, by name.
    mounts: Mutex<HashMap<String, (Origin, PackedMount)>>,
    images: Mutex<Vec<Resolved>>,
    broken: Mutex<Vec<Broken>>,
}

impl RemoteLayers {
    /// Returns an empty set; layers of registries will be asked of `client`.
    pub(crate) fn new(client: Client, progress: Progress, cancel: CancelToken) -> Self {
        Self {
            client,
            progress,
            cancel,
            known: Mutex::default(),
            names: Mutex::default(),
            mounts: Mutex::default(),
            images: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// Returns what ends a request of this build early.
    pub(crate) fn canceled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Notes an image that was found in a registry.
    pub(crate) fn found(&self, image: Resolved) {
        self.images
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(image);
    }

    /// Keeps what was brought in of base images, so that it need not be brought in again: images
    /// all of whose layers are here answer next time; each layer is a result of the cache, which
    /// the collector takes by its policy.
    pub(crate) fn keep_bases(&self, store: &Store) -> Result<(), StoreError> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images
            .iter()
            .try_for_each(|image| pull::keep(store, image))?;
        let known = self.lock();
        let bases = known.iter().filter(|(_, known)| known.cache.is_none());
        for id in bases.map(|(id, _)| id).filter(|id| store.layers().has(id)) {
            let key = *CacheKey::of("cooper.base-layer", id.to_string().as_str()).as_bytes();
            let records = store.records();
            if records.get(&key)?.is_none() {
                records.put(&key, &[], std::slice::from_ref(id))?;
            }
        }
        Ok(())
    }

    /// Returns the registry client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Notes where the base image's layer `id`, whose tar is `diff_id`, can be had.
    pub(crate) fn add(&self, origin: Origin, id: LayerId, diff_id: DiffId, blob: Descriptor) {
        let known = Known {
            origin,
            diff_id,
            blob,
            cache: None,
        };
        self.lock().insert(id, known);
    }

    /// Notes a layer that the shared cache of that number knows, and where it can be had.
    pub(crate) fn offer(&self, cache: usize, origin: &Origin, note: &LayerNote) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(note.diff_id.clone(), note.id.clone());
        let Some(blob) = &note.blob else { return };
        let known = || Known {
            origin: origin.clone(),
            diff_id: note.diff_id.clone(),
            blob: blob.clone(),
            cache: Some(cache),
        };
        self.lock().entry(note.id.clone()).or_insert_with(known);
    }

    /// Notes a cache mount that a shared cache has.
    pub(crate) fn offer_mount(&self, origin: &Origin, mount: &PackedMount) {
        let mut mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        mounts
            .entry(mount.name.clone())
            .or_insert_with(|| (origin.clone(), mount.clone()));
    }

    /// Returns a cache mount that a shared cache has.
    pub(crate) fn mount(&self, name: &str) -> Option<PackedMount> {
        let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.get(name).map(|(_, mount)| mount.clone())
    }

    /// Makes the cache mount `name` if a shared cache has it and there is none; returns whether it
    /// did.
    pub(crate) fn restore_mount(&self, store: &Store, name: &str) -> Result<bool, FetchError> {
        let known = {
            let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            mounts.get(name).cloned()
        };
        let Some((origin, mount)) = known else {
            return Ok(false);
        };
        let blobs = mount.blobs();
        at_once(&blobs, TRANSFERS, |blob| self.fetch(store, &origin, blob))?;
        let made = store.unpack_mount(&mount)?;
        for blob in blobs {
            // They are in the mount now; what is wanted again is fetched again.
            store.blobs().remove(&blob.digest)?;
        }
        Ok(made)
    }

    /// Brings in a blob of a cache mount that a shared cache has.
    pub(crate) fn ensure_mount_blob(
        &self,
        store: &Store,
        blob: &Descriptor,
    ) -> Result<(), FetchError> {
        let origin = {
            let mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            let mut known = mounts.values();
            let has =
                |mount: &PackedMount| mount.blobs().iter().any(|one| one.digest == blob.digest);
            known
                .find(|(_, mount)| has(mount))
                .map(|(origin, _)| origin.clone())
        };
        origin.map_or(Ok(()), |origin| self.fetch(store, &origin, blob))
    }

    /// Returns what the layer whose tar is `diff_id` is called; `layers` know it best.
    pub(crate) fn name_of(&self, layers: &Layers, diff_id: &DiffId) -> LayerId {
        let name = layers.name_of(diff_id);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match &name {
            LayerId::Pulled(_) => names.get(diff_id).cloned().unwrap_or(name),
            LayerId::Built(_) => name,
        }
    }

    /// Whether the layer is one of those noted.
    pub(crate) fn knows(&self, id: &LayerId) -> bool {
        self.lock().contains_key(id)
    }

    /// Returns the blob of a noted layer, and the repository that has it.
    pub(crate) fn blob(&self, id: &LayerId) -> Option<(Descriptor, Option<Reference>)> {
        let known = self.lock().get(id).cloned()?;
        let repository = match known.origin {
            Origin::Registry(reference) => Some(reference),
            Origin::Layout(_) | Origin::Depot(_) => None,
        };
        Some((known.blob, repository))
    }

    /// Lets the store know the tars of noted layers, so that none need be brought in to tell.
    pub(crate) fn adopt<'a>(
        &self,
        store: &Store,
        ids: impl Iterator<Item = &'a LayerId>,
    ) -> Result<(), StoreError> {
        let known = self.lock();
        for id in ids {
            if let Some(known) = known.get(id) {
                store.layers().adopt(id, &known.diff_id)?;
            }
        }
        Ok(())
    }

    /// Makes sure that the blobs of noted layers are in the store, several at once.
    pub(crate) fn ensure_blobs(
        &self,
        store: &Store,
        ids: impl Iterator<Item = LayerId>,
    ) -> Result<(), (LayerId, FetchError)> {
        let missing: Vec<LayerId> = ids.filter(|id| self.is_away(store, id)).collect();
        let ensure = |id: &LayerId| {
            let ensured = self.ensure_blob(store, id);
            ensured.map_err(|error| (id.clone(), error))
        };
        at_once(&missing, TRANSFERS, ensure).map(drop)
    }

    /// Whether a layer's bytes are still to come.
    fn is_away(&self, store: &Store, id: &LayerId) -> bool {
        let known = self.lock();
        let Some(known) = known.get(id) else {
            return false;
        };
        !store.blobs().has(&known.blob.digest) && !store.layers().has(id)
    }

    /// Makes sure that the blob of a noted layer is in the store, unless the layer is there unpacked.
    pub(crate) fn ensure_blob(&self, store: &Store, id: &LayerId) -> Result<(), FetchError> {
        if store.layers().has(id) {
            return Ok(());
        }
        self.bring(store, id)
    }

    /// Brings in the blobs of layers whose files are here, and the blobs they came in not any more:
    /// the tar of another builder cannot be made again from its files.
    pub(crate) fn ensure_originals(
        &self,
        store: &Store,
        ids: impl Iterator<Item = LayerId>,
    ) -> Result<(), (LayerId, FetchError)> {
        let layers = store.layers();
        let is_lost = |id: &LayerId| match id {
            LayerId::Pulled(diff_id) => layers.has(id) && layers.pending_blob(diff_id).is_none(),
            LayerId::Built(_) => false,
        };
        let lost: Vec<LayerId> = ids.filter(is_lost).collect();
        let bring = |id: &LayerId| self.bring(store, id).map_err(|error| (id.clone(), error));
        at_once(&lost, TRANSFERS, bring).map(drop)
    }

    fn bring(&self, store: &Store, id: &LayerId) -> Result<(), FetchError> {
        let Some(known) = self.lock().get(id).cloned() else {
            return Ok(());
        };
        let fetched = self.fetch(store, &known.origin, &known.blob);
        self.judge(id, fetched)?;
        store.layers().adopt(id, &known.diff_id)?;
        store.layers().register_blob(&known.diff_id, &known.blob)?;
        Ok(())
    }

    /// Makes sure that the content of a layer is there, as files if it is to be `mounted`.
    pub(crate) fn ensure(
        &self,
        store: &Store,
        id: &LayerId,
        mounted: bool,
    ) -> Result<(), FetchError> {
        self.ensure_blob(store, id)?;
        let unpacked = if mounted {
            store.layers().ensure_dir(id)
        } else {
            store.layers().ensure(id)
        };
        self.judge(id, unpacked.map_err(FetchError::from))?;
        Ok(())
    }

    /// Blames the shared cache that offers the layer `id` if that could not be had.
    fn judge<T>(&self, id: &LayerId, result: Result<T, FetchError>) -> Result<T, FetchError> {
        if let Err(error) = &result
            && let Some(cache) = self.lock().get(id).and_then(|known| known.cache)
            && !self.canceled()
        {
            let broken = Broken {
                cache,
                reason: in_one_line(error),
            };
            let mut all = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(broken);
        }
        result
    }

    /// Returns the shared caches that did not keep what they promised.
    pub(crate) fn broken(&self) -> Vec<Broken> {
        let broken = self.broken.lock();
        broken.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fetch(&self, store: &Store, origin: &Origin, blob: &Descriptor) -> Result<(), FetchError> {
        if store.blobs().has(&blob.digest) {
            return Ok(());
        }
        match origin {
            Origin::Registry(reference) => self.download(store, reference, blob),
            Origin::Depot(depot) => {
                let mut writer = store.blobs().writer_with(blob.digest.algorithm())?;
                depot.fetch(blob, &mut writer, &|| self.canceled())?;
                writer.commit(Some(&blob.digest), Some(blob.size))?;
                Ok(())
            }
            Origin::Layout(dir) => {
                copy_blob(store, dir, blob)?.commit(Some(&blob.digest), Some(blob.size))?;
                Ok(())
            }
        }
    }

    fn download(
        &self,
        store: &Store,
        image: &Reference,
        blob: &Descriptor,
    ) -> Result<(), FetchError> {
        let name = image.familiar();
        let step = self.progress.step(format!(
            "[internal] fetch {} of {name}",
            blob.digest.short()
        ));
        let canceled = || self.canceled();
        let fetched = pull::fetch_blob(store, &self.client, image, blob, &step, &canceled);
        step.end_with(fetched)
            .map_err(|source| FetchError::Registry {
                image: name,
                source: Box::new(source),
            })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LayerId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns an error with its causes.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

fn copy_blob(
    store: &Store,
    dir: &std::path::Path,
    blob: &Descriptor,
) -> Result<BlobWriter, FetchError> {
    let path = dir.join(blob.digest.layout_path());
    let mut file = File::open(&path).map_err(|source| FetchError::Layout {
        path: path.clone(),
        source,
    })?;
    let mut writer = store.blobs().writer_with(blob.digest.algorithm())?;
    io::copy(&mut file, &mut writer).map_err(|source| FetchError::Layout { path, source })?;
    Ok(writer)
}
