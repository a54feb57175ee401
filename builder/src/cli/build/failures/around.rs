//! What stands around a build: its contexts, secrets and outputs.

use std::time::Duration;

use super::*;

#[test]
fn what_is_wrong_around_a_build_reads_well() {
    let path = || PathBuf::from("/srv/x");
    let contexts = vec![
        ContextError::NotADirectory {
            path: path(),
            reason: "no such directory",
        },
        ContextError::Read {
            path: path(),
            source: denied(),
        },
        ignored("a\n  b[c\n"),
    ];
    table("context", contexts, BuildError::Context);
    let files = ["# !\n!\n", "\u{feff}*.o\r\n\r\n!\ta[b-]/*\r\n!x\r\n"];
    let wrong = |text| DockerIgnore::parse(text).expect_err("malformed");
    let mut left = files.iter();
    table("ignore", files.map(wrong).into(), |_| {
        BuildError::Context(ignored(left.next().expect("a file an error")))
    });
    let destinations = vec![
        DestinationError::IsADirectory { path: path() },
        DestinationError::NotADirectory { path: path() },
        DestinationError::NoParent {
            path: path(),
            missing: "/srv".into(),
        },
        DestinationError::NotWritable {
            path: path(),
            refusing: "/srv".into(),
        },
    ];
    table("destination", destinations, BuildError::Destination);
    let secrets = vec![SecretError::File {
        id: text("token"),
        path: path(),
        source: denied(),
    }];
    table("secret", secrets, BuildError::Secret);
    let id = || text("default");
    let keys = vec![
        SshError::Key {
            id: id(),
            path: path(),
            source: denied(),
        },
        SshError::Program {
            id: id(),
            program: "ssh-agent",
            source: ErrorKind::NotFound.into(),
        },
        SshError::Refused {
            id: id(),
            path: path(),
            reason: text("a passphrase is needed"),
        },
        SshError::Silent { id: id() },
    ];
    table("ssh", keys, BuildError::Ssh);
}

/// Returns what is said of an ignore file.
fn ignored(text: &str) -> ContextError {
    ContextError::Ignore {
        file: Box::new(SourceFile::new("/srv/.dockerignore", text)),
        source: DockerIgnore::parse(text).expect_err("malformed"),
    }
}

#[test]
fn each_reason_why_a_result_did_not_leave_reads_well() {
    let path = || PathBuf::from("/srv/out.tar");
    let exports = vec![
        ExportError::Write {
            path: path(),
            source: ErrorKind::StorageFull.into(),
        },
        ExportError::Stdout {
            source: ErrorKind::BrokenPipe.into(),
        },
        ExportError::Missing {
            digest: digest('a'),
        },
        ExportError::ManifestList,
        ExportError::Store(full()),
    ];
    table("export", exports, BuildError::Export);
    let pushes = vec![
        PushError::NoName,
        PushError::Registry {
            image: text("reg.example/app:1"),
            source: Box::new(refused()),
        },
        PushError::Store(full()),
    ];
    table("push", pushes, BuildError::Push);
    let place = || text("reg.example/cache:main");
    let caches = vec![
        SharedCacheError::Registry(refused()),
        SharedCacheError::Service(down()),
        SharedCacheError::Io {
            action: "create",
            path: path(),
            source: denied(),
        },
        SharedCacheError::NotThere {
            dir: path(),
            wanted: text("main"),
            available: text("next"),
        },
        SharedCacheError::Corrupt {
            place: place(),
            digest: digest('a'),
        },
        SharedCacheError::Document {
            place: place(),
            source: unread(),
        },
        SharedCacheError::Malformed {
            place: place(),
            reason: text("no layers"),
        },
        SharedCacheError::NoCache { place: place() },
        SharedCacheError::Fetch(Box::new(unfetched())),
        SharedCacheError::Store(full()),
    ];
    let exported = |source| BuildError::CacheExport {
        place: place(),
        source: Box::new(source),
    };
    table("cache", caches, exported);
    table("service", services(), |source| {
        exported(SharedCacheError::Service(source))
    });
}

fn services() -> Vec<ServiceError> {
    let request = || text("GET https://cache.example/x");
    vec![
        ServiceError::Status {
            request: request(),
            status: ureq::http::StatusCode::FORBIDDEN,
            code: text("AccessDenied"),
            hint: None,
            retry_after: None,
        },
        down(),
        ServiceError::Broken {
            request: request(),
            source: ErrorKind::UnexpectedEof.into(),
        },
        ServiceError::TooLong {
            request: request(),
            limit: 1000,
        },
        ServiceError::Answer {
            request: request(),
            reason: text("no location"),
        },
        ServiceError::Missing { name: text("main") },
        ServiceError::Absent {
            service: "GitHub's cache",
            missing: "ACTIONS_RUNTIME_TOKEN is not set",
        },
        ServiceError::Late {
            limit: Duration::from_mins(10),
        },
        ServiceError::Sink {
            request: request(),
            source: ErrorKind::StorageFull.into(),
        },
        ServiceError::Http(HttpError::Proxy {
            proxy: text("proxy:x"),
            reason: text("invalid port"),
        }),
        ServiceError::Canceled,
    ]
}
