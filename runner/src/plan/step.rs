//! What a plan is made of: each thing that a child does, as data.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

use crate::spec::{ExecSpec, Propagation, Seccomp, TmpfsOptions};
use crate::sys::Instruction;
use crate::userns::IdRange;

/// A file system that every process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standard {
    Proc,
    Sys { writable: bool },
    Cgroup,
    Dev { host_devices: bool },
    Pts,
    Mqueue,
    Shm { size: u64 },
    Files,
}

/// One thing that a child does. Paths are relative to the container's root and clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    // Base
    /// Enters the control group at this directory.
    EnterGroup(CString),
    /// Enters the control group at this directory, which is there for devices alone.
    EnterGuard(CString),
    /// Has everything that is made from now on belong to the container's root.
    Assume(IdRange),
    Join(CString),
    Isolate {
        network: bool,
        ipc: bool,
        uts: bool,
        cgroups: bool,
    },
    /// Enters a network namespace. `/sys` shows the network of who mounts it: before that.
    JoinNetwork {
        path: CString,
    },
    Loopback,
    Make(Standard),
    EnterSkeleton,
    Place,
    Mask {
        path: CString,
        scope: Scope,
    },
    ReadOnly {
        path: CString,
        scope: Scope,
    },
    // Job, host view
    LeaveSkeleton,
    Overlay {
        stack: Stack,
        /// The directory whose files have the ids of the inside.
        store: Option<CString>,
    },
    Directory {
        path: CString,
        /// Whether its files have the ids of the inside.
        mapped: bool,
    },
    Source {
        mount: u32,
        source: Source,
    },
    /// Writes to a file of the kernel's; those of a namespace are those of the writer's.
    Setting {
        path: CString,
        value: Vec<u8>,
    },
    Profile(CString),
    ReturnToSkeleton,
    // Job, own view
    AttachRoot,
    AttachStandard,
    TextFile {
        target: CString,
        data: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
        create: bool,
    },
    Attach {
        mount: u32,
        target: CString,
        create: bool,
    },
    Terminal {
        rows: u16,
        cols: u16,
    },
    Pivot {
        readonly: bool,
        /// Whether devices can be opened by nodes in the root file system.
        devices: bool,
    },
    Hostname(Vec<u8>),
    /// Sets the NIS domain.
    Domain(Vec<u8>),
    // Job, the process itself
    OpenTerminal {
        rows: u16,
        cols: u16,
    },
    Streams,
    EnterUser,
    User {
        user: String,
        groups: Vec<String>,
    },
    WorkingDirectory {
        path: CString,
        /// Whether it is made if it is missing.
        make: bool,
    },
    Limit {
        resource: u32,
        soft: u64,
        hard: u64,
    },
    Umask(u32),
    Confine {
        capabilities: u64,
        filter: Filter,
        no_new_privileges: bool,
    },
    Init,
    Execute {
        args: Vec<CString>,
        env: Vec<CString>,
    },
}

/// The system-call filter of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Filter {
    None,
    /// Docker's for the process' capabilities.
    Default,
    Program(Vec<Instruction>),
}

impl Filter {
    pub(super) fn of(spec: &ExecSpec) -> Self {
        match &spec.seccomp {
            _ if spec.privileged => Self::None,
            Seccomp::Unconfined => Self::None,
            Seccomp::Default => Self::Default,
            Seccomp::Profile(profile) => Self::Program(profile.filter(spec.capabilities.bits())),
        }
    }
}

/// Against which root a path is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scope {
    /// The standard file systems in the skeleton, before there is a root.
    Standard,
    /// The container's root.
    Root,
}

/// The directories of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stack {
    pub(crate) lowers: Vec<CString>,
    /// Upper and work directory.
    pub(crate) upper: Option<(CString, CString)>,
    pub(crate) userxattr: bool,
    pub(crate) volatile: bool,
}

/// Where an extra mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    Tree {
        path: CString,
        subpath: Option<CString>,
        readonly: bool,
        recursive: bool,
        propagation: Propagation,
        /// Whether its files have the ids of the inside.
        mapped: bool,
    },
    Overlay {
        stack: Stack,
        subpath: Option<CString>,
        readonly: bool,
    },
    Tmpfs {
        size: Option<u64>,
        mode: u32,
        options: TmpfsOptions,
    },
    /// What is at `path` in another mount namespace.
    Foreign { namespace: CString, path: CString },
}
