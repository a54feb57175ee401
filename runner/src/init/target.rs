//! Finding, and if need be making, the place of a mount inside the root.
//!
//! Links are followed by hand and only inside the root, so that an image cannot direct a mount
//! anywhere else; links of proc that lead to open files are never followed.

use super::StepResult;
use crate::channel::{Fault, Status, Stub, StubKind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is to be mounted on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// As many links as the kernel follows.
const LINK_LIMIT: usize = 40;

/// Opens `path` inside `root`.
pub(super) fn open_inside(root: BorrowedFd<'_>, path: &CStr) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

/// Makes missing parts of mount targets and remembers what it made.
pub(super) struct Maker<'a> {
    pub(super) root: BorrowedFd<'a>,
    /// Where changes of the root end up, if it is an overlay.
    pub(super) upper: Option<BorrowedFd<'a>>,
    pub(super) stubs: &'a mut Vec<Stub>,
}

impl Maker<'_> {
    /// Opens `path`, making what is missing of it.
    pub(super) fn ensure(&mut self, path: &CStr, kind: Kind) -> StepResult<OwnedFd> {
        let mut walk = Walk::new(self.root, path)?;
        let mut links = 0;
        while let Some(name) = walk.rest.pop_front() {
            if name == b".." {
                walk.ascend(self.root)?;
                continue;
            }
            let last = walk.rest.is_empty();
            let wanted = if last { kind } else { Kind::Directory };
            let next = self.descend(&walk, &name, wanted)?;
            let stat = rustix::fs::fstat(&next)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(Errno::LOOP.into());
                }
                walk.follow(self.root, &next)?;
            } else {
                walk.done.push(name);
                walk.at = next;
            }
        }
        Ok(walk.at)
    }

    fn descend(&mut self, walk: &Walk, name: &[u8], kind: Kind) -> StepResult<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&walk.at, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            result => return Ok(result?),
        }
        let in_root = mount_id(walk.at.as_fd())? == mount_id(self.root)?;
        let marked = if !in_root {
            Vec::new()
        } else if let Some(upper) = self.upper {
            ancestors_to_copy_up(upper, &walk.done)?
        } else {
            self.touched(walk)?.into_iter().collect()
        };
        let made = match kind {
            Kind::Directory => {
                rustix::fs::mkdirat(&walk.at, name, Mode::from_raw_mode(0o755))?;
                StubKind::Directory
            }
            Kind::File => {
                let mode = Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(&walk.at, name, FileType::RegularFile, mode, 0)?;
                StubKind::File
            }
        };
        if in_root {
            self.stubs.extend(marked);
            let path = join(walk.done.iter().map(Vec::as_slice).chain([name]));
            self.stubs.push(Stub { path, kind: made });
        }
        Ok(rustix::fs::openat(&walk.at, name, flags, Mode::empty())?)
    }

    /// Returns the directory that making something in it changes, unless that is known: the root's
    /// own time is nobody's business.
    fn touched(&self, walk: &Walk) -> StepResult<Option<Stub>> {
        let path = join(walk.done.iter().map(Vec::as_slice));
        if path.is_empty() || self.stubs.iter().any(|stub| stub.path == path) {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&walk.at)?;
        let kind = StubKind::Touched {
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
            status: Status::UNKNOWN,
        };
        Ok(Some(Stub { path, kind }))
    }
}

/// Returns the directories that making something below them copies to the upper layer.
fn ancestors_to_copy_up(upper: BorrowedFd<'_>, path: &[Vec<u8>]) -> StepResult<Vec<Stub>> {
    let mut missing = Vec::new();
    for depth in 1..=path.len() {
        let ancestor = join(path[..depth].iter().map(Vec::as_slice));
        match rustix::fs::statat(upper, ancestor.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                missing.push(Stub {
                    path: ancestor,
                    kind: StubKind::CopiedUp(Status::UNKNOWN),
                });
            }
            result => drop(result?),
        }
    }
    Ok(missing)
}

/// Records how the directories in which stubs were made look now that no more will be: as they
/// are in `place`, an overlay's upper directory or the root itself.
pub(super) fn settle(stubs: &mut [Stub], place: BorrowedFd<'_>) -> StepResult {
    for stub in stubs {
        if let StubKind::CopiedUp(status) | StubKind::Touched { status, .. } = &mut stub.kind {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            *status = (&rustix::fs::statat(place, stub.path.as_slice(), flags)?).into();
        }
    }
    Ok(())
}

struct Walk {
    at: OwnedFd,
    /// Names from the root to `at`.
    done: Vec<Vec<u8>>,
    rest: VecDeque<Vec<u8>>,
}

impl Walk {
    fn new(root: BorrowedFd<'_>, path: &CStr) -> StepResult<Self> {
        let at = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
        Ok(Self {
            at,
            done: Vec::new(),
            rest: names(path.to_bytes()).collect(),
        })
    }

    fn ascend(&mut self, root: BorrowedFd<'_>) -> StepResult {
        self.done.pop();
        let path = join(self.done.iter().map(Vec::as_slice).chain([&b"."[..]]));
        let path = std::ffi::CString::new(path).map_err(|_| Fault::Errno(libc::EINVAL))?;
        self.at = open_inside(root, &path)?;
        Ok(())
    }

    fn follow(&mut self, root: BorrowedFd<'_>, link: &OwnedFd) -> StepResult {
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?;
        if target.to_bytes().starts_with(b"/") {
            self.done.clear();
            self.at = rustix::io::fcntl_dupfd_cloexec(root, 3)?;
        }
        for name in names(target.to_bytes()).rev() {
            self.rest.push_front(name);
        }
        Ok(())
    }
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
}

fn join<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    names.collect::<Vec<_>>().join(&b'/')
}

fn mount_id(fd: BorrowedFd<'_>) -> StepResult<u64> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(stat.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Makes the directory `path` below `root`, and returns where it is.
    fn made(root: &Path, path: &str) -> StepResult<std::path::PathBuf> {
        let handle = OwnedFd::from(fs::File::open(root).expect("opens"));
        let mut stubs = Vec::new();
        let mut maker = Maker {
            root: handle.as_fd(),
            upper: None,
            stubs: &mut stubs,
        };
        let path = std::ffi::CString::new(path).expect("no zero");
        let at = maker.ensure(&path, Kind::Directory)?;
        let link = rustix::fs::readlink(
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&at)),
            Vec::new(),
        );
        let link = link.expect("a link");
        Ok(Path::new(std::ffi::OsStr::from_bytes(link.as_bytes())).to_owned())
    }

    #[test]
    fn links_on_the_way_lead_nowhere_but_into_the_root() {
        let dir = tempfile::tempdir().expect("makes");
        let dir = dir.path().canonicalize().expect("is there");
        let (root, outside) = (dir.join("root"), dir.join("outside"));
        for path in [&root.join("a/b"), &root.join("etc"), &outside] {
            fs::create_dir_all(path).expect("makes");
        }
        let host = outside.to_str().expect("text");
        let links = [
            ("a/b/absolute", "/etc"),
            ("a/b/relative", "../c"),
            ("a/b/up", "../../../../../outside"),
            ("a/b/host", host),
            ("a/b/twice", "/a/b/relative/../b/up"),
            ("a/b/dots", "./.././b/../../etc"),
            ("a/b/round", "/a/b/round"),
        ];
        for (link, target) in links {
            symlink(target, root.join(link)).expect("links");
        }
        for (path, expected) in [
            ("a/b/absolute/x", "etc/x"),
            ("a/b/relative/x", "a/c/x"),
            ("a/b/up/x", "outside/x"),
            ("a/b/host/x", &format!("{}/x", &host[1..])),
            ("a/b/twice/y", "outside/y"),
            ("a/b/dots/z", "etc/z"),
            ("a/../../../outside/w", "outside/w"),
        ] {
            let at = made(&root, path).expect("makes");
            assert_eq!(at, root.join(expected), "{path}");
        }
        let round = made(&root, "a/b/round/x").expect_err("too many");
        assert!(matches!(round, Fault::Errno(libc::ELOOP)), "{round:?}");
        assert_eq!(fs::read_dir(&outside).expect("lists").count(), 0);
        assert!(!root.join("a/b/etc").exists());
    }
}
