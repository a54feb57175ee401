//! What a caller asks for: one process, its root file system, mounts and confinement.
//!
//! Plain data. Nothing here touches the system; [`crate::plan`] turns it into ordered steps.
//! Paths inside the container (`cwd`, `Mount::target`, masks) are absolute and are resolved
//! within its root, so that no symbolic link of an image leads out of it.

use crate::caps::CapSet;
use crate::devices::DeviceRule;
use crate::seccomp::Profile;
use crate::userns::{IdMapping, IdRange};
use rustix::mount::MountPropagationFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// A process to run in namespaces of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the command line"
)]
pub struct ProcessSpec {
    /// The root file system.
    pub rootfs: Rootfs,
    /// The program and its arguments; a program without a slash is looked up in `PATH`.
    pub args: Vec<OsString>,
    /// The environment in order. `HOME` is added from the rootfs' `/etc/passwd` when absent.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; it must exist.
    pub cwd: PathBuf,
    /// The user, resolved against the rootfs' `/etc/passwd` and `/etc/group`.
    pub user: UserSpec,
    /// Groups by name or number beyond those of the user.
    pub additional_groups: Vec<String>,
    /// The host name in a UTS namespace of its own.
    pub hostname: String,
    /// What the process sees of the network.
    pub network: Network,
    /// Which processes it sees. Any but its own takes a [`Launcher`](crate::Launcher).
    pub pid: Namespace,
    /// Which System V objects and message queues it sees.
    pub ipc: Namespace,
    /// Which host name it sees; one that is not its own is not set.
    pub uts: Namespace,
    /// Kernel settings below `/proc/sys`, by path, for its own namespaces.
    pub sysctls: Vec<(PathBuf, String)>,
    /// AppArmor profile that the program runs under, where the kernel has AppArmor.
    pub apparmor: Option<String>,
    /// Whether a small init is process 1, passes on signals and reaps.
    pub init: bool,
    /// Mounts beyond the standard ones, attached in order.
    pub mounts: Vec<Mount>,
    /// The bounding set, and for uid 0 also the permitted and effective ones.
    pub capabilities: CapSet,
    /// The system-call filter.
    pub seccomp: Seccomp,
    /// Whether set-user-ID programs are inert.
    pub no_new_privileges: bool,
    /// Whether the root file system is mounted read-only.
    pub readonly_rootfs: bool,
    /// Files and directories that read as empty.
    pub masked_paths: Vec<PathBuf>,
    /// Paths below the standard mounts that cannot be written.
    pub readonly_paths: Vec<PathBuf>,
    /// Resource limits; those not named are inherited.
    pub rlimits: Vec<Rlimit>,
    /// How readily the kernel kills it when the machine's memory is used up, -1000 to 1000; `None`
    /// is as its parent.
    pub oom_score_adj: Option<i32>,
    /// Content of `/etc/hosts`; `None` leaves the rootfs' own.
    pub hosts: Option<Vec<u8>>,
    /// Content of `/etc/resolv.conf`; `None` leaves the rootfs' own.
    pub resolv_conf: Option<Vec<u8>>,
    /// Content of `/etc/hostname`; `None` leaves the rootfs' own.
    pub hostname_file: Option<Vec<u8>>,
    /// Allocates a terminal of this size in the container; the process' stdio is that terminal.
    pub terminal: Option<WindowSize>,
    /// Size of `/dev/shm` in bytes; 0 for none to be mounted.
    pub shm_size: u64,
    /// The file-mode creation mask.
    pub umask: u32,
    /// Whether writes to the root file system may be lost in a power failure. Otherwise the end
    /// of the process waits until the whole file system below is written out.
    pub volatile: bool,
    /// Devices that it may use besides those that all may.
    pub devices: Vec<DeviceRule>,
    /// All capabilities, every host device, no masks, no filter, writable `/sys`
    /// (`--security=insecure`, `--privileged`). Overrides the fields above.
    pub privileged: bool,
    /// The NIS domain that it sees, in a UTS namespace of its own; `None` leaves the caller's.
    pub domainname: Option<String>,
    /// Whether it sees its own control group as the root of all, rather than what its caller sees.
    pub own_cgroups: bool,
    /// The ids of its user namespace; none without one of its own.
    pub ids: Option<IdMapping>,
}

impl ProcessSpec {
    /// Returns a spec with docker's defaults that runs `args` as root in `/`.
    pub fn new<I, S>(rootfs: Rootfs, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        Self {
            rootfs,
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: UserSpec::default(),
            additional_groups: Vec::new(),
            hostname: "localhost".to_owned(),
            network: Network::Host,
            pid: Namespace::Private,
            ipc: Namespace::Private,
            uts: Namespace::Private,
            sysctls: Vec::new(),
            apparmor: None,
            init: false,
            mounts: Vec::new(),
            capabilities: CapSet::docker(),
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            readonly_rootfs: false,
            masked_paths: MASKED_PATHS.iter().map(PathBuf::from).collect(),
            readonly_paths: READONLY_PATHS.iter().map(PathBuf::from).collect(),
            rlimits: Vec::new(),
            oom_score_adj: None,
            hosts: None,
            resolv_conf: None,
            hostname_file: None,
            terminal: None,
            shm_size: DEFAULT_SHM_SIZE,
            umask: 0o022,
            volatile: true,
            devices: Vec::new(),
            privileged: false,
            domainname: None,
            own_cgroups: true,
            ids: None,
        }
    }
}

impl ProcessSpec {
    /// Returns the part of it that is the process itself.
    pub(crate) fn itself(&self) -> ExecSpec {
        ExecSpec {
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            additional_groups: self.additional_groups.clone(),
            terminal: self.terminal,
            capabilities: self.capabilities,
            seccomp: self.seccomp.clone(),
            no_new_privileges: self.no_new_privileges,
            rlimits: self.rlimits.clone(),
            umask: self.umask,
            apparmor: self.apparmor.clone(),
            privileged: self.privileged,
            ids: self.ids.as_ref().map(|mapping| mapping.ids),
        }
    }
}

/// Size of `/dev/shm` unless asked otherwise: 64 MiB, as docker's.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// The search path of a process whose environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Paths that docker hides: they tell of the host or control it.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that docker makes read-only: writing them changes the host.
pub const READONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// An overlay, mounted inside the process' own mount namespace.
    Overlay {
        /// Read-only layers, topmost first. May be empty.
        lowers: Vec<PathBuf>,
        /// Receives what the process writes.
        upper: PathBuf,
        /// Overlayfs' work directory on the file system of `upper`.
        work: PathBuf,
        /// Whether the layers keep overlay metadata in `user.overlay.*`.
        userxattr: bool,
    },
    /// An existing directory, used in place.
    Directory(PathBuf),
}

/// A user as a Dockerfile or `-u` writes it: `name|uid[:group|gid]`; empty is root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec(pub String);

/// A further process in a running container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecSpec {
    /// As [`ProcessSpec::args`].
    pub args: Vec<OsString>,
    /// As [`ProcessSpec::env`].
    pub env: Vec<(OsString, OsString)>,
    /// As [`ProcessSpec::cwd`].
    pub cwd: PathBuf,
    /// As [`ProcessSpec::user`].
    pub user: UserSpec,
    /// As [`ProcessSpec::additional_groups`].
    pub additional_groups: Vec<String>,
    /// As [`ProcessSpec::terminal`].
    pub terminal: Option<WindowSize>,
    /// As [`ProcessSpec::capabilities`].
    pub capabilities: CapSet,
    /// As [`ProcessSpec::seccomp`].
    pub seccomp: Seccomp,
    /// As [`ProcessSpec::no_new_privileges`].
    pub no_new_privileges: bool,
    /// As [`ProcessSpec::rlimits`].
    pub rlimits: Vec<Rlimit>,
    /// As [`ProcessSpec::umask`].
    pub umask: u32,
    /// As [`ProcessSpec::apparmor`].
    pub apparmor: Option<String>,
    /// All capabilities and no filter.
    pub privileged: bool,
    /// The ids of the container's user namespace; none without one of its own.
    pub ids: Option<IdRange>,
}

/// Which namespace of a kind a process is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// A new one.
    #[default]
    Private,
    /// The caller's.
    Host,
    /// The one that this file of `/proc/PID/ns` stands for.
    Join(PathBuf),
}

/// What the process sees of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The network of the caller.
    #[default]
    Host,
    /// A namespace of its own in which only the loopback interface is up.
    None,
    /// The namespace at this path of the caller's, such as `/proc/PID/ns/net`.
    Namespace(PathBuf),
}

/// The system-call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile for the given capabilities.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// That of a profile.
    Profile(Box<Profile>),
}

/// One mount beyond the standard ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Creates a missing target; what was made does not remain in the root file system.
    pub create_target: bool,
}

/// Options of a file system in memory besides its size and mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    /// What the file system is told, such as `uid` and `nr_inodes`.
    pub parameters: Vec<(String, String)>,
    /// What may not be done on it.
    pub denied: Vec<Denied>,
}

/// What may not be done on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denied {
    /// Writing (`ro`).
    Write,
    /// Executing programs (`noexec`).
    Execute,
    /// Becoming another user by executing programs (`nosuid`).
    SetUser,
    /// Opening devices (`nodev`).
    Devices,
    /// Noting times of access (`noatime`).
    AccessTimes,
}

impl Default for TmpfsOptions {
    fn default() -> Self {
        Self {
            parameters: Vec::new(),
            denied: vec![Denied::SetUser, Denied::Devices],
        }
    }
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// A path inside `source`, resolved without ever leaving it.
        subpath: Option<PathBuf>,
        /// Whether writes are refused.
        readonly: bool,
        /// Whether mounts below the source come along.
        recursive: bool,
        /// Whether mounts that are made later are seen on the other side.
        propagation: Propagation,
    },
    /// A stack of layers.
    Overlay {
        /// Read-only layers, topmost first.
        lowers: Vec<PathBuf>,
        /// `(upper, work)` directories that take the writes; `None` is read-only.
        upper: Option<(PathBuf, PathBuf)>,
        /// Whether the layers keep overlay metadata in `user.overlay.*`.
        userxattr: bool,
        /// A path inside the merged tree, resolved without ever leaving it.
        subpath: Option<PathBuf>,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Limit in bytes; `None` is the kernel's default.
        size: Option<u64>,
        /// Mode of its root.
        mode: u32,
        /// What else is asked for.
        options: TmpfsOptions,
    },
    /// What another process has mounted, such as memory that it shares; the source follows no
    /// link of that process'.
    Foreign {
        /// The file that stands for its mount namespace, `/proc/PID/ns/mnt`.
        namespace: PathBuf,
        /// Where it has it, absolute.
        source: PathBuf,
    },
    /// A file that lives in memory only.
    File {
        /// Its content.
        data: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Whether mounts that are made below a bind, or below its source, are seen on the other side. It
/// holds for the mounts below it, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// On neither.
    #[default]
    Private,
    /// Those of the host in the container.
    Slave,
    /// On both, if the source is shared on the host.
    Shared,
}

impl Propagation {
    pub(crate) fn flags(self) -> MountPropagationFlags {
        match self {
            Self::Private => MountPropagationFlags::PRIVATE,
            Self::Slave => MountPropagationFlags::DOWNSTREAM,
            Self::Shared => MountPropagationFlags::SHARED,
        }
    }
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// A limit on one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Which resource.
    pub resource: Resource,
    /// The limit in force; `None` is unlimited.
    pub soft: Option<u64>,
    /// The ceiling of the soft limit; `None` is unlimited.
    pub hard: Option<u64>,
}

macro_rules! resources {
    ($($variant:ident = $name:literal, $constant:ident;)*) => {
        /// A resource that `setrlimit(2)` limits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Resource {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Resource {
            /// Returns the name that `--ulimit` uses.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the kernel's number.
            #[allow(clippy::unnecessary_cast, reason = "C libraries differ in the constants' type")]
            pub fn number(self) -> u32 {
                match self { $(Self::$variant => libc::$constant as u32,)* }
            }
        }

        impl FromStr for Resource {
            type Err = UnknownResource;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnknownResource { name: name.to_owned() }),
                }
            }
        }
    };
}

resources! {
    AddressSpace = "as", RLIMIT_AS;
    Core = "core", RLIMIT_CORE;
    Cpu = "cpu", RLIMIT_CPU;
    Data = "data", RLIMIT_DATA;
    FileSize = "fsize", RLIMIT_FSIZE;
    Locks = "locks", RLIMIT_LOCKS;
    MemLock = "memlock", RLIMIT_MEMLOCK;
    MessageQueues = "msgqueue", RLIMIT_MSGQUEUE;
    Nice = "nice", RLIMIT_NICE;
    OpenFiles = "nofile", RLIMIT_NOFILE;
    Processes = "nproc", RLIMIT_NPROC;
    Resident = "rss", RLIMIT_RSS;
    RtPriority = "rtprio", RLIMIT_RTPRIO;
    RtTime = "rttime", RLIMIT_RTTIME;
    PendingSignals = "sigpending", RLIMIT_SIGPENDING;
    Stack = "stack", RLIMIT_STACK;
}

/// A resource name that `setrlimit(2)` does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown resource {name:?}")]
pub struct UnknownResource {
    /// The name as written.
    pub name: String,
}
