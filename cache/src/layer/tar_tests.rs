//! Tars out and in again, honest and hostile ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use cooper_oci::{Compression, Descriptor, DiffId, Digest, media_type};
use proptest::prelude::*;

use super::*;
use crate::checksum::ContentHash;
use crate::error::ArchiveError;
use crate::path::RelPath;
use crate::store::Store;
use crate::testing::{is_root, store};

/// A tar written by the `tar` crate, which allows what no honest writer does.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn raw(mut self, kind: tar::EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().expect("gnu").linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(9);
        header.set_size(data.len() as u64);
        header.set_device_major(1).expect("device");
        header.set_device_minor(3).expect("device");
        header.set_cksum();
        self.0.append(&header, data).expect("append");
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.raw(tar::EntryType::Regular, name, "", data.as_bytes())
    }

    fn dir(self, name: &str) -> Self {
        self.raw(tar::EntryType::Directory, name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(tar::EntryType::Symlink, name, target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.raw(tar::EntryType::Link, name, target, b"")
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("finish")
    }

    fn apply(self, store: &Store) -> Result<Layer, StoreError> {
        apply(store, &self.finish())
    }
}

fn apply(store: &Store, tar: &[u8]) -> Result<Layer, StoreError> {
    let digest = store.blobs().put(tar).expect("put");
    let blob = Descriptor::new(media_type::OCI_LAYER_TAR, digest, tar.len() as u64);
    let diff_id = DiffId(Digest::sha256(tar));
    // Elsewhere as files at once: what is refused, and what is made, is the same.
    let (_dir, other) = crate::testing::store();
    other.blobs().put(tar).expect("put");
    let layers = other.layers();
    layers.register_blob(&diff_id, &blob).expect("register");
    let files = layers.ensure_dir(&LayerId::Pulled(diff_id.clone()));
    let packed = store.layers().apply(&diff_id, &blob);
    match (&files, &packed) {
        (Ok(files), Ok(packed)) => assert_eq!(
            files.index().expect("an index"),
            packed.index().expect("an index")
        ),
        (Err(files), Err(packed)) => assert_eq!(files.to_string(), packed.to_string()),
        other => panic!("one is refused: {other:?}"),
    }
    let packed = packed?;
    assert!(!packed.fs().exists());
    store.layers().ensure_dir(packed.id())
}

fn refusal(result: Result<Layer, StoreError>) -> ArchiveError {
    match result {
        Err(StoreError::Archive(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn kinds(layer: &Layer) -> BTreeMap<String, EntryKind> {
    let index = layer.index().expect("index");
    index
        .entries()
        .iter()
        .map(|entry| (entry.path.to_string(), entry.kind.clone()))
        .collect()
}

fn file(data: &str) -> EntryKind {
    EntryKind::File {
        size: data.len() as u64,
        content: ContentHash::of(data.as_bytes()),
    }
}

const DIR: EntryKind = EntryKind::Dir { opaque: false };

#[test]
fn names_that_climb_land_inside() {
    let (dir, store) = store();
    let layer = Tar::new()
        .file("../../../../../../up", "1")
        .file("/abs", "2")
        .file("a/./b//../c", "3")
        .apply(&store)
        .expect("apply");
    let expected = [
        ("/a", DIR),
        ("/a/c", file("3")),
        ("/abs", file("2")),
        ("/up", file("1")),
    ];
    assert_eq!(
        kinds(&layer),
        expected.map(|(path, kind)| (path.to_owned(), kind)).into()
    );
    assert_eq!(fs::read(layer.fs().join("up")).expect("read"), b"1");
    assert!(!dir.path().join("up").exists());
}

#[test]
fn files_below_links_go_where_the_links_lead_inside() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("mkdir");
    let layer = Tar::new()
        .symlink("abs", outside.to_str().expect("text"))
        .file("abs/f", "1")
        .symlink("rel", "../../../real")
        .file("rel/g", "2")
        .symlink("loop", "loop2")
        .apply(&store)
        .expect("apply");
    assert!(!outside.join("f").exists());
    let inside = RelPath::from(outside.as_path()).join("f");
    assert_eq!(kinds(&layer)[&inside.to_string()], file("1"));
    assert_eq!(kinds(&layer)["/real/g"], file("2"));

    let looping = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/f", "")
        .apply(&store);
    assert!(matches!(
        looping,
        Err(StoreError::Resolve(crate::ResolveError::Loop { .. }))
    ));
}

#[test]
fn hard_links_name_only_what_the_layer_holds() {
    let (_dir, store) = store();
    let layer = Tar::new()
        .file("f", "x")
        .hard("d/g", "/f")
        .hard("h", "d/g")
        .apply(&store)
        .expect("apply");
    let index = layer.index().expect("index");
    let group = |path: &str| index.get(&path.into()).expect(path).hardlink;
    assert!(group("f").is_some() && group("f") == group("d/g") && group("f") == group("h"));
    assert_eq!(kinds(&layer)["/h"], file("x"));
    assert_eq!(fs::metadata(layer.fs().join("f")).expect("stat").nlink(), 3);
    for target in ["/etc/passwd", "../../../etc/passwd", "missing", "d", "/"] {
        let refused = Tar::new().dir("d/").hard("g", target).apply(&store);
        assert!(
            matches!(refusal(refused), ArchiveError::DanglingLink { .. }),
            "{target}"
        );
    }
    let through = Tar::new()
        .symlink("s", "/etc")
        .hard("g", "s/passwd")
        .apply(&store);
    assert!(matches!(
        refusal(through),
        ArchiveError::DanglingLink { .. }
    ));
}

#[test]
fn the_last_of_duplicates_wins_whatever_they_are() {
    let (_dir, store) = store();
    let layer = Tar::new()
        .file("a", "old")
        .file("a", "new")
        .dir("b/")
        .file("b/c", "gone")
        .file("b", "file over dir")
        .symlink("s", "/nowhere")
        .dir("s/")
        .file("s/f", "in dir")
        .hard("l", "a")
        .file("l", "own again")
        .apply(&store)
        .expect("apply");
    let expected = [
        ("/a", file("new")),
        ("/b", file("file over dir")),
        ("/l", file("own again")),
        ("/s", DIR),
        ("/s/f", file("in dir")),
    ];
    assert_eq!(
        kinds(&layer),
        expected.map(|(path, kind)| (path.to_owned(), kind)).into()
    );
    assert_eq!(fs::read(layer.fs().join("a")).expect("read"), b"new");
    assert_eq!(fs::read(layer.fs().join("l")).expect("read"), b"own again");
    let index = layer.index().expect("index");
    assert!(index.entries().iter().all(|entry| entry.hardlink.is_none()));
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    if !is_root("makes trusted attributes") {
        return;
    }
    let (_dir, store) = store();
    let layer = Tar::new()
        .file("d/.wh.gone", "")
        .file("o/.wh..wh..opq", "")
        .file("o/x", "1")
        .file(".wh.again", "")
        .dir("again/")
        .file("own", "stays")
        .file(".wh.own", "")
        .file(".wh..wh.plnk", "")
        .apply(&store)
        .expect("apply");
    let opaque = EntryKind::Dir { opaque: true };
    let expected = [
        ("/again", opaque.clone()),
        ("/d", DIR),
        ("/d/gone", EntryKind::Whiteout),
        ("/o", opaque),
        ("/o/x", file("1")),
        ("/own", file("stays")),
    ];
    assert_eq!(
        kinds(&layer),
        expected.map(|(path, kind)| (path.to_owned(), kind)).into()
    );
    let walked = walk::scan(&layer.fs(), "trusted.overlay.opaque").expect("walk");
    let walked = LayerIndex::new(walked.into_iter().skip(1).collect());
    assert_eq!(walked.digest(), layer.index().expect("index").digest());
    for name in [".wh...", ".wh."] {
        assert!(matches!(
            refusal(Tar::new().file(name, "").apply(&store)),
            ArchiveError::BadName { .. }
        ));
    }
}

#[test]
fn broken_and_lying_archives_are_refused_and_leave_nothing() {
    let (_dir, store) = store();
    let whole = Tar::new().file("a", "some data").file("b", "more").finish();
    for length in [1, 511, 700, 1536] {
        assert!(
            matches!(
                refusal(apply(&store, &whole[..length])),
                ArchiveError::Malformed { .. }
            ),
            "{length}"
        );
    }
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    assert!(matches!(
        refusal(apply(&store, &flipped)),
        ArchiveError::Malformed { .. }
    ));
    let unknown = Tar::new()
        .raw(tar::EntryType::new(b'Z'), "z", "", b"")
        .apply(&store);
    assert!(matches!(
        refusal(unknown),
        ArchiveError::UnknownType { kind: 'Z', .. }
    ));

    let digest = store.blobs().put(&whole).expect("put");
    let blob = Descriptor::new(media_type::OCI_LAYER_TAR, digest, 0);
    let lie = store
        .layers()
        .apply(&DiffId(Digest::sha256(b"other")), &blob);
    assert!(matches!(lie, Err(StoreError::DiffIdMismatch { .. })));

    assert_eq!(fs::read_dir(store.tmp()).expect("tmp").count(), 0);
    assert_eq!(store.layers().list().expect("list"), []);
}

#[test]
fn bombs_hit_the_limit() {
    let (_dir, store) = store();
    let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let tar = Tar::new()
        .raw(tar::EntryType::Regular, "zeros", "", &vec![0; 8 << 20])
        .finish();
    let mut blob = vec![0; encoder.gzip_compress_bound(tar.len())];
    let length = encoder.gzip_compress(&tar, &mut blob).expect("compress");
    let path = store.tmp().join("bomb");
    fs::write(&path, &blob[..length]).expect("write");
    let unpack = |limits: Limits| {
        let staging = store.layers().prepare().expect("prepare");
        let diff_id = DiffId(Digest::sha256(&tar));
        let blob = fs::File::open(&path).expect("open");
        apply::unpack_layer(blob, &staging, &diff_id, limits, apply::Shape::Pack)
    };
    unpack(Limits::default()).expect("honest limits");
    let few_bytes = unpack(Limits {
        bytes: 4 << 20,
        entries: 10,
        ..Limits::default()
    });
    assert!(matches!(
        few_bytes,
        Err(StoreError::Archive(ArchiveError::TooLarge {
            limit: 4_194_304
        }))
    ));
    let few_entries = unpack(Limits {
        bytes: u64::MAX,
        entries: 0,
        ..Limits::default()
    });
    assert!(matches!(
        few_entries,
        Err(StoreError::Archive(ArchiveError::TooMany { limit: 0 }))
    ));
}

/// One entry as the generator makes it: path, and what it is.
#[derive(Debug, Clone)]
enum Node {
    Dir(u32),
    File(Vec<u8>, u32),
    Link(Vec<u8>),
    Fifo,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-d]{1,2}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(1_u8..=255, 1..8),
        1 => Just([b"long".to_vec(), vec![b'x'; 120]].concat()),
    ]
    .prop_map(|mut name| {
        name.iter_mut()
            .filter(|byte| **byte == b'/')
            .for_each(|byte| *byte = b'_');
        if name[0] == b'.' { vec![b'_'] } else { name }
    })
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        2 => (0_u32..0o10000).prop_map(Node::Dir),
        4 => (proptest::collection::vec(any::<u8>(), 0..2000), 0_u32..0o10000)
            .prop_map(|(data, mode)| Node::File(data, mode)),
        1 => proptest::collection::vec(1_u8..=255, 1..150).prop_map(Node::Link),
        1 => Just(Node::Fifo),
    ]
}

type Tree = Vec<(Vec<Vec<u8>>, Node, (u32, u32), i32)>;

fn tree() -> impl Strategy<Value = Tree> {
    let owner = prop_oneof![Just((0, 0)), Just((33, 8)), Just((70_000, 3_000_000))];
    let one = (
        proptest::collection::vec(name(), 1..4),
        node(),
        owner,
        any::<i32>(),
    );
    proptest::collection::vec(one, 0..30)
}

/// Makes a layer of `tree`; later entries that do not fit to earlier ones are left out.
fn build(store: &Store, tree: Tree) -> Layer {
    let mut items: BTreeMap<RelPath, CopyItem> = BTreeMap::new();
    for (number, (names, node, (uid, gid), mtime)) in tree.into_iter().enumerate() {
        let path = RelPath::clean(names.join(&b'/'));
        let above = copy::ancestors(&path);
        let blocked = above
            .iter()
            .any(|dir| items.get(dir).is_some_and(|item| !item.entry.is_dir()));
        if blocked || items.contains_key(&path) {
            continue;
        }
        for dir in above {
            let entry = Entry::dir(dir.clone(), 0o755);
            items.entry(dir).or_insert(CopyItem {
                entry,
                source: Source::None,
            });
        }
        let (mut entry, source) = match node {
            Node::Dir(mode) => (Entry::dir(path.clone(), mode), Source::None),
            Node::File(data, mode) => {
                let mut entry = Entry::file(path.clone(), mode, 0, ContentHash::UNHASHED);
                entry.hardlink = (number % 3 == 0).then_some(data.len() as u32 % 3);
                entry.xattrs = if number % 4 == 0 {
                    vec![(b"user.k"[..].into(), b"\0=\n"[..].into())]
                } else {
                    Vec::new()
                };
                (entry, Source::Bytes(data))
            }
            Node::Link(target) => (Entry::symlink(path.clone(), target), Source::None),
            Node::Fifo => (
                Entry::new(path.clone(), EntryKind::Fifo, 0o600),
                Source::None,
            ),
        };
        (entry.uid, entry.gid) = (uid, gid);
        entry.mtime = Timestamp {
            secs: mtime.into(),
            nanos: 5,
        };
        items.insert(path, CopyItem { entry, source });
    }
    let staging = store.layers().prepare().expect("prepare");
    let index = staging
        .populate(items.into_values().collect())
        .expect("populate");
    store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_survives_being_a_tar(tree in tree()) {
        if !is_root("changes owners") {
            return Ok(());
        }
        let (_dir, store) = store();
        let layer = build(&store, tree);
        let built = layer.index().expect("index");
        let mut tar = Vec::new();
        store.layers().write_tar(layer.id(), &mut tar).expect("write");
        let applied = apply(&store, &tar).expect("apply");
        let index = applied.index().expect("index");
        prop_assert_eq!(index.digest(), built.digest());
        for (ours, theirs) in built.entries().iter().zip(index.entries()) {
            prop_assert_eq!(ours.mtime.secs, theirs.mtime.secs);
        }
        let walked = walk::scan(&applied.fs(), "trusted.overlay.opaque").expect("walk");
        prop_assert_eq!(LayerIndex::new(walked.into_iter().skip(1).collect()).digest(), built.digest());
        prop_assert_eq!(store.layers().diff_id(layer.id()).expect("diff id"), DiffId(Digest::sha256(&tar)));
    }
}

fn big_layer(store: &Store) -> Layer {
    let mut seed = 1_u64;
    let mut bytes = |count: usize| -> Vec<u8> {
        let next = |_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 60) as u8
        };
        (0..count).map(next).collect()
    };
    let mut items = vec![CopyItem {
        entry: Entry::file("big".into(), 0o644, 0, ContentHash::UNHASHED),
        source: Source::Bytes(bytes(3_333_333)),
    }];
    for number in 0..40 {
        items.push(CopyItem {
            entry: Entry::file(
                format!("f{number}").as_str().into(),
                0o644,
                0,
                ContentHash::UNHASHED,
            ),
            source: Source::Bytes(bytes(50_000)),
        });
    }
    let staging = store.layers().prepare().expect("prepare");
    let index = staging.populate(items).expect("populate");
    store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit")
}

/// Each of rayon's threads writes a tar and waits for what is read ahead: the readers must not be in
/// need of those threads.
#[test]
fn as_many_tars_are_written_at_once_as_there_are_threads() {
    use rayon::prelude::*;

    let (_dir, store) = store();
    let item = |number: usize| CopyItem {
        entry: Entry::file(
            format!("f{number:04}").as_str().into(),
            0o644,
            0,
            ContentHash::UNHASHED,
        ),
        source: Source::Bytes(number.to_string().into_bytes()),
    };
    let staging = store.layers().prepare().expect("prepare");
    let index = staging
        .populate((0..1500).map(item).collect())
        .expect("populate");
    let layer = store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit");
    let write = |_| {
        let mut tar = Vec::new();
        store
            .layers()
            .write_tar(layer.id(), &mut tar)
            .expect("write");
        tar
    };
    let tars: Vec<_> = (0..4 * rayon::current_num_threads())
        .into_par_iter()
        .map(write)
        .collect();
    let alone = write(0);
    assert!(alone.len() > 1500 * 1024);
    assert!(tars.iter().all(|tar| *tar == alone));
}

#[test]
fn packed_bytes_are_the_same_for_any_number_of_threads_and_read_back() {
    let (_dir, store) = store();
    let layer = big_layer(&store);
    let mut tar = Vec::new();
    store
        .layers()
        .write_tar(layer.id(), &mut tar)
        .expect("write");
    for (compression, level) in [
        (Compression::Gzip, 6),
        (Compression::Zstd, 3),
        (Compression::None, 0),
    ] {
        let packed = |threads: usize| {
            let source = |to: &mut dyn Write| {
                to.write_all(&tar)
                    .map_err(|error| StoreError::io("write", "tar".as_ref(), error))
            };
            let writer = store.blobs().writer().expect("writer");
            let (diff_id, (digest, _)) = {
                let how = pack::Packing {
                    compression,
                    level,
                    threads,
                    watch: None,
                };
                pack::compress(source, writer, &how).expect("compress")
            };
            assert_eq!(diff_id, DiffId(Digest::sha256(&tar)));
            digest
        };
        let one = packed(1);
        assert_eq!(one, packed(2));
        assert_eq!(one, packed(7));
        let blob = store
            .layers()
            .pack(layer.id(), compression, None)
            .expect("pack");
        assert_eq!(blob.digest, one);
        let mut plain = Vec::new();
        apply::decompress_to(store.blobs().open(&one).expect("open"), &mut plain).expect("read");
        assert!(plain == tar);
        let again = store
            .layers()
            .pack(layer.id(), compression, None)
            .expect("pack");
        assert_eq!(again, blob);
    }
    let diff_id = store.layers().diff_id(layer.id()).expect("diff id");
    assert_eq!(store.layers().alias(&diff_id), Some(layer.id().clone()));
    let same = store
        .layers()
        .get(&LayerId::Pulled(diff_id))
        .expect("get")
        .expect("alias");
    assert_eq!(same.id(), layer.id());
}

#[test]
fn a_plain_tar_is_described_before_it_is_written() {
    let (_dir, store) = store();
    let layers = store.layers();
    let layer = big_layer(&store);
    let id = layer.id();
    let known = |layers: &crate::layer::Layers| layers.plain_tar(id).expect("look");
    assert_eq!(known(&layers), None, "nobody knows its digest");
    layers.diff_id(id).expect("digest");
    let blob = known(&layers).expect("it is known");
    let mut tar = Vec::new();
    layers.write_plain(id, &blob, &mut tar).expect("write");
    assert_eq!(blob.size, tar.len() as u64);
    assert!(!store.blobs().has(&blob.digest));
    assert_eq!(
        layers.pack(id, Compression::None, None).expect("pack"),
        blob
    );
    assert!(store.blobs().read(&blob.digest).expect("read") == tar);
    let other = Descriptor::new(&*blob.media_type, Digest::sha256("other"), blob.size);
    assert!(matches!(
        layers.write_plain(id, &other, &mut Vec::new()),
        Err(StoreError::DiffIdMismatch { .. })
    ));
}

#[test]
fn a_pulled_layer_is_unpacked_when_needed_and_repacked_from_its_blob() {
    let (_dir, store) = store();
    let tar = Tar::new().file("a/b", "x").finish();
    let mut gzip = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut data = vec![0; gzip.gzip_compress_bound(tar.len())];
    let length = gzip.gzip_compress(&tar, &mut data).expect("compress");
    data.truncate(length);
    let blob = Descriptor::new(
        media_type::DOCKER_LAYER_GZIP,
        store.blobs().put(&data).expect("put"),
        length as u64,
    );
    let diff_id = DiffId(Digest::sha256(&tar));
    let id = LayerId::Pulled(diff_id.clone());
    let layers = store.layers();
    assert!(!layers.has(&id));
    layers.register_blob(&diff_id, &blob).expect("register");
    assert!(layers.has(&id) && layers.get(&id).expect("get").is_none());
    assert_eq!(
        layers.pack(&id, Compression::Gzip, None).expect("pack"),
        blob
    );
    let zstd = layers.pack(&id, Compression::Zstd, None).expect("pack");
    assert_eq!(zstd.media_type, media_type::OCI_LAYER_ZSTD);
    assert!(layers.get(&id).expect("get").is_none());
    let tree = layers.tree(std::slice::from_ref(&id)).expect("tree");
    assert_eq!(tree.read(&"a/b".into()).expect("read"), b"x");
    assert!(layers.get(&id).expect("get").is_some());
    let mut written = Vec::new();
    layers.write_tar(&id, &mut written).expect("write");
    assert!(written == tar);
}

#[test]
fn a_merged_tree_leaves_as_one_tar_and_as_files() {
    let (dir, store) = store();
    let lower = Tar::new()
        .dir("d/")
        .file("d/old", "1")
        .file("d/keep", "2")
        .hard("d/same", "d/keep");
    let lower = lower.apply(&store).expect("apply");
    let upper = Tar::new()
        .dir("d/")
        .file("d/.wh.old", "")
        .file("new", "3")
        .symlink("l", "d");
    let upper = upper.apply(&store).expect("apply");
    let tree = store
        .layers()
        .tree(&[lower.id().clone(), upper.id().clone()])
        .expect("tree");
    let mut tar = Vec::new();
    tree.write_tar(&mut tar).expect("write");
    let flat = apply(&store, &tar).expect("apply");
    let paths: Vec<String> = kinds(&flat).into_keys().collect();
    assert_eq!(paths, ["/d", "/d/keep", "/d/same", "/l", "/new"]);

    let out = dir.path().join("out");
    fs::create_dir_all(out.join("d/mine")).expect("mkdir");
    fs::write(out.join("new"), "before").expect("write");
    tree.write_to(&out).expect("write");
    assert_eq!(fs::read(out.join("new")).expect("read"), b"3");
    assert_eq!(fs::metadata(out.join("d/keep")).expect("stat").nlink(), 2);
    assert!(
        out.join("d/mine").exists() && out.join("l").is_symlink() && !out.join("d/old").exists()
    );
    fs::remove_file(out.join("l")).expect("remove");
    fs::create_dir(out.join("l")).expect("mkdir");
    assert!(matches!(
        tree.write_to(&out),
        Err(StoreError::Archive(ArchiveError::InTheWay { .. }))
    ));
}

#[test]
#[expect(clippy::print_stderr, reason = "skipped tests are listed from stderr")]
fn other_programs_read_what_is_packed() {
    const SCRIPT: &str = "
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    for m in tar:
        print(repr(m.name.encode('utf-8', 'surrogateescape')), m.type, m.mode, m.uid, m.gid, m.mtime, m.size)
";
    let (_dir, store) = store();
    let mut long = Entry::file(
        RelPath::clean([&[b'n'; 150][..], b"\xff\xc3\xa9\n"].concat()),
        0o4755,
        0,
        ContentHash::UNHASHED,
    );
    long.mtime.secs = 1_700_000_000;
    let items = vec![
        CopyItem {
            entry: Entry::dir("d".into(), 0o1777),
            source: Source::None,
        },
        CopyItem {
            entry: Entry::symlink("d/l".into(), vec![b't'; 120]),
            source: Source::None,
        },
        CopyItem {
            entry: long,
            source: Source::Bytes(vec![7; 3 << 20]),
        },
    ];
    let staging = store.layers().prepare().expect("prepare");
    let index = staging.populate(items).expect("populate");
    let layer = store
        .layers()
        .commit_indexed(staging, index)
        .expect("commit");
    let blob = store
        .layers()
        .pack(layer.id(), Compression::Gzip, None)
        .expect("pack");
    let path = store.blobs().path(&blob.digest);
    let mut python = std::process::Command::new("python3");
    match python.args(["-c", SCRIPT]).arg(&path).output() {
        Err(error) => eprintln!("SKIPPED: reading a layer with python3: {error}"),
        Ok(output) => {
            let n = "n".repeat(150);
            let expected = format!(
                "b'd' b'5' 1023 0 0 0 0\nb'd/l' b'2' 511 0 0 0 0\n\
                 b'{n}\\xff\\xc3\\xa9\\n' b'0' 2541 0 0 1700000000 3145728\n",
            );
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                expected,
                "{output:?}"
            );
        }
    }
    match std::process::Command::new("tar")
        .arg("-tzf")
        .arg(&path)
        .output()
    {
        Err(error) => eprintln!("SKIPPED: reading a layer with tar: {error}"),
        Ok(output) => {
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{output:?}"
            );
        }
    }
}
