//! A commit as files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use super::command::Git;
use super::error::GitError;
use super::lfs;
use super::mirror::{Mirror, Mirrors};
use super::resolve::Resolved;
use super::submodule;

/// Files of `.git` that speak of the checkout rather than of the commit.
const TRACES: [&str; 4] = ["logs", "FETCH_HEAD", "ORIG_HEAD", "hooks"];

/// What is checked out.
#[derive(Clone, Debug)]
pub(crate) struct CheckoutOptions {
    /// Directory of the commit that becomes the root.
    pub(crate) subdir: Option<String>,
    /// Whether `.git` stays; not in a subdirectory.
    pub(crate) keep_git_dir: bool,
    /// Whether submodules are checked out too.
    pub(crate) submodules: bool,
    /// Commit that it must be, by the beginning of its name.
    pub(crate) checksum: Option<String>,
    /// Time of all files, in seconds since 1970; the commit's own if there is none.
    pub(crate) mtime: Option<i64>,
}

/// Writes what `resolved` means to `root`, an empty directory that is replaced; `work` is
/// another one on the same file system.
pub(crate) fn checkout(
    git: Git<'_>,
    mirrors: &Mirrors,
    resolved: &Resolved,
    options: &CheckoutOptions,
    (root, work): (&Path, &Path),
) -> Result<(), GitError> {
    let tree = work.join("tree");
    let job = Job {
        mirrors,
        work,
        keep_git_dir: options.keep_git_dir && options.subdir.is_none(),
        submodules: options.submodules,
    };
    let (mirror, commit) = job.check_out(git, resolved, &tree, 0)?;
    if let Some(expected) = &options.checksum {
        Resolved::named(&commit)
            .verify(expected)
            .or_else(|_| resolved.verify(expected))?;
    }
    let mtime = match options.mtime {
        Some(seconds) => seconds,
        None => commit_time(git, &mirror, &commit)?,
    };
    let top = match &options.subdir {
        None => tree,
        Some(subdir) => directory_in(&tree, subdir)?,
    };
    if let Some(remark) = lfs::remark(&top) {
        (git.watch.log)(remark.as_bytes());
    }
    settle(&top, mtime)?;
    fs::rename(&top, root).map_err(GitError::io("rename", &top))
}

/// A checkout with all that belongs to it.
pub(super) struct Job<'a> {
    pub(super) mirrors: &'a Mirrors,
    work: &'a Path,
    keep_git_dir: bool,
    submodules: bool,
}

impl Job<'_> {
    /// Checks out into `tree`, which is made, and all submodules below it.
    pub(super) fn check_out(
        &self,
        git: Git<'_>,
        resolved: &Resolved,
        tree: &Path,
        depth: usize,
    ) -> Result<(Mirror, String), GitError> {
        let (mirror, commit) = self.mirrors.fetch(git, resolved)?;
        fs::create_dir_all(tree).map_err(GitError::io("create", tree))?;
        if self.keep_git_dir {
            with_repository(git, &mirror, resolved, &commit, tree)?;
        } else {
            self.plain(git, &mirror, &commit, tree)?;
        }
        if self.submodules {
            submodule::check_out_all(self, git, &mirror, &commit, tree, depth)?;
        }
        Ok((mirror, commit))
    }

    fn plain(
        &self,
        git: Git<'_>,
        mirror: &Mirror,
        commit: &str,
        tree: &Path,
    ) -> Result<(), GitError> {
        let index = self.work.join("index");
        let _ = fs::remove_file(&index);
        git.run("read-tree")
            .within(mirror.dir())
            .checking_out(tree, &index)
            .options(&["--reset", "-u"])
            .plain(commit.to_owned())
            .answer()?;
        Ok(())
    }
}

/// Checks out with a repository of its own, which holds this one commit and looks the same
/// whenever it is made.
fn with_repository(
    git: Git<'_>,
    mirror: &Mirror,
    resolved: &Resolved,
    commit: &str,
    tree: &Path,
) -> Result<(), GitError> {
    let own = tree.join(".git");
    let index = own.join("index");
    git.init(tree, &[], commit.len() > 40)?;
    let object = resolved
        .commit
        .as_ref()
        .map_or(commit, |_| resolved.object.as_str());
    git.run("fetch")
        .within(&own)
        .on_this_machine()
        .options(&["--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"])
        .words(&[mirror.dir().as_os_str(), object.as_ref()])
        .answer()?;
    let name = resolved
        .name
        .as_deref()
        .unwrap_or("refs/remotes/origin/HEAD");
    let run = |action| git.run(action).within(&own);
    run("update-ref").words(&[name, object]).answer()?;
    run("update-ref")
        .options(&["--no-deref", "HEAD"])
        .plain(commit.to_owned())
        .answer()?;
    run("read-tree")
        .checking_out(tree, &index)
        .options(&["--reset", "-u"])
        .plain(commit.to_owned())
        .answer()?;
    // Without what it knows of the files' inodes, the index is a function of the commit.
    let _ = fs::remove_file(&index);
    run("read-tree")
        .checking_out(tree, &index)
        .plain(commit.to_owned())
        .answer()?;
    run("config")
        .options(&["remote.origin.url"])
        .plain(git.access.remote.clone())
        .answer()?;
    run("config")
        .options(&["remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])
        .answer()?;
    for trace in TRACES {
        let trace = own.join(trace);
        let _ = fs::remove_dir_all(&trace).or_else(|_| fs::remove_file(&trace));
    }
    Ok(())
}

fn commit_time(git: Git<'_>, mirror: &Mirror, commit: &str) -> Result<i64, GitError> {
    let answer = git
        .run("show")
        .within(mirror.dir())
        .options(&["--no-patch", "--format=%ct"])
        .plain(commit.to_owned())
        .text()?;
    answer.parse().map_err(|_| GitError::Answer {
        action: "show",
        answer,
    })
}

/// Finds a directory below `tree`, which links cannot lead out of.
pub(super) fn directory_in(tree: &Path, subdir: &str) -> Result<PathBuf, GitError> {
    let missing = || GitError::NoDirectory {
        subdir: subdir.to_owned(),
    };
    let top = rustix::fs::open(tree, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| GitError::io("open", tree)(error.into()))?;
    let found = rustix::fs::openat2(
        &top,
        subdir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|_| missing())?;
    let real = |fd: &rustix::fd::OwnedFd| {
        use std::os::fd::AsRawFd;
        fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
    };
    real(&found).map_err(|_| missing())
}

/// Gives everything the modes that git knows, whatever the umask, and one time.
fn settle(top: &Path, mtime: i64) -> Result<(), GitError> {
    let mut open = vec![top.to_owned()];
    let mut dirs = Vec::new();
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(&dir).map_err(GitError::io("list", &dir))? {
            let item = item.map_err(GitError::io("list", &dir))?;
            let path = item.path();
            let meta = item.metadata().map_err(GitError::io("look at", &path))?;
            if meta.is_dir() {
                open.push(path);
                continue;
            }
            if meta.is_file() {
                let mode = meta.permissions().mode() & 0o777;
                chmod(&path, mode, file_mode(mode))?;
            }
            touch(&path, mtime)?;
        }
        dirs.push(dir);
    }
    for dir in dirs {
        chmod(&dir, 0, 0o755)?;
        touch(&dir, mtime)?;
    }
    Ok(())
}

/// Objects of `.git` are written once.
fn file_mode(mode: u32) -> u32 {
    match mode {
        mode if mode & 0o100 != 0 => 0o755,
        mode if mode & 0o200 == 0 => 0o444,
        _ => 0o644,
    }
}

fn chmod(path: &Path, is: u32, wanted: u32) -> Result<(), GitError> {
    if is == wanted {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(wanted)).map_err(GitError::io("chmod", path))
}

fn touch(path: &Path, mtime: i64) -> Result<(), GitError> {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| GitError::io("set the time of", path)(error.into()))
}
