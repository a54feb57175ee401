//! Giving a target's results to the caches of its `--cache-to`.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Seek, SeekFrom};

use cooper_cache::{LayerId, PackedMount};
use cooper_oci::{Compression, Descriptor, Digest, Reference};
use rayon::prelude::*;

use super::harvest::Harvest;
use crate::build::engine::Engine;
use crate::build::error::BuildError;
use crate::build::leaks::Guard;
use crate::build::output::{Root, RootLayer};
use crate::build::remote::in_one_line;
use crate::options::{BuildOptions, CachePlace, CacheTo, ImageFormat, Output};
use crate::progress::{Progress, StepGuard};
use crate::push::show;
use crate::shared_cache::{
    Bundle, Cargo, Depot, Document, Offer, Sent, SharedCacheError, layout, registry,
};

/// What is exported.
pub(in crate::build) struct Export<'a> {
    pub(in crate::build) engine: &'a Engine,
    pub(in crate::build) options: &'a BuildOptions,
    /// What must not leave.
    pub(in crate::build) guard: &'a Guard,
    pub(in crate::build) harvest: &'a Harvest,
    /// The target's results, a platform each.
    pub(in crate::build) roots: &'a [Root],
    pub(in crate::build) progress: &'a Progress,
}

impl Export<'_> {
    /// Writes all caches that are not within the image.
    pub(in crate::build) fn run(&self) -> Result<(), BuildError> {
        for to in &self.options.cache_to {
            if to.place == CachePlace::Inline {
                continue;
            }
            let step = self
                .progress
                .step(format!("exporting cache to {}", to.place));
            match self.one(to, &step) {
                Ok(sent) => {
                    let Sent { blobs, present } = sent;
                    step.log(format!("sent {blobs} blobs, {present} were there\n").as_bytes());
                    step.done();
                }
                Err(_) if self.engine.remote().canceled() => return Err(BuildError::Interrupted),
                // A script of CI that somebody runs elsewhere still builds.
                Err(error) if to.ignore_error || error.is_elsewhere() => {
                    step.done();
                    self.progress.warn(format!(
                        "the cache was not written to {}: {}",
                        to.place,
                        in_one_line(&error)
                    ));
                }
                Err(source) => {
                    step.fail(&source);
                    return Err(BuildError::CacheExport {
                        place: to.place.to_string(),
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(())
    }

    fn one(&self, to: &CacheTo, step: &StepGuard) -> Result<Sent, SharedCacheError> {
        let offers = self.harvest.offers(to.mode, self.roots);
        let offers = self.without_secrets(offers)?;
        let layers = layers(&offers);
        let format = packing(self.options, to);
        let cargo = self.pack(&layers, &format)?;
        let mounts = if to.mounts {
            self.mounts()?
        } else {
            Vec::new()
        };
        let chunks: Vec<Descriptor> = mounts.iter().flat_map(PackedMount::blobs).collect();
        let config = Document::of(&offers, &cargo, mounts).to_json();
        let holders: HashMap<Digest, LayerId> = cargo
            .iter()
            .filter_map(|(id, cargo)| Some((cargo.blob.as_ref()?.digest.clone(), id.clone())))
            .collect();
        let open = |blob: &Descriptor, offset: u64| self.open(&holders, blob, offset);
        let elsewhere = |blob: &Descriptor| self.repositories(&holders, blob);
        let canceled = || self.engine.remote().canceled();
        let mut seen = BTreeSet::new();
        let blobs = layers
            .iter()
            .filter_map(|layer| cargo[&layer.id].blob.clone());
        let blobs = blobs.chain(chunks);
        let bundle = Bundle {
            config,
            blobs: blobs
                .filter(|blob| seen.insert(blob.digest.clone()))
                .collect(),
            image_manifest: to.image_manifest,
            docker: format.oci_media_types == Some(false),
            open: &open,
            elsewhere: &elsewhere,
            canceled: &canceled,
        };
        match &to.place {
            CachePlace::Inline => Ok(Sent::default()),
            CachePlace::Local { dir, tag, reset } => layout::store(dir, tag, *reset, &bundle),
            CachePlace::Service(place) => {
                Depot::new(place, self.engine.remote().client().http()).store(&bundle)
            }
            CachePlace::Registry { reference, .. } => {
                let client = self.engine.remote().client();
                registry::store(client, reference, &bundle, &|event| show(step, event))
            }
        }
    }

    /// Packs the cache mounts of the target's steps. Of those that are not here, what the shared
    /// cache has that they would come from goes on.
    fn mounts(&self) -> Result<Vec<PackedMount>, SharedCacheError> {
        let mut names = self.harvest.mounts.clone();
        names.extend(self.engine.used_mounts());
        let store = self.engine.store();
        let here = store.portable_mounts()?;
        let mut mounts = Vec::new();
        for name in names {
            if !here.contains(&name) {
                mounts.extend(self.engine.remote().mount(&name));
                continue;
            }
            match store.pack_mount(&name)? {
                Some(mount) => mounts.push(mount),
                None => self.progress.warn(format!(
                    "the cache gets no cache mount {name}: another build uses it"
                )),
            }
        }
        Ok(mounts)
    }

    /// Leaves out the results that hold a secret of the build.
    fn without_secrets(&self, mut offers: Vec<Offer>) -> Result<Vec<Offer>, SharedCacheError> {
        let mut held: HashMap<LayerId, Option<String>> = HashMap::new();
        for layer in layers(&offers) {
            let found = self.guard.found_in(self.engine, &layer.id)?;
            if let Some(what) = &found {
                self.progress.warn(format!(
                    "the cache gets no result that is made of the layer {}: {what} is in it",
                    layer.id
                ));
            }
            held.insert(layer.id.clone(), found);
        }
        offers.retain(|offer| {
            offer
                .root
                .layers
                .iter()
                .all(|layer| held[&layer.id].is_none())
        });
        Ok(offers)
    }

    /// Returns how each layer travels, packing those that never were.
    fn pack(
        &self,
        layers: &[RootLayer],
        format: &ImageFormat,
    ) -> Result<HashMap<LayerId, Cargo>, SharedCacheError> {
        let remote = self.engine.remote();
        let known = layers.iter().map(|layer| &layer.id);
        remote.adopt(self.engine.store(), known)?;
        let packed = layers.par_iter().map(|layer| {
            let blob = match layer.created {
                None => None,
                Some(_) => Some(self.blob(&layer.id, format)?),
            };
            let diff_id = self.engine.layers().diff_id(&layer.id)?;
            Ok((layer.id.clone(), Cargo { diff_id, blob }))
        });
        packed.collect()
    }

    fn blob(&self, id: &LayerId, format: &ImageFormat) -> Result<Descriptor, SharedCacheError> {
        let layers = self.engine.layers();
        if !format.force {
            let brought = layers.noted_diff_id(id);
            if let Some(blob) = brought.and_then(|diff_id| layers.pending_blob(&diff_id)) {
                return Ok(blob);
            }
            if !layers.has(id)
                && let Some((blob, _)) = self.engine.remote().blob(id)
            {
                return Ok(blob);
            }
        }
        let fetched = self.engine.remote().ensure_blob(self.engine.store(), id);
        fetched.map_err(|source| SharedCacheError::Fetch(Box::new(source)))?;
        let compression = format.compression.unwrap_or(Compression::Gzip);
        Ok(layers.pack(id, compression, format.level)?)
    }

    fn open(
        &self,
        holders: &HashMap<Digest, LayerId>,
        blob: &Descriptor,
        offset: u64,
    ) -> io::Result<Box<dyn Read>> {
        let store = self.engine.store();
        if !store.blobs().has(&blob.digest)
            && let Some(id) = holders.get(&blob.digest)
        {
            let fetched = self.engine.remote().ensure_blob(store, id);
            fetched.map_err(io::Error::other)?;
        } else if !store.blobs().has(&blob.digest) {
            let fetched = self.engine.remote().ensure_mount_blob(store, blob);
            fetched.map_err(io::Error::other)?;
        }
        let mut file = store.blobs().open(&blob.digest).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    /// Returns the repositories that have a blob: where it would be fetched from, and those that
    /// the image was pushed to.
    fn repositories(
        &self,
        holders: &HashMap<Digest, LayerId>,
        blob: &Descriptor,
    ) -> Vec<Reference> {
        let origin = holders.get(&blob.digest);
        let origin = origin.and_then(|id| self.engine.remote().blob(id)?.1);
        let pushed = self.options.outputs.iter().flat_map(|output| match output {
            Output::Image(image) if image.push.is_some() && image.names.is_empty() => {
                self.options.tags.as_slice()
            }
            Output::Image(image) if image.push.is_some() => image.names.as_slice(),
            _ => &[],
        });
        origin.into_iter().chain(pushed.cloned()).collect()
    }
}

/// Returns how layers are packed that were not before: as asked, else as for the image.
pub(in crate::build) fn packing(options: &BuildOptions, to: &CacheTo) -> ImageFormat {
    let mut format = to.format.clone();
    if format.compression.is_none() {
        let mut outputs = options.outputs.iter().filter_map(Output::format);
        if let Some(output) = outputs.find(|output| output.compression.is_some()) {
            (format.compression, format.level) = (output.compression, output.level);
        }
    }
    format
}

/// Returns the layers of all results, each once. One that a step made is not a base image's alone,
/// though another step may start from an image that has it.
fn layers(offers: &[Offer]) -> Vec<RootLayer> {
    let all = || offers.iter().flat_map(|offer| &offer.root.layers);
    let (made, brought): (Vec<_>, Vec<_>) = all().partition(|layer| layer.created.is_some());
    let mut seen = BTreeSet::new();
    made.into_iter()
        .chain(brought)
        .filter(|layer| seen.insert(layer.id.clone()))
        .cloned()
        .collect()
}
