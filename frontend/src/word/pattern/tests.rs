//! The machine against the definition: a matcher that tries everything.

use super::*;

/// Whether a pattern stands for all of a text.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let Some((token, rest)) = tokens.split_first() else {
        return text.is_empty();
    };
    let one = |is: fn(char, char) -> bool, want: char| {
        text.split_first()
            .is_some_and(|(&c, after)| is(c, want) && matches(rest, after))
    };
    match token {
        Token::Literal(want) => one(|c, want| c == want, *want),
        Token::Any => one(|c, _| c != '\n', ' '),
        Token::Star => (0..=text.len())
            .take_while(|&end| !text[..end].contains(&'\n'))
            .any(|end| matches(rest, &text[end..])),
    }
}

fn text(chars: &[char]) -> String {
    chars.iter().collect()
}

/// The ends of the matches that begin at `start`.
fn ends(pattern: &Pattern, value: &[char], start: usize) -> Vec<usize> {
    let ends = start..=value.len();
    ends.filter(|&end| matches(&pattern.tokens, &value[start..end]))
        .collect()
}

fn replaced(pattern: &Pattern, value: &[char], all: bool) -> String {
    let (mut out, mut at, mut last) = (String::new(), 0, None);
    let mut done = false;
    while at <= value.len() {
        let end = ends(pattern, value, at).pop();
        let end = end.filter(|&end| !done && (end > at || last != Some(at)));
        if let Some(end) = end {
            out.push('<');
            (last, done) = (Some(end), !all);
            if end > at {
                at = end;
                continue;
            }
        }
        out.extend(value.get(at));
        at += 1;
    }
    out
}

fn agree(written: &str, value: &[char]) {
    let pattern = Pattern::new(written).expect("a pattern");
    let whole = text(value);
    let prefixes = ends(&pattern, value, 0);
    let starts = (0..=value.len()).filter(|&start| matches(&pattern.tokens, &value[start..]));
    let starts: Vec<_> = starts.collect();
    for longest in [false, true] {
        let (prefix, start) = if longest {
            (prefixes.last(), starts.first())
        } else {
            (prefixes.first(), starts.last())
        };
        let rest = text(&value[prefix.copied().unwrap_or(0)..]);
        assert_eq!(
            pattern.trim_prefix(&whole, longest),
            rest,
            "{written:?} {whole:?}"
        );
        let rest = text(&value[..start.copied().unwrap_or(value.len())]);
        assert_eq!(
            pattern.trim_suffix(&whole, longest),
            rest,
            "{written:?} {whole:?}"
        );
    }
    for all in [false, true] {
        let want = replaced(&pattern, value, all);
        let found = pattern.replace(&whole, "<", all, usize::MAX);
        assert_eq!(found, Some(want), "{written:?} {whole:?} {all}");
    }
}

/// All texts of up to `most` characters.
fn texts(alphabet: &[char], most: usize) -> Vec<Vec<char>> {
    let mut all = vec![Vec::new()];
    let mut shorter = all.clone();
    for _ in 0..most {
        let longer = |one: &Vec<char>, c: &char| [one.as_slice(), &[*c]].concat();
        shorter = shorter
            .iter()
            .flat_map(|one| alphabet.iter().map(move |c| longer(one, c)))
            .collect();
        all.extend(shorter.iter().cloned());
    }
    all
}

#[test]
fn short_patterns_match_what_their_definition_says() {
    let values = texts(&['a', 'é', '\n'], 4);
    for pattern in texts(&['a', 'é', '*', '?'], 3) {
        for value in &values {
            agree(&text(&pattern), value);
        }
    }
}

#[test]
fn patterns_longer_than_a_word_of_bits_match_too() {
    for length in [61, 62, 63, 64, 65, 126, 127, 128, 129] {
        for middle in ["*", "?", "*b*", "b", "\n"] {
            let pattern = format!("{}{middle}{}", "a".repeat(length), "?".repeat(length % 5));
            for tail in ["", "b", "ab\naab", "bab"] {
                let value: Vec<char> = ("a".repeat(length + 2) + tail).chars().collect();
                agree(&pattern, &value);
            }
        }
    }
}
