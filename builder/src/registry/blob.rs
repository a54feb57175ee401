//! Pulling blobs: verified, resumed, from the first endpoint that has them.

use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_oci::{Descriptor, Hasher, Reference};
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, header};

use super::error::{Failure, RegistryError};
use super::transport::{Call, Transport};
use super::{Client, Event, Watch};
use crate::http::{self, BUFFER};

/// New bytes that make a broken connection a success.
const PROGRESS: u64 = 64 * 1024;

impl Client {
    /// Fetches the blob `descriptor` of `reference`'s repository into the writer
    /// that `open` gives. It is called again if the bytes written so far turn out
    /// to be of no use; the writer that is returned holds exactly the blob.
    pub fn fetch_blob<W: Write>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        mut open: impl FnMut() -> io::Result<W>,
        watch: Watch<'_>,
    ) -> Result<W, RegistryError> {
        self.inner
            .fetch_blob(reference, descriptor, &mut open, &watch)
    }

    /// Fetches a small blob into memory; more than `limit` bytes are refused.
    pub fn fetch_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
        watch: Watch<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        self.inner.fetch_bytes(reference, descriptor, limit, &watch)
    }
}

impl Transport {
    pub(super) fn fetch_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
        watch: &Watch<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        let subject = subject(reference, descriptor);
        if descriptor.size > limit {
            return Err(RegistryError::Oversized {
                subject,
                size: descriptor.size,
                limit,
            });
        }
        self.fetch_blob(reference, descriptor, &mut || Ok(Vec::new()), watch)
    }

    fn fetch_blob<W: Write>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        open: &mut dyn FnMut() -> io::Result<W>,
        watch: &Watch<'_>,
    ) -> Result<W, RegistryError> {
        let subject = subject(reference, descriptor);
        let mut blob = Transfer {
            descriptor,
            open,
            watch,
            state: None,
            best: 0,
            patched: false,
        };
        let local = |failure| {
            RegistryError::failed(
                "pull",
                &subject,
                vec![super::Attempt {
                    host: String::new(),
                    mirror: false,
                    failure,
                }],
            )
        };
        if let Some(bytes) = embedded(descriptor) {
            return blob.accept(&bytes).map_err(local);
        }
        let path = reference.path();
        let result = self.on_endpoints(("pull", &subject), reference, |host| {
            let url = host.url(path, &format!("/blobs/{}", descriptor.digest));
            let scope = host.scope(path, "pull");
            let send = |call: &Call<'_>| self.send(host, &scope, call);
            self.fetch_from(&url, &send, &mut blob)
        });
        let foreign = descriptor
            .urls
            .iter()
            .filter(|url| url.starts_with("https://") || url.starts_with("http://"));
        foreign.fold(result, |result, url| {
            result.or_else(|error| {
                let send = |call: &Call<'_>| self.exchange(call, None, self.trust_of(url));
                let fetched = self.fetch_from(url, &send, &mut blob);
                // The registry's own answer is the one to report.
                fetched.map_err(|failure| {
                    if failure.is_local() {
                        local(failure)
                    } else {
                        error
                    }
                })
            })
        })
    }

    /// Fetches what is missing from one URL, over as many connections as it takes.
    fn fetch_from<W: Write>(
        &self,
        url: &str,
        send: &dyn Fn(&Call<'_>) -> Result<Response<Body>, Failure>,
        blob: &mut Transfer<'_, W>,
    ) -> Result<W, Failure> {
        let mut failures = 0;
        loop {
            blob.watch.check()?;
            let before = blob.best;
            let failure = match blob.attempt(url, send) {
                Ok(sink) => return Ok(sink),
                Err(failure) => failure,
            };
            // A server that always breaks at the same place, or after a few bytes, is
            // given up.
            failures = if blob.best - before >= PROGRESS {
                1
            } else {
                failures + 1
            };
            // Perhaps only the part that another connection brought is wrong.
            let patched = matches!(failure, Failure::Digest { .. }) && blob.patched;
            if patched && failures < self.config.http.retry.attempts {
                continue;
            }
            self.pause(blob.watch, failure, failures)?;
        }
    }
}

fn subject(reference: &Reference, descriptor: &Descriptor) -> String {
    format!("the blob {} of {reference}", descriptor.digest)
}

/// Returns the content that a descriptor carries itself, if it is the right one.
fn embedded(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(descriptor.data.as_deref()?).ok()?;
    descriptor.verifies(&bytes).then_some(bytes)
}

/// What has been received of a blob.
struct Received<W> {
    sink: W,
    hasher: Hasher,
    bytes: u64,
}

struct Transfer<'a, W> {
    descriptor: &'a Descriptor,
    open: &'a mut dyn FnMut() -> io::Result<W>,
    watch: &'a Watch<'a>,
    state: Option<Received<W>>,
    /// The most bytes that were ever received.
    best: u64,
    /// The last attempt went on where another had broken.
    patched: bool,
}

impl<W: Write> Transfer<'_, W> {
    /// Asks for what is missing; returns the sink once the blob is whole.
    fn attempt(
        &mut self,
        url: &str,
        send: &dyn Fn(&Call<'_>) -> Result<Response<Body>, Failure>,
    ) -> Result<W, Failure> {
        let have = self.state.as_ref().map_or(0, |state| state.bytes);
        let mut call = Call::new(Method::GET, url.to_owned());
        if have > 0 && have < self.descriptor.size {
            call = call.header(header::RANGE, format!("bytes={have}-"));
        } else {
            self.state = None;
        }
        let mut response = match send(&call) {
            Ok(response) => response,
            Err(failure) => {
                if failure.status() == Some(416) {
                    self.state = None;
                }
                return Err(failure);
            }
        };
        if response.status() != StatusCode::PARTIAL_CONTENT || !continues(&response, have) {
            self.state = None;
        }
        if response.status() == StatusCode::PARTIAL_CONTENT && self.state.is_none() {
            return Err(Failure::Protocol {
                method: "GET".to_owned(),
                url: http::redact(url),
                what: "the part sent is not the one asked for".to_owned(),
            });
        }
        self.patched = self.state.is_some();
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.start()?,
        };
        let result = self.receive(url, &mut response, &mut state);
        self.best = self.best.max(state.bytes);
        match result {
            Ok(()) => self.finish(url, state),
            Err(failure) => {
                if matches!(failure, Failure::Interrupted { .. }) {
                    self.state = Some(state);
                }
                Err(failure)
            }
        }
    }

    fn start(&mut self) -> Result<Received<W>, Failure> {
        let digest = &self.descriptor.digest;
        let sink = (self.open)().map_err(|source| Failure::Sink {
            digest: digest.clone(),
            source,
        })?;
        self.progress(0);
        Ok(Received {
            sink,
            hasher: Hasher::new(digest.algorithm()),
            bytes: 0,
        })
    }

    fn receive(
        &self,
        url: &str,
        response: &mut Response<Body>,
        state: &mut Received<W>,
    ) -> Result<(), Failure> {
        let size = self.descriptor.size;
        let framed = response.body().content_length().is_some();
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            self.watch.check()?;
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.interrupted(url, state.bytes, source)),
            };
            if state.bytes + count as u64 > size {
                return Err(Failure::TooLong {
                    url: http::redact(url),
                    limit: size,
                });
            }
            self.store(state, &buffer[..count])?;
            self.progress(state.bytes);
        }
        match state.bytes {
            bytes if bytes == size => Ok(()),
            // The server sent all that it has.
            actual if framed => Err(Failure::Size {
                url: http::redact(url),
                expected: size,
                actual,
            }),
            bytes => Err(self.interrupted(url, bytes, io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn store(&self, state: &mut Received<W>, bytes: &[u8]) -> Result<(), Failure> {
        state.hasher.update(bytes);
        state.bytes += bytes.len() as u64;
        state.sink.write_all(bytes).map_err(|source| Failure::Sink {
            digest: self.descriptor.digest.clone(),
            source,
        })
    }

    fn finish(&self, url: &str, state: Received<W>) -> Result<W, Failure> {
        let actual = state.hasher.finish();
        let expected = &self.descriptor.digest;
        if actual != *expected {
            let (url, expected) = (http::redact(url), expected.clone());
            return Err(Failure::Digest {
                url,
                expected,
                actual,
            });
        }
        Ok(state.sink)
    }

    /// Takes bytes that are known to be the blob.
    fn accept(&mut self, bytes: &[u8]) -> Result<W, Failure> {
        let mut state = self.start()?;
        self.store(&mut state, bytes)?;
        self.finish("", state)
    }

    fn progress(&self, done: u64) {
        let (digest, total) = (&self.descriptor.digest, self.descriptor.size);
        self.watch.emit(&Event::Transfer {
            digest,
            done,
            total,
        });
    }

    fn interrupted(&self, url: &str, received: u64, source: io::Error) -> Failure {
        let (url, expected) = (http::redact(url), self.descriptor.size);
        Failure::Interrupted {
            url,
            received,
            expected,
            source,
        }
    }
}

/// Whether a partial answer starts where the received bytes end.
fn continues(response: &Response<Body>, have: u64) -> bool {
    http::text(response.headers(), &header::CONTENT_RANGE)
        .is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}
