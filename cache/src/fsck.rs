//! Checking a store, and healing it by removing what is damaged.
//!
//! Everything here can be made or fetched again, so repair is removal: first
//! what holds wrong bytes, then what refers to something that is gone. A later
//! build misses and makes it anew.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use cooper_oci::{Descriptor, DiffId, Digest};
use rayon::prelude::*;
use serde::de::DeserializeOwned;

use crate::content::is_whole;
use crate::error::StoreError;
use crate::gc::{list, remove};
use crate::images::{ImageRecord, Tag};
use crate::layer::{LayerId, damage, discard};
use crate::lock::{FileLock, Mode};
use crate::store::Store;

/// Something wrong in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The damaged or dangling file.
    pub path: PathBuf,
    /// In what way.
    pub reason: String,
    /// Whether it was removed.
    pub repaired: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// What is wrong, sorted by path.
    pub problems: Vec<Problem>,
    /// Number of things looked at.
    pub checked: u64,
}

impl Store {
    /// Reads and verifies everything. With `repair`, removes what is damaged or
    /// dangling, so that a later build makes it again.
    ///
    /// Repair needs the store for itself: it fails with [`StoreError::Busy`] while leases are held.
    pub fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError> {
        let layout = &self.shared().layout;
        let _no_collector = FileLock::wait(&layout.dir("collector"), Mode::Exclusive)?;
        let path = layout.dir("lock");
        // A collector is done soon; a build may hold its lease for hours.
        let _lock = if repair {
            let lock = FileLock::attempt(&path, Mode::Exclusive)?;
            lock.ok_or(StoreError::Busy { path })?
        } else {
            FileLock::wait(&path, Mode::Shared)?
        };
        let mut check = Check {
            store: self,
            repair,
            report: FsckReport::default(),
        };
        check.blobs()?;
        check.layers()?;
        check.notes()?;
        check.records()?;
        check.images()?;
        check.report.problems.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(check.report)
    }
}

struct Check<'a> {
    store: &'a Store,
    repair: bool,
    report: FsckReport,
}

impl Check<'_> {
    fn found(&mut self, path: &Path, reason: impl Into<String>) -> Result<(), StoreError> {
        if self.repair && path.is_dir() {
            discard(self.store.shared(), path);
        } else if self.repair {
            remove(path)?;
        }
        let problem = Problem {
            path: path.to_owned(),
            reason: reason.into(),
            repaired: self.repair,
        };
        self.report.problems.push(problem);
        Ok(())
    }

    fn checked(&mut self) {
        self.report.checked += 1;
    }

    /// Whether `path` has been reported and is as good as gone.
    fn is_lost(&self, path: &Path) -> bool {
        self.report
            .problems
            .iter()
            .any(|problem| problem.path == path)
    }

    fn blobs(&mut self) -> Result<(), StoreError> {
        let digests = self.store.blobs().list()?;
        let check = |digest: &Digest| {
            let path = self.store.blobs().path(digest);
            let whole = File::open(&path).and_then(|mut file| is_whole(&mut file, digest));
            let reason = match whole {
                Ok(true) => return None,
                Ok(false) => "content differs from its digest".to_owned(),
                Err(error) => error.to_string(),
            };
            Some((path, reason))
        };
        let bad: Vec<_> = digests.par_iter().filter_map(check).collect();
        self.report.checked += digests.len() as u64;
        bad.into_iter()
            .try_for_each(|(path, reason)| self.found(&path, reason))
    }

    fn layers(&mut self) -> Result<(), StoreError> {
        for id in self.store.layers().list()? {
            self.checked();
            let dir = self.store.shared().layout.layer(&id);
            if let Some(reason) = damage(&id, &dir) {
                self.found(&dir, reason)?;
            }
        }
        Ok(())
    }

    fn has_blob(&self, digest: &Digest) -> bool {
        let path = self.store.blobs().path(digest);
        path.exists() && !self.is_lost(&path)
    }

    fn has_pending(&self, diff_id: &DiffId) -> bool {
        let path = self.store.shared().layout.pending(diff_id);
        let blob: Option<Descriptor> = parse(&path).ok();
        blob.is_some_and(|blob| self.has_blob(&blob.digest)) && !self.is_lost(&path)
    }

    fn has_layer(&self, id: &LayerId) -> bool {
        let dir = self.store.shared().layout.layer(id);
        if dir.exists() && !self.is_lost(&dir) {
            return true;
        }
        match id {
            LayerId::Built(_) => self
                .store
                .layers()
                .noted_diff_id(id)
                .is_some_and(|diff_id| self.has_pending(&diff_id)),
            LayerId::Pulled(diff_id) => {
                let built = self.store.layers().alias(diff_id);
                self.has_pending(diff_id) || built.is_some_and(|built| self.has_layer(&built))
            }
        }
    }

    /// Checks aliases, pending blobs and memos.
    fn notes(&mut self) -> Result<(), StoreError> {
        for (path, diff_id) in self.store.by_diff_id("aliases")? {
            self.checked();
            match self.store.layers().alias(&diff_id) {
                None => self.found(&path, "names no layer")?,
                Some(id) if !self.has_layer(&id) => self.found(&path, format!("{id} is gone"))?,
                Some(_) => {}
            }
        }
        for (path, _) in self.store.by_diff_id("pending")? {
            self.descriptor(&path)?;
        }
        for (path, id) in self.store.memos()? {
            if self.has_layer(&id) {
                self.memo(&path)?;
            } else {
                self.checked();
                self.found(&path, format!("{id} is gone"))?;
            }
        }
        Ok(())
    }

    /// Checks what was remembered about a layer that is there.
    ///
    /// A squashed layer or a blob with other file times may have been collected since: who reads
    /// such a memo looks for itself.
    fn memo(&mut self, path: &Path) -> Result<(), StoreError> {
        let kind = path.extension().and_then(|kind| kind.to_str());
        let parsed = match kind.unwrap_or_default() {
            "diff_id" => parse::<DiffId>(path).map(drop),
            "bytes" => parse::<u64>(path).map(drop),
            "clean" | "leaks" => parse::<BTreeSet<String>>(path).map(drop),
            squash if squash.starts_with("squash-") => parse::<LayerId>(path).map(drop),
            _ if parse::<(DiffId, Descriptor)>(path).is_ok() => Ok(()),
            _ => return self.descriptor(path),
        };
        self.checked();
        match parsed {
            Err(reason) => self.found(path, reason),
            Ok(()) => Ok(()),
        }
    }

    fn descriptor(&mut self, path: &Path) -> Result<(), StoreError> {
        self.checked();
        match parse::<Descriptor>(path) {
            Err(reason) => self.found(path, reason),
            Ok(blob) if !self.has_blob(&blob.digest) => {
                self.found(path, format!("blob {} is gone", blob.digest))
            }
            Ok(_) => Ok(()),
        }
    }

    fn records(&mut self) -> Result<(), StoreError> {
        let records = self.store.records();
        for key in records.keys()? {
            self.checked();
            let path = records.path(&key);
            match records.needs(&key)? {
                None => self.found(&path, "damaged record")?,
                Some(needs) => {
                    if let Some(id) = needs.iter().find(|id| !self.has_layer(id)) {
                        self.found(&path, format!("{id} is gone"))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn images(&mut self) -> Result<(), StoreError> {
        let layout = &self.store.shared().layout;
        for path in list(&layout.dir("images/sha256"))? {
            self.checked();
            if let Err(reason) =
                parse::<ImageRecord>(&path).and_then(|image| self.image(&path, &image))
            {
                self.found(&path, reason)?;
            }
        }
        for path in list(&layout.dir("refs"))? {
            self.checked();
            let gone = parse::<Tag>(&path).and_then(|tag| {
                let lost = tag.images().into_iter().find(|image| {
                    let path = layout.image(image);
                    !path.exists() || self.is_lost(&path)
                });
                lost.map_or(Ok(()), |image| Err(format!("image {image} is gone")))
            });
            if let Err(reason) = gone {
                self.found(&path, reason)?;
            }
        }
        Ok(())
    }

    fn image(&self, path: &Path, image: &ImageRecord) -> Result<(), String> {
        if *path != self.store.shared().layout.image(&image.id) {
            return Err("is another image".to_owned());
        }
        if !self.has_blob(&image.id) {
            return Err(format!("config {} is gone", image.id));
        }
        let known = |id: &LayerId| self.has_layer(id);
        match image.layers.iter().find(|layer| !known(&layer.layer)) {
            Some(layer) => Err(format!("layer {} is gone", layer.layer)),
            None => Ok(()),
        }
    }
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let data = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&data).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImageLayer;
    use crate::testing::{layer, store};

    /// A store with one of everything; returns the layer, its blob and its record's key.
    fn full(store: &Store) -> (LayerId, Descriptor) {
        let id = layer(store, "content");
        let blob = store
            .layers()
            .pack(&id, cooper_oci::Compression::Gzip, None)
            .expect("pack");
        let diff_id = store.layers().diff_id(&id).expect("diff id");
        let config = store.blobs().put(b"config").expect("put");
        let layer = ImageLayer {
            diff_id,
            layer: id.clone(),
            blobs: vec![blob.clone()],
        };
        let image = ImageRecord {
            id: config.clone(),
            layers: vec![layer],
            manifest: None,
            attestations: None,
            created: None,
            size: 7,
        };
        store.images().put(&image).expect("put");
        store
            .images()
            .tag(
                &"docker.io/library/x:latest".parse().expect("name"),
                &config,
            )
            .expect("tag");
        store
            .records()
            .put(&[9; 32], b"value", std::slice::from_ref(&id))
            .expect("put");
        (id, blob)
    }

    fn flip(path: &Path) {
        let mut data = fs::read(path).expect("read");
        let middle = data.len() / 2;
        data[middle] ^= 4;
        fs::write(path, data).expect("write");
    }

    #[test]
    fn a_sound_store_has_no_problems() {
        let (_dir, store) = store();
        full(&store);
        let report = store.fsck(false).expect("fsck");
        assert_eq!(
            report,
            FsckReport {
                problems: Vec::new(),
                checked: 9
            }
        );
    }

    #[test]
    fn every_planted_damage_is_found_and_removed_with_what_depends_on_it() {
        type Plant = fn(&Store, &LayerId, &Descriptor);
        let plants: [(&str, usize, Plant); 8] = [
            // The layer takes its alias, two memos, record, image and name with it.
            ("flipped bit in a layer's file", 7, |store, id, _| {
                flip(&store.shared().layout.layer(id).join("fs/file"));
            }),
            ("flipped bit in an index", 7, |store, id, _| {
                flip(&store.shared().layout.layer(id).join("index"));
            }),
            ("missing layer", 6, |store, id, _| {
                crate::store::remove_tree(&store.shared().layout.layer(id)).expect("remove");
            }),
            ("truncated blob", 2, |store, _, blob| {
                let file = File::options()
                    .write(true)
                    .open(store.blobs().path(&blob.digest));
                file.and_then(|file| file.set_len(10)).expect("truncate");
            }),
            ("missing blob", 1, |store, _, blob| {
                store.blobs().remove(&blob.digest).expect("remove");
            }),
            ("flipped bit in a record", 1, |store, _, _| {
                flip(&store.records().path(&[9; 32]));
            }),
            ("empty alias", 1, |store, _, _| {
                let (path, _) = store.by_diff_id("aliases").expect("list").remove(0);
                fs::write(path, "").expect("write");
            }),
            ("name of a removed image", 1, |store, _, _| {
                let id = store.images().ids().expect("ids").remove(0);
                fs::remove_file(store.shared().layout.image(&id)).expect("remove");
            }),
        ];
        for (what, problems, plant) in plants {
            let (_dir, store) = store();
            let (id, blob) = full(&store);
            plant(&store, &id, &blob);
            let found = store.fsck(false).expect("fsck");
            assert_eq!(found.problems.len(), problems, "{what}: {found:#?}");
            let repaired = store.fsck(true).expect("fsck");
            assert_eq!(repaired.problems.len(), problems, "{what}: {repaired:#?}");
            let again = store.fsck(false).expect("fsck");
            assert_eq!(again.problems, [], "{what}");
            assert_eq!(layer(&store, "content"), id, "{what}: made again");
        }
    }

    #[test]
    fn reading_waits_for_the_collector() {
        let (_dir, store) = store();
        let path = store.shared().layout.dir("lock");
        let collector = FileLock::wait(&path, Mode::Exclusive).expect("lock");
        let reader = std::thread::spawn(move || store.fsck(false));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!reader.is_finished());
        drop(collector);
        let found = reader.join().expect("no panic").expect("fsck");
        assert_eq!(found.problems, []);
    }

    #[test]
    fn repair_waits_for_no_running_build() {
        let (_dir, store) = store();
        let _lease = store.lease().expect("lease");
        assert!(matches!(store.fsck(true), Err(StoreError::Busy { .. })));
        store.fsck(false).expect("reading may share");
    }
}
