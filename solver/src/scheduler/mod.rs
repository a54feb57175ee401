//! Decides, for each vertex, whether a remembered result answers it or it runs.
//!
//! # Who owns what
//!
//! The thread that calls [`solve`] is the scheduler: it alone owns the state of
//! every vertex ([`state`]), and changes it only on reports from workers
//! ([`machine`]). Workers ([`worker`]) are threads that get a job, call into the op
//! or the index, and report. Nothing is shared but the graph, which does not
//! change, and what the caller passed in.
//!
//! # Two lanes
//!
//! Jobs come in two lanes ([`crew`]), each with an allowance of its own:
//!
//! - *exec*: claims, runs and records ops; at most [`SolveOptions::jobs`] at once.
//! - *key*: definitions, lookups and content digests; at most `jobs`, but two to four.
//!
//! With one allowance for both, a few RUNs of a minute each would keep the next
//! vertices from being hashed and looked up, so that a hit is found a minute late
//! and the cores idle while the last RUN ends; and hashing could not go on while
//! `--jobs 1` runs a step. The key lane is bounded because its work is short, on
//! the disk, or parallel by itself; two are the least that lets a lookup pass a
//! long hash.
//!
//! Threads do the jobs of either lane, and are started when a lane has a job for them and
//! none is idle. A solve that finds everything remembered starts one thread or two and
//! costs some tens of microseconds.
//!
//! # Waiting for another solve
//!
//! Work that is claimed elsewhere is not waited for in a thread: the vertex is put
//! aside, and looked up again after a delay that grows from 1 to 32 ms. So it takes
//! no slot from what could run, and cancellation needs nobody to wake. Claims are
//! held only while an op runs and is recorded, never while waiting, so that two
//! solves cannot block each other.
//!
//! # Invariants
//!
//! - No recursion over the graph: what a report sets off is a list of steps.
//! - Every vertex that the targets reach gets exactly one terminal event, from the
//!   scheduler.
//! - A job that was handed out is reported once, whatever happens in it.

mod budget;
mod crew;
mod machine;
mod priority;
mod state;
mod worker;

#[cfg(test)]
mod tests;

use crossbeam_channel::unbounded;

use crate::cancel::CancelToken;
use crate::error::SolveError;
use crate::graph::{Graph, VertexId};
use crate::index::KeyIndex;
use crate::op::Op;
use crate::options::SolveOptions;

use machine::Machine;
use worker::{Report, Worker};

/// Returns the outputs of the targets, in their order.
///
/// It returns when nothing of it runs any more. On a failure or on
/// cancellation, what runs is told through [`ExecContext::cancel`](crate::ExecContext::cancel);
/// what completes nevertheless is recorded.
pub fn solve<O: Op>(
    graph: &Graph<O>,
    targets: &[VertexId],
    index: &dyn KeyIndex<O::Output>,
    options: &SolveOptions<'_>,
) -> Result<Vec<O::Output>, SolveError<O::Error>> {
    if let Some(&vertex) = targets.iter().find(|target| !graph.contains(**target)) {
        return Err(SolveError::UnknownTarget { vertex });
    }
    let (reports, inbox) = unbounded();
    let (cancel, _with_caller) = options.cancel.child();
    let wake = reports.clone();
    let _wake = cancel.on_cancel(move || {
        // The inbox is gone only when the solve is over.
        let _ = wake.send(Report::Canceled);
    });
    let worker = Worker {
        graph,
        index,
        events: options.events,
        clock: options.clock,
        cancel: &cancel,
        reports,
    };
    std::thread::scope(|scope| {
        let _stop_workers = CancelOnDrop(&cancel);
        Machine::new(scope, &worker, options, targets).run(&inbox)
    })
}

/// Cancels what runs if the scheduler itself unwinds, so that its threads end.
struct CancelOnDrop<'a>(&'a CancelToken);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
