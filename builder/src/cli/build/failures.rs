//! What users read of each kind of failure beyond the Dockerfile's own: a snapshot a kind of error,
//! with all its variants.
//!
//! The list of variants is the compiler's: [`kinds!`] matches on them without an arm for the rest,
//! and the samples must have each of them, in order.

mod around;
mod sources;
mod steps;
mod store;

use std::fmt::Write as _;
use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use cooper_cache::{ArchiveError, LayerId, MountError, RelPath, ResolveError, StoreError};
use cooper_frontend::dockerignore::{DockerIgnore, DockerIgnoreError};
use cooper_frontend::git::GitAddressError;
use cooper_frontend::lower::Step;
use cooper_frontend::{Code, Diagnostic, SourceFile, Span, Spanned};
use cooper_oci::{Digest, ImageConfig, Platform, Reference};
use cooper_runner::{CgroupError, Exit, RunError, StartError};

use super::run::failed;
use crate::build::{
    BuildError, CdiError, ContextError, DestinationError, FetchError, FileError, InvalidMode, Leak,
    OpError, ResolveImageError, SecretError,
};
use crate::emulation::{Missing, Reason};
use crate::export::ExportError;
use crate::git::{GitError, Refusal};
use crate::http::HttpError;
use crate::progress::Summary;
use crate::pull::PullError;
use crate::push::PushError;
use crate::registry::{Attempt, ConfigError, Failure, RegistryError};
use crate::shared_cache::{ServiceError, SharedCacheError};
use crate::ssh::SshError;

/// An error whose variants are known by name.
trait Kind {
    const ALL: &'static [&'static str];

    fn kind(&self) -> &'static str;
}

macro_rules! kinds {
    ($type:ident: $($variant:ident)*) => {
        impl Kind for $type {
            const ALL: &'static [&'static str] = &[$(stringify!($variant)),*];

            fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant),)*
                }
            }
        }
    };
}

kinds!(BuildError: Dockerfile Checks Definition Destination Context Secret Ssh Fetch Image Step
    Solver Internal Target Leaks NotReproducible Interrupted Store Export Push CacheExport);
kinds!(OpError: Process Start Foreign Runner File Store Fetch BaseLayer MissingSecret MissingSsh
    Device Relay Git Unasked UnknownContext Io Download Canceled NotARoot Unrelated);
kinds!(FileError: NotFound Copy Source Pattern LinkLoop NotADirectory InTheWay IsADirectory NamedOwner
    OwnerRange Mode Exclude Store);
kinds!(RunError: NotFound NoInterpreter NotExecutable Cgroup NoCommand NulByte UnknownUser
    UnknownGroup UnmappedId UnmappedMount WorkingDirectory Rootfs MountSource Mount SetUp Worker);
kinds!(Reason: Unknown NotInstalled NotRegistered Disabled OutOfReach Unreadable);
kinds!(CdiError: Unknown Hook Read Malformed);
kinds!(FetchError: Registry Layout Service Store);
kinds!(GitError: Start Failed Answer NoReference Empty Checksum ShortCommit NoDirectory Submodule
    Unmapped Address TooDeep Io Store Canceled);
kinds!(HttpError: Ca ClientCert Proxy Url Transport Status Interrupted Checksum Sink);
kinds!(StoreError: Io ReadOnly NoSpace Format MissingBlob DigestMismatch SizeMismatch
    DiffIdMismatch TreeMismatch Mount MissingLayer Corrupt Changed Canceled Invalid UnmappedOwner
    Archive Resolve Meta Full Busy);
kinds!(ArchiveError: Malformed Escapes BadName DanglingLink Device UnknownType TooLarge TooMany
    InTheWay);
kinds!(ResolveImageError: Registry Search NotPulled Platform LayerCount Layout Document Corrupt
    NotInLayout NotAnImage Store);
kinds!(ContextError: NotADirectory Read Ignore);
kinds!(DestinationError: IsADirectory NotADirectory NoParent NotWritable);
kinds!(SecretError: File);
kinds!(SshError: Key Program Refused Silent);
kinds!(ExportError: Write Stdout Missing ManifestList Store);
kinds!(PushError: NoName Registry Store);
kinds!(RegistryError: Failed NoPlatform NotAnImage NothingToPush Nesting Oversized Config Local
    Canceled);
kinds!(ServiceError: Status Transport Broken TooLong Answer Missing Absent Late Sink Http Canceled);
kinds!(GitAddressError: UnknownKey NoValue Repeated InvalidValue Conflict NoCommit Invalid);
kinds!(DockerIgnoreError: LoneNegation BadPattern);
kinds!(SharedCacheError: Registry Service Io NotThere Corrupt Document Malformed NoCache Fetch
    Store);

const DOCKERFILE: &str = "\
FROM debian AS build
RUN --mount=type=secret,id=token,required \\
    --mount=type=ssh,id=deploy,required make install
COPY --chown=app --exclude=a[ src/main.rs /app/
ADD https://example.com/a.tar.gz /app/
ADD https://example.com/a.git#v1:docs /app/
";

fn file() -> SourceFile {
    SourceFile::new("Dockerfile", DOCKERFILE)
}

fn span_of(text: &str) -> Span {
    let start = DOCKERFILE.find(text).expect("it is in the Dockerfile");
    Span::new(start, start + text.len())
}

/// A step with the words of its instruction that failures can be about.
fn at(instruction: &str, words: &[&str], source: OpError) -> BuildError {
    let span = span_of(instruction);
    let line = DOCKERFILE[..span.start]
        .rfind('\n')
        .map_or(0, |end| end + 1);
    // Of several places the one in the instruction's last line, or else the first.
    let of = |word: &str| match DOCKERFILE[line..].find(word) {
        Some(at) => Span::new(line + at, line + at + word.len()),
        None => span_of(word),
    };
    let words = words.iter();
    let step = Step {
        stage: "build".to_owned(),
        index: 2,
        total: 4,
        command: instruction.to_owned(),
        display: format!("[build 2/4] {instruction}"),
        span,
        words: words
            .map(|word| Spanned::new((*word).to_owned(), of(word)))
            .collect(),
        image: Arc::new(ImageConfig::new(&Platform::new("linux", "amd64"))),
    };
    BuildError::Step {
        name: step.display.clone(),
        step: Some(Box::new(step)),
        file: file(),
        source: Box::new(source),
    }
}

fn in_run(source: OpError) -> BuildError {
    at("make install", &["token", "deploy"], source)
}

fn in_copy(source: FileError) -> BuildError {
    let words = ["src/main.rs", "app", "a[", "/app/"];
    at(
        "COPY --chown=app --exclude=a[ src/main.rs /app/",
        &words,
        OpError::File(source),
    )
}

fn in_add(source: OpError) -> BuildError {
    let words = ["https://example.com/a.tar.gz"];
    at("ADD https://example.com/a.tar.gz /app/", &words, source)
}

fn in_add_git(source: GitError) -> BuildError {
    let remote = text("https://example.com/a.git");
    let source = OpError::Git {
        remote,
        source: Box::new(source),
    };
    let words = ["https://example.com/a.git#v1:docs"];
    at(
        "ADD https://example.com/a.git#v1:docs /app/",
        &words,
        source,
    )
}

fn started(source: RunError) -> BuildError {
    let command = "/bin/sh -c make install".to_owned();
    in_run(OpError::Start { command, source })
}

fn denied() -> Error {
    ErrorKind::PermissionDenied.into()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn digest(digit: char) -> Digest {
    let hex = digit.to_string().repeat(64);
    format!("sha256:{hex}").parse().expect("a digest")
}

fn full() -> StoreError {
    StoreError::Full {
        used: 3_000_000_000,
        limit: 2_000_000_000,
    }
}

fn refused() -> RegistryError {
    RegistryError::Failed {
        action: "resolve",
        subject: text("reg.example/app:1"),
        attempts: vec![Attempt {
            host: text("reg.example"),
            mirror: false,
            failure: Failure::Status {
                method: text("GET"),
                url: text("https://reg.example/v2/app/manifests/1"),
                status: ureq::http::StatusCode::NOT_FOUND,
                errors: Vec::new(),
                retry_after: None,
                authenticated: false,
            },
        }],
    }
}

fn unfetched() -> FetchError {
    FetchError::Registry {
        image: text("reg.example/app:1"),
        source: Box::new(PullError::Registry(refused())),
    }
}

fn down() -> ServiceError {
    ServiceError::Transport {
        request: text("GET https://cache.example/x"),
        reason: text("connection refused"),
        transient: true,
    }
}

fn unread() -> cooper_oci::DocumentError {
    cooper_oci::Manifest::from_json(b"{}").expect_err("no manifest")
}

/// Renders one of each variant; each must have advice, unless the user has ended the build.
fn table<E: Kind>(name: &'static str, samples: Vec<E>, mut wrap: impl FnMut(E) -> BuildError) {
    let kinds: Vec<_> = samples.iter().map(Kind::kind).collect();
    assert_eq!(kinds, E::ALL, "{name}: one sample of each variant");
    let mut out = String::new();
    for (sample, kind) in samples.into_iter().zip(kinds) {
        let said = failed(&wrap(sample), Summary::default()).render(false);
        let advised = said.contains("  hint: ") || said.contains(" = help: ");
        let ended = matches!(kind, "Canceled" | "Interrupted");
        assert!(advised || ended, "{name}::{kind} has no advice:\n{said}");
        let said = said.trim_end();
        let _ = write!(out, "## {kind}\n{said}\n\n");
    }
    insta::assert_snapshot!(name, out);
}

fn layer() -> LayerId {
    LayerId::Pulled(cooper_oci::DiffId(digest('a')))
}

#[test]
fn each_kind_of_failed_build_reads_well() {
    let diagnostic = Diagnostic::error(Code::UnknownFlag, span_of("--chown"), "unknown flag");
    let samples = vec![
        BuildError::Dockerfile {
            file: file(),
            diagnostics: vec![diagnostic],
        },
        BuildError::Checks {
            rules: vec!["FromAsCasing", "UndefinedVar"],
        },
        BuildError::Definition {
            message: text("there is no Dockerfile in src"),
            hint: text("name it with -f PATH"),
            source: None,
        },
        BuildError::Destination(DestinationError::IsADirectory {
            path: "/out".into(),
        }),
        BuildError::Context(ContextError::Read {
            path: "/src".into(),
            source: denied(),
        }),
        BuildError::Secret(SecretError::File {
            id: text("token"),
            path: "token.txt".into(),
            source: ErrorKind::NotFound.into(),
        }),
        BuildError::Ssh(SshError::Silent {
            id: text("default"),
        }),
        BuildError::Fetch {
            what: text("the build context"),
            source: Box::new(OpError::Git {
                remote: text("https://example.com/a.git"),
                source: Box::new(GitError::Empty {
                    remote: text("https://example.com/a.git"),
                }),
            }),
        },
        BuildError::Image {
            file: file(),
            span: span_of("debian"),
            suggestion: Some(text("build")),
            source: Box::new(ResolveImageError::NotPulled {
                name: text("debian"),
            }),
        },
        in_run(OpError::MissingSecret { id: text("token") }),
        BuildError::Solver {
            message: text("vertex 3 has no such output"),
        },
        BuildError::Internal {
            source: OpError::Io {
                action: "lock the journal",
                source: denied(),
            },
        },
        BuildError::Target {
            label: text("web linux/arm64"),
            source: Box::new(BuildError::Push(PushError::NoName)),
        },
        BuildError::Leaks {
            file: file(),
            leaks: vec![Leak {
                message: text("the value of secret token is in /etc/app.conf"),
                span: Some(span_of("make install")),
                removed: true,
            }],
        },
        BuildError::NotReproducible {
            file: file(),
            paths: 1,
            steps: vec![crate::build::Unsteady {
                span: Some(span_of("make install")),
                paths: vec![cooper_cache::Difference {
                    path: RelPath::from("etc/built"),
                    reasons: vec![cooper_cache::Reason::OnlyFirst],
                }],
            }],
        },
        BuildError::Interrupted,
        BuildError::Store(full()),
        BuildError::Export(ExportError::ManifestList),
        BuildError::Push(PushError::NoName),
        BuildError::CacheExport {
            place: text("reg.example/cache"),
            source: Box::new(SharedCacheError::Registry(refused())),
        },
    ];
    table("build", samples, |error| error);
}
