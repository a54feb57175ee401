//! The functions of templates: Go's own, and those that docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::print::{NIL, printf, sprint, text};
use super::{TemplateError, error};

/// All that there are.
pub(super) const NAMES: [&str; 29] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower",
    "lt", "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "table",
    "title", "truncate", "upper", "urlquery", "replace",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Returns what a function gives; `and` and `or` are not called, as they look at no more operands
/// than they must.
pub(super) fn call(name: &str, operands: &[Value]) -> Result<Value, TemplateError> {
    Ok(match (name, operands) {
        ("json", [value]) => value.to_string().into(),
        ("len", [value]) => length(value)?.into(),
        ("index", [value, keys @ ..]) => keys
            .iter()
            .try_fold(value.clone(), |value, key| index(&value, key))?,
        ("slice", [value, bounds @ ..]) => slice(value, bounds)?,
        ("join", [Value::Array(items), Value::String(between)]) => items
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(between)
            .into(),
        ("join", [Value::Null, Value::String(_)]) => "".into(),
        ("split", [Value::String(text), Value::String(between)]) => split(text, between),
        ("replace", [Value::String(text), Value::String(from), Value::String(to)]) => {
            text.replace(from.as_str(), to).into()
        }
        ("lower", [value]) => text(value).to_lowercase().into(),
        ("upper", [value]) => text(value).to_uppercase().into(),
        ("title", [value]) => title(&text(value)).into(),
        ("pad", [value, before, after]) => pad(&text(value), before, after)?.into(),
        ("truncate", [value, length]) => truncate(&text(value), length)?.into(),
        ("print", values) => sprint(values).into(),
        ("println" | "table", values) => {
            (values.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into()
        }
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).into(),
        ("html", values) => html(&escapable(values)).into(),
        ("urlquery", values) => url_query(&escapable(values)).into(),
        ("js", values) => js(&escapable(values)).into(),
        ("not", [value]) => (!is_true(value)).into(),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut found = false;
            for other in others {
                found |= equal(first, other)?;
            }
            found.into()
        }
        ("ne", [a, b]) => (!equal(a, b)?).into(),
        ("lt", [a, b]) => order(a, b)?.is_lt().into(),
        ("le", [a, b]) => order(a, b)?.is_le().into(),
        ("gt", [a, b]) => order(a, b)?.is_gt().into(),
        ("ge", [a, b]) => order(a, b)?.is_ge().into(),
        _ => {
            let given: Vec<_> = operands.iter().map(kind).collect();
            return error(match given.as_slice() {
                [] => format!("{name} needs operands"),
                given => format!("{name} cannot take {}", given.join(" and ")),
            });
        }
    })
}

/// Whether a function prints its operands, and therefore the word `nil` too.
pub(super) fn prints(name: &str) -> bool {
    matches!(
        name,
        "html" | "js" | "print" | "printf" | "println" | "urlquery"
    )
}

/// Whether a value is something: not empty, nought or false.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
    }
}

/// Returns what a value is called in messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn length(value: &Value) -> Result<usize, TemplateError> {
    match value {
        Value::Array(items) => Ok(items.len()),
        Value::Object(items) => Ok(items.len()),
        Value::String(text) => Ok(text.len()),
        Value::Null => Ok(0),
        other => error(format!("{} has no length", kind(other))),
    }
}

fn position(value: &Value, most: usize) -> Result<usize, TemplateError> {
    let at = value.as_u64().and_then(|at| usize::try_from(at).ok());
    match at.filter(|at| *at <= most) {
        Some(at) => Ok(at),
        None => error(no_index(value, most)),
    }
}

fn no_index(value: &Value, length: usize) -> String {
    format!("there is no index {value}: the length is {length}")
}

fn index(value: &Value, key: &Value) -> Result<Value, TemplateError> {
    match (value, key) {
        (Value::Array(items), Value::Number(_)) => {
            let item = items.get(position(key, items.len())?);
            item.cloned()
                .ok_or_else(|| TemplateError(no_index(key, items.len())))
        }
        (Value::String(text), Value::Number(_)) => {
            let byte = text.as_bytes().get(position(key, text.len())?);
            let byte = byte.map(|byte| (*byte).into());
            byte.ok_or_else(|| TemplateError(no_index(key, text.len())))
        }
        // What a map does not have is empty, as it is in Go.
        (Value::Object(items), Value::String(key)) => {
            Ok(items.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        (Value::Null, Value::String(_)) => Ok("".into()),
        (Value::Null, _) => error("an index of nothing"),
        _ => error(format!("{key} is no index of {}", kind(value))),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, TemplateError> {
    let whole = match value {
        Value::String(_) | Value::Array(_) => length(value)?,
        other => return error(format!("{} cannot be sliced", kind(other))),
    };
    let (start, end) = match bounds {
        [] => (0, whole),
        [start] => (position(start, whole)?, whole),
        [start, end] => (position(start, whole)?, position(end, whole)?),
        // How far the result could grow, which it does not.
        [start, end, most] if value.is_array() => {
            let most = position(most, whole)?;
            (position(start, whole)?, position(end, most)?)
        }
        [_, _, _] => return error("a string is sliced by two bounds"),
        _ => return error("slice takes three bounds at most"),
    };
    if start > end {
        return error(format!("a slice from {start} to {end}"));
    }
    Ok(match value {
        Value::Array(items) => items[start..end].to_vec().into(),
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[start..end])
            .into_owned()
            .into(),
        _ => Value::Null,
    })
}

fn split(text: &str, between: &str) -> Value {
    if between.is_empty() {
        return text.chars().map(String::from).collect();
    }
    text.split(between).collect()
}

/// Capitalises the first letter of each word; words end where Go's `strings.Title` has them end,
/// at an apostrophe too.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        let inside = before.is_alphanumeric() || before == '_';
        if inside {
            out.push(char);
        } else {
            out.extend(char.to_uppercase());
        }
        before = char;
    }
    out
}

/// Puts spaces around a text, unless it is empty.
fn pad(text: &str, before: &Value, after: &Value) -> Result<String, TemplateError> {
    const MOST: usize = 1 << 16;
    let (before, after) = (position(before, MOST)?, position(after, MOST)?);
    if text.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("{}{text}{}", " ".repeat(before), " ".repeat(after)))
}

fn truncate(text: &str, length: &Value) -> Result<String, TemplateError> {
    let length = position(length, usize::MAX)?;
    Ok(text.chars().take(length).collect())
}

/// Returns what is to be escaped of operands; one that is no value is said to be none.
fn escapable(values: &[Value]) -> String {
    match values {
        [Value::String(one)] if one == NIL => "<no value>".to_owned(),
        values => sprint(values),
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            char => out.push(char),
        }
    }
    out
}

/// Escapes what would end a string of JavaScript, or the script.
fn js(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' | '\'' | '"' => out.extend(['\\', char]),
            char if "<>&=".contains(char) || char.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn equal(a: &Value, b: &Value) -> Result<bool, TemplateError> {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Ok(order(a, b)?.is_eq()),
        (Value::Null, other) | (other, Value::Null) => Ok(other.is_null()),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            error(format!("{} and {} cannot be compared", kind(a), kind(b)))
        }
        _ if kind(a) == kind(b) => Ok(a == b),
        _ => error(format!("{} and {} cannot be compared", kind(a), kind(b))),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, TemplateError> {
    let ordering = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64().partial_cmp(&b.as_f64()),
        },
        _ => None,
    };
    ordering.map_or_else(
        || error(format!("{} and {} cannot be compared", kind(a), kind(b))),
        Ok,
    )
}
