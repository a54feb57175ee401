use std::time::Duration;

use super::*;
use crate::images::ImageLayer;
use crate::testing::{layer, store};

fn all() -> GcOptions {
    GcOptions {
        dry_run: false,
        cache: Evict::By(Policy::default()),
        dangling_images: true,
    }
}

/// Stores an image of one layer, whose configuration is its name.
fn image(store: &Store, name: &str, of: &LayerId) -> ImageRecord {
    let image = ImageRecord {
        id: store.blobs().put(name.as_bytes()).expect("put"),
        layers: vec![ImageLayer {
            diff_id: store.layers().diff_id(of).expect("diff id"),
            layer: of.clone(),
            blobs: Vec::new(),
        }],
        manifest: None,
        attestations: None,
        created: None,
        size: 5,
    };
    store.images().put(&image).expect("put");
    image
}

fn record(store: &Store, key: u8, needs: &LayerId) {
    let needs = std::slice::from_ref(needs);
    store.records().put(&[key; 32], b"v", needs).expect("put");
}

#[test]
fn images_records_and_holds_keep_what_they_need_and_the_rest_goes() {
    let (_dir, store) = store();
    let of_image = layer(&store, "image");
    let of_record = layer(&store, "record");
    let of_hold = layer(&store, "hold");
    let orphan = layer(&store, "orphan");
    let pack = |id| {
        let gzip = cooper_oci::Compression::Gzip;
        store.layers().pack(id, gzip, None).expect("pack")
    };
    let (packed, lost) = (pack(&of_image), pack(&orphan));
    image(&store, "config", &of_image);
    record(&store, 1, &of_record);
    store
        .hold("container", std::slice::from_ref(&of_hold))
        .expect("hold");

    let dry = GcOptions {
        dry_run: true,
        ..GcOptions::default()
    };
    let plan = store.gc(&dry).expect("gc");
    assert!(store.layers().has(&orphan));
    let done = store.gc(&GcOptions::default()).expect("gc");
    assert_eq!(plan, done);
    assert_eq!(
        (done.layers, done.blobs, done.records),
        (vec![orphan.clone()], vec![lost.digest], 0)
    );
    assert!(done.bytes > 0 && !store.layers().has(&orphan));
    assert!(store.layers().has(&of_record) && store.blobs().has(&packed.digest));

    let done = store.gc(&all()).expect("gc");
    assert_eq!(
        (
            done.layers.len(),
            done.blobs.len(),
            done.records,
            done.images.len()
        ),
        (2, 2, 1, 1)
    );
    assert!(store.layers().has(&of_hold));
    store.release("container").expect("release");
    assert_eq!(store.gc(&all()).expect("gc").layers, [of_hold]);
    assert_eq!(store.memos().expect("memos"), []);
    assert_eq!(store.gc(&all()).expect("gc"), GcReport::default());
}

/// Makes everything in the store look unused for an hour.
fn age(store: &Store) {
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let times = fs::FileTimes::new()
        .set_modified(hour_ago)
        .set_accessed(hour_ago);
    for dir in ["records", "layers", "images"] {
        for item in walkdir::WalkDir::new(store.root().join(dir)) {
            let item = item.expect("walk");
            if item.file_type().is_file() {
                let file = fs::File::open(item.path()).expect("open");
                file.set_times(times).expect("age");
            }
        }
    }
    for digest in store.blobs().list().expect("list") {
        let file = fs::File::open(store.blobs().path(&digest)).expect("open");
        file.set_times(fs::FileTimes::new().set_accessed(hour_ago))
            .expect("age");
    }
}

#[test]
fn beside_a_running_build_only_what_it_does_not_use_goes() {
    let (_dir, store) = store();
    let [unused, used, hit, in_image] =
        ["unused", "used", "hit", "image"].map(|name| layer(&store, name));
    record(&store, 1, &unused);
    record(&store, 2, &hit);
    image(&store, "config", &in_image);
    age(&store);

    let lease = store.lease().expect("lease");
    assert!(store.layers().has(&used));
    assert_eq!(
        store.records().get(&[2; 32]).expect("get").as_deref(),
        Some(&b"v"[..])
    );
    let made = layer(&store, "made");
    let done = store.gc(&all()).expect("gc");
    assert_eq!(done.layers, {
        let mut gone = [unused.clone(), in_image.clone()];
        gone.sort();
        gone
    });
    assert_eq!((done.records, done.images.len()), (1, 1));
    assert_eq!(done.in_use, 2, "{done:?}");
    for kept in [&used, &hit, &made] {
        assert!(store.layers().has(kept));
    }
    drop(lease);
    assert_eq!(store.gc(&all()).expect("gc").layers.len(), 3);
}

#[test]
fn a_policy_takes_the_longest_unused_records_and_their_layers() {
    let (_dir, store) = store();
    let [old, fresh] = ["old", "fresh"].map(|name| layer(&store, &name.repeat(20_000)));
    record(&store, 1, &old);
    age(&store);
    record(&store, 2, &fresh);
    let evict = |policy| GcOptions {
        cache: Evict::By(policy),
        ..GcOptions::default()
    };
    let used = store.space().expect("space").used;
    let roomy = evict(Policy {
        max_used_space: Some(used),
        ..Policy::default()
    });
    assert_eq!(store.gc(&roomy).expect("gc"), GcReport::default());
    let tight = evict(Policy {
        max_used_space: Some(used - 1),
        ..Policy::default()
    });
    assert_eq!(store.gc(&tight).expect("gc").layers, [old]);
    let young = evict(Policy {
        keep_duration: Some(Duration::from_secs(60)),
        ..Policy::default()
    });
    assert_eq!(store.gc(&young).expect("gc").layers, []);
    let only = GcOptions {
        cache: Evict::Only(Policy::default(), HashSet::from([fresh.to_string()])),
        ..GcOptions::default()
    };
    assert_eq!(store.gc(&only).expect("gc").layers, [fresh]);
}

#[test]
fn a_cache_mount_goes_unless_a_step_uses_it() {
    let (_dir, store) = store();
    let mount = store.mounts_dir().join("pip");
    fs::create_dir(&mount).expect("mkdir");
    fs::write(mount.join("wheel"), vec![1; 10_000]).expect("write");
    let hold = store.hold_mount("pip").expect("hold");
    assert_eq!(store.gc(&all()).expect("gc").mounts, Vec::<String>::new());
    assert_eq!(store.usage_entries().expect("usage")[0].id, "pip");
    drop(hold);
    assert_eq!(
        store.gc(&GcOptions::default()).expect("gc").mounts,
        Vec::<String>::new()
    );
    let done = store.gc(&all()).expect("gc");
    assert_eq!(done.mounts, ["pip"]);
    assert!(done.bytes >= 10_000 && list(&store.mounts_dir()).expect("list").is_empty());
}

#[test]
fn usage_counts_blocks_once_and_tells_who_needs_what() {
    let (_dir, store) = store();
    let [one, two] = ["one", "two"].map(|name| layer(&store, name));
    store.blobs().put(&vec![7; 100_000]).expect("put");
    let usage = store.disk_usage().expect("usage");
    assert!(usage.blobs >= 100_000 && usage.blobs < 130_000, "{usage:?}");
    assert!(usage.layers >= 4096, "{usage:?}");
    record(&store, 1, &one);
    record(&store, 2, &one);
    store.records().get(&[1; 32]).expect("get").expect("there");
    image(&store, "config", &two);
    let entries = store.usage_entries().expect("usage");
    let entry = |id: &LayerId| {
        let found = entries.iter().find(|entry| entry.id == id.to_string());
        found.expect("listed").clone()
    };
    let (one, two) = (entry(&one), entry(&two));
    assert_eq!(
        (one.in_use, one.shared, one.uses, one.records.len()),
        (false, true, 1, 2)
    );
    assert_eq!((two.in_use, two.shared, two.uses), (true, false, 0));
}
