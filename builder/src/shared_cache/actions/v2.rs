//! The second protocol: Twirp's calls in JSON, and content in blobs of Azure's.
//!
//! | Call | Answer |
//! |---|---|
//! | `GetCacheEntryDownloadURL {key, restore_keys, version}` | `{ok, signed_download_url, matched_key}` |
//! | `CreateCacheEntry {key, version}` | `{ok, signed_upload_url}`; 409 if the key is reserved |
//! | `FinalizeCacheEntryUpload {key, version, size_bytes}` | `{ok, entry_id}` |
//!
//! Answers leave out what is false, as JSON of Protocol Buffers does.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::StatusCode;

use super::super::azure;
use super::super::service::{Answer, Patience, ServiceError};
use super::{Access, Content, Entry, PARTS_AT_ONCE, Protocol, Reserved, entry_version};

const API: &str = "twirp/github.actions.results.api.v1.CacheService";

pub(super) struct V2<'a>(pub(super) Access<'a>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    ok: bool,
    signed_download_url: String,
    matched_key: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Made {
    ok: bool,
    signed_upload_url: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Done {
    ok: bool,
}

impl V2<'_> {
    fn call<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        argument: &Value,
        patience: &Patience<'_>,
    ) -> Result<T, ServiceError> {
        let path = format!("{API}/{name}");
        let make = || Ok(self.0.call("POST", &path).sending_json(argument));
        self.0.service.run(patience, &make, &Answer::json::<T>)
    }
}

impl Protocol for V2<'_> {
    fn find(
        &self,
        key: &str,
        newest: bool,
        patience: &Patience<'_>,
    ) -> Result<Option<Entry>, ServiceError> {
        let beginnings: &[&str] = if newest { &[key] } else { &[] };
        let wanted = json!({ "key": key, "restore_keys": beginnings, "version": entry_version() });
        let found: Found = match self.call("GetCacheEntryDownloadURL", &wanted, patience) {
            Err(error) if is(&error, StatusCode::NOT_FOUND, "not_found") => return Ok(None),
            other => other?,
        };
        Ok(found.ok.then_some(Entry {
            key: found.matched_key,
            url: found.signed_download_url,
        }))
    }

    fn reserve(&self, key: &str, patience: &Patience<'_>) -> Result<Reserved, ServiceError> {
        let wanted = json!({ "key": key, "version": entry_version() });
        match self.call::<Made>("CreateCacheEntry", &wanted, patience) {
            Ok(made) if made.ok => Ok(Reserved::Ours(made.signed_upload_url)),
            Ok(_) => Ok(Reserved::Taken),
            Err(error) if is(&error, StatusCode::CONFLICT, "already_exists") => Ok(Reserved::Taken),
            Err(error) => Err(error),
        }
    }

    fn upload(
        &self,
        to: &str,
        content: &Content<'_>,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let blob = azure::Blob {
            service: self.0.service,
            url: to,
            account: None,
            parallel: PARTS_AT_ONCE,
        };
        blob.put(content.open, &content.parts(), patience)
    }

    fn commit(
        &self,
        key: &str,
        _reserved: &str,
        size: u64,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let entry = json!({
            "key": key,
            "version": entry_version(),
            // As JSON of Protocol Buffers has 64-bit numbers.
            "size_bytes": size.to_string(),
        });
        let done: Done = self.call("FinalizeCacheEntryUpload", &entry, patience)?;
        if done.ok {
            return Ok(());
        }
        Err(ServiceError::Answer {
            request: "FinalizeCacheEntryUpload".to_owned(),
            reason: format!("{key} was not committed"),
        })
    }
}

fn is(error: &ServiceError, answered: StatusCode, word: &str) -> bool {
    matches!(error, ServiceError::Status { status, code, .. } if *status == answered && code == word)
}
