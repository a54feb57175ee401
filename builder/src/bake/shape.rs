//! The attributes of targets and groups, and the shape each has.
//!
//! One table says everything that differs between attributes: [`ATTRIBUTES`]. It is in the order
//! in which `--print` shows them.

use super::ast::{Expr, ExprKind, Name};
use super::fault::Fault;
use super::value::Value;

/// What the value of an attribute looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A list of texts.
    Texts,
    /// Texts by name; a null leaves the name out.
    Map,
    /// A list of texts of comma-separated pairs, or of objects that say the same.
    Entries(Entries),
    /// Used before the target has its values: `matrix` and `name`.
    Early,
}

/// What the entries of a list are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// `attest`.
    Attest,
    /// `cache-from` and `cache-to`.
    Cache,
    /// `secret`.
    Secret,
    /// `ssh`.
    Ssh,
    /// `output`.
    Output,
}

/// What becomes of an inherited value when the target has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is replaced.
    Replace,
    /// The own one is added: maps key by key.
    Add,
}

/// One attribute of targets.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// How it is inherited.
    pub merge: Merge,
}

const fn attribute(name: &'static str, shape: Shape, merge: Merge) -> Attribute {
    Attribute { name, shape, merge }
}

/// The attributes of targets, in the order in which they are printed.
pub(super) const ATTRIBUTES: [Attribute; 28] = [
    attribute("description", Shape::Text, Merge::Replace),
    attribute("inherits", Shape::Texts, Merge::Add),
    attribute("annotations", Shape::Texts, Merge::Add),
    attribute("attest", Shape::Entries(Entries::Attest), Merge::Add),
    attribute("context", Shape::Text, Merge::Replace),
    attribute("contexts", Shape::Map, Merge::Add),
    attribute("dockerfile", Shape::Text, Merge::Replace),
    attribute("dockerfile-inline", Shape::Text, Merge::Replace),
    attribute("args", Shape::Map, Merge::Add),
    attribute("labels", Shape::Map, Merge::Add),
    attribute("tags", Shape::Texts, Merge::Replace),
    attribute("cache-from", Shape::Entries(Entries::Cache), Merge::Add),
    attribute("cache-to", Shape::Entries(Entries::Cache), Merge::Replace),
    attribute("target", Shape::Text, Merge::Replace),
    attribute("secret", Shape::Entries(Entries::Secret), Merge::Add),
    attribute("ssh", Shape::Entries(Entries::Ssh), Merge::Add),
    attribute("platforms", Shape::Texts, Merge::Replace),
    attribute("output", Shape::Entries(Entries::Output), Merge::Replace),
    attribute("pull", Shape::Bool, Merge::Replace),
    attribute("no-cache", Shape::Bool, Merge::Replace),
    attribute("network", Shape::Text, Merge::Replace),
    attribute("no-cache-filter", Shape::Texts, Merge::Add),
    attribute("shm-size", Shape::Text, Merge::Replace),
    attribute("ulimits", Shape::Texts, Merge::Add),
    attribute("call", Shape::Text, Merge::Replace),
    attribute("entitlements", Shape::Texts, Merge::Add),
    attribute("extra-hosts", Shape::Map, Merge::Add),
    attribute("matrix", Shape::Early, Merge::Replace),
];

/// Returns the attribute of targets that is called `name`.
pub(super) fn attribute_of_target(name: &str) -> Option<&'static Attribute> {
    ATTRIBUTES.iter().find(|attribute| attribute.name == name)
}

/// Returns the shape of an attribute of a block, none if blocks of this kind do not have it.
pub(super) fn of(kind: &str, name: &str) -> Option<Shape> {
    match (kind, name) {
        ("group", "targets") => Some(Shape::Texts),
        ("group", "description") => Some(Shape::Text),
        ("group", _) => None,
        (_, "name") => Some(Shape::Early),
        (_, name) => attribute_of_target(name).map(|attribute| attribute.shape),
    }
}

/// Returns the fault of an attribute that blocks of this kind do not have.
pub(super) fn unknown(kind: &str, name: &Name) -> Fault {
    let message = format!("a {kind} has no attribute {}", name.text);
    let fault = Fault::new("unknown-attribute", &name.place, message);
    if kind == "group" {
        return fault.suggest(&name.text, ["targets", "description"]);
    }
    match name.text.as_str() {
        "secrets" => fault.help("did you mean `secret`?"),
        "outputs" => fault.help("did you mean `output`?"),
        "policy" => fault.help("source policies cannot be checked; leave it out"),
        other => {
            let known = ATTRIBUTES.iter().map(|attribute| attribute.name);
            fault.suggest(other, known.chain(["name"]))
        }
    }
}

impl Shape {
    /// Returns what other blocks see of an attribute that is not set.
    pub fn absent(self) -> Value {
        match self {
            Self::Text | Self::Bool | Self::Early => Value::Null,
            Self::Texts | Self::Entries(_) => Value::List(Vec::new()),
            Self::Map => Value::Object(std::collections::BTreeMap::new()),
        }
    }

    /// Brings a value into this shape. `expr` is what gave it.
    pub fn fit(self, value: Value, name: &str, expr: &Expr) -> Result<Value, Fault> {
        if value == Value::Null {
            return Ok(value);
        }
        match (self, value) {
            (Self::Early, value) => Ok(value),
            (Self::Text, value) => text(&value, name, expr).map(Value::String),
            (Self::Bool, value) => value.to_bool().map(Value::Bool).ok_or_else(|| {
                let message = format!("{name} is true or false, not {}", value.kind());
                Fault::new("type", &expr.place, message)
            }),
            (Self::Texts, Value::List(items)) => {
                let items = items.iter().enumerate();
                let items = items.filter(|(_, item)| **item != Value::Null);
                let items = items
                    .map(|(index, item)| text(item, name, part(expr, index)).map(Value::String));
                items.collect::<Result<_, _>>().map(Value::List)
            }
            (Self::Map, Value::Object(entries)) => {
                let entries = entries.into_iter().map(|(key, value)| {
                    if value == Value::Null {
                        return Ok((key, value));
                    }
                    let value = text(&value, &format!("{name}.{key}"), part_named(expr, &key))?;
                    Ok((key, Value::String(value)))
                });
                entries.collect::<Result<_, _>>().map(Value::Object)
            }
            (Self::Entries(_), Value::List(items)) => Ok(Value::List(items)),
            (Self::Map, value) => Err(misfit(name, "an object", &value, expr)
                .help(format!("put it in braces: {name} = {{ KEY = \"VALUE\" }}"))),
            (Self::Texts | Self::Entries(_), value) => Err(misfit(name, "a list", &value, expr)
                .help(format!("put it in brackets: {name} = [ … ]"))),
        }
    }
}

fn misfit(name: &str, wanted: &str, value: &Value, expr: &Expr) -> Fault {
    let message = format!("{name} is {wanted}, not {}", value.kind());
    Fault::new("type", &expr.place, message)
}

fn text(value: &Value, name: &str, expr: &Expr) -> Result<String, Fault> {
    value.to_text().ok_or_else(|| {
        let message = format!("{name} needs a text, not {}", value.kind());
        Fault::new("type", &expr.place, message)
    })
}

/// Returns the element of a written list, or all of what made the list.
fn part(expr: &Expr, index: usize) -> &Expr {
    match &expr.kind {
        ExprKind::Tuple(items) => items.get(index).unwrap_or(expr),
        _ => expr,
    }
}

/// Returns the value of a written object's key, or all of what made the object.
fn part_named<'e>(expr: &'e Expr, name: &str) -> &'e Expr {
    let ExprKind::Object(entries) = &expr.kind else {
        return expr;
    };
    let named =
        |key: &Expr| matches!(&key.kind, ExprKind::Literal(Value::String(text)) if text == name);
    let found = entries.iter().find(|(key, _)| named(key));
    found.map_or(expr, |(_, value)| value)
}
