//! A template's text in pieces: what is printed as it is, and actions as tokens.

use serde_json::{Number, Value};

use super::{TemplateError, error};

/// What a template consists of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text to print.
    Text(String),
    /// What stands between braces, and how it was written.
    Action { tokens: Vec<Token>, source: String },
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.`
    Dot,
    /// `.Name`; glued if nothing parts it from what stands before.
    Field { name: String, glued: bool },
    /// `$` or `$name`
    Variable(String),
    /// A keyword or a function.
    Word(String),
    /// A string or a number.
    Literal(Value),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template into its pieces.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim = false;
    while let Some((text, after)) = rest.split_once("{{") {
        let start = rest.len() - after.len() - 2;
        let text = if trim {
            text.trim_start_matches(SPACE)
        } else {
            text
        };
        let marked = after
            .strip_prefix('-')
            .filter(|rest| rest.starts_with(SPACE));
        let text = if marked.is_some() {
            text.trim_end_matches(SPACE)
        } else {
            text
        };
        push_text(&mut pieces, text);
        let mut action = Action {
            rest: marked.unwrap_or(after),
            glued: false,
        };
        let tokens = action
            .tokens()
            .map_err(|fault| fault.within(rest[start..].lines().next().unwrap_or_default()))?;
        let source = &rest[start..rest.len() - action.rest.len()];
        trim = source.ends_with("-}}") && source.len() > 5;
        if let Some(tokens) = tokens {
            let source = source.to_owned();
            pieces.push(Piece::Action { tokens, source });
        }
        rest = action.rest;
    }
    let text = if trim {
        rest.trim_start_matches(SPACE)
    } else {
        rest
    };
    push_text(&mut pieces, text);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        pieces.push(Piece::Text(text));
    }
}

/// What is left of an action, and of the text behind it.
struct Action<'a> {
    rest: &'a str,
    /// Whether the last token ends right here.
    glued: bool,
}

impl Action<'_> {
    /// Reads up to the end of the action; a comment has no tokens.
    fn tokens(&mut self) -> Result<Option<Vec<Token>>, TemplateError> {
        if let Some(comment) = self.rest.trim_start_matches(SPACE).strip_prefix("/*") {
            let Some((_, rest)) = comment.split_once("*/") else {
                return error("the comment has no end: */ is missing");
            };
            self.rest = rest;
            if !self.end() {
                return error("a comment ends right before the braces: {{/* … */}}");
            }
            return Ok(None);
        }
        let mut tokens = Vec::new();
        while !self.end() {
            if self.rest.is_empty() {
                return error("the action has no end: }} is missing");
            }
            tokens.push(self.token()?);
        }
        Ok(Some(tokens))
    }

    /// Skips space, and the end of the action if it is there.
    fn end(&mut self) -> bool {
        let rest = self.rest.trim_start_matches(SPACE);
        let spaced = rest.len() < self.rest.len();
        self.glued &= !spaced;
        self.rest = rest;
        let marked = rest.strip_prefix("-}}").filter(|_| spaced);
        match marked.or_else(|| rest.strip_prefix("}}")) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Result<Token, TemplateError> {
        let glued = std::mem::replace(&mut self.glued, true);
        let mut chars = self.rest.chars();
        let (first, second) = (chars.next().unwrap_or_default(), chars.next());
        let digit = |char: Option<char>| char.is_some_and(|char| char.is_ascii_digit());
        let symbol = match first {
            '|' => Some((Token::Pipe, 1)),
            '(' => Some((Token::Open, 1)),
            ')' => Some((Token::Close, 1)),
            ',' => Some((Token::Comma, 1)),
            '=' => Some((Token::Assign, 1)),
            ':' if second == Some('=') => Some((Token::Declare, 2)),
            _ => None,
        };
        if let Some((token, length)) = symbol {
            self.rest = &self.rest[length..];
            return Ok(token);
        }
        match first {
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '.' if second.is_some_and(is_letter) => {
                self.rest = &self.rest[1..];
                let name = self.name();
                Ok(Token::Field { name, glued })
            }
            '.' if !digit(second) => {
                self.rest = &self.rest[1..];
                Ok(Token::Dot)
            }
            '$' => {
                self.rest = &self.rest[1..];
                Ok(Token::Variable(self.name()))
            }
            first if is_letter(first) => Ok(Token::Word(self.name())),
            '0'..='9' | '.' => self.number(),
            '+' | '-' if digit(second) => self.number(),
            other => error(format!("{other:?} means nothing here")),
        }
    }

    fn name(&mut self) -> String {
        let end = self
            .rest
            .find(|char: char| !is_letter(char) && !char.is_numeric())
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    fn number(&mut self) -> Result<Token, TemplateError> {
        let end = self
            .rest
            .find(|char: char| !char.is_ascii_alphanumeric() && !"+-._".contains(char))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match number(&text.replace('_', "")) {
            Some(number) => Ok(Token::Literal(Value::Number(number))),
            None => error(format!("{text} is no number")),
        }
    }

    fn raw(&mut self) -> Result<Token, TemplateError> {
        let Some((text, rest)) = self.rest[1..].split_once('`') else {
            return error("a raw string has no end: ` is missing");
        };
        self.rest = rest;
        Ok(Token::Literal(text.into()))
    }

    fn quoted(&mut self) -> Result<Token, TemplateError> {
        let mut text = String::new();
        let mut chars = self.rest[1..].chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => text.push(escaped(&mut chars)?),
                Some('\n') | None => return error("a string has no end: \" is missing"),
                Some(char) => text.push(char),
            }
        }
        self.rest = chars.as_str();
        Ok(Token::Literal(text.into()))
    }

    /// A character stands for its number, as in Go.
    fn character(&mut self) -> Result<Token, TemplateError> {
        let mut chars = self.rest[1..].chars();
        let value = match chars.next() {
            Some('\\') => Some(escaped(&mut chars)?),
            other => other,
        };
        match (value, chars.next()) {
            (Some(value), Some('\'')) => {
                self.rest = chars.as_str();
                Ok(Token::Literal(u32::from(value).into()))
            }
            _ => error("a character has no end: ' is missing"),
        }
    }
}

fn is_letter(char: char) -> bool {
    char == '_' || char.is_alphabetic()
}

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            return i64::from_str_radix(&format!("{sign}{digits}"), radix)
                .ok()
                .map(Number::from);
        }
    }
    if let Ok(whole) = format!("{sign}{digits}").parse::<i64>() {
        return Some(whole.into());
    }
    Number::from_f64(text.parse().ok()?)
}

/// Reads what follows a backslash (Go's "Rune literals").
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<char, TemplateError> {
    let Some(char) = chars.next() else {
        return error("nothing follows a \\");
    };
    let digits = match char {
        'a' => return Ok('\x07'),
        'b' => return Ok('\x08'),
        'f' => return Ok('\x0c'),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'v' => return Ok('\x0b'),
        '\\' | '"' | '\'' => return Ok(char),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        other => return error(format!("\\{other} means nothing in a string")),
    };
    let code: String = chars.by_ref().take(digits).collect();
    let value = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
    match value.filter(|_| code.len() == digits) {
        Some(value) => Ok(value),
        None => error(format!("\\{char}{code} is no character")),
    }
}
