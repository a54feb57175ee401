//! JSON as Go's `encoding/json` writes it.
//!
//! Digests are taken over bytes, so a document that means the same must also be
//! written the same. Go escapes `<`, `>`, `&`, U+2028 and U+2029 inside strings;
//! BuildKit writes configurations compactly and manifests with two spaces of
//! indentation.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Fields that this crate does not know, kept in their order.
pub type Extra = serde_json::Map<String, serde_json::Value>;

/// A document that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not the JSON that this kind of document has.
    #[error("invalid {kind}")]
    Json {
        /// What was expected: "image manifest", "image index", "image configuration".
        kind: &'static str,
        /// Where and why reading stopped.
        source: serde_json::Error,
    },
    /// Its schema version is not 2.
    #[error("unsupported {kind} with schemaVersion {found} (only 2 is supported{})", schema1_hint(*found))]
    SchemaVersion {
        /// What was expected.
        kind: &'static str,
        /// The version it has.
        found: u64,
    },
    /// It names another media type than its kind has.
    #[error("invalid {kind}: its mediaType is {found:?}")]
    MediaType {
        /// What was expected.
        kind: &'static str,
        /// The media type it names.
        found: String,
    },
    /// It has fields of two kinds of documents, so that readers could disagree
    /// about its meaning.
    #[error("ambiguous {kind}: it also has the field {field:?} of another kind of document")]
    Ambiguous {
        /// What was expected.
        kind: &'static str,
        /// The field that does not belong.
        field: &'static str,
    },
}

fn schema1_hint(version: u64) -> &'static str {
    if version == 1 {
        "; schema 1 images must be pushed again with a current tool"
    } else {
        ""
    }
}

pub(crate) fn parse<T: DeserializeOwned>(
    kind: &'static str,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { kind, source })
}

/// Returns `value` as Go's `json.Marshal` writes it.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, GoFormatter(CompactFormatter))
}

/// Returns `value` as Go's `json.MarshalIndent(value, "", "  ")` writes it.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    write(value, GoFormatter(PrettyFormatter::new()))
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, formatter: F) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    value
        .serialize(&mut Serializer::with_formatter(&mut out, formatter))
        .expect("documents have string keys and a Vec takes every write");
    out
}

/// Reads `null` as the default: Go writes nil slices and maps so.
pub(crate) fn null_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Wraps a formatter with Go's HTML-safe string escapes.
struct GoFormatter<F>(F);

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, w: &mut W $(, $arg: $type)*) -> io::Result<()> {
            self.0.$name(w $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    forward! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
        write_char_escape(escape: CharEscape);
    }

    fn write_string_fragment<W>(&mut self, w: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        let mut rest = fragment;
        while let Some(at) = rest.find(special) {
            w.write_all(&rest.as_bytes()[..at])?;
            let c = rest[at..].chars().next().unwrap_or_default();
            write!(w, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        w.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let cases = [
            ("a && b", r#""a \u0026\u0026 b""#),
            ("<x>\"\\", r#""\u003cx\u003e\"\\""#),
            ("\u{2028}\u{2029}é\u{7f}", "\"\\u2028\\u2029é\u{7f}\""),
            ("\u{8}\u{c}\n\r\t\u{1}", r#""\b\f\n\r\t\u0001""#),
        ];
        for (value, expected) in cases {
            assert_eq!(String::from_utf8(to_vec(value)).unwrap(), expected);
        }
    }

    #[test]
    fn indentation_is_two_spaces() {
        let value = serde_json::json!({"a": [1, {}], "b": [], "<": {"c": null}});
        let expected = "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": [],\n  \"\\u003c\": {\n    \"c\": null\n  }\n}";
        assert_eq!(String::from_utf8(to_vec_pretty(&value)).unwrap(), expected);
    }
}
