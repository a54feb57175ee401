//! The value of an expression.
//!
//! Evaluation is lazy: of a conditional only the chosen branch is looked at, and a name is only
//! resolved when it is met. So `try` and `can` see the faults of what they try, and a reference
//! to one attribute of a target does not need its others.

use std::collections::BTreeMap;

use super::ast::{Binary, Expr, ExprKind, For, Loop, Name, Part, Place, Unary};
use super::fault::Fault;
use super::functions::{self, Misuse};
use super::module::Module;
use super::value::{Number, Value};

/// How deep evaluations may nest, through names and functions.
const MAX_DEPTH: usize = 200;

/// Names that are known besides the module's own: loop variables, parameters, matrix values.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    parent: Option<&'a Scope<'a>>,
    locals: BTreeMap<String, Value>,
    item: Option<Value>,
}

impl<'a> Scope<'a> {
    /// Returns a scope that knows `locals`.
    pub(super) fn of(locals: BTreeMap<String, Value>) -> Self {
        Self {
            locals,
            ..Self::default()
        }
    }

    fn inner(&'a self) -> Self {
        Self {
            parent: Some(self),
            ..Self::default()
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let own = self.locals.get(name);
        own.or_else(|| self.parent.and_then(|parent| parent.get(name)))
    }

    fn item(&self) -> Option<&Value> {
        let own = self.item.as_ref();
        own.or_else(|| self.parent.and_then(Scope::item))
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.locals.keys().map(String::as_str).collect();
        names.extend(self.parent.into_iter().flat_map(Scope::names));
        names
    }
}

/// What a value is expected to be, with the words of the complaint if it is not.
fn text(value: &Value, place: &Place) -> Result<String, Fault> {
    value.to_text().ok_or_else(|| {
        Fault::new(
            "type",
            place,
            format!("{} cannot be part of a text", value.kind()),
        )
    })
}

fn truth(value: &Value, place: &Place) -> Result<bool, Fault> {
    value.to_bool().ok_or_else(|| {
        Fault::new(
            "type",
            place,
            format!("a bool is needed, not {}", value.kind()),
        )
    })
}

fn number(value: &Value, place: &Place) -> Result<Number, Fault> {
    value.to_number().ok_or_else(|| {
        Fault::new(
            "type",
            place,
            format!("a number is needed, not {}", value.kind()),
        )
    })
}

impl Module<'_> {
    /// Returns the value of an expression.
    pub(super) fn eval(&self, expr: &Expr, scope: &Scope<'_>) -> Result<Value, Fault> {
        let _depth = self.descend(MAX_DEPTH).ok_or_else(|| {
            Fault::new("too-deep", &expr.place, "expressions are nested too deep")
                .help("write the value itself, or with fewer steps in between")
        })?;
        let place = &expr.place;
        match &expr.kind {
            ExprKind::Literal(value) => Ok(value.clone()),
            ExprKind::Template(parts) => Ok(Value::String(self.template(parts, scope)?)),
            ExprKind::Tuple(items) => {
                let items = items.iter().map(|item| self.eval(item, scope));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            ExprKind::Object(entries) => self.object(entries, scope),
            ExprKind::Variable(name) => self.name(name, place, scope),
            ExprKind::Attr(base, name) => self.attribute(base, name, place, scope),
            ExprKind::Index(base, index) => {
                let base = self.eval(base, scope)?;
                element(&base, &self.eval(index, scope)?)
                    .map_err(|message| Fault::new("index", &index.place, message))
            }
            ExprKind::Splat(base, each) => self.splat(base, each, scope),
            ExprKind::Item => Ok(scope.item().cloned().unwrap_or(Value::Null)),
            ExprKind::Call(call) => self.call(call, place, scope),
            ExprKind::Unary(operator, operand) => {
                let value = self.eval(operand, scope)?;
                match operator {
                    Unary::Not => Ok(Value::Bool(!truth(&value, &operand.place)?)),
                    Unary::Negate => functions::negate(number(&value, &operand.place)?)
                        .map_err(|misuse| Fault::new("arithmetic", place, misuse.message)),
                }
            }
            ExprKind::Binary(operator, left, right) => {
                self.binary(*operator, left, right, place, scope)
            }
            ExprKind::Conditional(condition, then, otherwise) => {
                let value = self.eval(condition, scope)?;
                let holds = truth(&value, &condition.place)?;
                self.eval(if holds { then } else { otherwise }, scope)
            }
            ExprKind::For(each) => self.for_expr(each, place, scope),
        }
    }

    fn object(&self, entries: &[(Expr, Expr)], scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut object = BTreeMap::new();
        for (key, value) in entries {
            let name = self.eval(key, scope)?;
            let name = name.to_text().ok_or_else(|| {
                let message = format!("{} cannot be a key", name.kind());
                Fault::new("type", &key.place, message)
            })?;
            object.insert(name, self.eval(value, scope)?);
        }
        Ok(Value::Object(object))
    }

    fn name(&self, name: &str, place: &Place, scope: &Scope<'_>) -> Result<Value, Fault> {
        if let Some(value) = scope.get(name) {
            return Ok(value.clone());
        }
        if let Some(value) = self.variable(name, place)? {
            return Ok(value);
        }
        let known = self.variable_names().chain(scope.names());
        let fault = Fault::new(
            "unknown-variable",
            place,
            format!("there is no variable {name}"),
        )
        .suggest(name, known);
        Err(if fault.has_help() {
            fault
        } else {
            fault.help(format!("declare it: variable \"{name}\" {{}}"))
        })
    }

    fn attribute(
        &self,
        base: &Expr,
        name: &Name,
        place: &Place,
        scope: &Scope<'_>,
    ) -> Result<Value, Fault> {
        // `target.NAME.ATTRIBUTE` is the one attribute of a block; nothing else of it is needed.
        if let ExprKind::Attr(kind, block) = &base.kind
            && let Some(kind) = block_kind(kind, scope)
        {
            return self.member(kind, block, name, place);
        }
        if let Some(kind) = block_kind(base, scope) {
            return self.members(kind, name, place);
        }
        let value = self.eval(base, scope)?;
        match &value {
            Value::Object(object) => object.get(&name.text).cloned().ok_or_else(|| {
                let message = format!("the object has no attribute {}", name.text);
                Fault::new("unknown-attribute", &name.place, message)
                    .suggest(&name.text, object.keys().map(String::as_str))
            }),
            other => {
                let message = format!("{} has no attributes", other.kind());
                Err(Fault::new("type", &base.place, message))
            }
        }
    }

    fn splat(&self, base: &Expr, each: &Expr, scope: &Scope<'_>) -> Result<Value, Fault> {
        let items = match self.eval(base, scope)? {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            single => vec![single],
        };
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let mut scope = scope.inner();
            scope.item = Some(item);
            out.push(self.eval(each, &scope)?);
        }
        Ok(Value::List(out))
    }

    fn binary(
        &self,
        operator: Binary,
        left: &Expr,
        right: &Expr,
        place: &Place,
        scope: &Scope<'_>,
    ) -> Result<Value, Fault> {
        let (first, second) = (self.eval(left, scope)?, self.eval(right, scope)?);
        let arithmetic = |misuse: Misuse| Fault::new("arithmetic", place, misuse.message);
        match operator {
            Binary::Equal => Ok(Value::Bool(functions::equal(&first, &second))),
            Binary::NotEqual => Ok(Value::Bool(!functions::equal(&first, &second))),
            Binary::And | Binary::Or => {
                let first = truth(&first, &left.place)?;
                let second = truth(&second, &right.place)?;
                let both = if operator == Binary::And {
                    first && second
                } else {
                    first || second
                };
                Ok(Value::Bool(both))
            }
            _ => {
                let first = number(&first, &left.place)?;
                let second = number(&second, &right.place)?;
                match operator {
                    Binary::Less => Ok(Value::Bool(first < second)),
                    Binary::LessOrEqual => Ok(Value::Bool(first <= second)),
                    Binary::Greater => Ok(Value::Bool(first > second)),
                    Binary::GreaterOrEqual => Ok(Value::Bool(first >= second)),
                    Binary::Add => functions::add(first, second).map_err(arithmetic),
                    Binary::Subtract => functions::subtract(first, second).map_err(arithmetic),
                    Binary::Multiply => functions::multiply(first, second).map_err(arithmetic),
                    Binary::Divide => functions::divide(first, second).map_err(arithmetic),
                    _ => functions::modulo(first, second).map_err(arithmetic),
                }
            }
        }
    }

    fn template(&self, parts: &[Part], scope: &Scope<'_>) -> Result<String, Fault> {
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Text(literal) => out.push_str(literal),
                Part::Interpolation(expr) => {
                    out.push_str(&text(&self.eval(expr, scope)?, &expr.place)?);
                }
                Part::If {
                    condition,
                    then,
                    otherwise,
                } => {
                    let holds = truth(&self.eval(condition, scope)?, &condition.place)?;
                    out.push_str(&self.template(if holds { then } else { otherwise }, scope)?);
                }
                Part::For { intro, body } => {
                    for (key, value) in self.elements(intro, scope)? {
                        let scope = loop_scope(scope, intro, key, value);
                        out.push_str(&self.template(body, &scope)?);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Returns keys and values of what a loop walks.
    fn elements(&self, intro: &Loop, scope: &Scope<'_>) -> Result<Vec<(Value, Value)>, Fault> {
        match self.eval(&intro.collection, scope)? {
            Value::List(items) => Ok(items
                .into_iter()
                .enumerate()
                .map(|(index, item)| (Value::whole(index as i128), item))
                .collect()),
            Value::Object(object) => Ok(object
                .into_iter()
                .map(|(key, value)| (Value::String(key), value))
                .collect()),
            other => {
                let message = format!("{} has no elements to walk", other.kind());
                Err(Fault::new("type", &intro.collection.place, message))
            }
        }
    }

    fn for_expr(&self, each: &For, place: &Place, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut list = Vec::new();
        let mut object = BTreeMap::new();
        for (key, value) in self.elements(&each.intro, scope)? {
            let scope = loop_scope(scope, &each.intro, key, value);
            if let Some(condition) = &each.condition
                && !truth(&self.eval(condition, &scope)?, &condition.place)?
            {
                continue;
            }
            let value = self.eval(&each.value, &scope)?;
            let Some(key) = &each.key else {
                list.push(value);
                continue;
            };
            let name = text(&self.eval(key, &scope)?, &key.place)?;
            match object.entry(name) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(if each.grouping {
                        Value::List(vec![value])
                    } else {
                        value
                    });
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => match entry.get_mut() {
                    Value::List(group) if each.grouping => group.push(value),
                    _ => {
                        let message = format!("two elements have the key {:?}", entry.key());
                        return Err(Fault::new("duplicate-key", place, message)
                            .help("write ... after the value to gather them in a list"));
                    }
                },
            }
        }
        Ok(if each.key.is_some() {
            Value::Object(object)
        } else {
            Value::List(list)
        })
    }

    fn call(
        &self,
        call: &super::ast::Call,
        place: &Place,
        scope: &Scope<'_>,
    ) -> Result<Value, Fault> {
        match call.name.text.as_str() {
            "try" => return self.first_that_works(&call.arguments, place, scope),
            "can" => {
                let works = call
                    .arguments
                    .iter()
                    .all(|expr| self.eval(expr, scope).is_ok());
                return Ok(Value::Bool(works));
            }
            "convert" => return self.convert(&call.arguments, place, scope),
            _ => {}
        }
        let mut values = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            values.push(self.eval(argument, scope)?);
        }
        if call.expand {
            match values.pop() {
                Some(Value::List(more)) => values.extend(more),
                Some(other) => {
                    let message = format!("only a list can be spread, not {}", other.kind());
                    let last = call.arguments.last().map_or(place, |last| &last.place);
                    return Err(Fault::new("type", last, message));
                }
                None => {}
            }
        }
        if let Some(result) = self.call_user(&call.name, &values, place) {
            return result;
        }
        let name = &call.name;
        let Some(function) = functions::find(&name.text) else {
            let message = format!("there is no function {}", name.text);
            let own = self.function_names().map(str::to_owned);
            let known: Vec<_> = own.chain(functions::names().map(str::to_owned)).collect();
            let known = known.iter().map(String::as_str);
            return Err(
                Fault::new("unknown-function", &name.place, message).suggest(&name.text, known)
            );
        };
        function
            .call(&values, self.surroundings())
            .map_err(|misuse| {
                let at = misuse.argument.and_then(|index| call.arguments.get(index));
                let at = at.map_or(place, |argument| &argument.place);
                Fault::new("function", at, format!("{}: {}", name.text, misuse.message))
            })
    }

    fn first_that_works(
        &self,
        candidates: &[Expr],
        place: &Place,
        scope: &Scope<'_>,
    ) -> Result<Value, Fault> {
        let mut faults = Vec::new();
        for candidate in candidates {
            match self.eval(candidate, scope) {
                Ok(value) => return Ok(value),
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        let fault = Fault::new("function", place, "try: no argument has a value");
        Err(faults.into_iter().fold(fault, Fault::note))
    }

    fn convert(
        &self,
        arguments: &[Expr],
        place: &Place,
        scope: &Scope<'_>,
    ) -> Result<Value, Fault> {
        let [value, wanted] = arguments else {
            let message = "convert: a value and a type are needed";
            return Err(Fault::new("function", place, message));
        };
        let wanted_type = super::typing::Type::parse(wanted)?;
        let found = self.eval(value, scope)?;
        wanted_type
            .convert(&found)
            .map_err(|message| Fault::new("function", &value.place, format!("convert: {message}")))
    }
}

/// Returns the kind of blocks that `expr` names, unless a variable hides it.
fn block_kind<'e>(expr: &'e Expr, scope: &Scope<'_>) -> Option<&'e str> {
    match &expr.kind {
        ExprKind::Variable(name) if matches!(name.as_str(), "target" | "group") => {
            (scope.get(name).is_none()).then_some(name)
        }
        _ => None,
    }
}

fn loop_scope<'a>(scope: &'a Scope<'a>, intro: &Loop, key: Value, value: Value) -> Scope<'a> {
    let mut inner = scope.inner();
    if let Some(name) = &intro.key {
        inner.locals.insert(name.clone(), key);
    }
    inner.locals.insert(intro.value.clone(), value);
    inner
}

/// Returns `base[index]`, or what is wrong with it.
pub(super) fn element(base: &Value, index: &Value) -> Result<Value, String> {
    match base {
        Value::List(items) => {
            let position = index.to_number().and_then(Number::as_whole);
            let position = position.ok_or_else(|| {
                format!("a list is indexed by a whole number, not {}", index.kind())
            })?;
            let item = usize::try_from(position).ok().and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| {
                let count = items.len();
                format!("there is no element {position}: the list has {count}")
            })
        }
        Value::Object(object) => {
            let key = index
                .to_text()
                .ok_or_else(|| format!("an object is indexed by a text, not {}", index.kind()))?;
            let value = object.get(&key).cloned();
            value.ok_or_else(|| format!("the object has no key {key:?}"))
        }
        other => Err(format!("{} cannot be indexed", other.kind())),
    }
}
