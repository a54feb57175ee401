//! `cooper bake --list`.

use serde_json::{Map, Value as Json, json};

use super::super::table::Table;
use super::super::value::{ValueError, csv};
use crate::bake::{Definition, Value};
use crate::report::{self, Report};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Targets,
    Variables,
}

/// Prints what `text` asks for.
pub(super) fn print(text: &str, definition: &Definition) -> Result<(), Report> {
    let (kind, as_json) = parse(text).map_err(|error| error.report("--list", text))?;
    let out = match (kind, as_json) {
        (Type::Targets, false) => targets_table(definition),
        (Type::Targets, true) => format!("{:#}\n", targets_json(definition)),
        (Type::Variables, false) => variables_table(definition),
        (Type::Variables, true) => format!("{:#}\n", variables_json(definition)),
    };
    report::print_data(&out)
}

/// Reads `TYPE` or `type=TYPE[,format=json|table]`.
fn parse(text: &str) -> Result<(Type, bool), ValueError> {
    let mut kind = None;
    let mut as_json = false;
    for field in csv(text)? {
        match field.split_once('=') {
            None => kind = Some(field),
            Some(("type", value)) => kind = Some(value.to_owned()),
            Some(("format", "json")) => as_json = true,
            Some(("format", "table")) => as_json = false,
            Some(("format", other)) => {
                return Err(ValueError::unknown("format", other, &["table", "json"]));
            }
            Some((key, _)) => return Err(ValueError::unknown("key", key, &["type", "format"])),
        }
    }
    match kind.as_deref() {
        Some("targets") => Ok((Type::Targets, as_json)),
        Some("variables") => Ok((Type::Variables, as_json)),
        other => {
            let other = other.unwrap_or_default();
            Err(ValueError::unknown(
                "list",
                other,
                &["targets", "variables"],
            ))
        }
    }
}

/// A target or group that is not private (by its name's first letter), with what is said of it.
struct Row<'a> {
    name: &'a str,
    description: String,
    group: bool,
}

fn rows(definition: &Definition) -> Vec<Row<'_>> {
    let targets = definition.targets.iter().map(|target| Row {
        name: &target.name,
        description: target.text("description").unwrap_or_default().to_owned(),
        group: false,
    });
    let groups = definition.groups.iter().map(|group| {
        let mut members = group.targets.clone();
        members.sort();
        let members = members.join(", ");
        Row {
            name: &group.name,
            description: match (group.description.as_str(), members.is_empty()) {
                (text, true) => text.to_owned(),
                ("", false) => members,
                (text, false) => format!("{text} ({members})"),
            },
            group: true,
        }
    });
    let mut rows: Vec<_> = targets.chain(groups).collect();
    rows.retain(|row| !row.name.starts_with('_'));
    rows.sort_by_key(|row| row.name);
    rows
}

fn targets_table(definition: &Definition) -> String {
    let mut table = Table::new(["TARGET", "DESCRIPTION"]);
    for row in rows(definition) {
        table.row([row.name, &row.description]);
    }
    table.render()
}

fn targets_json(definition: &Definition) -> Json {
    let row = |row: Row<'_>| {
        let mut out = Map::new();
        out.insert("name".to_owned(), json!(row.name));
        if !row.description.is_empty() {
            out.insert("description".to_owned(), json!(row.description));
        }
        if row.group {
            out.insert("group".to_owned(), json!(true));
        }
        Json::Object(out)
    };
    rows(definition).into_iter().map(row).collect()
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        value => Some(
            value
                .to_text()
                .unwrap_or_else(|| value.to_json().to_string()),
        ),
    }
}

fn variables_table(definition: &Definition) -> String {
    let mut table = Table::new(["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"]);
    for variable in &definition.variables {
        let value = shown(&variable.value).unwrap_or_else(|| "<null>".to_owned());
        let kind = variable.kind.as_deref().unwrap_or_default();
        table.row([&variable.name, kind, &value, &variable.description]);
    }
    table.render()
}

fn variables_json(definition: &Definition) -> Json {
    let row = |variable: &crate::bake::Variable| {
        let mut out = Map::new();
        out.insert("name".to_owned(), json!(variable.name));
        if !variable.description.is_empty() {
            out.insert("description".to_owned(), json!(variable.description));
        }
        if let Some(kind) = &variable.kind {
            out.insert("type".to_owned(), json!(kind));
        }
        if let Some(value) = shown(&variable.value) {
            out.insert("value".to_owned(), json!(value));
        }
        Json::Object(out)
    };
    definition.variables.iter().map(row).collect()
}
