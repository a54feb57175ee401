//! Records of finished work: solver key → bytes.
//!
//! One plain file per key below `records/`, written by rename: a lookup is one
//! `open`, never waits, and needs no database. The file is a BLAKE3 of the body
//! and the body, so that a damaged record is a miss. The body (postcard) names
//! the layers that the value is about: a record whose layers are gone is a miss.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, StoreError};
use crate::layer::{LayerId, Layers};
use crate::lease::Mark;
use crate::store::Shared;

#[derive(Serialize, Deserialize)]
struct Body {
    needs: Vec<LayerId>,
    value: Vec<u8>,
}

/// The records of a store.
#[derive(Debug, Clone)]
pub struct Records {
    shared: Arc<Shared>,
}

impl Records {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn path(&self, key: &[u8; 32]) -> PathBuf {
        let hex = blake3::Hash::from(*key).to_hex();
        let mut path = self.shared.layout.dir("records");
        path.push(&hex[..2]);
        path.push(&hex[2..]);
        path
    }

    /// Returns what was recorded under `key`; a damaged record, or one whose
    /// layers are no longer in the store, counts as none.
    pub fn get(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(Body { needs, value }) = self.read(key)? else {
            return Ok(None);
        };
        let layers = Layers::new(self.shared.clone(), None);
        let whole = needs.iter().all(|id| layers.has(id))
            && self.shared.mark_used(&self.path(key), Mark::Modified)?;
        if whole {
            self.shared.count_use(key);
        }
        Ok(whole.then_some(value))
    }

    /// Returns the layers that the record under `key` needs; nothing if there is no sound record.
    pub fn needs(&self, key: &[u8; 32]) -> Result<Option<Vec<LayerId>>, StoreError> {
        Ok(self.read(key)?.map(|body| body.needs))
    }

    fn read(&self, key: &[u8; 32]) -> Result<Option<Body>, StoreError> {
        let path = self.path(key);
        match fs::read(&path) {
            Ok(data) => Ok(unseal(&data)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Records `value`, which is about the layers `needs`, under `key`, replacing what was there.
    pub fn put(&self, key: &[u8; 32], value: &[u8], needs: &[LayerId]) -> Result<(), StoreError> {
        let path = self.path(key);
        let body = Body {
            needs: needs.to_vec(),
            value: value.to_vec(),
        };
        let body = postcard::to_stdvec(&body).expect("plain data always serialises");
        let mut sealed = Vec::with_capacity(32 + body.len());
        sealed.extend_from_slice(blake3::hash(&body).as_bytes());
        sealed.extend_from_slice(&body);
        match self.shared.write_atomic(&path, &sealed) {
            Err(error) if error.is_not_found() => {
                let dir = path.parent().expect("a record is in a directory");
                fs::create_dir_all(dir).during("create", dir)?;
                self.shared.write_atomic(&path, &sealed)
            }
            other => other,
        }
    }

    /// Removes the record under `key`; none is no error.
    pub fn remove(&self, key: &[u8; 32]) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the keys of all records.
    pub fn keys(&self) -> Result<Vec<[u8; 32]>, StoreError> {
        let root = self.shared.layout.dir("records");
        let mut keys = Vec::new();
        for group in fs::read_dir(&root).during("list", &root)? {
            let dir = group.during("list", &root)?.path();
            let Some(prefix) = dir
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
            else {
                continue;
            };
            for item in fs::read_dir(&dir).during("list", &dir)? {
                let name = item.during("list", &dir)?.file_name();
                let hex = format!("{prefix}{}", name.to_string_lossy());
                keys.extend(blake3::Hash::from_hex(hex).map(<[u8; 32]>::from));
            }
        }
        Ok(keys)
    }
}

/// Checks the checksum in front of a body and decodes it.
fn unseal(data: &[u8]) -> Option<Body> {
    let (sum, body) = data.split_at_checked(32)?;
    if blake3::hash(body).as_bytes() != sum {
        return None;
    }
    postcard::from_bytes(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn a_record_is_found_replaced_removed_and_never_served_damaged() {
        let (_dir, store) = store();
        let records = store.records();
        let key = [7; 32];
        assert_eq!(records.get(&key).expect("get"), None);
        records.put(&key, b"one", &[]).expect("put");
        records.put(&key, b"two", &[]).expect("put");
        assert_eq!(
            records.get(&key).expect("get").as_deref(),
            Some(&b"two"[..])
        );
        assert_eq!(records.keys().expect("keys"), [key]);
        let path = records.path(&key);
        let mut data = fs::read(&path).expect("read");
        *data.last_mut().expect("bytes") ^= 1;
        fs::write(&path, data).expect("write");
        assert_eq!(records.get(&key).expect("get"), None);
        records.remove(&key).expect("remove");
        records.remove(&key).expect("remove twice");
        assert_eq!(records.keys().expect("keys"), Vec::<[u8; 32]>::new());
    }
}
