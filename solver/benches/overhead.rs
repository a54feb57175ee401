//! Measures what the solver itself costs for each vertex, on ops that do nothing.
//!
//! `cargo bench -p cooper-solver --features testing`, or with `--profile fast` to build
//! quicker. Each time is the best of several solves, as what else the machine does only
//! adds to it.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cooper_solver::testing::{FakeOp, FakeOutput};
use cooper_solver::{CancelToken, Graph, MemoryIndex, SolveOptions, Vertex, VertexId, solve};

/// The cost of a vertex that DESIGN allows, at 10,000 vertices.
const TARGET: Duration = Duration::from_micros(50);

/// The cost of a whole solve of a few dozen vertices that are all remembered.
const NO_OP_TARGET: Duration = Duration::from_millis(1);

const JOBS: usize = 4;

/// A graph of about so many vertices, and its target.
type Shape = fn(usize) -> (Graph<FakeOp>, VertexId);

fn chain(length: usize) -> (Graph<FakeOp>, VertexId) {
    let mut graph = Graph::new();
    let mut last = None;
    for number in 0..length {
        // Each gives something else: a chain of equals would be cut off by content.
        let op = FakeOp::new("link").gives(&number.to_string());
        last = Some(graph.add(Vertex::new("link", op), last.as_slice()));
    }
    (graph, last.expect("a chain has a link"))
}

/// Ten vertices a level, each fed by two of the level before, all distinct.
fn layered(length: usize) -> (Graph<FakeOp>, VertexId) {
    let mut graph = Graph::new();
    let mut ids: Vec<VertexId> = Vec::new();
    for number in 0..length - 1 {
        let op = FakeOp::new(&number.to_string()).gives(&number.to_string());
        let level = number / 10 * 10;
        let inputs: &[VertexId] = if level == 0 {
            &[]
        } else {
            &[
                ids[level - 10 + number % 10],
                ids[level - 10 + (number + 1) % 10],
            ]
        };
        let inputs = inputs.to_vec();
        ids.push(graph.add(Vertex::new("op", op), &inputs));
    }
    let bottom = &ids[ids.len().saturating_sub(10)..];
    let last = graph.add(Vertex::new("last", FakeOp::new("last")), bottom);
    (graph, last)
}

/// All read one source and are read by one vertex.
fn wide(length: usize) -> (Graph<FakeOp>, VertexId) {
    let mut graph = Graph::new();
    let base = graph.add(Vertex::new("context", FakeOp::source("x")), &[]);
    let middle: Vec<_> = (2..length)
        .map(|number| graph.add(Vertex::new("op", FakeOp::new(&number.to_string())), &[base]))
        .collect();
    let last = graph.add(Vertex::new("last", FakeOp::new("last").gives("y")), &middle);
    (graph, last)
}

fn timed(graph: &Graph<FakeOp>, target: VertexId, index: &MemoryIndex<FakeOutput>) -> Duration {
    let cancel = CancelToken::new();
    let start = Instant::now();
    let result = solve(graph, &[target], index, &SolveOptions::new(JOBS, &cancel));
    let elapsed = start.elapsed();
    assert!(result.is_ok(), "{result:?}");
    elapsed
}

/// Returns the times of a solve that runs everything and of one that finds everything.
fn cold_and_warm(graph: &Graph<FakeOp>, target: VertexId) -> (Duration, Duration) {
    let rounds = (200_000 / graph.len()).clamp(3, 50);
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        let index = MemoryIndex::new();
        best.0 = best.0.min(timed(graph, target, &index));
        best.1 = best.1.min(timed(graph, target, &index));
    }
    best
}

/// Returns the most memory that the process ever had, as the kernel words it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap_or("unknown").trim().to_owned()
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut good = true;
    let shapes: [(&str, Shape); 3] = [("chain", chain), ("layered", layered), ("wide", wide)];
    for length in [30, 1_000, 10_000, 100_000] {
        for (shape, build) in shapes {
            let (graph, target) = build(length);
            let (cold, warm) = cold_and_warm(&graph, target);
            let per_vertex = |time: Duration| time.as_secs_f64() * 1e6 / length as f64;
            let line = format!(
                "{shape:8} {length:7} vertices: cold {:6.2} µs a vertex, remembered {:5.2} µs a \
                 vertex ({:.3} ms)",
                per_vertex(cold),
                per_vertex(warm),
                warm.as_secs_f64() * 1e3,
            );
            good &= writeln!(out, "{line}").is_ok();
            good &= length != 10_000 || cold / 10_000 <= TARGET;
            good &= length != 30 || warm <= NO_OP_TARGET;
        }
        good &= writeln!(out, "peak memory so far: {}", peak_memory()).is_ok();
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
