//! Control groups: limits on what a process and all that it starts use together.
//!
//! Steps of a build live in the group of their caller, which costs nothing. A process with limits
//! gets a group of its own; with the unified hierarchy a container does without limits too: made by the caller, entered before anything of the process runs, and removed
//! when the value is dropped. Both kinds of hierarchy are served: the one of version 2, and those
//! of version 1, one a controller, of which only those are touched that a limit needs: the first
//! process that enters a group of version 1 for a while waits some milliseconds in each.
//!
//! Where there is version 2 alone, members are born in their group. A move would wait for all
//! processors to pass a quiet state, some milliseconds after there was none for a while.
//!
//! Elsewhere members enter by themselves, by writing 0: numbers are those of the writer's PID namespace, and
//! who starts a container is in another one than who looks at it.
//!
//! ```text
//! version 2: MOUNT/cooper/NAME; without root, below the uppermost of the groups around the caller
//!            that were handed over to its user
//! version 1: MOUNT-OF-EACH-CONTROLLER/OWN-GROUP/NAME
//! either:    MOUNT/PARENT/NAME with a parent given
//! ```

mod hierarchy;
mod limits;
mod usage;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::namespaces::own_number;

use hierarchy::{Hierarchy, Mounted, Version};
pub use limits::{IoKind, IoRate, IoWeight, Limits};
pub use usage::Usage;

/// How often, 5 ms apart, the kernel is asked to remove a group whose last process has just ended.
const REMOVALS: u32 = 400;

/// How often, a millisecond apart, is looked whether the processes of a group stand still.
const FREEZING: u32 = 1000;

/// The file of a group that takes the numbers of its members.
const MEMBERS: &str = "cgroup.procs";

/// Returns which of the kernel's two interfaces this system has for limits: 2 where one hierarchy
/// has the controllers.
pub fn version() -> u8 {
    let one = Mounted::of_system().is_ok_and(|mounted| mounted.has_version_one());
    if one { 1 } else { 2 }
}

/// Where control groups are mounted.
pub(crate) const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// Returns whether version 2 is alone.
pub(crate) fn is_unified() -> bool {
    rustix::fs::statfs(MOUNT_POINT).is_ok_and(|fs| fs.f_type == libc::CGROUP2_SUPER_MAGIC)
}

/// Moves this process into the cgroup at `directory`.
pub(crate) fn join(directory: &Path) -> io::Result<()> {
    // 0 is the writer itself, whatever its number in which PID namespace.
    fs::write(directory.join(MEMBERS), "0")
}

/// Moves this very process into the group at `directory`, unless it was `born` there.
pub(crate) fn enter(directory: &Path, born: Option<&Path>) -> rustix::io::Result<()> {
    if born == Some(directory) {
        return Ok(());
    }
    join(directory)
        .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}

/// Opens a directory of version 2 for members to be born in.
pub(crate) fn birthplace(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
}

/// Returns the directory of this process' own group in the hierarchy of version 2.
pub(crate) fn own_of_two() -> Option<PathBuf> {
    let mounted = Mounted::of_system().ok()?;
    let mut hierarchies = mounted.hierarchies.into_iter();
    let unified = hierarchies.find(|one| one.version == Version::Two)?;
    Some(unified.own)
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
    /// The kernel cannot limit something.
    #[error("this kernel has no {file} to set")]
    NoLimit {
        /// The file that a group would have for it.
        file: &'static str,
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
            Self::NoController { .. } | Self::NoLimit { .. } => {
                Some("leave the limit out, or boot with that controller")
            }
            _ => None,
        }
    }
}

/// A group for one process and what it starts. Dropping it removes it.
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
    /// Files of limits that this kernel does not have.
    missing: Vec<&'static str>,
}

/// The group in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    directory: PathBuf,
}

/// What a group is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Limits, and no more hierarchies than they need.
    Limits,
    /// Limits, and holding all its processes still.
    Freezing,
}

impl Cgroup {
    /// Makes a group called `name` with these limits, below `parent` (a path in the hierarchy, or
    /// a systemd slice by its name) if one is given.
    pub fn create(
        parent: Option<&str>,
        name: &str,
        limits: &Limits,
        purpose: Purpose,
    ) -> Result<Self, CgroupError> {
        Self::create_in(&Mounted::of_system()?, parent, name, limits, purpose)
    }

    /// Makes a group called `name` without limits where that costs next to nothing: with the
    /// unified hierarchy alone. None where this user cannot make one and enter it.
    pub fn unlimited(name: &str) -> Option<Self> {
        if !is_unified() {
            return None;
        }
        Self::unlimited_in(&Mounted::of_system().ok()?, name)
    }

    fn unlimited_in(mounted: &Mounted, name: &str) -> Option<Self> {
        let mut unified = mounted.hierarchies.iter();
        let parent = unified.find(|one| one.version == Version::Two)?.divided()?;
        let directory = parent.join(name);
        make(&directory).ok()?;
        Some(Self {
            groups: vec![Group {
                version: Version::Two,
                directory,
            }],
            missing: Vec::new(),
        })
    }

    fn create_in(
        mounted: &Mounted,
        parent: Option<&str>,
        name: &str,
        limits: &Limits,
        purpose: Purpose,
    ) -> Result<Self, CgroupError> {
        let mut group = Self {
            groups: Vec::new(),
            missing: Vec::new(),
        };
        group.extend(mounted, parent, name, limits, purpose)?;
        Ok(group)
    }

    /// Makes the group in the hierarchies that `limits` need and it is not in yet, and sets them
    /// everywhere.
    fn extend(
        &mut self,
        mounted: &Mounted,
        parent: Option<&str>,
        name: &str,
        limits: &Limits,
        purpose: Purpose,
    ) -> Result<(), CgroupError> {
        let controllers = limits.controllers(mounted.io_controller());
        let needed = mounted.needed(&controllers, parent.is_some())?;
        self.missing.clear();
        for hierarchy in &needed {
            self.extend_in(hierarchy, (parent, name), &controllers, limits)?;
        }
        let freezer = mounted.freezer();
        let freezer = freezer.filter(|freezer| !needed.contains(freezer));
        if let (Purpose::Freezing, Some(freezer)) = (purpose, freezer) {
            // A user may divide the groups of some controllers only; processes can be held still
            // by signals, too.
            let _ = self.extend_in(freezer, (parent, name), &controllers, limits);
        }
        Ok(())
    }

    fn extend_in(
        &mut self,
        hierarchy: &Hierarchy,
        (parent, name): (Option<&str>, &str),
        controllers: &[&'static str],
        limits: &Limits,
    ) -> Result<(), CgroupError> {
        let wanted: Vec<&str> = hierarchy.among(controllers);
        let known = self.groups.iter().find(|group| group.is_in(hierarchy));
        let directory = if let Some(group) = known {
            hierarchy.allow(&group.directory, &wanted)?;
            group.directory.clone()
        } else {
            let directory = hierarchy.parent(parent, &wanted)?.join(name);
            make(&directory)?;
            // From here on it is removed, whatever fails next.
            self.groups.push(Group {
                version: hierarchy.version,
                directory: directory.clone(),
            });
            directory
        };
        let missing = set_limits(hierarchy, &directory, limits)?;
        self.missing.extend(missing);
        Ok(())
    }

    /// Replaces the limits of a group that runs, and moves `pids` (as /proc numbers them) into the
    /// hierarchies that it was not in before.
    pub fn update(
        &mut self,
        parent: Option<&str>,
        name: &str,
        limits: &Limits,
        pids: &[i32],
    ) -> Result<(), CgroupError> {
        let before = self.groups.len();
        self.extend(
            &Mounted::of_system()?,
            parent,
            name,
            limits,
            Purpose::Limits,
        )?;
        for group in &self.groups[before..] {
            for pid in pids.iter().filter_map(|pid| own_number(*pid)) {
                match fs::write(group.directory.join(MEMBERS), pid.to_string()) {
                    // It has ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    result => result.map_err(|source| CgroupError::Join {
                        path: group.directory.clone(),
                        source,
                    })?,
                }
            }
        }
        Ok(())
    }

    /// Returns the group that is in `directories`, as [`release`](Self::release) returned them.
    pub fn adopt(directories: Vec<PathBuf>) -> Self {
        let group = |directory: PathBuf| Group {
            version: Version::of(&directory),
            directory,
        };
        Self {
            groups: directories.into_iter().map(group).collect(),
            missing: Vec::new(),
        }
    }

    /// Leaves the group where it is, for another process to [`adopt`](Self::adopt).
    pub fn release(mut self) -> Vec<PathBuf> {
        let directories = self.directories();
        self.groups.clear();
        directories
    }

    /// Returns the names of limits that this kernel cannot set.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// Returns its directory in the hierarchy of version 2, where members can be born.
    pub(crate) fn directory_of_two(&self) -> Option<&Path> {
        let mut groups = self.groups.iter();
        let group = groups.find(|group| group.version == Version::Two)?;
        Some(&group.directory)
    }

    /// Moves this very process into the group, of which it is in `born` already.
    pub(crate) fn enter(&self, born: Option<&Path>) -> rustix::io::Result<()> {
        let mut directories = self.groups.iter().map(|group| group.directory.as_path());
        directories.try_for_each(|directory| enter(directory, born))
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

    /// Kills all its processes, frozen or not.
    pub fn kill(&self) {
        for group in &self.groups {
            if group.version == Version::Two
                && fs::write(group.directory.join("cgroup.kill"), "1").is_ok()
            {
                continue;
            }
            let members = fs::read_to_string(group.directory.join(MEMBERS)).unwrap_or_default();
            for member in members.lines().filter_map(|line| line.parse().ok()) {
                // 0 stands for one that this process cannot name.
                if let Some(pid) = rustix::process::Pid::from_raw(member) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        // What is held still does not follow a signal in version 1.
        self.freeze(false);
    }

    /// Holds all its processes still, or lets them go on; returns once they are. False means that
    /// the group cannot do it.
    pub fn freeze(&self, still: bool) -> bool {
        let freezer = self.groups.iter().find_map(|group| group.freezer(still));
        let Some(freezer) = freezer else {
            return false;
        };
        if fs::write(&freezer.file, freezer.value).is_err() {
            return false;
        }
        for _ in 0..FREEZING {
            let is = fs::read_to_string(&freezer.answer).unwrap_or_default();
            if is.lines().any(|line| line == freezer.settled) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // What is not let go of by the kernel stands still as soon as it is.
        true
    }
}

/// How one version holds the processes of a group still.
struct Freezer {
    file: PathBuf,
    value: &'static str,
    /// Where it says when they are, and the line that says so.
    answer: PathBuf,
    settled: &'static str,
}

impl Group {
    fn is_in(&self, hierarchy: &Hierarchy) -> bool {
        self.directory.starts_with(&hierarchy.mount)
    }

    fn freezer(&self, still: bool) -> Option<Freezer> {
        let path = |file: &str| self.directory.join(file);
        let freezer = match (self.version, still) {
            (Version::One, true) => Freezer {
                file: path("freezer.state"),
                value: "FROZEN",
                answer: path("freezer.state"),
                settled: "FROZEN",
            },
            (Version::One, false) => Freezer {
                file: path("freezer.state"),
                value: "THAWED",
                answer: path("freezer.state"),
                settled: "THAWED",
            },
            (Version::Two, true) => Freezer {
                file: path("cgroup.freeze"),
                value: "1",
                answer: path("cgroup.events"),
                settled: "frozen 1",
            },
            (Version::Two, false) => Freezer {
                file: path("cgroup.freeze"),
                value: "0",
                answer: path("cgroup.events"),
                settled: "frozen 0",
            },
        };
        freezer.file.exists().then_some(freezer)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            // An empty group that stays does no harm.
            let _ = remove(&group.directory);
        }
    }
}

/// Removes a group and those that its processes made in it. Its processes are dead, but may take
/// a while to go: the last one writes out the file system that it leaves.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    for _ in 0..REMOVALS {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
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

/// Sets what a hierarchy can, and returns the files of limits that the kernel does not have.
fn set_limits(
    hierarchy: &Hierarchy,
    directory: &Path,
    limits: &Limits,
) -> Result<Vec<&'static str>, CgroupError> {
    if hierarchy.has("cpuset") && hierarchy.version == Version::One {
        hierarchy::inherit_cpuset(directory)?;
    }
    let mut missing = Vec::new();
    let mut settings = limits.settings(hierarchy.version);
    settings.retain(|setting| hierarchy.has(setting.controller()));
    // A new limit may have to wait for another one: memory is never above memory and swap.
    for last in [false, true] {
        for setting in std::mem::take(&mut settings) {
            match setting.write(directory) {
                Ok(()) => {}
                // A kernel that does not account swap has nothing to limit there; nor has a disk
                // whose scheduler knows no weights.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        || error.raw_os_error() == Some(libc::EOPNOTSUPP) =>
                {
                    missing.extend((!setting.implied).then_some(setting.file));
                }
                Err(error) if !last && error.kind() == io::ErrorKind::InvalidInput => {
                    settings.push(setting);
                }
                Err(source) => {
                    return Err(CgroupError::Set {
                        path: directory.join(setting.file),
                        value: setting.value,
                        source,
                    });
                }
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests;
