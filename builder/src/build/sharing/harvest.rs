//! What a solve can give to shared caches.
//!
//! The solver tells the definition key of every vertex that a target is made of, also of those
//! that it did not come to because a later one was remembered. Their results are looked up when
//! the solve is over: what is not remembered any more is not given.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cooper_frontend::ir::BuildOp;
use cooper_solver::{CacheKey, Graph, VertexId};

use crate::build::index::StoreIndex;
use crate::build::ops::exec::static_names;
use crate::build::output::Root;
use crate::options::CacheMode;
use crate::shared_cache::Offer;

/// The keys of a solve, as they become known.
#[derive(Debug, Default)]
pub(in crate::build) struct Keys {
    told: RefCell<BTreeMap<VertexId, CacheKey>>,
}

/// The results of one target's steps, in the order of the graph.
#[derive(Clone, Debug, Default)]
pub(in crate::build) struct Harvest {
    offers: Vec<Offer>,
    /// Names of the cache mounts of its steps, as far as these tell.
    pub(in crate::build) mounts: BTreeSet<String>,
}

impl Keys {
    /// Notes the key of a vertex.
    pub(in crate::build) fn note(&self, vertex: VertexId, key: CacheKey) {
        self.told.borrow_mut().insert(vertex, key);
    }

    /// Returns what is known of `vertices`.
    pub(in crate::build) fn harvest(
        &self,
        graph: &Graph<BuildOp>,
        vertices: &[VertexId],
        index: &StoreIndex<'_>,
    ) -> Harvest {
        let told = self.told.borrow();
        let keys = vertices.iter().filter_map(|vertex| told.get(vertex));
        Harvest {
            offers: keys.filter_map(|key| index.find(key)).collect(),
            mounts: vertices
                .iter()
                .filter_map(|vertex| match &graph.vertex(*vertex).op {
                    BuildOp::Exec(op) => Some(static_names(op)),
                    _ => None,
                })
                .flatten()
                .collect(),
        }
    }
}

impl Harvest {
    /// Returns what a cache of that mode gets; `roots` are the target's results.
    pub(in crate::build) fn offers(&self, mode: CacheMode, roots: &[Root]) -> Vec<Offer> {
        let is_part = |offer: &&Offer| {
            let mut roots = roots.iter();
            roots.any(|root| root.layers.starts_with(&offer.root.layers))
        };
        let wanted = |offer: &&Offer| mode == CacheMode::Max || is_part(offer);
        self.offers.iter().filter(wanted).cloned().collect()
    }
}
