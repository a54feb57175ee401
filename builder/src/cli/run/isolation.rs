//! What confines a container: capabilities, system calls, namespaces, devices.

use std::path::PathBuf;

use clap::Args;
use cooper_runner::{CapSet, Capability, DeviceRule, NotADeviceRule, Profile};

use crate::cli::Settings;
use crate::cli::value::{ValueError, each, pair};
use crate::container::{Device, Isolation, NamespaceMode, SeccompMode, UserMode, userns};
use crate::report::Report;

/// Options of the confinement.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Isolation")]
pub struct IsolationArgs {
    /// Mount the root file system read-only
    #[arg(long)]
    pub read_only: bool,

    /// Confine nothing
    #[arg(long)]
    pub privileged: bool,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,

    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,

    /// seccomp=FILE or unconfined, apparmor=PROFILE or unconfined, no-new-privileges,
    /// systempaths=unconfined
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,

    /// Processes to see: those of the host, or of container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,

    /// Shared memory and queues to see: those of the host, or of container:NAME, which was made
    /// with shareable; none for no /dev/shm
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,

    /// Host name to see: that of the host
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,

    /// User namespace: host, or auto for ids that no other container has
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,

    /// Set a kernel setting of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,

    /// Let the container use a device of the host, by path, or by name (CDI) as vendor.com/class=name
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    pub device: Vec<String>,

    /// Let the container use GPUs: all, how many, or device=ID,ID
    #[arg(long, value_name = "GPUS")]
    pub gpus: Vec<String>,

    /// Let the container use devices for which it has nodes, such as 'c 42:* rmw'
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,

    /// Taken for docker's sake: default is what containers of Linux have
    #[arg(long, value_name = "KIND")]
    pub isolation: Option<String>,

    /// Taken for docker's sake: runc, in whose place cooper makes containers itself
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,

    /// Control groups to see: private, its own as the root, or those of the host
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
}

impl IsolationArgs {
    /// Returns what confines the container.
    pub fn resolve(&self, settings: &Settings) -> Result<Isolation, Report> {
        let security = self.security()?;
        self.check_kind()?;
        let sysctls = each("--sysctl", &self.sysctl, sysctl)?.into_iter();
        Ok(Isolation {
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            capabilities: self.capabilities()?,
            seccomp: security.seccomp,
            apparmor: security.apparmor,
            no_new_privileges: security.no_new_privileges,
            open_paths: security.open_paths,
            security_opt: self.security_opt.clone(),
            read_only: self.read_only,
            pid: namespace("--pid", self.pid.as_deref())?,
            ipc: match self.ipc.as_deref() {
                Some("none" | "shareable") => NamespaceMode::Private,
                mode => namespace("--ipc", mode)?,
            },
            no_shm: self.ipc.as_deref() == Some("none"),
            shareable_ipc: self.ipc.as_deref() == Some("shareable"),
            uts: namespace("--uts", self.uts.as_deref())?,
            users: self.users(settings)?,
            sysctls: sysctls.collect(),
            devices: each("--device", &self.paths(), device)?,
            device_requests: self.device_requests()?,
            device_rules: self.device_rules(settings)?,
            host_cgroups: match self.cgroupns.as_deref() {
                None | Some("" | "private") => false,
                Some("host") => true,
                Some(mode) => {
                    let error = ValueError::unknown("mode", mode, &["host", "private"]);
                    return Err(error.report("--cgroupns", mode));
                }
            },
        })
    }

    /// Refuses containers of another kind than there is.
    fn check_kind(&self) -> Result<(), Report> {
        match self.isolation.as_deref() {
            None | Some("" | "default") => {}
            Some(kind) => {
                let error = ValueError::new("linux only supports 'default'");
                return Err(error.report("--isolation", kind));
            }
        }
        match self.runtime.as_deref() {
            None | Some("" | "runc" | "io.containerd.runc.v2") => Ok(()),
            Some(name) => Err(ValueError::new("unknown runtime")
                .hint("leave it out: cooper makes containers itself")
                .report("--runtime", name)),
        }
    }

    fn device_rules(&self, settings: &Settings) -> Result<Vec<DeviceRule>, Report> {
        if !self.device_cgroup_rule.is_empty() && !settings.environment.is_root {
            return Err(Report::new(
                "--device-cgroup-rule takes root: a user's containers have no nodes of devices",
            )
            .hint("--device gives the container one that this user may use"));
        }
        each("--device-cgroup-rule", &self.device_cgroup_rule, |rule| {
            rule.parse().map_err(|error: NotADeviceRule| {
                ValueError::new(error.to_string())
                    .hint("write a kind (a, b or c), MAJOR:MINOR and some of rwm: 'c 42:* rmw'")
            })
        })
    }

    /// Returns whose ids it has. A user who is not root has made a user namespace already, with
    /// all the ids that are that user's.
    fn users(&self, settings: &Settings) -> Result<UserMode, Report> {
        let is_root = settings.environment.is_root;
        let lent = settings.file.run.userns_remap.as_deref();
        match (self.userns.as_deref().unwrap_or_default(), lent) {
            ("auto", _) if !is_root => Err(Report::new(
                "--userns=auto takes root: this user's containers share the user's namespace",
            )
            .hint("leave it out; what is root there is this user outside")),
            ("auto", _) => Ok(UserMode::Auto),
            ("", Some(user)) if is_root && !user.is_empty() => {
                let ids = userns::of_user(user).map_err(|error| {
                    Report::from_error(&error)
                        .context(format!("cannot use userns-remap = {user:?}"))
                        .hint(error.hint())
                })?;
                Ok(UserMode::Ids(ids))
            }
            ("" | "host", _) => Ok(UserMode::Host),
            (mode, _) => {
                Err(ValueError::unknown("mode", mode, &["auto", "host"]).report("--userns", mode))
            }
        }
    }

    /// Returns the capabilities: drops come first, so that `--cap-drop ALL --cap-add X` is X.
    fn capabilities(&self) -> Result<CapSet, Report> {
        let parse = |text: &str| match text.to_ascii_uppercase().as_str() {
            "ALL" | "CAP_ALL" => Ok(None),
            _ => text
                .parse::<Capability>()
                .map(Some)
                .map_err(|error| ValueError::new(error.to_string())),
        };
        let mut set = CapSet::docker();
        let added = each("--cap-add", &self.cap_add, parse)?;
        let dropped = each("--cap-drop", &self.cap_drop, parse)?;
        if added.contains(&None) {
            set = CapSet::all();
        }
        if dropped.contains(&None) {
            set = CapSet::empty();
        }
        set = dropped.into_iter().flatten().fold(set, CapSet::without);
        Ok(added.into_iter().flatten().fold(set, CapSet::with))
    }

    fn security(&self) -> Result<Security, Report> {
        let mut security = Security::default();
        for option in &self.security_opt {
            let written = option.replacen(':', "=", 1);
            let (name, value) = written.split_once('=').unwrap_or((&written, ""));
            match (name, value) {
                ("seccomp", "unconfined") => security.seccomp = SeccompMode::Unconfined,
                ("seccomp", "default" | "builtin") => security.seccomp = SeccompMode::Default,
                ("seccomp", path) if !path.is_empty() => {
                    security.seccomp = SeccompMode::Profile(Box::new(profile(path)?));
                }
                ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
                ("no-new-privileges", "false") => security.no_new_privileges = false,
                ("systempaths", "unconfined") => security.open_paths = true,
                ("apparmor", name) if !name.is_empty() => security.apparmor = Some(name.to_owned()),
                // Labels are SELinux', of which nothing is done here.
                ("label", _) => {}
                _ => {
                    let known = [
                        "seccomp=FILE",
                        "seccomp=unconfined",
                        "apparmor=PROFILE",
                        "apparmor=unconfined",
                        "no-new-privileges",
                        "systempaths=unconfined",
                    ];
                    let error = ValueError::unknown("option", option, &known);
                    return Err(error.report("--security-opt", option));
                }
            }
        }
        Ok(security)
    }
}

/// What `--security-opt` says.
#[derive(Default)]
struct Security {
    seccomp: SeccompMode,
    apparmor: Option<String>,
    no_new_privileges: bool,
    open_paths: bool,
}

/// Reads a profile of system calls.
fn profile(path: &str) -> Result<Profile, Report> {
    let wrong = |error: &dyn std::error::Error| {
        Report::from_error(error).context(format!("cannot use the seccomp profile {path}"))
    };
    let text = std::fs::read(path).map_err(|error| wrong(&error))?;
    let profile: Profile = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    profile.check().map_err(|error| wrong(&error))?;
    Ok(profile)
}

fn namespace(option: &str, mode: Option<&str>) -> Result<NamespaceMode, Report> {
    match mode {
        None | Some("" | "private") => Ok(NamespaceMode::Private),
        Some("host") => Ok(NamespaceMode::Host),
        Some(other) => match other.strip_prefix("container:") {
            Some(name) if !name.is_empty() => Ok(NamespaceMode::Container(name.to_owned())),
            _ => {
                let known = ["private", "host", "container:NAME"];
                Err(ValueError::unknown("mode", other, &known).report(option, other))
            }
        },
    }
}

/// Parses a kernel setting. Only those that a namespace has for itself can be set: any other is
/// the whole machine's.
fn sysctl(text: &str) -> Result<(String, String), ValueError> {
    let (name, value) = pair(text)?;
    let value = value.ok_or_else(|| ValueError::new("no value").hint("write NAME=VALUE"))?;
    let plain = name
        .split('.')
        .all(|part| !part.is_empty() && !part.contains('/'));
    let own = OWN_SETTINGS.contains(&name.as_str())
        || name.starts_with("net.")
        || name.starts_with("fs.mqueue.");
    if !plain || !own {
        return Err(
            ValueError::new("not a setting of a container's own namespaces")
                .hint("those are net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*"),
        );
    }
    Ok((name, value))
}

const OWN_SETTINGS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Parses `HOST[:CONTAINER[:rwm]]`; a second part of those letters alone is the permissions.
fn device(text: &str) -> Result<Device, ValueError> {
    let is_permissions =
        |part: &str| !part.is_empty() && part.chars().all(|char| "rwm".contains(char));
    let parts: Vec<_> = text.split(':').collect();
    let (host, container, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, permissions] if is_permissions(permissions) => (*host, *host, *permissions),
        [host, container] => (*host, *container, "rwm"),
        [host, container, permissions] if is_permissions(permissions) => {
            (*host, *container, *permissions)
        }
        _ => return Err(ValueError::new("not a device").hint("write HOST[:CONTAINER[:rwm]]")),
    };
    if !host.starts_with('/') || !container.starts_with('/') {
        return Err(ValueError::new("a device's path is absolute"));
    }
    Ok(Device {
        host: PathBuf::from(host),
        container: PathBuf::from(container),
        permissions: permissions.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_namespaces_can_be_set() {
        let found = |text: &str| sysctl(text).is_ok();
        assert!(found("net.ipv4.ip_forward=1") && found("kernel.shmmax=1"));
        assert!(!found("kernel.hostname=x") && !found("net.ipv4.x") && !found("vm.swappiness=1"));
        assert!(!found("net./../../kernel/hostname=x") && !found("net..x=1"));
    }

    #[test]
    fn devices_have_two_paths_and_permissions() {
        let found = |text: &str| {
            device(text).ok().map(|device| {
                let paths = [device.host, device.container].map(|path| path.display().to_string());
                format!("{} {} {}", paths[0], paths[1], device.permissions)
            })
        };
        for (text, expected) in [
            ("/dev/a", Some("/dev/a /dev/a rwm")),
            ("/dev/a:/dev/b", Some("/dev/a /dev/b rwm")),
            ("/dev/a:rw", Some("/dev/a /dev/a rw")),
            ("/dev/a:/dev/b:r", Some("/dev/a /dev/b r")),
            ("/dev/a:/dev/b:x", None),
            ("a", None),
        ] {
            assert_eq!(found(text).as_deref(), expected, "{text}");
        }
    }
}
