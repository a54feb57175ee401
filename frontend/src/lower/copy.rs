//! COPY and ADD.

use cooper_oci::Digest;
use cooper_solver::VertexId;

use crate::dockerignore::{DockerIgnore, clean};
use crate::error::{Code, Diagnostic, Diagnostics};
use crate::instruction::{CopyFiles, InlineSource};
use crate::ir::{
    BuildOp, CopyAction, CopySource, FileAction, FileOp, GitSource, HttpSource, InlineAction,
    SourceOp, Unpack,
};
use crate::plan::{From, word_error};
use crate::source::{Span, Spanned};
use crate::word::Lexer;

use super::Step;
use super::chmod;
use super::remote::{self, Remote};
use super::stage::StageLowering;

/// A COPY or ADD with its variables expanded.
struct Expanded {
    sources: Vec<Spanned<String>>,
    dest: String,
    /// The destination as written after expansion.
    dest_written: String,
    chown: Option<String>,
    chmod: Option<String>,
    exclude: Vec<String>,
    checksum: Option<Spanned<String>>,
    inline: Vec<(String, String)>,
}

impl Expanded {
    /// Returns what a failed copy may be about, each where `copy` writes it.
    fn words(&self, copy: &CopyFiles) -> Vec<Spanned<String>> {
        let options = [(&self.chown, &copy.chown), (&self.chmod, &copy.chmod)];
        let options = options.into_iter().filter_map(|(value, word)| {
            let (value, word) = value.as_ref().zip(word.as_ref())?;
            Some(Spanned::new(value.clone(), word.span))
        });
        let patterns = self.exclude.iter().zip(&copy.exclude);
        let patterns = patterns.map(|(value, word)| Spanned::new(value.clone(), word.span));
        let sources = self.sources.iter().cloned();
        let dest = Spanned::new(self.dest.clone(), copy.dest.span);
        sources
            .chain(options)
            .chain(patterns)
            .chain([dest])
            .collect()
    }
}

/// A layer under way: actions, and the inputs they read.
struct Layer {
    inputs: Vec<VertexId>,
    base: bool,
    actions: Vec<FileAction>,
}

impl Layer {
    fn input(&mut self, vertex: VertexId) -> usize {
        let skipped = usize::from(self.base);
        let known = self
            .inputs
            .iter()
            .skip(skipped)
            .position(|input| *input == vertex);
        known.map_or_else(
            || {
                self.inputs.push(vertex);
                self.inputs.len() - 1
            },
            |at| at + skipped,
        )
    }

    /// Appends a copy; one more source of the same input joins the last
    /// action.
    fn copy(&mut self, action: CopyAction) {
        if let Some(FileAction::Copy(last)) = self.actions.last_mut()
            && last.input == action.input
            && last.local_rules == action.local_rules
            && last.unpack == action.unpack
        {
            last.sources.extend(action.sources);
        } else {
            self.actions.push(FileAction::Copy(Box::new(action)));
        }
    }
}

impl StageLowering<'_, '_> {
    pub(super) fn copy(
        &mut self,
        copy: &CopyFiles,
        from: Option<&From>,
        is_add: bool,
        original: &str,
        span: Span,
    ) -> Result<(), Diagnostics> {
        let expanded = self.expand_copy(copy)?;
        let link = copy.link && expanded.chmod.is_none();
        self.check_copy(copy, &expanded, link, is_add)?;
        let base = self.state.layers.filter(|_| !link);
        let mut layer = Layer {
            inputs: base.into_iter().collect(),
            base: base.is_some(),
            actions: Vec::new(),
        };
        let mut errors = Vec::new();
        for source in &expanded.sources {
            let added = self.add_source(copy, &expanded, source, from, is_add, &mut layer);
            errors.extend(added.err());
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for (name, data) in &expanded.inline {
            layer.actions.push(FileAction::Inline(InlineAction {
                name: name.clone(),
                data: data.clone().into_bytes(),
                dest: expanded.dest.clone(),
                chown: expanded.chown.clone(),
                chmod: expanded.chmod.clone(),
            }));
        }
        let step = self.next_step(self.shown(original), span);
        let step = self.with_words(step, expanded.words(copy));
        let vertex = self.push_copy(layer, link, step);
        self.commit(history(copy, &expanded, is_add), Some(vertex));
        Ok(())
    }

    /// Adds the vertices; with `--link` the files are a layer of their own that
    /// is stacked on what was there.
    fn push_copy(&mut self, layer: Layer, link: bool, step: Step) -> VertexId {
        let op = BuildOp::File(FileOp {
            base: layer.base,
            actions: layer.actions,
        });
        let below = self.state.layers.filter(|_| link);
        let vertex = self.push_layer(op, &layer.inputs, step.clone());
        match below {
            Some(below) => {
                let display = step.display.replacen("] ", "] LINK ", 1);
                let step = Step { display, ..step };
                self.push_layer(BuildOp::Merge, &[below, vertex], step)
            }
            None => vertex,
        }
    }

    fn expand_copy(&self, copy: &CopyFiles) -> Result<Expanded, Diagnostics> {
        let values = self.expand_all(&copy.sources)?;
        let sources = values
            .into_iter()
            .zip(&copy.sources)
            .map(|(value, word)| Spanned::new(value, word.span))
            .collect();
        let dest_written = self.expand(&copy.dest)?;
        let mut inline = Vec::new();
        for source in &copy.inline {
            inline.push((source.name.clone(), self.inline_data(source)?));
        }
        let checksum = self.expand_option(copy.checksum.as_ref())?;
        Ok(Expanded {
            sources,
            dest: self.destination(&dest_written),
            dest_written,
            chown: self.expand_option(copy.chown.as_ref())?,
            chmod: self.expand_option(copy.chmod.as_ref())?,
            exclude: self.expand_all(&copy.exclude)?,
            checksum: checksum
                .zip(copy.checksum.as_ref())
                .map(|(value, word)| Spanned::new(value, word.span)),
            inline,
        })
    }

    fn inline_data(&self, source: &InlineSource) -> Result<String, Diagnostic> {
        if !source.expand {
            return Ok(source.data.value.clone());
        }
        let lexer = Lexer::new('\\').ignore_quotes();
        let expanded = lexer.expand(&source.data, &self.state.env);
        expanded
            .map(|value| value.word)
            .map_err(|error| word_error(&source.data, &error))
    }

    /// Makes a destination absolute; what says "directory" ends in a slash.
    fn destination(&self, written: &str) -> String {
        let directory = matches!(written, "" | "." | "..")
            || written.ends_with('/')
            || written.ends_with("/.")
            || written.ends_with("/..");
        let path = if written.starts_with('/') {
            clean(written)
        } else {
            clean(&format!("{}/{written}", self.workdir_or_root()))
        };
        if directory && !path.ends_with('/') {
            format!("{path}/")
        } else {
            path
        }
    }

    fn check_copy(
        &self,
        copy: &CopyFiles,
        expanded: &Expanded,
        link: bool,
        is_add: bool,
    ) -> Result<(), Diagnostics> {
        let mut errors = Vec::new();
        let span_of =
            |word: Option<&Spanned<String>>| word.map(|word| word.span).unwrap_or_default();
        if let Some(Err(message)) = expanded.chmod.as_deref().map(chmod::check) {
            errors.push(Diagnostic::error(
                Code::InvalidChmod,
                span_of(copy.chmod.as_ref()),
                message,
            ));
        }
        let no_users = link || self.state.layers.is_none();
        if let Some(chown) = expanded
            .chown
            .as_deref()
            .filter(|chown| no_users && names_user(chown))
        {
            let place = if link {
                "with --link"
            } else {
                "in an empty image"
            };
            let message =
                format!("--chown={chown} names a user or group, which nothing defines {place}");
            errors.push(Diagnostic::error(
                Code::ChownByName,
                span_of(copy.chown.as_ref()),
                message,
            ));
        }
        for (pattern, word) in expanded.exclude.iter().zip(&copy.exclude) {
            if DockerIgnore::from_patterns([pattern.as_str()]).is_err() {
                let message = format!("syntax error in pattern {pattern:?}");
                errors.push(Diagnostic::error(Code::InvalidPattern, word.span, message));
            }
        }
        if is_add && let Some(checksum) = &expanded.checksum {
            errors.extend(check_checksum(checksum, &expanded.sources));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Adds to `layer` the copy of one source, from wherever that is.
    fn add_source(
        &mut self,
        copy: &CopyFiles,
        expanded: &Expanded,
        source: &Spanned<String>,
        from: Option<&From>,
        is_add: bool,
        layer: &mut Layer,
    ) -> Result<(), Diagnostic> {
        let error = |message: String| Diagnostic::error(Code::InvalidSource, source.span, message);
        let unpack_if = |asked| {
            if asked {
                Unpack::IfArchive
            } else {
                Unpack::Never
            }
        };
        let remote = if from.is_some() {
            Remote::No
        } else {
            remote::classify(source).map_err(|wrong| {
                let part = wrong.range(source);
                let span = part.map_or(source.span, |part| source.place(part));
                Diagnostic::error(Code::InvalidSource, span, wrong.to_string())
                    .with_help(wrong.help())
            })?
        };
        let (vertex, picked, unpack, local_rules) = match remote {
            Remote::Http | Remote::Git(_) if !is_add => {
                let what = if remote == Remote::Http {
                    "URL"
                } else {
                    "git ref"
                };
                let message = format!("source can't be a {what} for COPY");
                return Err(error(message).with_help("use ADD"));
            }
            Remote::Http => {
                let (vertex, name) = self.http(source, expanded.checksum.as_ref())?;
                let unpack = unpack_if(copy.unpack == Some(true));
                (vertex, whole(&format!("/{name}"), source), unpack, false)
            }
            Remote::Git(git) => {
                let vertex = self.git(git, copy, expanded, source)?;
                (vertex, whole("/", source), Unpack::Never, true)
            }
            Remote::No => {
                let (entry, read) = local_source(source, copy.parents);
                let vertex = match from {
                    Some(from) => {
                        let span = copy.from.as_ref().map_or(source.span, |from| from.span);
                        self.source(from, &read, span)?
                    }
                    None => self.lowering.graph.local("context", &read),
                };
                let unpack = unpack_if(copy.unpack.unwrap_or(is_add));
                (vertex, entry, unpack, true)
            }
        };
        let input = layer.input(vertex);
        layer.copy(CopyAction {
            input,
            sources: vec![picked],
            dest: expanded.dest.clone(),
            chown: expanded.chown.clone(),
            chmod: expanded.chmod.clone(),
            exclude: expanded.exclude.clone(),
            unpack,
            local_rules,
        });
        Ok(())
    }

    fn http(
        &mut self,
        url: &Spanned<String>,
        checksum: Option<&Spanned<String>>,
    ) -> Result<(VertexId, String), Diagnostic> {
        let checksum = checksum
            .map(|checksum| {
                checksum.parse::<Digest>().map_err(|source| {
                    let message = format!("invalid checksum {:?}: {source}", checksum.value);
                    Diagnostic::error(Code::InvalidChecksum, checksum.span, message)
                })
            })
            .transpose()?;
        let filename = remote::file_name(url);
        let http = HttpSource {
            url: url.value.clone(),
            filename: filename.clone(),
            checksum,
        };
        let op = BuildOp::Source(SourceOp::Http(http));
        let name = format!("ADD {}", url.value);
        Ok((
            self.lowering.graph.add(op, &[], &name, self.ignore_cache),
            filename,
        ))
    }

    fn git(
        &mut self,
        mut git: GitSource,
        copy: &CopyFiles,
        expanded: &Expanded,
        source: &Spanned<String>,
    ) -> Result<VertexId, Diagnostic> {
        if let (Some(flag), Some(query)) = (copy.keep_git_dir, git.keep_git_dir)
            && flag != query
        {
            let message = format!("--keep-git-dir={flag}, but the address says {query}");
            return Err(Diagnostic::error(Code::InvalidSource, source.span, message));
        }
        git.keep_git_dir = copy.keep_git_dir.or(git.keep_git_dir);
        if let Some(checksum) = &expanded.checksum {
            if git
                .checksum
                .as_ref()
                .is_some_and(|known| *known != checksum.value)
            {
                let known = git.checksum.unwrap_or_default();
                let message = format!("checksum mismatch {:?} != {known:?}", checksum.value);
                return Err(Diagnostic::error(
                    Code::InvalidChecksum,
                    checksum.span,
                    message,
                ));
            }
            git.checksum = Some(checksum.value.clone());
        }
        let op = BuildOp::Source(SourceOp::Git(git));
        let name = format!("ADD {}", source.value);
        Ok(self.lowering.graph.add(op, &[], &name, self.ignore_cache))
    }
}

fn whole(path: &str, written: &str) -> CopySource {
    CopySource {
        path: path.to_owned(),
        written: written.to_owned(),
        parents: None,
        required: true,
    }
}

/// Returns a source of files, and the path in the context that it reads.
fn local_source(written: &str, parents: bool) -> (CopySource, String) {
    let rooted = |path: &str| clean(&format!("/{path}"));
    if !parents {
        let path = rooted(written);
        let required = !has_wildcards(&path);
        let source = CopySource {
            path: path.clone(),
            written: written.to_owned(),
            parents: None,
            required,
        };
        return (source, path);
    }
    let (pivot, pattern) = written.split_once("/./").unwrap_or(("/", written));
    let (path, pattern) = (rooted(pivot), rooted(pattern));
    let below = pattern.trim_start_matches('/').to_owned();
    let required = !has_wildcards(&path) && !has_wildcards(&below);
    let read = rooted(&format!("{path}/{}", before_deep_wildcard(&below)));
    let source = CopySource {
        path,
        written: written.to_owned(),
        parents: Some(below),
        required,
    };
    (source, read)
}

/// Cuts a pattern before the first `**`, which reads any depth.
fn before_deep_wildcard(pattern: &str) -> String {
    let parts = pattern.split('/').take_while(|part| !part.contains("**"));
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a path has a wildcard that is not escaped.
fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// Whether an owner is a name rather than numbers.
fn names_user(chown: &str) -> bool {
    chown
        .split(':')
        .any(|part| !part.is_empty() && part.parse::<u32>().is_err())
}

fn check_checksum(checksum: &Spanned<String>, sources: &[Spanned<String>]) -> Option<Diagnostic> {
    let message = match sources {
        [source] => match remote::classify(source) {
            Ok(Remote::No) => "checksum requires HTTP(S) or Git sources",
            _ => return None,
        },
        _ => "checksum can't be specified for multiple sources",
    };
    Some(Diagnostic::error(
        Code::InvalidChecksum,
        checksum.span,
        message,
    ))
}

/// Returns the history line.
fn history(copy: &CopyFiles, expanded: &Expanded, is_add: bool) -> String {
    let mut words = vec![if is_add { "ADD" } else { "COPY" }.to_owned()];
    if copy.parents {
        words.push("--parents".to_owned());
    }
    words.extend(
        expanded
            .chown
            .iter()
            .map(|chown| format!("--chown={chown}")),
    );
    words.extend(
        expanded
            .chmod
            .iter()
            .map(|chmod| format!("--chmod={chmod}")),
    );
    words.extend(expanded.sources.iter().map(|source| source.value.clone()));
    words.extend(expanded.inline.iter().map(|(name, _)| format!("<<{name}")));
    words.push(expanded.dest_written.clone());
    words.push("# buildkit".to_owned());
    words.join(" ")
}
