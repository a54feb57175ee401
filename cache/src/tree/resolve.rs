//! Path resolution inside a merged tree.

use std::collections::VecDeque;

use super::MergedTree;
use crate::error::ResolveError;
use crate::layer::EntryKind;
use crate::path::RelPath;

/// How many links are followed before a path counts as a loop; Go's limit, which BuildKit has.
const LIMIT: usize = 255;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPath {
    /// The path without symbolic links on the way.
    pub path: RelPath,
    /// Whether something is there; if not, the missing components were taken as written.
    pub exists: bool,
}

pub(super) fn resolve(
    tree: &MergedTree,
    asked: &[u8],
    follow_last: bool,
) -> Result<ResolvedPath, ResolveError> {
    let mut todo: VecDeque<Vec<u8>> = split(asked).collect();
    let mut here = RelPath::root();
    let mut exists = true;
    let mut followed = 0;
    while let Some(part) = todo.pop_front() {
        if part == b".." {
            here = here.parent().unwrap_or_default();
            exists = tree.get(&here).is_some();
            continue;
        }
        let next = here.join(&part);
        let entry = tree.get(&next).map(|node| node.entry);
        match entry.map(|entry| &entry.kind) {
            Some(EntryKind::Symlink { target }) if follow_last || !todo.is_empty() => {
                followed += 1;
                if followed > LIMIT {
                    return Err(ResolveError::Loop {
                        path: RelPath::clean(asked),
                        limit: LIMIT,
                    });
                }
                if target.first() == Some(&b'/') {
                    here = RelPath::root();
                }
                for part in split(target).rev() {
                    todo.push_front(part);
                }
            }
            Some(EntryKind::Dir { .. }) => {
                exists = true;
                here = next;
            }
            Some(_) if !todo.is_empty() => {
                return Err(ResolveError::NotADirectory { path: next });
            }
            found => {
                exists = found.is_some();
                here = next;
            }
        }
    }
    Ok(ResolvedPath { path: here, exists })
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
}
