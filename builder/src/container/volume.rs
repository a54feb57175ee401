//! Volumes: directories that outlive containers.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cooper_cache::{CopyItem, Entry, MergedTree, RelPath, Source, Store};
use rustix::fs::{FlockOperation, flock};

use super::record::ContainerError;
use crate::report::Report;

/// The volumes of a store.
#[derive(Clone, Debug)]
pub struct Volumes {
    dir: PathBuf,
}

impl Volumes {
    /// Returns the volumes of the store at `root`.
    pub fn of(root: &Path) -> Self {
        Self {
            dir: root.join("volumes"),
        }
    }

    /// Removes a volume; one that does not exist is no error.
    pub fn remove(&self, name: &str) -> Result<(), ContainerError> {
        let dir = self.dir.join(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ContainerError::io("remove", &dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the directory of the volume `name`, made if there is none, and filled with what
    /// the image has at `path` if it is empty.
    pub(super) fn ensure(
        &self,
        name: &str,
        store: &Store,
        image: &MergedTree,
        path: &Path,
    ) -> Result<PathBuf, Report> {
        let dir = self.dir.join(name);
        let data = dir.join("_data");
        fs::create_dir_all(&data)
            .map_err(ContainerError::io("create", &data))
            .map_err(|error| Report::from_error(&error))?;
        let _lock = lock(&dir).map_err(|error| Report::from_error(&error))?;
        let mut entries = fs::read_dir(&data)
            .map_err(ContainerError::io("list", &data))
            .map_err(|error| Report::from_error(&error))?;
        if entries.next().is_none() {
            fill(&data, store, image, path)?;
        }
        Ok(data)
    }
}

fn lock(dir: &Path) -> Result<File, ContainerError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(ContainerError::io("create", &path))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| ContainerError::io("lock", &path)(errno.into()))?;
    Ok(file)
}

/// Copies what `image` has at `path` to the empty directory `data`. The copy is made elsewhere
/// and renamed, so that a crash never leaves half of it.
fn fill(data: &Path, store: &Store, image: &MergedTree, path: &Path) -> Result<(), Report> {
    let failed = |error: &dyn std::error::Error| {
        Report::from_error(error).context(format!("cannot fill the volume at {}", path.display()))
    };
    let bytes = path.as_os_str().as_encoded_bytes();
    let at = image
        .resolve(&RelPath::clean(bytes), true)
        .map_err(|error| failed(&error))?
        .path;
    match image.get(&at) {
        Some(node) if node.entry.is_dir() => {}
        _ => return Ok(()),
    }
    let staging = store.layers().prepare().map_err(|error| failed(&error))?;
    staging
        .populate(items(image, &at))
        .map_err(|error| failed(&error))?;
    fs::rename(staging.fs(), data).map_err(|error| failed(&ContainerError::io("fill", data)(error)))
}

/// Returns the entries of `image` at and below `at`, which becomes the root. Files are copied,
/// never linked: what is written to the volume must not reach the layer.
fn items(image: &MergedTree, at: &RelPath) -> Vec<CopyItem> {
    let mut groups = HashMap::new();
    let mut items = Vec::new();
    for node in image.walk(at) {
        let Some(path) = node.entry.path.strip_prefix(at) else {
            continue;
        };
        let hardlink = node.entry.hardlink.map(|group| {
            let next = groups.len() as u32;
            *groups.entry((node.layer, group)).or_insert(next)
        });
        let source = if node.entry.is_file() {
            Source::Foreign(node.file_path())
        } else {
            Source::None
        };
        items.push(CopyItem {
            entry: Entry {
                path,
                hardlink,
                ..node.entry.clone()
            },
            source,
        });
    }
    items
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use cooper_cache::StoreOptions;

    use super::*;

    #[test]
    fn an_empty_volume_is_filled_once_from_the_image() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(root.path(), StoreOptions::default()).expect("opens");
        let staging = store.layers().prepare().expect("prepares");
        let data = staging.fs().join("srv/data");
        fs::create_dir_all(data.join("sub")).expect("makes");
        fs::write(data.join("a"), "one").expect("writes");
        fs::hard_link(data.join("a"), data.join("b")).expect("links");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o2770)).expect("sets");
        std::os::unix::fs::symlink("srv/data", staging.fs().join("link")).expect("links");
        let layer = store.layers().commit(staging).expect("commits");
        let tree = store.layers().tree(&[layer.id().clone()]).expect("merges");

        let volumes = Volumes::of(root.path());
        let volume = volumes
            .ensure("v", &store, &tree, Path::new("/link"))
            .expect("fills");
        assert_eq!(volume, root.path().join("volumes/v/_data"));
        assert_eq!(fs::read(volume.join("b")).expect("reads"), b"one");
        let metadata = |name: &str| fs::metadata(volume.join(name)).expect("is there");
        assert_eq!(metadata("").mode() & 0o7777, 0o2770);
        assert_eq!(metadata("a").nlink(), 2, "the two names stay one file");
        assert!(metadata("sub").is_dir());

        fs::write(volume.join("a"), "two").expect("writes");
        volumes
            .ensure("v", &store, &tree, Path::new("/srv/data"))
            .expect("is there");
        assert_eq!(fs::read(volume.join("a")).expect("reads"), b"two");
        assert_eq!(
            fs::read(layer.fs().join("srv/data/a")).expect("reads"),
            b"one"
        );
        let none = volumes
            .ensure("w", &store, &tree, Path::new("/missing"))
            .expect("is empty");
        assert_eq!(fs::read_dir(none).expect("lists").count(), 0);
        volumes.remove("v").expect("removes");
        assert!(!root.path().join("volumes/v").exists());
    }
}
