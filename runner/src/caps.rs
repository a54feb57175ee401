//! Capabilities by name and as the bit sets that the kernel takes.

use crate::channel::Fault;
use crate::init::Identity;
use crate::sys;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! capabilities {
    ($($constant:ident = $number:literal, $name:literal;)*) => {
        impl Capability {
            $(#[doc = concat!("`CAP_", $name, "`")] pub const $constant: Self = Self($number);)*
        }

        /// Names without their prefix, indexed by number.
        const NAMES: &[&str] = &[$($name),*];
    };
}

/// One Linux capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

capabilities! {
    CHOWN = 0, "CHOWN";
    DAC_OVERRIDE = 1, "DAC_OVERRIDE";
    DAC_READ_SEARCH = 2, "DAC_READ_SEARCH";
    FOWNER = 3, "FOWNER";
    FSETID = 4, "FSETID";
    KILL = 5, "KILL";
    SETGID = 6, "SETGID";
    SETUID = 7, "SETUID";
    SETPCAP = 8, "SETPCAP";
    LINUX_IMMUTABLE = 9, "LINUX_IMMUTABLE";
    NET_BIND_SERVICE = 10, "NET_BIND_SERVICE";
    NET_BROADCAST = 11, "NET_BROADCAST";
    NET_ADMIN = 12, "NET_ADMIN";
    NET_RAW = 13, "NET_RAW";
    IPC_LOCK = 14, "IPC_LOCK";
    IPC_OWNER = 15, "IPC_OWNER";
    SYS_MODULE = 16, "SYS_MODULE";
    SYS_RAWIO = 17, "SYS_RAWIO";
    SYS_CHROOT = 18, "SYS_CHROOT";
    SYS_PTRACE = 19, "SYS_PTRACE";
    SYS_PACCT = 20, "SYS_PACCT";
    SYS_ADMIN = 21, "SYS_ADMIN";
    SYS_BOOT = 22, "SYS_BOOT";
    SYS_NICE = 23, "SYS_NICE";
    SYS_RESOURCE = 24, "SYS_RESOURCE";
    SYS_TIME = 25, "SYS_TIME";
    SYS_TTY_CONFIG = 26, "SYS_TTY_CONFIG";
    MKNOD = 27, "MKNOD";
    LEASE = 28, "LEASE";
    AUDIT_WRITE = 29, "AUDIT_WRITE";
    AUDIT_CONTROL = 30, "AUDIT_CONTROL";
    SETFCAP = 31, "SETFCAP";
    MAC_OVERRIDE = 32, "MAC_OVERRIDE";
    MAC_ADMIN = 33, "MAC_ADMIN";
    SYSLOG = 34, "SYSLOG";
    WAKE_ALARM = 35, "WAKE_ALARM";
    BLOCK_SUSPEND = 36, "BLOCK_SUSPEND";
    AUDIT_READ = 37, "AUDIT_READ";
    PERFMON = 38, "PERFMON";
    BPF = 39, "BPF";
    CHECKPOINT_RESTORE = 40, "CHECKPOINT_RESTORE";
}

impl Capability {
    /// Returns every capability this crate knows, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMES.len()).map(|number| Self(number as u8))
    }

    /// Returns the kernel's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", NAMES[usize::from(self.0)])
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    /// Reads a name with or without `CAP_`, in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == bare);
        number
            .map(|number| Self(number as u8))
            .ok_or_else(|| UnknownCapability {
                name: name.to_owned(),
            })
    }
}

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {name:?}")]
pub struct UnknownCapability {
    /// The name as written.
    pub name: String,
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CapSet(u64);

impl Default for CapSet {
    fn default() -> Self {
        Self::docker()
    }
}

impl CapSet {
    /// Returns docker's default fourteen: `00000000a80425fb`.
    pub fn docker() -> Self {
        [
            Capability::CHOWN,
            Capability::DAC_OVERRIDE,
            Capability::FSETID,
            Capability::FOWNER,
            Capability::MKNOD,
            Capability::NET_RAW,
            Capability::SETGID,
            Capability::SETUID,
            Capability::SETFCAP,
            Capability::SETPCAP,
            Capability::NET_BIND_SERVICE,
            Capability::SYS_CHROOT,
            Capability::KILL,
            Capability::AUDIT_WRITE,
        ]
        .into_iter()
        .collect()
    }

    /// Returns the empty set.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Returns every capability this crate knows.
    pub fn all() -> Self {
        Capability::all().collect()
    }

    /// Returns the set with `capability` in it.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// Returns the set without `capability`.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability.0))
    }

    /// Tells whether `capability` is in the set.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Returns the mask as `/proc/self/status` shows it.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<Capability> for CapSet {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::empty(), Self::with)
    }
}

/// Turns this process, which is root, into the user with exactly these capabilities.
///
/// Uid 0 keeps them permitted and effective; any other user has them only in its bounding set,
/// as after executing a program. Nothing is inheritable or ambient.
pub(crate) fn become_user(identity: &Identity, capabilities: u64) -> Result<(), Fault> {
    // Beyond the last one that the kernel knows, dropping fails.
    const MOST: u8 = 64;
    for number in (0..MOST).filter(|number| capabilities & 1 << number == 0) {
        match sys::drop_bounding(number) {
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    set_groups(&identity.groups)?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|errno| unmapped(errno, Fault::UnmappedGroup(identity.gid)))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|errno| unmapped(errno, Fault::UnmappedUser(identity.uid)))?;
    if !uid.is_root() {
        return Ok(());
    }
    let held = rustix::thread::capabilities(None)?.permitted;
    let kept = held & CapabilitySet::from_bits_retain(capabilities);
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable,
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Sets the supplementary groups. A namespace that maps only the caller has none, whatever the
/// image's databases say: there the kernel denies the call, with every capability held.
fn set_groups(ids: &[u32]) -> Result<(), Fault> {
    let groups: Vec<Gid> = ids.iter().map(|id| Gid::from_raw(*id)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Err(Errno::PERM) if groups_are_fixed() => Ok(()),
        Err(Errno::INVAL) => {
            let maps = std::fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
            let missing = ids.iter().find(|id| !is_mapped(&maps, **id));
            Err(missing.map_or(Fault::Errno(libc::EINVAL), |id| Fault::UnmappedGroup(*id)))
        }
        result => Ok(result?),
    }
}

fn groups_are_fixed() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|answer| answer.trim() == "deny")
}

/// Tells whether a line of a `uid_map` or `gid_map` (first inside, first outside, count)
/// covers `id`.
fn is_mapped(maps: &str, id: u32) -> bool {
    maps.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first + count).contains(&u64::from(id))
    })
}

/// The kernel calls an id invalid that its namespace does not map.
fn unmapped(errno: Errno, fault: Fault) -> Fault {
    if errno == Errno::INVAL {
        fault
    } else {
        errno.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_set_has_the_mask_that_status_shows() {
        assert_eq!(CapSet::docker().bits(), 0xa804_25fb);
    }

    #[test]
    fn maps_tell_which_ids_exist() {
        let single = "         0      65534          1\n";
        let range = "0 1000 1\n1 200000 65536\n";
        for (maps, id, expected) in [
            (single, 0, true),
            (single, 1, false),
            (range, 65_536, true),
            (range, 65_537, false),
            ("0 0 4294967295\n", u32::MAX, false),
            ("", 0, false),
        ] {
            assert_eq!(is_mapped(maps, id), expected, "{id} in {maps:?}");
        }
    }

    #[test]
    fn names_are_read_with_and_without_prefix_in_any_case() {
        for name in ["NET_ADMIN", "cap_net_admin", "CAP_NET_ADMIN", "net_admin"] {
            assert_eq!(name.parse(), Ok(Capability::NET_ADMIN), "{name}");
        }
        assert!("NET".parse::<Capability>().is_err());
        assert_eq!(Capability::NET_ADMIN.to_string(), "CAP_NET_ADMIN");
    }

    #[test]
    fn numbers_match_their_position() {
        assert_eq!(
            Capability::CHECKPOINT_RESTORE.to_string(),
            "CAP_CHECKPOINT_RESTORE"
        );
        assert_eq!(CapSet::all().bits(), (1 << 41) - 1);
        assert!(
            !CapSet::docker()
                .without(Capability::CHOWN)
                .contains(Capability::CHOWN)
        );
    }
}
