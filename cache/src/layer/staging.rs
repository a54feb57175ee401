//! Layers being made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{IoContext, StoreError};
use crate::layer::files::{Files, Packed, Place, Places, pack_path};
use crate::layer::walk::hash_file;
use crate::layer::{Entry, EntryKind, FileIdentity, LayerIndex, Source};
use crate::store::{Shared, remove_tree};

/// A layer being made, on the store's file system. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    root: (u32, u32, u32),
    shared: Arc<Shared>,
}

impl Staging {
    pub(super) fn create(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let dir = shared.tmp_path();
        for path in [&dir, &dir.join("fs"), &dir.join("work")] {
            fs::create_dir(path).during("create", path)?;
        }
        let fs = dir.join("fs");
        fs::set_permissions(&fs, fs::Permissions::from_mode(0o755)).during("chmod", &fs)?;
        Ok(Self {
            dir,
            root: (0o755, 0, 0),
            shared: shared.clone(),
        })
    }

    /// Returns the directory to fill; the overlay's upper.
    pub fn fs(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Returns the overlay's workdir.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Gives `fs/` the mode and owner of the root directory it is going to cover.
    ///
    /// An overlay shows its upper's root; without this, a layer on a base whose
    /// root is not 0755 root:root would change it.
    pub fn inherit_root(&mut self, root: &Entry) -> Result<(), StoreError> {
        let wanted = (root.mode, root.uid, root.gid);
        if self.root == wanted {
            return Ok(());
        }
        let fs = self.fs();
        std::os::unix::fs::chown(&fs, Some(root.uid), Some(root.gid)).during("chown", &fs)?;
        fs::set_permissions(&fs, fs::Permissions::from_mode(root.mode)).during("chmod", &fs)?;
        self.root = wanted;
        Ok(())
    }

    /// Returns mode, uid and gid that `fs/` started with.
    pub(super) fn initial_root(&self) -> (u32, u32, u32) {
        self.root
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns where pack `number` of the layer is to be.
    pub(super) fn pack(&self, number: usize) -> Result<PathBuf, StoreError> {
        let path = pack_path(&self.dir, number);
        let packs = self.dir.join("packs");
        fs::create_dir_all(&packs).during("create", &packs)?;
        Ok(path)
    }

    /// Makes a directory for a pack that layers can link; it goes with this staging. Returns it
    /// with the path of the pack.
    pub(super) fn loose_pack(&self) -> Result<(PathBuf, PathBuf), StoreError> {
        let mut number = 0;
        loop {
            let dir = self.work().join(format!("loose-{number}"));
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                made => {
                    made.during("create", &dir)?;
                    let packs = dir.join("packs");
                    fs::create_dir(&packs).during("create", &packs)?;
                    let pack = pack_path(&dir, 0);
                    return Ok((dir, pack));
                }
            }
        }
    }

    /// Takes a file below [`work`](Self::work) over as the bytes of a new entry, whose kind is
    /// returned with them: they are hashed, and not copied.
    pub fn take(&self, file: &Path) -> Result<(EntryKind, Source), StoreError> {
        let (dir, pack) = self.loose_pack()?;
        fs::rename(file, &pack).during("rename", file)?;
        let (content, size) = hash_file(&pack).during("read", &pack)?;
        let places = Places {
            packs: vec![size],
            entries: vec![Place::default()],
            like: None,
        };
        let files = Files::Packed(Arc::new(Packed::loose(dir, places)));
        let bytes = files.bytes(0, file.to_owned(), size);
        Ok((EntryKind::File { size, content }, Source::Stored(bytes)))
    }

    /// Makes this a layer whose files lie in packs.
    pub(super) fn place(&self, places: &Places) -> Result<(), StoreError> {
        let path = self.dir.join("places");
        fs::write(&path, places.encode()).during("write", &path)?;
        if places.packs.is_empty() {
            // One was begun for nothing.
            let _ = remove_tree(&self.dir.join("packs"));
        }
        remove_tree(&self.fs()).during("remove", &self.fs())
    }

    /// Renames this into place as a complete layer; another process' equal layer wins.
    pub(super) fn publish(
        self,
        to: &Path,
        index: &LayerIndex,
        boot_id: &str,
    ) -> Result<FileIdentity, StoreError> {
        let index_path = self.dir.join("index");
        fs::write(&index_path, index.encode()).during("write", &index_path)?;
        let written = FileIdentity::of(&index_path).during("stat", &index_path)?;
        let stamp = self.dir.join("stamp");
        fs::write(&stamp, boot_id).during("write", &stamp)?;
        remove_tree(&self.work()).during("remove", &self.work())?;
        match fs::rename(&self.dir, to) {
            Err(error) if !to.join("stamp").exists() => Err(StoreError::io("rename", to, error)),
            _ => Ok(written),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = remove_tree(&self.dir);
    }
}
