//! The options of `cooper build` that say what RUN steps may do, see and use up.

use std::path::{Path, PathBuf};

use clap::Args;
use cooper_frontend::ir::{HostDevice, Resources, Sandbox, Volume, VolumeAccess};
use cooper_frontend::settings::{AllowedDevices, Entitlements};
use cooper_runner::Capability;

use super::super::leaks::SECRET_EXPORT;
use super::super::value::{ValueError, csv, each, host_entry, mount_target, size, ulimit};
use crate::build::cdi;
use crate::config::BuildSection;
use crate::options::{BuildNetwork, Dns, HostEntry, StepLimits};
use crate::report::Report;

/// Options of RUN steps.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "RUN steps")]
pub struct StepArgs {
    /// Network of steps that name none: default, host or none
    #[arg(long, visible_alias = "net", value_name = "MODE")]
    pub network: Option<String>,

    /// Let steps have network.host, security.insecure, device or device=NAME[,alias=NAME];
    /// secret-export lets outputs hold secrets
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,

    /// Add a line to /etc/hosts; host-gateway is this machine
    #[arg(long, value_name = "HOST:IP", value_delimiter = ',')]
    pub add_host: Vec<String>,

    /// Ask this name server; none leaves the image's own /etc/resolv.conf
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,

    /// Look names up in this domain
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,

    /// Give the resolver this option
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,

    /// Mount a file or directory of this machine; O throws writes away
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro|rw|O]")]
    pub volume: Vec<String>,

    /// Give steps a device of this machine, by path or CDI name
    #[arg(long, value_name = "PATH[:TARGET]")]
    pub device: Vec<String>,

    /// Look for device specifications (CDI) here [default: /etc/cdi and /var/run/cdi]
    #[arg(long, value_name = "DIR")]
    pub cdi_config_dir: Vec<PathBuf>,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,

    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,

    /// Limit a resource of each process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,

    /// Limit each step: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or
    /// cpuset-mems
    #[arg(long, value_name = "NAME=VALUE")]
    pub resource: Vec<String>,

    /// Memory of each step
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,

    /// Memory and swap of each step together; -1 is unlimited swap
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub memory_swap: Option<String>,

    /// Weight of each step among others, 1024 being usual
    #[arg(short, long, value_name = "N")]
    pub cpu_shares: Option<String>,

    /// Length of the period of the quota, in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_period: Option<String>,

    /// Processor time of each step in a period, in microseconds
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub cpu_quota: Option<String>,

    /// Processors that steps may use, such as 0-3 or 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// Memory nodes that steps may use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,

    /// Control group below which those of the steps are made
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,

    /// Taken for scripts that name what there is: default, oci, rootless or chroot
    #[arg(long, hide = true, value_name = "KIND")]
    pub isolation: Option<String>,
}

/// What [`StepArgs`] come to.
pub(super) struct Steps {
    pub(super) network: BuildNetwork,
    pub(super) entitlements: Entitlements,
    pub(super) sandbox: Sandbox,
    pub(super) cdi_dirs: Vec<PathBuf>,
    pub(super) add_hosts: Vec<HostEntry>,
    pub(super) dns: Dns,
    pub(super) limits: StepLimits,
}

impl StepArgs {
    pub(super) fn resolve(&self, file: &BuildSection) -> Result<Steps, Report> {
        self.check_isolation()?;
        let network = self.network(file.network.as_deref())?;
        let mut entitlements = entitlements(&self.allow)?;
        entitlements.network_host |= network == BuildNetwork::Host;
        Ok(Steps {
            network,
            entitlements,
            sandbox: self.sandbox()?,
            cdi_dirs: self.cdi_dirs(),
            add_hosts: each("--add-host", &self.add_host, host_entry)?,
            dns: self.dns(network)?,
            limits: self.limits(file.shm_size.as_deref())?,
        })
    }

    fn network(&self, configured: Option<&str>) -> Result<BuildNetwork, Report> {
        match self.network.as_deref().or(configured) {
            None | Some("default") => Ok(BuildNetwork::Default),
            Some("host") => Ok(BuildNetwork::Host),
            Some("none") => Ok(BuildNetwork::None),
            Some(other) => {
                let error = ValueError::unknown("network", other, &["default", "host", "none"]);
                Err(error.report("--network", other))
            }
        }
    }

    fn cdi_dirs(&self) -> Vec<PathBuf> {
        if self.cdi_config_dir.is_empty() {
            cdi::default_directories()
        } else {
            self.cdi_config_dir.clone()
        }
    }

    /// Every step runs in namespaces of its own, which is at least what each kind that other
    /// builders have for Linux asks for.
    fn check_isolation(&self) -> Result<(), Report> {
        match self.isolation.as_deref() {
            None | Some("" | "default" | "oci" | "rootless" | "chroot") => Ok(()),
            Some(other) => {
                let known = ["default", "oci", "rootless", "chroot"];
                let error = ValueError::unknown("isolation", other, &known);
                Err(error.report("--isolation", other))
            }
        }
    }

    fn dns(&self, network: BuildNetwork) -> Result<Dns, Report> {
        let given = [
            ("--dns", &self.dns),
            ("--dns-search", &self.dns_search),
            ("--dns-option", &self.dns_option),
        ];
        if let Some((option, _)) = given.iter().find(|(_, values)| !values.is_empty())
            && network == BuildNetwork::None
        {
            let heading = format!("{option} means nothing with --network=none");
            return Err(Report::new(heading).hint("leave one of them out"));
        }
        let own = self.dns.iter().any(|server| server == "none");
        if own && (self.dns.len() > 1 || !self.dns_search.is_empty() || !self.dns_option.is_empty())
        {
            let heading = "--dns=none leaves the image's own file, which has no further options";
            return Err(Report::new(heading).hint("leave out --dns=none, or the others"));
        }
        let server = |text: &str| {
            text.parse()
                .map_err(|_| ValueError::new(format!("{text:?} is no IP address")))
        };
        let servers = if own {
            Vec::new()
        } else {
            each("--dns", &self.dns, server)?
        };
        Ok(Dns {
            of_image: own,
            servers,
            search: self.dns_search.clone(),
            options: self.dns_option.clone(),
        })
    }

    fn sandbox(&self) -> Result<Sandbox, Report> {
        let (cdi_devices, paths): (Vec<_>, Vec<_>) = self
            .device
            .iter()
            .cloned()
            .partition(|text| cdi::is_name(text));
        Ok(Sandbox {
            cap_add: capabilities("--cap-add", &self.cap_add)?,
            cap_drop: capabilities("--cap-drop", &self.cap_drop)?,
            volumes: each("--volume", &self.volume, volume)?,
            devices: each("--device", &paths, device)?,
            cdi_devices,
        })
    }

    fn limits(&self, configured: Option<&str>) -> Result<StepLimits, Report> {
        let shm = self.shm_size.as_deref().or(configured);
        let shm_size = shm.map(|text| size(text).map_err(|error| error.report("--shm-size", text)));
        Ok(StepLimits {
            shm_size: shm_size.transpose()?,
            ulimits: each("--ulimit", &self.ulimit, ulimit)?,
            resources: self.resources()?,
        })
    }

    /// Returns the limits of the control group. An option of its own beats `--resource`.
    fn resources(&self) -> Result<Resources, Report> {
        let mut resources = Resources {
            cgroup_parent: self
                .cgroup_parent
                .clone()
                .filter(|parent| !parent.is_empty()),
            ..Resources::default()
        };
        for text in &self.resource {
            let set = text
                .split_once('=')
                .ok_or_else(|| ValueError::new("no value").hint("write NAME=VALUE"))
                .and_then(|(name, value)| set_resource(&mut resources, name, value));
            set.map_err(|error| error.report("--resource", text))?;
        }
        let own = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ];
        for (name, value) in own {
            let Some(value) = value else { continue };
            set_resource(&mut resources, name, value)
                .map_err(|error| error.report(&format!("--{name}"), value))?;
        }
        // Unlimited swap is what there is without a limit of memory.
        let limited = resources.memory.is_some();
        resources.memory_swap = resources.memory_swap.filter(|swap| limited || *swap >= 0);
        check_swap(&resources)?;
        Ok(resources)
    }
}

/// Parses all of `--allow`.
fn entitlements(given: &[String]) -> Result<Entitlements, Report> {
    let mut allowed = Entitlements::default();
    for text in given.iter().filter(|text| !text.is_empty()) {
        allow(&mut allowed, text).map_err(|error| error.report("--allow", text))?;
    }
    Ok(allowed)
}

fn allow(allowed: &mut Entitlements, text: &str) -> Result<(), ValueError> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("network.host", "") => allowed.network_host = true,
        ("security.insecure", "") => allowed.insecure = true,
        // It concerns outputs and no step.
        (SECRET_EXPORT, "") => {}
        ("device", "") => allowed.devices = AllowedDevices::All,
        ("device", device) => {
            let (name, alias) = allowed_device(device)?;
            if let AllowedDevices::Named(named) = &mut allowed.devices {
                named.insert(alias.unwrap_or_else(|| name.clone()), name);
            }
        }
        _ => {
            let known = ["network.host", "security.insecure", "device", SECRET_EXPORT];
            return Err(ValueError::unknown("entitlement", text, &known));
        }
    }
    Ok(())
}

/// Parses `NAME[,alias=NAME]`.
fn allowed_device(text: &str) -> Result<(String, Option<String>), ValueError> {
    let mut fields = csv(text)?.into_iter();
    let name = fields.next().unwrap_or_default();
    let mut alias = None;
    for field in fields {
        match field.split_once('=') {
            Some(("alias", value)) if !value.is_empty() => alias = Some(value.to_owned()),
            _ => {
                let problem = format!("{field:?} is no setting of a device");
                return Err(ValueError::new(problem).hint("write device=NAME[,alias=NAME]"));
            }
        }
    }
    Ok((name, alias))
}

/// Returns capabilities by their kernel names, each once, sorted.
fn capabilities(option: &str, given: &[String]) -> Result<Vec<String>, Report> {
    let mut names = Vec::new();
    for text in given.iter().flat_map(|text| text.split(',')) {
        if text.eq_ignore_ascii_case("all") {
            names.extend(Capability::all().map(|capability| capability.to_string()));
            continue;
        }
        let capability: Capability = text.parse().map_err(|_| {
            let known: Vec<_> = Capability::all()
                .map(|capability| capability.to_string()[4..].to_owned())
                .collect();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let bare = text.strip_prefix("CAP_").unwrap_or(text);
            let error = ValueError::new(format!("unknown capability {text:?}"));
            match crate::report::did_you_mean(bare, known.iter().copied()) {
                Some(meant) => error.hint(format!("did you mean {meant}?")),
                None => error.hint("capabilities(7) has the list"),
            }
            .report(option, text)
        })?;
        names.push(capability.to_string());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Parses `SOURCE:TARGET[:OPTIONS]`, a file or directory of this machine.
fn volume(text: &str) -> Result<Volume, ValueError> {
    const KNOWN: [&str; 3] = ["ro", "rw", "O"];
    let shape = "write SOURCE:TARGET[:ro|rw|O]";
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(ValueError::new("not a source and a target").hint(shape)),
    };
    let mut access = VolumeAccess::ReadWrite;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" => access = VolumeAccess::ReadWrite,
            "ro" => access = VolumeAccess::ReadOnly,
            "O" => access = VolumeAccess::Discarded,
            // Steps carry no SELinux labels, and no mount of theirs reaches the host.
            "z" | "Z" | "private" | "rprivate" | "rbind" => {}
            "U" => {
                let error = ValueError::new("U would change the owner of files on this machine");
                return Err(error.hint("chown them yourself, or use O"));
            }
            _ => return Err(ValueError::unknown("mount option", option, &KNOWN)),
        }
    }
    let source = absolute(source)?;
    if !source.exists() {
        let problem = format!("{} does not exist", source.display());
        return Err(ValueError::new(problem));
    }
    Ok(Volume {
        source: source.to_string_lossy().into_owned(),
        target: mount_target(target)?.to_string_lossy().into_owned(),
        access,
    })
}

fn absolute(text: &str) -> Result<PathBuf, ValueError> {
    std::path::absolute(text).map_err(|error| ValueError::new(format!("{text:?}: {error}")))
}

/// Parses `PATH[:TARGET][:PERMISSIONS]`.
fn device(text: &str) -> Result<HostDevice, ValueError> {
    let is_permissions =
        |text: &str| !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter));
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, None),
        [source, last] if is_permissions(last) => (*source, *source, Some(*last)),
        [source, target] => (*source, *target, None),
        [source, target, last] if is_permissions(last) => (*source, *target, Some(*last)),
        _ => {
            let error = ValueError::new("not a device");
            return Err(error.hint("write PATH[:TARGET][:rwm] or VENDOR/CLASS=NAME"));
        }
    };
    if permissions.is_some_and(|given| !(given.contains('r') && given.contains('w'))) {
        let error = ValueError::new("a device cannot be given for reading or writing alone");
        return Err(error.hint("its file's own mode decides: change that, or write rwm"));
    }
    let source = absolute(source)?;
    if !is_device(&source) {
        return Err(ValueError::new(format!(
            "{} is no device",
            source.display()
        )));
    }
    Ok(HostDevice {
        source: source.to_string_lossy().into_owned(),
        target: mount_target(target)?.to_string_lossy().into_owned(),
    })
}

/// Whether `path` is a device, or a directory that may hold some.
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_char_device() || kind.is_block_device() || kind.is_dir()
    })
}

fn set_resource(to: &mut Resources, name: &str, value: &str) -> Result<(), ValueError> {
    match name {
        "memory" => to.memory = Some(size(value)?).filter(|bytes| *bytes > 0),
        "memory-swap" => to.memory_swap = Some(swap(value)?).filter(|bytes| *bytes != 0),
        "cpu-shares" => to.cpu_shares = positive(value)?,
        "cpu-period" => to.cpu_period = positive(value)?,
        "cpu-quota" => {
            let quota = value
                .parse()
                .map_err(|_| ValueError::new("not a number of microseconds"))?;
            to.cpu_quota = Some(quota).filter(|quota| *quota != 0);
        }
        "cpuset-cpus" => to.cpuset_cpus = cpuset(value)?,
        "cpuset-mems" => to.cpuset_mems = cpuset(value)?,
        _ => {
            let known = [
                "memory",
                "memory-swap",
                "cpu-shares",
                "cpu-period",
                "cpu-quota",
                "cpuset-cpus",
                "cpuset-mems",
            ];
            return Err(ValueError::unknown("resource", name, &known));
        }
    }
    Ok(())
}

/// Parses a number, of which 0 is no limit.
fn positive(text: &str) -> Result<Option<u64>, ValueError> {
    let number = text
        .parse::<u64>()
        .map_err(|_| ValueError::new("not a number, 0 or more"))?;
    Ok(Some(number).filter(|number| *number > 0))
}

fn swap(text: &str) -> Result<i64, ValueError> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(size(text)?).map_err(|_| ValueError::new("too large"))
}

/// Parses a list of numbers and ranges, such as `0-3,5`; an empty one is no limit.
fn cpuset(text: &str) -> Result<Option<String>, ValueError> {
    let number = |text: &str| text.parse::<u32>().ok();
    let valid = |part: &str| match part.split_once('-') {
        Some((low, high)) => number(low).is_some_and(|low| number(high) >= Some(low)),
        None => number(part).is_some(),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text.split(',').all(valid) {
        return Ok(Some(text.to_owned()));
    }
    Err(ValueError::new("not a list of numbers").hint("write it as 0-3 or 0,1"))
}

/// Swap is told together with memory.
fn check_swap(resources: &Resources) -> Result<(), Report> {
    let Some(swap) = resources.memory_swap else {
        return Ok(());
    };
    let Some(memory) = resources.memory else {
        return Err(Report::new("--memory-swap needs --memory")
            .hint("it is the limit of memory and swap together"));
    };
    if u64::try_from(swap).is_ok_and(|swap| swap < memory) {
        return Err(Report::new("--memory-swap is less than --memory")
            .hint("it is the limit of memory and swap together"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
