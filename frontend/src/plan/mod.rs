//! Which stages a build needs, and what must be known before it can start.
//!
//! A [`Plan`] resolves names: bases and `--from` to stages, contexts or
//! images, the target to a stage. It then asks for the images that reachable
//! stages need. Answers can raise more questions, because the triggers of a
//! base image are instructions too.

mod global;
mod names;
mod reach;
mod trigger;

use std::collections::HashSet;
use std::sync::Arc;

use cooper_oci::{Platform, Reference};

use crate::error::{Code, Diagnostic, Diagnostics};
use crate::image::{ImageKey, ImageName, ImageRequest, ResolvedImages};
use crate::instruction::{Instruction, Kind, hopeless};
use crate::lower::{self, GraphBuilder, Lowered, LoweredTarget, Target};
use crate::settings::{BuildSettings, NamedContext, NoCache};
use crate::source::{SourceFile, Spanned};
use crate::stage::{Dockerfile, salvage};
use crate::word::{Environment, Lexer, WordError};

pub(crate) use reach::{Command, Reach};

/// The stages that a target needs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) dockerfile: Arc<Dockerfile>,
    pub(crate) settings: Arc<BuildSettings>,
    /// Global ARGs and the platform variables.
    pub(crate) globals: Environment,
    /// What each stage of the Dockerfile starts from.
    pub(crate) bases: Vec<Base>,
    /// The `--platform` of each stage.
    pub(crate) platforms: Vec<Option<Platform>>,
    /// Names of stages, the last of each name.
    names: names::StageNames,
    /// The stage to build.
    pub(crate) target: usize,
    /// Whether stages that the target does not need count as well.
    pub(crate) all_stages: bool,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image.
    Image(Box<ImageRequest>),
    /// The files of a named context.
    Local(String),
    /// The stage's own instructions do not count: a named context has its
    /// name.
    Replaced(Box<Base>),
}

/// Where `--from` or a mount reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Scratch,
    Stage(usize),
    Image(Box<ImageRequest>),
    Local(String),
}

impl Plan {
    /// Finds the target and resolves what stages are made from.
    pub fn new(dockerfile: &Dockerfile, settings: &BuildSettings) -> Result<Self, Diagnostics> {
        let (globals, errors) = global::arguments(dockerfile, settings);
        let (plan, more) = Self::resolve(dockerfile, settings, globals);
        if errors.is_empty() && more.is_empty() {
            return Ok(plan);
        }
        // Names that a broken ARG was to give are not missed.
        let mut errors = if errors.is_empty() { more } else { errors };
        errors.extend(independent(dockerfile));
        errors.sort_by_key(|error| error.span.start);
        let mut told = HashSet::new();
        errors.retain(|error| told.insert((error.span, error.code)));
        Err(errors)
    }

    /// Plans what can be read of a file that cannot be built, for build checks; none if nothing of
    /// it is certain. A base that cannot be found is an empty one.
    pub fn salvage(source: &SourceFile, settings: &BuildSettings) -> Option<Self> {
        let dockerfile = salvage(source, &settings.build_args)?;
        Some(Self::of_broken(&dockerfile, settings))
    }

    fn of_broken(dockerfile: &Dockerfile, settings: &BuildSettings) -> Self {
        let (globals, _) = global::arguments(dockerfile, settings);
        Self::resolve(dockerfile, settings, globals).0
    }

    /// Finds the target and what stages are made from, as far as they can be found.
    fn resolve(
        dockerfile: &Dockerfile,
        settings: &BuildSettings,
        globals: Environment,
    ) -> (Self, Diagnostics) {
        let mut plan = Self {
            dockerfile: Arc::new(dockerfile.clone()),
            settings: Arc::new(settings.clone()),
            globals,
            bases: Vec::new(),
            platforms: Vec::new(),
            names: names::StageNames::default(),
            target: 0,
            all_stages: false,
        };
        let mut errors = Vec::new();
        for index in 0..plan.dockerfile.stages.len() {
            match plan.resolve_stage(index) {
                Ok((base, platform)) => {
                    plan.bases.push(base);
                    plan.platforms.push(platform);
                }
                Err(error) => {
                    errors.push(error);
                    plan.bases.push(Base::Scratch);
                    plan.platforms.push(None);
                }
            }
            plan.names
                .add(index, plan.dockerfile.stages[index].name.as_ref());
        }
        match plan.find_target() {
            Ok(target) => plan.target = target,
            Err(error) => errors.push(error),
        }
        errors.extend(reach::check(&plan));
        (plan, errors)
    }

    /// Takes in stages that the target does not need, for checks of the whole
    /// file.
    #[must_use]
    pub fn with_all_stages(mut self) -> Self {
        self.all_stages = true;
        self
    }

    /// Returns what must still be answered before [`Self::lower`] can work.
    ///
    /// Ask again after each round of answers: triggers of a base image can
    /// copy from further images.
    pub fn requests(&self, images: &ResolvedImages) -> Vec<ImageRequest> {
        Reach::find(self, images).missing
    }

    /// Makes the build graph and the image configuration.
    pub fn lower(&self, images: &ResolvedImages) -> Result<Lowered, Diagnostics> {
        lower::lower(self, images)
    }

    /// Puts this target into a graph that may hold others, and makes its image
    /// configuration. After an error the graph is of no use.
    pub fn lower_into(
        &self,
        graph: &mut GraphBuilder,
        target: Target,
        images: &ResolvedImages,
    ) -> Result<LoweredTarget, Diagnostics> {
        lower::lower_into(graph, target, self, images)
    }

    /// Returns what is worth saying of the settings but stops no build: stages named by
    /// `--no-cache-filter` that are not there. BuildKit passes over them in silence.
    pub fn warnings(&self) -> impl Iterator<Item = Diagnostic> + '_ {
        let named = match &self.settings.no_cache {
            NoCache::Stages(named) => Some(named.iter()),
            NoCache::None | NoCache::All => None,
        };
        let missing = named
            .into_iter()
            .flatten()
            .filter(|name| self.names.find(name).is_none());
        missing.map(|name| {
            let span = self.dockerfile.stages[self.target].span;
            let message = format!("--no-cache-filter: there is no stage {name}");
            let warning = Diagnostic::warning(Code::UnknownStage, span, message);
            warning.with_suggestion(name, self.names.all())
        })
    }

    /// Returns what is odd in the file and no build check is about.
    pub fn remarks(&self) -> impl Iterator<Item = &Diagnostic> {
        let warnings = self.dockerfile.warnings.iter();
        warnings.filter(|warning| warning.code == Code::NearlyJson)
    }

    /// Returns the name of the target stage, if it has one.
    pub fn target_name(&self) -> Option<&str> {
        self.dockerfile.stages[self.target]
            .name
            .as_ref()
            .map(|name| name.value.as_str())
    }

    /// Returns how a stage is called in front of people.
    pub(crate) fn stage_label(&self, index: usize) -> String {
        let name = self.dockerfile.stages[index].name.as_ref();
        name.map_or_else(|| format!("stage-{index}"), |name| name.value.clone())
    }

    pub(crate) fn lexer(&self) -> Lexer {
        Lexer::new(self.dockerfile.directives.escape)
    }

    fn find_target(&self) -> Result<usize, Diagnostic> {
        let last = self.dockerfile.stages.len() - 1;
        let Some(target) = &self.settings.target else {
            return Ok(last);
        };
        if target.is_empty() {
            return Ok(last);
        }
        self.names.find(target).ok_or_else(|| {
            let message = format!("target stage {target:?} could not be found");
            let span = self.dockerfile.stages[last].span;
            let error = Diagnostic::error(Code::UnknownTarget, span, message)
                .with_suggestion(target, self.names.all());
            let names: Vec<_> = self.names.all().collect();
            if error.has_own_help() {
                error
            } else if names.is_empty() {
                error.with_help("no stage of this file has a name")
            } else {
                error.with_help(format!("stages of this file: {}", names.join(", ")))
            }
        })
    }

    /// Resolves FROM of a stage; earlier stages are resolved already.
    fn resolve_stage(&self, index: usize) -> Result<(Base, Option<Platform>), Diagnostic> {
        let stage = &self.dockerfile.stages[index];
        let platform = stage
            .platform
            .as_ref()
            .map(|word| self.platform(word))
            .transpose()?;
        let wanted = platform
            .clone()
            .unwrap_or_else(|| self.settings.platform.clone());
        if let Some(name) = &stage.name
            && let Some((given, kind)) = self.named_context(name, &wanted)
        {
            let base = match kind {
                NamedContext::Local => Base::Local(given),
                NamedContext::Image => Base::Image(context_request(given, &stage.base, wanted)),
            };
            return Ok((Base::Replaced(Box::new(base)), platform));
        }
        let name = match &self.settings.first_base {
            Some(instead) if index == 0 => instead.clone(),
            _ => self.expand_global(&stage.base)?,
        };
        if name.is_empty() {
            return Err(self.blank_base(&stage.base));
        }
        let name = Spanned::new(name, stage.base.span);
        let base = match self.names.find_exact(&name) {
            Some(earlier) => Base::Stage(earlier),
            None => match self
                .outside(&name, wanted)
                .map_err(|error| self.suggest_global(&stage.base, error))?
            {
                From::Scratch => Base::Scratch,
                From::Stage(stage) => Base::Stage(stage),
                From::Image(request) => Base::Image(request),
                From::Local(name) => Base::Local(name),
            },
        };
        Ok((base, platform))
    }

    /// Resolves a name that is no stage.
    fn outside(&self, name: &Spanned<String>, platform: Platform) -> Result<From, Diagnostic> {
        if name.value == "scratch" {
            return Ok(From::Scratch);
        }
        if let Some((given, kind)) = self.named_context(name, &platform) {
            return Ok(match kind {
                NamedContext::Local => From::Local(given),
                NamedContext::Image => From::Image(context_request(given, name, platform)),
            });
        }
        let reference: Reference = name.parse().map_err(|source| {
            let message = format!("failed to parse stage name {:?}: {source}", name.value);
            let error = Diagnostic::error(Code::InvalidReference, name.span, message)
                .with_suggestion(name, self.names.all());
            match misspelt(name).filter(|_| !error.has_own_help()) {
                Some(help) => error.with_help(help),
                None => error,
            }
        })?;
        let reference = reference.with_default_tag();
        Ok(From::Image(Box::new(ImageRequest {
            key: ImageKey {
                name: ImageName::Reference(reference.to_string()),
                platform: platform.clone(),
            },
            name: name.value.clone(),
            reference: Some(reference),
            platform,
            span: name.span,
            suggestion: crate::error::closest(name, self.names.all()).map(str::to_owned),
        })))
    }

    /// Finds a `--build-context` by any spelling of its name. One that is given for a
    /// platform, as `NAME::PLATFORM`, goes before one for all, and serves that one alone.
    fn named_context(&self, name: &str, platform: &Platform) -> Option<(String, NamedContext)> {
        if self.settings.named_contexts.is_empty()
            || name.eq_ignore_ascii_case("scratch")
            || name.eq_ignore_ascii_case("context")
        {
            return None;
        }
        let wanted = names::canonical(name);
        let platform = platform.normalized();
        let suits = |given: &&String, limited: bool| match given.split_once("::") {
            None => !limited && names::canonical(given) == wanted,
            Some((name, only)) => {
                let only = only.parse().map(|only: Platform| only.normalized());
                limited && names::canonical(name) == wanted && only.as_ref() == Ok(&platform)
            }
        };
        let contexts = &self.settings.named_contexts;
        let given = contexts
            .keys()
            .find(|given| suits(given, true))
            .or_else(|| contexts.keys().find(|given| suits(given, false)))?;
        Some((given.clone(), contexts[given]))
    }

    /// Resolves `--from` of COPY or of a mount.
    pub(crate) fn resolve_from(
        &self,
        written: &Spanned<String>,
        numbers: bool,
    ) -> Result<From, Diagnostic> {
        let name = self.expand_global(written)?;
        if name.is_empty() {
            let message = format!("--from ({}) is blank", written.value);
            return Err(Diagnostic::error(Code::BlankFrom, written.span, message));
        }
        if numbers && let Ok(index) = name.parse::<usize>() {
            if index < self.dockerfile.stages.len() {
                return Ok(From::Stage(index));
            }
            let message = format!("invalid stage index {index}");
            return Err(
                Diagnostic::error(Code::InvalidStageIndex, written.span, message).with_help(
                    format!(
                        "stages are numbered 0 to {}",
                        self.dockerfile.stages.len() - 1
                    ),
                ),
            );
        }
        if let Some(stage) = self.names.find(&name) {
            return Ok(From::Stage(stage));
        }
        let name = Spanned::new(name, written.span);
        self.outside(&name, self.settings.platform.clone())
    }

    fn platform(&self, word: &Spanned<String>) -> Result<Platform, Diagnostic> {
        let text = self.expand_global(word)?;
        if text.is_empty() {
            let message = format!("empty platform value from expression {}", word.value);
            return Err(self.suggest_global(
                word,
                Diagnostic::error(Code::EmptyPlatform, word.span, message),
            ));
        }
        text.parse().map_err(|source| {
            let message = format!("failed to parse platform {}: {source}", word.value);
            Diagnostic::error(Code::InvalidPlatform, word.span, message)
        })
    }

    fn blank_base(&self, word: &Spanned<String>) -> Diagnostic {
        let message = format!("base name ({}) should not be blank", word.value);
        self.suggest_global(word, Diagnostic::error(Code::BlankBase, word.span, message))
    }

    /// Says what a word's unset variables might have meant.
    fn suggest_global(&self, word: &Spanned<String>, error: Diagnostic) -> Diagnostic {
        let Ok(value) = self.lexer().expand(word, &self.globals) else {
            return error;
        };
        let Some(unset) = value.unmatched.iter().next() else {
            return error;
        };
        let error = error.with_help(format!(
            "{unset} is not set here: give it a default with `ARG {unset}=…` before the first \
             FROM, or pass --build-arg {unset}=…"
        ));
        error.with_suggestion(unset, self.globals.names())
    }

    /// Returns the global ARGs as they are without build arguments; `None` if they
    /// do not expand.
    pub(crate) fn default_globals(&self) -> Option<Environment> {
        let settings = BuildSettings {
            build_args: std::collections::BTreeMap::new(),
            ..(*self.settings).clone()
        };
        let (globals, errors) = global::arguments(&self.dockerfile, &settings);
        errors.is_empty().then_some(globals)
    }

    /// Expands a word with global ARGs only.
    fn expand_global(&self, word: &Spanned<String>) -> Result<String, Diagnostic> {
        let value = self.lexer().expand(word, &self.globals);
        value
            .map(|value| value.word)
            .map_err(|error| word_error(word, &error))
    }
}

/// Returns what is wrong with instructions whatever the images, the variables and the settings are.
///
/// A build meets these only once everything above them is in order, and only in the stages that it
/// needs. They are worth telling when it fails anyway, so that all is mended in one go.
pub(crate) fn independent(dockerfile: &Dockerfile) -> Diagnostics {
    if dockerfile.stages.is_empty() {
        return Vec::new();
    }
    let mut errors = hopeless(dockerfile.instructions(), dockerfile.directives.escape);
    let plan = Plan::of_broken(dockerfile, &BuildSettings::new(Platform::host()));
    let constant: Vec<_> = dockerfile
        .instructions()
        .filter(|instruction| !instruction.original.contains('$'))
        .map(|instruction| instruction.span)
        .collect();
    let found = lower::without_images(&plan.with_all_stages());
    errors.extend(found.into_iter().filter(|error| {
        let after = constant.partition_point(|span| span.start <= error.span.start);
        let within = after
            .checked_sub(1)
            .is_some_and(|at| error.span.start <= constant[at].end);
        within && !error.code.depends_on_surroundings()
    }));
    errors
}

fn context_request(given: String, name: &Spanned<String>, platform: Platform) -> Box<ImageRequest> {
    Box::new(ImageRequest {
        key: ImageKey {
            name: ImageName::Context(given),
            platform: platform.clone(),
        },
        name: name.value.clone(),
        reference: None,
        platform,
        span: name.span,
        suggestion: None,
    })
}

/// Of a word longer than this in characters, messages repeat only what is wrong.
const LONGEST_SHOWN: usize = 80;

/// Points at the construct of a word that does not expand.
pub(crate) fn word_error(word: &Spanned<String>, error: &WordError) -> Diagnostic {
    let span = word.place(error.range.clone());
    let shown = if word.len() > LONGEST_SHOWN || word.contains('\n') {
        let part: String = word[error.range.clone()]
            .chars()
            .take(LONGEST_SHOWN)
            .collect();
        part.lines().next().unwrap_or_default().to_owned()
    } else {
        word.value.clone()
    };
    let message = format!("failed to process {shown:?}: {error}");
    let diagnostic = Diagnostic::error(error.kind.code(), span, message);
    match error.kind.help() {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

/// Returns the `--from` parts of an instruction: one for COPY, one for each
/// mount of RUN.
pub(crate) fn from_words(
    instruction: &Instruction,
) -> Vec<Option<(&'static str, Spanned<String>)>> {
    match &instruction.kind {
        Kind::Copy(copy) => vec![copy.from.clone().map(|from| ("copy", from))],
        Kind::Run(run) => run
            .mounts
            .iter()
            .map(|mount| mount.from().map(|from| ("mount", from)))
            .collect(),
        _ => Vec::new(),
    }
}

/// Says how an image's name is to be mended, where that can be seen.
fn misspelt(name: &str) -> Option<String> {
    let (repository, rest) = match name.find('@') {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    };
    if rest.is_some_and(|digest| !digest.is_empty()) {
        return Some("a digest is sha256: and 64 hexadecimal digits".to_owned());
    }
    if repository.ends_with([':', '/']) || rest.is_some() {
        return Some(
            "a part of the name is empty: leave out what stands before it, or give it a value"
                .to_owned(),
        );
    }
    let lower = name.to_lowercase();
    (lower != name && lower.parse::<Reference>().is_ok())
        .then(|| format!("write it in lower case: {lower}"))
}

#[cfg(test)]
mod tests;
