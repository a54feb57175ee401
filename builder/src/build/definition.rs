//! The build's definition: the Dockerfile's text and the contexts with their ignore files.
//!
//! ```text
//! context     a directory   a repository, an archive        a lone Dockerfile
//! -f          relative to   relative to the context;        no meaning
//!             the shell     absolute: on this machine
//! no -f       looked up in the context                      the file itself
//! ignored     .dockerignore nothing                         -
//! ```
//!
//! A context that is no directory is brought in before anything else, since the Dockerfile is
//! in it; from then on it is a layer in the store.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_cache::{FileBytes, MergedTree, RelPath, Store, StoreError};
use cooper_frontend::SourceFile;
use cooper_frontend::ir::{GitSource, GitTime};
use cooper_solver::CancelToken;

use super::Request;
use super::aside::unless_canceled;
use super::context::{ContextError, ContextFiles, Contexts, LocalContext};
use super::engine::Workshop;
use super::error::{BuildError, MAIN_CONTEXT, OpError};
use super::fetch::{CONTEXT_FILE, Fetcher, Watch, is_archive, spool};
use super::output::Root;
use super::target::words;
use crate::git::split_credentials;
use crate::options::{BuildOptions, ContextModes, ContextSource, DockerfileSource, NamedContext};
use crate::progress::Progress;

/// Names that are looked for in the context when `-f` is not given.
const LOOKUP: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// What a Dockerfile is called that has no name of its own.
const NAMELESS: &str = "Dockerfile";

/// A Dockerfile that has been read.
pub(crate) struct Definition {
    /// Its text.
    pub(crate) source: SourceFile,
    /// Where it is, if it is on this machine.
    pub(crate) path: Option<PathBuf>,
    main: Main,
}

/// The main context.
enum Main {
    /// A directory.
    Dir(PathBuf),
    /// Files that have been brought in.
    Files(Root),
    /// A Dockerfile that came with nothing else; what it came as, if steps can read that.
    Alone { text: Vec<u8>, files: Option<Root> },
}

impl Definition {
    /// Returns the context's own time, in seconds since 1970: that of its youngest file. The files
    /// of a commit are as old as the commit, and a download is as old as its server says.
    pub(crate) fn time(&self, store: &Store) -> Result<i64, BuildError> {
        let (Main::Files(root)
        | Main::Alone {
            files: Some(root), ..
        }) = &self.main
        else {
            return Err(BuildError::Definition {
                message: "SOURCE_DATE_EPOCH=context: this build context has no time of its own"
                    .to_owned(),
                hint: "a repository or an archive has one; for a directory give seconds, such as \
                       SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)"
                    .to_owned(),
                source: None,
            });
        };
        let tree = store.layers().tree(&root.ids())?;
        let top = RelPath::from("");
        let files = tree.walk(&top).filter(|node| !node.entry.is_dir());
        let times = files.map(|node| node.entry.mtime.secs);
        Ok(times.max().unwrap_or_default())
    }
}

/// What a definition is loaded with.
#[derive(Clone, Copy)]
struct Loader<'a> {
    options: &'a BuildOptions,
    store: &'a Store,
    fetcher: &'a Fetcher,
    progress: &'a Progress,
    cancel: &'a CancelToken,
    /// What tells the target's steps from those of others; empty if it is alone.
    label: &'a str,
}

/// What a Dockerfile within a bake definition is called.
const INLINE: &str = "dockerfile-inline";

/// Larger than any Dockerfile, in bytes.
const MAX_SIZE: u64 = 64 << 20;

/// Returns what tells this definition from others on this machine: the context and the Dockerfile.
pub(crate) fn identity(options: &BuildOptions) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let context = match &options.context {
        ContextSource::Dir(dir) => whole(dir),
        ContextSource::Git(git) => {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            let (remote, _) = split_credentials(&git.remote);
            format!("{remote}#{}:{}", part(&git.reference), part(&git.subdir)).into()
        }
        ContextSource::Http(url) => split_credentials(url).0.into(),
        ContextSource::Stdin => "standard input".into(),
    };
    let inside = options.context.dir().is_none();
    let file = match &options.dockerfile {
        DockerfileSource::Path(path) if inside => context.join(path),
        DockerfileSource::Path(path) => whole(path),
        DockerfileSource::Lookup => context.join(LOOKUP[0]),
        DockerfileSource::Url(url) => split_credentials(url).0.into(),
        DockerfileSource::Stdin => return format!("{} (Dockerfile from stdin)", context.display()),
        DockerfileSource::Inline(_) => return format!("{} ({INLINE})", context.display()),
    };
    if file.starts_with(&context) {
        return file.display().to_string();
    }
    format!("{} in {}", file.display(), context.display())
}

impl Loader<'_> {
    fn load(&self) -> Result<Definition, BuildError> {
        let main = self.main_context()?;
        let name = self.name();
        let step = self
            .progress
            .step(format!("{} load build definition from {name}", self.mark()));
        step.end_with(self.definition(main))
    }

    fn mark(&self) -> String {
        format!("[{}]", words(self.label, "internal"))
    }

    /// Returns the name by which the Dockerfile is shown before it has been found.
    fn name(&self) -> String {
        let named = match &self.options.dockerfile {
            DockerfileSource::Path(path) => path.file_name(),
            DockerfileSource::Inline(_) => return INLINE.to_owned(),
            DockerfileSource::Lookup | DockerfileSource::Url(_) | DockerfileSource::Stdin => None,
        };
        named.map_or_else(
            || NAMELESS.to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    fn main_context(&self) -> Result<Main, BuildError> {
        match &self.options.context {
            ContextSource::Dir(dir) => Ok(Main::Dir(dir.clone())),
            ContextSource::Git(git) => {
                let git = kept_as_asked(git, self.options);
                let (remote, _) = split_credentials(&git.remote);
                let name = format!("git source {remote}");
                let root = self.fetch(&name, |watch| self.fetcher.git(&git, watch))?;
                Ok(Main::Files(root))
            }
            ContextSource::Http(url) => self.http_context(url),
            ContextSource::Stdin => self.stdin_context(),
        }
    }

    /// Shows the fetching of the context as a step.
    fn fetch<T>(
        &self,
        name: &str,
        fetch: impl FnOnce(Watch<'_>) -> Result<T, OpError>,
    ) -> Result<T, BuildError> {
        let step = self.progress.step(format!("{} load {name}", self.mark()));
        let watch = Watch {
            cancel: self.cancel,
            log: &|data| step.log(data),
        };
        let fetched = fetch(watch);
        step.end_with(fetched)
            .map_err(|source| not_fetched("the build context", source))
    }

    fn http_context(&self, url: &str) -> Result<Main, BuildError> {
        let found = self.fetch("remote build context", |watch| {
            self.fetcher.http_context(url, watch)
        })?;
        if !found.is_file {
            return Ok(Main::Files(found.root));
        }
        let text = self.tree(&found.root)?.read(&RelPath::from(CONTEXT_FILE))?;
        Ok(Main::Alone {
            text,
            files: Some(found.root),
        })
    }

    /// Takes standard input for an archive if it is one, and for a Dockerfile otherwise.
    fn stdin_context(&self) -> Result<Main, BuildError> {
        let staging = self.store.layers().prepare()?;
        let spooled = self.fetch("build context from standard input", |watch| {
            let file = spool(&staging.work(), watch.cancel)?;
            let archive = FileBytes::of(file.clone());
            if !is_archive(&archive)? {
                return Ok((file, None));
            }
            let root = self.fetcher.unpacked(&archive, watch.cancel)?;
            Ok((file, Some(root)))
        })?;
        match spooled {
            (_, Some(root)) => Ok(Main::Files(root)),
            (file, None) => {
                let text = std::fs::File::open(file)
                    .and_then(read_bounded)
                    .map_err(|source| not_read("Dockerfile from standard input", source))?;
                Ok(Main::Alone { text, files: None })
            }
        }
    }

    fn definition(&self, main: Main) -> Result<Definition, BuildError> {
        let (source, path) = match (&self.options.dockerfile, &main) {
            // What a server sends is the Dockerfile, whatever -f names; docker has it so.
            (DockerfileSource::Lookup, Main::Alone { text, .. })
            | (
                DockerfileSource::Path(_),
                Main::Alone {
                    text,
                    files: Some(_),
                },
            ) => (nameless(text), None),
            (_, Main::Alone { files: None, .. }) => return Err(ambiguous()),
            (DockerfileSource::Inline(text), _) => (SourceFile::new(INLINE, text.as_str()), None),
            (DockerfileSource::Lookup, Main::Dir(dir)) => self.read_file(&look_up(dir)?)?,
            (DockerfileSource::Lookup, Main::Files(root)) => {
                let tree = self.tree(root)?;
                let found = LOOKUP
                    .iter()
                    .find(|name| tree.get(&RelPath::from(**name)).is_some());
                let name = found.ok_or_else(|| no_dockerfile("the build context"))?;
                (read_inside(&tree, name)?, None)
            }
            (DockerfileSource::Path(path), Main::Files(root)) if path.is_relative() => {
                let tree = self.tree(root)?;
                (read_inside(&tree, &path.to_string_lossy())?, None)
            }
            (DockerfileSource::Path(path), _) => self
                .read_file(path)
                .map_err(|error| in_context(error, path, self.options))?,
            (DockerfileSource::Url(url), _) => (self.read_url(url)?, None),
            (DockerfileSource::Stdin, _) => {
                let what = "Dockerfile from standard input";
                let text = self.read_aside(what, || read_bounded(io::stdin().lock()))?;
                (nameless(&text?), None)
            }
        };
        Ok(Definition { source, path, main })
    }

    fn tree(&self, root: &Root) -> Result<MergedTree, StoreError> {
        self.store.layers().tree(&root.ids())
    }

    /// Reads from what may keep its reader waiting: a pipe, a terminal.
    fn read_aside(
        &self,
        what: &str,
        read: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Result<Vec<u8>, BuildError>, BuildError> {
        let bytes = unless_canceled(self.cancel, read).map_err(|_| BuildError::Interrupted)?;
        Ok(bytes.map_err(|source| not_read(what, source)))
    }

    fn read_file(&self, path: &Path) -> Result<(SourceFile, Option<PathBuf>), BuildError> {
        let what = format!("Dockerfile {}", path.display());
        let file = path.to_owned();
        let read = move || std::fs::File::open(file).and_then(read_bounded);
        let bytes = if path.is_file() {
            read().map_err(|source| not_read(&what, source))?
        } else {
            self.read_aside(&what, read)??
        };
        let name = path
            .strip_prefix("./")
            .unwrap_or(path)
            .display()
            .to_string();
        Ok((SourceFile::from_bytes(name, &bytes), Some(path.to_owned())))
    }

    fn read_url(&self, url: &str) -> Result<SourceFile, BuildError> {
        let what = format!("the Dockerfile {url}");
        let watch = Watch {
            cancel: self.cancel,
            log: &|_| {},
        };
        let found = self
            .fetcher
            .http_context(url, watch)
            .map_err(|source| not_fetched(&what, source))?;
        if !found.is_file {
            return Err(BuildError::Definition {
                message: format!("{url} is an archive, not a Dockerfile"),
                hint: format!("to build what is in it: cooper build {url}"),
                source: None,
            });
        }
        let text = self.tree(&found.root)?.read(&RelPath::from(CONTEXT_FILE))?;
        Ok(nameless(&text))
    }
}

fn not_fetched(what: &str, source: OpError) -> BuildError {
    match source {
        OpError::Canceled => BuildError::Interrupted,
        source => BuildError::Fetch {
            what: what.to_owned(),
            source: Box::new(source),
        },
    }
}

fn nameless(text: &[u8]) -> SourceFile {
    SourceFile::from_bytes(NAMELESS, text)
}

/// BUILDKIT_CONTEXT_KEEP_GIT_DIR keeps the context's `.git` whatever its address says.
fn kept_as_asked(git: &GitSource, options: &BuildOptions) -> GitSource {
    const ARGUMENT: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
    let mut git = git.clone();
    if super::is_set(options, ARGUMENT) {
        git.keep_git_dir = Some(true);
    }
    // Where the commit's time is asked for, its files are to tell it.
    if options.epoch_of_context {
        git.mtime = GitTime::Commit;
    }
    git
}

fn ambiguous() -> BuildError {
    BuildError::Definition {
        message: "standard input and -f both name a Dockerfile".to_owned(),
        hint: "leave -f out, or pass the directory that COPY and ADD read: cooper build -f - DIR"
            .to_owned(),
        source: None,
    }
}

fn no_dockerfile(place: &str) -> BuildError {
    BuildError::Definition {
        message: format!("there is no Dockerfile in {place}"),
        hint: "name it with -f PATH, or pass the directory that holds it".to_owned(),
        source: None,
    }
}

/// Reads a Dockerfile that is a file of the context; links lead nowhere else.
fn read_inside(tree: &MergedTree, name: &str) -> Result<SourceFile, BuildError> {
    let wrong = |why: &str| BuildError::Definition {
        message: format!("cannot read the Dockerfile {name} in the build context: {why}"),
        hint: "-f is relative to the context where that is no directory".to_owned(),
        source: None,
    };
    let found = tree
        .resolve(&RelPath::clean(name), true)
        .map_err(|_| wrong("no such file"))?;
    let node = tree.get(&found.path).ok_or_else(|| wrong("no such file"))?;
    if !node.entry.is_file() {
        return Err(wrong("it is no file"));
    }
    let bytes = node
        .bytes()
        .open()
        .and_then(read_bounded)
        .map_err(|error| wrong(&error.to_string()))?;
    Ok(SourceFile::from_bytes(name, &bytes))
}

fn look_up(dir: &Path) -> Result<PathBuf, BuildError> {
    let found = LOOKUP
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.symlink_metadata().is_ok());
    found.ok_or_else(|| no_dockerfile(&dir.display().to_string()))
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

fn not_read(what: &str, source: io::Error) -> BuildError {
    let hint = match source.kind() {
        io::ErrorKind::IsADirectory => "it is a directory; pass the file itself with -f",
        io::ErrorKind::NotFound => {
            "check the path given with -f; it is relative to the working directory"
        }
        io::ErrorKind::FileTooLarge => "a Dockerfile is text of a few kilobytes",
        _ => "check the file's permissions",
    };
    BuildError::Definition {
        message: format!("cannot read the {what}"),
        hint: hint.to_owned(),
        source: Some(source),
    }
}

/// Returns `error` with the hint that the file is there, but in the context.
fn in_context(mut error: BuildError, path: &Path, options: &BuildOptions) -> BuildError {
    if let (BuildError::Definition { hint, .. }, Some(dir)) = (&mut error, options.context.dir()) {
        let inside = dir.join(path);
        if !path.exists() && inside.is_file() {
            *hint = format!("did you mean -f {}?", inside.display());
        }
    }
    error
}

impl Definition {
    /// Brings a target's context in if it is somewhere else, and reads the Dockerfile.
    pub(crate) fn load(
        shared: &Workshop,
        options: &BuildOptions,
        request: &Request<'_>,
        fetcher: &Fetcher,
        label: &str,
    ) -> Result<Self, BuildError> {
        let loader = Loader {
            options,
            store: shared.store(),
            fetcher,
            progress: request.progress,
            cancel: request.cancel,
            label,
        };
        loader.load()
    }

    /// Opens the build context and the named ones; what is not needed is not fetched.
    ///
    /// The Dockerfile's own ignore file (`X.dockerignore` beside `X`) replaces the context's.
    pub(crate) fn contexts(
        &self,
        options: &BuildOptions,
        store: &Store,
    ) -> Result<Contexts, ContextError> {
        let mut contexts = Contexts::new();
        let main = match &self.main {
            Main::Dir(dir) => {
                let own = self.path.as_deref().map(ignore_beside);
                let own = own.filter(|path| path.is_file());
                let ignore = options.ignore_file.clone().or(own);
                let ignore = ignore.unwrap_or_else(|| dir.join(".dockerignore"));
                let modes = options.context_modes;
                Some(ContextFiles::Dir(open(dir, &ignore, store, modes)?))
            }
            Main::Files(root)
            | Main::Alone {
                files: Some(root), ..
            } => Some(ContextFiles::Root(root.clone())),
            Main::Alone { files: None, .. } => None,
        };
        contexts.extend(main.map(|main| (MAIN_CONTEXT.to_owned(), main)));
        for (name, context) in &options.build_contexts {
            let files = match context {
                NamedContext::Dir(dir) => {
                    let ignore = dir.join(".dockerignore");
                    ContextFiles::Dir(open(dir, &ignore, store, options.context_modes)?)
                }
                NamedContext::Git(git) => ContextFiles::Git(git.clone()),
                NamedContext::Http(url) => ContextFiles::Http(url.clone()),
                NamedContext::OciLayout { .. }
                | NamedContext::Image(_)
                | NamedContext::Target(_) => continue,
            };
            contexts.insert(name.clone(), files);
        }
        Ok(contexts)
    }
}

fn open(
    dir: &Path,
    ignore: &Path,
    store: &Store,
    modes: ContextModes,
) -> Result<Arc<LocalContext>, ContextError> {
    LocalContext::open(dir, ignore, store.context_index(dir), modes).map(Arc::new)
}

fn ignore_beside(dockerfile: &Path) -> PathBuf {
    let mut name = dockerfile.as_os_str().to_owned();
    name.push(".dockerignore");
    name.into()
}
