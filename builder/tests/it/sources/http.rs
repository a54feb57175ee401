//! ADD of URLs: what is asked of the server, and when nothing is.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use super::build;
use crate::support::http::{Response, Server};
use crate::support::{Context, Cooper, need, process};

/// `hello\n` and its digest.
const BODY: &str = "hello\n";
const DIGEST: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

fn context(dockerfile: &str) -> (Context, String) {
    let context = Context::new(dockerfile);
    let path = context.path().display().to_string();
    (context, path)
}

#[test]
fn a_file_that_has_not_changed_is_not_sent_again() {
    let Some(cooper) = Cooper::new() else { return };
    let version = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(1));
    let current = std::sync::Arc::clone(&version);
    let server = Server::start(move |request| {
        let version = current.load(std::sync::atomic::Ordering::Relaxed);
        let date = format!("Tue, 15 Nov 1994 12:45:2{version} GMT");
        let (name, value, asked) = if request.path == "/tagged" {
            ("ETag", format!("\"{version}\""), "if-none-match")
        } else {
            ("Last-Modified", date, "if-modified-since")
        };
        if request.header(asked) == value {
            return Response::new("304 Not Modified", "");
        }
        Response::ok(format!("version {version}\n")).with(name, &value)
    });
    for path in ["tagged", "dated"] {
        let url = server.url(path);
        let (_context, dir) = context(&format!(
            "FROM busybox\nADD {url} /f\nRUN cat /f # {path}\n"
        ));
        let args = ["-otype=cacheonly", &dir];
        version.store(1, std::sync::atomic::Ordering::Relaxed);
        let first = build(&cooper, &args, b"").ok().says("version 1");
        first.says("downloaded 10B in ");
        let again = build(&cooper, &args, b"").ok().says("not modified");
        assert_eq!(again.stderr.matches("CACHED").count(), 2, "{again}");
        version.store(2, std::sync::atomic::Ordering::Relaxed);
        build(&cooper, &args, b"").ok().says("version 2");
    }
}

#[test]
fn a_known_checksum_needs_no_server() {
    let Some(cooper) = Cooper::new() else { return };
    let server = Server::start(|_| Response::ok(BODY));
    let url = server.url("f");
    let (_context, dir) = context(&format!(
        "FROM busybox\nADD --checksum={DIGEST} {url} /f\nRUN cat /f\n"
    ));
    build(&cooper, &["-otype=cacheonly", &dir], b"").ok();
    assert_eq!(server.requests().len(), 1);
    build(&cooper, &["-otype=cacheonly", &dir], b"").ok();
    build(&cooper, &["-otype=cacheonly", "--no-cache", &dir], b"").ok();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn secrets_open_servers_and_go_to_no_other() {
    let Some(cooper) = Cooper::new() else { return };
    let other = Server::start(|_| Response::ok(BODY));
    let elsewhere = other.url("there").replace("127.0.0.1", "localhost");
    let server = Server::start(move |request| {
        if request.header("authorization") != "Bearer hush" {
            return Response::new("401 Unauthorized", "who?");
        }
        match request.path.as_str() {
            "/away" => Response::new("302 Found", "").with("Location", &elsewhere),
            "/moved" => Response::new("302 Found", "").with("Location", "/f"),
            _ => Response::ok(BODY),
        }
    });
    let file = cooper.scratch("secret");
    let secret = |name: &str, value: &str| {
        std::fs::write(&file, value).expect("write");
        format!("--secret=id={name},src={}", file.display())
    };
    let host = server.address().to_owned();
    let name = host.split(':').next().expect("a name");
    for (path, id, value, code) in [
        ("f", format!("HTTP_AUTH_TOKEN_{host}"), "hush\n", 0),
        ("f", format!("HTTP_AUTH_TOKEN_{name}"), "hush", 0),
        ("f", format!("HTTP_AUTH_HEADER_{host}"), "Bearer hush", 0),
        ("moved", format!("HTTP_AUTH_TOKEN_{host}"), "hush", 0),
        ("away", format!("HTTP_AUTH_TOKEN_{host}"), "hush", 0),
        ("f", "HTTP_AUTH_TOKEN_example.com".to_owned(), "hush", 1),
        ("f", format!("HTTP_AUTH_TOKEN_{host}"), "wrong", 1),
    ] {
        let (_context, dir) = context(&format!("FROM busybox\nADD {} /f\n", server.url(path)));
        let secret = secret(&id, value);
        let outcome = build(&cooper, &["-otype=cacheonly", &secret, &dir], b"").exits(code);
        assert!(!outcome.stderr.contains("hush"), "{outcome}");
        if code == 1 {
            outcome.says(&format!("--secret id=HTTP_AUTH_TOKEN_{host}"));
        }
    }
    let asked = other.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.header("authorization"), "", "{request:?}");
    }
}

#[test]
fn a_server_that_hangs_can_be_interrupted() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(()) = need::tool("git") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = sender.send(stream);
        }
    });
    let (_context, dir) = context(&format!("FROM busybox\nADD http://{address}/f /f\n"));
    for source in [
        dir,
        format!("http://{address}/context.tar"),
        format!("http://{address}/x.git"),
        format!("git://{address}/x"),
    ] {
        let mut command = cooper.command();
        command.args([
            "build",
            "--progress=plain",
            &cooper.busybox_context(),
            &source,
        ]);
        let build = process::start(command, b"");
        let _open = asked.recv().expect("a request");
        build.signal(rustix::process::Signal::INT);
        // The server's silence would last for minutes.
        build.finish_within(Duration::from_secs(60)).exits(130);
    }
    // Git and its helpers are gone as well.
    process::await_no_process_with(&address.to_string(), Duration::from_secs(60));
}
