//! Git repositories made by the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::need;

/// A directory of repositories.
pub(crate) struct Repositories {
    dir: TempDir,
}

impl Repositories {
    /// Needs git.
    pub(crate) fn new() -> Option<Self> {
        need::tool("git")?;
        let dir = tempfile::Builder::new()
            .prefix("repositories-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory");
        Some(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Makes the repository `name` and runs shell commands in it; `commit MESSAGE` commits
    /// everything.
    pub(crate) fn make(&self, name: &str, script: &str) -> &Self {
        std::fs::create_dir_all(self.join(name)).expect("mkdir");
        self.sh(name, &format!("git init -q -b main .\n{script}"));
        self
    }

    /// Runs shell commands in the repository `name`; returns what they write.
    pub(crate) fn sh(&self, name: &str, script: &str) -> String {
        let commit = "commit() { git add -A && git commit -q --allow-empty -m \"$1\"; }";
        let output = Command::new("sh")
            .args(["-euc", &format!("umask 022\n{commit}\n{script}")])
            .current_dir(self.join(name))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "a")
            .env("GIT_AUTHOR_EMAIL", "a@example.com")
            .env("GIT_COMMITTER_NAME", "a")
            .env("GIT_COMMITTER_EMAIL", "a@example.com")
            .env("GIT_AUTHOR_DATE", "1700000000 +0000")
            .env("GIT_COMMITTER_DATE", "1700000000 +0000")
            .env("GIT_ALLOW_PROTOCOL", "file:http:ext")
            .output()
            .expect("sh");
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns the full name of the commit that `reference` means.
    pub(crate) fn commit(&self, name: &str, reference: &str) -> String {
        self.sh(name, &format!("git rev-parse '{reference}^{{commit}}'"))
    }

    /// Returns the address of a repository on this machine.
    pub(crate) fn file_url(&self, name: &str) -> String {
        format!("file://{}", self.join(name).display())
    }
}
