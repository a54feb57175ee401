//! The outputs of a target, one after the other, from its images.

use std::collections::BTreeMap;
use std::io::Write;

use cooper_cache::{ImageRecord, LayerId, MergedTree, PlatformImage, RelPath};
use cooper_oci::{Descriptor, Digest, Platform, Reference};
use serde_json::Value;

use super::Built;
use super::engine::Engine;
use super::error::BuildError;
use super::leaks::Clearance;
use super::output::Root;
use crate::attest::provenance::PREDICATE_TYPE;
use crate::attest::{Attestation, with_statements};
use crate::export::{
    ExportError, Layout, export_archive, export_directory, export_tar, to_new_file,
};
use crate::image::{Image, ImageSet};
use crate::options::{ArchiveOutput, BuildOptions, ImageOutput, Output};
use crate::progress::{Progress, StepGuard};
use crate::push::{PushRequest, push_image};

/// What a target came to: its images and their files, a platform each.
pub(super) struct Made<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: &'a BuildOptions,
    pub(super) set: ImageSet,
    /// Platform and root filesystem of each image of the set.
    pub(super) roots: Vec<(&'a Platform, &'a Root)>,
    /// What the metadata file tells of how each image was made.
    pub(super) told: Vec<Value>,
    /// What the build of this target is called.
    pub(super) reference: String,
    pub(super) progress: &'a Progress,
    /// Whether they may leave.
    pub(super) clearance: &'a Clearance<'a>,
}

/// Writes all outputs, then the image ID for `--iidfile`.
pub(super) fn write(made: &Made<'_>, label: &str) -> Result<Built, BuildError> {
    let options = made.options;
    let mut built = Built {
        id: Some(made.set.default_image().id.clone()),
        indexed: made.set.several,
        reference: made.reference.clone(),
        provenance: made.provenance(),
        ..Built::default()
    };
    for output in &options.outputs {
        let step = made.progress.step(heading(output, label));
        let result = made.one(output, &step);
        let result = step.end_with(result)?;
        built.manifest = result.or(built.manifest);
        let own = match output {
            Output::Image(to) => &to.names,
            Output::Oci(to) | Output::Docker(to) => &to.names,
            Output::Local { .. } | Output::Tar { .. } | Output::CacheOnly => continue,
        };
        built.names = names(own, &options.tags)
            .iter()
            .map(ToString::to_string)
            .collect();
    }
    if let (Some(path), Some(id)) = (&options.iidfile, built.digest()) {
        write_file(path, id.to_string().as_bytes())?;
    }
    Ok(built)
}

fn heading(output: &Output, label: &str) -> String {
    let what = match output {
        Output::Image(to) if to.push.is_some() && !to.store => "pushing image",
        Output::Image(_) => "exporting to image",
        Output::Oci(_) => "exporting to oci image format",
        Output::Docker(_) => "exporting to docker image format",
        Output::Local { .. } => "exporting to client directory",
        Output::Tar { .. } => "exporting to client tarball",
        Output::CacheOnly => "keeping the result in the cache",
    };
    if label.is_empty() {
        what.to_owned()
    } else {
        format!("[{label}] {what}")
    }
}

fn names<'a>(own: &'a [Reference], tags: &'a [Reference]) -> &'a [Reference] {
    if own.is_empty() { tags } else { own }
}

impl Made<'_> {
    fn one(&self, output: &Output, step: &StepGuard) -> Result<Option<Descriptor>, BuildError> {
        match output {
            Output::CacheOnly => Ok(None),
            Output::Image(to) => {
                self.clearance.get()?;
                self.to_image(to, step)
            }
            Output::Oci(to) => self.archive(to, Layout::Oci).map(Some),
            Output::Docker(to) => self.archive(to, Layout::Docker).map(Some),
            Output::Local { dest, split, mode } => {
                self.clearance.get()?;
                for (below, tree) in self.trees(*split)? {
                    export_directory(&tree, &below.under(dest), *mode)?;
                }
                Ok(None)
            }
            Output::Tar { dest, split } => {
                self.clearance.get()?;
                let trees = self.trees(*split)?;
                let trees: Vec<_> = trees.iter().map(|(at, tree)| (at.clone(), tree)).collect();
                export_tar(&trees, dest)?;
                Ok(None)
            }
        }
    }

    /// Returns the files of each platform and the directory that they go to, with what is said of
    /// them beside them.
    fn trees(&self, split: Option<bool>) -> Result<Vec<(RelPath, MergedTree)>, BuildError> {
        let split = split.unwrap_or(self.set.several);
        let mut trees = Vec::with_capacity(self.roots.len());
        for ((platform, root), image) in self.roots.iter().zip(&self.set.images) {
            let directory = platform.to_string().replace('/', "_");
            let internal = |source| BuildError::Internal { source };
            let tree = self.engine.root_tree(root).map_err(internal)?;
            let below = if split {
                RelPath::clean(&directory)
            } else {
                RelPath::root()
            };
            let apart = (self.set.several && !split).then_some(&*directory);
            trees.push((below, self.with_statements(tree, image, apart)?));
        }
        Ok(trees)
    }

    /// Returns a tree with what is said of it; several in one directory tell theirs apart by the
    /// platform's name.
    fn with_statements(
        &self,
        tree: MergedTree,
        image: &Image,
        apart: Option<&str>,
    ) -> Result<MergedTree, BuildError> {
        let provenance = self.options.attest.provenance.as_ref();
        let inline = provenance.is_some_and(|asked| asked.inline_only);
        let wanted = |said: &&Attestation| !(inline && said.predicate_type == PREDICATE_TYPE);
        let name = |file: &str| match (apart, file.split_once('.')) {
            (None, _) => file.to_owned(),
            (Some(platform), Some((stem, rest))) => format!("{stem}.{platform}.{rest}"),
            (Some(platform), None) => format!("{file}.{platform}"),
        };
        let said = image.attestations.iter().filter(wanted);
        let said: Vec<_> = said.map(|said| (name(&said.file_name), said)).collect();
        if said.is_empty() {
            return Ok(tree);
        }
        let dir = self.engine.scratch("attestations");
        let time = self.engine.now();
        Ok(with_statements(&tree, &said, time, &dir)?)
    }

    /// Returns what the metadata file has of how the images were made, each with its key.
    fn provenance(&self) -> Vec<(String, Value)> {
        const KEY: &str = "buildx.build.provenance";
        let platforms = self.roots.iter().map(|(platform, _)| platform);
        let keyed = platforms.zip(&self.told).map(|(platform, told)| {
            let key = if self.set.several {
                format!("{KEY}/{platform}")
            } else {
                KEY.to_owned()
            };
            (key, told.clone())
        });
        keyed.collect()
    }

    fn archive(&self, to: &ArchiveOutput, layout: Layout) -> Result<Descriptor, BuildError> {
        if layout == Layout::Docker && self.set.several {
            return Err(ExportError::ManifestList.into());
        }
        self.fetch_all()?;
        self.fetch_originals()?;
        let names = names(&to.names, &self.options.tags).to_vec();
        let plain;
        let set = if layout == Layout::Docker && self.set.is_attested() {
            self.progress
                .warn("a docker archive holds no attestations; type=oci does");
            plain = self.set.without_attestations();
            &plain
        } else {
            &self.set
        };
        let layers = self.engine.layers();
        let clear = || self.clearance.get();
        let mut written = export_archive(layers, &[(set, names)], to, layout, &clear)?;
        written
            .pop()
            .map(|one| one.manifest)
            .ok_or_else(|| BuildError::Solver {
                message: "an archive without a manifest was written".to_owned(),
            })
    }

    fn to_image(
        &self,
        to: &ImageOutput,
        step: &StepGuard,
    ) -> Result<Option<Descriptor>, BuildError> {
        let names = names(&to.names, &self.options.tags);
        if to.store {
            self.store(names, step)?;
        }
        let Some(push) = to.push else { return Ok(None) };
        if to.format.force {
            self.fetch_all()?;
        }
        self.fetch_originals()?;
        let request = PushRequest {
            set: &self.set,
            names,
            format: &to.format,
            original: None,
            by_digest: push.by_digest,
            fetch: &|blob| self.fetch_blob(blob),
            elsewhere: self.elsewhere(names),
            canceled: &|| self.engine.remote().canceled(),
        };
        let (store, client) = (self.engine.store(), self.engine.remote().client());
        Ok(Some(push_image(store, client, &request, step)?))
    }

    /// Keeps the images under their names. One that is there already only gets the names.
    fn store(&self, names: &[Reference], step: &StepGuard) -> Result<(), BuildError> {
        let store = self.engine.store();
        let images = store.images();
        let mut members = Vec::with_capacity(self.set.images.len());
        for image in &self.set.images {
            let attestations = image.keep_attestations(store)?;
            match images.get(&image.id)? {
                None => {
                    fetch(self.engine, image)?;
                    store.blobs().put(&image.config_bytes)?;
                    images.put(&ImageRecord {
                        attestations,
                        ..image.record(size(self.engine, image))
                    })?;
                }
                // What was said of it when it was built before holds, unless more is said now.
                Some(known) if attestations.is_some() && known.attestations != attestations => {
                    images.put(&ImageRecord {
                        attestations,
                        ..known
                    })?;
                }
                Some(_) => {}
            }
            step.status(&format!("writing image {}", image.id), 0, None, true);
            members.push(PlatformImage {
                platform: image.config.platform().normalized(),
                image: image.id.clone(),
            });
        }
        for name in names {
            let name = name.with_default_tag();
            if self.set.several {
                images.tag_platforms(&name, &members)?;
            } else {
                images.tag(&name, &self.set.images[0].id)?;
            }
            step.status(&format!("naming to {name}"), 0, None, true);
        }
        Ok(())
    }

    /// Brings in the layer that has this blob.
    fn fetch_blob(&self, blob: &Descriptor) -> std::io::Result<()> {
        let mut layers = self.set.images.iter().flat_map(|image| &image.layers);
        let Some(layer) = layers.find(|layer| layer.blobs.contains(blob)) else {
            return Ok(());
        };
        let engine = self.engine;
        let fetched = engine.remote().ensure_blob(engine.store(), &layer.layer);
        fetched.map_err(std::io::Error::other)
    }

    /// Returns where the registries of `names` have layers that are not here.
    fn elsewhere(&self, names: &[Reference]) -> BTreeMap<Digest, Vec<Reference>> {
        let here = |from: &Reference| names.iter().any(|name| name.domain() == from.domain());
        let layers = self.set.images.iter().flat_map(|image| &image.layers);
        let known = layers.filter_map(|layer| self.engine.remote().blob(&layer.layer));
        known
            .filter_map(|(blob, from)| Some((blob.digest, vec![from.filter(here)?])))
            .collect()
    }

    /// Brings in again what was lost of the blobs that bases came in.
    fn fetch_originals(&self) -> Result<(), BuildError> {
        let layers = self.set.images.iter().flat_map(|image| &image.layers);
        let ids = layers.map(|layer| layer.layer.clone());
        let engine = self.engine;
        let fetched = engine.remote().ensure_originals(engine.store(), ids);
        fetched.map_err(|(_, source)| BuildError::Internal {
            source: source.into(),
        })
    }

    /// Brings in what is still only in a registry, so that the images can be sent on.
    fn fetch_all(&self) -> Result<(), BuildError> {
        self.set
            .images
            .iter()
            .try_for_each(|image| fetch(self.engine, image))
    }
}

pub(super) fn fetch(engine: &Engine, image: &Image) -> Result<(), BuildError> {
    let layers = image.layers.iter().map(|layer| layer.layer.clone());
    engine
        .remote()
        .ensure_blobs(engine.store(), layers)
        .map_err(|(_, source)| BuildError::Internal {
            source: source.into(),
        })
}

/// Bytes of the image's files; layers that are not unpacked count with the size of their blob.
fn size(engine: &Engine, image: &Image) -> u64 {
    let layers = engine.layers();
    let of = |id: &LayerId, blob: Option<Descriptor>| match layers.get(id) {
        Ok(Some(layer)) => layer.size().unwrap_or_default(),
        _ => blob.map_or(0, |blob| blob.size),
    };
    image
        .layers
        .iter()
        .map(|layer| of(&layer.layer, layers.pending_blob(&layer.diff_id)))
        .sum()
}

impl Built {
    /// Returns what `--metadata-file` tells of the result.
    pub fn metadata(&self) -> serde_json::Map<String, Value> {
        let mut map = serde_json::Map::new();
        for (key, value) in &self.provenance {
            map.insert(key.clone(), value.clone());
        }
        let mut add = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if !self.reference.is_empty() {
            add("buildx.build.ref", self.reference.as_str().into());
        }
        if let Some(id) = self.id.as_ref().filter(|_| !self.indexed) {
            add("containerimage.config.digest", id.to_string().into());
        }
        if let Some(manifest) = &self.manifest {
            add(
                "containerimage.descriptor",
                serde_json::to_value(manifest).unwrap_or_default(),
            );
        }
        let digest: Option<&Digest> = self
            .manifest
            .as_ref()
            .map(|manifest| &manifest.digest)
            .or(self.id.as_ref());
        if let Some(digest) = digest {
            add("containerimage.digest", digest.to_string().into());
        }
        if !self.names.is_empty() {
            add("image.name", self.names.join(",").into());
        }
        map
    }
}

/// Writes a metadata file, all of it or nothing.
pub fn write_metadata(
    path: &std::path::Path,
    mut metadata: serde_json::Map<String, Value>,
) -> Result<(), BuildError> {
    metadata.sort_keys();
    write_file(path, &cooper_oci::json::to_vec_pretty(&metadata))
}

fn write_file(path: &std::path::Path, bytes: &[u8]) -> Result<(), BuildError> {
    let write = |out: &mut dyn Write| {
        out.write_all(bytes).map_err(|source| ExportError::Write {
            path: path.to_owned(),
            source,
        })
    };
    Ok(to_new_file(path, write)?)
}
