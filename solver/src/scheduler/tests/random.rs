//! Graphs made up at random.

use super::*;

/// A small generator of numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Returns an op whose behaviour follows from its label.
fn op_of(label: usize, failing: bool) -> FakeOp {
    let name = label.to_string();
    let count = |inputs: &[FakeOutput]| inputs.concat().len() % 5;
    match label {
        0..4 => FakeOp::source(&name),
        4..8 => FakeOp::new(&name).gives("same"),
        8 if failing => FakeOp::new(&name).fails("told to"),
        _ => {
            FakeOp::new(&name).runs(move |inputs, _| Ok(format!("{name}:{}", count(inputs)).into()))
        }
    }
}

/// Returns a graph of all kinds of vertices, and some of them as targets.
fn random_graph(numbers: &mut Numbers, failing: bool) -> (Fakes, Vec<VertexId>) {
    let mut fakes = Fakes::default();
    for number in 0..40 {
        let label = numbers.below(20);
        let inputs: Vec<_> = (0..numbers.below(4).min(number))
            .map(|_| VertexId::from_index(numbers.below(number)))
            .collect();
        let vertex = Vertex {
            ignore_cache: numbers.below(10) == 0,
            ..Vertex::new(label.to_string(), op_of(label, failing))
        };
        fakes.graph.add(vertex, &inputs);
    }
    let targets = (0..3)
        .map(|_| VertexId::from_index(numbers.below(40)))
        .collect();
    (fakes, targets)
}

#[test]
fn every_reached_vertex_ends_once_whatever_the_graph() {
    watched(|| {
        for seed in 0..300 {
            let mut numbers = Numbers(seed);
            let failing = seed % 2 == 1;
            let (fakes, targets) = random_graph(&mut numbers, failing);
            let index = SpyIndex::new();
            for _ in 0..3 {
                let solved = fakes.solve(&targets, &index);
                assert!(
                    failing || solved.result.is_ok(),
                    "seed {seed}: {:?}",
                    solved.result
                );
                for vertex in fakes.graph.reachable(&targets) {
                    let end = solved.end_of(vertex);
                    let good = ["cached", "completed"].contains(&end);
                    assert!(
                        good || solved.result.is_err(),
                        "seed {seed}: {vertex} {end}"
                    );
                }
            }
        }
    });
}

#[test]
fn an_index_full_of_other_graphs_gives_what_an_empty_one_gives() {
    watched(|| {
        let shared = SpyIndex::new();
        let (mut ran, mut reached) = (0, 0);
        for seed in 1000..1300 {
            let (fakes, targets) = random_graph(&mut Numbers(seed), false);
            let warm = fakes.solve(&targets, &shared);
            let cold = fakes.solve(&targets, &SpyIndex::new());
            assert_eq!(outputs(&warm), outputs(&cold), "seed {seed}");
            let completed = |event: &&SolveEvent| matches!(event, SolveEvent::Completed { .. });
            ran += warm.events.iter().filter(completed).count();
            reached += fakes.graph.reachable(&targets).len();
        }
        // It would prove nothing if nothing hit.
        assert!(reached - ran > reached / 4, "{ran} of {reached} ran");
    });
}
