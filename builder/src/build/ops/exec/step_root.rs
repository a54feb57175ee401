//! The root file system of a step: an overlay of its base's layers, or a copy of them.

use cooper_cache::{Driver, Layer, RelPath, Snapshot, Staging};
use cooper_runner::Rootfs;

use crate::build::engine::Engine;
use crate::build::error::OpError;
use crate::build::output::Root;

/// Where a step's process works. Dropped uncommitted, it leaves nothing.
pub(in crate::build) enum StepRoot {
    /// Over the base's layers, with an upper directory for what is written.
    Overlay(Staging),
    /// In a copy of all that the base has.
    Copy(Snapshot),
}

impl StepRoot {
    /// Prepares a root with all that `base` has.
    pub(super) fn prepare(engine: &Engine, base: &Root) -> Result<(Self, Rootfs), OpError> {
        if engine.driver()? == Driver::Vfs {
            let copy = engine.snapshot(base, &RelPath::root())?;
            let rootfs = Rootfs::Directory(copy.fs());
            return Ok((Self::Copy(copy), rootfs));
        }
        let lowers = engine.lower_dirs(base)?;
        let mut staging = engine.layers().prepare()?;
        if let Some(dir) = engine.root_dir(base)? {
            staging.inherit_root(&dir)?;
        }
        let rootfs = Rootfs::Overlay {
            lowers,
            upper: staging.fs(),
            work: staging.work(),
            userxattr: engine.userxattr(),
        };
        Ok((Self::Overlay(staging), rootfs))
    }

    /// Makes a layer of what the process changed of `base`.
    pub(in crate::build) fn commit(self, engine: &Engine, base: &Root) -> Result<Layer, OpError> {
        let layers = engine.layers();
        match self {
            Self::Overlay(staging) => layers.commit_over(staging, || engine.root_tree(base)),
            Self::Copy(copy) => Ok(layers.commit_snapshot(&copy, &engine.root_tree(base)?)?),
        }
    }
}
