//! The words of an instruction in which variables expand.

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::plan::word_error;
use crate::source::Spanned;
use crate::word::{Environment, Lexer};

use super::{CopyFiles, Instruction, Kind, Pair};

/// A word in which variables expand.
pub(crate) struct Word<'a> {
    pub(crate) text: &'a Spanned<String>,
    /// A here-document, in which quotes are ordinary characters.
    pub(crate) inline: bool,
}

impl Word<'_> {
    /// Returns the rules that the word expands by.
    pub(crate) fn lexer(&self, lexer: Lexer) -> Lexer {
        if self.inline {
            lexer.ignore_quotes()
        } else {
            lexer
        }
    }
}

/// Returns the words that cannot expand whatever the variables are.
///
/// A build meets them only in the stages that it needs. They are worth telling when it fails
/// anyway, so that all is mended in one go.
pub(crate) fn hopeless<'a>(
    instructions: impl IntoIterator<Item = &'a Instruction>,
    escape: char,
) -> Diagnostics {
    let env = Environment::default();
    let mut errors = Vec::new();
    for instruction in instructions {
        each_word(instruction, &mut |word| {
            let expanded = word.lexer(Lexer::new(escape)).expand(word.text, &env);
            let error: Option<Diagnostic> =
                expanded.err().map(|error| word_error(word.text, &error));
            errors.extend(error.filter(|error| error.code != Code::RequiredVariable));
        });
    }
    errors
}

/// Calls `visit` with each word of an instruction that expands.
pub(crate) fn each_word<'a>(instruction: &'a Instruction, visit: &mut dyn FnMut(Word<'a>)) {
    let mut words = Words { visit };
    match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => words.files(copy),
        Kind::Env(pairs) | Kind::Label(pairs) => words.pairs(pairs),
        Kind::Arg(definitions) => {
            let defaults = definitions.iter().filter_map(|one| one.default.as_ref());
            words.all(defaults);
        }
        Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) => words.one(word),
        Kind::Expose(list) | Kind::Volume(list) => words.all(list),
        Kind::Run(run) => {
            let fields = run.mounts.iter().flat_map(|mount| &mount.fields);
            // `from` is a stage or an image: only global ARGs count there.
            for field in fields.filter(|field| field.key != "from") {
                if let Some(value) = &field.value {
                    words.text(value, false);
                }
            }
        }
        Kind::From(_)
        | Kind::Cmd(_)
        | Kind::Entrypoint(_)
        | Kind::Shell(_)
        | Kind::Healthcheck(_)
        | Kind::OnBuild(_)
        | Kind::Maintainer(_) => {}
    }
}

struct Words<'v, 'a> {
    visit: &'v mut dyn FnMut(Word<'a>),
}

impl<'a> Words<'_, 'a> {
    fn text(&mut self, text: &'a Spanned<String>, inline: bool) {
        (self.visit)(Word { text, inline });
    }

    fn one(&mut self, word: &'a Spanned<String>) {
        self.text(word, false);
    }

    fn all(&mut self, words: impl IntoIterator<Item = &'a Spanned<String>>) {
        words.into_iter().for_each(|word| self.one(word));
    }

    fn pairs(&mut self, pairs: &'a [Pair]) {
        for pair in pairs {
            self.one(&pair.name);
            self.one(&pair.value);
        }
    }

    fn files(&mut self, copy: &'a CopyFiles) {
        self.all(&copy.sources);
        self.one(&copy.dest);
        self.all(&copy.chown);
        self.all(&copy.chmod);
        self.all(&copy.exclude);
        self.all(&copy.checksum);
        for document in copy.inline.iter().filter(|document| document.expand) {
            self.text(&document.data, true);
        }
    }
}
