//! What a bake file says, whichever syntax it is written in.
//!
//! HCL ([`hcl`](super::hcl)) and JSON ([`json`](super::json)) are both read into these types, so
//! that there is one evaluator. Every node knows its [`Place`].

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_frontend::{SourceFile, Span};

use super::value::Value;

/// Bytes of one of the files.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: Arc<SourceFile>,
    /// The bytes.
    pub span: Span,
}

impl Place {
    /// Returns the smallest place of the same file that covers both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self {
            file: Arc::clone(&self.file),
            span: self.span.join(other.span),
        }
    }
}

/// A word and where it stands.
#[derive(Clone, Debug)]
pub struct Name {
    /// The word.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// Attributes and blocks, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    /// `name = expression`.
    pub attributes: Vec<Attribute>,
    /// `kind "label" { … }`.
    pub blocks: Vec<Block>,
}

/// `name = expression`.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    /// What is set.
    pub name: Name,
    /// What it is set to.
    pub value: Expr,
}

/// `kind "label" { … }`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `target`, `group`, `variable`, …
    pub kind: Name,
    /// The quoted words after it.
    pub labels: Vec<Name>,
    /// What stands in braces.
    pub body: Body,
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Which.
    pub kind: ExprKind,
    /// Where it stands.
    pub place: Place,
}

/// Where the value of an attribute stands: the whole of it, and each text in it.
#[derive(Clone, Debug)]
pub struct Written {
    whole: Place,
    texts: BTreeMap<String, Place>,
}

impl Written {
    /// Returns where all of it stands.
    pub fn whole(&self) -> &Place {
        &self.whole
    }

    /// Returns where `text` stands, which is somewhere in it.
    pub fn text(&self, text: &str) -> &Place {
        self.texts.get(text).unwrap_or(&self.whole)
    }
}

impl From<Place> for Written {
    fn from(whole: Place) -> Self {
        Self {
            whole,
            texts: BTreeMap::new(),
        }
    }
}

impl From<&Expr> for Written {
    fn from(expr: &Expr) -> Self {
        let elements: Vec<&Expr> = match &expr.kind {
            ExprKind::Tuple(items) => items.iter().collect(),
            ExprKind::Object(entries) => entries.iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        };
        let text = |element: &Expr| match &element.kind {
            ExprKind::Literal(Value::String(text)) => Some((text.clone(), element.place.clone())),
            _ => None,
        };
        Self {
            whole: expr.place.clone(),
            texts: elements.into_iter().filter_map(text).collect(),
        }
    }
}

/// The kinds of expressions.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A value written down as it is.
    Literal(Value),
    /// Text with `${…}` and `%{…}`.
    Template(Vec<Part>),
    /// `[a, b]`.
    Tuple(Vec<Expr>),
    /// `{ a = b }`; a bare word as key is a literal.
    Object(Vec<(Expr, Expr)>),
    /// `name`.
    Variable(String),
    /// `a.name`.
    Attr(Box<Expr>, Name),
    /// `a[b]`.
    Index(Box<Expr>, Box<Expr>),
    /// `a[*].rest`: `rest` is evaluated for each element, which [`ExprKind::Item`] stands for.
    Splat(Box<Expr>, Box<Expr>),
    /// The element that the splat around it is at.
    Item,
    /// `name(a, b...)`.
    Call(Call),
    /// `-a` or `!a`.
    Unary(Unary, Box<Expr>),
    /// `a + b`.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// `a ? b : c`.
    Conditional(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `[for …]` or `{for …}`.
    For(Box<For>),
}

/// `name(a, b...)`.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which function.
    pub name: Name,
    /// What it is given.
    pub arguments: Vec<Expr>,
    /// Whether the last argument is a list of arguments.
    pub expand: bool,
}

/// The variables and the collection of a loop.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Variable for the key or index.
    pub key: Option<String>,
    /// Variable for the value.
    pub value: String,
    /// What is walked.
    pub collection: Expr,
}

/// `[for …]` or `{for …}`.
#[derive(Clone, Debug)]
pub struct For {
    /// Variables and collection.
    pub intro: Loop,
    /// Makes an object with these keys; a tuple without.
    pub key: Option<Expr>,
    /// Makes the elements.
    pub value: Expr,
    /// Whether values of the same key are gathered in a list (`...`).
    pub grouping: bool,
    /// Elements for which this is false are left out.
    pub condition: Option<Expr>,
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// `${expression}`.
    Interpolation(Expr),
    /// `%{if}…%{else}…%{endif}`.
    If {
        /// The condition.
        condition: Expr,
        /// When it holds.
        then: Vec<Part>,
        /// When it does not.
        otherwise: Vec<Part>,
    },
    /// `%{for}…%{endfor}`.
    For {
        /// Variables and collection.
        intro: Box<Loop>,
        /// What is repeated.
        body: Vec<Part>,
    },
}

/// Operators of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `-`.
    Negate,
    /// `!`.
    Not,
}

/// Operators of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`.
    Divide,
    /// `%`.
    Modulo,
    /// `&&`.
    And,
    /// `||`.
    Or,
}
