//! Layer tars.

use std::io::Write;
use std::path::Path;

use crate::error::StoreError;
use crate::layer::LayerIndex;

pub(super) fn write_layer(
    _index: &LayerIndex,
    _fs: &Path,
    _to: &mut dyn Write,
) -> Result<(), StoreError> {
    Ok(())
}
