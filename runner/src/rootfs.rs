//! Detached mounts: overlays and new file systems by the new mount API.

use crate::plan::Stack;
use crate::spec::Rootfs;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags,
};
use rustix::thread::UnshareFlags;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel reads at most this many bytes of one mount parameter, its NUL included.
const PARAMETER_LIMIT: usize = 256;

/// Begins an instance of a file system; `df` and the list of mounts call it by its kind.
fn open_fs(kind: &str) -> Result<OwnedFd> {
    let fs = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&fs, "source", kind)?;
    Ok(fs)
}

/// Makes an instance of a file system with these options.
pub(crate) fn new_fs(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd> {
    let fs = open_fs(kind)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&fs, *key)?;
        } else {
            rustix::mount::fsconfig_set_string(&fs, *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(&fs)?;
    Ok(fs)
}

/// Mounts an instance without attaching it anywhere.
pub(crate) fn mount_fs(fs: &OwnedFd, attributes: MountAttrFlags) -> Result<OwnedFd> {
    rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Attaches a detached mount at `path` below `directory`, not following a final link.
pub(crate) fn attach(mount: &OwnedFd, directory: impl AsFd, path: &CStr) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", directory, path, flags)
}

/// Attaches a detached mount on exactly what `target` refers to.
pub(crate) fn attach_on(mount: &OwnedFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// Returns a detached copy of the tree at `path`.
pub(crate) fn clone_tree(directory: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    rustix::mount::open_tree(directory, path, flags)
}

impl Stack {
    /// Returns the stack of the same directories below `to`, where what is below `from` is seen.
    pub(crate) fn moved(&self, from: &CStr, to: &CStr) -> Result<Self> {
        let moved = |path: &CString| {
            let rest = path.to_bytes().strip_prefix(from.to_bytes());
            let rest = rest.ok_or(Errno::XDEV)?;
            CString::new([to.to_bytes(), rest].concat()).map_err(|_| Errno::INVAL)
        };
        let upper = self.upper.as_ref();
        Ok(Self {
            lowers: self.lowers.iter().map(moved).collect::<Result<_>>()?,
            upper: upper
                .map(|(upper, work)| Ok((moved(upper)?, moved(work)?)))
                .transpose()?,
            ..self.clone()
        })
    }
}

/// Mounts an overlay without attaching it. The caller is in the host view.
pub(crate) fn overlay(stack: &Stack) -> Result<OwnedFd> {
    match mount_overlay(stack) {
        // Maybe because of the mark of an earlier volatile mount of the same directories.
        Err(Errno::INVAL) if stack.volatile && clear_volatile_mark(stack) => mount_overlay(stack),
        result => result,
    }
}

fn mount_overlay(stack: &Stack) -> Result<OwnedFd> {
    if takes_layers_singly() {
        overlay_by_layers(stack)
    } else {
        overlay_by_options(stack)
    }
}

/// Whether the kernel knows `lowerdir+`. One that does not is not asked: it writes a line to its
/// log for every mount that tries.
fn takes_layers_singly() -> bool {
    crate::kernel::is_at_least("6.8")
}

/// Returns how many lower layers a root file system can have on this kernel.
pub fn most_lowers() -> usize {
    /// What the kernel stacks, less the layer of mount points.
    const STACK: usize = 500 - 1;
    /// As many names of 75 bytes, which is what a SHA-256 and what is around it make, as a page
    /// of options takes beside an upper and a work directory.
    const PAGE: usize = 40;
    if takes_layers_singly() { STACK } else { PAGE }
}

/// The mark says that a machine may have crashed with changes unwritten. Whether it did is known
/// to the caller, who would not offer the directories again.
fn clear_volatile_mark(stack: &Stack) -> bool {
    let Some((_, work)) = &stack.upper else {
        return false;
    };
    let mark = Path::new(OsStr::from_bytes(work.to_bytes())).join("work/incompat/volatile");
    if !mark.exists() {
        return false;
    }
    std::fs::remove_dir_all(mark).is_ok()
}

fn overlay_by_layers(stack: &Stack) -> Result<OwnedFd> {
    let fs = open_fs("overlay")?;
    let mut long_paths = Vec::new();
    for lower in &stack.lowers {
        let value = parameter(lower, false, &mut long_paths)?;
        rustix::mount::fsconfig_set_string(&fs, "lowerdir+", &*value)?;
    }
    if let Some((upper, work)) = &stack.upper {
        for (key, path) in [("upperdir", upper), ("workdir", work)] {
            let value = parameter(path, true, &mut long_paths)?;
            rustix::mount::fsconfig_set_string(&fs, key, &*value)?;
        }
    }
    for (key, value) in options(stack) {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&fs, key)?;
        } else {
            rustix::mount::fsconfig_set_string(&fs, key, value)?;
        }
    }
    rustix::mount::fsconfig_create(&fs)?;
    mount_fs(&fs, MountAttrFlags::empty())
}

/// The features that put more into a layer than whiteouts and opaque marks stay off, whatever
/// the kernel's defaults: a layer must mean the same everywhere.
fn options(stack: &Stack) -> Vec<(&'static str, &'static str)> {
    let mut options = vec![("index", "off"), ("metacopy", "off")];
    if stack.userxattr {
        options.push(("userxattr", ""));
    } else {
        options.push(("redirect_dir", "nofollow"));
    }
    if stack.volatile && stack.upper.is_some() {
        options.push(("volatile", ""));
    }
    options
}

/// Returns a path short enough for a mount parameter. The descriptors must live until the mount
/// is made.
fn parameter(path: &CString, escape: bool, long_paths: &mut Vec<OwnedFd>) -> Result<CString> {
    let value = if escape { escaped(path) } else { path.clone() };
    if value.as_bytes_with_nul().len() <= PARAMETER_LIMIT {
        return Ok(value);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}", fd.as_raw_fd());
    long_paths.push(fd);
    CString::new(short).map_err(|_| Errno::INVAL)
}

/// Escapes what the kernel unescapes in `upperdir` and `workdir`.
fn escaped(path: &CStr) -> CString {
    let mut bytes = Vec::with_capacity(path.count_bytes());
    for byte in path.to_bytes() {
        if *byte == b'\\' {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    CString::new(bytes).unwrap_or_default()
}

/// `mount(2)` takes one page of options. In a mount namespace of its own the overlay is attached
/// over its own upper directory and picked up from there.
fn overlay_by_options(stack: &Stack) -> Result<OwnedFd> {
    let Some((upper, _)) = &stack.upper else {
        return Err(Errno::OPNOTSUPP);
    };
    let (directory, data) = option_string(stack)?;
    crate::sys::unshare(UnshareFlags::NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    rustix::process::chdir(&directory)?;
    rustix::mount::mount(
        "overlay",
        upper,
        "overlay",
        MountFlags::empty(),
        Some(data.as_c_str()),
    )?;
    clone_tree(CWD, upper, false)
}

/// Returns a directory to mount from and the options, with the layers relative to it.
fn option_string(stack: &Stack) -> Result<(PathBuf, CString)> {
    const PAGE: usize = 4096;
    let as_path = |path: &CString| PathBuf::from(OsStr::from_bytes(path.as_bytes()));
    let lowers: Vec<PathBuf> = stack.lowers.iter().map(as_path).collect();
    let common = common_parent(&lowers);
    let mut data = b"lowerdir=".to_vec();
    for (index, lower) in lowers.iter().enumerate() {
        if index > 0 {
            data.push(b':');
        }
        let relative = lower.strip_prefix(&common).unwrap_or(lower);
        escape_option(relative.as_os_str().as_bytes(), &mut data);
    }
    if let Some((upper, work)) = &stack.upper {
        for (key, path) in [(",upperdir=", upper), (",workdir=", work)] {
            data.extend_from_slice(key.as_bytes());
            escape_option(path.as_bytes(), &mut data);
        }
    }
    for (key, value) in options(stack) {
        let separator = if value.is_empty() { "" } else { "=" };
        data.extend_from_slice(format!(",{key}{separator}{value}").as_bytes());
    }
    if data.len() >= PAGE {
        return Err(Errno::TOOBIG);
    }
    Ok((common, CString::new(data).map_err(|_| Errno::INVAL)?))
}

fn escape_option(path: &[u8], data: &mut Vec<u8>) {
    for byte in path {
        if b"\\:,".contains(byte) {
            data.push(b'\\');
        }
        data.push(*byte);
    }
}

fn common_parent(paths: &[PathBuf]) -> PathBuf {
    let mut parents = paths.iter().filter_map(|path| path.parent());
    let Some(first) = parents.next() else {
        return PathBuf::from("/");
    };
    parents.fold(first.to_owned(), |common, parent| {
        let shared = common
            .components()
            .zip(parent.components())
            .take_while(|(a, b)| a == b);
        shared.map(|(component, _)| component).collect()
    })
}

/// Returns a root file system as a mount that is attached nowhere and goes away with the handle.
/// Paths are to be resolved below it with `RESOLVE_IN_ROOT`.
pub fn open_root(rootfs: &Rootfs) -> std::io::Result<OwnedFd> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let stack = match rootfs {
        Rootfs::Directory(directory) => {
            return Ok(clone_tree(CWD, &path(directory)?, true)?);
        }
        Rootfs::Overlay {
            lowers,
            upper,
            work,
            userxattr,
        } => Stack {
            lowers: lowers
                .iter()
                .map(|lower| path(lower))
                .collect::<std::result::Result<_, _>>()?,
            upper: Some((path(upper)?, path(work)?)),
            userxattr: *userxattr,
            volatile: true,
        },
    };
    Ok(overlay(&stack)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(lowers: &[&str]) -> Stack {
        Stack {
            lowers: lowers
                .iter()
                .map(|lower| CString::new(*lower).unwrap())
                .collect(),
            upper: Some((c"/s/u".into(), c"/s/w".into())),
            userxattr: false,
            volatile: true,
        }
    }

    #[test]
    fn options_are_relative_to_the_common_parent_and_escaped() {
        let (directory, data) = option_string(&stack(&["/l/a:b", "/l/x/c,d", "/l/e\\f"])).unwrap();
        assert_eq!(directory, Path::new("/l"));
        assert_eq!(
            data.to_str().unwrap(),
            "lowerdir=a\\:b:x/c\\,d:e\\\\f,upperdir=/s/u,workdir=/s/w,index=off,metacopy=off,\
             redirect_dir=nofollow,volatile"
        );
    }

    #[test]
    fn too_many_layers_for_one_page_are_refused() {
        let lowers: Vec<String> = (0..500).map(|i| format!("/l/{i:064}")).collect();
        let lowers: Vec<&str> = lowers.iter().map(String::as_str).collect();
        assert_eq!(option_string(&stack(&lowers)).unwrap_err(), Errno::TOOBIG);
    }

    #[test]
    fn user_overlays_leave_redirects_to_the_kernel() {
        let rootless = Stack {
            userxattr: true,
            volatile: false,
            ..stack(&["/l/a"])
        };
        assert_eq!(
            options(&rootless),
            [("index", "off"), ("metacopy", "off"), ("userxattr", "")]
        );
    }

    /// The way of older kernels, in a mount namespace of the test's thread.
    #[test]
    #[expect(clippy::print_stderr, reason = "says what was not tested")]
    fn mount_by_options_shows_the_merged_layers() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let top = std::env::temp_dir().join(format!("cooper-options,:\\{}", std::process::id()));
        for name in ["a/x", "b/y", "upper", "work"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        let path = |name: &str| CString::new(top.join(name).as_os_str().as_bytes()).unwrap();
        let stack = Stack {
            lowers: vec![path("a"), path("b")],
            upper: Some((path("upper"), path("work"))),
            userxattr: false,
            volatile: true,
        };
        let mount = overlay_by_options(&stack).unwrap();
        for name in ["x", "y"] {
            assert!(
                rustix::fs::statat(&mount, name, rustix::fs::AtFlags::empty()).is_ok(),
                "{name}"
            );
        }
        rustix::fs::mkdirat(&mount, "new", Mode::from_raw_mode(0o755)).unwrap();
        drop(mount);
        rustix::mount::unmount(top.join("upper"), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(top.join("upper/new").exists() && !top.join("upper/x").exists());
        std::fs::remove_dir_all(top).unwrap();
    }
}
