//! Whether any of very many strings is in some bytes.
//!
//! A build that is given twenty secrets looks for some two hundred forms of them: too many for
//! vector instructions, and an automaton's step a byte would slow packing down. The strings are
//! long, though, so that most bytes need no look at all: the two bytes at the end of a window as
//! long as the shortest string tell how far the window can be moved (the method of Wu and Manber).

use std::collections::HashMap;

/// The strings, and how far each pair of bytes lets the window go.
pub(super) struct Sieve {
    /// Length of the shortest string, and of the window.
    window: usize,
    /// By a pair of bytes: how many bytes the window moves if they are its last ones.
    moves: Vec<u8>,
    /// By the pair: the strings whose beginning ends with it, as long as the window.
    ends: HashMap<u16, Vec<Vec<u8>>>,
}

impl Sieve {
    /// The shortest string that a sieve is worth its while for.
    pub(super) const SHORTEST: usize = 6;

    /// Makes a sieve of `strings`, none of which is shorter than [`Self::SHORTEST`].
    pub(super) fn new<'s>(strings: impl Iterator<Item = &'s [u8]> + Clone) -> Option<Self> {
        let shortest = strings.clone().map(<[u8]>::len).min()?;
        let window = shortest.min(usize::from(u8::MAX));
        if window < Self::SHORTEST {
            return None;
        }
        let mut moves = vec![(window - 1) as u8; 1 << 16];
        let mut ends: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
        for string in strings {
            for at in 2..=window {
                let pair = usize::from(pair(&string[..at]));
                moves[pair] = moves[pair].min((window - at) as u8);
            }
            let last = pair(&string[..window]);
            ends.entry(last).or_default().push(string.to_vec());
        }
        Some(Self {
            window,
            moves,
            ends,
        })
    }

    /// Whether any of the strings is in `data`.
    pub(super) fn is_in(&self, data: &[u8]) -> bool {
        let mut end = self.window;
        while end <= data.len() {
            let last = pair(&data[..end]);
            let step = usize::from(self.moves[usize::from(last)]);
            if step == 0 {
                let from = &data[end - self.window..];
                let strings = self.ends.get(&last);
                if strings.is_some_and(|strings| strings.iter().any(|one| from.starts_with(one))) {
                    return true;
                }
            }
            end += step.max(1);
        }
        false
    }
}

/// Returns the last two bytes of `data` as a number.
fn pair(data: &[u8]) -> u16 {
    let [.., first, second] = data else { return 0 };
    u16::from_le_bytes([*first, *second])
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
