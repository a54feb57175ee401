//! Manifests and indexes from registry to registry, byte for byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};

use cooper_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference};
use tempfile::NamedTempFile;

use super::resolve::CONFIG_LIMIT;
use super::{Client, PushImage, PushManifest, RegistryError, Watch};

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDocument {
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// The manifest or index as it came.
    pub bytes: Vec<u8>,
}

impl Client {
    /// Fetches what `reference` names, a manifest or an index.
    pub fn document(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
    ) -> Result<RemoteDocument, RegistryError> {
        let (descriptor, bytes) = self
            .inner
            .fetch_document(&reference.with_default_tag(), &watch)?;
        Ok(RemoteDocument { descriptor, bytes })
    }

    /// Returns what platform the image of a manifest is for; of what is no image, none that
    /// anything runs on.
    pub fn platform(
        &self,
        reference: &Reference,
        document: &RemoteDocument,
        watch: Watch<'_>,
    ) -> Result<Platform, RegistryError> {
        let Ok(manifest) = Manifest::from_json(&document.bytes) else {
            return Ok(Platform::new("unknown", "unknown"));
        };
        let bytes = self.fetch_bytes(reference, &manifest.config, CONFIG_LIMIT, watch)?;
        let config = ImageConfig::from_json(&bytes);
        Ok(config.map_or_else(
            |_| Platform::new("unknown", "unknown"),
            |config| config.platform(),
        ))
    }

    /// Pushes an index of media type `kind` under `name`, with those of its images (each with
    /// where it is) that are not there yet.
    pub fn push_index(
        &self,
        name: &Reference,
        (kind, bytes): (&str, &[u8]),
        images: &[(Reference, Descriptor)],
        watch: Watch<'_>,
    ) -> Result<Descriptor, RegistryError> {
        let mut blobs: Vec<Descriptor> = Vec::new();
        let mut manifests = Vec::new();
        let mut mount_from: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        for (source, descriptor) in images {
            let place = source.without_tag().with_digest(descriptor.digest.clone());
            let document = self.document(&place, watch)?;
            if let Ok(manifest) = Manifest::from_json(&document.bytes) {
                for blob in manifest.layers.into_iter().chain([manifest.config]) {
                    mount_from
                        .entry(blob.digest.clone())
                        .or_default()
                        .push(source.clone());
                    blobs.push(blob);
                }
            }
            manifests.push(PushManifest {
                descriptor: descriptor.clone(),
                bytes: document.bytes,
            });
        }
        let top = Descriptor::of(kind, bytes);
        manifests.push(PushManifest {
            descriptor: top.clone(),
            bytes: bytes.to_vec(),
        });
        let copies = Copies {
            client: self,
            sources: &mount_from.clone(),
            files: Mutex::default(),
            watch,
        };
        let open = |blob: &Descriptor, offset: u64| copies.open(blob, offset);
        let image = PushImage {
            blobs,
            manifests,
            mount_from,
            open: &open,
        };
        self.push(name, &image, watch)?;
        Ok(top)
    }
}

/// Blobs that are on their way from one registry to another, in files as long as that takes.
struct Copies<'a> {
    client: &'a Client,
    sources: &'a BTreeMap<Digest, Vec<Reference>>,
    files: Mutex<BTreeMap<Digest, NamedTempFile>>,
    watch: Watch<'a>,
}

impl Copies<'_> {
    fn open(&self, blob: &Descriptor, offset: u64) -> io::Result<Box<dyn Read>> {
        let files = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files().get(&blob.digest).map(NamedTempFile::reopen);
        let mut file: File = if let Some(known) = known {
            known?
        } else {
            let fetched = self.fetch(blob)?;
            let file = fetched.reopen()?;
            files().insert(blob.digest.clone(), fetched);
            file
        };
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn fetch(&self, blob: &Descriptor) -> io::Result<NamedTempFile> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for source in self.sources.get(&blob.digest).into_iter().flatten() {
            match self
                .client
                .fetch_blob(source, blob, NamedTempFile::new, self.watch)
            {
                Ok(fetched) => return Ok(fetched),
                Err(error) => failure = io::Error::other(error),
            }
        }
        Err(failure)
    }
}
