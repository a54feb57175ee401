//! Whether the places that a build is to write to can be written, asked before it starts: an
//! hour of work is not lost to a name that is a directory.

use std::path::{Path, PathBuf};

use rustix::fs::Access;
use thiserror::Error;

use crate::options::{ArchiveDest, BuildOptions, Output, Sink};

/// A place that cannot be written to.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum DestinationError {
    /// A file is to be written where a directory is.
    #[error("cannot write {}: it is a directory", path.display())]
    IsADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Files are to be written below what is no directory.
    #[error("cannot write below {}: it is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A directory is missing.
    #[error("cannot write {}: the directory {} does not exist", path.display(), missing.display())]
    NoParent {
        /// What was to be written.
        path: PathBuf,
        /// The directory.
        missing: PathBuf,
    },
    /// A directory or file refuses.
    #[error("cannot write {}: {} is not writable for this user", path.display(), refusing.display())]
    NotWritable {
        /// What was to be written.
        path: PathBuf,
        /// What refuses.
        refusing: PathBuf,
    },
}

impl DestinationError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::IsADirectory { path } => {
                format!("name a file in it, such as {}", path.join("out").display())
            }
            Self::NotADirectory { .. } => "give another destination, or remove that".to_owned(),
            Self::NoParent { missing, .. } => format!("mkdir -p {}", missing.display()),
            Self::NotWritable { .. } => "give another destination".to_owned(),
        }
    }
}

/// Checks all places that `options` name.
pub(super) fn check(options: &BuildOptions) -> Result<(), DestinationError> {
    for output in &options.outputs {
        match output {
            Output::Tar { dest, .. } => sink(dest)?,
            Output::Local { dest, .. } => directory(dest)?,
            Output::Oci(archive) | Output::Docker(archive) => match &archive.dest {
                ArchiveDest::Tar(dest) => sink(dest)?,
                ArchiveDest::Directory(dest) => directory(dest)?,
            },
            Output::Image(_) | Output::CacheOnly => {}
        }
    }
    for path in [&options.iidfile, &options.metadata_file]
        .into_iter()
        .flatten()
    {
        file(path)?;
        let parent = parent(path);
        if !parent.exists() {
            return Err(DestinationError::NoParent {
                path: path.clone(),
                missing: parent.to_owned(),
            });
        }
    }
    Ok(())
}

fn sink(sink: &Sink) -> Result<(), DestinationError> {
    match sink {
        Sink::Stdout => Ok(()),
        Sink::File(path) => file(path),
    }
}

/// A file is replaced, so that its directory must let it; a device or pipe is written itself.
fn file(path: &Path) -> Result<(), DestinationError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(DestinationError::IsADirectory {
            path: path.to_owned(),
        }),
        Ok(meta) if !meta.is_file() => writable(path, path),
        _ => below(path, parent(path)),
    }
}

fn directory(path: &Path) -> Result<(), DestinationError> {
    below(path, path)
}

/// Checks that `path` can be made below `directory`, whose missing parts will be made.
fn below(path: &Path, directory: &Path) -> Result<(), DestinationError> {
    let Some(existing) = directory
        .ancestors()
        .find(|ancestor| ancestor.as_os_str().is_empty() || ancestor.symlink_metadata().is_ok())
    else {
        return Ok(());
    };
    let existing = if existing.as_os_str().is_empty() {
        Path::new(".")
    } else {
        existing
    };
    if !existing.is_dir() {
        return Err(DestinationError::NotADirectory {
            path: existing.to_owned(),
        });
    }
    writable(path, existing)
}

fn writable(path: &Path, refusing: &Path) -> Result<(), DestinationError> {
    rustix::fs::access(refusing, Access::WRITE_OK).map_err(|_| DestinationError::NotWritable {
        path: path.to_owned(),
        refusing: refusing.to_owned(),
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_judged_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        std::fs::create_dir(root.join("dir")).expect("mkdir");
        std::fs::write(root.join("file"), "x").expect("write");
        let at = |name: &str| root.join(name);
        let is_dir = DestinationError::IsADirectory { path: at("dir") };
        let not_dir = DestinationError::NotADirectory { path: at("file") };
        for (name, as_file, as_directory) in [
            ("new", Ok(()), Ok(())),
            ("new/deep/er", Ok(()), Ok(())),
            ("dir", Err(&is_dir), Ok(())),
            ("file", Ok(()), Err(&not_dir)),
            ("file/below", Err(&not_dir), Err(&not_dir)),
            ("dir/new", Ok(()), Ok(())),
        ] {
            let found = file(&at(name));
            assert_eq!(found.as_ref().copied(), as_file, "{name}");
            let found = directory(&at(name));
            assert_eq!(found.as_ref().copied(), as_directory, "{name}");
        }
        assert_eq!(file(Path::new("/dev/null")), Ok(()));
        assert_eq!(file(Path::new("relative.tar")), Ok(()));
    }
}
