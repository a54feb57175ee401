//! Nothing secret leaves: what an output writes is searched before it is written.
//!
//! Looked for are the values of the build's secrets in all their forms, and on request
//! credentials that can be told by their looks and build arguments that are named like secrets.
//! Looked through are the layers that were built on this machine, one by one (what a later layer
//! removes leaves with the layer that has it), all strings of the configuration with its history,
//! annotations, names, and what is said of the image. A layer that came from elsewhere held nothing of this build's.
//!
//! The layers' bytes are searched while their digests are taken or while they are packed; only what
//! was not searched for the same strings by the time it is about to leave is read again.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cooper_cache::{LayerId, Layers, Needles, RelPath, StoreError};
use cooper_frontend::lint::is_secret_name;
use cooper_frontend::lower::HistoryItem;
use cooper_frontend::{SourceFile, Span};
use cooper_oci::Reference;
use serde_json::Value;

use super::engine::{Engine, Workshop};
use super::error::{BuildError, OpError};
use super::output::Root;
use super::secrets::Secrets;
use crate::image::Image;
use crate::options::{BuildOptions, Leaks as Policy, Output, SshSource};
use crate::progress::{Progress, Secrets as Redaction};
use crate::secrecy::{Search, Sought, config_place, is_public, needles};

/// What is looked for.
pub(super) struct Guard {
    search: Search,
    /// Secrets that are too short to be looked for.
    gaps: Vec<String>,
    redaction: Redaction,
    policy: Policy,
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
    /// What the image is called by outputs that name it no other way.
    pub(super) tags: &'a [Reference],
}

impl Product<'_> {
    /// Returns where the step is written that made a layer of the root filesystem.
    fn place(&self, layer: usize) -> Option<Span> {
        self.root.place(self.history, layer)
    }
}

/// What all outputs of a target ask before anything of it can be seen; it is searched once.
pub(super) struct Clearance<'a> {
    pub(super) guard: &'a Guard,
    pub(super) engine: &'a Engine,
    pub(super) products: Vec<Product<'a>>,
    pub(super) outputs: &'a [Output],
    pub(super) progress: &'a Progress,
    pub(super) granted: OnceLock<()>,
}

impl Clearance<'_> {
    /// Stops the build if an output would give away something secret.
    pub(super) fn get(&self) -> Result<(), BuildError> {
        if self.granted.get().is_none() {
            for product in &self.products {
                self.guard
                    .check(self.engine, product, self.outputs, self.progress)?;
            }
            let _ = self.granted.set(());
        }
        Ok(())
    }
}

impl Guard {
    /// Prepares to look for everything that must not leave, and keeps it from being shown.
    pub(super) fn new<'s>(
        layers: &Layers,
        secrets: impl Iterator<Item = &'s Secrets>,
        keys: Vec<(String, Vec<u8>)>,
        options: &BuildOptions,
        progress: &Progress,
    ) -> Result<Self, StoreError> {
        let mut redaction = Redaction::default();
        let mut values: Vec<(Sought, Vec<u8>)> = Vec::new();
        let mut gaps = Vec::new();
        for (id, value) in secrets.flat_map(Secrets::all) {
            if is_gap(value) {
                gaps.push(id.to_owned());
            }
            values.push((Sought::Secret(id.to_owned()), value.to_vec()));
        }
        let keys = keys.into_iter();
        values.extend(keys.map(|(id, value)| (Sought::Key(id), value)));
        if options.leaks.credentials {
            for (name, value) in &options.build_args {
                if is_secret_name(name) {
                    values.push((Sought::Argument(name.clone()), value.as_bytes().to_vec()));
                }
            }
        }
        for (_, value) in &values {
            redaction.add(value);
        }
        progress.redact(values.iter().map(|(_, value)| value.clone()).collect());
        Ok(Self {
            search: Search::new(layers, &values, options.leaks.credentials)?,
            gaps,
            redaction,
            policy: options.leaks,
        })
    }

    /// Says what cannot be looked for.
    pub(super) fn warn_of_gaps(&self, progress: &Progress) {
        for id in &self.gaps {
            progress.warn(format!(
                "the secret {id} is too short to be told from other text: outputs are not searched for it"
            ));
        }
    }

    /// Returns what hides everything that is looked for.
    pub(super) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Returns what layers are to be searched for whenever their bytes go by.
    pub(super) fn needles(&self) -> Option<&Arc<Needles>> {
        self.search.needles()
    }

    /// Searches one image, or the files of one, for what an output would give away.
    fn check(
        &self,
        engine: &Engine,
        outcome: &Product<'_>,
        outputs: &[Output],
        progress: &Progress,
    ) -> Result<(), BuildError> {
        let is_tree = |output: &Output| matches!(output, Output::Local { .. } | Output::Tar { .. });
        let is_image = |output: &Output| !is_tree(output) && !matches!(output, Output::CacheOnly);
        let mut leaks = Vec::new();
        if outputs.iter().any(is_image) {
            leaks.extend(self.in_image(engine, outcome)?);
            leaks.extend(self.in_config(outcome));
            leaks.extend(self.in_annotations(outputs));
            leaks.extend(self.in_names(outputs, outcome.tags));
        }
        if outputs
            .iter()
            .any(|output| is_tree(output) || is_image(output))
        {
            leaks.extend(self.in_attestations(outcome.image));
        }
        if outputs.iter().any(is_tree) {
            leaks.extend(self.in_tree(engine, outcome)?);
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
            file: outcome.file.clone(),
            leaks: unique,
        })
    }

    /// Returns what a layer holds, and where; what must not leave is noted beside it.
    fn in_layer(
        &self,
        layers: &Layers,
        id: &LayerId,
    ) -> Result<Vec<(String, RelPath)>, StoreError> {
        // What was pulled held nothing of this build's before, and holds nothing now; what a
        // shared cache has was searched before it was given to it.
        if matches!(id, LayerId::Pulled(_)) {
            return Ok(Vec::new());
        }
        let found = self.search.in_layer(layers, id)?;
        if !self.policy.allowed {
            let certain = found.iter().filter(|find| find.certain);
            let notes = certain.map(|find| self.sentence(&find.what, &find.path));
            layers.note_leaks(id, &notes.collect::<Vec<_>>())?;
        }
        let found = found.into_iter();
        Ok(found.map(|find| (find.what, find.path)).collect())
    }

    fn sentence(&self, what: &str, path: &RelPath) -> String {
        format!("{what} is in {}", self.shown(path))
    }

    /// Searches layers that may hold a secret and that no output has had searched: those of steps
    /// that were shown one, and what a failed step left.
    pub(super) fn note_suspects(&self, shared: &Workshop) -> Result<(), StoreError> {
        for layer in shared.suspects() {
            self.in_layer(shared.layers(), &layer)?;
        }
        Ok(())
    }

    /// Returns what a layer holds that no shared cache may get, if anything.
    pub(super) fn found_in(
        &self,
        engine: &Engine,
        id: &LayerId,
    ) -> Result<Option<String>, StoreError> {
        if self.policy.allowed {
            return Ok(None);
        }
        let found = self.in_layer(engine.layers(), id)?;
        match found.into_iter().next() {
            Some((what, _)) => Ok(Some(what)),
            None => Ok(engine.layers().noted_leaks(id)?.pop_first()),
        }
    }

    /// Searches the image's layers, each by itself.
    fn in_image(&self, engine: &Engine, outcome: &Product<'_>) -> Result<Vec<Leak>, BuildError> {
        let mut leaks = Vec::new();
        for layer in &outcome.image.layers {
            let short = layer.diff_id.0.short();
            // A squashed layer is none of the root's: the file is from where it shows.
            let ids = outcome.root.layers.iter();
            let holder = ids.rev().position(|one| one.id == layer.layer);
            let holder = holder.map(|back| outcome.root.layers.len() - 1 - back);
            let mut said = Vec::new();
            for (what, path) in self.in_layer(engine.layers(), &layer.layer)? {
                let tree = tree(engine, outcome)?;
                let shown = tree.get(&path).map(|node| node.layer);
                let from = holder.or(shown);
                let sentence = self.sentence(&what, &path);
                leaks.push(Leak {
                    message: format!("{sentence}, in layer {short}"),
                    span: from.and_then(|layer| outcome.place(layer)),
                    removed: holder.is_some() && shown != holder,
                });
                said.push(sentence);
            }
            // What a build found that was told of more secrets than this one.
            for sentence in engine.layers().noted_leaks(&layer.layer)? {
                if !said.contains(&sentence) {
                    leaks.push(Leak {
                        message: format!("{sentence}, in layer {short}"),
                        span: holder.and_then(|layer| outcome.place(layer)),
                        removed: false,
                    });
                }
            }
        }
        Ok(leaks)
    }

    /// Searches the layers for files that are still there in the end.
    fn in_tree(&self, engine: &Engine, outcome: &Product<'_>) -> Result<Vec<Leak>, BuildError> {
        let mut leaks = Vec::new();
        for (number, layer) in outcome.root.layers.iter().enumerate() {
            for (what, path) in self.in_layer(engine.layers(), &layer.id)? {
                let shown = tree(engine, outcome)?.get(&path).map(|node| node.layer);
                if shown == Some(number) {
                    leaks.push(Leak {
                        message: self.sentence(&what, &path),
                        span: outcome.place(number),
                        removed: false,
                    });
                }
            }
        }
        Ok(leaks)
    }

    fn shown(&self, path: &RelPath) -> String {
        self.redaction.clean(&path.to_string())
    }

    /// Searches all strings of the configuration, its history among them.
    fn in_config(&self, outcome: &Product<'_>) -> Vec<Leak> {
        let config: Value = serde_json::from_slice(&outcome.image.config_bytes).unwrap_or_default();
        let mut leaks = Vec::new();
        self.search.in_document(&config, &mut |place, what| {
            let wanted = |item: &&HistoryItem| {
                let mut found = false;
                self.search.in_text(&item.created_by, &mut |other| {
                    found |= other == what;
                });
                found
            };
            let step = outcome.history.iter().find(wanted).map(|item| item.span);
            leaks.push(Leak {
                message: format!(
                    "{what} is in {}",
                    self.redaction.clean(&config_place(place))
                ),
                span: step,
                removed: false,
            });
        });
        leaks
    }

    fn in_annotations(&self, outputs: &[Output]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for format in outputs.iter().filter_map(Output::format) {
            for annotation in &format.annotations {
                let key = self.redaction.clean(&annotation.name);
                let mut found = |what| {
                    leaks.push(Leak {
                        message: format!("{what} is in the annotation {key}"),
                        span: None,
                        removed: false,
                    });
                };
                self.search.in_text(&annotation.name, &mut found);
                self.search.in_text(&annotation.value, &mut found);
            }
        }
        leaks
    }

    /// Searches what the image is to be called: archives and registries tell it.
    fn in_names(&self, outputs: &[Output], tags: &[Reference]) -> Vec<Leak> {
        let own = outputs.iter().flat_map(|output| match output {
            Output::Image(to) => to.names.as_slice(),
            Output::Oci(to) | Output::Docker(to) => &to.names,
            Output::Local { .. } | Output::Tar { .. } | Output::CacheOnly => &[],
        });
        let mut leaks = Vec::new();
        for name in own.chain(tags) {
            let name = name.to_string();
            self.search.in_text(&name, &mut |what| {
                let shown = self.redaction.clean(&name);
                leaks.push(Leak {
                    message: format!("{what} is in the name {shown}"),
                    span: None,
                    removed: false,
                });
            });
        }
        leaks
    }

    fn in_attestations(&self, image: &Image) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for said in &image.attestations {
            self.search
                .in_document(&said.predicate, &mut |place, what| {
                    let place = self.redaction.clean(place.trim_start_matches('.'));
                    leaks.push(Leak {
                        message: format!("{what} is in {}, in {place}", said.file_name),
                        span: None,
                        removed: false,
                    });
                });
        }
        leaks
    }
}

/// Whether a value is a secret, but too short to be told from other text.
fn is_gap(value: &[u8]) -> bool {
    needles(value).is_empty() && !value.trim_ascii().is_empty() && !is_public(value)
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
