//! Overlayfs' merging rules over sorted indices.

use std::sync::Arc;

use crate::layer::{EntryKind, Files, LayerIndex};
use crate::path::{below, compare};

/// Stands for the implied root directory.
const NO_LAYER: u32 = u32::MAX;

/// An entry of a merged tree, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) layer: u32,
    pub(super) entry: u32,
    /// Number of the first slot behind this one's subtree; set at the end.
    pub(super) end: u32,
    /// Whether layers further down are hidden here.
    opaque: bool,
}

impl Slot {
    /// Whether this is the root directory that no layer has.
    pub(super) const fn is_implied(&self) -> bool {
        self.layer == NO_LAYER
    }

    /// Whether this is a directory that hides what layers further down have in it.
    pub(super) const fn is_opaque(&self) -> bool {
        self.opaque
    }
}

type Layers = [(Arc<LayerIndex>, Files)];

/// Merges all layers; whiteouts are gone and the root is first.
pub(super) fn stack(layers: &Layers) -> Vec<Slot> {
    let mut merged = lay(layers);
    merged.retain(|slot| !matches!(kind(layers, slot), EntryKind::Whiteout));
    if merged
        .first()
        .is_none_or(|slot| !path(layers, slot).is_empty())
    {
        merged.insert(
            0,
            Slot {
                layer: NO_LAYER,
                entry: 0,
                end: 0,
                opaque: false,
            },
        );
    }
    set_ends(layers, &mut merged);
    merged
}

/// Merges all layers into what one layer would hold: whiteouts and opaque marks stay.
pub(super) fn lay(layers: &Layers) -> Vec<Slot> {
    fold(layers, 0, layers.len())
}

/// Merges layers `from..to` by halves: a large base takes part in few merges.
fn fold(layers: &Layers, from: usize, to: usize) -> Vec<Slot> {
    match to - from {
        0 => Vec::new(),
        1 => single(layers, from),
        count => {
            let middle = from + count / 2;
            merge(
                layers,
                &fold(layers, from, middle),
                &fold(layers, middle, to),
            )
        }
    }
}

fn single(layers: &Layers, layer: usize) -> Vec<Slot> {
    let entries = layers[layer].0.entries().iter().enumerate();
    let slot = |(number, entry): (usize, &crate::layer::Entry)| Slot {
        layer: layer as u32,
        entry: number as u32,
        end: 0,
        opaque: matches!(entry.kind, EntryKind::Dir { opaque: true }),
    };
    entries.map(slot).collect()
}

/// Lays `upper` over `lower`. Whiteouts and opaque marks stay: the result may lie over something too.
fn merge(layers: &Layers, lower: &[Slot], upper: &[Slot]) -> Vec<Slot> {
    let mut merged = Vec::with_capacity(lower.len() + upper.len());
    let mut lower = lower.iter().peekable();
    for slot in upper {
        let at = path(layers, slot);
        while let Some(below) = lower.next_if(|l| compare(path(layers, l), at).is_lt()) {
            merged.push(*below);
        }
        let under = lower.next_if(|l| path(layers, l) == at);
        let is_dir = matches!(kind(layers, slot), EntryKind::Dir { .. });
        let mut slot = *slot;
        if is_dir && !slot.opaque {
            // A directory over something that is none hides what lies further down.
            slot.opaque = under.is_some_and(|under| {
                under.opaque || !matches!(kind(layers, under), EntryKind::Dir { .. })
            });
        } else {
            while lower.next_if(|l| below(path(layers, l), at)).is_some() {}
        }
        merged.push(slot);
    }
    merged.extend(lower);
    merged
}

fn set_ends(layers: &Layers, slots: &mut [Slot]) {
    let mut open: Vec<usize> = Vec::new();
    for at in 0..slots.len() {
        let here = path(layers, &slots[at]);
        while let Some(&top) = open.last() {
            if below(here, path(layers, &slots[top])) {
                break;
            }
            slots[top].end = at as u32;
            open.pop();
        }
        open.push(at);
    }
    let total = slots.len() as u32;
    for at in open {
        slots[at].end = total;
    }
}

fn path<'a>(layers: &'a Layers, slot: &Slot) -> &'a [u8] {
    match layers.get(slot.layer as usize) {
        Some((index, _)) => index.entries()[slot.entry as usize].path.as_bytes(),
        None => b"",
    }
}

fn kind<'a>(layers: &'a Layers, slot: &Slot) -> &'a EntryKind {
    match layers.get(slot.layer as usize) {
        Some((index, _)) => &index.entries()[slot.entry as usize].kind,
        None => &EntryKind::Dir { opaque: false },
    }
}
