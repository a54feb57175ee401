//! Keeps the values of secrets out of what steps print.
//!
//! A value may arrive cut between two chunks. [`Redactor::filter`] therefore holds back the
//! longest end of its input that could be the start of a value, and nothing else, so that
//! prompts and progress bars are not delayed.

use std::collections::{HashMap, HashSet};

use crate::secrecy::{Coding, forms, is_public};

/// What stands in a value's place.
const MARK: &[u8] = b"[REDACTED]";

/// Values shorter than this are not looked for: replacing every `1` hides nothing and ruins logs.
const SHORTEST: usize = 4;

/// Lines of a value that are looked for on their own (a key in PEM form) have this length at least.
const SHORTEST_LINE: usize = 12;

/// Lines of encoded text as `base64`, `openssl` and `xxd` write them.
const LINES: [usize; 3] = [76, 64, 60];

/// The byte strings that must not be shown.
///
/// A large value has thousands of forms and lines, and every byte of the logs is compared with
/// them: those that begin alike are together.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// By their beginnings; longest first, so that a value that contains another one is replaced
    /// whole.
    values: HashMap<[u8; SHORTEST], Vec<Vec<u8>>>,
    /// Beginnings that are shorter than any value.
    starts: HashSet<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Adds `value`, without the whitespace around it: in all its forms, and its lines.
    /// Certificates alone are no secret.
    pub fn add(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        if is_public(value) {
            return;
        }
        self.insert(value, SHORTEST);
        for line in value.split(|byte| *byte == b'\n') {
            self.insert(line.trim_ascii(), SHORTEST_LINE);
        }
        if value.len() >= SHORTEST {
            for form in forms(value) {
                self.insert(&form.bytes, SHORTEST);
                if matches!(form.coding, Coding::Base64 | Coding::Hex) {
                    for line in LINES.iter().flat_map(|width| form.bytes.chunks(*width)) {
                        self.insert(line, SHORTEST_LINE);
                    }
                }
            }
        }
    }

    fn insert(&mut self, value: &[u8], shortest: usize) {
        let Some(start) = value.first_chunk().filter(|_| value.len() >= shortest) else {
            return;
        };
        let alike = self.values.entry(*start).or_default();
        let place = alike.partition_point(|known| known.len() > value.len());
        let same = alike[place..].iter();
        if same
            .take_while(|known| known.len() == value.len())
            .any(|known| known == value)
        {
            return;
        }
        alike.insert(place, value.to_vec());
        for length in 1..SHORTEST {
            self.starts.insert(start[..length].to_vec());
        }
    }

    /// Returns whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns `text` with every value replaced.
    pub fn clean(&self, text: &str) -> String {
        let mut redactor = Redactor::default();
        let mut out = redactor.filter(self, text.as_bytes());
        out.extend(redactor.finish(self));
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Returns `text` with every byte of a value made an asterisk, so that places in it stay.
    pub fn mask(&self, text: &str) -> String {
        let mut masked = text.as_bytes().to_vec();
        let mut index = 0;
        while index < masked.len() {
            let length = self.at(&text.as_bytes()[index..]).unwrap_or(0);
            masked[index..index + length].fill(b'*');
            index += length.max(1);
        }
        String::from_utf8_lossy(&masked).into_owned()
    }

    fn begins(&self, rest: &[u8]) -> bool {
        match rest.first_chunk() {
            Some(start) => self.values.contains_key::<[u8; SHORTEST]>(start),
            None => self.starts.contains(rest),
        }
    }

    fn alike(&self, rest: &[u8]) -> &[Vec<u8>] {
        let alike = rest.first_chunk().and_then(|start| self.values.get(start));
        alike.map_or(&[], Vec::as_slice)
    }

    fn at(&self, rest: &[u8]) -> Option<usize> {
        let mut alike = self.alike(rest).iter();
        alike.find(|value| rest.starts_with(value)).map(Vec::len)
    }

    fn may_begin(&self, rest: &[u8]) -> bool {
        let longer = |value: &Vec<u8>| value.len() > rest.len() && value.starts_with(rest);
        self.starts.contains(rest) || self.alike(rest).iter().any(longer)
    }
}

/// The redaction of one stream.
#[derive(Debug, Default)]
pub struct Redactor {
    held: Vec<u8>,
}

impl Redactor {
    /// Returns what can be shown of the stream so far and was not shown yet.
    pub fn filter(&mut self, secrets: &Secrets, chunk: &[u8]) -> Vec<u8> {
        if secrets.is_empty() && self.held.is_empty() {
            return chunk.to_vec();
        }
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(chunk);
        self.replace(secrets, &input, true)
    }

    /// Returns what was held back; the stream has ended.
    pub fn finish(&mut self, secrets: &Secrets) -> Vec<u8> {
        let input = std::mem::take(&mut self.held);
        self.replace(secrets, &input, false)
    }

    fn replace(&mut self, secrets: &Secrets, input: &[u8], more: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(input.len());
        let mut index = 0;
        while index < input.len() {
            let rest = &input[index..];
            if !secrets.begins(rest) {
                out.push(rest[0]);
                index += 1;
                continue;
            }
            if more && secrets.may_begin(rest) {
                self.held = rest.to_vec();
                break;
            }
            if let Some(length) = secrets.at(rest) {
                out.extend_from_slice(MARK);
                index += length;
            } else {
                out.push(rest[0]);
                index += 1;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: &[&str], chunks: &[&str]) -> String {
        let mut secrets = Secrets::default();
        for value in values {
            secrets.add(value.as_bytes());
        }
        let mut redactor = Redactor::default();
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(redactor.filter(&secrets, chunk.as_bytes()));
        }
        out.extend(redactor.finish(&secrets));
        String::from_utf8(out).expect("test input is UTF-8")
    }

    #[test]
    fn values_are_replaced_wherever_the_chunks_are_cut() {
        let cases: &[(&[&str], &[&str], &str)] = &[
            (&["hunter2"], &["pw hunter2!\n"], "pw [REDACTED]!\n"),
            (&["hunter2"], &["pw hun", "ter2!\n"], "pw [REDACTED]!\n"),
            (
                &["hunter2"],
                &["h", "u", "n", "t", "e", "r", "2"],
                "[REDACTED]",
            ),
            (&["hunter2"], &["hunhunter2"], "hun[REDACTED]"),
            (&["hunter2"], &["hunter", "1"], "hunter1"),
            (&["hunter2"], &["hunter"], "hunter"),
            (
                &["hunter2\n"],
                &["hunter2 hunter2"],
                "[REDACTED] [REDACTED]",
            ),
            (
                &["abcd", "abcdef"],
                &["abcdef abcd"],
                "[REDACTED] [REDACTED]",
            ),
            (&["abcd", "abcdef"], &["abcd", "e", "x"], "[REDACTED]ex"),
            (&["abcd", "abcdef"], &["abcd", "e"], "[REDACTED]e"),
            (
                &["key-line-one-long\nkey-line-two-long"],
                &["> key-line-two-long"],
                "> [REDACTED]",
            ),
            (&["abc", ""], &["abc"], "abc"),
            (&[], &["as it is"], "as it is"),
        ];
        for (values, chunks, expected) in cases {
            assert_eq!(run(values, chunks), *expected, "{values:?} in {chunks:?}");
        }
    }

    #[test]
    fn encoded_values_are_replaced_too() {
        let cases: &[(&str, &[&str], &str)] = &[
            (
                "hunter2222",
                &["YTogaHVudGVy", "MjIyMg== x"],
                "YTog[REDACTED]g== x",
            ),
            (
                "hunter2222",
                &["hex 68756e7465", "7232323232\n"],
                "hex [REDACTED]\n",
            ),
            ("p&ss/word", &["?q=p%26ss%2Fword&"], "?q=[REDACTED]&"),
        ];
        for (value, chunks, expected) in cases {
            assert_eq!(run(&[value], chunks), *expected, "{value:?} in {chunks:?}");
        }
        // As `base64` writes it, in lines.
        let key =
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/0123456789abcdef";
        let lines = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6QUJDREVGR0hJSktMTU5PUFFSU1RV\n\
                     VldYWVorLzAxMjM0NTY3ODlhYmNkZWY=\n";
        assert_eq!(run(&[key], &[lines]), "[REDACTED]\n[REDACTED]Y=\n");
    }

    #[test]
    fn a_value_of_many_lines_is_replaced_line_by_line_and_certificates_are_not() {
        let line = |number: usize| format!("line-number-{number:08}-of-a-secret");
        let lines: Vec<String> = (0..4000).map(line).collect();
        let text = lines.join("\n");
        let marks = ["[REDACTED]"; 3].join("\n");
        assert_eq!(run(&[&text], &[&lines[1997..2000].join("\n")]), marks);
        let certificate =
            "-----BEGIN CERTIFICATE-----\nMIIDQTCCAimgAwIBAgITBmyf\n-----END CERTIFICATE-----\n";
        assert_eq!(run(&[certificate], &[certificate]), certificate);
    }

    #[test]
    fn only_what_could_be_a_value_is_held_back() {
        let mut secrets = Secrets::default();
        secrets.add(b"hunter2");
        let mut redactor = Redactor::default();
        assert_eq!(redactor.filter(&secrets, b"name? "), b"name? ");
        assert_eq!(redactor.filter(&secrets, b"push"), b"pus");
        assert_eq!(redactor.finish(&secrets), b"h");
    }
}
