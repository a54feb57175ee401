//! Why a build failed.

use std::io;
use std::path::PathBuf;

use cooper_cache::StoreError;
use cooper_frontend::lower::Step;
use cooper_frontend::{Diagnostic, SourceFile, Span};
use cooper_runner::{Exit, RunError, StartError};
use thiserror::Error;

use super::context::ContextError;
use super::ops::FileError;
use super::remote::FetchError;
use super::resolve::ResolveImageError;
use super::secrets::SecretError;
use crate::export::ExportError;
use crate::push::PushError;

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
    },
    /// A RUN's process could not be started.
    #[error("cannot run \"{command}\"")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: RunError,
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
    /// A secret that a step requires was not given.
    #[error(
        "secret {id} was not given; pass it with --secret id={id},src=FILE or --secret id={id},env=NAME"
    )]
    MissingSecret {
        /// Its id.
        id: String,
    },
    /// A required agent socket was not given.
    #[error("no ssh agent {id} was given to this build")]
    MissingSsh {
        /// Its id.
        id: String,
    },
    /// A context cannot be read.
    #[error("context {name}: cannot read {}", path.display())]
    Context {
        /// The context's name.
        name: String,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A context of that name was never given.
    #[error("there is no build context \"{name}\"")]
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
        source: Box<crate::http::HttpError>,
    },
    /// The graph holds an op that this version cannot execute.
    #[error("{what} is not supported by this version")]
    Unsupported {
        /// Which.
        what: &'static str,
    },
    /// A context was used where a root filesystem is needed.
    #[error("a local context cannot be used as a root filesystem")]
    NotARoot,
    /// The inputs of a diff do not build on each other.
    #[error("the upper root of a diff does not start with the lower one")]
    Unrelated,
}

fn exit_words(exit: Exit) -> String {
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
    /// The Dockerfile cannot be read.
    #[error("{message}")]
    Definition {
        /// What is wrong and where.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// The system's answer.
        source: Option<io::Error>,
    },
    /// A context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A base image was not found.
    #[error("cannot use a base image")]
    Image {
        /// The Dockerfile.
        file: SourceFile,
        /// Where the image is named.
        span: Span,
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
}
