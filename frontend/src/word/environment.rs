//! The variables of a stage.

use std::collections::HashMap;

/// Variables in the order in which they were last set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    values: HashMap<String, (u64, String)>,
    clock: u64,
}

impl Environment {
    /// Sets a variable; one that is set again moves to the end.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.clock += 1;
        self.values.insert(name.into(), (self.clock, value.into()));
    }

    /// Returns a variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    /// Returns all variables in order.
    pub fn to_vec(&self) -> Vec<(String, String)> {
        let mut entries: Vec<_> = self.values.iter().collect();
        entries.sort_unstable_by_key(|(_, (at, _))| *at);
        entries
            .into_iter()
            .map(|(name, (_, value))| (name.clone(), value.clone()))
            .collect()
    }

    /// Returns the names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}
