//! JSON text → [`ast`](super::ast), after HCL's JSON syntax: objects stand for bodies and blocks,
//! texts are templates.

use std::sync::Arc;

use cooper_frontend::{SourceFile, Span};

use super::ast::{Attribute, Block, Body, Expr, ExprKind, Name, Place};
use super::fault::Fault;
use super::hcl;
use super::value::{Number, Value};

/// How deep arrays and objects may nest.
const MAX_DEPTH: usize = 64;

/// Reads a whole file.
pub(super) fn parse(file: &Arc<SourceFile>) -> Result<Body, Fault> {
    let mut reader = Reader { file, at: 0 };
    let node = reader.value(0)?;
    reader.skip_blanks();
    if reader.at < file.text().len() {
        return Err(reader.wrong("nothing may come after the outermost object"));
    }
    body(&node, true)
}

/// Returns whether a text can only be JSON: HCL and compose files do not start with a brace.
pub(super) fn is_likely(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

struct Node {
    kind: NodeKind,
    place: Place,
}

enum NodeKind {
    Plain(Value),
    /// Unescaped text, and where it stands in the file if it stands there as it is.
    Text(String, Option<usize>),
    Array(Vec<Node>),
    Object(Vec<(Name, Option<usize>, Node)>),
}

/// Turns an object into attributes and blocks.
fn body(node: &Node, top: bool) -> Result<Body, Fault> {
    let mut out = Body::default();
    let entries = match &node.kind {
        NodeKind::Object(entries) => entries,
        // Several bodies for one block.
        NodeKind::Array(items) => {
            for item in items {
                let more = body(item, top)?;
                out.attributes.extend(more.attributes);
                out.blocks.extend(more.blocks);
            }
            return Ok(out);
        }
        _ => {
            return Err(Fault::new(
                "syntax",
                &node.place,
                "an object is needed here",
            ));
        }
    };
    for (name, _, value) in entries {
        let is_block = match name.text.as_str() {
            "target" | "group" | "variable" | "function" => top,
            "validation" => !top,
            _ => false,
        };
        if name.text == "//" {
            continue;
        }
        if is_block {
            blocks(name, value, top, &mut out)?;
        } else {
            out.attributes.push(Attribute {
                name: name.clone(),
                value: expr(value)?,
            });
        }
    }
    Ok(out)
}

fn blocks(kind: &Name, value: &Node, labelled: bool, out: &mut Body) -> Result<(), Fault> {
    let mut push = |labels: Vec<Name>, node: &Node| -> Result<(), Fault> {
        out.blocks.push(Block {
            kind: kind.clone(),
            labels,
            body: body(node, false)?,
        });
        Ok(())
    };
    match &value.kind {
        NodeKind::Object(entries) if labelled => entries
            .iter()
            .try_for_each(|(label, _, node)| push(vec![label.clone()], node)),
        NodeKind::Array(items) if labelled => items
            .iter()
            .try_for_each(|item| blocks(kind, item, true, out)),
        NodeKind::Object(_) => push(Vec::new(), value),
        NodeKind::Array(items) => items.iter().try_for_each(|item| push(Vec::new(), item)),
        _ => {
            let message = format!("{} is an object", kind.text);
            Err(Fault::new("syntax", &value.place, message))
        }
    }
}

fn expr(node: &Node) -> Result<Expr, Fault> {
    let kind = match &node.kind {
        NodeKind::Plain(value) => ExprKind::Literal(value.clone()),
        NodeKind::Text(text, exact) => return hcl::parse_template(text, &node.place, *exact),
        NodeKind::Array(items) => {
            ExprKind::Tuple(items.iter().map(expr).collect::<Result<_, _>>()?)
        }
        NodeKind::Object(entries) => {
            let entry = |(name, exact, value): &(Name, Option<usize>, Node)| {
                let key = hcl::parse_template(&name.text, &name.place, *exact)?;
                Ok((key, expr(value)?))
            };
            ExprKind::Object(entries.iter().map(entry).collect::<Result<_, Fault>>()?)
        }
    };
    Ok(Expr {
        kind,
        place: node.place.clone(),
    })
}

struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.file.text().get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        let blanks = rest.len()
            - rest
                .trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}'])
                .len();
        self.at += blanks;
    }

    fn place(&self, start: usize) -> Place {
        Place {
            file: Arc::clone(self.file),
            span: Span::new(start, self.at.max(start)),
        }
    }

    fn wrong(&self, message: &str) -> Fault {
        let width = self.rest().chars().next().map_or(0, char::len_utf8);
        let place = Place {
            file: Arc::clone(self.file),
            span: Span::new(self.at, self.at + width),
        };
        Fault::new("syntax", &place, format!("this is no JSON: {message}"))
    }

    fn take(&mut self, c: char) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("it is nested too deep"));
        }
        self.skip_blanks();
        let start = self.at;
        let kind = match self.rest().chars().next() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => {
                let (text, exact) = self.text()?;
                NodeKind::Text(text, exact)
            }
            _ => NodeKind::Plain(self.plain()?),
        };
        Ok(Node {
            kind,
            place: self.place(start),
        })
    }

    fn object(&mut self, depth: usize) -> Result<NodeKind, Fault> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.take('}') {
            return Ok(NodeKind::Object(entries));
        }
        loop {
            self.skip_blanks();
            let start = self.at;
            if !self.rest().starts_with('"') {
                return Err(self.wrong("a key in double quotes is needed"));
            }
            let (text, exact) = self.text()?;
            let place = self.place(start);
            if !self.take(':') {
                return Err(self.wrong("a colon is needed after the key"));
            }
            entries.push((Name { text, place }, exact, self.value(depth + 1)?));
            if self.take('}') {
                return Ok(NodeKind::Object(entries));
            }
            if !self.take(',') {
                return Err(self.wrong("a comma or a closing brace is needed"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<NodeKind, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(NodeKind::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(']') {
                return Ok(NodeKind::Array(items));
            }
            if !self.take(',') {
                return Err(self.wrong("a comma or a closing bracket is needed"));
            }
        }
    }

    /// Reads a quoted text, which starts here.
    fn text(&mut self) -> Result<(String, Option<usize>), Fault> {
        let start = self.at;
        let mut escaped = false;
        let mut end = None;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    end = Some(offset + 1);
                    break;
                }
                '\n' => break,
                _ => {}
            }
        }
        let Some(end) = end else {
            return Err(self.wrong("the quote is never closed on its line"));
        };
        let raw = &self.rest()[..end];
        let text: String = serde_json::from_str(raw)
            .map_err(|_| self.wrong("the text has an escape or a character that JSON has not"))?;
        let exact = (!raw.contains('\\')).then_some(start + 1);
        self.at += end;
        Ok((text, exact))
    }

    fn plain(&mut self) -> Result<Value, Fault> {
        let rest = self.rest();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let text = &rest[..end];
        let value = match text {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => match serde_json::from_str::<serde_json::Number>(text) {
                Ok(_) => Number::parse(text).map_or(Value::Null, Value::Number),
                Err(_) => return Err(self.wrong("a value is needed here")),
            },
        };
        self.at += end;
        Ok(value)
    }
}
