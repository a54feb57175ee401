//! Times of the store's main paths on a generated tree of 20,000 small files.
//!
//! `cargo bench -p cooper-cache` prints medians of a few rounds, in
//! milliseconds. `COOPER_BENCH_DIR` says on which file system.

#![expect(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use cooper_cache::{
    ContextScan, CopyItem, Entry, LayerId, RelPath, Source, Store, StoreOptions, Verdict,
};
use cooper_oci::{Compression, Descriptor};

const DIRS: usize = 500;
const FILES: usize = 40;
const SIZE: usize = 8 << 10;
const ROUNDS: usize = 5;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let place = std::env::var_os("COOPER_BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let dir = tempfile::tempdir_in(place)?;
    let context = dir.path().join("context");
    generate(&context)?;
    let store = Store::open(&dir.path().join("store"), StoreOptions::default())?;
    scan(&store, &context)?;
    let layer = commit(&store, &context)?;
    let blobs = pack(&store, &layer)?;
    unpack(&dir.path().join("other"), &store, &layer, &blobs)
}

/// Half text, half noise, as a source tree with some binaries would be.
fn generate(context: &Path) -> Outcome<()> {
    let mut seed = 42_u64;
    for dir in 0..DIRS {
        let path = context.join(format!("d{dir:03}"));
        fs::create_dir_all(&path)?;
        for file in 0..FILES {
            let mut data = Vec::with_capacity(SIZE + 64);
            while data.len() < SIZE {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if file % 2 == 0 {
                    data.extend_from_slice(
                        format!("line {} of file {file}\n", seed >> 54).as_bytes(),
                    );
                } else {
                    data.extend_from_slice(&seed.rotate_left(17).to_le_bytes());
                }
            }
            data.truncate(SIZE);
            fs::write(path.join(format!("f{file:02}")), data)?;
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    Ok(())
}

/// Runs `round` a few times and prints the median.
fn time(what: &str, rounds: usize, mut round: impl FnMut(usize) -> Outcome<()>) -> Outcome<()> {
    let mut times = Vec::new();
    for number in 0..rounds {
        let began = Instant::now();
        round(number)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("{what:<44} {:>9.1} ms", times[times.len() / 2]);
    Ok(())
}

fn scan(store: &Store, context: &Path) -> Outcome<()> {
    let all = |_: &RelPath, _: bool| Verdict::Include;
    let index = store.context_index(context);
    time("context: stat walk, nothing known", ROUNDS, |_| {
        ContextScan::scan(context, &[], &all, Path::new("/nonexistent"))?;
        Ok(())
    })?;
    time("context: walk + hash everything", ROUNDS, |_| {
        let _ = fs::remove_file(&index);
        ContextScan::scan(context, &[], &all, &index)?.ensure_hashed(&[RelPath::root()])?;
        Ok(())
    })?;
    time("context: walk + known hashes + digest", ROUNDS, |_| {
        let scan = ContextScan::scan(context, &[], &all, &index)?;
        scan.ensure_hashed(&[RelPath::root()])?;
        scan.tree().digest(&RelPath::root())?;
        Ok(())
    })
}

fn commit(store: &Store, context: &Path) -> Outcome<LayerId> {
    let all = |_: &RelPath, _: bool| Verdict::Include;
    let scan = ContextScan::scan(context, &[], &all, &store.context_index(context))?;
    scan.ensure_hashed(&[RelPath::root()])?;
    let tree = scan.tree();
    let item = |entry: &Entry| {
        let from = entry.path.under(context);
        let source = if entry.is_file() {
            Source::Foreign(from)
        } else {
            Source::None
        };
        CopyItem {
            entry: entry.clone(),
            source,
        }
    };
    let nodes: Vec<Entry> = tree
        .walk(&RelPath::root())
        .skip(1)
        .map(|node| node.entry.clone())
        .collect();
    let mut layer = None;
    time("layer: populate + commit (COPY)", 3, |round| {
        let staging = store.layers().prepare()?;
        let mut items: Vec<CopyItem> = nodes.iter().map(item).collect();
        // Another content each round, so that every round publishes.
        items[0].entry.mode = 0o700 + round as u32;
        let index = staging.populate(items)?;
        layer = Some(store.layers().commit_indexed(staging, index)?);
        Ok(())
    })?;
    let layer = layer.ok_or("no round")?;
    time("layer: walk + hash of an upper (RUN)", 3, |round| {
        let staging = store.layers().prepare()?;
        fs::remove_dir(staging.fs())?;
        fs::rename(layer.fs(), staging.fs())?;
        fs::write(staging.fs().join("round"), round.to_string())?;
        let committed = store.layers().commit(staging)?;
        fs::remove_file(committed.fs().join("round"))?;
        fs::rename(committed.fs(), layer.fs())?;
        Ok(())
    })?;
    time("tree: index + merge + digest", ROUNDS, |_| {
        let tree = store.layers().tree(std::slice::from_ref(layer.id()))?;
        tree.digest(&RelPath::root())?;
        Ok(())
    })?;
    Ok(layer.id().clone())
}

fn pack(store: &Store, layer: &LayerId) -> Outcome<Vec<Descriptor>> {
    time("layer: diff id (tar + sha256)", 3, |_| {
        store
            .layers()
            .write_tar(layer, &mut cooper_oci::Sha256Hasher::new())?;
        Ok(())
    })?;
    let mut blobs = Vec::new();
    for (what, compression) in [
        ("layer: pack gzip -6", Compression::Gzip),
        ("layer: pack zstd -3", Compression::Zstd),
        ("layer: pack none", Compression::None),
    ] {
        time(what, 1, |_| {
            blobs.push(store.layers().pack(layer, compression, None)?);
            Ok(())
        })?;
    }
    let size: Vec<u64> = blobs.iter().map(|blob| blob.size >> 10).collect();
    println!("{:<44} {size:>9?} KiB", "sizes of the blobs");
    Ok(blobs)
}

fn unpack(dir: &Path, from: &Store, layer: &LayerId, blobs: &[Descriptor]) -> Outcome<()> {
    let diff_id = from.layers().diff_id(layer)?;
    for (what, blob) in ["apply gzip", "apply zstd", "apply plain"]
        .into_iter()
        .zip(blobs)
    {
        let store = Store::open(&dir.join(what), StoreOptions::default())?;
        store.blobs().put(&from.blobs().read(&blob.digest)?)?;
        time(&format!("layer: {what}"), 1, |_| {
            store.layers().apply(&diff_id, blob)?;
            Ok(())
        })?;
    }
    Ok(())
}
