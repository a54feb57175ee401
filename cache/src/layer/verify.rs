//! Whether a layer's directory can be trusted after a reboot.

use std::fs;
use std::path::Path;

use crate::error::StoreError;
use crate::layer::LayerId;
use crate::store::Shared;

/// Whether the layer is there, and was either written under this boot or verified under it.
pub(super) fn is_sound(shared: &Shared, _id: &LayerId, dir: &Path) -> Result<bool, StoreError> {
    let stamp = dir.join("stamp");
    match fs::read_to_string(&stamp) {
        Ok(stamp) if stamp == shared.boot_id => Ok(true),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("read", &stamp, error)),
    }
}
