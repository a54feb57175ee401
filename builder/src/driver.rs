//! Which storage driver a store has: by option, or by trying an overlay on its file system.

use cooper_cache::{Driver, Store, StoreError};
use cooper_runner::{Rootfs, open_root};

/// Returns how layers are mounted in `store`.
pub(crate) fn of(store: &Store) -> Result<Driver, StoreError> {
    store.driver(|| has_overlays(store))
}

/// Mounts an overlay in the store's own directory. What fails before that says nothing of
/// overlays, and will be said by whatever needs it.
fn has_overlays(store: &Store) -> bool {
    let layers = store.layers();
    let (Ok(lower), Ok(upper)) = (layers.prepare(), layers.prepare()) else {
        return true;
    };
    let rootfs = Rootfs::Overlay {
        lowers: vec![lower.fs()],
        upper: upper.fs(),
        work: upper.work(),
        userxattr: store.options().userxattr,
    };
    // Older kernels need a mount namespace for it, which is the thread's.
    std::thread::spawn(move || open_root(&rootfs).is_ok())
        .join()
        .unwrap_or(false)
}
