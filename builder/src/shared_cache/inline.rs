//! A cache within an image: its configuration tells of its layers' keys.
//!
//! BuildKit's field `moby.buildkit.cache.v0` holds, in base64, the records of a list whose layers
//! are the image's own, base first. What cooper needs besides (what the layers are called by their
//! content, and when they were made) is in `cooper.cache.v1`, one entry a layer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_cache::{LayerId, Timestamp};
use cooper_oci::{Descriptor, Extra, ImageConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{Contents, Document, LayerNote, Offer, WireRecord, WireResult};
use crate::build::Root;

const RECORDS: &str = "moby.buildkit.cache.v0";
const LAYERS: &str = "cooper.cache.v1";

/// What is said of a layer of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    layer: LayerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
}

/// Returns the fields that tell of those `offers` that are part of `root`, the image's layers.
pub(crate) fn fields(offers: &[Offer], root: &Root) -> Extra {
    let mut records: Vec<WireRecord> = Vec::new();
    for offer in offers {
        let depth = offer.root.layers.len();
        if depth == 0 || !root.layers.starts_with(&offer.root.layers) {
            continue;
        }
        let result = WireResult { layer: depth - 1 };
        let mut fresh = Document::records(offer, &result);
        fresh.retain(|record| records.iter().all(|known| known.digest != record.digest));
        records.extend(fresh);
    }
    let layers: Vec<Own> = root
        .layers
        .iter()
        .map(|layer| Own {
            layer: layer.id.clone(),
            created: layer.created,
        })
        .collect();
    let mut fields = Extra::new();
    if !records.is_empty() {
        let encoded = STANDARD.encode(cooper_oci::json::to_vec(&records));
        fields.insert(RECORDS.to_owned(), encoded.into());
        let layers = serde_json::to_value(layers).unwrap_or_default();
        fields.insert(LAYERS.to_owned(), layers);
    }
    fields
}

/// Returns the cache in an image's configuration, if there is one; `blobs` are its layers.
pub(crate) fn read(config: &ImageConfig, blobs: &[Descriptor]) -> Result<Option<Contents>, String> {
    let Some(Value::String(encoded)) = config.extra.get(RECORDS) else {
        return Ok(None);
    };
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| format!("{RECORDS}: {error}"))?;
    let records: Vec<WireRecord> =
        serde_json::from_slice(&bytes).map_err(|error| format!("{RECORDS}: {error}"))?;
    let own: Vec<Own> = match config.extra.get(LAYERS) {
        Some(own) => {
            serde_json::from_value(own.clone()).map_err(|error| format!("{LAYERS}: {error}"))?
        }
        None => Vec::new(),
    };
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != blobs.len() || (own.len() != blobs.len() && !own.is_empty()) {
        return Err(format!(
            "the image has {} layers, its cache {} and its configuration {}",
            blobs.len(),
            own.len(),
            diff_ids.len()
        ));
    }
    let notes = diff_ids.iter().zip(blobs).enumerate();
    let notes = notes.map(|(at, (diff_id, blob))| {
        let own = own.get(at);
        let id = own.map_or_else(|| LayerId::Pulled(diff_id.clone()), |own| own.layer.clone());
        let created = own.and_then(|own| own.created);
        LayerNote::above(at, id, diff_id.clone(), blob.clone(), created)
    });
    Contents::of(notes.collect(), &records).map(Some)
}
