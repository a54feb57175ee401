//! Targets and groups: what a definition comes to.

use std::collections::BTreeMap;

use super::ast::{Place, Written};
use super::entry::Entry;
use super::fault::Fault;
use super::shape::{ATTRIBUTES, Attribute, Merge, Shape};
use super::value::Value;

/// Texts by name; a null leaves the name to the Dockerfile.
pub(super) type TextMap = BTreeMap<String, Option<String>>;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A list of texts.
    Texts(Vec<String>),
    /// Texts by name.
    Map(TextMap),
    /// `output`, `secret` and the like.
    Entries(Vec<Entry>),
}

/// One target: what one `build` would be told.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its name.
    pub name: String,
    fields: BTreeMap<&'static str, Field>,
    /// Where attributes were set last, for those of bake files.
    places: BTreeMap<&'static str, Written>,
    /// Whether it is built only because another target needs it.
    pub linked: bool,
}

/// Several targets under one name.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Names of targets and groups.
    pub targets: Vec<String>,
    /// Where they are written, if in a bake file.
    pub written: Option<Written>,
}

impl Field {
    /// Reads a value that has the attribute's shape already; none if it is null.
    pub fn of_value(
        attribute: &Attribute,
        value: &Value,
        written: &Written,
    ) -> Result<Option<Self>, Fault> {
        let texts = |items: &[Value]| items.iter().filter_map(Value::to_text).collect();
        Ok(Some(match (attribute.shape, value) {
            (Shape::Text, Value::String(text)) => Self::Text(text.clone()),
            (Shape::Bool, Value::Bool(truth)) => Self::Bool(*truth),
            (Shape::Texts, Value::List(items)) => Self::Texts(texts(items)),
            (Shape::Map, Value::Object(entries)) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_text()))
                    .collect(),
            ),
            (Shape::Entries(kind), Value::List(items)) => {
                let mut entries = Vec::new();
                for item in items {
                    let more = Entry::of_value(kind, item).map_err(|message| {
                        let name = attribute.name;
                        let place = written.text(&item.to_text().unwrap_or_default());
                        Fault::new("entry", place, format!("{name}: {message}"))
                    })?;
                    entries.extend(more);
                }
                Self::Entries(entries)
            }
            _ => return Ok(None),
        }))
    }

    /// Joins an inherited value with the target's own.
    fn merge(&mut self, own: Self, merge: Merge) {
        match (self, own, merge) {
            (Self::Map(inherited), Self::Map(own), Merge::Add) => {
                inherited.extend(own.into_iter().filter(|(_, value)| value.is_some()));
            }
            (Self::Texts(inherited), Self::Texts(own), Merge::Add) => inherited.extend(own),
            (Self::Entries(inherited), Self::Entries(own), Merge::Add) => inherited.extend(own),
            (field, own, _) => *field = own,
        }
    }

    /// Removes what is empty or said twice.
    fn tidy(&mut self) {
        match self {
            Self::Texts(texts) => {
                let mut seen = Vec::new();
                texts.retain(|text| {
                    let new = !text.is_empty() && !seen.contains(text);
                    seen.push(text.clone());
                    new
                });
            }
            Self::Entries(entries) => {
                let mut out: Vec<Entry> = Vec::new();
                for entry in entries.drain(..) {
                    match out.iter_mut().find(|earlier| earlier.replaced_by(&entry)) {
                        Some(earlier) => *earlier = entry,
                        None => out.push(entry),
                    }
                }
                *entries = out;
            }
            Self::Text(_) | Self::Bool(_) | Self::Map(_) => {}
        }
    }
}

impl Target {
    /// Returns a target that says nothing.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &'static str, field: Field) {
        self.fields.insert(name, field);
    }

    /// Sets an attribute that a bake file sets there.
    pub fn set_at(&mut self, name: &'static str, field: Field, written: impl Into<Written>) {
        self.places.insert(name, written.into());
        self.set(name, field);
    }

    /// Removes an attribute.
    pub fn unset(&mut self, name: &str) {
        self.fields.remove(name);
    }

    /// Returns where an attribute was set, if a bake file sets it.
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(name).map(Written::whole)
    }

    /// Returns where a text in an attribute was written, if a bake file sets it.
    pub fn place_of(&self, name: &str, text: &str) -> Option<&Place> {
        Some(self.places.get(name)?.text(text))
    }

    /// Returns the attributes that are set, in the order in which they are printed.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &Field)> {
        ATTRIBUTES
            .iter()
            .filter_map(|attribute| Some((attribute.name, self.fields.get(attribute.name)?)))
    }

    /// Returns an attribute's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.fields.get(name) {
            Some(Field::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns an attribute's texts.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.fields.get(name) {
            Some(Field::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// Returns the names and texts of an attribute, without the nulls.
    pub fn map(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = match self.fields.get(name) {
            Some(Field::Map(entries)) => Some(entries),
            _ => None,
        };
        let entries = entries.into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.as_str(), value.as_deref()?)))
    }

    /// Returns an attribute's entries.
    pub fn entries(&self, name: &str) -> &[Entry] {
        match self.fields.get(name) {
            Some(Field::Entries(entries)) => entries,
            _ => &[],
        }
    }

    /// Returns the map of an attribute, to change it.
    pub fn map_mut(&mut self, name: &'static str) -> Option<&mut TextMap> {
        let field = self.fields.entry(name);
        match field.or_insert_with(|| Field::Map(TextMap::new())) {
            Field::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the texts of an attribute, to change them.
    pub fn texts_mut(&mut self, name: &'static str) -> Option<&mut Vec<String>> {
        let field = self.fields.entry(name);
        match field.or_insert_with(|| Field::Texts(Vec::new())) {
            Field::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// Returns the entries of an attribute, to change them.
    pub fn entries_mut(&mut self, name: &'static str) -> Option<&mut Vec<Entry>> {
        let field = self.fields.entry(name);
        match field.or_insert_with(|| Field::Entries(Vec::new())) {
            Field::Entries(entries) => Some(entries),
            _ => None,
        }
    }

    /// Adds what `other` says; where both speak, `other` has the word unless the attribute adds up.
    pub fn merge(&mut self, other: &Self) {
        for attribute in &ATTRIBUTES {
            let Some(own) = other.fields.get(attribute.name) else {
                continue;
            };
            if let Some(place) = other.places.get(attribute.name) {
                self.places.insert(attribute.name, place.clone());
            }
            // A map starts empty, so that its nulls are left out.
            let start = match own {
                Field::Map(_) => Field::Map(TextMap::new()),
                own => own.clone(),
            };
            let inherited = self.fields.contains_key(attribute.name);
            let field = self.fields.entry(attribute.name).or_insert(start);
            if inherited || matches!(own, Field::Map(_)) {
                field.merge(own.clone(), attribute.merge);
            }
        }
    }

    /// Removes what is empty or said twice, and says what follows from other attributes.
    pub fn tidy(&mut self) {
        if self.text("network") == Some("host")
            && let Some(entitlements) = self.texts_mut("entitlements")
        {
            entitlements.push("network.host".to_owned());
        }
        self.fields.values_mut().for_each(Field::tidy);
        if let Some(Field::Map(contexts)) = self.fields.get_mut("contexts") {
            contexts.retain(|_, value| value.as_ref().is_some_and(|value| !value.is_empty()));
        }
    }
}
