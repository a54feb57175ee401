//! Digests of tars that begin as another layer's tar does.
//!
//! A step whose sources changed in one file makes a layer whose tar is the former one's up to
//! that file. What a hasher of SHA-256 knows then is kept beside a packed layer, every few
//! mebibytes, and the tar of the layer made after it is digested from the last such mark on
//! which both agree: neither are the bytes before it read.
//!
//! # File format of `marks`, version 1
//!
//! ```text
//! "cooper-marks 1\n"   16 bytes with a trailing NUL
//! BLAKE3 of the body   32 bytes
//! body                 postcard: Vec<Mark>
//! ```

use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};

use cooper_oci::{Digest, Sha256Hasher};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::layer::files::Packed;
use crate::layer::scan::{Searcher, Watch};
use crate::layer::{Files, Layer, LayerId, LayerIndex, Layers, tar_write};

const MAGIC: &[u8; 16] = b"cooper-marks 1\n\0";
/// Bytes of tar between two marks.
const EVERY: u64 = 4 << 20;

/// A hasher's state between two members of a tar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// How many entries of the index are in the tar by then.
    entries: usize,
    state: Vec<u8>,
}

/// Returns the digest of a layer's tar, which is searched on the way. What another layer's tar
/// begins with too is not searched again if that layer is known to be clean.
pub(super) fn digest(
    layers: &Layers,
    layer: &Layer,
    watch: Option<&Watch>,
) -> Result<Digest, StoreError> {
    let (index, files) = (layer.index()?, layer.files()?);
    let marks = match &files {
        Files::Packed(packed) => known(layers, packed, &index, watch).unwrap_or_default(),
        Files::Dir(_) => Vec::new(),
    };
    let start = marks.last().and_then(|mark| {
        let hasher = Sha256Hasher::resume(&mark.state)?;
        Some((mark.entries, hasher))
    });
    let (done, hasher) = start.unwrap_or_default();
    let tape = RefCell::new(Tape {
        hasher,
        searcher: watch.map(Searcher::new),
        unmarked: 0,
        marks,
    });
    let mark = |entries| tape.borrow_mut().mark(entries);
    layers.streamed(&mut Writer(&tape), |to| {
        tar_write::write_rest(&index, &files, done, to, &mark)
    })?;
    let tape = tape.into_inner();
    if let Some(searcher) = tape.searcher {
        searcher.finish();
    }
    if matches!(files, Files::Packed(_)) {
        // Losing the marks costs time at the next digest, no more.
        let _ = layers
            .shared
            .write_atomic(&layer.dir.join("marks"), &encode(&tape.marks));
    }
    Ok(tape.hasher.finish())
}

/// Returns the marks of the layer made before that hold for this one too.
fn known(
    layers: &Layers,
    packed: &Packed,
    index: &LayerIndex,
    watch: Option<&Watch>,
) -> Option<Vec<Mark>> {
    let like: &LayerId = packed.places.like.as_ref()?;
    if let Some(watch) = watch
        && !layers.is_clean(like, &watch.needles).ok()?
    {
        return None;
    }
    let like = layers.get(like).ok()??;
    let mut marks = decode(&fs::read(like.dir.join("marks")).ok()?)?;
    let before = like.index().ok()?;
    let both = index.entries().iter().zip(before.entries());
    let same = both.take_while(|(new, old)| new == old).count();
    marks.retain(|mark| mark.entries <= same);
    Some(marks)
}

fn encode(marks: &[Mark]) -> Vec<u8> {
    let body = postcard::to_stdvec(marks).expect("plain data always serialises");
    [MAGIC, blake3::hash(&body).as_bytes() as &[u8], &body].concat()
}

fn decode(file: &[u8]) -> Option<Vec<Mark>> {
    let (sum, body) = file.strip_prefix(MAGIC)?.split_at_checked(32)?;
    let sound = blake3::hash(body).as_bytes() == sum;
    sound.then(|| postcard::from_bytes(body).ok()).flatten()
}

/// A tar that is only digested.
struct Tape<'a> {
    hasher: Sha256Hasher,
    searcher: Option<Searcher<'a>>,
    /// Bytes since the last mark.
    unmarked: u64,
    marks: Vec<Mark>,
}

impl Tape<'_> {
    fn mark(&mut self, entries: usize) {
        if self.unmarked >= EVERY {
            self.unmarked = 0;
            let state = self.hasher.state();
            self.marks.push(Mark { entries, state });
        }
    }
}

/// The tape as what a tar is written to, while it is asked for marks.
struct Writer<'a, 't>(&'a RefCell<Tape<'t>>);

impl Write for Writer<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut tape = self.0.borrow_mut();
        tape.hasher.update(data);
        if let Some(searcher) = &mut tape.searcher {
            searcher.pass(data);
        }
        tape.unmarked += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
