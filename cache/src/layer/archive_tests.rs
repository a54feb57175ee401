//! What ADD makes of archives.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::error::ArchiveError;
use crate::store::Store;
use crate::testing::store;

fn tar(members: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, data) in members {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
        let is_file = *kind == tar::EntryType::Regular;
        if !is_file {
            header.as_gnu_mut().expect("gnu").linkname[..data.len()]
                .copy_from_slice(data.as_bytes());
        }
        header.set_entry_type(*kind);
        header.set_mode(0o4711);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1);
        let data = if is_file { data.as_bytes() } else { b"" };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).expect("append");
    }
    builder.into_inner().expect("finish")
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;

fn on_disk(store: &Store, data: &[u8]) -> FileBytes {
    let path = store
        .tmp()
        .join(format!("archive-{}", blake3::hash(data).to_hex()));
    fs::write(&path, data).expect("write");
    FileBytes::of(path)
}

/// A base with `/etc/passwd`, `/srv` of mode 0700 owned by 1:1, `/lib` → `usr/lib`.
fn base() -> MergedTree {
    let mut srv = Entry::dir("srv".into(), 0o700);
    (srv.uid, srv.gid) = (1, 1);
    let entries = vec![
        Entry::dir("etc".into(), 0o755),
        Entry::file("etc/passwd".into(), 0o644, 0, crate::ContentHash::of(b"")),
        Entry::symlink("lib".into(), *b"usr/lib"),
        Entry::symlink("srv/out".into(), *b"/etc"),
        srv,
        Entry::dir("usr".into(), 0o755),
        Entry::dir("usr/lib".into(), 0o750),
    ];
    MergedTree::new(vec![(
        Arc::new(LayerIndex::new(entries)),
        PathBuf::from("/nowhere").into(),
    )])
}

type Shown = BTreeMap<String, (u32, u32, u32)>;

fn add(
    dest: &str,
    owner: Option<(u32, u32)>,
    members: &[(&str, tar::EntryType, &str)],
) -> Result<Shown, StoreError> {
    let (_dir, store) = store();
    let staging = store.layers().prepare().expect("prepare");
    let tree = base();
    let how = Unpack {
        tree: &tree,
        dest: dest.into(),
        owner,
        limits: Limits::default(),
    };
    let unpacked = unpack_archive(&on_disk(&store, &tar(members)), &staging, &how)?;
    let shown = |entry: &Entry| (entry.path.to_string(), (entry.mode, entry.uid, entry.gid));
    let shown = unpacked.entries.iter().map(shown).collect();
    store
        .layers()
        .commit_indexed(staging, LayerIndex::new(unpacked.entries))
        .expect("commit");
    Ok(shown)
}

fn expect(entries: &[(&str, (u32, u32, u32))]) -> Shown {
    entries
        .iter()
        .map(|(path, meta)| ((*path).to_owned(), *meta))
        .collect()
}

#[test]
fn archives_land_in_their_destination_with_their_own_metadata() {
    let found = add(
        "srv",
        None,
        &[
            ("../up", FILE, "1"),
            ("new/implied", FILE, "2"),
            ("./", DIR, ""),
        ],
    );
    assert_eq!(
        found.expect("add"),
        expect(&[
            // BuildKit skips the entry of the archive's own top.
            ("/srv", (0o700, 1, 1)),
            ("/srv/new", (0o755, 0, 0)),
            ("/srv/new/implied", (0o4711, 7, 8)),
            ("/srv/up", (0o4711, 7, 8)),
        ]),
    );
    let found = add("srv", Some((5, 6)), &[("f", FILE, "1")]);
    assert_eq!(
        found.expect("add"),
        expect(&[("/srv", (0o700, 1, 1)), ("/srv/f", (0o4711, 5, 6))]),
    );
}

#[test]
fn implied_directories_follow_links_but_not_out_of_the_destination() {
    let found = add("", None, &[("lib/x", FILE, "1")]).expect("add");
    assert_eq!(
        found,
        expect(&[
            ("/usr", (0o755, 0, 0)),
            ("/usr/lib", (0o750, 0, 0)),
            ("/usr/lib/x", (0o4711, 7, 8)),
        ]),
    );
    for members in [
        &[("out/passwd", FILE, "evil")][..],
        &[("s", LINK, "../etc"), ("s/passwd", FILE, "evil")],
        &[("s", LINK, "/etc"), ("s/passwd", FILE, "evil")],
    ] {
        let refused = add("srv", None, members);
        assert!(
            matches!(
                refused,
                Err(StoreError::Archive(ArchiveError::Escapes { .. }))
            ),
            "{members:?}: {refused:?}"
        );
    }
    let replaced = add("", None, &[("lib", DIR, ""), ("lib/x", FILE, "1")]).expect("add");
    assert_eq!(
        replaced,
        expect(&[("/lib", (0o4711, 7, 8)), ("/lib/x", (0o4711, 7, 8))]),
    );
}

#[test]
fn whiteout_names_remove_what_is_below() {
    let found = add(
        "",
        None,
        &[("etc/.wh.passwd", FILE, ""), ("etc/.wh.unknown", FILE, "")],
    );
    assert_eq!(
        found.expect("add"),
        expect(&[("/etc", (0o755, 0, 0)), ("/etc/passwd", (0, 0, 0))])
    );
}

#[test]
fn archives_are_known_by_content() {
    let (_dir, store) = store();
    let plain = tar(&[("f", FILE, "data")]);
    let gzip = |data: &[u8]| {
        let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut out = vec![0; encoder.gzip_compress_bound(data.len())];
        let length = encoder.gzip_compress(data, &mut out).expect("compress");
        out.truncate(length);
        out
    };
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).expect("xz");
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(&plain).expect("bzip2");
    let packed = [
        ("tar", plain.clone(), true),
        ("gzip", gzip(&plain), true),
        ("xz", xz.finish().expect("xz"), true),
        ("bzip2", bz.finish().expect("bzip2"), true),
        ("zstd", zstd::bulk::compress(&plain, 1).expect("zstd"), true),
        ("empty", Vec::new(), false),
        ("text", b"just some text".to_vec(), false),
        ("long text", vec![b'a'; 2000], false),
        ("lone gzip", gzip(b"no tar"), false),
        ("truncated gzip", gzip(&plain)[..20].to_vec(), false),
        ("fake bzip2", b"BZh9nonsense".to_vec(), false),
        ("zeros", vec![0; 10_240], false),
    ];
    for (what, data, expected) in packed {
        let path = on_disk(&store, &data);
        assert_eq!(detect_archive(&path).expect(what), expected, "{what}");
        if expected {
            let staging = store.layers().prepare().expect("prepare");
            let tree = MergedTree::new(Vec::new());
            let how = Unpack {
                tree: &tree,
                dest: "d".into(),
                owner: None,
                limits: Limits::default(),
            };
            unpack_archive(&path, &staging, &how).expect(what);
            assert_eq!(
                fs::read(staging.fs().join("d/f")).expect(what),
                b"data",
                "{what}"
            );
        }
    }
}

#[test]
fn an_archive_overwrites_what_earlier_work_left_in_the_staging() {
    let (_dir, store) = store();
    let staging = store.layers().prepare().expect("prepare");
    let file = |path: &str| CopyItem {
        entry: Entry::file(path.into(), 0o600, 0, crate::ContentHash::UNHASHED),
        source: Source::Bytes(b"earlier".to_vec()),
    };
    let dir = CopyItem {
        entry: Entry::dir("d".into(), 0o700),
        source: Source::None,
    };
    let index = staging
        .populate(vec![dir, file("d/a"), file("d/b"), file("l")])
        .expect("populate");
    let tree = MergedTree::new(vec![(Arc::new(index.clone()), staging.fs().into())]);
    let how = Unpack {
        tree: &tree,
        dest: RelPath::root(),
        owner: None,
        limits: Limits::default(),
    };
    let data = tar(&[
        ("d/a", FILE, "later"),
        ("l", LINK, "d/a"),
        ("d/n", FILE, "new"),
    ]);
    let unpacked = unpack_archive(&on_disk(&store, &data), &staging, &how).expect("unpack");
    let entries = index.entries().iter().cloned().chain(unpacked.entries);
    let merged = LayerIndex::new(entries.collect());
    assert_eq!(
        walk::scan_upper(&staging, false)
            .expect("walk")
            .index
            .digest(),
        merged.digest()
    );
    assert_eq!(fs::read(staging.fs().join("l")).expect("read"), b"later");
}
