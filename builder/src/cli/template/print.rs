//! Values as text, the way Go's `fmt` prints them.

use std::fmt::Write;

use serde_json::Value;

/// Returns what `%v` prints of a value.
pub(super) fn text(value: &Value) -> String {
    match value {
        // What is null in docker's documents is a list without items.
        Value::Null => "[]".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(items) => {
            let mut items: Vec<_> = items
                .iter()
                .map(|(key, value)| format!("{key}:{}", text(value)))
                .collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

/// Joins values, with a space between two of which neither is a string.
pub(super) fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&text(value));
    }
    out
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Flags {
    /// Of `-`, `+`, `0`, `#` and space.
    marks: String,
    width: usize,
    precision: Option<usize>,
}

/// Returns what `printf` gives; verbs and operands that do not fit are shown as Go shows them.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let flags = flags(&mut chars);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values.next() {
                None => {
                    let _ = write!(out, "%!{verb}(MISSING)");
                }
                Some(value) => out.push_str(&one(verb, &flags, value)),
            },
        }
    }
    let extra: Vec<_> = values
        .map(|value| format!("{}={}", go_type(value), text(value)))
        .collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

impl Flags {
    fn has(&self, mark: char) -> bool {
        self.marks.contains(mark)
    }
}

/// Reads a number, `most` at most.
fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, most: usize) -> usize {
    let mut value = 0;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        value = (value * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(most);
    }
    value
}

fn flags(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Flags {
    let mut flags = Flags::default();
    while let Some(mark) = chars.next_if(|char| "-+0# ".contains(*char)) {
        flags.marks.push(mark);
    }
    flags.width = number(chars, 1 << 16);
    if chars.next_if_eq(&'.').is_some() {
        flags.precision = Some(number(chars, 1 << 10));
    }
    flags
}

fn one(verb: char, flags: &Flags, value: &Value) -> String {
    let cut = |text: String| match flags.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    let body = match (verb, value) {
        ('v', value) => text(value),
        ('T', value) => go_type(value).to_owned(),
        ('s', Value::String(_) | Value::Array(_) | Value::Object(_)) => cut(text(value)),
        ('q', Value::String(text)) => quote(&cut(text.clone())),
        ('x', Value::String(text)) => text.bytes().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        }),
        ('t', Value::Bool(value)) => value.to_string(),
        ('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'q' | 'U', Value::Number(number)) => {
            match number.as_i64() {
                Some(number) => whole(verb, flags, number),
                None => misfit(verb, value),
            }
        }
        ('f' | 'F' | 'e' | 'g', Value::Number(number)) if number.is_f64() => {
            float(verb, flags, number.as_f64().unwrap_or(0.0))
        }
        ('s' | 'd' | 't' | 'q' | 'f' | 'F' | 'e' | 'g' | 'x' | 'X' | 'b' | 'o' | 'c' | 'U', _) => {
            misfit(verb, value)
        }
        _ => misfit(verb, value),
    };
    padded(body, flags, value.is_number())
}

fn misfit(verb: char, value: &Value) -> String {
    format!("%!{verb}({}={})", go_type(value), text(value))
}

fn whole(verb: char, flags: &Flags, number: i64) -> String {
    let sign = match number {
        ..0 => "-",
        _ if flags.has('+') => "+",
        _ if flags.has(' ') => " ",
        _ => "",
    };
    let size = number.unsigned_abs();
    let prefix = |text: &'static str| if flags.has('#') { text } else { "" };
    match verb {
        'b' => format!("{sign}{}{size:b}", prefix("0b")),
        'o' => format!("{sign}{}{size:o}", prefix("0")),
        'x' => format!("{sign}{}{size:x}", prefix("0x")),
        'X' => format!("{sign}{}{size:X}", prefix("0X")),
        'c' | 'q' | 'U' => {
            let char = u32::try_from(number).ok().and_then(char::from_u32);
            let char = char.unwrap_or(char::REPLACEMENT_CHARACTER);
            match verb {
                'c' => char.to_string(),
                'q' => format!("'{char}'"),
                _ => format!("U+{:04X}", u32::from(char)),
            }
        }
        _ => format!("{sign}{size}"),
    }
}

fn float(verb: char, flags: &Flags, number: f64) -> String {
    let sign = if flags.has('+') && number >= 0.0 {
        "+"
    } else {
        ""
    };
    let body = match (verb, flags.precision) {
        ('f' | 'F', precision) => format!("{number:.*}", precision.unwrap_or(6)),
        ('e', precision) => {
            let text = format!("{number:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => number.to_string(),
    };
    format!("{sign}{body}")
}

fn padded(body: String, flags: &Flags, number: bool) -> String {
    let missing = flags.width.saturating_sub(body.chars().count());
    if missing == 0 {
        return body;
    }
    if flags.has('-') {
        return body + &" ".repeat(missing);
    }
    if flags.has('0') && number {
        let digits = body.trim_start_matches(['-', '+']);
        let sign = &body[..body.len() - digits.len()];
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    " ".repeat(missing) + &body
}

/// Returns a text as Go writes it in quotes.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            char if char.is_control() => {
                let code = u32::from(char);
                let _ = match code {
                    ..=0x7f => write!(out, "\\x{code:02x}"),
                    _ => write!(out, "\\u{code:04x}"),
                };
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
