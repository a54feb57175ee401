//! Shared set-up of this crate's tests.

use tempfile::TempDir;

use crate::store::{Store, StoreOptions};

/// Opens an empty store in a directory of its own.
pub(crate) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(dir.path(), StoreOptions::default()).expect("open");
    (dir, store)
}

/// Whether this process may do what only root can; says on stderr what is skipped if not.
#[expect(clippy::print_stderr, reason = "skipped tests are listed from stderr")]
pub(crate) fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: {what}: needs root");
    }
    root
}

/// Commits a layer of one file with this content.
pub(crate) fn layer(store: &Store, content: &str) -> crate::LayerId {
    let staging = store.layers().prepare().expect("prepare");
    std::fs::write(staging.fs().join("file"), content).expect("write");
    store.layers().commit(staging).expect("commit").id().clone()
}
