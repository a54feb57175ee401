//! Values of expressions, after HCL's type system.
//!
//! Lists, tuples and sets are one kind here, and so are maps and objects: what tells them apart
//! in HCL never shows in a bake definition. Keys are kept sorted, which is the order in which HCL
//! walks them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not set.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// A list, tuple or set.
    List(Vec<Value>),
    /// A map or object.
    Object(BTreeMap<String, Value>),
}

/// A number: exact while it is whole and fits.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole number.
    Whole(i128),
    /// Any other; never infinite, never NaN, never whole if it fits the other kind.
    Real(f64),
}

/// Whole numbers up to here have an exact real.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Number {
    /// Returns the number nearest to `real`, none if that is no number.
    pub fn real(real: f64) -> Option<Self> {
        if !real.is_finite() {
            return None;
        }
        Some(if real.fract() == 0.0 && real.abs() <= EXACT {
            Self::Whole(real as i128)
        } else {
            Self::Real(real)
        })
    }

    /// Returns the number that `text` writes in decimal.
    pub fn parse(text: &str) -> Option<Self> {
        let decimal = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        if text.is_empty() || !text.chars().all(decimal) {
            return None;
        }
        match text.parse::<i128>() {
            Ok(whole) => Some(Self::Whole(whole)),
            Err(_) => Self::real(text.parse().ok()?),
        }
    }

    /// Returns the nearest real.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }

    /// Returns the number if it is whole.
    pub fn as_whole(self) -> Option<i128> {
        match self {
            Self::Whole(whole) => Some(whole),
            Self::Real(_) => None,
        }
    }

    /// Computes exactly if both are whole and the result fits, as reals otherwise.
    pub fn compute(
        self,
        other: Self,
        exact: impl Fn(i128, i128) -> Option<i128>,
        real: impl Fn(f64, f64) -> f64,
    ) -> Option<Self> {
        if let (Self::Whole(left), Self::Whole(right)) = (self, other)
            && let Some(result) = exact(left, right)
        {
            return Some(Self::Whole(result));
        }
        Self::real(real(self.as_f64(), other.as_f64()))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(right)),
            _ => self.as_f64().partial_cmp(&other.as_f64()),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Real(real) => real.fmt(f),
        }
    }
}

impl Value {
    /// Returns text as a value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// Returns a whole number as a value.
    pub fn whole(whole: impl TryInto<i128>) -> Self {
        Self::Number(Number::Whole(whole.try_into().unwrap_or(i128::MAX)))
    }

    /// Returns what the value is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Converts to text as HCL does: none for what has no text.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::String(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bool(truth) => Some(truth.to_string()),
            Self::Null | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// Converts to a number as HCL does.
    pub fn to_number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::String(text) => Number::parse(text),
            _ => None,
        }
    }

    /// Converts to a truth value: besides the words, buildx takes 1 and 0.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            Self::String(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Self::Number(Number::Whole(1)) => Some(true),
            Self::Number(Number::Whole(0)) => Some(false),
            _ => None,
        }
    }

    /// Returns the value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(truth) => json!(truth),
            Self::Number(Number::Whole(whole)) => match i64::try_from(*whole) {
                Ok(whole) => json!(whole),
                Err(_) => json!(*whole as f64),
            },
            Self::Number(Number::Real(real)) => json!(real),
            Self::String(text) => json!(text),
            Self::List(list) => list.iter().map(Self::to_json).collect(),
            Self::Object(object) => object
                .iter()
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// Returns the value that JSON describes.
    pub fn of_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(truth) => Self::Bool(truth),
            serde_json::Value::Number(number) => {
                Number::parse(&number.to_string()).map_or(Self::Null, Self::Number)
            }
            serde_json::Value::String(text) => Self::String(text),
            serde_json::Value::Array(list) => {
                Self::List(list.into_iter().map(Self::of_json).collect())
            }
            serde_json::Value::Object(map) => Self::Object(
                map.into_iter()
                    .map(|(key, value)| (key, Self::of_json(value)))
                    .collect(),
            ),
        }
    }

    /// Orders values for sets: by kind, then as the kind does.
    pub fn order(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::String(_) => 3,
            Self::List(_) => 4,
            Self::Object(_) => 5,
        };
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Number(left), Self::Number(right)) => {
                left.partial_cmp(right).unwrap_or(Ordering::Equal)
            }
            (Self::String(left), Self::String(right)) => left.cmp(right),
            (Self::List(_) | Self::Object(_), _) if rank(self) == rank(other) => {
                self.to_json().to_string().cmp(&other.to_json().to_string())
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}
