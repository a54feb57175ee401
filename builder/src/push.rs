//! Pushing images of the store to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use cooper_cache::{Store, StoreError};
use cooper_oci::{Descriptor, Digest, Reference, media_type};
use thiserror::Error;

use crate::image::{Image, ImageSet, Packed, Tars};
use crate::options::ImageFormat;
use crate::progress::StepGuard;
use crate::registry::{Client, Event, PushImage, PushManifest, RegistryError, Watch};

/// Why an image could not be pushed.
#[derive(Debug, Error)]
pub enum PushError {
    /// The image has no name to push it under.
    #[error("there is no name to push the image under")]
    NoName,
    /// The registry refused, or could not be reached.
    #[error("cannot push {image}")]
    Registry {
        /// The name.
        image: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is pushed, and how.
pub struct PushRequest<'a> {
    /// The image, or those of several platforms.
    pub set: &'a ImageSet,
    /// The names to push it under.
    pub names: &'a [Reference],
    /// How its manifest and layers are written.
    pub format: &'a ImageFormat,
    /// The manifest that the only image was pulled with, which is then sent as it came.
    pub original: Option<(Descriptor, Vec<u8>)>,
    /// Whether the manifest is named by its digest alone.
    pub by_digest: bool,
    /// Brings in a layer's blob that is not in the store, when the registry turns out to need it.
    pub fetch: &'a (dyn Fn(&Descriptor) -> io::Result<()> + Sync),
    /// Repositories that have a layer's blob, besides those that the store knows of.
    pub elsewhere: BTreeMap<Digest, Vec<Reference>>,
    /// Asked often; once it says yes the push ends.
    pub canceled: &'a (dyn Fn() -> bool + Sync),
}

/// Pushes an image under all its names; returns the manifest's descriptor.
///
/// Layers that were packed before are sent as they are.
pub fn push_image(
    store: &Store,
    client: &Client,
    request: &PushRequest<'_>,
    step: &StepGuard,
) -> Result<Descriptor, PushError> {
    let packed = if let Some(original) = &request.original {
        Sent::as_it_came(request.set, original)
    } else {
        let docker = !request.format.oci_media_types.unwrap_or(true);
        let (set, names) = (request.set, request.names);
        Sent::packed(
            set,
            set.pack(&store.layers(), request.format, docker, names, Tars::Stored)?,
        )
    };
    let small = packed.small;
    let open = |blob: &Descriptor, offset: u64| open_blob(store, request, &small, blob, offset);
    let top = packed.top.clone();
    let mut push = PushImage {
        blobs: blobs(packed.layers, &small),
        manifests: packed.manifests,
        mount_from: BTreeMap::new(),
        open: &open,
    };
    let watch = |event: &Event<'_>| show(step, event);
    let watch = Watch {
        event: &watch,
        canceled: request.canceled,
    };
    if request.names.is_empty() {
        return Err(PushError::NoName);
    }
    for name in request.names {
        push.mount_from = mountable(store, &push.blobs, name);
        for (digest, known) in &request.elsewhere {
            let places = push.mount_from.entry(digest.clone()).or_default();
            places.extend(known.iter().filter(|one| is_near(one, name)).cloned());
        }
        let target = if request.by_digest {
            name.without_tag().with_digest(top.digest.clone())
        } else {
            name.with_default_tag()
        };
        client
            .push(&target, &push, watch)
            .map_err(|source| PushError::Registry {
                image: name.familiar(),
                source: Box::new(source),
            })?;
        for blob in &push.blobs {
            // It only saves time later: what was pushed was pushed.
            let _ = store.origins().note(&blob.digest, name);
        }
    }
    Ok(top)
}

/// Whether a blob of `other` can be mounted in the repository of `name`.
fn is_near(other: &Reference, name: &Reference) -> bool {
    other.domain() == name.domain() && other.path() != name.path()
}

/// Returns in which other repositories of the registry of `name` the blobs are known to be: where
/// they were pulled from, or pushed to before.
fn mountable(
    store: &Store,
    blobs: &[Descriptor],
    name: &Reference,
) -> BTreeMap<Digest, Vec<Reference>> {
    let near = |other: &Reference| is_near(other, name);
    let known = blobs.iter().map(|blob| {
        let origins = store.origins().of(&blob.digest).into_iter();
        (blob.digest.clone(), origins.filter(near).collect())
    });
    known.collect()
}

/// What is sent, byte for byte.
struct Sent {
    /// What the name will stand for: the last of the manifests.
    top: Descriptor,
    manifests: Vec<PushManifest>,
    layers: Vec<Descriptor>,
    /// What is no file of the store: configurations, and what is said of images.
    small: Vec<(Descriptor, Vec<u8>)>,
}

impl Sent {
    fn as_it_came(set: &ImageSet, (descriptor, bytes): &(Descriptor, Vec<u8>)) -> Self {
        let layers = set.images.iter().flat_map(|image| &image.layers);
        Self {
            top: descriptor.clone(),
            manifests: vec![PushManifest {
                descriptor: descriptor.clone(),
                bytes: bytes.clone(),
            }],
            layers: layers
                .filter_map(|layer| layer.blobs.first().cloned())
                .collect(),
            small: configs(set),
        }
    }

    fn packed(set: &ImageSet, packed: Packed) -> Self {
        let top = packed.top().clone();
        let mut small = configs(set);
        let mut layers = Vec::new();
        let mut manifests = Vec::new();
        for one in packed.manifests {
            layers.extend(one.manifest.layers);
            manifests.push(PushManifest {
                descriptor: one.descriptor,
                bytes: one.bytes,
            });
        }
        for said in packed.attestations {
            small.extend(said.blobs);
            manifests.push(PushManifest {
                descriptor: said.descriptor,
                bytes: said.bytes,
            });
        }
        let index = packed.index.into_iter();
        manifests.extend(index.map(|(descriptor, bytes)| PushManifest { descriptor, bytes }));
        Self {
            top,
            manifests,
            layers,
            small,
        }
    }
}

fn configs(set: &ImageSet) -> Vec<(Descriptor, Vec<u8>)> {
    let config = |image: &Image| {
        let bytes = image.config_bytes.clone();
        (Descriptor::of(media_type::OCI_CONFIG, &bytes), bytes)
    };
    set.images.iter().map(config).collect()
}

/// Layers and what is beside them, each once.
fn blobs(layers: Vec<Descriptor>, small: &[(Descriptor, Vec<u8>)]) -> Vec<Descriptor> {
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    layers
        .into_iter()
        .chain(small.iter().map(|(blob, _)| blob.clone()))
        .filter(|blob| seen.insert(blob.digest.clone()))
        .collect()
}

fn open_blob(
    store: &Store,
    request: &PushRequest<'_>,
    small: &[(Descriptor, Vec<u8>)],
    blob: &Descriptor,
    offset: u64,
) -> io::Result<Box<dyn Read>> {
    if let Some((_, bytes)) = small.iter().find(|(one, _)| one.digest == blob.digest) {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).unwrap_or_default();
        return Ok(Box::new(io::Cursor::new(rest.to_vec())));
    }
    if !store.blobs().has(&blob.digest) {
        (request.fetch)(blob)?;
    }
    let mut file: File = store.blobs().open(&blob.digest).map_err(io::Error::other)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(Box::new(file))
}

/// Shows how far each blob is.
pub(crate) fn show(step: &StepGuard, event: &Event<'_>) {
    match event {
        Event::Transfer {
            digest,
            done,
            total,
        } => {
            step.status(
                &format!("pushing {}", digest.short()),
                *done,
                Some(*total),
                done == total,
            );
        }
        Event::Exists { digest } => {
            step.log(format!("layer {} already exists\n", digest.short()).as_bytes());
        }
        Event::Mounted { digest, from } => {
            step.log(format!("layer {} mounted from {from}\n", digest.short()).as_bytes());
        }
        Event::Retrying { failure } => step.log(format!("retrying: {failure}\n").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use cooper_cache::StoreOptions;
    use cooper_oci::{ImageConfig, Platform};

    use super::*;
    use crate::http::testing::{Reply, TestServer};
    use crate::options::ProgressMode;
    use crate::progress::{Display, DisplayOptions};
    use crate::registry::{Credentials, RegistryConfig};

    #[test]
    fn a_push_that_nobody_wants_anymore_names_nothing() {
        let server = TestServer::start(|_| Reply::new(201, ""));
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("open");
        let config = ImageConfig::new(&Platform::host());
        let config_bytes = config.to_json();
        let image = Image {
            id: Digest::sha256(&config_bytes),
            config,
            config_bytes,
            layers: Vec::new(),
            attestations: Vec::new(),
        };
        let name: Reference = format!("{}/app", server.authority())
            .parse()
            .expect("valid");
        let request = PushRequest {
            set: &ImageSet::from(image),
            names: &[name],
            format: &ImageFormat::default(),
            original: None,
            by_digest: false,
            fetch: &|_| Ok(()),
            elsewhere: BTreeMap::new(),
            canceled: &|| true,
        };
        let display = Display::start(DisplayOptions::new(ProgressMode::Quiet, false));
        let step = display.progress().step("push");
        let client = Client::new(RegistryConfig::default(), Credentials::none());
        let error = push_image(&store, &client, &request, &step).expect_err("canceled");
        assert!(
            matches!(&error, PushError::Registry { source, .. }
                if matches!(**source, RegistryError::Canceled)),
            "{error:?}"
        );
        let sent = server.requests();
        assert!(!sent.iter().any(|r| r.contains("/manifests/")), "{sent:?}");
    }
}
