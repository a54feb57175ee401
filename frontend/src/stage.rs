//! Instructions to stages.

use std::collections::BTreeMap;

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::{ArgDefinition, Instruction, Kind, misread, parse_instruction};
use crate::plan::independent;
use crate::source::{SourceFile, Span, Spanned};
use crate::syntax::{Directives, SYNTAX_ARG, foreign_syntax, given_syntax, read_ast};

/// A parsed Dockerfile: global ARGs and stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// What the comments at the top ask for.
    pub directives: Directives,
    /// The ARG instructions before the first FROM.
    pub preamble: Vec<Instruction>,
    /// Stages in order; never empty.
    pub stages: Vec<Stage>,
    /// Warnings.
    pub warnings: Diagnostics,
}

impl Dockerfile {
    /// Returns the ARGs before the first FROM.
    pub fn global_args(&self) -> impl Iterator<Item = &ArgDefinition> {
        let instructions = self.preamble.iter();
        instructions.flat_map(|instruction| match &instruction.kind {
            Kind::Arg(definitions) => definitions.as_slice(),
            _ => &[],
        })
    }
}

impl Dockerfile {
    /// Returns all instructions but FROM.
    pub(crate) fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        let stages = self.stages.iter().flat_map(|stage| &stage.instructions);
        self.preamble.iter().chain(stages)
    }
}

/// A FROM and the instructions below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Name in lower case.
    pub name: Option<Spanned<String>>,
    /// Image or stage to start from, unexpanded.
    pub base: Spanned<String>,
    /// `--platform`, unexpanded.
    pub platform: Option<Spanned<String>>,
    /// `FROM` as written.
    pub keyword: Spanned<String>,
    /// `AS` as written.
    pub as_keyword: Option<Spanned<String>>,
    /// The instructions after FROM.
    pub instructions: Vec<Instruction>,
    /// The FROM line.
    pub span: Span,
    /// Comment lines directly above FROM.
    pub comments: Vec<String>,
}

/// So many errors are reported; a file with more is no Dockerfile.
const MAX_ERRORS: usize = 50;

/// Parses a Dockerfile; on failure the list holds every independent error.
///
/// ```
/// use cooper_frontend::{SourceFile, parse};
///
/// let file = SourceFile::new("Dockerfile", "FROM busybox\nRNU make\nCOPY a\n");
/// let errors = parse(&file).unwrap_err();
/// assert_eq!(errors[0].to_string(), "unknown instruction: RNU (did you mean `RUN`?)");
/// assert_eq!(errors.len(), 2);
/// ```
pub fn parse(source: &SourceFile) -> Result<Dockerfile, Diagnostics> {
    parse_for(source, &BTreeMap::new())
}

/// Parses a Dockerfile as [`parse`] does, for a build with arguments: `BUILDKIT_SYNTAX` counts in
/// place of the file's `syntax` directive.
pub fn parse_for(
    source: &SourceFile,
    build_args: &BTreeMap<String, String>,
) -> Result<Dockerfile, Diagnostics> {
    let (dockerfile, mut errors) = read_stages(source, build_args);
    match dockerfile {
        Some(dockerfile) if errors.is_empty() => return Ok(dockerfile),
        Some(dockerfile) => errors.extend(independent(&dockerfile)),
        None => {}
    }
    errors.sort_by_key(|error| error.span.start);
    Err(explain(source, errors))
}

/// Returns what can be read of a file that [`parse_for`] refuses: stages without the instructions
/// that are wrong. Of a file that is no Dockerfile, or another language's, that is nothing.
pub(crate) fn salvage(
    source: &SourceFile,
    build_args: &BTreeMap<String, String>,
) -> Option<Dockerfile> {
    let (dockerfile, errors) = read_stages(source, build_args);
    let foreign = |error: &Diagnostic| error.code == Code::UnsupportedSyntax;
    if errors.iter().any(foreign) || source.text().contains('\0') {
        return None;
    }
    dockerfile.filter(|file| !file.stages.is_empty())
}

/// Reads the stages, and lists what is wrong with instructions; no stages if there is no telling
/// what the rest of the file means.
fn read_stages(
    source: &SourceFile,
    build_args: &BTreeMap<String, String>,
) -> (Option<Dockerfile>, Diagnostics) {
    let given = build_args.get(SYNTAX_ARG).filter(|given| !given.is_empty());
    let syntax = given.map(String::as_str);
    if source.text().is_empty() {
        let message = "the Dockerfile cannot be empty";
        let error = Diagnostic::error(Code::EmptyFile, Span::default(), message);
        return (None, vec![error]);
    }
    let foreign = match syntax {
        Some(given) => given_syntax(given),
        None => foreign_syntax(source),
    };
    if let Some(foreign) = foreign {
        return (None, vec![foreign]);
    }
    let (ast, mut errors) = read_ast(source);
    errors.retain(|error| syntax.is_none() || error.code != Code::UnsupportedSyntax);
    // What the escape character is decides over every line below.
    if errors.iter().any(|error| error.code == Code::InvalidEscape) {
        return (None, errors);
    }
    let escape = ast.directives.escape;
    let mut builder = Builder {
        errors,
        ..Builder::default()
    };
    let is_empty = ast.statements.is_empty();
    let mut warnings = ast.warnings;
    for statement in ast.statements {
        warnings.extend(misread(&statement));
        let is_from = statement.keyword.eq_ignore_ascii_case("FROM");
        let from = is_from.then(|| (statement.keyword.clone(), statement.span));
        match parse_instruction(statement, escape) {
            Ok(instruction) => builder.add(instruction),
            Err(errors) => {
                if let Some((keyword, span)) = from {
                    builder.add_broken(keyword, span);
                }
                builder.errors.extend(errors);
            }
        }
    }
    let end = Span::new(source.text().len(), source.text().len());
    builder.finish(end, is_empty);
    let dockerfile = Dockerfile {
        directives: ast.directives,
        preamble: builder.preamble,
        stages: builder.stages,
        warnings,
    };
    (Some(dockerfile), builder.errors)
}

#[derive(Default)]
struct Builder {
    preamble: Vec<Instruction>,
    stages: Vec<Stage>,
    errors: Diagnostics,
    /// Only the first instruction without a stage is worth a word.
    stray: bool,
}

impl Builder {
    fn add(&mut self, instruction: Instruction) {
        match (instruction.kind, self.stages.last_mut()) {
            (Kind::From(from), _) => self.stages.push(Stage {
                name: from.name,
                base: from.base,
                platform: from.platform,
                keyword: instruction.keyword,
                as_keyword: from.as_keyword,
                instructions: Vec::new(),
                span: instruction.span,
                comments: instruction.comments,
            }),
            (kind @ Kind::Arg(_), None) => self.preamble.push(Instruction {
                kind,
                ..instruction
            }),
            (kind, Some(stage)) => stage.instructions.push(Instruction {
                kind,
                ..instruction
            }),
            (kind, None) => self.stray(&kind, instruction.span),
        }
    }

    /// Begins a stage by a FROM that did not parse, so that what follows is not without one.
    fn add_broken(&mut self, keyword: Spanned<String>, span: Span) {
        self.stages.push(Stage {
            name: None,
            base: keyword.clone(),
            platform: None,
            keyword,
            as_keyword: None,
            instructions: Vec::new(),
            span,
            comments: Vec::new(),
        });
    }

    fn stray(&mut self, kind: &Kind, span: Span) {
        if self.stray {
            return;
        }
        self.stray = true;
        let message = format!(
            "no build stage in current context: {} before FROM",
            kind.name()
        );
        self.errors
            .push(Diagnostic::error(Code::MissingFrom, span, message));
    }

    fn finish(&mut self, end: Span, empty: bool) {
        if !self.stages.is_empty() || !self.errors.is_empty() {
            return;
        }
        let message = if empty {
            "file with no instructions"
        } else {
            "dockerfile contains no stages to build"
        };
        let error = Diagnostic::error(Code::MissingFrom, end, message);
        self.errors
            .push(error.with_help("a Dockerfile needs at least one FROM"));
    }
}

/// Puts a single finding in place of many that have one cause.
fn explain(source: &SourceFile, mut errors: Diagnostics) -> Diagnostics {
    if let Some(at) = source.text().find('\0') {
        let message = format!("{} is a binary file, not a Dockerfile", source.name());
        return vec![
            Diagnostic::error(Code::BinaryFile, Span::new(at, at + 1), message)
                .with_label("a NUL byte"),
        ];
    }
    if errors.len() > MAX_ERRORS {
        let left = errors.len() - MAX_ERRORS;
        errors.truncate(MAX_ERRORS);
        let last = errors.remove(MAX_ERRORS - 1);
        errors.push(last.with_note(format!("{left} more errors are not shown")));
    }
    errors
}
