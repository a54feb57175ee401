//! Authentication, with faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::push::{check, push};
use crate::http::testing::{Reply, TestServer};
use crate::registry::testing::{RealRegistry, TestImage, amd64, client, proxy, quick, reference};
use crate::registry::*;

fn denied() -> Reply {
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Reply::new(401, body)
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic {
        username: username.to_owned(),
        password: password.to_owned(),
    }
}

fn with_credential(server: &TestServer, credential: &Credential) -> Client {
    Client::new(quick(), Credentials::of(&server.authority(), credential))
}

/// A registry whose tokens are good for `uses` requests each.
fn token_registry(image: &TestImage, uses: usize) -> (TestServer, TestServer) {
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let tokens = TestServer::start(move |_| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::new(200, format!(r#"{{"token":"t{number}","expires_in":300}}"#))
    });
    let realm = tokens.url("/token");
    let used = AtomicUsize::new(0);
    let server = image.serve(move |request| {
        let expected = format!("Bearer t{}", issued.load(Ordering::SeqCst));
        if request.header("authorization") == expected && used.fetch_add(1, Ordering::SeqCst) < uses
        {
            return None;
        }
        used.store(0, Ordering::SeqCst);
        let challenge =
            format!(r#"Bearer realm="{realm}",service="reg",scope="repository:app:pull""#);
        Some(denied().header("WWW-Authenticate", challenge))
    });
    (server, tokens)
}

#[test]
fn anonymous_tokens_are_fetched_once_and_kept() {
    let image = TestImage::new();
    let (server, tokens) = token_registry(&image, usize::MAX);
    let client = client();
    let reference = reference(&server, "app");
    let resolved = client.resolve(&reference, &amd64(), Watch::none()).unwrap();
    assert_eq!(resolved.manifest_bytes, image.manifest);
    client.resolve(&reference, &amd64(), Watch::none()).unwrap();
    assert_eq!(
        tokens.requests(),
        ["GET /token?service=reg&scope=repository%3Aapp%3Apull"]
    );
    assert_eq!(tokens.log()[0].header("authorization"), "");
}

#[test]
fn expired_tokens_are_renewed() {
    let image = TestImage::new();
    let (server, tokens) = token_registry(&image, 1);
    let client = client();
    let reference = reference(&server, "app");
    client.resolve(&reference, &amd64(), Watch::none()).unwrap();
    let layer = client
        .fetch_blob(
            &reference,
            &image.layer_descriptor,
            || Ok(Vec::new()),
            Watch::none(),
        )
        .unwrap();
    assert_eq!(layer, image.layer);
    assert_eq!(tokens.requests().len(), 3);
}

#[test]
fn tokens_are_asked_for_with_what_is_stored() {
    let image = TestImage::new();
    let (server, tokens) = token_registry(&image, usize::MAX);
    let client = with_credential(&server, &basic("me", "secret"));
    client
        .resolve(&reference(&server, "app"), &amd64(), Watch::none())
        .unwrap();
    let request = &tokens.log()[0];
    assert_eq!(
        request.header("authorization"),
        format!("Basic {}", STANDARD.encode("me:secret"))
    );
    assert_eq!(
        request.path,
        "/token?service=reg&account=me&scope=repository%3Aapp%3Apull"
    );

    let (server, tokens) = token_registry(&image, usize::MAX);
    let client = with_credential(&server, &Credential::Identity("refresh".to_owned()));
    client
        .resolve(&reference(&server, "app"), &amd64(), Watch::none())
        .unwrap();
    let request = &tokens.log()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(
        String::from_utf8_lossy(&request.body),
        "grant_type=refresh_token&service=reg&client_id=cooper&scope=repository%3Aapp%3Apull&refresh_token=refresh"
    );
}

#[test]
fn a_refusing_token_server_is_reported() {
    let image = TestImage::new();
    let tokens =
        TestServer::start(|_| Reply::new(401, r#"{"details":"incorrect username or password"}"#));
    let realm = tokens.url("/token");
    let server = image.serve(move |_| {
        Some(denied().header("WWW-Authenticate", format!("Bearer realm=\"{realm}\"")))
    });
    let client = with_credential(&server, &basic("me", "wrong"));
    let reference = reference(&server, "app");
    let error = client
        .resolve(&reference, &amd64(), Watch::none())
        .unwrap_err();
    let host = server.authority();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot resolve {reference}:latest: registry {host}: cannot get a token for {host}: \
             GET {}?account=me&scope=repository%3Aapp%3Apull: 401 Unauthorized: incorrect username or password",
            tokens.url("/token")
        )
    );
    assert_eq!(
        error.hint().unwrap(),
        format!(
            "the stored credentials for {host} do not allow this: check the repository's name, or log in again with `cooper login {host}`"
        )
    );
}

#[test]
fn basic_authentication_is_answered_if_credentials_are_stored() {
    let image = TestImage::new();
    let expected = format!("Basic {}", STANDARD.encode("me:secret"));
    let server = image.serve(move |request| {
        (request.header("authorization") != expected)
            .then(|| denied().header("WWW-Authenticate", "Basic realm=\"r\""))
    });
    let reference = reference(&server, "app");
    let client = with_credential(&server, &basic("me", "secret"));
    client.resolve(&reference, &amd64(), Watch::none()).unwrap();

    let anonymous = super::super::testing::client();
    let error = anonymous
        .resolve(&reference, &amd64(), Watch::none())
        .unwrap_err();
    let host = server.authority();
    assert!(
        error
            .to_string()
            .ends_with("401 Unauthorized: UNAUTHORIZED (authentication required)"),
        "{error}"
    );
    let hint =
        format!("check the repository's name; if it is private, log in with `cooper login {host}`");
    assert_eq!(error.hint().unwrap(), hint);
}

#[test]
fn credentials_do_not_follow_redirects() {
    let image = TestImage::new();
    let layer = image.layer.clone();
    let storage = TestServer::start(move |_| Reply::new(200, layer.as_slice()));
    let (address, path) = (storage.url("/signed"), image.layer_path());
    let expected = format!("Basic {}", STANDARD.encode("me:secret"));
    let server = image.serve(move |request| {
        if request.header("authorization") != expected {
            return Some(denied().header("WWW-Authenticate", "Basic"));
        }
        (request.path == path).then(|| Reply::new(307, "").header("Location", address.as_str()))
    });
    let client = with_credential(&server, &basic("me", "secret"));
    let reference = reference(&server, "app");
    let fetched = client
        .fetch_blob(
            &reference,
            &image.layer_descriptor,
            || Ok(Vec::new()),
            Watch::none(),
        )
        .unwrap();
    assert_eq!(fetched, image.layer);
    assert_eq!(storage.log().len(), 1);
    assert_eq!(storage.log()[0].header("authorization"), "");
}

/// A token that runs out between two parts of an upload is renewed before the next part: nothing
/// is sent that the registry would refuse.
#[test]
fn a_token_is_renewed_in_the_midst_of_a_push() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let tokens = TestServer::start(move |_| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::new(200, format!(r#"{{"token":"t{number}","expires_in":0}}"#))
    });
    let realm = tokens.url("/token");
    let server = proxy(&registry, move |request| {
        let last = format!("Bearer t{}", issued.load(Ordering::SeqCst));
        if request.header("authorization") == last {
            return None;
        }
        request.body.clear();
        let challenge = format!(r#"Bearer realm="{realm}",service="reg""#);
        Some(denied().header("WWW-Authenticate", challenge))
    });
    let image = TestImage::new();
    let config = RegistryConfig {
        chunk_size: 300_000,
        parallel: 1,
        ..quick()
    };
    let client = Client::new(config, Credentials::none());
    let plain = super::super::testing::client();
    let pushed = push(&client, &reference(&server, "app:1"), &image).unwrap();
    assert_eq!(pushed.sent, 2);
    check(&plain, &registry.reference("app:1"), &image);
    let parts = server.requests();
    let parts: Vec<_> = parts.iter().filter(|r| r.starts_with("PATCH")).collect();
    assert_eq!(parts.len(), 4, "{parts:?}");
    assert!(tokens.requests().len() > 4);
}

#[test]
fn logging_in_tells_what_is_to_be_kept() {
    let known = format!("Basic {}", STANDARD.encode("me:right"));
    let credential = |password: &str| basic("me", password);
    // A token server that hands out identity tokens, one that does not, and no token server.
    for (identity, kept) in [
        (
            Some(r#"{"token":"t","refresh_token":"identity"}"#),
            Credential::Identity("identity".to_owned()),
        ),
        (Some(r#"{"token":"t"}"#), credential("right")),
        (None, credential("right")),
    ] {
        let (known, tokens) = (known.clone(), known.clone());
        let token = identity.unwrap_or_default().to_owned();
        let tokens = TestServer::start(move |request| {
            if request.header("authorization") == tokens {
                Reply::new(200, token.clone())
            } else {
                denied()
            }
        });
        let challenge = match identity {
            Some(_) => format!(r#"Bearer realm="{}",service="reg""#, tokens.url("/token")),
            None => r#"Basic realm="r""#.to_owned(),
        };
        let server = TestServer::start(move |request| {
            let accepted = [&known, "Bearer t"];
            if accepted.contains(&request.header("authorization")) {
                Reply::new(200, "{}")
            } else {
                denied().header("WWW-Authenticate", challenge.clone())
            }
        });
        let host = server.authority();
        assert_eq!(client().log_in(&host, &credential("right")).unwrap(), kept);
        let error = client().log_in(&host, &credential("wrong")).unwrap_err();
        assert!(error.to_string().contains("401"), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        assert!(error.hint().unwrap().starts_with("check the user name"));
    }
}
