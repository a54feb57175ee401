//! Values as text, the way Go's `fmt` prints them.

use std::fmt::Write;

use serde_json::Value;

/// How Go prints the word `nil` of a template, which stands for no value of any kind. What is null
/// in docker's documents is another thing: a list without items.
pub(super) const NIL: &str = "<nil>";

fn is_nil(value: &Value) -> bool {
    value.as_str() == Some(NIL)
}

/// Returns what `%v` prints of a value.
pub(super) fn text(value: &Value) -> String {
    match value {
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
        Value::Number(number) if number.is_f64() => shortest(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// Joins values, with a space between two of which neither is a string.
pub(super) fn sprint(values: &[Value]) -> String {
    let is_text = |value: &Value| value.is_string() && !is_nil(value);
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
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

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The operands of a format, taken in order unless it says `[n]`.
struct Operands<'a> {
    values: &'a [Value],
    next: usize,
    /// Whether it has said so: the rest need not be used then.
    chosen: bool,
    /// Whether it has chosen one that there is not.
    astray: bool,
}

/// The most that is accepted of a width, and of a precision.
const WIDEST: usize = 1 << 16;
const FINEST: usize = 1 << 10;

/// Returns what `printf` gives; verbs and operands that do not fit are shown as Go shows them.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut operands = Operands {
        values,
        next: 0,
        chosen: false,
        astray: false,
    };
    let mut chars = format.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        operands.astray = false;
        let flags = flags(&mut chars, &mut operands);
        let _ = match chars.next() {
            None => write!(out, "%!(NOVERB)"),
            Some('%') => write!(out, "%"),
            Some(verb) if operands.astray => write!(out, "%!{verb}(BADINDEX)"),
            Some(verb) => match operands.take() {
                None => write!(out, "%!{verb}(MISSING)"),
                Some(value) => write!(out, "{}", one(verb, &flags, value)),
            },
        };
    }
    let rest = values.get(operands.next..).unwrap_or_default();
    let extra = rest.iter().map(|value| match value {
        value if is_nil(value) => NIL.to_owned(),
        value => format!("{}={}", go_type(value), text(value)),
    });
    let extra: Vec<_> = extra.collect();
    if !operands.chosen && !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

impl<'a> Operands<'a> {
    fn take(&mut self) -> Option<&'a Value> {
        let value = self.values.get(self.next);
        self.next += usize::from(value.is_some());
        value
    }

    /// Reads `[n]`, if it is there.
    fn choose(&mut self, chars: &mut Chars<'_>) {
        if chars.next_if_eq(&'[').is_none() {
            return;
        }
        let place = number(chars, WIDEST);
        self.chosen = true;
        self.astray |=
            chars.next_if_eq(&']').is_none() || !(1..=self.values.len()).contains(&place);
        self.next = place.saturating_sub(1);
    }

    /// Reads a number, or `*` for an operand that is one.
    fn number(&mut self, chars: &mut Chars<'_>, most: usize) -> i64 {
        self.choose(chars);
        if chars.next_if_eq(&'*').is_none() {
            return i64::try_from(number(chars, most)).unwrap_or_default();
        }
        let given = self.take().and_then(Value::as_i64).unwrap_or_default();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        given.clamp(-most, most)
    }
}

impl Flags {
    fn has(&self, mark: char) -> bool {
        self.marks.contains(mark)
    }
}

/// Reads a number, `most` at most.
fn number(chars: &mut Chars<'_>, most: usize) -> usize {
    let mut value = 0;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        value = (value * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(most);
    }
    value
}

fn flags(chars: &mut Chars<'_>, operands: &mut Operands<'_>) -> Flags {
    let mut flags = Flags::default();
    while let Some(mark) = chars.next_if(|char| "-+0# ".contains(*char)) {
        flags.marks.push(mark);
    }
    let width = operands.number(chars, WIDEST);
    if width < 0 {
        flags.marks.push('-');
    }
    flags.width = usize::try_from(width.unsigned_abs()).unwrap_or(WIDEST);
    if chars.next_if_eq(&'.').is_some() {
        flags.precision = usize::try_from(operands.number(chars, FINEST)).ok();
    }
    operands.choose(chars);
    flags
}

/// Returns what a verb gives for a value; of lists and maps, for each thing in them.
fn one(verb: char, flags: &Flags, value: &Value) -> String {
    let body = match (verb, value) {
        ('T', value) if is_nil(value) => NIL.to_owned(),
        ('T', value) => go_type(value).to_owned(),
        ('v', value) if is_nil(value) => NIL.to_owned(),
        (_, value) if is_nil(value) => return format!("%!{verb}({NIL})"),
        (_, Value::Null) => return text(value),
        (_, Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| one(verb, flags, item)).collect();
            return format!("[{}]", items.join(" "));
        }
        (_, Value::Object(items)) => {
            let key = |key: &String| one(verb, flags, &key.as_str().into());
            let items = items.iter();
            let items =
                items.map(|(name, item)| format!("{}:{}", key(name), one(verb, flags, item)));
            let mut items: Vec<_> = items.collect();
            items.sort();
            return format!("map[{}]", items.join(" "));
        }
        (verb, Value::String(text)) => string(verb, flags, text),
        ('t' | 'v', Value::Bool(value)) => value.to_string(),
        ('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'q' | 'U' | 'v', Value::Number(number))
            if !number.is_f64() =>
        {
            match number.as_i64() {
                Some(number) => whole(verb, flags, number),
                None => misfit(verb, value),
            }
        }
        ('f' | 'F' | 'e' | 'g' | 'v', Value::Number(number)) if number.is_f64() => {
            float(verb, flags, number.as_f64().unwrap_or(0.0))
        }
        _ => misfit(verb, value),
    };
    padded(body, flags, value.is_number())
}

fn string(verb: char, flags: &Flags, text: &str) -> String {
    let cut: String = match flags.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    };
    match verb {
        'v' if flags.has('#') => quote(text, false),
        'q' if flags.has('#') && !cut.contains(['`', '\n', '\r']) => format!("`{cut}`"),
        'q' => quote(&cut, flags.has('+')),
        's' | 'v' => cut,
        'x' | 'X' => {
            let digits = |byte: u8| match verb {
                'x' => format!("{byte:02x}"),
                _ => format!("{byte:02X}"),
            };
            let bytes: Vec<_> = text.bytes().map(digits).collect();
            bytes.join(if flags.has(' ') { " " } else { "" })
        }
        _ => misfit(verb, &text.into()),
    }
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
                'U' if flags.has('#') => format!("U+{:04X} '{char}'", u32::from(char)),
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
        ('e', precision) => scientific(&format!("{number:.*e}", precision.unwrap_or(6))),
        _ => shortest(number),
    };
    format!("{sign}{body}")
}

/// Returns a number with as few digits as tell it from all others, as `%g` has it.
fn shortest(number: f64) -> String {
    let text = format!("{number:e}");
    let exponent = text.split_once('e').and_then(|(_, text)| text.parse().ok());
    match exponent.unwrap_or(0) {
        -4..6 => number.to_string(),
        _ => scientific(&text),
    }
}

/// Gives an exponent its sign and two digits at least.
fn scientific(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn padded(body: String, flags: &Flags, number: bool) -> String {
    let missing = flags.width.saturating_sub(body.chars().count());
    if missing == 0 {
        return body;
    }
    if flags.has('-') {
        return body + &" ".repeat(missing);
    }
    if flags.has('0') && !number {
        return "0".repeat(missing) + &body;
    }
    if flags.has('0') {
        let digits = body.trim_start_matches(['-', '+']);
        let sign = &body[..body.len() - digits.len()];
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    " ".repeat(missing) + &body
}

/// Returns a text as Go writes it in quotes, in ASCII if asked.
fn quote(text: &str, ascii: bool) -> String {
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
            char if ascii && !char.is_ascii() => {
                let _ = match u32::from(char) {
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
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
