//! Entries of `output`, `cache-from`, `secret` and the like: comma-separated pairs or objects.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::shape::Entries;
use super::value::Value;
use crate::cli::value::csv;

/// One entry: the pairs it was written with, brought into one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    kind: Entries,
    pairs: BTreeMap<String, String>,
    /// Files of `ssh`.
    paths: Vec<String>,
}

impl Entry {
    /// Reads the text form. An entry may stand for several, and an empty text for none.
    pub fn parse(kind: Entries, text: &str) -> Result<Vec<Self>, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let entry = |pairs: &[(&str, &str)]| Self {
            kind,
            pairs: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            paths: Vec::new(),
        };
        if kind == Entries::Ssh {
            let (id, paths) = text
                .split_once('=')
                .map_or((text, None), |(id, paths)| (id, Some(paths)));
            let mut ssh = entry(&[("id", id)]);
            ssh.paths = paths
                .into_iter()
                .flat_map(|paths| paths.split(','))
                .map(str::to_owned)
                .collect();
            return Ok(vec![ssh]);
        }
        let fields = csv(text).map_err(|error| error.to_string())?;
        if !text.contains('=') {
            match kind {
                Entries::Cache => {
                    let registry = |name: &String| entry(&[("type", "registry"), ("ref", name)]);
                    return Ok(fields.iter().map(registry).collect());
                }
                Entries::Output if text == "-" => {
                    return Ok(vec![entry(&[("type", "tar"), ("dest", "-")])]);
                }
                Entries::Output if fields.len() == 1 => {
                    return Ok(vec![entry(&[("type", "local"), ("dest", text)])]);
                }
                _ => {}
            }
        }
        let mut pairs = BTreeMap::new();
        for field in &fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("{field:?} is no KEY=VALUE pair"))?;
            pairs.insert(key.trim().to_lowercase(), value.to_owned());
        }
        Ok(vec![Self::checked(kind, pairs, Vec::new())?])
    }

    /// Reads a value: text, or an object.
    pub fn of_value(kind: Entries, value: &Value) -> Result<Vec<Self>, String> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::Object(entries) => {
                let mut pairs = BTreeMap::new();
                let mut paths = Vec::new();
                for (key, value) in entries {
                    match (value, value.to_text()) {
                        (Value::Null, _) => {}
                        (_, Some(text)) => drop(pairs.insert(key.clone(), text)),
                        (Value::List(items), None) if key == "paths" => {
                            paths = items.iter().filter_map(Value::to_text).collect();
                        }
                        (other, None) => {
                            return Err(format!("{key} needs a text, not {}", other.kind()));
                        }
                    }
                }
                Ok(vec![Self::checked(kind, pairs, paths)?])
            }
            value => match value.to_text() {
                Some(text) => Self::parse(kind, &text),
                None => Err(format!(
                    "a text or an object is needed, not {}",
                    value.kind()
                )),
            },
        }
    }

    fn checked(
        kind: Entries,
        mut pairs: BTreeMap<String, String>,
        paths: Vec<String>,
    ) -> Result<Self, String> {
        match kind {
            Entries::Secret => secret(&mut pairs)?,
            Entries::Ssh => {}
            Entries::Attest | Entries::Cache | Entries::Output => {
                if pairs.get("type").is_none_or(String::is_empty) {
                    return Err("the type is missing".to_owned());
                }
            }
        }
        Ok(Self { kind, pairs, paths })
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// Returns the files of `ssh`.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Sets the value of a key.
    pub fn set(&mut self, key: &str, value: &str) {
        self.pairs.insert(key.to_owned(), value.to_owned());
    }

    /// Returns the type, such as `local`.
    pub fn kind(&self) -> &str {
        self.get("type").unwrap_or_default()
    }

    /// Returns whether a later entry takes the place of this one.
    pub fn replaced_by(&self, later: &Self) -> bool {
        match self.kind {
            Entries::Attest => self.kind() == later.kind(),
            _ => self == later,
        }
    }

    /// Returns the entry as the option of `build` that it becomes.
    pub fn to_text(&self) -> String {
        if self.kind == Entries::Ssh {
            let id = self.get("id").unwrap_or("default");
            return if self.paths.is_empty() {
                id.to_owned()
            } else {
                format!("{id}={}", self.paths.join(","))
            };
        }
        let kind = self.pairs.get_key_value("type");
        let rest = self.pairs.iter().filter(|(key, _)| *key != "type");
        let fields = kind.into_iter().chain(rest).map(|(key, value)| {
            let field = format!("{key}={value}");
            if field.contains([',', '"']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field
            }
        });
        fields.collect::<Vec<_>>().join(",")
    }

    /// Returns the entry as `--print` shows it.
    pub fn to_json(&self) -> Json {
        let mut out = Map::new();
        let keys: Vec<&str> = match self.kind {
            Entries::Secret => vec!["id", "src", "env"],
            Entries::Ssh => vec!["id"],
            _ => self.pairs.keys().map(String::as_str).collect(),
        };
        for key in keys {
            let value = self.get(key).unwrap_or_default();
            match (self.kind, key) {
                (Entries::Attest, "disabled") if truth(value) => {
                    out.insert(key.to_owned(), json!(true));
                }
                (Entries::Attest, "disabled") => {}
                (Entries::Secret | Entries::Ssh, _) if value.is_empty() => {}
                _ => drop(out.insert(key.to_owned(), json!(value))),
            }
        }
        if !self.paths.is_empty() {
            out.insert("paths".to_owned(), json!(self.paths));
        }
        Json::Object(out)
    }
}

fn truth(text: &str) -> bool {
    crate::cli::value::boolean("disabled", text).unwrap_or(false)
}

/// Brings a secret's keys into one form: `id`, and `src` or `env`.
fn secret(pairs: &mut BTreeMap<String, String>) -> Result<(), String> {
    if let Some(source) = pairs.remove("source") {
        pairs.insert("src".to_owned(), source);
    }
    match pairs.remove("type").as_deref() {
        None | Some("file") => {}
        Some("env") => {
            if !pairs.contains_key("env")
                && let Some(source) = pairs.remove("src")
            {
                pairs.insert("env".to_owned(), source);
            }
        }
        Some(other) => return Err(format!("a secret is of type file or env, not {other:?}")),
    }
    match pairs
        .keys()
        .find(|key| !["id", "src", "env"].contains(&key.as_str()))
    {
        Some(key) => Err(format!(
            "a secret has no key {key:?}: id, src, env and type are known"
        )),
        None => Ok(()),
    }
}
