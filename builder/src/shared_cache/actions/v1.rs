//! The first protocol: `_apis/artifactcache`, of GitHub Enterprise and of other services.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET cache?keys=KEY&version=V` | 200 `{cacheKey, archiveLocation}`, 204 if there is none |
//! | `POST caches` `{key, version}` | 201 `{cacheId}`, 409 if the key is reserved |
//! | `PATCH caches/ID` with `Content-Range: bytes A-B/*` | 204 |
//! | `POST caches/ID` `{size}` | 204 |

use serde::Deserialize;
use serde_json::json;
use ureq::http::StatusCode;

use super::super::service::{Answer, Call, Patience, ServiceError};
use super::super::sign::encode_query;
use super::{Access, Content, Entry, PARTS_AT_ONCE, Protocol, Reserved, entry_version};
use crate::http::at_once;

const API: &str = "_apis/artifactcache";

/// The API's version, which is asked for by its media type.
const ACCEPT: &str = "application/json;api-version=6.0-preview.1";

pub(super) struct V1<'a>(pub(super) Access<'a>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Found {
    cache_key: String,
    archive_location: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    cache_id: u64,
}

impl V1<'_> {
    fn call<'b>(&self, method: &'static str, path: &str) -> Call<'b> {
        let call = self.0.call(method, &format!("{API}/{path}"));
        call.with("accept", ACCEPT)
    }
}

impl Protocol for V1<'_> {
    fn find(
        &self,
        key: &str,
        _newest: bool,
        patience: &Patience<'_>,
    ) -> Result<Option<Entry>, ServiceError> {
        let (keys, version) = (encode_query(key), entry_version());
        let path = format!("cache?keys={keys}&version={version}");
        let make = || Ok(self.call("GET", &path));
        self.0.service.run(patience, &make, &|answer: Answer| {
            if answer.response.status() == StatusCode::NO_CONTENT {
                return Ok(None);
            }
            let found: Found = answer.json()?;
            Ok((!found.archive_location.is_empty()).then_some(Entry {
                key: found.cache_key,
                url: found.archive_location,
            }))
        })
    }

    fn reserve(&self, key: &str, patience: &Patience<'_>) -> Result<Reserved, ServiceError> {
        let wanted = json!({ "key": key, "version": entry_version() });
        let make = || Ok(self.call("POST", "caches").sending_json(&wanted));
        let made = self.0.service.run(patience, &make, &Answer::json::<Made>);
        match made {
            Ok(Made { cache_id }) => Ok(Reserved::Ours(cache_id.to_string())),
            Err(ServiceError::Status { status, .. }) if status == StatusCode::CONFLICT => {
                Ok(Reserved::Taken)
            }
            Err(error) => Err(error),
        }
    }

    fn upload(
        &self,
        to: &str,
        content: &Content<'_>,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let path = format!("caches/{to}");
        at_once(&content.parts(), PARTS_AT_ONCE, |(start, length)| {
            let range = format!("bytes {start}-{}/*", start + length - 1);
            let make = || {
                let call = self.call("PATCH", &path).with("content-range", &range);
                let call = call.with("content-type", "application/octet-stream");
                Ok(call.sending((content.open)(*start)?, *length))
            };
            self.0.service.run(patience, &make, &|_| Ok(()))
        })
        .map(drop)
    }

    fn commit(
        &self,
        _key: &str,
        reserved: &str,
        size: u64,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let path = format!("caches/{reserved}");
        let make = || {
            Ok(self
                .call("POST", &path)
                .sending_json(&json!({ "size": size })))
        };
        self.0.service.run(patience, &make, &|_| Ok(()))
    }
}
