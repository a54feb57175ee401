//! What a log says of a container besides its output: a tag, labels and variables.

use std::collections::BTreeMap;

use regex::Regex;

use crate::container::record::Container;

/// Labels and variables that go with each line, by name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// The tag unless one is asked for, as docker has it.
pub(super) const DEFAULT_TAG: &str = "{{.ID}}";

/// Which labels and variables of a container go with its lines, and under what tag.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) labels: Vec<String>,
    pub(super) labels_regex: Option<Regex>,
    pub(super) env: Vec<String>,
    pub(super) env_regex: Option<Regex>,
    pub(super) tag: Option<String>,
}

impl Selection {
    /// Returns what goes with each line of a container.
    pub(super) fn of(&self, container: &Container) -> Attributes {
        let runtime = &container.config.runtime;
        let variables = runtime.env.iter().filter_map(|pair| pair.split_once('='));
        let labels = runtime.labels.iter();
        let mut found: Attributes = labels
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| wanted(&self.labels, self.labels_regex.as_ref(), name))
            .chain(variables.filter(|(name, _)| wanted(&self.env, self.env_regex.as_ref(), name)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if let Some(tag) = &self.tag {
            found.insert("tag".to_owned(), expand(tag, container));
        }
        found
    }

    /// Returns the tag of a container.
    pub(super) fn tag(&self, container: &Container) -> String {
        expand(self.tag.as_deref().unwrap_or(DEFAULT_TAG), container)
    }
}

fn wanted(names: &[String], pattern: Option<&Regex>, name: &str) -> bool {
    names.iter().any(|wanted| wanted == name)
        || pattern.is_some_and(|pattern| pattern.is_match(name))
}

/// What a tag may name.
const FIELDS: [&str; 7] = [
    "ID",
    "FullID",
    "Name",
    "ImageID",
    "ImageFullID",
    "ImageName",
    "DaemonName",
];

/// Checks that a tag names nothing but what there is; an error says what it names instead.
pub(super) fn check_tag(tag: &str) -> Result<(), String> {
    let mut rest = tag;
    while let Some((_, after)) = rest.split_once("{{") {
        let (field, after) = after.split_once("}}").ok_or("an open {{")?;
        let field = field.trim();
        let name = field.strip_prefix('.').unwrap_or_default();
        if !FIELDS.contains(&name) {
            return Err(format!("{field:?} is none of .{}", FIELDS.join(", .")));
        }
        rest = after;
    }
    Ok(())
}

fn expand(tag: &str, container: &Container) -> String {
    let image = container.config.image_id.to_string();
    let (_, hex) = image.split_once(':').unwrap_or(("", &image));
    let mut text = String::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((field, after)) = after.split_once("}}") else {
            break;
        };
        text.push_str(before);
        text.push_str(match field.trim() {
            ".ID" => container.short(),
            ".FullID" => &container.id,
            ".Name" => &container.name,
            ".ImageID" => hex.get(..12).unwrap_or(hex),
            ".ImageFullID" => &image,
            ".ImageName" => &container.config.image,
            _ => "cooper",
        });
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing;

    fn container() -> Container {
        let mut config = testing::config(false);
        config.image = "app:1".to_owned();
        config.runtime.env = vec!["CITY=Köln".into(), "HOME=/".into()];
        config.runtime.labels = [("org.team", "blue"), ("tier", "web")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        Container {
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            created: String::new(),
            config,
            anonymous_volumes: Vec::new(),
        }
    }

    #[test]
    fn labels_and_variables_are_taken_by_name_and_by_pattern() {
        let selection = Selection {
            labels: vec!["tier".into()],
            env_regex: Regex::new("^CI").ok(),
            tag: Some("{{.Name}}/{{ .ID }}".into()),
            ..Selection::default()
        };
        let found = selection.of(&container());
        let found: Vec<_> = found
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let tag = ("tag", "web/0123456789ab");
        assert_eq!(found, [("CITY", "Köln"), tag, ("tier", "web")]);
        assert_eq!(Selection::default().of(&container()), Attributes::new());
    }

    #[test]
    fn tags_name_what_there_is() {
        let tag = |text: &str| Selection {
            tag: Some(text.into()),
            ..Selection::default()
        };
        assert_eq!(tag("x-{{.ImageName}}}").tag(&container()), "x-app:1}");
        assert_eq!(Selection::default().tag(&container()), "0123456789ab");
        assert_eq!(check_tag("a {{.Name}} {{.FullID}}"), Ok(()));
        for wrong in ["{{.Nam}}", "{{Name}}", "{{.Name", "{{if .Name}}"] {
            assert!(check_tag(wrong).is_err(), "{wrong}");
        }
    }
}
