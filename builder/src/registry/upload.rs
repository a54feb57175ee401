//! One blob on its way to a registry: whole, or in parts that survive broken
//! connections (distribution specification, "Pushing blobs").

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use cooper_oci::Descriptor;
use ureq::Body;
use ureq::http::{HeaderName, Method, Response, StatusCode, header};

use super::Event;
use super::error::Failure;
use super::push::Target;
use super::transport::{Call, Payload, Transport, encode, origin, shown};
use crate::http;

/// The least size of a part that a registry takes (specification, "Pushing a blob
/// in chunks").
const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// How a blob's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// All at once.
    Whole,
    /// In parts of at most so many bytes, each acknowledged.
    Parts(u64),
}

/// One blob on its way.
pub(super) struct Upload<'a> {
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
    pub(super) fn new(
        transport: &'a Transport,
        target: &'a Target<'a>,
        blob: &'a Descriptor,
    ) -> Self {
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
    pub(super) fn mount(&mut self) -> Result<Option<String>, Failure> {
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

    pub(super) fn run(&mut self) -> Result<(), Failure> {
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
    pub(super) fn withdraw(&mut self) {
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
