//! What steps read besides images: the build context and named ones.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_cache::{ContextFilter, ContextScan, ContextTree, RelPath, StoreError, Verdict};
use cooper_frontend::SourceFile;
use cooper_frontend::dockerignore::{self, DockerIgnore, DockerIgnoreError};
use cooper_frontend::ir::GitSource;
use thiserror::Error;

use super::output::Root;
use crate::options::ContextModes;

/// All contexts of a build by name; the main one is called `context`.
pub(crate) type Contexts = BTreeMap<String, ContextFiles>;

/// Where a context's files are.
#[derive(Clone)]
pub(crate) enum ContextFiles {
    /// In a directory of the user's.
    Dir(Arc<LocalContext>),
    /// In the store already.
    Root(Root),
    /// In a repository.
    Git(GitSource),
    /// At an http address.
    Http(String),
}

impl ContextFiles {
    /// Returns what tells this context from others.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::Dir(context) => context.identity(),
            Self::Root(root) => format!("layers\0{}", root.content()),
            Self::Git(git) => format!("git\0{git:?}"),
            Self::Http(url) => format!("http\0{url}"),
        }
    }

    /// Returns what its ignore file leaves out; only directories have one.
    pub(crate) fn ignore(&self) -> Option<&DockerIgnore> {
        match self {
            Self::Dir(context) => Some(context.ignore()),
            Self::Root(_) | Self::Git(_) | Self::Http(_) => None,
        }
    }
}

/// A directory of the user's with what its .dockerignore leaves out.
pub(crate) struct LocalContext {
    dir: PathBuf,
    ignore: DockerIgnore,
    ignore_text: String,
    ignore_file: PathBuf,
    stat_index: PathBuf,
    modes: ContextModes,
}

/// The line of an ignore file that leaves a path out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ignored {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) pattern: String,
}

/// A context that cannot be used.
#[derive(Debug, Error)]
pub enum ContextError {
    /// The directory does not exist or is none.
    #[error("build context {}: {reason}", path.display())]
    NotADirectory {
        /// The path as given.
        path: PathBuf,
        /// In what way it is no directory.
        reason: &'static str,
    },
    /// Something in it cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The .dockerignore is malformed.
    #[error("{} is malformed", file.name())]
    Ignore {
        /// The file.
        file: Box<SourceFile>,
        /// What is wrong with it.
        source: DockerIgnoreError,
    },
}

impl LocalContext {
    /// Opens a context directory; `ignore_file` is read if it exists.
    ///
    /// `stat_index` names the file that remembers the hashes of files by their inodes.
    pub(crate) fn open(
        dir: &Path,
        ignore_file: &Path,
        stat_index: PathBuf,
        modes: ContextModes,
    ) -> Result<Self, ContextError> {
        let not_a_dir = |reason| ContextError::NotADirectory {
            path: dir.to_owned(),
            reason,
        };
        match std::fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(not_a_dir("not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not_a_dir("no such directory"));
            }
            Err(source) => {
                return Err(ContextError::Read {
                    path: dir.to_owned(),
                    source,
                });
            }
        }
        let ignore_text = read_ignore(ignore_file)?;
        let malformed = |source| ContextError::Ignore {
            file: Box::new(SourceFile::new(
                ignore_file.display().to_string(),
                ignore_text.as_str(),
            )),
            source,
        };
        let ignore = DockerIgnore::parse(&ignore_text).map_err(malformed)?;
        Ok(Self {
            dir: dir.to_owned(),
            ignore,
            ignore_text,
            ignore_file: ignore_file.to_owned(),
            stat_index,
            modes,
        })
    }

    /// Returns what tells this context from others: directories that are the same and are
    /// read by the same rules are one.
    pub(crate) fn identity(&self) -> String {
        let dir = self.dir.canonicalize();
        let dir = dir.as_ref().unwrap_or(&self.dir);
        format!("{}\0{:?}\0{}", dir.display(), self.modes, self.ignore_text)
    }

    /// Returns what the ignore file leaves out.
    pub(crate) fn ignore(&self) -> &DockerIgnore {
        &self.ignore
    }

    /// Returns which line of the ignore file leaves out `path`, if it exists and one does.
    pub(crate) fn ignored(&self, path: &RelPath) -> Option<Ignored> {
        path.under(&self.dir).symlink_metadata().ok()?;
        let decision = self
            .ignore
            .reason(&String::from_utf8_lossy(path.as_bytes()))?;
        Some(Ignored {
            file: self.ignore_file.clone(),
            line: decision.line,
            pattern: decision.pattern.to_owned(),
        })
    }

    /// Scans what `paths` name (everything if there are none); nothing is hashed yet.
    pub(crate) fn scan(&self, paths: &[String]) -> Result<ContextTree, StoreError> {
        ContextScan::scan(
            &self.dir,
            &roots(paths),
            &Filter {
                ignore: &self.ignore,
                modes: self.modes,
            },
            &self.stat_index,
        )
    }
}

/// Returns the directories and files below which a path or pattern can match.
fn roots(paths: &[String]) -> Vec<RelPath> {
    let wild = |name: &&[u8]| name.iter().any(|byte| b"*?[\\".contains(byte));
    let literal = |path: &String| {
        let path = RelPath::clean(path);
        let names: Vec<&[u8]> = path.components().take_while(|name| !wild(name)).collect();
        RelPath::clean(names.join(&b'/'))
    };
    let roots: Vec<RelPath> = paths.iter().map(literal).collect();
    if roots.iter().any(RelPath::is_root) {
        Vec::new()
    } else {
        roots
    }
}

fn read_ignore(path: &Path) -> Result<String, ContextError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
            ) =>
        {
            Vec::new()
        }
        Err(source) => {
            return Err(ContextError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Filter<'a> {
    ignore: &'a DockerIgnore,
    modes: ContextModes,
}

impl ContextFilter for Filter<'_> {
    fn verdict(&self, path: &RelPath, is_dir: bool) -> Verdict {
        match self
            .ignore
            .verdict(&String::from_utf8_lossy(path.as_bytes()), is_dir)
        {
            dockerignore::Verdict::Include => Verdict::Include,
            dockerignore::Verdict::Exclude => Verdict::Exclude,
            dockerignore::Verdict::Descend => Verdict::ExcludeButDescend,
        }
    }

    fn mode(&self, is_dir: bool, mode: u32) -> u32 {
        match self.modes {
            ContextModes::Kept => mode,
            ContextModes::Normalized if is_dir || mode & 0o100 != 0 => 0o755,
            ContextModes::Normalized => 0o644,
        }
    }
}
