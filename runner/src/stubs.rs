//! Mount points that an image lacks.
//!
//! Making them in the root file system would leave them, and the directories above them, in
//! the layer. Instead an overlay gets one more layer at the very bottom with nothing but the
//! mount points: where the image has the path, the image's shows, and otherwise the stub, and
//! nothing is written. Such layers depend only on their paths; they are made once and shared:
//!
//! ```text
//! <scratch>/stubs-v1-<hash of the paths>/etc/hosts …
//! ```
//!
//! Where an image hides the stub (behind a whiteout, an opaque directory or a link, or when the
//! root is a plain directory) the child makes the mount point after all and reports it, and
//! [`remove`] takes it away afterwards.

use crate::channel::{Status, Stub, StubKind};
use crate::plan::clean;
use crate::spec::{MountKind, ProcessSpec};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Returns the mount points that `spec` may need, and whether each is a directory.
pub(crate) fn wanted(spec: &ProcessSpec) -> BTreeMap<PathBuf, bool> {
    let text_files = [
        ("etc/hostname", &spec.hostname_file),
        ("etc/hosts", &spec.hosts),
        ("etc/resolv.conf", &spec.resolv_conf),
    ];
    let files = text_files.into_iter().filter(|(_, data)| data.is_some());
    let mut wanted: BTreeMap<PathBuf, bool> = files
        .map(|(path, _)| (PathBuf::from(path), false))
        .collect();
    for mount in spec.mounts.iter().filter(|mount| mount.create_target) {
        let directory = match &mount.kind {
            MountKind::File { .. } => Some(false),
            MountKind::Tmpfs { .. }
            | MountKind::Foreign { .. }
            | MountKind::Overlay { subpath: None, .. } => Some(true),
            // What is inside a tree is known when it is mounted.
            MountKind::Overlay { .. }
            | MountKind::Bind {
                subpath: Some(_), ..
            } => None,
            MountKind::Bind {
                source,
                subpath: None,
                ..
            } => std::fs::metadata(source).ok().map(|source| source.is_dir()),
        };
        let target = clean(&mount.target);
        // What stays in the image is made there.
        let standard = ["proc", "sys", "dev"]
            .iter()
            .any(|name| target.starts_with(name));
        if let (Some(directory), false, true) = (directory, standard, target.parent().is_some()) {
            wanted.insert(target, directory);
        }
    }
    wanted
}

/// Returns a layer with these mount points, making it if it is not there yet.
pub(crate) fn layer(scratch: &Path, wanted: &BTreeMap<PathBuf, bool>) -> io::Result<PathBuf> {
    let path = scratch.join(format!("stubs-v1-{:032x}", fingerprint(wanted)));
    if path.is_dir() {
        return Ok(path);
    }
    // Monitors are process 1, each of a namespace of its own: numbers of processes tell nothing.
    let mut number = [0; 8];
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    let draft = scratch.join(format!("draft-{:016x}", u64::from_ne_bytes(number)));
    directory(&draft)?;
    for (stub, is_directory) in wanted {
        let stub = draft.join(stub);
        let above = stub.parent().unwrap_or(&draft);
        // One stub in the way of another: whichever comes later is made in the root instead.
        let made = directory(above).and_then(|()| {
            if *is_directory {
                directory(&stub)
            } else {
                let mut options = std::fs::File::options();
                options
                    .write(true)
                    .create_new(true)
                    .mode(0o644)
                    .open(&stub)
                    .map(drop)
            }
        });
        match made.map_err(|error| error.kind()) {
            Ok(()) | Err(io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {}
            Err(kind) => return Err(kind.into()),
        }
    }
    match std::fs::rename(&draft, &path) {
        // Another process was faster; a non-empty directory is not replaced.
        Err(_) if path.is_dir() => std::fs::remove_dir_all(&draft)?,
        result => result?,
    }
    Ok(path)
}

fn directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
}

/// FNV-1a. A collision would only mean that the child makes its mount points itself.
fn fingerprint(wanted: &BTreeMap<PathBuf, bool>) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = wanted.iter().flat_map(|(path, directory)| {
        let path = path.as_os_str().as_bytes().iter().copied();
        path.chain([0, u8::from(*directory)])
    });
    bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

/// Removes stubs from the directory that received them, unless something became of them.
pub(crate) fn remove(root: &Path, stubs: &[Stub]) -> io::Result<()> {
    if stubs.is_empty() {
        return Ok(());
    }
    let root = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Removing a stub changes the status of what is above it: look first.
    let untouched: Vec<bool> = stubs
        .iter()
        .map(|stub| is_untouched(root.as_fd(), stub))
        .collect();
    let mut doomed: Vec<&Stub> = stubs
        .iter()
        .zip(untouched)
        .filter(|(_, untouched)| *untouched)
        .map(|(stub, _)| stub)
        .collect();
    doomed.sort_by(|a, b| b.path.cmp(&a.path));
    for stub in doomed {
        remove_one(root.as_fd(), stub);
    }
    Ok(())
}

fn is_untouched(root: BorrowedFd<'_>, stub: &Stub) -> bool {
    let Some((parent, name)) = parent(root, &stub.path) else {
        return false;
    };
    let Ok(stat) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return false;
    };
    match stub.kind {
        StubKind::File => {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0
        }
        StubKind::Directory => true,
        StubKind::CopiedUp(status) | StubKind::Touched { status, .. } => {
            Status::from(&stat) == status
        }
    }
}

/// A directory with something in it stays: the process put it there.
fn remove_one(root: BorrowedFd<'_>, stub: &Stub) {
    let Some((parent, name)) = parent(root, &stub.path) else {
        return;
    };
    let flags = match stub.kind {
        StubKind::Touched { mtime, .. } => {
            let _ = set_mtime(&parent, name, mtime);
            return;
        }
        StubKind::File => AtFlags::empty(),
        StubKind::Directory | StubKind::CopiedUp(_) => AtFlags::REMOVEDIR,
    };
    let _ = rustix::fs::unlinkat(&parent, name, flags);
}

fn set_mtime(
    directory: &OwnedFd,
    name: &[u8],
    (tv_sec, nanos): (i64, i64),
) -> rustix::io::Result<()> {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(0, UTIME_OMIT),
        last_modification: time(tv_sec, nanos),
    };
    rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens the directory that holds `path`; the process may have replaced any part by a link.
fn parent<'a>(root: BorrowedFd<'_>, path: &'a [u8]) -> Option<(OwnedFd, &'a [u8])> {
    let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b"."[..], path),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let parent = rustix::fs::openat2(root, above, flags, Mode::empty(), resolve).ok()?;
    Some((parent, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Mount, Rootfs, TmpfsOptions};

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cooper-stubs-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_layer_is_made_once_and_holds_the_mount_points() {
        let scratch = scratch("layer");
        let mut spec = ProcessSpec::new(Rootfs::Directory("/".into()), ["x"]);
        spec.hosts = Some(Vec::new());
        spec.mounts.push(Mount {
            target: "/run/../cache/./a".into(),
            kind: MountKind::Tmpfs {
                size: None,
                mode: 0o755,
                options: TmpfsOptions::default(),
            },
            create_target: true,
        });
        let wanted = wanted(&spec);
        let path = layer(&scratch, &wanted).unwrap();
        assert_eq!(layer(&scratch, &wanted).unwrap(), path);
        assert!(path.join("etc/hosts").is_file());
        assert!(path.join("cache/a").is_dir());
        assert!(!path.join("run").exists());
        std::fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn stubs_are_removed_unless_used() {
        let root = scratch("remove");
        for directory in ["a/b", "c", "used"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("a/b/file"), "").unwrap();
        std::fs::write(root.join("c/written"), "x").unwrap();
        std::fs::write(root.join("used/x"), "").unwrap();
        let stub = |path: &str, kind| Stub {
            path: path.as_bytes().to_vec(),
            kind,
        };
        let status = Status::from(&rustix::fs::stat(root.join("a")).unwrap());
        let stubs = [
            stub("a", StubKind::CopiedUp(status)),
            stub("a/b", StubKind::Directory),
            stub("a/b/file", StubKind::File),
            stub("c/written", StubKind::File),
            stub("used", StubKind::Directory),
        ];
        remove(&root, &stubs).unwrap();
        let left = |path: &str| root.join(path).exists();
        assert!(!left("a") && left("c/written") && left("used/x"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn links_do_not_lead_the_removal_astray() {
        let root = scratch("links");
        std::fs::create_dir_all(root.join("inside")).unwrap();
        let outside = scratch("links-outside");
        std::fs::write(outside.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("inside/link")).unwrap();
        let stub = Stub {
            path: b"inside/link/file".to_vec(),
            kind: StubKind::File,
        };
        remove(&root, &[stub]).unwrap();
        assert!(outside.join("file").exists());
        std::fs::remove_dir_all(root).unwrap();
        std::fs::remove_dir_all(outside).unwrap();
    }
}
