//! COPY and ADD.

use std::collections::HashMap;

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::source::Spanned;
use crate::syntax::Statement;
use crate::syntax::heredoc;

use super::flags::{Flags, Takes};
use super::json;

/// `COPY` or `ADD`; the fields of the other one are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFiles {
    /// Paths, patterns and addresses, unexpanded.
    pub sources: Vec<Spanned<String>>,
    /// Files given in the Dockerfile.
    pub inline: Vec<InlineSource>,
    /// Destination, unexpanded.
    pub dest: Spanned<String>,
    /// `--from` (COPY).
    pub from: Option<Spanned<String>>,
    /// `--chown`.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`.
    pub chmod: Option<Spanned<String>>,
    /// `--link`.
    pub link: bool,
    /// `--parents` (COPY).
    pub parents: bool,
    /// `--exclude`, any number.
    pub exclude: Vec<Spanned<String>>,
    /// `--checksum` (ADD).
    pub checksum: Option<Spanned<String>>,
    /// `--unpack` (ADD).
    pub unpack: Option<bool>,
    /// `--keep-git-dir` (ADD).
    pub keep_git_dir: Option<bool>,
}

/// A heredoc as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineSource {
    /// The file's name.
    pub name: String,
    /// The content, for `<<-` without leading tabs.
    pub data: Spanned<String>,
    /// Whether variables in it expand.
    pub expand: bool,
}

pub(super) fn parse_copy(statement: &Statement) -> Result<CopyFiles, Diagnostics> {
    let flags = Flags::check(
        statement,
        &[
            ("from", Takes::Text),
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Switch),
            ("parents", Takes::Switch),
            ("exclude", Takes::Many),
        ],
    )?;
    parse(statement, &flags, "COPY")
}

pub(super) fn parse_add(statement: &Statement) -> Result<CopyFiles, Diagnostics> {
    let flags = Flags::check(
        statement,
        &[
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Switch),
            ("exclude", Takes::Many),
            ("checksum", Takes::Text),
            ("unpack", Takes::Switch),
            ("keep-git-dir", Takes::Switch),
        ],
    )?;
    parse(statement, &flags, "ADD")
}

fn parse(statement: &Statement, flags: &Flags<'_>, name: &str) -> Result<CopyFiles, Diagnostics> {
    let whole = statement.rest_span();
    let json = json::strings(statement, statement.rest()).map_err(|error| vec![error])?;
    let is_json = json.is_some();
    let mut words = json.unwrap_or_else(|| statement.blank_separated());
    let dest = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        let message = format!(
            "{name} requires at least two arguments, but only one was provided. \
             Destination could not be determined"
        );
        let error = Diagnostic::error(Code::MissingArgument, whole, message);
        vec![error.with_notes(json::almost(statement.rest()))]
    })?;
    if !is_json && heredoc::parse_mark(&dest).is_some() {
        let message = format!("{name} cannot accept a heredoc as a destination");
        return Err(vec![Diagnostic::error(
            Code::HeredocDestination,
            dest.span,
            message,
        )]);
    }
    let (inline, sources) = if is_json {
        (Vec::new(), words)
    } else {
        split_inline(statement, words)
    };
    Ok(CopyFiles {
        sources,
        inline,
        dest,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.many("exclude"),
        checksum: flags.text("checksum"),
        unpack: flags.switch("unpack"),
        keep_git_dir: flags.switch("keep-git-dir"),
    })
}

/// Parts heredoc marks from paths.
fn split_inline(
    statement: &Statement,
    words: Vec<Spanned<String>>,
) -> (Vec<InlineSource>, Vec<Spanned<String>>) {
    let named = statement
        .heredocs
        .iter()
        .map(|document| (document.name.as_str(), document));
    let documents: HashMap<_, _> = named.collect();
    let mut inline = Vec::new();
    let mut sources = Vec::new();
    for word in words {
        let Some(mark) = heredoc::parse_mark(&word) else {
            sources.push(word);
            continue;
        };
        let document = documents.get(mark.name.as_str());
        inline.push(InlineSource {
            data: document.map_or_else(
                || Spanned::new(String::new(), word.span),
                |document| document.spanned_data(),
            ),
            name: mark.name,
            expand: mark.expand,
        });
    }
    (inline, sources)
}
