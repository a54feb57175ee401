//! What happens to the steps of one solve, and what is remembered of it.
//!
//! Before the solve it tells what former ones left ([`Journal::past`]). While it goes on, it is
//! told what came of each vertex. In the end it says of each step why it was executed or not, and
//! renews the [`Memory`] if any was.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cooper_cache::{LayerId, Store};
use cooper_frontend::Step;
use cooper_frontend::ir::{BuildOp, SourceOp};
use cooper_oci::ImageConfig;
use cooper_solver::{Graph, Origin, Record, SolveEvent, VertexId};

use super::error::MAIN_CONTEXT;
use super::explain::{Fate, why};
use super::memory::{InputMemory, Memory, Past, Place, StepMemory, describe, digest_of};
use super::output::Output;

/// Why a step was executed, or was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The step as it is shown.
    pub display: String,
    /// The short ID of its result, to run it by.
    pub id: String,
    /// In words, each a reason.
    pub why: Vec<String>,
}

/// The journal of one solve.
pub(super) struct Journal<'a> {
    graph: &'a Graph<BuildOp>,
    steps: &'a BTreeMap<VertexId, Step>,
    store: &'a Store,
    place: Place,
    title: String,
    past: Arc<Past>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    fates: HashMap<VertexId, Fate>,
    results: HashMap<VertexId, Result>,
}

/// What a record says of a vertex.
struct Result {
    key: String,
    contents: Vec<String>,
    layers: Vec<LayerId>,
    millis: Option<u64>,
}

impl<'a> Journal<'a> {
    /// Opens the journal of a solve of `place`, which people know as `title`.
    pub(super) fn open(
        store: &'a Store,
        (place, title): (Place, String),
        graph: &'a Graph<BuildOp>,
        steps: &'a Arc<BTreeMap<VertexId, Step>>,
    ) -> Self {
        Self {
            graph,
            steps,
            store,
            past: Arc::new(Past::new(store.clone(), place.clone(), Arc::clone(steps))),
            place,
            title,
            seen: Mutex::default(),
        }
    }

    /// Returns what former solves left.
    pub(super) fn past(&self) -> &Arc<Past> {
        &self.past
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what came of a vertex.
    pub(super) fn note(&self, event: &SolveEvent) {
        let fate = match event {
            SolveEvent::Cached { needed: false, .. } => Fate::Unneeded,
            SolveEvent::Cached { .. } => Fate::Known,
            SolveEvent::Started { vertex, .. } => Fate::Executed {
                forced: self.graph.vertex(*vertex).ignore_cache,
            },
            _ => return,
        };
        // What is known by its content was noted when its record was written.
        self.seen().fates.entry(event.vertex()).or_insert(fate);
    }

    /// Notes what is recorded of a vertex.
    pub(super) fn recorded(&self, record: &Record<'_, Output>) {
        let Output::Root(root) = record.output else {
            return;
        };
        let millis = match &record.origin {
            Origin::Executed { duration, .. } => Some(duration.as_millis() as u64),
            Origin::Found => None,
        };
        let mut seen = self.seen();
        if millis.is_none() {
            seen.fates.insert(record.vertex, Fate::SameContent);
        }
        let inputs = record.inputs.iter();
        let result = Result {
            key: record.content.to_string(),
            contents: inputs.map(|input| input.content.to_string()).collect(),
            layers: root.ids(),
            millis,
        };
        seen.results.insert(record.vertex, result);
    }

    /// Remembers the solve if it executed any step; losing that loses no result. Returns why each
    /// step was executed or not, in the order of the Dockerfile, if that is `asked`.
    pub(super) fn close(self, now: i64, asked: bool) -> Vec<Explained> {
        let sources = digest_of(self.sources().map(|(_, op)| op));
        let executed = self.executed_any(&sources);
        if !executed && !asked {
            return Vec::new();
        }
        let steps = self.told();
        let explained = steps
            .iter()
            .map(|step| Explained {
                display: step.display.clone(),
                id: step.short_id().to_owned(),
                why: step.why.clone(),
            })
            .collect();
        if executed {
            let memory = Memory::new(self.title, now, steps);
            let _ = memory.save(self.store, &self.place, &sources);
        }
        explained
    }

    /// Returns the steps that are sources: a base image, a download.
    fn sources(&self) -> impl Iterator<Item = (VertexId, &BuildOp)> {
        let op = |vertex: &VertexId| (*vertex, &self.graph.vertex(*vertex).op);
        let steps = self.steps.keys().map(op);
        steps.filter(|(_, op)| matches!(op, BuildOp::Source(_)))
    }

    /// Returns whether any step was executed; a source counts if it is another than it was.
    fn executed_any(&self, sources: &str) -> bool {
        let fates = &self.seen().fates;
        let executed = |vertex: &VertexId| matches!(fates.get(vertex), Some(Fate::Executed { .. }));
        let is_source = |vertex: &VertexId| {
            let op = &self.graph.vertex(*vertex).op;
            matches!(op, BuildOp::Source(_))
        };
        let same = || self.past.has_sources(sources);
        let mut steps = self.steps.keys();
        steps.any(|vertex| executed(vertex) && !is_source(vertex))
            || self.sources().any(|(vertex, _)| executed(&vertex)) && !same()
    }

    /// Returns what came of a step. A base image is looked at each time: what it was is no news.
    fn fate(&self, fates: &HashMap<VertexId, Fate>, vertex: VertexId) -> Option<Fate> {
        let fate = *fates.get(&vertex)?;
        let op = &self.graph.vertex(vertex).op;
        let is_same = || {
            let before = self.past.of(vertex);
            before.is_some_and(|before| before.op == describe(op))
        };
        match fate {
            Fate::Executed { .. } if matches!(op, BuildOp::Source(_)) && is_same() => {
                Some(Fate::Known)
            }
            fate => Some(fate),
        }
    }

    /// Returns what is to be remembered of each step of this solve.
    fn told(&self) -> Vec<StepMemory> {
        let seen = self.seen();
        let mut steps = Vec::new();
        for (vertex, step) in self.steps {
            let Some(fate) = self.fate(&seen.fates, *vertex) else {
                continue;
            };
            let before = self.past.of(*vertex);
            let mut memory = remembered(self.graph, self.steps, *vertex, step);
            match seen.results.get(vertex) {
                Some(result) => result.fill(&mut memory, before),
                None => carry_over(&mut memory, before),
            }
            memory.why = why(self.store, fate, before, &memory);
            steps.push(memory);
        }
        steps
    }
}

impl Result {
    fn fill(&self, memory: &mut StepMemory, before: Option<&StepMemory>) {
        memory.key.clone_from(&self.key);
        memory.layers.clone_from(&self.layers);
        memory.millis = self
            .millis
            .or_else(|| before.and_then(|before| before.millis));
        for (input, content) in memory.inputs.iter_mut().zip(&self.contents) {
            input.content.clone_from(content);
        }
    }
}

/// Takes over what this solve did not have to find out: the step is as it was.
fn carry_over(memory: &mut StepMemory, before: Option<&StepMemory>) {
    let Some(before) = before.filter(|before| before.op == memory.op) else {
        memory.inputs.clear();
        return;
    };
    memory.key.clone_from(&before.key);
    memory.layers.clone_from(&before.layers);
    memory.millis = before.millis;
    memory.inputs.clone_from(&before.inputs);
}

fn remembered(
    graph: &Graph<BuildOp>,
    steps: &BTreeMap<VertexId, Step>,
    vertex: VertexId,
    step: &Step,
) -> StepMemory {
    let inputs = graph.inputs(vertex).iter().map(|input| InputMemory {
        name: match steps.get(input) {
            Some(step) => format!("`{}`", step.command),
            None => source_name(&graph.vertex(*input).op, &graph.vertex(*input).name),
        },
        content: String::new(),
    });
    StepMemory {
        stage: step.stage.clone(),
        index: step.index,
        command: step.command.clone(),
        display: step.display.clone(),
        image: Some(ImageConfig::clone(&step.image)),
        op: describe(&graph.vertex(vertex).op),
        inputs: inputs.collect(),
        ..StepMemory::default()
    }
}

fn source_name(op: &BuildOp, name: &str) -> String {
    match op {
        BuildOp::Source(SourceOp::Local(local)) if local.name == MAIN_CONTEXT => {
            "the context".to_owned()
        }
        BuildOp::Source(SourceOp::Local(local)) => format!("the context {}", local.name),
        BuildOp::Source(SourceOp::Image(_)) => "the base image".to_owned(),
        BuildOp::Source(SourceOp::Http(http)) => format!("the download {}", http.url),
        BuildOp::Source(SourceOp::Git(git)) => format!("the repository {}", git.remote),
        _ => format!("`{name}`"),
    }
}
