//! What reports change: the first half of the machine.

use std::cmp::Reverse;
use std::error::Error;
use std::time::{Duration, Instant};

use crate::error::SolveError;
use crate::event::SolveEvent;
use crate::graph::VertexId;
use crate::key::ContentDigest;
use crate::op::Op;

use super::super::state::{Keys, Name, Phase};
use super::super::worker::{Defined, Fault, Job, LaneName, News, Outcome, Report};
use super::{Machine, Step, Stop};

/// The delay before a vertex that is claimed elsewhere is first looked up again.
const FIRST_DELAY: Duration = Duration::from_millis(1);

/// After how many lookups that delay doubles, and how often it does.
const LOOKUPS_PER_DELAY: u32 = 4;
const DOUBLINGS: u32 = 5;

impl<O: Op> Machine<'_, '_, O> {
    pub(super) fn take(&mut self, report: Report<O>) {
        match report {
            Report::Canceled => self.end(Stop::Canceled),
            Report::Ended { lane, news } => {
                self.crew.reported(lane);
                if let (LaneName::Exec, News::Vertex { vertex, .. }) = (lane, &news) {
                    self.budget.release(*vertex);
                }
                match news {
                    News::Nothing => {}
                    News::Defined { results, rest } => self.defined(results, rest),
                    News::Vertex {
                        vertex,
                        result: Ok(outcome),
                    } => self.came_of(vertex, outcome),
                    News::Vertex {
                        vertex,
                        result: Err(fault),
                    } => self.failed(vertex, fault),
                }
            }
        }
    }

    fn defined(&mut self, results: Vec<(VertexId, Defined<O>)>, rest: Vec<VertexId>) {
        for (vertex, result) in results {
            match result {
                Err(fault) => self.failed(vertex, fault),
                Ok(None) => {
                    self.slot_mut(vertex).name = Name::Nameless;
                    self.steps.push(Step::Named(vertex));
                }
                Ok(Some(key)) => {
                    self.slot_mut(vertex).op = Some(key);
                    self.part_named(vertex);
                    for (index, &input) in self.graph.inputs(vertex).iter().enumerate() {
                        self.weigh(vertex, index, input);
                    }
                }
            }
        }
        // They are costly: let the threads of the lane share them.
        for vertex in rest {
            self.hand_out(Job::Define {
                vertices: vec![vertex],
            });
        }
    }

    fn came_of(&mut self, vertex: VertexId, outcome: Outcome<O::Output>) {
        match outcome {
            Outcome::LookedUp(Some(output)) | Outcome::Found(output) => {
                self.finish(vertex, output, None);
            }
            Outcome::LookedUp(None) => self.gather(vertex),
            Outcome::Weighed { index, content } => {
                self.weighed(vertex, index, content);
            }
            Outcome::Settled(keys) => match self.slot(vertex).phase {
                Phase::Settling => self.lead_or_follow(vertex, keys),
                // It led already, and is looked up again after a contention.
                _ => self.enqueue(vertex, Some(keys)),
            },
            Outcome::Executed { output, duration } => self.finish(vertex, output, Some(duration)),
            Outcome::Contended(keys) => self.put_aside(vertex, keys),
        }
    }

    fn weighed(&mut self, vertex: VertexId, index: usize, content: ContentDigest) {
        let inputs = self.graph.inputs(vertex).len();
        let slot = self.slot_mut(vertex);
        slot.contents.resize(inputs, None);
        slot.contents[index] = Some(content);
        self.part_named(vertex);
    }

    fn failed(&mut self, vertex: VertexId, fault: Fault<O::Error>) {
        let name = &self.graph.vertex(vertex).name;
        let (error, duration) = match fault {
            Fault::Op { source, duration } => (
                SolveError::Op {
                    vertex,
                    name: name.clone(),
                    source,
                },
                duration,
            ),
            Fault::Panicked(message) => (
                SolveError::Panicked {
                    vertex,
                    name: name.clone(),
                    message,
                },
                Duration::ZERO,
            ),
        };
        // Ops that are being canceled fail: that is not why the solve ends.
        let canceled = self.cancel.is_cancelled();
        if !self.slot(vertex).has_ended() {
            self.slot_mut(vertex).phase = Phase::Failed;
            // The event is about its vertex: only why it failed is news.
            let error = match &error {
                SolveError::Op { source, .. } => one_line(source),
                other => one_line(other),
            };
            let at = self.clock.now();
            (self.events)(SolveEvent::Failed {
                vertex,
                at,
                duration,
                error,
                canceled,
            });
        }
        self.end(if canceled {
            Stop::Canceled
        } else {
            Stop::Failed(error)
        });
    }

    /// Ends the solve, unless that is under way or nothing is left to be ended.
    pub(super) fn end(&mut self, why: Stop<O::Error>) {
        if self.stop.is_none() && self.targets_left > 0 {
            self.stop = Some(why);
            self.ready.clear();
            self.cancel.cancel();
        }
    }

    /// Takes a result: `ran` is how long the op did, if it did.
    pub(super) fn finish(&mut self, vertex: VertexId, output: O::Output, ran: Option<Duration>) {
        let at = self.clock.now();
        (self.events)(match ran {
            Some(duration) => SolveEvent::Completed {
                vertex,
                at,
                duration,
            },
            None => SolveEvent::Cached {
                vertex,
                at,
                needed: true,
            },
        });
        self.slot_mut(vertex).phase = Phase::Done(output);
        self.targets_left -= usize::from(self.slot(vertex).is_target);
        // A result that comes late is still one: only what it would set off is not.
        if self.stop.is_none() {
            self.tell_consumers(vertex);
            self.release_followers(vertex);
            self.release_inputs(vertex);
        }
    }

    fn tell_consumers(&mut self, vertex: VertexId) {
        let graph = self.graph;
        for (consumer, index) in graph.consumers(vertex) {
            if !self.takes_part(consumer) {
                continue;
            }
            self.weigh(consumer, index, vertex);
            if let Phase::Gathering { missing } = &mut self.slot_mut(consumer).phase {
                *missing -= 1;
                if *missing == 0 {
                    self.steps.push(Step::Gathered(consumer));
                }
            }
        }
    }

    fn release_followers(&mut self, leader: VertexId) {
        for vertex in self.followers.remove(&leader).unwrap_or_default() {
            let output = self
                .slot(leader)
                .output()
                .cloned()
                .expect("followers wait for it");
            let phase = std::mem::replace(&mut self.slot_mut(vertex).phase, Phase::Running);
            let Phase::Following(keys) = phase else {
                unreachable!("followers do nothing else")
            };
            self.share(vertex, keys, output);
        }
    }

    /// Lets go of a vertex's inputs; those that nobody else will ask for are skipped.
    pub(super) fn release_inputs(&mut self, vertex: VertexId) {
        for &input in self.graph.inputs(vertex) {
            let slot = self.slot_mut(input);
            slot.readers -= 1;
            if slot.readers == 0 && matches!(slot.phase, Phase::Idle) {
                self.steps.push(Step::Skip(input));
            }
        }
    }

    pub(super) fn skip(&mut self, vertex: VertexId) {
        self.slot_mut(vertex).phase = Phase::Skipped;
        (self.events)(SolveEvent::Cached {
            vertex,
            at: self.clock.now(),
            needed: false,
        });
        self.release_inputs(vertex);
    }

    fn put_aside(&mut self, vertex: VertexId, keys: Box<Keys>) {
        let slot = self.slot_mut(vertex);
        let doublings = (slot.contentions / LOOKUPS_PER_DELAY).min(DOUBLINGS);
        slot.contentions = slot.contentions.saturating_add(1);
        slot.phase = Phase::Contended(keys);
        let due = Instant::now() + FIRST_DELAY * (1 << doublings);
        self.contended.push(Reverse((due, vertex)));
    }

    pub(super) fn recheck_due(&mut self) {
        while let Some(&Reverse((due, vertex))) = self.contended.peek() {
            if self.stop.is_some() || due > Instant::now() {
                return;
            }
            self.contended.pop();
            let phase = std::mem::replace(&mut self.slot_mut(vertex).phase, Phase::Running);
            let Phase::Contended(keys) = phase else {
                unreachable!("put aside until now")
            };
            if self.graph.vertex(vertex).ignore_cache {
                self.enqueue(vertex, Some(keys));
            } else {
                self.hand_out(Job::Recheck { vertex, keys });
            }
        }
    }
}

/// Returns an error and its causes in one line.
fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
