//! An image in memory and a registry that serves it.

use std::collections::HashMap;
use std::time::Duration;

use cooper_oci::{
    Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type,
};

use super::*;
use crate::http::testing::{Reply, TestRequest, TestServer};
use crate::http::{HttpConfig, RetryPolicy};

/// An image of one layer for two platforms.
#[derive(Clone)]
pub(super) struct TestImage {
    pub(super) layer: Vec<u8>,
    pub(super) layer_descriptor: Descriptor,
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    pub(super) manifest_descriptor: Descriptor,
    pub(super) index: Vec<u8>,
    pub(super) blobs: HashMap<String, Vec<u8>>,
}

impl TestImage {
    pub(super) fn new() -> Self {
        let layer: Vec<u8> = (0..300_000_u32)
            .flat_map(|i| (i % 65_521).to_le_bytes())
            .collect();
        let layer_descriptor = Descriptor::of(media_type::OCI_LAYER_TAR, &layer);
        let platform: Platform = "linux/amd64".parse().unwrap();
        let mut config = ImageConfig::new(&platform);
        config.rootfs.diff_ids = vec![DiffId(layer_descriptor.digest.clone())];
        let config = config.to_json();
        let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
        let manifest =
            Manifest::oci(config_descriptor.clone(), vec![layer_descriptor.clone()]).to_json();
        let manifest_descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        let other = Descriptor::of(media_type::OCI_MANIFEST, b"other")
            .with_platform("linux/arm64".parse().unwrap());
        let index = Index::oci(vec![
            other,
            manifest_descriptor.clone().with_platform(platform),
        ])
        .to_json();
        let blobs = [
            (layer_descriptor.digest.to_string(), layer.clone()),
            (config_descriptor.digest.to_string(), config.clone()),
        ]
        .into();
        Self {
            layer,
            layer_descriptor,
            config,
            manifest,
            manifest_descriptor,
            index,
            blobs,
        }
    }

    /// Answers as a registry that holds the image as `app:latest` and its index as
    /// `app:multi`.
    pub(super) fn answer(&self, request: &TestRequest) -> Reply {
        let path = request.path.as_str();
        if path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if let Some(name) = path.strip_prefix("/v2/app/manifests/") {
            let (bytes, media_type) = match name {
                "latest" => (&self.manifest, media_type::OCI_MANIFEST),
                "multi" => (&self.index, media_type::OCI_INDEX),
                digest if digest == self.manifest_descriptor.digest.as_str() => {
                    (&self.manifest, media_type::OCI_MANIFEST)
                }
                _ => return not_found("MANIFEST_UNKNOWN", "manifest unknown"),
            };
            return Reply::new(200, bytes.as_slice())
                .header("Content-Type", media_type)
                .header("Docker-Content-Digest", Digest::sha256(bytes).as_str());
        }
        let blob = path
            .strip_prefix("/v2/app/blobs/")
            .and_then(|digest| self.blobs.get(digest));
        match blob {
            Some(bytes) => Reply::ranged(request, bytes),
            None => not_found("BLOB_UNKNOWN", "blob unknown to registry"),
        }
    }

    pub(super) fn layer_path(&self) -> String {
        format!("/v2/app/blobs/{}", self.layer_descriptor.digest)
    }

    /// Starts a registry where `fault` may answer first.
    pub(super) fn serve(
        &self,
        fault: impl Fn(&TestRequest) -> Option<Reply> + Send + Sync + 'static,
    ) -> TestServer {
        let image = self.clone();
        TestServer::start(move |request| fault(request).unwrap_or_else(|| image.answer(request)))
    }
}

pub(super) fn not_found(code: &str, message: &str) -> Reply {
    let body = serde_json::json!({"errors": [{"code": code, "message": message, "detail": {}}]});
    Reply::new(404, body.to_string()).header("Content-Type", "application/json")
}

/// A configuration that does not wait.
pub(super) fn quick() -> RegistryConfig {
    RegistryConfig {
        http: HttpConfig {
            retry: RetryPolicy {
                attempts: 3,
                first_delay: Duration::from_millis(1),
                max_delay: Duration::from_millis(50),
            },
            idle_timeout: Duration::from_millis(500),
            ..HttpConfig::default()
        },
        ..RegistryConfig::default()
    }
}

pub(super) fn client() -> Client {
    Client::new(quick(), Credentials::none())
}

pub(super) fn reference(server: &TestServer, name: &str) -> Reference {
    format!("{}/{name}", server.authority()).parse().unwrap()
}

pub(super) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}
