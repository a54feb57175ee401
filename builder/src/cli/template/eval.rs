//! What a template gives for a value.

use std::ops::ControlFlow;

use serde_json::Value;

use super::functions::{self, is_true};
use super::parse::{Command, Node, Operand, Pipeline, Templates};
use super::print::{NIL, text};
use super::{Missing, TemplateError, error};
use crate::report::did_you_mean;

/// How deep templates may call each other.
const DEPTH: usize = 100;

/// Returns the text of the template for `value`.
pub(super) fn render(
    templates: &Templates,
    value: &Value,
    missing: Missing,
) -> Result<String, TemplateError> {
    let mut state = State {
        templates,
        missing,
        variables: vec![(String::new(), value.clone())],
        out: String::new(),
        depth: 0,
    };
    state.call("", value)?;
    Ok(state.out)
}

/// How a range goes on.
enum Leave {
    Item,
    Range,
}

type Flow = ControlFlow<Leave>;

struct State<'t> {
    templates: &'t Templates,
    missing: Missing,
    /// Those that are known here; the first is `$`.
    variables: Vec<(String, Value)>,
    out: String,
    depth: usize,
}

impl State<'_> {
    fn call(&mut self, name: &str, dot: &Value) -> Result<(), TemplateError> {
        let Some(nodes) = self.templates.get(name) else {
            return error(format!("there is no template {name:?}"));
        };
        if self.depth >= DEPTH {
            return error(format!("templates call each other more than {DEPTH} deep"));
        }
        self.depth += 1;
        let _ = self.walk(nodes, dot)?;
        self.depth -= 1;
        Ok(())
    }

    /// Prints `nodes`; what they declare is forgotten.
    fn walk(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let mut flow = Flow::Continue(());
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow.is_break() {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.out.push_str(text);
                Flow::Continue(())
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.names.is_empty() {
                    match (&value, self.missing) {
                        (Value::Null, Missing::NoValue) => self.out.push_str("<no value>"),
                        _ => self.out.push_str(&text(&value)),
                    }
                }
                // What it declares is known to its neighbours.
                return Ok(Flow::Continue(()));
            }
            Node::If(condition, body, other) => {
                let holds = is_true(&self.pipeline(condition, dot)?);
                self.walk(if holds { body } else { other }, dot)?
            }
            Node::With(condition, body, other) => {
                let value = self.pipeline(condition, dot)?;
                if is_true(&value) {
                    self.walk(body, &value)?
                } else {
                    self.walk(other, dot)?
                }
            }
            Node::Range(over, body, other) => self.range(over, body, other, dot)?,
            Node::Break => Flow::Break(Leave::Range),
            Node::Continue => Flow::Break(Leave::Item),
            Node::Call(name, operand) => {
                let value = match operand {
                    Some(operand) => self.pipeline(operand, dot)?,
                    None => Value::Null,
                };
                let outside =
                    std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
                self.call(name, &value)?;
                self.variables = outside;
                Flow::Continue(())
            }
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        other: &[Node],
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let value = self.evaluate(over, dot)?;
        let items = items(&value).map_err(|fault| fault.within(&over.source))?;
        if items.is_empty() {
            return self.walk(other, dot);
        }
        let known = self.variables.len();
        for (key, item) in items {
            match over.names.as_slice() {
                [one] => self.set(one, over.declares, item.clone()),
                [first, second, ..] => {
                    self.set(first, over.declares, key);
                    self.set(second, over.declares, item.clone());
                }
                [] => {}
            }
            let flow = self.walk(body, &item)?;
            self.variables.truncate(known);
            if matches!(flow, Flow::Break(Leave::Range)) {
                break;
            }
        }
        Ok(Flow::Continue(()))
    }

    /// Returns a pipeline's value; its variables take it.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.evaluate(pipeline, dot)?;
        for name in &pipeline.names {
            self.set(name, pipeline.declares, value.clone());
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, declares: bool, value: Value) {
        let known = self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| known == name);
        match known {
            Some((_, place)) if !declares => *place = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn evaluate(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for command in &pipeline.commands {
            let value = self.command(command, dot, piped);
            piped = Some(value.map_err(|fault| fault.within(&pipeline.source))?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn command(
        &self,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let Some(function) = &command.function else {
            return self.value(&command.operands, dot, piped);
        };
        let prints = functions::prints(function);
        let values = command.operands.iter().map(|operand| match operand {
            Operand::Literal(Value::Null) if prints => Ok(NIL.into()),
            operand => self.operand(operand, dot),
        });
        let mut values = values.chain(piped.map(Ok));
        // These two look no further than they must.
        if let "and" | "or" = function.as_str() {
            let mut last = None;
            for value in values {
                let value = value?;
                let decided = is_true(&value) == (function == "or");
                last = Some(value);
                if decided {
                    break;
                }
            }
            return last.map_or_else(|| error(format!("{function} needs an operand")), Ok);
        }
        let values: Vec<Value> = values.by_ref().collect::<Result<_, _>>()?;
        functions::call(function, &values)
    }

    /// Returns a value that stands where a function could: with operands it must be one.
    fn value(
        &self,
        operands: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let [first, rest @ ..] = operands else {
            return error("a value is missing");
        };
        if matches!(first, Operand::Literal(Value::Null)) {
            return error("nil is no value by itself");
        }
        if rest.is_empty() && piped.is_none() {
            return self.operand(first, dot);
        }
        let given = rest.iter().map(|operand| self.operand(operand, dot));
        let given: Vec<Value> = given.chain(piped.map(Ok)).collect::<Result<_, _>>()?;
        match (first, given.as_slice()) {
            (Operand::Field(names), [Value::String(key)]) if *names == ["Label"] => {
                Ok(label(dot, key).into())
            }
            (Operand::Field(names), _) if !names.is_empty() => {
                error(format!(".{} is no function", names.join(".")))
            }
            _ => error("a value is followed by another one, but is no function"),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(names) => self.field(dot, names),
            Operand::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                self.field(known.map_or(&Value::Null, |(_, value)| value), names)
            }
            Operand::Nested(pipeline, names) => self.field(&self.evaluate(pipeline, dot)?, names),
        }
    }
}

impl State<'_> {
    fn field(&self, dot: &Value, path: &[String]) -> Result<Value, TemplateError> {
        let mut value = dot;
        for name in path {
            let found = match value {
                Value::Null => return Ok(Value::Null),
                Value::Object(fields) => fields.get(name).or_else(|| go_field(name, fields)),
                _ => return error(format!("there is no field {name} in a plain value")),
            };
            value = match (found, value, self.missing) {
                (Some(found), ..) => found,
                (None, _, Missing::NoValue) => return Ok(Value::Null),
                (None, value, Missing::Error) => {
                    let known = value
                        .as_object()
                        .into_iter()
                        .flat_map(serde_json::Map::keys);
                    return Err(unknown_field(name, known.map(String::as_str)));
                }
            };
        }
        Ok(value.clone())
    }
}

/// Returns what a range goes over, with the keys: maps in the order of theirs, as in Go.
fn items(value: &Value) -> Result<Vec<(Value, Value)>, TemplateError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items
            .iter()
            .enumerate()
            .map(|(at, item)| (at.into(), item.clone()))
            .collect()),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let pair = |(name, value): (&String, &Value)| (name.as_str().into(), value.clone());
            Ok(fields.into_iter().map(pair).collect())
        }
        Value::Number(number) if number.is_u64() => {
            let count = number.as_u64().unwrap_or(0).min(1 << 20);
            Ok((0..count).map(|at| (at.into(), at.into())).collect())
        }
        one => error(format!("range cannot go over {one}")),
    }
}

/// Returns the field that Go calls `name`, with a capital, and documents otherwise: `MediaType` is
/// `mediaType` there, `OS` is `os`.
fn go_field<'a>(name: &str, fields: &'a serde_json::Map<String, Value>) -> Option<&'a Value> {
    let is_go = name.starts_with(|first: char| first.is_ascii_uppercase());
    let mut fields = fields.iter().filter(|_| is_go);
    let same = |key: &str| {
        key.starts_with(|first: char| first.is_ascii_lowercase()) && key.eq_ignore_ascii_case(name)
    };
    fields.find(|(key, _)| same(key)).map(|(_, value)| value)
}

fn unknown_field<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> TemplateError {
    let near = did_you_mean(name, known);
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    TemplateError(format!("there is no field {name}{near}"))
}

/// Returns the label `key` of a line of a list (docker's `.Label`): labels are a map there, or
/// joined by commas.
fn label(dot: &Value, key: &str) -> String {
    match dot.get("Labels") {
        Some(Value::Object(labels)) => labels.get(key).map(text).unwrap_or_default(),
        Some(Value::String(labels)) => labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
            .unwrap_or_default(),
        _ => String::new(),
    }
}
