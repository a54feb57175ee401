//! What a build brings in.

use cooper_frontend::image::ResolvedImages;
use cooper_frontend::settings::BuildSettings;
use cooper_frontend::{Plan, git, parse};

use super::*;

#[test]
fn each_reason_why_a_layer_did_not_come_reads_well() {
    let samples = vec![
        unfetched(),
        FetchError::Layout {
            path: "/layout/blobs/sha256/aa".into(),
            source: ErrorKind::NotFound.into(),
        },
        FetchError::Service(Box::new(down())),
        FetchError::Store(StoreError::DigestMismatch {
            expected: digest('a'),
            actual: digest('b'),
        }),
    ];
    table("layer", samples, |source| {
        in_run(OpError::BaseLayer {
            layer: layer(),
            source,
        })
    });
}

#[test]
fn each_reason_why_a_repository_did_not_come_reads_well() {
    let remote = || text("https://example.com/a.git");
    let samples = vec![
        GitError::Start {
            source: ErrorKind::NotFound.into(),
        },
        GitError::Failed {
            action: "fetch",
            words: text("fatal: repository not found"),
            refusal: Refusal::Missing,
        },
        GitError::Answer {
            action: "ls-remote",
            answer: text("?"),
        },
        GitError::NoReference {
            remote: remote(),
            reference: text("mian"),
        },
        GitError::Empty { remote: remote() },
        GitError::Checksum {
            expected: "1".repeat(40),
            found: "2".repeat(40),
        },
        GitError::ShortCommit {
            commit: text("abc"),
        },
        GitError::NoDirectory {
            subdir: text("docs"),
        },
        GitError::Submodule {
            path: text("vendor"),
            source: Box::new(GitError::Unmapped),
        },
        GitError::Unmapped,
        GitError::Address {
            url: text("ext::sh"),
        },
        GitError::TooDeep { limit: 10 },
        GitError::Io {
            action: "create",
            path: "/var/lib/cooper/git".into(),
            source: denied(),
        },
        GitError::Store(full()),
        GitError::Canceled,
    ];
    table("git", samples, in_add_git);
}

#[test]
fn each_reason_why_a_download_failed_reads_well() {
    let url = || text("https://example.com/a.tar.gz");
    let samples = vec![
        HttpError::Ca {
            path: "/etc/ca.pem".into(),
            source: denied(),
        },
        HttpError::ClientCert {
            missing: "/etc/certs.d/example.com/client.key".into(),
        },
        HttpError::Proxy {
            proxy: text("proxy:x"),
            reason: text("invalid port"),
        },
        HttpError::Url {
            url: url(),
            reason: text("invalid port"),
        },
        HttpError::Transport {
            url: url(),
            reason: text("connection refused"),
            transient: true,
        },
        HttpError::Status {
            url: url(),
            status: ureq::http::StatusCode::NOT_FOUND,
        },
        HttpError::Interrupted {
            url: url(),
            received: 100,
            expected: Some(200),
            source: ErrorKind::UnexpectedEof.into(),
        },
        HttpError::Checksum {
            url: url(),
            expected: digest('a'),
            actual: digest('b'),
        },
        HttpError::Sink {
            url: url(),
            source: ErrorKind::StorageFull.into(),
        },
    ];
    table("download", samples, |source| {
        in_add(OpError::Download {
            url: url(),
            source: Box::new(source),
        })
    });
}

#[test]
fn each_reason_why_an_address_is_no_repository_reads_well() {
    let addresses = [
        "https://example.com/a.git?brunch=x",
        "https://example.com/a.git?tag=",
        "https://example.com/a.git?tag=v1&tag=v2",
        "https://example.com/a.git?submodules=maybe",
        "https://example.com/a.git?ref=v1#v2",
        "https://example.com/a.git?fetch-by-commit=true",
        "https://example.com/a.git?ref=--upload-pack=x",
    ];
    let wrong = |address| git::of_add(address).expect("git").expect_err(address);
    let mut left = addresses.iter();
    table("git-address", addresses.map(wrong).into(), |_| {
        let address = left.next().expect("an address an error");
        let text = format!("FROM scratch\nADD --chown=1 {address} \\\n  /app/\n");
        let file = SourceFile::new("Dockerfile", text);
        let settings = BuildSettings::new(Platform::new("linux", "amd64"));
        let plan = Plan::new(&parse(&file).expect("it parses"), &settings);
        let diagnostics = plan.and_then(|plan| plan.lower(&ResolvedImages::new()));
        BuildError::Dockerfile {
            diagnostics: diagnostics.map(|_| ()).expect_err("an address is wrong"),
            file,
        }
    });
}

#[test]
fn each_reason_why_a_registry_does_not_serve_reads_well() {
    let reference = || Box::new("reg.example/app:1".parse::<Reference>().expect("a name"));
    let platform = |architecture| Platform::new("linux", architecture);
    let samples = vec![
        refused(),
        RegistryError::NoPlatform {
            reference: reference(),
            wanted: Box::new(platform("amd64")),
            available: vec![platform("arm64"), platform("s390x")],
        },
        RegistryError::NotAnImage {
            reference: reference(),
            media_type: text("application/vnd.cncf.helm.config.v1+json"),
        },
        RegistryError::NothingToPush {
            reference: reference(),
        },
        RegistryError::Nesting {
            reference: reference(),
            limit: 8,
        },
        RegistryError::Oversized {
            subject: text("the manifest of reg.example/app:1"),
            size: 5_000_000,
            limit: 4_194_304,
        },
        RegistryError::Config(ConfigError::Blocked {
            name: text("reg.example/app"),
        }),
        RegistryError::Local {
            verb: "write",
            digest: digest('a'),
            source: ErrorKind::StorageFull.into(),
        },
        RegistryError::Canceled,
    ];
    table("registry", samples, |source| BuildError::Image {
        file: file(),
        span: span_of("debian"),
        suggestion: None,
        source: Box::new(ResolveImageError::Registry {
            name: text("debian"),
            source: Box::new(source),
        }),
    });
}

#[test]
fn each_reason_why_a_base_image_is_not_there_reads_well() {
    let name = || text("debian");
    let path = || PathBuf::from("/layout/index.json");
    let samples = vec![
        ResolveImageError::Registry {
            name: name(),
            source: Box::new(refused()),
        },
        ResolveImageError::Search {
            name: name(),
            tried: text("docker.io/library/debian, quay.io/debian"),
            source: None,
        },
        ResolveImageError::NotPulled { name: name() },
        ResolveImageError::Platform {
            name: name(),
            found: text("linux/arm64, linux/s390x"),
            wanted: text("linux/amd64"),
        },
        ResolveImageError::LayerCount {
            name: name(),
            layers: 2,
            diff_ids: 3,
        },
        ResolveImageError::Layout {
            name: name(),
            path: path(),
            source: ErrorKind::NotFound.into(),
        },
        ResolveImageError::Document {
            name: name(),
            path: path(),
            source: unread(),
        },
        ResolveImageError::Corrupt {
            name: name(),
            path: path(),
        },
        ResolveImageError::NotInLayout {
            name: name(),
            dir: "/layout".into(),
            wanted: text("1"),
            available: text("2, 3"),
        },
        ResolveImageError::NotAnImage { name: name() },
        ResolveImageError::Store(full()),
    ];
    table("image", samples, |source| BuildError::Image {
        file: file(),
        span: span_of("debian"),
        suggestion: None,
        source: Box::new(source),
    });
}
