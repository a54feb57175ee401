//! Keys and the encoding that they are hashed from.
//!
//! A [`CacheKey`] names a piece of work, a [`ContentDigest`] names what a piece
//! of work reads. They are types of their own because mixing them up is a stale
//! hit. Both are BLAKE3 hashes over the encoding below.
//!
//! # Encoding, version 1
//!
//! A hash starts with [`KEY_VERSION`] and a domain (what sort of thing is
//! hashed), then follow values. Each value starts with a tag byte; everything of
//! variable length is preceded by its length, so that no two sequences of values
//! share their bytes. Integers are little-endian.
//!
//! | Value | Tag | Then |
//! |---|---|---|
//! | `bool` | 01 | one byte, 0 or 1 |
//! | unsigned integer | 02 | 8 bytes, whatever its width |
//! | signed integer | 03 | 8 bytes, two's complement |
//! | byte string, path | 04 | length (8 bytes), bytes |
//! | text | 05 | length (8 bytes), UTF-8 |
//! | absent | 06 | |
//! | present | 07 | the value |
//! | list, set | 08 | count (8 bytes), the elements |
//! | map | 09 | count (8 bytes), key and value of each entry in key order |
//! | tuple | 0a | count (1 byte), the elements |
//! | cache key | 0b | 32 bytes |
//! | content digest | 0c | 32 bytes |
//! | enum variant | 0d | its name as length and UTF-8; its fields follow |
//!
//! The header is the version as an unsigned integer and the domain as text.
//! A struct is the sequence of its fields; fields are only ever added together
//! with a new version of whoever hashes it. Changing anything here changes
//! [`KEY_VERSION`] and the test that pins the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Version of the key encoding; a part of every key.
pub const KEY_VERSION: u32 = 1;

/// The length of keys and digests in bytes.
const LEN: usize = 32;

/// A text is not the 64 lower-case hexadecimal digits of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a key of 64 hexadecimal digits: {text:?}")]
pub struct ParseKeyError {
    /// What was to be parsed.
    pub text: String,
}

macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident, $write:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; LEN]);

        impl $name {
            /// Returns the value with these bytes.
            pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes.
            pub const fn as_bytes(&self) -> &[u8; LEN] {
                &self.0
            }

            /// Returns the hash of one value in a domain.
            pub fn of<T: StableHash + ?Sized>(domain: &str, value: &T) -> Self {
                let mut hasher = StableHasher::new(domain);
                value.stable_hash(&mut hasher);
                Self(hasher.finish())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseKeyError;

            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                parse_hex(text).map(Self)
            }
        }

        impl StableHash for $name {
            fn stable_hash(&self, hasher: &mut StableHasher) {
                hasher.$write(self);
            }
        }
    };
}

hash_newtype!(
    /// The name of a piece of work, under which its result is remembered.
    CacheKey,
    write_key
);
hash_newtype!(
    /// The digest of what a piece of work reads from one of its inputs.
    ContentDigest,
    write_content
);

/// Parses 64 lower-case hexadecimal digits; one spelling only, as keys become file names.
fn parse_hex(text: &str) -> Result<[u8; LEN], ParseKeyError> {
    let error = || ParseKeyError {
        text: text.to_owned(),
    };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(error());
    }
    blake3::Hash::from_hex(text)
        .map(|hash| *hash.as_bytes())
        .map_err(|_| error())
}

/// The first byte of each encoded value.
mod tag {
    pub(super) const BOOL: u8 = 0x01;
    pub(super) const UNSIGNED: u8 = 0x02;
    pub(super) const SIGNED: u8 = 0x03;
    pub(super) const BYTES: u8 = 0x04;
    pub(super) const TEXT: u8 = 0x05;
    pub(super) const ABSENT: u8 = 0x06;
    pub(super) const PRESENT: u8 = 0x07;
    pub(super) const LIST: u8 = 0x08;
    pub(super) const MAP: u8 = 0x09;
    pub(super) const TUPLE: u8 = 0x0a;
    pub(super) const KEY: u8 = 0x0b;
    pub(super) const CONTENT: u8 = 0x0c;
    pub(super) const VARIANT: u8 = 0x0d;
}

/// Hashes values in the encoding of the [module](self).
#[derive(Clone)]
pub struct StableHasher {
    inner: blake3::Hasher,
}

impl StableHasher {
    /// Returns a hasher for one sort of thing, for example `"exec op"`.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self {
            inner: blake3::Hasher::new(),
        };
        hasher.write_u64(u64::from(KEY_VERSION));
        hasher.write_str(domain);
        hasher
    }

    /// Returns the hash of everything written.
    pub fn finish(&self) -> [u8; LEN] {
        *self.inner.finalize().as_bytes()
    }

    /// Returns the hash as the name of a piece of work.
    pub fn finish_key(&self) -> CacheKey {
        CacheKey(self.finish())
    }

    /// Returns the hash as the digest of a content.
    pub fn finish_content(&self) -> ContentDigest {
        ContentDigest(self.finish())
    }

    /// Writes any value.
    pub fn write<T: StableHash + ?Sized>(&mut self, value: &T) {
        value.stable_hash(self);
    }

    /// Writes a truth value.
    pub fn write_bool(&mut self, value: bool) {
        self.inner.update(&[tag::BOOL, u8::from(value)]);
    }

    /// Writes an unsigned integer of any width.
    pub fn write_u64(&mut self, value: u64) {
        self.tagged(tag::UNSIGNED, value.to_le_bytes());
    }

    /// Writes a signed integer of any width.
    pub fn write_i64(&mut self, value: i64) {
        self.tagged(tag::SIGNED, value.to_le_bytes());
    }

    /// Writes a byte string.
    pub fn write_bytes(&mut self, value: &[u8]) {
        self.sized(tag::BYTES, value);
    }

    /// Writes a text.
    pub fn write_str(&mut self, value: &str) {
        self.sized(tag::TEXT, value.as_bytes());
    }

    /// Writes a value that may be absent.
    pub fn write_option<T: StableHash + ?Sized>(&mut self, value: Option<&T>) {
        match value {
            None => {
                self.inner.update(&[tag::ABSENT]);
            }
            Some(value) => {
                self.inner.update(&[tag::PRESENT]);
                value.stable_hash(self);
            }
        }
    }

    /// Writes the values in their order, preceded by their number.
    pub fn write_list<I>(&mut self, values: I)
    where
        I: IntoIterator<Item: StableHash, IntoIter: ExactSizeIterator>,
    {
        let values = values.into_iter();
        self.tagged(tag::LIST, (values.len() as u64).to_le_bytes());
        for value in values {
            value.stable_hash(self);
        }
    }

    /// Writes which variant of an enum follows.
    pub fn write_variant(&mut self, name: &str) {
        self.sized(tag::VARIANT, name.as_bytes());
    }

    /// Writes a cache key.
    pub fn write_key(&mut self, key: &CacheKey) {
        self.inner.update(&[tag::KEY]);
        self.inner.update(&key.0);
    }

    /// Writes a content digest.
    pub fn write_content(&mut self, digest: &ContentDigest) {
        self.inner.update(&[tag::CONTENT]);
        self.inner.update(&digest.0);
    }

    fn tagged(&mut self, tag: u8, number: [u8; 8]) {
        let mut bytes = [0; 9];
        bytes[0] = tag;
        bytes[1..].copy_from_slice(&number);
        self.inner.update(&bytes);
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.tagged(tag, (bytes.len() as u64).to_le_bytes());
        self.inner.update(bytes);
    }
}

impl fmt::Debug for StableHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StableHasher").finish_non_exhaustive()
    }
}

/// How an input enters a vertex's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputName {
    /// By its definition key.
    Definition(CacheKey),
    /// By the digest of what is read from it.
    Content(ContentDigest),
}

impl StableHash for InputName {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        match self {
            Self::Definition(key) => hasher.write_key(key),
            Self::Content(digest) => hasher.write_content(digest),
        }
    }
}

/// Returns the key of a vertex: its op's digest and the list of its inputs' names.
///
/// The *definition key* names each input by its definition key, or by content
/// if it has none. The *content key* names all inputs by content. They share
/// a domain, so that where no input has a definition they are one key.
pub fn vertex_key<I>(op: CacheKey, inputs: I) -> CacheKey
where
    I: IntoIterator<Item = InputName, IntoIter: ExactSizeIterator>,
{
    let mut hasher = StableHasher::new("vertex");
    hasher.write_key(&op);
    hasher.write_list(inputs);
    hasher.finish_key()
}

/// A value with an encoding that stays the same between releases and machines.
pub trait StableHash {
    /// Writes the value to the hasher.
    fn stable_hash(&self, hasher: &mut StableHasher);
}

macro_rules! integers {
    ($write:ident: $wide:ty; $($int:ty),*) => {$(
        impl StableHash for $int {
            fn stable_hash(&self, hasher: &mut StableHasher) {
                hasher.$write(*self as $wide);
            }
        }
    )*};
}

integers!(write_u64: u64; u8, u16, u32, u64, usize);
integers!(write_i64: i64; i8, i16, i32, i64, isize);

impl StableHash for bool {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_bool(*self);
    }
}

impl StableHash for str {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_str(self);
    }
}

impl StableHash for String {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_str(self);
    }
}

impl StableHash for OsStr {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_bytes(self.as_bytes());
    }
}

impl StableHash for OsString {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        self.as_os_str().stable_hash(hasher);
    }
}

impl StableHash for Path {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        self.as_os_str().stable_hash(hasher);
    }
}

impl StableHash for PathBuf {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        self.as_os_str().stable_hash(hasher);
    }
}

impl<T: StableHash + ?Sized> StableHash for &T {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        (**self).stable_hash(hasher);
    }
}

impl<T: StableHash + ?Sized> StableHash for Box<T> {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        (**self).stable_hash(hasher);
    }
}

impl<T: StableHash> StableHash for Option<T> {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_option(self.as_ref());
    }
}

/// A list; byte strings are shorter as [`StableHasher::write_bytes`].
impl<T: StableHash> StableHash for [T] {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_list(self);
    }
}

impl<T: StableHash> StableHash for Vec<T> {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_list(self);
    }
}

impl<T: StableHash> StableHash for BTreeSet<T> {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.write_list(self);
    }
}

impl<K: StableHash, V: StableHash> StableHash for BTreeMap<K, V> {
    fn stable_hash(&self, hasher: &mut StableHasher) {
        hasher.tagged(tag::MAP, (self.len() as u64).to_le_bytes());
        for (key, value) in self {
            key.stable_hash(hasher);
            value.stable_hash(hasher);
        }
    }
}

macro_rules! tuples {
    ($($count:literal: $($name:ident . $field:tt),+;)*) => {$(
        impl<$($name: StableHash),+> StableHash for ($($name,)+) {
            fn stable_hash(&self, hasher: &mut StableHasher) {
                hasher.inner.update(&[tag::TUPLE, $count]);
                $(self.$field.stable_hash(hasher);)+
            }
        }
    )*};
}

tuples! {
    2: A.0, B.1;
    3: A.0, B.1, C.2;
    4: A.0, B.1, C.2, D.3;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of a variable part as it is encoded.
    fn length(length: u64) -> Vec<u8> {
        length.to_le_bytes().to_vec()
    }

    fn header(domain: &str) -> Vec<u8> {
        let version = [vec![0x02], 1_u64.to_le_bytes().to_vec()].concat();
        [
            version,
            vec![0x05],
            length(domain.len() as u64),
            domain.as_bytes().to_vec(),
        ]
        .concat()
    }

    #[test]
    fn values_are_encoded_as_documented() {
        let map = BTreeMap::from([("b", 2_u8), ("a", 1)]);
        let key = CacheKey::from_bytes([0xaa; 32]);
        let content = ContentDigest::from_bytes([0xbb; 32]);
        let cases: Vec<(Box<dyn StableHash>, Vec<u8>)> = vec![
            (Box::new(true), vec![0x01, 1]),
            (Box::new(false), vec![0x01, 0]),
            (
                Box::new(7_u8),
                [vec![0x02], 7_u64.to_le_bytes().to_vec()].concat(),
            ),
            (
                Box::new(7_usize),
                [vec![0x02], 7_u64.to_le_bytes().to_vec()].concat(),
            ),
            (
                Box::new(-7_i32),
                [vec![0x03], (-7_i64).to_le_bytes().to_vec()].concat(),
            ),
            (
                Box::new(Path::new("/a")),
                [vec![0x04], length(2), b"/a".to_vec()].concat(),
            ),
            (
                Box::new(OsString::from("a")),
                [vec![0x04], length(1), b"a".to_vec()].concat(),
            ),
            (
                Box::new("ab"),
                [vec![0x05], length(2), b"ab".to_vec()].concat(),
            ),
            (Box::new(String::new()), [vec![0x05], length(0)].concat()),
            (Box::new(None::<u8>), vec![0x06]),
            (Box::new(Some(true)), vec![0x07, 0x01, 1]),
            (
                Box::new(vec![true, false]),
                [vec![0x08], length(2), vec![0x01, 1, 0x01, 0]].concat(),
            ),
            (
                Box::new(BTreeSet::from([true])),
                [vec![0x08], length(1), vec![0x01, 1]].concat(),
            ),
            (
                Box::new(map),
                [
                    [vec![0x09], length(2)].concat(),
                    [vec![0x05], length(1), b"a".to_vec()].concat(),
                    [vec![0x02], 1_u64.to_le_bytes().to_vec()].concat(),
                    [vec![0x05], length(1), b"b".to_vec()].concat(),
                    [vec![0x02], 2_u64.to_le_bytes().to_vec()].concat(),
                ]
                .concat(),
            ),
            (Box::new((true, false)), vec![0x0a, 2, 0x01, 1, 0x01, 0]),
            (Box::new(key), [vec![0x0b], vec![0xaa; 32]].concat()),
            (Box::new(content), [vec![0x0c], vec![0xbb; 32]].concat()),
        ];
        for (number, (value, bytes)) in cases.into_iter().enumerate() {
            let mut hasher = StableHasher::new("test");
            value.stable_hash(&mut hasher);
            let expected = blake3::hash(&[header("test"), bytes].concat());
            assert_eq!(hasher.finish(), *expected.as_bytes(), "case {number}");
        }
        let mut hasher = StableHasher::new("test");
        hasher.write_variant("Copy");
        let variant = [vec![0x0d], length(4), b"Copy".to_vec()].concat();
        let expected = blake3::hash(&[header("test"), variant].concat());
        assert_eq!(hasher.finish(), *expected.as_bytes());
    }

    #[test]
    fn a_vertex_key_is_pinned() {
        let op = CacheKey::of("op", "RUN make");
        let inputs = [
            InputName::Definition(CacheKey::of("op", &1_u64)),
            InputName::Content(ContentDigest::of("tree", &None::<bool>)),
        ];
        assert_eq!(KEY_VERSION, 1);
        assert_eq!(
            op.to_string(),
            "eb478177c053a647d8e6b8c3d905b7f7290230deaeb8de0410f7b59af340c3c5"
        );
        assert_eq!(
            vertex_key(op, inputs).to_string(),
            "b0cdad56356121081118be7432d074d3d7e8eeea9f480e554bf91942705ade37"
        );
        assert_eq!(
            vertex_key(op, []).to_string(),
            "ba9a350815e32b77a033b74c4ef1bac2d9022de43ced3281b5cce839b4dfc0cd"
        );
    }

    #[test]
    fn sequences_that_read_alike_differ() {
        let of = |value: &dyn StableHash| {
            let mut hasher = StableHasher::new("test");
            value.stable_hash(&mut hasher);
            hasher.finish_key()
        };
        let keys = [
            of(&("ab", "c")),
            of(&("a", "bc")),
            of(&vec!["ab", "c"]),
            of(&vec!["abc"]),
            of(&"abc"),
            of(&Path::new("abc")),
            of(&Some("abc")),
            of(&Vec::<bool>::new()),
            of(&None::<bool>),
            of(&1_u64),
            of(&1_i64),
            of(&true),
            of(&CacheKey::from_bytes([1; 32])),
            of(&ContentDigest::from_bytes([1; 32])),
            CacheKey::of("other test", "abc"),
        ];
        let distinct: BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn an_input_by_content_is_not_one_by_definition() {
        let op = CacheKey::from_bytes([1; 32]);
        let by_definition = vertex_key(op, [InputName::Definition(CacheKey::from_bytes([2; 32]))]);
        let by_content = vertex_key(op, [InputName::Content(ContentDigest::from_bytes([2; 32]))]);
        assert_ne!(by_definition, by_content);
    }

    #[test]
    fn keys_are_written_and_read_as_hexadecimal_digits() {
        let key = CacheKey::from_bytes(std::array::from_fn(|index| index as u8));
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(format!("{key:?}"), format!("CacheKey({text})"));
        let long = format!("{text}0");
        for bad in [
            "",
            "00",
            &text[1..],
            &long,
            &text.to_uppercase(),
            &text.replace('0', "g"),
        ] {
            assert_eq!(
                bad.parse::<CacheKey>(),
                Err(ParseKeyError {
                    text: bad.to_owned()
                })
            );
        }
    }
}
