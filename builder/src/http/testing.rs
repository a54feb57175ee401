//! A server that answers as a test wants, faults included.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct TestRequest {
    pub(crate) method: String,
    /// The path with the query.
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// How often this method and path were asked for before.
    pub(crate) nth: usize,
}

impl TestRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The first byte of a `Range: bytes=N-`.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Breaks the connection after so many bytes of the body.
    cut: Option<usize>,
    /// Waits in the middle of the body.
    stall: Option<Duration>,
    length: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            body,
            cut: None,
            stall: None,
            length: true,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(crate) fn stall(mut self, time: Duration) -> Self {
        self.stall = Some(time);
        self
    }

    /// Ends the connection without an answer.
    pub(crate) fn hang_up() -> Self {
        Self::new(0, "")
    }

    /// Sends no length: the end of the connection is the end of the body.
    pub(crate) fn unframed(mut self) -> Self {
        self.length = false;
        self
    }

    /// Sends the rest of `body` that a request's range asks for.
    pub(crate) fn ranged(request: &TestRequest, body: &[u8]) -> Self {
        match request.range_start() {
            Some(start) => Self::new(206, &body[start..]).header(
                "Content-Range",
                format!("bytes {start}-{}/{}", body.len() - 1, body.len()),
            ),
            None => Self::new(200, body),
        }
    }
}

pub(crate) struct TestServer {
    address: SocketAddr,
    log: Arc<Mutex<Vec<TestRequest>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub(crate) fn start(answer: impl Fn(&TestRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (answer, requests, stopped) = (Arc::new(answer), Arc::clone(&log), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &requests));
            }
        });
        Self {
            address,
            log,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far, as `METHOD path`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap()
            .iter()
            .map(|r| format!("{} {}", r.method, r.path))
            .collect()
    }

    pub(crate) fn log(&self) -> Vec<TestRequest> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one request; a TLS greeting is hung up on, as a plain server would.
fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&TestRequest) -> Reply + Sync),
    log: &Mutex<Vec<TestRequest>>,
) {
    let Some(mut request) = read_request(&stream) else {
        return;
    };
    {
        let mut log = log.lock().unwrap();
        let same = |r: &&TestRequest| r.method == request.method && r.path == request.path;
        request.nth = log.iter().filter(same).count();
        log.push(request.clone());
    }
    let reply = answer(&request);
    if reply.status == 0 {
        return;
    }
    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", reply.status);
    if reply.length {
        head.extend(["Content-Length: ", &reply.body.len().to_string(), "\r\n"]);
    }
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let sent = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    if request.method != "HEAD" {
        let (first, second) = sent.split_at(sent.len() / 2);
        let _ = stream.write_all(first);
        if let Some(time) = reply.stall {
            std::thread::sleep(time);
        }
        let _ = stream.write_all(second);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0]);
}

fn read_request(stream: &TcpStream) -> Option<TestRequest> {
    let mut reader = BufReader::new(stream);
    if reader.fill_buf().ok()?.first() == Some(&0x16) {
        return None;
    }
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
            None => break,
        }
    }
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(TestRequest {
        method,
        path,
        headers,
        body,
        nth: 0,
    })
}
