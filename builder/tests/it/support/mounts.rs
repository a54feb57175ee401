//! Mounts: those that a test makes and those that cooper must not leave.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the mount points below `dir`.
pub(crate) fn below(dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    std::fs::read_to_string("/proc/self/mounts")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|target| target.starts_with(&prefix))
        .map(str::to_owned)
        .collect()
}

/// A small tmpfs that goes away with the value.
pub(crate) struct Tmpfs {
    target: PathBuf,
}

impl Tmpfs {
    /// Mounts a tmpfs with `options` on the new directory `target`. Needs root.
    pub(crate) fn mount(target: PathBuf, options: &str) -> Self {
        std::fs::create_dir(&target).expect("mkdir");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&target)
            .status()
            .expect("mount");
        assert!(status.success(), "mount {}", target.display());
        Self { target }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.target
    }

    /// Changes the options of the mount.
    pub(crate) fn remount(&self, options: &str) {
        assert!(
            self.try_remount(options),
            "remount {}",
            self.target.display()
        );
    }

    /// Changes the options of the mount, unless it is busy; whether it did.
    pub(crate) fn try_remount(&self, options: &str) -> bool {
        let output = Command::new("mount")
            .arg("-o")
            .arg(format!("remount,{options}"))
            .arg(&self.target)
            .output()
            .expect("mount");
        output.status.success()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.target).status();
    }
}
