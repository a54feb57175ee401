//! The names of a bake definition: variables, functions and the blocks that matrices make.
//!
//! A [`Module`] is made of the merged bodies of all files. Values are computed when first asked
//! for and kept; what is asked for while it is being computed is a cycle.

mod calls;
mod matrix;
mod variables;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ast::{Attribute, Block, Body, Name, Place};
use super::eval::Scope;
use super::fault::Fault;
use super::shape;
use super::value::Value;

pub use variables::Variable;

/// What a definition may ask of the world around it.
pub struct Surroundings<'a> {
    /// Looks up an environment variable, or a `--var`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Variables that are always there, such as `BAKE_LOCAL_PLATFORM`.
    pub builtin: BTreeMap<String, String>,
    /// Variables of `.env`, for compose files.
    pub dotenv: BTreeMap<String, String>,
    /// The time now.
    pub now: Timestamp,
    /// The user's directory.
    pub home: Option<String>,
    /// Fills a buffer with random bytes.
    pub random: &'a dyn Fn(&mut [u8]),
}

/// A block after its matrix is taken apart.
#[derive(Debug)]
pub(super) struct Instance {
    /// `target` or `group`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The name before its matrix was taken apart.
    pub label: Name,
    /// Values of the matrix.
    pub scope: Scope<'static>,
    /// What stands in braces.
    pub body: Body,
}

#[derive(Clone, Debug)]
enum State {
    Running,
    Done(Value),
}

/// The names of a definition.
pub(super) struct Module<'a> {
    surroundings: &'a Surroundings<'a>,
    attributes: BTreeMap<String, Attribute>,
    variables: BTreeMap<String, Block>,
    functions: BTreeMap<String, Block>,
    instances: Vec<Instance>,
    values: RefCell<BTreeMap<String, State>>,
    members: RefCell<BTreeMap<(usize, String), State>>,
    running: RefCell<Vec<String>>,
    depth: Cell<usize>,
}

/// Counts one level of evaluation while it lives.
pub(super) struct Depth<'a>(&'a Cell<usize>);

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

const KINDS: [&str; 4] = ["target", "group", "variable", "function"];

impl<'a> Module<'a> {
    /// Sorts out the bodies of all files and takes matrices apart.
    pub(super) fn new(
        bodies: Vec<Body>,
        surroundings: &'a Surroundings<'a>,
    ) -> Result<Self, Vec<Fault>> {
        let mut module = Self {
            surroundings,
            attributes: BTreeMap::new(),
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            instances: Vec::new(),
            values: RefCell::default(),
            members: RefCell::default(),
            running: RefCell::default(),
            depth: Cell::default(),
        };
        let mut faults = Vec::new();
        let mut blocks = Vec::new();
        for body in bodies {
            for attribute in body.attributes {
                module
                    .attributes
                    .insert(attribute.name.text.clone(), attribute);
            }
            for block in body.blocks {
                if let Err(fault) = module.sort(block, &mut blocks) {
                    faults.push(fault);
                }
            }
        }
        module.check_variables(&mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut instances = Vec::new();
        for block in blocks {
            match module.expand(block) {
                Ok(more) => instances.extend(more),
                Err(fault) => faults.push(fault),
            }
        }
        module.instances = instances;
        if faults.is_empty() {
            Ok(module)
        } else {
            Err(faults)
        }
    }

    /// Files one block under its kind.
    fn sort(&mut self, block: Block, blocks: &mut Vec<Block>) -> Result<(), Fault> {
        let kind = block.kind.text.as_str();
        if !KINDS.contains(&kind) {
            let message = format!("there are no {kind} blocks");
            let fault = Fault::new("unknown-block", &block.kind.place, message);
            return Err(fault.suggest(kind, KINDS));
        }
        let [label] = block.labels.as_slice() else {
            let message = format!("a {kind} block has one name");
            let place = block
                .labels
                .get(1)
                .map_or(&block.kind.place, |label| &label.place);
            return Err(Fault::new("block-name", place, message)
                .help(format!("write {kind} \"NAME\" {{ … }}")));
        };
        let name = label.text.clone();
        match kind {
            "variable" => match self.variables.get_mut(&name) {
                Some(earlier) => merge(earlier, block),
                None => drop(self.variables.insert(name, block)),
            },
            "function" => {
                for part in ["params", "result"] {
                    if attribute(&block.body, part).is_none() {
                        let message = format!("the function {name} has no {part}");
                        return Err(Fault::new("function", &label.place, message)
                            .help("write params = [a, b] and result = EXPRESSION"));
                    }
                }
                drop(self.functions.insert(name, block));
            }
            _ => {
                check_name(label)?;
                blocks.push(block);
            }
        }
        Ok(())
    }

    pub(super) fn surroundings(&self) -> &Surroundings<'a> {
        self.surroundings
    }

    pub(super) fn descend(&self, most: usize) -> Option<Depth<'_>> {
        let depth = self.depth.get();
        if depth >= most {
            return None;
        }
        self.depth.set(depth + 1);
        Some(Depth(&self.depth))
    }

    /// Returns the blocks, in order.
    pub(super) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    pub(super) fn variable_names(&self) -> impl Iterator<Item = &str> {
        let builtin = self.surroundings.builtin.keys();
        let names = self.variables.keys().chain(self.attributes.keys());
        names.chain(builtin).map(String::as_str)
    }

    pub(super) fn function_names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// Returns the value of `kind.block.name`, an attribute of another block.
    pub(super) fn member(
        &self,
        kind: &str,
        block: &Name,
        name: &Name,
        place: &Place,
    ) -> Result<Value, Fault> {
        let found = self.instances_of(kind, block)?;
        if name.text == "name" {
            return Ok(Value::text(&block.text));
        }
        let Some(shape) = shape::of(kind, &name.text) else {
            return Err(shape::unknown(kind, name));
        };
        let set = |index: &usize| attribute(&self.instances[*index].body, &name.text).is_some();
        match found.iter().rev().find(|index| set(index)) {
            Some(index) => self.instance_attribute(*index, &name.text, place),
            None => Ok(shape.absent()),
        }
    }

    /// Returns all attributes of a block as an object.
    pub(super) fn members(&self, kind: &str, block: &Name, place: &Place) -> Result<Value, Fault> {
        let mut object = BTreeMap::new();
        for index in self.instances_of(kind, block)? {
            for attribute in &self.instances[index].body.attributes {
                let name = &attribute.name.text;
                object.insert(name.clone(), self.instance_attribute(index, name, place)?);
            }
        }
        Ok(Value::Object(object))
    }

    fn instances_of(&self, kind: &str, block: &Name) -> Result<Vec<usize>, Fault> {
        let named = |instance: &Instance| instance.kind == kind && instance.name == block.text;
        let all = self.instances.iter().enumerate();
        let found: Vec<_> = all
            .filter(|(_, instance)| named(instance))
            .map(|(index, _)| index)
            .collect();
        if found.is_empty() {
            let message = format!("there is no {kind} {}", block.text);
            let own = self
                .instances
                .iter()
                .filter(|instance| instance.kind == kind);
            let names = own.map(|instance| instance.name.as_str());
            return Err(
                Fault::new("unknown-block", &block.place, message).suggest(&block.text, names)
            );
        }
        Ok(found)
    }

    /// Returns an attribute of a block, in the shape it is to have.
    pub(super) fn instance_attribute(
        &self,
        index: usize,
        name: &str,
        place: &Place,
    ) -> Result<Value, Fault> {
        let key = (index, name.to_owned());
        match self.members.borrow().get(&key) {
            Some(State::Done(value)) => return Ok(value.clone()),
            Some(State::Running) => {
                let instance = &self.instances[index];
                let (kind, block) = (&instance.kind, &instance.name);
                let message = format!("the value of {kind}.{block}.{name} depends on itself");
                return Err(Fault::new("cycle", place, message));
            }
            None => {}
        }
        self.members
            .borrow_mut()
            .insert(key.clone(), State::Running);
        let value = self.compute_attribute(index, name);
        let mut members = self.members.borrow_mut();
        match value {
            Ok(value) => {
                members.insert(key, State::Done(value.clone()));
                Ok(value)
            }
            Err(fault) => {
                members.remove(&key);
                Err(fault)
            }
        }
    }

    fn compute_attribute(&self, index: usize, name: &str) -> Result<Value, Fault> {
        let instance = &self.instances[index];
        let Some(attribute) = attribute(&instance.body, name) else {
            return Ok(Value::Null);
        };
        let Some(shape) = shape::of(&instance.kind, name) else {
            return Err(shape::unknown(&instance.kind, &attribute.name));
        };
        let value = self.eval(&attribute.value, &instance.scope)?;
        shape.fit(value, &attribute.name.text, &attribute.value)
    }
}

/// Adds a later block of the same variable: what it says goes before what was said.
fn merge(earlier: &mut Block, later: Block) {
    for attribute in later.body.attributes {
        let own = &mut earlier.body.attributes;
        own.retain(|other| other.name.text != attribute.name.text);
        own.push(attribute);
    }
    earlier.body.blocks.extend(later.body.blocks);
}

fn attribute<'b>(body: &'b Body, name: &str) -> Option<&'b Attribute> {
    body.attributes
        .iter()
        .find(|attribute| attribute.name.text == name)
}

/// Targets and groups are named with letters, digits, `_` and `-`.
fn check_name(name: &Name) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.text.is_empty() && name.text.chars().all(allowed) {
        return Ok(());
    }
    let message = format!("{:?} is no name for a target or group", name.text);
    Err(Fault::new("name", &name.place, message)
        .help("letters, digits, _ and - are allowed; the function sanitize replaces the others"))
}
