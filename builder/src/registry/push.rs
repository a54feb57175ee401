//! Pushing images: blobs in parallel, then manifests.
//!
//! Nothing that the registry has is sent again: a blob is looked for first, then
//! mounted from another repository if one is known to have it. Large blobs go in
//! parts, and what arrived before a connection broke is not sent twice. A manifest
//! is pushed only when all blobs are there, the one that gets the tag last. An
//! upload that fails for good is withdrawn.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use cooper_oci::{Descriptor, Digest, Reference, media_type};
use ureq::Body;
use ureq::http::{HeaderName, Method, Response, StatusCode, header};

use super::error::{Attempt, Failure, RegistryError};
use super::transport::{Call, Host, Payload, Transport, encode, origin, shown};
use super::{Client, Event, Watch};
use crate::http;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The least size of a part that a registry takes (specification, "Pushing a blob
/// in chunks").
const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// Opens a blob at an offset.
pub type OpenBlob<'a> = dyn Fn(&Descriptor, u64) -> io::Result<Box<dyn Read>> + Sync + 'a;

/// A manifest or index to push, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushManifest {
    /// Its descriptor; the media type is sent.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is to be pushed.
pub struct PushImage<'a> {
    /// Layers and configurations. Foreign layers are left out.
    pub blobs: Vec<Descriptor>,
    /// Manifests; what an index names comes before it. The last one is what the
    /// reference will stand for.
    pub manifests: Vec<PushManifest>,
    /// Where the registry may have blobs already, by digest.
    pub mount_from: BTreeMap<Digest, Vec<Reference>>,
    /// Gives the blobs.
    pub open: &'a OpenBlob<'a>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What the reference stands for now.
    pub descriptor: Descriptor,
    /// How many blobs were sent.
    pub sent: usize,
    /// How many blobs the registry had or mounted.
    pub present: usize,
}

impl Client {
    /// Pushes `image` to `reference`: to its digest if it has one, else to its
    /// tag, `latest` by default.
    pub fn push(
        &self,
        reference: &Reference,
        image: &PushImage<'_>,
        watch: Watch<'_>,
    ) -> Result<Pushed, RegistryError> {
        self.inner.push(reference, image, &watch)
    }
}

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Present,
    Sent,
}

impl Transport {
    fn push(
        &self,
        reference: &Reference,
        image: &PushImage<'_>,
        watch: &Watch<'_>,
    ) -> Result<Pushed, RegistryError> {
        let endpoint = self.config.origin(reference.domain());
        let subject = reference.with_default_tag().to_string();
        let failed = |failure| {
            let host = endpoint.authority.clone();
            RegistryError::failed(
                "push",
                &subject,
                vec![Attempt {
                    host,
                    mirror: false,
                    failure,
                }],
            )
        };
        let host = self.host(&endpoint).map_err(failed)?;
        let target = Target {
            host: &host,
            path: reference.path(),
            image,
            watch,
        };
        let outcomes = self.push_blobs(&target).map_err(failed)?;
        let Some((last, children)) = image.manifests.split_last() else {
            return Err(RegistryError::NothingToPush {
                reference: Box::new(reference.clone()),
            });
        };
        for child in children {
            self.push_manifest(&target, child, child.descriptor.digest.as_str())
                .map_err(failed)?;
        }
        self.push_manifest(&target, last, reference.manifest_name())
            .map_err(failed)?;
        let sent = outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Sent)
            .count();
        let present = outcomes.len() - sent;
        Ok(Pushed {
            descriptor: last.descriptor.clone(),
            sent,
            present,
        })
    }

    /// Pushes all blobs on a few threads; the first failure ends the others.
    fn push_blobs(&self, target: &Target<'_>) -> Result<Vec<Outcome>, Failure> {
        let mut blobs: Vec<&Descriptor> = Vec::new();
        for blob in &target.image.blobs {
            let known = blobs.iter().any(|other| other.digest == blob.digest);
            if !known && !media_type::is_foreign_layer(&blob.media_type) {
                blobs.push(blob);
            }
        }
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let done: Mutex<(Vec<Outcome>, Option<Failure>)> = Mutex::default();
        let canceled = || stop.load(Ordering::Relaxed) || (target.watch.canceled)();
        let watch = Watch {
            event: target.watch.event,
            canceled: &canceled,
        };
        let target = Target {
            watch: &watch,
            ..*target
        };
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.push_blob(&target, blob);
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(outcome) => done.0.push(outcome),
                    Err(failure) => {
                        stop.store(true, Ordering::Relaxed);
                        // What ends because of it is not the cause.
                        done.1.get_or_insert(failure);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.config.parallel.min(blobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        match done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            (_, Some(failure)) => Err(failure),
            (outcomes, None) => Ok(outcomes),
        }
    }

    fn push_blob(&self, target: &Target<'_>, blob: &Descriptor) -> Result<Outcome, Failure> {
        let digest = &blob.digest;
        if self.retrying(target.watch, || self.has_blob(target, digest))? {
            target.watch.emit(&Event::Exists { digest });
            return Ok(Outcome::Present);
        }
        let mut upload = Upload::new(self, target, blob);
        if let Some(from) = upload.mount()? {
            target.watch.emit(&Event::Mounted {
                digest,
                from: &from,
            });
            return Ok(Outcome::Present);
        }
        let result = upload.run();
        if result.is_err() {
            upload.withdraw();
        }
        result?;
        target.watch.emit(&Event::Transferred { digest });
        Ok(Outcome::Sent)
    }

    fn has_blob(&self, target: &Target<'_>, digest: &Digest) -> Result<bool, Failure> {
        let call = Call::new(Method::HEAD, target.url(&format!("/blobs/{digest}")));
        match self.send(target.host, &target.scope(), &call) {
            Ok(_) => Ok(true),
            Err(failure) if failure.status() == Some(404) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn push_manifest(
        &self,
        target: &Target<'_>,
        manifest: &PushManifest,
        name: &str,
    ) -> Result<(), Failure> {
        let digest = &manifest.descriptor.digest;
        let mut call = Call::new(Method::PUT, target.url(&format!("/manifests/{name}")))
            .header(header::CONTENT_TYPE, &*manifest.descriptor.media_type);
        call.body = Payload::Bytes(&manifest.bytes);
        let response = self.retrying(target.watch, || {
            self.send(target.host, &target.scope(), &call)
        })?;
        let stated = http::text(response.headers(), &CONTENT_DIGEST)
            .and_then(|stated| stated.parse::<Digest>().ok());
        // A registry may use another algorithm, but not another content.
        if let Some(stated) = stated
            && stated.algorithm() == digest.algorithm()
            && stated != *digest
        {
            let (url, expected) = (call.url.clone(), digest.clone());
            return Err(Failure::Digest {
                url,
                expected,
                actual: stated,
            });
        }
        target.watch.emit(&Event::ManifestPushed { digest });
        Ok(())
    }
}

/// Where a push goes.
#[derive(Clone, Copy)]
struct Target<'a> {
    host: &'a Host<'a>,
    path: &'a str,
    image: &'a PushImage<'a>,
    watch: &'a Watch<'a>,
}

impl Target<'_> {
    fn url(&self, rest: &str) -> String {
        self.host.url(self.path, rest)
    }

    fn scope(&self) -> String {
        self.host.scope(self.path, "pull,push")
    }
}

/// How a blob's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All at once.
    Whole,
    /// In parts of at most so many bytes, each acknowledged.
    Parts(u64),
}

/// One blob on its way.
struct Upload<'a> {
    transport: &'a Transport,
    target: &'a Target<'a>,
    blob: &'a Descriptor,
    mode: Mode,
    /// Where the next request goes; none if no upload is open.
    session: Option<String>,
    /// Bytes that the registry has acknowledged.
    offset: u64,
}

impl<'a> Upload<'a> {
    fn new(transport: &'a Transport, target: &'a Target<'a>, blob: &'a Descriptor) -> Self {
        let chunk = transport.config.chunk_size.max(1);
        let mode = if blob.size > chunk {
            Mode::Parts(chunk)
        } else {
            Mode::Whole
        };
        Self {
            transport,
            target,
            blob,
            mode,
            session: None,
            offset: 0,
        }
    }

    /// Asks the registry to take the blob from another repository; returns which.
    /// A registry that does not opens an upload instead, which is then used.
    fn mount(&mut self) -> Result<Option<String>, Failure> {
        let digest = &self.blob.digest;
        let known = self.target.image.mount_from.get(digest).map(Vec::as_slice);
        let same_registry = self.target.host.endpoint.credential_host.as_str();
        for source in known.unwrap_or_default() {
            if source.domain() != same_registry || source.path() == self.target.path {
                continue;
            }
            self.target.watch.check()?;
            let query = format!(
                "mount={}&from={}",
                encode(digest.as_str()),
                encode(source.path())
            );
            let scope = self.target.host.scope(source.path(), "pull");
            let scope = format!("{} {scope}", self.target.scope());
            // Mounting only saves time: whatever is wrong with it shows again below.
            match self.open_session(&query, &scope) {
                Ok(true) => return Ok(Some(source.path().to_owned())),
                Ok(false) => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Opens an upload; true if the registry has the blob already.
    fn open_session(&mut self, query: &str, scope: &str) -> Result<bool, Failure> {
        let separator = if query.is_empty() { "" } else { "?" };
        let url = self
            .target
            .url(&format!("/blobs/uploads/{separator}{query}"));
        let call = Call::new(Method::POST, url);
        let response = self.transport.send(self.target.host, scope, &call)?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        self.advance(&call, &response)?;
        let least = http::text(response.headers(), &CHUNK_MIN).and_then(|n| n.parse().ok());
        if let (Mode::Parts(chunk), Some(least)) = (self.mode, least) {
            self.mode = Mode::Parts(chunk.max(least));
        }
        self.offset = 0;
        Ok(false)
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut failures = 0;
        let mut best = 0;
        loop {
            self.target.watch.check()?;
            let failure = match self.attempt() {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if self.downgrade(&failure) {
                continue;
            }
            failures = if self.offset > best { 1 } else { failures + 1 };
            best = best.max(self.offset);
            // The registry lost the upload, or counts its bytes otherwise.
            let lost = is_part(&failure) && matches!(failure.status(), Some(404 | 416));
            if !lost || failures >= self.transport.config.http.retry.attempts {
                self.transport.pause(self.target.watch, failure, failures)?;
            }
            if !self.resume() {
                self.withdraw();
                self.offset = 0;
                // The answer to a finished upload may have been what was lost.
                let digest = &self.blob.digest;
                if self
                    .transport
                    .has_blob(self.target, digest)
                    .unwrap_or(false)
                {
                    return Ok(());
                }
            }
        }
    }

    fn attempt(&mut self) -> Result<(), Failure> {
        if self.session.is_none() && self.open_session("", &self.target.scope())? {
            return Ok(());
        }
        self.progress(self.offset);
        if let Mode::Parts(chunk) = self.mode {
            while self.offset < self.blob.size {
                self.send_part(chunk.min(self.blob.size - self.offset))?;
            }
        }
        self.complete()
    }

    /// Whether to go on otherwise: the registry takes no parts, at least none so
    /// large.
    fn downgrade(&mut self, failure: &Failure) -> bool {
        let refused = matches!(
            failure.status(),
            Some(400 | 404 | 405 | 411 | 413 | 415 | 416 | 501)
        );
        if !(refused && is_part(failure) && self.offset == 0 && self.mode != Mode::Whole) {
            return false;
        }
        self.withdraw();
        self.mode = Mode::Whole;
        true
    }

    /// Sends the next `length` bytes.
    fn send_part(&mut self, length: u64) -> Result<(), Failure> {
        let (start, end) = (self.offset, self.offset + length);
        let call = Call::new(Method::PATCH, self.location())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_RANGE, format!("{start}-{}", end - 1));
        let response = self.send_bytes(call, start, length)?;
        let call = Call::new(Method::PATCH, self.location());
        self.advance(&call, &response)?;
        self.offset = acknowledged(&response).unwrap_or(end);
        if self.offset <= start || self.offset > end {
            return Err(protocol(
                &call,
                "it acknowledged other bytes than those sent",
            ));
        }
        Ok(())
    }

    /// Ends the upload, sending everything that was not sent in parts.
    fn complete(&mut self) -> Result<(), Failure> {
        let mut url = self.location();
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str("digest=");
        url.push_str(&encode(self.blob.digest.as_str()));
        let call =
            Call::new(Method::PUT, url).header(header::CONTENT_TYPE, "application/octet-stream");
        let (start, length) = match self.mode {
            Mode::Whole => (0, self.blob.size),
            Mode::Parts(_) => (self.offset, 0),
        };
        self.send_bytes(call, start, length)?;
        self.session = None;
        self.progress(self.blob.size);
        Ok(())
    }

    /// Sends a request with `length` bytes of the blob.
    fn send_bytes(
        &self,
        mut call: Call<'_>,
        start: u64,
        length: u64,
    ) -> Result<Response<Body>, Failure> {
        let trouble: Mutex<Option<Failure>> = Mutex::new(None);
        let source = |source: io::Error| Failure::Source {
            digest: self.blob.digest.clone(),
            source,
        };
        let open = || -> Result<Box<dyn Read + '_>, Failure> {
            let reader = (self.target.image.open)(self.blob, start).map_err(source)?;
            Ok(Box::new(Outgoing {
                upload: self,
                reader,
                at: start,
                end: start + length,
                trouble: &trouble,
            }))
        };
        let call = Call {
            method: call.method,
            url: call.url,
            headers: std::mem::take(&mut call.headers),
            body: if length == 0 {
                Payload::Empty
            } else {
                Payload::Stream {
                    open: &open,
                    length,
                }
            },
        };
        let result = self
            .transport
            .send(self.target.host, &self.target.scope(), &call);
        // What went wrong on this side looks like a broken connection there.
        let trouble = trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match trouble {
            Some(trouble) => Err(trouble),
            None => result,
        }
    }

    /// Asks how much of the upload arrived; false if it must start again.
    fn resume(&mut self) -> bool {
        let (Mode::Parts(_), Some(url)) = (self.mode, self.session.clone()) else {
            return false;
        };
        let call = Call::new(Method::GET, url);
        let answer = self
            .transport
            .send(self.target.host, &self.target.scope(), &call);
        let Ok(response) = answer else { return false };
        self.offset = acknowledged(&response).unwrap_or(0);
        self.offset <= self.blob.size && self.advance(&call, &response).is_ok()
    }

    /// Deletes the open upload; if that fails, the registry forgets it in time.
    fn withdraw(&mut self) {
        if let Some(url) = self.session.take() {
            let call = Call::new(Method::DELETE, url);
            let _ = self
                .transport
                .send(self.target.host, &self.target.scope(), &call);
        }
    }

    /// Takes the address of the next request from an answer.
    fn advance(&mut self, call: &Call<'_>, response: &Response<Body>) -> Result<(), Failure> {
        let location = http::text(response.headers(), &header::LOCATION);
        let next = location.and_then(|location| join(&call.url, &location));
        match next.or_else(|| self.session.clone()) {
            Some(next) => {
                self.session = Some(next);
                Ok(())
            }
            None => Err(protocol(call, "the answer has no usable Location")),
        }
    }

    fn location(&self) -> String {
        self.session.clone().unwrap_or_default()
    }

    fn progress(&self, done: u64) {
        let (digest, total) = (&self.blob.digest, self.blob.size);
        self.target.watch.emit(&Event::Transfer {
            digest,
            done,
            total,
        });
    }
}

fn is_part(failure: &Failure) -> bool {
    matches!(failure, Failure::Status { method, .. } if method == "PATCH")
}

fn protocol(call: &Call<'_>, what: &str) -> Failure {
    Failure::Protocol {
        method: call.method.to_string(),
        url: shown(&call.url),
        what: what.to_owned(),
    }
}

/// Reads `Range: 0-N`: N + 1 bytes have arrived. An empty upload says `0-0`, as
/// does one of a single byte, which is then sent again.
fn acknowledged(response: &Response<Body>) -> Option<u64> {
    let range = http::text(response.headers(), &header::RANGE)?;
    let range = range.strip_prefix("bytes=").unwrap_or(&range);
    let last: u64 = range.strip_prefix("0-")?.trim().parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// Resolves a `Location` (RFC 3986, section 5.2, for what registries send).
fn join(base: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return origin(location).map(|_| location.to_owned());
    }
    let root = origin(base)?;
    if location.starts_with('/') {
        return Some(format!("{root}{location}"));
    }
    let path = base.split(['?', '#']).next()?;
    let parent = path.rfind('/').filter(|at| *at >= root.len())?;
    Some(format!("{}/{location}", &path[..parent]))
}

/// The blob's bytes as they leave.
struct Outgoing<'a> {
    upload: &'a Upload<'a>,
    reader: Box<dyn Read>,
    at: u64,
    end: u64,
    /// Keeps what went wrong on this side.
    trouble: &'a Mutex<Option<Failure>>,
}

impl Outgoing<'_> {
    fn give_up(&self, failure: Failure) -> io::Error {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        io::Error::other("the blob cannot be sent")
    }
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(canceled) = self.upload.target.watch.check() {
            return Err(self.give_up(canceled));
        }
        let digest = &self.upload.blob.digest;
        let room = buffer
            .len()
            .min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let result = match self.reader.read(&mut buffer[..room]) {
            Ok(0) if room > 0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "it ends after {} of {} bytes",
                    self.at, self.upload.blob.size
                ),
            )),
            result => result,
        };
        match result {
            Ok(count) => {
                self.at += count as u64;
                self.upload.progress(self.at);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(source) => Err(self.give_up(Failure::Source {
                digest: digest.clone(),
                source,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base = "https://h:1/v2/a/blobs/uploads/?mount=x/y";
        let cases = [
            (
                "/v2/a/blobs/uploads/1?s=2",
                Some("https://h:1/v2/a/blobs/uploads/1?s=2"),
            ),
            ("https://other/x", Some("https://other/x")),
            ("1?s=2", Some("https://h:1/v2/a/blobs/uploads/1?s=2")),
            ("ftp://other/x", None),
            ("https://user:password@other/x", None),
        ];
        for (location, expected) in cases {
            assert_eq!(join(base, location).as_deref(), expected, "{location}");
        }
    }
}
