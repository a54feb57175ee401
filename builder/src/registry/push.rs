//! Pushing images: blobs in parallel, then manifests.
//!
//! Nothing that the registry has is sent again: a blob is looked for first, then
//! mounted from another repository if one is known to have it. Large blobs go in
//! parts, and what arrived before a connection broke is not sent twice. A manifest
//! is pushed only when all blobs are there, the one that gets the tag last. An
//! upload that fails for good is withdrawn.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::Ordering;

use cooper_oci::{Descriptor, Digest, Reference, media_type};
use ureq::http::{HeaderName, Method, header};

use super::error::{Attempt, Failure, RegistryError};
use super::transport::{Call, Host, Payload, Transport};
use super::upload::Upload;
use super::{Client, Event, Watch};
use crate::http::{self, at_once_or_stop};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

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
        let endpoint = self.config.push_endpoint(reference)?;
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
        at_once_or_stop(&blobs, self.config.parallel, |blob, stop| {
            let canceled = || stop.load(Ordering::Relaxed) || (target.watch.canceled)();
            let watch = Watch {
                event: target.watch.event,
                canceled: &canceled,
            };
            let target = Target {
                watch: &watch,
                ..*target
            };
            self.push_blob(&target, blob)
        })
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
        Ok(Outcome::Sent)
    }

    pub(super) fn has_blob(&self, target: &Target<'_>, digest: &Digest) -> Result<bool, Failure> {
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
        Ok(())
    }
}

/// Where a push goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) host: &'a Host<'a>,
    pub(super) path: &'a str,
    pub(super) image: &'a PushImage<'a>,
    pub(super) watch: &'a Watch<'a>,
}

impl Target<'_> {
    pub(super) fn url(&self, rest: &str) -> String {
        self.host.url(self.path, rest)
    }

    pub(super) fn scope(&self) -> String {
        self.host.scope(self.path, "pull,push")
    }
}
