//! What leaves the store under one name: an image, or an index of images for several platforms.

use cooper_cache::{Layers, StoreError};
use cooper_oci::{Descriptor, Index, Manifest, Platform, Reference};

use super::Image;
use crate::attest::{AttestationManifest, Subject};
use crate::options::{AnnotationPlace, ImageFormat};

/// An image, or one for each of several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// The images, in the order asked for; never none.
    pub images: Vec<Image>,
    /// Whether they are one thing for several platforms, which an index holds.
    pub several: bool,
}

/// Where the layers are that leave the store uncompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tars {
    /// In the store, like all others.
    Stored,
    /// Nowhere yet, if the store lacks them: they are made when they are written.
    Streamed,
}

/// An image set as it leaves the store.
#[derive(Debug, Clone)]
pub struct Packed {
    /// A manifest for each image, in their order.
    pub manifests: Vec<PackedManifest>,
    /// What is said of them: a manifest for each image of which something is.
    pub attestations: Vec<AttestationManifest>,
    /// The index that names them, with its bytes.
    pub index: Option<(Descriptor, Vec<u8>)>,
}

/// A manifest and its bytes.
#[derive(Debug, Clone)]
pub struct PackedManifest {
    /// What names it in an index: its platform is not stated.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl From<Image> for ImageSet {
    fn from(image: Image) -> Self {
        Self {
            images: vec![image],
            several: false,
        }
    }
}

impl ImageSet {
    /// Returns the set of `images`, one for each platform.
    pub fn new(images: Vec<Image>) -> Self {
        Self {
            several: images.len() > 1,
            images,
        }
    }

    /// Whether an index names the images when they leave the store: several need one, and so does
    /// what is said of one.
    pub fn indexed(&self) -> bool {
        self.several || self.is_attested()
    }

    /// Whether something is said of the images.
    pub fn is_attested(&self) -> bool {
        self.images
            .iter()
            .any(|image| !image.attestations.is_empty())
    }

    /// Returns the same images with nothing said of them.
    #[must_use]
    pub fn without_attestations(&self) -> Self {
        let mut plain = self.clone();
        for image in &mut plain.images {
            image.attestations.clear();
        }
        plain
    }

    /// Returns the image of this machine's platform, or the first if there is none.
    pub fn default_image(&self) -> &Image {
        let host = Platform::host();
        let ranked = self
            .images
            .iter()
            .filter_map(|image| Some((host.rank(&image.config.platform())?, image)));
        let own = ranked.min_by_key(|(rank, _)| *rank);
        own.map_or(&self.images[0], |(_, image)| image)
    }

    /// Packs what is not packed yet and makes the manifests, and the index if there is one.
    ///
    /// What is said of an image names it by `names`, and is in documents of OCI's alone.
    pub fn pack(
        &self,
        layers: &Layers,
        format: &ImageFormat,
        docker: bool,
        names: &[Reference],
        tars: Tars,
    ) -> Result<Packed, StoreError> {
        let docker = docker && !self.is_attested();
        let mut manifests = Vec::with_capacity(self.images.len());
        let mut attestations = Vec::new();
        for image in &self.images {
            let manifest = image.manifest(layers, format, docker, tars)?;
            let bytes = manifest.to_json();
            let descriptor = Descriptor::of(manifest.media_type(), &bytes);
            if !image.attestations.is_empty() {
                let platform = image.config.platform().normalized();
                let subjects = Subject::image(names, &platform, &descriptor.digest);
                let said = &image.attestations;
                let said = AttestationManifest::new(said, &subjects, &descriptor, format.artifacts);
                attestations.push(said);
            }
            manifests.push(PackedManifest {
                descriptor,
                manifest,
                bytes,
            });
        }
        let index = self
            .indexed()
            .then(|| self.index(&manifests, &attestations, format, docker));
        Ok(Packed {
            manifests,
            attestations,
            index,
        })
    }

    fn index(
        &self,
        manifests: &[PackedManifest],
        attestations: &[AttestationManifest],
        format: &ImageFormat,
        docker: bool,
    ) -> (Descriptor, Vec<u8>) {
        let entries = manifests.iter().zip(&self.images).map(|(packed, image)| {
            let platform = image.config.platform().normalized();
            let own = format.annotations(AnnotationPlace::ManifestDescriptor, &platform);
            let entry = packed.descriptor.clone().with_platform(platform);
            own.into_iter().fold(entry, |entry, (name, value)| {
                entry.with_annotation(name, value)
            })
        });
        let about = attestations.iter().map(|one| one.descriptor.clone());
        let entries = entries.chain(about).collect();
        let mut index = if docker {
            Index::docker(entries)
        } else {
            Index::oci(entries)
        };
        let of_index = format.annotations(AnnotationPlace::Index, &Platform::host());
        index.annotations.extend(of_index);
        let bytes = index.to_json();
        (Descriptor::of(index.media_type(), &bytes), bytes)
    }
}

impl Packed {
    /// Returns what the set is known by: the index, or the only manifest.
    pub fn top(&self) -> &Descriptor {
        match &self.index {
            Some((descriptor, _)) => descriptor,
            None => &self.manifests[0].descriptor,
        }
    }
}
