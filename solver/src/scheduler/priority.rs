//! What runs first: the head of the longest path that is known.

use std::time::Duration;

use crate::graph::{Graph, VertexId};

/// What a vertex counts if no duration is known at all: then the number of vertices decides.
const UNIT: Duration = Duration::from_secs(1);

/// Returns for each vertex the time from its start to the end of the longest path below it.
///
/// A vertex of unknown duration counts as the mean of the known ones. `reached` are
/// the vertices that take part, inputs before their consumers; others are zero.
pub(super) fn longest_paths<O>(
    graph: &Graph<O>,
    reached: &[VertexId],
    durations: Option<&dyn Fn(VertexId) -> Option<Duration>>,
) -> Vec<Duration> {
    let known: Vec<Option<Duration>> = reached
        .iter()
        .map(|&vertex| durations.and_then(|durations| durations(vertex)))
        .collect();
    let unknown = mean(known.iter().flatten()).unwrap_or(UNIT);
    let mut paths = vec![Duration::ZERO; graph.len()];
    // When a vertex's turn comes, its place holds the longest path among its consumers.
    for (&vertex, duration) in reached.iter().zip(known).rev() {
        let path = paths[vertex.index()].saturating_add(duration.unwrap_or(unknown));
        paths[vertex.index()] = path;
        for input in graph.inputs(vertex) {
            let below = &mut paths[input.index()];
            *below = path.max(*below);
        }
    }
    paths
}

fn mean<'a>(durations: impl Iterator<Item = &'a Duration>) -> Option<Duration> {
    let (sum, count) = durations.fold((Duration::ZERO, 0_u32), |(sum, count), duration| {
        (sum.saturating_add(*duration), count.saturating_add(1))
    });
    sum.checked_div(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Vertex;

    #[test]
    fn a_vertex_counts_itself_and_the_longest_path_below_it() {
        let mut graph = Graph::new();
        let mut add = |inputs: &[VertexId]| graph.add(Vertex::new("", ()), inputs);
        let a = add(&[]);
        let b = add(&[]);
        let short = add(&[a]);
        let long = add(&[b]);
        let end = add(&[short, long]);
        let unreached = add(&[end]);
        let reached = graph.reachable(&[end]);
        let seconds = |vertex| match vertex {
            v if v == short => Some(Duration::from_secs(1)),
            v if v == long => Some(Duration::from_secs(9)),
            _ => None,
        };

        let paths = longest_paths(&graph, &reached, Some(&seconds));

        let in_seconds = |v: VertexId| paths[v.index()].as_secs();
        assert_eq!(
            [a, b, short, long, end, unreached].map(in_seconds),
            [5 + 1 + 5, 5 + 9 + 5, 1 + 5, 9 + 5, 5, 0]
        );
    }

    #[test]
    fn without_durations_the_number_of_vertices_decides() {
        let mut graph = Graph::new();
        let a = graph.add(Vertex::new("", ()), &[]);
        let b = graph.add(Vertex::new("", ()), &[a]);
        let paths = longest_paths(&graph, &[a, b], None);
        assert_eq!(paths, [UNIT * 2, UNIT]);
    }
}
