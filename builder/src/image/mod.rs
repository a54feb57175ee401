//! From a solved root filesystem to an image: configuration, history, manifest.
//!
//! An image is its configuration: that names the layers by the digests of their tars
//! ([`DiffId`]), and its own digest is the image ID. Manifests depend on how layers are
//! compressed and are made when an image leaves the store.
//!
//! Times: a step that made a layer remembers when; an instruction that made none has the
//! time of the layer before it. A build in which everything hits therefore gives the
//! same image, byte for byte.

mod leaks;
mod load;
mod set;
mod size;

pub use leaks::leaks;
pub use load::{Loaded, load};
pub use set::{ImageSet, Packed, PackedManifest, Tars};
pub use size::{image_size, layer_sizes};

use cooper_cache::{
    Form, ImageLayer, ImageRecord, LayerId, Layers, Repacking, Store, StoreError, TAR_SIZE,
    TOC_DIGEST, Timestamp,
};
use cooper_frontend::lower::HistoryItem;
use cooper_oci::{
    Compression, Descriptor, DiffId, Digest, Extra, History, ImageConfig, Manifest, media_type,
};
use rayon::prelude::*;

use crate::attest::Attestation;
use crate::options::{AnnotationPlace, ImageFormat};

/// A finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The configuration.
    pub config: ImageConfig,
    /// The configuration as it is stored and hashed.
    pub config_bytes: Vec<u8>,
    /// Digest of the configuration: the image ID.
    pub id: Digest,
    /// The layers, base first, one for each diff ID.
    pub layers: Vec<ImageLayer>,
    /// What is said of it.
    pub attestations: Vec<Attestation>,
}

/// A layer with the time a step of this build made it; none for a base image's.
#[derive(Debug, Clone)]
pub struct DatedLayer {
    /// The layer.
    pub id: LayerId,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// What took the place of a root filesystem's layers.
#[derive(Debug, Clone)]
pub struct Squashed {
    /// The image's layers; the topmost stands for `count` others.
    pub layers: Vec<LayerId>,
    /// How many layers became one.
    pub count: usize,
}

/// What an image is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The base's configuration with this build's edits; its history is that of the base.
    pub config: ImageConfig,
    /// When the base was created.
    pub base_created: Option<String>,
    /// What this build adds to the base's history.
    pub history: &'a [HistoryItem],
    /// The root filesystem.
    pub root: &'a [DatedLayer],
    /// What `root` was squashed to.
    pub squashed: Option<Squashed>,
    /// The time of everything that this build adds, in seconds since 1970.
    pub epoch: Option<i64>,
    /// Whether the image is to say nothing of how it came to be.
    pub omit_history: bool,
}

impl Parts<'_> {
    /// Adds this build's history to the base's; returns the time of the last of it.
    fn add_history(&mut self) -> Option<String> {
        let fixed = self.epoch.map(|secs| Timestamp { secs, nanos: 0 });
        let mut made = self.root.iter().filter_map(|layer| layer.created);
        let mut last = fixed.map(rfc3339).or(self.base_created.take());
        for item in self.history {
            if item.layer.is_some() {
                last = fixed.or_else(|| made.next()).map(rfc3339).or(last);
            }
            self.config.history.push(History {
                created: last.clone(),
                created_by: item.created_by.clone(),
                author: Some(item.author.clone()).filter(|author| !author.is_empty()),
                comment: Some(item.comment.clone()).filter(|comment| !comment.is_empty()),
                empty_layer: item.layer.is_none(),
                ..History::default()
            });
        }
        last
    }

    /// Lets the history tell of squashing as docker's does: what was done stays, but what it
    /// added is in one layer of its own at the end.
    ///
    /// Docker names the images before and after; these IDs change with every file time and
    /// would with them the image, so layers are counted instead.
    fn squash_history(&mut self, squashed: &Squashed, diff_ids: &[DiffId], last: Option<String>) {
        let history = &mut self.config.history;
        let kept = match squashed.layers.len() {
            1 => 0,
            _ => history.len() - self.history.len(),
        };
        for entry in &mut history[kept..] {
            entry.empty_layer = true;
        }
        let count = squashed.count;
        let comment = match diff_ids.iter().nth_back(1) {
            Some(base) => format!("merge {count} layers to {}", base.0),
            None => format!("create new from {count} layers"),
        };
        history.push(History {
            created: last,
            comment: Some(comment),
            ..History::default()
        });
    }
}

/// Returns the blob that a layer came in, or else the plain tar that it would be.
pub fn known_blob(
    layers: &Layers,
    id: &LayerId,
    diff_id: &DiffId,
) -> Result<Option<Descriptor>, StoreError> {
    let blob = match layers.noted_blob(diff_id) {
        Some(blob) => Some(blob),
        None => layers.plain_tar(id)?,
    };
    Ok(blob.map(|blob| Descriptor::new(blob.media_type, blob.digest, blob.size)))
}

impl Image {
    /// Makes the image of a root filesystem.
    pub fn assemble(mut parts: Parts<'_>, layers: &Layers) -> Result<Self, StoreError> {
        let ids: Vec<LayerId> = match &parts.squashed {
            Some(squashed) => squashed.layers.clone(),
            None => parts.root.iter().map(|layer| layer.id.clone()).collect(),
        };
        let diff_ids = layers.diff_ids(&ids)?;
        let last = parts.add_history();
        if let Some(squashed) = parts.squashed.take() {
            parts.squash_history(&squashed, &diff_ids, last.clone());
        }
        let mut config = parts.config;
        config.created = last;
        if parts.omit_history {
            config.history.clear();
        }
        "layers".clone_into(&mut config.rootfs.typ);
        config.rootfs.diff_ids.clone_from(&diff_ids);
        let config_bytes = config.to_json();
        let layers = diff_ids
            .into_iter()
            .zip(ids)
            .map(|(diff_id, layer)| ImageLayer {
                diff_id,
                layer,
                blobs: Vec::new(),
            })
            .collect();
        Ok(Self {
            id: Digest::sha256(&config_bytes),
            config,
            config_bytes,
            layers,
            attestations: Vec::new(),
        })
    }

    /// Returns this image with the layers above the first `base` packed anew, as other tars.
    ///
    /// Layers that came with an image keep the times of their files.
    pub fn repacked(
        &self,
        base: usize,
        how: &Repacking,
        layers: &Layers,
    ) -> Result<Self, StoreError> {
        let mut image = self.clone();
        image.layers[base..].par_iter_mut().try_for_each(|layer| {
            if matches!(layer.layer, LayerId::Pulled(_)) && how.form != Form::Chunked {
                return Ok(());
            }
            let packed = layers.repack(&layer.layer, how)?;
            (layer.diff_id, layer.layer) = (packed.0.clone(), LayerId::Pulled(packed.0));
            layer.blobs = vec![packed.1];
            Ok::<_, StoreError>(())
        })?;
        let diff_ids = image.layers.iter().map(|layer| layer.diff_id.clone());
        image.config.rootfs.diff_ids = diff_ids.collect();
        image.config_bytes = image.config.to_json();
        image.id = Digest::sha256(&image.config_bytes);
        Ok(image)
    }

    /// Returns what its layers are as far as that is known without packing any.
    pub fn known_blobs(&self, layers: &Layers) -> Result<Option<Vec<Descriptor>>, StoreError> {
        let known = self.layers.iter();
        known
            .map(|layer| known_blob(layers, &layer.layer, &layer.diff_id))
            .collect()
    }

    /// Adds fields to the configuration.
    pub fn add(&mut self, fields: Extra) {
        self.config.extra.extend(fields);
        self.config_bytes = self.config.to_json();
        self.id = Digest::sha256(&self.config_bytes);
    }

    /// Reads an image of the store.
    pub fn load(store: &Store, record: &ImageRecord) -> Result<Self, StoreError> {
        let config_bytes = store.blobs().read(&record.id)?;
        let config =
            ImageConfig::from_json(&config_bytes).map_err(|error| StoreError::Corrupt {
                path: store.blobs().path(&record.id),
                reason: error.to_string(),
            })?;
        let attestations = match &record.attestations {
            Some(digest) => {
                let bytes = store.blobs().read(digest)?;
                serde_json::from_slice(&bytes).map_err(|error| StoreError::Corrupt {
                    path: store.blobs().path(digest),
                    reason: error.to_string(),
                })?
            }
            None => Vec::new(),
        };
        Ok(Self {
            id: record.id.clone(),
            config,
            config_bytes,
            layers: record.layers.clone(),
            attestations,
        })
    }

    /// Puts what is said of the image into the store; returns the blob that tells.
    pub fn keep_attestations(&self, store: &Store) -> Result<Option<Digest>, StoreError> {
        if self.attestations.is_empty() {
            return Ok(None);
        }
        let bytes = cooper_oci::json::to_vec(&self.attestations);
        store.blobs().put(&bytes).map(Some)
    }

    /// Returns the record that the store keeps.
    pub fn record(&self, size: u64) -> ImageRecord {
        ImageRecord {
            id: self.id.clone(),
            layers: self.layers.clone(),
            manifest: None,
            attestations: None,
            created: self.config.created.clone(),
            size,
        }
    }

    /// Packs the layers that are not packed yet, in parallel, and returns the manifest.
    ///
    /// Layers that came with an image keep the bytes they came in unless `format` forces
    /// another compression; those that only go by their tars, because their files' times were
    /// set, are packed as `format` says like all others.
    pub fn manifest(
        &self,
        layers: &Layers,
        format: &ImageFormat,
        docker: bool,
        tars: Tars,
    ) -> Result<Manifest, StoreError> {
        let compression = format.compression.unwrap_or(Compression::Gzip);
        let descriptors: Vec<Descriptor> = self
            .layers
            .par_iter()
            .map(|layer| {
                let brought = layers.original_blob(&layer.diff_id);
                // A layer that is not here can be sent on as it is elsewhere.
                let brought = brought.or_else(|| {
                    let away = || !layers.has(&layer.layer);
                    layer.blobs.first().cloned().filter(|_| away())
                });
                let streamed = || match (tars, compression) {
                    (Tars::Streamed, Compression::None) => layers.plain_tar(&layer.layer),
                    _ => Ok(None),
                };
                // Its tar holds the index of its chunks: what has the tar wants the chunks too.
                let chunked = || {
                    let own = layers.pending_blob(&layer.diff_id);
                    own.filter(|blob| {
                        compression == Compression::Gzip
                            && blob.annotations.contains_key(TOC_DIGEST)
                    })
                };
                let packed = match brought.filter(|_| !format.force).or_else(chunked) {
                    Some(blob) => blob,
                    None => match streamed()? {
                        Some(blob) => blob,
                        None => layers.pack(&layer.layer, compression, format.level)?,
                    },
                };
                Ok(for_manifest(&packed, docker))
            })
            .collect::<Result<_, StoreError>>()?;
        let config_type = if docker {
            media_type::DOCKER_CONFIG
        } else {
            media_type::OCI_CONFIG
        };
        let config = Descriptor::of(config_type, &self.config_bytes);
        let mut manifest = if docker {
            Manifest::docker(config, descriptors)
        } else {
            Manifest::oci(config, descriptors)
        };
        manifest.annotations =
            format.annotations(AnnotationPlace::Manifest, &self.config.platform());
        Ok(manifest)
    }
}

/// Returns a layer's descriptor with the media type of the manifest's family.
fn for_manifest(blob: &Descriptor, docker: bool) -> Descriptor {
    let compression = media_type::layer_compression(&blob.media_type).unwrap_or(Compression::Gzip);
    let layer = Descriptor::new(
        compression.layer_media_type(docker),
        blob.digest.clone(),
        blob.size,
    );
    let kept = [TOC_DIGEST, TAR_SIZE].into_iter();
    let kept = kept.filter_map(|name| Some((name, blob.annotations.get(name)?)));
    kept.fold(layer, |layer, (name, value)| {
        layer.with_annotation(name, value.clone())
    })
}

/// Writes a time as image configurations have it.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::new(time.secs, time.nanos as i32)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let at = |secs, nanos| rfc3339(Timestamp { secs, nanos });
        assert_eq!(at(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_700_000_000, 120_000_000), "2023-11-14T22:13:20.12Z");
        assert_eq!(at(1_700_000_000, 1), "2023-11-14T22:13:20.000000001Z");
    }
}
