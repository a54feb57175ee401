//! Build checks: what works in a Dockerfile and still deserves a word.
//!
//! Each [`Rule`] has a file of its own in `rules/`: its name, what it is about, its
//! documentation with examples, and a function. [`check`] walks the file once and hands each
//! rule what it asked for:
//!
//! ```text
//! File         the whole file                         all of it
//! From         a FROM line with its variables expanded   every stage
//! Line         an instruction as it is written        every stage, preamble included
//! Stage        a stage's instructions                 stages that are built
//! Step         an instruction with its variables      stages that are built
//! ```
//!
//! "Built" is what the plan says: stages that the target needs, or all of them
//! ([`Plan::with_all_stages`]). A [`Config`] switches rules off and on; a `# check=` comment
//! directly above an instruction does so for that instruction. Of a file that cannot be built
//! [`check_broken`] says what can be said.
//!
//! ```
//! use cooper_frontend::{Plan, SourceFile, lint, parse, settings::BuildSettings};
//! use cooper_oci::Platform;
//!
//! let source = SourceFile::new("Dockerfile", "FROM scratch as base\n");
//! let dockerfile = parse(&source).unwrap();
//! let plan = Plan::new(&dockerfile, &BuildSettings::new(Platform::host())).unwrap();
//! let (config, _) = lint::Config::of(&source, &plan).unwrap();
//! let images = Default::default();
//! let warnings = lint::check(&lint::Inputs::new(&source, &plan, &images), &config);
//! assert_eq!(warnings[0].rule.name, "FromAsCasing");
//! assert_eq!(warnings[0].message, "'as' and 'FROM' keywords' casing do not match");
//! ```

mod broken;
mod config;
mod description;
mod page;
mod rules;
mod scope;
mod walk;

use crate::dockerignore::DockerIgnore;
use crate::image::ResolvedImages;
use crate::instruction::Instruction;
use crate::plan::Plan;
use crate::source::{SourceFile, Span};
use crate::stage::Stage;

pub use broken::check_broken;
pub use config::Config;
pub(crate) use description::{describe, is_description};
pub use page::{index, page};
pub use rules::{RULES, is_secret_name};
pub use walk::check;

use walk::{File, FromLine, Step};

/// One build check.
#[derive(Debug)]
pub struct Rule {
    /// Name in directives and reports.
    pub name: &'static str,
    /// What the rule asks for, in one line.
    pub summary: &'static str,
    /// Why, and what to do instead: Markdown paragraphs.
    pub doc: &'static str,
    /// Dockerfiles that break the rule.
    pub bad: &'static [&'static str],
    /// Dockerfiles that keep it.
    pub good: &'static [&'static str],
    /// What these examples need besides.
    pub given: Given,
    /// Whether it must be switched on.
    pub experimental: bool,
    check: Check,
}

/// What the examples of a rule need besides the Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Nothing.
    Nothing,
    /// A `.dockerignore` with these lines.
    Ignored(&'static str),
    /// A registry that has the base image for this platform only; the build is for linux/amd64.
    BaseFor(&'static str),
}

impl Rule {
    /// Returns the address of the rule's description for everybody.
    pub fn url(&self) -> String {
        format!(
            "https://docs.docker.com/go/dockerfile/rule/{}/",
            kebab(self.name)
        )
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

type StepCheck = fn(&Step<'_>, &mut Findings<'_>);

/// What a rule looks at.
#[derive(Debug)]
enum Check {
    File(fn(&File<'_>, &mut Findings<'_>)),
    From(fn(&FromLine<'_>, &mut Findings<'_>)),
    Line(fn(&Instruction, &mut Findings<'_>)),
    Stage(fn(&Stage, &mut Findings<'_>)),
    Step(StepCheck),
}

/// What the checks look at.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    source: &'a SourceFile,
    plan: &'a Plan,
    images: &'a ResolvedImages,
    ignore: Option<&'a DockerIgnore>,
}

impl<'a> Inputs<'a> {
    /// Joins a file with its plan and the images found for it. Where an image is missing, the
    /// rules that depend on it are silent.
    pub fn new(source: &'a SourceFile, plan: &'a Plan, images: &'a ResolvedImages) -> Self {
        Self {
            source,
            plan,
            images,
            ignore: None,
        }
    }

    /// Adds the rules that leave files out of the build context.
    #[must_use]
    pub fn with_ignore(mut self, ignore: Option<&'a DockerIgnore>) -> Self {
        self.ignore = ignore;
        self
    }
}

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong here.
    pub message: String,
    /// The token at fault.
    pub span: Span,
    /// The instruction at fault, whose lines count in reports.
    pub location: Span,
    /// What would help.
    pub help: Option<String>,
    /// Whether the build must not go on.
    pub error: bool,
}

/// An instruction that a warning can be about.
#[derive(Clone, Copy)]
struct Site<'a> {
    span: Span,
    comments: &'a [String],
}

impl<'a> From<&'a Instruction> for Site<'a> {
    fn from(instruction: &'a Instruction) -> Self {
        Self {
            span: instruction.span,
            comments: &instruction.comments,
        }
    }
}

impl<'a> From<&'a Stage> for Site<'a> {
    fn from(stage: &'a Stage) -> Self {
        Self {
            span: stage.span,
            comments: &stage.comments,
        }
    }
}

/// Collects the violations of the rule at work.
struct Findings<'a> {
    rule: &'static Rule,
    config: &'a Config,
    warnings: Vec<Warning>,
}

/// After so many warnings there are no more suggestions: each costs a look at all names.
const MAX_SUGGESTING: usize = 200;

impl Findings<'_> {
    /// Returns ` (did you mean …?)` if some candidate is near.
    fn suggestion<'c>(
        &self,
        name: &str,
        mark: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> String {
        if self.warnings.len() > MAX_SUGGESTING {
            return String::new();
        }
        let closest = crate::error::closest(name, candidates);
        closest.map_or_else(String::new, |best| format!(" (did you mean {mark}{best}?)"))
    }

    /// Reports a violation at a token of an instruction.
    fn warn<'s>(&mut self, site: impl Into<Site<'s>>, span: Span, message: impl Into<String>) {
        self.warn_with_help(site, span, message, None);
    }

    fn warn_with_help<'s>(
        &mut self,
        site: impl Into<Site<'s>>,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let site = site.into();
        let Some(error) = self.config.verdict(self.rule, site.comments) else {
            return;
        };
        self.warnings.push(Warning {
            rule: self.rule,
            message: message.into(),
            span,
            location: site.span,
            help,
            error,
        });
    }
}

/// `JSONArgsRecommended` → `json-args-recommended`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    let bytes = name.as_bytes();
    for (at, c) in name.char_indices() {
        let word_starts = c.is_ascii_uppercase()
            && at > 0
            && (bytes[at - 1].is_ascii_lowercase()
                || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase));
        if word_starts {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Quotes a text as Go's `%q` does for the characters that occur in Dockerfiles.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests;
