//! Layers that are known but not here yet: fetched when something needs their bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cooper_cache::{BlobWriter, LayerId, Store, StoreError};
use cooper_oci::{Descriptor, DiffId, Reference};
use thiserror::Error;

use cooper_solver::CancelToken;

use crate::progress::Progress;
use crate::pull::{self, PullError};
use crate::registry::{Client, Resolved};

/// Where a layer's blob can be had.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// In a repository of a registry.
    Registry(Reference),
    /// In an OCI layout directory.
    Layout(PathBuf),
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
    /// The store could not take it, or its bytes are wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The layers of the base images of a build.
pub(crate) struct RemoteLayers {
    client: Client,
    progress: Progress,
    cancel: CancelToken,
    known: Mutex<HashMap<LayerId, (Origin, DiffId, Descriptor)>>,
    images: Mutex<Vec<Resolved>>,
}

impl RemoteLayers {
    /// Returns an empty set; layers of registries will be asked of `client`.
    pub(crate) fn new(client: Client, progress: Progress, cancel: CancelToken) -> Self {
        Self {
            client,
            progress,
            cancel,
            known: Mutex::default(),
            images: Mutex::default(),
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

    /// Keeps the images whose layers have all been brought in, so that they answer next time.
    pub(crate) fn keep_images(&self, store: &Store) -> Result<(), StoreError> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.iter().try_for_each(|image| pull::keep(store, image))
    }

    /// Returns the registry client.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Notes where the layer whose tar is `diff_id` can be had.
    pub(crate) fn add(&self, origin: Origin, diff_id: DiffId, blob: Descriptor) {
        let id = LayerId::Pulled(diff_id.clone());
        self.lock().insert(id, (origin, diff_id, blob));
    }

    /// Whether the layer is one of those noted.
    pub(crate) fn knows(&self, id: &LayerId) -> bool {
        self.lock().contains_key(id)
    }

    /// Makes sure that the blob of a noted layer is in the store, unless the layer is there unpacked.
    pub(crate) fn ensure_blob(&self, store: &Store, id: &LayerId) -> Result<(), FetchError> {
        if store.layers().has(id) {
            return Ok(());
        }
        let Some((origin, diff_id, blob)) = self.lock().get(id).cloned() else {
            return Ok(());
        };
        self.fetch(store, &origin, &blob)?;
        store.layers().register_blob(&diff_id, &blob)?;
        Ok(())
    }

    fn fetch(&self, store: &Store, origin: &Origin, blob: &Descriptor) -> Result<(), FetchError> {
        if store.blobs().has(&blob.digest) {
            return Ok(());
        }
        match origin {
            Origin::Registry(reference) => self.download(store, reference, blob),
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LayerId, (Origin, DiffId, Descriptor)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy_blob(
    store: &Store,
    dir: &std::path::Path,
    blob: &Descriptor,
) -> Result<BlobWriter, FetchError> {
    let path = layout_blob(dir, blob);
    let mut file = File::open(&path).map_err(|source| FetchError::Layout {
        path: path.clone(),
        source,
    })?;
    let mut writer = store.blobs().writer_with(blob.digest.algorithm())?;
    io::copy(&mut file, &mut writer).map_err(|source| FetchError::Layout { path, source })?;
    Ok(writer)
}

/// Returns where an OCI layout keeps a blob.
pub(crate) fn layout_blob(dir: &std::path::Path, blob: &Descriptor) -> PathBuf {
    dir.join("blobs")
        .join(blob.digest.algorithm().as_str())
        .join(blob.digest.hex())
}
