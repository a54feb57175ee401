//! Base images: from the local store, an OCI layout or a registry.
//!
//! Only manifests and configurations are read here. Layers are noted as
//! [`RemoteLayers`](super::remote::RemoteLayers) and fetched when a step mounts them or an
//! output needs their bytes.

use std::io;
use std::path::{Path, PathBuf};

use cooper_cache::{ImageRecord, LayerId, Lookup, Store, StoreError};
use cooper_frontend::image::{ImageName, ImageRequest, ResolvedImage};
use cooper_oci::{
    Descriptor, DocumentError, ImageConfig, Index, Manifest, Platform, Reference, media_type,
};
use thiserror::Error;

use super::remote::{Origin, RemoteLayers, layout_blob};
use crate::image::Image;
use crate::options::{NamedContext, Pull};
use crate::registry::{RegistryError, Watch};

/// How deep an OCI layout's index may nest.
const MAX_INDEX_DEPTH: usize = 4;
/// The largest manifest or configuration that is read, in bytes.
const MAX_DOCUMENT: u64 = 32 << 20;

/// Why a base image cannot be used.
#[derive(Debug, Error)]
pub enum ResolveImageError {
    /// No registry has it, and neither has the store.
    #[error("{name}: not in the local store, and no registry gave it")]
    Registry {
        /// The name as written.
        name: String,
        /// What was tried.
        source: Box<RegistryError>,
    },
    /// It is not in the store, and no registry may be asked.
    #[error("{name}: not in the local store, and --pull=never forbids asking a registry")]
    NotPulled {
        /// The name as written.
        name: String,
    },
    /// The image is for another platform.
    #[error("{name} is an image for {found}, but {wanted} is needed")]
    Platform {
        /// The name as written.
        name: String,
        /// The image's platform.
        found: String,
        /// The platform wanted.
        wanted: String,
    },
    /// An OCI layout cannot be read.
    #[error("{name}: cannot read {}", path.display())]
    Layout {
        /// The name as written.
        name: String,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A document of an OCI layout is wrong.
    #[error("{name}: {} is not a valid document", path.display())]
    Document {
        /// The name as written.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DocumentError,
    },
    /// A blob of an OCI layout does not have its digest.
    #[error("{name}: {} does not have the digest that it is named by", path.display())]
    Corrupt {
        /// The name as written.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The layout has no such image.
    #[error("{name}: the layout {} has no image {wanted}; it has {available}", dir.display())]
    NotInLayout {
        /// The name as written.
        name: String,
        /// The layout.
        dir: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// A named context is a directory where an image is needed.
    #[error("the build context \"{name}\" is not an image")]
    NotAnImage {
        /// The context.
        name: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds images for one build.
pub(crate) struct Resolver<'a> {
    pub(crate) store: &'a Store,
    pub(crate) remote: &'a RemoteLayers,
    pub(crate) contexts: &'a [(String, NamedContext)],
    pub(crate) pull: Pull,
}

impl Resolver<'_> {
    /// Answers one request of the plan.
    pub(crate) fn resolve(
        &self,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        match (&request.key.name, &request.reference) {
            (ImageName::Context(context), _) => self.context(context, request),
            (ImageName::Reference(_), Some(reference)) => self.reference(reference, request),
            (ImageName::Reference(name), None) => {
                Err(ResolveImageError::NotAnImage { name: name.clone() })
            }
        }
    }

    fn context(
        &self,
        name: &str,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let given = self
            .contexts
            .iter()
            .rev()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        match given.map(|(_, context)| context) {
            Some(NamedContext::Image(reference)) => self.reference(reference, request),
            Some(NamedContext::OciLayout { dir, tag, digest }) => {
                let layout = LayoutImage {
                    name: &request.name,
                    dir,
                    platform: &request.platform,
                };
                let wanted = digest
                    .as_ref()
                    .map(ToString::to_string)
                    .or_else(|| tag.clone());
                layout.resolve(wanted.as_deref(), self.remote)
            }
            Some(NamedContext::Dir(_)) | None => Err(ResolveImageError::NotAnImage {
                name: name.to_owned(),
            }),
        }
    }

    /// The store answers first, unless a pull is asked for or its image is for another platform.
    fn reference(
        &self,
        reference: &Reference,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let reference = reference.with_default_tag();
        let mut other_platform = None;
        if self.pull != Pull::Always
            && let Some(record) = self.stored(&reference)?
        {
            let config = Image::load(self.store, &record)?.config;
            if request.platform.matches(&config.platform()) {
                return Ok(stored_image(config, &record, reference));
            }
            other_platform = Some(config.platform());
        }
        if self.pull == Pull::Never {
            return Err(match other_platform {
                Some(found) => wrong_platform(request, &found),
                None => ResolveImageError::NotPulled {
                    name: request.name.clone(),
                },
            });
        }
        match self.pulled(&reference, request) {
            Err(ResolveImageError::Registry { .. }) if other_platform.is_some() => {
                Err(wrong_platform(
                    request,
                    &other_platform.unwrap_or_else(|| request.platform.clone()),
                ))
            }
            other => other,
        }
    }

    fn stored(&self, reference: &Reference) -> Result<Option<ImageRecord>, StoreError> {
        if let Some(record) = self.store.images().by_reference(reference)? {
            return Ok(Some(record));
        }
        match self.store.images().resolve(&reference.familiar())? {
            Lookup::Found(record) => Ok(Some(*record)),
            _ => Ok(None),
        }
    }

    fn pulled(
        &self,
        reference: &Reference,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let resolved = self
            .remote
            .client()
            .resolve(reference, &request.platform, Watch::none())
            .map_err(|source| ResolveImageError::Registry {
                name: request.name.clone(),
                source: Box::new(source),
            })?;
        if !request.platform.matches(&resolved.config.platform()) {
            return Err(wrong_platform(request, &resolved.config.platform()));
        }
        let origin = Origin::Registry(resolved.reference.clone());
        let layers = note_layers(
            self.store,
            self.remote,
            &origin,
            &resolved.config,
            &resolved.manifest,
        );
        Ok(ResolvedImage {
            config: resolved.config,
            layers,
            reference: Some(resolved.reference),
        })
    }
}

fn wrong_platform(request: &ImageRequest, found: &Platform) -> ResolveImageError {
    ResolveImageError::Platform {
        name: request.name.clone(),
        found: found.to_string(),
        wanted: request.platform.to_string(),
    }
}

/// Notes where an image's layers are and returns their names, base first.
///
/// A layer that was built here and has the same tar goes by its own name, so that what was
/// built on it is found again.
pub(crate) fn note_layers(
    store: &Store,
    remote: &RemoteLayers,
    origin: &Origin,
    config: &ImageConfig,
    manifest: &Manifest,
) -> Vec<String> {
    let layers = store.layers();
    let pairs = config.rootfs.diff_ids.iter().zip(&manifest.layers);
    pairs
        .map(|(diff_id, blob)| {
            let built = layers.alias(diff_id).filter(|id| layers.has(id));
            built
                .unwrap_or_else(|| remote.add(origin.clone(), diff_id.clone(), blob.clone()))
                .to_string()
        })
        .collect()
}

fn stored_image(config: ImageConfig, record: &ImageRecord, reference: Reference) -> ResolvedImage {
    let layers = record
        .layers
        .iter()
        .map(|layer| layer.layer.to_string())
        .collect();
    ResolvedImage {
        config,
        layers,
        reference: Some(reference),
    }
}

/// One image of an OCI layout directory.
struct LayoutImage<'a> {
    name: &'a str,
    dir: &'a Path,
    platform: &'a Platform,
}

impl LayoutImage<'_> {
    fn resolve(
        &self,
        wanted: Option<&str>,
        remote: &RemoteLayers,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let path = self.dir.join("index.json");
        let bytes = self.read(&path)?;
        let index = Index::from_json(&bytes).map_err(|source| self.document(&path, source))?;
        let mut descriptor = self.choose(&index, wanted)?.clone();
        for _ in 0..MAX_INDEX_DEPTH {
            if !media_type::is_index(&descriptor.media_type) {
                break;
            }
            let path = layout_blob(self.dir, &descriptor);
            let nested = Index::from_json(&self.blob(&descriptor)?)
                .map_err(|source| self.document(&path, source))?;
            descriptor = nested
                .pick(self.platform)
                .cloned()
                .ok_or_else(|| self.no_platform(&nested))?;
        }
        self.image(&descriptor, remote)
    }

    fn image(
        &self,
        descriptor: &Descriptor,
        remote: &RemoteLayers,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let manifest = Manifest::from_json(&self.blob(descriptor)?)
            .map_err(|source| self.document(&layout_blob(self.dir, descriptor), source))?;
        let config = ImageConfig::from_json(&self.blob(&manifest.config)?)
            .map_err(|source| self.document(&layout_blob(self.dir, &manifest.config), source))?;
        if !self.platform.matches(&config.platform()) {
            return Err(ResolveImageError::Platform {
                name: self.name.to_owned(),
                found: config.platform().to_string(),
                wanted: self.platform.to_string(),
            });
        }
        let origin = Origin::Layout(self.dir.to_owned());
        let layers: Vec<String> = config
            .rootfs
            .diff_ids
            .iter()
            .zip(&manifest.layers)
            .map(|(diff_id, blob)| {
                remote
                    .add(origin.clone(), diff_id.clone(), blob.clone())
                    .to_string()
            })
            .collect();
        Ok(ResolvedImage {
            config,
            layers,
            reference: None,
        })
    }

    /// Picks an entry by digest or tag; without either the one called latest, or the only one.
    fn choose<'i>(
        &self,
        index: &'i Index,
        wanted: Option<&str>,
    ) -> Result<&'i Descriptor, ResolveImageError> {
        let tag = |entry: &Descriptor| {
            entry
                .annotations
                .get("org.opencontainers.image.ref.name")
                .cloned()
        };
        let found = match wanted {
            Some(wanted) => index.manifests.iter().find(|entry| {
                entry.digest.as_str() == wanted || tag(entry).as_deref() == Some(wanted)
            }),
            None => index
                .manifests
                .iter()
                .find(|entry| tag(entry).as_deref() == Some("latest"))
                .or(index
                    .manifests
                    .first()
                    .filter(|_| index.manifests.len() == 1)),
        };
        found.ok_or_else(|| ResolveImageError::NotInLayout {
            name: self.name.to_owned(),
            dir: self.dir.to_owned(),
            wanted: wanted.unwrap_or("latest").to_owned(),
            available: listed(
                index
                    .manifests
                    .iter()
                    .map(|entry| tag(entry).unwrap_or_else(|| entry.digest.to_string())),
            ),
        })
    }

    fn no_platform(&self, index: &Index) -> ResolveImageError {
        ResolveImageError::Platform {
            name: self.name.to_owned(),
            found: listed(index.platforms().iter().map(ToString::to_string)),
            wanted: self.platform.to_string(),
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ResolveImageError> {
        let path = layout_blob(self.dir, descriptor);
        let bytes = self.read(&path)?;
        if descriptor.verifies(&bytes) {
            Ok(bytes)
        } else {
            Err(ResolveImageError::Corrupt {
                name: self.name.to_owned(),
                path,
            })
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, ResolveImageError> {
        let failed = |source| ResolveImageError::Layout {
            name: self.name.to_owned(),
            path: path.to_owned(),
            source,
        };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > MAX_DOCUMENT {
            return Err(failed(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "too large for a document",
            )));
        }
        std::fs::read(path).map_err(failed)
    }

    fn document(&self, path: &Path, source: DocumentError) -> ResolveImageError {
        ResolveImageError::Document {
            name: self.name.to_owned(),
            path: path.to_owned(),
            source,
        }
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Parses the name of a layer as the front end keeps it.
pub(crate) fn layer_id(name: &str) -> Result<LayerId, StoreError> {
    name.parse().map_err(|_| StoreError::Invalid {
        what: "layer name",
        value: name.to_owned(),
    })
}
