//! What is wrong with a Dockerfile, where, and what would help.
//!
//! The frontend reports every independent error of a file at once, as a list
//! of [`Diagnostic`]s. It never prints: the caller renders them with the
//! source excerpt.

use std::fmt;

use crate::source::Span;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build cannot start.
    Error,
}

/// Declares [`Code`] with its names, so that the compiler keeps the list of all kinds.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $help:literal,)*) => {
        /// The kind of a [`Diagnostic`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the stable name that users search for.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Returns what to do about it, as far as that is the same everywhere.
            pub fn help(self) -> &'static str {
                match self {
                    $(Self::$variant => $help,)*
                }
            }
        }
    };
}

impl Code {
    /// Returns whether the same instruction may be right with other images, variables or settings,
    /// or once another instruction is mended.
    pub(crate) fn depends_on_surroundings(self) -> bool {
        matches!(
            self,
            Self::ChownByName
                | Self::LaterStage
                | Self::NotAllowed
                | Self::RequiredVariable
                | Self::UnresolvedImage
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

codes! {
    /// `${}`, `${:x}` and the like.
    BadSubstitution = "bad-substitution" => "put the name of a variable after `${`",
    /// The file has a NUL byte.
    BinaryFile = "binary-file" => "give the Dockerfile itself with --file",
    /// FROM of a name that expands to nothing.
    BlankBase = "blank-base" => "give the variable a default with ARG before the first FROM, or a value with --build-arg",
    /// `--from` of a name that expands to nothing.
    BlankFrom = "blank-from" => "only global ARGs, those before the first FROM, are known here",
    /// ENV, LABEL or ARG without a name.
    BlankName = "blank-name" => "write NAME=value, without blanks around `=`",
    /// `--chown` by name where there is no /etc/passwd.
    ChownByName = "chown-by-name" => "write numbers, such as --chown=1000:1000",
    /// Stages that need each other.
    CircularDependency = "circular-dependency" => "move what both stages need to a stage of its own",
    /// A parser directive for the second time.
    DuplicateDirective = "duplicate-directive" => "remove this one",
    /// A flag for the second time.
    DuplicateFlag = "duplicate-flag" => "remove all but one of them",
    /// RUN of an empty list.
    EmptyCommand = "empty-command" => "name a program, such as RUN [\"make\"]",
    /// An empty line inside a continuation (warning).
    EmptyContinuation = "empty-continuation" => "remove the line, or the escape character before it",
    /// A file of no bytes.
    EmptyFile = "empty-file" => "begin with FROM and the name of an image, such as FROM debian or FROM scratch",
    /// FROM `--platform` of nothing.
    EmptyPlatform = "empty-platform" => "give the variable a default with ARG before the first FROM, or a value with --build-arg",
    /// VOLUME of nothing.
    EmptyVolume = "empty-volume" => "name a directory, such as VOLUME /data",
    /// FROM with two or more than three words.
    FromArguments = "from-arguments" => "write `FROM image` or `FROM image AS name`",
    /// HEALTHCHECK NONE with arguments.
    HealthcheckNoneArguments = "healthcheck-none-arguments" => "write HEALTHCHECK NONE alone, or HEALTHCHECK CMD with the command",
    /// A heredoc where COPY or ADD wants a destination.
    HeredocDestination = "heredoc-destination" => "put the destination after the heredocs, such as COPY <<EOF /etc/file",
    /// An option of `check` that does not exist.
    InvalidCheckOption = "invalid-check-option" => "options are skip=RULE,RULE, error=true and experimental=RULE, joined with `;`",
    /// `--checksum` that is none, or of something that has none.
    InvalidChecksum = "invalid-checksum" => "write --checksum=sha256: and 64 hexadecimal digits",
    /// `--chmod` that is no mode.
    InvalidChmod = "invalid-chmod" => "write an octal mode such as 0755, or a symbolic one such as u=rwX,go=rX",
    /// `--device` that names no device.
    InvalidDevice = "invalid-device" => "write --device=NAME, such as --device=vendor.com/class=name, or --device=NAME,required",
    /// A time of HEALTHCHECK that is none.
    InvalidDuration = "invalid-duration" => "write a number with a unit, such as 30s, 1m30s or 500ms; at least 1ms",
    /// An escape character other than the two.
    InvalidEscape = "invalid-escape" => "use `# escape=\\` or `# escape=` followed by a backtick",
    /// A switch that is neither true nor false.
    InvalidFlagValue = "invalid-flag-value" => "write true or false",
    /// A `--mount` with a wrong field, or without a needed one.
    InvalidMount = "invalid-mount" => "fields are key=value, separated with commas, such as type=cache,target=/var/cache",
    /// `--network` other than the three.
    InvalidNetwork = "invalid-network" => "use default, none or host",
    /// `--exclude` that is no pattern.
    InvalidPattern = "invalid-pattern" => "close each `[` with `]`, and put a character after each backslash",
    /// FROM `--platform` that is none.
    InvalidPlatform = "invalid-platform" => "write OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7",
    /// EXPOSE of something that is no port.
    InvalidPort = "invalid-port" => "write a number up to 65535 or a rising range, with tcp, udp, sctp or nothing behind it, such as 80, 80/udp or 8000-8010",
    /// An image's name that is none.
    InvalidReference = "invalid-reference" => "write [registry/]name[:tag][@digest] in lower case",
    /// `--retries` that is no number.
    InvalidRetries = "invalid-retries" => "write a number of 0 or more",
    /// `--security` other than the two.
    InvalidSecurity = "invalid-security" => "use sandbox or insecure",
    /// STOPSIGNAL that is none.
    InvalidSignal = "invalid-signal" => "write a name such as SIGTERM, or a number",
    /// A source of COPY or ADD that cannot be one.
    InvalidSource = "invalid-source" => "write a path of the build context, an address or a heredoc",
    /// `--from` of a stage by a number that none has.
    InvalidStageIndex = "invalid-stage-index" => "stages are numbered from 0; a name is safer",
    /// FROM `AS` something that is no name.
    InvalidStageName = "invalid-stage-name" => "begin with a letter and go on with letters, digits, `-`, `_` and `.`",
    /// `${v#pattern}` with an unknown escape.
    InvalidSubstitutionPattern = "invalid-substitution-pattern" => "a pattern knows only `\\*`, `\\?` and `\\\\`",
    /// ONBUILD of something that cannot be one.
    InvalidTrigger = "invalid-trigger" => "write ONBUILD and one instruction other than ONBUILD, FROM and MAINTAINER",
    /// A JSON array that holds other things than texts.
    JsonNotStrings = "json-not-strings" => "put each element in double quotes",
    /// A copy from a stage that comes later.
    LaterStage = "later-stage" => "move the stage that is copied from above this one",
    /// A line longer than docker reads.
    LineTooLong = "line-too-long" => "is this a Dockerfile? long data belongs into a file for COPY",
    /// An instruction without what it needs.
    MissingArgument = "missing-argument" => "add what the instruction is to work on",
    /// `${` without `}`.
    MissingBrace = "missing-brace" => "close the substitution with `}`; a literal `$` is written `\\$`",
    /// ENV or LABEL with a word that is no pair.
    MissingEquals = "missing-equals" => "a value with blanks must be quoted",
    /// A flag without its value.
    MissingFlagValue = "missing-flag-value" => "write --flag=value, without blanks around `=`",
    /// An instruction before the first FROM, or no FROM at all.
    MissingFrom = "missing-from" => "a Dockerfile starts with FROM; only ARG may stand before it",
    /// `${v/pattern` without the second slash.
    MissingSlash = "missing-slash" => "write ${name/pattern/replacement}; the replacement may be empty",
    /// What looks like a JSON array and is read as words or by the shell (warning).
    NearlyJson = "nearly-json" => "put each element in double quotes and a comma between them, and nothing after the closing bracket",
    /// A privilege that the command line does not allow.
    NotAllowed = "not-allowed" => "allow it with --allow if you trust this Dockerfile",
    /// `${v?}` of a variable that is not set.
    RequiredVariable = "required-variable" => "set the variable, with --build-arg if it is an ARG",
    /// SHELL in shell form.
    ShellNotJson = "shell-not-json" => "for example SHELL [\"/bin/bash\", \"-c\"]",
    /// A long pattern against a long value.
    SubstitutionTooCostly = "substitution-too-costly" => "a value of this size is a matter for a RUN step",
    /// Substitutions nested too deep.
    SubstitutionTooDeep = "substitution-too-deep" => "give the inner values names of their own",
    /// Variables that hold too much.
    SubstitutionTooLong = "substitution-too-long" => "a value of this size belongs into a file",
    /// A quote that is never closed.
    UnclosedQuote = "unclosed-quote" => "close the quote, or escape it if it is meant literally; words with blanks need the JSON form in COPY, ADD and VOLUME",
    /// `check` of a rule that does not exist (warning).
    UnknownCheck = "unknown-check" => "the names are those of the list of build checks",
    /// A flag that the instruction does not have.
    UnknownFlag = "unknown-flag" => "this instruction takes no flags",
    /// HEALTHCHECK of something other than CMD and NONE.
    UnknownHealthcheck = "unknown-healthcheck" => "write HEALTHCHECK CMD followed by the command, or HEALTHCHECK NONE",
    /// A word that is no instruction.
    UnknownInstruction = "unknown-instruction" => "an instruction begins each line; end the line before with `\\` if this one continues it",
    /// A stage of `--no-cache-filter` that is not there (warning).
    UnknownStage = "unknown-stage" => "name a stage of the file: FROM image AS name",
    /// A target that is no stage.
    UnknownTarget = "unknown-target" => "name a stage of the file: FROM image AS name",
    /// An image that the caller has not looked up.
    UnresolvedImage = "unresolved-image" => "this is a fault of cooper: please report it",
    /// `${v^}` and others that docker does not know.
    UnsupportedModifier = "unsupported-modifier" => "known are :- - :+ + :? ? and # ## % %% / // with a pattern",
    /// A frontend other than docker's.
    UnsupportedSyntax = "unsupported-syntax" => "only docker/dockerfile is built in; remove the directive if the file is an ordinary Dockerfile",
    /// A heredoc without its last line.
    UnterminatedHeredoc = "unterminated-heredoc" => "a line with exactly the word after `<<` and nothing else must end it",
}

/// One finding in a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which kind it is.
    pub code: Code,
    /// One sentence without a final stop.
    pub message: String,
    /// The offending token.
    pub span: Span,
    /// Text under the caret; empty if the message says it all.
    pub label: Box<str>,
    /// What to do about it here, in place of what helps against this kind in general.
    help: Option<Box<str>>,
    /// Further facts.
    pub notes: Vec<String>,
}

/// Every independent error of one step of the frontend.
pub type Diagnostics = Vec<Diagnostic>;

impl Diagnostic {
    /// Starts an error.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message.into())
    }

    /// Starts a warning.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message.into())
    }

    fn new(severity: Severity, code: Code, span: Span, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            span,
            label: Box::default(),
            help: None,
            notes: Vec::new(),
        }
    }

    /// Sets the text under the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into().into();
        self
    }

    /// Sets the advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds facts, if there are any.
    #[must_use]
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Advises the candidate that looks most like `written`, if any does.
    #[must_use]
    pub fn with_suggestion<'a>(
        mut self,
        written: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        if let Some(best) = closest(written, candidates) {
            self.help = Some(format!("did you mean `{best}`?").into());
        }
        self
    }
}

impl Diagnostic {
    /// Returns what to do about it.
    pub fn help(&self) -> &str {
        self.help.as_deref().unwrap_or(self.code.help())
    }

    /// Returns whether there is advice for this place and not only for the kind.
    pub(crate) fn has_own_help(&self) -> bool {
        self.help.is_some()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}

impl std::error::Error for Diagnostic {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        vec![diagnostic]
    }
}

/// Returns the candidate most similar to `written`, ignoring case, if it is
/// near enough to be a slip of the finger.
pub(crate) fn closest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let lower = written.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty() && candidate.len() <= LONGEST)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|&(distance, candidate)| distance <= allowed && candidate != written)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        for (written, want) in [
            ("RNU", Some("RUN")),
            ("copu", Some("COPY")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(closest(written, ["RUN", "COPY", "FROM"]), want, "{written}");
        }
    }
}
