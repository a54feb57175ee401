//! Which rules count: the `check` directive, the build argument in its place, and comments
//! above single instructions.

use crate::error::{Code, Diagnostic, Diagnostics, closest};
use crate::plan::Plan;
use crate::source::{SourceFile, Span};

use super::{RULES, Rule};

/// The build argument that replaces the file's directive.
const BUILD_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What a build wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    options: Options,
    /// The file's directive. It is a comment too, perhaps directly above the first instruction,
    /// but what it says is in `options`, unless the build has other options.
    directive: Option<String>,
    /// Whether some comment above an instruction switches experimental rules on.
    local_experiments: bool,
}

/// One value of `check`: `skip=A,B;error=true;experimental=C`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    skip: Names,
    experimental: Names,
    error: Option<bool>,
}

/// Rules by name, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    All,
    Some(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Names {
    fn parse(text: &str) -> Self {
        let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(|name| name == "all") {
            return Self::All;
        }
        Self::Some(names.into_iter().filter(|name| !name.is_empty()).collect())
    }

    fn has(&self, rule: &Rule) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|name| name == rule.name),
        }
    }

    fn listed(&self) -> &[String] {
        match self {
            Self::All => &[],
            Self::Some(names) => names,
        }
    }
}

impl Options {
    /// Reads a value. What follows `//` is a remark.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.split("//").next().unwrap_or_default();
        let mut options = Self::default();
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("invalid check option {part:?}"))?;
            let value = value.trim();
            match key.trim() {
                "skip" => options.skip = Names::parse(value),
                "experimental" => options.experimental = Names::parse(value),
                "error" => options.error = Some(parse_bool(value)?),
                _ => return Err(format!("invalid check option {part:?}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, rule: &Rule) -> bool {
        if rule.experimental {
            self.experimental.has(rule)
        } else {
            !self.skip.has(rule)
        }
    }

    /// Returns warnings about names that no rule has.
    fn unknown(&self, span: Span) -> impl Iterator<Item = Diagnostic> {
        let names = self.skip.listed().iter().chain(self.experimental.listed());
        let unknown = names.filter(|name| RULES.iter().all(|rule| rule.name != *name));
        unknown.map(move |name| {
            let message = format!("there is no build check {name:?}");
            let warning = Diagnostic::warning(Code::UnknownCheck, span, message);
            match closest(name, RULES.iter().map(|rule| rule.name)) {
                Some(best) => warning.with_help(format!("did you mean `{best}`?")),
                None => warning,
            }
        })
    }
}

fn parse_bool(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "failed to parse check option error={value:?}: not true or false"
        )),
    }
}

fn invalid(span: Span, message: String) -> Diagnostic {
    Diagnostic::error(Code::InvalidCheckOption, span, message)
}

impl Config {
    /// Reads what a build says about checks: the build argument `BUILDKIT_DOCKERFILE_CHECK`,
    /// or else the file's directive; and the comments above instructions. Also returns
    /// warnings about rules that do not exist.
    pub fn of(source: &SourceFile, plan: &Plan) -> Result<(Self, Diagnostics), Diagnostics> {
        let mut config = Self::default();
        let mut warnings = Vec::new();
        let directive = plan.dockerfile.directives.check.as_ref();
        config.directive = directive.map(|check| check.value.clone());
        let given = plan.settings.build_args.get(BUILD_ARG);
        let (text, span) = match (given, directive) {
            (Some(text), _) => (text.as_str(), Span::default()),
            (None, Some(directive)) => (directive.as_str(), directive.span),
            (None, None) => ("", Span::default()),
        };
        config.options = Options::parse(text).map_err(|error| match given {
            Some(_) => vec![invalid(span, format!("--build-arg {BUILD_ARG}: {error}"))],
            None => vec![invalid(span, error)],
        })?;
        warnings.extend(config.options.unknown(span));
        config.read_comments(source, plan, &mut warnings)?;
        Ok((config, warnings))
    }

    fn read_comments(
        &mut self,
        source: &SourceFile,
        plan: &Plan,
        warnings: &mut Diagnostics,
    ) -> Result<(), Diagnostics> {
        // Most files say nothing: one search for the word saves the walk.
        if source.text().matches("check").next().is_none() {
            return Ok(());
        }
        let dockerfile = &plan.dockerfile;
        let mut errors = Vec::new();
        let lines = dockerfile.preamble.iter().map(super::Site::from);
        let stages = dockerfile.stages.iter().flat_map(|stage| {
            let inner = stage.instructions.iter().map(super::Site::from);
            std::iter::once(super::Site::from(stage)).chain(inner)
        });
        for site in lines.chain(stages) {
            for text in site.comments.iter().filter_map(|line| local(line)) {
                if Some(text) == self.directive.as_deref() {
                    continue;
                }
                match Options::parse(text) {
                    Ok(options) => {
                        self.local_experiments |= options.experimental != Names::default();
                        warnings.extend(options.unknown(site.span));
                    }
                    Err(error) => errors.push(invalid(site.span, error)),
                }
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Returns whether a rule can have anything to say.
    pub(super) fn runs(&self, rule: &Rule) -> bool {
        self.options.wants(rule) || (rule.experimental && self.local_experiments)
    }

    /// Returns whether a violation counts under an instruction's comments, and if so whether it
    /// is an error.
    pub(super) fn verdict(&self, rule: &Rule, comments: &[String]) -> Option<bool> {
        let mut wanted = self.options.wants(rule);
        let mut error = self.options.error.unwrap_or(false);
        let local = comments.iter().filter_map(|line| local(line));
        for text in local.filter(|text| Some(*text) != self.directive.as_deref()) {
            let Ok(options) = Options::parse(text) else {
                continue;
            };
            if rule.experimental {
                wanted |= options.experimental.has(rule);
            } else {
                wanted &= !options.skip.has(rule);
            }
            error = options.error.unwrap_or(error);
        }
        wanted.then_some(error)
    }
}

/// Returns the value of a `check=…` comment.
fn local(comment: &str) -> Option<&str> {
    let (key, value) = comment.split_once('=')?;
    key.trim_end()
        .eq_ignore_ascii_case("check")
        .then(|| value.trim())
}
