//! Images and their names.
//!
//! An image is one JSON file by config digest, a name one JSON file by the
//! hash of the reference; both are replaced by rename, so that processes may
//! tag at once and the last one wins.
//!
//! A name can stand for one thing on several platforms: an image each. Such images are
//! images like others; only the name knows that they belong together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cooper_oci::{Descriptor, DiffId, Digest, Platform, Reference};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{IoContext, StoreError};
use crate::layer::LayerId;
use crate::store::Shared;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// Digest of the layer's tar, as in the config.
    pub diff_id: DiffId,
    /// The layer in this store.
    pub layer: LayerId,
    /// Blobs that hold the layer, as far as known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Descriptor>,
}

/// An image in the store; its config is a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of the config blob: the image id.
    pub id: Digest,
    /// Layers, base first.
    pub layers: Vec<ImageLayer>,
    /// The manifest a pulled image came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Descriptor>,
    /// A blob with what is said of the image by whoever built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestations: Option<Digest>,
    /// When the image was created, RFC 3339, as in its config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Bytes of all layers, unpacked.
    #[serde(default)]
    pub size: u64,
}

/// One of the images that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformImage {
    /// The platform that it is for, in normal form.
    pub platform: Platform,
    /// The image.
    pub image: Digest,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) reference: Reference,
    /// What the name means where no platform is asked for.
    pub(crate) image: Digest,
    /// The images of all platforms; empty for a name that stands for one image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) platforms: Vec<PlatformImage>,
}

impl Tag {
    /// Returns all images that the name stands for, each once.
    pub(crate) fn images(&self) -> Vec<&Digest> {
        let mut images = vec![&self.image];
        for member in &self.platforms {
            if !images.contains(&&member.image) {
                images.push(&member.image);
            }
        }
        images
    }

    /// Returns the image for `platform`, the closest if there are several.
    fn image_for(&self, platform: &Platform) -> &Digest {
        closest(&self.platforms, platform).map_or(&self.image, |member| &member.image)
    }
}

fn closest<'a>(members: &'a [PlatformImage], platform: &Platform) -> Option<&'a PlatformImage> {
    let ranked = members
        .iter()
        .filter_map(|member| Some((platform.rank(&member.platform)?, member)));
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, member)| member)
}

/// Which image a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Exactly this one.
    Found(Box<ImageRecord>),
    /// None.
    Missing,
    /// A short id that several images begin with.
    Ambiguous(Vec<Digest>),
}

/// The images of a store.
#[derive(Debug, Clone)]
pub struct Images {
    shared: Arc<Shared>,
}

impl Images {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Stores an image record; its config blob should be there already.
    pub fn put(&self, record: &ImageRecord) -> Result<(), StoreError> {
        self.shared
            .write_atomic(&self.shared.layout.image(&record.id), &json(record))
    }

    /// Returns the image with this id.
    pub fn get(&self, id: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        read_json(&self.shared.layout.image(id))
    }

    /// Gives an image a name, taking it from another image if need be.
    pub fn tag(&self, reference: &Reference, id: &Digest) -> Result<(), StoreError> {
        let path = self.tag_path(reference);
        let same = |tag: Tag| tag.image == *id && tag.platforms.is_empty();
        if read_json::<Tag>(&path)?.is_some_and(same) {
            return Ok(());
        }
        let tag = Tag {
            reference: reference.clone(),
            image: id.clone(),
            platforms: Vec::new(),
        };
        self.shared.write_atomic(&path, &json(&tag))
    }

    /// Gives a name to images of one thing for several platforms. Without a platform the name
    /// means this machine's image, or the first if there is none.
    pub fn tag_platforms(
        &self,
        reference: &Reference,
        platforms: &[PlatformImage],
    ) -> Result<(), StoreError> {
        let own = closest(platforms, &Platform::host());
        let Some(default) = own.or(platforms.first()) else {
            return Ok(());
        };
        let tag = Tag {
            reference: reference.clone(),
            image: default.image.clone(),
            platforms: platforms.to_vec(),
        };
        self.shared
            .write_atomic(&self.tag_path(reference), &json(&tag))
    }

    /// Returns the images of all platforms that a name stands for; none if it stands for one
    /// image, or for nothing.
    pub fn platforms(&self, reference: &Reference) -> Result<Vec<PlatformImage>, StoreError> {
        let tag: Option<Tag> = read_json(&self.tag_path(reference))?;
        Ok(tag.map_or_else(Vec::new, |tag| tag.platforms))
    }

    /// Takes a name away; returns the image it named.
    pub fn untag(&self, reference: &Reference) -> Result<Option<Digest>, StoreError> {
        let path = self.tag_path(reference);
        let tag: Option<Tag> = read_json(&path)?;
        remove(&path)?;
        Ok(tag.map(|tag| tag.image))
    }

    /// Returns the image that `reference` names, as it is written there.
    pub fn by_reference(&self, reference: &Reference) -> Result<Option<ImageRecord>, StoreError> {
        match read_json::<Tag>(&self.tag_path(reference))? {
            Some(tag) => self.get(&tag.image),
            None => Ok(None),
        }
    }

    /// Returns the image that `reference` names for `platform`. A name that stands for one image
    /// means that image, whatever it is for.
    pub fn by_platform(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<ImageRecord>, StoreError> {
        match read_json::<Tag>(&self.tag_path(reference))? {
            Some(tag) => self.get(tag.image_for(platform)),
            None => Ok(None),
        }
    }

    /// Finds an image by name (without a tag: `latest`), id, or prefix of an id's digits.
    pub fn resolve(&self, name: &str) -> Result<Lookup, StoreError> {
        if let Ok(reference) = name.parse::<Reference>()
            && let Some(found) = self.by_reference(&reference.with_default_tag())?
        {
            return Ok(Lookup::Found(Box::new(found)));
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if prefix.len() < 2 || !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Lookup::Missing);
        }
        let mut ids: Vec<Digest> = self
            .ids()?
            .into_iter()
            .filter(|id| id.hex().starts_with(prefix))
            .collect();
        if ids.len() > 1 {
            return Ok(Lookup::Ambiguous(ids));
        }
        let found = ids.pop().map(|id| self.get(&id)).transpose()?.flatten();
        Ok(found.map_or(Lookup::Missing, |record| Lookup::Found(Box::new(record))))
    }

    /// Returns all image ids, sorted.
    pub fn ids(&self) -> Result<Vec<Digest>, StoreError> {
        let dir = self.shared.layout.dir("images/sha256");
        let mut ids = Vec::new();
        for item in fs::read_dir(&dir).during("list", &dir)? {
            let name = item.during("list", &dir)?.file_name();
            ids.extend(format!("sha256:{}", name.to_string_lossy()).parse::<Digest>());
        }
        ids.sort();
        Ok(ids)
    }

    /// Returns all images with their names, sorted by id.
    pub fn list(&self) -> Result<Vec<(ImageRecord, Vec<Reference>)>, StoreError> {
        let tags = self.tags()?;
        let mut images = Vec::new();
        for id in self.ids()? {
            // One that vanishes meanwhile was removed by another process.
            if let Some(record) = self.get(&id)? {
                let named = tags.iter().filter(|(_, image)| *image == id);
                images.push((
                    record,
                    named.map(|(reference, _)| reference.clone()).collect(),
                ));
            }
        }
        Ok(images)
    }

    /// Returns all names with the images that each stands for, sorted; a name that stands for
    /// several platforms comes with each of them.
    pub fn tags(&self) -> Result<Vec<(Reference, Digest)>, StoreError> {
        let dir = self.shared.layout.dir("refs");
        let mut tags = Vec::new();
        for item in fs::read_dir(&dir).during("list", &dir)? {
            let path = item.during("list", &dir)?.path();
            if let Some(tag) = read_json::<Tag>(&path)? {
                let images = tag.images().into_iter().cloned();
                tags.extend(images.map(|image| (tag.reference.clone(), image)));
            }
        }
        tags.sort_by_cached_key(|(reference, _)| reference.to_string());
        Ok(tags)
    }

    /// Returns when an image got the latest of its names; nothing if it has none.
    pub fn named_at(&self, id: &Digest) -> Result<Option<SystemTime>, StoreError> {
        let mut latest = None;
        for (reference, _) in self.tags()?.iter().filter(|(_, image)| image == id) {
            let path = self.tag_path(reference);
            match fs::metadata(&path).and_then(|meta| meta.modified()) {
                // Another process took the name away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                named => latest = latest.max(Some(named.during("read", &path)?)),
            }
        }
        Ok(latest)
    }

    /// Forgets an image and all its names (a name that stands for other platforms, too, keeps those); its layers and blobs stay for the collector.
    pub fn remove(&self, id: &Digest) -> Result<(), StoreError> {
        for (reference, _) in self.tags()?.into_iter().filter(|(_, image)| image == id) {
            let mut left = self.platforms(&reference)?;
            left.retain(|member| member.image != *id);
            if left.is_empty() {
                remove(&self.tag_path(&reference))?;
            } else {
                self.tag_platforms(&reference, &left)?;
            }
        }
        remove(&self.shared.layout.image(id))
    }

    fn tag_path(&self, reference: &Reference) -> PathBuf {
        let name = blake3::hash(reference.to_string().as_bytes()).to_hex();
        self.shared.layout.dir("refs").join(name.as_str())
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data always serialises")
}

/// Reads a JSON file; nothing if it is not there, or was damaged (fsck reports that).
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match fs::read(path) {
        Ok(data) => Ok(serde_json::from_slice(&data).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, StoreOptions};

    fn platform(text: &str) -> Platform {
        text.parse().expect("valid")
    }

    fn member(text: &str) -> PlatformImage {
        PlatformImage {
            platform: platform(text),
            image: Digest::sha256(text),
        }
    }

    #[test]
    fn a_name_stands_for_the_images_of_several_platforms() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("open");
        let images = store.images();
        let members = ["linux/s390x", "linux/arm/v6", "linux/arm/v7"].map(member);
        for one in &members {
            let record = ImageRecord {
                id: one.image.clone(),
                layers: Vec::new(),
                manifest: None,
                attestations: None,
                created: None,
                size: 0,
            };
            images.put(&record).expect("put");
        }
        let name: Reference = "multi:1".parse().expect("valid");
        images.tag_platforms(&name, &members).expect("tag");

        let id = |text: &str| {
            let found = images.by_platform(&name, &platform(text)).expect("read");
            found.expect("an image").id
        };
        assert_eq!(id("linux/arm/v7"), members[2].image);
        assert_eq!(id("linux/arm/v6"), members[1].image);
        // The closest that runs there; what runs on none means the default: the first here.
        assert_eq!(id("linux/arm64"), members[2].image);
        assert_eq!(id("linux/riscv64"), members[0].image);
        let default = images.by_reference(&name).expect("read").expect("an image");
        assert_eq!(default.id, members[0].image);
        let listed = images.list().expect("list");
        assert!(
            listed.iter().all(|(_, names)| *names == [name.clone()]),
            "{listed:?}"
        );

        // Without one of them it stands for the others; a new meaning replaces all.
        images.remove(&members[0].image).expect("remove");
        assert_eq!(images.platforms(&name).expect("read"), members[1..]);
        images.tag(&name, &members[1].image).expect("tag");
        assert_eq!(images.platforms(&name).expect("read"), []);
        images.remove(&members[1].image).expect("remove");
        assert_eq!(images.by_reference(&name).expect("read"), None);
    }
}
