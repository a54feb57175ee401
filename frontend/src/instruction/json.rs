//! The JSON form of arguments: an array of strings, each with its place.

use std::ops::Range;

use crate::error::{Code, Diagnostic};
use crate::source::Spanned;
use crate::syntax::Statement;

/// Parses the elements of a JSON array of strings.
///
/// `None` means that the text is no JSON array, and is to be read in another
/// form.
pub(super) fn strings(
    statement: &Statement,
    text: &str,
) -> Result<Option<Vec<Spanned<String>>>, Diagnostic> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let written = elements(text).into_iter();
    let written = written.map(|range| statement.line.spanned(&text[range]));
    let strings = values
        .into_iter()
        .zip(written)
        .map(|(value, written)| match value {
            serde_json::Value::String(value) => Ok(placed(value, &written)),
            _ => Err(Diagnostic::error(
                Code::JsonNotStrings,
                written.span,
                "when using JSON array syntax, arrays must be comprised of strings only",
            )),
        });
    strings.collect::<Result<_, _>>().map(Some)
}

/// Says why a text that begins like a JSON array is none; `None` if it does not look meant as one.
pub fn almost(text: &str) -> Option<String> {
    let inner = text.strip_prefix('[')?.trim_start();
    let error = serde_json::from_str::<Vec<serde_json::Value>>(text).err()?;
    let ends = text.ends_with(']');
    let why = if inner.starts_with('\'') {
        "its texts need double quotes".to_owned()
    } else if !inner.starts_with('"') {
        // `[ -f x ]` is a command.
        return None;
    } else if !ends && error.is_eof() {
        "the closing bracket is missing".to_owned()
    } else if error.is_eof() {
        "a double quote is not closed".to_owned()
    } else if ends && text[..text.len() - 1].trim_end().ends_with(',') {
        "it has a comma after its last element".to_owned()
    } else if ends {
        let message = error.to_string();
        let (message, _) = message.split_once(" at line").unwrap_or((&message, ""));
        format!("{message} at column {}", error.column())
    } else {
        "something follows its closing bracket".to_owned()
    };
    Some(format!("this looks like a JSON array but is none: {why}"))
}

/// Instructions whose arguments may be an array.
const WITH_ARRAYS: [&str; 6] = ["RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "VOLUME"];

/// Says that a statement's arguments look like an array and are read in another form.
pub(crate) fn misread(statement: &Statement) -> Option<Diagnostic> {
    let keyword = &statement.keyword;
    let reading = match WITH_ARRAYS
        .iter()
        .position(|name| keyword.eq_ignore_ascii_case(name))?
    {
        0..3 => "goes to the shell",
        _ => "is read as words",
    };
    let why = almost(statement.rest())?;
    let (name, span) = (keyword.to_uppercase(), statement.rest_span());
    let message = format!("what follows {name} {reading}: {why}");
    Some(Diagnostic::warning(Code::NearlyJson, span, message))
}

/// Drops the places.
pub(super) fn values(words: Vec<Spanned<String>>) -> Vec<String> {
    words.into_iter().map(|word| word.value).collect()
}

/// Finds the elements of an array that is known to be valid.
fn elements(array: &str) -> Vec<Range<usize>> {
    let mut elements = Vec::new();
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut bytes = array.bytes().enumerate();
    let mut add = |from: usize, to: usize| {
        let element = array[from..to].trim();
        if !element.is_empty() {
            let start = element.as_ptr() as usize - array.as_ptr() as usize;
            elements.push(start..start + element.len());
        }
    };
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quoted => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    add(start, at);
                }
            }
            b',' if depth == 1 => {
                add(start, at);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements
}

/// Joins a string with the place of each of its characters, which may be escaped.
fn placed(value: String, written: &Spanned<String>) -> Spanned<String> {
    if value.is_empty() {
        return Spanned::new(value, written.span);
    }
    let inner = written.part(1..written.len() - 1);
    if inner.value == value {
        return inner;
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    for (offset, c) in value.char_indices() {
        let length = match inner.as_bytes()[at..] {
            [b'\\', b'u', ..] if c.len_utf16() == 2 => 12,
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => c.len_utf8(),
        };
        // The last byte of an escape stands for the character.
        let byte = at + length
            - if length > 4 || inner.as_bytes()[at] == b'\\' {
                1
            } else {
                length
            };
        pieces.push((offset, inner.place(byte..byte + 1).start));
        at += length;
    }
    Spanned::assembled(value, written.span, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceFile;
    use crate::syntax::parse_ast;

    #[test]
    fn what_is_nearly_json_is_told_from_what_is_not() {
        let table: &[(&str, Option<&str>)] = &[
            ("['a']", Some("its texts need double quotes")),
            ("[ 'a', \"b\" ]", Some("its texts need double quotes")),
            ("[\"a\", \"b\"", Some("the closing bracket is missing")),
            ("[\"a\", \"b", Some("the closing bracket is missing")),
            ("[\"a\",]", Some("it has a comma after its last element")),
            ("[\"a\", 'b']", Some("expected value at column 7")),
            ("[\"a', 'b']", Some("a double quote is not closed")),
            ("[\"a\" \"b\"]", Some("expected `,` or `]` at column 6")),
            ("[\"a\"] b", Some("something follows its closing bracket")),
            ("[\"a\"]", None),
            ("[ -f x ] && y", None),
            ("[]", None),
            ("[a]", None),
            ("make", None),
        ];
        for (text, want) in table {
            let want = want.map(|why| format!("this looks like a JSON array but is none: {why}"));
            assert_eq!(almost(text), want, "{text}");
        }
    }

    #[test]
    fn elements_know_their_places() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("[]", &[]),
            ("[ \"a\" , \"b c\"]", &[("a", "a"), ("b c", "b c")]),
            ("[\"a,]\",\\\n \"b\"]", &[("a,]", "a,]"), ("b", "b")]),
            ("[\"\\u00e4\\\"x\"]", &[("ä\"x", "\"\\u00e4\\\"x\"")]),
        ];
        for (text, want) in table {
            let source = SourceFile::new("f", format!("CMD {text}\n"));
            let ast = parse_ast(&source).unwrap();
            let statement = &ast.statements[0];
            let strings = strings(statement, statement.rest()).unwrap().unwrap();
            let got: Vec<_> = strings
                .iter()
                .map(|word| (word.value.as_str(), source.slice(word.span)))
                .collect();
            assert_eq!(got, *want, "{text}");
        }
    }

    #[test]
    fn a_character_of_an_escaped_string_maps_to_the_file() {
        let source = SourceFile::new("f", "CMD [\"\\u00e4\\t$x\\ud83d\\ude00y\"]\n");
        let ast = parse_ast(&source).unwrap();
        let statement = &ast.statements[0];
        let strings = strings(statement, statement.rest()).unwrap().unwrap();
        let word = &strings[0];
        for part in ["$x", "y"] {
            let at = word.value.find(part).unwrap();
            assert_eq!(source.slice(word.place(at..at + part.len())), part);
        }
    }
}
