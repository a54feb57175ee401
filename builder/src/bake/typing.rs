//! Type expressions: `string`, `list(number)`, `object({ a = string })`, … as variables declare
//! and `convert` takes.

use std::collections::BTreeMap;

use super::ast::{Expr, ExprKind};
use super::fault::Fault;
use super::value::{Number, Value};

/// A type that a value can be converted to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// Whatever it is.
    Any,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// Text.
    String,
    /// Elements of one type, in order.
    List(Box<Type>),
    /// Different elements of one type, sorted.
    Set(Box<Type>),
    /// Text keys with values of one type.
    Map(Box<Type>),
    /// Elements of a type each.
    Tuple(Vec<Type>),
    /// Known keys with values of a type each; whether the key may be missing.
    Object(BTreeMap<String, (Type, bool)>),
}

const KEYWORDS: [&str; 9] = [
    "any", "bool", "number", "string", "list", "set", "map", "tuple", "object",
];

impl Type {
    /// Reads a type expression.
    pub(super) fn parse(expr: &Expr) -> Result<Self, Fault> {
        let wrong = |message: &str| Err(Fault::new("type", &expr.place, message));
        match &expr.kind {
            ExprKind::Variable(name) => match name.as_str() {
                "any" => Ok(Self::Any),
                "bool" => Ok(Self::Bool),
                "number" => Ok(Self::Number),
                "string" => Ok(Self::String),
                "list" | "set" | "map" => wrong("the type of the elements is missing")
                    .map_err(|fault| fault.help(format!("write {name}(string) or the like"))),
                other => Err(
                    Fault::new("type", &expr.place, format!("there is no type {other}"))
                        .suggest(other, KEYWORDS),
                ),
            },
            ExprKind::Call(call) => {
                let name = call.name.text.as_str();
                let [argument] = call.arguments.as_slice() else {
                    return wrong("one type in parentheses is needed");
                };
                match name {
                    "list" => Ok(Self::List(Box::new(Self::parse(argument)?))),
                    "set" => Ok(Self::Set(Box::new(Self::parse(argument)?))),
                    "map" => Ok(Self::Map(Box::new(Self::parse(argument)?))),
                    "tuple" => Self::tuple(argument),
                    "object" => Self::object(argument),
                    other => {
                        let message = format!("there is no type {other}");
                        Err(Fault::new("type", &call.name.place, message).suggest(other, KEYWORDS))
                    }
                }
            }
            ExprKind::Literal(Value::String(name)) if KEYWORDS.contains(&&**name) => {
                wrong("this is no type")
                    .map_err(|fault| fault.help(format!("write {name}, without quotes")))
            }
            _ => wrong("this is no type"),
        }
    }

    fn tuple(argument: &Expr) -> Result<Self, Fault> {
        let ExprKind::Tuple(items) = &argument.kind else {
            return Err(Fault::new(
                "type",
                &argument.place,
                "a list of types is needed",
            ));
        };
        Ok(Self::Tuple(
            items.iter().map(Self::parse).collect::<Result<_, _>>()?,
        ))
    }

    fn object(argument: &Expr) -> Result<Self, Fault> {
        let ExprKind::Object(entries) = &argument.kind else {
            return Err(Fault::new(
                "type",
                &argument.place,
                "keys with types are needed",
            ));
        };
        let mut types = BTreeMap::new();
        for (key, value) in entries {
            let ExprKind::Literal(Value::String(name)) = &key.kind else {
                return Err(Fault::new("type", &key.place, "a plain key is needed"));
            };
            let (value, optional) = match &value.kind {
                ExprKind::Call(call) if call.name.text == "optional" => {
                    (call.arguments.first().unwrap_or(value), true)
                }
                _ => (value, false),
            };
            types.insert(name.clone(), (Self::parse(value)?, optional));
        }
        Ok(Self::Object(types))
    }

    /// Returns the type as it is written.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Number => "number".to_owned(),
            Self::String => "string".to_owned(),
            Self::List(inner) => format!("list({})", inner.name()),
            Self::Set(inner) => format!("set({})", inner.name()),
            Self::Map(inner) => format!("map({})", inner.name()),
            Self::Tuple(items) => {
                let items: Vec<_> = items.iter().map(Self::name).collect();
                format!("tuple([{}])", items.join(","))
            }
            Self::Object(entries) => {
                let entry = |(key, (kind, optional)): (&String, &(Self, bool))| {
                    let kind = kind.name();
                    if *optional {
                        format!("{key}=optional({kind})")
                    } else {
                        format!("{key}={kind}")
                    }
                };
                let entries: Vec<_> = entries.iter().map(entry).collect();
                format!("object({{{}}})", entries.join(","))
            }
        }
    }

    /// Converts a value, or says why that cannot be done.
    pub(super) fn convert(&self, value: &Value) -> Result<Value, String> {
        let no = || Err(format!("{} is needed, not {}", self.name(), value.kind()));
        let all = |inner: &Self, items: &[Value]| -> Result<Vec<_>, _> {
            items.iter().map(|item| inner.convert(item)).collect()
        };
        match (self, value) {
            (Self::Any, _) | (_, Value::Null) => Ok(value.clone()),
            (Self::Bool, _) => value
                .to_bool()
                .map_or_else(no, |truth| Ok(Value::Bool(truth))),
            (Self::Number, _) => value
                .to_number()
                .map_or_else(no, |found| Ok(Value::Number(found))),
            (Self::String, _) => value
                .to_text()
                .map_or_else(no, |text| Ok(Value::String(text))),
            (Self::List(inner), Value::List(items)) => Ok(Value::List(all(inner, items)?)),
            (Self::Set(inner), Value::List(items)) => Ok(set(all(inner, items)?)),
            (Self::Map(inner), Value::Object(entries)) => {
                let entry =
                    |(key, value): (&String, &Value)| Ok((key.clone(), inner.convert(value)?));
                Ok(Value::Object(
                    entries.iter().map(entry).collect::<Result<_, String>>()?,
                ))
            }
            (Self::Tuple(types), Value::List(items)) if types.len() == items.len() => {
                let pairs = types.iter().zip(items);
                let items = pairs.map(|(kind, item)| kind.convert(item));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            (Self::Object(types), Value::Object(entries)) => {
                let mut out = BTreeMap::new();
                for (key, (kind, optional)) in types {
                    match entries.get(key) {
                        Some(value) => out.insert(key.clone(), kind.convert(value)?),
                        None if *optional => out.insert(key.clone(), Value::Null),
                        None => return Err(format!("the attribute {key} is missing")),
                    };
                }
                Ok(Value::Object(out))
            }
            _ => no(),
        }
    }

    /// Returns the value that the environment's `text` gives a variable of this type. The elements
    /// of a collection stand between commas, entries as `KEY=VALUE`, or it is JSON.
    pub(super) fn of_text(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Any | Self::String => Ok(Value::text(text)),
            Self::Bool => Value::text(text)
                .to_bool()
                .map(Value::Bool)
                .ok_or_else(|| format!("{text:?} is neither true nor false")),
            Self::Number => Number::parse(text)
                .map(Value::Number)
                .ok_or_else(|| format!("{text:?} is no number")),
            _ => match serde_json::from_str::<serde_json::Value>(text) {
                Ok(json) if json.is_array() || json.is_object() => {
                    self.convert(&Value::of_json(json))
                }
                _ if !self.is_flat() => Err(format!("{} is written as JSON", self.name())),
                _ => self.convert(&self.of_fields(text)?),
            },
        }
    }

    /// Returns the value that JSON in the environment gives a variable of this type.
    pub(super) fn of_json(&self, text: &str) -> Result<Value, String> {
        let json = serde_json::from_str(text)
            .map_err(|error| format!("it is no JSON for {}: {error}", self.name()))?;
        self.convert(&Value::of_json(json))
    }

    /// Splits at commas what is to become a collection of plain values.
    fn of_fields(&self, text: &str) -> Result<Value, String> {
        let fields = if text.is_empty() {
            Vec::new()
        } else {
            crate::cli::value::csv(text).map_err(|error| error.to_string())?
        };
        if !matches!(self, Self::Map(_) | Self::Object(_)) {
            return Ok(Value::List(fields.iter().map(Value::text).collect()));
        }
        let entry = |field: &String| match field.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), Value::text(value))),
            None => Err(format!("{field:?} is no KEY=VALUE pair")),
        };
        let entries = fields.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Value::Object(entries))
    }

    /// Whether this is a collection of values that are none.
    fn is_flat(&self) -> bool {
        let plain =
            |kind: &Self| matches!(kind, Self::Any | Self::Bool | Self::Number | Self::String);
        match self {
            Self::List(inner) | Self::Set(inner) | Self::Map(inner) => plain(inner),
            Self::Tuple(kinds) => kinds.iter().all(plain),
            Self::Object(entries) => entries.values().all(|(kind, _)| plain(kind)),
            Self::Any | Self::Bool | Self::Number | Self::String => false,
        }
    }

    /// Returns the type of a value that is known; none if it says nothing of a type.
    pub(super) fn of_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null | Value::List(_) | Value::Object(_) => None,
            Value::Bool(_) => Some(Self::Bool),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::String),
        }
    }
}

/// Returns `items` sorted and each once.
pub(super) fn set(mut items: Vec<Value>) -> Value {
    items.sort_by(Value::order);
    items.dedup();
    Value::List(items)
}
