//! HCL text → [`ast`](super::ast), by way of `hcl-edit`, which keeps positions.

use std::sync::Arc;

use cooper_frontend::{SourceFile, Span};
use hcl_edit::expr::{
    self, BinaryOperator, Expression, ObjectKey, TraversalOperator, UnaryOperator,
};
use hcl_edit::structure::{self, Structure};
use hcl_edit::template::{Directive, Element, Strip, Template};
use hcl_edit::{Decorated, Ident};

use super::ast::{
    Attribute, Binary, Block, Body, Call, Expr, ExprKind, For, Loop, Name, Part, Place, Unary,
};
use super::fault::Fault;
use super::value::{Number, Value};

/// Reads a whole file.
pub(super) fn parse(file: &Arc<SourceFile>) -> Result<Body, Fault> {
    let body = hcl_edit::parser::parse_body(file.text())
        .map_err(|error| Lower::new(file).fault(&error))?;
    Ok(Lower::new(file).body(&body))
}

/// Reads `text`, the unescaped content of a JSON string, as a template. `exact` is where the text
/// stands in the file if it stands there as it is; otherwise all places are `place`.
pub(super) fn parse_template(
    text: &str,
    place: &Place,
    exact: Option<usize>,
) -> Result<Expr, Fault> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(Expr {
            kind: ExprKind::Literal(Value::text(text)),
            place: place.clone(),
        });
    }
    let lower = Lower {
        file: &place.file,
        shift: exact.unwrap_or(0),
        whole: exact.is_none().then_some(place.span),
    };
    let template = hcl_edit::parser::parse_template(text).map_err(|error| lower.fault(&error))?;
    Ok(lower.quoted(&template, place.span))
}

/// Turns the parser's tree into ours.
struct Lower<'a> {
    file: &'a Arc<SourceFile>,
    /// Added to every offset.
    shift: usize,
    /// Stands for every place if set.
    whole: Option<Span>,
}

impl<'a> Lower<'a> {
    fn new(file: &'a Arc<SourceFile>) -> Self {
        Self {
            file,
            shift: 0,
            whole: None,
        }
    }

    fn fault(&self, error: &hcl_edit::parser::Error) -> Fault {
        let end = self.file.text().len();
        let mut start = (error.location().offset() + self.shift).min(end);
        while !self.file.text().is_char_boundary(start) {
            start -= 1;
        }
        let next = self.file.text()[start..].chars().next();
        // A caret under the end of a line would be drawn under the next one, too.
        let width = next.filter(|c| *c != '\n').map_or(0, char::len_utf8);
        let place = self.at(Span::new(start, start + width));
        Fault::new(
            "syntax",
            &place,
            format!("this is no HCL: {}", error.message()),
        )
    }

    fn at(&self, span: Span) -> Place {
        Place {
            file: Arc::clone(self.file),
            span: self.whole.unwrap_or(span),
        }
    }

    fn place(&self, node: &impl hcl_edit::Span) -> Place {
        let range = node.span().unwrap_or_default();
        self.at(Span::new(range.start + self.shift, range.end + self.shift))
    }

    fn name(&self, ident: &Decorated<Ident>) -> Name {
        Name {
            text: ident.as_str().to_owned(),
            place: self.place(ident),
        }
    }

    fn body(&self, body: &structure::Body) -> Body {
        let mut out = Body::default();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => out.attributes.push(Attribute {
                    name: self.name(&attribute.key),
                    value: self.expr(&attribute.value),
                }),
                Structure::Block(block) => out.blocks.push(self.block(block)),
            }
        }
        out
    }

    fn block(&self, block: &structure::Block) -> Block {
        let label = |label: &structure::BlockLabel| Name {
            text: label.as_str().to_owned(),
            place: self.place(label),
        };
        Block {
            kind: self.name(&block.ident),
            labels: block.labels.iter().map(label).collect(),
            body: self.body(&block.body),
        }
    }

    fn expr(&self, expr: &Expression) -> Expr {
        let kind = match expr {
            Expression::Null(_) => ExprKind::Literal(Value::Null),
            Expression::Bool(truth) => ExprKind::Literal(Value::Bool(**truth)),
            Expression::Number(number) => ExprKind::Literal(literal(&number.to_string())),
            Expression::String(text) => ExprKind::Literal(Value::text(text.as_str())),
            Expression::Array(array) => {
                ExprKind::Tuple(array.iter().map(|item| self.expr(item)).collect())
            }
            Expression::Object(object) => ExprKind::Object(
                object
                    .iter()
                    .map(|(key, value)| (self.key(key), self.expr(value.expr())))
                    .collect(),
            ),
            Expression::StringTemplate(template) => {
                return self.quoted(template, self.place(expr).span);
            }
            Expression::HeredocTemplate(heredoc) => {
                ExprKind::Template(self.heredoc(&heredoc.template))
            }
            Expression::Parenthesis(inner) => return self.expr(inner.inner()),
            Expression::Variable(name) => ExprKind::Variable(name.as_str().to_owned()),
            Expression::Conditional(conditional) => ExprKind::Conditional(
                self.boxed(&conditional.cond_expr),
                self.boxed(&conditional.true_expr),
                self.boxed(&conditional.false_expr),
            ),
            Expression::FuncCall(call) => ExprKind::Call(self.call(call)),
            Expression::Traversal(traversal) => return self.traversal(traversal),
            Expression::UnaryOp(operation) => {
                let operator = match operation.operator.value() {
                    UnaryOperator::Neg => Unary::Negate,
                    UnaryOperator::Not => Unary::Not,
                };
                ExprKind::Unary(operator, self.boxed(&operation.expr))
            }
            Expression::BinaryOp(operation) => ExprKind::Binary(
                binary(*operation.operator.value()),
                self.boxed(&operation.lhs_expr),
                self.boxed(&operation.rhs_expr),
            ),
            Expression::ForExpr(each) => ExprKind::For(Box::new(self.each(each))),
        };
        Expr {
            kind,
            place: self.place(expr),
        }
    }

    fn boxed(&self, expr: &Expression) -> Box<Expr> {
        Box::new(self.expr(expr))
    }

    fn key(&self, key: &ObjectKey) -> Expr {
        match key {
            ObjectKey::Ident(word) => Expr {
                kind: ExprKind::Literal(Value::text(word.as_str())),
                place: self.place(word),
            },
            // A bare word may be parsed as a variable; only parentheses make it one.
            ObjectKey::Expression(Expression::Variable(word)) => Expr {
                kind: ExprKind::Literal(Value::text(word.as_str())),
                place: self.place(word),
            },
            ObjectKey::Expression(word @ (Expression::Null(_) | Expression::Bool(_))) => {
                let place = self.place(word);
                let text = place.file.slice(place.span).to_owned();
                Expr {
                    kind: ExprKind::Literal(Value::String(text)),
                    place,
                }
            }
            ObjectKey::Expression(expr) => self.expr(expr),
        }
    }

    fn call(&self, call: &expr::FuncCall) -> Call {
        let mut name = self.name(&call.name.name);
        if let Some(first) = call.name.namespace.first() {
            let spaces = call.name.namespace.iter().map(|part| part.as_str());
            let mut parts: Vec<_> = spaces.collect();
            parts.push(&name.text);
            let text = parts.join("::");
            name = Name {
                text,
                place: self.place(first).join(&name.place),
            };
        }
        Call {
            name,
            arguments: call.args.iter().map(|arg| self.expr(arg)).collect(),
            expand: call.args.expand_final(),
        }
    }

    fn each(&self, each: &expr::ForExpr) -> For {
        For {
            intro: Loop {
                key: each
                    .intro
                    .key_var
                    .as_ref()
                    .map(|name| name.as_str().to_owned()),
                value: each.intro.value_var.as_str().to_owned(),
                collection: self.expr(&each.intro.collection_expr),
            },
            key: each.key_expr.as_ref().map(|key| self.expr(key)),
            value: self.expr(&each.value_expr),
            grouping: each.grouping,
            condition: each
                .cond
                .as_ref()
                .map(|condition| self.expr(&condition.expr)),
        }
    }

    fn traversal(&self, traversal: &expr::Traversal) -> Expr {
        self.steps(self.expr(&traversal.expr), &traversal.operators)
    }

    fn steps(&self, base: Expr, operators: &[Decorated<TraversalOperator>]) -> Expr {
        let Some((operator, rest)) = operators.split_first() else {
            return base;
        };
        let place = base.place.join(&self.place(operator));
        let base = Box::new(base);
        let (kind, rest) = match operator.value() {
            TraversalOperator::GetAttr(name) => (ExprKind::Attr(base, self.name(name)), rest),
            TraversalOperator::Index(index) => (ExprKind::Index(base, self.boxed(index)), rest),
            TraversalOperator::LegacyIndex(index) => {
                let index = Expr {
                    kind: ExprKind::Literal(Value::whole(*index.value())),
                    place: self.place(operator),
                };
                (ExprKind::Index(base, Box::new(index)), rest)
            }
            splat @ (TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_)) => {
                let full = matches!(splat, TraversalOperator::FullSplat(_));
                let attribute = |operator: &Decorated<TraversalOperator>| {
                    matches!(operator.value(), TraversalOperator::GetAttr(_))
                };
                let own = rest
                    .iter()
                    .take_while(|operator| full || attribute(operator))
                    .count();
                let item = Expr {
                    kind: ExprKind::Item,
                    place: place.clone(),
                };
                let each = self.steps(item, &rest[..own]);
                (ExprKind::Splat(base, Box::new(each)), &rest[own..])
            }
        };
        self.steps(Expr { kind, place }, rest)
    }

    /// A quoted template that is one interpolation has the value's own type.
    fn quoted(&self, template: &Template, span: Span) -> Expr {
        let place = self.at(span);
        let mut parts = self.template(template);
        let kind = match parts.as_mut_slice() {
            [Part::Interpolation(inner)] => {
                return Expr {
                    place,
                    ..inner.clone()
                };
            }
            [] => ExprKind::Literal(Value::text("")),
            [Part::Text(text)] => ExprKind::Literal(Value::text(std::mem::take(text))),
            _ => ExprKind::Template(parts),
        };
        Expr { kind, place }
    }

    fn heredoc(&self, template: &Template) -> Vec<Part> {
        self.template(template)
    }

    fn template(&self, template: &Template) -> Vec<Part> {
        let mut out = Trimmed::default();
        for element in template {
            match element {
                Element::Literal(text) => out.text(text.as_str()),
                Element::Interpolation(interpolation) => {
                    out.before(interpolation.strip);
                    out.push(Part::Interpolation(self.expr(&interpolation.expr)));
                    out.after(interpolation.strip);
                }
                Element::Directive(directive) => self.directive(directive, &mut out),
            }
        }
        out.parts
    }

    fn directive(&self, directive: &Directive, out: &mut Trimmed) {
        match directive {
            Directive::If(directive) => {
                let (first, last) = (&directive.if_expr, &directive.endif_expr);
                let middle = directive.else_expr.as_ref();
                let condition = self.expr(&first.cond_expr);
                let then_end = middle.map_or(last.strip, |middle| middle.strip);
                let then = self.inner(&first.template, first.strip, then_end);
                let otherwise =
                    middle.map(|middle| self.inner(&middle.template, middle.strip, last.strip));
                out.before(first.strip);
                out.push(Part::If {
                    condition,
                    then,
                    otherwise: otherwise.unwrap_or_default(),
                });
                out.after(last.strip);
            }
            Directive::For(directive) => {
                let (first, last) = (&directive.for_expr, &directive.endfor_expr);
                let intro = Loop {
                    key: first.key_var.as_ref().map(|name| name.as_str().to_owned()),
                    value: first.value_var.as_str().to_owned(),
                    collection: self.expr(&first.collection_expr),
                };
                let body = self.inner(&first.template, first.strip, last.strip);
                out.before(first.strip);
                out.push(Part::For {
                    intro: Box::new(intro),
                    body,
                });
                out.after(last.strip);
            }
        }
    }

    /// The parts between two directives, trimmed on their sides if those say so.
    fn inner(&self, template: &Template, start: Strip, end: Strip) -> Vec<Part> {
        let mut parts = self.template(template);
        if strips_after(start)
            && let Some(Part::Text(text)) = parts.first_mut()
        {
            *text = text.trim_start().to_owned();
        }
        if strips_before(end)
            && let Some(Part::Text(text)) = parts.last_mut()
        {
            *text = text.trim_end().to_owned();
        }
        parts
    }
}

fn strips_before(strip: Strip) -> bool {
    matches!(strip, Strip::Start | Strip::Both)
}

fn strips_after(strip: Strip) -> bool {
    matches!(strip, Strip::End | Strip::Both)
}

/// Parts of a template, of which `~` trims the neighbouring text.
#[derive(Default)]
struct Trimmed {
    parts: Vec<Part>,
    trim_next: bool,
}

impl Trimmed {
    fn text(&mut self, text: &str) {
        let text = if std::mem::take(&mut self.trim_next) {
            text.trim_start()
        } else {
            text
        };
        self.parts.push(Part::Text(text.to_owned()));
    }

    fn before(&mut self, strip: Strip) {
        if strips_before(strip)
            && let Some(Part::Text(text)) = self.parts.last_mut()
        {
            *text = text.trim_end().to_owned();
        }
    }

    fn push(&mut self, part: Part) {
        self.trim_next = false;
        self.parts.push(part);
    }

    fn after(&mut self, strip: Strip) {
        self.trim_next = strips_after(strip);
    }
}

fn literal(number: &str) -> Value {
    Number::parse(number).map_or(Value::Null, Value::Number)
}

fn binary(operator: BinaryOperator) -> Binary {
    match operator {
        BinaryOperator::Eq => Binary::Equal,
        BinaryOperator::NotEq => Binary::NotEqual,
        BinaryOperator::Less => Binary::Less,
        BinaryOperator::LessEq => Binary::LessOrEqual,
        BinaryOperator::Greater => Binary::Greater,
        BinaryOperator::GreaterEq => Binary::GreaterOrEqual,
        BinaryOperator::Plus => Binary::Add,
        BinaryOperator::Minus => Binary::Subtract,
        BinaryOperator::Mul => Binary::Multiply,
        BinaryOperator::Div => Binary::Divide,
        BinaryOperator::Mod => Binary::Modulo,
        BinaryOperator::And => Binary::And,
        BinaryOperator::Or => Binary::Or,
    }
}
