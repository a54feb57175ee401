//! The pest grammar of one logical line, and what it is asked for.

use pest::Parser as _;
use pest::iterators::Pair;

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
    let mut parts = Parts {
        keyword: "",
        flags: Vec::new(),
        rest: "",
    };
    let Some(statement) = DockerfileParser::parse(Rule::statement, line)
        .ok()
        .and_then(|mut pairs| pairs.next())
    else {
        return parts;
    };
    parts.rest = line[statement.as_span().end()..].trim();
    for pair in statement.into_inner() {
        match pair.as_rule() {
            Rule::keyword => parts.keyword = pair.as_str(),
            Rule::flag => parts.flags.push(pair.as_str()),
            _ => {}
        }
    }
    parts
}

/// Splits a text into words at blanks outside quotes; quotes and escapes stay.
pub(crate) fn split_words(text: &str, escape: char) -> Vec<&str> {
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
