//! Content and snapshots on disk.
