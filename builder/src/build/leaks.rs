//! Nothing secret leaves: what an output writes is searched before it is written.
//!
//! Looked for are the values of the build's secrets in all their forms, and on request
//! credentials that can be told by their looks and build arguments that are named like secrets.
//! Looked through are the layers that were built on this machine, one by one (what a later layer
//! removes leaves with the layer that has it), all strings of the configuration with its history,
//! annotations, and what is said of the image. A layer that came from elsewhere held nothing of this build's.
//!
//! The layers' bytes are searched while their digests are taken; only what was not searched for
//! the same strings before is read again.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use cooper_cache::{LayerId, Layers, NeedleGroup, Needles, RelPath, StoreError};
use cooper_frontend::lint::is_secret_name;
use cooper_frontend::lower::HistoryItem;
use cooper_frontend::{SourceFile, Span};
use serde_json::Value;

use super::engine::Engine;
use super::error::{BuildError, OpError};
use super::output::Root;
use super::secrets::Secrets;
use crate::image::Image;
use crate::options::{BuildOptions, Leaks as Policy, Output, SshSource};
use crate::progress::{Progress, Secrets as Redaction};
use crate::secrecy::{Coding, SHAPES, is_public, needles};

/// What is looked for.
pub(super) struct Guard {
    needles: Option<Arc<Needles>>,
    /// For each group of needles, what it is.
    sought: Vec<Sought>,
    /// For each needle that is a form of a value, how it was made; the shapes follow.
    codings: Vec<Coding>,
    /// Secrets that are too short to be looked for.
    gaps: Vec<String>,
    redaction: Redaction,
    policy: Policy,
}

/// What a group of needles stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sought {
    Secret(String),
    Key(String),
    Argument(String),
    Credential,
}

/// A secret that is in what was to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// What it is and where, in a sentence.
    pub message: String,
    /// Where in the Dockerfile it got there.
    pub span: Option<Span>,
    /// Whether a later layer removes the file.
    pub removed: bool,
}

/// The result of a build, as its outputs take it.
pub(super) struct Product<'a> {
    pub(super) image: &'a Image,
    pub(super) root: &'a Root,
    /// What the build added to the history, in order.
    pub(super) history: &'a [HistoryItem],
    pub(super) file: &'a SourceFile,
}

impl Product<'_> {
    /// Returns where the step is written that made a layer of the root filesystem.
    fn place(&self, layer: usize) -> Option<Span> {
        self.root.place(self.history, layer)
    }
}

impl Guard {
    /// Prepares to look for everything that must not leave.
    pub(super) fn new<'s>(
        layers: &Layers,
        secrets: impl Iterator<Item = &'s Secrets>,
        keys: Vec<(String, Vec<u8>)>,
        options: &BuildOptions,
    ) -> Result<Self, StoreError> {
        let mut guard = Self {
            needles: None,
            sought: Vec::new(),
            gaps: Vec::new(),
            codings: Vec::new(),
            redaction: Redaction::default(),
            policy: options.leaks,
        };
        let mut groups = Vec::new();
        for (id, value) in secrets.flat_map(Secrets::all) {
            guard.redaction.add(value);
            if !guard.add(&mut groups, Sought::Secret(id.to_owned()), value) {
                guard.gaps.push(id.to_owned());
            }
        }
        for (id, value) in keys {
            guard.redaction.add(&value);
            guard.add(&mut groups, Sought::Key(id), &value);
        }
        if options.leaks.credentials {
            for (name, value) in &options.build_args {
                if is_secret_name(name) {
                    guard.redaction.add(value.as_bytes());
                    guard.add(
                        &mut groups,
                        Sought::Argument(name.clone()),
                        value.as_bytes(),
                    );
                }
            }
            guard.sought.push(Sought::Credential);
            groups.push(NeedleGroup {
                identity: format!("shapes 1 of {}", SHAPES.len()).into_bytes(),
                strings: SHAPES.iter().map(|shape| shape.prefix.to_vec()).collect(),
            });
        }
        guard.needles = layers.needles(&groups)?;
        Ok(guard)
    }

    /// Says what cannot be looked for.
    pub(super) fn warn_of_gaps(&self, progress: &Progress) {
        for id in &self.gaps {
            progress.warn(format!(
                "the secret {id} is too short to be told from other text: outputs are not searched for it"
            ));
        }
    }

    /// Adds the forms of a value; returns whether it is long enough to be looked for, if it is a
    /// secret at all.
    fn add(&mut self, groups: &mut Vec<NeedleGroup>, sought: Sought, value: &[u8]) -> bool {
        let forms = needles(value);
        if forms.is_empty() {
            return value.trim_ascii().is_empty() || is_public(value);
        }
        self.sought.push(sought);
        self.codings.extend(forms.iter().map(|form| form.coding));
        groups.push(NeedleGroup {
            identity: [b"value 1 ", value].concat(),
            strings: forms.into_iter().map(|form| form.bytes).collect(),
        });
        true
    }

    /// Returns what hides everything that is looked for.
    pub(super) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Returns what layers are to be searched for whenever their bytes go by.
    pub(super) fn needles(&self) -> Option<&Arc<Needles>> {
        self.needles.as_ref()
    }

    /// Stops the build if an output would give away something secret.
    pub(super) fn check(
        &self,
        engine: &Engine,
        outcome: &Product<'_>,
        outputs: &[Output],
        progress: &Progress,
    ) -> Result<(), BuildError> {
        let Some(needles) = &self.needles else {
            return Ok(());
        };
        let is_tree = |output: &Output| matches!(output, Output::Local { .. } | Output::Tar { .. });
        let is_image = |output: &Output| !is_tree(output) && !matches!(output, Output::CacheOnly);
        let mut leaks = Vec::new();
        if outputs.iter().any(is_image) {
            leaks.extend(self.in_image(engine, needles, outcome)?);
            leaks.extend(self.in_config(needles, outcome));
            leaks.extend(self.in_annotations(needles, outputs));
        }
        if outputs
            .iter()
            .any(|output| is_tree(output) || is_image(output))
        {
            leaks.extend(self.in_attestations(needles, outcome.image));
        }
        if outputs.iter().any(is_tree) {
            leaks.extend(self.in_tree(engine, needles, outcome)?);
        }
        let mut unique: Vec<Leak> = Vec::new();
        for leak in leaks {
            if !unique.contains(&leak) {
                unique.push(leak);
            }
        }
        if unique.is_empty() {
            return Ok(());
        }
        if self.policy.allowed {
            for leak in unique {
                progress.warn(leak.message);
            }
            return Ok(());
        }
        Err(BuildError::Leaks {
            file: self.masked(outcome.file),
            leaks: unique,
        })
    }

    fn search(
        &self,
        engine: &Engine,
        needles: &Needles,
        id: &LayerId,
    ) -> Result<Vec<(String, RelPath)>, StoreError> {
        // What was pulled held nothing of this build's before, and holds nothing now; what a
        // shared cache has was searched before it was given to it.
        if matches!(id, LayerId::Pulled(_)) || !engine.layers().has(id) {
            return Ok(Vec::new());
        }
        let confirm = |string: usize, after: &[u8]| self.confirms(string, after);
        let found = engine.layers().search(id, needles, &confirm)?;
        let tell = |found: cooper_cache::Found| (self.what(found.group, found.string), found.path);
        Ok(found.into_iter().map(tell).collect())
    }

    /// Returns what a layer holds that no shared cache may get, if anything.
    pub(super) fn found_in(
        &self,
        engine: &Engine,
        id: &LayerId,
    ) -> Result<Option<String>, StoreError> {
        let Some(needles) = self.needles.as_ref().filter(|_| !self.policy.allowed) else {
            return Ok(None);
        };
        let found = self.search(engine, needles, id)?;
        Ok(found.into_iter().next().map(|(what, _)| what))
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

    /// Searches the image's layers, each by itself.
    fn in_image(
        &self,
        engine: &Engine,
        needles: &Needles,
        outcome: &Product<'_>,
    ) -> Result<Vec<Leak>, BuildError> {
        let mut leaks = Vec::new();
        for layer in &outcome.image.layers {
            for (what, path) in self.search(engine, needles, &layer.layer)? {
                let tree = tree(engine, outcome)?;
                let shown = tree.get(&path).map(|node| node.layer);
                // A squashed layer is none of the root's: the file is from where it shows.
                let ids = outcome.root.layers.iter();
                let holder = ids.rev().position(|one| one.id == layer.layer);
                let holder = holder.map(|back| outcome.root.layers.len() - 1 - back);
                let from = holder.or(shown);
                let short = layer.diff_id.0.short();
                leaks.push(Leak {
                    message: format!("{what} is in {}, in layer {short}", self.shown(&path)),
                    span: from.and_then(|layer| outcome.place(layer)),
                    removed: holder.is_some() && shown != holder,
                });
            }
        }
        Ok(leaks)
    }

    /// Searches the layers for files that are still there in the end.
    fn in_tree(
        &self,
        engine: &Engine,
        needles: &Needles,
        outcome: &Product<'_>,
    ) -> Result<Vec<Leak>, BuildError> {
        let mut leaks = Vec::new();
        for (number, layer) in outcome.root.layers.iter().enumerate() {
            for (what, path) in self.search(engine, needles, &layer.id)? {
                let shown = tree(engine, outcome)?.get(&path).map(|node| node.layer);
                if shown == Some(number) {
                    leaks.push(Leak {
                        message: format!("{what} is in {}", self.shown(&path)),
                        span: outcome.place(number),
                        removed: false,
                    });
                }
            }
        }
        Ok(leaks)
    }

    /// Returns the Dockerfile as it can be shown, should it have a secret in it.
    fn masked(&self, file: &SourceFile) -> SourceFile {
        SourceFile::new(file.name(), self.redaction.mask(file.text()))
    }

    fn shown(&self, path: &RelPath) -> String {
        self.redaction.clean(&path.to_string())
    }

    /// Searches all strings of the configuration, its history among them.
    fn in_config(&self, needles: &Needles, outcome: &Product<'_>) -> Vec<Leak> {
        let config: Value = serde_json::from_slice(&outcome.image.config_bytes).unwrap_or_default();
        let mut leaks = Vec::new();
        each_string(&config, &mut String::new(), &mut |place, text| {
            self.in_text(needles, text, &mut |what| {
                let wanted = |item: &&HistoryItem| {
                    let mut found = false;
                    self.in_text(needles, &item.created_by, &mut |other| {
                        found |= other == what;
                    });
                    found
                };
                let step = outcome.history.iter().find(wanted).map(|item| item.span);
                let place = if place.starts_with(".history[") {
                    "the image's history".to_owned()
                } else {
                    format!("the image's configuration, in {}", &place[1..])
                };
                leaks.push(Leak {
                    message: format!("{what} is in {place}"),
                    span: step,
                    removed: false,
                });
            });
        });
        leaks
    }

    fn in_annotations(&self, needles: &Needles, outputs: &[Output]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for format in outputs.iter().filter_map(Output::format) {
            for annotation in &format.annotations {
                let key = &annotation.name;
                self.in_text(needles, &annotation.value, &mut |what| {
                    leaks.push(Leak {
                        message: format!("{what} is in the annotation {key}"),
                        span: None,
                        removed: false,
                    });
                });
            }
        }
        leaks
    }

    fn in_attestations(&self, needles: &Needles, image: &Image) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for said in &image.attestations {
            each_string(&said.predicate, &mut String::new(), &mut |place, text| {
                self.in_text(needles, text, &mut |what| {
                    leaks.push(Leak {
                        message: format!("{what} is in {}, in {}", said.file_name, &place[1..]),
                        span: None,
                        removed: false,
                    });
                });
            });
        }
        leaks
    }

    fn in_text(&self, needles: &Needles, text: &str, each: &mut dyn FnMut(String)) {
        needles.each_in(text.as_bytes(), |group, string, at| {
            let confirmed = self.confirms(string, &text.as_bytes()[at.end..]);
            if confirmed {
                each(self.what(group, string));
            }
            confirmed
        });
    }
}

/// Returns the private keys that the build passes on, each with the name that steps ask for.
///
/// What an agent of the user's holds never reaches the build.
pub(super) fn keys(options: &BuildOptions) -> Vec<(String, Vec<u8>)> {
    let files = options.ssh.iter().flat_map(|spec| match &spec.source {
        SshSource::Keys(files) => files.iter().map(|file| (&spec.id, file)).collect(),
        SshSource::Agent(_) => Vec::new(),
    });
    // One that cannot be read has been reported when it was to be used.
    let read = |(id, file): (&String, &PathBuf)| Some((id.clone(), std::fs::read(file).ok()?));
    files.filter_map(read).collect()
}

fn tree(engine: &Engine, outcome: &Product<'_>) -> Result<cooper_cache::MergedTree, BuildError> {
    let internal = |source: OpError| BuildError::Internal { source };
    engine.root_tree(outcome.root).map_err(internal)
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
