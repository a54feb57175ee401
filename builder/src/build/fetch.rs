//! Bringing in files that are somewhere else: repositories, downloads, archives.
//!
//! Whatever comes in becomes one layer, and a record of it goes to the store's records, so that
//! the next build takes what it can prove to be the same without fetching it:
//!
//! | source | is the same if |
//! |---|---|
//! | repository | the reference means the same commit |
//! | download | the server says so, or the wanted checksum is that of the last download |
//! | archive | its bytes have the same digest |
//!
//! A context and ADD fetch by the same means; only who is told about it differs ([`Watch`]).

mod archive;
mod git;
mod http;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cooper_cache::{LayerId, Layers, Store};
use cooper_solver::CacheKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aside::Canceled;
use super::error::OpError;
use super::output::Root;
use super::secrets::Secrets;
use crate::git::Mirrors;
use crate::registry::Client;
use crate::ssh::Agents;

pub(crate) use crate::git::Watch;
pub(super) use archive::{is_archive, spool};
pub(super) use git::address;
pub(super) use http::CONTEXT_FILE;

/// The child processes' surroundings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// `PATH`.
    pub(crate) path: OsString,
    /// `HOME`, where ssh's known hosts are.
    pub(crate) home: Option<PathBuf>,
}

/// Brings files in. Cheap to share: what it holds is immutable or guards itself.
pub(crate) struct Fetcher {
    store: Store,
    layers: Layers,
    client: Client,
    secrets: Secrets,
    agents: Agents,
    surroundings: Surroundings,
    epoch: Option<i64>,
    /// What each address gave.
    found: Mutex<BTreeMap<String, String>>,
}

/// What a [`Fetcher`] is made of.
pub(crate) struct FetcherParts {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) secrets: Secrets,
    pub(crate) agents: Agents,
    pub(crate) surroundings: Surroundings,
    pub(crate) epoch: Option<i64>,
}

impl Fetcher {
    pub(crate) fn new(parts: FetcherParts) -> Arc<Self> {
        Arc::new(Self {
            layers: parts.store.layers(),
            store: parts.store,
            client: parts.client,
            secrets: parts.secrets,
            agents: parts.agents,
            surroundings: parts.surroundings,
            epoch: parts.epoch,
            found: Mutex::default(),
        })
    }

    /// Returns the secrets that the build was given.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Returns the agents that the build was given.
    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Returns what `address` gave in this build: a digest, or the name of a commit.
    pub(crate) fn found(&self, address: &str) -> Option<String> {
        self.lock_found().get(address).cloned()
    }

    fn note_found(&self, address: String, what: &str) {
        self.lock_found().insert(address, what.to_owned());
    }

    fn lock_found(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirrors(&self) -> Mirrors {
        Mirrors::new(self.store.clone())
    }

    /// Returns the time for what is created now: the source date epoch if one is set.
    fn now(&self) -> cooper_cache::Timestamp {
        super::engine::now(self.epoch)
    }

    /// Returns what was recorded, if all its layers are still there.
    fn recorded<T: DeserializeOwned>(&self, key: &CacheKey) -> Option<T> {
        let bytes = self.store.records().get(key.as_bytes()).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    /// Records what was fetched. Losing it costs a fetch, no result.
    fn record<T: Serialize>(&self, key: &CacheKey, value: &T, needs: &Root) {
        let needs: Vec<LayerId> = needs.ids();
        if let Ok(bytes) = serde_json::to_vec(value) {
            let _ = self.store.records().put(key.as_bytes(), &bytes, &needs);
        }
    }
}

impl From<Canceled> for OpError {
    fn from(_: Canceled) -> Self {
        Self::Canceled
    }
}
