//! Pulling, with faults.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cooper_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};

use crate::http::testing::{Reply, TestRequest, TestServer};
use crate::registry::testing::{TestImage, amd64, client, not_found, quick, reference};
use crate::registry::*;

fn fetch_layer(image: &TestImage, server: &TestServer) -> Result<Vec<u8>, RegistryError> {
    let reference = reference(server, "app");
    client().fetch_blob(
        &reference,
        &image.layer_descriptor,
        || Ok(Vec::new()),
        Watch::none(),
    )
}

fn layer_requests(image: &TestImage, server: &TestServer) -> Vec<Option<usize>> {
    let path = image.layer_path();
    server
        .log()
        .iter()
        .filter(|r| r.path == path)
        .map(TestRequest::range_start)
        .collect()
}

#[test]
fn images_are_resolved_by_tag_digest_and_platform() {
    let image = TestImage::new();
    let server = image.serve(|_| None);
    let digest = image.manifest_descriptor.digest.clone();
    for name in [
        "app",
        "app:latest",
        "app:multi",
        &format!("app@{digest}"),
        &format!("app:x@{digest}"),
    ] {
        let resolved = client()
            .resolve(&reference(&server, name), &amd64(), Watch::none())
            .unwrap();
        assert_eq!(resolved.descriptor.digest, digest, "{name}");
        assert_eq!(resolved.manifest_bytes, image.manifest, "{name}");
        assert_eq!(resolved.config_bytes, image.config, "{name}");
        assert_eq!(
            resolved.manifest.layers,
            std::slice::from_ref(&image.layer_descriptor),
            "{name}"
        );
        let top = if name == "app:multi" {
            Digest::sha256(&image.index)
        } else {
            digest.clone()
        };
        let (found, _) = client()
            .manifest(&reference(&server, name), Watch::none())
            .unwrap();
        assert_eq!(found.digest, top, "{name}");
        assert_eq!(fetch_layer(&image, &server).unwrap(), image.layer);
    }
}

#[test]
fn a_missing_platform_lists_what_there_is() {
    let image = TestImage::new();
    let server = image.serve(|_| None);
    let reference = reference(&server, "app:multi");
    let wanted: Platform = "linux/s390x".parse().unwrap();
    let error = client()
        .resolve(&reference, &wanted, Watch::none())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{reference} has no image for linux/s390x; it has linux/arm64, linux/amd64")
    );
    assert_eq!(
        error.hint().unwrap(),
        "build for one that it has, for example with --platform linux/arm64"
    );
}

#[test]
fn a_configuration_of_other_layers_than_the_manifests_is_refused() {
    let image = TestImage::new();
    let mut manifest = Manifest::from_json(&image.manifest).unwrap();
    manifest.layers.push(image.layer_descriptor.clone());
    let manifest = manifest.to_json();
    let server = image.serve(move |request| {
        let reply = || Reply::new(200, manifest.as_slice());
        let asked = request.path.ends_with("/manifests/latest");
        asked.then(|| reply().header("Content-Type", media_type::OCI_MANIFEST))
    });
    let error = client()
        .resolve(&reference(&server, "app"), &amd64(), Watch::none())
        .unwrap_err();
    let what = "the configuration names 1 layers, but the manifest lists 2";
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn mirrors_are_tried_in_order_and_all_are_named() {
    let image = TestImage::new();
    let broken = TestServer::start(|_| Reply::new(500, "oops"));
    let empty = TestServer::start(|_| not_found("MANIFEST_UNKNOWN", "manifest unknown"));
    let good = image.serve(|_| None);
    let mut config = quick();
    config.mirrors.insert(
        "registry.example".to_owned(),
        vec![broken.url(""), empty.url("/sub/"), good.url("")],
    );
    let client = Client::new(config.clone(), Credentials::none());
    let reference: Reference = "registry.example/app".parse().unwrap();
    let resolved = client.resolve(&reference, &amd64(), Watch::none()).unwrap();
    assert_eq!(resolved.manifest_bytes, image.manifest);
    assert_eq!(broken.requests()[..3], ["GET /v2/app/manifests/latest"; 3]);
    assert_eq!(empty.requests()[0], "GET /v2/sub/app/manifests/latest");

    let origin = TestServer::start(|_| not_found("NAME_UNKNOWN", "no such repository"));
    config.mirrors = [(origin.authority(), vec![broken.url(""), empty.url("")])].into();
    let client = Client::new(config, Credentials::none());
    let reference = super::super::testing::reference(&origin, "app:1");
    let error = client
        .resolve(&reference, &amd64(), Watch::none())
        .unwrap_err();
    let expected = format!(
        "cannot resolve {reference}\n  \
         mirror {broken}: GET http://{broken}/v2/app/manifests/1: 500 Internal Server Error\n  \
         mirror {empty}: GET http://{empty}/v2/app/manifests/1: 404 Not Found: MANIFEST_UNKNOWN (manifest unknown)\n  \
         registry {origin}: GET http://{origin}/v2/app/manifests/1: 404 Not Found: NAME_UNKNOWN (no such repository)",
        broken = broken.authority(),
        empty = empty.authority(),
        origin = origin.authority(),
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(
        error.hint().unwrap(),
        "check the spelling of the repository and the tag"
    );
    assert!(error.is_not_found());
}

#[test]
fn dropped_connections_are_resumed_where_they_broke() {
    let image = TestImage::new();
    let (path, layer) = (image.layer_path(), image.layer.clone());
    let server = image.serve(move |request| {
        let cuts = [100_000, 500_000, 0];
        let cut = *cuts.get(request.nth).filter(|_| request.path == path)?;
        Some(Reply::ranged(request, &layer).cut(cut))
    });
    assert_eq!(fetch_layer(&image, &server).unwrap(), image.layer);
    assert_eq!(
        layer_requests(&image, &server),
        [None, Some(100_000), Some(600_000), Some(600_000)]
    );
}

#[test]
fn stalled_servers_are_asked_again() {
    let image = TestImage::new();
    let (path, layer) = (image.layer_path(), image.layer.clone());
    let server = image.serve(move |request| {
        let slow = request.path == path && request.nth == 0;
        slow.then(|| Reply::ranged(request, &layer).stall(Duration::from_secs(5)))
    });
    let mut config = quick();
    config.http.idle_timeout = Duration::from_millis(500);
    let client = Client::new(config, Credentials::none());
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
    assert_eq!(layer_requests(&image, &server), [None, Some(600_000)]);
}

#[test]
fn a_mirror_that_is_out_of_order_is_not_waited_for_again() {
    let image = TestImage::new();
    let broken = TestServer::start(|_| Reply::new(503, ""));
    let origin = image.serve(|_| None);
    let mut config = quick();
    config
        .mirrors
        .insert(origin.authority(), vec![broken.url("")]);
    let client = Client::new(config, Credentials::none());
    client
        .resolve(&reference(&origin, "app"), &amd64(), Watch::none())
        .unwrap();
    assert_eq!(broken.requests(), ["GET /v2/app/manifests/latest"; 3]);
    let missing = client.resolve(&reference(&origin, "app:2"), &amd64(), Watch::none());
    let error = missing.unwrap_err().to_string();
    let broken = broken.authority();
    let expected = format!(
        "mirror {broken}: not asked again after: GET http://{broken}/v2/app/manifests/latest: 503 Service Unavailable"
    );
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn servers_without_ranges_are_asked_for_the_whole_again() {
    let image = TestImage::new();
    let (path, layer) = (image.layer_path(), image.layer.clone());
    let server = image.serve(move |request| {
        let whole = Reply::new(200, layer.as_slice());
        (request.path == path).then(|| {
            if request.nth == 0 {
                whole.cut(1000)
            } else {
                whole
            }
        })
    });
    let opened = AtomicUsize::new(0);
    let reference = reference(&server, "app");
    let open = || {
        opened.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    };
    let fetched = client()
        .fetch_blob(&reference, &image.layer_descriptor, open, Watch::none())
        .unwrap();
    assert_eq!(fetched, image.layer);
    assert_eq!(opened.load(Ordering::SeqCst), 2);
}

#[test]
fn busy_registries_are_asked_again() {
    let image = TestImage::new();
    let server = image.serve(|request| match request.nth {
        0 if request.path.starts_with("/v2/app/") => {
            Some(Reply::new(429, "").header("Retry-After", "0"))
        }
        1 if request.path.contains("/blobs/") => Some(Reply::new(503, "")),
        _ => None,
    });
    let retries = AtomicUsize::new(0);
    let event = |event: &Event<'_>| {
        if matches!(event, Event::Retrying { .. }) {
            retries.fetch_add(1, Ordering::SeqCst);
        }
    };
    let watch = Watch {
        event: &event,
        canceled: &|| false,
    };
    let reference = reference(&server, "app");
    client().resolve(&reference, &amd64(), watch).unwrap();
    assert_eq!(retries.load(Ordering::SeqCst), 3);
    assert_eq!(fetch_layer(&image, &server).unwrap(), image.layer);
}

#[test]
fn bad_bytes_are_never_accepted() {
    let image = TestImage::new();
    let mut flipped = image.layer.clone();
    flipped[777] ^= 1;
    let mut longer = image.layer.clone();
    longer.push(0);
    let shorter = image.layer[..image.layer.len() - 1].to_vec();
    let host = |server: &TestServer| server.url(&image.layer_path());
    let cases: [(&str, Reply); 5] = [
        ("sent wrong content", Reply::new(200, flipped.clone())),
        ("sent more than", Reply::new(200, longer)),
        (
            "bytes, but 1200000 are due",
            Reply::new(200, shorter.clone()),
        ),
        (
            "the connection broke after 1199999 of 1200000 bytes",
            Reply::new(200, shorter).unframed(),
        ),
        ("sent wrong content", Reply::new(200, flipped).unframed()),
    ];
    for (expected, reply) in cases {
        let path = image.layer_path();
        let server = image.serve(move |r| (r.path == path).then(|| reply.clone()));
        let error = fetch_layer(&image, &server).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&host(&server)), "{error}");
    }
}

#[test]
fn a_lying_mirror_is_passed_over() {
    let image = TestImage::new();
    let mut flipped = image.layer.clone();
    flipped[0] ^= 1;
    let path = image.layer_path();
    let liar = image.serve(move |r| (r.path == path).then(|| Reply::new(200, flipped.as_slice())));
    let origin = image.serve(|_| None);
    let mut config = quick();
    config
        .mirrors
        .insert(origin.authority(), vec![liar.url("")]);
    let client = Client::new(config, Credentials::none());
    let reference = reference(&origin, "app");
    let fetched = client
        .fetch_blob(
            &reference,
            &image.layer_descriptor,
            || Ok(Vec::new()),
            Watch::none(),
        )
        .unwrap();
    assert_eq!(fetched, image.layer);
}

#[test]
fn a_resumed_part_of_other_content_is_refused() {
    let image = TestImage::new();
    let (path, layer) = (image.layer_path(), image.layer.clone());
    let server = image.serve(move |request| {
        (request.path == path).then(|| match request.range_start() {
            None => Reply::new(200, layer.as_slice()).cut(1000),
            // Claims to continue, but starts at the beginning.
            Some(start) => Reply::new(206, &layer[..layer.len() - start]).header(
                "Content-Range",
                format!("bytes {start}-{}/{}", layer.len() - 1, layer.len()),
            ),
        })
    });
    let error = fetch_layer(&image, &server).unwrap_err().to_string();
    assert!(error.contains("sent wrong content"), "{error}");
}

#[test]
fn manifests_that_lie_are_refused() {
    let image = TestImage::new();
    let digest = &image.manifest_descriptor.digest;
    let cases: [(&str, &str, Reply); 5] = [
        (
            "app",
            "sent wrong content",
            Reply::new(200, "{}").header("Docker-Content-Digest", digest.as_str()),
        ),
        (
            &format!("app@{digest}"),
            "sent wrong content",
            Reply::new(200, image.index.as_slice()),
        ),
        ("app", "unusable document", Reply::new(200, "<html>")),
        (
            "app",
            "unusable document",
            Reply::new(200, r#"{"schemaVersion":1}"#),
        ),
        (
            "app",
            "sent more than",
            Reply::new(200, vec![b' '; 5 << 20]),
        ),
    ];
    for (name, expected, reply) in cases {
        let server = image.serve(move |r| r.path.contains("/manifests/").then(|| reply.clone()));
        let error = client()
            .resolve(&reference(&server, name), &amd64(), Watch::none())
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn artifacts_and_endless_indexes_are_refused() {
    use cooper_oci::{Index, Manifest, media_type};
    let config = Descriptor::of("application/vnd.cncf.helm.config.v1+json", b"{}");
    let chart = Manifest::oci(config, Vec::new()).to_json();
    let server = TestServer::start(move |r| match r.path.as_str() {
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(200, chart.as_slice()),
    });
    let error = client()
        .resolve(&reference(&server, "app"), &amd64(), Watch::none())
        .unwrap_err();
    assert!(matches!(error, RegistryError::NotAnImage { .. }), "{error}");

    let mut levels = vec![Index::oci(Vec::new()).to_json()];
    for level in 0..10 {
        let child = Descriptor::of(media_type::OCI_INDEX, &levels[level]).with_platform(amd64());
        levels.push(Index::oci(vec![child]).to_json());
    }
    let server = TestServer::start(move |r| {
        let name = r.path.rsplit('/').next().unwrap_or_default();
        let found = levels
            .iter()
            .find(|bytes| Digest::sha256(bytes).as_str() == name);
        Reply::new(200, found.unwrap_or(&levels[10]).as_slice())
    });
    let error = client()
        .resolve(&reference(&server, "app"), &amd64(), Watch::none())
        .unwrap_err();
    assert!(matches!(error, RegistryError::Nesting { .. }), "{error}");
}

#[test]
fn blobs_that_descriptors_carry_are_not_fetched() {
    use base64::Engine as _;
    let server = TestServer::start(|_| Reply::new(500, ""));
    let mut descriptor = Descriptor::of("t", b"inline");
    descriptor.data = Some(base64::engine::general_purpose::STANDARD.encode(b"inline"));
    let reference = reference(&server, "app");
    let bytes = client()
        .fetch_bytes(&reference, &descriptor, 10, Watch::none())
        .unwrap();
    assert_eq!(bytes, b"inline");
    assert!(server.requests().is_empty());
    descriptor.data = Some(base64::engine::general_purpose::STANDARD.encode(b"forged"));
    assert!(
        client()
            .fetch_bytes(&reference, &descriptor, 10, Watch::none())
            .is_err()
    );
    let error = client()
        .fetch_bytes(&reference, &descriptor, 5, Watch::none())
        .unwrap_err();
    assert!(matches!(
        error,
        RegistryError::Oversized {
            size: 6,
            limit: 5,
            ..
        }
    ));
}

#[test]
fn foreign_layers_come_from_their_urls() {
    let image = TestImage::new();
    let layer = image.layer.clone();
    let elsewhere = TestServer::start(move |_| Reply::new(200, layer.as_slice()));
    let server = TestServer::start(|_| not_found("BLOB_UNKNOWN", ""));
    let mut descriptor = image.layer_descriptor.clone();
    descriptor.urls = vec!["file:///etc/passwd".to_owned(), elsewhere.url("/layer")];
    let reference = reference(&server, "app");
    let fetched = client()
        .fetch_blob(&reference, &descriptor, || Ok(Vec::new()), Watch::none())
        .unwrap();
    assert_eq!(fetched, image.layer);
}

#[test]
fn canceling_ends_a_transfer() {
    let image = TestImage::new();
    let server = image.serve(|_| None);
    let seen = Mutex::new(Vec::new());
    let event = |event: &Event<'_>| {
        if let Event::Transfer { done, total, .. } = event {
            seen.lock().unwrap().push((*done, *total));
        }
    };
    let watch = Watch {
        event: &event,
        canceled: &|| seen.lock().unwrap().len() > 2,
    };
    let reference = reference(&server, "app");
    let error = client()
        .fetch_blob(
            &reference,
            &image.layer_descriptor,
            || Ok(Vec::new()),
            watch,
        )
        .unwrap_err();
    assert!(matches!(error, RegistryError::Canceled), "{error}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], (0, 1_200_000));
    assert!(seen[1].0 > 0);
}

#[test]
fn a_full_disk_is_not_the_registrys_fault() {
    let image = TestImage::new();
    let server = image.serve(|_| None);
    let open = || Err::<Vec<u8>, _>(std::io::ErrorKind::StorageFull.into());
    let reference = reference(&server, "app");
    let error = client()
        .fetch_blob(&reference, &image.layer_descriptor, open, Watch::none())
        .unwrap_err();
    let RegistryError::Local {
        verb: "write",
        source,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_registry_that_is_down_is_reported_at_once() {
    let server = TestServer::start(|_| Reply::new(200, ""));
    let reference = reference(&server, "app");
    drop(server);
    let started = std::time::Instant::now();
    let error = client()
        .resolve(&reference, &amd64(), Watch::none())
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(
        error.to_string().to_lowercase().contains("refused"),
        "{error}"
    );
    let hint = format!(
        "check that {} is up and can be reached from here",
        reference.domain()
    );
    assert_eq!(error.hint().unwrap(), hint);
}

#[test]
fn a_bad_beginning_from_one_server_does_not_spoil_the_next() {
    let image = TestImage::new();
    let path = image.layer_path();
    let mut flipped = image.layer.clone();
    flipped[0] ^= 1;
    let liar = image.serve(move |request| {
        (request.path == path).then(|| Reply::ranged(request, &flipped).cut(1000))
    });
    let origin = image.serve(|_| None);
    let mut config = quick();
    config
        .mirrors
        .insert(origin.authority(), vec![liar.url("")]);
    config.http.retry.attempts = 2;
    let client = Client::new(config, Credentials::none());
    let reference = reference(&origin, "app");
    let fetched = client
        .fetch_blob(
            &reference,
            &image.layer_descriptor,
            || Ok(Vec::new()),
            Watch::none(),
        )
        .unwrap();
    assert_eq!(fetched, image.layer);
    let starts = layer_requests(&image, &origin);
    assert_eq!((starts.len(), starts[1]), (2, None));
}

#[test]
fn tags_are_listed_page_by_page() {
    let page = |tags: &str, next: bool| {
        let reply = Reply::new(200, format!(r#"{{"name":"app","tags":{tags}}}"#));
        if next {
            return reply.header("Link", "</v2/app/tags/list?n=2&last=b>; rel=\"next\"");
        }
        reply
    };
    let server = TestServer::start(move |request| match request.path.as_str() {
        "/v2/app/tags/list?n=1000" => page(r#"["a","b"]"#, true),
        "/v2/app/tags/list?n=1000&last=b" => page(r#"["c"]"#, false),
        "/v2/empty/tags/list?n=1000" => page("null", false),
        "/v2/again/tags/list?n=1000" | "/v2/again/tags/list?n=1000&last=a" => {
            page(r#"["a"]"#, true)
        }
        _ => not_found("NAME_UNKNOWN", "no such repository"),
    });
    let tags = |name| client().tags(&reference(&server, name), Watch::none());
    assert_eq!(tags("app").unwrap(), ["a", "b", "c"]);
    assert_eq!(tags("empty").unwrap(), Vec::<String>::new());
    assert_eq!(tags("again").unwrap(), ["a", "a"], "it does not end");
    let refused = tags("missing").unwrap_err();
    assert!(
        refused.to_string().contains("list the tags of"),
        "{refused}"
    );
}
