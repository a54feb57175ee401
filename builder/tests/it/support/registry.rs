//! A registry that does what a test tells it, honest or not.
//!
//! It serves the image of an OCI layout under any repository name, counts requests, can ask
//! for basic or bearer authentication, and can spoil what it sends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use serde_json::{Value, json};

use super::layout;

/// Who may read.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    Open,
    /// `user:password` with every request.
    Basic(String),
    /// `user:password` at the token server, the token with every request.
    Bearer(String),
}

/// What is wrong with the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// One byte of every layer is another.
    Layer,
    /// The config is another one of the same length.
    Config,
    /// The manifest is not the one that its digest names.
    Manifest,
    /// A layer ends early.
    Truncated,
    /// Every request fails with status 500.
    Broken,
}

struct State {
    layout: PathBuf,
    /// What a tag names; digests are looked up in the layout.
    top: Vec<u8>,
    top_type: String,
    access: Access,
    lie: Lie,
    address: String,
    requests: Mutex<Vec<String>>,
    closed: AtomicBool,
}

/// The running server.
pub(crate) struct FakeRegistry {
    state: Arc<State>,
}

const TOKEN: &str = "a-token-of-the-test";

impl FakeRegistry {
    /// Serves the image of `layout` to everybody, truthfully.
    pub(crate) fn honest(layout: &Path) -> Self {
        Self::start(layout, Access::Open, Lie::None)
    }

    /// Serves the manifest that `layout`'s index names first.
    pub(crate) fn start(layout: &Path, access: Access, lie: Lie) -> Self {
        let index = layout::index(layout);
        let first = &index["manifests"][0];
        let digest = first["digest"].as_str().expect("a digest");
        let top = layout::read_blob(layout, digest);
        let media_type = first["mediaType"].as_str().expect("a type").to_owned();
        Self::with_top(layout, top, media_type, access, lie)
    }

    /// Serves an index over several platforms: each the first image of a layout whose blobs are
    /// all in `layout`.
    pub(crate) fn index(layout: &Path, manifests: &[Value]) -> Self {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        });
        let media_type = index["mediaType"].as_str().expect("a type").to_owned();
        Self::with_top(
            layout,
            index.to_string().into_bytes(),
            media_type,
            Access::Open,
            Lie::None,
        )
    }

    fn with_top(layout: &Path, top: Vec<u8>, top_type: String, access: Access, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let state = Arc::new(State {
            layout: layout.to_owned(),
            top,
            top_type,
            access,
            lie,
            address,
            requests: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.closed.load(Ordering::Relaxed) {
                    return;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || state.serve(&stream));
            }
        });
        Self { state }
    }

    /// Returns `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> &str {
        &self.state.address
    }

    /// Returns `METHOD /path` of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Returns the digest of what a tag names.
    pub(crate) fn digest(&self) -> String {
        cooper_oci::Digest::sha256(&self.state.top).to_string()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.state.address);
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

struct Response {
    status: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: &'static str, media_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type".to_owned(), media_type.to_owned())];
        Self {
            status,
            headers,
            body,
        }
    }

    fn error(status: &'static str, code: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": code.to_lowercase() }] });
        Self::new(status, "application/json", body.to_string().into_bytes())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn basic(credentials: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
    format!("Basic {encoded}")
}

impl State {
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let line = format!("{} {}", request.method, request.path);
            self.requests.lock().unwrap().push(line);
            let response = self.answer(&request);
            if send(stream, &request, &response, self.lie == Lie::Truncated).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> Response {
        if self.lie == Lie::Broken {
            return Response::error("500 Internal Server Error", "UNKNOWN");
        }
        let authorization = request.headers.get("authorization").map(String::as_str);
        let path = request.path.split('?').next().unwrap_or_default();
        let refused = Response::error("401 Unauthorized", "UNAUTHORIZED");
        match &self.access {
            Access::Open => {}
            Access::Basic(credentials) => {
                if authorization != Some(&basic(credentials)) {
                    return refused.with("WWW-Authenticate", "Basic realm=\"test\"");
                }
            }
            Access::Bearer(credentials) if path == "/token" => {
                if authorization != Some(&basic(credentials)) {
                    return refused;
                }
                let body = json!({ "token": TOKEN, "expires_in": 300 }).to_string();
                return Response::new("200 OK", "application/json", body.into_bytes());
            }
            Access::Bearer(_) => {
                if authorization != Some(&format!("Bearer {TOKEN}")) {
                    let challenge = format!(
                        "Bearer realm=\"http://{}/token\",service=\"test\",\
                         scope=\"repository:any:pull\"",
                        self.address
                    );
                    return refused.with("WWW-Authenticate", &challenge);
                }
            }
        }
        self.content(path)
    }

    fn content(&self, path: &str) -> Response {
        let parts: Vec<&str> = path.rsplitn(3, '/').collect();
        match parts[..] {
            _ if path == "/v2/" || path == "/v2" => {
                Response::new("200 OK", "application/json", b"{}".to_vec())
            }
            [reference, "manifests", _] => self.manifest(reference),
            [digest, "blobs", _] => self.blob(digest),
            _ => Response::error("404 Not Found", "NAME_UNKNOWN"),
        }
    }

    fn manifest(&self, reference: &str) -> Response {
        let mut body = self.top.clone();
        let mut media_type = self.top_type.clone();
        let top_digest = cooper_oci::Digest::sha256(&body).to_string();
        if reference.starts_with("sha256:") && reference != top_digest {
            let Ok(found) = std::fs::read(layout::blob(&self.layout, reference)) else {
                return Response::error("404 Not Found", "MANIFEST_UNKNOWN");
            };
            body = found;
            let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(own) = parsed["mediaType"].as_str() {
                own.clone_into(&mut media_type);
            }
        } else if reference == "missing" {
            return Response::error("404 Not Found", "MANIFEST_UNKNOWN");
        }
        let digest = cooper_oci::Digest::sha256(&body).to_string();
        if self.lie == Lie::Manifest {
            // One more blank: as JSON the same, as bytes another.
            body.push(b' ');
        }
        Response::new("200 OK", &media_type, body).with("Docker-Content-Digest", &digest)
    }

    fn blob(&self, digest: &str) -> Response {
        let Ok(mut body) = std::fs::read(layout::blob(&self.layout, digest)) else {
            return Response::error("404 Not Found", "BLOB_UNKNOWN");
        };
        let is_json = body.first() == Some(&b'{');
        match self.lie {
            Lie::Layer if !is_json => {
                let at = body.len() / 2;
                body[at] ^= 1;
            }
            Lie::Config if is_json => {
                let text = String::from_utf8_lossy(&body).replace("linux", "tinux");
                body = text.into_bytes();
            }
            _ => {}
        }
        Response::new("200 OK", "application/octet-stream", body)
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Request {
        method,
        path,
        headers,
    })
}

/// Writes a response; a truncated one announces more of a layer than it sends.
fn send(
    mut stream: &TcpStream,
    request: &Request,
    response: &Response,
    truncate: bool,
) -> std::io::Result<()> {
    let length = response.body.len();
    let mut head = format!(
        "HTTP/1.1 {}\r\nContent-Length: {length}\r\n",
        response.status
    );
    for (name, value) in &response.headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    if truncate && length > 4096 {
        stream.write_all(&response.body[..length / 2])?;
        stream.shutdown(std::net::Shutdown::Both)?;
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    stream.write_all(&response.body)
}
