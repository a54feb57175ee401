//! Shared caches in a build: what is taken from them before, and given to them after.
//!
//! Before the solve, the caches of `--cache-from` are read: their lists become answers of the
//! [index](super::index), their layers can be fetched like a base image's. None of their bytes are
//! before something needs them. A cache that cannot be read is warned of and left out; one that
//! turns out not to give what it offers is left out too, and the build done again without it,
//! which repeats nothing that has been made.
//!
//! After the outputs, the keys and results of the solve ([`harvest`]) are given to the caches of
//! `--cache-to` ([`export`]), and those of the image's own layers to the image before it is written
//! if its cache is to be inline.

pub(super) mod export;
pub(super) mod harvest;
pub(super) mod mounts;

use std::sync::Arc;

use cooper_solver::CacheKey;
use rayon::prelude::*;

use super::output::Root;
use super::remote::{Broken, Origin, RemoteLayers, in_one_line};
use super::{Request, Target};
use crate::options::CacheFrom;
use crate::progress::Progress;
use crate::registry::{Client, Watch};
use crate::shared_cache::{Contents, Depot, Offer, SharedCacheError, layout, registry};

/// The shared caches that a build may use.
#[derive(Clone, Debug, Default)]
pub(super) struct Imports {
    sources: Vec<Arc<Source>>,
}

#[derive(Debug)]
struct Source {
    from: CacheFrom,
    contents: Contents,
}

impl Imports {
    /// Reads the caches that the targets name, each once. What cannot be read is warned of.
    pub(super) fn load(request: &Request<'_>, client: &Client) -> Self {
        let mut wanted: Vec<&CacheFrom> = Vec::new();
        let options = request
            .targets
            .iter()
            .map(|target: &Target<'_>| target.options);
        for from in options.flat_map(|options| &options.cache_from) {
            if !wanted.contains(&from) {
                wanted.push(from);
            }
        }
        let canceled = || request.cancel.is_cancelled();
        let progress = request.progress;
        let load = |from: &&CacheFrom| load(from, client, progress, &canceled);
        // Where there is one or none, no pool of threads is started for it.
        let sources = match &*wanted {
            [] | [_] => wanted.iter().filter_map(load).collect(),
            many => many.par_iter().filter_map(load).collect(),
        };
        Self { sources }
    }

    /// Lets the caches' layers be fetched.
    pub(super) fn offer_layers(&self, remote: &RemoteLayers) {
        let client = remote.client();
        for (number, source) in self.sources.iter().enumerate() {
            let origin = origin(&source.from, client);
            for note in &source.contents.layers {
                remote.offer(number, &origin, note);
            }
            for mount in &source.contents.mounts {
                remote.offer_mount(&origin, mount);
            }
        }
    }

    /// Returns the first result of `key` that `usable` takes.
    pub(super) fn find(&self, key: &CacheKey, usable: impl Fn(&Root) -> bool) -> Option<Offer> {
        let offers = self.sources.iter();
        let mut offers = offers.filter_map(|source| source.contents.offer(key));
        offers.find(|offer| usable(&offer.root))
    }

    /// Goes on without the caches that are `broken`, and says so.
    pub(super) fn forget(&mut self, broken: &[Broken], progress: &Progress) {
        let mut number = 0;
        self.sources.retain(|source| {
            let why = broken.iter().find(|broken| broken.cache == number);
            number += 1;
            if let Some(Broken { reason, .. }) = why {
                progress.warn(format!(
                    "the cache {} is not used any further: {reason}",
                    source.from
                ));
            }
            why.is_none()
        });
    }
}

fn load(
    from: &CacheFrom,
    client: &Client,
    progress: &Progress,
    canceled: &(dyn Fn() -> bool + Sync),
) -> Option<Arc<Source>> {
    let step = progress.step(format!("importing cache from {from}"));
    let watch = Watch {
        event: &|_| {},
        canceled,
    };
    match read(from, client, watch) {
        Ok(contents) => {
            if contents.foreign {
                progress.warn(format!(
                    "the cache {from} was written by another builder: its keys name other steps \
                     than cooper's, so that nothing of it can be used"
                ));
            } else {
                let (keys, mounts) = (contents.len(), contents.mounts.len());
                step.log(format!("keys: {keys}, cache mounts: {mounts}\n").as_bytes());
            }
            step.done();
            let from = from.clone();
            Some(Arc::new(Source { from, contents }))
        }
        Err(error) => {
            step.done();
            progress.warn(warning(from, &error));
            None
        }
    }
}

/// Reads a cache's list.
fn read(from: &CacheFrom, client: &Client, watch: Watch<'_>) -> Result<Contents, SharedCacheError> {
    match from {
        CacheFrom::Registry { reference, .. } => registry::load(client, reference, watch),
        CacheFrom::Local { dir, wanted } => layout::load(dir, wanted),
        CacheFrom::Service(place) => Depot::new(place, client.http()).load(watch.canceled),
    }
}

/// Returns where a cache's blobs are.
fn origin(from: &CacheFrom, client: &Client) -> Origin {
    match from {
        CacheFrom::Registry { reference, .. } => Origin::Registry(reference.clone()),
        CacheFrom::Local { dir, .. } => Origin::Layout(dir.clone()),
        CacheFrom::Service(place) => Origin::Depot(Depot::new(place, client.http())),
    }
}

fn warning(from: &CacheFrom, error: &SharedCacheError) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})"));
    format!(
        "the cache {from} is not used: {}{}",
        in_one_line(error),
        hint.unwrap_or_default()
    )
}
