//! Shared set-up of this crate's tests.

use tempfile::TempDir;

use crate::store::{Store, StoreOptions};

/// Opens an empty store in a directory of its own.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(dir.path(), StoreOptions::default()).expect("open");
    (dir, store)
}
