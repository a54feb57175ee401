//! Layers from staging to tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::{FileType, Mode, XattrFlags};

use super::*;
use crate::checksum::ContentHash;
use crate::store::Store;
use crate::testing::{is_root, store};

fn write(staging: &Staging, path: &str, data: &str) {
    let full = staging.fs().join(path);
    fs::create_dir_all(full.parent().expect("parent")).expect("mkdir");
    fs::write(full, data).expect("write");
}

fn paths(index: &LayerIndex) -> Vec<String> {
    index
        .entries()
        .iter()
        .map(|entry| entry.path.to_string())
        .collect()
}

/// Returns what an overlay may leave: links, marks, devices, attributes. Only root can make it.
fn full_upper(store: &Store) -> Staging {
    let staging = store.layers().prepare().expect("prepare");
    write(&staging, "etc/passwd", "root");
    write(&staging, "etc/.wh.secret", "vanishes");
    write(&staging, "opaque/new", "x");
    let fs_dir = staging.fs();
    fs::hard_link(fs_dir.join("etc/passwd"), fs_dir.join("etc/passwd-")).expect("link");
    symlink("passwd", fs_dir.join("etc/link")).expect("symlink");
    let cwd = rustix::fs::CWD;
    let mknod = |name: &str, kind, device| {
        rustix::fs::mknodat(
            cwd,
            fs_dir.join(name),
            kind,
            Mode::from_raw_mode(0o600),
            device,
        )
        .expect("mknod");
    };
    mknod("gone", FileType::CharacterDevice, rustix::fs::makedev(0, 0));
    mknod("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    mknod("pipe", FileType::Fifo, 0);
    let _socket = std::os::unix::net::UnixListener::bind(fs_dir.join("sock")).expect("bind");
    let set = |path: &str, name: &str| {
        rustix::fs::setxattr(fs_dir.join(path), name, b"y", XattrFlags::empty()).expect("xattr");
    };
    set("opaque", "trusted.overlay.opaque");
    set("etc", "trusted.overlay.impure");
    fs::set_permissions(
        fs_dir.join("etc/passwd"),
        fs::Permissions::from_mode(0o4640),
    )
    .expect("chmod");
    staging
}

#[test]
fn a_commit_reads_everything_an_upper_can_hold() {
    if !is_root("makes devices and trusted attributes") {
        return;
    }
    let (_dir, store) = store();
    let staging = full_upper(&store);
    let layer = store.layers().commit(staging).expect("commit");
    let index = layer.index().expect("index");
    assert_eq!(
        paths(&index),
        [
            "/etc",
            "/etc/link",
            "/etc/passwd",
            "/etc/passwd-",
            "/gone",
            "/null",
            "/opaque",
            "/opaque/new",
            "/pipe"
        ],
    );
    let get = |path: &str| index.get(&path.into()).expect(path).clone();
    assert_eq!(
        get("etc/passwd").kind,
        EntryKind::File {
            size: 4,
            content: ContentHash::of(b"root")
        }
    );
    assert_eq!(get("etc/passwd").mode, 0o4640);
    assert!(get("etc/passwd").hardlink.is_some());
    assert_eq!(get("etc/passwd").hardlink, get("etc/passwd-").hardlink);
    assert_eq!(get("etc/passwd-").kind, get("etc/passwd").kind);
    assert_eq!(
        get("etc/link").kind,
        EntryKind::Symlink {
            target: b"passwd"[..].into()
        }
    );
    assert_eq!(get("gone").kind, EntryKind::Whiteout);
    assert_eq!(get("null").kind, EntryKind::CharDev { major: 1, minor: 3 });
    assert_eq!(get("pipe").kind, EntryKind::Fifo);
    assert_eq!(get("opaque").kind, EntryKind::Dir { opaque: true });
    assert_eq!(get("etc").xattrs, []);

    let again = store.layers().get(layer.id()).expect("get").expect("there");
    assert_eq!(*again.index().expect("index"), *index);
    assert!(layer.fs().join("etc/passwd").exists() && !layer.fs().join("../work").exists());
}

#[test]
fn the_same_content_is_the_same_layer_whenever_it_was_made() {
    let (_dir, store) = store();
    let make = |seconds: u64| {
        let staging = store.layers().prepare().expect("prepare");
        write(&staging, "a/b", "same");
        let file = fs::File::open(staging.fs().join("a/b")).expect("open");
        let when = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(when).expect("utime");
        store.layers().commit(staging).expect("commit")
    };
    let (first, second) = (make(1), make(2));
    assert_eq!(first.id(), second.id());
    assert_eq!(
        fs::metadata(second.fs().join("a/b")).expect("stat").mtime(),
        1
    );
    assert_eq!(fs::read_dir(store.tmp()).expect("tmp").count(), 0);
}

#[test]
fn a_root_directory_is_an_entry_only_if_it_was_changed() {
    let (_dir, store) = store();
    let staging = store.layers().prepare().expect("prepare");
    fs::set_permissions(staging.fs(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let layer = store.layers().commit(staging).expect("commit");
    assert_eq!(paths(&layer.index().expect("index")), ["/"]);

    let mut staging = store.layers().prepare().expect("prepare");
    staging
        .inherit_root(
            layer
                .index()
                .expect("index")
                .entries()
                .first()
                .expect("root"),
        )
        .expect("root");
    let layer = store.layers().commit(staging).expect("commit");
    assert_eq!(paths(&layer.index().expect("index")), Vec::<String>::new());
}

#[test]
fn populating_gives_the_layer_that_walking_would_find() {
    let (dir, store) = store();
    let foreign = dir.path().join("foreign");
    fs::write(&foreign, "from outside").expect("write");
    let mut items = vec![
        CopyItem {
            entry: Entry::dir("d".into(), 0o550),
            source: Source::None,
        },
        CopyItem {
            entry: Entry::file("d/f".into(), 0o4755, 0, ContentHash::UNHASHED),
            source: Source::Foreign(foreign.clone()),
        },
        CopyItem {
            entry: Entry::symlink("d/l".into(), *b"/x"),
            source: Source::None,
        },
        CopyItem {
            entry: Entry::whiteout("gone".into()),
            source: Source::None,
        },
        CopyItem {
            entry: Entry::file("d/f".into(), 0o644, 0, ContentHash::UNHASHED),
            source: Source::Bytes(b"last wins".to_vec()),
        },
    ];
    for number in 0..40 {
        let mut entry = Entry::file(
            format!("d/{number}").as_str().into(),
            0o600,
            0,
            ContentHash::UNHASHED,
        );
        entry.hardlink = Some(number / 2);
        entry.mtime = Timestamp { secs: 5, nanos: 7 };
        items.push(CopyItem {
            entry,
            source: Source::Bytes(vec![(number / 2) as u8; 3]),
        });
    }
    let staging = store.layers().prepare().expect("prepare");
    let index = staging.populate(items).expect("populate");
    let walked = walk::scan_upper(&staging, false).expect("walk").index;
    assert_eq!(walked.digest(), index.digest());
    assert_eq!(
        fs::read(staging.fs().join("d/f")).expect("read"),
        b"last wins"
    );
    let mtime = fs::metadata(staging.fs().join("d/7")).expect("stat");
    assert_eq!(
        (mtime.mtime(), mtime.mtime_nsec(), mtime.nlink()),
        (5, 7, 2)
    );
    let layer = store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit");
    assert!(layer.fs().join("d/l").is_symlink());
}

#[test]
fn a_file_that_changes_between_hashing_and_copying_is_refused() {
    let (dir, store) = store();
    let foreign = dir.path().join("foreign");
    fs::write(&foreign, "now").expect("write");
    let entry = Entry::file("f".into(), 0o644, 3, ContentHash::of(b"old"));
    let staging = store.layers().prepare().expect("prepare");
    let result = staging.populate(vec![CopyItem {
        entry,
        source: Source::Foreign(foreign.clone()),
    }]);
    assert!(matches!(result, Err(StoreError::Changed { path }) if path == foreign));
}

#[test]
fn an_index_without_its_directories_is_refused() {
    let (_dir, store) = store();
    let staging = store.layers().prepare().expect("prepare");
    let entry = Entry::file("a/b".into(), 0o644, 0, ContentHash::of(b""));
    let index = LayerIndex::new(vec![entry]);
    let result = store.layers().commit_indexed(staging, index);
    assert!(matches!(result, Err(StoreError::Invalid { .. })));
}

#[test]
fn an_index_survives_encoding_and_any_flipped_bit_is_noticed() {
    let mut file = Entry::file("a/\u{fe}\nb".into(), 0o4711, 9, ContentHash::of(b"x"));
    file.xattrs = vec![(b"user.k"[..].into(), b"\0v"[..].into())];
    file.hardlink = Some(3);
    file.mtime = Timestamp {
        secs: -1,
        nanos: 999_999_999,
    };
    let index = LayerIndex::new(vec![
        Entry::dir("a".into(), 0o1777),
        file,
        Entry::whiteout("z".into()),
    ]);
    let encoded = index.encode();
    assert_eq!(LayerIndex::decode(&encoded), Ok(index));
    for at in 0..encoded.len() {
        let mut broken = encoded.clone();
        broken[at] ^= 0x10;
        assert!(LayerIndex::decode(&broken).is_err(), "byte {at}");
    }
    assert_eq!(
        LayerIndex::decode(&encoded[..encoded.len() - 1]),
        Err(DecodeError::Checksum)
    );
}

#[test]
fn stale_work_of_dead_processes_is_swept_and_a_format_from_the_future_refused() {
    let (dir, store) = store();
    let garbage = dir.path().join("tmp/999999-0-1");
    fs::create_dir_all(garbage.join("fs/locked")).expect("mkdir");
    fs::set_permissions(garbage.join("fs/locked"), fs::Permissions::from_mode(0o0)).expect("chmod");
    let held = store.layers().prepare().expect("prepare");
    let second = crate::Store::open(dir.path(), crate::StoreOptions::default()).expect("open");
    assert!(second.tmp().is_dir());
    assert!(!garbage.exists() && held.fs().exists());
    assert_eq!(
        fs::read_dir(dir.path().join("tmp")).expect("tmp").count(),
        4
    );
    drop((held, store, second));
    assert_eq!(
        fs::read_dir(dir.path().join("tmp")).expect("tmp").count(),
        0
    );

    fs::write(dir.path().join("format"), "cooper-store 9 trusted\n").expect("write");
    let refused = crate::Store::open(dir.path(), crate::StoreOptions::default());
    assert!(
        matches!(refused, Err(StoreError::Format { found, .. }) if found == "cooper-store 9 trusted")
    );
}

#[test]
fn a_layer_of_an_earlier_boot_is_verified_before_it_is_used() {
    let (_dir, store) = store();
    let make = |data: &str| {
        let staging = store.layers().prepare().expect("prepare");
        write(&staging, "f", data);
        let layer = store.layers().commit(staging).expect("commit");
        fs::write(layer.dir.join("stamp"), "another boot").expect("write");
        layer
    };
    let whole = make("whole");
    assert!(store.layers().get(whole.id()).expect("get").is_some());
    assert_eq!(
        fs::read_to_string(whole.dir.join("stamp")).expect("read"),
        store.layers().shared.boot_id
    );
    let lost = make("lost");
    fs::write(lost.fs().join("f"), "").expect("truncate");
    assert!(store.layers().get(lost.id()).expect("get").is_none());
    assert!(!lost.dir.exists() && !store.layers().has(lost.id()));
    assert_eq!(make("lost").id(), lost.id());
}

#[test]
fn a_diff_id_names_the_layer_built_with_that_tar_only_while_it_is_there() {
    let (_dir, store) = store();
    let staging = store.layers().prepare().expect("prepare");
    write(&staging, "f", "data");
    let built = store.layers().commit(staging).expect("commit");
    let diff_id = store.layers().diff_id(built.id()).expect("diff id");
    assert_eq!(store.layers().name_of(&diff_id), *built.id());

    fs::remove_dir_all(&built.dir).expect("remove");
    assert_eq!(store.layers().alias(&diff_id), Some(built.id().clone()));
    assert_eq!(
        store.layers().name_of(&diff_id),
        LayerId::Pulled(diff_id.clone())
    );
}

/// Copies a layer's blob to another store, where it stands for the layer.
fn carry(from: &Store, to: &Store, id: &LayerId) -> DiffId {
    let gzip = cooper_oci::Compression::Gzip;
    let blob = from.layers().pack(id, gzip, None).expect("pack");
    let diff_id = from.layers().diff_id(id).expect("diff id");
    let bytes = from.blobs().read(&blob.digest).expect("read");
    to.blobs().put(&bytes).expect("put");
    to.layers().adopt(id, &diff_id).expect("adopt");
    to.layers()
        .register_blob(&diff_id, &blob)
        .expect("register");
    diff_id
}

#[test]
fn a_layer_that_many_want_at_once_is_unpacked_by_one_of_them() {
    let (_dir, from) = store();
    let make = |data: &str| {
        let staging = from.layers().prepare().expect("prepare");
        for number in 0..200 {
            write(&staging, &format!("f{number}"), data);
        }
        let layer = from.layers().commit(staging).expect("commit");
        layer.id().clone()
    };
    let (first, second) = (make("first"), make("second"));
    let (_dir, to) = store();
    carry(&from, &to, &first);
    carry(&from, &to, &second);
    let serial = || {
        let path = to.shared().tmp_path();
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.rsplit('.').next()?.parse::<u64>().ok())
    };
    let taken = |work: &dyn Fn()| {
        let before = serial().expect("a number");
        work();
        serial().expect("a number") - before
    };
    let ensure = |id: &LayerId| to.layers().ensure_dir(id).map(drop).expect("ensure");
    let by_one = taken(&|| ensure(&first));
    let start = std::sync::Barrier::new(8);
    let by_many = taken(&|| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    ensure(&second);
                });
            }
        });
    });
    assert_eq!(by_many, by_one, "of everything unfinished there was one");
}

#[test]
fn a_built_layer_arrives_in_another_store_as_its_blob_and_is_the_same_there() {
    if !is_root("makes devices and trusted attributes") {
        return;
    }
    let ((_here, here), (_there, there)) = (store(), store());
    let layer = here.layers().commit(full_upper(&here)).expect("commit");
    let id = layer.id();
    let diff_id = carry(&here, &there, id);
    let layers = there.layers();
    assert!(layers.has(id) && layers.get(id).expect("get").is_none());
    assert_eq!(layers.name_of(&diff_id), *id);
    let gzip = cooper_oci::Compression::Gzip;
    let packed = |store: &Store| store.layers().pack(id, gzip, None).expect("pack");
    assert_eq!(packed(&there), packed(&here), "it is sent on as it came");

    there
        .records()
        .put(&[1; 32], b"v", std::slice::from_ref(id))
        .expect("put");
    let kept = there.gc(&crate::GcOptions::default()).expect("gc");
    assert_eq!((kept.blobs.len(), kept.records), (0, 0));
    assert_eq!(there.fsck(false).expect("fsck").problems, []);
    assert!(layers.has(id));

    let unpacked = layers.ensure_dir(id).expect("unpack");
    let (there, here) = (
        unpacked.index().expect("index"),
        layer.index().expect("index"),
    );
    assert_eq!(there.digest(), here.digest());
    assert_eq!(paths(&there), paths(&here));
}

#[test]
fn a_blob_that_holds_another_layer_than_it_stands_for_is_refused() {
    let ((_here, here), (_there, there)) = (store(), store());
    let id = crate::testing::layer(&here, "true");
    let diff_id = carry(&here, &there, &id);
    let LayerId::Built(other) = crate::testing::layer(&here, "false") else {
        panic!("layers of staging are built")
    };
    let lie = LayerId::Built(other);
    there.layers().adopt(&lie, &diff_id).expect("adopt");
    let error = there.layers().ensure_dir(&lie).expect_err("refused");
    assert!(
        matches!(error, StoreError::TreeMismatch { expected, .. } if expected == other),
        "{error:?}"
    );
    assert!(!there.layers().has(&lie), "it is fetched anew");
}
