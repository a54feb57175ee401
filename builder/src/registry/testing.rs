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
        Self::with_seed(65_521)
    }

    /// Another image, with other content.
    pub(super) fn variant() -> Self {
        Self::with_seed(65_519)
    }

    fn with_seed(seed: u32) -> Self {
        let layer: Vec<u8> = (0..300_000_u32)
            .flat_map(|i| (i % seed).to_le_bytes())
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
            idle_timeout: Duration::from_secs(20),
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

/// A real registry of its own on a free port.
pub(super) struct RealRegistry {
    child: std::process::Child,
    port: u16,
    _dir: tempfile::TempDir,
}

/// `tester` with the password `open sesame`.
const HTPASSWD: &str = "tester:$2b$04$apHi6.8bcR3SfOrKBEXeMeij37IrP8LO3APw2x/TIOB4x2ukdZFhW\n";

impl RealRegistry {
    /// Starts a registry, with basic authentication if asked for; none if this
    /// machine has no `docker-registry`.
    pub(super) fn start(protected: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut sections = String::new();
        if protected {
            let htpasswd = dir.path().join("htpasswd").display().to_string();
            std::fs::write(&htpasswd, HTPASSWD).unwrap();
            sections.extend(["auth: {htpasswd: {realm: test, path: ", &htpasswd, "}}\n"]);
        }
        Self::launch(dir, "", &sections)
    }

    /// Starts a registry that speaks TLS with a certificate of its own, which its clients have to
    /// show if it `asks` for one, and returns the certificate's file; its key is beside it.
    pub(super) fn start_tls(asks: bool) -> Option<(Self, std::path::PathBuf)> {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let made = std::process::Command::new("openssl")
            .args(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650"
                    .split(' '),
            )
            .args([
                "-subj",
                "/CN=registry",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args([
                "-keyout".as_ref(),
                key.as_os_str(),
                "-out".as_ref(),
                certificate.as_os_str(),
            ])
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            skip("openssl cannot make a certificate");
            return None;
        }
        let clients = if asks {
            format!(", clientcas: [{}]", certificate.display())
        } else {
            String::new()
        };
        let http = format!(
            ", tls: {{certificate: {}, key: {}{clients}}}",
            certificate.display(),
            key.display()
        );
        Some((Self::launch(dir, &http, "")?, certificate))
    }

    fn launch(dir: tempfile::TempDir, http: &str, sections: &str) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
             http: {{addr: 127.0.0.1:{port}, relativeurls: true{http}}}\n{sections}",
            dir.path().display()
        );
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let child = std::process::Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .env_clear()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                skip(&format!("docker-registry cannot be started: {error}"));
                return None;
            }
        };
        let registry = Self {
            child,
            port,
            _dir: dir,
        };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("docker-registry does not listen on port {port}");
    }

    pub(super) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.authority()).parse().unwrap()
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::print_stderr, reason = "skipped tests must be seen")]
pub(super) fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Passes requests on to a registry, unless `fault` answers.
pub(super) fn proxy(
    registry: &RealRegistry,
    fault: impl Fn(&mut TestRequest) -> Option<Reply> + Send + Sync + 'static,
) -> TestServer {
    let upstream = registry.authority();
    TestServer::start(move |request| {
        let mut request = request.clone();
        if let Some(reply) = fault(&mut request) {
            // What the fault left of the body still arrives.
            if request.method == "PATCH" && !request.body.is_empty() {
                forward(&upstream, &request);
            }
            return reply;
        }
        forward(&upstream, &request)
    })
}

pub(super) fn forward(upstream: &str, request: &TestRequest) -> Reply {
    let mut call = ureq::http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("http://{upstream}{}", request.path));
    for (name, value) in &request.headers {
        if !matches!(
            name.as_str(),
            "host" | "connection" | "content-length" | "content-range"
        ) {
            call = call.header(name, value);
        }
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let sends = matches!(request.method.as_str(), "POST" | "PUT" | "PATCH");
    let mut response = if sends {
        agent
            .run(call.body(request.body.as_slice()).unwrap())
            .unwrap()
    } else {
        agent.run(call.body(()).unwrap()).unwrap()
    };
    let body = response
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_vec()
        .unwrap();
    let mut reply = Reply::new(response.status().as_u16(), body);
    for (name, value) in response.headers() {
        if !matches!(
            name.as_str(),
            "connection" | "content-length" | "transfer-encoding"
        ) {
            reply = reply.header(name.as_str(), value.to_str().unwrap());
        }
    }
    reply
}
