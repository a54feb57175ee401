//! The values of variables: default, environment, type and validations.

use super::{Module, State, attribute};
use crate::bake::ast::{Block, Place};
use crate::bake::eval::Scope;
use crate::bake::fault::Fault;
use crate::bake::typing::Type;
use crate::bake::value::Value;

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

impl Module<'_> {
    /// Returns the value of a global name, none if there is no such name.
    pub(in crate::bake) fn variable(
        &self,
        name: &str,
        place: &Place,
    ) -> Result<Option<Value>, Fault> {
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
        let unfit = |set: &str, message: String| {
            let message = format!("the environment's value for {set} does not fit: {message}");
            Fault::new("environment", place, message).help(format!(
                "set {set} to what the definition declares, or unset it"
            ))
        };
        if let Some((as_json, text)) = self.json(name)
            && let Some(kind) = &declared
        {
            return kind
                .of_json(&text)
                .map_err(|message| unfit(&as_json, message));
        }
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
            return kind.of_text(&text).map_err(|message| unfit(name, message));
        }
        match declared {
            Some(kind) => kind
                .convert(&fallback)
                .map_err(|message| Fault::new("type", place, message)),
            None => Ok(fallback),
        }
    }

    /// Returns what the environment gives a variable as JSON, with the name that it has there,
    /// unless another variable has that name.
    fn json(&self, name: &str) -> Option<(String, String)> {
        let as_json = format!("{name}_JSON");
        if self.variables.contains_key(&as_json) || self.attributes.contains_key(&as_json) {
            return None;
        }
        let text = (self.surroundings.variable)(&as_json)?;
        Some((as_json, text))
    }

    /// Computes all variables and checks their validations.
    pub(super) fn check_variables(&self, faults: &mut Vec<Fault>) {
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
    pub(in crate::bake) fn list_variables(&self) -> Result<Vec<Variable>, Fault> {
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
}

/// Returns the type that a variable declares.
fn declared(block: &Block) -> Result<Option<Type>, Fault> {
    attribute(&block.body, "type")
        .map(|attribute| Type::parse(&attribute.value))
        .transpose()
}
