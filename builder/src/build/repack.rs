//! Layers of a result that are packed as other tars than their own: with other file times, or in
//! chunks.
//!
//! Both become part of the image's name, so what one output asks for holds for all of them.

use cooper_cache::{FileTimes, Form, Repacking};
use cooper_oci::Compression;

use super::error::BuildError;
use super::output::{Root, RootLayer};
use super::{TargetBuild, outputs};
use crate::image::Image;
use crate::options::{ImageFormat, Output, Squash};
use crate::progress::Progress;

/// Packs the layers that the build made as its outputs ask for, if they ask for anything.
///
/// Layers of the base are taken as they are, unless `force-compression` asks for chunks of them.
pub(super) fn repack(
    image: Image,
    target: &TargetBuild<'_>,
    root: &Root,
    progress: &Progress,
) -> Result<Image, BuildError> {
    let options = target.target.options;
    let formats: Vec<&ImageFormat> = options.outputs.iter().filter_map(Output::format).collect();
    let asking = formats.iter().find(|format| format.rewrite_timestamp);
    let times = match (options.file_times, asking, target.epoch) {
        (Some(times), ..) => Some(times),
        (None, Some(_), Some(epoch)) => Some(FileTimes::AtMost(epoch)),
        (None, Some(_), None) => {
            progress.warn("rewrite-timestamp does nothing without SOURCE_DATE_EPOCH");
            None
        }
        (None, None, _) => None,
    };
    let chunked = formats.iter().find(|format| format.chunked);
    if times.is_none() && chunked.is_none() {
        return Ok(image);
    }
    let Some(format) = chunked.or(asking).or(formats.first()) else {
        return Ok(image);
    };
    let form = if format.chunked {
        Form::Chunked
    } else {
        Form::Whole(format.compression.unwrap_or(Compression::Gzip))
    };
    let how = Repacking {
        times,
        form,
        level: format.level,
    };
    let old = |layer: &&RootLayer| layer.created.is_none();
    let base = match options.squash {
        Squash::All => 0,
        _ if format.chunked && format.force => 0,
        Squash::Off | Squash::New => root.layers.iter().take_while(old).count(),
    };
    outputs::fetch(&target.engine, &image)?;
    let step = progress.step(if format.chunked {
        "packing layers in chunks"
    } else {
        "setting the times of files"
    });
    Ok(step.end_with(image.repacked(base, &how, target.engine.layers()))?)
}
