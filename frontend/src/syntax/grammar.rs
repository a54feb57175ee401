//! The pest grammar of one logical line, and what it is asked for.
//!
//! Text without any quote, escape or flag means what it says and is split without it: most of a
//! file is such text, and a parse costs some microseconds.

use pest::Parser as _;
use pest::iterators::Pair;

use super::is_space;

#[derive(pest_derive::Parser)]
#[grammar = "syntax/grammar.pest"]
struct DockerfileParser;

/// A logical line in its three parts; all slices borrow from it.
pub(crate) struct Parts<'a> {
    /// The instruction's name as written.
    pub(crate) keyword: &'a str,
    /// The flags as written, quotes included.
    pub(crate) flags: Vec<&'a str>,
    /// What follows, trimmed.
    pub(crate) rest: &'a str,
}

/// Splits a line into keyword, flags and the rest.
pub(crate) fn split_statement(line: &str) -> Parts<'_> {
    let line = line.trim_start_matches(is_space);
    let (keyword, rest) = line.split_at(line.find(is_space).unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_space);
    let (flags, rest) = split_flags(rest);
    Parts {
        keyword,
        flags,
        rest: rest.trim(),
    }
}

/// Cuts the flags off; few lines have some, and few of those a quote or an escape.
fn split_flags(text: &str) -> (Vec<&str>, &str) {
    split_plain_flags(text).unwrap_or_else(|| split_any_flags(text))
}

/// Cuts off flags that end at the next space; `None` if one of them has a quote or an escape.
fn split_plain_flags(text: &str) -> Option<(Vec<&str>, &str)> {
    let mut flags = Vec::new();
    let mut rest = text;
    while rest.starts_with("--") {
        let (flag, after) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        if flag.contains(['\\', '\'', '"']) {
            return None;
        }
        rest = after.trim_start_matches(is_space);
        if flag == "--" {
            break;
        }
        flags.push(flag);
    }
    Some((flags, rest))
}

fn split_any_flags(text: &str) -> (Vec<&str>, &str) {
    let Some(flags) = DockerfileParser::parse(Rule::flags, text)
        .ok()
        .and_then(|mut pairs| pairs.next())
    else {
        return (Vec::new(), text);
    };
    let rest = &text[flags.as_span().end()..];
    let flags = flags
        .into_inner()
        .filter(|pair| pair.as_rule() == Rule::flag);
    (flags.map(|flag| flag.as_str()).collect(), rest)
}

/// Splits a text into words at blanks outside quotes; quotes and escapes stay.
pub(crate) fn split_words(text: &str, escape: char) -> Vec<&str> {
    if !text.contains(['\'', '"', escape]) {
        return text.split_whitespace().collect();
    }
    let rule = if escape == '`' {
        Rule::words_backtick
    } else {
        Rule::words_backslash
    };
    inner(rule, text)
        .filter(|pair| pair.as_rule() != Rule::EOI)
        .map(|pair| pair.as_str())
        .collect()
}

/// Splits a `--mount` value into its fields: offset and length as written, and
/// the text without quotes. `None` if it is no line of CSV.
pub(crate) fn split_fields(text: &str) -> Option<Vec<(usize, usize, String)>> {
    if text.contains('"') {
        return split_any_fields(text);
    }
    let place = |field: &str| field.as_ptr() as usize - text.as_ptr() as usize;
    let fields = text.split(',');
    Some(
        fields
            .map(|field| (place(field), field.len(), field.to_owned()))
            .collect(),
    )
}

fn split_any_fields(text: &str) -> Option<Vec<(usize, usize, String)>> {
    let line = DockerfileParser::parse(Rule::fields, text).ok()?.next()?;
    let fields = line
        .into_inner()
        .filter(|pair| pair.as_rule() == Rule::field);
    Some(
        fields
            .map(|field| {
                let raw = field.as_str();
                let quoted = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
                let value = quoted.map_or_else(|| raw.to_owned(), |raw| raw.replace("\"\"", "\""));
                (field.as_span().start(), raw.len(), value)
            })
            .collect(),
    )
}

/// Parses with a rule that accepts any text and returns the pairs inside.
fn inner(rule: Rule, text: &str) -> impl Iterator<Item = Pair<'_, Rule>> {
    let pairs = DockerfileParser::parse(rule, text).ok();
    pairs.into_iter().flatten().flat_map(Pair::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_split_into_keyword_flags_and_rest() {
        let table: &[(&str, &str, &[&str], &str)] = &[
            ("FROM a", "FROM", &[], "a"),
            ("from\ta AS b  ", "from", &[], "a AS b"),
            ("RUN", "RUN", &[], ""),
            (
                "RUN --mount=type=cache,target=/a --network=none  make -j",
                "RUN",
                &["--mount=type=cache,target=/a", "--network=none"],
                "make -j",
            ),
            (
                "COPY --from=\"a b\" x y",
                "COPY",
                &["--from=\"a b\""],
                "x y",
            ),
            ("COPY --link", "COPY", &["--link"], ""),
            ("RUN -- --x", "RUN", &[], "--x"),
            ("RUN --a=\\  b", "RUN", &["--a=\\ "], "b"),
            ("RUN echo --x", "RUN", &[], "echo --x"),
            ("RUN -x", "RUN", &[], "-x"),
        ];
        for (line, keyword, flags, rest) in table {
            let parts = split_statement(line);
            assert_eq!(
                (parts.keyword, &*parts.flags, parts.rest),
                (*keyword, *flags, *rest),
                "{line}"
            );
        }
    }

    proptest! {
        #[test]
        fn plain_text_is_split_as_the_grammar_splits_it(
            flags in "(--)?([-a=,$ \t\u{0B}\u{0C}\rä\\\\\"']{0,3}(--)?){0,4}",
            fields in "([a=$ ä]{0,2},?){0,5}",
        ) {
            if let Some(plain) = split_plain_flags(&flags) {
                prop_assert_eq!(plain, split_any_flags(&flags));
            }
            prop_assert_eq!(split_fields(&fields), split_any_fields(&fields));
        }
    }

    #[test]
    fn words_keep_their_quotes() {
        let table: &[(&str, char, &[&str])] = &[
            ("a=b  c", '\\', &["a=b", "c"]),
            ("a='b c' d=\"e f\"g", '\\', &["a='b c'", "d=\"e f\"g"]),
            ("a=b\\ c", '\\', &["a=b\\ c"]),
            ("a=b\\ c", '`', &["a=b\\", "c"]),
            ("a=\"b` \"` c", '`', &["a=\"b` \"` c"]),
            ("a=\"b\\\" c\"", '\\', &["a=\"b\\\" c\""]),
            ("a='b", '\\', &["a='b"]),
            ("", '\\', &[]),
        ];
        for (text, escape, want) in table {
            assert_eq!(split_words(text, *escape), *want, "{text}");
        }
    }

    #[test]
    fn mount_values_are_csv() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("type=cache,target=/a", Some(&["type=cache", "target=/a"])),
            (
                "type=bind,\"source=a,b\",ro",
                Some(&["type=bind", "source=a,b", "ro"]),
            ),
            ("\"a\"\"b\"", Some(&["a\"b"])),
            ("a\"b", None),
        ];
        for (text, want) in table {
            let want = want.map(|want| want.iter().map(|&field| field.to_owned()).collect());
            let got: Option<Vec<String>> = split_fields(text)
                .map(|fields| fields.into_iter().map(|(_, _, value)| value).collect());
            assert_eq!(got, want, "{text}");
        }
    }
}
