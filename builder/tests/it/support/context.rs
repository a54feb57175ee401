//! Build contexts made by the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A directory with a Dockerfile and what it copies.
pub(crate) struct Context {
    dir: TempDir,
}

impl Context {
    /// Makes a context with `dockerfile` and nothing else.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let context = Self::empty();
        context.write("Dockerfile", dockerfile);
        context
    }

    /// Makes a context without a Dockerfile.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("context-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary directory");
        Self { dir }
    }

    /// Copies the directory `from`.
    pub(crate) fn copy_of(from: &Path) -> Self {
        let context = Self::empty();
        let status = Command::new("cp")
            .arg("-a")
            .arg(from.join("."))
            .arg(context.path())
            .status()
            .expect("cp");
        assert!(status.success(), "cp -a {}", from.display());
        context
    }

    /// Writes one file, below directories that are made as needed.
    pub(crate) fn write(&self, path: &str, data: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the context")).expect("mkdir");
        std::fs::write(&path, data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes one file, for use while a context is made.
    pub(crate) fn with(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        self.write(path, data);
        self
    }

    /// Runs shell commands inside the directory.
    pub(crate) fn sh(&self, script: &str) {
        let output = Command::new("sh")
            .args(["-euc", &format!("umask 022\n{script}")])
            .current_dir(self.path())
            .output()
            .expect("sh");
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }
}
