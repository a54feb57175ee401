//! Texts.

use ::regex::{Captures, Regex};

use super::{Arguments, Misuse, Outcome};
use crate::bake::value::Value;

/// The last element of a slash-separated path, as Go's `path.Base`.
pub(super) fn basename(a: &Arguments<'_>) -> Outcome {
    let path = a.text(0)?;
    let trimmed = path.trim_end_matches('/');
    Ok(Value::text(match (path.as_str(), trimmed) {
        ("", _) => ".",
        (_, "") => "/",
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }))
}

/// All but the last element of a slash-separated path, as Go's `path.Dir`.
pub(super) fn dirname(a: &Arguments<'_>) -> Outcome {
    let path = a.text(0)?;
    let dir = path.rfind('/').map_or("", |at| &path[..=at]);
    Ok(Value::String(clean(dir)))
}

/// Removes `.`, `..` and doubled slashes, as Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

pub(super) fn bytes_slice(a: &Arguments<'_>) -> Outcome {
    let (text, offset, length) = (a.text(0)?, a.size(1)?, a.size(2)?);
    let slice = offset
        .checked_add(length)
        .and_then(|end| text.get(offset..end));
    let slice = slice.ok_or_else(|| Misuse::new("the text has no such bytes"))?;
    Ok(Value::text(slice))
}

pub(super) fn chomp(a: &Arguments<'_>) -> Outcome {
    Ok(Value::text(a.text(0)?.trim_end_matches(['\n', '\r'])))
}

pub(super) fn homedir(a: &Arguments<'_>) -> Outcome {
    let home = a.surroundings.home.clone();
    home.map(Value::String)
        .ok_or_else(|| Misuse::new("HOME is not set"))
}

pub(super) fn indent(a: &Arguments<'_>) -> Outcome {
    let margin = format!("\n{}", " ".repeat(a.size(0)?.min(4096)));
    Ok(Value::String(a.text(1)?.replace('\n', &margin)))
}

pub(super) fn join(a: &Arguments<'_>) -> Outcome {
    let separator = a.text(0)?;
    let mut all = Vec::new();
    for index in 1..a.len() {
        all.extend(a.texts(index)?);
    }
    Ok(Value::String(all.join(&separator)))
}

pub(super) fn split(a: &Arguments<'_>) -> Outcome {
    let (separator, text) = (a.text(0)?, a.text(1)?);
    let parts = if separator.is_empty() {
        text.chars().map(Value::text).collect()
    } else {
        text.split(separator.as_str()).map(Value::text).collect()
    };
    Ok(Value::List(parts))
}

pub(super) fn replace(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(a.text(0)?.replace(&a.text(1)?, &a.text(2)?)))
}

pub(super) fn reverse(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(a.text(0)?.chars().rev().collect()))
}

/// Leaves only what the name of a target may have.
pub(super) fn sanitize(a: &Arguments<'_>) -> Outcome {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let safe = |c: char| if allowed(c) { c } else { '_' };
    Ok(Value::String(a.text(0)?.chars().map(safe).collect()))
}

pub(super) fn substr(a: &Arguments<'_>) -> Outcome {
    let text: Vec<char> = a.text(0)?.chars().collect();
    let (offset, length) = (a.whole(1)?, a.whole(2)?);
    let start = if offset < 0 {
        offset + text.len() as i128
    } else {
        offset
    };
    let start = usize::try_from(start.max(0))
        .unwrap_or(usize::MAX)
        .min(text.len());
    let rest = &text[start..];
    let length = usize::try_from(length).map_or(rest.len(), |length| length.min(rest.len()));
    Ok(Value::String(rest[..length].iter().collect()))
}

pub(super) fn title(a: &Arguments<'_>) -> Outcome {
    let mut out = String::new();
    let mut starts = true;
    for c in a.text(0)?.chars() {
        if starts {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    Ok(Value::String(out))
}

pub(super) fn trim(a: &Arguments<'_>) -> Outcome {
    let set = a.text(1)?;
    Ok(Value::text(a.text(0)?.trim_matches(|c| set.contains(c))))
}

pub(super) fn trim_prefix(a: &Arguments<'_>) -> Outcome {
    let (text, prefix) = (a.text(0)?, a.text(1)?);
    Ok(Value::text(text.strip_prefix(&prefix).unwrap_or(&text)))
}

pub(super) fn trim_suffix(a: &Arguments<'_>) -> Outcome {
    let (text, suffix) = (a.text(0)?, a.text(1)?);
    Ok(Value::text(text.strip_suffix(&suffix).unwrap_or(&text)))
}

fn pattern(a: &Arguments<'_>, index: usize) -> Result<Regex, Misuse> {
    Regex::new(&a.text(index)?).map_err(|error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        let cause = last.trim_start_matches("error: ");
        Misuse::of(index, format!("it is no regular expression: {cause}"))
    })
}

/// What a match is as a value: the text, or its groups by position or by name.
fn matched(pattern: &Regex, found: &Captures<'_>) -> Result<Value, Misuse> {
    let group = |group: Option<::regex::Match<'_>>| {
        group.map_or(Value::Null, |group| Value::text(group.as_str()))
    };
    let names: Vec<_> = pattern.capture_names().skip(1).collect();
    if names.is_empty() {
        return Ok(group(found.get(0)));
    }
    if names.iter().all(Option::is_none) {
        return Ok(Value::List(found.iter().skip(1).map(group).collect()));
    }
    let named = names.into_iter().map(|name| {
        let name = name.ok_or_else(|| Misuse::of(0, "either all groups have names or none"))?;
        Ok((name.to_owned(), group(found.name(name))))
    });
    Ok(Value::Object(named.collect::<Result<_, Misuse>>()?))
}

pub(super) fn regex(a: &Arguments<'_>) -> Outcome {
    let (pattern, text) = (pattern(a, 0)?, a.text(1)?);
    let found = pattern.captures(&text);
    let found = found.ok_or_else(|| Misuse::of(1, "the pattern does not match any of it"))?;
    matched(&pattern, &found)
}

pub(super) fn regex_all(a: &Arguments<'_>) -> Outcome {
    let (pattern, text) = (pattern(a, 0)?, a.text(1)?);
    let all = pattern.captures_iter(&text);
    let all = all.map(|found| matched(&pattern, &found));
    Ok(Value::List(all.collect::<Result<_, _>>()?))
}

pub(super) fn regex_replace(a: &Arguments<'_>) -> Outcome {
    let (text, pattern, new) = (a.text(0)?, pattern(a, 1)?, a.text(2)?);
    Ok(Value::text(pattern.replace_all(&text, new.as_str())))
}
