//! Cache mounts that leave one store and arrive in another.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::XattrFlags;

use super::*;
use crate::checksum::ContentHash;
use crate::layer::{Entry, EntryKind, LayerIndex, Timestamp};
use crate::path::RelPath;
use crate::testing::{is_root, store};

/// A name as the builder gives it.
fn name() -> String {
    "ab".repeat(32)
}

fn mount(store: &Store) -> PathBuf {
    let dir = store.mounts_dir().join(name());
    fs::create_dir_all(&dir).expect("mkdir");
    fs::write(used_file(&store.mounts_dir(), &name()), "").expect("write");
    dir
}

fn pack(store: &Store) -> PackedMount {
    store
        .pack_mount(&name())
        .expect("pack")
        .expect("nobody uses it")
}

/// Copies the blobs that `to` lacks; returns how many those were.
fn carry(from: &Store, to: &Store, packed: &PackedMount) -> usize {
    let missing = packed
        .blobs()
        .into_iter()
        .filter(|blob| !to.blobs().has(&blob.digest));
    let copy = |blob: cooper_oci::Descriptor| {
        let bytes = from.blobs().read(&blob.digest).expect("read");
        assert_eq!(bytes.len() as u64, blob.size);
        to.blobs().put(&bytes).expect("put");
    };
    missing.map(copy).count()
}

/// Bytes that do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Returns all that is to be the same of an entry.
fn look(path: &Path) -> (u32, u32, u32, i64, i64, u64, Option<PathBuf>) {
    let meta = fs::symlink_metadata(path).expect("stat");
    let target = fs::read_link(path).ok();
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    (
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        links,
        target,
    )
}

#[test]
fn a_mount_arrives_as_it_was() {
    if !is_root("changes owners") {
        return;
    }
    let ((_here, here), (_there, there)) = (store(), store());
    let dir = mount(&here);
    fs::create_dir_all(dir.join("pip/http/empty")).expect("mkdir");
    fs::write(dir.join("pip/wheel"), noise(1, 20 << 20)).expect("write");
    fs::write(dir.join("pip/http/none"), "").expect("write");
    fs::write(dir.join("script"), "#!/bin/sh\n").expect("write");
    fs::set_permissions(dir.join("script"), fs::Permissions::from_mode(0o4750)).expect("chmod");
    std::os::unix::fs::chown(dir.join("script"), Some(7), Some(8)).expect("chown");
    fs::set_permissions(dir.join("script"), fs::Permissions::from_mode(0o4750)).expect("chmod");
    fs::hard_link(dir.join("script"), dir.join("pip/again")).expect("link");
    symlink("../outside/../script", dir.join("pip/link")).expect("symlink");
    rustix::fs::setxattr(
        dir.join("script"),
        "user.note",
        b"kept",
        XattrFlags::empty(),
    )
    .expect("xattr");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::set_permissions(dir.join("pip/http"), fs::Permissions::from_mode(0o500)).expect("chmod");

    let packed = pack(&here);
    assert!(packed.chunks.len() > 4, "{}", packed.chunks.len());
    assert!(carry(&here, &there, &packed) > 4);
    assert!(there.unpack_mount(&packed).expect("unpack"));
    assert!(!there.unpack_mount(&packed).expect("unpack"), "it is there");
    let arrived = there.mounts_dir().join(name());
    for path in [
        "",
        "pip",
        "pip/http",
        "pip/http/empty",
        "pip/http/none",
        "pip/wheel",
        "script",
        "pip/again",
        "pip/link",
    ] {
        assert_eq!(look(&arrived.join(path)), look(&dir.join(path)), "{path}");
    }
    assert_eq!(
        fs::read(arrived.join("pip/wheel")).expect("read"),
        noise(1, 20 << 20)
    );
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(arrived.join("script"), "user.note", &mut value);
    assert_eq!(&value[..length.expect("xattr")], b"kept");
    assert_eq!(pack(&there).chunks, packed.chunks);
}

#[test]
fn only_chunks_around_a_change_travel() {
    let ((_here, here), (_there, there)) = (store(), store());
    let dir = mount(&here);
    for number in 0..8_u64 {
        fs::write(dir.join(format!("{number}")), noise(number, 4 << 20)).expect("write");
    }
    let first = pack(&here);
    carry(&here, &there, &first);
    fs::write(dir.join("35"), noise(99, 100_000)).expect("write");
    let second = pack(&here);
    let sent = carry(&here, &there, &second);
    assert!(
        sent <= 5 && second.chunks.len() > 10,
        "{sent} of {}",
        second.chunks.len()
    );
}

#[test]
fn a_mount_in_use_is_left_alone() {
    let (_dir, store) = store();
    mount(&store);
    let hold = store.hold_mount(&name()).expect("hold");
    assert_eq!(store.pack_mount(&name()).expect("pack"), None);
    drop(hold);
    assert!(store.pack_mount(&name()).expect("pack").is_some());
    assert_eq!(
        store.pack_mount(&"cd".repeat(32)).expect("pack"),
        None,
        "there is none"
    );
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: RelPath::from_clean(path.as_bytes()),
        kind,
        mode: 0o755,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: Timestamp::default(),
        xattrs: Vec::new(),
        hardlink: None,
    }
}

/// Packs an index that no store would make, with `content` in one chunk.
fn forge(store: &Store, entries: Vec<Entry>, content: &[u8]) -> PackedMount {
    let index = LayerIndex::of_entries(entries);
    let blob = |plain: &[u8]| {
        let packed = zstd::bulk::compress(plain, 1).expect("pack");
        MountBlob {
            digest: store.blobs().put(&packed).expect("put"),
            size: packed.len() as u64,
            length: plain.len() as u64,
        }
    };
    PackedMount {
        name: name(),
        index: blob(&index.encode()),
        chunks: vec![blob(content)],
    }
}

fn root() -> Entry {
    entry("", EntryKind::Dir { opaque: false })
}

fn file(path: &str) -> Entry {
    let content = ContentHash::of(b"evil");
    entry(path, EntryKind::File { size: 4, content })
}

/// Returns indexes that no cache mount has, and what is said of each.
fn hostile(outside: &Path) -> Vec<(Vec<Entry>, &'static str)> {
    let to_outside = || {
        let target = outside.to_str().expect("text").as_bytes();
        entry(
            "a",
            EntryKind::Symlink {
                target: target.into(),
            },
        )
    };
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = file("f");
        change(&mut entry);
        entry
    };
    let escaping = |path: &str| vec![root(), file(path)];
    vec![
        (escaping("../../../outside/f"), "not a path below"),
        (escaping("/etc/f"), "not a path below"),
        (escaping("a/../f"), "not a path below"),
        (escaping("a\0b"), "not a path below"),
        (escaping(".."), "not a path below"),
        (vec![root(), to_outside(), file("a/f")], "directory"),
        (vec![root(), file("b"), file("a")], "out of order"),
        (vec![file("f")], "out of order"),
        (
            vec![
                root(),
                entry("n", EntryKind::CharDev { major: 1, minor: 3 }),
            ],
            "is a device",
        ),
        (vec![root(), entry("n", EntryKind::Whiteout)], "is a device"),
        (
            vec![root(), entry("d", EntryKind::Dir { opaque: true })],
            "mark of overlays",
        ),
        (
            vec![
                root(),
                with(&|entry| {
                    let value: &[u8] = b"y";
                    entry.xattrs = vec![(b"trusted.overlay.opaque"[..].into(), value.into())];
                }),
            ],
            "attributes",
        ),
        (
            vec![root(), with(&|entry| entry.mode = 0o100_644)],
            "impossible mode",
        ),
        (vec![root(), file("f"), file("g")], "has other content"),
        (
            vec![
                root(),
                with(&|entry| {
                    let content = ContentHash::of(b"good");
                    entry.kind = EntryKind::File { size: 4, content };
                }),
            ],
            "has other content",
        ),
        (
            vec![
                root(),
                with(&|entry| {
                    let content = ContentHash::of(b"evil");
                    entry.kind = EntryKind::File {
                        size: u64::MAX,
                        content,
                    };
                }),
            ],
            "more than",
        ),
    ]
}

#[test]
fn a_hostile_mount_is_refused_and_leaves_nothing() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("mkdir");
    let cases = hostile(&outside);
    for (entries, reason) in cases {
        let packed = forge(&store, entries, b"evil");
        let error = store.unpack_mount(&packed).expect_err(reason);
        let mut said = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            said = format!("{said}: {cause}");
        }
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(store.portable_mounts().expect("list"), [""; 0], "{reason}");
        assert_eq!(fs::read_dir(&outside).expect("list").count(), 0, "{reason}");
    }
    let good = forge(&store, vec![root(), file("f")], b"evil");
    for name in [
        "../../outside/x",
        "git-abc",
        "",
        "AB",
        &format!("{}.x", name()),
    ] {
        let named = PackedMount {
            name: (*name).to_owned(),
            ..good.clone()
        };
        assert!(store.unpack_mount(&named).is_err(), "{name}");
    }
    let bomb = PackedMount {
        chunks: vec![MountBlob {
            length: 2,
            ..good.chunks[0].clone()
        }],
        ..good.clone()
    };
    assert!(store.unpack_mount(&bomb).is_err());
    assert!(store.unpack_mount(&good).expect("unpack"));
}
