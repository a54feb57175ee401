use super::testing::{Reply, TestServer};
use std::io::Write;

use super::*;

fn client() -> HttpClient {
    HttpClient::new(HttpConfig {
        retry: RetryPolicy {
            attempts: 3,
            first_delay: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        idle_timeout: Duration::from_millis(300),
        ..HttpConfig::default()
    })
}

fn fetch(request: &HttpRequest<'_>) -> Result<Downloaded<Vec<u8>>, HttpError> {
    match client().download(request, &mut || Ok(Vec::new()))? {
        Download::Complete(done) => Ok(done),
        Download::NotModified => panic!("not modified"),
    }
}

#[test]
fn downloads_follow_redirects_and_tell_what_they_know() {
    let server = TestServer::start(|request| match request.path.as_str() {
        "/old" => Reply::new(302, "").header("Location", "/new/file.txt?x=1"),
        _ => Reply::new(200, "content")
            .header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            .header("ETag", "\"e\""),
    });
    let done = fetch(&HttpRequest {
        url: &server.url("/old"),
        ..HttpRequest::default()
    })
    .unwrap();
    assert_eq!(done.sink, b"content");
    assert_eq!(done.size, 7);
    assert_eq!(done.digest, Digest::sha256(b"content"));
    assert_eq!(
        done.last_modified.as_deref(),
        Some("Wed, 21 Oct 2015 07:28:00 GMT")
    );
    assert_eq!(done.etag.as_deref(), Some("\"e\""));
}

#[test]
fn a_current_copy_is_not_fetched_again() {
    let server = TestServer::start(|request| match request.header("if-none-match") {
        "\"e\"" => Reply::new(304, ""),
        _ => Reply::new(200, "content"),
    });
    let url = server.url("/f");
    let request = HttpRequest {
        url: &url,
        etag: Some("\"e\""),
        ..HttpRequest::default()
    };
    let answer = client().download(&request, &mut || Ok(Vec::new())).unwrap();
    assert!(matches!(answer, Download::NotModified));
}

#[test]
fn broken_downloads_are_resumed_if_the_content_is_the_same() {
    let body: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let content = body.clone();
    let server = TestServer::start(move |request| {
        let reply = Reply::ranged(request, &content).header("ETag", "\"e\"");
        if request.nth == 0 {
            reply.cut(40_000)
        } else {
            reply
        }
    });
    let done = fetch(&HttpRequest {
        url: &server.url("/f"),
        ..HttpRequest::default()
    })
    .unwrap();
    assert_eq!(done.sink, body);
    let log = server.log();
    assert_eq!(log.len(), 2);
    assert_eq!(log[1].range_start(), Some(40_000));
    assert_eq!(log[1].header("if-range"), "\"e\"");
}

#[test]
fn broken_downloads_start_again_without_proof_of_sameness() {
    let server = TestServer::start(|request| match request.nth {
        0 => Reply::new(200, "old old old").cut(5),
        _ => Reply::new(200, "new"),
    });
    let done = fetch(&HttpRequest {
        url: &server.url("/f"),
        ..HttpRequest::default()
    })
    .unwrap();
    assert_eq!(done.sink, b"new");
    assert_eq!(server.log()[1].header("range"), "");
}

#[test]
fn stalled_servers_are_given_up() {
    let server = TestServer::start(|request| match request.nth {
        0 => Reply::new(200, "slow content").stall(Duration::from_secs(2)),
        _ => Reply::new(200, "quick"),
    });
    let done = fetch(&HttpRequest {
        url: &server.url("/f"),
        ..HttpRequest::default()
    })
    .unwrap();
    assert_eq!(done.sink, b"quick");
}

#[test]
fn errors_name_the_url_and_the_answer() {
    let server = TestServer::start(|request| match request.path.as_str() {
        "/flaky" if request.nth < 2 => Reply::new(503, ""),
        "/flaky" => Reply::new(200, "ok"),
        "/busy" => Reply::new(500, ""),
        _ => Reply::new(404, ""),
    });
    let get = |path: &str| {
        fetch(&HttpRequest {
            url: &server.url(path),
            ..HttpRequest::default()
        })
    };
    assert_eq!(get("/flaky").unwrap().sink, b"ok");
    let missing = get("/missing").unwrap_err().to_string();
    assert_eq!(
        missing,
        format!(
            "GET {}: the server answered 404 Not Found",
            server.url("/missing")
        )
    );
    assert!(matches!(get("/busy"), Err(HttpError::Status { status, .. }) if status == 500));
    assert_eq!(
        server
            .requests()
            .iter()
            .filter(|r| *r == "GET /busy")
            .count(),
        3
    );
    assert_eq!(
        server
            .requests()
            .iter()
            .filter(|r| *r == "GET /missing")
            .count(),
        1
    );
}

#[test]
fn wrong_content_is_refused() {
    let server = TestServer::start(|_| Reply::new(200, "tampered"));
    let url = server.url("/f");
    let expected = Digest::sha256(b"genuine");
    let request = HttpRequest {
        url: &url,
        checksum: Some(&expected),
        ..HttpRequest::default()
    };
    let error = fetch(&request).unwrap_err();
    assert!(matches!(error, HttpError::Checksum { .. }), "{error}");
    let expected = Digest::sha256(b"tampered");
    let request = HttpRequest {
        url: &url,
        checksum: Some(&expected),
        ..HttpRequest::default()
    };
    assert_eq!(fetch(&request).unwrap().digest, expected);
}

/// A disk without room.
#[derive(Debug)]
struct Full;
impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn unusable_urls_and_full_disks_are_told_apart() {
    for url in ["", "nonsense", "ftp://h/x", "http://", "http://a b/"] {
        let error = fetch(&HttpRequest {
            url,
            ..HttpRequest::default()
        })
        .unwrap_err();
        assert!(matches!(error, HttpError::Url { .. }), "{url}: {error}");
    }
    let server = TestServer::start(|_| Reply::new(200, "x"));
    let url = server.url("/f");
    let request = HttpRequest {
        url: &url,
        ..HttpRequest::default()
    };
    let error = client().download(&request, &mut || Ok(Full)).unwrap_err();
    assert!(matches!(error, HttpError::Sink { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn refused_connections_fail_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://user:secret@127.0.0.1:{port}/x");
    let started = std::time::Instant::now();
    let error = fetch(&HttpRequest {
        url: &url,
        ..HttpRequest::default()
    })
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with(&format!("GET http://127.0.0.1:{port}/x: ")),
        "{error}"
    );
    assert!(error.to_lowercase().contains("refused"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn retries_wait_twice_as_long_each_time() {
    let policy = RetryPolicy {
        attempts: 4,
        first_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(3),
    };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(policy.delay(1, None), seconds(1));
    assert_eq!(policy.delay(2, None), seconds(2));
    assert_eq!(policy.delay(3, None), seconds(3));
    assert_eq!(policy.delay(4, None), None);
    assert_eq!(policy.delay(1, seconds(2)), seconds(2));
    assert_eq!(policy.delay(1, seconds(60)), seconds(3));
}
