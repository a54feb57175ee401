//! The graph under construction: equal vertices are one, and every local
//! context is one vertex that knows all paths read from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cooper_solver::{CacheKey, Graph, Vertex, VertexId};

use crate::image::{ImageRequest, ResolvedImage};
use crate::ir::{
    BuildOp, CopyAction, CopySource, FileAction, FileOp, ImageSource, ImageSourceUnkeyed,
    LocalSource, SourceOp, Unpack,
};

use super::Step;

/// What makes two vertices one.
type Identity = (CacheKey, Vec<VertexId>, bool);

#[derive(Default)]
pub(super) struct GraphBuilder {
    graph: Graph<BuildOp>,
    known: HashMap<Identity, VertexId>,
    locals: BTreeMap<String, Local>,
    steps: BTreeMap<VertexId, Step>,
}

struct Local {
    vertex: VertexId,
    /// Relative paths; the empty one is everything.
    paths: BTreeSet<String>,
}

impl GraphBuilder {
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
        if !self.locals.contains_key(name) {
            let source = LocalSource {
                name: name.to_owned(),
                paths: Vec::new(),
            };
            let op = BuildOp::Source(SourceOp::Local(source));
            let label = if name == "context" {
                "[internal] load build context".to_owned()
            } else {
                format!("[context {name}] load from client")
            };
            let vertex = self.add(op, &[], &label, false);
            let local = Local {
                vertex,
                paths: BTreeSet::new(),
            };
            self.locals.insert(name.to_owned(), local);
        }
        let local = self.locals.get_mut(name).expect("inserted above");
        local.paths.insert(path.trim_start_matches('/').to_owned());
        local.vertex
    }

    /// Returns the vertex of an image's layers; none if it has no layers.
    pub(super) fn image(
        &mut self,
        request: &ImageRequest,
        image: &ResolvedImage,
    ) -> Option<VertexId> {
        if image.layers.is_empty() {
            return None;
        }
        let unkeyed = ImageSourceUnkeyed {
            key: request.key.clone(),
            reference: image
                .reference
                .clone()
                .or_else(|| request.reference.clone()),
            platform: request.platform.clone(),
        };
        let source = ImageSource {
            layers: image.layers.clone(),
            unkeyed,
        };
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
        self.add(op, &[local], &format!("[context {name}] to layer"), false)
    }

    /// Returns the graph, local sources with the paths that are read.
    pub(super) fn finish(mut self) -> (Graph<BuildOp>, BTreeMap<VertexId, Step>) {
        for (_, local) in self.locals {
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
