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
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use super::StepResult;
use super::process::write_setting;
use crate::cgroup;
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
    own: Vec<Group>,
    mounts: Vec<(String, OwnedFd)>,
}

impl Groups {
    /// Enters the group whose list of members is `members`, unless the process is `inside`.
    pub(super) fn enter(&mut self, members: &CStr, inside: bool) -> StepResult {
        self.entered = true;
        if inside {
            return Ok(());
        }
        // The writer, whatever its number in which PID namespace.
        write_setting(members, b"0")
    }

    /// Looks where the groups are, which a new cgroup namespace no longer tells.
    pub(super) fn look(&mut self) {
        if self.entered && !cgroup::is_unified() {
            let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            self.own = parse(&text);
        }
    }

    /// Makes the file system for `/sys/fs/cgroup`; none on a host that has nothing there.
    pub(super) fn make(&mut self) -> StepResult<Option<OwnedFd>> {
        let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
        if rustix::fs::statfs(MOUNT_POINT).is_err() {
            return Ok(None);
        }
        if cgroup::is_unified() {
            match new_fs("cgroup2", &[]).and_then(|fs| mount_fs(&fs, inert() | read_only)) {
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
        let own = matches!(entry.file_name().to_bytes(), b"." | b"..");
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
