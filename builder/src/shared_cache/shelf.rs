//! Caches in services that keep blobs by name: what all of them have in common.
//!
//! A [`Shelf`] says how a service is asked. Here is in which order: blobs before the list that
//! names them, each only if the service has it not, several at once; and a blob that breaks off on
//! its way is gone on with where it broke.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use cooper_oci::Descriptor;

use super::actions::Actions;
use super::azure::Container;
use super::bucket::Bucket;
use super::document::Document;
use super::service::{Answer, Patience, Service, ServiceError};
use super::{Bundle, Contents, OpenBlob, Sent, SharedCacheError};
use crate::http::{BUFFER, HttpClient, TRANSFERS, at_once};
use crate::options::ServicePlace;

/// How a service keeps a cache.
pub(super) trait Shelf: Send + Sync {
    /// Returns the service.
    fn service(&self) -> &Service;

    /// Returns how long the reading or the writing of a cache may take.
    fn limit(&self) -> Option<Duration> {
        None
    }

    /// Makes what blobs are put into, where that is for its users to make.
    fn prepare(&self, _patience: &Patience<'_>) -> Result<(), ServiceError> {
        Ok(())
    }

    /// Returns the lists that belong to the cache, each with what messages call it; none is an
    /// error.
    fn lists(&self, patience: &Patience<'_>) -> Result<Vec<(String, Vec<u8>)>, ServiceError>;

    /// Whether the service has a blob.
    fn has(&self, blob: &Descriptor, patience: &Patience<'_>) -> Result<bool, ServiceError>;

    /// Sends a blob; returns false if it has come there in the meantime.
    fn put(&self, payload: &Payload<'_>, patience: &Patience<'_>) -> Result<bool, ServiceError>;

    /// Sends a list, which takes the place of earlier ones.
    fn put_list(&self, list: &[u8], patience: &Patience<'_>) -> Result<(), ServiceError>;

    /// Opens a blob at an offset, with what messages call the request.
    fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
        patience: &Patience<'_>,
    ) -> Result<(String, Box<dyn Read>), ServiceError>;
}

/// A blob that is to be sent, in one go or in parts.
pub(super) struct Payload<'a> {
    /// The blob.
    pub(super) blob: &'a Descriptor,
    open: &'a OpenBlob<'a>,
}

impl Payload<'_> {
    /// Opens the blob at an offset.
    pub(super) fn open(&self, offset: u64) -> io::Result<Box<dyn Read>> {
        (self.open)(self.blob, offset)
    }
}

/// Returns the parts of a thing of that size, as offsets and lengths: of `part` bytes, more where
/// they would be too many.
pub(super) fn parts(size: u64, part: u64, most: u64) -> Vec<(u64, u64)> {
    let part = part.max(size.div_ceil(most)).max(1);
    let starts = (0..size.div_ceil(part)).map(|number| number * part);
    starts
        .map(|start| (start, part.min(size - start)))
        .collect()
}

/// A cache in a service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Depot {
    name: String,
    shelf: Arc<dyn Shelf>,
}

impl Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Depot").field(&self.name).finish()
    }
}

impl Depot {
    /// Returns the cache of `place`; nothing is connected yet.
    pub(crate) fn new(place: &ServicePlace, http: &HttpClient) -> Self {
        let shelf: Arc<dyn Shelf> = match place {
            ServicePlace::Bucket(place) => Arc::new(Bucket::new(place, http)),
            ServicePlace::Actions(place) => Arc::new(Actions::new(place, http)),
            ServicePlace::Container(place) => Arc::new(Container::new(place, http)),
        };
        let name = place.to_string();
        Self { name, shelf }
    }

    /// Reads the lists.
    pub(crate) fn load(
        &self,
        canceled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Contents, SharedCacheError> {
        let patience = Patience::new(canceled, self.shelf.limit());
        let mut all: Option<Contents> = None;
        for (place, list) in self.shelf.lists(&patience)? {
            let contents = Document::read(&list)
                .map_err(|reason| SharedCacheError::Malformed { place, reason })?;
            match &mut all {
                Some(known) => known.join(contents),
                None => all = Some(contents),
            }
        }
        Ok(all.unwrap_or_default())
    }

    /// Writes a cache.
    pub(crate) fn store(&self, bundle: &Bundle<'_>) -> Result<Sent, SharedCacheError> {
        let patience = Patience::new(bundle.canceled, self.shelf.limit());
        self.shelf.prepare(&patience)?;
        let open = bundle.open;
        let sent = at_once(&bundle.blobs, TRANSFERS, |blob| {
            let payload = Payload { blob, open };
            let absent = !self.shelf.has(blob, &patience)?;
            Ok::<_, ServiceError>(absent && self.shelf.put(&payload, &patience)?)
        })?;
        self.shelf.put_list(&bundle.config, &patience)?;
        let blobs = sent.iter().filter(|sent| **sent).count();
        Ok(Sent {
            blobs,
            present: sent.len() - blobs,
        })
    }

    /// Copies a blob into `sink`.
    pub(crate) fn fetch(
        &self,
        blob: &Descriptor,
        sink: &mut dyn Write,
        canceled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), ServiceError> {
        let patience = Patience::new(canceled, self.shelf.limit());
        let (mut received, mut failures) = (0, 0);
        loop {
            let before = received;
            match self.turn(blob, &mut received, sink, &patience) {
                Err(error @ ServiceError::Broken { .. }) => {
                    failures = if received > before { 1 } else { failures + 1 };
                    self.shelf.service().pause(failures, error, &patience)?;
                }
                other => return other,
            }
        }
    }

    /// Copies from where the last turn ended.
    fn turn(
        &self,
        blob: &Descriptor,
        received: &mut u64,
        sink: &mut dyn Write,
        patience: &Patience<'_>,
    ) -> Result<(), ServiceError> {
        let (request, reader) = self.shelf.open(blob, *received, patience)?;
        let mut reader = reader.take(blob.size - *received);
        let mut buffer = vec![0; BUFFER];
        loop {
            patience.left()?;
            let broken = |source| ServiceError::Broken {
                request: request.clone(),
                source,
            };
            match reader.read(&mut buffer) {
                Ok(0) if *received < blob.size => {
                    return Err(broken(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(0) => return Ok(()),
                Ok(count) => {
                    sink.write_all(&buffer[..count]).map_err(|source| {
                        let request = request.clone();
                        ServiceError::Sink { request, source }
                    })?;
                    *received += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

/// Returns the body of an answer to a request for what comes after `offset` bytes, which a server
/// may answer with the whole.
pub(super) fn rest(answer: Answer, offset: u64) -> Result<(String, Box<dyn Read>), ServiceError> {
    let whole = answer.response.status() != ureq::http::StatusCode::PARTIAL_CONTENT;
    let mut reader = answer.response.into_body().into_reader();
    if whole && offset > 0 {
        let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink());
        if let Err(source) = skipped {
            let request = answer.request;
            return Err(ServiceError::Broken { request, source });
        }
    }
    Ok((answer.request, Box::new(reader)))
}

/// Returns the first of some lists that is there, with its name.
pub(super) fn first_of(
    keys: impl Iterator<Item = String>,
    get: impl Fn(&str) -> Result<(String, Vec<u8>), ServiceError>,
) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
    let mut missing = None;
    for key in keys {
        match get(&key) {
            Err(error) if error.is_missing() => missing = missing.or(Some(error)),
            other => return other.map(|list| vec![list]),
        }
    }
    Err(missing.unwrap_or(ServiceError::Missing {
        name: "name of a cache".to_owned(),
    }))
}

/// Returns the answer about an object if there is one and it has that size; one of another size is
/// none.
pub(super) fn of_size(
    answer: Result<Answer, ServiceError>,
    size: u64,
) -> Result<Option<Answer>, ServiceError> {
    match answer {
        Ok(answer) => {
            let length = answer.header("content-length");
            let length = length.and_then(|length| length.parse::<u64>().ok());
            Ok(length.is_none_or(|length| length == size).then_some(answer))
        }
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_blob_once_and_are_never_too_many() {
        assert_eq!(parts(0, 5, 10), []);
        assert_eq!(parts(5, 5, 10), [(0, 5)]);
        assert_eq!(parts(11, 5, 10), [(0, 5), (5, 5), (10, 1)]);
        assert_eq!(parts(11, 5, 2), [(0, 6), (6, 5)]);
        let tera = parts(6 << 40, 64 << 20, 10_000);
        assert!(
            tera.len() <= 10_000 && tera.iter().map(|(_, length)| length).sum::<u64>() == 6 << 40
        );
    }
}
