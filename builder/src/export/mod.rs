//! Where a finished build goes: archives, layouts, directories, streams.
//!
//! Each exporter takes what is in the store and writes it once. Files appear under
//! their final name only when they are complete, and archives only when they are cleared: what
//! may hold a secret is searched while it is written, and dropped on a find.

mod archive;
mod files;
mod sink;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cooper_cache::{Layers, StoreError};
use cooper_oci::{Digest, Reference};
use thiserror::Error;

pub use archive::{Layout, export_archive};
pub use files::{export_directory, export_tar};
pub use sink::to_new_file;

use crate::options::Sink;

/// Why an output could not be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A file or directory could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write to standard output")]
    Stdout {
        /// The system's answer.
        source: io::Error,
    },
    /// What is to be exported is not all in the store.
    #[error("the store lacks {digest}, which the image needs")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// Docker's archives hold one platform.
    #[error("docker exporter does not currently support exporting manifest lists")]
    ManifestList,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names given to an exported image.
pub type Names<'a> = &'a [Reference];

/// Streams `write` into a sink; a file replaces its predecessor only when complete.
fn to_sink<T, E: From<ExportError>>(
    sink: &Sink,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    match sink {
        Sink::Stdout => {
            let told = |source| ExportError::Stdout { source };
            Ok(buffered(io::stdout().lock(), write, told)?.0)
        }
        Sink::File(path) if is_special(path) => {
            let file = File::options()
                .write(true)
                .open(path)
                .map_err(|e| failed(path, e))?;
            Ok(buffered(file, write, |e| failed(path, e))?.0)
        }
        Sink::File(path) => to_new_file(path, write),
    }
}

/// Lets `write` write to `out`, all of it. A failure of `out` is told as what it is, whatever
/// `write` takes it for.
fn buffered<W: Write, T, E: From<ExportError>>(
    out: W,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    told: impl Fn(io::Error) -> ExportError,
) -> Result<(T, W), E> {
    let failure = None;
    let out = Watched { out, failure };
    let mut out = io::BufWriter::with_capacity(1 << 20, out);
    let written = write(&mut out);
    if let Some(failure) = out.get_mut().failure.take() {
        return Err(told(failure).into());
    }
    let value = written?;
    let out = out.into_inner().map_err(|e| told(e.into_error()))?;
    Ok((value, out.out))
}

/// A writer whose failure is remembered.
struct Watched<W> {
    out: W,
    failure: Option<io::Error>,
}

impl<W> Watched<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                let same = error.raw_os_error().map(io::Error::from_raw_os_error);
                self.failure = Some(same.unwrap_or_else(|| error.kind().into()));
            }
        })
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}

/// Whether what is written to a sink can be dropped again, because nobody sees it before its end.
fn is_held_back(sink: &Sink) -> bool {
    matches!(sink, Sink::File(path) if !is_special(path))
}

/// Whether a path names something that is written to in place: a pipe, a device.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

fn failed(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write {
        path: path.to_owned(),
        source,
    }
}

fn open_blob(layers: &Layers, digest: &Digest) -> Result<File, ExportError> {
    layers.blobs().open(digest).map_err(|error| match error {
        StoreError::MissingBlob { digest } => ExportError::Missing { digest },
        other => other.into(),
    })
}
