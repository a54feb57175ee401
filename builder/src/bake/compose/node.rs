//! YAML nodes as what compose takes them for.

use crate::bake::fault::Fault;
use crate::bake::target::TextMap;
use crate::bake::yaml::{Kind, Merge, Node};
use crate::cli::value::boolean;

pub(super) fn text(node: &Node) -> Result<String, Fault> {
    match &node.kind {
        Kind::Scalar(text, _) => Ok(text.clone()),
        _ => Err(Fault::new(
            "type",
            &node.place,
            "a plain value is needed here",
        )),
    }
}

pub(super) fn truth(node: &Node) -> Result<bool, Fault> {
    let text = text(node)?;
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" => Ok(true),
        "no" | "off" => Ok(false),
        _ => {
            boolean("it", &text).map_err(|error| Fault::new("type", &node.place, error.to_string()))
        }
    }
}

pub(super) fn texts(node: &Node) -> Result<Vec<String>, Fault> {
    match &node.kind {
        Kind::List(items) => items.iter().map(text).collect(),
        Kind::Scalar(text, _) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        Kind::Map(_) => Err(Fault::new("type", &node.place, "a list is needed here")),
    }
}

/// Reads a mapping, or a list of texts with a separator.
pub(super) fn text_map(node: &Node, separator: char) -> Result<TextMap, Fault> {
    match &node.kind {
        Kind::Map(entries) => entries
            .iter()
            .filter(|(_, node)| node.merge != Merge::Reset)
            .map(|(name, node)| {
                let value = if node.is_null() {
                    None
                } else {
                    Some(text(node)?)
                };
                Ok((name.text.clone(), value))
            })
            .collect(),
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let item = text(item)?;
                Ok(match item.split_once(separator) {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (item, None),
                })
            })
            .collect(),
        Kind::Scalar(..) => Err(Fault::new("type", &node.place, "a mapping is needed here")),
    }
}
