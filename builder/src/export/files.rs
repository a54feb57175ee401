//! The root filesystem as plain files: into a directory or as one tar stream.

use std::path::Path;

use cooper_cache::{MergedTree, RelPath};

use super::{ExportError, to_sink};
use crate::options::Sink;

/// Writes all files of `tree` below `dest`, over what is there.
pub fn export_directory(tree: &MergedTree, dest: &Path) -> Result<(), ExportError> {
    std::fs::create_dir_all(dest).map_err(|e| super::failed(dest, e))?;
    Ok(tree.write_to(dest)?)
}

/// Writes all files of `trees` as one tar, each tree below a directory of its own; the root
/// directory is the archive's.
pub fn export_tar(trees: &[(RelPath, &MergedTree)], sink: &Sink) -> Result<(), ExportError> {
    to_sink(sink, |out| Ok(MergedTree::write_tars(trees, out)?))
}
