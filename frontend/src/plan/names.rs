//! Names of stages and contexts.

use std::collections::HashMap;

use cooper_oci::Reference;

use crate::source::Spanned;

/// Stages by name; of stages with one name, the last.
#[derive(Clone, Debug, Default)]
pub(super) struct StageNames {
    stages: HashMap<String, usize>,
}

impl StageNames {
    pub(super) fn add(&mut self, index: usize, name: Option<&Spanned<String>>) {
        self.stages
            .extend(name.map(|name| (name.value.clone(), index)));
    }

    /// Finds a stage as FROM does: names are stored in lower case, and FROM
    /// does not ignore case.
    pub(super) fn find_exact(&self, name: &str) -> Option<usize> {
        self.stages.get(name).copied()
    }

    /// Finds a stage in any case.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.find_exact(&name.to_lowercase())
    }

    /// Returns all names in the order of their stages.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> = self.stages.iter().collect();
        names.sort_unstable_by_key(|(_, index)| **index);
        names.into_iter().map(|(name, _)| name.as_str())
    }
}

/// Returns the one spelling of a context's name: `docker.io/library/a:latest`
/// and `a` are the same.
pub(super) fn canonical(name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else {
        return name.to_lowercase();
    };
    let familiar = reference.familiar();
    familiar
        .strip_suffix(":latest")
        .map_or(familiar.clone(), str::to_owned)
}
