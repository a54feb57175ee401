//! Which files of a source tree a COPY or ADD names.
//!
//! A source is a path or a pattern. Literal components are resolved with links followed
//! (absolute ones inside the tree, `..` clamped); from the first wildcard on, components
//! are matched against real directories only. A pattern that matches nothing selects
//! nothing; a literal path that does not exist is an error.

use cooper_cache::{MergedTree, RelPath};
use cooper_frontend::ir::{CopyAction, CopySource};

use super::FileError;
use super::glob;

/// One file or directory that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::build::ops) struct Selected {
    /// The path by which it was found; its last component names the copy.
    pub(in crate::build::ops) named: RelPath,
    /// The same with all links followed: what is copied.
    pub(in crate::build::ops) real: RelPath,
    /// With `--parents`, where below the destination it goes.
    pub(in crate::build::ops) keep: Option<RelPath>,
    /// Number of the source that names it.
    pub(in crate::build::ops) source: usize,
}

/// Returns everything that `action` copies from `tree`, in copying order.
pub(in crate::build::ops) fn select(
    tree: &MergedTree,
    action: &CopyAction,
) -> Result<Vec<Selected>, FileError> {
    let mut selected = Vec::new();
    for (number, source) in action.sources.iter().enumerate() {
        let before = selected.len();
        match &source.parents {
            None => plain(tree, source, &mut selected)?,
            Some(below) => with_parents(tree, source, below, &mut selected)?,
        }
        for one in &mut selected[before..] {
            one.source = number;
        }
    }
    Ok(selected)
}

fn plain(tree: &MergedTree, source: &CopySource, out: &mut Vec<Selected>) -> Result<(), FileError> {
    let path = RelPath::clean(&source.path);
    if !path.components().any(glob::has_wildcard) {
        let real = follow(tree, &path, source)?;
        return match (tree.get(&real), source.required) {
            (Some(_), _) => {
                out.push(Selected {
                    named: path,
                    real,
                    keep: None,
                    source: 0,
                });
                Ok(())
            }
            (None, true) => Err(missing(source, path)),
            (None, false) => Ok(()),
        };
    }
    for named in expand(tree, &path, source, false)? {
        let real = follow(tree, &named, source)?;
        if tree.get(&real).is_none() {
            // Only a link can lead nowhere from where a pattern matched.
            return Err(missing(source, named));
        }
        out.push(Selected {
            named,
            real,
            keep: None,
            source: 0,
        });
    }
    Ok(())
}

fn with_parents(
    tree: &MergedTree,
    source: &CopySource,
    below: &str,
    out: &mut Vec<Selected>,
) -> Result<(), FileError> {
    let pivot = follow(tree, &RelPath::clean(&source.path), source)?;
    let pattern = RelPath::clean(below);
    let full = pivot.join(pattern.as_bytes());
    let wild = pattern.components().any(glob::has_wildcard);
    let found = if wild {
        expand(tree, &full, source, true)?
    } else {
        vec![full.clone()]
    };
    let before = out.len();
    for named in found {
        if tree.get(&named).is_some() {
            let keep = named.strip_prefix(&pivot);
            out.push(Selected {
                real: named.clone(),
                named,
                keep,
                source: 0,
            });
        }
    }
    if out.len() == before && !wild && source.required {
        return Err(missing(source, full));
    }
    Ok(())
}

fn follow(tree: &MergedTree, path: &RelPath, source: &CopySource) -> Result<RelPath, FileError> {
    tree.resolve(path, true)
        .map(|resolved| resolved.path)
        .map_err(|cause| FileError::Source {
            written: source.written.clone(),
            source: cause,
        })
}

fn missing(source: &CopySource, path: RelPath) -> FileError {
    FileError::NotFound {
        written: source.written.clone(),
        path,
        hint: None,
    }
}

/// Expands a pattern; `deep` lets a `**` component stand for any number of directories.
fn expand(
    tree: &MergedTree,
    pattern: &RelPath,
    source: &CopySource,
    deep: bool,
) -> Result<Vec<RelPath>, FileError> {
    let components: Vec<&[u8]> = pattern.components().collect();
    let wild = components
        .iter()
        .position(|c| glob::has_wildcard(c))
        .unwrap_or(components.len());
    let literal = RelPath::clean(components[..wild].join(&b'/'));
    let start = follow(tree, &literal, source)?;
    let mut found = Vec::new();
    let search = Search { tree, source, deep };
    search.descend(&start, &literal, &components[wild..], &mut found)?;
    found.sort();
    found.dedup();
    Ok(found)
}

struct Search<'a> {
    tree: &'a MergedTree,
    source: &'a CopySource,
    deep: bool,
}

impl Search<'_> {
    /// Matches `rest` below the directory `real`, which the user reaches as `named`.
    fn descend(
        &self,
        real: &RelPath,
        named: &RelPath,
        rest: &[&[u8]],
        out: &mut Vec<RelPath>,
    ) -> Result<(), FileError> {
        let Some((pattern, tail)) = rest.split_first() else {
            out.push(named.clone());
            return Ok(());
        };
        if !self.tree.get(real).is_some_and(|node| node.entry.is_dir()) {
            return Ok(());
        }
        let any_depth = self.deep && *pattern == b"**";
        if any_depth && !tail.is_empty() {
            self.descend(real, named, tail, out)?;
        }
        for child in self.tree.children(real) {
            let name = child.entry.path.file_name().unwrap_or_default();
            let (real, named) = (real.join(name), named.join(name));
            if any_depth {
                if tail.is_empty() {
                    out.push(named.clone());
                } else {
                    self.descend(&real, &named, rest, out)?;
                }
            } else if self.matches(pattern, name)? {
                self.descend(&real, &named, tail, out)?;
            }
        }
        Ok(())
    }

    fn matches(&self, pattern: &[u8], name: &[u8]) -> Result<bool, FileError> {
        glob::matches(pattern, name).map_err(|_| FileError::Pattern {
            written: self.source.written.clone(),
        })
    }
}
