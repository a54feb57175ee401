//! The build's definition: the Dockerfile's text and the contexts with their ignore files.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_cache::Store;
use cooper_frontend::SourceFile;

use super::context::{ContextError, LocalContext};
use super::error::{BuildError, MAIN_CONTEXT};
use crate::options::{BuildOptions, DockerfileSource, NamedContext};

/// Names that are looked for in the context when `-f` is not given.
const LOOKUP: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// A Dockerfile that has been read.
pub(crate) struct Definition {
    /// Its text.
    pub(crate) source: SourceFile,
    /// Where it is, unless it came by standard input.
    pub(crate) path: Option<PathBuf>,
}

/// Larger than any Dockerfile, in bytes.
const MAX_SIZE: u64 = 64 << 20;

/// Returns the name by which the Dockerfile is shown before it has been found.
pub(crate) fn name(options: &BuildOptions) -> String {
    let named = match &options.dockerfile {
        DockerfileSource::Path(path) => path.file_name(),
        DockerfileSource::Lookup | DockerfileSource::Stdin => None,
    };
    named.map_or_else(
        || LOOKUP[0].to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Returns what tells this definition from others on this machine: the context and the Dockerfile.
pub(crate) fn identity(options: &BuildOptions) -> String {
    let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let context = options.context.as_ref().map(whole).unwrap_or_default();
    let file = match &options.dockerfile {
        DockerfileSource::Path(path) => whole(path),
        DockerfileSource::Lookup => context.join(LOOKUP[0]),
        DockerfileSource::Stdin => return format!("{} (Dockerfile from stdin)", context.display()),
    };
    if file.starts_with(&context) {
        return file.display().to_string();
    }
    format!("{} in {}", file.display(), context.display())
}

/// Reads the Dockerfile that `options` name.
pub(crate) fn read(options: &BuildOptions) -> Result<Definition, BuildError> {
    match &options.dockerfile {
        DockerfileSource::Stdin => {
            let bytes =
                read_bounded(io::stdin().lock()).map_err(|source| BuildError::Definition {
                    message: "cannot read the Dockerfile from standard input".to_owned(),
                    hint: None,
                    source: Some(source),
                })?;
            if is_archive(&bytes) {
                return Err(BuildError::Definition {
                    message: "stdin holds an archive, not a Dockerfile".to_owned(),
                    hint: Some(
                        "unpack it into a directory and build that: tar -xC DIR && cooper build DIR"
                            .to_owned(),
                    ),
                    source: None,
                });
            }
            Ok(Definition {
                source: SourceFile::from_bytes("Dockerfile", &bytes),
                path: None,
            })
        }
        DockerfileSource::Path(path) => {
            read_file(path).map_err(|error| in_context(error, path, options))
        }
        DockerfileSource::Lookup => read_file(&look_up(options)?),
    }
}

/// Returns whether `bytes` start like a tar, plain or compressed, which docker would take as a
/// context.
fn is_archive(bytes: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    compressed.iter().any(|magic| bytes.starts_with(magic)) || bytes.get(257..262) == Some(b"ustar")
}

fn look_up(options: &BuildOptions) -> Result<PathBuf, BuildError> {
    let dir = options.context.as_deref().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        let reason = if dir.exists() {
            "is not a directory"
        } else {
            "does not exist"
        };
        return Err(BuildError::Definition {
            message: format!("the build context {} {reason}", dir.display()),
            hint: Some("the last argument is the directory that COPY and ADD read from".to_owned()),
            source: None,
        });
    }
    let found = LOOKUP
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.symlink_metadata().is_ok());
    found.ok_or_else(|| BuildError::Definition {
        message: format!("there is no Dockerfile in {}", dir.display()),
        hint: Some("name it with -f PATH, or pass the directory that holds it".to_owned()),
        source: None,
    })
}

/// Reads a Dockerfile, but not a device that never ends.
fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        let reason = format!("it is larger than {} MB", MAX_SIZE >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

fn read_file(path: &Path) -> Result<Definition, BuildError> {
    let bytes = std::fs::File::open(path)
        .and_then(read_bounded)
        .map_err(|source| {
            let hint = match source.kind() {
                io::ErrorKind::IsADirectory => "it is a directory; pass the file itself with -f",
                io::ErrorKind::NotFound => {
                    "check the path given with -f; it is relative to the working directory"
                }
                io::ErrorKind::FileTooLarge => "a Dockerfile is text of a few kilobytes",
                _ => "check the file's permissions",
            };
            BuildError::Definition {
                message: format!("cannot read the Dockerfile {}", path.display()),
                hint: Some(hint.to_owned()),
                source: Some(source),
            }
        })?;
    let name = path
        .strip_prefix("./")
        .unwrap_or(path)
        .display()
        .to_string();
    Ok(Definition {
        source: SourceFile::from_bytes(name, &bytes),
        path: Some(path.to_owned()),
    })
}

/// Returns `error` with the hint that the file is there, but in the context.
fn in_context(mut error: BuildError, path: &Path, options: &BuildOptions) -> BuildError {
    if let (BuildError::Definition { hint, .. }, Some(dir)) = (&mut error, &options.context) {
        let inside = dir.join(path);
        if !path.exists() && inside.is_file() {
            *hint = Some(format!("did you mean -f {}?", inside.display()));
        }
    }
    error
}

/// Opens the build context and the named directories.
///
/// The Dockerfile's own ignore file (`X.dockerignore` beside `X`) replaces the context's.
pub(crate) fn contexts(
    options: &BuildOptions,
    dockerfile: Option<&Path>,
    store: &Store,
) -> Result<BTreeMap<String, Arc<LocalContext>>, ContextError> {
    let mut contexts = BTreeMap::new();
    if let Some(dir) = &options.context {
        let own = dockerfile.map(ignore_beside).filter(|path| path.is_file());
        let ignore = own.unwrap_or_else(|| dir.join(".dockerignore"));
        contexts.insert(MAIN_CONTEXT.to_owned(), open(dir, &ignore, store)?);
    }
    for (name, context) in &options.build_contexts {
        if let NamedContext::Dir(dir) = context {
            contexts.insert(name.clone(), open(dir, &dir.join(".dockerignore"), store)?);
        }
    }
    Ok(contexts)
}

fn open(dir: &Path, ignore: &Path, store: &Store) -> Result<Arc<LocalContext>, ContextError> {
    LocalContext::open(dir, ignore, store.context_index(dir)).map(Arc::new)
}

fn ignore_beside(dockerfile: &Path) -> PathBuf {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(".dockerignore");
    name.into()
}
