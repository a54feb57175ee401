//! What a container sees of control groups, below `/sys/fs/cgroup`.
//!
//! With the unified hierarchy a new mount of it begins at the root of the cgroup namespace, which
//! is the container's own group. Version 1 has a mount for each controller, made long ago for the
//! whole machine: of these a container gets its own group, bound, so that it sees its limits and
//! nobody else's. One without a group is in its caller's, among whatever else that started: it gets
//! none. With the unified hierarchy it gets its caller's if that has no groups within: who runs
//! steps in a limited group has them see their limits.

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::StepResult;
use crate::cgroup;
use crate::devices;
use crate::plan::inert;
use crate::rootfs::{attach_on, clone_tree, mount_fs, new_fs};
use crate::sys;

use cgroup::MOUNT_POINT;

/// The caller's group in one hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    /// The hierarchy's directory: its controllers with commas between, or its name.
    hierarchy: String,
    /// The group's path in it, with a slash before it.
    path: String,
}

/// The groups that a container shows, and then their mounts.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Whether the container has a group.
    entered: bool,
    /// Whether it is in one for devices.
    guarded: bool,
    /// The group of version 2 around that one, relative to where the hierarchy is mounted.
    around: Option<PathBuf>,
    own: Vec<Group>,
    mounts: Vec<(String, OwnedFd)>,
}

impl Groups {
    /// The process has a group of its own.
    pub(super) fn entered(&mut self) {
        self.entered = true;
    }

    /// The process is in a group of many that is there for devices alone.
    pub(super) fn guarded(&mut self) {
        self.guarded = true;
    }

    /// Looks where the groups are, which a new cgroup namespace no longer tells.
    pub(super) fn look(&mut self) {
        let unified = cgroup::is_unified();
        let groups = || std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if self.entered && !unified {
            self.own = parse(&groups());
        } else if self.guarded && !self.entered && unified {
            let text = groups();
            let group = text.lines().find_map(|line| line.strip_prefix("0::/"));
            self.around = group.and_then(|group| Path::new(group).parent().map(Path::to_owned));
        }
    }

    /// Makes the file system that shows the unified hierarchy from the process' own group on, or
    /// from its caller's if it is in one for devices alone.
    fn unified(&self, flags: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
        let Some(around) = &self.around else {
            return mount_fs(&new_fs("cgroup2", &[])?, flags);
        };
        let path = rustix::path::Arg::into_c_str(Path::new(MOUNT_POINT).join(around))?;
        let mount = clone_tree(CWD, &path, false)?;
        sys::mount_setattr(mount.as_fd(), flags, false)?;
        Ok(mount)
    }

    /// Makes the file system for `/sys/fs/cgroup`; none on a host that has nothing there.
    pub(super) fn make(&mut self) -> StepResult<Option<OwnedFd>> {
        let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
        if rustix::fs::statfs(MOUNT_POINT).is_err() {
            return Ok(None);
        }
        if cgroup::is_unified() {
            match self.unified(inert() | read_only) {
                Err(Errno::PERM) => return Ok(None),
                Err(error) => return Err(error.into()),
                Ok(mount) if self.entered || is_lonely(&mount)? => return Ok(Some(mount)),
                Ok(_) => {}
            }
        }
        let directory = mount_fs(&new_fs("tmpfs", &[("mode", "755")])?, inert())?;
        for group in &self.own {
            let path = format!("{MOUNT_POINT}/{}{}", group.hierarchy, group.path);
            let path = rustix::path::Arg::into_c_str(path)?;
            // A hierarchy may be mounted elsewhere, or nowhere.
            let Ok(mount) = clone_tree(CWD, &path, false) else {
                continue;
            };
            sys::mount_setattr(mount.as_fd(), inert() | read_only, false)?;
            rustix::fs::mkdirat(&directory, &*group.hierarchy, Mode::from_raw_mode(0o755))?;
            for controller in group
                .hierarchy
                .split(',')
                .filter(|one| *one != group.hierarchy)
            {
                rustix::fs::symlinkat(&*group.hierarchy, &directory, controller)?;
            }
            self.mounts.push((group.hierarchy.clone(), mount));
        }
        sys::mount_setattr(directory.as_fd(), read_only, false)?;
        Ok(Some(directory))
    }

    /// Attaches the groups in `directory`, which is attached by now.
    pub(super) fn place(&self, directory: &OwnedFd) -> StepResult {
        for (name, mount) in &self.mounts {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let at = rustix::fs::openat(directory, name.as_str(), flags, Mode::empty())?;
            attach_on(mount, at)?;
        }
        Ok(())
    }
}

/// Returns whether a group of the unified hierarchy has none within, and hardly ever will: that
/// of the whole machine, which alone has no type, is not one.
fn is_lonely(group: &OwnedFd) -> StepResult<bool> {
    match rustix::fs::accessat(group, "cgroup.type", Access::EXISTS, AtFlags::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        result => result?,
    }
    for entry in rustix::fs::Dir::read_from(group)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let own = matches!(name, b"." | b"..") || name.starts_with(devices::GROUP.as_bytes());
        if !own && entry.file_type() == FileType::Directory {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads `/proc/self/cgroup`: the hierarchies of version 1 in which the process has another group
/// than the root's.
fn parse(text: &str) -> Vec<Group> {
    let lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let hierarchy = controllers.strip_prefix("name=").unwrap_or(controllers);
        let own = !hierarchy.is_empty() && path != "/" && !path.starts_with("/..");
        own.then(|| Group {
            hierarchy: hierarchy.to_owned(),
            path: path.to_owned(),
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_version_one_are_those_below_the_root() {
        let group = |hierarchy: &str, path: &str| Group {
            hierarchy: hierarchy.to_owned(),
            path: path.to_owned(),
        };
        let rows = [
            ("", vec![]),
            ("0::/user.slice\n", vec![]),
            ("4:memory:/\n", vec![]),
            ("4:memory:/../other\n", vec![]),
            ("4:memory:/docker/a\n", vec![group("memory", "/docker/a")]),
            (
                "9:name=systemd:/user.slice\n2:cpu,cpuacct:/docker/a:b\n1:pids:/\n",
                vec![
                    group("systemd", "/user.slice"),
                    group("cpu,cpuacct", "/docker/a:b"),
                ],
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
