//! The solver's memory of results, kept in the store's records.

use cooper_cache::{ClaimGuard, LayerId, Store};
use cooper_solver::{CacheKey, Claim, KeyIndex, Record};

use super::journal::Journal;
use super::output::{Output, Root};
use super::remote::RemoteLayers;

/// Results by key: small files, so that looking one up opens nothing else.
pub(crate) struct StoreIndex<'a> {
    store: &'a Store,
    remote: &'a RemoteLayers,
    journal: &'a Journal<'a>,
    /// Results made before, in seconds since 1970, do not count.
    not_before: Option<i64>,
}

struct StoreClaim(#[expect(dead_code, reason = "held for its lock")] Option<ClaimGuard>);

impl<'a> StoreIndex<'a> {
    /// Returns an index over `store`; layers known to `remote` need not be there yet.
    pub(crate) fn new(
        store: &'a Store,
        remote: &'a RemoteLayers,
        journal: &'a Journal<'a>,
    ) -> Self {
        Self {
            store,
            remote,
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
        root.layers
            .iter()
            .all(|layer| self.remote.knows(&layer.id) || layers.has(&layer.id))
    }
}

impl KeyIndex<Output> for StoreIndex<'_> {
    fn lookup(&self, key: &CacheKey) -> Option<Output> {
        let bytes = self.store.records().get(key.as_bytes()).ok()??;
        let root: Root = serde_json::from_slice(&bytes).ok()?;
        (self.is_young(&root) && self.is_usable(&root)).then_some(Output::Root(root))
    }

    fn record(&self, record: &Record<'_, Output>) {
        let Output::Root(root) = record.output else {
            return;
        };
        let Ok(bytes) = serde_json::to_vec(root) else {
            return;
        };
        let records = self.store.records();
        let needs: Vec<LayerId> = root
            .layers
            .iter()
            .filter(|layer| layer.created.is_some())
            .map(|layer| layer.id.clone())
            .collect();
        for key in record.keys() {
            // A result that cannot be remembered costs a later build time, not this one its result.
            let _ = records.put(key.as_bytes(), &bytes, &needs);
        }
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
