//! The file systems that every process gets, and what is hidden in them.

use super::{Child, StepResult};
use crate::namespaces;
use crate::plan::{Scope, Standard, inert};
use crate::rootfs::{attach, attach_on, clone_tree, mount_fs, new_fs};
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Nodes of `/dev`: name, major, minor; all readable and writable by everyone.
const NODES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// The group that terminals belong to.
const TTY: u32 = 5;

/// File systems with a mount point of their own in `/dev`.
const DIRECTORIES: &[&str] = &["pts", "mqueue", "shm"];

impl Child<'_> {
    pub(super) fn make(&mut self, standard: Standard) -> StepResult {
        let mount = match standard {
            Standard::Proc => Some(proc_mount()?),
            Standard::Sys { writable } => Some(sys_mount(writable)?),
            Standard::Cgroup => self.groups.make()?,
            Standard::Dev { host_devices } => Some(self.dev_mount(host_devices)?),
            Standard::Pts => Some(pts_mount(self.ids.map_or(TTY, |ids| ids.group(TTY)))?),
            Standard::Mqueue => mqueue_mount()?,
            Standard::Shm { size } => {
                let size = size.to_string();
                Some(mount_fs(
                    &new_fs("tmpfs", &[("mode", "1777"), ("size", &size)])?,
                    inert(),
                )?)
            }
            Standard::Files => {
                let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
                Some(mount_fs(&new_fs("tmpfs", &[("mode", "755")])?, flags)?)
            }
        };
        self.standard.extend(mount.map(|mount| (standard, mount)));
        Ok(())
    }

    fn dev_mount(&mut self, host_devices: bool) -> StepResult<OwnedFd> {
        let fs = new_fs("tmpfs", &[("mode", "755"), ("size", "65536k")])?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        let dev = mount_fs(&fs, attributes)?;
        for name in DIRECTORIES {
            rustix::fs::mkdirat(&dev, *name, Mode::from_raw_mode(0o755))?;
        }
        for (name, major, minor) in NODES {
            self.device(&dev, name, (*major, *minor), 0o666)?;
        }
        for (name, target) in LINKS {
            rustix::fs::symlinkat(*target, &dev, *name)?;
        }
        if host_devices {
            copy_devices(Path::new("/dev"), dev.as_fd(), true)?;
        }
        Ok(dev)
    }

    /// Makes a node, or a file to bind the host's node on where nodes cannot be made.
    fn device(
        &mut self,
        dev: &OwnedFd,
        name: &str,
        (major, minor): (u32, u32),
        mode: u32,
    ) -> StepResult {
        let number = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(mode);
        match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, number) {
            Err(Errno::PERM) => {
                let host = rustix::path::Arg::into_c_str(format!("/dev/{name}"))?;
                let source = clone_tree(CWD, &host, false)?;
                rustix::fs::mknodat(dev, name, FileType::RegularFile, mode, 0)?;
                self.device_binds.push((name.to_owned(), source));
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Attaches what was made, in the skeleton, and keeps a handle of this mount namespace.
    pub(super) fn place(&mut self) -> StepResult {
        for (standard, mount) in &self.standard {
            let result = attach(mount, CWD, place_of(*standard));
            match (standard, result) {
                // A bound /sys may have its cgroups already, or none at all.
                (Standard::Cgroup, Err(Errno::NOENT | Errno::BUSY)) => {}
                (Standard::Cgroup, Ok(())) => self.groups.place(mount)?,
                (_, result) => result?,
            }
        }
        let dev = self.standard(|standard| matches!(standard, Standard::Dev { .. }))?;
        for (name, node) in &self.device_binds {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            attach_on(
                node,
                rustix::fs::openat(dev, name.as_str(), flags, Mode::empty())?,
            )?;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        self.own_view = Some(rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())?);
        Ok(())
    }

    /// Returns what `path` leads to, or `None`; links are followed inside the scope's root.
    fn confined(&self, path: &CStr, scope: Scope) -> StepResult<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found = match scope {
            Scope::Standard => rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve),
            Scope::Root => {
                let root = self.root_mount()?;
                rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
            }
        };
        match found {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Hides a directory behind an empty one and a file behind `/dev/null`.
    pub(super) fn mask(&self, path: &CStr, scope: Scope) -> StepResult {
        let Some(target) = self.confined(path, scope)? else {
            return Ok(());
        };
        let stat = rustix::fs::fstat(&target)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let empty = clone_tree(CWD, namespaces::EMPTY, false)?;
            sys::mount_setattr(empty.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
            return Ok(attach_on(&empty, &target)?);
        }
        let dev = self.standard(|standard| matches!(standard, Standard::Dev { .. }))?;
        Ok(attach_on(&clone_tree(dev, c"null", false)?, &target)?)
    }

    pub(super) fn make_read_only(&self, path: &CStr, scope: Scope) -> StepResult {
        let Some(target) = self.confined(path, scope)? else {
            return Ok(());
        };
        let copy = clone_tree(&target, c"", true)?;
        sys::mount_setattr(copy.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
        Ok(attach_on(&copy, &target)?)
    }
}

fn place_of(standard: Standard) -> &'static CStr {
    match standard {
        Standard::Proc => c"/proc",
        Standard::Sys { .. } => c"/sys",
        Standard::Cgroup => c"/sys/fs/cgroup",
        Standard::Dev { .. } => c"/dev",
        Standard::Pts => c"/dev/pts",
        Standard::Mqueue => c"/dev/mqueue",
        Standard::Shm { .. } => c"/dev/shm",
        Standard::Files => namespaces::FILES,
    }
}

/// In a user namespace the kernel refuses a new proc when the caller's own is partly covered,
/// as in a container: then that one is shown.
fn proc_mount() -> StepResult<OwnedFd> {
    match new_fs("proc", &[]).and_then(|fs| mount_fs(&fs, inert())) {
        Err(Errno::PERM) => Ok(clone_tree(CWD, c"/proc", true)?),
        result => Ok(result?),
    }
}

/// A new sysfs shows the network namespace it was made in, and needs to own it.
fn sys_mount(writable: bool) -> StepResult<OwnedFd> {
    let read_only = if writable {
        MountAttrFlags::empty()
    } else {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    };
    match new_fs("sysfs", &[]).and_then(|fs| mount_fs(&fs, inert() | read_only)) {
        Err(Errno::PERM) => {
            let host = clone_tree(CWD, c"/sys", true)?;
            sys::mount_setattr(host.as_fd(), read_only, true)?;
            Ok(host)
        }
        result => Ok(result?),
    }
}

fn pts_mount(tty: u32) -> StepResult<OwnedFd> {
    let tty = tty.to_string();
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", &tty),
    ];
    let fs = match new_fs("devpts", &options) {
        // Group tty is not mapped in this user namespace.
        Err(Errno::INVAL) => new_fs("devpts", &options[..3])?,
        result => result?,
    };
    Ok(mount_fs(&fs, attributes)?)
}

fn mqueue_mount() -> StepResult<Option<OwnedFd>> {
    match new_fs("mqueue", &[]).and_then(|fs| mount_fs(&fs, inert())) {
        // A kernel without message queues.
        Err(Errno::NODEV) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Copies the nodes of the host's `/dev` that are not there yet.
fn copy_devices(from: &Path, to: BorrowedFd<'_>, top: bool) -> StepResult {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(stat) = rustix::fs::lstat(entry.path()) else {
            continue;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match kind {
            FileType::CharacterDevice | FileType::BlockDevice => {
                match rustix::fs::mknodat(to, &name, kind, mode, stat.st_rdev) {
                    // It is one of the standard nodes, or nodes cannot be made here.
                    Err(Errno::EXIST | Errno::PERM) => {}
                    result => {
                        result?;
                        let owner = rustix::fs::Uid::from_raw(stat.st_uid);
                        let group = rustix::fs::Gid::from_raw(stat.st_gid);
                        let flags = AtFlags::SYMLINK_NOFOLLOW;
                        rustix::fs::chownat(to, &name, Some(owner), Some(group), flags)?;
                    }
                }
            }
            FileType::Directory if !(top && DIRECTORIES.iter().any(|own| name == *own)) => {
                match rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o755)) {
                    Err(Errno::EXIST) => {}
                    result => result?,
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(to, &name, flags, Mode::empty())?;
                copy_devices(&entry.path(), below.as_fd(), false)?;
            }
            _ => {}
        }
    }
    Ok(())
}
