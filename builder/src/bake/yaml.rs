//! YAML text → a tree that knows where everything stands.
//!
//! Anchors, aliases and merge keys (`<<`) are resolved. What a plain word means is left to who
//! reads it: all scalars are texts here, and whether they were quoted is kept.

use std::sync::Arc;

use cooper_frontend::{SourceFile, Span};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::ast::{Name, Place};
use super::fault::Fault;

/// How deep collections may nest.
const MAX_DEPTH: usize = 64;
/// How many nodes a file may have once its aliases are written out.
const MAX_NODES: usize = 100_000;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What it is.
    pub(super) kind: Kind,
    /// Where it stands.
    pub(super) place: Place,
    /// What becomes of the same key of an earlier file.
    pub(super) merge: Merge,
}

/// What a node does to that of an earlier file: tags of compose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Merge {
    /// The two are merged.
    #[default]
    Together,
    /// `!override`: this one takes its place.
    Override,
    /// `!reset`: neither counts.
    Reset,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A text; whether it is plain, so that it may also be a number, a bool or null.
    Scalar(String, bool),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in order.
    Map(Vec<(Name, Node)>),
}

impl Node {
    /// Returns whether the node is null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(text, true) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|(name, _)| name.text == key);
        found.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// Returns the entries of a mapping, none of anything else.
    pub(super) fn entries(&self) -> &[(Name, Self)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }
}

/// Reads the first document of a file.
pub(super) fn parse(file: &Arc<SourceFile>) -> Result<Node, Fault> {
    let mut loader = Loader {
        file,
        offsets: Offsets::new(file.text()),
        anchors: Vec::new(),
        nodes: 0,
    };
    let mut parser = Parser::new_from_str(file.text());
    loop {
        let (event, span) = loader.next(&mut parser)?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd | Event::DocumentEnd => {
                return Ok(Node {
                    kind: Kind::Scalar(String::new(), true),
                    place: span,
                    merge: Merge::default(),
                });
            }
            event => return loader.node(event, span, &mut parser, 0),
        }
    }
}

/// Byte offsets of characters, in which the parser counts.
struct Offsets {
    ascii: bool,
    starts: Vec<usize>,
}

impl Offsets {
    fn new(text: &str) -> Self {
        let ascii = text.is_ascii();
        let starts = if ascii {
            Vec::new()
        } else {
            let ends = std::iter::once(text.len());
            text.char_indices().map(|(at, _)| at).chain(ends).collect()
        };
        Self { ascii, starts }
    }

    fn byte(&self, character: usize) -> usize {
        if self.ascii {
            return character;
        }
        let last = self.starts.last().copied().unwrap_or_default();
        self.starts.get(character).copied().unwrap_or(last)
    }
}

struct Loader<'a> {
    file: &'a Arc<SourceFile>,
    offsets: Offsets,
    /// Nodes by the number of their anchor.
    anchors: Vec<(usize, Node)>,
    nodes: usize,
}

type Source<'a> = Parser<'a, saphyr_parser::StrInput<'a>>;

impl<'a> Loader<'a> {
    fn place(&self, start: usize, end: usize) -> Place {
        let length = self.file.text().len();
        let start = self.offsets.byte(start).min(length);
        Place {
            file: Arc::clone(self.file),
            span: Span::new(start, self.offsets.byte(end).clamp(start, length)),
        }
    }

    fn next(&self, parser: &mut Source<'a>) -> Result<(Event<'a>, Place), Fault> {
        match parser.next_event() {
            Some(Ok((event, span))) => {
                Ok((event, self.place(span.start.index(), span.end.index())))
            }
            Some(Err(error)) => {
                let at = error.marker().index();
                let message = format!("this is no YAML: {}", error.info());
                Err(Fault::new("syntax", &self.place(at, at + 1), message))
            }
            None => {
                let end = self.file.text().len();
                let place = self.place(end, end);
                Err(Fault::new("syntax", &place, "the YAML ends early"))
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        place: Place,
        parser: &mut Source<'a>,
        depth: usize,
    ) -> Result<Node, Fault> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Fault::new("syntax", &place, "the YAML is nested too deep"));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let kind = Kind::Scalar(text.into_owned(), plain);
                let merge = merge(tag.as_deref());
                Ok(self.keep(anchor, Node { kind, place, merge }))
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    let (event, at) = self.next(parser)?;
                    if let Event::SequenceEnd = event {
                        let place = place.join(&at);
                        let kind = Kind::List(items);
                        let merge = merge(tag.as_deref());
                        return Ok(self.keep(anchor, Node { kind, place, merge }));
                    }
                    items.push(self.node(event, at, parser, depth + 1)?);
                }
            }
            Event::MappingStart(anchor, tag) => {
                let entries = self.mapping(parser, depth)?;
                let kind = Kind::Map(entries);
                let merge = merge(tag.as_deref());
                Ok(self.keep(anchor, Node { kind, place, merge }))
            }
            Event::Alias(anchor) => self.alias(anchor, &place),
            _ => Err(Fault::new("syntax", &place, "a value is needed here")),
        }
    }

    fn mapping(
        &mut self,
        parser: &mut Source<'a>,
        depth: usize,
    ) -> Result<Vec<(Name, Node)>, Fault> {
        let mut entries: Vec<(Name, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next(parser)?;
            if let Event::MappingEnd = event {
                break;
            }
            let key = self.node(event, at, parser, depth + 1)?;
            let Kind::Scalar(text, _) = key.kind else {
                return Err(Fault::new("syntax", &key.place, "a key is a plain word"));
            };
            let (event, at) = self.next(parser)?;
            let value = self.node(event, at, parser, depth + 1)?;
            if text == "<<" {
                merged.push(value);
                continue;
            }
            if entries.iter().any(|(name, _)| name.text == text) {
                let message = format!("the key {text} is there twice");
                return Err(Fault::new("duplicate-key", &key.place, message));
            }
            let place = key.place;
            entries.push((Name { text, place }, value));
        }
        for value in merged {
            let maps = match value.kind {
                Kind::List(maps) => maps,
                kind => vec![Node { kind, ..value }],
            };
            for (name, node) in maps.iter().flat_map(Node::entries) {
                if !entries.iter().any(|(own, _)| own.text == name.text) {
                    entries.push((name.clone(), node.clone()));
                }
            }
        }
        Ok(entries)
    }

    fn alias(&mut self, anchor: usize, place: &Place) -> Result<Node, Fault> {
        let found = self
            .anchors
            .iter()
            .rev()
            .find(|(number, _)| *number == anchor);
        let Some((_, node)) = found else {
            return Err(Fault::new("syntax", place, "the alias stands for nothing"));
        };
        // An alias of an alias of an alias … multiplies what has to be looked at.
        self.nodes += count(node);
        if self.nodes > MAX_NODES {
            return Err(Fault::new(
                "syntax",
                place,
                "the aliases multiply without end",
            ));
        }
        Ok(node.clone())
    }

    fn keep(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.anchors.push((anchor, node.clone()));
        }
        node
    }
}

fn merge(tag: Option<&Tag>) -> Merge {
    match tag
        .filter(|tag| tag.handle == "!")
        .map(|tag| tag.suffix.as_str())
    {
        Some("override") => Merge::Override,
        Some("reset") => Merge::Reset,
        _ => Merge::Together,
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar(..) => 0,
        Kind::List(items) => items.iter().map(count).sum(),
        Kind::Map(entries) => entries.iter().map(|(_, node)| count(node)).sum(),
    }
}
