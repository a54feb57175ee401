//! The scheduler on fake ops.

mod caching;
mod failures;
mod graphs;
mod order;
mod random;
mod sharing;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::testing::{
    Calls, FakeError, FakeOp, FakeOutput, Solved, SpyIndex, solve_as, solve_with,
};
use crate::{
    CacheKey, CancelToken, Claim, ExecContext, Graph, KeyIndex, MemoryBudget, MemoryIndex, Record,
    SolveError, SolveEvent, SolveOptions, Stream, Vertex, VertexId,
};

/// Much longer than anything here takes on the busiest machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Fails the test instead of hanging, should a solve not return.
fn watched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || sender.send(test()).expect("the test waits"));
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("the solve hangs"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

/// A graph of fakes, each added under its own name.
#[derive(Default)]
struct Fakes {
    graph: Graph<FakeOp>,
}

impl Fakes {
    fn add(&mut self, name: &str, op: &FakeOp, inputs: &[VertexId]) -> VertexId {
        self.graph.add(Vertex::new(name, op.clone()), inputs)
    }

    fn forced(&mut self, name: &str, op: &FakeOp, inputs: &[VertexId]) -> VertexId {
        let vertex = Vertex {
            ignore_cache: true,
            ..Vertex::new(name, op.clone())
        };
        self.graph.add(vertex, inputs)
    }

    fn solve(&self, targets: &[VertexId], index: &dyn KeyIndex<FakeOutput>) -> Solved {
        solve_with(&self.graph, targets, index)
    }
}

fn outputs(solved: &Solved) -> Vec<&str> {
    solved
        .result
        .as_ref()
        .expect("it is solved")
        .iter()
        .map(|output| &**output)
        .collect()
}

/// Waits until the op's result is no longer wanted.
fn until_canceled(cx: &ExecContext<'_>) -> Result<FakeOutput, FakeError> {
    let start = Instant::now();
    while !cx.cancel.is_cancelled() {
        assert!(start.elapsed() < PATIENCE, "nobody canceled");
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(FakeError::new("interrupted"))
}
