//! The AppArmor profile of a container.
//!
//! Where the kernel has AppArmor a container is confined by docker's profile if that is loaded,
//! else by one of our own, which the host's `apparmor_parser` loads when it is first needed: the
//! kernel takes compiled policies only. Where it has not, nothing is asked for, and a profile that
//! is named is refused: what was to confine the container would not.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use thiserror::Error;

/// The profile that docker loads for its containers.
const DOCKERS: &str = "docker-default";

/// Ours.
const OWN: &str = "cooper-default";

/// What [`OWN`] allows: everything but what changes the machine, whatever capabilities and
/// system calls a container is given. Signals pass within the profile, and in from outside.
const POLICY: &str = "\
profile cooper-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send,receive) peer=cooper-default,
  ptrace (trace,read,tracedby,readby) peer=cooper-default,
  deny mount,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /proc/mem rwklx,
  deny /proc/kmem rwklx,
  deny /proc/sys/{abi,crypto,debug,dev,fs,user,vm}/** wklx,
  deny /proc/sys/kernel/{[^ms],[ms][^eghs]}** wklx,
  deny /proc/acpi/** wklx,
  deny /proc/irq/** wklx,
  deny /proc/bus/** wklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
";

/// Why a profile cannot be had.
#[derive(Debug, Error)]
pub(super) enum ProfileError {
    /// The kernel confines nothing.
    #[error("AppArmor profile {name} was asked for, and this kernel has no AppArmor enabled")]
    Absent {
        /// The profile.
        name: String,
    },
    /// The kernel does not know it.
    #[error("no AppArmor profile {name} is loaded")]
    NotLoaded {
        /// The profile.
        name: String,
    },
    /// The parser did not load ours.
    #[error("apparmor_parser cannot load profile {OWN}: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
}

impl ProfileError {
    /// Returns what to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Absent { .. } => {
                "boot with apparmor=1 security=apparmor, or leave --security-opt apparmor out"
            }
            Self::NotLoaded { .. } => {
                "`apparmor_parser -r FILE` loads profiles, and `aa-status` lists those that are"
            }
            Self::Refused { .. } => "--security-opt apparmor=unconfined goes without",
        }
    }
}

/// Returns the profile to ask for, if any. `asked` is what `--security-opt apparmor` names.
pub(super) fn profile(
    asked: Option<&str>,
    privileged: bool,
) -> Result<Option<String>, ProfileError> {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let enabled = enabled.is_ok_and(|enabled| enabled.trim() == "Y");
    match asked {
        Some("unconfined") => Ok(None),
        Some(name) if !enabled => Err(ProfileError::Absent {
            name: name.to_owned(),
        }),
        // Without the file nobody can tell; the kernel will.
        Some(name) if loaded().is_some_and(|all| !all.iter().any(|own| own == name)) => {
            Err(ProfileError::NotLoaded {
                name: name.to_owned(),
            })
        }
        Some(name) => Ok(Some(name.to_owned())),
        None if privileged || !enabled => Ok(None),
        None => default(),
    }
}

/// Returns the profile of containers for which none is named; none where none can be loaded.
fn default() -> Result<Option<String>, ProfileError> {
    let Some(loaded) = loaded() else {
        return Ok(None);
    };
    let known = |name: &&str| loaded.iter().any(|own| own == name);
    if let Some(name) = [DOCKERS, OWN].into_iter().find(known) {
        return Ok(Some(name.to_owned()));
    }
    match load() {
        Ok(said) if said.is_empty() => Ok(Some(OWN.to_owned())),
        Ok(said) => Err(ProfileError::Refused { said }),
        // As docker does on a machine without the parser.
        Err(_) => Ok(None),
    }
}

/// Returns the names of the profiles that the kernel knows; `None` if this process may not know.
fn loaded() -> Option<Vec<String>> {
    let text = fs::read_to_string("/sys/kernel/security/apparmor/profiles").ok()?;
    let names = text.lines().filter_map(|line| line.rsplit_once(" ("));
    Some(names.map(|(name, _)| name.to_owned()).collect())
}

/// Loads our profile and returns what the parser complained of; an error if there is no parser.
fn load() -> io::Result<String> {
    let mut parser = Command::new("apparmor_parser")
        // In the place of one of an earlier version, and without a copy in the parser's cache.
        .args(["--replace", "--skip-cache", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = parser.stdin.take() {
        // A parser that does not read says why.
        let _ = input.write_all(POLICY.as_bytes());
    }
    let ended = parser.wait_with_output()?;
    if ended.status.success() {
        return Ok(String::new());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Ok(if said.is_empty() {
        ended.status.to_string()
    } else {
        said
    })
}
