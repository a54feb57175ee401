//! What the user reads when something went wrong.
//!
//! A [`Report`] is plain data: a heading, the steps that failed, excerpts of a Dockerfile, the
//! chain of causes, hints, and the exit code. Commands return one as their error; `main` prints
//! it. This is the only module that writes prose to stderr (the progress display aside), and
//! everything on it reads well without colour.
//!
//! | Exit code | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the command line, the input, the environment or a step of the build is at fault |
//! | 70 | cooper is at fault |
//! | 125, 126, 127 | `run`: the container could not be set up, its program not invoked, not found |
//! | 130 | interrupted |

use crate::exit::ExitCode;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::progress::{FailedStep, Secrets};

/// Lines of a failed step that are repeated when the display has shown them already.
const REPEATED: usize = 20;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command line, the input, the environment or a step of the build is at fault.
    Failure,
    /// Cooper itself is at fault.
    Internal,
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// The exit code of a container, or the one docker gives for why there was none.
    Code(u8),
}

impl Exit {
    /// Returns the process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Internal => 70,
            Self::Interrupted => 130,
            Self::Code(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// How serious an excerpt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The build cannot go on.
    Error,
    /// It can.
    Warning,
}

/// A place in a source text and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file's name as the user knows it.
    pub file: String,
    /// The whole text.
    pub text: Arc<str>,
    /// The bytes at fault.
    pub span: Range<usize>,
    /// How serious it is.
    pub severity: Severity,
    /// A short name for the kind of problem, for those who search for it; may be empty.
    pub code: String,
    /// One line that says what is wrong.
    pub message: String,
    /// What stands beside the caret; may be empty.
    pub label: String,
    /// More facts, a line each.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Excerpt {
    fn group(&self) -> Group<'_> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut title = level.primary_title(self.message.as_str());
        if !self.code.is_empty() {
            title = title.id(self.code.as_str());
        }
        let mut annotation = AnnotationKind::Primary.span(self.clamped());
        if !self.label.is_empty() {
            annotation = annotation.label(self.label.as_str());
        }
        let snippet = Snippet::source(&*self.text)
            .path(self.file.as_str())
            .annotation(annotation);
        let mut group = title.element(snippet);
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }

    /// Returns the span within the text and on character boundaries.
    fn clamped(&self) -> Range<usize> {
        let floor = |mut index: usize| {
            index = index.min(self.text.len());
            while !self.text.is_char_boundary(index) {
                index -= 1;
            }
            index
        };
        let start = floor(self.span.start);
        start..floor(self.span.end).max(start)
    }
}

/// Everything there is to say about one failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(Box<Body>);

/// A report is the error of many calls that succeed; boxed, it costs them nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Body {
    heading: String,
    causes: Vec<String>,
    excerpts: Vec<Excerpt>,
    steps: Vec<FailedStep>,
    hints: Vec<String>,
    exit: Exit,
    redaction: Secrets,
}

impl Report {
    /// Returns a report that says `heading`.
    pub fn new(heading: impl Into<String>) -> Self {
        Self(Box::new(Body {
            heading: heading.into(),
            causes: Vec::new(),
            excerpts: Vec::new(),
            steps: Vec::new(),
            hints: Vec::new(),
            exit: Exit::Failure,
            redaction: Secrets::default(),
        }))
    }

    /// Returns a report on `error` and what caused it.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        let mut report = Self::new(error.to_string());
        report.0.causes = causes(error);
        report
    }

    /// Adds one more sentence on why.
    #[must_use]
    pub fn cause(mut self, why: impl Into<String>) -> Self {
        self.0.causes.push(why.into());
        self
    }

    /// Adds what caused `error`, but not `error` itself, which the report says already.
    #[must_use]
    pub fn causes_of(mut self, error: &dyn std::error::Error) -> Self {
        self.0.causes.extend(causes(error));
        self
    }

    /// Returns a report that says nothing but ends the process with `exit`.
    pub fn silent(exit: Exit) -> Self {
        Self::new("").exit(exit)
    }

    /// Returns the last of `reports` as the error, after the others are printed: of several
    /// arguments each fails by itself.
    pub fn of_all(mut reports: Vec<Self>) -> Result<(), Self> {
        let Some(last) = reports.pop() else {
            return Ok(());
        };
        for report in reports {
            print_error(&report.render(false));
        }
        Err(last)
    }

    /// Puts `heading` before what was said so far, which becomes its first cause.
    #[must_use]
    pub fn context(mut self, heading: impl Into<String>) -> Self {
        let first = std::mem::replace(&mut self.0.heading, heading.into());
        if !first.is_empty() {
            self.0.causes.insert(0, first);
        }
        self
    }

    /// Adds a place in a source text.
    #[must_use]
    pub fn excerpt(mut self, excerpt: Excerpt) -> Self {
        self.0.excerpts.push(excerpt);
        self
    }

    /// Adds steps that failed, whose output is shown.
    #[must_use]
    pub fn steps(mut self, steps: Vec<FailedStep>) -> Self {
        self.0.steps.extend(steps);
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Keeps the values of secrets out of all that is said, source texts included.
    #[must_use]
    pub fn redact(mut self, secrets: Secrets) -> Self {
        self.0.redaction = secrets;
        self
    }

    /// Sets how the process ends.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// Returns how the process ends.
    pub fn exit_kind(&self) -> Exit {
        self.0.exit
    }

    /// Returns the text of the report, with colours if `color` says so.
    pub fn render(&self, color: bool) -> String {
        let style = Style { color };
        let mut out = String::new();
        for step in &self.0.steps {
            render_step(step, &mut out);
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        for excerpt in &self.0.excerpts {
            let _ = writeln!(out, "{}\n", renderer.render(&[excerpt.group()]));
        }
        if !self.0.heading.is_empty() {
            let _ = writeln!(out, "{} {}", style.bad("ERROR:"), self.0.heading);
        }
        let told = |cause: &&String| self.0.excerpts.iter().any(|one| one.message == **cause);
        for cause in self.0.causes.iter().filter(|cause| !told(cause)) {
            let _ = writeln!(out, "  {} {cause}", style.bold("caused by:"));
        }
        for hint in &self.0.hints {
            let _ = writeln!(out, "  {} {hint}", style.bold("hint:"));
        }
        self.0.redaction.mask(&out)
    }

    /// Prints the report and returns the process's exit code.
    pub fn print(&self, color: bool) -> ExitCode {
        print_error(&self.render(color));
        self.0.exit.into()
    }
}

/// Returns what `error` says its causes are, outermost first. A cause whose text its effect
/// repeats is left out.
fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !last.contains(&text) {
            causes.push(text.clone());
            last = text;
        }
        next = cause.source();
    }
    causes
}

fn render_step(step: &FailedStep, out: &mut String) {
    let skipped = if step.shown {
        step.tail.len().saturating_sub(REPEATED)
    } else {
        0
    };
    if step.tail.is_empty() {
        return;
    }
    let _ = writeln!(out, "------\n > {}:", step.name);
    let missing = step.dropped + skipped as u64;
    if missing > 0 {
        let _ = writeln!(out, "… {missing} earlier lines");
    }
    for line in &step.tail[skipped..] {
        let _ = writeln!(out, "{:.3} {}", line.at.as_secs_f64(), line.text);
    }
    out.push_str("------\n");
}

struct Style {
    color: bool,
}

impl Style {
    fn bad(&self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Returns the text of warnings that a Dockerfile gave rise to.
pub fn render_warnings(warnings: &[Excerpt], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for warning in warnings {
        let _ = writeln!(out, "{}\n", renderer.render(&[warning.group()]));
    }
    out
}

/// Writes `text` to stderr. When stderr is gone there is nobody to tell.
pub fn print_error(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes data to stdout; a reader that has gone away (`cooper images | head -1`) is no error.
pub fn print_data(text: &str) -> Result<(), Report> {
    stream_data(text).map(drop)
}

/// Writes data to stdout, and returns whether there is still a reader for more.
pub fn stream_data(text: &str) -> Result<bool, Report> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Report::from_error(&error).context("cannot write to stdout")),
        Ok(()) => Ok(true),
    }
}

/// Returns which of `known` the user may have meant by `word`.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(3) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::progress::{Line, StepId, Stream};

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Fault {
        message: &'static str,
        source: Option<Box<Fault>>,
    }

    fn fault(messages: &[&'static str]) -> Fault {
        let (message, rest) = messages.split_first().expect("a fault has a message");
        let source = (!rest.is_empty()).then(|| Box::new(fault(rest)));
        Fault { message, source }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_a_hint() {
        let error = fault(&[
            "cannot open the store",
            "cannot lock /x: busy",
            "busy",
            "errno 11",
        ]);
        let report = Report::from_error(&error).hint("stop the other one");
        insta::assert_snapshot!(report.render(false), @r"
        ERROR: cannot open the store
          caused by: cannot lock /x: busy
          caused by: errno 11
          hint: stop the other one
        ");
    }

    fn excerpt() -> Excerpt {
        let text: Arc<str> = "FROM busybox\n# note\nRUNN false \\\n  now\n".into();
        Excerpt {
            file: "Dockerfile".into(),
            span: 20..24,
            text,
            severity: Severity::Error,
            code: "unknown-instruction".into(),
            message: "unknown instruction RUNN".into(),
            label: "not an instruction".into(),
            notes: vec!["instructions are not case-sensitive".into()],
            help: Some("did you mean RUN?".into()),
        }
    }

    #[test]
    fn a_place_in_a_dockerfile_is_shown_with_a_caret() {
        let report = Report::new("the Dockerfile cannot be parsed").excerpt(excerpt());
        insta::assert_snapshot!(report.render(false), @r"
        error[unknown-instruction]: unknown instruction RUNN
         --> Dockerfile:3:1
          |
        3 | RUNN false \
          | ^^^^ not an instruction
          |
          = note: instructions are not case-sensitive
          = help: did you mean RUN?

        ERROR: the Dockerfile cannot be parsed
        ");
    }

    #[test]
    fn what_an_excerpt_says_is_not_said_again() {
        let report = Report::new(excerpt().message)
            .context("the build failed")
            .excerpt(excerpt());
        assert!(report.render(false).ends_with("ERROR: the build failed\n"));
    }

    #[test]
    fn a_span_outside_the_text_is_clamped() {
        let wild = Excerpt {
            span: 39..4000,
            ..excerpt()
        };
        assert_eq!(wild.clamped(), 39..wild.text.len());
        let multibyte = Excerpt {
            text: "aé".into(),
            span: 2..2,
            ..excerpt()
        };
        assert_eq!(multibyte.clamped(), 1..1);
    }

    #[test]
    fn a_failed_step_shows_its_tail() {
        let line = |at, text: &str| Line {
            at: Duration::from_millis(at),
            stream: Stream::Stderr,
            text: text.into(),
        };
        let step = FailedStep {
            id: StepId::for_tests(4),
            name: "[build 2/3] RUN make".into(),
            tail: vec![line(120, "cc a.c"), line(1340, "a.c:1: error")],
            dropped: 3,
            shown: false,
        };
        let report = Report::new("process \"make\" did not complete successfully: exit code: 2")
            .steps(vec![step]);
        insta::assert_snapshot!(report.render(false), @r#"
        ------
         > [build 2/3] RUN make:
        … 3 earlier lines
        0.120 cc a.c
        1.340 a.c:1: error
        ------
        ERROR: process "make" did not complete successfully: exit code: 2
        "#);
    }

    #[test]
    fn near_misses_are_suggested_and_far_ones_are_not() {
        let known = ["type", "dest", "compression"];
        let cases = [
            ("typ", Some("type")),
            ("dst", Some("dest")),
            ("DEST", Some("dest")),
            ("compresion", Some("compression")),
            ("x", None),
            ("nothing", None),
        ];
        for (word, expected) in cases {
            assert_eq!(did_you_mean(word, known), expected, "{word}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_table() {
        let exits = [
            Exit::Failure,
            Exit::Internal,
            Exit::Interrupted,
            Exit::Code(127),
        ];
        assert_eq!(exits.map(Exit::code), [1, 70, 130, 127]);
    }
}
