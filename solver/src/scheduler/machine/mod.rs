//! The scheduler proper: the one owner of all state.
//!
//! A report changes the slot of its vertex and leaves [`Step`]s, which are worked
//! off from a list; steps hand jobs to the lanes. When a round of reports is
//! through, free exec slots are filled with the most urgent vertices.

mod reports;
mod steps;

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::error::Error;
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::cancel::CancelToken;
use crate::error::SolveError;
use crate::event::SolveEvent;
use crate::graph::{Graph, VertexId};
use crate::key::CacheKey;
use crate::op::Op;
use crate::options::{Clock, SolveOptions};

use super::budget::Budget;
use super::crew::Crew;
use super::priority::longest_paths;
use super::state::Slot;
use super::worker::{Job, Report, Worker};

/// How many definitions one job asks for, unless they turn out to be costly.
const DEFINE_BATCH: usize = 128;

/// Something to be done because of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// All parts of the vertex's name are known, or it has none.
    Named(VertexId),
    /// Its result is asked for.
    Demand(VertexId),
    /// Its inputs' results are there.
    Gathered(VertexId),
    /// Nothing will ask for it.
    Skip(VertexId),
}

/// A vertex that is ready to run: sorted by its path, then earlier vertices first.
type Ready = (Duration, Reverse<VertexId>);

/// Why the solve is being ended.
enum Stop<E: Error + 'static> {
    Canceled,
    Failed(SolveError<E>),
}

pub(super) struct Machine<'scope, 'env, O: Op> {
    graph: &'env Graph<O>,
    targets: &'env [VertexId],
    events: &'env (dyn Fn(SolveEvent) + Sync),
    named: Option<&'env dyn Fn(VertexId, CacheKey)>,
    clock: &'env dyn Clock,
    cancel: &'env CancelToken,
    crew: Crew<'scope, 'env, O>,
    /// What the targets reach, inputs before consumers.
    reached: Vec<VertexId>,
    /// By vertex; those that are not reached have none.
    slots: Vec<Option<Slot<O::Output>>>,
    durations: Option<&'env dyn Fn(VertexId) -> Option<Duration>>,
    /// By vertex, once one is to run.
    paths: OnceCell<Vec<Duration>>,
    steps: Vec<Step>,
    ready: BinaryHeap<Ready>,
    budget: Budget<'env>,
    /// Vertices that are claimed elsewhere, by when to look again.
    contended: BinaryHeap<Reverse<(Instant, VertexId)>>,
    /// The first vertex that came to run for each content key. One that ignores the
    /// cache does not share with one that does not: that may yet be found elsewhere.
    leaders: HashMap<(CacheKey, bool), VertexId>,
    followers: HashMap<VertexId, Vec<VertexId>>,
    targets_left: usize,
    stop: Option<Stop<O::Error>>,
}

impl<'scope, 'env, O: Op> Machine<'scope, 'env, O> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        worker: &'env Worker<'env, O>,
        options: &'env SolveOptions<'env>,
        targets: &'env [VertexId],
    ) -> Self {
        let graph = worker.graph;
        let jobs = options.jobs.max(1);
        let reached = graph.reachable(targets);
        let (slots, targets_left) = new_slots(graph, &reached, targets);
        Self {
            graph,
            targets,
            events: options.events,
            named: options.named,
            clock: options.clock,
            cancel: worker.cancel,
            crew: Crew::new((jobs, jobs.clamp(2, 4)), scope, worker),
            reached,
            slots,
            durations: options.durations,
            paths: OnceCell::new(),
            steps: Vec::new(),
            ready: BinaryHeap::new(),
            budget: Budget::new(options.memory),
            contended: BinaryHeap::new(),
            leaders: HashMap::new(),
            followers: HashMap::new(),
            targets_left,
            stop: None,
        }
    }

    /// Solves: reports in, jobs and events out, until nothing is pending.
    pub(super) fn run(
        mut self,
        inbox: &Receiver<Report<O>>,
    ) -> Result<Vec<O::Output>, SolveError<O::Error>> {
        self.start();
        while self.is_busy() {
            if let Some(report) = self.wait(inbox) {
                self.take(report);
            }
            // What has come meanwhile goes into the same round, so that the choice of
            // what to run next knows of it.
            while let Ok(report) = inbox.try_recv() {
                self.take(report);
            }
            self.recheck_due();
            self.work_off();
        }
        self.conclude()
    }

    fn start(&mut self) {
        if self.cancel.is_cancelled() {
            self.stop = Some(Stop::Canceled);
            return;
        }
        for &target in self.targets {
            self.steps.push(Step::Demand(target));
        }
        let batches: Vec<_> = self
            .reached
            .chunks(DEFINE_BATCH)
            .map(<[_]>::to_vec)
            .collect();
        for vertices in batches {
            self.hand_out(Job::Define { vertices });
        }
        self.work_off();
    }

    fn is_busy(&self) -> bool {
        let pending = self.crew.pending();
        if self.stop.is_some() || self.targets_left == 0 {
            return pending > 0;
        }
        // A vertex is either done, in a worker's hands, put aside, or waits for one that is.
        assert!(
            pending > 0 || !self.contended.is_empty(),
            "the solve cannot go on"
        );
        true
    }

    /// Waits for a report; `None` says that a claimed vertex is due.
    fn wait(&self, inbox: &Receiver<Report<O>>) -> Option<Report<O>> {
        let received = match self.contended.peek() {
            Some(Reverse((due, _))) if self.stop.is_none() => inbox.recv_deadline(*due),
            _ => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the caller holds a sender"),
        }
    }

    /// Returns how long the way from a vertex's start to the end of all is known to be.
    fn path(&self, vertex: VertexId) -> Duration {
        let paths = self
            .paths
            .get_or_init(|| longest_paths(self.graph, &self.reached, self.durations));
        paths[vertex.index()]
    }

    fn slot(&self, vertex: VertexId) -> &Slot<O::Output> {
        self.slots[vertex.index()]
            .as_ref()
            .expect("only reached vertices are worked on")
    }

    fn slot_mut(&mut self, vertex: VertexId) -> &mut Slot<O::Output> {
        self.slots[vertex.index()]
            .as_mut()
            .expect("only reached vertices are worked on")
    }

    /// Returns whether the targets reach the vertex: those of a consumer's inputs need not.
    fn takes_part(&self, vertex: VertexId) -> bool {
        self.slots[vertex.index()].is_some()
    }

    fn hand_out(&mut self, job: Job<O::Output>) {
        if self.stop.is_some() {
            return;
        }
        if let Err(source) = self.crew.push(job) {
            self.end(Stop::Failed(SolveError::Thread { source }));
        }
    }

    fn conclude(mut self) -> Result<Vec<O::Output>, SolveError<O::Error>> {
        let output = |target: &VertexId| self.slot(*target).output().cloned();
        let outputs: Option<Vec<_>> = self.targets.iter().map(output).collect();
        match self.stop.take() {
            None => Ok(outputs.expect("it goes on until all targets are done")),
            Some(stop) => {
                self.give_up_the_rest();
                Err(match stop {
                    Stop::Canceled => SolveError::Canceled,
                    Stop::Failed(error) => error,
                })
            }
        }
    }

    fn give_up_the_rest(&mut self) {
        let at = self.clock.now();
        for &vertex in &self.reached {
            if !self.slot(vertex).has_ended() {
                let (error, duration) = ("canceled".to_owned(), Duration::ZERO);
                (self.events)(SolveEvent::Failed {
                    vertex,
                    at,
                    duration,
                    error,
                    canceled: true,
                });
            }
        }
    }
}

/// Returns slots for the vertices that are reached, and the number of distinct targets.
fn new_slots<O: Op>(
    graph: &Graph<O>,
    reached: &[VertexId],
    targets: &[VertexId],
) -> (Vec<Option<Slot<O::Output>>>, usize) {
    let mut slots: Vec<Option<Slot<O::Output>>> = Vec::new();
    slots.resize_with(graph.len(), || None);
    for &vertex in reached {
        slots[vertex.index()] = Some(Slot::new(graph.inputs(vertex).len()));
        for input in graph.inputs(vertex) {
            let input = slots[input.index()]
                .as_mut()
                .expect("inputs are reached first");
            input.readers += 1;
        }
    }
    let mut distinct = 0;
    for target in targets {
        let slot = slots[target.index()].as_mut().expect("targets are reached");
        distinct += usize::from(!slot.is_target);
        slot.is_target = true;
    }
    (slots, distinct)
}
