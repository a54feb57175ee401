//! Unpacking layer tars, which may be hostile.

use std::fs::File;
use std::io::{self, Write};

use cooper_oci::DiffId;

use crate::error::StoreError;
use crate::layer::{LayerIndex, Staging};

/// What an archive may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of tar.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 256 << 30,
            entries: 20_000_000,
        }
    }
}

pub(super) fn unpack_layer(
    _file: File,
    _staging: &Staging,
    _diff_id: &DiffId,
    _userxattr: bool,
) -> Result<LayerIndex, StoreError> {
    Ok(LayerIndex::default())
}

pub(super) fn decompress_to(_file: File, _to: &mut dyn Write) -> io::Result<()> {
    Ok(())
}
