//! The names of a bake definition: variables, functions and the blocks that matrices make.
//!
//! A [`Module`] is made of the merged bodies of all files. Values are computed when first asked
//! for and kept; what is asked for while it is being computed is a cycle.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ast::{Attribute, Block, Body, Expr, ExprKind, Name, Place};
use super::eval::Scope;
use super::fault::Fault;
use super::functions;
use super::shape;
use super::types::Type;
use super::value::Value;

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

/// A variable as `--list=variables` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type, if it says one or its value has one.
    pub kind: Option<String>,
    /// What it has.
    pub value: Value,
    /// What it is for.
    pub description: String,
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
            "function" => drop(self.functions.insert(name, block)),
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

    /// Returns the value of a global name, none if there is no such name.
    pub(super) fn variable(&self, name: &str, place: &Place) -> Result<Option<Value>, Fault> {
        match self.values.borrow().get(name) {
            Some(State::Done(value)) => return Ok(Some(value.clone())),
            Some(State::Running) => {
                let message = format!("the value of {name} depends on itself");
                return Err(Fault::new("cycle", place, message));
            }
            None => {}
        }
        if let Some(value) = self.surroundings.builtin.get(name) {
            return Ok(Some(Value::text(value)));
        }
        if !self.variables.contains_key(name) && !self.attributes.contains_key(name) {
            return Ok(None);
        }
        self.values
            .borrow_mut()
            .insert(name.to_owned(), State::Running);
        let value = self.compute(name);
        let mut values = self.values.borrow_mut();
        match value {
            Ok(value) => {
                values.insert(name.to_owned(), State::Done(value.clone()));
                Ok(Some(value))
            }
            Err(fault) => {
                values.remove(name);
                Err(fault)
            }
        }
    }

    fn compute(&self, name: &str) -> Result<Value, Fault> {
        let scope = Scope::default();
        let Some(block) = self.variables.get(name) else {
            let attribute = &self.attributes[name];
            return self.eval(&attribute.value, &scope);
        };
        let declared = declared(block)?;
        // A global attribute of the same name stands in for the default, as in buildx.
        let default = self.attributes.get(name);
        let default = default.or_else(|| attribute(&block.body, "default"));
        let fallback = match default {
            Some(default) => self.eval(&default.value, &scope)?,
            None if declared.is_some() => Value::Null,
            None => Value::text(""),
        };
        let place = default.map_or(&block.labels[0].place, |default| &default.value.place);
        if let Some(text) = (self.surroundings.variable)(name) {
            let inferred = || Type::of_value(&fallback);
            let kind = match declared.or_else(inferred) {
                Some(kind) => kind,
                None if fallback == Value::Null => Type::String,
                None => {
                    let message = format!(
                        "the environment sets {name}, but {} cannot be set so",
                        fallback.kind()
                    );
                    return Err(Fault::new("environment", place, message).help(format!(
                        "declare what it is, such as: type = list(string), or unset {name}"
                    )));
                }
            };
            return kind.of_text(&text).map_err(|message| {
                let message = format!("the environment's value for {name} does not fit: {message}");
                Fault::new("environment", place, message)
            });
        }
        match declared {
            Some(kind) => kind
                .convert(&fallback)
                .map_err(|message| Fault::new("type", place, message)),
            None => Ok(fallback),
        }
    }

    /// Computes all variables and checks their validations.
    fn check_variables(&self, faults: &mut Vec<Fault>) {
        for (name, block) in &self.variables {
            let known = ["default", "description", "type"];
            for attribute in &block.body.attributes {
                let own = &attribute.name;
                if !known.contains(&own.text.as_str()) {
                    let message = format!("a variable has no attribute {}", own.text);
                    let fault = Fault::new("unknown-attribute", &own.place, message);
                    faults.push(fault.suggest(&own.text, known));
                }
            }
            if let Err(fault) = self.variable(name, &block.labels[0].place) {
                faults.push(fault);
                continue;
            }
            for validation in &block.body.blocks {
                if let Err(fault) = self.validate(validation) {
                    faults.push(fault);
                }
            }
        }
    }

    fn validate(&self, block: &Block) -> Result<(), Fault> {
        let place = &block.kind.place;
        if block.kind.text != "validation" {
            let message = format!("a variable has no {} blocks", block.kind.text);
            return Err(Fault::new("unknown-block", place, message)
                .suggest(&block.kind.text, ["validation"]));
        }
        let Some(condition) = attribute(&block.body, "condition") else {
            return Err(Fault::new("validation", place, "the condition is missing"));
        };
        let scope = Scope::default();
        let value = self.eval(&condition.value, &scope)?;
        match value.to_bool() {
            Some(true) => Ok(()),
            Some(false) => {
                let message = match attribute(&block.body, "error_message") {
                    Some(message) => self.eval(&message.value, &scope)?.to_text(),
                    None => None,
                };
                let message = message.unwrap_or_else(|| "the value is not valid".to_owned());
                Err(Fault::new("validation", &condition.value.place, message))
            }
            None => {
                let message = format!("a condition is true or false, not {}", value.kind());
                Err(Fault::new("type", &condition.value.place, message))
            }
        }
    }

    /// Returns the variables with their values.
    pub(super) fn list_variables(&self) -> Result<Vec<Variable>, Fault> {
        let row = |(name, block): (&String, &Block)| {
            let value = self.variable(name, &block.labels[0].place)?;
            let value = value.unwrap_or(Value::Null);
            let declared = declared(block)?;
            let kind = declared.or_else(|| Type::of_value(&value));
            let description = match attribute(&block.body, "description") {
                Some(text) => self.eval(&text.value, &Scope::default())?.to_text(),
                None => None,
            };
            Ok(Variable {
                name: name.clone(),
                kind: kind.map(|kind| kind.name()),
                value,
                description: description.unwrap_or_default(),
            })
        };
        self.variables.iter().map(row).collect()
    }

    /// Calls a function of the definition, none if there is no such function.
    pub(super) fn call_user(
        &self,
        name: &Name,
        values: &[Value],
        place: &Place,
    ) -> Option<Result<Value, Fault>> {
        if functions::find(&name.text).is_some() {
            return None;
        }
        let block = self.functions.get(&name.text)?;
        if self.running.borrow().contains(&name.text) {
            let message = format!("the function {} calls itself", name.text);
            return Some(Err(Fault::new("cycle", &name.place, message)));
        }
        self.running.borrow_mut().push(name.text.clone());
        let result = self.run_function(block, values, place);
        self.running.borrow_mut().pop();
        Some(result)
    }

    fn run_function(&self, block: &Block, values: &[Value], place: &Place) -> Result<Value, Fault> {
        let label = &block.labels[0];
        let missing = |what: &str| {
            let message = format!("the function {} has no {what}", label.text);
            Fault::new("function", &label.place, message)
        };
        let params = attribute(&block.body, "params").ok_or_else(|| missing("params"))?;
        let result = attribute(&block.body, "result").ok_or_else(|| missing("result"))?;
        let params = parameters(&params.value)?;
        let variadic = attribute(&block.body, "variadic_params")
            .or_else(|| attribute(&block.body, "variadic_param"));
        let variadic = variadic.map(|name| keyword(&name.value)).transpose()?;
        if values.len() < params.len() || (variadic.is_none() && values.len() > params.len()) {
            let (name, wanted, given) = (&label.text, params.len(), values.len());
            let message = format!("{name} takes {wanted} arguments, not {given}");
            return Err(Fault::new("function", place, message));
        }
        let mut locals: BTreeMap<_, _> = params.into_iter().zip(values.iter().cloned()).collect();
        let rest = values.get(locals.len()..).unwrap_or_default();
        if let Some(name) = variadic {
            locals.insert(name, Value::List(rest.to_vec()));
        }
        self.eval(&result.value, &Scope::of(locals))
    }

    /// Takes a block's matrix apart.
    fn expand(&self, block: Block) -> Result<Vec<Instance>, Fault> {
        let label = block.labels[0].clone();
        let kind = block.kind.text.clone();
        let matrix = attribute(&block.body, "matrix");
        let name = attribute(&block.body, "name");
        if let Some(attribute) = matrix.or(name).filter(|_| kind == "group") {
            let message = format!("a group has no {}", attribute.name.text);
            return Err(Fault::new(
                "unknown-attribute",
                &attribute.name.place,
                message,
            ));
        }
        let Some(matrix) = matrix else {
            if let Some(name) = name {
                let message = "a name without a matrix";
                return Err(Fault::new("name", &name.name.place, message)
                    .help("the target is named in its heading; only a matrix needs more names"));
            }
            let instance = Instance {
                kind,
                name: label.text.clone(),
                label,
                scope: Scope::default(),
                body: block.body,
            };
            return Ok(vec![instance]);
        };
        let mut out: Vec<Instance> = Vec::new();
        for locals in self.combinations(&matrix.value)? {
            let scope = Scope::of(locals);
            let own = self.instance_name(name, &label, &scope)?;
            if out.iter().any(|other| other.name == own) {
                let message = format!("two targets of the matrix are named {own}");
                let place = name.map_or(&label.place, |name| &name.value.place);
                return Err(Fault::new("duplicate-name", place, message)
                    .help("set name to something that has every value of the matrix in it"));
            }
            out.push(Instance {
                kind: kind.clone(),
                name: own,
                label: label.clone(),
                scope,
                body: block.body.clone(),
            });
        }
        Ok(out)
    }

    fn instance_name(
        &self,
        name: Option<&Attribute>,
        label: &Name,
        scope: &Scope<'_>,
    ) -> Result<String, Fault> {
        let Some(name) = name else {
            return Ok(label.text.clone());
        };
        let value = self.eval(&name.value, scope)?;
        let place = name.value.place.clone();
        let Some(text) = value.to_text() else {
            let message = format!("a name is a text, not {}", value.kind());
            return Err(Fault::new("type", &place, message));
        };
        check_name(&Name {
            text: text.clone(),
            place,
        })?;
        Ok(text)
    }

    /// Returns every combination of a matrix's values, the last key's varying fastest.
    fn combinations(&self, matrix: &Expr) -> Result<Vec<BTreeMap<String, Value>>, Fault> {
        let wrong = |message: &str| Fault::new("type", &matrix.place, message);
        let Value::Object(axes) = self.eval(matrix, &Scope::default())? else {
            return Err(wrong("a matrix is an object of lists"));
        };
        let mut out = vec![BTreeMap::new()];
        for (key, values) in axes {
            let values = match values {
                Value::List(values) => values,
                Value::Object(values) => values.into_values().collect(),
                _ => return Err(wrong(&format!("the values of {key} are no list"))),
            };
            out = out
                .into_iter()
                .flat_map(|locals: BTreeMap<String, Value>| {
                    values.iter().map({
                        let key = key.clone();
                        move |value| {
                            let mut locals = locals.clone();
                            locals.insert(key.clone(), value.clone());
                            locals
                        }
                    })
                })
                .collect();
        }
        Ok(out)
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

/// Returns the type that a variable declares.
fn declared(block: &Block) -> Result<Option<Type>, Fault> {
    attribute(&block.body, "type")
        .map(|attribute| Type::parse(&attribute.value))
        .transpose()
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

fn keyword(expr: &Expr) -> Result<String, Fault> {
    match &expr.kind {
        ExprKind::Variable(name) => Ok(name.clone()),
        // JSON has no bare words.
        ExprKind::Literal(Value::String(name)) => Ok(name.clone()),
        _ => Err(Fault::new(
            "function",
            &expr.place,
            "a parameter is a plain name",
        )),
    }
}

fn parameters(expr: &Expr) -> Result<Vec<String>, Fault> {
    match &expr.kind {
        ExprKind::Tuple(names) => names.iter().map(keyword).collect(),
        _ => Err(Fault::new(
            "function",
            &expr.place,
            "params is a list of names",
        )),
    }
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
