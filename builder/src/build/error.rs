//! Why a build failed. What to do about it is in [`advice`](super::advice).

use std::io;

use cooper_cache::{LayerId, StoreError};
use cooper_frontend::lower::Step;
use cooper_frontend::{Diagnostic, SourceFile, Span};
use cooper_runner::{Exit, RunError, StartError};
use thiserror::Error;

use super::cdi::CdiError;
use super::context::ContextError;
use super::destination::DestinationError;
use super::leaks::Leak;
use super::ops::FileError;
use super::remote::FetchError;
use super::resolve::ResolveImageError;
use super::secrets::SecretError;
use super::verify::Unsteady;
use crate::emulation::Missing;
use crate::export::ExportError;
use crate::git::GitError;
use crate::http::HttpError;
use crate::push::PushError;
use crate::shared_cache::SharedCacheError;
use crate::ssh::SshError;

/// The name under which steps read the directory that the command line gives.
pub(super) const MAIN_CONTEXT: &str = "context";

/// Why one step failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpError {
    /// A RUN's process failed.
    #[error("process \"{command}\" did not complete successfully: {}", exit_words(*exit))]
    Process {
        /// The command line.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The limit of memory, in bytes, if the step has used that up.
        memory: Option<u64>,
        /// The image of what it left behind, by the name to run it by.
        scene: Option<String>,
    },
    /// A RUN's process could not be started.
    #[error("cannot run \"{command}\" (exit code {})", source.exit_code())]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: RunError,
    },
    /// A RUN's process is another platform's, and nothing executes that here.
    #[error("cannot run \"{command}\"")]
    Foreign {
        /// The command line.
        command: String,
        /// Why.
        source: Box<Missing>,
    },
    /// The worker process could not be started.
    #[error("cannot start the process runner")]
    Runner(#[from] StartError),
    /// Files could not be copied.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A base image's layer could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A layer of a base image cannot be used.
    #[error("cannot use layer {layer} of the base image")]
    BaseLayer {
        /// The layer.
        layer: LayerId,
        /// Why.
        source: FetchError,
    },
    /// A secret that a step requires was not given.
    #[error("secret {id} was not given")]
    MissingSecret {
        /// Its id.
        id: String,
    },
    /// An agent's socket is needed that was not given.
    #[error("ssh agent {id} was not given")]
    MissingSsh {
        /// Its id.
        id: String,
    },
    /// A device that a step asks for cannot be had.
    #[error(transparent)]
    Device(#[from] CdiError),
    /// An agent cannot be passed on to a step.
    #[error("cannot pass ssh agent {id} on")]
    Relay {
        /// Its id.
        id: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A repository cannot be used.
    #[error("cannot fetch {remote}")]
    Git {
        /// Its address.
        remote: String,
        /// Why.
        source: Box<GitError>,
    },
    /// A server says that a file has not changed that it never sent.
    #[error("{url} says that a file it never sent has not changed")]
    Unasked {
        /// The address.
        url: String,
    },
    /// A context of that name was never given.
    #[error("{}", no_context(name))]
    UnknownContext {
        /// Its name.
        name: String,
    },
    /// A system call on behalf of a step failed.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A download failed.
    #[error("cannot download {url}")]
    Download {
        /// The address.
        url: String,
        /// Why.
        source: Box<HttpError>,
    },
    /// The build was canceled while the step waited.
    #[error("canceled")]
    Canceled,
    /// A context was used where a root filesystem is needed.
    #[error("a local context cannot be used as a root filesystem")]
    NotARoot,
    /// The inputs of a diff do not build on each other.
    #[error("the upper root of a diff does not start with the lower one")]
    Unrelated,
}

impl OpError {
    /// Returns the word of the instruction that it is about, expanded; none if it is about all of it.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::File(error) => error.word(),
            Self::MissingSecret { id } | Self::MissingSsh { id } => Some(id),
            Self::Download { url, .. } => Some(url),
            Self::Git { remote, .. } => Some(remote),
            _ => None,
        }
    }
}

fn no_context(name: &str) -> String {
    if name == MAIN_CONTEXT {
        "the Dockerfile came alone, through stdin: there is no directory to read from".to_owned()
    } else {
        format!("there is no build context \"{name}\"")
    }
}

/// Says how a process ended.
pub fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code: {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
    }
}

/// Why a build failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Dockerfile is wrong.
    #[error("the Dockerfile cannot be built")]
    Dockerfile {
        /// The Dockerfile.
        file: SourceFile,
        /// All that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
    /// Build checks that must not fail did.
    #[error("lint violation found for rules: {}", rules.join(", "))]
    Checks {
        /// The rules.
        rules: Vec<&'static str>,
    },
    /// The Dockerfile cannot be read.
    #[error("{message}")]
    Definition {
        /// What is wrong and where.
        message: String,
        /// What to do about it.
        hint: String,
        /// The system's answer.
        source: Option<io::Error>,
    },
    /// An output cannot be written where it should be.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Keys cannot be used.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// A context or Dockerfile that is somewhere else cannot be brought in.
    #[error("cannot load {what}")]
    Fetch {
        /// What it is to the build.
        what: String,
        /// Why.
        source: Box<OpError>,
    },
    /// A base image was not found.
    #[error("cannot use a base image")]
    Image {
        /// The Dockerfile.
        file: SourceFile,
        /// Where the image is named.
        span: Span,
        /// A stage with a similar name.
        suggestion: Option<String>,
        /// Why.
        source: Box<ResolveImageError>,
    },
    /// A step failed.
    #[error("{name} failed")]
    Step {
        /// The instruction; none if the vertex stands for none.
        step: Option<Box<Step>>,
        /// What the vertex is called.
        name: String,
        /// The Dockerfile.
        file: SourceFile,
        /// Why.
        source: Box<OpError>,
    },
    /// The solver itself failed.
    #[error("the build graph cannot be solved: {message}")]
    Solver {
        /// What it says.
        message: String,
    },
    /// Something failed outside any step.
    #[error("cannot finish the build")]
    Internal {
        /// What.
        source: OpError,
    },
    /// One of several targets, or platforms of a target, cannot be built.
    #[error("{label} cannot be built")]
    Target {
        /// Its name, platform, or both.
        label: String,
        /// Why.
        source: Box<BuildError>,
    },
    /// An output would give away something secret; nothing was written.
    #[error("the result was not written: it holds secrets")]
    Leaks {
        /// The Dockerfile.
        file: SourceFile,
        /// All that was found.
        leaks: Vec<Leak>,
    },
    /// Two executions came to different results.
    #[error("the build is not reproducible: {paths} {} between two executions", if *paths == 1 { "path differs" } else { "paths differ" })]
    NotReproducible {
        /// The Dockerfile.
        file: SourceFile,
        /// How many paths differ.
        paths: usize,
        /// What does otherwise each time.
        steps: Vec<Unsteady>,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An output could not be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The image could not be pushed.
    #[error(transparent)]
    Push(#[from] PushError),
    /// A shared cache could not be written. The image is there.
    #[error("cannot write the cache to {place}")]
    CacheExport {
        /// Where it was to go.
        place: String,
        /// Why.
        source: Box<SharedCacheError>,
    },
}

impl BuildError {
    /// Returns this error as that of one of several targets; an empty label says that there is
    /// only one.
    pub(super) fn within(self, label: &str) -> Self {
        match self {
            Self::Interrupted | Self::Target { .. } => self,
            error if label.is_empty() => error,
            error => Self::Target {
                label: label.to_owned(),
                source: Box::new(error),
            },
        }
    }
}
