//! Looking for known values and shapes of credentials in what is to leave.
//!
//! One pass looks for all of them; a find is said in words, never by its value.

use std::fmt::Write;
use std::sync::Arc;

use cooper_cache::{LayerId, Layers, NeedleGroup, Needles, RelPath, StoreError};
use serde_json::Value;

use super::{Coding, SHAPES, needles};

/// What a value is that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// A secret of this id.
    Secret(String),
    /// A private key of the ssh agent of this id.
    Key(String),
    /// A build argument of this name.
    Argument(String),
    /// Whatever looks like a credential.
    Credential,
}

/// Everything that is looked for.
#[derive(Debug)]
pub struct Search {
    needles: Option<Arc<Needles>>,
    /// For each group of needles, what it is.
    sought: Vec<Sought>,
    /// For each needle that is a form of a value, how it was made; the shapes follow.
    codings: Vec<Coding>,
}

/// Something that was found in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// What it is, in words.
    pub what: String,
    /// Whether it is a value that the build was given in confidence, and no guess.
    pub certain: bool,
    /// The entry that holds it.
    pub path: RelPath,
}

impl Search {
    /// Prepares to look for `values` in all their forms, and for shapes if `credentials`. Values
    /// that cannot be told from other text are not looked for.
    pub fn new(
        layers: &Layers,
        values: &[(Sought, Vec<u8>)],
        credentials: bool,
    ) -> Result<Self, StoreError> {
        let (mut sought, mut codings, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for (what, value) in values {
            let forms = needles(value);
            if forms.is_empty() {
                continue;
            }
            sought.push(what.clone());
            codings.extend(forms.iter().map(|form| form.coding));
            groups.push(NeedleGroup {
                identity: [b"value 2 ", value.as_slice()].concat(),
                strings: forms.into_iter().map(|form| form.bytes).collect(),
            });
        }
        if credentials {
            sought.push(Sought::Credential);
            groups.push(NeedleGroup {
                identity: format!("shapes 1 of {}", SHAPES.len()).into_bytes(),
                strings: SHAPES.iter().map(|shape| shape.prefix.to_vec()).collect(),
            });
        }
        Ok(Self {
            needles: layers.needles(&groups)?,
            sought,
            codings,
        })
    }

    /// Returns what layers are to be searched for whenever their bytes go by, if anything.
    pub fn needles(&self) -> Option<&Arc<Needles>> {
        self.needles.as_ref()
    }

    /// Searches everything in a layer of `layers` that is there.
    pub fn in_layer(&self, layers: &Layers, id: &LayerId) -> Result<Vec<Find>, StoreError> {
        let Some(needles) = self.needles.as_ref().filter(|_| layers.has(id)) else {
            return Ok(Vec::new());
        };
        let confirm = |string: usize, after: &[u8]| self.confirms(string, after);
        let found = layers.search(id, needles, &confirm)?;
        let tell = |found: cooper_cache::Found| Find {
            what: self.what(found.group, found.string),
            certain: matches!(self.sought[found.group], Sought::Secret(_) | Sought::Key(_)),
            path: found.path,
        };
        Ok(found.into_iter().map(tell).collect())
    }

    /// Calls `each` with every find in a text.
    pub fn in_text(&self, text: &str, each: &mut dyn FnMut(String)) {
        let Some(needles) = &self.needles else { return };
        needles.each_in(text.as_bytes(), |group, string, at| {
            let confirmed = self.confirms(string, &text.as_bytes()[at.end..]);
            if confirmed {
                each(self.what(group, string));
            }
            confirmed
        });
    }

    /// Calls `each` with the place and the words of every find in all strings of a document.
    pub fn in_document(&self, document: &Value, each: &mut dyn FnMut(&str, String)) {
        each_string(document, &mut String::new(), &mut |place, text| {
            self.in_text(text, &mut |what| each(place, what));
        });
    }

    fn confirms(&self, string: usize, after: &[u8]) -> bool {
        match string.checked_sub(self.codings.len()) {
            Some(shape) => SHAPES[shape].confirms(after),
            None => true,
        }
    }

    /// Says what was found.
    fn what(&self, group: usize, string: usize) -> String {
        let coded = match self.codings.get(string) {
            None | Some(Coding::Plain) => String::new(),
            Some(coding) => format!(" {}", coding.words()),
        };
        match &self.sought[group] {
            Sought::Secret(id) => format!("the secret {id}{coded}"),
            Sought::Key(id) => format!("a key of the ssh agent {id}{coded}"),
            Sought::Argument(name) => format!("the value of the build argument {name}{coded}"),
            Sought::Credential => SHAPES[string - self.codings.len()].name.to_owned(),
        }
    }
}

/// Returns where in an image something is that was found at `place` of its configuration.
pub fn config_place(place: &str) -> String {
    if place.starts_with(".history[") {
        "the image's history".to_owned()
    } else {
        format!(
            "the image's configuration, in {}",
            place.trim_start_matches('.')
        )
    }
}

/// Calls `each` with every string in `value`, keys included, and where it stands.
fn each_string(value: &Value, place: &mut String, each: &mut dyn FnMut(&str, &str)) {
    let depth = place.len();
    match value {
        Value::String(text) => each(place, text),
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                let _ = write!(place, "[{number}]");
                each_string(value, place, each);
                place.truncate(depth);
            }
        }
        Value::Object(values) => {
            for (key, value) in values {
                each(place, key);
                place.push('.');
                place.push_str(key);
                each_string(value, place, each);
                place.truncate(depth);
            }
        }
        _ => {}
    }
}
