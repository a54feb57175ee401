//! Namespaces, and the two views of the mount table that a child works in.

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Where the root is attached in the skeleton.
pub(crate) const ROOT: &CStr = c"/root";
/// Where memory-backed files are kept in the skeleton.
pub(crate) const FILES: &CStr = c"/files";
/// Where trees are attached whose part is wanted.
pub(crate) const STAGE: &CStr = c"/stage";
/// An empty directory, shown in place of masked ones.
pub(crate) const EMPTY: &CStr = c"/empty";

/// The mount namespaces that children enter.
#[derive(Debug)]
pub(crate) struct Views {
    host: OwnedFd,
    skeleton: OwnedFd,
}

impl Views {
    /// Makes the skeleton: a mount namespace of one small tmpfs with a few empty directories.
    /// The caller must be single-threaded; afterwards it is in the host view.
    pub(crate) fn prepare() -> Result<Self> {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let links = rustix::fs::open("/proc/self/ns", directory, Mode::empty())?;
        let host = open_link(&links)?;
        crate::sys::unshare(UnshareFlags::NEWNS)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private)?;
        let tmpfs = crate::rootfs::new_fs("tmpfs", &[("mode", "755")])?;
        let mount = crate::rootfs::mount_fs(&tmpfs, crate::plan::inert())?;
        for name in [
            c"proc", c"sys", c"dev", c"root", c"files", c"stage", c"empty",
        ] {
            rustix::fs::mkdirat(&mount, name, Mode::from_raw_mode(0o755))?;
        }
        crate::rootfs::attach(&mount, CWD, c"/")?;
        enter_root(&mount)?;
        let skeleton = open_link(&links)?;
        let views = Self { host, skeleton };
        views.enter_host()?;
        Ok(views)
    }

    pub(crate) fn enter_host(&self) -> Result<()> {
        enter(&self.host)
    }

    /// Enters a copy of the skeleton.
    pub(crate) fn enter_skeleton(&self) -> Result<()> {
        enter(&self.skeleton)?;
        crate::sys::unshare(UnshareFlags::NEWNS)
    }
}

fn open_link(links: &OwnedFd) -> Result<OwnedFd> {
    rustix::fs::openat(
        links,
        "mnt",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Enters a mount namespace; root and working directory become its root.
pub(crate) fn enter(namespace: &OwnedFd) -> Result<()> {
    let mount = Some(LinkNameSpaceType::Mount);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), mount)
}

/// Makes `mount`, which must be attached, the root, and drops everything else from view.
pub(crate) fn enter_root(mount: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(mount)?;
    // With the same directory twice the old root ends up below the new one, as the working
    // directory: no mount point for it is needed inside the new root.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Enters the namespace that a file of `/proc/PID/ns` stands for.
pub(crate) fn join(path: &CStr) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
}

/// Enters new namespaces of these kinds.
pub(crate) fn isolate(flags: UnshareFlags) -> Result<()> {
    match crate::sys::unshare(flags) {
        // A kernel without cgroup namespaces.
        Err(Errno::INVAL) => crate::sys::unshare(flags - UnshareFlags::NEWCGROUP),
        result => result,
    }
}

/// Enters the network namespace at a path of the host.
pub(crate) fn join_network(path: &CStr) -> Result<()> {
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let network = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), network)
}

/// Returns the number that this process has for the process that /proc calls `pid`: they differ
/// where it is in a PID namespace of its own.
pub fn own_number(pid: i32) -> Option<i32> {
    let numbers = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))?;
        let numbers = line.split_whitespace().map(|number| number.parse().ok());
        numbers.collect::<Option<Vec<i32>>>()
    };
    let depth = numbers("self")?.len();
    numbers(&pid.to_string())?
        .get(depth.checked_sub(1)?)
        .copied()
}
