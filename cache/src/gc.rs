//! Garbage collection and disk usage.

use crate::error::StoreError;
use crate::layer::LayerId;
use crate::store::Store;

/// What a collection may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Remove solver records too, with the layers that only they keep.
    pub records: bool,
    /// Remove images without a name.
    pub dangling_images: bool,
}

/// What a collection took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Layers.
    pub layers: Vec<LayerId>,
    /// Blobs.
    pub blobs: Vec<cooper_oci::Digest>,
    /// Number of solver records.
    pub records: u64,
    /// Images.
    pub images: Vec<cooper_oci::Digest>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether running builds kept the collector from starting.
    pub busy: bool,
}

/// Bytes on disk, in real blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Unpacked layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Solver records and details.
    pub records: u64,
    /// RUN cache mounts.
    pub mounts: u64,
    /// Everything else.
    pub other: u64,
}

impl Store {
    /// Removes what no image and no record needs; nothing while a lease is held.
    pub fn gc(&self, _options: GcOptions) -> Result<GcReport, StoreError> {
        Ok(GcReport::default())
    }

    /// Counts the store's disk usage.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        Ok(DiskUsage::default())
    }
}
