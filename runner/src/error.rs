//! Why a process could not be run.

use crate::cgroup::CgroupError;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Why a process could not be run. Each names the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No file of that name, or none in `PATH`.
    #[error("{program:?}: not found{}", if *.searched { " in PATH" } else { "" })]
    NotFound {
        /// The program as given.
        program: OsString,
        /// Whether `PATH` was searched.
        searched: bool,
    },
    /// The file exists, its `#!` interpreter or dynamic loader does not.
    #[error("{program:?}: its interpreter is missing from the root file system")]
    NoInterpreter {
        /// The program as given.
        program: OsString,
    },
    /// The file exists and the kernel refuses to execute it.
    #[error("{program:?}: cannot be executed")]
    NotExecutable {
        /// The program as given.
        program: OsString,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The process' control group cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The spec has no arguments.
    #[error("no command to run")]
    NoCommand,
    /// A string of the spec cannot be handed to the kernel.
    #[error("{what} contains a NUL byte")]
    NulByte {
        /// Which field.
        what: &'static str,
    },
    /// `/etc/passwd` of the root file system has no such user.
    #[error("user {user:?} is not in /etc/passwd of the root file system")]
    UnknownUser {
        /// The user as written.
        user: String,
    },
    /// `/etc/group` of the root file system has no such group.
    #[error("group {group:?} is not in /etc/group of the root file system")]
    UnknownGroup {
        /// The group as written.
        group: String,
    },
    /// The user namespace maps no such id.
    #[error("{kind} {id} does not exist here: it is not mapped into the user namespace")]
    UnmappedId {
        /// `user` or `group`.
        kind: &'static str,
        /// The id inside.
        id: u32,
    },
    /// The kernel or the store's file system cannot show files with other ids.
    #[error("files cannot be shown with the container's own ids here")]
    UnmappedMount,
    /// The working directory cannot be entered.
    #[error("working directory {path:?} cannot be entered")]
    WorkingDirectory {
        /// The directory as given.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The root file system cannot be mounted.
    #[error("the root file system over {upper:?} ({lowers} lower layers) cannot be mounted")]
    Rootfs {
        /// The upper directory, or the directory itself.
        upper: PathBuf,
        /// How many lower layers it has.
        lowers: usize,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The source of a mount is missing or unusable.
    #[error("mount at {target:?}: its source {path:?} cannot be used")]
    MountSource {
        /// Where it was to be mounted.
        target: PathBuf,
        /// The source.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A mount cannot be attached.
    #[error("mount at {target:?} failed")]
    Mount {
        /// Where it was to be mounted.
        target: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Another step of the set-up failed.
    #[error("set-up of the process failed at {step:?}")]
    SetUp {
        /// What was being done.
        step: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The worker process is gone or cannot be reached.
    #[error("the worker process that starts containers is gone")]
    Worker {
        /// The reason.
        source: io::Error,
    },
}

impl RunError {
    /// Returns what can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } | Self::NotExecutable { .. } => {
                Some(
                    "the program must exist in the image and be made for this machine's architecture",
                )
            }
            Self::UnmappedMount => Some(
                "a user namespace takes Linux 5.19 and a store on a file system with idmapped mounts \
                 (ext4, xfs, btrfs); --userns=host goes without one",
            ),
            Self::UnmappedId { .. } => Some(
                "give your user a range of ids in /etc/subuid and /etc/subgid, and install newuidmap \
                 and newgidmap (package uidmap)",
            ),
            Self::Mount { target, source }
                if target.starts_with("/proc")
                    && source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some(
                    "nothing can be mounted over /proc, which the container's confinement is part of",
                )
            }
            Self::Cgroup(error) => error.hint(),
            _ => None,
        }
    }

    /// Returns the exit code that `docker run` gives for this error: 125, 126 or 127.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::WorkingDirectory { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                127
            }
            _ => 125,
        }
    }
}

/// Why the worker process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The scratch directory cannot be used.
    #[error("cannot use the scratch directory {path:?}")]
    Scratch {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}
