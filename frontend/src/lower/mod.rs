//! Instructions to build operations and image configuration.
//!
//! Lowering is pure: a [`Plan`] and the images it asked for
//! become a graph of [`BuildOp`]s, the configuration of the target's image,
//! and its history. Every reachable stage is lowered once, in file order.
//!
//! Targets of one build go into one graph ([`GraphBuilder`]), one after the
//! other ([`Plan::lower_into`]): what is the same in two of them becomes one
//! vertex, and a later one can start from what an earlier one comes to
//! ([`ImageLayers::Target`](crate::image::ImageLayers::Target)).

mod chmod;
mod copy;
mod entitlements;
mod format;
mod graph;
mod meta;
mod ports;
mod remote;
mod run;
mod scan;
mod stage;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cooper_oci::ImageConfig;
use cooper_solver::{Graph, VertexId};

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::image::ResolvedImages;
use crate::ir::BuildOp;
use crate::plan::{Plan, Reach};
use crate::source::{Span, Spanned};

pub use graph::{GraphBuilder, Target};
pub(crate) use meta::NO_VARIABLES;
pub use scan::Scans;
pub(crate) use stage::DEFAULT_PATH;
use stage::StageState;

/// A build of one target, ready to be solved.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Everything that may have to run.
    pub graph: Graph<BuildOp>,
    /// What to call each vertex in front of people. Vertices that stand for no
    /// instruction (contexts, downloads) are missing.
    pub steps: BTreeMap<VertexId, Step>,
    /// The target.
    pub result: LoweredTarget,
}

impl std::ops::Deref for Lowered {
    type Target = LoweredTarget;

    fn deref(&self) -> &LoweredTarget {
        &self.result
    }
}

/// One target of a build, in a graph.
#[derive(Clone, Debug)]
pub struct LoweredTarget {
    /// The positions of the vertices that this target brought into the graph;
    /// others that it needs were there.
    pub added: Range<usize>,
    /// The vertex whose layers are the image's; `None` for an image without
    /// layers.
    pub target: Option<VertexId>,
    /// The image's configuration: the base image's with this build's edits.
    /// Its history and `rootfs` are still the base image's; `created` is
    /// `None`.
    pub image: ImageConfig,
    /// History to be added to the base image's.
    pub history: Vec<HistoryItem>,
    /// What else a list of packages is to be made of.
    pub scans: Scans,
    /// Things worth saying that do not stop the build.
    pub warnings: Vec<Diagnostic>,
}

/// One line of the image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// The instruction, as docker records it.
    pub created_by: String,
    /// Always `buildkit.dockerfile.v0`, which other tools look for.
    pub comment: String,
    /// Who made it; empty.
    pub author: String,
    /// The vertex that adds the layer; `None` for an empty one.
    pub layer: Option<VertexId>,
    /// Where the instruction is written; for a trigger its ONBUILD, or the `FROM` line of an image
    /// that brings it along.
    pub span: Span,
}

/// An instruction that became a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the stage, `stage-N` if it has none.
    pub stage: String,
    /// Number of the step in its stage, from 1.
    pub index: usize,
    /// Steps of the stage.
    pub total: usize,
    /// The instruction with its variables expanded.
    pub command: String,
    /// As docker shows it: `[build 2/5] RUN make`.
    pub display: String,
    /// Where it is written; for a trigger its ONBUILD, or the `FROM` line of an image that brings it
    /// along.
    pub span: Span,
    /// Its words that what happens to it may be about, expanded: what is copied, where it goes and
    /// whose it is to be, the fields of its mounts. None for a trigger, which need not be written in this file.
    pub words: Vec<Spanned<String>>,
    /// The configuration of an image of what the step comes to.
    pub image: Arc<ImageConfig>,
}

/// Lowers all reachable stages into a graph of their own.
pub(crate) fn lower(plan: &Plan, images: &ResolvedImages) -> Result<Lowered, Diagnostics> {
    let mut graph = GraphBuilder::default();
    let result = lower_into(&mut graph, Target::default(), plan, images)?;
    let (graph, steps) = graph.finish();
    Ok(Lowered {
        graph,
        steps,
        result,
    })
}

/// Lowers all reachable stages into `graph`.
pub(crate) fn lower_into(
    graph: &mut GraphBuilder,
    target: Target,
    plan: &Plan,
    images: &ResolvedImages,
) -> Result<LoweredTarget, Diagnostics> {
    let reach = Reach::find(plan, images);
    let mut errors = reach.errors.clone();
    errors.extend(reach.missing.iter().map(|request| {
        let message = format!("the image {} has not been resolved", request.name);
        Diagnostic::error(Code::UnresolvedImage, request.span, message)
    }));
    if !errors.is_empty() {
        return Err(errors);
    }
    graph.begin(target);
    let before = graph.len();
    let mut lowering = Lowering {
        plan,
        images,
        graph,
        done: Vec::new(),
        warnings: Vec::new(),
        errors,
    };
    lowering.stages(&reach);
    lowering.finish(before)
}

/// Returns what is wrong with the instructions of a plan as far as that shows without images.
pub(crate) fn without_images(plan: &Plan) -> Diagnostics {
    let images = ResolvedImages::new();
    let reach = Reach::find(plan, &images);
    let mut lowering = Lowering {
        plan,
        images: &images,
        graph: &mut GraphBuilder::default(),
        done: Vec::new(),
        warnings: Vec::new(),
        errors: Vec::new(),
    };
    lowering.stages(&reach);
    lowering.errors
}

/// Lowering under way.
struct Lowering<'a> {
    plan: &'a Plan,
    images: &'a ResolvedImages,
    graph: &'a mut GraphBuilder,
    /// The finished stages; `None` for those that are not needed.
    done: Vec<Option<StageState>>,
    warnings: Diagnostics,
    errors: Diagnostics,
}

impl Lowering<'_> {
    fn stages(&mut self, reach: &Reach) {
        for (index, commands) in reach.stages.iter().enumerate() {
            let state = commands.as_ref();
            let state = state.map(|commands| self.stage(index, commands));
            self.done.push(state);
        }
    }

    fn finish(mut self, before: usize) -> Result<LoweredTarget, Diagnostics> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let scans = self.scans();
        let target = self.done.swap_remove(self.plan.target);
        let state = target.expect("the target is always reachable");
        let mut image = state.image;
        let settings = &self.plan.settings;
        image.config.labels.extend(settings.labels.iter().cloned());
        let unset = |entry: &String| {
            let name = entry
                .split_once('=')
                .map_or(entry.as_str(), |(name, _)| name);
            settings.unset_env.iter().any(|unset| unset == name)
        };
        image.config.env.retain(|entry| !unset(entry));
        if settings.platform_explicit {
            let platform = &settings.platform;
            let same = image.os == platform.os && image.architecture == platform.architecture;
            image.os.clone_from(&platform.os);
            image.architecture.clone_from(&platform.architecture);
            if platform.variant.is_some() || !same {
                image.variant.clone_from(&platform.variant);
            }
            if platform.os_version.is_some() || !same {
                image.os_version.clone_from(&platform.os_version);
            }
        }
        let normal = image.platform().normalized();
        image.set_platform(&normal);
        Ok(LoweredTarget {
            added: before..self.graph.len(),
            target: state.layers,
            image,
            history: state.history,
            scans,
            warnings: self.plan.warnings().chain(self.warnings).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
