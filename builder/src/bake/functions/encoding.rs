//! Hashes, and texts in other notations.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use super::{Arguments, Misuse, Outcome};
use crate::bake::value::Value;
use crate::cli::value::csv;

/// Refuses what needs cryptography that a build tool should not carry.
pub(super) fn unsupported(what: &str) -> Outcome {
    Err(Misuse::new(format!(
        "{what} cannot be made here: compute the value before and pass it in a variable"
    )))
}

pub(super) fn base64_encode(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(STANDARD.encode(a.text(0)?)))
}

pub(super) fn base64_decode(a: &Arguments<'_>) -> Outcome {
    let bytes = STANDARD.decode(a.text(0)?);
    let bytes = bytes.map_err(|error| Misuse::of(0, format!("it is no base64: {error}")))?;
    let text = String::from_utf8(bytes);
    text.map(Value::String)
        .map_err(|_| Misuse::of(0, "what is decoded is no text"))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub(super) fn md5(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(hex(&md5::Md5::digest(a.text(0)?))))
}

pub(super) fn sha1(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(hex(&sha1::Sha1::digest(a.text(0)?))))
}

pub(super) fn sha256(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(hex(&sha2::Sha256::digest(a.text(0)?))))
}

pub(super) fn sha512(a: &Arguments<'_>) -> Outcome {
    Ok(Value::String(hex(&sha2::Sha512::digest(a.text(0)?))))
}

pub(super) fn json_encode(a: &Arguments<'_>) -> Value {
    Value::String(a.value(0).to_json().to_string())
}

pub(super) fn json_decode(a: &Arguments<'_>) -> Outcome {
    let json = serde_json::from_str(&a.text(0)?);
    let json = json.map_err(|error| Misuse::of(0, format!("it is no JSON: {error}")))?;
    Ok(Value::of_json(json))
}

/// The rows of comma-separated text as objects; the first row names the columns.
pub(super) fn csv_decode(a: &Arguments<'_>) -> Outcome {
    let text = a.text(0)?;
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let fields = |line: &str| csv(line).map_err(|error| Misuse::of(0, error.to_string()));
    let Some(header) = lines.next() else {
        return Err(Misuse::of(0, "there is no line that names the columns"));
    };
    let header = fields(header)?;
    let mut rows = Vec::new();
    for line in lines {
        let row = fields(line)?;
        if row.len() != header.len() {
            let message = format!("{line:?} has {} fields, not {}", row.len(), header.len());
            return Err(Misuse::of(0, message));
        }
        let cells = row.into_iter().map(Value::String);
        let row: BTreeMap<_, _> = header.iter().cloned().zip(cells).collect();
        rows.push(Value::Object(row));
    }
    Ok(Value::List(rows))
}

/// As the query of a URL: blanks become `+`.
pub(super) fn url_encode(a: &Arguments<'_>) -> Outcome {
    let mut out = String::new();
    for byte in a.text(0)?.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    Ok(Value::String(out))
}

/// Writes a UUID of a version (RFC 9562 section 4) from its first 16 bytes.
fn uuid(bytes: &[u8], version: u8) -> Value {
    let mut bytes: Vec<u8> = bytes.iter().copied().take(16).collect();
    bytes.resize(16, 0);
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex(&bytes);
    let parts = [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ];
    Value::String(parts.join("-"))
}

pub(super) fn uuid_v4(a: &Arguments<'_>) -> Value {
    let mut bytes = [0; 16];
    (a.surroundings.random)(&mut bytes);
    uuid(&bytes, 4)
}

pub(super) fn uuid_v5(a: &Arguments<'_>) -> Outcome {
    let (space, name) = (a.text(0)?, a.text(1)?);
    let digits: String = match space.as_str() {
        "dns" => "6ba7b8109dad11d180b400c04fd430c8".to_owned(),
        "url" => "6ba7b8119dad11d180b400c04fd430c8".to_owned(),
        "oid" => "6ba7b8129dad11d180b400c04fd430c8".to_owned(),
        "x500" => "6ba7b8149dad11d180b400c04fd430c8".to_owned(),
        text => text.chars().filter(|c| *c != '-').collect(),
    };
    let wrong = || Misuse::of(0, format!("{space:?} is no UUID, dns, url, oid or x500"));
    if digits.len() != 32 || !digits.is_ascii() {
        return Err(wrong());
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16);
    let space: Result<Vec<_>, _> = (0..32).step_by(2).map(byte).collect();
    let hash = sha1::Sha1::new()
        .chain_update(space.map_err(|_| wrong())?)
        .chain_update(name)
        .finalize();
    Ok(uuid(&hash, 5))
}
