//! `--set PATTERN.KEY[.NAME]=VALUE`, and the options of the command line that say the same.

use super::ResolveError;
use super::entry::Entry;
use super::shape::{self, ATTRIBUTES, Attribute, Entries, Shape};
use super::target::{Field, Target};
use crate::cli::value::boolean;
use crate::report::did_you_mean;

/// One `--set`, or several of the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Which targets it is for.
    pub pattern: String,
    key: Key,
    /// As it was written, for messages.
    text: String,
    values: Vec<String>,
    append: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// `tags`, …
    Plain(&'static str),
    /// `args.NAME`, …
    Named(&'static str, String),
    /// `push`.
    Push,
    /// `load`.
    Load,
}

/// The names that docker's `--set` knows besides the attributes' own.
const ALIASES: [(&str, &str); 3] = [
    ("platform", "platforms"),
    ("secrets", "secret"),
    ("outputs", "output"),
];

fn attribute(key: &str) -> Option<&'static Attribute> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == key);
    let name = alias.map_or(key, |(_, name)| name);
    let found = shape::attribute_of_target(name)?;
    (!matches!(found.name, "inherits" | "matrix")).then_some(found)
}

impl Override {
    /// Reads one `--set`. `variable` looks up `args` that are named without a value; none is
    /// returned if the variable is not set.
    pub fn parse(
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ResolveError> {
        let wrong = |problem: String, hint: Option<String>| ResolveError::Override {
            text: text.to_owned(),
            problem,
            hint,
        };
        let (left, value) = match text.split_once('=') {
            Some((left, value)) => (left, Some(value.to_owned())),
            None => (text, None),
        };
        let (left, append) = match left.strip_suffix('+') {
            Some(left) => (left, true),
            None => (left, false),
        };
        let form = "write TARGET.KEY=VALUE".to_owned();
        let (pattern, rest) = left
            .split_once('.')
            .ok_or_else(|| wrong("it names no key".to_owned(), Some(form.clone())))?;
        let (word, name) = match rest.split_once('.') {
            Some((key, name)) => (key, Some(name)),
            None => (rest, None),
        };
        let key = key(word, name).map_err(|(problem, hint)| wrong(problem, hint))?;
        let value = match (value, &key) {
            (Some(value), _) => value,
            (None, Key::Named("args", name)) => match variable(name) {
                Some(value) => value,
                None => return Ok(None),
            },
            (None, Key::Plain("no-cache" | "pull") | Key::Push | Key::Load) => "true".to_owned(),
            (None, _) => return Err(wrong("it has no value".to_owned(), Some(form))),
        };
        Ok(Some(Self {
            pattern: pattern.to_owned(),
            key,
            text: text.to_owned(),
            values: vec![value],
            append,
        }))
    }

    /// Joins several overrides of the same list into one.
    pub fn gather(all: Vec<Self>) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        for one in all {
            let same = |other: &&mut Self| other.key == one.key && other.pattern == one.pattern;
            match out.iter_mut().find(same) {
                Some(other) if one.is_list() => {
                    other.values.extend(one.values);
                    other.append = one.append;
                }
                _ => out.push(one),
            }
        }
        out
    }

    fn is_list(&self) -> bool {
        let Key::Plain(name) = self.key else {
            return false;
        };
        let found = shape::attribute_of_target(name);
        found.is_some_and(|found| matches!(found.shape, Shape::Texts | Shape::Entries(_)))
    }

    /// Applies the override.
    pub fn apply(&self, target: &mut Target) -> Result<(), ResolveError> {
        let wrong = |problem: String| ResolveError::Override {
            text: self.text.clone(),
            problem,
            hint: None,
        };
        let value = self.values.last().map_or("", String::as_str);
        let truth = || boolean("the value", value).map_err(|error| wrong(error.to_string()));
        match &self.key {
            Key::Push => push(target, truth()?),
            Key::Load => {
                if truth()? {
                    load(target);
                }
            }
            Key::Named(name, key) => {
                if let Some(entries) = target.map_mut(name) {
                    entries.insert(key.clone(), Some(value.to_owned()));
                }
            }
            Key::Plain(name) => {
                let found = shape::attribute_of_target(name);
                match found.map(|found| found.shape) {
                    Some(Shape::Bool) => target.set(name, Field::Bool(truth()?)),
                    Some(Shape::Texts) => self.set_texts(name, target),
                    Some(Shape::Entries(kind)) => {
                        self.set_entries(name, kind, target).map_err(wrong)?;
                    }
                    _ => target.set(name, Field::Text(value.to_owned())),
                }
            }
        }
        Ok(())
    }

    fn set_texts(&self, name: &'static str, target: &mut Target) {
        // What is asked for of these never takes anything away.
        let append = self.append || matches!(name, "annotations" | "entitlements");
        if let Some(texts) = target.texts_mut(name) {
            if !append {
                texts.clear();
            }
            texts.extend(self.values.iter().cloned());
        }
    }

    fn set_entries(
        &self,
        name: &'static str,
        kind: Entries,
        target: &mut Target,
    ) -> Result<(), String> {
        let mut new = Vec::new();
        for value in &self.values {
            new.extend(Entry::parse(kind, value)?);
        }
        if let Some(entries) = target.entries_mut(name) {
            if !self.append && name != "attest" {
                entries.clear();
            }
            entries.extend(new);
        }
        Ok(())
    }
}

type Wrong = (String, Option<String>);

fn key(word: &str, name: Option<&str>) -> Result<Key, Wrong> {
    match word {
        "push" => return Ok(Key::Push),
        "load" => return Ok(Key::Load),
        _ => {}
    }
    let Some(found) = attribute(word) else {
        let known = ATTRIBUTES.iter().map(|attribute| attribute.name);
        let known = known.chain(["platform", "secrets", "push", "load"]);
        let hint = did_you_mean(word, known).map(|meant| format!("did you mean {meant:?}?"));
        return Err((format!("there is no key {word:?}"), hint));
    };
    match (found.shape, name.filter(|name| !name.is_empty())) {
        (Shape::Map, Some(name)) => Ok(Key::Named(found.name, name.to_owned())),
        (Shape::Map, None) => {
            let hint = format!("write TARGET.{word}.NAME=VALUE");
            Err((format!("{word} needs a name"), Some(hint)))
        }
        (_, None) => Ok(Key::Plain(found.name)),
        (_, Some(name)) => Err((format!("{word} has no part {name:?}"), None)),
    }
}

/// `--push`: pushes what makes an image, or makes one.
fn push(target: &mut Target, wanted: bool) {
    let Some(outputs) = target.entries_mut("output") else {
        return;
    };
    if !wanted {
        outputs.retain(|output| output.kind() != "registry");
    }
    let images = outputs.iter_mut().filter(|output| output.kind() == "image");
    images.for_each(|output| output.set("push", if wanted { "true" } else { "false" }));
    if wanted && outputs.iter().all(|output| output.kind() == "docker") {
        let image = Entry::parse(Entries::Output, "type=image,push=true");
        outputs.extend(image.unwrap_or_default());
    }
}

/// `--load`: keeps the image unless the target writes something else.
fn load(target: &mut Target) {
    let Some(outputs) = target.entries_mut("output") else {
        return;
    };
    let elsewhere = |output: &Entry| match output.kind() {
        "docker" => output.get("dest").is_none(),
        "image" | "registry" | "oci" => false,
        _ => true,
    };
    if !outputs.iter().any(elsewhere) {
        let docker = Entry::parse(Entries::Output, "type=docker");
        outputs.extend(docker.unwrap_or_default());
    }
}
