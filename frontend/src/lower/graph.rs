//! The graph under construction: equal vertices are one, and every local
//! context is one vertex that knows all paths read from it.
//!
//! Several targets can be lowered into one graph, one after the other. What
//! they have in common is then there once, in the hands of the first of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cooper_solver::{CacheKey, Graph, Vertex, VertexId};

use crate::image::{ImageLayers, ImageRequest, ResolvedImage};
use crate::ir::{
    BuildOp, CopyAction, CopySource, FileAction, FileOp, ImageSource, ImageSourceUnkeyed,
    LocalSource, SourceOp, Unpack,
};

use super::Step;

/// What makes two vertices one.
type Identity = (CacheKey, Vec<VertexId>, bool);

/// A build graph that targets are lowered into.
#[derive(Default)]
pub struct GraphBuilder {
    graph: Graph<BuildOp>,
    known: HashMap<Identity, VertexId>,
    locals: HashMap<LocalId, Local>,
    steps: BTreeMap<VertexId, Step>,
    /// The target that is being lowered.
    target: Target,
    /// How many targets have been begun.
    targets: usize,
}

/// What the graph knows of the target that is being lowered into it.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// What tells its steps from those of other targets in front of people;
    /// empty if there is no other target.
    pub label: String,
    /// Identities of local contexts by name. Contexts of one identity are one,
    /// whichever targets read them; one without belongs to this target alone.
    pub contexts: BTreeMap<String, String>,
}

/// What makes two local contexts one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum LocalId {
    /// The caller says so.
    Shared(String),
    /// It belongs to one target.
    Own(usize, String),
}

struct Local {
    vertex: VertexId,
    /// Relative paths; the empty one is everything.
    paths: BTreeSet<String>,
}

impl GraphBuilder {
    /// Begins a target: what is added from here on is its own.
    pub(super) fn begin(&mut self, target: Target) {
        self.targets += 1;
        self.target = target;
    }

    /// Returns the number of vertices so far.
    pub(super) fn len(&self) -> usize {
        self.graph.len()
    }

    /// Returns `text`, which ends up in brackets, with the target's label in front.
    pub(super) fn labelled(&self, text: &str) -> String {
        let label = &self.target.label;
        match (label.is_empty(), text.is_empty()) {
            (true, _) => text.to_owned(),
            (false, true) => label.clone(),
            (false, false) => format!("{label} {text}"),
        }
    }

    /// Adds a vertex, or finds the one that is the same.
    pub(super) fn add(
        &mut self,
        op: BuildOp,
        inputs: &[VertexId],
        name: &str,
        ignore_cache: bool,
    ) -> VertexId {
        let identity = (CacheKey::of("build op", &op), inputs.to_vec(), ignore_cache);
        let graph = &mut self.graph;
        *self.known.entry(identity).or_insert_with(|| {
            let vertex = Vertex {
                op,
                name: name.to_owned(),
                ignore_cache,
            };
            graph.add(vertex, inputs)
        })
    }

    /// Names a vertex after its instruction; the first one counts.
    pub(super) fn describe(&mut self, vertex: VertexId, step: Step) {
        self.steps.entry(vertex).or_insert(step);
    }

    /// Returns the vertex of a local context, of which a path is read.
    pub(super) fn local(&mut self, name: &str, path: &str) -> VertexId {
        let id = match self.target.contexts.get(name) {
            Some(identity) => LocalId::Shared(identity.clone()),
            None => LocalId::Own(self.targets, name.to_owned()),
        };
        let label = if name == "context" {
            format!("[{}] load build context", self.labelled("internal"))
        } else {
            let context = format!("context {name}");
            format!("[{}] load from client", self.labelled(&context))
        };
        let graph = &mut self.graph;
        let local = self.locals.entry(id).or_insert_with(|| {
            let source = LocalSource {
                name: name.to_owned(),
                paths: Vec::new(),
            };
            // Not by its op's key: equal names of two targets are two contexts.
            let op = BuildOp::Source(SourceOp::Local(source));
            Local {
                vertex: graph.add(Vertex::new(label, op), &[]),
                paths: BTreeSet::new(),
            }
        });
        local.paths.insert(path.trim_start_matches('/').to_owned());
        local.vertex
    }

    /// Returns the vertex of an image's layers; none if it has no layers.
    pub(super) fn image(
        &mut self,
        request: &ImageRequest,
        image: &ResolvedImage,
    ) -> Option<VertexId> {
        let layers = match &image.layers {
            ImageLayers::Target { vertex, .. } => return *vertex,
            ImageLayers::Stored(layers) if layers.is_empty() => return None,
            ImageLayers::Stored(layers) => layers.clone(),
        };
        let unkeyed = ImageSourceUnkeyed {
            key: request.key.clone(),
            reference: image
                .reference
                .clone()
                .or_else(|| request.reference.clone()),
            platform: request.platform.clone(),
        };
        let source = ImageSource { layers, unkeyed };
        let op = BuildOp::Source(SourceOp::Image(Box::new(source)));
        let label = format!("FROM {}", image_label(request, image));
        Some(self.add(op, &[], &label, false))
    }

    /// Returns an empty filesystem to read from.
    pub(super) fn scratch(&mut self) -> VertexId {
        self.add(BuildOp::Source(SourceOp::Scratch), &[], "scratch", false)
    }

    /// Returns a layer with all files of a local context.
    pub(super) fn local_layer(&mut self, name: &str) -> VertexId {
        let local = self.local(name, "");
        let copy = CopyAction {
            input: 0,
            sources: vec![CopySource {
                path: "/".to_owned(),
                written: "/".to_owned(),
                parents: None,
                required: true,
            }],
            dest: "/".to_owned(),
            chown: None,
            chmod: None,
            exclude: Vec::new(),
            unpack: Unpack::Never,
            local_rules: true,
        };
        let actions = vec![FileAction::Copy(Box::new(copy))];
        let op = BuildOp::File(FileOp {
            base: false,
            actions,
        });
        let label = self.labelled(&format!("context {name}"));
        self.add(op, &[local], &format!("[{label}] to layer"), false)
    }

    /// Returns the graph, local sources with the paths that are read.
    pub fn finish(mut self) -> (Graph<BuildOp>, BTreeMap<VertexId, Step>) {
        for local in self.locals.into_values() {
            if let BuildOp::Source(SourceOp::Local(source)) =
                &mut self.graph.vertex_mut(local.vertex).op
            {
                source.paths = without_covered(&local.paths);
            }
        }
        (self.graph, self.steps)
    }
}

/// Returns how messages call a resolved image.
pub(super) fn image_label(request: &ImageRequest, image: &ResolvedImage) -> String {
    let reference = image.reference.as_ref().or(request.reference.as_ref());
    reference.map_or_else(|| request.name.clone(), ToString::to_string)
}

/// Drops paths that lie below another one; an empty result means everything.
fn without_covered(paths: &BTreeSet<String>) -> Vec<String> {
    if paths.contains("") {
        return Vec::new();
    }
    let covered = |path: &str| {
        path.match_indices('/')
            .any(|(at, _)| paths.contains(&path[..at]))
    };
    paths
        .iter()
        .filter(|path| !covered(path))
        .cloned()
        .collect()
}
