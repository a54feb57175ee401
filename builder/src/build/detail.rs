//! What is kept of an executed step besides its result, for whoever asks later.

use std::collections::HashMap;

use cooper_cache::{Store, StoreError, Table};
use serde::{Deserialize, Serialize};

/// An executed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDetail {
    /// What the step is called in front of people.
    pub name: String,
    /// Digest of the op itself.
    pub op: String,
    /// Digests of what it read from its inputs.
    pub inputs: Vec<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// How many layers its result consists of.
    #[serde(default)]
    pub layers: usize,
}

impl StepDetail {
    /// Returns what is known of executed steps, by the keys of their results.
    pub fn all(store: &Store) -> Result<HashMap<[u8; 32], Self>, StoreError> {
        let known = store.meta().all(Table::Components)?;
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let key = key.try_into().ok()?;
            Some((key, serde_json::from_slice(&value).ok()?))
        };
        Ok(known.into_iter().filter_map(decode).collect())
    }
}
