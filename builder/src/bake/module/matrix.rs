//! One block for each combination of a matrix's values.

use std::collections::BTreeMap;

use super::{Instance, Module, attribute, check_name};
use crate::bake::ast::{Attribute, Block, Expr, Name};
use crate::bake::eval::Scope;
use crate::bake::fault::Fault;
use crate::bake::value::Value;

impl Module<'_> {
    /// Takes a block's matrix apart.
    pub(super) fn expand(&self, block: Block) -> Result<Vec<Instance>, Fault> {
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
}
