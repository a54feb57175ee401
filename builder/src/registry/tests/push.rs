//! Pushing: to a real registry, and through faults.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cooper_oci::{Descriptor, Digest, Index, Reference, media_type};

use crate::http::testing::{Reply, TestRequest, TestServer};
use crate::http::{Download, HttpClient, HttpConfig, HttpRequest};
use crate::registry::push::{OpenBlob, Pushed};
use crate::registry::testing::{
    RealRegistry, TestImage, amd64, client, proxy, quick, reference, skip,
};
use crate::registry::*;

fn opener(image: &TestImage) -> Box<OpenBlob<'static>> {
    let blobs = image.blobs.clone();
    Box::new(move |descriptor, offset| {
        let mut cursor = Cursor::new(blobs[descriptor.digest.as_str()].clone());
        cursor.set_position(offset);
        Ok(Box::new(cursor))
    })
}

fn to_push<'a>(image: &TestImage, open: &'a OpenBlob<'a>) -> PushImage<'a> {
    let config = Descriptor::of(media_type::OCI_CONFIG, &image.config);
    PushImage {
        blobs: vec![
            image.layer_descriptor.clone(),
            config,
            image.layer_descriptor.clone(),
        ],
        manifests: vec![PushManifest {
            descriptor: image.manifest_descriptor.clone(),
            bytes: image.manifest.clone(),
        }],
        mount_from: BTreeMap::new(),
        open,
    }
}

pub(super) fn push(
    client: &Client,
    reference: &Reference,
    image: &TestImage,
) -> Result<Pushed, RegistryError> {
    let open = opener(image);
    client.push(reference, &to_push(image, &*open), Watch::none())
}

/// Pulls everything back and compares.
pub(super) fn check(client: &Client, reference: &Reference, image: &TestImage) {
    let resolved = client.resolve(reference, &amd64(), Watch::none()).unwrap();
    assert_eq!(resolved.manifest_bytes, image.manifest);
    assert_eq!(resolved.config_bytes, image.config);
    let layer = &resolved.manifest.layers[0];
    let fetched = client
        .fetch_blob(reference, layer, || Ok(Vec::new()), Watch::none())
        .unwrap();
    assert_eq!(fetched, image.layer);
}

/// Sends blobs in parts of 100 000 bytes.
fn in_parts() -> Client {
    let config = RegistryConfig {
        chunk_size: 100_000,
        ..quick()
    };
    Client::new(config, Credentials::none())
}

#[test]
fn images_are_pushed_and_pulled_back() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    for (client, name) in [(client(), "whole/app:1"), (in_parts(), "parts/app:1")] {
        let reference = registry.reference(name);
        let pushed = push(&client, &reference, &image).unwrap();
        assert_eq!((pushed.sent, pushed.present), (2, 0), "{name}");
        assert_eq!(pushed.descriptor, image.manifest_descriptor);
        check(&client, &reference, &image);
        let digest = image.manifest_descriptor.digest.clone();
        check(
            &client,
            &reference.without_tag().with_digest(digest),
            &image,
        );
        // Nothing is sent twice.
        let again = push(&client, &reference.with_tag("2").unwrap(), &image).unwrap();
        assert_eq!((again.sent, again.present), (0, 2), "{name}");
    }
}

#[test]
fn unknown_names_are_reported_by_the_registry() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let reference = registry.reference("nothing:here");
    let error = client()
        .resolve(&reference, &amd64(), Watch::none())
        .unwrap_err();
    let host = registry.authority();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot resolve {reference}: registry {host}: GET http://{host}/v2/nothing/manifests/here: \
             404 Not Found: MANIFEST_UNKNOWN (manifest unknown)"
        )
    );
    assert!(error.is_not_found());
}

#[test]
fn blobs_are_mounted_from_other_repositories() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let first = registry.reference("one/app:1");
    push(&client(), &first, &image).unwrap();
    let open = |_: &Descriptor, _: u64| -> std::io::Result<Box<dyn Read>> {
        Err(std::io::Error::other("no blob may be read"))
    };
    let mut to_push = to_push(&image, &open);
    let elsewhere: Reference = "other.example/one/app".parse().unwrap();
    for blob in &to_push.blobs {
        to_push
            .mount_from
            .insert(blob.digest.clone(), vec![elsewhere.clone(), first.clone()]);
    }
    let second = registry.reference("two/app:1");
    let mounted = Mutex::new(Vec::new());
    let event = |event: &Event<'_>| {
        if let Event::Mounted { from, .. } = event {
            mounted.lock().unwrap().push((*from).to_owned());
        }
    };
    let watch = Watch {
        event: &event,
        canceled: &|| false,
    };
    let pushed = client().push(&second, &to_push, watch).unwrap();
    assert_eq!((pushed.sent, pushed.present), (0, 2));
    assert_eq!(*mounted.lock().unwrap(), ["one/app", "one/app"]);
    check(&client(), &second, &image);

    // Where there is nothing to mount, the blob is sent.
    let other = TestImage::variant();
    let open = opener(&other);
    let mut to_push = super::push::to_push(&other, &*open);
    let digest = other.layer_descriptor.digest.clone();
    to_push
        .mount_from
        .insert(digest, vec![registry.reference("missing")]);
    let pushed = client().push(&second, &to_push, Watch::none()).unwrap();
    assert_eq!(pushed.sent, 2);
    check(&client(), &second, &other);
}

#[test]
fn indexes_follow_their_manifests() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let (image, other) = (TestImage::new(), TestImage::variant());
    let index = Index::oci(vec![
        other
            .manifest_descriptor
            .clone()
            .with_platform("linux/arm64".parse().unwrap()),
        image.manifest_descriptor.clone().with_platform(amd64()),
    ])
    .to_json();
    let descriptor = Descriptor::of(media_type::OCI_INDEX, &index);
    let (own, others) = (opener(&image), opener(&other));
    let open = |descriptor: &Descriptor, offset: u64| {
        let known = image.blobs.contains_key(descriptor.digest.as_str());
        if known {
            own(descriptor, offset)
        } else {
            others(descriptor, offset)
        }
    };
    let mut to_push = to_push(&image, &open);
    let second = super::push::to_push(&other, &open);
    to_push.blobs.extend(second.blobs);
    to_push.manifests.extend(second.manifests);
    to_push.manifests.push(PushManifest {
        descriptor: descriptor.clone(),
        bytes: index.clone(),
    });
    let reference = registry.reference("multi:1");
    let pushed = client().push(&reference, &to_push, Watch::none()).unwrap();
    assert_eq!(pushed.descriptor, descriptor);
    check(&client(), &reference, &image);
    let resolved = client()
        .resolve(&reference, &"linux/arm64".parse().unwrap(), Watch::none())
        .unwrap();
    assert_eq!(resolved.manifest_bytes, other.manifest);
    let (top, bytes) = client().manifest(&reference, Watch::none()).unwrap();
    assert_eq!((top.digest, bytes), (descriptor.digest, index));
}

#[test]
fn a_registry_with_passwords_wants_one() {
    let Some(registry) = RealRegistry::start(true) else {
        return;
    };
    let image = TestImage::new();
    let reference = registry.reference("private/app:1");
    let host = registry.authority();
    let login = |password: &str| {
        let (username, password) = ("tester".to_owned(), password.to_owned());
        let credential = Credential::Basic { username, password };
        Client::new(quick(), Credentials::of(&host, &credential))
    };
    push(&login("open sesame"), &reference, &image).unwrap();
    check(&login("open sesame"), &reference, &image);

    let error = push(&client(), &reference, &image).unwrap_err();
    assert!(error.to_string().contains("401 Unauthorized"), "{error}");
    assert!(
        error.hint().unwrap().contains("log in with `cooper login"),
        "{error}"
    );
    let error = push(&login("wrong"), &reference, &image).unwrap_err();
    assert!(error.hint().unwrap().contains("log in again"), "{error}");
}

/// A registry that implements uploads in parts to the letter; `arrives` says how
/// much of each part arrives, and whether it is answered.
fn parts_registry(
    image: &TestImage,
    arrives: impl Fn(usize, usize) -> (usize, bool) + Send + Sync + 'static,
) -> TestServer {
    let layer = image.layer.clone();
    let layer_path = image.layer_path();
    let state = Mutex::new((Vec::new(), 0, false));
    TestServer::start(move |request| {
        let mut state = state.lock().unwrap();
        let (received, parts, done) = &mut *state;
        let location = format!("/v2/app/blobs/uploads/1?at={}", received.len());
        let range = format!("0-{}", received.len().saturating_sub(1));
        let progress = |status| {
            Reply::new(status, "")
                .header("Location", location.as_str())
                .header("Range", range.as_str())
        };
        match request.method.as_str() {
            "HEAD" if request.path == layer_path && !*done => Reply::new(404, ""),
            "POST" => progress(202),
            "GET" => progress(204),
            "PATCH" => {
                if !request
                    .header("content-range")
                    .starts_with(&format!("{}-", received.len()))
                {
                    return progress(416);
                }
                let (bytes, answered) = arrives(*parts, request.body.len());
                *parts += 1;
                received.extend_from_slice(&request.body[..bytes]);
                let location = format!("/v2/app/blobs/uploads/1?at={}", received.len());
                let range = format!("0-{}", received.len() - 1);
                let reply = Reply::new(202, "")
                    .header("Location", location)
                    .header("Range", range);
                if answered { reply } else { Reply::hang_up() }
            }
            "PUT" if request.path.contains("/uploads/") => {
                *done = *received == layer;
                Reply::new(if *done { 201 } else { 400 }, "")
            }
            _ => Reply::new(201, ""),
        }
    })
}

fn parts(server: &TestServer) -> Vec<String> {
    let log = server.log();
    let patches = log.iter().filter(|r| r.method == "PATCH");
    patches
        .map(|r| r.header("content-range").to_owned())
        .collect()
}

#[test]
fn uploads_go_on_where_they_broke() {
    let image = TestImage::new();
    // The third part arrives half, the fifth whole but unanswered, the sixth not at
    // all; of the seventh the registry keeps only a bit.
    let server = parts_registry(&image, |part, length| match part {
        2 => (40_000, false),
        4 => (length, false),
        5 => (0, false),
        6 => (10_000, true),
        _ => (length, true),
    });
    assert_eq!(
        push(&in_parts(), &reference(&server, "app:1"), &image)
            .unwrap()
            .sent,
        1
    );
    let parts = parts(&server);
    assert_eq!(
        parts[..9],
        [
            "0-99999",
            "100000-199999",
            "200000-299999",
            "240000-339999",
            "340000-439999",
            "440000-539999",
            "440000-539999",
            "450000-549999",
            "550000-649999"
        ]
    );
    assert_eq!(parts.len(), 15);
    assert_eq!(parts[14], "1150000-1199999");
}

#[test]
fn uploads_without_progress_are_given_up() {
    let image = TestImage::new();
    let server = parts_registry(
        &image,
        |part, length| if part < 2 { (length, true) } else { (0, false) },
    );
    let error = push(&in_parts(), &reference(&server, "app:1"), &image)
        .unwrap_err()
        .to_string();
    assert!(error.contains("PATCH http://"), "{error}");
    assert!(!error.contains("?at="), "{error}");
    assert_eq!(parts(&server)[2..], ["200000-299999"; 3]);
}

#[test]
fn uploads_that_the_registry_lost_start_again() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    // This registry drops an upload whose client does not know what arrived.
    let count = AtomicUsize::new(0);
    let server = proxy(&registry, move |request| {
        let part = request.method == "PATCH" && count.fetch_add(1, Ordering::SeqCst) == 2;
        part.then(|| {
            request.body.truncate(40_000);
            Reply::hang_up()
        })
    });
    assert_eq!(
        push(&in_parts(), &reference(&server, "app:1"), &image)
            .unwrap()
            .sent,
        2
    );
    check(&client(), &registry.reference("app:1"), &image);
    let parts = parts(&server);
    assert_eq!(
        parts[..5],
        [
            "0-99999",
            "100000-199999",
            "200000-299999",
            "0-99999",
            "100000-199999"
        ]
    );
    assert_eq!(parts.len(), 15);
}

#[test]
fn whole_uploads_start_again() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let broken = AtomicBool::new(false);
    let server = proxy(&registry, move |request| {
        let upload = request.method == "PUT" && request.path.contains("/uploads/");
        let large = request.body.len() > 100_000;
        (upload && large && !broken.swap(true, Ordering::SeqCst)).then(Reply::hang_up)
    });
    let reference = reference(&server, "app:1");
    assert_eq!(push(&client(), &reference, &image).unwrap().sent, 2);
    check(&client(), &registry.reference("app:1"), &image);
}

#[test]
fn a_lost_answer_to_a_finished_upload_is_noticed() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let upstream = registry.authority();
    let server = proxy(&registry, move |request| {
        let done = request.method == "PUT" && request.path.contains("/uploads/");
        done.then(|| {
            crate::registry::testing::forward(&upstream, request);
            Reply::hang_up()
        })
    });
    for client in [client(), in_parts()] {
        assert_eq!(
            push(&client, &reference(&server, "app:1"), &image)
                .unwrap()
                .descriptor,
            image.manifest_descriptor
        );
    }
    check(&client(), &registry.reference("app:1"), &image);
}

#[test]
fn registries_without_parts_get_the_whole() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let server = proxy(&registry, |request| {
        request.body.truncate(if request.method == "PATCH" {
            0
        } else {
            usize::MAX
        });
        (request.method == "PATCH").then(|| Reply::new(405, ""))
    });
    push(&in_parts(), &reference(&server, "app:1"), &image).unwrap();
    check(&client(), &registry.reference("app:1"), &image);
    let patches = server
        .requests()
        .iter()
        .filter(|r| r.starts_with("PATCH"))
        .count();
    assert_eq!(patches, 1);
}

#[test]
fn a_busy_registry_is_asked_again() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let server = proxy(&registry, |request| {
        let status = if request.nth == 0 { 503 } else { 429 };
        (request.nth < 2 && !request.path.contains("_state")).then(|| {
            request.body.clear();
            Reply::new(status, "")
        })
    });
    let reference = reference(&server, "app:1");
    push(&client(), &reference, &image).unwrap();
    check(&client(), &registry.reference("app:1"), &image);
}

#[test]
fn a_registry_that_does_not_answer_is_asked_again() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let slow = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let server = proxy(&registry, move |request| {
        let kind = ["POST", "PUT"]
            .iter()
            .position(|kind| *kind == request.method);
        // The first of each kind.
        if kind.is_some_and(|kind| slow[kind].fetch_add(1, Ordering::SeqCst) == 0) {
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        None
    });
    let mut config = quick();
    config.http.response_timeout = std::time::Duration::from_secs(2);
    let impatient = Client::new(config, Credentials::none());
    push(&impatient, &reference(&server, "app:1"), &image).unwrap();
    check(&client(), &registry.reference("app:1"), &image);
}

/// A registry that takes everything and answers the manifest as told.
fn accepting(manifest: impl Fn(&TestRequest) -> Reply + Send + Sync + 'static) -> TestServer {
    TestServer::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        "POST" => Reply::new(202, "").header("Location", "/v2/app/blobs/uploads/1?state=x"),
        "PUT" if request.path.contains("/uploads/") => Reply::new(201, ""),
        "PUT" => manifest(request),
        "DELETE" => Reply::new(204, ""),
        _ => Reply::new(200, ""),
    })
}

#[test]
fn a_manifest_that_arrives_changed_is_an_error() {
    let image = TestImage::new();
    let server = accepting(|_| {
        Reply::new(201, "").header("Docker-Content-Digest", Digest::sha256(b"other").as_str())
    });
    let error = push(&client(), &reference(&server, "app"), &image).unwrap_err();
    assert!(error.to_string().contains("sent wrong content"), "{error}");

    let server = accepting(|_| {
        Reply::new(
            400,
            r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no such layer"}]}"#,
        )
    });
    let reference = reference(&server, "app");
    let error = push(&client(), &reference, &image).unwrap_err().to_string();
    let host = server.authority();
    assert_eq!(
        error,
        format!(
            "cannot push {reference}:latest: registry {host}: PUT http://{host}/v2/app/manifests/latest: \
             400 Bad Request: MANIFEST_INVALID (no such layer)"
        )
    );
}

#[test]
fn failed_uploads_are_withdrawn() {
    let image = TestImage::new();
    let server = TestServer::start(|request| match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        "POST" => Reply::new(202, "").header("Location", "/v2/app/blobs/uploads/1?state=x"),
        "PUT" => Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#),
        _ => Reply::new(204, ""),
    });
    let error = push(&client(), &reference(&server, "app"), &image).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("400 Bad Request: DIGEST_INVALID"),
        "{error}"
    );
    let requests = server.requests();
    assert!(
        requests.contains(&"DELETE /v2/app/blobs/uploads/1?state=x".to_owned()),
        "{requests:?}"
    );
    assert!(
        !requests.iter().any(|r| r.contains("/manifests/")),
        "{requests:?}"
    );
}

#[test]
fn unreadable_blobs_are_this_sides_fault() {
    let image = TestImage::new();
    let server = accepting(|_| Reply::new(201, ""));
    let reference = reference(&server, "app");
    let unopened = |_: &Descriptor, _: u64| -> std::io::Result<Box<dyn Read>> {
        Err(std::io::ErrorKind::NotFound.into())
    };
    let error = client()
        .push(&reference, &to_push(&image, &unopened), Watch::none())
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Local { verb: "read", .. }),
        "{error}"
    );
    let short = |_: &Descriptor, _: u64| -> std::io::Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(b"short".to_vec())))
    };
    let error = client()
        .push(&reference, &to_push(&image, &short), Watch::none())
        .unwrap_err();
    let RegistryError::Local {
        verb: "read",
        source,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn canceling_ends_a_push() {
    let image = TestImage::new();
    let server = accepting(|_| Reply::new(201, ""));
    let open = opener(&image);
    let reference = reference(&server, "app");
    let canceled = AtomicBool::new(false);
    let event = |event: &Event<'_>| {
        if matches!(event, Event::Transfer { done, .. } if *done > 0) {
            canceled.store(true, Ordering::SeqCst);
        }
    };
    let watch = Watch {
        event: &event,
        canceled: &|| canceled.load(Ordering::SeqCst),
    };
    let error = client()
        .push(&reference, &to_push(&image, &*open), watch)
        .unwrap_err();
    assert!(matches!(error, RegistryError::Canceled), "{error}");
    assert!(!server.requests().iter().any(|r| r.contains("/manifests/")));
}

#[test]
fn certificates_are_verified_unless_the_host_is_insecure() {
    let Some((registry, certificate)) = RealRegistry::start_tls(false) else {
        return;
    };
    let image = TestImage::new();
    let host = registry.authority();
    // Loopback hosts may have any certificate.
    push(&client(), &registry.reference("app:1"), &image).unwrap();

    // A mirror's https:// does not make a loopback host less insecure; any other name does.
    let reference: Reference = "registry.example/app:1".parse().unwrap();
    let mut config = quick();
    config.mirrors.insert(
        "registry.example".to_owned(),
        vec![format!("https://{host}")],
    );
    check(
        &Client::new(config, Credentials::none()),
        &reference,
        &image,
    );

    let url = format!("https://{host}/v2/");
    let get = |http: HttpConfig| {
        let request = HttpRequest {
            url: &url,
            ..HttpRequest::default()
        };
        match HttpClient::new(http).download(&request, &mut || Ok(Vec::new())) {
            Ok(Download::Complete(done)) => Ok(done.sink),
            Ok(Download::NotModified) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    };
    let error = get(quick().http).unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    for http in [
        HttpConfig {
            ca_files: vec![certificate.clone()],
            ..quick().http
        },
        HttpConfig {
            extra_ca_files: vec![certificate.clone()],
            ..quick().http
        },
    ] {
        assert_eq!(get(http).unwrap(), b"{}");
    }
}

#[test]
fn a_server_has_certificates_of_its_own() {
    let Some((registry, certificate)) = RealRegistry::start_tls(true) else {
        return;
    };
    let (dirs, host) = (tempfile::tempdir().unwrap(), registry.authority());
    let dir = dirs.path().join(&host);
    std::fs::create_dir(&dir).unwrap();
    let url = format!("https://{host}/v2/");
    let get = || {
        let http = HttpConfig {
            host_cert_dirs: vec!["/nonexistent".into(), dirs.path().to_owned()],
            ..quick().http
        };
        let request = HttpRequest {
            url: &url,
            ..HttpRequest::default()
        };
        match HttpClient::new(http).download(&request, &mut || Ok(Vec::new())) {
            Ok(Download::Complete(done)) => done.sink,
            Ok(Download::NotModified) => Vec::new(),
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                format!("{error}: {source:?}").into_bytes()
            }
        }
    };
    let said = || String::from_utf8(get()).unwrap();
    let key = certificate.with_file_name("key.pem");
    std::fs::copy(&certificate, dir.join("ca.crt")).unwrap();
    assert!(said().contains("received fatal alert"), "{}", said());
    std::fs::copy(&certificate, dir.join("client.cert")).unwrap();
    assert!(
        said().starts_with(&format!("{}/client.key is missing", dir.display())),
        "{}",
        said()
    );
    std::fs::copy(key, dir.join("client.key")).unwrap();
    assert_eq!(said(), "{}");
    std::fs::remove_file(dir.join("ca.crt")).unwrap();
    assert!(said().contains("certificate"), "{}", said());
    std::fs::remove_file(dir.join("client.cert")).unwrap();
    assert!(said().contains("client.cert is missing"), "{}", said());
}

#[test]
fn skopeo_and_cooper_understand_each_other() {
    let Some(registry) = RealRegistry::start(false) else {
        return;
    };
    let image = TestImage::new();
    let reference = registry.reference("app:1");
    push(&client(), &reference, &image).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = format!("dir:{}", dir.path().display());
    let copied = registry.reference("copied:1");
    let steps = [
        [
            "--src-tls-verify=false".to_owned(),
            format!("docker://{reference}"),
            dir.clone(),
        ],
        [
            "--dest-tls-verify=false".to_owned(),
            dir,
            format!("docker://{copied}"),
        ],
    ];
    for step in steps {
        let output = std::process::Command::new("skopeo")
            .args(["--insecure-policy", "copy"])
            .args(&step)
            .output();
        match output {
            Ok(output) => assert!(
                output.status.success(),
                "{step:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => return skip(&format!("skopeo cannot be started: {error}")),
        }
    }
    check(&client(), &copied, &image);
}
