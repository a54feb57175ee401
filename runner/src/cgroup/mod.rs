//! Control groups: limits on what a process and all that it starts use together.
//!
//! Most processes live in the group of their caller, which costs nothing. One with limits gets a
//! group of its own: made by the caller, entered before anything of the process runs, and removed
//! when the value is dropped. Both kinds of hierarchy are served: the one of version 2, and those
//! of version 1, one a controller, of which only those are touched that a limit needs.
//!
//! ```text
//! version 2: MOUNT/cooper/NAME, or below the caller's own group if only that is writable
//! version 1: MOUNT-OF-EACH-CONTROLLER/OWN-GROUP/NAME
//! either:    MOUNT/PARENT/NAME with a parent given
//! ```

mod hierarchy;
mod limits;
mod usage;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use hierarchy::{Hierarchy, Mounted, Version};
pub use limits::{IoKind, IoRate, Limits};
pub use usage::Usage;

/// How often the kernel is asked to remove a group whose last process has just ended.
const REMOVALS: u32 = 20;

/// Moves this process into the cgroup at `directory`.
pub(crate) fn join(directory: &Path) -> io::Result<()> {
    // 0 is the writer itself, whatever its number in which PID namespace.
    fs::write(directory.join("cgroup.procs"), "0")
}

/// Why a group could not be made or used.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// The system does not say which hierarchies there are.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No hierarchy has a controller that a limit needs.
    #[error("this system has no control group for {controller}")]
    NoController {
        /// The controller.
        controller: &'static str,
    },
    /// Groups below a directory cannot have a controller.
    #[error("cannot switch on the {controller} controller below {}", path.display())]
    Enable {
        /// The controller.
        controller: String,
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory could not be made.
    #[error("cannot make the control group {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A limit was refused.
    #[error("cannot set {} to {value}", path.display())]
    Set {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The process could not be moved.
    #[error("cannot move the process into {}", path.display())]
    Join {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl CgroupError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Enable { source, .. } | Self::Create { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Some(
                    "limits need a control group that this user may divide: put `systemd-run \
                     --user --scope -p Delegate=yes` before the command, or run it as root",
                )
            }
            Self::Enable { .. } => {
                Some("other processes are in that group; name one without any with --cgroup-parent")
            }
            Self::NoController { .. } => Some("leave the limit out, or boot with that controller"),
            _ => None,
        }
    }
}

/// A group for one process. Dropping it removes it.
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
}

/// The group in one hierarchy.
#[derive(Debug)]
struct Group {
    version: Version,
    directory: PathBuf,
}

impl Cgroup {
    /// Makes a group called `name` with these limits, below `parent` (a path in the hierarchy, or
    /// a systemd slice by its name) if one is given.
    pub fn create(parent: Option<&str>, name: &str, limits: &Limits) -> Result<Self, CgroupError> {
        Self::create_in(&Mounted::of_system()?, parent, name, limits)
    }

    fn create_in(
        mounted: &Mounted,
        parent: Option<&str>,
        name: &str,
        limits: &Limits,
    ) -> Result<Self, CgroupError> {
        let controllers = limits.controllers(mounted.io_controller());
        let mut group = Self { groups: Vec::new() };
        for hierarchy in mounted.needed(&controllers, parent.is_some())? {
            let wanted: Vec<&str> = hierarchy.among(&controllers);
            let parent = hierarchy.parent(parent, &wanted)?;
            let directory = parent.join(name);
            make(&directory)?;
            // From here on it is removed, whatever fails next.
            group.groups.push(Group {
                version: hierarchy.version,
                directory: directory.clone(),
            });
            set_limits(hierarchy, &directory, limits)?;
        }
        Ok(group)
    }

    /// Moves a process into the group.
    pub(crate) fn add(&self, pid: i32) -> Result<(), CgroupError> {
        for group in &self.groups {
            let write = fs::write(group.directory.join("cgroup.procs"), pid.to_string());
            write.map_err(|source| CgroupError::Join {
                path: group.directory.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Returns the directories of the group, from which [`Usage::read`] reads, and another process
    /// can.
    pub fn directories(&self) -> Vec<PathBuf> {
        let directories = self.groups.iter().map(|group| group.directory.clone());
        directories.collect()
    }

    /// Returns how many of its processes the kernel has killed because the group had used up its
    /// memory.
    pub fn memory_kills(&self) -> u64 {
        let of = |group: &Group| {
            let file = match group.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            let text = fs::read_to_string(group.directory.join(file)).ok()?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("oom_kill "))?;
            line.trim().parse::<u64>().ok()
        };
        self.groups.iter().filter_map(of).sum()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            for _ in 0..REMOVALS {
                match fs::remove_dir(&group.directory) {
                    // Its processes are dead, but not all of them forgotten yet.
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    // An empty group that stays does no harm.
                    _ => break,
                }
            }
        }
    }
}

fn make(directory: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(|source| CgroupError::Create {
            path: directory.to_owned(),
            source,
        }),
    }
}

fn set_limits(hierarchy: &Hierarchy, directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    if hierarchy.has("cpuset") && hierarchy.version == Version::One {
        hierarchy::inherit_cpuset(directory)?;
    }
    for setting in limits.settings(hierarchy.version) {
        if !hierarchy.has(setting.controller()) {
            continue;
        }
        let path = directory.join(setting.file);
        match fs::write(&path, &setting.value) {
            // A kernel that does not account swap has nothing to limit there.
            Err(error) if setting.implied && error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|source| CgroupError::Set {
                path,
                value: setting.value,
                source,
            })?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
