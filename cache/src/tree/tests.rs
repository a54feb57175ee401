//! Merging, resolving and digesting small stacks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn file(path: &str, data: &str) -> Entry {
    let content = ContentHash::of(data.as_bytes());
    Entry::file(path.into(), 0o644, data.len() as u64, content)
}

fn dir(path: &str) -> Entry {
    Entry::dir(path.into(), 0o755)
}

fn opaque(path: &str) -> Entry {
    Entry::new(path.into(), EntryKind::Dir { opaque: true }, 0o755)
}

fn gone(path: &str) -> Entry {
    Entry::whiteout(path.into())
}

fn link(path: &str, target: &str) -> Entry {
    Entry::symlink(path.into(), target.as_bytes())
}

fn stack(layers: Vec<Vec<Entry>>) -> MergedTree {
    let layer = |(number, entries)| {
        (
            Arc::new(LayerIndex::new(entries)),
            PathBuf::from(format!("/layers/{number}/fs")).into(),
        )
    };
    MergedTree::new(layers.into_iter().enumerate().map(layer).collect())
}

fn names(tree: &MergedTree) -> Vec<String> {
    tree.walk(&RelPath::root())
        .map(|node| node.entry.path.to_string())
        .collect()
}

#[test]
fn upper_layers_replace_delete_and_hide() {
    let tree = stack(vec![
        vec![
            dir("d"),
            file("d/keep", "1"),
            file("d/x", "1"),
            dir("o"),
            file("o/x", "1"),
            file("f", "1"),
            dir("r"),
            file("r/old", "1"),
            file("was", "1"),
        ],
        vec![
            dir("d"),
            gone("d/x"),
            opaque("o"),
            file("o/y", "2"),
            dir("f"),
            file("f/in", "2"),
            file("r", "2"),
        ],
        vec![
            dir("d"),
            file("d/new", "3"),
            dir("r"),
            gone("was"),
            dir("empty"),
        ],
    ]);
    assert_eq!(
        names(&tree),
        [
            "/", "/d", "/d/keep", "/d/new", "/empty", "/f", "/f/in", "/o", "/o/y", "/r"
        ],
    );
    assert_eq!(
        tree.get(&"d/keep".into()).map(|node| node.file_path()),
        Some("/layers/0/fs/d/keep".into())
    );
    assert_eq!(tree.get(&"d".into()).expect("d").layer, 2);
    let children: Vec<_> = tree
        .children(&"d".into())
        .map(|node| node.entry.path.to_string())
        .collect();
    assert_eq!(children, ["/d/keep", "/d/new"]);
    let children: Vec<_> = tree
        .children(&RelPath::root())
        .map(|node| node.entry.path.to_string())
        .collect();
    assert_eq!(children, ["/d", "/empty", "/f", "/o", "/r"]);
    assert_eq!(tree.children(&"nowhere".into()).count(), 0);
    assert_eq!(tree.len(), 10);
}

#[test]
fn what_a_removed_file_hid_stays_hidden() {
    // The directory of layer 2 lies over the file of layer 1, which lies over the directory of layer 0.
    let tree = stack(vec![
        vec![dir("p"), file("p/deep", "0")],
        vec![file("p", "1")],
        vec![dir("p"), file("p/top", "2")],
    ]);
    assert_eq!(names(&tree), ["/", "/p", "/p/top"]);
}

#[test]
fn paths_resolve_as_for_a_process_inside() {
    let tree = stack(vec![vec![
        dir("usr"),
        dir("usr/bin"),
        file("usr/bin/sh", ""),
        link("bin", "usr/bin"),
        link("abs", "/usr/bin/sh"),
        link("up", "../../../usr"),
        link("loop", "loop2"),
        link("loop2", "loop"),
        link("usr/dangling", "../new/file"),
        file("f", ""),
    ]]);
    for (path, follow, expected, exists) in [
        ("bin/sh", false, "/usr/bin/sh", true),
        ("bin", false, "/bin", true),
        ("bin", true, "/usr/bin", true),
        ("abs", true, "/usr/bin/sh", true),
        ("up/bin/sh", true, "/usr/bin/sh", true),
        ("usr/dangling", true, "/new/file", false),
        ("bin/missing/deeper", true, "/usr/bin/missing/deeper", false),
        ("", true, "/", true),
    ] {
        let resolved = tree.resolve(&path.into(), follow).expect(path);
        assert_eq!(
            (resolved.path.to_string().as_str(), resolved.exists),
            (expected, exists),
            "{path}"
        );
    }
    assert!(matches!(
        tree.resolve(&"loop/x".into(), true),
        Err(ResolveError::Loop { .. })
    ));
    assert_eq!(
        tree.resolve(&"f/x".into(), true),
        Err(ResolveError::NotADirectory { path: "f".into() }),
    );
    assert!(matches!(
        tree.digest(&"no".into()),
        Err(ResolveError::NotFound { .. })
    ));
}

#[test]
fn a_digest_depends_on_content_alone() {
    let flat = stack(vec![vec![dir("a"), file("a/x", "1"), file("a/y", "2")]]);
    let layered = stack(vec![
        vec![
            dir("a"),
            file("a/x", "old"),
            file("a/gone", "0"),
            file("a/y", "2"),
        ],
        vec![
            opaque("a"),
            file("a/x", "1"),
            file("a/y", "2"),
            dir("other"),
        ],
    ]);
    let moved = stack(vec![vec![
        dir("b"),
        dir("b/c"),
        file("b/c/x", "1"),
        file("b/c/y", "2"),
    ]]);
    let mut later = file("a/x", "1");
    later.mtime.secs = 77;
    let touched = stack(vec![vec![dir("a"), later, file("a/y", "2")]]);
    let digest = flat.digest(&"a".into()).expect("digest");
    for (tree, path) in [(&layered, "a"), (&moved, "b/c"), (&touched, "a")] {
        assert_eq!(tree.digest(&path.into()), Ok(digest), "{path}");
    }
    let mut executable = file("a/x", "1");
    executable.mode = 0o755;
    for different in [
        vec![dir("a"), file("a/x", "1")],
        vec![dir("a"), file("a/x", "1"), file("a/z", "2")],
        vec![dir("a"), executable, file("a/y", "2")],
        vec![
            Entry::dir("a".into(), 0o700),
            file("a/x", "1"),
            file("a/y", "2"),
        ],
    ] {
        assert_ne!(stack(vec![different]).digest(&"a".into()), Ok(digest));
    }
}

#[test]
fn hard_links_count_within_the_digested_tree_only() {
    let linked = |path: &str, group| Entry {
        hardlink: Some(group),
        ..file(path, "1")
    };
    let plain = stack(vec![vec![dir("a"), file("a/x", "1"), file("a/y", "1")]]);
    let joined = stack(vec![vec![dir("a"), linked("a/x", 4), linked("a/y", 4)]]);
    let other_number = stack(vec![vec![dir("a"), linked("a/x", 9), linked("a/y", 9)]]);
    let outside = stack(vec![vec![
        dir("a"),
        linked("a/x", 4),
        file("a/y", "1"),
        linked("z", 4),
    ]]);
    let layers = stack(vec![
        vec![dir("a"), linked("a/x", 4)],
        vec![dir("a"), linked("a/y", 4)],
    ]);
    let digest = |tree: &MergedTree| tree.digest(&"a".into()).expect("digest");
    assert_ne!(digest(&plain), digest(&joined));
    assert_eq!(digest(&joined), digest(&other_number));
    assert_eq!(digest(&plain), digest(&outside));
    assert_eq!(digest(&plain), digest(&layers));
}

#[test]
fn the_encoding_of_digests_is_pinned() {
    let mut caps = file("d/caps", "x");
    caps.xattrs = vec![(b"security.capability"[..].into(), b"\x01"[..].into())];
    caps.hardlink = Some(3);
    let again = Entry {
        path: "d/caps2".into(),
        ..caps.clone()
    };
    let entries = vec![
        opaque("d"),
        caps,
        again,
        gone("g"),
        link("l", "d"),
        Entry::new("n".into(), EntryKind::CharDev { major: 1, minor: 3 }, 0o666),
        Entry::new("p".into(), EntryKind::Fifo, 0o600),
    ];
    let digest = LayerIndex::new(entries).digest().to_string();
    assert_eq!(
        digest,
        "322c5709fcc77ce6aa1aa2cdb07c061c444b5af1de6f429c40a8a95af967a551"
    );
    let tree = stack(vec![vec![dir("a"), file("a/x", "1")]]);
    assert_eq!(
        tree.digest(&"a".into()).expect("digest").to_string(),
        "21b586856604b49c8b00f61d0591c3553be7467ba8795268fe1a9012254ce0ce"
    );
    assert_eq!(
        digest.parse::<TreeDigest>().expect("parse").to_string(),
        digest
    );
}

/// A naive overlay: path → entry, applied layer by layer.
fn naive(layers: &[Vec<Entry>]) -> BTreeMap<RelPath, Entry> {
    let mut merged: BTreeMap<RelPath, Entry> = BTreeMap::new();
    for layer in layers {
        for entry in LayerIndex::new(layer.clone()).entries() {
            let keeps_content = entry.kind == (EntryKind::Dir { opaque: false })
                && merged.get(&entry.path).is_some_and(Entry::is_dir);
            if !keeps_content {
                merged.retain(|path, _| !path.starts_with(&entry.path));
            }
            if !entry.is_whiteout() {
                merged.insert(entry.path.clone(), entry.clone());
            }
        }
    }
    merged
}

fn layer() -> impl Strategy<Value = Vec<Entry>> {
    let one = (proptest::collection::vec(0_u8..3, 1..4), 0_u8..4);
    proptest::collection::vec(one, 0..12).prop_map(|specs| {
        let mut entries: BTreeMap<RelPath, Entry> = BTreeMap::new();
        for (names, kind) in specs {
            let path = names
                .iter()
                .fold(RelPath::root(), |path, name| path.join([b'a' + name]));
            let above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent)
                .filter(|dir| !dir.is_root())
                .collect();
            let blocked = above
                .iter()
                .any(|dir| entries.get(dir).is_some_and(|entry| !entry.is_dir()));
            if blocked || entries.contains_key(&path) {
                continue;
            }
            for up in above {
                entries
                    .entry(up.clone())
                    .or_insert_with(|| Entry::dir(up, 0o755));
            }
            let entry = match kind {
                0 => Entry::dir(path.clone(), 0o700),
                1 => Entry::new(path.clone(), EntryKind::Dir { opaque: true }, 0o711),
                2 => Entry::whiteout(path.clone()),
                _ => Entry::file(path.clone(), 0o644, 1, ContentHash::of(b"x")),
            };
            entries.insert(path, entry);
        }
        entries.into_values().collect()
    })
}

proptest! {
    #[test]
    fn merging_agrees_with_applying_layer_by_layer(layers in proptest::collection::vec(layer(), 0..7)) {
        let expected = naive(&layers);
        let tree = stack(layers);
        let merged: Vec<&Entry> = tree.walk(&RelPath::root()).skip(1).map(|node| node.entry).collect();
        prop_assert_eq!(merged, expected.values().collect::<Vec<_>>());
        for path in expected.keys() {
            let below = expected.keys().filter(|other| other.starts_with(path)).count();
            prop_assert_eq!(tree.walk(path).len(), below);
            let children = expected.keys().filter(|other| other.parent().as_ref() == Some(path)).count();
            prop_assert_eq!(tree.children(path).count(), children);
        }
    }
}
