//! A shared cache in a bucket of S3, or of a service that speaks like it.
//!
//! ```text
//! [PREFIX]manifests/NAME        the list, by each of its names
//! [PREFIX]blobs/sha256:HEX      layers
//! ```
//!
//! The layout is BuildKit's. Objects appear when they are complete, so a list never names a blob
//! that is not there. Blobs that no list names any more are left to the bucket's own rules of age;
//! so that these don't take what is still named, a blob that was written longer ago than
//! `touch_refresh` is written again, by a copy onto itself that moves no bytes.
//!
//! What is longer than a part is sent in parts, several at once (S3's "multipart upload"): one
//! request takes 5 GiB at most.

use std::fmt::Write as _;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use cooper_oci::Descriptor;
use ureq::http::StatusCode;

use super::MAX_DOCUMENT;
use super::service::{Answer, Call, Patience, Service, ServiceError};
use super::shelf::{Payload, Shelf, first_of, of_size, parts, rest};
use super::sign::{Signing, encode_path, encode_query};
use crate::http::{HttpClient, at_once};
use crate::options::BucketPlace;

/// What stands for a payload's digest that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// How many parts an object can have.
const MAX_PARTS: u64 = 10_000;

/// How long an object can be that is copied by one request, in bytes.
const MAX_COPY: u64 = 5 << 30;

/// Advice on what a bucket refuses.
fn advice(status: StatusCode, code: &str) -> Option<&'static str> {
    match (status.as_u16(), code) {
        (404, "NoSuchBucket") => Some("make the bucket first"),
        (301 | 307, _) | (_, "AuthorizationHeaderMalformed") => {
            Some("check region=: the bucket is in another one")
        }
        (400, "EntityTooSmall") => Some("check part_size=: S3 takes no parts below 5 MiB"),
        (401 | 403, _) => Some(
            "check access_key_id= and secret_access_key=, or AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, and what they may do",
        ),
        _ => None,
    }
}

/// A bucket and how it is reached.
pub(super) struct Bucket {
    place: Arc<BucketPlace>,
    service: Service,
}

/// A request that is to be signed.
struct Asked<'a> {
    method: &'static str,
    key: &'a str,
    /// Encoded and in order.
    query: String,
    /// Headers that are signed: lower case.
    signed: Vec<(&'static str, String)>,
}

impl<'a> Asked<'a> {
    fn new(method: &'static str, key: &'a str) -> Self {
        Self {
            method,
            key,
            query: String::new(),
            signed: Vec::new(),
        }
    }

    fn query(mut self, query: impl Into<String>) -> Self {
        self.query = query.into();
        self
    }
}

impl Bucket {
    /// Returns the bucket of `place`; nothing is connected yet.
    pub(super) fn new(place: &BucketPlace, http: &HttpClient) -> Self {
        Self {
            place: Arc::new(place.clone()),
            service: Service::new(http, advice),
        }
    }

    /// Returns a request that may be made now.
    fn call<'b>(&self, asked: &Asked<'_>) -> Call<'b> {
        let address = self.place.address(asked.key);
        let url = match &*asked.query {
            "" => address.url,
            query => format!("{}?{query}", address.url),
        };
        let mut call = Call::new(asked.method, url);
        if let Some(keys) = &self.place.keys {
            let time = jiff::Timestamp::now()
                .strftime("%Y%m%dT%H%M%SZ")
                .to_string();
            let others: Vec<_> = asked.signed.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let signing = Signing {
                method: asked.method,
                host: &address.host,
                path: &address.path,
                query: &asked.query,
                region: &self.place.region,
                time: &time,
                payload: UNSIGNED,
                others: &others,
            };
            for (name, value) in signing.headers(keys) {
                call = call.with(name, value);
            }
        }
        let signed = asked.signed.iter();
        signed.fold(call, |call, (name, value)| call.with(name, value))
    }

    /// Makes a request without a body.
    fn ask(&self, asked: &Asked<'_>, patience: &Patience<'_>) -> Result<Answer, ServiceError> {
        self.service.run(patience, &|| Ok(self.call(asked)), &Ok)
    }

    fn put_bytes(
        &self,
        key: &str,
        bytes: &[u8],
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let asked = Asked::new("PUT", key);
        let make = || Ok(self.call(&asked).sending_bytes(bytes.to_vec()));
        self.service.run(patience, &make, &|_| Ok(()))
    }

    /// Sends a blob by one request.
    fn put_whole(
        &self,
        key: &str,
        payload: &Payload<'_>,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let asked = Asked::new("PUT", key);
        let make = || {
            Ok(self
                .call(&asked)
                .sending(payload.open(0)?, payload.blob.size))
        };
        self.service.run(patience, &make, &|_| Ok(()))
    }

    /// Sends a blob in parts; what has come of it goes if it fails.
    fn put_parts(
        &self,
        key: &str,
        payload: &Payload<'_>,
        parts: &[(u64, u64)],
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let begin = Asked::new("POST", key).query("uploads=");
        let make = || Ok(self.call(&begin).sending_bytes(Vec::new()));
        let upload = self.service.run(patience, &make, &|answer| {
            let request = answer.request.clone();
            let text = text(answer)?;
            element(&text, "UploadId").map(encode_query).ok_or({
                let reason = "it names no upload".to_owned();
                ServiceError::Answer { request, reason }
            })
        })?;
        let sent = self.send_parts(key, payload, parts, &upload, patience);
        if sent.is_err() {
            // It costs its owner until it is gone; the failure itself is what is told.
            let query = format!("uploadId={upload}");
            let still = || false;
            let patience = Patience::new(&still, Some(Duration::from_secs(10)));
            let _ = self.ask(&Asked::new("DELETE", key).query(query), &patience);
        }
        sent
    }

    fn send_parts(
        &self,
        key: &str,
        payload: &Payload<'_>,
        parts: &[(u64, u64)],
        upload: &str,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let numbered: Vec<_> = (1..).zip(parts).collect();
        let tags = at_once(&numbered, self.place.parallel, |(number, part)| {
            let (start, length) = **part;
            let query = format!("partNumber={number}&uploadId={upload}");
            let asked = Asked::new("PUT", key).query(query);
            let make = || Ok(self.call(&asked).sending(payload.open(start)?, length));
            self.service.run(patience, &make, &|answer| {
                let tag = answer.header("etag").map(str::to_owned);
                tag.ok_or(ServiceError::Answer {
                    request: answer.request,
                    reason: "it has no ETag".to_owned(),
                })
            })
        })?;
        let list = completion(&tags);
        let asked = Asked::new("POST", key).query(format!("uploadId={upload}"));
        let make = || Ok(self.call(&asked).sending_bytes(list.clone().into_bytes()));
        self.service.run(patience, &make, &|answer| {
            let request = answer.request.clone();
            let text = text(answer)?;
            // It begins to answer before it knows whether it succeeds.
            match element(&text, "Code").filter(|_| text.contains("<Error>")) {
                Some(code) => Err(ServiceError::Answer {
                    request,
                    reason: code.to_owned(),
                }),
                None => Ok(()),
            }
        })
    }

    /// Makes a blob as young as if it had been sent.
    fn touch(&self, key: &str, patience: &Patience<'_>) -> Result<(), ServiceError> {
        let mut asked = Asked::new("PUT", key);
        let source = encode_path(&format!("/{}/{key}", self.place.bucket));
        asked.signed.push(("x-amz-copy-source", source));
        let replace = "REPLACE".to_owned();
        asked.signed.push(("x-amz-metadata-directive", replace));
        let make = || Ok(self.call(&asked).sending_bytes(Vec::new()));
        self.service.run(patience, &make, &|_| Ok(()))
    }
}

impl Shelf for Bucket {
    fn service(&self) -> &Service {
        &self.service
    }

    fn lists(&self, patience: &Patience<'_>) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        let names = self.place.names.iter();
        first_of(names.map(|name| self.place.manifest(name)), |key| {
            let asked = Asked::new("GET", key);
            let make = || Ok(self.call(&asked));
            let read = |answer: Answer| answer.bytes(MAX_DOCUMENT);
            let list = self.service.run(patience, &make, &read)?;
            Ok((self.place.address(key).url, list))
        })
    }

    fn has(&self, blob: &Descriptor, patience: &Patience<'_>) -> Result<bool, ServiceError> {
        let key = self.place.blob(&blob.digest);
        let answer = self.ask(&Asked::new("HEAD", &key), patience);
        let Some(answer) = of_size(answer, blob.size)? else {
            return Ok(false);
        };
        let written = answer.header("last-modified").and_then(seconds);
        let now = jiff::Timestamp::now().as_second();
        let refresh = i64::try_from(self.place.touch_refresh.as_secs()).unwrap_or(i64::MAX);
        if written.is_none_or(|written| now.saturating_sub(written) < refresh) {
            return Ok(true);
        }
        if blob.size > MAX_COPY {
            return Ok(false);
        }
        self.touch(&key, patience).map(|()| true)
    }

    fn put(&self, payload: &Payload<'_>, patience: &Patience<'_>) -> Result<bool, ServiceError> {
        let key = self.place.blob(&payload.blob.digest);
        let parts = parts(payload.blob.size, self.place.part_size, MAX_PARTS);
        if parts.len() > 1 {
            self.put_parts(&key, payload, &parts, patience)?;
        } else {
            self.put_whole(&key, payload, patience)?;
        }
        Ok(true)
    }

    fn put_list(&self, list: &[u8], patience: &Patience<'_>) -> Result<(), ServiceError> {
        let mut names = self.place.names.iter();
        names.try_for_each(|name| self.put_bytes(&self.place.manifest(name), list, patience))
    }

    fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
        patience: &Patience<'_>,
    ) -> Result<(String, Box<dyn Read>), ServiceError> {
        let key = self.place.blob(&blob.digest);
        let asked = Asked::new("GET", &key);
        let make = || Ok(self.call(&asked).after(offset));
        self.service
            .run(patience, &make, &|answer| rest(answer, offset))
    }
}

/// Returns the list that makes one object of parts.
fn completion(tags: &[String]) -> String {
    let mut list =
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
    for (number, tag) in (1..).zip(tags) {
        let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(
            list,
            "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        );
    }
    list + "</CompleteMultipartUpload>"
}

fn text(answer: Answer) -> Result<String, ServiceError> {
    let bytes = answer.bytes(1 << 20)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the text of an XML element.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// Returns the seconds since 1970 of a header's date.
fn seconds(date: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date);
    time.ok().map(jiff::Timestamp::as_second)
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
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

    #[test]
    fn parts_are_named_by_their_number_and_tag() {
        let list = completion(&["\"a\"".to_owned(), "\"b&\"".to_owned()]);
        let parts = "<Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>\
                     <Part><PartNumber>2</PartNumber><ETag>\"b&amp;\"</ETag></Part>";
        assert!(list.contains(parts), "{list}");
        assert_eq!(element(&list, "PartNumber"), Some("1"));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
    }
}
