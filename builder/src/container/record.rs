//! What is written down of a container, and the lock on it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::Config;
use super::state::State;
use super::userns::UsernsError;
use crate::events::{Event, Journal, Kind};

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
    /// A rate was asked for at what is no block device.
    #[error("{} is no block device", path.display())]
    NoBlockDevice {
        /// The path as given.
        path: PathBuf,
    },
    /// There are no ids for it.
    #[error("the container cannot have a user namespace of its own")]
    NoIds(#[from] UsernsError),
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
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoIds(error) => return Some(error.hint()),
            Self::Missing { .. } => Some("`cooper ps -a` lists containers"),
            Self::Ambiguous { .. } => Some("more of its ID, or its name, tells it apart"),
            Self::Running { .. } => Some("`cooper stop` ends it"),
            _ => None,
        };
        hint.map(str::to_owned)
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
    /// Returns that `action` happened to it, now.
    pub(crate) fn event(&self, action: impl Into<String>) -> Event {
        let mut event = Event::new(Kind::Container, action, self.id.as_str());
        let labels = self.config.runtime.labels.clone();
        event.actor.attributes.extend(labels);
        event
            .with("image", self.config.image.as_str())
            .with("name", self.name.as_str())
    }

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
    /// See [`Container::anonymous_volumes`].
    pub anonymous_volumes: Vec<String>,
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
            if !self.dir.join("config.json").exists() {
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

/// A container held by this process: nobody else starts or removes it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) container: Container,
    pub(crate) state: State,
    pub(crate) dir: PathBuf,
    pub(super) lock: File,
}

/// The whole root file system of a container without an overlay.
const COPY: &str = "copy";

/// Returns the directory of the container at `dir` that takes its writes, and whether all that its
/// image has is in there too.
pub(crate) fn written(dir: &Path) -> (PathBuf, bool) {
    let copy = dir.join(COPY);
    if copy.is_dir() {
        (copy, true)
    } else {
        (dir.join("fs"), false)
    }
}

impl Held {
    /// Writes down what happened to the container.
    pub(super) fn tell(&self, event: &Event) {
        // <root>/containers/<id>
        if let Some(root) = self.dir.parent().and_then(Path::parent) {
            Journal::of(root).write(event);
        }
    }

    /// Returns the overlay's upper directory, which takes the container's writes.
    pub(super) fn upper(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Returns where all that the image has is copied to if there are no overlays.
    pub(super) fn copy(&self) -> PathBuf {
        self.dir.join(COPY)
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

pub(super) fn read_state(dir: &Path) -> Result<State, ContainerError> {
    Ok(read(&dir.join("state.json"))?.unwrap_or_default())
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ContainerError> {
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
pub(super) fn make_dir(path: &Path) -> Result<(), ContainerError> {
    use std::os::unix::fs::DirBuilderExt;
    // The container's root shows the mode of `fs`, which is set when it is started.
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path);
    made.map_err(ContainerError::io("create", path))
}

pub(super) fn open_lock(path: &Path) -> Result<File, ContainerError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(ContainerError::io("open", path))
}

/// Takes the lock of the container at `dir` unless a process has it.
pub(super) fn try_hold(dir: &Path, how: FlockOperation) -> Result<Option<File>, ContainerError> {
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
