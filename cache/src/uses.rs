//! How often records were used.
//!
//! A use appends the record's key to `uses`, one write of 32 bytes, so that a build that finds
//! everything opens no database for it. A collector adds the file up and puts the sums into the
//! database. Losing some of it changes nothing but the order of collection.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::error::{IoContext, StoreError};
use crate::meta::Use;
use crate::store::{Shared, Store};

const KEY: usize = 32;

impl Shared {
    /// Notes one use of the record under `key`.
    pub(crate) fn count_use(&self, key: &[u8; KEY]) {
        let path = self.layout.dir("uses");
        let file = OpenOptions::new().append(true).create(true).open(path);
        // What is not counted only looks a little less used.
        let _ = file.and_then(|mut file| file.write_all(key));
    }
}

impl Store {
    /// Returns how often each record was used, and moves new counts into the database.
    pub(crate) fn take_uses(&self, now: u64) -> Result<HashMap<Vec<u8>, Use>, StoreError> {
        let path = self.shared().layout.dir("uses");
        let aside = self.shared().tmp_path();
        match fs::rename(&path, &aside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => {
                other.during("put aside", &path)?;
                let keys = fs::read(&aside).during("read", &aside)?;
                let keys: Vec<_> = keys.chunks_exact(KEY).collect();
                self.meta().count(&keys, now)?;
                fs::remove_file(&aside).during("remove", &aside)?;
            }
        }
        self.meta().uses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn uses_add_up_over_collections() {
        let (_dir, store) = store();
        let key = [7; KEY];
        store.records().put(&key, b"v", &[]).expect("put");
        assert_eq!(store.take_uses(5).expect("uses").len(), 0);
        for _ in 0..3 {
            store.records().get(&key).expect("get").expect("there");
        }
        let count = |now| store.take_uses(now).expect("uses")[&key.to_vec()];
        assert_eq!(count(9), Use { count: 3, last: 9 });
        store.records().get(&key).expect("get").expect("there");
        assert_eq!(count(12), Use { count: 4, last: 12 });
        store.meta().forget(&[key]).expect("forget");
        assert_eq!(store.take_uses(13).expect("uses").len(), 0);
    }
}
