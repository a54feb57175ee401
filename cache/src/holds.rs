//! Holds: what something outside the store needs for as long as it exists, such as a container.
//!
//! A hold is a file below `holds/` that names layers; its layers and what they need are roots of
//! the collector. Unlike a lease it outlives the process that made it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, StoreError};
use crate::gc::{list, remove};
use crate::images::{json, read_json};
use crate::layer::LayerId;
use crate::store::Store;

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
        fs::create_dir_all(&dir).during("create", &dir)?;
        let hold = Hold {
            layers: layers.to_vec(),
        };
        self.shared().write_atomic(&dir.join(name), &json(&hold))
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
