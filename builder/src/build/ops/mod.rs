//! What the vertices of a build graph do: the bridge between the solver and the rooms.
//!
//! A [`BoundOp`] is a [`BuildOp`] with the [`Engine`] that can execute it. What
//! the solver makes keys of comes from here:
//!
//! - *definition*: the op's own hash. Sources have none (a local context, an image, a
//!   download without checksum): what reads them is keyed by what it reads.
//! - *input content*: for a root filesystem, its chain of layers; for a COPY or a bind
//!   mount, the content of exactly the paths that it names.

pub(crate) mod exec;
mod file;
mod source;

use std::sync::Arc;

use cooper_cache::{MergedTree, RelPath, StoreError};
use cooper_frontend::ir::{BuildOp, ExecOp, FileAction, FileOp, MountKind, SourceOp};
use cooper_solver::{CacheKey, ContentDigest, ExecContext, Op, StableHasher, Stream, VertexId};

use super::ahead::Forms;
use super::context::ContextFiles;
use super::engine::Engine;
use super::error::{MAIN_CONTEXT, OpError};
use super::fetch::CONTEXT_FILE;
use super::memory::Past;
use super::output::{Output, Root};

pub use file::FileError;
#[cfg(test)]
pub use file::InvalidMode;
use file::absence::{Place, advice};

/// Bump when an op's meaning changes, so that no older result is taken for a newer one.
const OP_VERSION: u64 = 1;

/// An op that can be executed.
#[derive(Clone)]
pub(crate) struct BoundOp {
    op: BuildOp,
    engine: Arc<Engine>,
    outlook: Outlook,
}

/// What is known of a step before the solve.
#[derive(Clone)]
pub(crate) struct Outlook {
    /// Whether a later step is going to mount what it makes.
    pub(crate) mounted: bool,
    /// The layer that it made when it was last executed.
    pub(crate) before: Before,
    /// In which forms its layers will be wanted.
    pub(crate) forms: Forms,
    /// Whether others may run once it has.
    pub(crate) followed: bool,
}

/// A step, and what tells the layer that it made when it was last executed.
#[derive(Clone)]
pub(crate) struct Before(pub(crate) VertexId, pub(crate) Arc<Past>);

impl BoundOp {
    /// Binds `op` to the engine that will execute it.
    pub(crate) fn new(op: BuildOp, engine: Arc<Engine>, outlook: Outlook) -> Self {
        Self {
            op,
            engine,
            outlook,
        }
    }
}

impl Op for BoundOp {
    type Output = Output;
    type Error = OpError;

    fn definition(&self) -> Result<Option<CacheKey>, OpError> {
        match &self.op {
            BuildOp::Source(SourceOp::Http(http)) if http.checksum.is_none() => Ok(None),
            BuildOp::Source(SourceOp::Http(_)) => Ok(Some(op_key(&self.op))),
            BuildOp::Source(_) => Ok(None),
            op => Ok(Some(op_key(op))),
        }
    }

    fn input_content(&self, index: usize, output: &Output) -> Result<ContentDigest, OpError> {
        match &self.op {
            BuildOp::Exec(op) if !(op.base && index == 0) => {
                mount_content(&self.engine, op, index, output)
            }
            BuildOp::File(op) if !(op.base && index == 0) => {
                copy_content(&self.engine, op, index, output)
            }
            _ => output.content(),
        }
    }

    fn exec(&self, inputs: &[Output], cx: &ExecContext<'_>) -> Result<Output, OpError> {
        self.engine.store().ensure_room()?;
        if let Some(Output::Root(below)) = inputs.first().filter(|_| has_base(&self.op)) {
            self.engine.pack_ahead(below, &self.outlook.forms);
        }
        let made = self.execute(inputs, cx)?;
        if let (true, Output::Root(root)) = (self.outlook.followed, &made) {
            self.engine.pack_ahead(root, &self.outlook.forms);
        }
        Ok(made)
    }
}

impl BoundOp {
    fn execute(&self, inputs: &[Output], cx: &ExecContext<'_>) -> Result<Output, OpError> {
        match &self.op {
            BuildOp::Source(source) => {
                let made = source::exec(&self.engine, source, cx)?;
                if let (true, Output::Root(root)) = (self.outlook.mounted, &made) {
                    self.engine.expect_mounts(root);
                }
                Ok(made)
            }
            BuildOp::Exec(op) => exec::exec(&self.engine, op, inputs, cx).map(Output::Root),
            BuildOp::File(op) => self.file(op, inputs, cx).map(Output::Root),
            BuildOp::Merge => merge(inputs).map(Output::Root),
            BuildOp::Diff => diff(inputs).map(Output::Root),
        }
    }

    fn file(&self, op: &FileOp, inputs: &[Output], cx: &ExecContext<'_>) -> Result<Root, OpError> {
        let base = if op.base {
            inputs[0].root()?.clone()
        } else {
            Root::default()
        };
        let below = self.engine.root_tree(&base)?;
        let mut trees = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.iter().enumerate() {
            trees.push(if op.base && index == 0 {
                None
            } else {
                Some(self.source(op, index, input)?)
            });
        }
        let sources: Vec<_> = trees
            .iter()
            .zip(inputs)
            .map(|(tree, input)| {
                let foreign = matches!(input, Output::Context(_));
                tree.as_ref().map(|tree| file::SourceTree { tree, foreign })
            })
            .collect();
        let Before(vertex, past) = &self.outlook.before;
        let form = if self.outlook.mounted {
            file::Form::Files
        } else {
            file::Form::Packed(past.last_layer(*vertex))
        };
        let job = file::Job {
            layers: self.engine.layers(),
            form,
            now: self.engine.now(),
            wanted: &|| !cx.cancel.is_cancelled(),
            warn: &|text| cx.log(Stream::Stderr, format!("warning: {text}\n").as_bytes()),
        };
        let layer = file::exec(&job, op, &below, &sources)?;
        Ok(base.with(layer, job.now))
    }

    /// Returns the files of an input; those of a local context with the hashes of what is copied.
    fn source(&self, op: &FileOp, index: usize, input: &Output) -> Result<MergedTree, OpError> {
        let tree = self.engine.tree(input)?;
        match input {
            Output::Root(_) => Ok(tree),
            Output::Context(_) => {
                let paths = read_paths(&self.engine, op, index, input, &tree)?;
                self.engine.hashed(input, &paths)
            }
        }
    }
}

/// Whether an op's first input is the root filesystem that it works on.
fn has_base(op: &BuildOp) -> bool {
    match op {
        BuildOp::Exec(op) => op.base,
        BuildOp::File(op) => op.base,
        BuildOp::Source(_) | BuildOp::Merge | BuildOp::Diff => false,
    }
}

fn op_key(op: &BuildOp) -> CacheKey {
    CacheKey::of("cooper.op", &(OP_VERSION, op))
}

/// Returns the real paths that `op` reads from input `index`.
fn read_paths(
    engine: &Engine,
    op: &FileOp,
    index: usize,
    input: &Output,
    tree: &MergedTree,
) -> Result<Vec<RelPath>, OpError> {
    let mut paths = Vec::new();
    for action in &op.actions {
        if let FileAction::Copy(copy) = action
            && copy.input == index
        {
            let selected =
                file::select::select(tree, copy).map_err(|error| explain(engine, input, error))?;
            paths.extend(selected.into_iter().map(|one| one.real));
        }
    }
    Ok(paths)
}

/// Adds to a missing source why it may be missing.
fn explain(engine: &Engine, input: &Output, mut error: FileError) -> FileError {
    if let FileError::NotFound { path, hint, .. } = &mut error {
        *hint = absence(engine, input, path);
    }
    error
}

/// Looks at everything that could have been copied from; none if that itself fails.
fn absence(engine: &Engine, input: &Output, path: &RelPath) -> Option<String> {
    match input {
        Output::Root(root) => {
            let tree = engine.root_tree(root).ok()?;
            let main = engine.context(MAIN_CONTEXT).ok();
            let place = match main {
                Some(ContextFiles::Root(main)) if main == root && is_alone(&tree) => Place::Alone,
                Some(ContextFiles::Root(main)) if main == root => Place::Context,
                _ => Place::Image,
            };
            Some(advice(&tree, path, None, place))
        }
        Output::Context(scanned) => {
            let context = &scanned.context;
            let ignored = context.ignored(path);
            let tree = context.scan(&[]).ok()?.tree();
            Some(advice(&tree, path, ignored.as_ref(), Place::Context))
        }
    }
}

/// Whether the files of a fetched context are one that was a Dockerfile.
fn is_alone(tree: &MergedTree) -> bool {
    let root = RelPath::root();
    let mut names = tree.children(&root);
    let first = names.next();
    first.is_some_and(|only| only.entry.path == RelPath::from(CONTEXT_FILE))
        && names.next().is_none()
}

/// Digest of everything that the copies of `op` select from input `index`.
fn copy_content(
    engine: &Engine,
    op: &FileOp,
    index: usize,
    output: &Output,
) -> Result<ContentDigest, OpError> {
    let tree = engine.tree(output)?;
    let tree = engine.hashed(output, &read_paths(engine, op, index, output, &tree)?)?;
    let mut hasher = StableHasher::new("cooper.copy-selection");
    for action in &op.actions {
        let FileAction::Copy(copy) = action else {
            continue;
        };
        if copy.input != index {
            continue;
        }
        for one in file::select::select(&tree, copy)? {
            let name = match &one.keep {
                Some(keep) => keep.as_bytes().to_vec(),
                None => one.named.file_name().unwrap_or_default().to_vec(),
            };
            hasher.write_bytes(&name);
            hasher.write_bytes(file::selection_digest(&tree, copy, &one)?.as_bytes());
        }
    }
    Ok(hasher.finish_content())
}

/// Digest of the paths that mounts of `op` show from input `index`.
fn mount_content(
    engine: &Engine,
    op: &ExecOp,
    index: usize,
    output: &Output,
) -> Result<ContentDigest, OpError> {
    let tree = engine.tree(output)?;
    let mut real = Vec::new();
    for source in mount_sources(op, index) {
        let path = RelPath::clean(source);
        let found = tree.resolve(&path, true).map_err(StoreError::from)?.path;
        if tree.get(&found).is_none() {
            let missing = FileError::NotFound {
                written: source.to_owned(),
                path,
                hint: None,
            };
            return Err(explain(engine, output, missing).into());
        }
        real.push(found);
    }
    let tree = engine.hashed(output, &real)?;
    let mut hasher = StableHasher::new("cooper.mount-selection");
    for path in &real {
        hasher.write_bytes(tree.digest(path).map_err(StoreError::from)?.as_bytes());
    }
    Ok(hasher.finish_content())
}

/// Returns the paths of input `index` that mounts of `op` show or begin with.
fn mount_sources(op: &ExecOp, index: usize) -> impl Iterator<Item = &str> {
    op.mounts.iter().filter_map(move |mount| match &mount.kind {
        MountKind::Bind { input, source, .. } if *input == index => Some(source.as_str()),
        MountKind::Cache {
            input: Some(input),
            source,
            ..
        } if *input == index => Some(source.as_str()),
        _ => None,
    })
}

/// Stacks all inputs' layers, the first input lowest.
fn merge(inputs: &[Output]) -> Result<Root, OpError> {
    let mut merged = Root::default();
    for input in inputs {
        merged.layers.extend(input.root()?.layers.iter().cloned());
    }
    Ok(merged)
}

/// Returns the layers that input 1 has on top of input 0.
fn diff(inputs: &[Output]) -> Result<Root, OpError> {
    let (lower, upper) = (inputs[0].root()?, inputs[1].root()?);
    let shared = lower
        .layers
        .iter()
        .zip(&upper.layers)
        .take_while(|(a, b)| a.id == b.id)
        .count();
    if shared < lower.layers.len() {
        return Err(OpError::Unrelated);
    }
    Ok(Root {
        layers: upper.layers[shared..].to_vec(),
    })
}

/// Makes one layer of what is at and below `paths` of a local context.
pub(super) fn context_layer(
    engine: &Engine,
    tree: &MergedTree,
    paths: &[RelPath],
) -> Result<cooper_cache::LayerId, OpError> {
    let wanted = || !engine.cancel().is_cancelled();
    Ok(file::layer_of(&unwatched(engine, &wanted), tree, paths)?)
}

/// Writes what is at and below `path` of a tree into a staging directory.
pub(super) fn copy_out(
    engine: &Engine,
    tree: &MergedTree,
    path: &RelPath,
    staging: &cooper_cache::Staging,
) -> Result<(), OpError> {
    let wanted = || !engine.cancel().is_cancelled();
    Ok(file::copy_out(
        &unwatched(engine, &wanted),
        tree,
        path,
        staging,
    )?)
}

/// A job with nothing to warn of.
fn unwatched<'a>(engine: &'a Engine, wanted: &'a (dyn Fn() -> bool + Sync)) -> file::Job<'a> {
    file::Job {
        layers: engine.layers(),
        form: file::Form::Files,
        now: engine.now(),
        wanted,
        warn: &|_| {},
    }
}
