//! Answers that no registry should give: each ends with the right bytes or with an error that
//! says what was wrong, after few requests, and with nothing told to whom it is no business.

use cooper_oci::Digest;

use crate::http::testing::{Reply, TestRequest, TestServer};
use crate::registry::testing::{TestImage, amd64, client, quick, reference};
use crate::registry::*;

/// More requests than any of these faults is worth.
const PATIENCE: usize = 40;

fn fetch(image: &TestImage, server: &TestServer) -> Result<Vec<u8>, String> {
    let reference = reference(server, "app");
    let layer = &image.layer_descriptor;
    client()
        .fetch_blob(&reference, layer, || Ok(Vec::new()), Watch::none())
        .map_err(|error| error.to_string())
}

fn resolve(server: &TestServer) -> Result<Resolved, String> {
    client()
        .resolve(&reference(server, "app"), &amd64(), Watch::none())
        .map_err(|error| error.to_string())
}

fn chunked(pieces: &[&[u8]]) -> Reply {
    let mut body = Vec::new();
    for piece in pieces {
        body.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        body.extend(*piece);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    Reply::new(200, body)
        .unframed()
        .header("Transfer-Encoding", "chunked")
}

#[test]
fn a_blob_comes_whole_however_it_is_framed() {
    let image = TestImage::new();
    let path = image.layer_path();
    let (first, second) = image.layer.split_at(100_000);
    for reply in [
        chunked(&[first, second]),
        Reply::new(200, image.layer.as_slice()).unframed(),
        Reply::new(200, image.layer.as_slice()).header("Content-Type", "text/html"),
    ] {
        let path = path.clone();
        let server = image.serve(move |r| (r.path == path).then(|| reply.clone()));
        assert_eq!(fetch(&image, &server).unwrap(), image.layer);
    }
}

#[test]
fn a_blob_that_cannot_be_right_is_an_error() {
    let image = TestImage::new();
    let path = image.layer_path();
    let whole = || image.layer.clone();
    let location = |to: &str| Reply::new(307, "").header("Location", to);
    let part = |range: &str| Reply::new(206, whole()).header("Content-Range", range);
    let mut broken_chunk = b"zz\r\n".to_vec();
    broken_chunk.extend(whole());
    let cases: Vec<(&str, Reply)> = vec![
        ("redirect", location(&path)),
        ("location", Reply::new(307, "")),
        ("", location("file:///etc/passwd")),
        ("", location("ftp://127.0.0.1/f")),
        ("", location("//")),
        ("wrong content", Reply::new(200, vec![0; image.layer.len()])),
        // Compressed on the way, which nobody asked for.
        (
            "are due",
            Reply::new(200, b"\x1f\x8b\x08\0\0".to_vec()).header("Content-Encoding", "gzip"),
        ),
        ("sent more than", chunked(&[&image.layer, b"more"])),
        ("broke after", chunked(&[&image.layer[..1000]])),
        (
            "",
            Reply::new(200, broken_chunk)
                .unframed()
                .header("Transfer-Encoding", "chunked"),
        ),
        (
            "sent more than",
            Reply::new(200, vec![0; image.layer.len() + 1]).unframed(),
        ),
        ("broke the protocol", part("bytes 5-10/20")),
        ("broke the protocol", part("nonsense")),
        ("broke the protocol", Reply::new(206, whole())),
        ("broke after", Reply::new(204, "")),
        (
            "are due",
            Reply::new(200, "<html>sign in to this hotel</html>"),
        ),
        ("418", Reply::new(418, "<html>")),
        ("416", Reply::new(416, "")),
    ];
    for (number, (expected, reply)) in cases.into_iter().enumerate() {
        let path = path.clone();
        let server = image.serve(move |r| (r.path == path).then(|| reply.clone()));
        let error = fetch(&image, &server).expect_err("an answer that cannot be right");
        assert!(error.contains(expected), "{number} {expected:?}: {error}");
        assert!(!error.contains("root:"), "{number}: {error}");
        assert!(server.log().len() < PATIENCE, "{number}: {error}");
    }
}

#[test]
fn a_manifest_that_cannot_be_right_is_an_error() {
    let image = TestImage::new();
    let deep = "[".repeat(100_000);
    let layer = |size: &str| {
        let digest = Digest::sha256(b"");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[{{"mediaType":"x","digest":"{digest}","size":{size}}}]}}"#
        )
    };
    let cases: Vec<Reply> = vec![
        Reply::new(200, ""),
        Reply::new(200, "null"),
        Reply::new(200, "[]"),
        Reply::new(200, deep),
        Reply::new(200, layer("-1")),
        Reply::new(200, layer("1e30")),
        Reply::new(200, layer("18446744073709551616")),
        Reply::new(200, layer("1").replace("sha256:", "md5:")),
        Reply::new(200, layer("1").replace("sha256:", "sha256:../../")),
        Reply::new(200, r#"{"schemaVersion":2,"manifests":null}"#),
        Reply::new(200, image.manifest.as_slice())
            .header("Content-Encoding", "gzip")
            .cut(10),
        Reply::new(301, "").header("Location", "file:///etc/passwd"),
        Reply::new(301, "").header("Location", "/v2/app/manifests/latest"),
        chunked(&[&vec![b' '; 5 << 20]]),
    ];
    for (number, reply) in cases.into_iter().enumerate() {
        let server = image.serve(move |r| r.path.contains("/manifests/").then(|| reply.clone()));
        let error = resolve(&server)
            .map(drop)
            .expect_err("a manifest that cannot be right");
        assert!(server.log().len() < PATIENCE, "{number}: {error}");
    }
    // What it is called matters less than what it is, as long as that is plain.
    for kind in ["text/html", "application/octet-stream", "nonsense"] {
        let manifest = image.manifest.clone();
        let server = image.serve(move |r| {
            let reply = || Reply::new(200, manifest.as_slice()).header("Content-Type", kind);
            r.path.contains("/manifests/").then(reply)
        });
        match resolve(&server) {
            Ok(resolved) => assert_eq!(resolved.manifest_bytes, image.manifest),
            Err(error) => assert!(error.contains(kind), "{error}"),
        }
    }
}

/// A registry that wants a token of `realm` whatever it is shown.
fn never_satisfied(image: &TestImage, realm: String) -> TestServer {
    image.serve(move |_| {
        let challenge = format!(r#"Bearer realm="{realm}",service="s""#);
        Some(Reply::new(401, "").header("WWW-Authenticate", challenge))
    })
}

#[test]
fn token_servers_that_make_no_sense_are_given_up() {
    let image = TestImage::new();
    let cases: Vec<(&str, Reply)> = vec![
        (
            "the answer has no token",
            Reply::new(200, "<html>sign in</html>"),
        ),
        (
            "the answer has no token",
            Reply::new(200, r#"{"token":""}"#),
        ),
        ("the answer has no token", Reply::new(200, r#"{"token":7}"#)),
        ("the answer has no token", Reply::new(204, "")),
        ("", Reply::new(200, r#"{"token":"a\r\nX-Evil: 1"}"#)),
        (
            "",
            Reply::new(200, r#"{"token":"t","expires_in":18446744073709551615}"#),
        ),
        ("sent more than", Reply::new(200, vec![b' '; 2 << 20])),
        ("redirect", Reply::new(302, "").header("Location", "/token")),
        (
            "",
            Reply::new(302, "").header("Location", "file:///etc/passwd"),
        ),
        (
            "401",
            Reply::new(401, "").header("WWW-Authenticate", "Bearer realm=\"/\""),
        ),
    ];
    for (number, (expected, reply)) in cases.into_iter().enumerate() {
        let tokens = TestServer::start(move |_| reply.clone());
        let server = never_satisfied(&image, tokens.url("/token"));
        let error = resolve(&server).map(drop).expect_err("no token is good");
        assert!(error.contains(expected), "{number} {expected:?}: {error}");
        assert!(server.log().len() < PATIENCE, "{number}");
        assert!(tokens.log().len() < PATIENCE, "{number}");
        let evil = |request: &TestRequest| request.header("x-evil") == "1";
        assert!(!server.log().iter().any(evil), "{number}");
    }
    for realm in [
        "",
        "token",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "\0",
    ] {
        let server = never_satisfied(&image, realm.to_owned());
        let error = resolve(&server).map(drop).expect_err("nowhere to ask");
        assert!(server.log().len() < PATIENCE, "{realm:?}: {error}");
    }
}

#[test]
fn a_password_goes_to_nobody_whom_a_redirect_names() {
    let image = TestImage::new();
    let elsewhere = TestServer::start(|_| Reply::new(200, r#"{"token":"t"}"#));
    let to = elsewhere.url("/token");
    let tokens = TestServer::start(move |_| Reply::new(307, "").header("Location", &*to));
    let server = never_satisfied(&image, tokens.url("/token"));
    let credential = Credential::Basic {
        username: "me".to_owned(),
        password: "hunter2222".to_owned(),
    };
    let credentials = Credentials::of(&server.authority(), &credential);
    let client = Client::new(quick(), credentials);
    let result = client.resolve(&reference(&server, "app"), &amd64(), Watch::none());
    let error = result.map(drop).unwrap_err().to_string();
    assert!(!error.contains("hunter2222"), "{error}");
    assert!(
        tokens.log()[0]
            .header("authorization")
            .starts_with("Basic ")
    );
    for request in elsewhere.log() {
        assert_eq!(request.header("authorization"), "");
    }
}
