//! Volumes that stand for something else: a directory of this machine, or a file system that
//! mount(8) knows, such as one in memory or of another machine.
//!
//! A file system is mounted at the volume's directory while a container that mounts the volume
//! runs, for all of them together, as docker does. mount(8) is asked since it knows more kinds than
//! the kernel by itself: helpers of NFS and CIFS resolve names and ask for passwords.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::UnmountFlags;
use thiserror::Error;

/// What a volume stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// A directory as it is.
    Directory(PathBuf),
    /// A file system.
    FileSystem(FileSystem),
}

/// What is said to mount(8).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileSystem {
    kind: Option<String>,
    options: Option<String>,
    device: String,
}

/// Why a file system could not be mounted.
#[derive(Debug, Error)]
pub(super) enum MountError {
    /// mount(8) could not be started.
    #[error("cannot start mount")]
    Start(#[source] io::Error),
    /// mount(8) failed.
    #[error("{0}")]
    Refused(String),
    /// What one user mounts, only that user's command sees.
    #[error("a volume with a file system of its own needs root")]
    Rootless,
}

impl MountError {
    /// Returns what to do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start(_) => Some("install the package mount (util-linux)"),
            Self::Refused(said)
                if said.contains("helper program") || said.contains("unknown filesystem type") =>
            {
                Some("install what mounts it: nfs-common for nfs, cifs-utils for cifs")
            }
            Self::Refused(_) => None,
            Self::Rootless => Some(
                "mount it first, and let the volume stand for the directory: \
                 --opt type=none --opt o=bind --opt device=/DIR; memory is --mount type=tmpfs",
            ),
        }
    }
}

impl Backing {
    /// Returns what a volume with these options stands for, if for anything.
    pub(super) fn of(options: &BTreeMap<String, String>) -> Option<Self> {
        let device = options.get("device")?;
        let words = options.get("o").map(String::as_str).unwrap_or_default();
        let mut words = words.split(',');
        let plain = words.clone().any(|word| matches!(word, "bind" | "rbind"))
            && words.all(|word| matches!(word, "bind" | "rbind" | "rw"));
        if plain {
            return Some(Self::Directory(device.into()));
        }
        Some(Self::FileSystem(FileSystem {
            kind: options.get("type").filter(|kind| *kind != "none").cloned(),
            options: options.get("o").cloned(),
            device: device.clone(),
        }))
    }
}

impl FileSystem {
    /// Mounts it at `target`, unless something is mounted there already.
    pub(super) fn mount(&self, target: &Path, rootless: bool) -> Result<(), MountError> {
        if rootless {
            return Err(MountError::Rootless);
        }
        if is_mounted(target).map_err(MountError::Start)? {
            return Ok(());
        }
        let mut command = Command::new("mount");
        command.args(self.kind.iter().flat_map(|kind| ["-t", kind]));
        command.args(self.options.iter().flat_map(|options| ["-o", options]));
        let output = command
            .arg("--")
            .arg(&self.device)
            .arg(target)
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .output()
            .map_err(MountError::Start)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty());
        let first = first.unwrap_or("mount failed without a word");
        Err(MountError::Refused(first.trim().to_owned()))
    }
}

/// Unmounts what is mounted at `target`, if anything is.
pub(super) fn unmount(target: &Path) -> io::Result<()> {
    match is_mounted(target) {
        Ok(true) => Ok(rustix::mount::unmount(target, UnmountFlags::DETACH)?),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_mounted(target: &Path) -> io::Result<bool> {
    let above = target.parent().unwrap_or(target);
    Ok(fs::metadata(target)?.dev() != fs::metadata(above)?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_stands_for_what_its_options_say() {
        let of = |texts: &[(&str, &str)]| {
            let pairs = texts.iter();
            Backing::of(
                &pairs
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            )
        };
        let device = ("device", "/srv");
        assert_eq!(of(&[]), None);
        for words in ["bind", "rbind", "rw,bind"] {
            let expected = Some(Backing::Directory("/srv".into()));
            assert_eq!(of(&[device, ("o", words), ("type", "none")]), expected);
        }
        let system = |kind: Option<&str>, options: &str| {
            Some(Backing::FileSystem(FileSystem {
                kind: kind.map(str::to_owned),
                options: Some(options.to_owned()),
                device: "/srv".to_owned(),
            }))
        };
        assert_eq!(
            of(&[device, ("o", "bind,ro"), ("type", "none")]),
            system(None, "bind,ro")
        );
        assert_eq!(
            of(&[device, ("o", "addr=10.0.0.1,rw"), ("type", "nfs")]),
            system(Some("nfs"), "addr=10.0.0.1,rw")
        );
    }
}
