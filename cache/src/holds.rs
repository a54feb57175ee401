//! Holds: what something outside the store needs for as long as it exists, such as a container.
//!
//! A hold is a file below `holds/` that names layers; its layers and what they need are roots of
//! the collector. Unlike a lease it outlives the process that made it.
//!
//! Holds of the same layers are one file: `hold-lists/HASH` has another link to it, from which the
//! next one is made.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, StoreError};
use crate::gc::{list, remove};
use crate::images::{json, read_json};
use crate::layer::LayerId;
use crate::store::Store;

/// Where each list of layers is kept that something holds by.
const LISTS: &str = "hold-lists";

#[derive(Serialize, Deserialize)]
struct Hold {
    layers: Vec<LayerId>,
}

impl Store {
    /// Keeps `layers` from garbage collection until [`release`](Self::release), whatever happens.
    ///
    /// The caller has a lease, so that they are still there. `name` is the caller's, a plain
    /// file name; holding again under it replaces what it held.
    pub fn hold(&self, name: &str, layers: &[LayerId]) -> Result<(), StoreError> {
        let dir = self.shared().layout.dir("holds");
        let hold = json(&Hold {
            layers: layers.to_vec(),
        });
        let path = dir.join(name);
        let list = self.shared().layout.dir(LISTS);
        let known = list.join(blake3::hash(&hold).to_hex().as_str());
        if fs::hard_link(&known, &path).is_ok() {
            return Ok(());
        }
        for dir in [&dir, &list] {
            fs::create_dir_all(dir).during("create", dir)?;
        }
        // It is a new list, this name holds already, or the file system has no (more) links.
        self.shared().write_atomic(&path, &hold)?;
        let _ = fs::hard_link(&path, &known);
        Ok(())
    }

    /// Removes lists that nothing holds by.
    pub(crate) fn sweep_lists(&self) -> Result<(), StoreError> {
        let lists = self.shared().layout.dir(LISTS);
        if !lists.exists() {
            return Ok(());
        }
        for list in list(&lists)? {
            if fs::metadata(&list).is_ok_and(|metadata| metadata.nlink() == 1) {
                // Who would have held by it now makes it again.
                remove(&list)?;
            }
        }
        Ok(())
    }

    /// Ends a hold; none is no error.
    pub fn release(&self, name: &str) -> Result<(), StoreError> {
        remove(&self.shared().layout.dir("holds").join(name))
    }

    /// Ends a hold of the store at `root`, which need not be open: taking a root away is safe at
    /// any time.
    pub fn release_at(root: &Path, name: &str) -> Result<(), StoreError> {
        remove(&root.join("holds").join(name))
    }

    /// Returns the names of all holds, sorted.
    pub fn holds(&self) -> Result<Vec<String>, StoreError> {
        let name = |path: &std::path::PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(self.hold_files()?.iter().filter_map(name).collect())
    }

    /// Returns all layers that are held.
    pub(crate) fn held(&self) -> Result<Vec<LayerId>, StoreError> {
        let mut held = Vec::new();
        for path in self.hold_files()? {
            let hold: Option<Hold> = read_json(&path)?;
            held.extend(hold.into_iter().flat_map(|hold| hold.layers));
        }
        Ok(held)
    }

    fn hold_files(&self) -> Result<Vec<std::path::PathBuf>, StoreError> {
        let dir = self.shared().layout.dir("holds");
        if dir.exists() {
            list(&dir)
        } else {
            Ok(Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn holds_of_the_same_layers_share_a_file_for_as_long_as_there_are_any() {
        let (dir, store) = store();
        let layer = |text: &str| -> LayerId {
            let staging = store.layers().prepare().expect("prepares");
            fs::write(staging.fs().join("file"), text).expect("writes");
            store
                .layers()
                .commit(staging)
                .expect("commits")
                .id()
                .clone()
        };
        let (one, two) = (layer("one"), layer("two"));
        for name in ["a", "b"] {
            store.hold(name, std::slice::from_ref(&one)).expect("holds");
        }
        let inode = |name: &str| fs::metadata(dir.path().join("holds").join(name)).map(|m| m.ino());
        assert_eq!(inode("a").expect("is there"), inode("b").expect("is there"));
        // Another list under the same name is that name's alone.
        store.hold("b", &[one.clone(), two.clone()]).expect("holds");
        assert_ne!(inode("a").expect("is there"), inode("b").expect("is there"));
        store.release("a").expect("releases");
        assert_eq!(store.held().expect("lists"), [one, two]);
        let lists = || fs::read_dir(dir.path().join(LISTS)).expect("lists").count();
        assert_eq!(lists(), 2);
        store.sweep_lists().expect("sweeps");
        assert_eq!(lists(), 1);
        store.release("b").expect("releases");
        store.sweep_lists().expect("sweeps");
        assert_eq!((lists(), store.held().expect("lists")), (0, Vec::new()));
    }
}
