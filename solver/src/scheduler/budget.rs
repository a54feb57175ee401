//! Keeps what runs at once within a budget of memory.

use crate::graph::VertexId;
use crate::options::MemoryBudget;

/// The budget, and how much of it is in use.
pub(super) struct Budget<'a> {
    budget: Option<MemoryBudget<'a>>,
    used: u64,
}

impl<'a> Budget<'a> {
    pub(super) fn new(budget: Option<MemoryBudget<'a>>) -> Self {
        Self { budget, used: 0 }
    }

    fn need(&self, vertex: VertexId) -> u64 {
        self.budget.map_or(0, |budget| (budget.need)(vertex))
    }

    /// Takes what a vertex needs, if that is left; one that needs more than all there is gets
    /// it when nothing else that needs any is running.
    ///
    /// Behind a vertex that waits for memory, `waiting`, only those pass that need none: else
    /// a large one would wait for as long as there are small ones.
    pub(super) fn admit(&mut self, vertex: VertexId, waiting: bool) -> bool {
        let need = self.need(vertex);
        let most = self.budget.map_or(u64::MAX, |budget| budget.bytes);
        let fits = self.used == 0 || self.used.saturating_add(need) <= most;
        if need > 0 && (waiting || !fits) {
            return false;
        }
        self.used += need;
        true
    }

    /// Gives back what a vertex that was admitted needed.
    pub(super) fn release(&mut self, vertex: VertexId) {
        self.used = self.used.saturating_sub(self.need(vertex));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Vertex};

    #[test]
    fn what_runs_together_fits_and_what_never_fits_runs_alone() {
        let mut graph = Graph::new();
        let needs = [3, 3, 5, 0, 20];
        let ids = needs.map(|_| graph.add(Vertex::new("op", ()), &[]));
        let need = |vertex: VertexId| needs[vertex.index()];
        let mut budget = Budget::new(Some(MemoryBudget {
            bytes: 8,
            need: &need,
        }));
        let [one, two, five, none, huge] = ids;
        assert!(budget.admit(one, false) && budget.admit(two, false));
        assert!(!budget.admit(five, false), "6 + 5 are more than 8");
        assert!(budget.admit(none, true), "what needs nothing passes");
        budget.release(one);
        assert!(!budget.admit(one, true), "nothing small passes what waits");
        assert!(budget.admit(five, false));
        assert!(!budget.admit(huge, false));
        budget.release(two);
        budget.release(five);
        assert!(budget.admit(huge, false));
        assert!(!budget.admit(one, false));
        let mut unlimited = Budget::new(None);
        assert!(unlimited.admit(huge, false) && unlimited.admit(five, true));
    }
}
