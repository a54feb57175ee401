//! A shared cache in a registry, by itself or within an image.

use std::collections::BTreeMap;
use std::io::Read;

use cooper_oci::{Descriptor, ImageConfig, Index, Manifest, Reference, media_type};

use super::document::Document;
use super::layout::list_of;
use super::{Bundle, CONFIG_TYPE, Contents, MAX_DOCUMENT, Sent, SharedCacheError, inline};
use crate::registry::{Client, Event, PushImage, PushManifest, Watch};

/// How many images of an index are looked into for a cache.
const MAX_IMAGES: usize = 64;

/// Reads the cache that `reference` names: of its own, or in its image or images.
pub(crate) fn load(
    client: &Client,
    reference: &Reference,
    watch: Watch<'_>,
) -> Result<Contents, SharedCacheError> {
    let (top, bytes) = client.manifest(reference, watch)?;
    let place = reference.familiar();
    let malformed = |reason| SharedCacheError::Malformed {
        place: place.clone(),
        reason,
    };
    let images = match index(&top, &bytes) {
        Some(index) if !names_list(&index) => index.manifests,
        _ => match list_of(&bytes, &place) {
            Ok(list) => {
                let list = client.fetch_bytes(reference, &list, MAX_DOCUMENT, watch)?;
                return Document::read(&list).map_err(malformed);
            }
            Err(_) => vec![top],
        },
    };
    let mut found: Option<Contents> = None;
    for image in images.iter().take(MAX_IMAGES) {
        let by_digest = reference.without_tag().with_digest(image.digest.clone());
        let (_, bytes) = client.manifest(&by_digest, watch)?;
        // An attestation, for example, is no image.
        let Ok(manifest) = Manifest::from_json(&bytes) else {
            continue;
        };
        if !media_type::is_config(&manifest.config.media_type) {
            continue;
        }
        let config = client.fetch_bytes(reference, &manifest.config, MAX_DOCUMENT, watch)?;
        let Ok(config) = ImageConfig::from_json(&config) else {
            continue;
        };
        if let Some(contents) = inline::read(&config, &manifest.layers).map_err(malformed)? {
            match &mut found {
                Some(known) => known.join(contents),
                None => found = Some(contents),
            }
        }
    }
    found.ok_or(SharedCacheError::NoCache { place })
}

fn index(top: &Descriptor, bytes: &[u8]) -> Option<Index> {
    media_type::is_index(&top.media_type)
        .then(|| Index::from_json(bytes).ok())
        .flatten()
}

fn names_list(index: &Index) -> bool {
    let mut entries = index.manifests.iter();
    entries.any(|entry| entry.media_type == CONFIG_TYPE)
}

/// Writes a cache to `reference`. What the registry has, there or in a repository that is known
/// to have it, is not sent.
pub(crate) fn store(
    client: &Client,
    reference: &Reference,
    bundle: &Bundle<'_>,
    event: &(dyn Fn(&Event<'_>) + Sync),
) -> Result<Sent, SharedCacheError> {
    let (top, manifest, list) = bundle.manifest();
    let here = |from: &Reference| from.domain() == reference.domain();
    let mut mount_from = BTreeMap::new();
    for blob in &bundle.blobs {
        let mut known = (bundle.elsewhere)(blob);
        known.retain(here);
        if !known.is_empty() {
            mount_from.insert(blob.digest.clone(), known);
        }
    }
    let open = |blob: &Descriptor, offset: u64| -> std::io::Result<Box<dyn Read>> {
        if blob.digest != list.digest {
            return (bundle.open)(blob, offset);
        }
        let mut bytes = std::io::Cursor::new(bundle.config.clone());
        bytes.set_position(offset);
        Ok(Box::new(bytes))
    };
    let blobs = bundle.blobs.iter().chain([&list]).cloned();
    let push = PushImage {
        blobs: blobs.collect(),
        manifests: vec![PushManifest {
            descriptor: top,
            bytes: manifest,
        }],
        mount_from,
        open: &open,
    };
    let watch = Watch {
        event,
        canceled: bundle.canceled,
    };
    let pushed = client.push(&reference.with_default_tag(), &push, watch)?;
    Ok(Sent {
        blobs: pushed.sent,
        present: pushed.present,
    })
}
