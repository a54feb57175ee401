//! JSON for people to read.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

/// Returns `value` over several lines, each level set in by `by`.
pub(super) fn indented(value: &Value, by: &str) -> String {
    let mut out = Vec::new();
    let formatter = PrettyFormatter::with_indent(by.as_bytes());
    match value.serialize(&mut Serializer::with_formatter(&mut out, formatter)) {
        Ok(()) => String::from_utf8_lossy(&out).into_owned() + "\n",
        Err(_) => format!("{value}\n"),
    }
}
