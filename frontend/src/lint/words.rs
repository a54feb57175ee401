//! The words of an instruction in which variables expand.

use crate::instruction::{CopyFiles, Instruction, Kind, Pair};
use crate::source::{Span, Spanned};

/// A word with variables in it.
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) span: Span,
    /// A here-document, in which quotes are ordinary characters.
    pub(super) inline: bool,
}

/// Calls `visit` with each word of an instruction that expands and holds a `$`.
pub(super) fn each_word<'a>(instruction: &'a Instruction, visit: &mut dyn FnMut(Word<'a>)) {
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
                    words.text(value, field.span, false);
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
    fn text(&mut self, text: &'a str, span: Span, inline: bool) {
        if text.contains('$') {
            (self.visit)(Word { text, span, inline });
        }
    }

    fn one(&mut self, word: &'a Spanned<String>) {
        self.text(&word.value, word.span, false);
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
            self.text(&document.data, document.span, true);
        }
    }
}
