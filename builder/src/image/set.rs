//! What leaves the store under one name: an image, or an index of images for several platforms.

use cooper_cache::{Layers, StoreError};
use cooper_oci::{Descriptor, Index, Manifest, Platform};

use super::Image;
use crate::options::{AnnotationPlace, ImageFormat};

/// An image, or one for each of several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// The images, in the order asked for; never none.
    pub images: Vec<Image>,
    /// Whether an index holds them; there is one of necessity if there are several.
    pub indexed: bool,
}

/// An image set as it leaves the store.
#[derive(Debug, Clone)]
pub struct Packed {
    /// A manifest for each image, in their order.
    pub manifests: Vec<PackedManifest>,
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
            indexed: false,
        }
    }
}

impl ImageSet {
    /// Returns the set of `images`, one for each platform.
    pub fn new(images: Vec<Image>) -> Self {
        Self {
            indexed: images.len() > 1,
            images,
        }
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
    pub fn pack(
        &self,
        layers: &Layers,
        format: &ImageFormat,
        docker: bool,
    ) -> Result<Packed, StoreError> {
        let mut manifests = Vec::with_capacity(self.images.len());
        for image in &self.images {
            let manifest = image.manifest(layers, format, docker)?;
            let bytes = manifest.to_json();
            manifests.push(PackedManifest {
                descriptor: Descriptor::of(manifest.media_type(), &bytes),
                manifest,
                bytes,
            });
        }
        let index = self.indexed.then(|| self.index(&manifests, format, docker));
        Ok(Packed { manifests, index })
    }

    fn index(
        &self,
        manifests: &[PackedManifest],
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
        let mut index = if docker {
            Index::docker(entries.collect())
        } else {
            Index::oci(entries.collect())
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
