//! What `buildx imagetools inspect --format` shows: the manifest, the configuration, and what is
//! said of an image.
//!
//! ```text
//! Name        docker.io/library/app:1
//! Manifest    the index with its digest and size, or the descriptor of the manifest
//! Image       the configuration
//! Provenance  { SLSA: the predicate }
//! SBOM        { SPDX: the predicate }
//! ```
//!
//! If there are several platforms, the last three are maps of such things by platform.

use cooper_oci::{Descriptor, Index, Manifest, Reference};
use serde_json::{Map, Value, json};

use super::{Registries, parsed};
use crate::attest::{IN_TOTO, about, provenance, sbom};
use crate::registry::RemoteDocument;
use crate::report::Report;

/// The largest configuration or statement that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// Returns what is known of what a registry has under `name`, which is `top`.
pub(super) fn details(
    registries: &Registries,
    name: &Reference,
    top: &RemoteDocument,
) -> Result<Value, Report> {
    let reader = Reader { registries, name };
    let (manifest, known) = if let Ok(index) = Index::from_json(&top.bytes) {
        let mut manifest = parsed(&top.bytes);
        manifest["digest"] = top.descriptor.digest.to_string().into();
        manifest["size"] = top.descriptor.size.into();
        (manifest, reader.index(&index)?)
    } else {
        let mut known = Known::default();
        known
            .images
            .push((String::new(), reader.config(&top.bytes)?));
        let manifest = serde_json::to_value(&top.descriptor);
        (manifest.unwrap_or_default(), known)
    };
    let several = known.images.len() > 1;
    Ok(json!({
        "Name": name.to_string(),
        "Manifest": manifest,
        "Image": by_platform(known.images, several),
        "Provenance": by_platform(known.provenance, several),
        "SBOM": by_platform(known.packages, several),
    }))
}

/// Things with the platforms that they are of.
type ByPlatform = Vec<(String, Value)>;

#[derive(Default)]
struct Known {
    images: ByPlatform,
    provenance: ByPlatform,
    packages: ByPlatform,
}

fn by_platform(mut things: ByPlatform, several: bool) -> Value {
    if several {
        return Value::Object(things.into_iter().collect::<Map<_, _>>());
    }
    things.pop().map_or_else(|| json!({}), |(_, thing)| thing)
}

/// Reads what is below a name of a registry.
struct Reader<'a> {
    registries: &'a Registries,
    name: &'a Reference,
}

impl Reader<'_> {
    /// Returns what is known of the images of an index.
    fn index(&self, index: &Index) -> Result<Known, Report> {
        let mut known = Known::default();
        for entry in &index.manifests {
            let Some(image) = about(entry) else {
                known.images.push(self.image(entry)?);
                continue;
            };
            let subject = index.manifests.iter().find(|one| one.digest == image);
            let platform = subject.and_then(|one| one.platform.as_ref());
            let platform = platform.map(ToString::to_string).unwrap_or_default();
            self.said(entry, &platform, &mut known)?;
        }
        Ok(known)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<RemoteDocument, Report> {
        let name = self.name.without_tag().with_digest(entry.digest.clone());
        self.registries.document(&name)
    }

    fn blob(&self, blob: &Descriptor) -> Result<Value, Report> {
        let read = |client: &crate::registry::Client, watch: crate::registry::Watch<'_>| {
            client.fetch_bytes(self.name, blob, LARGEST, watch)
        };
        Ok(parsed(&self.registries.call(read)?))
    }

    /// Returns the configuration that a manifest names; nothing if it is of another kind.
    fn config(&self, manifest: &[u8]) -> Result<Value, Report> {
        match Manifest::from_json(manifest) {
            Ok(manifest) => self.blob(&manifest.config),
            Err(_) => Ok(Value::Null),
        }
    }

    /// Returns the platform and the configuration of an image of an index.
    fn image(&self, entry: &Descriptor) -> Result<(String, Value), Report> {
        let config = self.config(&self.manifest(entry)?.bytes)?;
        let platform = entry.platform.as_ref().map(ToString::to_string);
        Ok((platform.unwrap_or_default(), config))
    }

    /// Notes what is said of the image of a platform.
    fn said(&self, entry: &Descriptor, platform: &str, known: &mut Known) -> Result<(), Report> {
        let Ok(manifest) = Manifest::from_json(&self.manifest(entry)?.bytes) else {
            return Ok(());
        };
        let statements = manifest.layers.iter();
        for layer in statements.filter(|layer| layer.media_type == IN_TOTO) {
            let mut statement = self.blob(layer)?;
            let kind = statement["predicateType"].as_str().unwrap_or_default();
            let (list, key) = if kind == sbom::PREDICATE_TYPE {
                (&mut known.packages, "SPDX")
            } else if kind.starts_with(provenance::ANY_VERSION) {
                (&mut known.provenance, "SLSA")
            } else {
                continue;
            };
            let said = json!({ key: statement["predicate"].take() });
            // The first document is that of the image; those of stages follow.
            if !list.iter().any(|(known, _)| known == platform) {
                list.push((platform.to_owned(), said));
            }
        }
        Ok(())
    }
}
