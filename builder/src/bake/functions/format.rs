//! `format` and `formatlist`: printf's verbs with HCL's values.

use super::encoding::hex;
use super::{Arguments, Misuse, Outcome};
use crate::bake::value::Value;

pub(super) fn format(a: &Arguments<'_>) -> Outcome {
    let spec = a.text(0)?;
    write(&spec, &a.values[1..]).map(Value::String)
}

/// Formats once for each element of the lists among the arguments, which are equally long.
pub(super) fn format_list(a: &Arguments<'_>) -> Outcome {
    let spec = a.text(0)?;
    let values = &a.values[1..];
    let lengths = values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| match value {
            Value::List(items) => Some((index, items.len())),
            _ => None,
        });
    let lengths: Vec<_> = lengths.collect();
    let Some(&(_, count)) = lengths.first() else {
        return Ok(Value::List(vec![write(&spec, values).map(Value::String)?]));
    };
    if let Some((index, other)) = lengths.iter().find(|(_, length)| *length != count) {
        let message = format!("the list has {other} elements, an earlier one {count}");
        return Err(Misuse::of(index + 1, message));
    }
    let row = |row: usize| {
        let pick = |value: &Value| match value {
            Value::List(items) => items[row].clone(),
            value => value.clone(),
        };
        let row: Vec<_> = values.iter().map(pick).collect();
        write(&spec, &row).map(Value::String)
    };
    Ok(Value::List((0..count).map(row).collect::<Result<_, _>>()?))
}

/// What stands between `%` and the verb.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a character that may stand there"
)]
struct Flags {
    plus: bool,
    minus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// The widest field.
const WIDEST: usize = 4096;

fn write(spec: &str, values: &[Value]) -> Result<String, Misuse> {
    let mut out = String::new();
    let mut chars = spec.chars().peekable();
    let mut next = 0;
    let mut highest = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(&c) = chars.peek() {
            match c {
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                '#' => flags.sharp = true,
                _ => break,
            }
            chars.next();
        }
        let digits = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                number = Some((number.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
                chars.next();
            }
            number
        };
        flags.width = digits(&mut chars).unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        if chars.next_if_eq(&'[').is_some() {
            let number = digits(&mut chars).filter(|number| *number > 0);
            let closed = chars.next_if_eq(&']').is_some();
            let number = number.filter(|_| closed);
            next = number
                .ok_or_else(|| Misuse::of(0, "%[ needs the number of an argument and ]"))?
                - 1;
        }
        let verb = chars
            .next()
            .ok_or_else(|| Misuse::of(0, "the text ends after %"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.get(next).ok_or_else(|| {
            Misuse::of(
                0,
                format!("%{verb} needs argument {}, which is not given", next + 1),
            )
        })?;
        next += 1;
        highest = highest.max(next);
        let text = verb_text(verb, value, &flags).map_err(|message| Misuse::of(next, message))?;
        out.push_str(&pad(text, &flags));
    }
    if highest < values.len() {
        let message = format!(
            "the format uses {highest} arguments, but {} are given",
            values.len()
        );
        return Err(Misuse::of(highest + 1, message));
    }
    Ok(out)
}

fn pad(text: String, flags: &Flags) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if flags.minus {
        return text + &" ".repeat(missing);
    }
    if flags.zero {
        let sign = usize::from(text.starts_with(['+', '-']));
        let (sign, digits) = text.split_at(sign);
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    " ".repeat(missing) + &text
}

fn verb_text(verb: char, value: &Value, flags: &Flags) -> Result<String, String> {
    let needs = |what: &str| format!("%{verb} needs {what}, not {}", value.kind());
    let text = || value.to_text().ok_or_else(|| needs("a string"));
    let number = || value.to_number().ok_or_else(|| needs("a number"));
    let whole = || -> Result<i128, String> {
        let real = number()?;
        real.as_whole()
            .or_else(|| Some(real.as_f64().trunc() as i128))
            .ok_or_else(|| needs("a whole number"))
    };
    match verb {
        'v' if flags.sharp => Ok(value.to_json().to_string()),
        'v' => Ok(match value {
            Value::Null => "null".to_owned(),
            Value::Number(number) => signed(number.to_string(), flags),
            value => value
                .to_text()
                .unwrap_or_else(|| value.to_json().to_string()),
        }),
        't' => {
            let truth = value.to_bool().ok_or_else(|| needs("a bool"))?;
            Ok(truth.to_string())
        }
        's' => {
            let text = text()?;
            Ok(match flags.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text,
            })
        }
        'q' => Ok(serde_json::Value::String(text()?).to_string()),
        'd' => Ok(signed(whole()?.to_string(), flags)),
        'b' => Ok(radix(whole()?, flags, |n| format!("{n:b}"))),
        'o' => Ok(radix(whole()?, flags, |n| format!("{n:o}"))),
        'x' | 'X' => {
            let hex = match value {
                Value::String(text) if value.to_number().is_none() => hex(text.as_bytes()),
                _ => radix(whole()?, flags, |n| format!("{n:x}")),
            };
            Ok(if verb == 'X' { hex.to_uppercase() } else { hex })
        }
        'f' => {
            let digits = flags.precision.unwrap_or(6);
            Ok(signed(format!("{:.digits$}", number()?.as_f64()), flags))
        }
        'e' | 'E' => {
            let digits = flags.precision.unwrap_or(6);
            let text = exponent(&format!("{:.digits$e}", number()?.as_f64()));
            Ok(signed(
                if verb == 'E' {
                    text.to_uppercase()
                } else {
                    text
                },
                flags,
            ))
        }
        'g' | 'G' => {
            let number = number()?;
            let real = number.as_f64();
            let text = if real != 0.0 && (real.abs() < 1e-4 || real.abs() >= 1e21) {
                exponent(&format!("{real:e}"))
            } else {
                number.to_string()
            };
            Ok(signed(
                if verb == 'G' {
                    text.to_uppercase()
                } else {
                    text
                },
                flags,
            ))
        }
        verb => Err(format!("there is no %{verb}")),
    }
}

/// Gives an exponent a sign and two digits, as C does.
fn exponent(text: &str) -> String {
    let Some((mantissa, power)) = text.split_once('e') else {
        return text.to_owned();
    };
    let (sign, digits) = match power.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn radix(whole: i128, flags: &Flags, digits: impl Fn(u128) -> String) -> String {
    let text = digits(whole.unsigned_abs());
    signed(if whole < 0 { format!("-{text}") } else { text }, flags)
}

fn signed(text: String, flags: &Flags) -> String {
    match (text.starts_with('-'), flags.plus, flags.space) {
        (true, ..) => text,
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        (false, false, false) => text,
    }
}
