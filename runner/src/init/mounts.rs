//! The root, the mounts that were asked for, and attaching them.

use super::target::{Kind, Maker, open_inside, settle};
use super::{Child, StepResult};
use crate::channel::{Fault, FromChild};
use crate::namespaces;
use crate::plan::{Source, Stack, Standard};
use crate::rootfs::{self, attach, attach_on, clone_tree, mount_fs, new_fs};
use crate::spec::{Denied, Propagation, TmpfsOptions};
use crate::sys;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Files of proc that only tell of the machine, and that may tell of something else.
const MAY_BE_COVERED: [&CStr; 9] = [
    c"proc/cpuinfo",
    c"proc/diskstats",
    c"proc/loadavg",
    c"proc/meminfo",
    c"proc/slabinfo",
    c"proc/stat",
    c"proc/swaps",
    c"proc/uptime",
    c"proc/net/dev",
];

/// A mount that waits to be attached.
pub(super) struct Prepared {
    mount: OwnedFd,
    /// The part of it that is wanted.
    subpath: Option<CString>,
}

/// Permissions and owner of a memory-backed file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileStatus {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Child<'_> {
    pub(super) fn root_mount(&self) -> StepResult<BorrowedFd<'_>> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or(Fault::Errno(libc::ENOENT))
    }

    pub(super) fn mount_root(&mut self, stack: &Stack, store: Option<&CStr>) -> StepResult {
        self.root = Some(match store {
            None => rootfs::overlay(stack)?,
            Some(store) => self.mapped_overlay(stack, store)?,
        });
        if let Some((upper, _)) = &stack.upper {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.upper = Some(rustix::fs::open(upper, flags, Mode::empty())?);
        }
        Ok(())
    }

    /// Mounts an overlay of directories below `store` whose files have the ids of the inside. The
    /// kernel takes layers only from what is attached: where the process will never see it.
    fn mapped_overlay(&self, stack: &Stack, store: &CStr) -> StepResult<OwnedFd> {
        let tree = clone_tree(CWD, store, false)?;
        self.map(&tree)?;
        let stack = stack.moved(store, namespaces::STAGE)?;
        self.return_to_skeleton()?;
        attach(&tree, CWD, namespaces::STAGE)?;
        let overlay = rootfs::overlay(&stack);
        rustix::mount::unmount(namespaces::STAGE, UnmountFlags::DETACH)?;
        self.context.views.enter_host()?;
        Ok(overlay?)
    }

    /// Has a detached mount show ids of the inside as those of the host.
    fn map(&self, mount: &OwnedFd) -> StepResult {
        let user = self.context.user.as_ref();
        let user = user.ok_or(Fault::Errno(libc::ENOENT))?;
        match sys::map_mount(mount.as_fd(), user.as_fd()) {
            // Of an old kernel, and of a file system that does not know it.
            Err(Errno::INVAL | Errno::NOSYS) => Err(Fault::UnmappedMount),
            result => Ok(result?),
        }
    }

    pub(super) fn clone_root(&mut self, path: &CStr, mapped: bool) -> StepResult {
        let root = clone_tree(CWD, path, true)?;
        if mapped {
            self.map(&root)?;
        }
        self.root = Some(root);
        Ok(())
    }

    pub(super) fn prepare_source(&mut self, index: u32, source: &Source) -> StepResult {
        let prepared = match source {
            Source::Tree {
                path,
                subpath,
                readonly,
                recursive,
                propagation,
                mapped,
            } => {
                let mount = tree(path, subpath.as_deref(), *recursive)?;
                if *mapped {
                    self.map(&mount)?;
                }
                // A copy shares with its source what happens to it, unless told otherwise.
                sys::set_propagation(mount.as_fd(), propagation.flags(), *recursive)?;
                if *readonly {
                    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY;
                    sys::mount_setattr(mount.as_fd(), flags, *recursive)?;
                }
                Prepared {
                    mount,
                    subpath: None,
                }
            }
            Source::Overlay {
                stack,
                subpath,
                readonly,
            } => {
                let mount = overlay_source(stack)?;
                if *readonly {
                    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY;
                    sys::mount_setattr(mount.as_fd(), flags, false)?;
                }
                Prepared {
                    mount,
                    subpath: subpath.clone(),
                }
            }
            Source::Tmpfs {
                size,
                mode,
                options,
            } => self.tmpfs(*size, *mode, options)?,
            Source::Foreign { namespace, path } => Prepared {
                mount: self.foreign(namespace, path)?,
                subpath: None,
            },
        };
        self.sources.push((index, prepared));
        Ok(())
    }

    /// Copies a mount of another namespace, where its root is this process' for as long. Whoever
    /// lives there cannot have it be anything but what is mounted at that very place.
    fn foreign(&self, namespace: &CStr, path: &CStr) -> StepResult<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open(namespace, flags, Mode::empty())?;
        namespaces::enter(&namespace)?;
        let copy = mounted_at(path);
        self.context.views.enter_host()?;
        let copy = copy?;
        sys::set_propagation(copy.as_fd(), Propagation::Private.flags(), false)?;
        Ok(copy)
    }

    fn tmpfs(&self, size: Option<u64>, mode: u32, options: &TmpfsOptions) -> StepResult<Prepared> {
        let mut all = vec![("mode".to_owned(), format!("{mode:o}"))];
        all.extend(size.map(|size| ("size".to_owned(), size.to_string())));
        for (name, value) in &options.parameters {
            let outside = match (name.as_str(), self.ids, value.parse()) {
                ("uid", Some(ids), Ok(uid)) => ids.user(uid).to_string(),
                ("gid", Some(ids), Ok(gid)) => ids.group(gid).to_string(),
                _ => value.clone(),
            };
            all.push((name.clone(), outside));
        }
        let all: Vec<_> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let attributes = options.denied.iter().copied().map(attribute).collect();
        Ok(Prepared {
            mount: mount_fs(&new_fs("tmpfs", &all)?, attributes)?,
            subpath: None,
        })
    }

    pub(super) fn return_to_skeleton(&self) -> StepResult {
        let own = self.own_view.as_ref().ok_or(Fault::Errno(libc::ENOENT))?;
        Ok(namespaces::enter(own)?)
    }

    pub(super) fn attach_root(&self) -> StepResult {
        let root = self.root.as_ref().ok_or(Fault::Errno(libc::ENOENT))?;
        Ok(attach(root, CWD, namespaces::ROOT)?)
    }

    /// Moves the standard file systems, with all that is mounted in them, into the root. Their
    /// mount points stay in the image if they had to be made.
    pub(super) fn attach_standard(&self) -> StepResult {
        let root = self.root_mount()?;
        for (standard, mount) in &self.standard {
            let name = match standard {
                Standard::Proc => c"proc",
                Standard::Sys { .. } => c"sys",
                Standard::Dev { .. } => c"dev",
                _ => continue,
            };
            match attach(mount, root, name) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))?;
                    attach(mount, root, name)?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    pub(super) fn attach_file(
        &mut self,
        target: &CStr,
        data: &[u8],
        status: FileStatus,
        create: bool,
    ) -> StepResult {
        let files = self.standard(|standard| *standard == Standard::Files)?;
        let name = self.text_files.to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            files,
            &*name,
            flags,
            Mode::from_raw_mode(0o600),
        )?);
        file.write_all(data)?;
        let (uid, gid) = match self.ids {
            None => (status.uid, status.gid),
            Some(ids) => (ids.user(status.uid), ids.group(status.gid)),
        };
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(status.mode))?;
        // A script that is open for writing cannot be executed.
        drop(file);
        let name = rustix::path::Arg::into_c_str(name)?;
        let mount = clone_tree(files, &name, false)?;
        self.text_files += 1;
        let target = self.target(target, Kind::File, create)?;
        Ok(attach_on(&mount, target)?)
    }

    pub(super) fn attach(&mut self, index: u32, target: &CStr, create: bool) -> StepResult {
        let position = self
            .sources
            .iter()
            .position(|(candidate, _)| *candidate == index);
        let position = position.ok_or(Fault::Errno(libc::ENOENT))?;
        let (_, prepared) = self.sources.swap_remove(position);
        let mount = match &prepared.subpath {
            None => prepared.mount,
            Some(subpath) => part_of(&prepared.mount, subpath)?,
        };
        let stat = rustix::fs::fstat(&mount)?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let kind = if directory {
            Kind::Directory
        } else {
            Kind::File
        };
        let target = self.target(target, kind, create)?;
        Ok(attach_on(&mount, target)?)
    }

    fn target(&mut self, path: &CStr, kind: Kind, create: bool) -> StepResult<OwnedFd> {
        let root = self
            .root
            .as_ref()
            .ok_or(Fault::Errno(libc::ENOENT))?
            .as_fd();
        match open_inside(root, path) {
            Err(Errno::NOENT) if create => {}
            result => {
                let target = result?;
                if is_proc(&target)? && !MAY_BE_COVERED.contains(&path) {
                    return Err(Errno::PERM.into());
                }
                return Ok(target);
            }
        }
        let upper = self.upper.as_ref().map(AsFd::as_fd);
        Maker {
            root,
            upper,
            stubs: &mut self.stubs,
        }
        .ensure(path, kind)
    }

    /// Makes the root the only thing in view.
    pub(super) fn pivot(&mut self, readonly: bool, devices: bool) -> StepResult {
        if !self.stubs.is_empty() {
            if let Some(place) = self.upper.as_ref().or(self.root.as_ref()) {
                settle(&mut self.stubs, place.as_fd())?;
            }
            let stubs = std::mem::take(&mut self.stubs);
            self.tell(&FromChild::Stubs(stubs));
        }
        let root = self.root.as_ref().ok_or(Fault::Errno(libc::ENOENT))?;
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, readonly);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, !devices);
        if !flags.is_empty() {
            sys::mount_setattr(root.as_fd(), flags, false)?;
        }
        Ok(namespaces::enter_root(root)?)
    }
}

/// Tells whether a mount point is proc's. What is set up by writing to proc would go to whatever
/// covers it there (CVE-2025-52881), and masks would cover that.
fn is_proc(target: &OwnedFd) -> StepResult<bool> {
    Ok(rustix::fs::fstatfs(target)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

fn tree(path: &CStr, subpath: Option<&CStr>, recursive: bool) -> StepResult<OwnedFd> {
    match subpath {
        None => Ok(clone_tree(CWD, path, recursive)?),
        Some(subpath) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let base = rustix::fs::open(path, flags, Mode::empty())?;
            let inside = open_inside(base.as_fd(), subpath)?;
            Ok(clone_tree(inside, c"", recursive)?)
        }
    }
}

/// Copies what is mounted at `path`, relative to the root, without following a link.
fn mounted_at(path: &CStr) -> rustix::io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", directory, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let at = rustix::fs::openat2(&root, path, directory, Mode::empty(), resolve)?;
    clone_tree(at, c"", false)
}

/// The kernel makes no overlay of a single layer; that layer itself is shown then.
fn overlay_source(stack: &Stack) -> StepResult<OwnedFd> {
    match (&stack.lowers[..], &stack.upper) {
        ([only], None) => Ok(clone_tree(CWD, only, false)?),
        _ => Ok(rootfs::overlay(stack)?),
    }
}

fn attribute(denied: Denied) -> MountAttrFlags {
    match denied {
        Denied::Write => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Denied::Execute => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        Denied::SetUser => MountAttrFlags::MOUNT_ATTR_NOSUID,
        Denied::Devices => MountAttrFlags::MOUNT_ATTR_NODEV,
        Denied::AccessTimes => MountAttrFlags::MOUNT_ATTR_NOATIME,
    }
}

/// Before Linux 6.15 only what is attached can be cloned. The whole is attached where the
/// process will never see it.
fn part_of(mount: &OwnedFd, subpath: &CStr) -> StepResult<OwnedFd> {
    attach(mount, CWD, namespaces::STAGE)?;
    let part = open_inside(mount.as_fd(), subpath)?;
    let copy = clone_tree(&part, c"", false)?;
    Ok(copy)
}
