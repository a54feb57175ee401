//! Packing layers into blobs.

use cooper_oci::{Compression, Descriptor, DiffId};

use crate::error::StoreError;
use crate::layer::{LayerId, Layers};

pub(super) fn diff_id(_layers: &Layers, id: &LayerId) -> Result<DiffId, StoreError> {
    Err(StoreError::MissingLayer { id: id.clone() })
}

pub(super) fn pack(
    _layers: &Layers,
    id: &LayerId,
    _compression: Compression,
    _level: Option<i32>,
) -> Result<Descriptor, StoreError> {
    Err(StoreError::MissingLayer { id: id.clone() })
}
