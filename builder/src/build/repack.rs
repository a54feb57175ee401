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
use crate::options::{BuildOptions, ImageFormat, Output, Squash};
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
    let mut formats = options.outputs.iter().filter_map(Output::format);
    if options.file_times.is_none()
        && target.epoch.is_none()
        && formats.any(|format| format.rewrite_timestamp)
    {
        progress.warn("rewrite-timestamp does nothing without SOURCE_DATE_EPOCH");
    }
    let Some(how) = asked(options, target.epoch) else {
        return Ok(image);
    };
    let chunked = how.form == Form::Chunked;
    let old = |layer: &&RootLayer| layer.created.is_none();
    let base = match options.squash {
        Squash::All => 0,
        _ if forced(options) => 0,
        Squash::Off | Squash::New => root.layers.iter().take_while(old).count(),
    };
    outputs::fetch(&target.engine, &image)?;
    let step = progress.step(if chunked {
        "packing layers in chunks"
    } else {
        "setting the times of files"
    });
    Ok(step.end_with(image.repacked(base, &how, target.engine.layers()))?)
}

/// Returns how the layers that a build made are packed anew, if they are.
pub(super) fn asked(options: &BuildOptions, epoch: Option<i64>) -> Option<Repacking> {
    let formats: Vec<&ImageFormat> = options.outputs.iter().filter_map(Output::format).collect();
    let asking = formats.iter().find(|format| format.rewrite_timestamp);
    let clamped = asking.and(epoch).map(FileTimes::AtMost);
    let times = options.file_times.or(clamped);
    let chunked = formats.iter().find(|format| format.chunked);
    if times.is_none() && chunked.is_none() {
        return None;
    }
    let format = chunked.or(asking).or(formats.first())?;
    let form = if format.chunked {
        Form::Chunked
    } else {
        Form::Whole(format.compression.unwrap_or(Compression::Gzip))
    };
    Some(Repacking {
        times,
        form,
        level: format.level,
    })
}

/// Whether layers of the base are packed in chunks, too.
fn forced(options: &BuildOptions) -> bool {
    let mut formats = options.outputs.iter().filter_map(Output::format);
    formats
        .find(|format| format.chunked)
        .is_some_and(|format| format.force)
}
