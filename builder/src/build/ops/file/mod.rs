//! COPY, ADD, WORKDIR and inline files: one new layer without mounting or running anything.
//!
//! ```text
//! base tree + source trees —copy→ NewLayer —write→ staging directory —commit_indexed→ layer
//! ```
//!
//! Sources and destination are looked up in the layers' indices; bytes are copied once,
//! from where they are to where they stay; their hashes are known already, so that the
//! layer is committed without being read again. Where nothing is going to mount the layer, its
//! files are not even created: their bytes go into a pack.

pub(super) mod absence;
mod archive;
mod copy;
mod glob;
mod mode;
mod new_layer;
mod owner;
pub(super) mod select;

use cooper_cache::{
    ContentHash, Entry, EntryKind, LayerId, LayerIndex, Layers, MergedTree, RelPath, ResolveError,
    Source, Staging, StoreError, Timestamp, TreeDigest,
};
use cooper_frontend::dockerignore::DockerIgnore;
use cooper_frontend::ir::{CopyAction, FileAction, FileOp, InlineAction, Unpack};
use thiserror::Error;

use archive::Archives;
use copy::{Rules, file_target};
#[cfg(test)]
pub use mode::InvalidMode;
use mode::ModeChange;
use new_layer::{NewLayer, Owner};
use owner::Owners;

/// Why files could not be copied.
#[derive(Debug, Error)]
pub enum FileError {
    /// A source does not exist.
    #[error("\"{written}\": not found")]
    NotFound {
        /// The source as the Dockerfile names it.
        written: String,
        /// Where that is in the tree that is copied from.
        path: RelPath,
        /// Why it may be missing, or what was meant.
        hint: Option<String>,
    },
    /// One source of several could not be copied.
    #[error("cannot copy \"{written}\"")]
    Copy {
        /// The source as the Dockerfile names it.
        written: String,
        /// Where it goes: absolute, with a slash at its end if that must be a directory.
        dest: String,
        /// Why.
        source: Box<FileError>,
    },
    /// A source cannot be looked up.
    #[error("cannot look up \"{written}\"")]
    Source {
        /// The source as the Dockerfile names it.
        written: String,
        /// Why.
        source: ResolveError,
    },
    /// A source's pattern is malformed.
    #[error("\"{written}\": syntax error in pattern")]
    Pattern {
        /// The source as the Dockerfile names it.
        written: String,
    },
    /// The destination runs in circles.
    #[error("too many links on the way to {path}")]
    LinkLoop {
        /// The destination.
        path: RelPath,
    },
    /// A directory is needed where something else is.
    #[error("cannot copy to non-directory: {path}")]
    NotADirectory {
        /// What is in the way.
        path: RelPath,
    },
    /// A directory is to be made where something else is.
    #[error("cannot make the directory: {path} is something else")]
    InTheWay {
        /// What is in the way.
        path: RelPath,
    },
    /// A file would replace a directory.
    #[error("cannot replace directory {path} with a file")]
    IsADirectory {
        /// The directory.
        path: RelPath,
    },
    /// A name in `--chown` where there is no passwd file to find it in.
    #[error("--chown={spec} names a user or group, but there is no base image to look it up in")]
    NamedOwner {
        /// The owner as written.
        spec: String,
    },
    /// A numeric owner that is none.
    #[error("--chown={spec} is out of range")]
    OwnerRange {
        /// The owner as written.
        spec: String,
    },
    /// A `--chmod` value that the front end let through after expansion.
    #[error(transparent)]
    Mode(#[from] mode::InvalidMode),
    /// An `--exclude` pattern is malformed.
    #[error("--exclude={pattern}: {reason}")]
    Exclude {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FileError {
    /// Whether what is in the way is where the copy goes to.
    fn is_of_destination(&self) -> bool {
        matches!(
            self,
            Self::LinkLoop { .. } | Self::NotADirectory { .. } | Self::IsADirectory { .. }
        )
    }

    /// Returns the word of the instruction that it is about, expanded.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Copy {
                written,
                dest,
                source,
            } => Some(if source.is_of_destination() {
                dest
            } else {
                written
            }),
            Self::NotFound { written, .. }
            | Self::Source { written, .. }
            | Self::Pattern { written } => Some(written),
            Self::NamedOwner { spec } | Self::OwnerRange { spec } => Some(spec),
            Self::Exclude { pattern, .. } => Some(pattern),
            _ => None,
        }
    }
}

/// An input that is copied from.
pub(super) struct SourceTree<'a> {
    pub(super) tree: &'a MergedTree,
    /// Whether its files may change under our hands.
    pub(super) foreign: bool,
}

/// How a new layer is kept at first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// As files: it is going to be mounted.
    Files,
    /// In packs, of which those of the layer that the step made before serve again.
    Packed(Option<&'a LayerId>),
}

/// What a file operation is given besides its files.
pub(super) struct Job<'a> {
    pub(super) layers: &'a Layers,
    pub(super) form: Form<'a>,
    /// The time of what is made rather than copied.
    pub(super) now: Timestamp,
    /// Whether the result is still wanted; asked before every file.
    pub(super) wanted: &'a (dyn Fn() -> bool + Sync),
    /// Takes a line that warns the user.
    pub(super) warn: &'a dyn Fn(&str),
}

/// Runs the actions of `op` over `base`; `sources` are indexed like the op's inputs.
///
/// Returns the new layer's name.
pub(super) fn exec(
    job: &Job<'_>,
    op: &FileOp,
    base: &MergedTree,
    sources: &[Option<SourceTree<'_>>],
) -> Result<LayerId, FileError> {
    let staging = job.layers.prepare()?;
    let mut new = NewLayer::new(base, job.now);
    let owners = Owners {
        base,
        has_base: op.base,
        warn: job.warn,
    };
    for action in &op.actions {
        match action {
            FileAction::Copy(action) => {
                let archives = Archives {
                    staging: &staging,
                    packed: matches!(job.form, Form::Packed(_)),
                };
                copy_action(&mut new, action, &owners, sources, &archives)?;
            }
            FileAction::Inline(action) => inline(&mut new, action, &owners)?,
            FileAction::Mkdir { path, mode, owner } => {
                mkdir(&mut new, path, *mode, owners.find(owner.as_deref())?)?;
            }
        }
    }
    commit(job, staging, new)
}

/// Makes one layer of the parts of a user's directory that are at and below `paths`.
pub(super) fn layer_of(
    job: &Job<'_>,
    tree: &MergedTree,
    paths: &[RelPath],
) -> Result<LayerId, FileError> {
    let staging = job.layers.prepare()?;
    let empty = MergedTree::new(Vec::new());
    let mut new = NewLayer::new(&empty, job.now);
    for path in paths {
        copy::subtree(&mut new, tree, path, path)?;
    }
    commit(job, staging, new)
}

/// Writes a subtree's files below a directory that is no layer.
pub(super) fn copy_out(
    job: &Job<'_>,
    tree: &MergedTree,
    path: &RelPath,
    staging: &Staging,
) -> Result<(), FileError> {
    let empty = MergedTree::new(Vec::new());
    let mut new = NewLayer::new(&empty, job.now);
    copy::subtree(&mut new, tree, path, &RelPath::root())?;
    new.populate(staging, job.wanted)?;
    Ok(())
}

fn commit(job: &Job<'_>, staging: Staging, new: NewLayer<'_>) -> Result<LayerId, FileError> {
    let new = match job.form {
        Form::Files => new,
        Form::Packed(like) => match new.into_items() {
            Ok(items) => {
                let layer = job.layers.commit_packed(staging, items, like, job.wanted)?;
                return Ok(layer.id().clone());
            }
            Err(unpacked) => unpacked,
        },
    };
    let index: LayerIndex = new.populate(&staging, job.wanted)?;
    Ok(job.layers.commit_indexed(staging, index)?.id().clone())
}

/// Digest of one selected source, without what `--exclude` leaves out.
pub(super) fn selection_digest(
    tree: &MergedTree,
    action: &CopyAction,
    one: &select::Selected,
) -> Result<TreeDigest, FileError> {
    let looked_up = |source| FileError::Source {
        written: one.named.to_string(),
        source,
    };
    let Some(patterns) = exclude(&action.exclude)? else {
        return tree.digest(&one.real).map_err(looked_up);
    };
    let keep = |node: &cooper_cache::Node<'_>| {
        let below = node.entry.path.strip_prefix(&one.real).unwrap_or_default();
        node.entry.is_dir() || !patterns.matches(&String::from_utf8_lossy(below.as_bytes()))
    };
    tree.digest_where(&one.real, keep).map_err(looked_up)
}

fn copy_action(
    new: &mut NewLayer<'_>,
    action: &CopyAction,
    owners: &Owners<'_>,
    sources: &[Option<SourceTree<'_>>],
    archives: &Archives<'_>,
) -> Result<(), FileError> {
    let Some(Some(from)) = sources.get(action.input) else {
        return Ok(());
    };
    let rules = Rules {
        action,
        owner: match &action.chown {
            Some(_) => Some(owners.find(action.chown.as_deref())?),
            None => None,
        },
        chmod: action.chmod.as_deref().map(ModeChange::parse).transpose()?,
        exclude: exclude(&action.exclude)?,
        foreign: from.foreign,
    };
    let unpack = (action.unpack == Unpack::IfArchive).then_some(archives);
    copy::copy(new, from.tree, &rules, unpack)
}

fn exclude(patterns: &[String]) -> Result<Option<DockerIgnore>, FileError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    DockerIgnore::from_patterns(patterns.iter().map(String::as_str))
        .map(Some)
        .map_err(|error| FileError::Exclude {
            pattern: patterns.join(", "),
            reason: error.to_string(),
        })
}

fn inline(
    new: &mut NewLayer<'_>,
    action: &InlineAction,
    owners: &Owners<'_>,
) -> Result<(), FileError> {
    let target = file_target(new, &action.dest, action.name.as_bytes())?;
    let owner = owners.find(action.chown.as_deref())?;
    if let Some(parent) = target.parent() {
        new.ensure_dir(&parent, 0o755, owner)?;
    }
    let kind = EntryKind::File {
        size: action.data.len() as u64,
        content: ContentHash::of(&action.data),
    };
    let mut entry = Entry::new(target, kind, 0o644);
    if let Some(chmod) = &action.chmod {
        entry.mode = ModeChange::parse(chmod)?.apply(entry.mode, false);
    }
    entry.uid = owner.uid;
    entry.gid = owner.gid;
    entry.mtime = new.now();
    new.put(entry, Source::Bytes(action.data.clone()))
}

fn mkdir(new: &mut NewLayer<'_>, path: &str, mode: u32, owner: Owner) -> Result<(), FileError> {
    let target = new.resolve(&RelPath::clean(path))?;
    new.ensure_dir(&target, mode, owner)
        .map_err(|error| match error {
            FileError::NotADirectory { path } => FileError::InTheWay { path },
            other => other,
        })?;
    Ok(())
}
