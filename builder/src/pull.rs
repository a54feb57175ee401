//! Pulling an image into the store.
//!
//! Layers arrive as blobs, verified by digest; their directories are made when something first
//! needs them. The image gets its record and its name only once everything it needs is there, so
//! that a broken pull leaves nothing but blobs that the next one need not fetch again.

use std::io;
use std::sync::Mutex;

use cooper_cache::{ImageLayer, ImageRecord, Store, StoreError};
use cooper_oci::{Descriptor, DiffId, Platform, Reference, media_type};
use rayon::prelude::*;
use thiserror::Error;

use crate::progress::{Progress, StepGuard};
use crate::registry::{Client, Event, RegistryError, Resolved, Watch};

/// Why an image could not be pulled.
#[derive(Debug, Error)]
pub enum PullError {
    /// No registry served it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store could not take it.
    #[error("cannot store {reference}")]
    Store {
        /// The image.
        reference: String,
        /// Why.
        source: StoreError,
    },
}

impl PullError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Store { .. } => None,
        }
    }
}

/// An image that is in the store now.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its record.
    pub record: ImageRecord,
    /// The name it was pulled under, with its tag or digest.
    pub reference: Reference,
}

/// What a pull is made of.
pub struct Pull<'a> {
    /// Where the image goes.
    pub store: &'a Store,
    /// How registries are reached.
    pub client: &'a Client,
    /// Where it is shown.
    pub progress: &'a Progress,
    /// Asked often; once it says yes the pull ends.
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

impl Pull<'_> {
    /// Pulls what `reference` names for `platform`. As with docker, an image that exists for another
    /// one alone is worth a warning.
    pub fn run(&self, reference: &Reference, platform: &Platform) -> Result<Pulled, PullError> {
        let step = self.progress.step(format!("resolve {reference}"));
        let watch = Watch {
            event: &|_| {},
            canceled: self.canceled,
        };
        let resolved = self
            .client
            .resolve(reference, platform, watch)
            .map_err(PullError::from);
        let resolved = step.silently(resolved)?;
        let found = resolved.config.platform();
        if !platform.matches(&found) {
            let reference = &resolved.reference;
            let text = format!("{reference} is an image for {found}, not for {platform}");
            self.progress.warn(text);
        }
        let step = self.progress.step(format!("pull {}", resolved.reference));
        let result = self.store_all(&resolved, &step);
        step.silently(result)
    }

    fn store_all(&self, resolved: &Resolved, step: &StepGuard) -> Result<Pulled, PullError> {
        note_origins(self.store, resolved);
        let diff_ids = &resolved.config.rootfs.diff_ids;
        let layers: Vec<_> = diff_ids
            .par_iter()
            .zip(&resolved.manifest.layers)
            .map(|(diff_id, blob)| self.layer(&resolved.reference, diff_id, blob, step))
            .collect::<Result<_, _>>()?;
        let record = record(self.store, resolved, layers).map_err(|source| PullError::Store {
            reference: resolved.reference.to_string(),
            source,
        })?;
        Ok(Pulled {
            record,
            reference: resolved.reference.clone(),
        })
    }

    /// Brings one layer's blob in, unless the layer is here already.
    fn layer(
        &self,
        reference: &Reference,
        diff_id: &DiffId,
        blob: &Descriptor,
        step: &StepGuard,
    ) -> Result<ImageLayer, PullError> {
        let store_error = |source| PullError::Store {
            reference: reference.to_string(),
            source,
        };
        let layers = self.store.layers();
        let layer = layers.name_of(diff_id);
        if !layers.has(&layer) {
            fetch_blob(
                self.store,
                self.client,
                reference,
                blob,
                step,
                self.canceled,
            )?;
            layers.register_blob(diff_id, blob).map_err(store_error)?;
        }
        let here = self.store.blobs().has(&blob.digest);
        let blobs = here.then(|| blob.clone()).into_iter().collect();
        Ok(ImageLayer {
            diff_id: diff_id.clone(),
            layer,
            blobs,
        })
    }
}

/// Gives the image `resolved` its record and its name; its layers are in the store.
fn record(
    store: &Store,
    resolved: &Resolved,
    layers: Vec<ImageLayer>,
) -> Result<ImageRecord, StoreError> {
    let blobs = store.blobs();
    let id = blobs.put(&resolved.config_bytes)?;
    blobs.put(&resolved.manifest_bytes)?;
    let record = ImageRecord {
        id,
        size: resolved
            .manifest
            .layers
            .iter()
            .map(|layer| layer.size)
            .sum(),
        layers,
        manifest: Some(resolved.descriptor.clone()),
        attestations: None,
        created: resolved.config.created.clone(),
    };
    store.images().put(&record)?;
    store.images().tag(&resolved.reference, &record.id)?;
    Ok(record)
}

/// Remembers which repository has the blobs of `resolved`, so that a push can name it.
pub(crate) fn note_origins(store: &Store, resolved: &Resolved) {
    let layers = resolved.manifest.layers.iter();
    for blob in layers.filter(|blob| !media_type::is_foreign_layer(&blob.media_type)) {
        // It only saves time later: the pull goes on without.
        let _ = store.origins().note(&blob.digest, &resolved.reference);
    }
}

/// Keeps an image that a build resolved, if the build brought in all of its layers.
///
/// The next build then finds it here and asks no registry.
pub(crate) fn keep(store: &Store, resolved: &Resolved) -> Result<(), StoreError> {
    let known = store.layers();
    let mut layers = Vec::with_capacity(resolved.manifest.layers.len());
    for (diff_id, blob) in resolved
        .config
        .rootfs
        .diff_ids
        .iter()
        .zip(&resolved.manifest.layers)
    {
        let layer = known.name_of(diff_id);
        if !known.has(&layer) {
            return Ok(());
        }
        let here = store.blobs().has(&blob.digest);
        layers.push(ImageLayer {
            diff_id: diff_id.clone(),
            layer,
            blobs: here.then(|| blob.clone()).into_iter().collect(),
        });
    }
    record(store, resolved, layers).map(drop)
}

/// Fetches a blob of `reference`'s repository into the store, unless it is there already.
pub(crate) fn fetch_blob(
    store: &Store,
    client: &Client,
    reference: &Reference,
    blob: &Descriptor,
    step: &StepGuard,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Result<(), PullError> {
    if store.blobs().has(&blob.digest) {
        return Ok(());
    }
    let algorithm = blob.digest.algorithm();
    let open = || {
        store
            .blobs()
            .writer_with(algorithm)
            .map_err(io::Error::other)
    };
    let shown = Mutex::new(0);
    let watch = Watch {
        event: &|event| show(event, blob, step, &shown),
        canceled,
    };
    let fetched = client.fetch_blob(reference, blob, open, watch)?;
    fetched
        .commit(Some(&blob.digest), Some(blob.size))
        .map_err(|source| PullError::Store {
            reference: reference.to_string(),
            source,
        })?;
    step.status(blob.digest.short(), blob.size, Some(blob.size), true);
    Ok(())
}

/// Shows how far a transfer is, a hundred times at most.
fn show(event: &Event<'_>, blob: &Descriptor, step: &StepGuard, shown: &Mutex<u64>) {
    match event {
        Event::Transfer { done, total, .. } => {
            let Ok(mut shown) = shown.lock() else { return };
            if *done < *shown || *done - *shown >= *total / 100 {
                *shown = *done;
                step.status(blob.digest.short(), *done, Some(*total), false);
            }
        }
        Event::Retrying { failure } => step.log(format!("retrying: {failure}\n").as_bytes()),
        _ => {}
    }
}
