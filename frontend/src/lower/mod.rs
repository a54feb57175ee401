//! Instructions to build operations and image configuration.
//!
//! Lowering is pure: a [`Plan`](crate::plan::Plan) and the images it asked for
//! become a graph of [`BuildOp`]s, the configuration of the target's image,
//! and its history. Every reachable stage is lowered once, in file order.

use std::collections::BTreeMap;

use cooper_oci::ImageConfig;
use cooper_solver::{Graph, VertexId};

use crate::error::Diagnostic;
use crate::ir::BuildOp;
use crate::source::Span;

/// A build ready to be solved.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// Everything that may have to run.
    pub graph: Graph<BuildOp>,
    /// The vertex whose layers are the image's; `None` for an image without
    /// layers.
    pub target: Option<VertexId>,
    /// The image's configuration: the base image's with this build's edits.
    /// Its history and `rootfs` are still the base image's; `created` is
    /// `None`.
    pub image: ImageConfig,
    /// History to be added to the base image's.
    pub history: Vec<HistoryItem>,
    /// What to call each vertex in front of people. Vertices that stand for no
    /// instruction (contexts, downloads) are missing.
    pub steps: BTreeMap<VertexId, Step>,
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
    /// Where it is written; for a trigger of a base image, its `FROM` line.
    pub span: Span,
}
