//! Volumes: directories that outlive containers.
//!
//! ```text
//! <root>/volumes/<name>/volume.json   its labels, options, and when it was made
//!                       lock          held while it is filled
//!                       _data         what containers see
//! ```
//!
//! A volume is in use while a container that mounts it exists, running or not: there is nothing to
//! count, and nothing to forget. One without `volume.json` was made by hand, and counts as made
//! when its directory was.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cooper_cache::{CopyItem, Entry, LayerId, MergedTree, RelPath, Source, Store};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::config::{Config, VolumeSource};
use super::record::{self, ContainerError, Found};
use super::volume_mount::{self, Backing};
use crate::events::{Event, Journal, Kind};
use crate::report::Report;

/// The label that docker gives to volumes that nobody named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as given.
    pub options: BTreeMap<String, String>,
}

impl Volume {
    /// Returns whether nobody named it.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

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

    /// Returns the directory that containers see of a volume.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("_data")
    }

    /// Returns all volumes by name.
    pub fn list(&self) -> Result<Vec<Volume>, ContainerError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ContainerError::io("list", &self.dir))?,
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        let volumes = names.into_iter().map(|name| self.find(&name));
        volumes.filter_map(Result::transpose).collect()
    }

    /// Returns the volume of that name, if there is one.
    pub fn find(&self, name: &str) -> Result<Option<Volume>, ContainerError> {
        let data = self.data(name);
        let Ok(metadata) = fs::metadata(&data) else {
            return Ok(None);
        };
        let written = record::read::<Volume>(&self.dir.join(name).join("volume.json"))?;
        let mut volume = written.unwrap_or_default();
        name.clone_into(&mut volume.name);
        if volume.created.is_empty() {
            let made = metadata.created().or_else(|_| metadata.modified());
            let made = made.ok().and_then(|time| Timestamp::try_from(time).ok());
            volume.created = made.unwrap_or_default().to_string();
        }
        Ok(Some(volume))
    }

    /// Makes a volume; one that is there already stays as it is.
    pub fn create(&self, volume: &Volume) -> Result<(), ContainerError> {
        let data = self.data(&volume.name);
        if data.is_dir() {
            return Ok(());
        }
        let dir = self.dir.join(&volume.name);
        record::make_dir(&dir)?;
        record::write(&dir.join("volume.json"), volume)?;
        // What makes it a volume comes last.
        match fs::create_dir(&data) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made.map_err(ContainerError::io("create", &data))?,
        }
        self.tell("create", &volume.name);
        Ok(())
    }

    fn tell(&self, action: &str, name: &str) {
        if let Some(root) = self.dir.parent() {
            let event = Event::new(Kind::Volume, action, name);
            Journal::of(root).write(&event.with("driver", "local"));
        }
    }

    /// Unmounts what volumes of a container that has ended stand for, unless another container
    /// has them.
    pub(super) fn release(
        &self,
        config: &Config,
        containers: &super::Containers,
        id: &str,
    ) -> Result<(), ContainerError> {
        for mount in &config.mounts.volumes {
            let VolumeSource::Named(name) = &mount.source else {
                continue;
            };
            let volume = self.find(name)?.unwrap_or_default();
            if !matches!(Backing::of(&volume.options), Some(Backing::FileSystem(_))) {
                continue;
            }
            let _lock = lock(&self.dir.join(name))?;
            let all = containers.list()?;
            let mut others = users(&all, name).into_iter();
            if !others.any(|found| found.live && found.container.id != id) {
                let data = self.data(name);
                volume_mount::unmount(&data).map_err(ContainerError::io("unmount", &data))?;
            }
        }
        Ok(())
    }

    /// Removes a volume; one that does not exist is no error.
    pub fn remove(&self, name: &str) -> Result<(), ContainerError> {
        let dir = self.dir.join(name);
        if dir.exists() {
            let data = self.data(name);
            volume_mount::unmount(&data).map_err(ContainerError::io("unmount", &data))?;
            record::remove_dir(&dir)?;
            self.tell("destroy", name);
        }
        Ok(())
    }

    /// Returns the directory that a container mounts for the volume `name`: the volume's, made if
    /// there is none and filled with what the image has at `path` if it is empty, or the one of
    /// this machine that the volume stands for.
    ///
    /// One that stands for a file system gets that when a container starts, which is when nothing
    /// is to be filled; `rootless` tells that it could not be mounted for all who share it.
    pub(super) fn ensure(
        &self,
        name: &str,
        fill: Option<&Filling<'_>>,
        rootless: bool,
    ) -> Result<PathBuf, Report> {
        let failed = |error: ContainerError| Report::from_error(&error);
        if let Some(volume) = self.find(name).map_err(failed)? {
            match Backing::of(&volume.options) {
                Some(Backing::Directory(path)) => return Ok(path),
                Some(Backing::FileSystem(_)) if fill.is_some() => return Ok(self.data(name)),
                Some(Backing::FileSystem(what)) => {
                    let _lock = lock(&self.dir.join(name)).map_err(failed)?;
                    let data = self.data(name);
                    what.mount(&data, rootless).map_err(|error| {
                        let report = Report::from_error(&error);
                        let report = report.context(format!("cannot mount volume {name}"));
                        error.hint().into_iter().fold(report, Report::hint)
                    })?;
                    return Ok(data);
                }
                None => {}
            }
        } else {
            let volume = Volume {
                name: name.to_owned(),
                created: Timestamp::now().to_string(),
                ..Volume::default()
            };
            self.create(&volume).map_err(failed)?;
        }
        let data = self.data(name);
        if let Some(filling) = fill {
            let _lock = lock(&self.dir.join(name)).map_err(failed)?;
            let entries = fs::read_dir(&data).map_err(ContainerError::io("list", &data));
            if entries.map_err(failed)?.next().is_none() {
                filling.copy(&data)?;
            }
        }
        Ok(data)
    }
}

/// Returns which of `containers` mount the volume `name`.
pub fn users<'a>(containers: &'a [Found], name: &str) -> Vec<&'a Found> {
    let mounts = |found: &&Found| mounts(&found.container.config, name);
    containers.iter().filter(mounts).collect()
}

/// Returns whether a container mounts the volume `name`.
pub(super) fn mounts(config: &Config, name: &str) -> bool {
    let mut volumes = config.mounts.volumes.iter();
    volumes.any(|volume| matches!(&volume.source, VolumeSource::Named(own) if own == name))
}

/// Returns whether `name` can be a volume's.
pub fn is_volume_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() > 1 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(rest)
}

fn lock(dir: &Path) -> Result<File, ContainerError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(ContainerError::io("create", &path))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| ContainerError::io("lock", &path)(errno.into()))?;
    Ok(file)
}

/// What an empty volume is filled with.
pub(super) struct Filling<'a> {
    pub(super) store: &'a Store,
    /// The layers of the image.
    pub(super) layers: &'a [LayerId],
    /// The path in the image.
    pub(super) path: &'a Path,
}

impl Filling<'_> {
    /// Copies what the image has to the empty directory `data`. The copy is made elsewhere and
    /// renamed, so that a crash never leaves half of it.
    fn copy(&self, data: &Path) -> Result<(), Report> {
        let failed = |error: &dyn std::error::Error| {
            let path = self.path.display();
            Report::from_error(error).context(format!("cannot fill the volume at {path}"))
        };
        let layers = self.store.layers();
        let image = layers.tree(self.layers).map_err(|error| failed(&error))?;
        let bytes = self.path.as_os_str().as_encoded_bytes();
        let at = image
            .resolve(&RelPath::clean(bytes), true)
            .map_err(|error| failed(&error))?
            .path;
        match image.get(&at) {
            Some(node) if node.entry.is_dir() => {}
            _ => return Ok(()),
        }
        let staging = layers.prepare().map_err(|error| failed(&error))?;
        staging
            .populate(items(&image, &at))
            .map_err(|error| failed(&error))?;
        fs::rename(staging.fs(), data)
            .map_err(|error| failed(&ContainerError::io("fill", data)(error)))
    }
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
            Source::Stored(node.bytes())
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
        let layers = [layer.id().clone()];
        let filling = |path| Filling {
            store: &store,
            layers: &layers,
            path: Path::new(path),
        };

        let volumes = Volumes::of(root.path());
        let volume = volumes
            .ensure("v", Some(&filling("/link")), false)
            .expect("fills");
        assert_eq!(volume, root.path().join("volumes/v/_data"));
        assert_eq!(fs::read(volume.join("b")).expect("reads"), b"one");
        let metadata = |name: &str| fs::metadata(volume.join(name)).expect("is there");
        assert_eq!(metadata("").mode() & 0o7777, 0o2770);
        assert_eq!(metadata("a").nlink(), 2, "the two names stay one file");
        assert!(metadata("sub").is_dir());

        fs::write(volume.join("a"), "two").expect("writes");
        volumes
            .ensure("v", Some(&filling("/srv/data")), false)
            .expect("is there");
        assert_eq!(fs::read(volume.join("a")).expect("reads"), b"two");
        assert_eq!(
            fs::read(layer.fs().join("srv/data/a")).expect("reads"),
            b"one"
        );
        let none = volumes
            .ensure("w", Some(&filling("/missing")), false)
            .expect("is empty");
        assert_eq!(fs::read_dir(none).expect("lists").count(), 0);
        volumes.remove("v").expect("removes");
        assert!(!root.path().join("volumes/v").exists());
    }

    #[test]
    fn a_volume_is_listed_with_what_it_was_made_with() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let volumes = Volumes::of(root.path());
        assert_eq!(volumes.list().expect("lists"), []);
        let made = Volume {
            name: "made".into(),
            created: "2024-05-01T10:00:00Z".into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            options: BTreeMap::new(),
        };
        volumes.create(&made).expect("makes");
        let again = Volume {
            labels: BTreeMap::new(),
            ..made.clone()
        };
        volumes.create(&again).expect("stays");
        assert_eq!(volumes.find("made").expect("reads"), Some(made));
        fs::create_dir_all(volumes.data("by-hand")).expect("makes");
        let listed = volumes.list().expect("lists");
        let names: Vec<_> = listed.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["by-hand", "made"]);
        assert!(listed[0].created.parse::<Timestamp>().is_ok());
        assert_eq!(volumes.find("none").expect("reads"), None);
    }

    #[test]
    fn a_volume_may_stand_for_a_directory_of_the_machine() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let volumes = Volumes::of(root.path());
        let volume = Volume {
            name: "bound".into(),
            options: [
                ("device".to_owned(), "/srv".to_owned()),
                ("o".to_owned(), "bind".to_owned()),
            ]
            .into(),
            ..Volume::default()
        };
        volumes.create(&volume).expect("makes");
        let path = volumes.ensure("bound", None, false).expect("is there");
        assert_eq!(path, Path::new("/srv"));
    }
}
