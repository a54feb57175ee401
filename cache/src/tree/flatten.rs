//! Several layers as the one layer that has the same effect.
//!
//! What an upper layer replaced or deleted of a lower one is gone, and with it the mark that
//! said so. A whiteout or an opaque mark stays only where there is something below all of them
//! that it hides.

use std::collections::HashMap;

use super::{MergedTree, merge};
use crate::layer::{CopyItem, Entry, EntryKind, FileBytes, Source};
use crate::path::RelPath;

impl MergedTree {
    /// Returns what one layer over `base` has to hold to have the effect of this whole stack.
    pub(crate) fn flattened_over(&self, base: &Self) -> Vec<CopyItem> {
        let mut groups = HashMap::new();
        let mut items = Vec::new();
        // The directory at and below which nothing of the base shows.
        let mut hidden: Option<RelPath> = None;
        for slot in merge::lay(&self.inner.layers) {
            let node = self.node(&slot);
            let path = &node.entry.path;
            hidden = hidden.filter(|dir| path.starts_with(dir));
            let mut entry = node.entry.clone();
            match &mut entry.kind {
                EntryKind::Whiteout if hidden.is_some() || base.get(path).is_none() => continue,
                EntryKind::Dir { opaque } => {
                    let over_a_dir = base.get(path).is_some_and(|below| below.entry.is_dir());
                    *opaque = slot.is_opaque() && over_a_dir && hidden.is_none();
                    if *opaque {
                        hidden = Some(path.clone());
                    }
                }
                _ => {}
            }
            entry.hardlink = entry.hardlink.map(|group| {
                let next = groups.len() as u32;
                *groups.entry((node.layer, group)).or_insert(next)
            });
            items.push(CopyItem {
                source: source(&entry, || node.bytes()),
                entry,
            });
        }
        items
    }
}

fn source(entry: &Entry, file: impl FnOnce() -> FileBytes) -> Source {
    if entry.is_file() {
        Source::Stored(file())
    } else {
        Source::None
    }
}
