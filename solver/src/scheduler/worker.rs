//! What worker threads do: one job, one report.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::cancel::CancelToken;
use crate::event::{SolveEvent, Stream};
use crate::graph::{Graph, VertexId};
use crate::index::{InputComponent, KeyIndex, Origin, Record};
use crate::key::{CacheKey, ContentDigest};
use crate::op::{ExecContext, Op};
use crate::options::Clock;

use super::state::{Draft, Keys};

/// Something to be done off the scheduler's thread.
pub(super) enum Job<T> {
    /// Ask ops for their definitions.
    Define { vertices: Vec<VertexId> },
    /// Look a definition key up.
    LookUp { vertex: VertexId, key: CacheKey },
    /// Digest what a vertex reads from one input, to name the vertex.
    Weigh {
        vertex: VertexId,
        index: usize,
        output: T,
    },
    /// Digest what a vertex reads from its inputs, and look the content key up.
    Settle {
        vertex: VertexId,
        draft: Draft,
        inputs: Vec<T>,
        look_up: bool,
    },
    /// Look a content key up again that was claimed elsewhere.
    Recheck { vertex: VertexId, keys: Box<Keys> },
    /// Claim, run and record.
    Execute {
        vertex: VertexId,
        inputs: Vec<T>,
        keys: Option<Box<Keys>>,
        look_up: bool,
    },
    /// Record the definition key of a vertex that shares another one's result.
    Alias {
        vertex: VertexId,
        keys: Box<Keys>,
        output: T,
    },
}

impl<T> Job<T> {
    /// Returns whether it may be left undone once the solve is being ended.
    fn is_droppable(&self) -> bool {
        !matches!(self, Self::Alias { .. })
    }

    /// Returns the lane that does such jobs.
    pub(super) fn lane(&self) -> LaneName {
        match self {
            Self::Execute { .. } => LaneName::Exec,
            _ => LaneName::Key,
        }
    }
}

/// Which lane a job came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneName {
    Exec,
    Key,
}

/// What a worker, or a hook on cancellation, tells the scheduler.
pub(super) enum Report<O: Op> {
    /// A job has ended.
    Ended { lane: LaneName, news: News<O> },
    /// The solve is to end.
    Canceled,
}

/// What came of a job.
pub(super) enum News<O: Op> {
    /// Definitions that are known, and vertices that were not come to as it took long.
    Defined {
        results: Vec<(VertexId, Defined<O>)>,
        rest: Vec<VertexId>,
    },
    /// Something about one vertex.
    Vertex {
        vertex: VertexId,
        result: Result<Outcome<O::Output>, Fault<O::Error>>,
    },
    /// The job was left undone, or its result interests nobody.
    Nothing,
}

/// What an op said about its definition.
pub(super) type Defined<O> = Result<Option<CacheKey>, Fault<<O as Op>::Error>>;

/// What came of a job about one vertex.
pub(super) enum Outcome<T> {
    /// The definition key was looked up.
    LookedUp(Option<T>),
    /// The content of one input is known.
    Weighed {
        index: usize,
        content: ContentDigest,
    },
    /// The content key is known and not remembered.
    Settled(Box<Keys>),
    /// The content key is remembered.
    Found(T),
    /// The op ran.
    Executed { output: T, duration: Duration },
    /// The content key is claimed elsewhere.
    Contended(Box<Keys>),
}

/// Why a job failed.
pub(super) enum Fault<E> {
    /// The op said so, after running that long.
    Op { source: E, duration: Duration },
    /// The op or the index panicked.
    Panicked(String),
}

/// How long definitions are asked for one after the other before the rest is spread over threads.
const DEFINE_SLICE: Duration = Duration::from_micros(500);

/// What all workers share.
pub(super) struct Worker<'a, O: Op> {
    pub(super) graph: &'a Graph<O>,
    pub(super) index: &'a dyn KeyIndex<O::Output>,
    pub(super) events: &'a (dyn Fn(SolveEvent) + Sync),
    pub(super) clock: &'a dyn Clock,
    pub(super) cancel: &'a CancelToken,
    pub(super) reports: Sender<Report<O>>,
}

impl<O: Op> Worker<'_, O> {
    /// Does a job and reports it, even if it panics.
    pub(super) fn serve(&self, job: Job<O::Output>) {
        let lane = job.lane();
        let news = if job.is_droppable() && self.cancel.is_cancelled() {
            News::Nothing
        } else {
            self.perform(job)
        };
        // The scheduler is gone only if it panicked.
        let _ = self.reports.send(Report::Ended { lane, news });
    }

    fn perform(&self, job: Job<O::Output>) -> News<O> {
        let (vertex, result) = match job {
            Job::Define { vertices } => return self.define(vertices),
            Job::LookUp { vertex, key } => (
                vertex,
                guarded(|| Ok(Outcome::LookedUp(self.index.lookup(&key)))),
            ),
            Job::Weigh {
                vertex,
                index,
                output,
            } => (vertex, guarded(|| self.weigh(vertex, index, &output))),
            Job::Settle {
                vertex,
                draft,
                inputs,
                look_up,
            } => (
                vertex,
                guarded(|| self.settle(vertex, &draft, &inputs, look_up)),
            ),
            Job::Recheck { vertex, keys } => {
                (vertex, guarded(|| Ok(self.look_content_up(vertex, keys))))
            }
            Job::Execute {
                vertex,
                inputs,
                keys,
                look_up,
            } => (
                vertex,
                guarded(|| self.execute(vertex, &inputs, keys, look_up)),
            ),
            Job::Alias {
                vertex,
                keys,
                output,
            } => {
                let record = || {
                    self.record(vertex, &keys, &output, Origin::Found);
                    Ok(())
                };
                match guarded(record) {
                    Ok(()) => return News::Nothing,
                    Err(fault) => (vertex, Err(fault)),
                }
            }
        };
        News::Vertex { vertex, result }
    }

    fn define(&self, mut vertices: Vec<VertexId>) -> News<O> {
        let start = self.clock.monotonic();
        let mut results = Vec::with_capacity(vertices.len());
        let mut done = 0;
        for &vertex in &vertices {
            let op = &self.graph.vertex(vertex).op;
            results.push((vertex, guarded(|| op.definition().map_err(Fault::at_once))));
            done += 1;
            if self.clock.monotonic().saturating_sub(start) > DEFINE_SLICE {
                break;
            }
        }
        News::Defined {
            results,
            rest: vertices.split_off(done),
        }
    }

    fn weigh(
        &self,
        vertex: VertexId,
        index: usize,
        output: &O::Output,
    ) -> Result<Outcome<O::Output>, Fault<O::Error>> {
        let op = &self.graph.vertex(vertex).op;
        let content = op.input_content(index, output).map_err(Fault::at_once)?;
        Ok(Outcome::Weighed { index, content })
    }

    fn settle(
        &self,
        vertex: VertexId,
        draft: &Draft,
        inputs: &[O::Output],
        look_up: bool,
    ) -> Result<Outcome<O::Output>, Fault<O::Error>> {
        let op = &self.graph.vertex(vertex).op;
        let mut components = Vec::with_capacity(inputs.len());
        for (index, (&(definition, known), output)) in draft.inputs.iter().zip(inputs).enumerate() {
            let content = match known {
                Some(content) => content,
                None => op.input_content(index, output).map_err(Fault::at_once)?,
            };
            components.push(InputComponent {
                definition,
                content,
            });
        }
        let keys = Box::new(Keys::new(draft.op, draft.definition, components));
        Ok(if look_up {
            self.look_content_up(vertex, keys)
        } else {
            Outcome::Settled(keys)
        })
    }

    fn look_content_up(&self, vertex: VertexId, keys: Box<Keys>) -> Outcome<O::Output> {
        match self.index.lookup(&keys.content) {
            None => Outcome::Settled(keys),
            Some(output) => {
                self.record(vertex, &keys, &output, Origin::Found);
                Outcome::Found(output)
            }
        }
    }

    fn execute(
        &self,
        vertex: VertexId,
        inputs: &[O::Output],
        keys: Option<Box<Keys>>,
        look_up: bool,
    ) -> Result<Outcome<O::Output>, Fault<O::Error>> {
        let Some(keys) = keys else {
            return self.run(vertex, inputs, None);
        };
        let Some(_claim) = self.index.try_claim(&keys.content) else {
            return Ok(Outcome::Contended(keys));
        };
        // Whoever held the claim before may have recorded what was missing a moment ago.
        if look_up {
            match self.look_content_up(vertex, keys) {
                Outcome::Settled(keys) => self.run(vertex, inputs, Some(&keys)),
                found => Ok(found),
            }
        } else {
            self.run(vertex, inputs, Some(&keys))
        }
    }

    /// Runs the op and records the result, all under the caller's claim.
    fn run(
        &self,
        vertex: VertexId,
        inputs: &[O::Output],
        keys: Option<&Keys>,
    ) -> Result<Outcome<O::Output>, Fault<O::Error>> {
        let log_sink = |stream: Stream, data: &[u8]| {
            (self.events)(SolveEvent::Log {
                vertex,
                stream,
                data: data.to_vec(),
            });
        };
        let cx = ExecContext {
            vertex,
            name: &self.graph.vertex(vertex).name,
            key: keys.map(|keys| keys.content),
            cancel: self.cancel,
            log_sink: &log_sink,
        };
        let started = self.clock.now();
        let start = self.clock.monotonic();
        (self.events)(SolveEvent::Started {
            vertex,
            at: started,
        });
        let result = self.graph.vertex(vertex).op.exec(inputs, &cx);
        let duration = self.clock.monotonic().saturating_sub(start);
        let output = result.map_err(|source| Fault::Op { source, duration })?;
        if let Some(keys) = keys {
            self.record(
                vertex,
                keys,
                &output,
                Origin::Executed { started, duration },
            );
        }
        Ok(Outcome::Executed { output, duration })
    }

    fn record(&self, vertex: VertexId, keys: &Keys, output: &O::Output, origin: Origin) {
        if origin == Origin::Found && keys.content == keys.definition {
            return;
        }
        self.index.record(&Record {
            definition: keys.definition,
            content: keys.content,
            op: keys.op,
            inputs: &keys.inputs,
            output,
            vertex,
            name: &self.graph.vertex(vertex).name,
            origin,
        });
    }
}

impl<E> Fault<E> {
    /// The op failed without having run.
    fn at_once(source: E) -> Self {
        Self::Op {
            source,
            duration: Duration::ZERO,
        }
    }
}

/// Calls into ops and indexes, whose panics become faults. What they leave half-done is
/// theirs; the solve ends, and nothing of it is used again.
fn guarded<T, E>(call: impl FnOnce() -> Result<T, Fault<E>>) -> Result<T, Fault<E>> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|payload| Err(Fault::Panicked(panic_message(payload.as_ref()))))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("(no message)").to_owned()
}
