//! A shared cache in a bucket of S3, or of a service that speaks like it.
//!
//! ```text
//! [PREFIX]manifests/NAME        the list, by each of its names
//! [PREFIX]blobs/sha256:HEX      layers
//! ```
//!
//! The layout is BuildKit's. Objects appear when they are complete, so a list never names a blob
//! that is not there. Blobs that no list names any more are left to the bucket's own rules of age.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cooper_oci::Descriptor;
use rayon::prelude::*;
use thiserror::Error;
use ureq::http::{Request, Response, StatusCode};
use ureq::{Body, SendBody};

use super::document::Document;
use super::sign::{Signing, encode_path};
use super::{Bundle, Contents, MAX_DOCUMENT, Sent, SharedCacheError};
use crate::http::{HttpClient, HttpError, Trust, describe, is_transient, is_transient_status};
use crate::options::BucketPlace;

/// What stands for a payload's digest that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// How much of an error's text is read, in bytes.
const MAX_ANSWER: u64 = 16 << 10;

/// Why a bucket did not give or take an object.
#[derive(Debug, Error)]
pub enum BucketError {
    /// It refused.
    #[error("{method} {url}: {status}{}", said(code))]
    Status {
        /// The request's method.
        method: &'static str,
        /// The object.
        url: String,
        /// The answer.
        status: StatusCode,
        /// S3's own word for it, such as `AccessDenied`.
        code: String,
    },
    /// No answer came.
    #[error("{method} {url}: {reason}")]
    Transport {
        /// The request's method.
        method: &'static str,
        /// The object.
        url: String,
        /// What went wrong.
        reason: String,
        /// Another attempt may succeed.
        transient: bool,
    },
    /// The answer broke off, or what is sent could not be read.
    #[error("{method} {url} broke off")]
    Broken {
        /// The request's method.
        method: &'static str,
        /// The object.
        url: String,
        /// How.
        source: io::Error,
    },
    /// An object is longer than any list.
    #[error("{url} is longer than {limit} bytes")]
    TooLong {
        /// The object.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// Connections cannot be made at all.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The build was given up.
    #[error("canceled")]
    Canceled,
}

fn said(code: &str) -> String {
    if code.is_empty() {
        String::new()
    } else {
        format!(" ({code})")
    }
}

impl BucketError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { status, code, .. } => match (status.as_u16(), code.as_str()) {
                (404, "NoSuchBucket") => Some("make the bucket first".to_owned()),
                (301 | 307, _) | (_, "AuthorizationHeaderMalformed") => {
                    Some("check region=: the bucket is in another one".to_owned())
                }
                (401 | 403, _) => Some(
                    "check access_key_id= and secret_access_key=, or AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY, and what they may do"
                        .to_owned(),
                ),
                _ => None,
            },
            _ => None,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_transient_status(*status),
            Self::Transport { transient, .. } => *transient,
            Self::Broken { .. } => true,
            _ => false,
        }
    }
}

/// A bucket and how it is reached; cheap to clone.
#[derive(Clone)]
pub(crate) struct Bucket {
    place: Arc<BucketPlace>,
    http: Arc<HttpClient>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket")
            .field(&self.place.to_string())
            .finish()
    }
}

/// What is sent with a request.
enum Payload<'a> {
    None,
    Stream(&'a dyn Fn() -> io::Result<Box<dyn Read>>, u64),
}

impl Bucket {
    /// Returns the bucket of `place`; nothing is connected yet.
    pub(crate) fn new(place: &BucketPlace, http: &HttpClient) -> Self {
        Self {
            place: Arc::new(place.clone()),
            http: Arc::new(HttpClient::new(http.config().clone())),
        }
    }

    /// Reads the first list that there is of the names.
    pub(crate) fn load(&self, canceled: &dyn Fn() -> bool) -> Result<Contents, SharedCacheError> {
        let names = self.place.names.iter();
        let mut missing = None;
        for key in names.map(|name| self.place.manifest(name)) {
            match self.get(&key, canceled) {
                Ok(bytes) => {
                    return Document::read(&bytes).map_err(|reason| {
                        let place = self.url(&key).url;
                        SharedCacheError::Malformed { place, reason }
                    });
                }
                Err(error @ BucketError::Status { status, .. })
                    if status == StatusCode::NOT_FOUND =>
                {
                    missing.get_or_insert(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(missing.unwrap_or(BucketError::Canceled).into())
    }

    /// Writes a cache under all its names.
    pub(crate) fn store(&self, bundle: &Bundle<'_>) -> Result<Sent, SharedCacheError> {
        let sent = AtomicUsize::new(0);
        bundle.blobs.par_iter().try_for_each(|blob| {
            let key = self.place.blob(&blob.digest);
            if !self.has(&key, blob.size, bundle.canceled)? {
                let open = || (bundle.open)(blob, 0);
                self.put(&key, &open, blob.size, bundle.canceled)?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), BucketError>(())
        })?;
        let open = || -> io::Result<Box<dyn Read>> {
            Ok(Box::new(io::Cursor::new(bundle.config.clone())))
        };
        for name in &self.place.names {
            let key = self.place.manifest(name);
            self.put(&key, &open, bundle.config.len() as u64, bundle.canceled)?;
        }
        let sent = sent.into_inner();
        Ok(Sent {
            blobs: sent,
            present: bundle.blobs.len() - sent,
        })
    }

    /// Copies a blob into `sink`.
    pub(crate) fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Write,
        canceled: &dyn Fn() -> bool,
    ) -> Result<(), BucketError> {
        let key = self.place.blob(&blob.digest);
        let mut response = self.retrying(canceled, || self.send("GET", &key, &Payload::None))?;
        let mut reader = response
            .body_mut()
            .as_reader()
            .take(blob.size.saturating_add(1));
        io::copy(&mut reader, sink).map_err(|source| BucketError::Broken {
            method: "GET",
            url: self.url(&key).url,
            source,
        })?;
        Ok(())
    }

    fn get(&self, key: &str, canceled: &dyn Fn() -> bool) -> Result<Vec<u8>, BucketError> {
        let url = || self.url(key).url;
        self.retrying(canceled, || {
            let mut response = self.send("GET", key, &Payload::None)?;
            let mut bytes = Vec::new();
            let reader = response.body_mut().as_reader();
            let read = reader.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
            read.map_err(|source| BucketError::Broken {
                method: "GET",
                url: url(),
                source,
            })?;
            if bytes.len() as u64 > MAX_DOCUMENT {
                let limit = MAX_DOCUMENT;
                return Err(BucketError::TooLong { url: url(), limit });
            }
            Ok(bytes)
        })
    }

    /// Whether there is an object of this size.
    fn has(&self, key: &str, size: u64, canceled: &dyn Fn() -> bool) -> Result<bool, BucketError> {
        match self.retrying(canceled, || self.send("HEAD", key, &Payload::None)) {
            Ok(response) => {
                let length = response.headers().get("content-length");
                let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
                Ok(length.is_none_or(|length| length == size))
            }
            Err(BucketError::Status { status, .. }) if status == StatusCode::NOT_FOUND => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn put(
        &self,
        key: &str,
        open: &dyn Fn() -> io::Result<Box<dyn Read>>,
        size: u64,
        canceled: &dyn Fn() -> bool,
    ) -> Result<(), BucketError> {
        let payload = Payload::Stream(open, size);
        self.retrying(canceled, || self.send("PUT", key, &payload))
            .map(drop)
    }

    fn retrying<T>(
        &self,
        canceled: &dyn Fn() -> bool,
        attempt: impl Fn() -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let mut failures = 0;
        loop {
            if canceled() {
                return Err(BucketError::Canceled);
            }
            let error = match attempt() {
                Err(error) if error.is_transient() => error,
                other => return other,
            };
            failures += 1;
            match self.http.config().retry.delay(failures, None) {
                Some(delay) => std::thread::sleep(delay),
                None => return Err(error),
            }
        }
    }

    fn url(&self, key: &str) -> Address {
        self.place.address(key)
    }

    fn send(
        &self,
        method: &'static str,
        key: &str,
        payload: &Payload<'_>,
    ) -> Result<Response<Body>, BucketError> {
        let address = self.url(key);
        let failed = |error: &ureq::Error| BucketError::Transport {
            method,
            url: address.url.clone(),
            reason: describe(error),
            transient: is_transient(error),
        };
        let mut request = Request::builder().method(method).uri(&address.url);
        if let Some(keys) = &self.place.keys {
            let time = jiff::Timestamp::now()
                .strftime("%Y%m%dT%H%M%SZ")
                .to_string();
            let signing = Signing {
                method,
                host: &address.host,
                path: &address.path,
                region: &self.place.region,
                time: &time,
                payload: UNSIGNED,
                others: &[],
            };
            for (name, value) in signing.headers(keys) {
                request = request.header(name, value);
            }
        }
        let agent = self.http.agent(&address.url, Trust::Verified)?;
        let invalid = |error: ureq::http::Error| failed(&ureq::Error::Http(error));
        let answer = match payload {
            Payload::None => agent.run(request.body(()).map_err(invalid)?),
            Payload::Stream(open, length) => {
                let reader = open().map_err(|source| BucketError::Broken {
                    method,
                    url: address.url.clone(),
                    source,
                })?;
                let mut reader = reader.take(*length);
                let request = request.header("content-length", length.to_string());
                let body = request.body(SendBody::from_reader(&mut reader));
                agent.run(body.map_err(invalid)?)
            }
        };
        let mut answer = answer.map_err(|error| failed(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(BucketError::Status {
            method,
            status: answer.status(),
            code: code(&mut answer),
            url: address.url,
        })
    }
}

/// Returns the code in the XML of S3's error.
fn code(answer: &mut Response<Body>) -> String {
    let mut text = String::new();
    let reader = answer.body_mut().as_reader();
    // Only the words are lost if it cannot be read.
    let _ = reader.take(MAX_ANSWER).read_to_string(&mut text);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    url: String,
    host: String,
    path: String,
}

impl BucketPlace {
    fn manifest(&self, name: &str) -> String {
        format!("{}{}{name}", self.prefix, self.manifests_prefix)
    }

    fn blob(&self, digest: &cooper_oci::Digest) -> String {
        format!("{}{}{digest}", self.prefix, self.blobs_prefix)
    }

    /// Returns where the object `key` is: in a path of the bucket's name, or at a host of it.
    fn address(&self, key: &str) -> Address {
        let own = format!("https://s3.{}.amazonaws.com", self.region);
        let endpoint = self
            .endpoint
            .as_deref()
            .unwrap_or(&own)
            .trim_end_matches('/');
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let (host, path) = if self.path_style {
            (host.to_owned(), format!("/{}/{key}", self.bucket))
        } else {
            (format!("{}.{host}", self.bucket), format!("/{key}"))
        };
        let path = encode_path(&path);
        Address {
            url: format!("{scheme}://{host}{path}"),
            host,
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_where_buildkit_keeps_them() {
        let place = BucketPlace {
            bucket: "b".to_owned(),
            region: "eu-north-1".to_owned(),
            prefix: "ci/".to_owned(),
            ..BucketPlace::default()
        };
        let key = place.blob(&cooper_oci::Digest::sha256("x"));
        let url = place.address(&key).url;
        assert!(
            url.starts_with("https://b.s3.eu-north-1.amazonaws.com/ci/blobs/sha256%3A2d7116"),
            "{url}"
        );
        let local = BucketPlace {
            endpoint: Some("http://127.0.0.1:9000/".to_owned()),
            path_style: true,
            ..place
        };
        let address = local.address(&local.manifest("main"));
        assert_eq!(address.url, "http://127.0.0.1:9000/b/ci/manifests/main");
        assert_eq!(
            (&*address.host, &*address.path),
            ("127.0.0.1:9000", "/b/ci/manifests/main")
        );
    }
}
