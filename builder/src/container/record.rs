//! The containers of a store: making, finding, listing and removing them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_cache::Store;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::Config;
use super::name;
use super::state::{State, Status};

/// How often a container is tried to be held, and how long between: a command that only looks
/// holds it for a moment too, and a monitor has to tidy up at its end.
const HOLD_TRIES: u32 = 400;
const HOLD_PAUSE: Duration = Duration::from_millis(5);

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
    /// There is no such container.
    #[error("no such container: {name}")]
    Missing {
        /// The name or ID as given.
        name: String,
    },
    /// There are several.
    #[error("{name} could mean several containers")]
    Ambiguous {
        /// The start of an ID as given.
        name: String,
    },
    /// It is running.
    #[error("container {name} is running")]
    Running {
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

    /// Returns what can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("`cooper ps -a` lists containers"),
            Self::Ambiguous { .. } => Some("more of its ID, or its name, tells it apart"),
            Self::Running { .. } => Some("`cooper stop` ends it"),
            _ => None,
        }
    }
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
}

impl Container {
    /// Returns the start of its ID that is shown.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
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
    /// How it fares.
    pub state: State,
    /// Its directory.
    pub dir: PathBuf,
    /// Whether a process holds it.
    pub live: bool,
}

impl Found {
    /// Returns whether it has, or will have again without being asked, a process.
    pub fn is_active(&self) -> bool {
        self.live && self.state.status.is_active()
    }

    /// Holds a container that nothing runs.
    pub(crate) fn hold(&self) -> Result<Held, ContainerError> {
        let name = || self.container.name.clone();
        for _ in 0..HOLD_TRIES {
            if let Some(lock) = try_hold(&self.dir, FlockOperation::NonBlockingLockExclusive)? {
                let container = read(&self.dir.join("config.json"))?
                    .ok_or_else(|| ContainerError::Missing { name: name() })?;
                return Ok(Held {
                    container,
                    state: read_state(&self.dir)?,
                    dir: self.dir.clone(),
                    lock,
                });
            }
            if !self.dir.exists() {
                return Err(ContainerError::Missing { name: name() });
            }
            if read_state(&self.dir)?.status.is_active() {
                break;
            }
            std::thread::sleep(HOLD_PAUSE);
        }
        Err(ContainerError::Running { name: name() })
    }
}

/// The containers of a store.
#[derive(Clone, Debug)]
pub struct Containers {
    dir: PathBuf,
}

/// A container held by this process: nobody else starts or removes it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) container: Container,
    pub(crate) state: State,
    pub(crate) dir: PathBuf,
    pub(super) lock: File,
}

impl Containers {
    /// Returns the containers of the store at `root`.
    pub fn of(root: &Path) -> Self {
        Self {
            dir: root.join("containers"),
        }
    }

    /// Returns all containers, youngest first, after settling what killed monitors left.
    pub fn list(&self) -> Result<Vec<Found>, ContainerError> {
        let mut found = Vec::new();
        for dir in self.dirs()? {
            found.extend(self.look(&dir)?);
        }
        found.sort_by(|a, b| b.container.created.cmp(&a.container.created));
        Ok(found)
    }

    fn dirs(&self) -> Result<Vec<PathBuf>, ContainerError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ContainerError::io("list", &self.dir))?,
        };
        let mut dirs = Vec::new();
        for entry in entries {
            let dir = entry.map_err(ContainerError::io("list", &self.dir))?.path();
            if dir.is_dir() {
                dirs.push(dir);
            }
        }
        Ok(dirs)
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

    /// Returns the one container that `name` means.
    pub fn one(&self, name: &str) -> Result<Found, ContainerError> {
        // Docker lists names with a slash before them, and takes them so.
        let name = name.strip_prefix('/').unwrap_or(name);
        let mut found = self.find(name)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(ContainerError::Missing { name: name.into() }),
            _ => Err(ContainerError::Ambiguous { name: name.into() }),
        }
    }

    /// Gives a container another name.
    pub(crate) fn rename(&self, found: &Found, name: &str) -> Result<(), ContainerError> {
        let _making = self.lock_all()?;
        let name = self.free_name(Some(name))?;
        let container = Container {
            name,
            ..found.container.clone()
        };
        write(&found.dir.join("config.json"), &container)
    }

    /// Writes down a container that was changed.
    pub(crate) fn update(&self, container: &Container) -> Result<(), ContainerError> {
        let _making = self.lock_all()?;
        write(&self.dir.join(&container.id).join("config.json"), container)
    }

    /// Removes a container, with its anonymous volumes if it was made to go at its end.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is removed is not held any more"
    )]
    pub(crate) fn remove(&self, held: Held) -> Result<(), ContainerError> {
        if held.container.config.lifecycle.remove {
            let volumes = super::Volumes::of(self.dir.parent().unwrap_or(&self.dir));
            let names = &held.container.anonymous_volumes;
            names.iter().try_for_each(|name| volumes.remove(name))?;
        }
        if let Some(root) = self.dir.parent() {
            // A hold that stays keeps layers from the collector, and nothing else.
            let _ = Store::release_at(root, &held.container.id);
        }
        remove_dir(&held.dir)
    }

    /// Reads the container at `dir`; none if it is gone, or was to be removed and now is.
    fn look(&self, dir: &Path) -> Result<Option<Found>, ContainerError> {
        let path = dir.join("config.json");
        let Some(container) = read::<Container>(&path)? else {
            // Neither made to its end nor held: a process died while it made it.
            let _making = self.lock_all()?;
            let exclusive = FlockOperation::NonBlockingLockExclusive;
            if read::<Container>(&path)?.is_none() && try_hold(dir, exclusive)?.is_some() {
                remove_dir(dir)?;
            }
            return Ok(None);
        };
        let lock = try_hold(dir, FlockOperation::NonBlockingLockShared)?;
        let found = Found {
            container,
            state: read_state(dir)?,
            dir: dir.to_owned(),
            live: lock.is_none(),
        };
        drop(lock);
        let ended = found.state.status == Status::Exited;
        let goes = found.container.config.lifecycle.remove && ended;
        if found.live || !(goes || found.state.status.is_active()) {
            return Ok(Some(found));
        }
        self.settle(found)
    }

    /// Deals with what a killed monitor left: a process that outlives it, a state that is not
    /// true any more, a container that was to be removed.
    fn settle(&self, mut found: Found) -> Result<Option<Found>, ContainerError> {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let Some(lock) = try_hold(&found.dir, exclusive)? else {
            // Another command is at it, or has started it again.
            return Ok(Some(found));
        };
        found.state = read_state(&found.dir)?;
        if let Some(orphan) = found.state.orphan() {
            // It may have ended just now.
            let _ = rustix::process::kill_process(orphan, rustix::process::Signal::KILL);
        }
        if found.container.config.lifecycle.remove && found.state.status != Status::Created {
            self.remove(Held {
                container: found.container,
                state: found.state,
                dir: found.dir,
                lock,
            })?;
            return Ok(None);
        }
        if found.state.status.is_active() {
            found.state.bury(jiff::Timestamp::now().to_string());
            write(&found.dir.join("state.json"), &found.state)?;
        }
        Ok(Some(found))
    }

    /// Makes a container and holds it.
    pub(crate) fn create(&self, new: NewContainer) -> Result<Held, ContainerError> {
        make_dir(&self.dir)?;
        let _making = self.lock_all()?;
        let name = self.free_name(new.name.as_deref())?;
        let id =
            super::random_id().map_err(ContainerError::io("read", Path::new("/dev/urandom")))?;
        let dir = self.dir.join(&id);
        for path in [dir.clone(), dir.join("fs"), dir.join("work")] {
            make_dir(&path)?;
        }
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let lock = try_hold(&dir, exclusive)?.ok_or_else(|| ContainerError::Io {
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
        };
        let held = Held {
            container,
            state: State::default(),
            dir,
            lock,
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

    /// Returns the names that are taken, with their containers' IDs. What a killed monitor left
    /// to be removed has none any more.
    fn names(&self) -> Result<BTreeMap<String, String>, ContainerError> {
        let mut names = BTreeMap::new();
        for dir in self.dirs()? {
            if let Some(container) = read::<Container>(&dir.join("config.json"))? {
                let goes = container.config.lifecycle.remove
                    && read_state(&dir)?.status != Status::Created
                    && try_hold(&dir, FlockOperation::NonBlockingLockShared)?.is_some();
                if !goes {
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
        write(&self.dir.join("config.json"), &self.container)
    }

    /// Writes down how the container now fares.
    pub(super) fn write_state(&self) -> Result<(), ContainerError> {
        write(&self.dir.join("state.json"), &self.state)
    }
}

/// Replaces a document; whoever reads it sees the old one or the new one.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), ContainerError> {
    let tmp = path.with_extension("json.new");
    let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    fs::write(&tmp, bytes).map_err(ContainerError::io("write", &tmp))?;
    fs::rename(&tmp, path).map_err(ContainerError::io("write", path))
}

fn read_state(dir: &Path) -> Result<State, ContainerError> {
    Ok(read(&dir.join("state.json"))?.unwrap_or_default())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ContainerError> {
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

/// Makes a directory that is nobody else's business; one that is there already may stay.
fn make_dir(path: &Path) -> Result<(), ContainerError> {
    use std::os::unix::fs::DirBuilderExt;
    // The container's root shows the mode of `fs`, which is set when it is started.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path);
    made.map_err(ContainerError::io("create", path))
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
fn try_hold(dir: &Path, how: FlockOperation) -> Result<Option<File>, ContainerError> {
    let path = dir.join("lock");
    let file = match open_lock(&path) {
        // The container was removed meanwhile: nobody holds it.
        Err(ContainerError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        file => file?,
    };
    match flock(&file, how) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(ContainerError::io("lock", &path)(errno.into())),
    }
}

pub(super) fn remove_dir(dir: &Path) -> Result<(), ContainerError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ContainerError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
        let listed = |live| {
            let found = containers.list().expect("lists");
            assert_eq!((found.len(), found[0].live), (1, live));
            found[0].clone()
        };
        let found = listed(true);
        assert_eq!(found.container, held.container);
        drop(held);
        listed(false);
        for name in ["web", "/web", &found.container.id[..5]] {
            let one = containers.one(name).expect("finds");
            assert_eq!(one.container, found.container);
        }
        let missing = containers.one("no");
        assert!(matches!(missing, Err(ContainerError::Missing { .. })));
        let held = found.hold().expect("nobody holds it");
        containers.remove(held).expect("removes");
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
        let found = containers.one("web").expect("finds");
        let taken = containers.rename(&found, &unnamed.container.name);
        assert!(matches!(taken, Err(ContainerError::NameTaken { .. })));
        containers.rename(&found, "shop").expect("renames");
        let renamed = containers.one("shop").expect("finds");
        assert_eq!(renamed.container.id, first.container.id);
    }

    #[test]
    fn what_a_killed_monitor_left_is_settled() {
        let (root, containers) = scene();
        for (name, remove) in [("goes", true), ("stays", false)] {
            let mut held = containers.create(new(Some(name), remove)).expect("makes");
            held.state.status = Status::Running;
            held.write_state().expect("writes");
            assert!(containers.one(name).expect("finds").is_active());
        }
        let again = containers.create(new(Some("goes"), false));
        drop(again.expect("the name is free again"));
        let mut left = containers.list().expect("lists");
        left.retain(|found| found.state.status != Status::Created);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].container.name, "stays");
        let state = &left[0].state;
        assert_eq!((state.status, state.exit_code), (Status::Exited, 137));
        assert!(!left[0].is_active());
        fs::create_dir(root.path().join("containers/abc")).expect("makes");
        assert_eq!(containers.list().expect("lists").len(), 2);
        let half_made = root.path().join("containers/abc");
        assert!(!half_made.exists(), "half-made ones are swept too");
    }

    #[test]
    fn one_that_was_only_made_stays_whatever_it_is_to_do_at_its_end() {
        let (_root, containers) = scene();
        drop(containers.create(new(Some("web"), true)).expect("makes"));
        assert_eq!(containers.list().expect("lists").len(), 1);
    }
}
