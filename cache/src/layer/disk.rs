//! Making entries on disk, below one directory and nowhere else.
//!
//! Every open goes through `openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS` from the root's descriptor: whatever a name says, it
//! cannot leave, and no link is followed on the way. Order that a caller must
//! keep: directories, then their content, then [`Canvas::finish_dir`], since
//! times and read-only modes would be lost to what comes after.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::error::{ArchiveError, IoContext, StoreError};
use crate::layer::{Entry, EntryKind, Timestamp};
use crate::path::RelPath;

/// A directory being filled.
#[derive(Debug)]
pub(super) struct Canvas {
    root: OwnedFd,
    path: PathBuf,
    opaque_xattr: &'static str,
    /// Owner of everything this process makes, if nothing is said.
    own: (u32, u32),
    /// Whether what is in the way is removed.
    overwrite: bool,
    /// Whether what needs root is left out.
    lenient: bool,
}

/// The name of the mark that overlayfs reads.
pub(super) const fn opaque_xattr(userxattr: bool) -> &'static str {
    if userxattr {
        "user.overlay.opaque"
    } else {
        "trusted.overlay.opaque"
    }
}

/// The parent of the last entry made, kept open: entries come directory by directory.
#[derive(Debug, Default)]
pub(super) struct Parent(Option<(RelPath, OwnedFd)>);

impl Canvas {
    pub(super) fn open(path: &Path, userxattr: bool) -> Result<Self, StoreError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).during("open", path)?;
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Ok(Self {
            root,
            path: path.to_owned(),
            opaque_xattr: opaque_xattr(userxattr),
            own,
            overwrite: false,
            lenient: false,
        })
    }

    /// Lets entries take the place of what earlier work left.
    pub(super) fn overwriting(self) -> Self {
        Self {
            overwrite: true,
            ..self
        }
    }

    /// Returns where `path` is, for messages.
    pub(super) fn full(&self, path: &RelPath) -> PathBuf {
        path.under(&self.path)
    }

    /// Leaves out what this process may not do: owners and device nodes.
    pub(super) fn lenient(self) -> Self {
        Self {
            lenient: true,
            ..self
        }
    }

    fn open_beneath(&self, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name: &Path = if path.is_root() {
            Path::new(".")
        } else {
            path.as_path()
        };
        loop {
            match rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, mode, resolve) {
                // The kernel gives up when a rename anywhere races with the walk.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// Makes a directory that everything can be put into until it is finished.
    pub(super) fn make_dir(&self, path: &RelPath, parent: &mut Parent) -> Result<(), StoreError> {
        let (dir, name) = self.parent(path, parent)?;
        match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) if self.overwrite => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
                let stat = stat.during("stat", &self.full(path))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    return Ok(());
                }
                rustix::fs::unlinkat(dir, name, AtFlags::empty())
                    .and_then(|()| rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)))
                    .during("replace", &self.full(path))
            }
            made => made.during("create", &self.full(path)),
        }
    }

    /// Gives a directory its owner, mode, attributes and times.
    pub(super) fn finish_dir(&self, entry: &Entry) -> Result<(), StoreError> {
        let full = self.full(&entry.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self
            .open_beneath(&entry.path, flags, Mode::empty())
            .during("open", &full)?;
        if matches!(entry.kind, EntryKind::Dir { opaque: true }) {
            rustix::fs::fsetxattr(&dir, self.opaque_xattr, b"y", XattrFlags::empty())
                .during("mark", &full)?;
        }
        self.dress(&dir, entry)
    }

    /// Makes an empty regular file to be written and then given to [`finish_file`](Self::finish_file).
    pub(super) fn create_file(&self, path: &RelPath) -> Result<File, StoreError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = self.open_beneath(path, flags, Mode::from_raw_mode(0o600));
        if self.overwrite && matches!(file, Err(Errno::EXIST)) {
            self.clear(path)?;
            file = self.open_beneath(path, flags, Mode::from_raw_mode(0o600));
        }
        file.map(File::from).during("create", &self.full(path))
    }

    /// Gives a written file its owner, mode, attributes and times.
    pub(super) fn finish_file(&self, file: &File, entry: &Entry) -> Result<(), StoreError> {
        self.dress(file, entry)
    }

    /// Makes a whole small file.
    pub(super) fn write_file(&self, entry: &Entry, data: &[u8]) -> Result<(), StoreError> {
        let mut file = self.create_file(&entry.path)?;
        file.write_all(data)
            .during("write", &self.full(&entry.path))?;
        self.finish_file(&file, entry)
    }

    /// Makes anything that is neither a directory nor a regular file.
    pub(super) fn make_special(
        &self,
        entry: &Entry,
        parent: &mut Parent,
    ) -> Result<(), StoreError> {
        let full = self.full(&entry.path);
        if self.overwrite {
            self.clear(&entry.path)?;
        }
        let (dir, name) = self.parent(&entry.path, parent)?;
        match &entry.kind {
            EntryKind::Symlink { target } => {
                let target: &[u8] = target;
                rustix::fs::symlinkat(target, dir, name).during("link", &full)?;
            }
            EntryKind::Whiteout => {
                let device = rustix::fs::makedev(0, 0);
                return rustix::fs::mknodat(
                    dir,
                    name,
                    FileType::CharacterDevice,
                    Mode::empty(),
                    device,
                )
                .during("create", &full);
            }
            EntryKind::Fifo => {
                rustix::fs::mkfifoat(dir, name, Mode::from_raw_mode(0o600))
                    .during("create", &full)?;
            }
            EntryKind::CharDev { major, minor } => {
                if !self.make_device(dir, entry, FileType::CharacterDevice, *major, *minor)? {
                    return Ok(());
                }
            }
            EntryKind::BlockDev { major, minor } => {
                if !self.make_device(dir, entry, FileType::BlockDevice, *major, *minor)? {
                    return Ok(());
                }
            }
            EntryKind::Dir { .. } | EntryKind::File { .. } => {}
        }
        self.dress_at(dir, name, entry)
    }

    /// Makes a device node; returns whether that was allowed.
    fn make_device(
        &self,
        dir: &OwnedFd,
        entry: &Entry,
        kind: FileType,
        major: u32,
        minor: u32,
    ) -> Result<bool, StoreError> {
        let name = entry.path.file_name().unwrap_or_default();
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device) {
            // What is in `/dev` every container covers with its own: it stays in the index alone.
            Err(Errno::PERM) if self.lenient || entry.path.starts_with(&"dev".into()) => Ok(false),
            Err(Errno::PERM) => Err(ArchiveError::Device {
                path: entry.path.clone(),
                major,
                minor,
            }
            .into()),
            other => other
                .map(|()| true)
                .during("create", &self.full(&entry.path)),
        }
    }

    /// Makes `path` another name of `existing`.
    pub(super) fn make_link(&self, existing: &RelPath, path: &RelPath) -> Result<(), StoreError> {
        let full = self.full(path);
        if self.overwrite {
            self.clear(path)?;
        }
        let (mut from, mut to) = (Parent::default(), Parent::default());
        let (old_dir, old) = self.parent(existing, &mut from)?;
        let (new_dir, new) = self.parent(path, &mut to)?;
        rustix::fs::linkat(old_dir, old, new_dir, new, AtFlags::empty()).during("link", &full)
    }

    /// Removes `path` and all below it.
    pub(super) fn remove(&self, path: &RelPath) -> Result<(), StoreError> {
        // The parents are checked by opening them; the last component is not followed by removal.
        let mut parent = Parent::default();
        self.parent(path, &mut parent)?;
        let full = self.full(path);
        match crate::store::remove_tree(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.during("remove", &full),
        }
    }

    fn parent<'p, 'n>(
        &self,
        path: &'n RelPath,
        kept: &'p mut Parent,
    ) -> Result<(&'p OwnedFd, &'n [u8]), StoreError> {
        let name = path.file_name().unwrap_or(b".");
        let dir = path.parent().unwrap_or_default();
        if kept.0.as_ref().is_none_or(|(held, _)| *held != dir) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let opened = self.open_beneath(&dir, flags, Mode::empty());
            kept.0 = Some((dir.clone(), opened.during("open", &self.full(&dir))?));
        }
        let (_, fd) = kept.0.as_ref().expect("set above");
        Ok((fd, name))
    }

    /// Judges the outcome of a change of owner.
    fn owned(&self, changed: Result<(), Errno>, entry: &Entry) -> Result<(), StoreError> {
        match changed {
            Err(Errno::PERM | Errno::INVAL) if self.lenient => Ok(()),
            Err(Errno::INVAL | Errno::OVERFLOW) => Err(StoreError::UnmappedOwner {
                path: entry.path.clone(),
                uid: entry.uid,
                gid: entry.gid,
            }),
            other => other.during("chown", &self.full(&entry.path)),
        }
    }

    /// Removes what is in the way of an entry: anything of ours, but no directory of the user's.
    fn clear(&self, path: &RelPath) -> Result<(), StoreError> {
        if !self.lenient {
            return self.remove(path);
        }
        let mut parent = Parent::default();
        let (dir, name) = self.parent(path, &mut parent)?;
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Err(ArchiveError::InTheWay { path: path.clone() }.into()),
            Err(error) => Err(StoreError::io("replace", &self.full(path), error.into())),
        }
    }

    fn dress(&self, fd: &impl AsFd, entry: &Entry) -> Result<(), StoreError> {
        let full = || self.full(&entry.path);
        if (entry.uid, entry.gid) != self.own {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            let changed = rustix::fs::fchown(fd, Some(uid), Some(gid));
            self.owned(changed, entry)?;
        }
        // After chown, which clears setuid bits and capabilities.
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).during("chmod", &full())?;
        for (name, value) in &entry.xattrs {
            let (name, value): (&[u8], &[u8]) = (name, value);
            match rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
                // tmpfs and others hold no user attributes; the index still has them.
                Err(Errno::NOTSUP) => {}
                Err(Errno::PERM) if self.lenient => {}
                other => other.during("set attributes of", &full())?,
            }
        }
        rustix::fs::futimens(fd, &times(entry.mtime)).during("set times of", &full())
    }

    fn dress_at(&self, dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), StoreError> {
        let full = || self.full(&entry.path);
        if (entry.uid, entry.gid) != self.own {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let changed = rustix::fs::chownat(dir, name, Some(uid), Some(gid), flags);
            self.owned(changed, entry)?;
        }
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            // The name was made a moment ago in a directory of our own: it is no link.
            let mode = Mode::from_raw_mode(entry.mode);
            rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).during("chmod", &full())?;
        }
        rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .during("set times of", &full())
    }
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.secs,
        tv_nsec: mtime.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
