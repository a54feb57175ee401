//! Bake: many builds from one definition.
//!
//! ```text
//! files → ast (HCL, JSON) → Module → Definition ─┐
//!       → compose services ──────────────────────┴→ Plan (inherits, --set, links) → --print | builds
//! ```
//!
//! The rules are those of `docker buildx bake`; differences are in the README. It owns the
//! language of bake files and the way from targets to what `build` is told; how a build is done
//! is none of its business.
//!
//! Nothing here prints, reads the environment or the clock: [`Surroundings`] carries what a
//! definition may ask for. Every fault has a [`Place`], so that it is shown with the
//! line it is on.

mod ast;
mod compose;
mod entry;
mod eval;
mod fault;
mod functions;
mod hcl;
mod interpolate;
mod json;
mod module;
mod overrides;
pub mod print;
mod resolve;
mod shape;
mod target;
mod typing;
mod value;
mod yaml;

use std::sync::Arc;

use cooper_frontend::SourceFile;
use thiserror::Error;

pub use ast::{Place, Written};
pub(crate) use compose::attestation;
pub use entry::Entry;
pub use fault::Fault;
pub use module::{Surroundings, Variable};
pub use overrides::Override;
pub use resolve::Plan;
pub use target::{Field, Group, Target};
pub use value::Value;

use module::Module;

/// All that the files of a definition say.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// The targets, in order.
    pub targets: Vec<Target>,
    /// The groups, in order.
    pub groups: Vec<Group>,
    /// The variables, by name.
    pub variables: Vec<Variable>,
}

/// Why the targets that were asked for cannot be had.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// There is no such target.
    #[error("there is no target {name}{}", named(by.as_deref()))]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// Who names it, if not the command line.
        by: Option<String>,
        /// What may have been meant.
        suggestion: Option<String>,
        /// All targets and groups.
        known: Vec<String>,
        /// Where that is written, if it is in a bake file.
        fault: Option<Box<Fault>>,
    },
    /// A target inherits from one that is not there.
    #[error("the target {name} inherits from {parent}, which is not there")]
    UnknownParent {
        /// The target.
        name: String,
        /// What it inherits from.
        parent: String,
        /// What may have been meant.
        suggestion: Option<String>,
        /// Where that is written, if it is in a bake file.
        fault: Option<Box<Fault>>,
    },
    /// Contexts of targets go round in a circle.
    #[error("the target {from} needs {to}, which needs {from}")]
    LinkCycle {
        /// One target.
        from: String,
        /// The other.
        to: String,
    },
    /// A target cannot read standard input, which it shares with others.
    #[error("the target {target} takes its {what} from stdin, which bake cannot give it")]
    Stdin {
        /// The target.
        target: String,
        /// `context` or `dockerfile`.
        what: &'static str,
    },
    /// A `--set` makes no sense.
    #[error("invalid --set {text:?}: {problem}")]
    Override {
        /// What was given.
        text: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

fn named(by: Option<&str>) -> String {
    by.map_or_else(String::new, |by| format!(", which {by} names"))
}

/// Returns whether a context is not on this machine.
pub fn is_remote(context: &str) -> bool {
    let schemes = [
        "http://",
        "https://",
        "git://",
        "ssh://",
        "git@",
        "github.com/",
    ];
    schemes.iter().any(|scheme| context.starts_with(scheme))
}

impl ResolveError {
    /// Calls a target that is not there what the user called it: dots stand for underscores.
    fn called_as_asked(mut self, names: &[String]) -> Self {
        if let Self::UnknownTarget { name, .. } = &mut self
            && let Some(asked) = names.iter().find(|asked| asked.replace('.', "_") == *name)
        {
            name.clone_from(asked);
        }
        self
    }

    /// Says who named a target that is not there, and where.
    fn named_by(mut self, who: String, place: Option<&Place>) -> Self {
        if let Self::UnknownTarget {
            name,
            by: by @ None,
            suggestion,
            fault,
            ..
        } = &mut self
        {
            *by = Some(who);
            *fault = place.map(|place| Box::new(nowhere(name, suggestion.as_deref(), place)));
        }
        self
    }

    /// Says whose `inherits` it was that named a target that is not there.
    fn inherited_by(self, target: &Target) -> Self {
        match self {
            Self::UnknownTarget {
                name: parent,
                suggestion,
                ..
            } => {
                let place = target.place_of("inherits", &parent);
                let fault = place.map(|place| nowhere(&parent, suggestion.as_deref(), place));
                let fault = fault.map(Box::new);
                Self::UnknownParent {
                    name: target.name.clone(),
                    parent,
                    suggestion,
                    fault,
                }
            }
            other => other,
        }
    }
}

fn nowhere(name: &str, suggestion: Option<&str>, place: &Place) -> Fault {
    let message = format!("there is no target {name}");
    Fault::new("unknown-target", place, message).suggest(name, suggestion)
}

impl Definition {
    /// Reads the files, the later ones having the last word, and bake files over compose files.
    pub fn read(files: &[Arc<SourceFile>], world: &Surroundings<'_>) -> Result<Self, Vec<Fault>> {
        let mut bodies = Vec::new();
        let mut composes = Vec::new();
        let mut faults = Vec::new();
        for file in files {
            let body = match Syntax::of(file) {
                Syntax::Compose => {
                    composes.push(Arc::clone(file));
                    continue;
                }
                Syntax::Json => json::parse(file),
                Syntax::Hcl => hcl::parse(file),
            };
            match body {
                Ok(body) => bodies.push(body),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut definition = Self::default();
        if !composes.is_empty() {
            let lookup =
                |name: &str| (world.variable)(name).or_else(|| world.dotenv.get(name).cloned());
            let (targets, group) = compose::parse(&composes, &lookup)?;
            definition.targets = targets;
            definition.groups = vec![group];
        }
        let module = Module::new(bodies, world);
        let added = module.and_then(|module| definition.add(&module));
        added.map_err(|mut faults| {
            faults.sort_by_key(Fault::order);
            faults
        })?;
        Ok(definition)
    }

    /// Adds the blocks of a module.
    fn add(&mut self, module: &Module<'_>) -> Result<(), Vec<Fault>> {
        let mut faults = Vec::new();
        let mut matrices: Vec<Group> = Vec::new();
        for (index, instance) in module.instances().iter().enumerate() {
            let result = match instance.kind.as_str() {
                "group" => group(module, index).map(|group| self.add_group(group)),
                _ => target(module, index).map(|target| self.add_target(target)),
            };
            if let Err(more) = result {
                faults.extend(more);
            }
            if instance.kind == "target" && instance.name != instance.label.text {
                let label = &instance.label.text;
                match matrices.iter_mut().find(|group| group.name == *label) {
                    Some(group) => group.targets.push(instance.name.clone()),
                    None => matrices.push(Group {
                        name: label.clone(),
                        targets: vec![instance.name.clone()],
                        ..Group::default()
                    }),
                }
            }
        }
        for group in matrices {
            self.add_group(group);
        }
        match module.list_variables() {
            Ok(variables) => self.variables = variables,
            Err(fault) => faults.push(fault),
        }
        if faults.is_empty() {
            return Ok(());
        }
        // A fault in a variable or a matrix is met again and again.
        let mut once: Vec<Fault> = Vec::new();
        for fault in faults {
            if !once.iter().any(|other| other.is_same(&fault)) {
                once.push(fault);
            }
        }
        Err(once)
    }

    fn add_target(&mut self, target: Target) {
        match self
            .targets
            .iter_mut()
            .find(|other| other.name == target.name)
        {
            Some(earlier) => earlier.merge(&target),
            None => self.targets.push(target),
        }
    }

    fn add_group(&mut self, mut group: Group) {
        let mut seen = Vec::new();
        group.targets.retain(|name| {
            let new = !seen.contains(name);
            seen.push(name.clone());
            new
        });
        match self
            .groups
            .iter_mut()
            .find(|other| other.name == group.name)
        {
            Some(earlier) => *earlier = group,
            None => self.groups.push(group),
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Hcl,
    Json,
    Compose,
}

impl Syntax {
    /// Tells by the file's name, or by its text if it has none that tells.
    fn of(file: &SourceFile) -> Self {
        let name = file.name().to_ascii_lowercase();
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("hcl") => Self::Hcl,
            Some("json") => Self::Json,
            Some("yaml" | "yml") => Self::Compose,
            _ if json::is_likely(file.text()) => Self::Json,
            _ if compose::is_likely(file.text()) => Self::Compose,
            _ => Self::Hcl,
        }
    }
}

/// Returns the variables of a `.env` file.
pub fn dotenv(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<std::collections::BTreeMap<String, String>, String> {
    interpolate::dotenv(text, variable)
}

fn group(module: &Module<'_>, index: usize) -> Result<Group, Vec<Fault>> {
    let mut group = Group {
        name: module.instances()[index].name.clone(),
        ..Group::default()
    };
    for (name, value, written) in attributes(module, index)? {
        match value {
            Value::String(text) if name == "description" => group.description = text,
            Value::List(items) => {
                group.targets = items.iter().filter_map(Value::to_text).collect();
                group.written = Some(written.into());
            }
            _ => {}
        }
    }
    Ok(group)
}

fn target(module: &Module<'_>, index: usize) -> Result<Target, Vec<Fault>> {
    let mut target = Target::new(&module.instances()[index].name);
    let mut faults = Vec::new();
    for (name, value, written) in attributes(module, index)? {
        let Some(known) = shape::attribute_of_target(name) else {
            continue;
        };
        let written = Written::from(written);
        match Field::of_value(known, &value, &written) {
            Ok(Some(field)) => target.set_at(known.name, field, written),
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(target)
    } else {
        Err(faults)
    }
}

/// Returns the attributes of a block with their values and how they are written, or all that is
/// wrong with it.
fn attributes<'m>(
    module: &'m Module<'_>,
    index: usize,
) -> Result<Vec<(&'m str, Value, &'m ast::Expr)>, Vec<Fault>> {
    let instance = &module.instances()[index];
    let mut out = Vec::new();
    let mut faults = Vec::new();
    for attribute in &instance.body.attributes {
        let name = attribute.name.text.as_str();
        match module.instance_attribute(index, name, &attribute.name.place) {
            Ok(value) => out.push((name, value, &attribute.value)),
            Err(fault) => faults.push(fault),
        }
    }
    if let Err(fault) = no_blocks(instance) {
        faults.push(fault);
    }
    if faults.is_empty() {
        Ok(out)
    } else {
        Err(faults)
    }
}

fn no_blocks(instance: &module::Instance) -> Result<(), Fault> {
    let Some(block) = instance.body.blocks.first() else {
        return Ok(());
    };
    let (kind, name) = (&instance.kind, &block.kind.text);
    let fault = Fault::new(
        "unknown-block",
        &block.kind.place,
        format!("a {kind} has no blocks"),
    );
    Err(match shape::of(kind, name) {
        Some(_) => fault.help(format!("write {name} = {{ … }}, with an equals sign")),
        None => fault,
    })
}

#[cfg(test)]
mod tests;
