//! ADD of archives: what is one by its content is unpacked, anything else copied.

use cooper_cache::{
    Limits, MergedTree, RelPath, Staging, StoreError, Unpack, detect_archive, pack_archive,
    unpack_archive,
};

use super::FileError;
use super::copy::Rules;
use super::new_layer::NewLayer;
use super::select::Selected;

/// Where archives are unpacked to before they become entries.
pub(super) struct Archives<'a> {
    pub(super) staging: &'a Staging,
    /// Whether their files are not to be created.
    pub(super) packed: bool,
}

impl Archives<'_> {
    /// Unpacks `one` into the destination directory if it is an archive; returns whether it was.
    ///
    /// The archive's own owners and modes stay unless `--chown` says otherwise; `--chmod`
    /// has no say in them.
    pub(super) fn unpack(
        &self,
        layer: &mut NewLayer<'_>,
        tree: &MergedTree,
        one: &Selected,
        rules: &Rules<'_>,
    ) -> Result<bool, FileError> {
        let Some(node) = tree.get(&one.real).filter(|node| node.entry.is_file()) else {
            return Ok(false);
        };
        let file = node.bytes();
        if !detect_archive(&file)? {
            return Ok(false);
        }
        let dest = layer.resolve(&RelPath::clean(&rules.action.dest))?;
        layer.ensure_dir(&dest, 0o755, rules.owner.unwrap_or_default())?;
        let below = layer.tree(self.staging);
        let how = Unpack {
            tree: &below,
            dest,
            owner: rules.owner.map(|owner| (owner.uid, owner.gid)),
            limits: Limits::default(),
        };
        if self.packed {
            layer.adopt_items(pack_archive(&file, self.staging, &how)?);
        } else {
            let marks = layer.adopt(unpack_archive(&file, self.staging, &how)?.entries);
            // An overlay lists marks in a directory that is in no other layer.
            for mark in marks {
                let mark = mark.under(&self.staging.fs());
                std::fs::remove_file(&mark).map_err(|source| StoreError::Io {
                    action: "remove",
                    path: mark,
                    source,
                })?;
            }
        }
        Ok(true)
    }
}
