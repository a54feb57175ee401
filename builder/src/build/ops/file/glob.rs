//! Shell patterns as Go's `filepath.Match` reads them, over raw bytes.
//!
//! COPY and ADD match each path component on its own: `*` never crosses a `/`, `**` is
//! one `*`, a class is negated by `^` (not `!`), and `\` quotes the next character.

use thiserror::Error;

/// A pattern with an unfinished class or a trailing escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("syntax error in pattern")]
pub(super) struct BadPattern;

/// Returns whether a path component contains an unquoted wildcard.
pub(super) fn has_wildcard(component: &[u8]) -> bool {
    let mut bytes = component.iter();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Returns whether `name`, one path component, matches `pattern` as a whole.
///
/// Backtracks to the last `*` only, so the time is at most `pattern × name`.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() || p < pattern.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if let Some(next) = one(&pattern[p..], name.get(n).copied())? {
            p += next;
            n += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                p = after;
                n = from + 1;
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Matches one byte against the pattern's next element; returns the element's length.
fn one(pattern: &[u8], byte: Option<u8>) -> Result<Option<usize>, BadPattern> {
    match pattern.first() {
        None => Ok(None),
        Some(b'?') => Ok(byte.map(|_| 1)),
        Some(b'[') => class(pattern, byte),
        Some(b'\\') => {
            let quoted = pattern.get(1).ok_or(BadPattern)?;
            Ok((byte == Some(*quoted)).then_some(2))
        }
        Some(literal) => Ok((byte == Some(*literal)).then_some(1)),
    }
}

/// Matches a `[…]` class; an empty class or one without an end is an error.
fn class(pattern: &[u8], byte: Option<u8>) -> Result<Option<usize>, BadPattern> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let first = at;
    let mut hit = false;
    loop {
        if pattern.get(at) == Some(&b']') && at > first {
            let inside = byte.is_some() && hit != negated;
            return Ok(inside.then_some(at + 1));
        }
        let low = class_byte(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&b'-') {
            at += 1;
            class_byte(pattern, &mut at)?
        } else {
            low
        };
        hit |= byte.is_some_and(|b| (low..=high).contains(&b));
    }
}

fn class_byte(pattern: &[u8], at: &mut usize) -> Result<u8, BadPattern> {
    match pattern.get(*at) {
        None | Some(b'-' | b']') => Err(BadPattern),
        Some(b'\\') => {
            *at += 2;
            pattern.get(*at - 1).copied().ok_or(BadPattern)
        }
        Some(byte) => {
            *at += 1;
            Ok(*byte)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_does() {
        let rows: &[(&str, &str, bool)] = &[
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab", true),
            ("a*b*c*d", "axbxcxdxd", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("**", "x", true),
            ("[!a].txt", "!.txt", true),
            ("[!a].txt", "a.txt", true),
            ("[!a].txt", "b.txt", false),
            ("[^a].txt", "b.txt", true),
            ("[^a].txt", "a.txt", false),
            ("[a-c]x", "bx", true),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[\\]a]", "]", true),
            ("?", "", false),
            ("", "", true),
            ("a", "", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                Ok(*expected),
                "{pattern} {name}"
            );
        }
        for pattern in ["[", "[a", "[]a]", "a\\", "[-x]", "[a-"] {
            assert_eq!(
                matches(pattern.as_bytes(), b"a"),
                Err(BadPattern),
                "{pattern}"
            );
        }
    }

    #[test]
    fn wildcards_are_seen_unless_quoted() {
        assert!(has_wildcard(b"*.c") && has_wildcard(b"a[b]") && has_wildcard(b"a?"));
        assert!(!has_wildcard(b"a\\*b") && !has_wildcard(b"plain"));
    }
}
