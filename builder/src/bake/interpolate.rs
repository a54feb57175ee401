//! `${NAME:-default}` in compose files, and the lines of `.env`.

use std::collections::BTreeMap;

/// Looks up a variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep defaults may hold further variables.
const MAX_DEPTH: usize = 16;

/// Returns `text` with its variables replaced, or what is wrong with it.
pub(super) fn interpolate(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    expand(text, lookup, 0)
}

fn expand(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("variables are nested too deep".to_owned());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = closing(inner).ok_or_else(|| format!("${{{inner} has no closing brace"))?;
            out.push_str(&braced(&inner[..end], lookup, depth)?);
            rest = &inner[end + 1..];
        } else {
            let end = name_end(rest);
            if end == 0 {
                return Err(format!(
                    "a $ in {text:?} names no variable; write $$ for a $"
                ));
            }
            out.push_str(&lookup(&rest[..end]).unwrap_or_default());
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn name_end(text: &str) -> usize {
    let part = |(at, c): (usize, char)| {
        c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit())
    };
    let other = text.char_indices().find(|found| !part(*found));
    other.map_or(text.len(), |(at, _)| at)
}

/// Returns where the brace that closes an expression stands, past those of inner ones.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

fn braced(inner: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, String> {
    let (name, rest) = inner.split_at(name_end(inner));
    if name.is_empty() {
        return Err(format!("${{{inner}}} names no variable"));
    }
    let value = lookup(name);
    let (filled, operator) = match rest.strip_prefix(':') {
        Some(operator) => (value.clone().filter(|value| !value.is_empty()), operator),
        None => (value.clone(), rest),
    };
    let mut operator = operator.chars();
    let which = operator.next();
    let word = operator.as_str();
    match (which, filled) {
        (None, _) if !rest.starts_with(':') => Ok(value.unwrap_or_default()),
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) => expand(word, lookup, depth + 1),
        (Some('?'), None) => {
            let message = expand(word, lookup, depth + 1)?;
            Err(format!("the variable {name} is required: {message}"))
        }
        (Some('+'), Some(_)) => expand(word, lookup, depth + 1),
        (Some('+'), None) => Ok(String::new()),
        _ => Err(format!("${{{inner}}} is no expression")),
    }
}

/// Returns the variables of a `.env` file; those that `lookup` knows are seen by later lines.
pub(super) fn dotenv(text: &str, lookup: Lookup<'_>) -> Result<BTreeMap<String, String>, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // A name alone takes its value from outside.
            continue;
        };
        let name = name.trim_end();
        if name.contains(char::is_whitespace) || name.is_empty() {
            return Err(format!(".env: {line:?} is no NAME=VALUE"));
        }
        let known = |name: &str| lookup(name).or_else(|| out.get(name).cloned());
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = if let Some(quote) = quote {
            let mut inner = value[1..].to_owned();
            while unescaped(&inner, quote).is_none() {
                let next = lines.next();
                let next =
                    next.ok_or_else(|| format!(".env: a quote of {name} is never closed"))?;
                inner = format!("{inner}\n{next}");
            }
            let end = unescaped(&inner, quote).unwrap_or(inner.len());
            if quote == '"' {
                interpolate(&unescape(&inner[..end]), &known)?
            } else {
                inner[..end].to_owned()
            }
        } else {
            let end = value.find(" #").unwrap_or(value.len());
            interpolate(value[..end].trim_end(), &known)?
        };
        out.insert(name.to_owned(), value);
    }
    Ok(out)
}

fn unescaped(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some(next)) => {
                chars.next();
                out.push(match next {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
            }
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_as_compose_does() {
        for (text, expected) in [
            ("a $SET b", Ok("a value b")),
            ("${SET}${MISSING}", Ok("value")),
            ("$$SET $${SET}", Ok("$SET ${SET}")),
            ("${MISSING:-default}", Ok("default")),
            ("${MISSING-default}", Ok("default")),
            ("${EMPTY:-default}", Ok("default")),
            ("${EMPTY-default}", Ok("")),
            ("${MISSING:-${SET}-x}", Ok("value-x")),
            ("${SET:+there}", Ok("there")),
            ("${EMPTY:+there}${EMPTY+here}", Ok("here")),
            ("${SET?gone}", Ok("value")),
            (
                "${MISSING:?give $SET}",
                Err("the variable MISSING is required: give value"),
            ),
            ("${SET", Err("${SET has no closing brace")),
            ("${}", Err("${} names no variable")),
            ("${SET:}", Err("${SET:} is no expression")),
            (
                "5$",
                Err("a $ in \"5$\" names no variable; write $$ for a $"),
            ),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(interpolate(text, &lookup), expected, "{text}");
        }
    }

    #[test]
    fn an_env_file_is_read_as_compose_does() {
        let text = "# comment\nA=1\nexport B = two words # said\nC='$SET # kept'\n\
                    D=\"x\\ty ${A}\"\nE=\"first\nsecond\"\nF=$SET\n\nNAME\nG=\n";
        let found = dotenv(text, &lookup).expect("valid");
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$SET # kept"),
            ("D", "x\ty 1"),
            ("E", "first\nsecond"),
            ("F", "value"),
            ("G", ""),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected.into());
        assert!(dotenv("A=\"open\n", &lookup).is_err());
        assert!(dotenv("a b=c\n", &lookup).is_err());
    }
}
