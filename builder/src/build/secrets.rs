//! The build's secrets: read when first needed, never written anywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use thiserror::Error;

use crate::options::{SecretSource, SecretSpec};

/// A secret that cannot be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file of a secret cannot be read.
    #[error("secret {id}: cannot read {}", path.display())]
    File {
        /// The secret.
        id: String,
        /// Its file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Secrets by id.
#[derive(Default)]
pub(crate) struct Secrets {
    values: BTreeMap<String, Vec<u8>>,
}

impl Secrets {
    /// Reads all secrets. `variable` looks a name up in the environment.
    ///
    /// They are read at once, so that a missing file stops the build before it starts, and a pipe
    /// can be one. An unset variable is an empty secret, as docker has it; of two secrets of one
    /// id the later counts.
    pub(crate) fn read(
        specs: &[SecretSpec],
        variable: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, SecretError> {
        let mut values = BTreeMap::new();
        for spec in specs {
            let value = match &spec.source {
                SecretSource::File(path) => {
                    std::fs::read(path).map_err(|source| SecretError::File {
                        id: spec.id.clone(),
                        path: path.clone(),
                        source,
                    })?
                }
                SecretSource::Env(name) => variable(name).unwrap_or_default(),
            };
            values.insert(spec.id.clone(), value);
        }
        Ok(Self { values })
    }

    /// Returns the ids of those that are empty.
    pub(crate) fn empty(&self) -> impl Iterator<Item = &str> {
        let empty = self.values.iter().filter(|(_, value)| value.is_empty());
        empty.map(|(id, _)| id.as_str())
    }

    /// Returns a secret's bytes, or nothing if it was not given.
    pub(crate) fn get(&self, id: &str) -> Option<Vec<u8>> {
        self.values.get(id).cloned()
    }

    /// Returns all secrets with their ids.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let all = self.values.iter();
        all.map(|(id, value)| (id.as_str(), value.as_slice()))
    }

    /// Returns all values, for whoever has to keep them out of sight.
    pub(crate) fn values(&self) -> Vec<Vec<u8>> {
        self.values
            .values()
            .filter(|value| !value.is_empty())
            .cloned()
            .collect()
    }
}
