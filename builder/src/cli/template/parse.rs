//! Pieces of a template as a tree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::functions;
use super::lex::{Piece, Token, pieces};
use super::{TemplateError, error};
use crate::report::did_you_mean;

/// How deep blocks and parentheses may nest.
const DEPTH: usize = 100;

/// What is done, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Text is printed.
    Text(String),
    /// A value is printed, or given a name.
    Action(Pipeline),
    /// One of two bodies.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// A body with another `.`, if that is something.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// A body for each item.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// Leaves the innermost range.
    Break,
    /// Goes on with its next item.
    Continue,
    /// Another template of this text.
    Call(String, Option<Pipeline>),
}

/// Commands, each with the value of the one before as its last operand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// As it was written, for messages.
    pub(super) source: String,
    /// The variables that take the value.
    pub(super) names: Vec<String>,
    /// Whether these are new.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A function with its operands, or a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) function: Option<String>,
    pub(super) operands: Vec<Operand>,
}

/// Something with a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A field of `.`; `.` itself if there is no name.
    Field(Vec<String>),
    /// A variable, or a field of it.
    Variable(String, Vec<String>),
    /// A value.
    Literal(Value),
    /// What a pipeline in parentheses gives, or a field of it.
    Nested(Box<Pipeline>, Vec<String>),
}

/// What ended a block.
enum Ended {
    Text,
    Mark,
    Else(Vec<Token>, String),
}

/// Templates by name; the whole text's is empty.
pub(super) type Templates = BTreeMap<String, Vec<Node>>;

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Templates, TemplateError> {
    let mut parser = Parser {
        pieces: pieces(text)?.into_iter(),
        variables: vec![String::new()],
        templates: Templates::new(),
        depth: 0,
        ranges: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        Ended::Text => {}
        Ended::Mark => return error("{{end}} without a block that it ends"),
        Ended::Else(..) => return error("{{else}} without a block that it belongs to"),
    }
    parser.templates.insert(String::new(), nodes);
    Ok(parser.templates)
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// Those that are known here; the first is `$`.
    variables: Vec<String>,
    templates: Templates,
    depth: usize,
    ranges: usize,
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Ended), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return error(format!("the template nests more than {DEPTH} deep"));
        }
        let mut nodes = Vec::new();
        let end = loop {
            let (tokens, source) = match self.pieces.next() {
                None => break Ended::Text,
                Some(Piece::Text(text)) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Some(Piece::Action { tokens, source }) => (tokens, source),
            };
            match (tokens.first(), tokens.len()) {
                (Some(Token::Word(word)), 1) if word == "end" => break Ended::Mark,
                (Some(Token::Word(word)), _) if word == "else" => {
                    break Ended::Else(tokens[1..].to_vec(), source);
                }
                _ => {}
            }
            let node = self.action(&tokens, &source);
            nodes.extend(node.map_err(|fault| fault.within(&source))?);
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn action(&mut self, tokens: &[Token], source: &str) -> Result<Option<Node>, TemplateError> {
        let (word, rest) = match tokens {
            [Token::Word(word), rest @ ..] => (word.as_str(), rest),
            _ => return self.pipeline(tokens, source).map(|p| Some(Node::Action(p))),
        };
        Ok(Some(match word {
            "if" => self.block(rest, source, Node::If)?,
            "with" => self.block(rest, source, Node::With)?,
            "range" => {
                self.ranges += 1;
                let node = self.block(rest, source, Node::Range);
                self.ranges -= 1;
                node?
            }
            "break" | "continue" if rest.is_empty() => {
                if self.ranges == 0 {
                    return error(format!("{word} is not inside of a range"));
                }
                match word {
                    "break" => Node::Break,
                    _ => Node::Continue,
                }
            }
            "define" => {
                let [Token::Literal(Value::String(name))] = rest else {
                    return error("define needs a name in quotes");
                };
                self.define(name)?;
                return Ok(None);
            }
            "template" | "block" => {
                let [Token::Literal(Value::String(name)), operand @ ..] = rest else {
                    return error(format!("{word} needs a name in quotes"));
                };
                let operand = match operand {
                    [] if word == "template" => None,
                    operand => Some(self.pipeline(operand, source)?),
                };
                if word == "block" {
                    self.define(name)?;
                }
                Node::Call(name.clone(), operand)
            }
            _ => Node::Action(self.pipeline(tokens, source)?),
        }))
    }

    /// Reads a template of its own; it knows no variables but `$`.
    fn define(&mut self, name: &str) -> Result<(), TemplateError> {
        let outside = std::mem::replace(&mut self.variables, vec![String::new()]);
        let (nodes, end) = self.nodes()?;
        self.variables = outside;
        match end {
            Ended::Mark => {
                self.templates.insert(name.to_owned(), nodes);
                Ok(())
            }
            _ => error("{{end}} is missing"),
        }
    }

    /// Reads a condition and what depends on it; what it declares is known up to its end.
    fn block(
        &mut self,
        tokens: &[Token],
        source: &str,
        node: fn(Pipeline, Vec<Node>, Vec<Node>) -> Node,
    ) -> Result<Node, TemplateError> {
        let known = self.variables.len();
        let condition = self.pipeline(tokens, source)?;
        let inside = self.variables.len();
        let (body, end) = self.nodes()?;
        self.variables.truncate(inside);
        let other = match end {
            Ended::Mark => Vec::new(),
            Ended::Text => return error("{{end}} is missing"),
            Ended::Else(tokens, source) => {
                let other = self.otherwise(&tokens, &source);
                other.map_err(|fault| fault.within(&source))?
            }
        };
        self.variables.truncate(known);
        Ok(node(condition, body, other))
    }

    /// Reads what follows `{{else`: `}}` and a body, or another condition.
    fn otherwise(&mut self, tokens: &[Token], source: &str) -> Result<Vec<Node>, TemplateError> {
        match tokens {
            [] => {}
            [Token::Word(word), rest @ ..] if word == "if" => {
                return Ok(vec![self.block(rest, source, Node::If)?]);
            }
            [Token::Word(word), rest @ ..] if word == "with" => {
                return Ok(vec![self.block(rest, source, Node::With)?]);
            }
            _ => return error("else is followed by }}, if or with"),
        }
        match self.nodes()? {
            (nodes, Ended::Mark) => Ok(nodes),
            (_, Ended::Else(..)) => error("a second {{else}}"),
            (_, Ended::Text) => error("{{end}} is missing"),
        }
    }

    fn pipeline(&mut self, tokens: &[Token], source: &str) -> Result<Pipeline, TemplateError> {
        let (names, declares, rest) = declaration(tokens);
        let mut words = Words {
            tokens: rest,
            source,
            variables: &self.variables,
            depth: self.depth,
        };
        let commands = words.commands()?;
        if !words.tokens.is_empty() {
            return error("a ) without ( before it");
        }
        if declares {
            self.variables.extend(names.iter().cloned());
        } else if let Some(unknown) = names.iter().find(|name| !self.variables.contains(name)) {
            return error(format!("there is no variable ${unknown}"));
        }
        Ok(Pipeline {
            source: source.to_owned(),
            names,
            declares,
            commands,
        })
    }
}

/// Splits off `$a :=`, `$a =` or `$a, $b :=`.
fn declaration(tokens: &[Token]) -> (Vec<String>, bool, &[Token]) {
    match tokens {
        [Token::Variable(name), Token::Declare, rest @ ..] => (vec![name.clone()], true, rest),
        [Token::Variable(name), Token::Assign, rest @ ..] => (vec![name.clone()], false, rest),
        [
            Token::Variable(first),
            Token::Comma,
            Token::Variable(second),
            Token::Declare,
            rest @ ..,
        ] => (vec![first.clone(), second.clone()], true, rest),
        _ => (Vec::new(), false, tokens),
    }
}

/// What is left of a pipeline.
struct Words<'a> {
    tokens: &'a [Token],
    source: &'a str,
    variables: &'a [String],
    depth: usize,
}

impl Words<'_> {
    /// Reads up to the end, or a parenthesis that is closed.
    fn commands(&mut self) -> Result<Vec<Command>, TemplateError> {
        let mut commands = vec![self.command()?];
        while let [Token::Pipe, rest @ ..] = self.tokens {
            self.tokens = rest;
            let command = self.command()?;
            if command.function.is_none() && !matches!(command.operands[0], Operand::Field(_)) {
                return error("a value is piped into something that is no function");
            }
            commands.push(command);
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command, TemplateError> {
        let function = match self.tokens {
            [Token::Word(word), rest @ ..] if constant(word).is_none() => {
                if !functions::is_known(word) {
                    return Err(unknown_function(word));
                }
                self.tokens = rest;
                Some(word.clone())
            }
            _ => None,
        };
        let mut operands = Vec::new();
        while !matches!(self.tokens, [] | [Token::Pipe | Token::Close, ..]) {
            operands.push(self.operand()?);
        }
        if function.is_none() && operands.is_empty() {
            return error("a value is missing");
        }
        Ok(Command { function, operands })
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let [first, rest @ ..] = self.tokens else {
            return error("a value is missing");
        };
        self.tokens = rest;
        Ok(match first {
            Token::Dot => Operand::Field(Vec::new()),
            Token::Field { name, .. } => {
                let mut names = vec![name.clone()];
                names.extend(self.fields());
                Operand::Field(names)
            }
            Token::Variable(name) => {
                if !self.variables.contains(name) {
                    return error(format!("there is no variable ${name}"));
                }
                Operand::Variable(name.clone(), self.fields())
            }
            Token::Literal(value) => Operand::Literal(value.clone()),
            Token::Word(word) => match constant(word) {
                Some(value) => Operand::Literal(value),
                None if functions::is_known(word) => {
                    return error(format!(
                        "the function {word} as an operand needs parentheses"
                    ));
                }
                None => return Err(unknown_function(word)),
            },
            Token::Open => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return error(format!("the template nests more than {DEPTH} deep"));
                }
                let commands = self.commands()?;
                let [Token::Close, rest @ ..] = self.tokens else {
                    return error("a ( without ) after it");
                };
                self.tokens = rest;
                self.depth -= 1;
                let nested = Pipeline {
                    source: self.source.to_owned(),
                    names: Vec::new(),
                    declares: false,
                    commands,
                };
                Operand::Nested(Box::new(nested), self.fields())
            }
            Token::Close => return error("a ) without ( before it"),
            Token::Comma | Token::Declare | Token::Assign | Token::Pipe => {
                return error("a value is missing before a , or =");
            }
        })
    }

    /// Takes the fields that are glued to what was read last.
    fn fields(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let [Token::Field { name, glued: true }, rest @ ..] = self.tokens {
            names.push(name.clone());
            self.tokens = rest;
        }
        names
    }
}

fn constant(word: &str) -> Option<Value> {
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "nil" => Some(Value::Null),
        _ => None,
    }
}

fn unknown_function(word: &str) -> TemplateError {
    let near = did_you_mean(word, functions::NAMES);
    TemplateError(match near {
        Some(near) => format!("there is no function {word}; did you mean {near}?"),
        None => format!(
            "there is no function {word}; known are {}",
            functions::NAMES.join(", ")
        ),
    })
}
