//! Garbage collection and disk usage.
//!
//! Roots are the images, the holds and the solver's records. What they need, directly or
//! through aliases, memos and pending blobs, stays; everything else goes, and by a
//! [`Policy`] the least valuable records too, with what only they keep.
//!
//! One collector works at a time (`collector`, an exclusive lock). If no build runs it takes
//! the store's lock for itself. Else it works beside the builds and takes nothing that any of
//! them made, found or used ([`Shield`]): what is found is marked as used through the store's
//! gate, and the collector decides and takes with the gate closed, a few names at a time. Names
//! go first, referrers before what they refer to, and the bytes later, when nothing is locked.
//! A crash on the way leaves garbage, never a dangling hit.

mod auto;
mod needs;
mod policy;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use cooper_oci::{Descriptor, DiffId, Digest};

use crate::error::{IoContext, StoreError};
use crate::images::{ImageRecord, read_json};
use crate::layer::LayerId;
use crate::lease::{Mark, Moment, Shield, used_at};
use crate::lock::{ClaimGuard, FileLock, Mode};
use crate::mounts::{remove_aside, take_mount, used_file};
use crate::store::{Store, sweep_tmp};

use needs::Needs;
use policy::{Candidate, Space};

pub use policy::Policy;
pub use usage::{DiskUsage, UsageEntry, UsageKind};

/// How many names a collector takes before it lets running builds pass.
const BATCH: usize = 64;

/// What a collection may take besides what nothing needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Solver records and cache mounts, with the layers that only they keep.
    pub cache: Evict,
    /// Images without a name.
    pub dangling_images: bool,
}

/// Which part of the build cache a collection may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Evict {
    /// None of it.
    #[default]
    Nothing,
    /// As much as the policy says.
    By(Policy),
    /// As much as the policy says of what only these layers and cache mounts, by id, are about.
    Only(Policy, HashSet<String>),
}

/// What a collection took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Cache mounts.
    pub mounts: Vec<String>,
    /// Number of solver records.
    pub records: u64,
    /// Images.
    pub images: Vec<Digest>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Things that would have gone, were they not in use by running builds.
    pub in_use: u64,
}

/// Something to take, in the order of taking.
#[derive(Debug, Clone)]
enum Victim {
    Image(Digest),
    Record([u8; 32]),
    Layer(LayerId),
    Blob(Digest),
    Mount(String),
}

impl Store {
    /// Removes what no image, no hold and no record needs, and what `options` give up besides.
    ///
    /// What running builds use stays.
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport, StoreError> {
        let layout = &self.shared().layout;
        let _alone = FileLock::wait(&layout.dir("collector"), Mode::Exclusive)?;
        let quiet = FileLock::attempt(&layout.dir("lock"), Mode::Exclusive)?;
        let shield = match &quiet {
            Some(_) => Shield::None,
            None => self.shield_of_running()?,
        };
        let mut report = GcReport::default();
        let victims = self.victims(options, shield, &mut report)?;
        if options.dry_run {
            for victim in victims {
                report.bytes += self.bytes_of(&victim);
                report.note(victim);
            }
            return Ok(report);
        }
        let aside = self.take(victims, shield, quiet.is_some(), &mut report)?;
        self.collect_notes()?;
        if quiet.is_some() {
            self.collect_leftovers()?;
        }
        drop(quiet);
        remove_aside(&aside);
        sweep_tmp(&layout.dir("tmp"))?;
        self.sweep_lists()?;
        Ok(report)
    }

    /// Returns what is shielded although a build that begins just now may not show yet.
    fn shield_of_running(&self) -> Result<Shield, StoreError> {
        Ok(match self.shield()? {
            Shield::None => Shield::Since(Moment::now().a_tick_ago()),
            known => known,
        })
    }

    /// Decides what goes: images, then records and cache mounts, then what nothing needs any more.
    fn victims(
        &self,
        options: &GcOptions,
        shield: Shield,
        report: &mut GcReport,
    ) -> Result<Vec<Victim>, StoreError> {
        let (kept, dangling) = self.split_images(options.dangling_images)?;
        let needs = Needs::gather(self, &kept)?;
        let mut plan = Plan::new(self, &needs);
        for (at, record) in needs.records.iter().enumerate() {
            if !record.whole {
                plan.take_record(at);
            }
        }
        let mounts = match &options.cache {
            Evict::Nothing => Vec::new(),
            Evict::By(policy) => self.evict(&mut plan, *policy, None, shield)?,
            Evict::Only(policy, ids) => self.evict(&mut plan, *policy, Some(ids), shield)?,
        };
        let mut victims: Vec<_> = dangling.into_iter().map(Victim::Image).collect();
        victims.extend(
            plan.taken
                .iter()
                .map(|at| Victim::Record(needs.records[*at].key)),
        );
        let (layers, blobs) = plan.unneeded()?;
        victims.extend(layers.into_iter().map(Victim::Layer));
        victims.extend(blobs.into_iter().map(Victim::Blob));
        victims.extend(mounts.into_iter().map(Victim::Mount));
        let before = victims.len();
        victims.retain(|victim| !shield.covers(self.used(victim)));
        report.in_use += (before - victims.len()) as u64;
        Ok(victims)
    }

    /// Returns the images that stay, and the ids of those that go.
    fn split_images(&self, dangling: bool) -> Result<(Vec<ImageRecord>, Vec<Digest>), StoreError> {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (image, names) in self.images().list()? {
            if dangling && names.is_empty() {
                gone.push(image.id);
            } else {
                kept.push(image);
            }
        }
        Ok((kept, gone))
    }

    /// Chooses records and cache mounts by `policy`; returns the mounts.
    fn evict(
        &self,
        plan: &mut Plan<'_>,
        policy: Policy,
        only: Option<&HashSet<String>>,
        shield: Shield,
    ) -> Result<Vec<String>, StoreError> {
        let now = Moment::now();
        let counts = self.take_uses(u64::try_from(now.seconds()).unwrap_or(0))?;
        let mounts_dir = self.mounts_dir();
        let mut items = Vec::new();
        let mut candidates = Vec::new();
        for (at, record) in plan.needs.records.iter().enumerate() {
            let about = |ids: &HashSet<String>| {
                record.layers.iter().any(|id| ids.contains(&id.to_string()))
            };
            if !record.whole || shield.covers(Some(record.used)) || !only.is_none_or(about) {
                continue;
            }
            items.push(Item::Record(at));
            candidates.push(Candidate {
                idle: record.used.elapsed(now),
                uses: counts
                    .get(record.key.as_slice())
                    .map_or(0, |uses| uses.count),
            });
        }
        for name in self.mount_names()? {
            if only.is_some_and(|ids| !ids.contains(&name)) {
                continue;
            }
            let used = used_at(&used_file(&mounts_dir, &name), Mark::Modified);
            items.push(Item::Mount(name));
            candidates.push(Candidate {
                idle: used.map_or(std::time::Duration::MAX, |used| used.elapsed(now)),
                uses: 0,
            });
        }
        let mut mounts = Vec::new();
        let (layers, blobs) = plan.unneeded()?;
        let layers: u64 = layers.iter().map(|id| self.layer_bytes(id)).sum();
        let blobs: u64 = blobs.iter().map(|digest| self.blob_bytes(digest)).sum();
        let space = self.space()?.without(layers + blobs);
        policy.choose(space, &candidates, |at| match &items[at] {
            Item::Record(record) => plan.take_record(*record),
            Item::Mount(name) => {
                mounts.push(name.clone());
                usage::blocks(&mounts_dir.join(name), &mut HashSet::new())
            }
        });
        Ok(mounts)
    }

    /// Returns what the store takes, and what its file system has left.
    fn space(&self) -> Result<Space, StoreError> {
        let layers = self.layers().list()?;
        let blobs = self.blobs().list()?;
        let layers: u64 = layers.iter().map(|id| self.layer_bytes(id)).sum();
        let blobs: u64 = blobs.iter().map(|digest| self.blob_bytes(digest)).sum();
        let mounts = usage::blocks(&self.mounts_dir(), &mut HashSet::new());
        Ok(Space {
            used: layers + blobs + mounts,
            free: self.free_space()?,
        })
    }

    /// Returns the bytes that are free on the store's file system for who uses it.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        let found = rustix::fs::statvfs(self.root()).during("look at the space of", self.root())?;
        Ok(found.f_bavail * found.f_frsize)
    }

    /// Returns when a victim was used last, if that is marked on it.
    fn used(&self, victim: &Victim) -> Option<Moment> {
        match victim {
            // An image without a name that a running build just made is about to get one.
            Victim::Image(id) => used_at(&self.shared().layout.image(id), Mark::Modified),
            Victim::Record(key) => used_at(&self.records().path(key), Mark::Modified),
            Victim::Layer(id) => {
                let stamp = self.shared().layout.layer(id).join("stamp");
                used_at(&stamp, Mark::Modified)
            }
            Victim::Blob(digest) => used_at(&self.blobs().path(digest), Mark::Accessed),
            // A mount has a lock of its own.
            Victim::Mount(_) => None,
        }
    }

    fn bytes_of(&self, victim: &Victim) -> u64 {
        match victim {
            Victim::Image(_) | Victim::Record(_) => 0,
            Victim::Layer(id) => self.layer_bytes(id),
            Victim::Blob(digest) => self.blob_bytes(digest),
            Victim::Mount(name) => {
                usage::blocks(&self.mounts_dir().join(name), &mut HashSet::new())
            }
        }
    }

    /// Takes the victims' names away; returns the paths where their bytes are now.
    fn take(
        &self,
        victims: Vec<Victim>,
        shield: Shield,
        quiet: bool,
        report: &mut GcReport,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let mut aside = Vec::new();
        let mut forgotten = Vec::new();
        let about = Notes::gather(self)?;
        let mut queue = victims.into_iter().peekable();
        while queue.peek().is_some() {
            let batch: Vec<_> = queue
                .by_ref()
                .take(BATCH)
                .map(|victim| (self.bytes_of(&victim), victim))
                .collect();
            let _closed = self.shared().gate.close()?;
            // Asked anew: builds go and come, and clocks can be set.
            let now = if quiet {
                Shield::None
            } else {
                self.shield_of_running()?
            };
            for (bytes, victim) in batch {
                let used = self.used(&victim);
                if shield.covers(used) || now.covers(used) {
                    report.in_use += 1;
                    continue;
                }
                if let Victim::Record(key) = &victim {
                    forgotten.push(*key);
                }
                if self.take_one(&victim, &about, &mut aside)? {
                    report.bytes += bytes;
                    report.note(victim);
                } else {
                    report.in_use += 1;
                }
            }
        }
        self.meta().forget(&forgotten)?;
        Ok(aside)
    }

    fn take_one(
        &self,
        victim: &Victim,
        about: &Notes,
        aside: &mut Vec<PathBuf>,
    ) -> Result<bool, StoreError> {
        let shared = self.shared();
        match victim {
            Victim::Image(id) => self.images().remove(id)?,
            Victim::Record(key) => self.records().remove(key)?,
            Victim::Blob(digest) => {
                about
                    .of_blobs
                    .get(digest)
                    .into_iter()
                    .flatten()
                    .try_for_each(|path| remove(path))?;
                self.blobs().remove(digest)?;
            }
            Victim::Layer(id) => {
                about
                    .of_layers
                    .get(id)
                    .into_iter()
                    .flatten()
                    .try_for_each(|path| remove(path))?;
                let dir = shared.layout.layer(id);
                let away = shared.tmp_path();
                fs::rename(&dir, &away).during("remove", &dir)?;
                aside.push(away);
            }
            Victim::Mount(name) => match take_mount(shared, name)? {
                Some(away) => aside.push(away),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Returns the memo files, each with the layer that it is about.
    pub(crate) fn memos(&self) -> Result<Vec<(PathBuf, LayerId)>, StoreError> {
        let about = |path: PathBuf| {
            let (name, _) = path.file_name()?.to_str()?.split_once('.')?;
            let id = name.replacen('-', ":", 1).parse().ok()?;
            Some((path, id))
        };
        Ok(list(&self.shared().layout.dir("memos"))?
            .into_iter()
            .filter_map(about)
            .collect())
    }

    /// Removes notes about what is gone: aliases, memos, pending blobs.
    fn collect_notes(&self) -> Result<(), StoreError> {
        let _closed = self.shared().gate.close()?;
        let layers = self.layers();
        for (path, diff_id) in self.by_diff_id("aliases")? {
            let built = layers.alias(&diff_id);
            if !built.is_some_and(|id| self.is_there(&id)) {
                remove(&path)?;
            }
        }
        for (path, diff_id) in self.by_diff_id("pending")? {
            if !self.has_noted_blob(&diff_id) {
                remove(&path)?;
            }
        }
        let origins = self.shared().layout.dir("origins");
        let known = if origins.exists() {
            self.by_diff_id("origins")?
        } else {
            Vec::new()
        };
        for (path, DiffId(digest)) in known {
            if !self.blobs().path(&digest).exists() {
                remove(&path)?;
            }
        }
        for (path, id) in self.memos()? {
            if !self.is_there(&id)
                || read_json::<Descriptor>(&path)?
                    .is_some_and(|blob| !self.blobs().path(&blob.digest).exists())
            {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes what is of no use when nothing runs: abandoned indices and claims.
    fn collect_leftovers(&self) -> Result<(), StoreError> {
        for path in list(&self.shared().layout.dir("contexts"))? {
            if path.extension().is_some() {
                remove(&path)?;
            }
        }
        for path in list(&self.shared().layout.dir("locks"))? {
            drop(ClaimGuard::attempt(path)?);
        }
        Ok(())
    }

    /// Whether a layer is there under one of its names, without marking it as used.
    fn is_there(&self, id: &LayerId) -> bool {
        let dir = |id: &LayerId| self.shared().layout.layer(id).exists();
        let otherwise = || match id {
            LayerId::Pulled(diff_id) => {
                self.has_noted_blob(diff_id)
                    || self
                        .layers()
                        .alias(diff_id)
                        .is_some_and(|built| dir(&built))
            }
            LayerId::Built(_) => self
                .layers()
                .noted_diff_id(id)
                .is_some_and(|diff_id| self.has_noted_blob(&diff_id)),
        };
        dir(id) || otherwise()
    }

    fn has_noted_blob(&self, diff_id: &DiffId) -> bool {
        let noted = self.layers().noted_blob(diff_id);
        noted.is_some_and(|blob| self.blobs().path(&blob.digest).exists())
    }

    /// Returns the files of `aliases` or `pending` with the diff ids they are named by.
    pub(crate) fn by_diff_id(&self, kind: &str) -> Result<Vec<(PathBuf, DiffId)>, StoreError> {
        let mut found = Vec::new();
        for dir in list(&self.shared().layout.dir(kind))? {
            for path in list(&dir)? {
                let part = |path: &Path| {
                    path.file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                };
                if let (Some(algorithm), Some(hex)) = (part(&dir), part(&path))
                    && let Ok(digest) = format!("{algorithm}:{hex}").parse()
                {
                    found.push((path, DiffId(digest)));
                }
            }
        }
        Ok(found)
    }
}

/// What is noted of layers and blobs: it goes before them.
#[derive(Default)]
struct Notes {
    of_layers: HashMap<LayerId, Vec<PathBuf>>,
    of_blobs: HashMap<Digest, Vec<PathBuf>>,
}

impl Notes {
    fn gather(store: &Store) -> Result<Self, StoreError> {
        let mut notes = Self::default();
        for (path, id) in store.memos()? {
            if let Some(blob) = read_json::<Descriptor>(&path)? {
                notes
                    .of_blobs
                    .entry(blob.digest)
                    .or_default()
                    .push(path.clone());
            }
            notes.of_layers.entry(id).or_default().push(path);
        }
        for (path, diff_id) in store.by_diff_id("aliases")? {
            if let Some(id) = store.layers().alias(&diff_id) {
                notes.of_layers.entry(id).or_default().push(path);
            }
        }
        for (path, diff_id) in store.by_diff_id("pending")? {
            if let Some(blob) = store.layers().noted_blob(&diff_id) {
                notes.of_blobs.entry(blob.digest).or_default().push(path);
            }
        }
        Ok(notes)
    }
}

enum Item {
    Record(usize),
    Mount(String),
}

/// A growing choice of records, and what it makes superfluous.
struct Plan<'a> {
    store: &'a Store,
    needs: &'a Needs,
    taken: Vec<usize>,
    /// How many of the records that stay need a layer.
    counts: HashMap<&'a LayerId, usize>,
}

impl<'a> Plan<'a> {
    fn new(store: &'a Store, needs: &'a Needs) -> Self {
        let mut counts = HashMap::new();
        for id in needs.records.iter().flat_map(|record| &record.layers) {
            *counts.entry(id).or_default() += 1;
        }
        Self {
            store,
            needs,
            taken: Vec::new(),
            counts,
        }
    }

    /// Takes the record at `at`; returns the bytes of what nothing needs any more.
    fn take_record(&mut self, at: usize) -> u64 {
        let needs = self.needs;
        self.taken.push(at);
        let mut freed = 0;
        for id in &needs.records[at].layers {
            let count = self.counts.get_mut(id).expect("counted at the start");
            *count -= 1;
            if *count == 0 && !needs.rooted.contains(id) {
                freed += self.store.layer_bytes(id) + needs.blob_bytes(self.store, id);
            }
        }
        freed
    }

    /// Returns the layers and blobs that neither a root nor a remaining record needs.
    fn unneeded(&self) -> Result<(Vec<LayerId>, Vec<Digest>), StoreError> {
        let live = |id: &LayerId| {
            self.needs.rooted.contains(id) || self.counts.get(id).is_some_and(|count| *count > 0)
        };
        let mut blobs: HashSet<&Digest> = self.needs.rooted_blobs.iter().collect();
        for (id, packed) in &self.needs.packed {
            if live(id) {
                blobs.extend(packed);
            }
        }
        let layers = self.store.layers().list()?;
        let dead_blobs = self.store.blobs().list()?;
        Ok((
            layers.into_iter().filter(|id| !live(id)).collect(),
            dead_blobs
                .into_iter()
                .filter(|digest| !blobs.contains(digest))
                .collect(),
        ))
    }
}

impl GcReport {
    fn note(&mut self, victim: Victim) {
        match victim {
            Victim::Image(id) => self.images.push(id),
            Victim::Record(_) => self.records += 1,
            Victim::Layer(id) => self.layers.push(id),
            Victim::Blob(digest) => self.blobs.push(digest),
            Victim::Mount(name) => self.mounts.push(name),
        }
    }
}

/// Returns the paths in `dir`, sorted.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let items = fs::read_dir(dir).during("list", dir)?;
    let paths: Result<Vec<PathBuf>, _> = items.map(|item| item.map(|item| item.path())).collect();
    let mut paths = paths.during("list", dir)?;
    paths.sort();
    Ok(paths)
}

pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
