//! A container's root directory, for commands that copy files: as its processes see it while it
//! runs, and as its next start would have it else.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use cooper_cache::Store;

use super::config::VolumeSource;
use super::protocol::{Answer, Connection, Request};
use super::record::Found;
use super::start::{report, rootfs};
use super::volume::Volumes;
use crate::report::Report;

/// A directory that stands for a container's root, and a path below it.
#[derive(Debug)]
pub(crate) struct Root {
    /// The directory; nothing is looked up through it but below it.
    pub(crate) directory: OwnedFd,
    /// The user namespace in which its ids are the container's; none if they are as they are.
    pub(crate) user: Option<OwnedFd>,
    /// The path, absolute and without `..`.
    pub(crate) path: PathBuf,
}

impl Root {
    /// Returns where `path` of a container is.
    pub(crate) fn open(store: &Store, found: &Found, path: &str) -> Result<Self, Report> {
        let path = clean(Path::new(path));
        if found.is_active() && found.state.pid != 0 {
            let (directory, user) = of_running(found)?;
            return Ok(Self {
                directory,
                user,
                path,
            });
        }
        // What is mounted in it only while it runs is found at its source.
        let volumes = found.container.config.mounts.volumes.iter();
        let below = volumes
            .filter(|volume| path.starts_with(&volume.target))
            .max_by_key(|volume| volume.target.components().count());
        if let Some(volume) = below {
            let source = match &volume.source {
                VolumeSource::Host(source) => source.clone(),
                VolumeSource::Named(name) => Volumes::of(store.root()).data(name),
                VolumeSource::Anonymous | VolumeSource::Image { .. } => PathBuf::new(),
            };
            let rest = path.strip_prefix(&volume.target).unwrap_or(Path::new(""));
            if source.is_dir() {
                let directory = open(&source)?;
                let path = Path::new("/").join(rest);
                return Ok(Self {
                    directory,
                    user: None,
                    path,
                });
            }
        }
        let held = found.hold().map_err(|error| Report::from_error(&error))?;
        let rootfs = rootfs(store, &held)?;
        let directory = cooper_runner::open_root(&rootfs).map_err(|error| {
            Report::from_error(&error).context("cannot open the container's root file system")
        })?;
        Ok(Self {
            directory,
            user: None,
            path,
        })
    }
}

fn open(path: &Path) -> Result<OwnedFd, Report> {
    let opened = std::fs::File::open(path).map(OwnedFd::from);
    opened.map_err(|error| {
        Report::from_error(&error).context(format!("cannot open {}", path.display()))
    })
}

fn of_running(found: &Found) -> Result<(OwnedFd, Option<OwnedFd>), Report> {
    let lost = |error: std::io::Error| {
        Report::from_error(&error).context("the container's monitor does not answer")
    };
    let mut connection = Connection::open(&found.dir).map_err(lost)?;
    connection
        .request(&Request::Root, Vec::new())
        .map_err(lost)?;
    if let Answer::Failed(failure) = connection.answer().map_err(lost)? {
        return Err(report(&failure));
    }
    let root = connection.take_fd();
    let root = root.ok_or_else(|| lost(std::io::ErrorKind::InvalidData.into()))?;
    Ok((root, connection.take_fd()))
}

/// Returns `path` below the root, without `.` and `..`.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}
