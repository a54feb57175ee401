//! The root filesystem as plain files: into a directory or as one tar stream.

use std::path::Path;

use cooper_cache::MergedTree;

use super::{ExportError, to_sink};
use crate::options::Sink;

/// Writes all files of `tree` below `dest`, over what is there.
pub fn export_directory(tree: &MergedTree, dest: &Path) -> Result<(), ExportError> {
    std::fs::create_dir_all(dest).map_err(|e| super::failed(dest, e))?;
    Ok(tree.write_to(dest)?)
}

/// Writes all files of `tree` as one tar.
pub fn export_tar(tree: &MergedTree, sink: &Sink) -> Result<(), ExportError> {
    to_sink(sink, |out| Ok(tree.write_tar(out)?))
}
