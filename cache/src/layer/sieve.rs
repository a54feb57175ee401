//! Whether any of many strings is in some bytes.
//!
//! A build that is given twenty secrets looks for some two hundred forms of them: too many for
//! vector instructions, and an automaton's step a byte would slow packing down. The strings are
//! long, though: wherever one of them stands, it has three bytes (a gram) that begin at a multiple
//! of the shortest one's length less two. So only those places are looked at, one look-up in a table
//! each, of which the processor has several on their way at once: none waits for another, as
//! the moves of a window would. Places that something may be at are written down in passing, with
//! no jump that a processor could guess wrongly, and looked at afterwards; what is at them is
//! compared with the strings.

/// The strings, and what of them is looked for first.
pub(super) struct Sieve {
    strings: Vec<Box<[u8]>>,
    /// How far apart the places are, at most, that have to be looked at.
    stride: usize,
    /// A byte for each hash of a gram, by its highest bits; in it a bit by the next ones.
    table: Box<[u8; SLOTS]>,
    /// The grams of all strings, by their hashes.
    grams: Vec<Gram>,
    /// For each beginning of a hash, where the grams with it begin.
    shelves: Vec<usize>,
}

/// Three bytes of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gram {
    hash: u32,
    string: usize,
    /// Where in the string they begin.
    at: usize,
}

/// How many bytes are looked at together.
const GRAM: usize = 3;
/// How many bytes are read for that.
const READ: usize = size_of::<u32>();
/// Bytes of the table: it stays in a processor's second cache, which the look-ups do not wait for.
/// Of a thousand other places, twenty secrets make it look twice at about thirty.
const SLOTS: usize = 1 << 16;
/// How many bits of a hash say which shelf it is on.
const SHELF_BITS: u32 = 12;
/// How many places are looked at before it is asked whether any of them is in the table.
const TOGETHER: usize = 8;
/// How many times that is done before those that are get a second look.
const GROUPS: usize = 16;

impl Sieve {
    /// The shortest string that a sieve is worth its while for.
    pub(super) const SHORTEST: usize = 6;

    /// Makes a sieve of `strings`, none of which is shorter than [`Self::SHORTEST`].
    pub(super) fn new<'s>(strings: impl Iterator<Item = &'s [u8]>) -> Option<Self> {
        let strings: Vec<Box<[u8]>> = strings.map(Box::from).collect();
        let shortest = strings.iter().map(|one| one.len()).min()?;
        if shortest < Self::SHORTEST {
            return None;
        }
        let stride = shortest - GRAM + 1;
        let mut grams: Vec<Gram> = Vec::with_capacity(strings.len() * stride);
        for (number, string) in strings.iter().enumerate() {
            let from = most_telling(string, shortest);
            grams.extend((from..from + stride).map(|at| Gram {
                hash: hash(&string[at..]),
                string: number,
                at,
            }));
        }
        grams.sort_unstable();
        let table = vec![0; SLOTS].into_boxed_slice();
        let mut table: Box<[u8; SLOTS]> = table.try_into().expect("as long as it was made");
        for gram in &grams {
            table[slot(gram.hash)] |= mark(gram.hash);
        }
        let begin = |number: u32| grams.partition_point(|gram| shelf(gram.hash) < number as usize);
        let shelves = (0..1 << SHELF_BITS).map(begin).collect();
        Some(Self {
            strings,
            stride,
            table,
            grams,
            shelves,
        })
    }

    /// Whether any of the strings is in `data`.
    pub(super) fn is_in(&self, data: &[u8]) -> bool {
        match self.stride {
            32.. => self.is_at_every::<32>(data),
            24.. => self.is_at_every::<24>(data),
            20.. => self.is_at_every::<20>(data),
            16.. => self.is_at_every::<16>(data),
            13.. => self.is_at_every::<13>(data),
            12 => self.is_at_every::<12>(data),
            11 => self.is_at_every::<11>(data),
            10 => self.is_at_every::<10>(data),
            9 => self.is_at_every::<9>(data),
            8 => self.is_at_every::<8>(data),
            7 => self.is_at_every::<7>(data),
            6 => self.is_at_every::<6>(data),
            5 => self.is_at_every::<5>(data),
            _ => self.is_at_every::<4>(data),
        }
    }

    /// Whether any of the strings has one of its grams at a multiple of `STRIDE`, which the
    /// compiler is told so that it need not check each place for being in `data`.
    fn is_at_every<const STRIDE: usize>(&self, data: &[u8]) -> bool {
        let step = STRIDE * TOGETHER;
        let mut from = 0;
        while let Some(block) = data.get(from..from + step * GROUPS + READ) {
            let mut groups = [0; GROUPS];
            let mut count = 0;
            for at in (0..GROUPS).map(|group| group * step) {
                let piece = &block[at..][..step + READ];
                let seen = (0..TOGETHER).fold(0, |seen, number| {
                    seen | self.table[slot(hash(&piece[number * STRIDE..]))]
                });
                groups[count % GROUPS] = at;
                count += usize::from(seen != 0);
            }
            let mut places = groups[..count].iter();
            if places.any(|at| self.is_among::<STRIDE>(data, from + at)) {
                return true;
            }
            from += step * GROUPS;
        }
        let until = data.len().saturating_sub(GRAM - 1);
        let mut rest = (from..until).step_by(STRIDE);
        rest.any(|at| self.is_around(data, at))
    }

    /// Whether any of the strings has one of its grams at one of the places from `from`.
    fn is_among<const STRIDE: usize>(&self, data: &[u8], from: usize) -> bool {
        let piece = &data[from..][..STRIDE * TOGETHER + READ];
        let mut seen = (0..TOGETHER).fold(0_u32, |seen, number| {
            let hash = hash(&piece[number * STRIDE..]);
            let there = self.table[slot(hash)] & mark(hash) != 0;
            seen | (u32::from(there) << number)
        });
        while seen != 0 {
            let number = seen.trailing_zeros() as usize;
            if self.is_around(data, from + number * STRIDE) {
                return true;
            }
            seen &= seen - 1;
        }
        false
    }

    /// Whether one of the strings is there that have the gram that begins at `at`.
    fn is_around(&self, data: &[u8], at: usize) -> bool {
        let hash = hash(&data[at..]);
        if self.table[slot(hash)] & mark(hash) == 0 {
            return false;
        }
        let grams = self.grams[self.shelves[shelf(hash)]..].iter();
        let mut same = grams
            .skip_while(|gram| gram.hash < hash)
            .take_while(|gram| gram.hash == hash);
        same.any(|gram| {
            at.checked_sub(gram.at)
                .is_some_and(|start| data[start..].starts_with(&self.strings[gram.string]))
        })
    }
}

/// Returns the byte of the table that a hash has a bit in.
fn slot(hash: u32) -> usize {
    (hash >> (u32::BITS - SLOTS.ilog2())) as usize
}

/// Returns that bit.
fn mark(hash: u32) -> u8 {
    1 << ((hash >> (u32::BITS - SLOTS.ilog2() - 3)) & 7)
}

/// Returns the number of the shelf that grams of this hash are on.
fn shelf(hash: u32) -> usize {
    (hash >> (u32::BITS - SHELF_BITS)) as usize
}

/// Returns where the part of a string begins that has the most different bytes: words that many
/// files have, such as the name of a header, repeat themselves, and what is random does not.
fn most_telling(string: &[u8], length: usize) -> usize {
    let different = |part: &[u8]| {
        let seen = part.iter().fold([0_u64; 4], |mut seen, byte| {
            seen[usize::from(byte / 64)] |= 1 << (byte % 64);
            seen
        });
        seen.iter().map(|word| word.count_ones()).sum::<u32>()
    };
    let parts = string.windows(length).enumerate();
    let best = parts.max_by_key(|(_, part)| different(part));
    best.map_or(0, |(at, _)| at)
}

/// Returns a hash of the first three bytes; different ones have different hashes. The factor is
/// moved by a byte, so that a fourth has no share in the product.
fn hash(data: &[u8]) -> u32 {
    let gram = match data.first_chunk() {
        Some(gram) => u32::from_le_bytes(*gram),
        None => u32::from_le_bytes([data[0], data[1], data[2], 0]),
    };
    gram.wrapping_mul(0x9e37_79b1 << 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(strings: &[&[u8]], data: &[u8]) -> bool {
        let sieve = Sieve::new(strings.iter().copied()).expect("long enough");
        sieve.is_in(data)
    }

    #[test]
    fn a_string_is_found_at_either_end_and_cut_ones_are_not() {
        let strings: [&[u8]; 3] = [b"secret", b"another one", b"cretaceous"];
        for (data, there) in [
            (&b""[..], false),
            (b"sec", false),
            (b"secre", false),
            (b"secret", true),
            (b"xxsecret", true),
            (b"secretxx", true),
            (b"secrexsecret", true),
            (b"another on", false),
            (b"another onesie", true),
            (b"secrecretaceous", true),
        ] {
            assert_eq!(found(&strings, data), there, "{data:?}");
        }
        assert!(Sieve::new([&b"short"[..]].into_iter()).is_none());
    }

    #[test]
    fn a_string_is_found_at_every_place() {
        for length in (6..30).chain([40]) {
            let string: Vec<u8> = (b'A'..).take(length).collect();
            for size in [length, 200, 331] {
                for at in 0..=size - length {
                    let mut data = vec![b'A'; size];
                    assert!(!found(&[&string, b"another"], &data));
                    data[at..at + length].copy_from_slice(&string);
                    assert!(found(&[&string, b"another"], &data), "{length} {size} {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_says_what_looking_everywhere_says(
            strings in prop::collection::vec(prop::collection::vec(0..3_u8, 6..12), 1..20),
            data in prop::collection::vec(0..3_u8, 0..200),
        ) {
            let sieve = Sieve::new(strings.iter().map(Vec::as_slice)).expect("long enough");
            let there = strings
                .iter()
                .any(|one| data.windows(one.len()).any(|window| window == &one[..]));
            prop_assert_eq!(sieve.is_in(&data), there);
        }
    }
}
