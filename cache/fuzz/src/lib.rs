//! What the fuzz targets promise.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cooper_cache::{FileBytes, Limits, MergedTree, RelPath, Store, StoreOptions, Unpack, unpack_archive};
use cooper_oci::{
    Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type,
};

/// A store, and beside it a witness that nothing may touch.
struct Place {
    dir: PathBuf,
    store: Store,
}

/// What may grow: a bomb is no news here, only slow.
const LIMITS: Limits = Limits {
    bytes: 16 << 20,
    entries: 10_000,
    free: 16 << 20,
    ratio: 1,
};

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let dir = tempfile::Builder::new()
            .prefix("cooper-fuzz-")
            .tempdir()
            .expect("a directory")
            .keep();
        std::fs::write(dir.join("witness"), "untouched").expect("write");
        let store = Store::open(&dir.join("store"), StoreOptions::default()).expect("a store");
        Place { dir, store }
    })
}

/// A layer is unpacked or refused, as an image's and as ADD's; either way nothing is written
/// outside of its staging, and what is refused leaves nothing.
pub fn layer(data: &[u8]) {
    let tar = match data.split_first() {
        // As it is: broken headers, compressed streams.
        Some((0, raw)) => raw.to_vec(),
        _ => entries(data),
    };
    let Place { dir, store } = place();
    let digest = store.blobs().put(&tar).expect("put");
    let blob = Descriptor::new(media_type::OCI_LAYER_TAR, digest.clone(), tar.len() as u64);
    let diff_id = DiffId(digest.clone());
    let applied = store.layers().apply(&diff_id, &blob);
    let kept = store.root().join("layers/sha256").join(digest.hex());
    assert_eq!(applied.is_ok(), kept.exists());
    let added = add(store, &store.blobs().path(&digest));
    drop(added);
    let _ = std::fs::remove_dir_all(kept);
    let _ = std::fs::remove_file(store.root().join("pending/sha256").join(digest.hex()));
    store.blobs().remove(&digest).expect("remove");
    is_untouched(dir);
}

fn add(store: &Store, archive: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let staging = store.layers().prepare()?;
    let tree = MergedTree::new(Vec::new());
    let how = Unpack {
        tree: &tree,
        dest: RelPath::from("in/side"),
        owner: None,
        limits: LIMITS,
    };
    unpack_archive(&FileBytes::of(archive.to_owned()), &staging, &how)?;
    // What is outside of the destination is what leads there.
    for entry in std::fs::read_dir(staging.fs())? {
        assert_eq!(entry?.file_name(), "in");
    }
    Ok(())
}

fn is_untouched(dir: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["store", "witness"]);
    let witness = dir.join("witness");
    assert_eq!(std::fs::read(&witness).expect("read"), b"untouched");
    let links = std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(witness).expect("stat"));
    assert_eq!(links, 1);
}

/// A tar with right checksums: each line is an entry, its kind, name, link and data parted by
/// tabs; a kind in capitals lies about its size.
fn entries(data: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let mut parts = line.split(|byte| *byte == b'\t');
        let kind = parts
            .next()
            .and_then(|kind| kind.first())
            .copied()
            .unwrap_or(b'0');
        let mut part = || parts.next().unwrap_or_default();
        let (name, link, content) = (part(), part(), part());
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().expect("a GNU header");
        let fit = |bytes: &[u8]| bytes.len().min(100);
        fields.name[..fit(name)].copy_from_slice(&name[..fit(name)]);
        fields.linkname[..fit(link)].copy_from_slice(&link[..fit(link)]);
        fields.typeflag = [kind.to_ascii_lowercase()];
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let lie = if kind.is_ascii_uppercase() {
            1 << 33
        } else {
            0
        };
        header.set_size(content.len() as u64 + lie);
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// A document is read or refused; what was read is written so that it reads the same.
pub fn manifests(data: &[u8]) {
    if let Ok(index) = Index::from_json(data) {
        let _ = index.pick(&Platform::host());
        let _ = index.platforms();
        assert_eq!(
            Index::from_json(&index.to_json()).expect("own words"),
            index
        );
    }
    if let Ok(manifest) = Manifest::from_json(data) {
        assert_eq!(
            Manifest::from_json(&manifest.to_json()).expect("own words"),
            manifest
        );
    }
    if let Ok(config) = ImageConfig::from_json(data) {
        let _ = config.platform();
        assert_eq!(
            ImageConfig::from_json(&config.to_json()).expect("own words"),
            config
        );
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(name) = text.parse::<Reference>() {
        assert_eq!(
            name.to_string().parse::<Reference>().expect("own words"),
            name
        );
        assert_eq!(
            name.familiar().parse::<Reference>().expect("own words"),
            name
        );
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let _ = platform.normalized();
    }
}
