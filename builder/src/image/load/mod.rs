//! `cooper load`: images out of an archive, whichever builder wrote it.
//!
//! Read are OCI layouts and docker archives, old (`<id>/layer.tar`) and new
//! (`blobs/sha256/…`), plain, gzip, bzip2, xz or zstd, from one forward pass over a stream. Blobs go
//! straight into the store under the digest of their bytes; one that is named by another
//! digest is refused. Layers are unpacked when something needs their files.

mod contents;

use std::io::{self, Read};

use cooper_cache::{ImageLayer, ImageRecord, LayerId, PlatformImage, Store, StoreError};
use cooper_oci::{
    Compression, Descriptor, Digest, DocumentError, ImageConfig, Index, Manifest, Platform,
    Reference, media_type,
};
use serde::Deserialize;
use thiserror::Error;

use contents::Contents;

/// The largest document (index, manifest, configuration) that is read, in bytes.
const MAX_DOCUMENT: u64 = 32 << 20;
/// How deep indexes may nest.
const MAX_DEPTH: usize = 4;

/// Why an archive could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The stream is no tar, or broken.
    #[error("the archive cannot be read{}", after(last.as_deref()))]
    Archive {
        /// The last file that could be read.
        last: Option<String>,
        /// What the reader says.
        source: io::Error,
    },
    /// It is something else altogether.
    #[error("it is no archive: neither a tar, nor one in gzip, bzip2, xz or zstd")]
    NotAnArchive,
    /// Nothing in it says what images it holds.
    #[error("the archive has neither an index.json nor a manifest.json: it holds no images")]
    NoImages,
    /// A file that the archive itself names is missing.
    #[error("the archive lacks {name}, which its {by} names")]
    Missing {
        /// The file or blob.
        name: String,
        /// The document that names it.
        by: &'static str,
    },
    /// A document is malformed.
    #[error("{name} in the archive is malformed: {reason}")]
    Document {
        /// Which.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A document is too large to be one.
    #[error("{name} in the archive is larger than {MAX_DOCUMENT} bytes")]
    TooLarge {
        /// Which.
        name: String,
    },
    /// A blob is there, but not the one that is meant.
    #[error("the archive's {name} has another size than its {by} says")]
    Size {
        /// The blob.
        name: String,
        /// The document that names it.
        by: &'static str,
    },
    /// Indexes name indexes without end.
    #[error("{name} in the archive nests image indexes more than {MAX_DEPTH} deep")]
    Nesting {
        /// The index at the top.
        name: String,
    },
    /// It is no image archive that anybody needs.
    #[error("the archive holds {what}, more than any image archive")]
    Bomb {
        /// What there is too much of.
        what: &'static str,
    },
    /// A configuration and the list of layers do not agree.
    #[error(
        "image {image} has {diff_ids} layers by its configuration, but {layers} in the archive"
    )]
    LayerCount {
        /// The image.
        image: Digest,
        /// By its configuration.
        diff_ids: usize,
        /// In the archive.
        layers: usize,
    },
    /// A layer is not the one that the configuration names.
    #[error("layer {layer} of image {image} is not the one its configuration names")]
    WrongLayer {
        /// The layer's file or digest.
        layer: String,
        /// The image.
        image: Digest,
    },
    /// The archive's only image is for other platforms.
    #[error("the archive has no image for {wanted}; it has {available}")]
    NoPlatform {
        /// The platform asked for, or this machine's.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// A blob is corrupt, or the store failed.
    #[error("cannot take {name} from the archive")]
    Store {
        /// The file in the archive.
        name: String,
        /// Why.
        source: StoreError,
    },
}

fn after(last: Option<&str>) -> String {
    last.map(|name| format!(" after {name}"))
        .unwrap_or_default()
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: Digest,
    /// The names it has now.
    pub names: Vec<Reference>,
}

/// Loads all images of an archive and gives them the names it says; of those for several
/// platforms only those of `platforms`, if any are asked for.
pub fn load(
    store: &Store,
    archive: impl Read,
    platforms: &[Platform],
) -> Result<Vec<Loaded>, LoadError> {
    let contents = Contents::read(store, archive)?;
    let loader = Loader {
        store,
        host: Platform::host(),
        platforms,
        contents,
    };
    let index = loader.index()?;
    // Docker's own document knows one platform of each image.
    let several = |index: &Index| {
        let mut entries = index.manifests.iter();
        entries.any(|entry| media_type::is_index(&entry.media_type))
    };
    match (loader.contents.documents.get("manifest.json"), index) {
        (Some(bytes), index) if !index.as_ref().is_some_and(several) => loader.docker(bytes),
        (_, Some(index)) => loader.oci(&index),
        (Some(bytes), None) => loader.docker(bytes),
        (None, None) => Err(LoadError::NoImages),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct Loader<'a> {
    store: &'a Store,
    host: Platform,
    /// Those that are asked for; all if there are none.
    platforms: &'a [Platform],
    contents: Contents,
}

impl Loader<'_> {
    fn docker(&self, bytes: &[u8]) -> Result<Vec<Loaded>, LoadError> {
        let images: Vec<DockerImage> =
            serde_json::from_slice(bytes).map_err(|error| LoadError::Document {
                name: "manifest.json".to_owned(),
                reason: error.to_string(),
            })?;
        let mut loaded = Vec::with_capacity(images.len());
        for image in images {
            let mut blobs = Vec::with_capacity(image.layers.len());
            for layer in &image.layers {
                let (digest, size) = self.named(layer, "manifest.json")?;
                blobs.push((layer.clone(), self.layer_descriptor(digest, *size)?));
            }
            let (config, _) = self.named(&image.config, "manifest.json")?;
            let names = image.repo_tags.unwrap_or_default();
            let names = names
                .iter()
                .map(|name| reference(name))
                .collect::<Result<_, _>>()?;
            loaded.push(self.image(config, None, blobs, names)?);
        }
        Ok(loaded)
    }

    fn index(&self) -> Result<Option<Index>, LoadError> {
        let bytes = self.contents.documents.get("index.json");
        bytes
            .map(|bytes| Index::from_json(bytes).map_err(|error| malformed("index.json", &error)))
            .transpose()
    }

    fn oci(&self, index: &Index) -> Result<Vec<Loaded>, LoadError> {
        let mut loaded: Vec<Loaded> = Vec::new();
        for entry in &index.manifests {
            let names: Vec<Reference> = entry_name(entry).into_iter().collect();
            let one = match self.chosen(entry)?.as_slice() {
                [one] => self.oci_image(one, names)?,
                several => self.several(several, names)?,
            };
            match loaded.iter_mut().find(|known| known.id == one.id) {
                Some(known) => known.names.extend(one.names),
                None => loaded.push(one),
            }
        }
        Ok(loaded)
    }

    /// Returns the images of an entry for the platforms that are asked for; otherwise all of an
    /// index, or the one for this machine. There is at least one.
    fn chosen(&self, entry: &Descriptor) -> Result<Vec<Descriptor>, LoadError> {
        let mut chosen: Vec<Descriptor> = Vec::new();
        for platform in self.platforms {
            let one = self.pick(entry, platform)?;
            if chosen.iter().all(|known| known.digest != one.digest) {
                chosen.push(one);
            }
        }
        if chosen.is_empty() {
            chosen = self.members(entry)?;
        }
        if chosen.len() > 1 || !self.platforms.is_empty() {
            return Ok(chosen);
        }
        Ok(vec![self.pick(entry, &self.host)?])
    }

    /// Returns the images of an index, as far as they are in the archive: `docker save` leaves
    /// out those that it does not have.
    fn members(&self, entry: &Descriptor) -> Result<Vec<Descriptor>, LoadError> {
        if !media_type::is_index(&entry.media_type) {
            return Ok(Vec::new());
        }
        let name = entry.digest.to_string();
        let index = Index::from_json(&self.blob(&entry.digest, "index")?)
            .map_err(|e| malformed(&name, &e))?;
        let here = |member: &Descriptor| {
            let platform = member.platform.as_ref();
            platform.is_some_and(|platform| platform.os != "unknown")
                && media_type::is_manifest(&member.media_type)
                && self.store.blobs().has(&member.digest)
        };
        Ok(index.manifests.into_iter().filter(here).collect())
    }

    /// Loads the images of several platforms; the names stand for all of them.
    fn several(&self, members: &[Descriptor], names: Vec<Reference>) -> Result<Loaded, LoadError> {
        let mut platforms = Vec::with_capacity(members.len());
        for member in members {
            let loaded = self.oci_image(member, Vec::new())?;
            platforms.push(PlatformImage {
                platform: member.platform.clone().unwrap_or_default().normalized(),
                image: loaded.id,
            });
        }
        let stored = |source| LoadError::Store {
            name: "index".to_owned(),
            source,
        };
        for name in &names {
            let images = self.store.images();
            images.tag_platforms(name, &platforms).map_err(stored)?;
        }
        let own = platforms
            .iter()
            .find(|one| self.host.matches(&one.platform));
        Ok(Loaded {
            id: own.unwrap_or(&platforms[0]).image.clone(),
            names,
        })
    }

    /// Follows indexes down to the manifest for a platform.
    fn pick(&self, entry: &Descriptor, platform: &Platform) -> Result<Descriptor, LoadError> {
        let top = entry.digest.to_string();
        let mut entry = entry.clone();
        for _ in 0..=MAX_DEPTH {
            if !media_type::is_index(&entry.media_type) {
                return Ok(entry);
            }
            let name = entry.digest.to_string();
            let index = Index::from_json(&self.blob(&entry.digest, "index")?)
                .map_err(|e| malformed(&name, &e))?;
            entry = index
                .pick(platform)
                .cloned()
                .ok_or_else(|| LoadError::NoPlatform {
                    wanted: platform.to_string(),
                    available: index
                        .platforms()
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", "),
                })?;
        }
        Err(LoadError::Nesting { name: top })
    }

    /// Refuses an image that is for none of the platforms asked for.
    fn check(&self, found: &Platform) -> Result<(), LoadError> {
        if self.platforms.is_empty() || self.platforms.iter().any(|one| one.matches(found)) {
            return Ok(());
        }
        Err(LoadError::NoPlatform {
            wanted: self
                .platforms
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            available: found.to_string(),
        })
    }

    fn oci_image(
        &self,
        descriptor: &Descriptor,
        names: Vec<Reference>,
    ) -> Result<Loaded, LoadError> {
        let bytes = self.blob(&descriptor.digest, "index.json")?;
        let manifest =
            Manifest::from_json(&bytes).map_err(|e| malformed(descriptor.digest.as_str(), &e))?;
        let mut blobs = Vec::with_capacity(manifest.layers.len());
        for layer in &manifest.layers {
            let name = layer.digest.to_string();
            let by = "manifest";
            match self.store.blobs().size(&layer.digest) {
                Some(size) if size == layer.size => {}
                Some(_) => return Err(LoadError::Size { name, by }),
                None => return Err(LoadError::Missing { name, by }),
            }
            blobs.push((layer.digest.to_string(), layer.clone()));
        }
        self.image(&manifest.config.digest, Some(descriptor), blobs, names)
    }

    fn image(
        &self,
        id: &Digest,
        manifest: Option<&Descriptor>,
        blobs: Vec<(String, Descriptor)>,
        names: Vec<Reference>,
    ) -> Result<Loaded, LoadError> {
        let config = self.blob(id, "manifest")?;
        let config = ImageConfig::from_json(&config).map_err(|e| malformed(id.as_str(), &e))?;
        self.check(&config.platform())?;
        let diff_ids = config.rootfs.diff_ids;
        if diff_ids.len() != blobs.len() {
            return Err(LoadError::LayerCount {
                image: id.clone(),
                diff_ids: diff_ids.len(),
                layers: blobs.len(),
            });
        }
        let mut layers = Vec::with_capacity(blobs.len());
        for (diff_id, (name, blob)) in diff_ids.into_iter().zip(blobs) {
            let plain = media_type::layer_compression(&blob.media_type) == Some(Compression::None);
            if plain && blob.digest != diff_id.0 {
                return Err(LoadError::WrongLayer {
                    layer: name,
                    image: id.clone(),
                });
            }
            layers.push(
                self.layer(diff_id, blob)
                    .map_err(|source| LoadError::Store { name, source })?,
            );
        }
        let record = ImageRecord {
            id: id.clone(),
            size: layers
                .iter()
                .flat_map(|layer| &layer.blobs)
                .map(|blob| blob.size)
                .sum(),
            layers,
            manifest: manifest.cloned(),
            attestations: None,
            created: config.created,
        };
        let images = self.store.images();
        let stored = |source| LoadError::Store {
            name: id.to_string(),
            source,
        };
        images.put(&record).map_err(stored)?;
        for name in &names {
            images.tag(name, id).map_err(stored)?;
        }
        Ok(Loaded {
            id: id.clone(),
            names,
        })
    }

    fn layer(
        &self,
        diff_id: cooper_oci::DiffId,
        blob: Descriptor,
    ) -> Result<ImageLayer, StoreError> {
        let layers = self.store.layers();
        let layer = layers.name_of(&diff_id);
        if let LayerId::Pulled(diff_id) = &layer {
            layers.register_blob(diff_id, &blob)?;
        }
        Ok(ImageLayer {
            diff_id,
            layer,
            blobs: vec![blob],
        })
    }

    fn named(&self, name: &str, by: &'static str) -> Result<&(Digest, u64), LoadError> {
        self.contents.file(name).ok_or_else(|| LoadError::Missing {
            name: name.to_owned(),
            by,
        })
    }

    fn blob(&self, digest: &Digest, by: &'static str) -> Result<Vec<u8>, LoadError> {
        let name = digest.to_string();
        match self.store.blobs().size(digest) {
            None => Err(LoadError::Missing { name, by }),
            Some(size) if size > MAX_DOCUMENT => Err(LoadError::TooLarge { name }),
            Some(_) => self
                .store
                .blobs()
                .read(digest)
                .map_err(|source| LoadError::Store { name, source }),
        }
    }

    /// Docker archives do not say how a layer is compressed; its bytes do.
    fn layer_descriptor(&self, digest: &Digest, size: u64) -> Result<Descriptor, LoadError> {
        let read = || -> Result<Vec<u8>, StoreError> {
            let mut head = Vec::new();
            let path = self.store.blobs().path(digest);
            let file = self.store.blobs().open(digest)?;
            file.take(8)
                .read_to_end(&mut head)
                .map_err(|source| StoreError::Io {
                    action: "read",
                    path,
                    source,
                })?;
            Ok(head)
        };
        let head = read().map_err(|source| LoadError::Store {
            name: digest.to_string(),
            source,
        })?;
        let compression = Compression::detect(&head);
        Ok(Descriptor::new(
            compression.layer_media_type(false),
            digest.clone(),
            size,
        ))
    }
}

fn malformed(name: &str, error: &DocumentError) -> LoadError {
    LoadError::Document {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}

fn reference(name: &str) -> Result<Reference, LoadError> {
    name.parse::<Reference>()
        .map(|name| name.with_default_tag())
        .map_err(|error| LoadError::Document {
            name: "manifest.json".to_owned(),
            reason: format!("{name:?}: {error}"),
        })
}

/// The name of an index entry: containerd's annotation, or a reference name that is a whole one.
fn entry_name(entry: &Descriptor) -> Option<Reference> {
    if let Some(name) = entry.annotations.get("io.containerd.image.name") {
        return name
            .parse::<Reference>()
            .ok()
            .map(|name| name.with_default_tag());
    }
    let name = entry.annotations.get("org.opencontainers.image.ref.name")?;
    if !name.contains(['/', ':']) {
        return None;
    }
    name.parse::<Reference>()
        .ok()
        .map(|name| name.with_default_tag())
}
