//! The root filesystem as plain files: into a directory or as one tar stream.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cooper_cache::{MergedTree, RelPath};

use super::{ExportError, to_sink};
use crate::options::{LocalMode, Sink};

/// Writes all files of `tree` below `dest`, over what is there.
pub fn export_directory(
    tree: &MergedTree,
    dest: &Path,
    mode: LocalMode,
) -> Result<(), ExportError> {
    std::fs::create_dir_all(dest).map_err(|e| super::failed(dest, e))?;
    if mode == LocalMode::Delete {
        remove_others(tree, dest, &RelPath::root())?;
    }
    Ok(tree.write_to(dest)?)
}

/// Removes from the directory `at` below `dest`, and from those in it, what `tree` does not have,
/// or has as something that is no directory. Links are removed and not followed.
fn remove_others(tree: &MergedTree, dest: &Path, at: &RelPath) -> Result<(), ExportError> {
    let dir = at.under(dest);
    let list = || std::fs::read_dir(&dir)?.collect::<std::io::Result<Vec<_>>>();
    for entry in list().map_err(|e| super::failed(&dir, e))? {
        let path = at.join(entry.file_name().as_bytes());
        let full = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let node = tree.get(&path);
        match node {
            Some(node) if is_dir && node.entry.is_dir() => remove_others(tree, dest, &path)?,
            Some(_) if !is_dir => {}
            _ if is_dir => std::fs::remove_dir_all(&full).map_err(|e| super::failed(&full, e))?,
            _ => std::fs::remove_file(&full).map_err(|e| super::failed(&full, e))?,
        }
    }
    Ok(())
}

/// Writes all files of `trees` as one tar, each tree below a directory of its own; the root
/// directory is the archive's.
pub fn export_tar(trees: &[(RelPath, &MergedTree)], sink: &Sink) -> Result<(), ExportError> {
    to_sink(sink, |out| Ok(MergedTree::write_tars(trees, out)?))
}
