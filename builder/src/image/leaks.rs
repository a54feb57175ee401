//! Secrets in an image of the store that is about to leave it.
//!
//! What a build found in layers that it made (a failed step's, one of another stage, those of an
//! output that it refused) is noted beside them: such a layer goes into no archive and to no
//! registry, whatever image it has become part of. Credentials that nobody told of are looked for
//! on request, in each layer by itself: what a later one removes leaves with the one that has it.
//! A layer that came from a registry has left long ago and is not searched.

use cooper_cache::{ImageLayer, LayerId, Store, StoreError};
use serde_json::Value;

use super::Image;
use crate::secrecy::{Search, config_place};

/// Returns what must not leave with an image, each in a sentence.
pub fn leaks(
    store: &Store,
    image: &Image,
    search: Option<&Search>,
) -> Result<Vec<String>, StoreError> {
    let layers = store.layers();
    let mut found = Vec::new();
    for layer in &image.layers {
        let short = layer.diff_id.0.short();
        let noted = layers.noted_leaks(&layer.layer)?;
        found.extend(
            noted
                .into_iter()
                .map(|leak| format!("{leak}, in layer {short}")),
        );
        let Some(search) = search.filter(|_| !is_from_registry(store, layer)) else {
            continue;
        };
        let finds = search.in_layer(&layers, &layer.layer)?;
        found.extend(
            finds
                .into_iter()
                .map(|find| format!("{} is in {}, in layer {short}", find.what, find.path)),
        );
    }
    if let Some(search) = search {
        let config: Value = serde_json::from_slice(&image.config_bytes).unwrap_or_default();
        search.in_document(&config, &mut |place, what| {
            found.push(format!("{what} is in {}", config_place(place)));
        });
    }
    Ok(found)
}

fn is_from_registry(store: &Store, layer: &ImageLayer) -> bool {
    let LayerId::Pulled(diff_id) = &layer.layer else {
        return false;
    };
    let blob = store.layers().pending_blob(diff_id);
    blob.is_some_and(|blob| !store.origins().of(&blob.digest).is_empty())
}
