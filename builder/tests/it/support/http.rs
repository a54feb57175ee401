//! HTTP servers of the tests' own, on the loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// What a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// By name in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns a field of the query, decoded; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> String {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(key, _)| *key == name);
        let mut rest = value.map_or("", |(_, value)| value);
        let mut bytes = Vec::new();
        while let Some((before, after)) = rest.split_once('%') {
            bytes.extend_from_slice(before.as_bytes());
            bytes.push(u8::from_str_radix(&after[..2], 16).expect("two digits"));
            rest = &after[2..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        String::from_utf8(bytes).expect("text")
    }
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// After how many bytes of the body the connection ends.
    pub(crate) cut: usize,
}

impl Response {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new("200 OK", body)
    }

    pub(crate) fn new(status: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: status.to_owned(),
            headers: Vec::new(),
            body: body.into(),
            cut: usize::MAX,
        }
    }

    /// Sends half of what it promises.
    pub(crate) fn truncated(mut self) -> Self {
        self.cut = self.body.len() / 2;
        self
    }

    /// No answer: the connection ends.
    pub(crate) fn none() -> Self {
        Self::new("", "")
    }

    pub(crate) fn not_found() -> Self {
        Self::new("404 Not Found", "no")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A server that runs until the test's process ends.
pub(crate) struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || {
                    // A client that goes away early is its own affair.
                    let _ = serve(stream, &seen, &*answer);
                });
            }
        });
        Self { address, requests }
    }

    /// Serves the repositories below `root` as git's own program does, to those who send
    /// `authorization`, if that is asked for.
    pub(crate) fn of_repositories(root: &Path, authorization: Option<&str>) -> Self {
        let root = root.to_owned();
        let wanted = authorization.map(str::to_owned);
        Self::start(move |request| {
            let given = request.header("authorization");
            if wanted.as_ref().is_some_and(|wanted| wanted != given) {
                return Response::new("401 Unauthorized", "who?")
                    .with("WWW-Authenticate", "Basic realm=\"test\"");
            }
            http_backend(&root, request)
        })
    }

    /// Serves files, as they are.
    pub(crate) fn of_files(root: &Path) -> Self {
        let root = root.to_owned();
        Self::start(move |request| {
            let path = root.join(request.path.trim_start_matches('/'));
            std::fs::read(path).map_or_else(|_| Response::not_found(), Response::ok)
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// A proxy as companies have them: it makes plain requests itself, and tunnels to port 443 alone.
/// It leads to every server by the same way, and tells which were asked for.
pub(crate) struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that makes all requests of `target`, in absolute form (RFC 9112, section 3.2.2).
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, target) = (Arc::clone(&asked), target.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, target) = (Arc::clone(&seen), target.clone());
                std::thread::spawn(move || {
                    // A client that goes away early is its own affair.
                    let _ = forward(stream, &seen, &target);
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what was asked for, each once: `http://HOST[:PORT]`, or `HOST:PORT` of a tunnel.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

/// Makes one request after the other over a connection, as long as the client has any.
fn forward(mut client: TcpStream, asked: &Mutex<Vec<String>>, target: &str) -> std::io::Result<()> {
    let mut server: Option<TcpStream> = None;
    loop {
        let request = read(&client)?;
        if request.method.is_empty() {
            return Ok(());
        }
        let url = request.path.strip_prefix("http://");
        let Some((host, path)) = url.and_then(|url| url.split_once('/')) else {
            asked.lock().unwrap().push(request.path);
            return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        };
        asked.lock().unwrap().push(format!("http://{host}"));
        let server = match &mut server {
            Some(server) => server,
            none => {
                let (mut to, server) = (client.try_clone()?, TcpStream::connect(target)?);
                let mut from = server.try_clone()?;
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
                none.insert(server)
            }
        };
        let query = if request.query.is_empty() { "" } else { "?" };
        let (method, query) = (&request.method, [query, &request.query].concat());
        write!(server, "{method} /{path}{query} HTTP/1.1\r\n")?;
        for (name, value) in &request.headers {
            write!(server, "{name}: {value}\r\n")?;
        }
        server.write_all(b"\r\n")?;
        server.write_all(&request.body)?;
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Response,
) -> std::io::Result<()> {
    let request = read(&stream)?;
    seen.lock().unwrap().push(request.clone());
    let response = answer(&request);
    if response.status.is_empty() {
        return Ok(());
    }
    write!(stream, "HTTP/1.1 {}\r\n", response.status)?;
    for (name, value) in &response.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    let length = response.body.len();
    write!(
        stream,
        "Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    let sent = response.body.len().min(response.cut);
    if request.method == "HEAD" {
        return Ok(());
    }
    stream.write_all(&response.body[..sent])
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        query,
        headers,
        body,
    })
}

/// Runs `git http-backend`, a CGI program (RFC 3875).
fn http_backend(root: &Path, request: &Request) -> Response {
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("GIT_PROTOCOL", request.header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git http-backend");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let body = request.body.clone();
    let feeder = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("git http-backend");
    let _ = feeder.join();
    let end = output
        .stdout
        .windows(4)
        .position(|four| four == b"\r\n\r\n");
    let end = end.expect("a CGI program's headers end in an empty line");
    let mut response = Response::ok(&output.stdout[end + 4..]);
    for line in String::from_utf8_lossy(&output.stdout[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        if name == "Status" {
            value.clone_into(&mut response.status);
        } else {
            response = response.with(name, value);
        }
    }
    response
}
