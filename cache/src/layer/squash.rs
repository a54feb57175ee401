//! Squashing: one layer in the place of several.
//!
//! The new layer is made beside the ones it stands for, which stay, with everything that is
//! recorded about them. It is named by its content like any other; a memo at the topmost of
//! its sources saves making it again.

use crate::error::StoreError;
use crate::images::{json, read_json};
use crate::layer::{Entry, LayerId, Layers};
use crate::path::RelPath;

impl Layers {
    /// Returns a layer that over `base` has the effect of all of `layers`, made once.
    ///
    /// `wanted` is asked while files are copied; once it says no, the result is
    /// [`StoreError::Canceled`].
    pub fn squash(
        &self,
        base: &[LayerId],
        layers: &[LayerId],
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<LayerId, StoreError> {
        let memo = layers.last().map(|top| self.memo(top, &name(base, layers)));
        if let Some(memo) = &memo
            && let Some(known) = read_json::<LayerId>(memo)?
            && self.has(&known)
        {
            return Ok(known);
        }
        let below = self.tree(base)?;
        let items = self.tree(layers)?.flattened_over(&below);
        let mut staging = self.prepare()?;
        let root = below.get(&RelPath::root()).map(|node| node.entry);
        let layer = if let Some(root) = root.filter(|root| !is_usual(root)) {
            // Only a directory has what no entry tells of the root.
            staging.inherit_root(root)?;
            let index = staging.populate_while(items, wanted)?;
            self.commit_indexed(staging, index)?
        } else {
            self.commit_packed(staging, items, None, wanted)?
        };
        let id = layer.id().clone();
        if let Some(memo) = memo {
            self.shared.write_atomic(&memo, &json(&id))?;
        }
        Ok(id)
    }
}

/// Whether the root directory is as it is made.
fn is_usual(root: &Entry) -> bool {
    (root.mode, root.uid, root.gid) == (0o755, 0, 0)
}

/// Names the memo of a squash: what is below decides which marks stay.
fn name(base: &[LayerId], layers: &[LayerId]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (part, ids) in [base, layers].into_iter().enumerate() {
        for id in ids {
            hasher.update(format!("{part} {id}\n").as_bytes());
        }
    }
    format!("squash-{}", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::layer::{CopyItem, Entry, EntryKind, Layer, Source, Timestamp, copy};
    use crate::store::Store;
    use crate::testing::{is_root, store};
    use crate::{LayerId, RelPath};

    /// One thing that a random layer does at a path.
    type Change = (Vec<u8>, u8, u8);

    /// What a file system shows at a path: kind, mode, owner, time, bytes or target, link group.
    type Seen = (String, u32, u32, i64, Vec<u8>);
    type Model = BTreeMap<RelPath, (Seen, Option<(usize, u32)>)>;

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let one = (
            proptest::collection::vec(0_u8..3, 1..4),
            0_u8..8,
            any::<u8>(),
        );
        proptest::collection::vec(one, 0..12)
    }

    /// Turns changes into the items of a valid layer.
    fn items(changes: Vec<Change>) -> Vec<CopyItem> {
        let mut items: BTreeMap<RelPath, CopyItem> = BTreeMap::new();
        for (names, kind, value) in changes {
            let path = names
                .iter()
                .fold(RelPath::root(), |path, name| path.join([b'a' + name]));
            let above = copy::ancestors(&path);
            let blocked = above
                .iter()
                .any(|dir| items.get(dir).is_some_and(|item| !item.entry.is_dir()));
            if blocked || items.contains_key(&path) {
                continue;
            }
            for dir in above {
                let entry = Entry::dir(dir.clone(), 0o755);
                let source = Source::None;
                items.entry(dir).or_insert(CopyItem { entry, source });
            }
            let file = || Entry::file(path.clone(), 0o644, 0, crate::ContentHash::UNHASHED);
            let mut source = Source::None;
            let mut entry = match kind {
                0 => Entry::dir(path.clone(), 0o700),
                1 => Entry::new(path.clone(), EntryKind::Dir { opaque: true }, 0o711),
                2 => Entry::symlink(path.clone(), [b't', b'a' + value % 5]),
                3 | 4 => Entry::whiteout(path.clone()),
                5 => {
                    source = Source::Bytes(vec![7]);
                    Entry {
                        hardlink: Some(0),
                        ..file()
                    }
                }
                _ => {
                    source = Source::Bytes(vec![value; 3]);
                    file()
                }
            };
            if !entry.is_whiteout() {
                entry.uid = u32::from(value % 3);
                if entry.hardlink.is_none() {
                    entry.mtime.secs = i64::from(value % 3);
                } else {
                    entry.uid = 0;
                }
            }
            items.insert(path, CopyItem { entry, source });
        }
        items.into_values().collect()
    }

    /// Applies a layer the naive way: path by path, as `tar -x` with whiteouts would.
    fn apply(model: &mut Model, number: usize, items: &[CopyItem]) {
        let mut paths: Vec<&CopyItem> = items.iter().collect();
        paths.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        for CopyItem { entry, source } in paths {
            let is_dir = |(seen, _): &(Seen, _)| seen.0 == "dir";
            let joins = entry.kind == (EntryKind::Dir { opaque: false })
                && model.get(&entry.path).is_some_and(is_dir);
            if !joins {
                model.retain(|path, _| !path.starts_with(&entry.path));
            }
            let (kind, bytes) = match (&entry.kind, source) {
                (EntryKind::Whiteout, _) => continue,
                (EntryKind::Dir { .. }, _) => ("dir", Vec::new()),
                (EntryKind::Symlink { target }, _) => ("link", target.to_vec()),
                (_, Source::Bytes(bytes)) => ("file", bytes.clone()),
                other => panic!("unexpected {other:?}"),
            };
            let seen = (kind.into(), entry.mode, entry.uid, entry.mtime.secs, bytes);
            let group = entry.hardlink.map(|group| (number, group));
            model.insert(entry.path.clone(), (seen, group));
        }
    }

    /// Reads what the layers show together, from their indices and from their files.
    fn seen(store: &Store, chain: &[LayerId]) -> Model {
        let tree = store.layers().tree(chain).expect("tree");
        let mut model = Model::new();
        for node in tree.walk(&RelPath::root()).skip(1) {
            let entry = node.entry;
            let (kind, bytes) = match &entry.kind {
                EntryKind::Dir { .. } => ("dir", Vec::new()),
                EntryKind::Symlink { target } => ("link", target.to_vec()),
                EntryKind::File { .. } => {
                    let mut bytes = Vec::new();
                    let mut file = node.bytes().open().expect("a file");
                    std::io::Read::read_to_end(&mut file, &mut bytes).expect("its bytes");
                    ("file", bytes)
                }
                other => panic!("unexpected {other:?}"),
            };
            let seen = (kind.into(), entry.mode, entry.uid, entry.mtime.secs, bytes);
            let group = entry.hardlink.map(|group| (node.layer, group));
            model.insert(entry.path.clone(), (seen, group));
        }
        model
    }

    /// Replaces link groups by the names that share a file; one name alone is no group.
    fn linked(model: &Model) -> BTreeMap<RelPath, (Seen, Vec<RelPath>)> {
        let names = |group: (usize, u32)| -> Vec<RelPath> {
            let same = model.iter().filter(|(_, (_, other))| *other == Some(group));
            same.map(|(path, _)| path.clone()).collect()
        };
        let of = |group: Option<(usize, u32)>| {
            group
                .map(names)
                .filter(|all| all.len() > 1)
                .unwrap_or_default()
        };
        let entries = model.iter();
        entries
            .map(|(path, (seen, group))| (path.clone(), (seen.clone(), of(*group))))
            .collect()
    }

    fn commit(store: &Store, items: Vec<CopyItem>) -> Layer {
        let staging = store.layers().prepare().expect("prepare");
        let index = staging.populate(items).expect("populate");
        store
            .layers()
            .commit_indexed(staging, index)
            .expect("commit")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn a_squashed_stack_looks_as_it_did(
            stack in proptest::collection::vec(changes(), 1..6),
            from in 0_usize..6,
        ) {
            if !is_root("changes owners") {
                return Ok(());
            }
            let (_dir, store) = store();
            let mut expected = Model::new();
            let mut ids = Vec::new();
            for (number, changes) in stack.into_iter().enumerate() {
                let items = items(changes);
                apply(&mut expected, number, &items);
                ids.push(commit(&store, items).id().clone());
            }
            let expected = linked(&expected);
            let (base, new) = ids.split_at(from.min(ids.len() - 1));
            prop_assert_eq!(&linked(&seen(&store, &ids)), &expected);
            let squashed = store.layers().squash(base, new, &|| true).expect("squash");
            prop_assert_eq!(&linked(&seen(&store, &[base, std::slice::from_ref(&squashed)].concat())), &expected);
            let layer = store.layers().get(&squashed).expect("get").expect("there");
            let index = layer.index().expect("index");
            if base.is_empty() {
                let marks = |entry: &Entry| matches!(entry.kind, EntryKind::Whiteout | EntryKind::Dir { opaque: true });
                prop_assert!(!index.entries().iter().any(marks));
            }
            // A tar of it, unpacked over the tars of the base, shows the same.
            let mut pulled = Vec::new();
            for id in base.iter().chain([&squashed]) {
                let mut tar = Vec::new();
                store.layers().write_tar(id, &mut tar).expect("tar");
                let blob = store.blobs().put(&tar).expect("put");
                let blob = cooper_oci::Descriptor::new(cooper_oci::media_type::OCI_LAYER_TAR, blob, tar.len() as u64);
                let other = crate::testing::store();
                let digest = other.1.blobs().put(&tar).expect("put");
                prop_assert_eq!(&digest, &blob.digest);
                let applied = other.1.layers().apply(&cooper_oci::DiffId(digest), &blob).expect("apply");
                let index = applied.index().expect("index");
                pulled.push((other, index, applied.fs()));
            }
            let tree = crate::MergedTree::new(pulled.iter().map(|(_, index, fs)| (index.clone(), fs.clone().into())).collect());
            let whole = store.layers().tree(&ids).expect("tree");
            prop_assert_eq!(
                tree.digest(&RelPath::root()).expect("digest"),
                whole.digest(&RelPath::root()).expect("digest")
            );
            prop_assert_eq!(store.layers().squash(base, new, &|| true).expect("again"), squashed);
        }
    }

    #[test]
    fn marks_stay_where_the_base_has_something() {
        if !is_root("makes whiteouts") {
            return;
        }
        let (_dir, store) = store();
        let item = |entry: Entry| CopyItem {
            source: if entry.is_file() {
                Source::Bytes(b"x".to_vec())
            } else {
                Source::None
            },
            entry,
        };
        let file = |path: &str| {
            let mut entry = Entry::file(path.into(), 0o644, 0, crate::ContentHash::UNHASHED);
            entry.mtime = Timestamp { secs: 5, nanos: 0 };
            item(entry)
        };
        let dir = |path: &str| item(Entry::dir(path.into(), 0o755));
        let gone = |path: &str| item(Entry::whiteout(path.into()));
        let base = commit(
            &store,
            vec![file("kept"), file("old"), dir("d"), file("d/x")],
        );
        let one = commit(&store, vec![gone("old"), file("temporary"), gone("d")]);
        let two = commit(&store, vec![gone("temporary"), dir("d"), file("d/y")]);
        let id = store
            .layers()
            .squash(
                std::slice::from_ref(base.id()),
                &[one.id().clone(), two.id().clone()],
                &|| true,
            )
            .expect("squash");
        let layer = store.layers().get(&id).expect("get").expect("there");
        let index = layer.index().expect("index");
        let shown: Vec<_> = index
            .entries()
            .iter()
            .map(|entry| (entry.path.to_string(), entry.kind.clone()))
            .filter(|(_, kind)| !matches!(kind, EntryKind::File { .. }))
            .collect();
        assert_eq!(
            shown,
            [
                ("/d".to_owned(), EntryKind::Dir { opaque: true }),
                ("/old".to_owned(), EntryKind::Whiteout),
            ]
        );
        assert_eq!(index.entries().len(), 3, "{:?}", index.entries());
    }
}
