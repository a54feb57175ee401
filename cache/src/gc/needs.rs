//! Who needs what: from images, holds and records to layers and blobs.

use std::collections::{HashMap, HashSet};

use cooper_oci::{Descriptor, Digest};

use crate::error::StoreError;
use crate::images::{ImageRecord, read_json};
use crate::layer::LayerId;
use crate::lease::{Mark, Moment, used_at};
use crate::store::Store;

/// One record and what keeps it whole.
#[derive(Debug)]
pub(super) struct RecordNeeds {
    pub(super) key: [u8; 32],
    /// When it was used last.
    pub(super) used: Moment,
    /// Layers that it needs, with the other names they go by.
    pub(super) layers: Vec<LayerId>,
    /// Whether they are all there.
    pub(super) whole: bool,
}

/// What images, holds and records need.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Layers that images and holds need.
    pub(super) rooted: HashSet<LayerId>,
    /// Blobs that images need for themselves: configs, manifests, layers as they were pulled.
    pub(super) rooted_blobs: HashSet<Digest>,
    /// All records.
    pub(super) records: Vec<RecordNeeds>,
    /// Blobs in which a layer is packed, or from which it can be unpacked.
    pub(super) packed: HashMap<LayerId, Vec<Digest>>,
    images: HashMap<LayerId, usize>,
}

impl Needs {
    /// Returns what `images`, all holds and all records of `store` need.
    pub(super) fn gather(store: &Store, images: &[ImageRecord]) -> Result<Self, StoreError> {
        let mut needs = Self::default();
        for image in images {
            needs.add_image(store, image);
        }
        for id in store.held()? {
            needs.rooted.extend(names(store, &id));
        }
        for (memo, id) in store.memos()? {
            if let Some(blob) = read_json::<Descriptor>(&memo)? {
                needs.packed.entry(id).or_default().push(blob.digest);
            }
        }
        for (_, diff_id) in store.by_diff_id("pending")? {
            if let Some(blob) = store.layers().noted_blob(&diff_id)
                && store.blobs().path(&blob.digest).exists()
            {
                // The only copy, perhaps, of a layer that another store made.
                for id in names(store, &LayerId::Pulled(diff_id)) {
                    let packed = needs.packed.entry(id).or_default();
                    packed.push(blob.digest.clone());
                }
            }
        }
        let records = store.records();
        for key in records.keys()? {
            let Some(used) = used_at(&records.path(&key), Mark::Modified) else {
                continue;
            };
            let found = records.needs(&key)?;
            needs.records.push(RecordNeeds {
                key,
                used,
                whole: found
                    .as_ref()
                    .is_some_and(|ids| ids.iter().all(|id| store.is_there(id))),
                layers: found
                    .unwrap_or_default()
                    .iter()
                    .flat_map(|id| names(store, id))
                    .collect(),
            });
        }
        Ok(needs)
    }

    fn add_image(&mut self, store: &Store, image: &ImageRecord) {
        self.rooted_blobs.insert(image.id.clone());
        let manifest = image.manifest.iter();
        self.rooted_blobs
            .extend(manifest.map(|manifest| manifest.digest.clone()));
        self.rooted_blobs.extend(image.attestations.clone());
        let mut own = HashSet::new();
        for layer in &image.layers {
            own.extend(names(store, &layer.layer));
            own.extend(names(store, &LayerId::Pulled(layer.diff_id.clone())));
            let blobs = layer.blobs.iter();
            self.rooted_blobs
                .extend(blobs.map(|blob| blob.digest.clone()));
        }
        for id in own {
            *self.images.entry(id.clone()).or_default() += 1;
            self.rooted.insert(id);
        }
    }

    /// Returns how many images need a layer.
    pub(super) fn images_of(&self, id: &LayerId) -> usize {
        self.images.get(id).copied().unwrap_or(0)
    }

    /// Returns the bytes of the blobs in which a layer is packed.
    pub(super) fn blob_bytes(&self, store: &Store, id: &LayerId) -> u64 {
        let blobs = self.packed.get(id).into_iter().flatten();
        blobs.map(|digest| store.blob_bytes(digest)).sum()
    }
}

/// Returns the names that a layer goes by: its own, and that of the built layer it is packed from.
fn names(store: &Store, id: &LayerId) -> Vec<LayerId> {
    let built = match id {
        LayerId::Pulled(diff_id) => store.layers().alias(diff_id),
        LayerId::Built(_) => None,
    };
    [Some(id.clone()), built].into_iter().flatten().collect()
}
