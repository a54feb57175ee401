//! The one solve of a build, and whom its failure is to be told of.

use std::collections::{BTreeMap, HashSet};
use std::ptr::from_ref;
use std::sync::Arc;

use cooper_cache::Driver;
use cooper_frontend::ir::{BuildOp, SourceOp};
use cooper_frontend::lower::GraphBuilder;
use cooper_frontend::{Span, Step};
use cooper_solver::{Graph, MemoryBudget, SolveError, SolveOptions, VertexId, solve};

use super::engine::{Engine, Workshop};
use super::error::{BuildError, OpError};
use super::index::StoreIndex;
use super::journal::{Explained, Journal};
use super::memory::Place;
use super::ops::{Before, BoundOp, Outlook};
use super::output::Root;
use super::sharing::Imports;
use super::sharing::harvest::{Harvest, Keys};
use super::target::{TargetBuild, Variant};
use super::{Request, ahead, definition};
use crate::driver;

/// The graph of all targets, and whose each vertex is.
struct Joined<'a> {
    graph: Graph<BuildOp>,
    steps: Arc<BTreeMap<VertexId, Step>>,
    /// The target and variant that brought each vertex in.
    owners: Vec<(&'a TargetBuild<'a>, &'a Variant)>,
}

/// What a variant of a target has come to.
#[derive(Clone, Default)]
pub(super) struct Solved {
    /// Its root filesystem.
    pub(super) root: Root,
    /// How it was made; empty if nobody is to be told.
    pub(super) recipe: Vec<RecipeStep>,
    /// Stages that are looked through for packages, with their root filesystems.
    pub(super) scanned: Vec<(String, Root)>,
}

/// A vertex that a result was made by.
#[derive(Clone)]
pub(super) struct RecipeStep {
    /// What it does.
    pub(super) op: BuildOp,
    /// The steps that it reads, by position.
    pub(super) inputs: Vec<usize>,
    /// Where it is written, if that is in the target's own Dockerfile.
    pub(super) span: Option<Span>,
}

/// What a solve takes from shared caches, and for whom it collects what they get.
#[derive(Clone, Copy)]
struct Sharing<'a> {
    imports: &'a Imports,
    targets: &'a [TargetBuild<'a>],
}

impl Sharing<'_> {
    /// Returns what each target can give; looked up only for those that do.
    fn harvests(
        &self,
        graph: &Graph<BuildOp>,
        keys: &Keys,
        index: &StoreIndex<'_>,
    ) -> Vec<Harvest> {
        let of = |target: &TargetBuild<'_>| {
            if target.target.options.cache_to.is_empty() {
                return Harvest::default();
            }
            let ends = target.variants.iter();
            let ends: Vec<_> = ends
                .filter_map(|variant| variant.lowered().target)
                .collect();
            keys.harvest(graph, &graph.reachable(&ends), index)
        };
        self.targets.iter().map(of).collect()
    }
}

/// Solves for all targets that have outputs; returns what each target's variants came to, and what
/// its shared caches can get.
pub(super) fn solve_graph(
    shared: &Workshop,
    imports: &Imports,
    graph: GraphBuilder,
    targets: &[TargetBuild<'_>],
    request: &Request<'_>,
    explained: &mut Vec<Explained>,
) -> Result<(Vec<Vec<Solved>>, Vec<Harvest>), BuildError> {
    let joined = Joined::new(graph, targets);
    let mut wanted: Vec<VertexId> = Vec::new();
    for target in targets {
        if !target.target.options.outputs.is_empty() {
            wanted.extend(
                target
                    .variants
                    .iter()
                    .flat_map(|variant| sought(target, variant)),
            );
        }
    }
    let sharing = Sharing { imports, targets };
    let (roots, mut harvests) = if wanted.is_empty() {
        <_>::default()
    } else {
        joined.solve(shared, &wanted, sharing, request, explained)?
    };
    harvests.resize_with(targets.len(), Harvest::default);
    let root = |vertex: VertexId| roots.get(&vertex).cloned().unwrap_or_default();
    let solved = |target: &TargetBuild<'_>, variant: &Variant| Solved {
        root: variant.lowered().target.map(root).unwrap_or_default(),
        recipe: joined.recipe(target, variant),
        scanned: scanned(target, variant)
            .map(|(name, vertex)| (name.clone(), root(*vertex)))
            .collect(),
    };
    let of = |target: &TargetBuild<'_>| {
        let variants = target.variants.iter();
        variants.map(|variant| solved(target, variant)).collect()
    };
    Ok((targets.iter().map(of).collect(), harvests))
}

/// Returns what is solved for a variant: its result, and the stages that are looked through.
fn sought(target: &TargetBuild<'_>, variant: &Variant) -> Vec<VertexId> {
    let stages = scanned(target, variant).map(|(_, vertex)| *vertex);
    variant.lowered().target.into_iter().chain(stages).collect()
}

fn scanned<'v>(
    target: &TargetBuild<'_>,
    variant: &'v Variant,
) -> impl Iterator<Item = &'v (String, VertexId)> + use<'v> {
    let wanted = target.target.options.attest.sbom.is_some();
    variant
        .lowered()
        .scans
        .stages
        .iter()
        .filter(move |_| wanted)
}

impl<'a> Joined<'a> {
    fn new(graph: GraphBuilder, targets: &'a [TargetBuild<'a>]) -> Self {
        let (graph, steps) = graph.finish();
        let mut parts: Vec<_> = targets
            .iter()
            .flat_map(|target| target.variants.iter().map(move |variant| (target, variant)))
            .collect();
        parts.sort_by_key(|(_, variant)| variant.lowered().added.start);
        let owners = parts
            .into_iter()
            .flat_map(|owner| owner.1.lowered().added.clone().map(move |_| owner))
            .collect();
        Self {
            graph,
            steps: Arc::new(steps),
            owners,
        }
    }

    /// Whether anybody asked why steps ran.
    fn explains(&self) -> bool {
        let owners = self.owners.iter();
        owners
            .map(|owner| owner.0)
            .any(|target| target.target.options.explain)
    }

    fn engine(&self, vertex: VertexId) -> &Arc<Engine> {
        &self.owners[vertex.index()].0.engine
    }

    fn solve(
        &self,
        shared: &Workshop,
        wanted: &[VertexId],
        sharing: Sharing<'_>,
        request: &Request<'_>,
        explained: &mut Vec<Explained>,
    ) -> Result<(BTreeMap<VertexId, Root>, Vec<Harvest>), BuildError> {
        let journal = Journal::open(shared.store(), self.place(), &self.graph, &self.steps);
        let mut mounted = self.mounted(wanted);
        if !mounted.is_empty() && driver::of(shared.store())? == Driver::Vfs {
            // Copies are made of packs as well.
            mounted.clear();
        }
        let forms = ahead::plan(&self.graph, sharing.targets);
        let graph = self.graph.map(|id, vertex| {
            let outlook = Outlook {
                mounted: mounted.contains(&id),
                before: Before(id, Arc::clone(journal.past())),
                forms: forms.get(&id).cloned().unwrap_or_default(),
                followed: wanted.len() > 1 || self.graph.consumers(id).next().is_some(),
            };
            BoundOp::new(vertex.op.clone(), Arc::clone(self.engine(id)), outlook)
        });
        let names = graph
            .reachable(wanted)
            .into_iter()
            .filter_map(|id| Some((id, self.step_name(id)?)));
        let vertices = request.progress.vertices(names);
        let events = |event| {
            journal.note(&event);
            vertices.show(event);
        };
        let durations = |vertex| journal.past().duration(vertex);
        let index = StoreIndex::new(shared.store(), shared.remote(), sharing.imports, &journal)
            .not_before(request.oldest_result(since_epoch()));
        let keys = Keys::default();
        let named = |vertex, key| keys.note(vertex, key);
        let mut how = SolveOptions::new(request.jobs(), request.cancel);
        how.events = &events;
        how.durations = Some(&durations);
        let budget = request.memory_budget();
        let need = |vertex| self.memory(vertex, budget.unwrap_or(0) / request.jobs() as u64);
        how.memory = budget.map(|bytes| MemoryBudget { bytes, need: &need });
        how.named = Some(&named);
        let solved = solve(&graph, wanted, &index, &how);
        let harvests = match &solved {
            Ok(_) => sharing.harvests(&self.graph, &keys, &index),
            Err(_) => Vec::new(),
        };
        let asked = self.explains();
        *explained = journal.close(since_epoch(), asked);
        let outputs = solved.map_err(|error| self.failure(error))?;
        let mut roots = BTreeMap::new();
        for (vertex, output) in wanted.iter().zip(outputs) {
            let root = output
                .root()
                .map_err(|source| BuildError::Internal { source })?;
            roots.insert(*vertex, root.clone());
        }
        Ok((roots, harvests))
    }

    /// Returns the steps that a variant's result is made by, those that others read first.
    fn recipe(&self, target: &TargetBuild<'_>, variant: &Variant) -> Vec<RecipeStep> {
        let options = target.target.options;
        let told = options.attest.provenance.is_some() || options.metadata_provenance.is_some();
        let Some(result) = variant.lowered().target.filter(|_| told) else {
            return Vec::new();
        };
        let mut ids = self.graph.reachable(&[result]);
        ids.sort_unstable();
        let step = |id: &VertexId| {
            let inputs = self.graph.inputs(*id).iter();
            let own = std::ptr::eq(self.owners[id.index()].0, target);
            RecipeStep {
                op: self.graph.vertex(*id).op.clone(),
                inputs: inputs.filter_map(|id| ids.binary_search(id).ok()).collect(),
                span: self.steps.get(id).filter(|_| own).map(|step| step.span),
            }
        };
        ids.iter().map(step).collect()
    }

    /// Returns how much memory a vertex may take: a RUN that has no limit counts with `share`.
    fn memory(&self, vertex: VertexId, share: u64) -> u64 {
        match &self.graph.vertex(vertex).op {
            BuildOp::Exec(op) => op.unkeyed.resources.memory.unwrap_or(share),
            _ => 0,
        }
    }

    /// Returns the vertices whose own layer a step of this build mounts if it is executed.
    fn mounted(&self, wanted: &[VertexId]) -> HashSet<VertexId> {
        let reachable: HashSet<VertexId> = self.graph.reachable(wanted).into_iter().collect();
        let mut mounted = HashSet::new();
        // Consumers come after what they consume.
        for id in self.graph.ids().rev() {
            let mounts = |(consumer, input): (VertexId, usize)| {
                let through = || mounted.contains(&consumer);
                reachable.contains(&consumer)
                    && match &self.graph.vertex(consumer).op {
                        BuildOp::Exec(_) => true,
                        BuildOp::File(op) => op.base && input == 0 && through(),
                        BuildOp::Merge | BuildOp::Diff => through(),
                        BuildOp::Source(_) => false,
                    }
            };
            if self.graph.consumers(id).any(mounts) {
                mounted.insert(id);
            }
        }
        mounted
    }

    /// Returns where what is remembered of these targets is kept, and what they are called.
    fn place(&self) -> (Place, String) {
        let mut parts = Vec::new();
        let mut titles = Vec::new();
        let mut owners = self.owners.clone();
        // A vertex has one owner, and an owner many vertices.
        owners.dedup_by_key(|(target, variant)| (from_ref(*target), from_ref(*variant)));
        for (target, variant) in owners {
            let options = target.target.options;
            let file = definition::identity(options);
            let stage = options.target.clone().unwrap_or_default();
            let title = match (&*variant.label, &*stage) {
                ("", "") => file.clone(),
                ("", stage) => format!("{file} ({stage})"),
                (label, _) => format!("{file} ({label})"),
            };
            if !titles.contains(&title) {
                titles.push(title);
                parts.extend([file, stage, variant.platform.to_string()]);
            }
        }
        (Place::new(&parts), titles.join(", "))
    }

    /// Returns what a vertex is called in front of people; none for those that say nothing to them.
    fn step_name(&self, id: VertexId) -> Option<String> {
        if let Some(step) = self.steps.get(&id) {
            return Some(step.display.clone());
        }
        let vertex = self.graph.vertex(id);
        match &vertex.op {
            BuildOp::Source(_) => Some(vertex.name.clone()),
            _ => None,
        }
    }

    fn failure(&self, error: SolveError<OpError>) -> BuildError {
        match error {
            SolveError::Op {
                vertex,
                source: cause,
                ..
            } => {
                let blamed = self.blamed(vertex, &cause);
                let (target, variant) = self.owners[blamed.index()];
                let error = BuildError::Step {
                    step: self.steps.get(&blamed).map(|step| Box::new(step.clone())),
                    name: self.graph.vertex(vertex).name.clone(),
                    file: target.source.clone(),
                    source: Box::new(cause),
                };
                error.within(&variant.label)
            }
            SolveError::Canceled => BuildError::Interrupted,
            other => BuildError::Solver {
                message: other.to_string(),
            },
        }
    }

    /// Returns the step to blame: for a bad layer of a base image its FROM, not who needed it first;
    /// for what an ADD fetches, that ADD.
    fn blamed(&self, vertex: VertexId, cause: &OpError) -> VertexId {
        let OpError::BaseLayer { layer, .. } = cause else {
            let mut consumers = self.graph.consumers(vertex).map(|(consumer, _)| consumer);
            return match self.steps.get(&vertex) {
                Some(_) => vertex,
                None => consumers
                    .find(|id| self.steps.contains_key(id))
                    .unwrap_or(vertex),
            };
        };
        let layer = layer.to_string();
        let brings_it = |op: &BuildOp| match op {
            BuildOp::Source(SourceOp::Image(image)) => image.layers.contains(&layer),
            _ => false,
        };
        let mut steps = self.steps.keys();
        let from = steps.find(|id| brings_it(&self.graph.vertex(**id).op));
        from.copied().unwrap_or(vertex)
    }
}

/// Returns the time in seconds since the epoch.
fn since_epoch() -> i64 {
    let elapsed = std::time::SystemTime::UNIX_EPOCH.elapsed();
    elapsed.map_or(0, |elapsed| elapsed.as_secs() as i64)
}
