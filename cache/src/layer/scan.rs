//! Looking for byte strings in what layers hold.
//!
//! A layer's tar goes by when its digest is taken and when it is packed; a [`Layers`] that
//! watches for [`Needles`] searches it on the way, on the threads that compress. That answers
//! only whether there is anything. [`Layers::search`] answers where, file by file; it reads
//! nothing if the layer is known to be clean.
//!
//! What a layer was found clean of is remembered by marks: a mark is a hash of what was looked
//! for, keyed by a random number that does not leave the store, so that neither the memo nor a
//! copy of it tells what the strings were. A layer that was searched is not searched again for
//! the same strings, nor for some of them. What a layer was found to hold can be noted beside it
//! too, in words, for those who do not know the strings.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aho_corasick::{AhoCorasick, Input, MatchKind};
use rayon::prelude::*;

use crate::error::{IoContext, StoreError};
use crate::images::{json, read_json};
use crate::layer::sieve::Sieve;
use crate::layer::{Entry, EntryKind, FileBytes, FileReader, LayerId, Layers};
use crate::path::RelPath;
use crate::store::Shared;

/// How much of a file is searched at once: what stays in a processor's second cache.
const CHUNK: usize = 1 << 18;

thread_local! {
    /// What a thread reads files into. Memory that is new each time has to be cleared by the
    /// kernel, which takes as long as searching it.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Byte strings that belong together: the forms of one secret.
#[derive(Clone)]
pub struct NeedleGroup {
    /// What stands for the group in marks. If it changes, layers are searched again.
    pub identity: Vec<u8>,
    /// The strings, none of them empty.
    pub strings: Vec<Vec<u8>>,
}

/// Byte strings to look for, all in one pass.
pub struct Needles {
    automaton: AhoCorasick,
    /// What answers faster whether there is any.
    glance: Option<Glance>,
    longest: usize,
    /// For each string, the number of its group.
    groups: Vec<usize>,
    /// For each group, its mark.
    marks: Vec<String>,
}

/// What tells whether there is any: the long strings in a sieve, and the others.
struct Glance {
    long: Option<Sieve>,
    /// Takes few strings at once by vector instructions, of any length.
    short: Option<AhoCorasick>,
}

impl Glance {
    /// How many strings vector instructions take without getting slower. If there are short
    /// ones, the shortest others go with them, which makes the sieve quicker.
    const FEW: usize = 24;

    /// Returns nothing if the strings are too many or too long for an automaton.
    fn new(strings: &[&Vec<u8>]) -> Option<Self> {
        let mut strings = strings.to_vec();
        strings.sort_by_key(|string| string.len());
        let is_short = |string: &&Vec<u8>| string.len() < Sieve::SHORTEST;
        let beside = match strings.partition_point(is_short) {
            0 => 0,
            short => short.max(Self::FEW.min(strings.len())),
        };
        let (short, long) = strings.split_at(beside);
        let short = match short {
            [] => None,
            // Finding the leftmost, not the first to end, is what the vector instructions can.
            short => Some(
                AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostFirst)
                    .build(short)
                    .ok()?,
            ),
        };
        Some(Self {
            long: Sieve::new(long.iter().map(|one| &one[..])),
            short,
        })
    }

    fn is_in(&self, data: &[u8]) -> bool {
        let (long, short) = (self.long.as_ref(), self.short.as_ref());
        long.is_some_and(|long| long.is_in(data)) || short.is_some_and(|short| short.is_match(data))
    }
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is looked for is secret.
        f.debug_struct("Needles")
            .field("strings", &self.groups.len())
            .finish_non_exhaustive()
    }
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Number of the group, in the order they were given.
    pub group: usize,
    /// Number of the string within all groups.
    pub string: usize,
    /// The entry that holds it, in its bytes, its name or its attributes.
    pub path: RelPath,
}

/// Says of what follows a needle (at most [`Needles::CONTEXT`] bytes) whether it makes a find.
pub type Confirm<'a> = dyn Fn(usize, &[u8]) -> bool + Sync + 'a;

impl Needles {
    /// How many bytes behind a needle are shown to whoever confirms it.
    pub const CONTEXT: usize = 512;

    /// Returns whether any string is in `data`.
    pub fn is_in(&self, data: &[u8]) -> bool {
        match &self.glance {
            Some(glance) => glance.is_in(data),
            None => self.automaton.is_match(data),
        }
    }

    /// Calls `each` with every find in `data`: the numbers of the group and of the string, and
    /// where it is. If it says no, what overlaps the find is looked at too.
    pub fn each_in(
        &self,
        data: &[u8],
        mut each: impl FnMut(usize, usize, std::ops::Range<usize>) -> bool,
    ) {
        let mut from = 0;
        while let Some(found) = self.automaton.find(Input::new(data).range(from..)) {
            let string = found.pattern().as_usize();
            let accepted = each(self.groups[string], string, found.range());
            from = if accepted {
                found.end()
            } else {
                found.start() + 1
            };
        }
    }
}

/// The end of what came before a piece, as long as a needle's beginning can be.
#[derive(Debug, Default)]
pub(super) struct Seam(Vec<u8>);

impl Seam {
    fn new(needles: &Needles, before: &[u8]) -> Self {
        let from = before.len().saturating_sub(needles.longest - 1);
        Self(before[from..].to_vec())
    }

    /// Returns the seam behind `data`.
    pub(super) fn next(&self, needles: &Needles, data: &[u8]) -> Vec<u8> {
        if data.len() >= needles.longest {
            return Self::new(needles, data).0;
        }
        Self::new(needles, &[&self.0, data].concat()).0
    }

    /// Whether a needle is in `data`, or begins before it.
    pub(super) fn search(&self, needles: &Needles, data: &[u8]) -> bool {
        let head = &data[..data.len().min(needles.longest - 1)];
        (!self.0.is_empty() && needles.is_in(&[&self.0, head].concat())) || needles.is_in(data)
    }
}

/// Searches a stream that goes by in pieces.
pub(super) struct Searcher<'a> {
    watch: &'a Watch,
    /// The end of what was searched, which a needle may begin in, and what was not searched yet.
    rest: Vec<u8>,
}

impl<'a> Searcher<'a> {
    /// Shorter pieces are put together first.
    const PIECE: usize = 1 << 12;

    pub(super) fn new(watch: &'a Watch) -> Self {
        let rest = Vec::with_capacity(2 * Self::PIECE);
        Self { watch, rest }
    }

    /// Takes the next piece.
    pub(super) fn pass(&mut self, data: &[u8]) {
        let most = self.watch.needles.longest - 1;
        if data.len() < Self::PIECE {
            self.rest.extend_from_slice(data);
            if self.rest.len() >= Self::PIECE + most {
                self.settle();
            }
            return;
        }
        let head = most.min(data.len());
        self.rest.extend_from_slice(&data[..head]);
        self.settle();
        self.watch.search(data);
        self.rest.clear();
        self.rest.extend_from_slice(&data[data.len() - head..]);
    }

    /// Searches what is left.
    pub(super) fn finish(mut self) {
        self.settle();
    }

    fn settle(&mut self) {
        self.watch.search(&self.rest);
        let most = self.watch.needles.longest - 1;
        let surplus = self.rest.len().saturating_sub(most);
        self.rest.drain(..surplus);
    }
}

/// What a [`Layers`] that watches passes on to those who read a whole tar.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) needles: Arc<Needles>,
    hit: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(needles: &Arc<Needles>) -> Self {
        Self {
            needles: needles.clone(),
            hit: Arc::default(),
        }
    }

    /// Searches a block that comes behind `seam`.
    pub(super) fn block(&self, seam: &Seam, block: &[u8]) {
        if !self.hit() && seam.search(&self.needles, block) {
            self.hit.store(true, Ordering::Relaxed);
        }
    }

    /// Searches the whole of a stream, or what cannot have but the end of a needle before it.
    pub(super) fn search(&self, data: &[u8]) {
        if !self.hit() && self.needles.is_in(data) {
            self.hit.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn seam(&self, before: &Seam, data: &[u8]) -> Seam {
        Seam(before.next(&self.needles, data))
    }

    pub(super) fn hit(&self) -> bool {
        self.hit.load(Ordering::Relaxed)
    }
}

impl Layers {
    /// Prepares to look for the strings of `groups`; nothing if there are none.
    pub fn needles(&self, groups: &[NeedleGroup]) -> Result<Option<Arc<Needles>>, StoreError> {
        let strings: Vec<(usize, &Vec<u8>)> = groups
            .iter()
            .enumerate()
            .flat_map(|(number, group)| group.strings.iter().map(move |string| (number, string)))
            .filter(|(_, string)| !string.is_empty())
            .collect();
        if strings.is_empty() {
            return Ok(None);
        }
        let key = mark_key(&self.shared)?;
        let mark = |group: &NeedleGroup| {
            let mark = blake3::keyed_hash(&key, &group.identity).to_hex();
            mark[..32].to_owned()
        };
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(strings.iter().map(|(_, string)| string))
            .map_err(|error| StoreError::Invalid {
                what: "strings to search for",
                value: error.to_string(),
            })?;
        let all: Vec<&Vec<u8>> = strings.iter().map(|(_, string)| *string).collect();
        Ok(Some(Arc::new(Needles {
            glance: Glance::new(&all),
            longest: strings
                .iter()
                .map(|(_, string)| string.len())
                .max()
                .unwrap_or(1),
            groups: strings.iter().map(|(group, _)| *group).collect(),
            marks: groups.iter().map(mark).collect(),
            automaton,
        })))
    }

    /// Returns these layers; whatever is packed or digested through them is searched on the way.
    #[must_use]
    pub fn watching(&self, needles: Arc<Needles>) -> Self {
        Self {
            watched: Some(needles),
            ..self.clone()
        }
    }

    /// Returns what a layer is to be searched for; nothing if it is known to have nothing of it.
    pub(super) fn watch(&self, id: &LayerId) -> Result<Option<Watch>, StoreError> {
        match &self.watched {
            Some(needles) if !self.is_clean(id, needles)? => Ok(Some(Watch::new(needles))),
            _ => Ok(None),
        }
    }

    /// Remembers that a layer has nothing of what was watched for.
    pub(super) fn note_clean(&self, id: &LayerId, watch: Option<&Watch>) -> Result<(), StoreError> {
        match watch {
            Some(watch) if !watch.hit() => self.remember_clean(id, &watch.needles),
            _ => Ok(()),
        }
    }

    fn remember_clean(&self, id: &LayerId, needles: &Needles) -> Result<(), StoreError> {
        let memo = self.memo(id, "clean");
        let mut marks: BTreeSet<String> = read_json(&memo)?.unwrap_or_default();
        let known = marks.len();
        marks.extend(needles.marks.iter().cloned());
        if marks.len() == known {
            return Ok(());
        }
        self.shared.write_atomic(&memo, &json(&marks))
    }

    /// Whether the layer is known to hold none of the strings.
    pub fn is_clean(&self, id: &LayerId, needles: &Needles) -> Result<bool, StoreError> {
        let marks: BTreeSet<String> = read_json(&self.memo(id, "clean"))?.unwrap_or_default();
        Ok(needles.marks.iter().all(|mark| marks.contains(mark)))
    }

    /// Notes beside a layer what it holds that must not leave, each in a sentence.
    pub fn note_leaks(&self, id: &LayerId, leaks: &[String]) -> Result<(), StoreError> {
        if leaks.is_empty() {
            return Ok(());
        }
        let mut noted = self.noted_leaks(id)?;
        let known = noted.len();
        noted.extend(leaks.iter().cloned());
        if noted.len() == known {
            return Ok(());
        }
        self.shared
            .write_atomic(&self.memo(id, "leaks"), &json(&noted))
    }

    /// Returns what was noted so.
    pub fn noted_leaks(&self, id: &LayerId) -> Result<BTreeSet<String>, StoreError> {
        Ok(read_json(&self.memo(id, "leaks"))?.unwrap_or_default())
    }

    /// Searches the names, links, attributes and bytes of everything in a layer.
    ///
    /// Of several finds of one group in one entry the first is returned. `confirm` is asked of
    /// each find that is in the bytes of a file.
    pub fn search(
        &self,
        id: &LayerId,
        needles: &Needles,
        confirm: &Confirm<'_>,
    ) -> Result<Vec<Found>, StoreError> {
        if self.is_clean(id, needles)? {
            return Ok(Vec::new());
        }
        let layer = self.ensure(id)?;
        let (index, files) = (layer.index()?, layer.files()?);
        let dir = files.dir();
        let found: Vec<Vec<Found>> = index
            .entries()
            .par_iter()
            .enumerate()
            .with_min_len(16)
            .map(|(number, entry)| {
                let bytes = files.bytes(number, entry.path.under(&dir), entry.size());
                search_entry(entry, &bytes, needles, confirm)
            })
            .collect::<Result<_, _>>()?;
        let found = found.concat();
        if found.is_empty() {
            self.remember_clean(id, needles)?;
        }
        Ok(found)
    }
}

fn search_entry(
    entry: &Entry,
    bytes: &FileBytes,
    needles: &Needles,
    confirm: &Confirm<'_>,
) -> Result<Vec<Found>, StoreError> {
    let mut found: Vec<Found> = Vec::new();
    let mut add = |group: usize, string: usize| {
        if !found.iter().any(|known| known.group == group) {
            let path = entry.path.clone();
            found.push(Found {
                group,
                string,
                path,
            });
        }
        true
    };
    needles.each_in(entry.path.as_bytes(), |group, string, _| add(group, string));
    if let EntryKind::Symlink { target } = &entry.kind {
        needles.each_in(target, |group, string, _| add(group, string));
    }
    for (name, value) in &entry.xattrs {
        needles.each_in(name, |group, string, _| add(group, string));
        needles.each_in(value, |group, string, _| add(group, string));
    }
    if entry.is_file() && entry.size() > 0 {
        let search = |file| {
            BUFFER.with_borrow_mut(|buffer| search_file(file, buffer, needles, confirm, &mut add))
        };
        bytes
            .open()
            .and_then(search)
            .during("search", bytes.path())?;
    }
    Ok(found)
}

/// Reads a file in chunks; the end of each is carried over, with room for a needle and what
/// follows it, and finds that begin there wait for the next chunk.
fn search_file(
    mut file: FileReader,
    buffer: &mut Vec<u8>,
    needles: &Needles,
    confirm: &Confirm<'_>,
    add: &mut dyn FnMut(usize, usize) -> bool,
) -> io::Result<()> {
    let carry = needles.longest + Needles::CONTEXT;
    buffer.resize(carry + CHUNK, 0);
    let mut filled = 0;
    loop {
        let count = read_full(&mut file, &mut buffer[filled..])?;
        filled += count;
        let last = filled < buffer.len();
        let data = &buffer[..filled];
        let settled = if last { filled } else { filled - carry };
        // Most files have nothing, which is seen faster than where something is.
        if needles.is_in(data) {
            needles.each_in(data, |group, string, at| {
                let after = &data[at.end..data.len().min(at.end + Needles::CONTEXT)];
                at.start >= settled || (confirm(string, after) && add(group, string))
            });
        }
        if last {
            return Ok(());
        }
        buffer.copy_within(settled..filled, 0);
        filled = carry;
    }
}

fn read_full(file: &mut FileReader, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns the key of this store's marks, made at the first use and readable by its owner alone.
fn mark_key(shared: &Shared) -> Result<[u8; 32], StoreError> {
    let path = shared.layout.root().join("mark-key");
    let read = || {
        fs::read(&path)
            .ok()
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
    };
    if let Some(key) = read() {
        return Ok(key);
    }
    let mut key = [0; 32];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .during("make", &path)?;
    let new = shared.tmp_path();
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&key)?;
        // Another process' key wins: its marks may be there already.
        match fs::hard_link(&new, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && read().is_none() => {
                fs::rename(&new, &path)
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&new),
        }
    };
    write().during("write", &path)?;
    Ok(read().unwrap_or(key))
}

#[cfg(test)]
mod tests;
