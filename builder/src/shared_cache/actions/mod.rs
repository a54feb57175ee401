//! A shared cache in the cache service of GitHub Actions, or of one that speaks like it.
//!
//! ```text
//! index-SCOPE-1-HHHHHHHH#N      the list; N counts, the newest is read
//! buildkit-blob-1-sha256:HEX    layers
//! ```
//!
//! The layout is BuildKit's. An entry of the service is never changed, which is why lists are
//! counted. Who may read and write what is in the token: a job writes for its own branch or tag and
//! reads what was written there, for the branch it came from, and for the default branch; `HHHHHHHH`
//! is the hash of the one that a list was written for.
//!
//! There are two protocols ([`v1`], [`v2`]); both are public as the client of `actions/toolkit`.
//! With both, a key is reserved, its content sent, and the entry then committed. A reservation that
//! another job holds is as good as an entry: if that job never ends, those that read the list miss
//! the blob, and make the layer anew.

mod listing;
mod token;
mod v1;
mod v2;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cooper_oci::Descriptor;
use sha2::{Digest as _, Sha256};
use ureq::http::StatusCode;

use super::service::{Answer, Call, Patience, Service, ServiceError};
use super::shelf::{Payload, Shelf, parts, rest};
use super::{MAX_DOCUMENT, azure};
use crate::http::HttpClient;
use crate::options::{ActionsPlace, ActionsVersion};
use token::Scope;

/// How many parts of one entry travel at once.
const PARTS_AT_ONCE: usize = 4;

/// The version of the layout, as BuildKit counts it.
const LAYOUT: &str = "1";

/// How often a list's number is tried that somebody else has reserved.
const MAX_TAKEN: u64 = 50;

/// Advice on what the service refuses.
fn advice(status: StatusCode, _code: &str) -> Option<&'static str> {
    match status.as_u16() {
        401 | 403 => Some(
            "the token of a job ends with it, and cannot write for another branch: check token= \
             or ACTIONS_RUNTIME_TOKEN",
        ),
        404 => Some("check url= and version=: version=2 is what GitHub itself speaks"),
        429 => Some("name repository= and ghtoken=, so that what is there is asked for at once"),
        _ => None,
    }
}

/// The service, and how it is reached.
pub(super) struct Actions {
    place: ActionsPlace,
    service: Service,
    scopes: Vec<Scope>,
    /// Keys of the blobs that are there, if they can be listed.
    listed: Mutex<Option<Arc<HashSet<String>>>>,
}

/// An entry that was found.
struct Entry {
    key: String,
    /// Where its content is: whoever knows it may read.
    url: String,
}

/// A key that is reserved for us.
enum Reserved {
    /// Its content goes there.
    Ours(String),
    /// Somebody else has it.
    Taken,
}

/// A protocol of the service.
trait Protocol {
    /// Returns the entry with that key; with `newest`, the latest one whose key begins so.
    fn find(
        &self,
        key: &str,
        newest: bool,
        patience: &Patience<'_>,
    ) -> Result<Option<Entry>, ServiceError>;

    fn reserve(&self, key: &str, patience: &Patience<'_>) -> Result<Reserved, ServiceError>;

    /// Sends the content of what was reserved.
    fn upload(
        &self,
        to: &str,
        content: &Content<'_>,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError>;

    /// Makes an entry of it.
    fn commit(
        &self,
        key: &str,
        reserved: &str,
        size: u64,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError>;
}

/// What an entry is to hold.
struct Content<'a> {
    size: u64,
    open: &'a (dyn Fn(u64) -> io::Result<Box<dyn Read>> + Sync),
    part_size: u64,
}

impl Content<'_> {
    fn parts(&self) -> Vec<(u64, u64)> {
        parts(self.size, self.part_size, azure::MAX_BLOCKS)
    }
}

/// What is asked with every request.
struct Access<'a> {
    service: &'a Service,
    /// Ends in a slash.
    url: &'a str,
    token: &'a str,
}

impl Access<'_> {
    fn call<'b>(&self, method: &'static str, path: &str) -> Call<'b> {
        let call = Call::new(method, format!("{}{path}", self.url));
        call.with("authorization", format!("Bearer {}", self.token))
    }
}

impl Actions {
    /// Returns the service of `place`; nothing is connected yet.
    pub(super) fn new(place: &ActionsPlace, http: &HttpClient) -> Self {
        let token = place.token.as_ref();
        Self {
            service: Service::new(http, advice),
            scopes: token::scopes(token.map_or("", |token| &token.0)),
            place: place.clone(),
            listed: Mutex::default(),
        }
    }

    /// Calls `work` with the protocol that the service speaks.
    fn with<T>(
        &self,
        work: impl FnOnce(&(dyn Protocol + Sync)) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let absent = |missing| ServiceError::Absent {
            service: "GitHub's cache",
            missing,
        };
        let token = self.place.token.as_ref();
        let token = token
            .ok_or_else(|| absent("no token= is given, and ACTIONS_RUNTIME_TOKEN is not set"))?;
        let version = self.place.version.unwrap_or_default();
        let url = self.place.service_url().ok_or_else(|| {
            absent("no url= is given, and ACTIONS_CACHE_URL and ACTIONS_RESULTS_URL are not set")
        })?;
        let url = format!("{}/", url.trim_end_matches('/'));
        let access = Access {
            service: &self.service,
            url: &url,
            token: &token.0,
        };
        match version {
            ActionsVersion::V1 => work(&v1::V1(access)),
            ActionsVersion::V2 => work(&v2::V2(access)),
        }
    }

    fn list_key(&self, scope: &str) -> String {
        let hash = Sha256::digest(scope);
        let hash = hash.iter().take(4).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        format!("index-{}-{LAYOUT}-{hash}#", self.place.scope)
    }

    /// Reserves, sends and commits an entry; returns false if somebody else has the key.
    fn save(
        &self,
        key: &str,
        content: &Content<'_>,
        patience: &Patience<'_>,
    ) -> Result<bool, ServiceError> {
        self.with(|protocol| match protocol.reserve(key, patience)? {
            Reserved::Taken => Ok(false),
            Reserved::Ours(to) => {
                protocol.upload(&to, content, patience)?;
                protocol.commit(key, &to, content.size, patience)?;
                Ok(true)
            }
        })
    }

    fn find(
        &self,
        key: &str,
        newest: bool,
        patience: &Patience<'_>,
    ) -> Result<Option<Entry>, ServiceError> {
        let found = self.with(|protocol| protocol.find(key, newest, patience))?;
        // The first protocol takes every key for a beginning.
        Ok(found.filter(|entry| {
            if newest {
                entry.key.starts_with(key)
            } else {
                entry.key == key
            }
        }))
    }

    /// Opens an entry. Its address is its own permission: no token goes there.
    fn download(
        &self,
        entry: &Entry,
        offset: u64,
        patience: &Patience<'_>,
    ) -> Result<Answer, ServiceError> {
        let make = || Ok(Call::new("GET", &entry.url).after(offset));
        self.service.run(patience, &make, &Ok)
    }

    /// Returns the keys of all blobs, asked for at once, if GitHub may be asked.
    fn listed(
        &self,
        patience: &Patience<'_>,
    ) -> Result<Option<Arc<HashSet<String>>>, ServiceError> {
        let Some(listing) = &self.place.listing else {
            return Ok(None);
        };
        // Held while asking: whoever comes next wants the same.
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.is_none() {
            let prefix = format!("buildkit-blob-{LAYOUT}-");
            let scopes = self.scopes.iter().filter(|scope| scope.readable);
            let keys = scopes
                .map(|scope| listing::keys(&self.service, listing, &prefix, &scope.name, patience));
            let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
            *listed = Some(Arc::new(keys.into_iter().flatten().collect()));
        }
        Ok(listed.clone())
    }
}

fn blob_key(blob: &Descriptor) -> String {
    format!("buildkit-blob-{LAYOUT}-{}", blob.digest)
}

/// What tells entries of this layout from those of others: what BuildKit's are told by.
fn entry_version() -> String {
    let hash = Sha256::digest("|go-actionscache-1.0");
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Shelf for Actions {
    fn service(&self) -> &Service {
        &self.service
    }

    fn limit(&self) -> Option<Duration> {
        Some(self.place.timeout)
    }

    fn lists(&self, patience: &Patience<'_>) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        let mut lists = Vec::new();
        for scope in self.scopes.iter().filter(|scope| scope.readable) {
            let key = self.list_key(&scope.name);
            let Some(entry) = self.find(&key, true, patience)? else {
                continue;
            };
            let make = || Ok(Call::new("GET", &entry.url));
            let read = |answer: Answer| answer.bytes(MAX_DOCUMENT);
            let bytes = self.service.run(patience, &make, &read)?;
            lists.push((entry.key, bytes));
        }
        if lists.is_empty() {
            let name = format!("cache of the scope {}", self.place.scope);
            return Err(ServiceError::Missing { name });
        }
        Ok(lists)
    }

    fn has(&self, blob: &Descriptor, patience: &Patience<'_>) -> Result<bool, ServiceError> {
        let key = blob_key(blob);
        match self.listed(patience)? {
            Some(keys) => Ok(keys.contains(&key)),
            None => Ok(self.find(&key, false, patience)?.is_some()),
        }
    }

    fn put(&self, payload: &Payload<'_>, patience: &Patience<'_>) -> Result<bool, ServiceError> {
        let content = Content {
            size: payload.blob.size,
            open: &|offset| payload.open(offset),
            part_size: self.place.part_size,
        };
        self.save(&blob_key(payload.blob), &content, patience)
    }

    fn put_list(&self, list: &[u8], patience: &Patience<'_>) -> Result<(), ServiceError> {
        let scope = self.scopes.iter().find(|scope| scope.writable);
        let key = self.list_key(scope.map_or("", |scope| &scope.name));
        let content = Content {
            size: list.len() as u64,
            open: &|offset| {
                let mut list = io::Cursor::new(list.to_vec());
                list.set_position(offset);
                Ok(Box::new(list))
            },
            part_size: self.place.part_size,
        };
        let newest = self.find(&key, true, patience)?;
        let count = newest.and_then(|entry| entry.key.strip_prefix(&key)?.parse::<u64>().ok());
        let first = count.unwrap_or(0) + 1;
        for number in first..first + MAX_TAKEN {
            if self.save(&format!("{key}{number}"), &content, patience)? {
                return Ok(());
            }
        }
        let name = format!("free number for {key}");
        Err(ServiceError::Missing { name })
    }

    fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
        patience: &Patience<'_>,
    ) -> Result<(String, Box<dyn Read>), ServiceError> {
        let key = blob_key(blob);
        let Some(entry) = self.find(&key, false, patience)? else {
            return Err(ServiceError::Missing { name: key });
        };
        rest(self.download(&entry, offset, patience)?, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_buildkits() {
        let place = ActionsPlace::default();
        let actions = Actions::new(&place, &HttpClient::new(crate::http::HttpConfig::default()));
        // `printf refs/heads/main | sha256sum`
        let key = actions.list_key("refs/heads/main");
        assert_eq!(key, "index-buildkit-1-f921bd05#");
        let blob = Descriptor::of("t", b"x");
        assert!(blob_key(&blob).starts_with("buildkit-blob-1-sha256:2d7116"));
        assert!(entry_version().starts_with("693bb7016429d803"));
    }
}
