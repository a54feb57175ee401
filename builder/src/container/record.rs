//! The containers of a store: making, finding, listing and removing them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::Config;
use super::name;

/// Why a container could not be dealt with.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The name is taken.
    #[error("the name {name} is taken by container {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// The short ID of the container that has it.
        holder: String,
    },
    /// The name cannot be a name.
    #[error(
        "{name:?} cannot be a container's name: letters, digits, '_', '.' and '-', two at least"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
}

impl ContainerError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// How far a container has come, as it was last written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum State {
    /// Made, not started.
    Created,
    /// Started.
    Running {
        /// When, RFC 3339.
        started: String,
    },
    /// At its end.
    Exited {
        /// The exit code.
        code: i32,
        /// When, RFC 3339.
        finished: String,
    },
}

/// A container as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its ID, 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What it is.
    pub config: Config,
    /// Volumes that were made for it alone.
    #[serde(default)]
    pub anonymous_volumes: Vec<String>,
    /// How far it has come.
    pub state: State,
}

/// What a new container is to be.
#[derive(Clone, Debug)]
pub struct NewContainer {
    /// Its name; one is made up when absent.
    pub name: Option<String>,
    /// See [`Container::created`].
    pub created: String,
    /// See [`Container::config`].
    pub config: Config,
}

/// A container that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is written down of it.
    pub container: Container,
    /// Whether a process holds it.
    pub live: bool,
}

/// The containers of a store.
#[derive(Clone, Debug)]
pub struct Containers {
    dir: PathBuf,
}

/// A container held by this process.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) container: Container,
    dir: PathBuf,
    _lock: File,
}

impl Containers {
    /// Returns the containers of the store at `root`.
    pub fn of(root: &Path) -> Self {
        Self {
            dir: root.join("containers"),
        }
    }

    /// Returns all containers, youngest first, after sweeping those left to be removed.
    pub fn list(&self) -> Result<Vec<Found>, ContainerError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ContainerError::io("list", &self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let dir = entry.map_err(ContainerError::io("list", &self.dir))?.path();
            if dir.is_dir() {
                found.extend(self.look(&dir)?);
            }
        }
        found.sort_by(|a, b| b.container.created.cmp(&a.container.created));
        Ok(found)
    }

    /// Returns the containers that `name` (a name, or the start of an ID) could mean.
    pub fn find(&self, name: &str) -> Result<Vec<Found>, ContainerError> {
        let mut all = self.list()?;
        if let Some(named) = all.iter().position(|found| found.container.name == name) {
            return Ok(vec![all.swap_remove(named)]);
        }
        all.retain(|found| !name.is_empty() && found.container.id.starts_with(name));
        Ok(all)
    }

    /// Removes a container that nothing runs.
    pub fn remove(&self, container: &Container) -> Result<(), ContainerError> {
        remove_dir(&self.dir.join(&container.id))
    }

    /// Reads the container at `dir`; none if it is gone, or was to be removed and now is.
    fn look(&self, dir: &Path) -> Result<Option<Found>, ContainerError> {
        let path = dir.join("config.json");
        let Some(container) = read(&path)? else {
            // Neither made to its end nor held: a process died while it made it.
            let _making = self.lock_all()?;
            if read(&path)?.is_none() && try_hold(dir)?.is_some() {
                remove_dir(dir)?;
            }
            return Ok(None);
        };
        let lock = try_hold(dir)?;
        if lock.is_some() && container.config.lifecycle.remove {
            let volumes = super::Volumes::of(self.dir.parent().unwrap_or(&self.dir));
            container
                .anonymous_volumes
                .iter()
                .try_for_each(|name| volumes.remove(name))?;
            remove_dir(dir)?;
            return Ok(None);
        }
        Ok(Some(Found {
            container,
            live: lock.is_none(),
        }))
    }

    /// Makes a container and holds it.
    pub(super) fn create(&self, new: NewContainer) -> Result<Held, ContainerError> {
        fs::create_dir_all(&self.dir).map_err(ContainerError::io("create", &self.dir))?;
        let _making = self.lock_all()?;
        let name = self.free_name(new.name.as_deref())?;
        let id =
            super::random_id().map_err(ContainerError::io("read", Path::new("/dev/urandom")))?;
        let dir = self.dir.join(&id);
        for path in [dir.clone(), dir.join("fs"), dir.join("work")] {
            fs::create_dir(&path).map_err(ContainerError::io("create", &path))?;
        }
        let lock = try_hold(&dir)?.ok_or_else(|| ContainerError::Io {
            action: "lock",
            path: dir.clone(),
            source: io::ErrorKind::WouldBlock.into(),
        })?;
        let container = Container {
            id,
            name,
            created: new.created,
            config: new.config,
            anonymous_volumes: Vec::new(),
            state: State::Created,
        };
        let held = Held {
            container,
            dir,
            _lock: lock,
        };
        held.write()?;
        Ok(held)
    }

    fn lock_all(&self) -> Result<File, ContainerError> {
        let path = self.dir.join("lock");
        let file = open_lock(&path)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| ContainerError::io("lock", &path)(errno.into()))?;
        Ok(file)
    }

    fn free_name(&self, wanted: Option<&str>) -> Result<String, ContainerError> {
        let taken = self.names()?;
        if let Some(name) = wanted {
            if !name::is_valid(name) {
                return Err(ContainerError::InvalidName {
                    name: name.to_owned(),
                });
            }
            return match taken.get(name) {
                None => Ok(name.to_owned()),
                Some(id) => Err(ContainerError::NameTaken {
                    name: name.to_owned(),
                    holder: id.chars().take(12).collect(),
                }),
            };
        }
        let mut bytes = [0; 2];
        super::random(&mut bytes).map_err(ContainerError::io("read", Path::new("/dev/urandom")))?;
        let first = u32::from(u16::from_le_bytes(bytes));
        // Far more names than anyone has containers; the last resort says so.
        let free = (0..1 << 20)
            .map(|step| name::generate(first + step))
            .find(|name| !taken.contains_key(name));
        free.ok_or_else(|| ContainerError::InvalidName {
            name: String::new(),
        })
    }

    /// Returns the names that are taken, with their containers' IDs. It locks nothing and sweeps
    /// nothing, as its caller holds the lock.
    fn names(&self) -> Result<BTreeMap<String, String>, ContainerError> {
        let entries = fs::read_dir(&self.dir).map_err(ContainerError::io("list", &self.dir))?;
        let mut names = BTreeMap::new();
        for entry in entries {
            let dir = entry.map_err(ContainerError::io("list", &self.dir))?.path();
            if let Some(container) = read(&dir.join("config.json"))? {
                let swept = container.config.lifecycle.remove && try_hold(&dir)?.is_some();
                if !swept {
                    names.insert(container.name, container.id);
                }
            }
        }
        Ok(names)
    }
}

impl Held {
    /// Returns the directory that takes the container's writes.
    pub(super) fn upper(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Returns the overlay's work directory.
    pub(super) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Writes the container down as it now is.
    pub(super) fn write(&self) -> Result<(), ContainerError> {
        let (path, tmp) = (
            self.dir.join("config.json"),
            self.dir.join("config.json.new"),
        );
        let bytes = serde_json::to_vec_pretty(&self.container).unwrap_or_default();
        fs::write(&tmp, bytes).map_err(ContainerError::io("write", &tmp))?;
        fs::rename(&tmp, &path).map_err(ContainerError::io("write", &path))
    }

    /// Writes down how the container now is.
    pub(super) fn set(&mut self, state: State) -> Result<(), ContainerError> {
        self.container.state = state;
        self.write()
    }

    /// Removes the container.
    pub(super) fn remove(self) -> Result<(), ContainerError> {
        remove_dir(&self.dir)
    }
}

fn read(path: &Path) -> Result<Option<Container>, ContainerError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ContainerError::io("understand", path)(error.into())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(ContainerError::io("read", path)(error)),
    }
}

fn open_lock(path: &Path) -> Result<File, ContainerError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ContainerError::io("open", path))
}

/// Takes the lock of the container at `dir` unless a process has it.
fn try_hold(dir: &Path) -> Result<Option<File>, ContainerError> {
    let path = dir.join("lock");
    let file = match open_lock(&path) {
        // The container was removed meanwhile: nobody holds it.
        Err(ContainerError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(ContainerError::io("lock", &path)(errno.into())),
    }
}

fn remove_dir(dir: &Path) -> Result<(), ContainerError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ContainerError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn new(name: Option<&str>, remove: bool) -> NewContainer {
        NewContainer {
            name: name.map(str::to_owned),
            created: "2024-05-01T10:00:00Z".into(),
            config: crate::container::testing::config(remove),
        }
    }

    fn scene() -> (tempfile::TempDir, Containers) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let containers = Containers::of(root.path());
        (root, containers)
    }

    #[test]
    fn a_container_is_live_while_it_is_held() {
        let (_root, containers) = scene();
        assert_eq!(containers.list().expect("lists"), []);
        let held = containers.create(new(Some("web"), false)).expect("makes");
        assert!(held.upper().is_dir() && held.work().is_dir());
        let expected = Found {
            container: held.container.clone(),
            live: true,
        };
        assert_eq!(
            containers.list().expect("lists"),
            slice::from_ref(&expected)
        );
        drop(held);
        let expected = Found {
            live: false,
            ..expected
        };
        assert_eq!(
            containers.find("web").expect("lists"),
            slice::from_ref(&expected)
        );
        let prefix = &expected.container.id[..5];
        assert_eq!(
            containers.find(prefix).expect("lists"),
            slice::from_ref(&expected)
        );
        containers.remove(&expected.container).expect("removes");
        assert_eq!(containers.list().expect("lists"), []);
    }

    #[test]
    fn names_are_unique_and_made_up_when_not_given() {
        let (_root, containers) = scene();
        let first = containers.create(new(Some("web"), false)).expect("makes");
        let error = containers
            .create(new(Some("web"), false))
            .expect_err("taken");
        let holder = &first.container.id[..12];
        assert_eq!(
            error.to_string(),
            format!("the name web is taken by container {holder}")
        );
        assert!(containers.create(new(Some("no/name"), false)).is_err());
        let unnamed = containers.create(new(None, false)).expect("makes");
        assert!(name::is_valid(&unnamed.container.name));
    }

    #[test]
    fn what_was_to_be_removed_is_swept_once_nobody_holds_it() {
        let (root, containers) = scene();
        let held = containers.create(new(Some("web"), true)).expect("makes");
        assert_eq!(containers.list().expect("lists").len(), 1);
        drop(held);
        assert!(
            containers.create(new(Some("web"), false)).is_ok(),
            "the name is free again"
        );
        assert_eq!(containers.list().expect("lists").len(), 1);
        fs::create_dir(root.path().join("containers/abc")).expect("makes");
        assert_eq!(containers.list().expect("lists").len(), 1);
        assert!(
            !root.path().join("containers/abc").exists(),
            "half-made ones are swept too"
        );
    }

    #[test]
    fn states_are_written_down() {
        let (_root, containers) = scene();
        let mut held = containers.create(new(None, false)).expect("makes");
        let state = State::Exited {
            code: 3,
            finished: "2024-05-01T10:00:01Z".into(),
        };
        held.set(state.clone()).expect("writes");
        assert_eq!(containers.list().expect("lists")[0].container.state, state);
        held.remove().expect("removes");
        assert_eq!(containers.list().expect("lists"), []);
    }
}
