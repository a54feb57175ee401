//! The graph of what is to be done.
//!
//! Vertices are added after their inputs, so that a graph is acyclic by
//! construction and the order of addition is a topological one. A vertex may
//! name the same input more than once: input positions mean something to its op.

use std::fmt;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

/// The name of a vertex within its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(u32);

impl VertexId {
    /// Returns the position of the vertex in the order of addition, from zero.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the vertex at a position; only positions below [`Graph::len`] exist.
    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("petgraph counts vertices in 32 bits"))
    }

    fn node(self) -> NodeIndex<u32> {
        NodeIndex::new(self.index())
    }
}

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A piece of work, and what rides along outside its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex<O> {
    /// What is done.
    pub op: O,
    /// How it is called in front of people.
    pub name: String,
    /// Whether it runs even if its result is remembered.
    pub ignore_cache: bool,
}

impl<O> Vertex<O> {
    /// Returns a vertex that uses the cache.
    pub fn new(name: impl Into<String>, op: O) -> Self {
        Self {
            op,
            name: name.into(),
            ignore_cache: false,
        }
    }
}

/// A vertex in its place.
#[derive(Debug, Clone)]
struct Node<O> {
    vertex: Vertex<O>,
    inputs: Box<[VertexId]>,
}

/// An edge's weight: which input of the consumer it is.
type InputIndex = u32;

/// A directed acyclic graph whose edges lead from inputs to their consumers.
#[derive(Debug, Clone)]
pub struct Graph<O> {
    inner: DiGraph<Node<O>, InputIndex, u32>,
}

impl<O> Default for Graph<O> {
    fn default() -> Self {
        Self {
            inner: DiGraph::with_capacity(0, 0),
        }
    }
}

impl<O> Graph<O> {
    /// Returns an empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex that reads the outputs of `inputs`, in this order.
    ///
    /// # Panics
    /// If an input is not a vertex of this graph.
    pub fn add(&mut self, vertex: Vertex<O>, inputs: &[VertexId]) -> VertexId {
        for input in inputs {
            assert!(
                input.index() < self.len(),
                "input {input} is not in the graph yet"
            );
        }
        let node = self.inner.add_node(Node {
            vertex,
            inputs: inputs.into(),
        });
        for (position, input) in inputs.iter().enumerate() {
            self.inner
                .add_edge(input.node(), node, position as InputIndex);
        }
        VertexId::from_index(node.index())
    }

    /// Returns the number of vertices.
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    /// Returns whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the vertex is one of this graph.
    pub fn contains(&self, id: VertexId) -> bool {
        id.index() < self.len()
    }

    /// Returns a vertex.
    ///
    /// # Panics
    /// If it is not one of this graph, as with indexing.
    pub fn vertex(&self, id: VertexId) -> &Vertex<O> {
        &self.inner[id.node()].vertex
    }

    /// Returns a vertex to be changed; its inputs stay.
    ///
    /// # Panics
    /// If it is not one of this graph, as with indexing.
    pub fn vertex_mut(&mut self, id: VertexId) -> &mut Vertex<O> {
        &mut self.inner[id.node()].vertex
    }

    /// Returns the inputs of a vertex in their order.
    ///
    /// # Panics
    /// If it is not one of this graph, as with indexing.
    pub fn inputs(&self, id: VertexId) -> &[VertexId] {
        &self.inner[id.node()].inputs
    }

    /// Iterates over those that read a vertex's output: each as often as it does.
    pub fn consumers(&self, id: VertexId) -> impl Iterator<Item = (VertexId, usize)> + '_ {
        self.inner
            .edges_directed(id.node(), Direction::Outgoing)
            .map(|edge| {
                (
                    VertexId::from_index(edge.target().index()),
                    *edge.weight() as usize,
                )
            })
    }

    /// Iterates over all vertices, inputs before their consumers.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = VertexId> + ExactSizeIterator + use<O> {
        (0..self.len()).map(VertexId::from_index)
    }

    /// Iterates over all vertices, inputs before their consumers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (VertexId, &Vertex<O>)> {
        self.ids().map(|id| (id, self.vertex(id)))
    }

    /// Returns the targets and everything above them, inputs before their consumers.
    pub fn reachable(&self, targets: &[VertexId]) -> Vec<VertexId> {
        let mut reached = vec![false; self.len()];
        for target in targets {
            reached[target.index()] = true;
        }
        for id in self.ids().rev() {
            if reached[id.index()] {
                for input in self.inputs(id) {
                    reached[input.index()] = true;
                }
            }
        }
        self.ids().filter(|id| reached[id.index()]).collect()
    }

    /// Returns the graph of the same shape, names and flags with other ops.
    pub fn map<P>(&self, mut op: impl FnMut(VertexId, &Vertex<O>) -> P) -> Graph<P> {
        let infallible = |id, vertex: &Vertex<O>| Ok::<_, std::convert::Infallible>(op(id, vertex));
        match self.try_map(infallible) {
            Ok(graph) => graph,
            Err(never) => match never {},
        }
    }

    /// Returns the graph of the same shape, names and flags with other ops, or the first error.
    pub fn try_map<P, E>(
        &self,
        mut op: impl FnMut(VertexId, &Vertex<O>) -> Result<P, E>,
    ) -> Result<Graph<P>, E> {
        let mut graph = Graph {
            inner: DiGraph::with_capacity(self.len(), self.inner.edge_count()),
        };
        for (id, vertex) in self.iter() {
            let mapped = Vertex {
                op: op(id, vertex)?,
                name: vertex.name.clone(),
                ignore_cache: vertex.ignore_cache,
            };
            graph.add(mapped, self.inputs(id));
        }
        Ok(graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// top → left → bottom, top → right → bottom, and one aside; bottom reads top once more.
    fn diamond() -> (Graph<u32>, [VertexId; 5]) {
        let mut graph = Graph::new();
        let top = graph.add(Vertex::new("a", 1), &[]);
        let left = graph.add(Vertex::new("b", 2), &[top]);
        let right = graph.add(
            Vertex {
                ignore_cache: true,
                ..Vertex::new("c", 3)
            },
            &[top],
        );
        let bottom = graph.add(Vertex::new("d", 4), &[right, left, top]);
        let aside = graph.add(Vertex::new("e", 5), &[]);
        (graph, [top, left, right, bottom, aside])
    }

    #[test]
    fn inputs_keep_their_order_and_consumers_know_their_position() {
        let (graph, [top, left, right, bottom, aside]) = diamond();
        assert_eq!(graph.inputs(bottom), [right, left, top]);
        let mut consumers: Vec<_> = graph.consumers(top).collect();
        consumers.sort_unstable();
        assert_eq!(consumers, [(left, 0), (right, 0), (bottom, 2)]);
        assert_eq!(graph.consumers(aside).count(), 0);
    }

    #[test]
    fn what_targets_reach_is_listed_inputs_first() {
        let (graph, [top, left, right, bottom, aside]) = diamond();
        let cases: [(&[VertexId], &[VertexId]); 4] = [
            (&[], &[]),
            (&[bottom], &[top, left, right, bottom]),
            (&[right, aside], &[top, right, aside]),
            (&[aside, aside], &[aside]),
        ];
        for (targets, reached) in cases {
            assert_eq!(graph.reachable(targets), reached);
        }
    }

    #[test]
    fn mapping_keeps_all_but_the_op() {
        let (graph, [_, _, right, bottom, _]) = diamond();
        let mapped = graph.map(|id, vertex| format!("{id} {}", vertex.op));
        assert_eq!(mapped.len(), 5);
        assert_eq!(mapped.vertex(right).op, "#2 3");
        assert_eq!(mapped.vertex(right).name, "c");
        assert!(mapped.vertex(right).ignore_cache);
        assert_eq!(mapped.inputs(bottom), graph.inputs(bottom));
        let failed = graph.try_map(|_, vertex| if vertex.op == 3 { Err("three") } else { Ok(()) });
        assert_eq!(failed.unwrap_err(), "three");
    }

    #[test]
    #[should_panic(expected = "input #1 is not in the graph yet")]
    fn a_vertex_cannot_read_what_is_not_there() {
        let (other, [_, left, ..]) = diamond();
        assert!(other.contains(left));
        let mut graph = Graph::new();
        graph.add(Vertex::new("a", 1), &[]);
        graph.add(Vertex::new("x", 2), &[left]);
    }
}
