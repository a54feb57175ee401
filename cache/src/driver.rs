//! How a stack of layers becomes a root file system: by an overlay, or as a copy of all of it.
//!
//! Whether overlays are to be had depends on the kernel, the privileges and the file system of
//! the store. Trying takes a mount, so the answer is kept in the file `driver` for as long as the
//! machine runs.

use std::fmt;
use std::fs;
use std::str::FromStr;

use crate::error::{IoContext, StoreError};
use crate::store::Store;

/// How layers are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Overlayfs shows the layers and takes what is written.
    Overlay,
    /// Every root file system is a directory with copies of all files, sharing blocks where the
    /// file system can; what was written is found by comparing.
    Vfs,
}

impl Driver {
    /// All names, as podman and buildah have them.
    pub const NAMES: [&str; 2] = ["overlay", "vfs"];
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlay => "overlay",
            Self::Vfs => "vfs",
        })
    }
}

/// No driver has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no storage driver")]
pub struct UnknownDriver(pub String);

impl FromStr for Driver {
    type Err = UnknownDriver;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "overlay" | "overlay2" => Ok(Self::Overlay),
            "vfs" => Ok(Self::Vfs),
            other => Err(UnknownDriver(other.to_owned())),
        }
    }
}

impl Store {
    /// Returns the driver that was asked for, else the one that was found under this boot; `works`
    /// finds it by mounting an overlay.
    pub fn driver(&self, works: impl FnOnce() -> bool) -> Result<Driver, StoreError> {
        if let Some(driver) = self.options().driver {
            return Ok(driver);
        }
        let shared = self.shared();
        let path = shared.layout.dir("driver");
        let noted = fs::read_to_string(&path).unwrap_or_default();
        if let Some((boot, name)) = noted.trim_end().split_once(' ')
            && boot == shared.boot_id
            && let Ok(driver) = name.parse()
        {
            return Ok(driver);
        }
        let driver = if works() {
            Driver::Overlay
        } else {
            Driver::Vfs
        };
        let note = format!("{} {driver}\n", shared.boot_id);
        shared.write_atomic(&path, note.as_bytes())?;
        Ok(driver)
    }

    /// Forgets which driver was found, so that it is looked for again.
    pub fn forget_driver(&self) -> Result<(), StoreError> {
        let path = self.shared().layout.dir("driver");
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.during("remove", &path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn what_was_found_is_asked_for_once_a_boot() {
        let (dir, store) = crate::testing::store();
        assert_eq!(store.driver(|| false).expect("found"), Driver::Vfs);
        assert_eq!(
            store.driver(|| panic!("asked again")).expect("known"),
            Driver::Vfs
        );
        store.forget_driver().expect("forget");
        assert_eq!(store.driver(|| true).expect("found"), Driver::Overlay);
        fs::write(dir.path().join("driver"), "another-boot vfs\n").expect("write");
        assert_eq!(store.driver(|| true).expect("found"), Driver::Overlay);
    }

    #[test]
    fn what_was_asked_for_is_not_looked_for() {
        let dir = tempfile::tempdir().expect("tempdir");
        let options = StoreOptions {
            driver: Some(Driver::Vfs),
            ..StoreOptions::default()
        };
        let store = Store::open(dir.path(), options).expect("open");
        let driver = store.driver(|| panic!("it is not to be tried"));
        assert_eq!(driver.expect("given"), Driver::Vfs);
    }
}
