//! The outputs of a build, one after the other, from one image.

use std::io::Write;

use cooper_cache::{ImageRecord, LayerId};
use cooper_oci::{Descriptor, Digest, Reference};
use rayon::prelude::*;

use super::Built;
use super::engine::Engine;
use super::error::BuildError;
use super::output::Root;
use crate::export::{ExportError, Layout, export_archive, export_directory, export_tar};
use crate::image::Image;
use crate::options::{ArchiveOutput, BuildOptions, ImageOutput, Output};
use crate::progress::{Progress, StepGuard};
use crate::push::{PushRequest, push_image};

/// Writes all outputs, then the files that tell of them.
pub(super) fn write(
    engine: &Engine,
    image: &Image,
    root: &Root,
    options: &BuildOptions,
    label: &str,
    progress: &Progress,
) -> Result<Built, BuildError> {
    let mut built = Built {
        id: Some(image.id.clone()),
        ..Built::default()
    };
    for output in &options.outputs {
        let step = progress.step(heading(output, label));
        let result = one(engine, image, root, options, output, &step);
        let result = step.end_with(result)?;
        built.manifest = result.or(built.manifest);
        let own = match output {
            Output::Image(to) => &to.names,
            Output::Oci(to) | Output::Docker(to) => &to.names,
            Output::Local { .. } | Output::Tar { .. } | Output::CacheOnly => continue,
        };
        built.names = names(own, &options.tags)
            .iter()
            .map(ToString::to_string)
            .collect();
    }
    report_files(&built, options)?;
    Ok(built)
}

fn heading(output: &Output, label: &str) -> String {
    let what = match output {
        Output::Image(to) if to.push.is_some() && !to.store => "pushing image",
        Output::Image(_) => "exporting to image",
        Output::Oci(_) => "exporting to oci image format",
        Output::Docker(_) => "exporting to docker image format",
        Output::Local { .. } => "exporting to client directory",
        Output::Tar { .. } => "exporting to client tarball",
        Output::CacheOnly => "keeping the result in the cache",
    };
    if label.is_empty() {
        what.to_owned()
    } else {
        format!("[{label}] {what}")
    }
}

fn one(
    engine: &Engine,
    image: &Image,
    root: &Root,
    options: &BuildOptions,
    output: &Output,
    step: &StepGuard,
) -> Result<Option<Descriptor>, BuildError> {
    match output {
        Output::CacheOnly => Ok(None),
        Output::Image(to) => to_image(engine, image, options, to, step),
        Output::Oci(to) => archive(engine, image, options, to, Layout::Oci).map(Some),
        Output::Docker(to) => archive(engine, image, options, to, Layout::Docker).map(Some),
        Output::Local { dest } => {
            let tree = engine
                .root_tree(root)
                .map_err(|source| BuildError::Internal { source })?;
            export_directory(&tree, dest)?;
            Ok(None)
        }
        Output::Tar { dest } => {
            let tree = engine
                .root_tree(root)
                .map_err(|source| BuildError::Internal { source })?;
            export_tar(&tree, dest)?;
            Ok(None)
        }
    }
}

fn names<'a>(own: &'a [Reference], tags: &'a [Reference]) -> &'a [Reference] {
    if own.is_empty() { tags } else { own }
}

fn archive(
    engine: &Engine,
    image: &Image,
    options: &BuildOptions,
    to: &ArchiveOutput,
    layout: Layout,
) -> Result<Descriptor, BuildError> {
    fetch_all(engine, image)?;
    let names = names(&to.names, &options.tags).to_vec();
    let mut written = export_archive(engine.store(), &[(image, names)], to, layout)?;
    written
        .pop()
        .map(|one| one.manifest)
        .ok_or_else(|| BuildError::Solver {
            message: "an archive without a manifest was written".to_owned(),
        })
}

fn to_image(
    engine: &Engine,
    image: &Image,
    options: &BuildOptions,
    to: &ImageOutput,
    step: &StepGuard,
) -> Result<Option<Descriptor>, BuildError> {
    let names = names(&to.names, &options.tags);
    if to.store {
        store(engine, image, names, step)?;
    }
    let Some(push) = to.push else { return Ok(None) };
    fetch_all(engine, image)?;
    let request = PushRequest {
        image,
        names,
        format: &to.format,
        original: None,
        by_digest: push.by_digest,
        canceled: &|| engine.remote().canceled(),
    };
    let pushed = push_image(engine.store(), engine.remote().client(), &request, step)?;
    Ok(Some(pushed))
}

/// Keeps the image under its names. An image that is there already only gets the names.
fn store(
    engine: &Engine,
    image: &Image,
    names: &[Reference],
    step: &StepGuard,
) -> Result<(), BuildError> {
    let images = engine.store().images();
    if images.get(&image.id)?.is_none() {
        fetch_all(engine, image)?;
        engine.store().blobs().put(&image.config_bytes)?;
        let record: ImageRecord = image.record(size(engine, image));
        images.put(&record)?;
    }
    step.status(&format!("writing image {}", image.id), 0, None, true);
    for name in names {
        let name = name.with_default_tag();
        images.tag(&name, &image.id)?;
        step.status(&format!("naming to {name}"), 0, None, true);
    }
    Ok(())
}

/// Brings in what is still only in a registry, so that the image can be kept or sent on.
fn fetch_all(engine: &Engine, image: &Image) -> Result<(), BuildError> {
    image
        .layers
        .par_iter()
        .try_for_each(|layer| engine.remote().ensure_blob(engine.store(), &layer.layer))
        .map_err(|source| BuildError::Internal {
            source: source.into(),
        })
}

/// Bytes of the image's files; layers that are not unpacked count with the size of their blob.
fn size(engine: &Engine, image: &Image) -> u64 {
    let layers = engine.layers();
    let of = |id: &LayerId, blob: Option<Descriptor>| match layers.get(id) {
        Ok(Some(layer)) => layer.size().unwrap_or_default(),
        _ => blob.map_or(0, |blob| blob.size),
    };
    image
        .layers
        .iter()
        .map(|layer| of(&layer.layer, layers.pending_blob(&layer.diff_id)))
        .sum()
}

/// Writes `--iidfile` and `--metadata-file`.
fn report_files(built: &Built, options: &BuildOptions) -> Result<(), BuildError> {
    if let (Some(path), Some(id)) = (&options.iidfile, &built.id) {
        write_file(path, id.to_string().as_bytes())?;
    }
    if let Some(path) = &options.metadata_file {
        write_file(path, &metadata(built))?;
    }
    Ok(())
}

fn metadata(built: &Built) -> Vec<u8> {
    let mut map = serde_json::Map::new();
    let mut add = |key: &str, value: serde_json::Value| map.insert(key.to_owned(), value);
    if let Some(id) = &built.id {
        add("containerimage.config.digest", id.to_string().into());
    }
    if let Some(manifest) = &built.manifest {
        add(
            "containerimage.descriptor",
            serde_json::to_value(manifest).unwrap_or_default(),
        );
    }
    let digest: Option<&Digest> = built
        .manifest
        .as_ref()
        .map(|manifest| &manifest.digest)
        .or(built.id.as_ref());
    if let Some(digest) = digest {
        add("containerimage.digest", digest.to_string().into());
    }
    if !built.names.is_empty() {
        add("image.name", built.names.join(",").into());
    }
    cooper_oci::json::to_vec_pretty(&map)
}

fn write_file(path: &std::path::Path, bytes: &[u8]) -> Result<(), BuildError> {
    let write = || -> std::io::Result<()> {
        let dir = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(std::path::Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".cooper-")
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| {
        ExportError::Write {
            path: path.to_owned(),
            source,
        }
        .into()
    })
}
