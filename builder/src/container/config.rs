//! What a container is: one value that says everything its runs depend on.
//!
//! [`Config`] is written down once, when the container is made, and read again by every start.
//! It is the image's own configuration with what was asked for laid over it, so that nothing of
//! the image but its layers is needed later.
//!
//! | Part | Says | Becomes part of a process in |
//! |---|---|---|
//! | `runtime` | program, environment, user, labels, ports, stop signal, health check | [`process`](super::process) |
//! | `isolation` | capabilities, filter, namespaces, devices | [`process`](super::process) |
//! | `network` | how it is connected, names, ports | [`start`](super::start) |
//! | `mounts` | binds, volumes, memory file systems | [`start`](super::start) |
//! | `resources` | limits | [`start`](super::start) |
//! | `lifecycle` | restarts, the end | [`monitor`](super::monitor) |
//! | `log` | where its output goes | [`log`](super::log) |
//!
//! Every field added later needs a `serde(default)`: containers outlive the program that made
//! them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cooper_cache::LayerId;
use cooper_oci::{Digest, RuntimeConfig};
use cooper_runner::{
    CapSet, DeviceRule, IdRange, IoKind, IoRate, IoWeight, Limits, Profile, Propagation,
    TmpfsOptions,
};
use serde::{Deserialize, Serialize};

use super::record::ContainerError;
use crate::network::NetworkConfig;
use crate::options::Ulimit;

/// Everything that is known of a container before it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The image as it was asked for.
    pub image: String,
    /// The image.
    pub image_id: Digest,
    /// The layers below the writable one, base first.
    pub layers: Vec<LayerId>,
    /// The image's configuration under what was asked for.
    pub runtime: RuntimeConfig,
    /// The host name; the start of the ID when absent.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The NIS domain; that of the host when absent.
    #[serde(default)]
    pub domainname: Option<String>,
    /// What is said of it for other programs to read.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Groups beyond those of the user.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether its stdin stays open while nobody is attached.
    #[serde(default)]
    pub open_stdin: bool,
    /// What confines it.
    pub isolation: Isolation,
    /// How it is connected.
    pub network: NetworkConfig,
    /// What is mounted in it.
    pub mounts: MountConfig,
    /// What it may use.
    pub resources: Resources,
    /// How it is kept alive, and how it ends.
    pub lifecycle: Lifecycle,
    /// Where its output is kept.
    pub log: LogConfig,
}

impl Config {
    /// Returns the layers that it stands on, and those of the images that it mounts.
    pub fn all_layers(&self) -> Vec<LayerId> {
        let mounted = self.mounts.volumes.iter();
        let mounted = mounted.filter_map(|volume| match &volume.source {
            VolumeSource::Image { layers, .. } => Some(layers),
            _ => None,
        });
        self.layers
            .iter()
            .chain(mounted.flatten())
            .cloned()
            .collect()
    }

    /// Returns the program and its arguments.
    pub fn args(&self) -> Vec<String> {
        let parts = [&self.runtime.entrypoint, &self.runtime.cmd];
        parts.into_iter().flatten().flatten().cloned().collect()
    }

    /// Returns the host name of the container with this ID.
    pub fn hostname(&self, id: &str) -> String {
        match &self.hostname {
            Some(name) => name.clone(),
            None => id.chars().take(12).collect(),
        }
    }
}

/// What confines a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct Isolation {
    /// Whether nothing is confined.
    pub privileged: bool,
    /// Capabilities asked for, as written.
    pub cap_add: Vec<String>,
    /// Capabilities dropped, as written.
    pub cap_drop: Vec<String>,
    /// The capabilities that result.
    pub capabilities: CapSet,
    /// The system-call filter.
    pub seccomp: SeccompMode,
    /// The AppArmor profile, where the host has AppArmor; its default one when absent.
    pub apparmor: Option<String>,
    /// Whether set-user-ID programs are inert.
    pub no_new_privileges: bool,
    /// Whether nothing of /proc and /sys is masked or read-only.
    pub open_paths: bool,
    /// `--security-opt` as written.
    pub security_opt: Vec<String>,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// Processes it sees.
    pub pid: NamespaceMode,
    /// System V objects and message queues it sees.
    pub ipc: NamespaceMode,
    /// Whether it has no /dev/shm.
    pub no_shm: bool,
    /// Whether others may join its IPC namespace and see its /dev/shm.
    pub shareable_ipc: bool,
    /// Host name it sees.
    pub uts: NamespaceMode,
    /// Ids it has outside.
    pub users: UserMode,
    /// Kernel settings of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Devices that were asked for by name or kind; what they take is among the devices, mounts and
    /// variables.
    pub device_requests: Vec<DeviceRequest>,
    /// Devices that it may use once it has nodes for them.
    pub device_rules: Vec<DeviceRule>,
    /// Whether it sees the host's control groups, not its own as the root.
    pub host_cgroups: bool,
}

/// The system-call filter of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompMode {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// That of a profile.
    Profile(Box<Profile>),
}

/// Whose namespace a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of a container, by name or ID.
    Container(String),
}

/// Which ids of the host a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserMode {
    /// Those that it sees.
    #[default]
    Host,
    /// A range of its own, which is chosen when it is made.
    Auto,
    /// These.
    Ids(IdRange),
}

impl UserMode {
    /// Returns the ids; none if it has those that it sees.
    pub(crate) fn ids(self) -> Option<IdRange> {
        match self {
            Self::Ids(ids) => Some(ids),
            Self::Host | Self::Auto => None,
        }
    }
}

/// A `--device`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the container.
    pub container: PathBuf,
    /// Some of `rwm`.
    pub permissions: String,
}

/// Devices by name or by kind, with docker's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Who knows them: `cdi`, or a vendor's.
    pub driver: String,
    /// How many; -1 is all.
    pub count: i64,
    /// Which.
    pub ids: Vec<String>,
    /// What they have to be able to.
    pub capabilities: Vec<String>,
}

/// What is mounted in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountConfig {
    /// Binds and volumes.
    pub volumes: Vec<VolumeMount>,
    /// File systems in memory.
    pub tmpfs: Vec<TmpfsMount>,
    /// `--volumes-from` as written; what those containers mount is among the volumes.
    pub from: Vec<String>,
}

/// One `-v`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where, absolute.
    pub target: PathBuf,
    /// Whether writes are refused.
    pub readonly: bool,
    /// What else was said of it.
    #[serde(default)]
    pub options: VolumeOptions,
}

/// What can be said of a mount besides where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Whether it was asked for by `--mount`: the source of a bind must exist then.
    pub strict: bool,
    /// `bind-propagation` as written, such as `rslave`.
    pub propagation: Option<String>,
    /// Whether mounts below the source of a bind stay away.
    pub flat: bool,
    /// Whether an empty volume is not filled from the image.
    pub nocopy: bool,
    /// The part of a volume that is mounted.
    pub subpath: Option<PathBuf>,
    /// Labels of a volume that is made for it.
    pub labels: BTreeMap<String, String>,
    /// Options of a volume that is made for it.
    pub driver_options: BTreeMap<String, String>,
}

impl VolumeOptions {
    /// Returns whether mounts of one side are seen on the other.
    pub(crate) fn propagation(&self) -> Propagation {
        match self.propagation.as_deref() {
            Some("shared" | "rshared") => Propagation::Shared,
            Some("slave" | "rslave") => Propagation::Slave,
            _ => Propagation::Private,
        }
    }
}

/// What a `-v` mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A file or directory of this machine.
    Host(PathBuf),
    /// A volume with a name.
    Named(String),
    /// A volume for this container alone; it gets a name when the container is made.
    Anonymous,
    /// The files of an image.
    Image {
        /// The image as it was asked for.
        name: String,
        /// Its layers, base first; known once the container is made.
        layers: Vec<LayerId>,
    },
}

/// One `--tmpfs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsMount {
    /// Where, absolute.
    pub target: PathBuf,
    /// Limit in bytes.
    pub size: Option<u64>,
    /// Mode of its root.
    pub mode: u32,
    /// Its other options.
    #[serde(default)]
    pub options: TmpfsOptions,
}

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm in bytes.
    pub shm_size: Option<u64>,
    /// Limits on what all processes use together, but for those of the two fields below.
    pub limits: Limits,
    /// Billionths of a processor, in the place of a quota.
    pub nano_cpus: Option<u64>,
    /// Rates at block devices.
    pub device_rates: Vec<DeviceRate>,
    /// Weights at block devices.
    pub device_weights: Vec<DeviceWeight>,
    /// How readily the kernel kills it when the machine's memory is used up.
    pub oom_score_adj: Option<i32>,
    /// The control group in which its own is made.
    pub cgroup_parent: Option<String>,
}

/// A weight among others at a block device, which is looked up when the container is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// The device on the host.
    pub path: PathBuf,
    /// 10 to 1000.
    pub weight: u16,
}

/// A rate at a block device, which is looked up when the container is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The device on the host.
    pub path: PathBuf,
    /// What is counted.
    pub kind: IoKind,
    /// How much of it a second.
    pub rate: u64,
}

/// Microseconds in which the share of `--cpus` holds.
const PERIOD: u64 = 100_000;

impl Resources {
    /// Returns whether it needs a control group of its own.
    pub(crate) fn needs_group(&self) -> bool {
        !self.limits.is_empty()
            || self.nano_cpus.is_some()
            || !self.device_rates.is_empty()
            || !self.device_weights.is_empty()
            || self.cgroup_parent.is_some()
    }

    /// Returns all limits that its control group has.
    pub(crate) fn group_limits(&self) -> Result<Limits, ContainerError> {
        let mut limits = self.limits.clone();
        if let Some(cpus) = self.nano_cpus {
            let quota = u128::from(cpus) * u128::from(PERIOD) / 1_000_000_000;
            limits.cpu_period = Some(PERIOD);
            // Less than a thousandth of a processor is not taken.
            limits.cpu_quota = Some(i64::try_from(quota).unwrap_or(i64::MAX).max(1000));
        }
        for rate in &self.device_rates {
            limits.io_rates.push(IoRate {
                device: block_device(&rate.path)?,
                kind: rate.kind,
                rate: rate.rate,
            });
        }
        for own in &self.device_weights {
            limits.io_weights.push(IoWeight {
                device: block_device(&own.path)?,
                weight: own.weight,
            });
        }
        Ok(limits)
    }
}

/// Returns the numbers of a block device.
fn block_device(path: &Path) -> Result<(u32, u32), ContainerError> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = std::fs::metadata(path).map_err(ContainerError::io("look at", path))?;
    if !metadata.file_type().is_block_device() {
        return Err(ContainerError::NoBlockDevice {
            path: path.to_owned(),
        });
    }
    let device = metadata.rdev();
    Ok((rustix::fs::major(device), rustix::fs::minor(device)))
}

/// How a container is kept alive, and how it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifecycle {
    /// Whether it is removed at its end, with its anonymous volumes.
    pub remove: bool,
    /// Whether a small init is its first process, reaps and passes on signals.
    pub init: bool,
    /// What follows its end.
    pub restart: RestartPolicy,
    /// Seconds between the stop signal and SIGKILL; 10 when absent.
    pub stop_timeout: Option<i64>,
}

/// What follows the end of a container that was not stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// A new start if it failed, at most so many times; 0 is without end.
    OnFailure(u32),
    /// A new start.
    Always,
    /// A new start; the same as `Always` here, where no daemon starts containers.
    UnlessStopped,
}

/// Where a container's output is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// What writes it.
    pub driver: LogDriver,
    /// `--log-opt` as written.
    pub options: BTreeMap<String, String>,
}

/// What writes a container's output down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Files of JSON lines.
    #[default]
    JsonFile,
    /// The same within limits.
    Local,
    /// systemd's journal.
    Journald,
    /// A syslog server.
    Syslog,
    /// Nothing.
    None,
}

impl LogDriver {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::JsonFile,
        Self::Local,
        Self::Journald,
        Self::Syslog,
        Self::None,
    ];

    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
            Self::None => "none",
        }
    }
}
