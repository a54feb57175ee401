//! Bare repositories that keep what has been fetched.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_cache::{MountHold, Store};
use cooper_solver::StableHasher;

use super::command::Git;
use super::error::GitError;
use super::resolve::Resolved;

/// How often a lock that another process holds is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Where what was fetched by its name is kept from being collected.
const KEPT: &str = "refs/cooper";
/// What a server that gives nothing by name is asked for.
const EVERYTHING: [&str; 2] = [
    "+refs/heads/*:refs/cooper/heads/*",
    "+refs/tags/*:refs/cooper/tags/*",
];

/// All mirrors of a store.
#[derive(Clone, Debug)]
pub(crate) struct Mirrors {
    store: Store,
}

/// The mirror of one repository; everything that was fetched from it.
#[derive(Debug)]
pub(crate) struct Mirror {
    dir: PathBuf,
    _hold: MountHold,
}

impl Mirrors {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Brings in what `resolved` means, unless it is here, and returns the mirror and the commit.
    pub(super) fn fetch(
        &self,
        git: Git<'_>,
        resolved: &Resolved,
    ) -> Result<(Mirror, String), GitError> {
        let mut name = StableHasher::new("cooper.git-mirror");
        name.write_str(&git.access.remote);
        // A repository has names of one length alone.
        name.write_u64(resolved.object.len().max(40) as u64);
        let name = format!("git-{}", name.finish_content());
        let dir = self.store.mounts_dir();
        let mirror = Mirror {
            _hold: self.store.hold_mount(&name)?,
            dir: dir.join(&name),
        };
        let _lock = lock(&dir.join(format!("{name}.lock")), git)?;
        let draft = self.store.tmp().join(&name);
        mirror.ensure(git, &draft, resolved.object.len() > 40)?;
        let commit = mirror.ensure_object(git, resolved)?;
        Ok((mirror, commit))
    }
}

/// Waits for the lock, unless the build is canceled meanwhile.
fn lock(path: &Path, git: Git<'_>) -> Result<File, GitError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(GitError::io("open", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(GitError::io("lock", path)(source)),
        }
        if git.watch.cancel.is_cancelled() {
            return Err(GitError::Canceled);
        }
        std::thread::sleep(LOCK_POLL);
    }
}

impl Mirror {
    /// Returns the repository.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the repository, which appears all at once.
    fn ensure(&self, git: Git<'_>, draft: &Path, sha256: bool) -> Result<(), GitError> {
        if self.dir.is_dir() {
            return Ok(());
        }
        let _ = fs::remove_dir_all(draft);
        git.init(draft, &["--bare"], sha256)?;
        // Checkouts with a repository of their own fetch from here, by name.
        let config = draft.join("config");
        let add = "[uploadpack]\n\tallowAnySHA1InWant = true\n";
        let text = fs::read_to_string(&config).map_err(GitError::io("read", &config))?;
        fs::write(&config, text + add).map_err(GitError::io("write", &config))?;
        fs::rename(draft, &self.dir).map_err(GitError::io("rename", draft))
    }

    /// Returns the commit, fetched if it is not here.
    fn ensure_object(&self, git: Git<'_>, resolved: &Resolved) -> Result<String, GitError> {
        if let Some(commit) = self.commit_of(git, &resolved.object) {
            return Ok(commit);
        }
        // A process that was killed in the middle of a fetch leaves it; we have the lock.
        let _ = fs::remove_file(self.dir.join("shallow.lock"));
        if resolved.commit.is_none() {
            self.fetch_everything(git)?;
        } else {
            match self.fetch_object(git, resolved) {
                Err(error) if error.is_worth_another_way() => self.fetch_everything(git)?,
                other => other?,
            }
        }
        self.commit_of(git, &resolved.object)
            .ok_or_else(|| GitError::NoReference {
                remote: git.access.remote.clone(),
                reference: resolved.object.clone(),
            })
    }

    /// Returns the commit that an object is, or that a tag points to, if it is here.
    fn commit_of(&self, git: Git<'_>, object: &str) -> Option<String> {
        let commit = git
            .run("rev-parse")
            .within(&self.dir)
            .options(&["--verify", "--quiet", "--end-of-options"])
            .plain(format!("{object}^{{commit}}"))
            .text()
            .ok()?;
        super::is_object_name(&commit).then_some(commit)
    }

    /// Asks for the object by its name, without its history.
    fn fetch_object(&self, git: Git<'_>, resolved: &Resolved) -> Result<(), GitError> {
        let object = &resolved.object;
        git.run("fetch")
            .within(&self.dir)
            .options(&["--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"])
            .words(&[&git.access.remote, object])
            .answer()?;
        git.run("update-ref")
            .within(&self.dir)
            .words(&[&format!("{KEPT}/{object}"), object])
            .answer()?;
        Ok(())
    }

    /// Asks for all branches and tags, with their histories.
    fn fetch_everything(&self, git: Git<'_>) -> Result<(), GitError> {
        let shallow = self.dir.join("shallow").exists();
        let unshallow: &[&str] = if shallow { &["--unshallow"] } else { &[] };
        let mut words = vec![git.access.remote.as_str()];
        words.extend(EVERYTHING);
        git.run("fetch")
            .within(&self.dir)
            .options(&["--quiet", "--no-tags", "--no-write-fetch-head"])
            .options(unshallow)
            .words(&words)
            .answer()?;
        Ok(())
    }
}
