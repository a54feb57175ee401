//! ONBUILD triggers: text to instructions of the stage that they run in.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::{Instruction, Kind, parse_instruction};
use crate::source::{SourceFile, Span};
use crate::syntax::parse_ast;

use super::From;

/// A trigger, and where its reader is to look. Its tokens have no place in the Dockerfile: the text
/// is parsed by itself, when a stage begins with it.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    text: String,
    place: Span,
    origin: Origin,
}

/// Where the text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Another Dockerfile.
    Image,
    /// This one; where its first line begins, if it stands there byte for byte.
    Stage(Option<usize>),
}

impl Trigger {
    /// Returns a trigger of an image, which is at the FROM line that brings it in.
    pub(super) fn of_image(text: &str, from: Span) -> Self {
        Self {
            text: text.to_owned(),
            place: from,
            origin: Origin::Image,
        }
    }

    /// Returns a trigger that `onbuild` has set.
    pub(super) fn of_stage(text: &str, onbuild: &Instruction) -> Self {
        let (original, place) = (&onbuild.original, onbuild.span);
        // Continued over lines it is longer in the file.
        let verbatim = original.len() == place.range().len();
        let within = original.find(first_line(text)).filter(|_| verbatim);
        Self {
            text: text.to_owned(),
            place,
            origin: Origin::Stage(within.map(|within| place.start + within)),
        }
    }

    /// Returns where it is shown.
    pub(crate) fn place(&self) -> Span {
        self.place
    }

    /// Parses the text.
    pub(super) fn parse(&self) -> Result<Instruction, Diagnostics> {
        let source = SourceFile::new("trigger", self.text.as_str());
        let whole = Span::new(0, first_line(&self.text).len());
        let wrong = |message: &str| vec![Diagnostic::error(Code::InvalidTrigger, whole, message)];
        let parsed = parse_ast(&source).and_then(|ast| {
            let Ok([statement]) = <[_; 1]>::try_from(ast.statements) else {
                return Err(wrong("onbuild trigger should be a single expression"));
            };
            parse_instruction(statement, ast.directives.escape)
        });
        let instruction = parsed.map_err(|errors| self.relocate(errors))?;
        if matches!(instruction.kind, Kind::From(_)) {
            return Err(self.relocate(wrong("FROM isn't allowed as an ONBUILD trigger")));
        }
        Ok(instruction)
    }

    /// Moves errors to where the trigger is shown: those about tokens of the text to where these
    /// stand, if they do.
    pub(crate) fn relocate(&self, errors: Diagnostics) -> Diagnostics {
        let note = match self.origin {
            Origin::Image => format!("in the trigger `ONBUILD {}`", first_line(&self.text)),
            Origin::Stage(_) => "a stage that starts from this one runs the trigger".to_owned(),
        };
        errors
            .into_iter()
            .map(|mut error| {
                error.span = self.token(error.span);
                error.with_note(note.clone())
            })
            .collect()
    }

    /// Moves what is asked of an image to the token that names it.
    pub(super) fn place_request(&self, from: Option<From>) -> Option<From> {
        match from {
            Some(From::Image(mut request)) => {
                request.span = self.token(request.span);
                Some(From::Image(request))
            }
            from => from,
        }
    }

    /// Returns the place of a token of the text.
    fn token(&self, token: Span) -> Span {
        match self.origin {
            Origin::Stage(Some(begin))
                if token != self.place && token.end <= first_line(&self.text).len() =>
            {
                Span::new(begin + token.start, begin + token.end)
            }
            _ => self.place,
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
