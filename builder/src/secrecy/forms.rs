//! The forms in which a value turns up: as it is, in base64, in hexadecimal, URL-encoded, in UTF-16.
//!
//! A value within a longer text that is encoded in base64 has one of three forms, by where it
//! begins: three bytes become four characters, and those at its ends depend on its neighbours
//! and are left out. `base64`, `openssl` and `xxd` break lines. Of a long form therefore two
//! adjoining windows from its middle are looked for, too short for two breaks: one is whole.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What a block in PEM form begins with.
const BEGIN: &[u8] = b"-----BEGIN ";
/// Beginnings of blocks that are no secret.
const PUBLIC: [&[u8]; 2] = [
    b"-----BEGIN CERTIFICATE-----",
    b"-----BEGIN PUBLIC KEY-----",
];
/// Values shorter than this are not looked for in files: eight bytes (what is asked of a
/// password at least) do not occur by chance; shorter ones, which are often plain words or
/// numbers, do in any image of some size.
const SHORTEST: usize = 8;
/// Parts of a value that are looked for on their own are this long at least.
const SHORTEST_PART: usize = 20;
/// How many parts of one value are looked for.
const MOST_PARTS: usize = 8;
/// The shortest line that an encoder writes (`xxd -p`) holds two of these.
const WINDOW: usize = 30;
/// Of a longer value only the middle is looked for; that is as telling.
const LONGEST: usize = 128;

/// How a form was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coding {
    /// The bytes themselves.
    Plain,
    /// A part of a value of several lines or words that looks random.
    Part,
    /// Base64, also of the URL-safe alphabet.
    Base64,
    /// Hexadecimal.
    Hex,
    /// Percent-encoding.
    Url,
    /// A JSON string.
    Json,
    /// UTF-16 of either byte order: what PowerShell redirects into files.
    Utf16,
}

impl Coding {
    /// Says so in a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Plain => "as it is",
            Self::Part => "in part",
            Self::Base64 => "in base64",
            Self::Hex => "in hexadecimal",
            Self::Url => "URL-encoded",
            Self::Json => "in JSON",
            Self::Utf16 => "in UTF-16",
        }
    }
}

/// A form of a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    /// How it was made.
    pub coding: Coding,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Returns the forms of `value`, each once, the plain one first; without the whitespace around it.
pub fn forms(value: &[u8]) -> Vec<Form> {
    let value = value.trim_ascii();
    let mut all: Vec<Form> = Vec::new();
    let mut add = |coding: Coding, bytes: Vec<u8>| {
        if !bytes.is_empty() && !all.iter().any(|form| form.bytes == bytes) {
            all.push(Form { coding, bytes });
        }
    };
    add(Coding::Plain, value.to_vec());
    for offset in 0..3 {
        for encode in [
            |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes),
            |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes),
        ] {
            add(Coding::Base64, base64_at(offset, value, encode));
        }
    }
    add(Coding::Hex, hex(value, b"0123456789abcdef"));
    add(Coding::Hex, hex(value, b"0123456789ABCDEF"));
    // Everything, what JavaScript's encodeURIComponent leaves, what Python's quote leaves.
    for kept in [&b"-._~"[..], b"-._~!*'()", b"-._~/"] {
        add(Coding::Url, percent(value, kept, false));
        add(Coding::Url, percent(value, kept, true));
    }
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(quoted) = serde_json::to_string(text)
    {
        add(
            Coding::Json,
            quoted.as_bytes()[1..quoted.len() - 1].to_vec(),
        );
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            add(Coding::Utf16, text.encode_utf16().flat_map(bytes).collect());
        }
    }
    all
}

/// Encodes `value` as it is encoded `offset` bytes behind the beginning of a text, without the
/// characters that its neighbours have a share in.
fn base64_at(offset: usize, value: &[u8], encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let encoded = encode(&[&[0; 2][..offset], value].concat());
    let first = (offset * 8).div_ceil(6);
    let last = (offset + value.len()) * 8 / 6;
    encoded.as_bytes()[first..last.max(first)].to_vec()
}

fn hex(value: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |number: u8| digits[usize::from(number)];
    let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    value.iter().flat_map(pair).collect()
}

fn percent(value: &[u8], kept: &[u8], lower: bool) -> Vec<u8> {
    let one = |byte: &u8| {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            return vec![*byte];
        }
        let code = format!("%{byte:02X}");
        let code = if lower {
            code.to_ascii_lowercase()
        } else {
            code
        };
        code.into_bytes()
    };
    value.iter().flat_map(one).collect()
}

/// Returns the parts of a value of several words that look random: the token in an `.npmrc`,
/// the lines of a key.
pub fn parts(value: &[u8]) -> Vec<Vec<u8>> {
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte);
    let value = value.trim_ascii();
    let mut parts: Vec<Vec<u8>> = secret_sections(value)
        .into_iter()
        .flat_map(|section| section.split(|byte| !in_word(*byte)))
        .filter(|word| word.len() >= SHORTEST_PART && word.len() < value.len() && is_random(word))
        .map(<[u8]>::to_vec)
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.dedup();
    parts.truncate(MOST_PARTS);
    parts
}

/// Returns what is secret of a value that may hold blocks in PEM form: what is around them, and
/// of each that is not public the second half. The first half of a key is what all keys of its kind
/// have, and its public part.
fn secret_sections(value: &[u8]) -> Vec<&[u8]> {
    let find = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|part| part == what);
    let mut sections = Vec::new();
    let mut rest = value;
    while let Some(start) = find(rest, BEGIN) {
        sections.push(&rest[..start]);
        let block = &rest[start..];
        let end = find(block, b"-----END ").unwrap_or(block.len());
        if !PUBLIC.iter().any(|label| block.starts_with(label)) {
            sections.push(&block[end / 2..end]);
        }
        // What is left of the last line is a label, which is no word of its own.
        let line = block[end..].iter().position(|byte| *byte == b'\n');
        rest = &block[end + line.unwrap_or(block.len() - end)..];
    }
    sections.push(rest);
    sections
}

/// Whether a word is made of upper case, lower case and digits, or is a long number in
/// hexadecimal: neither a path nor an address is.
fn is_random(word: &[u8]) -> bool {
    let has = |class: fn(&u8) -> bool| word.iter().any(class);
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let digits = has(u8::is_ascii_digit);
    (mixed && digits) || (digits && word.len() >= 32 && word.iter().all(u8::is_ascii_hexdigit))
}

/// Whether all that `value` holds in PEM form is public: certificates, which a step may be given
/// like a secret but which every image with a trust store has.
pub fn is_public(value: &[u8]) -> bool {
    let count = |text: &[u8]| {
        value
            .windows(text.len())
            .filter(|part| *part == text)
            .count()
    };
    let public: usize = PUBLIC.iter().map(|label| count(label)).sum();
    public > 0 && public == count(BEGIN)
}

/// Returns what to look for in files to find `value`; nothing if it is too short for that, or
/// no secret at all.
pub fn needles(value: &[u8]) -> Vec<Form> {
    let value = value.trim_ascii();
    if value.len() < SHORTEST || is_public(value) {
        return Vec::new();
    }
    let mut all: Vec<Form> = Vec::new();
    let mut add = |coding: Coding, bytes: &[u8]| {
        if !all.iter().any(|form| form.bytes == bytes) {
            all.push(Form {
                coding,
                bytes: bytes.to_vec(),
            });
        }
    };
    for form in forms(value) {
        match form.coding {
            Coding::Base64 | Coding::Hex => {
                for window in windows(&form.bytes) {
                    add(form.coding, window);
                }
            }
            _ => add(form.coding, middle(&form.bytes, LONGEST)),
        }
    }
    for part in parts(value) {
        add(Coding::Part, middle(&part, LONGEST));
    }
    all
}

fn middle(bytes: &[u8], most: usize) -> &[u8] {
    let from = bytes.len().saturating_sub(most) / 2;
    &bytes[from..bytes.len().min(from + most)]
}

fn windows(encoded: &[u8]) -> Vec<&[u8]> {
    if encoded.len() <= WINDOW {
        return vec![encoded];
    }
    let inner = middle(encoded, 2 * WINDOW);
    let (left, right) = inner.split_at(inner.len() / 2);
    vec![left, right]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"s3cr?t/valu>e & more";

    fn holds(text: &[u8], value: &[u8]) -> bool {
        let find = |needle: &[u8]| text.windows(needle.len()).any(|part| part == needle);
        needles(value).iter().any(|form| find(&form.bytes))
    }

    #[test]
    fn a_value_is_found_at_every_place_of_an_encoded_text() {
        for before in 0..4 {
            for after in 0..4 {
                let text = [&b"abcd"[..before], VALUE, &b"wxyz"[..after]].concat();
                for encoded in [
                    STANDARD_NO_PAD.encode(&text),
                    URL_SAFE_NO_PAD.encode(&text),
                    base64::engine::general_purpose::STANDARD.encode(&text),
                ] {
                    assert!(
                        holds(encoded.as_bytes(), VALUE),
                        "{before} {after} {encoded}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_value_is_found_in_encoded_text_of_short_lines() {
        let value: Vec<u8> = (0..200_u32).map(|n| (n * 7 % 251) as u8).collect();
        for (width, length) in [(76, 200), (64, 200), (76, 40), (64, 60), (76, 24)] {
            let value = &value[..length];
            for before in 0..80 {
                let text = [&vec![b'x'; before], value].concat();
                let encoded = STANDARD_NO_PAD.encode(&text);
                let lines: Vec<&[u8]> = encoded.as_bytes().chunks(width).collect();
                assert!(
                    holds(&lines.join(&b'\n'), value),
                    "{width} {length} {before}"
                );
            }
        }
        let hex = hex(&value, b"0123456789abcdef");
        let lines: Vec<&[u8]> = hex.chunks(60).collect();
        assert!(holds(&lines.join(&b'\n'), &value));
    }

    #[test]
    fn other_codings_are_known() {
        for text in [
            "s3cr%3Ft%2Fvalu%3Ee%20%26%20more",
            "s3cr%3ft%2fvalu%3ee%20%26%20more",
            "s3cr%3Ft/valu%3Ee%20%26%20more",
            "733363723F742F76616C753E652026206D6F7265",
        ] {
            assert!(holds(text.as_bytes(), VALUE), "{text}");
        }
        assert!(holds(br#"{"k":"a\"quoted\"value"}"#, br#"a"quoted"value"#));
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let text: Vec<u8> = "pass=gr\u{fc}n\u{20ac}wald!"
                .encode_utf16()
                .flat_map(bytes)
                .collect();
            assert!(holds(&text, "gr\u{fc}n\u{20ac}wald!".as_bytes()));
        }
        assert!(!holds(b"s3cr?t/valu>e & less", VALUE));
    }

    #[test]
    fn the_random_parts_of_a_file_are_looked_for_and_the_rest_is_not() {
        let npmrc = b"registry=https://registry.npmjs.org/\n\
            //registry.npmjs.org/:_authToken=aB3dE6gH9jK2mN5pQ8sT1vW4yZ7\n";
        assert!(holds(b"TOKEN=aB3dE6gH9jK2mN5pQ8sT1vW4yZ7", npmrc));
        assert!(!holds(b"registry=https://registry.npmjs.org/\n", npmrc));
        assert_eq!(parts(b"one-word-Alone-is-no-Part-1"), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn certificates_are_no_secret_and_a_key_beside_them_is() {
        let line = "MIIDQTCCAimgAwIBAgITBmyfz5m4jAo54vB4ikPmljZbyjANBgkqhkiG9w0BAQsF";
        let block = |kind: &str| format!("-----BEGIN {kind}-----\n{line}\n-----END {kind}-----\n");
        let bundle = block("CERTIFICATE").repeat(3);
        assert!(!holds(bundle.as_bytes(), bundle.as_bytes()));
        let with_key = bundle + &block("PRIVATE KEY");
        assert!(holds(with_key.as_bytes(), with_key.as_bytes()));
    }

    #[test]
    fn the_key_of_a_bundle_is_looked_for_alone_wherever_it_stands() {
        let line =
            |mark: char| format!("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7{mark}3k");
        let block = |kind: &str, mark: char| {
            let lines = [line('a'), line('b'), line(mark), line(mark)].join("\n");
            format!("-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n")
        };
        let (key, certificate) = (block("RSA PRIVATE KEY", 'k'), block("CERTIFICATE", 'z'));
        for bundle in [
            [&*key, &certificate, &certificate, &certificate].concat(),
            [&*certificate, &certificate, &key].concat(),
            [&*certificate, &key, &certificate, &certificate].concat(),
        ] {
            assert!(holds(key.as_bytes(), bundle.as_bytes()), "{bundle}");
            assert!(holds(line('k').as_bytes(), bundle.as_bytes()), "{bundle}");
            assert!(!holds(line('z').as_bytes(), bundle.as_bytes()), "{bundle}");
        }
    }

    #[test]
    fn what_keys_have_in_common_is_no_part_of_one() {
        let common = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
        let private = "QyNTUxOQAAACBqGuY1w8nZKvX7tR2mJ5pD4hL9sF6gT3kB0cVxEwNaUgAAAJh5hQ2YeYUN";
        let key = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{common}\n{common}\n{private}\n{private}\n\
             -----END OPENSSH PRIVATE KEY-----\n"
        );
        assert!(!holds(common.as_bytes(), key.as_bytes()));
        assert!(holds(private.as_bytes(), key.as_bytes()));
        assert!(holds(key.as_bytes(), key.as_bytes()));
    }

    #[test]
    fn short_values_are_not_looked_for() {
        assert!(needles(b"hunter2").is_empty());
        assert!(needles(b" \n").is_empty());
        assert!(!needles(b"hunter22").is_empty());
        let longest = needles(&vec![b'a'; 100_000]);
        assert!(longest.iter().all(|form| form.bytes.len() <= LONGEST));
    }
}
