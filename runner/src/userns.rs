//! User namespaces of containers: what is root inside is nobody on the host.
//!
//! A container's files are kept with the ids that they have inside, whatever those are outside:
//! mounts translate between the two (idmapped mounts, Linux 5.19 and a file system that knows
//! them). The same layers and volumes so serve every container, and nothing is ever copied or
//! given to another owner.
//!
//! The child that becomes the container enters its user namespace last of all. Until then it is
//! the host's root, but what it makes belongs to the container's: see [`Step::Assume`]. Mount,
//! IPC and UTS namespaces stay the host's root's, so that no capability inside reaches them; the
//! network namespace is the container's, or it could bind no port below 1024.
//!
//! [`Step::Assume`]: crate::plan::Step::Assume

use crate::executor::pid_of;
use crate::sys;
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Ids of the host that are a container's 0 and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The user id that is 0 inside.
    pub uid: u32,
    /// The group id that is 0 inside.
    pub gid: u32,
    /// How many there are of each.
    pub count: u32,
}

impl IdRange {
    /// Returns the host's user id for one inside.
    pub(crate) fn user(self, inside: u32) -> u32 {
        self.uid.saturating_add(inside)
    }

    /// Returns the host's group id for one inside.
    pub(crate) fn group(self, inside: u32) -> u32 {
        self.gid.saturating_add(inside)
    }

    /// Tells whether some id is in both.
    pub fn overlaps(self, other: Self) -> bool {
        let meet =
            |a: u32, b: u32| a < b.saturating_add(other.count) && b < a.saturating_add(self.count);
        meet(self.uid, other.uid) || meet(self.gid, other.gid)
    }
}

/// How a container's ids are translated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// The ids.
    pub ids: IdRange,
    /// The directory below which files are kept with the ids of the inside: those of the root
    /// file system are, and binds whose source is there. What is elsewhere shows its own owners,
    /// who are nobody's inside unless they are in the range.
    pub store: PathBuf,
}

/// A user namespace, and a network namespace that belongs to it.
#[derive(Debug)]
pub struct UserNamespace {
    /// The user namespace.
    pub user: OwnedFd,
    /// The network namespace; even its loopback interface is down.
    pub network: OwnedFd,
}

impl UserNamespace {
    /// Makes both. Needs root.
    pub fn create(ids: IdRange) -> io::Result<Self> {
        // A namespace without a process takes a handle, which takes a process.
        let holder = sys::fork_holder()?;
        let made = Self::of(&holder.pidfd, ids);
        let _ = sys::pidfd_signal(holder.pidfd.as_fd(), libc::SIGKILL);
        let _ = rustix::process::waitid(WaitId::PidFd(holder.pidfd.as_fd()), WaitIdOptions::EXITED);
        made
    }

    fn of(holder: &OwnedFd, ids: IdRange) -> io::Result<Self> {
        let pid = pid_of(holder).ok_or(io::ErrorKind::NotFound)?;
        let dir = Path::new("/proc").join(pid.to_string());
        for (file, first) in [("uid_map", ids.uid), ("gid_map", ids.gid)] {
            std::fs::write(dir.join(file), format!("0 {first} {}", ids.count))?;
        }
        Ok(Self {
            user: File::open(dir.join("ns/user"))?.into(),
            network: File::open(dir.join("ns/net"))?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_by_users_or_groups() {
        let range = |uid, gid| IdRange {
            uid,
            gid,
            count: 10,
        };
        assert!(range(100, 100).overlaps(range(109, 500)));
        assert!(range(100, 500).overlaps(range(300, 491)));
        assert!(!range(100, 100).overlaps(range(110, 90)));
        assert_eq!(
            (range(100, 200).user(5), range(100, 200).group(7)),
            (105, 207)
        );
    }
}
