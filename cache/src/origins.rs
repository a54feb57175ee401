//! Where registries are known to have a blob: the repositories that it came from or went to.
//!
//! A push asks a registry to take a blob from another of its repositories instead of sending it;
//! this says which to name. Nothing depends on it: a repository that lost the blob since is
//! noticed by the push, and the collector takes what is said of a blob together with the blob.

use std::fs;
use std::sync::Arc;

use cooper_oci::{Digest, Reference};

use crate::error::{IoContext, StoreError};
use crate::images::{json, read_json};
use crate::store::Shared;

/// How many repositories are remembered of a blob: the last ones.
const MOST: usize = 8;

/// The origins of a store's blobs.
#[derive(Debug, Clone)]
pub struct Origins {
    shared: Arc<Shared>,
}

impl Origins {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Notes that the repository of `name` has the blob.
    pub fn note(&self, digest: &Digest, name: &Reference) -> Result<(), StoreError> {
        let repository = name.without_tag();
        let mut known = self.of(digest);
        if known.first() == Some(&repository) {
            return Ok(());
        }
        known.retain(|other| *other != repository);
        known.insert(0, repository);
        known.truncate(MOST);
        let path = self.shared.layout.origins(digest);
        match self.shared.write_atomic(&path, &json(&known)) {
            Err(error) if error.is_not_found() => {
                let dir = path.parent().unwrap_or(&path);
                fs::create_dir_all(dir).during("create", dir)?;
                self.shared.write_atomic(&path, &json(&known))
            }
            other => other,
        }
    }

    /// Returns the repositories that have, or had, the blob; the one noted last comes first.
    pub fn of(&self, digest: &Digest) -> Vec<Reference> {
        let read = read_json(&self.shared.layout.origins(digest));
        read.ok().flatten().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gc::GcOptions;
    use crate::testing::store;

    fn name(text: &str) -> Reference {
        text.parse().expect("valid")
    }

    #[test]
    fn the_last_repositories_of_a_blob_are_remembered() {
        let (_dir, store) = store();
        let (origins, digest) = (store.origins(), Digest::sha256("blob"));
        assert_eq!(origins.of(&digest), []);
        for number in 0..10 {
            let name = name(&format!("r.example/app{number}:1"));
            origins.note(&digest, &name).expect("note");
        }
        origins
            .note(&digest, &name("r.example/app5"))
            .expect("note");
        let known: Vec<_> = origins
            .of(&digest)
            .iter()
            .map(|name| name.path().to_owned())
            .collect();
        assert_eq!(
            known,
            [
                "app5", "app9", "app8", "app7", "app6", "app4", "app3", "app2"
            ]
        );
    }

    #[test]
    fn what_is_known_of_a_blob_goes_with_it() {
        let (_dir, store) = store();
        let origins = store.origins();
        let kept = store.blobs().put(b"kept").expect("put");
        let gone = Digest::sha256("gone");
        for digest in [&kept, &gone] {
            origins.note(digest, &name("r.example/app")).expect("note");
        }
        let lease = store.lease().expect("lease");
        assert!(store.blobs().has(&kept));
        store.gc(&GcOptions::default()).expect("gc");
        drop(lease);
        assert_eq!(origins.of(&kept), [name("r.example/app")]);
        assert_eq!(origins.of(&gone), []);
    }
}
