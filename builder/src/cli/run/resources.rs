//! Limits on what a container uses.

use clap::Args;
use cooper_runner::IoKind;

use crate::cli::value::{ValueError, each, size, ulimit};
use crate::container::{DeviceRate, DeviceWeight, Resources};
use crate::report::{Report, print_error};

/// The least memory that a container can be given, as docker has it.
const LEAST_MEMORY: u64 = 6 << 20;

/// Options that limit resources.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Resources")]
pub struct ResourceArgs {
    /// Limits that can be changed later.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// How readily memory is swapped out, 0 to 100
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    pub memory_swappiness: Option<i64>,

    /// Let processes wait instead of killing one when memory is used up
    #[arg(long)]
    pub oom_kill_disable: bool,

    /// How readily the kernel kills it when the machine is out of memory, -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,

    /// Weight among others at one block device, 10 to 1000
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    pub blkio_weight_device: Vec<String>,

    /// Bytes a second that are read from a device
    #[arg(long, value_name = "DEVICE:SIZE")]
    pub device_read_bps: Vec<String>,

    /// Bytes a second that are written to a device
    #[arg(long, value_name = "DEVICE:SIZE")]
    pub device_write_bps: Vec<String>,

    /// Reads a second from a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_read_iops: Vec<String>,

    /// Writes a second to a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_write_iops: Vec<String>,

    /// The control group in which its own is made
    #[arg(long, value_name = "GROUP")]
    pub cgroup_parent: Option<String>,

    /// Limit what the container's own files take, which nothing here can do
    #[arg(long, value_name = "NAME=VALUE", hide = true)]
    pub storage_opt: Vec<String>,

    /// Memory of the kernel, which --memory counts too
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory: Option<String>,

    /// Limit a resource of each process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,
}

/// Limits that a running container can be given too.
#[derive(Args, Clone, Debug, Default)]
pub struct LimitArgs {
    /// Memory
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,

    /// Memory and swap together; -1 for any amount of swap
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub memory_swap: Option<String>,

    /// Memory to come down to when the machine is short of it
    #[arg(long, value_name = "SIZE")]
    pub memory_reservation: Option<String>,

    /// Processors, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,

    /// Weight among others; 1024 is usual
    #[arg(short, long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,

    /// Microseconds in which the quota holds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,

    /// Microseconds of processor time in each period; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,

    /// Processors to run on, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// Memory nodes to use, such as 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,

    /// Processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,

    /// Weight among others at block devices, 10 to 1000; 0 for none
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
}

impl ResourceArgs {
    /// Returns the limits.
    pub fn resolve(&self) -> Result<Resources, Report> {
        if !self.storage_opt.is_empty() {
            return Err(Report::new(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, \
                 and not by cooper",
            )
            .hint(
                "a container's own files are not limited: mount a file system of the right size",
            ));
        }
        if bytes("--kernel-memory", self.kernel_memory.as_deref())?.is_some() {
            print_error(
                "WARNING: --kernel-memory is left out: --memory counts the kernel's, too\n",
            );
        }
        let mut resources = Resources {
            ulimits: each("--ulimit", &self.ulimit, ulimit)?,
            shm_size: bytes("--shm-size", self.shm_size.as_deref())?.filter(|size| *size > 0),
            device_rates: self.device_rates()?,
            device_weights: each(
                "--blkio-weight-device",
                &self.blkio_weight_device,
                device_weight,
            )?,
            oom_score_adj: self.oom_score_adj,
            cgroup_parent: self.cgroup_parent.clone(),
            ..Resources::default()
        };
        let limits = &mut resources.limits;
        limits.oom_kill_disable = self.oom_kill_disable;
        limits.memory_swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(percent) => Some(
                u8::try_from(percent)
                    .ok()
                    .filter(|percent| *percent <= 100)
                    .ok_or_else(|| {
                        ValueError::new("not from 0 to 100")
                            .report("--memory-swappiness", &percent.to_string())
                    })?,
            ),
        };
        if let Some(score) = self.oom_score_adj.filter(|n| !(-1000..=1000).contains(n)) {
            let error = ValueError::new("not from -1000 to 1000");
            return Err(error.report("--oom-score-adj", &score.to_string()));
        }
        self.limits.lay_over(&mut resources)?;
        // What does not limit needs no group.
        let limits = &mut resources.limits;
        limits.pids = limits.pids.filter(|pids| *pids > 0);
        Ok(resources)
    }

    fn device_rates(&self) -> Result<Vec<DeviceRate>, Report> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| ValueError::new(format!("{text:?} is no number")))
        };
        let mut rates = Vec::new();
        for (option, values, kind) in [
            (
                "--device-read-bps",
                &self.device_read_bps,
                IoKind::ReadBytes,
            ),
            (
                "--device-write-bps",
                &self.device_write_bps,
                IoKind::WriteBytes,
            ),
            ("--device-read-iops", &self.device_read_iops, IoKind::Reads),
            (
                "--device-write-iops",
                &self.device_write_iops,
                IoKind::Writes,
            ),
        ] {
            let in_bytes = matches!(kind, IoKind::ReadBytes | IoKind::WriteBytes);
            rates.extend(each(option, values, |text| {
                let (path, rate) = text
                    .rsplit_once(':')
                    .filter(|(path, _)| path.starts_with('/'))
                    .ok_or_else(|| {
                        ValueError::new("not a device and a rate").hint("write /dev/sda:1mb")
                    })?;
                let rate = if in_bytes { size(rate) } else { number(rate) }?;
                Ok(DeviceRate {
                    path: path.into(),
                    kind,
                    rate,
                })
            })?);
        }
        Ok(rates)
    }
}

impl LimitArgs {
    /// Lays the limits that are given over those that a container has.
    pub(in crate::cli) fn lay_over(&self, resources: &mut Resources) -> Result<(), Report> {
        self.check()?;
        let limits = &mut resources.limits;
        limits.memory = bytes("--memory", self.memory.as_deref())?.or(limits.memory);
        limits.memory_swap = self.swap()?.or(limits.memory_swap);
        let reservation = bytes("--memory-reservation", self.memory_reservation.as_deref())?;
        limits.memory_reservation = reservation.or(limits.memory_reservation);
        if self.cpu_period.is_some() || self.cpu_quota.is_some() {
            resources.nano_cpus = None;
        }
        limits.cpu_period = self.cpu_period.or(limits.cpu_period);
        limits.cpu_quota = self.cpu_quota.or(limits.cpu_quota);
        if let Some(cpus) = self.cpus.as_deref() {
            resources.nano_cpus =
                Some(nano_cpus(cpus).map_err(|error| error.report("--cpus", cpus))?);
            (limits.cpu_period, limits.cpu_quota) = (None, None);
        }
        limits.cpu_shares = self.cpu_shares.filter(|n| *n > 0).or(limits.cpu_shares);
        let list = |given: &Option<String>, had: &Option<String>| given.clone().or(had.clone());
        limits.cpuset_cpus = list(&self.cpuset_cpus, &limits.cpuset_cpus);
        limits.cpuset_mems = list(&self.cpuset_mems, &limits.cpuset_mems);
        limits.pids = self.pids_limit.or(limits.pids);
        limits.io_weight = self.blkio_weight.filter(|n| *n > 0).or(limits.io_weight);
        agree(resources, processors())
    }

    /// Returns whether no limit is given.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        let texts = [
            &self.memory,
            &self.memory_swap,
            &self.memory_reservation,
            &self.cpus,
            &self.cpuset_cpus,
            &self.cpuset_mems,
        ];
        texts.iter().all(|text| text.is_none())
            && self.cpu_shares.is_none()
            && self.cpu_period.is_none()
            && self.cpu_quota.is_none()
            && self.pids_limit.is_none()
            && self.blkio_weight.is_none()
    }

    /// Refuses what is wrong by itself.
    fn check(&self) -> Result<(), Report> {
        let not_in = |option: &str, value: &dyn ToString, range: &str| {
            ValueError::new(format!("not {range}")).report(option, &value.to_string())
        };
        if self.cpus.is_some() && (self.cpu_period.is_some() || self.cpu_quota.is_some()) {
            return Err(Report::new(
                "--cpus is a period and a quota by itself: --cpu-period and --cpu-quota exclude it",
            ));
        }
        match self.cpu_period {
            Some(period) if !(1000..=1_000_000).contains(&period) => {
                return Err(not_in("--cpu-period", &period, "from 1000 to 1000000"));
            }
            _ => {}
        }
        match self.cpu_quota {
            Some(quota) if (1..1000).contains(&quota) => {
                return Err(not_in("--cpu-quota", &quota, "1000 or more"));
            }
            _ => {}
        }
        match self.blkio_weight {
            Some(weight) if weight != 0 && !(10..=1000).contains(&weight) => {
                Err(not_in("--blkio-weight", &weight, "from 10 to 1000"))
            }
            _ => Ok(()),
        }
    }

    fn swap(&self) -> Result<Option<i64>, Report> {
        match self.memory_swap.as_deref() {
            Some("-1") => Ok(Some(-1)),
            text => Ok(bytes("--memory-swap", text)?
                .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
                // Docker's "not set".
                .filter(|bytes| *bytes != 0)),
        }
    }
}

/// Parses `DEVICE:WEIGHT`.
fn device_weight(text: &str) -> Result<DeviceWeight, ValueError> {
    let (path, weight) = text
        .rsplit_once(':')
        .filter(|(path, _)| path.starts_with('/'))
        .ok_or_else(|| ValueError::new("not a device and a weight").hint("write /dev/sda:300"))?;
    let known = weight
        .parse()
        .ok()
        .filter(|weight| (10..=1000).contains(weight));
    let weight = known.ok_or_else(|| ValueError::new("the weight is not from 10 to 1000"))?;
    Ok(DeviceWeight {
        path: path.into(),
        weight,
    })
}

/// Returns on how many processors this process may run.
fn processors() -> u64 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| u64::from(set.count()))
}

/// Refuses limits that contradict each other, or this machine, of which `processors` may be used.
fn agree(resources: &Resources, processors: u64) -> Result<(), Report> {
    let limits = &resources.limits;
    let range = 10_000_000..=processors.saturating_mul(1_000_000_000);
    if resources
        .nano_cpus
        .is_some_and(|nano| !range.contains(&nano))
    {
        return Err(Report::new(format!(
            "Range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs \
             available"
        )));
    }
    if limits.memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        return Err(Report::new(
            "--memory is less than 6 MiB, which no container starts with",
        ));
    }
    let Some(memory) = limits.memory else {
        return match limits.memory_swap {
            Some(_) => Err(Report::new("--memory-swap takes --memory too")
                .hint("it is the sum of both: memory, and swap beyond it")),
            None => Ok(()),
        };
    };
    if let Some(swap) = limits.memory_swap
        && swap >= 0
        && swap.unsigned_abs() < memory
    {
        return Err(Report::new("--memory-swap is less than --memory")
            .hint("it is the sum of both; -1 is any amount of swap"));
    }
    if limits
        .memory_reservation
        .is_some_and(|bytes| bytes > memory)
    {
        return Err(Report::new("--memory-reservation is more than --memory"));
    }
    Ok(())
}

fn bytes(option: &str, text: Option<&str>) -> Result<Option<u64>, Report> {
    text.map(|text| size(text).map_err(|error| error.report(option, text)))
        .transpose()
}

/// Parses a number of processors into billionths of one.
fn nano_cpus(text: &str) -> Result<u64, ValueError> {
    let invalid = || ValueError::new("not a number of processors").hint("write 2 or 0.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 9 || (whole.is_empty() && part.is_empty()) {
        return Err(invalid());
    }
    let digits = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| {
            if digits.is_empty() {
                Ok(0)
            } else {
                digits.parse::<u64>()
            }
        })
    };
    let part = format!("{part:0<9}");
    let (Some(Ok(whole)), Some(Ok(part))) = (digits(whole), digits(&part)) else {
        return Err(invalid());
    };
    let nano = whole
        .checked_mul(1_000_000_000)
        .and_then(|n| n.checked_add(part));
    nano.filter(|nano| *nano > 0).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_billionths() {
        for (text, expected) in [
            ("2", Some(2_000_000_000)),
            ("0.5", Some(500_000_000)),
            (".25", Some(250_000_000)),
            ("1.000000001", Some(1_000_000_001)),
            ("0", None),
            ("", None),
            (".", None),
            ("-1", None),
            ("1.0000000001", None),
            ("two", None),
        ] {
            assert_eq!(nano_cpus(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn limits_become_those_of_a_group() {
        let args = ResourceArgs {
            limits: LimitArgs {
                memory: Some("64m".into()),
                memory_swap: Some("-1".into()),
                cpus: Some("0.5".into()),
                pids_limit: Some(20),
                ..LimitArgs::default()
            },
            ..ResourceArgs::default()
        };
        let resources = args.resolve().expect("valid");
        let limits = resources.group_limits().expect("valid");
        assert_eq!(
            (limits.memory, limits.memory_swap),
            (Some(64 << 20), Some(-1))
        );
        assert_eq!(
            (limits.cpu_period, limits.cpu_quota),
            (Some(100_000), Some(50_000))
        );
        assert_eq!(limits.pids, Some(20));

        let mut changed = resources;
        let later = LimitArgs {
            cpu_quota: Some(20_000),
            pids_limit: Some(-1),
            ..LimitArgs::default()
        };
        later.lay_over(&mut changed).expect("valid");
        let limits = changed.group_limits().expect("valid");
        assert_eq!((limits.cpu_period, limits.cpu_quota), (None, Some(20_000)));
        assert_eq!((limits.memory, limits.pids), (Some(64 << 20), Some(-1)));
        let none = ResourceArgs::default().resolve().expect("valid");
        assert!(!none.needs_group() && LimitArgs::default().is_empty());
    }

    #[test]
    fn processors_are_those_that_there_are() {
        let given = |nano_cpus| Resources {
            nano_cpus: Some(nano_cpus),
            ..Resources::default()
        };
        for fits in [10_000_000, 2_000_000_000] {
            assert!(agree(&given(fits), 2).is_ok(), "{fits}");
        }
        for wrong in [1_000_000, 2_000_000_001] {
            let report = agree(&given(wrong), 2).expect_err("out of range");
            assert_eq!(
                report.render(false).trim_end(),
                "ERROR: Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
            );
        }
    }

    #[test]
    fn limits_that_contradict_are_refused() {
        let limits = |edit: fn(&mut ResourceArgs)| {
            let mut args = ResourceArgs::default();
            edit(&mut args);
            args.resolve().expect_err("refused").render(false)
        };
        let reports = [
            limits(|args| args.limits.memory = Some("5m".into())),
            limits(|args| args.limits.memory_swap = Some("1g".into())),
            limits(|args| {
                args.limits.memory = Some("1g".into());
                args.limits.memory_swap = Some("512m".into());
            }),
            limits(|args| {
                args.limits.cpus = Some("1".into());
                args.limits.cpu_quota = Some(1000);
            }),
            limits(|args| args.limits.cpu_period = Some(10)),
            limits(|args| args.limits.blkio_weight = Some(5)),
            limits(|args| args.memory_swappiness = Some(101)),
            limits(|args| args.device_read_bps = vec!["sda:1m".into()]),
            limits(|args| args.blkio_weight_device = vec!["sda:100".into()]),
            limits(|args| args.blkio_weight_device = vec!["/dev/sda:3".into()]),
            limits(|args| args.storage_opt = vec!["size=1g".into()]),
            limits(|args| args.oom_score_adj = Some(2000)),
        ];
        insta::assert_snapshot!(reports.join(""), @r#"
        ERROR: --memory is less than 6 MiB, which no container starts with
        ERROR: --memory-swap takes --memory too
          hint: it is the sum of both: memory, and swap beyond it
        ERROR: --memory-swap is less than --memory
          hint: it is the sum of both; -1 is any amount of swap
        ERROR: --cpus is a period and a quota by itself: --cpu-period and --cpu-quota exclude it
        ERROR: invalid value "10" for --cpu-period: not from 1000 to 1000000
        ERROR: invalid value "5" for --blkio-weight: not from 10 to 1000
        ERROR: invalid value "101" for --memory-swappiness: not from 0 to 100
        ERROR: invalid value "sda:1m" for --device-read-bps: not a device and a rate
          hint: write /dev/sda:1mb
        ERROR: invalid value "sda:100" for --blkio-weight-device: not a device and a weight
          hint: write /dev/sda:300
        ERROR: invalid value "/dev/sda:3" for --blkio-weight-device: the weight is not from 10 to 1000
        ERROR: --storage-opt is supported only for overlay over xfs with 'pquota' mount option, and not by cooper
          hint: a container's own files are not limited: mount a file system of the right size
        ERROR: invalid value "2000" for --oom-score-adj: not from -1000 to 1000
        "#);
    }
}
