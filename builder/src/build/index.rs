//! The solver's memory of results: the store's records, then what shared caches offer.
//!
//! A result that is taken from a shared cache is recorded at once. It counts from when its layers
//! are here: a record whose layers are not is a miss.

use cooper_cache::{ClaimGuard, LayerId, Store};
use cooper_solver::{CacheKey, Claim, KeyIndex, Record};
use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::output::{Output, Root, RootLayer};
use super::remote::RemoteLayers;
use super::sharing::Imports;
use crate::shared_cache::Offer;

/// Results by key: small files, so that looking one up opens nothing else.
pub(crate) struct StoreIndex<'a> {
    store: &'a Store,
    remote: &'a RemoteLayers,
    imports: &'a Imports,
    journal: &'a Journal<'a>,
    /// Results made before, in seconds since 1970, do not count.
    not_before: Option<i64>,
}

/// A result as it is recorded.
#[derive(Serialize, Deserialize)]
struct Recorded {
    #[serde(flatten)]
    root: Root,
    /// The content key that the result has, for who finds it by its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

struct StoreClaim(#[expect(dead_code, reason = "held for its lock")] Option<ClaimGuard>);

impl<'a> StoreIndex<'a> {
    /// Returns an index over `store`; layers known to `remote` need not be there yet.
    pub(crate) fn new(
        store: &'a Store,
        remote: &'a RemoteLayers,
        imports: &'a Imports,
        journal: &'a Journal<'a>,
    ) -> Self {
        Self {
            store,
            remote,
            imports,
            journal,
            not_before: None,
        }
    }

    /// Passes over results made before `time`, in seconds since 1970.
    pub(crate) fn not_before(mut self, time: Option<i64>) -> Self {
        self.not_before = time;
        self
    }

    /// Tells whether the step whose result this is ran recently enough.
    fn is_young(&self, root: &Root) -> bool {
        let made = root.layers.last().and_then(|layer| layer.created);
        match (self.not_before, made) {
            (Some(earliest), Some(made)) => made.secs >= earliest,
            _ => true,
        }
    }

    /// A result counts only while all its layers can be had.
    fn is_usable(&self, root: &Root) -> bool {
        let layers = self.store.layers();
        let there = |layer: &RootLayer| self.remote.knows(&layer.id) || layers.has(&layer.id);
        self.is_young(root) && root.layers.iter().all(there)
    }

    /// Returns the usable result of a key, and the content key that it has.
    pub(crate) fn find(&self, key: &CacheKey) -> Option<Offer> {
        if let Some(known) = self
            .recorded(key)
            .filter(|known| self.is_usable(&known.root))
        {
            return Some(known);
        }
        let offer = self.imports.find(key, |root| self.is_usable(root))?;
        self.keep(&[offer.key], &offer);
        Some(offer)
    }

    fn recorded(&self, key: &CacheKey) -> Option<Offer> {
        let bytes = self.store.records().get(key.as_bytes()).ok()??;
        let known: Recorded = serde_json::from_slice(&bytes).ok()?;
        Some(Offer {
            key: *key,
            content: known.content.and_then(|content| content.parse().ok()),
            root: known.root,
        })
    }

    /// Records a result under `keys`.
    fn keep(&self, keys: &[CacheKey], known: &Offer) {
        let recorded = Recorded {
            root: known.root.clone(),
            content: known.content.map(|content| content.to_string()),
        };
        let Ok(bytes) = serde_json::to_vec(&recorded) else {
            return;
        };
        let made = known
            .root
            .layers
            .iter()
            .filter(|layer| layer.created.is_some());
        let needs: Vec<LayerId> = made.map(|layer| layer.id.clone()).collect();
        for key in keys {
            // A result that cannot be remembered costs a later build time, not this one its result.
            let _ = self.store.records().put(key.as_bytes(), &bytes, &needs);
        }
    }
}

impl KeyIndex<Output> for StoreIndex<'_> {
    fn lookup(&self, key: &CacheKey) -> Option<Output> {
        self.find(key).map(|found| Output::Root(found.root))
    }

    fn record(&self, record: &Record<'_, Output>) {
        let Output::Root(root) = record.output else {
            return;
        };
        let known = Offer {
            key: record.definition,
            content: Some(record.content),
            root: root.clone(),
        };
        let keys: Vec<CacheKey> = record.keys().collect();
        self.keep(&keys, &known);
        self.journal.recorded(record);
    }

    fn try_claim(&self, key: &CacheKey) -> Option<Box<dyn Claim + '_>> {
        match self.store.try_claim(key.as_bytes()) {
            Ok(Some(guard)) => Some(Box::new(StoreClaim(Some(guard)))),
            Ok(None) => None,
            // Where no lock can be had, doing the work twice is the lesser harm.
            Err(_) => Some(Box::new(StoreClaim(None))),
        }
    }
}
