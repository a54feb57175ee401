//! Layers whose files are not created: making them, and creating their files after all.
//!
//! A step's new files go into one pack, in the order of the index, written by all processors at
//! once: each file's place follows from the sizes before it. What lies in a pack already is
//! taken over by a hard link to that pack, unless most of the pack would be dead weight here.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::checksum::ContentHash;
use crate::error::{IoContext, StoreError};
use crate::layer::copy::{fill, open_foreign, second_names, settle_links, sort};
use crate::layer::disk::Canvas;
use crate::layer::files::{Packed, Place, Places};
use crate::layer::{
    CopyItem, Entry, EntryKind, Files, Layer, LayerId, LayerIndex, Layers, Source, Staging,
    check_shape,
};

/// How many packs a layer has at most, its own included: each is a file to hold open.
const MOST_PACKS: usize = 8;
/// How much is written at once.
const RUN: u64 = 1 << 20;

impl Layers {
    /// Makes a layer of `items` as [`Staging::populate`] does, without creating their files.
    ///
    /// What `like`, the layer that the same step made before, has at the same path with the same
    /// content is taken over from there and not read again. `wanted` is asked while files are
    /// read; once it says no, the result is [`StoreError::Canceled`].
    pub fn commit_packed(
        &self,
        staging: Staging,
        items: Vec<CopyItem>,
        like: Option<&LayerId>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Layer, StoreError> {
        if items.iter().any(|item| has_no_hash(&item.entry)) {
            let index = staging.populate_while(items, wanted)?;
            return self.commit_indexed(staging, index);
        }
        let (mut index, sources) = sort(items);
        check_shape(&index)?;
        let links = second_names(index.entries());
        let like = self.packed_like(like)?;
        let offers = offers(index.entries(), &sources, like.as_ref());
        let (taken, shared) = take_over(&offers, &index, &staging)?;
        let mut places = vec![Place::default(); index.entries().len()];
        let mut packs = shared;
        let mut todo = Vec::new();
        let mut end = 0;
        for (number, entry) in index.entries().iter().enumerate() {
            if entry.size() == 0 || links.contains_key(&number) {
                continue;
            }
            if let Some(place) = taken[number] {
                places[number] = place;
                continue;
            }
            places[number] = Place {
                pack: packs.len() as u32,
                offset: end,
            };
            todo.push((number, end));
            end += entry.size();
        }
        for (number, holder) in &links {
            places[*number] = places[*holder];
        }
        if end > 0 {
            let path = staging.pack(packs.len())?;
            write_pack(&path, &todo, index.entries(), &sources, wanted)?;
            packs.push(end);
        }
        settle_links(&mut index, &links);
        let taken_from = like.filter(|_| taken.iter().any(Option::is_some));
        staging.place(&Places {
            packs,
            entries: places,
            like: taken_from.map(|(id, ..)| id),
        })?;
        self.publish(staging, index)
    }

    /// Returns the layer that a step made before, if it is packed.
    fn packed_like(&self, like: Option<&LayerId>) -> Result<Option<Like>, StoreError> {
        let Some(layer) = like.map(|id| self.get(id)).transpose()?.flatten() else {
            return Ok(None);
        };
        Ok(match layer.files()? {
            Files::Packed(packed) => Some((layer.id().clone(), layer.index()?, packed)),
            Files::Dir(_) => None,
        })
    }

    /// Creates the files of a layer that has none yet; the packs have served then.
    pub(super) fn create_files(&self, layer: &Layer) -> Result<(), StoreError> {
        let to = layer.fs();
        if to.exists() {
            return Ok(());
        }
        let _claim = self.claim(&to)?;
        let Files::Packed(packed) = layer.files()? else {
            return Ok(());
        };
        let staging = self.prepare()?;
        let index = layer.index()?;
        let files = Files::Packed(packed);
        let item = |(number, entry): (usize, &Entry)| CopyItem {
            entry: entry.clone(),
            source: if entry.is_file() {
                let path = entry.path.under(&to);
                Source::Stored(files.bytes(number, path, entry.size()))
            } else {
                Source::None
            },
        };
        let items = index.entries().iter().enumerate().map(item).collect();
        let canvas = Canvas::open(&staging.fs(), self.shared.options.userxattr)?;
        fill(&canvas, items, &|| true)?;
        fs::rename(staging.fs(), &to).during("rename", &to)?;
        // Who has read `places` already finds the packs, or, once they are gone, the files.
        let (places, packs) = (layer.dir.join("places"), layer.dir.join("packs"));
        fs::remove_file(&places).during("remove", &places)?;
        match crate::store::remove_tree(&packs) {
            // A layer of directories and links has none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.during("remove", &packs)?,
        }
        let _ = fs::remove_file(self.memo(layer.id(), "bytes"));
        Ok(())
    }
}

/// The layer that the same step made before.
type Like = (LayerId, Arc<LayerIndex>, Arc<Packed>);

/// What is in packs already.
struct Offers {
    packed: Vec<Arc<Packed>>,
    /// By number of an entry, the number in `packed` of what has its bytes, and where.
    places: Vec<Option<(usize, Place)>>,
}

impl Offers {
    fn push(&mut self, offer: Option<(&Arc<Packed>, Place)>) {
        let offer = offer.map(|(packed, place)| (self.number(packed), place));
        self.places.push(offer);
    }

    /// Returns the number of `packed`; most often that of the entry before.
    fn number(&mut self, packed: &Arc<Packed>) -> usize {
        let known = self.packed.iter().rposition(|one| Arc::ptr_eq(one, packed));
        known.unwrap_or_else(|| {
            self.packed.push(packed.clone());
            self.packed.len() - 1
        })
    }
}

fn has_no_hash(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File { content, .. } if content == ContentHash::UNHASHED)
}

/// Finds what is in a pack already: in that of its source, or in that of the layer made before.
fn offers(entries: &[Entry], sources: &[Source], like: Option<&Like>) -> Offers {
    let mut offers = Offers {
        packed: Vec::new(),
        places: Vec::with_capacity(entries.len()),
    };
    let before = like.map_or(&[][..], |(_, index, _)| index.entries());
    let mut before = before.iter().enumerate().peekable();
    for (entry, source) in entries.iter().zip(sources) {
        while before.next_if(|(_, old)| old.path < entry.path).is_some() {}
        if !entry.is_file() || entry.size() == 0 {
            offers.push(None);
            continue;
        }
        let own = match source {
            Source::Stored(bytes) => bytes.place(),
            _ => None,
        };
        offers.push(own.or_else(|| {
            let (_, _, packed) = like?;
            let same =
                |(_, old): &(usize, &Entry)| old.path == entry.path && old.kind == entry.kind;
            let (old, _) = before.next_if(same)?;
            Some((packed, packed.places.entries[old]))
        }));
    }
    offers
}

/// Links the packs that are worth it into `staging`; returns, by number of an entry, the places in
/// them, and their lengths.
fn take_over(
    offers: &Offers,
    index: &LayerIndex,
    staging: &Staging,
) -> Result<(Vec<Option<Place>>, Vec<u64>), StoreError> {
    let mut alive: HashMap<(usize, u32), u64> = HashMap::new();
    for (entry, offer) in index.entries().iter().zip(&offers.places) {
        if let Some((packed, place)) = offer {
            *alive.entry((*packed, place.pack)).or_default() += entry.size();
        }
    }
    let length = |(packed, pack): (usize, u32)| {
        let lengths = &offers.packed[packed].places.packs;
        lengths.get(pack as usize).copied()
    };
    let mut worth: Vec<_> = alive.into_iter().collect();
    worth.retain(|(pack, alive)| length(*pack).is_some_and(|all| alive * 2 >= all));
    // The numbers of packs decide nothing but the bytes of `places`; those are to be the same.
    let path = |(packed, pack): (usize, u32)| offers.packed[packed].pack(pack);
    worth.sort_by_key(|(pack, alive)| (std::cmp::Reverse(*alive), path(*pack)));
    worth.truncate(MOST_PACKS - 1);
    let mut numbers = HashMap::new();
    let mut lengths = Vec::new();
    for (pack, _) in worth {
        let to = staging.pack(lengths.len())?;
        // What cannot be linked, for want of links or because it is just being removed, is copied.
        if fs::hard_link(path(pack), &to).is_ok() {
            numbers.insert(pack, lengths.len() as u32);
            lengths.extend(length(pack));
        }
    }
    let taken = |offer: &Option<(usize, Place)>| {
        let (packed, place) = (*offer)?;
        let pack = *numbers.get(&(packed, place.pack))?;
        let offset = place.offset;
        Some(Place { pack, offset })
    };
    Ok((offers.places.iter().map(taken).collect(), lengths))
}

/// Writes the files `todo`, by their numbers, to their offsets in a new pack.
fn write_pack(
    path: &Path,
    todo: &[(usize, u64)],
    entries: &[Entry],
    sources: &[Source],
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<(), StoreError> {
    let pack = File::create_new(path).during("create", path)?;
    let mut runs: Vec<&[(usize, u64)]> = Vec::new();
    let mut rest = todo;
    while let Some((_, begin)) = rest.first() {
        let fits = |(number, at): &&(usize, u64)| at + entries[*number].size() - begin <= RUN;
        let count = rest.iter().take_while(fits).count().max(1);
        let (run, later) = rest.split_at(count);
        runs.push(run);
        rest = later;
    }
    let write = |run: &&[(usize, u64)]| {
        let mut out = Run {
            pack: &pack,
            path,
            at: run[0].1,
            data: Vec::new(),
        };
        for (number, _) in *run {
            if !wanted() {
                return Err(StoreError::Canceled);
            }
            out.add(&entries[*number], &sources[*number], wanted)?;
        }
        out.flush()
    };
    match &runs[..] {
        [one] => write(one),
        many => many.par_iter().try_for_each(write),
    }
}

/// A part of a pack being written.
struct Run<'a> {
    pack: &'a File,
    path: &'a Path,
    /// Where `data` belongs.
    at: u64,
    data: Vec<u8>,
}

impl Run<'_> {
    fn add(
        &mut self,
        entry: &Entry,
        source: &Source,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        match source {
            Source::None => Ok(()),
            Source::Bytes(data) => self.append(entry, &mut &data[..], Path::new("")),
            Source::Stored(bytes) => {
                let mut reader = bytes.open().during("open", bytes.path())?;
                self.append_while(entry, &mut reader, bytes.path(), wanted)
            }
            Source::Foreign(from) => {
                self.append_while(entry, &mut open_foreign(from)?, from, wanted)
            }
        }
    }

    fn append(
        &mut self,
        entry: &Entry,
        from: &mut dyn Read,
        path: &Path,
    ) -> Result<(), StoreError> {
        self.append_while(entry, from, path, &|| true)
    }

    /// Appends a file, which must be what its entry says.
    fn append_while(
        &mut self,
        entry: &Entry,
        from: &mut dyn Read,
        path: &Path,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        let EntryKind::File { size, content } = entry.kind else {
            return Ok(());
        };
        let mut hasher = blake3::Hasher::new();
        // One byte more than there should be, to see that there is not.
        let mut left = size + 1;
        while left > 0 {
            if !wanted() {
                return Err(StoreError::Canceled);
            }
            let before = self.data.len();
            let part = left.min(RUN);
            let count = from.take(part).read_to_end(&mut self.data);
            let count = count.during("read", path)? as u64;
            hasher.update(&self.data[before..]);
            left -= count;
            if count < part {
                break;
            }
            if self.data.len() as u64 >= RUN && left > 1 {
                self.flush()?;
            }
        }
        if left != 1 || hasher.finalize().as_bytes() != content.as_bytes() {
            let path = path.to_owned();
            return Err(StoreError::Changed { path });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.pack
            .write_all_at(&self.data, self.at)
            .during("write", self.path)?;
        self.at += self.data.len() as u64;
        self.data.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    use super::*;
    use crate::RelPath;
    use crate::store::Store;
    use crate::testing::store;

    fn item(path: &str, data: &[u8]) -> CopyItem {
        let content = ContentHash::of(data);
        CopyItem {
            entry: Entry::file(path.into(), 0o640, data.len() as u64, content),
            source: Source::Bytes(data.to_vec()),
        }
    }

    fn dir(path: &str) -> CopyItem {
        CopyItem {
            entry: Entry::dir(path.into(), 0o755),
            source: Source::None,
        }
    }

    /// Every kind of thing, with files of all sizes that matter.
    fn items() -> Vec<CopyItem> {
        let mut items = vec![
            dir(""),
            dir("d"),
            item("d/big", &vec![b'b'; 3 * RUN as usize + 17]),
            item("d/empty", b""),
            item("d/run", &vec![b'r'; RUN as usize]),
            item("small", b"some bytes"),
        ];
        for name in ["d/one", "two"] {
            let mut linked = item(name, b"two names");
            linked.entry.hardlink = Some(7);
            items.push(linked);
        }
        items.push(CopyItem {
            entry: Entry::symlink("link".into(), &b"d/big"[..]),
            source: Source::None,
        });
        items
    }

    fn pack(store: &Store, items: Vec<CopyItem>, like: Option<&Layer>) -> Layer {
        let staging = store.layers().prepare().expect("prepare");
        let like = like.map(Layer::id);
        let packed = store
            .layers()
            .commit_packed(staging, items, like, &|| true)
            .expect("commit");
        assert!(packed.fs().exists() || !packed.dir.join("fs").exists());
        packed
    }

    fn with_files(store: &Store, items: Vec<CopyItem>) -> Layer {
        let staging = store.layers().prepare().expect("prepare");
        let index = staging.populate(items).expect("populate");
        store
            .layers()
            .commit_indexed(staging, index)
            .expect("commit")
    }

    fn tar(store: &Store, layer: &Layer) -> Vec<u8> {
        let mut tar = Vec::new();
        let layers = store.layers();
        layers.write_tar(layer.id(), &mut tar).expect("tar");
        tar
    }

    fn on_disk(layer: &Layer) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let walk = walkdir::WalkDir::new(layer.fs()).into_iter();
        walk.map(|found| {
            let found = found.expect("walk");
            let meta = found.metadata().expect("stat");
            let data = if meta.is_file() {
                fs::read(found.path()).expect("read")
            } else {
                Vec::new()
            };
            let path = found.path().strip_prefix(layer.fs()).expect("below");
            (path.to_owned(), (meta.mode(), data))
        })
        .collect()
    }

    #[test]
    fn a_packed_layer_is_the_layer_that_its_files_would_be() {
        let ((_one, packed), (_two, plain)) = (store(), store());
        let layer = pack(&packed, items(), None);
        let other = with_files(&plain, items());
        assert!(!layer.fs().exists(), "no file was asked for");
        assert_eq!(layer.id(), other.id());
        assert_eq!(layer.index().expect("index"), other.index().expect("index"));
        assert_eq!(tar(&packed, &layer), tar(&plain, &other));
        assert!(!layer.fs().exists(), "a tar needs no files");
        let tree = packed.layers().tree(&[layer.id().clone()]).expect("tree");
        assert_eq!(
            tree.read(&"link".into()).expect("read").len(),
            3 * RUN as usize + 17
        );
        assert_eq!(tree.read(&"two".into()).expect("read"), b"two names");
        assert_eq!(tree.read(&"d/empty".into()).expect("read"), b"");
    }

    #[test]
    fn files_are_created_when_they_are_asked_for_and_packs_go() {
        let (_dir, store) = store();
        let layer = pack(&store, items(), None);
        let before = store.layers().tree(&[layer.id().clone()]).expect("tree");
        let made = store.layers().ensure_dir(layer.id()).expect("files");
        assert_eq!(on_disk(&made), {
            let (_dir, other) = crate::testing::store();
            on_disk(&with_files(&other, items()))
        });
        assert!(!made.dir.join("packs").exists() && !made.dir.join("places").exists());
        // Who looked at the layer before goes on reading.
        assert_eq!(before.read(&"small".into()).expect("read"), b"some bytes");
        let same =
            ["d/one", "two"].map(|name| fs::metadata(made.fs().join(name)).expect("stat").ino());
        assert_eq!(same[0], same[1]);
        assert_eq!(store.fsck(false).expect("fsck").problems, []);
    }

    #[test]
    fn a_layer_without_bytes_gets_its_directories() {
        let (_dir, store) = store();
        let layer = pack(&store, vec![dir(""), dir("w"), item("w/empty", b"")], None);
        let made = store.layers().ensure_dir(layer.id()).expect("files");
        assert_eq!(fs::read(made.fs().join("w/empty")).expect("read"), b"");
        assert!(!made.dir.join("places").exists());
    }

    #[test]
    fn what_did_not_change_is_taken_over_and_outlives_where_it_came_from() {
        let (_dir, store) = store();
        let first = pack(&store, items(), None);
        let mut changed = items();
        changed.push(item("small", b"other bytes"));
        // Everything else cannot be read any more: it is not to be.
        for item in &mut changed {
            if item.entry.is_file() && item.entry.path != "small".into() {
                item.source = Source::Foreign("/nonexistent".into());
            }
        }
        let second = pack(&store, changed, Some(&first));
        let ino = |layer: &Layer, pack| {
            fs::metadata(crate::layer::files::pack_path(&layer.dir, pack))
                .expect("pack")
                .ino()
        };
        assert_eq!(ino(&first, 0), ino(&second, 0));
        let own = crate::layer::files::pack_path(&second.dir, 1);
        assert_eq!(fs::read(own).expect("pack"), b"other bytes");
        let usage = store.disk_usage().expect("usage").layers;
        let once = 4 * RUN..6 * RUN;
        assert!(once.contains(&usage), "{usage}: the pack counts once");
        let entries = store.usage_entries().expect("usage");
        let sum: u64 = entries.iter().map(|entry| entry.bytes).sum();
        assert!(once.contains(&sum), "{sum}: nor twice in the parts");
        crate::layer::discard(&store.shared().clone(), &first.dir);
        assert_eq!(store.fsck(false).expect("fsck").problems, []);
        let tree = store.layers().tree(&[second.id().clone()]).expect("tree");
        assert_eq!(tree.read(&"two".into()).expect("read"), b"two names");
        assert_eq!(tree.read(&"small".into()).expect("read"), b"other bytes");
    }

    #[test]
    fn packs_are_not_kept_for_a_small_part_of_them_and_never_many() {
        let (_dir, store) = store();
        let whole = pack(
            &store,
            vec![dir(""), item("a", &[1; 1000]), item("b", &[2; 400])],
            None,
        );
        let part = pack(&store, vec![dir(""), item("b", &[2; 400])], Some(&whole));
        let Files::Packed(packed) = part.files().expect("files") else {
            panic!("it is packed");
        };
        assert_eq!(packed.places.packs, [400]);
        let mut last = whole;
        let mut files = vec![dir(""), item("a", &[1; 1000])];
        for round in 0..20_u8 {
            files.push(item(&format!("f{round:02}"), &[round; 10]));
            last = pack(&store, files.clone(), Some(&last));
        }
        let Files::Packed(packed) = last.files().expect("files") else {
            panic!("it is packed");
        };
        assert!(
            packed.places.packs.len() <= MOST_PACKS,
            "{:?}",
            packed.places.packs
        );
        assert_eq!(packed.places.packs[0], 1400);
        let tree = store.layers().tree(&[last.id().clone()]).expect("tree");
        for round in 0..20_u8 {
            let path = RelPath::from(&*format!("f{round:02}"));
            assert_eq!(tree.read(&path).expect("read"), [round; 10]);
        }
        assert_eq!(store.fsck(false).expect("fsck").problems, []);
    }

    #[test]
    fn a_tar_is_digested_from_where_it_first_differs() {
        let (_dir, store) = store();
        let mut many = items();
        for number in 0..40_u8 {
            many.push(item(
                &format!("e{number:02}"),
                &vec![number; RUN as usize / 2],
            ));
        }
        let first = pack(&store, many.clone(), None);
        store.layers().diff_id(first.id()).expect("digest");
        for (path, spoilt) in [("d/empty", ""), ("two", ""), ("e20", "d/big")] {
            let mut changed = many.clone();
            changed.push(item(path, b"changed"));
            let second = pack(&store, changed.clone(), Some(&first));
            let (_dir, other) = crate::testing::store();
            let plain = with_files(&other, changed.clone());
            let whole = other.layers().diff_id(plain.id()).expect("digest");
            // What comes before the change is not read: it could not be.
            if !spoilt.is_empty() {
                let Files::Packed(packed) = second.files().expect("files") else {
                    panic!("it is packed");
                };
                let index = second.index().expect("index");
                let at = index
                    .entries()
                    .iter()
                    .position(|entry| entry.path == spoilt.into());
                let place = packed.places.entries[at.expect("there")];
                let file = File::options().write(true).open(packed.pack(place.pack));
                file.expect("open")
                    .write_all_at(b"spoilt", place.offset)
                    .expect("write");
            }
            let resumed = store.layers().diff_id(second.id()).expect("digest");
            assert_eq!(resumed, whole, "{path}");
        }
    }

    #[test]
    fn a_copy_out_of_a_packed_layer_shares_its_pack() {
        let (_dir, store) = store();
        let from = pack(&store, items(), None);
        let tree = store.layers().tree(&[from.id().clone()]).expect("tree");
        let root = RelPath::root();
        let copies = tree.walk(&root).map(|node| CopyItem {
            entry: Entry {
                mode: 0o755,
                ..node.entry.clone()
            },
            source: if node.entry.is_file() {
                Source::Stored(node.bytes())
            } else {
                Source::None
            },
        });
        let copy = pack(&store, copies.collect(), None);
        assert_ne!(copy.id(), from.id());
        assert!(
            crate::layer::files::pack_path(&copy.dir, 0)
                .metadata()
                .expect("pack")
                .nlink()
                == 2
        );
        assert!(!copy.dir.join("packs/1").exists());
        let tree = store.layers().tree(&[copy.id().clone()]).expect("tree");
        assert_eq!(tree.read(&"small".into()).expect("read"), b"some bytes");
    }

    #[test]
    fn a_file_that_changes_while_it_is_packed_is_refused() {
        let (_dir, store) = store();
        let path = store.tmp().join("changing");
        for (now, what) in [
            (&b"shorter"[..], "shorter"),
            (b"other byte", "other"),
            (b"some bytes and more", "longer"),
        ] {
            fs::write(&path, now).expect("write");
            let mut changed = item("f", b"some bytes");
            changed.source = Source::Foreign(path.clone());
            let staging = store.layers().prepare().expect("prepare");
            let refused =
                store
                    .layers()
                    .commit_packed(staging, vec![dir(""), changed], None, &|| true);
            assert!(
                matches!(refused, Err(StoreError::Changed { .. })),
                "{what}: {refused:?}"
            );
        }
        assert_eq!(store.layers().list().expect("list"), []);
    }

    #[test]
    fn damage_in_a_pack_is_found_after_a_reboot_and_by_a_check() {
        let (_dir, store) = store();
        let layer = pack(&store, items(), None);
        let path = crate::layer::files::pack_path(&layer.dir, 0);
        let mut data = fs::read(&path).expect("read");
        let last = data.len() - 1;
        data[last] ^= 1;
        fs::write(&path, data).expect("write");
        let problems = store.fsck(false).expect("fsck").problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        let mut to = Vec::new();
        let refused = store.layers().write_tar(layer.id(), &mut to);
        assert!(
            matches!(refused, Err(StoreError::Corrupt { .. })),
            "{refused:?}"
        );
        fs::write(layer.dir.join("stamp"), "another boot").expect("write");
        assert!(!store.layers().has(layer.id()) && !layer.dir.exists());
    }
}
