//! `--print`: a definition as JSON, in buildx's shape.

use serde_json::{Map, Value as Json, json};

use super::resolve::Plan;
use super::target::{Field, Group, Target};

/// Attributes in which `${` and `%{` are escaped, so that the output is a definition again.
const TEMPLATES: [&str; 5] = [
    "annotations",
    "dockerfile-inline",
    "labels",
    "args",
    "extra-hosts",
];

/// Returns JSON as buildx writes it: indented, and safe within HTML.
pub fn pretty(json: &Json) -> String {
    let text = format!("{json:#}\n");
    let escape = |c: char| match c {
        '<' => "\\u003c".to_owned(),
        '>' => "\\u003e".to_owned(),
        '&' => "\\u0026".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Returns the whole plan.
pub fn plan(plan: &Plan) -> Json {
    let mut out = Map::new();
    if let Some(groups) = groups(plan) {
        out.insert("group".to_owned(), groups);
    }
    let targets = plan
        .targets
        .values()
        .map(|one| (one.name.clone(), target(one)));
    out.insert("target".to_owned(), targets.collect::<Map<_, _>>().into());
    Json::Object(out)
}

/// Returns the groups of a plan, none if there are none.
pub fn groups(plan: &Plan) -> Option<Json> {
    let groups = plan
        .groups
        .values()
        .map(|one| (one.name.clone(), group(one)));
    let groups: Map<_, _> = groups.collect();
    (!groups.is_empty()).then_some(Json::Object(groups))
}

fn group(group: &Group) -> Json {
    let mut out = Map::new();
    if !group.description.is_empty() {
        out.insert("description".to_owned(), json!(group.description));
    }
    out.insert("targets".to_owned(), json!(group.targets));
    Json::Object(out)
}

/// Returns one target.
pub fn target(target: &Target) -> Json {
    let mut out = Map::new();
    for (name, field) in target.fields() {
        let escape = |text: &str| {
            if TEMPLATES.contains(&name) {
                text.replace("${", "$${").replace("%{", "%%{")
            } else {
                text.to_owned()
            }
        };
        let value = match field {
            _ if name == "inherits" => continue,
            Field::Text(text) if text.is_empty() && name == "description" => continue,
            Field::Text(text) => json!(escape(text)),
            Field::Bool(truth) => json!(truth),
            Field::Texts(texts) if texts.is_empty() => continue,
            Field::Texts(texts) => texts.iter().map(|text| json!(escape(text))).collect(),
            Field::Map(entries) if entries.is_empty() => continue,
            Field::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), json!(value.as_deref().map(escape))))
                .collect::<Map<_, _>>()
                .into(),
            Field::Entries(entries) if entries.is_empty() => continue,
            Field::Entries(entries) => entries.iter().map(super::entry::Entry::to_json).collect(),
        };
        out.insert(name.to_owned(), value);
    }
    Json::Object(out)
}
