//! How large images are: what their layers hold, unpacked, as docker counts.

use cooper_cache::{ImageLayer, ImageRecord, Layers};
use rayon::prelude::*;

/// Returns the bytes of each layer's files. Of a layer that cannot be read it is the size of its
/// blob: what shows sizes shows the rest of the image, too.
pub fn layer_sizes(layers: &Layers, image: &ImageRecord) -> Vec<u64> {
    let size = |layer: &ImageLayer| {
        let blob = || layer.blobs.first().map_or(0, |blob| blob.size);
        let known = layers.content_size(&layer.layer);
        known.unwrap_or_else(|_| blob())
    };
    image.layers.par_iter().map(size).collect()
}

/// Returns the bytes of all layers' files.
pub fn image_size(layers: &Layers, image: &ImageRecord) -> u64 {
    layer_sizes(layers, image).iter().sum()
}
