//! Calls of a definition's own functions.

use std::collections::BTreeMap;

use super::{Module, attribute};
use crate::bake::ast::{Block, Expr, ExprKind, Name, Place};
use crate::bake::eval::Scope;
use crate::bake::fault::Fault;
use crate::bake::functions;
use crate::bake::value::Value;

impl Module<'_> {
    /// Calls a function of the definition, none if there is no such function.
    pub(in crate::bake) fn call_user(
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
