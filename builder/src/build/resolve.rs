//! Base images: from the local store, an OCI layout or a registry.
//!
//! Only manifests and configurations are read here. Layers are noted as
//! [`RemoteLayers`] and fetched when a step mounts them or an
//! output needs their bytes.

use std::io;
use std::path::{Path, PathBuf};

use cooper_cache::{ImageRecord, LayerId, Lookup, Store, StoreError};
use cooper_frontend::image::{ImageName, ImageRequest, ResolvedImage};
use cooper_oci::{
    Descriptor, DiffId, DocumentError, ImageConfig, Index, Manifest, Platform, Reference,
    media_type,
};
use thiserror::Error;

use super::remote::{Origin, RemoteLayers};
use crate::image::Image;
use crate::options::{NamedContext, Pull};
use crate::pull;
use crate::registry::{RegistryError, ShortNames, Watch};

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
    /// None of the images that a short name can mean is to be had.
    #[error("{name}: none of {tried} is to be had")]
    Search {
        /// The name as written.
        name: String,
        /// What it can mean.
        tried: String,
        /// What the last registry said.
        source: Option<Box<ResolveImageError>>,
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
    /// The manifest and the configuration speak of different images.
    #[error("{name}: the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// The name as written.
        name: String,
        /// Layers of the manifest.
        layers: usize,
        /// Layers of the configuration.
        diff_ids: usize,
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
    /// How names without a registry are understood.
    pub(crate) short_names: &'a ShortNames,
    /// Says when nobody waits for the answer anymore.
    pub(crate) canceled: &'a (dyn Fn() -> bool + Sync),
}

impl Resolver<'_> {
    /// Answers one request of the plan.
    pub(crate) fn resolve(
        &self,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        match (&request.key.name, &request.reference) {
            (ImageName::Context(context), _) => self.context(context, request),
            (ImageName::Reference(_), Some(reference)) => self.named(reference, request),
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
                    notes: self.notes(),
                    name: &request.name,
                    dir,
                    platform: &request.platform,
                };
                let wanted = digest
                    .as_ref()
                    .map(ToString::to_string)
                    .or_else(|| tag.clone());
                layout.resolve(wanted.as_deref())
            }
            Some(
                NamedContext::Dir(_)
                | NamedContext::Git(_)
                | NamedContext::Http(_)
                | NamedContext::Target(_),
            )
            | None => Err(ResolveImageError::NotAnImage {
                name: name.to_owned(),
            }),
        }
    }

    /// Tries what a name without a registry can mean, in order.
    fn named(
        &self,
        reference: &Reference,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let meanings = self.short_names.meanings(&request.name, reference);
        let mut tried = Vec::with_capacity(meanings.len());
        for meaning in &meanings {
            match self.reference(meaning, request) {
                Err(error @ ResolveImageError::Registry { .. }) => tried.push((meaning, error)),
                answer => return answer,
            }
        }
        let names: Vec<_> = tried.iter().map(|(name, _)| name.to_string()).collect();
        match (tried.pop(), names.as_slice()) {
            (Some((_, error)), [_]) => Err(error),
            (last, _) => Err(ResolveImageError::Search {
                name: request.name.clone(),
                tried: names.join(", "),
                source: last.map(|(_, error)| Box::new(error)),
            }),
        }
    }

    /// The store answers first, unless a pull is asked for or its image is for another platform. An
    /// image that a registry or a layout has for another platform alone is taken, as BuildKit does;
    /// a check tells of it.
    fn reference(
        &self,
        reference: &Reference,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let reference = reference.with_default_tag();
        let mut other_platform = None;
        if let Some(record) = self.stored(&reference, &request.platform)?
            && (self.pull != Pull::Always || self.is_current(&reference, &record))
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
        match (self.pulled(&reference, request), other_platform) {
            (Err(ResolveImageError::Registry { .. }), Some(found)) => {
                Err(wrong_platform(request, &found))
            }
            (answer, _) => answer,
        }
    }

    /// Whether the registry still means this image by the name.
    fn is_current(&self, reference: &Reference, record: &ImageRecord) -> bool {
        let now = self.remote.client().digest_of(reference, self.watch());
        let known = record.manifest.as_ref().map(|manifest| &manifest.digest);
        now.is_ok_and(|now| Some(&now.digest) == known)
    }

    fn notes(&self) -> Notes<'_> {
        Notes {
            store: self.store,
            remote: self.remote,
        }
    }

    fn watch(&self) -> Watch<'_> {
        Watch {
            event: &|_| {},
            canceled: &self.canceled,
        }
    }

    fn stored(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<ImageRecord>, StoreError> {
        let found = match self.store.images().by_platform(reference, platform)? {
            Some(record) => Some(record),
            None => match self.store.images().resolve(&reference.familiar())? {
                Lookup::Found(record) => Some(*record),
                Lookup::Missing | Lookup::Ambiguous(_) => None,
            },
        };
        // An image whose layers have been collected is as good as none.
        let layers = self.store.layers();
        Ok(found.filter(|record| record.layers.iter().all(|layer| layers.has(&layer.layer))))
    }

    fn pulled(
        &self,
        reference: &Reference,
        request: &ImageRequest,
    ) -> Result<ResolvedImage, ResolveImageError> {
        let resolved = self
            .remote
            .client()
            .resolve(reference, &request.platform, self.watch())
            .map_err(|source| ResolveImageError::Registry {
                name: request.name.clone(),
                source: Box::new(source),
            })?;
        pull::note_origins(self.store, &resolved);
        let origin = Origin::Registry(resolved.reference.clone());
        let layers = self
            .notes()
            .layers(&origin, &resolved.config, &resolved.manifest);
        let answer = ResolvedImage {
            config: resolved.config.clone(),
            layers: layers.into(),
            reference: Some(resolved.reference.clone()),
            digest: Some(resolved.descriptor.digest.clone()),
        };
        self.remote.found(resolved);
        Ok(answer)
    }
}

fn wrong_platform(request: &ImageRequest, found: &Platform) -> ResolveImageError {
    ResolveImageError::Platform {
        name: request.name.clone(),
        found: found.to_string(),
        wanted: request.platform.to_string(),
    }
}

/// Notes where the layers of an image are.
struct Notes<'a> {
    store: &'a Store,
    remote: &'a RemoteLayers,
}

impl Notes<'_> {
    /// Returns the names of the layers, base first; those that were not built here are noted.
    fn layers(&self, origin: &Origin, config: &ImageConfig, manifest: &Manifest) -> Vec<String> {
        let layers = self.store.layers();
        let note = |(diff_id, blob): (&DiffId, &Descriptor)| {
            let layer = self.remote.name_of(&layers, diff_id);
            if matches!(layer, LayerId::Pulled(_)) || !layers.has(&layer) {
                self.remote
                    .add(origin.clone(), layer.clone(), diff_id.clone(), blob.clone());
            }
            layer.to_string()
        };
        let diff_ids = config.rootfs.diff_ids.iter();
        diff_ids.zip(&manifest.layers).map(note).collect()
    }
}

fn stored_image(config: ImageConfig, record: &ImageRecord, reference: Reference) -> ResolvedImage {
    let layers: Vec<String> = record
        .layers
        .iter()
        .map(|layer| layer.layer.to_string())
        .collect();
    // What was built here has no manifest: that is made when an image leaves the store.
    let manifest = record.manifest.as_ref().map(|manifest| &manifest.digest);
    let digest = manifest.unwrap_or(&record.id).clone();
    ResolvedImage {
        config,
        layers: layers.into(),
        reference: Some(reference),
        digest: Some(digest),
    }
}

/// One image of an OCI layout directory.
struct LayoutImage<'a> {
    notes: Notes<'a>,
    name: &'a str,
    dir: &'a Path,
    platform: &'a Platform,
}

impl LayoutImage<'_> {
    fn resolve(&self, wanted: Option<&str>) -> Result<ResolvedImage, ResolveImageError> {
        let path = self.dir.join("index.json");
        let bytes = self.read(&path)?;
        let index = Index::from_json(&bytes).map_err(|source| self.document(&path, source))?;
        let mut descriptor = self.choose(&index, wanted)?.clone();
        for _ in 0..MAX_INDEX_DEPTH {
            if !media_type::is_index(&descriptor.media_type) {
                break;
            }
            let path = self.path(&descriptor);
            let nested = Index::from_json(&self.blob(&descriptor)?)
                .map_err(|source| self.document(&path, source))?;
            descriptor = nested
                .pick(self.platform)
                .cloned()
                .ok_or_else(|| self.no_platform(&nested))?;
        }
        self.image(&descriptor)
    }

    fn image(&self, descriptor: &Descriptor) -> Result<ResolvedImage, ResolveImageError> {
        let manifest = Manifest::from_json(&self.blob(descriptor)?)
            .map_err(|source| self.document(&self.path(descriptor), source))?;
        let config = ImageConfig::from_json(&self.blob(&manifest.config)?)
            .map_err(|source| self.document(&self.path(&manifest.config), source))?;
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(ResolveImageError::LayerCount {
                name: self.name.to_owned(),
                layers,
                diff_ids,
            });
        }
        let origin = Origin::Layout(self.dir.to_owned());
        let layers = self.notes.layers(&origin, &config, &manifest);
        Ok(ResolvedImage {
            config,
            layers: layers.into(),
            reference: None,
            digest: Some(descriptor.digest.clone()),
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

    fn path(&self, blob: &Descriptor) -> PathBuf {
        self.dir.join(blob.digest.layout_path())
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ResolveImageError> {
        let path = self.path(descriptor);
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
