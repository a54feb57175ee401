//! `--verify-reproducible`: everything is executed twice, and what came of it compared.
//!
//! Both rounds work in one store, which keeps one layer of each content. What tells two builds
//! apart beyond content, the times of files, is therefore taken from the indices as they were
//! made.

use cooper_cache::{Difference, FileTimes, LayerId, LayerIndex, MadeLayers, StoreError, Timestamp};
use cooper_frontend::{SourceFile, Span};
use std::sync::Arc;

use super::engine::Workshop;
use super::error::BuildError;
use super::solve::Solved;
use super::target::TargetBuild;
use crate::options::Output;

/// What one execution of all targets came to.
pub(super) struct Round {
    /// By target, then by platform.
    pub(super) solved: Vec<Vec<Solved>>,
    /// The layers that were made, as they were made.
    pub(super) made: MadeLayers,
}

/// What one instruction does otherwise each time.
#[derive(Debug, Clone)]
pub struct Unsteady {
    /// Where it is written.
    pub span: Option<Span>,
    /// The paths that differ, and why.
    pub paths: Vec<Difference>,
}

/// Fails unless both rounds came to the same.
pub(super) fn compare(
    shared: &Workshop,
    targets: &[TargetBuild<'_>],
    first: &Round,
    second: &Round,
) -> Result<(), BuildError> {
    for (number, target) in targets.iter().enumerate() {
        let mut found = Vec::new();
        for (at, variant) in target.variants.iter().enumerate() {
            let (a, b) = (&first.solved[number][at], &second.solved[number][at]);
            let (a, b) = (&a.root, &b.root);
            let history = &variant.lowered().history;
            let made = |layer: &usize| a.layers[*layer].created.is_some();
            for layer in (0..a.layers.len().min(b.layers.len())).filter(made) {
                let one = index(shared, first, &a.layers[layer].id)?;
                let two = index(shared, second, &b.layers[layer].id)?;
                let times = times(target);
                let paths = one.differences(&two, |time| counted(time, times));
                if !paths.is_empty() {
                    let span = a.place(history, layer);
                    found.push(Unsteady { span, paths });
                }
            }
        }
        if !found.is_empty() {
            return Err(not_reproducible(&target.source, found));
        }
    }
    Ok(())
}

fn not_reproducible(file: &SourceFile, steps: Vec<Unsteady>) -> BuildError {
    BuildError::NotReproducible {
        paths: steps.iter().map(|step| step.paths.len()).sum(),
        file: file.clone(),
        steps,
    }
}

fn index(shared: &Workshop, round: &Round, id: &LayerId) -> Result<Arc<LayerIndex>, StoreError> {
    match round.made.get(id) {
        Some(index) => Ok(Arc::clone(index)),
        None => shared.layers().ensure(id)?.index(),
    }
}

/// Returns what becomes of the times of files when the image is written.
fn times(target: &TargetBuild<'_>) -> Option<FileTimes> {
    let options = target.target.options;
    let mut formats = options.outputs.iter().filter_map(Output::format);
    let rewritten = formats.any(|format| format.rewrite_timestamp);
    let clamp = target.epoch.map(FileTimes::AtMost);
    options.file_times.or(clamp.filter(|_| rewritten))
}

/// Returns what counts of a time of modification: the second that a layer's tar has.
fn counted(time: Timestamp, times: Option<FileTimes>) -> i64 {
    times.map_or(time, |times| times.of(time)).secs
}
