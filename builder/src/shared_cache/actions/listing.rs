//! The keys of all entries, by GitHub's REST API: one request for a hundred blobs instead of a
//! hundred, where the cache service would tell one to slow down.

use serde::Deserialize;

use super::super::service::{Answer, Call, Patience, Service, ServiceError};
use super::super::sign::encode_query;
use super::entry_version;
use crate::options::Listing;

/// How many keys a page has: as many as it can.
const PAGE: usize = 100;

#[derive(Deserialize)]
struct Page {
    actions_caches: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    key: String,
    version: String,
}

/// Returns the keys of a branch's or tag's entries that begin with `prefix`.
pub(super) fn keys(
    service: &Service,
    listing: &Listing,
    prefix: &str,
    scope: &str,
    patience: &Patience<'_>,
) -> Result<Vec<String>, ServiceError> {
    let (key, reference) = (encode_query(prefix), encode_query(scope));
    let base = format!(
        "{}/repos/{}/actions/caches",
        listing.api.trim_end_matches('/'),
        listing.repository
    );
    let version = entry_version();
    let mut keys = Vec::new();
    for number in 1.. {
        let url = format!("{base}?per_page={PAGE}&page={number}&key={key}&ref={reference}");
        let make = || {
            let call = Call::new("GET", &url).with("accept", "application/vnd.github+json");
            let call = call.with("x-github-api-version", "2022-11-28");
            Ok(call.with("authorization", format!("Bearer {}", listing.token.0)))
        };
        let page = service.run(patience, &make, &Answer::json::<Page>)?;
        let last = page.actions_caches.len() < PAGE;
        let items = page.actions_caches.into_iter();
        let ours = items.filter(|item| item.version == version);
        keys.extend(ours.map(|item| item.key));
        if last {
            break;
        }
    }
    Ok(keys)
}
