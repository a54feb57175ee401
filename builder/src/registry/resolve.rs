//! Resolving references: manifests, indexes, platforms and configurations.

use cooper_oci::{
    Descriptor, Digest, DocumentError, ImageConfig, Index, Manifest, Platform, Reference,
    media_type,
};
use serde::Deserialize;
use ureq::http::{HeaderName, Method, header};

use super::error::{Failure, RegistryError};
use super::transport::{Call, Host, Transport, read_limited};
use super::{Attempt, Client, Watch};
use crate::http;

/// The largest manifest that registries must accept (specification, "Pushing
/// Manifests"), and the largest that is read.
const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
pub(super) const CONFIG_LIMIT: u64 = 16 * 1024 * 1024;
/// Indexes of indexes are rare; without end they are an attack.
const NESTING_LIMIT: usize = 4;
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An image for one platform. All bytes are as the registry sent them.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The reference with its tag or digest.
    pub reference: Reference,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The configuration; it names as many layers as the manifest lists. Its platform may differ
    /// from the one asked for if the reference names a single image.
    pub config: ImageConfig,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
}

/// How many tags are asked for at once.
const PAGE: usize = 1000;
/// How many pages of tags are read.
const MOST_PAGES: usize = 1000;

/// A manifest or an index.
enum Document {
    Manifest(Box<Manifest>),
    Index(Box<Index>),
}

struct Fetched {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    document: Document,
}

impl Client {
    /// Finds the image that `reference` names for `platform`.
    pub fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        watch: Watch<'_>,
    ) -> Result<Resolved, RegistryError> {
        self.inner.resolve(reference, platform, &watch)
    }

    /// Returns the manifest or index that `reference` names, byte for byte, of whatever kind.
    pub fn manifest(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
    ) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let fetched = self
            .inner
            .fetch_top(&reference.with_default_tag(), &watch)?;
        Ok((fetched.descriptor, fetched.bytes))
    }

    /// Lists the tags of the repository of `reference`.
    pub fn tags(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
    ) -> Result<Vec<String>, RegistryError> {
        self.inner.tags(reference, &watch)
    }

    /// Asks what `reference` stands for now, without fetching it.
    pub fn digest_of(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
    ) -> Result<Descriptor, RegistryError> {
        self.inner
            .fetch_top(&reference.with_default_tag(), &watch)
            .map(|top| top.descriptor)
    }
}

impl Transport {
    fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        watch: &Watch<'_>,
    ) -> Result<Resolved, RegistryError> {
        let reference = reference.with_default_tag();
        let mut fetched = self.fetch_top(&reference, watch)?;
        for _ in 0..=NESTING_LIMIT {
            let index = match fetched.document {
                Document::Manifest(manifest) => {
                    let (descriptor, bytes) = (fetched.descriptor, fetched.bytes);
                    let image = (descriptor, *manifest, bytes);
                    return self.with_config(reference, image, watch);
                }
                Document::Index(index) => index,
            };
            let child = index
                .pick(platform)
                .cloned()
                .ok_or_else(|| RegistryError::NoPlatform {
                    reference: Box::new(reference.clone()),
                    wanted: Box::new(platform.clone()),
                    available: index.platforms(),
                })?;
            fetched = self.fetch_child(&reference, &child, watch)?;
        }
        Err(RegistryError::Nesting {
            reference: Box::new(reference),
            limit: NESTING_LIMIT,
        })
    }

    fn with_config(
        &self,
        reference: Reference,
        (descriptor, manifest, manifest_bytes): (Descriptor, Manifest, Vec<u8>),
        watch: &Watch<'_>,
    ) -> Result<Resolved, RegistryError> {
        let config_type = &manifest.config.media_type;
        // Some old tools call every configuration an octet stream.
        let plausible = media_type::is_config(config_type)
            || matches!(config_type.as_str(), "" | "application/octet-stream");
        if !plausible {
            let media_type = manifest
                .artifact_type
                .as_ref()
                .unwrap_or(config_type)
                .clone();
            return Err(RegistryError::NotAnImage {
                reference: Box::new(reference),
                media_type,
            });
        }
        let config_bytes = self.fetch_bytes(&reference, &manifest.config, CONFIG_LIMIT, watch)?;
        let config = parse_config(&config_bytes, &manifest).map_err(|what| {
            let url = format!("{}@{}", reference.name(), manifest.config.digest);
            let failure = match what {
                Mismatch::Document(source) => Failure::Document { url, source },
                Mismatch::Layers(what) => Failure::Protocol {
                    method: "GET".to_owned(),
                    url,
                    what,
                },
            };
            let host = reference.domain().to_owned();
            RegistryError::failed(
                "use",
                &reference,
                vec![Attempt {
                    host,
                    mirror: false,
                    failure,
                }],
            )
        })?;
        Ok(Resolved {
            reference,
            descriptor,
            manifest,
            manifest_bytes,
            config,
            config_bytes,
        })
    }

    /// Fetches a manifest or an index; returns its descriptor and its bytes.
    pub(super) fn fetch_document(
        &self,
        reference: &Reference,
        watch: &Watch<'_>,
    ) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let fetched = self.fetch_top(reference, watch)?;
        Ok((fetched.descriptor, fetched.bytes))
    }

    /// Reads the list of tags, which may come in several pages: each tells by a `Link` that there
    /// is a next one, which begins behind the last tag of this one.
    fn tags(&self, reference: &Reference, watch: &Watch<'_>) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let path = reference.path();
        let subject = reference.familiar();
        self.on_endpoints(("list the tags of", &subject), reference, |host| {
            let mut tags: Vec<String> = Vec::new();
            for _ in 0..MOST_PAGES {
                let from = tags
                    .last()
                    .map_or_else(String::new, |last| format!("&last={last}"));
                let url = host.url(path, &format!("/tags/list?n={PAGE}{from}"));
                let call = Call::new(Method::GET, url);
                let (page, more) = self.retrying(watch, || {
                    let mut response = self.send(host, &host.scope(path, "pull"), &call)?;
                    let bytes = read_limited(&mut response, &call.url, MANIFEST_LIMIT)?;
                    let page: Page =
                        serde_json::from_slice(&bytes).map_err(|error| Failure::Document {
                            url: call.url.clone(),
                            source: DocumentError::Json {
                                kind: "list of tags",
                                source: error,
                            },
                        })?;
                    Ok((page, response.headers().contains_key(header::LINK)))
                })?;
                let page = page.tags.unwrap_or_default();
                let last = tags.last().cloned();
                let fresh = page.last().cloned();
                tags.extend(page);
                // A registry that repeats itself is not asked for ever.
                if !more || fresh.is_none() || fresh == last {
                    break;
                }
            }
            Ok(tags)
        })
    }

    fn fetch_top(
        &self,
        reference: &Reference,
        watch: &Watch<'_>,
    ) -> Result<Fetched, RegistryError> {
        let name = reference.manifest_name();
        let subject = reference.to_string();
        self.on_endpoints(("resolve", &subject), reference, |host| {
            self.retrying(watch, || {
                self.fetch_manifest(host, reference.path(), name, reference.digest())
            })
        })
    }

    fn fetch_child(
        &self,
        reference: &Reference,
        child: &Descriptor,
        watch: &Watch<'_>,
    ) -> Result<Fetched, RegistryError> {
        let subject = format!("the manifest {} of {reference}", child.digest);
        self.on_endpoints(("resolve", &subject), reference, |host| {
            self.retrying(watch, || {
                let name = child.digest.as_str();
                let mut fetched =
                    self.fetch_manifest(host, reference.path(), name, Some(&child.digest))?;
                let actual = fetched.bytes.len() as u64;
                if actual != child.size {
                    let url = host.url(reference.path(), &format!("/manifests/{name}"));
                    return Err(Failure::Size {
                        url,
                        expected: child.size,
                        actual,
                    });
                }
                fetched.descriptor = child.clone();
                Ok(fetched)
            })
        })
    }

    fn fetch_manifest(
        &self,
        host: &Host<'_>,
        path: &str,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<Fetched, Failure> {
        let url = host.url(path, &format!("/manifests/{name}"));
        let call = Call::new(Method::GET, url)
            .header(header::ACCEPT, media_type::MANIFEST_ACCEPT.join(", "));
        let mut response = self.send(host, &host.scope(path, "pull"), &call)?;
        let bytes = read_limited(&mut response, &call.url, MANIFEST_LIMIT)?;
        let stated = http::text(response.headers(), &CONTENT_DIGEST)
            .and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(wrong) = [expected, stated.as_ref()]
            .into_iter()
            .flatten()
            .find(|d| !d.verifies(&bytes))
        {
            let (expected, actual) = (wrong.clone(), Digest::sha256(&bytes));
            return Err(Failure::Digest {
                url: call.url,
                expected,
                actual,
            });
        }
        let content_type = http::text(response.headers(), &header::CONTENT_TYPE);
        let content_type = content_type
            .as_deref()
            .and_then(|t| t.split(';').next())
            .unwrap_or_default();
        let (media_type, document) =
            parse_document(&bytes, content_type.trim()).map_err(|source| Failure::Document {
                url: call.url,
                source,
            })?;
        let digest = expected.cloned().unwrap_or_else(|| Digest::sha256(&bytes));
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        Ok(Fetched {
            descriptor,
            bytes,
            document,
        })
    }
}

/// Reads a manifest or an index: by the type it states, else by the type that the
/// registry states, else by its fields.
fn parse_document(bytes: &[u8], content_type: &str) -> Result<(String, Document), DocumentError> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Head {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let head: Head = serde_json::from_slice(bytes).unwrap_or_default();
    let stated = head.media_type.filter(|t| !t.is_empty());
    let is_index = match stated.as_deref().unwrap_or(content_type) {
        stated if media_type::is_index(stated) => true,
        stated if media_type::is_manifest(stated) => false,
        _ => head.manifests.is_some(),
    };
    if is_index {
        let index = Index::from_json(bytes)?;
        let fallback = if media_type::is_index(content_type) {
            content_type
        } else {
            index.media_type()
        };
        Ok((
            stated.unwrap_or_else(|| fallback.to_owned()),
            Document::Index(Box::new(index)),
        ))
    } else {
        let manifest = Manifest::from_json(bytes)?;
        let fallback = if media_type::is_manifest(content_type) {
            content_type
        } else {
            manifest.media_type()
        };
        let media_type = stated.unwrap_or_else(|| fallback.to_owned());
        Ok((media_type, Document::Manifest(Box::new(manifest))))
    }
}

enum Mismatch {
    Document(DocumentError),
    Layers(String),
}

fn parse_config(bytes: &[u8], manifest: &Manifest) -> Result<ImageConfig, Mismatch> {
    let config = ImageConfig::from_json(bytes).map_err(Mismatch::Document)?;
    let (stated, listed) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    if stated != listed {
        return Err(Mismatch::Layers(format!(
            "the configuration names {stated} layers, but the manifest lists {listed}"
        )));
    }
    Ok(config)
}
