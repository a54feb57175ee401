//! What builds note about themselves for later ones: small plain files below `builds/`.
//!
//! The builder decides what a note says. Losing one loses no result: a damaged note is for
//! whoever reads it to refuse, and the collector takes notes that no build has renewed for long.

use std::fs;
use std::sync::Arc;

use crate::error::{IoContext, StoreError};
use crate::gc::list;
use crate::store::Shared;

/// The notes of a store.
#[derive(Debug, Clone)]
pub struct Notes {
    shared: Arc<Shared>,
}

impl Notes {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns the note of this name, a plain file name; nothing if it cannot be read.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.shared.layout.dir("builds").join(name)).ok()
    }

    /// Writes a note in place of what was.
    pub fn put(&self, name: &str, data: &[u8]) -> Result<(), StoreError> {
        let dir = self.shared.layout.dir("builds");
        let path = dir.join(name);
        match self.shared.write_atomic(&path, data) {
            Err(error) if error.is_not_found() => {
                fs::create_dir_all(&dir).during("create", &dir)?;
                self.shared.write_atomic(&path, data)
            }
            other => other,
        }
    }

    /// Returns all notes, by name.
    pub fn all(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let dir = self.shared.layout.dir("builds");
        if !dir.exists() {
            return Ok(Vec::new());
        }
        // One that vanishes meanwhile is none.
        Ok(list(&dir)?
            .iter()
            .filter_map(|path| fs::read(path).ok())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::store;

    #[test]
    fn a_note_is_what_was_written_last() {
        let (_dir, store) = store();
        let notes = store.notes();
        assert_eq!(notes.get("a"), None);
        assert_eq!(notes.all().expect("all").len(), 0);
        notes.put("a", b"1").expect("put");
        notes.put("b", b"2").expect("put");
        notes.put("a", b"3").expect("put");
        assert_eq!(notes.get("a").as_deref(), Some(&b"3"[..]));
        assert_eq!(notes.all().expect("all"), [b"3", b"2"]);
    }
}
