//! Limits, and the files that they are written to.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::hierarchy::Version;

/// What a process and all that it starts may use together; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is unlimited swap. Twice the memory when absent.
    pub memory_swap: Option<i64>,
    /// Weight among others; 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds in which the quota holds.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period; negative is unlimited.
    pub cpu_quota: Option<i64>,
    /// Processors, such as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Bytes of memory to come down to when memory is short.
    pub memory_reservation: Option<u64>,
    /// How readily memory is swapped out, 0 to 100; version 1 alone has it.
    pub memory_swappiness: Option<u8>,
    /// Whether processes wait instead of being killed when memory is used up; version 1 alone has
    /// it.
    pub oom_kill_disable: bool,
    /// Processes and threads; negative is unlimited.
    pub pids: Option<i64>,
    /// Weight among others at block devices, 10 to 1000.
    pub io_weight: Option<u16>,
    /// Weights at single block devices, in the place of that one.
    pub io_weights: Vec<IoWeight>,
    /// Rates at block devices.
    pub io_rates: Vec<IoRate>,
}

/// A weight among others at a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoWeight {
    /// The device's major and minor number.
    pub device: (u32, u32),
    /// 10 to 1000.
    pub weight: u16,
}

/// A rate at a block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoRate {
    /// The device's major and minor number.
    pub device: (u32, u32),
    /// What is counted.
    pub kind: IoKind,
    /// How much of it a second.
    pub rate: u64,
}

/// What is counted at a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoKind {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

impl IoKind {
    /// Returns the file of version 1, and the key of version 2.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ReadBytes => ("blkio.throttle.read_bps_device", "rbps"),
            Self::WriteBytes => ("blkio.throttle.write_bps_device", "wbps"),
            Self::Reads => ("blkio.throttle.read_iops_device", "riops"),
            Self::Writes => ("blkio.throttle.write_iops_device", "wiops"),
        }
    }
}

/// One file of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether nobody asked for it by name.
    pub(super) implied: bool,
}

impl Setting {
    fn new(file: &'static str, value: &impl ToString) -> Self {
        Self {
            file,
            value: value.to_string(),
            implied: false,
        }
    }

    /// Writes it to the group at `directory`.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let write = |file: &str| {
            let path = directory.join(file);
            match fs::write(&path, &self.value) {
                // The kernel does not let files be made there, and says so before it says that
                // there is none.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !path.exists() => {
                    Err(io::ErrorKind::NotFound.into())
                }
                result => result,
            }
        };
        match (write(self.file), self.other_file()) {
            (Err(error), Some(other)) if error.kind() == io::ErrorKind::NotFound => write(other),
            (result, _) => result,
        }
    }

    /// Returns what the file is called where the scheduler of block devices is BFQ.
    fn other_file(&self) -> Option<&'static str> {
        match self.file {
            "blkio.weight" => Some("blkio.bfq.weight"),
            "blkio.weight_device" => Some("blkio.bfq.weight_device"),
            "io.weight" => Some("io.bfq.weight"),
            _ => None,
        }
    }

    pub(super) fn controller(&self) -> &'static str {
        self.file
            .split_once('.')
            .map_or(self.file, |(name, _)| name)
    }
}

impl Limits {
    /// Tells whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the controllers that the limits need; `io` is what the one for block devices is
    /// called, which the versions do not agree on.
    pub(super) fn controllers(&self, io: &'static str) -> Vec<&'static str> {
        let cpu =
            self.cpu_shares.is_some() || self.cpu_period.is_some() || self.cpu_quota.is_some();
        let cpuset = self.cpuset_cpus.is_some() || self.cpuset_mems.is_some();
        [
            ("memory", self.needs_memory()),
            ("cpu", cpu),
            ("cpuset", cpuset),
            ("pids", self.pids.is_some()),
            (io, self.needs_io()),
        ]
        .into_iter()
        .filter_map(|(name, needed)| needed.then_some(name))
        .collect()
    }

    fn needs_memory(&self) -> bool {
        let bytes = [self.memory, self.memory_reservation];
        bytes.iter().any(Option::is_some)
            || self.memory_swap.is_some()
            || self.memory_swappiness.is_some()
            || self.oom_kill_disable
    }

    fn needs_io(&self) -> bool {
        self.io_weight.is_some() || !self.io_weights.is_empty() || !self.io_rates.is_empty()
    }

    /// Returns what is to be written, in an order that the kernel takes.
    pub(super) fn settings(&self, version: Version) -> Vec<Setting> {
        let mut settings = match version {
            Version::One => self.version_one(),
            Version::Two => self.version_two(),
        };
        let lists = [
            ("cpuset.cpus", &self.cpuset_cpus),
            ("cpuset.mems", &self.cpuset_mems),
        ];
        settings.extend(self.pids.map(|pids| {
            let value = if pids < 1 {
                "max".to_owned()
            } else {
                pids.to_string()
            };
            Setting::new("pids.max", &value)
        }));
        settings.extend(
            lists
                .into_iter()
                .filter_map(|(file, list)| Some(Setting::new(file, list.as_ref()?))),
        );
        settings
    }

    fn version_one(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Some(memory) = self.memory {
            settings.push(Setting::new("memory.limit_in_bytes", &memory));
            let both = self.memory_swap.unwrap_or_else(|| twice(memory));
            settings.push(Setting {
                implied: self.memory_swap.is_none(),
                ..Setting::new("memory.memsw.limit_in_bytes", &both)
            });
        }
        let shares = self.cpu_shares.map(|n| Setting::new("cpu.shares", &n));
        let period = self
            .cpu_period
            .map(|n| Setting::new("cpu.cfs_period_us", &n));
        let quota = self
            .cpu_quota
            .map(|n| Setting::new("cpu.cfs_quota_us", &n.max(-1)));
        settings.extend([shares, period, quota].into_iter().flatten());
        let reserved = self.memory_reservation;
        settings.extend(reserved.map(|n| Setting::new("memory.soft_limit_in_bytes", &n)));
        let swappiness = self.memory_swappiness;
        settings.extend(swappiness.map(|n| Setting::new("memory.swappiness", &n)));
        if self.oom_kill_disable {
            settings.push(Setting::new("memory.oom_control", &1));
        }
        settings.extend(self.io_weight.map(|n| Setting::new("blkio.weight", &n)));
        settings.extend(self.io_weights.iter().map(|own| {
            let (major, minor) = own.device;
            let value = format!("{major}:{minor} {}", own.weight);
            Setting::new("blkio.weight_device", &value)
        }));
        settings.extend(self.io_rates.iter().map(|rate| {
            let (major, minor) = rate.device;
            let value = format!("{major}:{minor} {}", rate.rate);
            Setting::new(rate.kind.names().0, &value)
        }));
        settings
    }

    fn version_two(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        if let Some(memory) = self.memory {
            settings.push(Setting::new("memory.max", &memory));
            let swap = match self.memory_swap.unwrap_or_else(|| twice(memory)) {
                unlimited if unlimited < 0 => "max".to_owned(),
                both => both.unsigned_abs().saturating_sub(memory).to_string(),
            };
            settings.push(Setting {
                implied: self.memory_swap.is_none(),
                ..Setting::new("memory.swap.max", &swap)
            });
        }
        if let Some(shares) = self.cpu_shares {
            settings.push(Setting::new("cpu.weight", &weight(shares)));
        }
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let quota = match self.cpu_quota {
                Some(quota) if quota > 0 => quota.to_string(),
                _ => "max".to_owned(),
            };
            let period = self.cpu_period.unwrap_or(DEFAULT_PERIOD);
            settings.push(Setting::new("cpu.max", &format!("{quota} {period}")));
        }
        let reserved = self.memory_reservation;
        settings.extend(reserved.map(|n| Setting::new("memory.low", &n)));
        // Version 2 has neither; asking shows it.
        let swappiness = self.memory_swappiness;
        settings.extend(swappiness.map(|n| Setting::new("memory.swappiness", &n)));
        if self.oom_kill_disable {
            settings.push(Setting::new("memory.oom_control", &1));
        }
        settings.extend(self.io_weight.map(|n| {
            let value = format!("default {}", io_weight(n));
            Setting::new("io.weight", &value)
        }));
        settings.extend(self.io_weights.iter().map(|own| {
            let (major, minor) = own.device;
            let value = format!("{major}:{minor} {}", io_weight(own.weight));
            Setting::new("io.weight", &value)
        }));
        settings.extend(self.io_rates.iter().map(|rate| {
            let ((major, minor), (_, key)) = (rate.device, rate.kind.names());
            Setting::new("io.max", &format!("{major}:{minor} {key}={}", rate.rate))
        }));
        settings
    }
}

/// Returns the weight (1 to 10000) for version 1's at block devices (10 to 1000), as OCI runtimes
/// do.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// The kernel's period, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Docker lets a process swap as much as it has memory.
fn twice(memory: u64) -> i64 {
    i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX)
}

/// Returns the weight (1 to 10000) for version 1's shares (2 to 262144), as OCI runtimes do.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}
