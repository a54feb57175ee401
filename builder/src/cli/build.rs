//! `cooper build`: from raw arguments to [`BuildOptions`].

mod accepted;
mod attest;
mod call;
#[cfg(test)]
mod diagnostics;
mod failed_step;
#[cfg(test)]
mod failures;
mod input;
mod outputs;
mod run;
mod service;
mod share;
mod steps;
mod vcs;
mod warnings;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use cooper_cache::FileTimes;
use cooper_oci::{Platform, Reference};

use super::value::{self, ValueError, each, pair};
use super::{Settings, output, source};
use crate::config;
use crate::options::{
    BuildOptions, Call, ContextModes, ContextSource, DockerfileSource, Leaks, NamedContext,
    NoCache, ProgressMode, Pull, RegistryOptions, SecretSource, Squash, SshSpec,
};
use crate::report::Report;

pub use accepted::AcceptedArgs;
pub use attest::AttestArgs;
pub use call::{Answer, ask};
pub use input::InputArgs;
pub use outputs::Placement;
pub use run::{build_targets, run};
pub(super) use service::complete;
pub(super) use share::{from as cache_from, to as cache_to};
pub use steps::StepArgs;

/// Options of `cooper build`.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[command(after_help = "See the configuration file's documentation for what can be set for good.")]
pub struct BuildArgs {
    /// What COPY and ADD read: a directory, a git or http address, or - for an archive (or a
    /// lone Dockerfile) on stdin
    #[arg(value_name = "PATH|URL|-")]
    pub context: String,

    /// Dockerfile to build: a path, an http address or - for stdin [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,

    /// Name the image NAME or NAME:TAG; may be repeated
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,

    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// Do not build, but: check, outline, targets or subrequests.describe [,format=json]
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,

    /// Run the build checks alone; short for --call=check
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", overrides_with = "call",
          value_parser = super::value::switch)]
    pub check: bool,

    /// Set an ARG; without a value, to that of the environment variable
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,

    /// Add a label to the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,

    /// Add an annotation to the image's manifest, or to another place: manifest-descriptor,
    /// index or index-descriptor
    #[arg(long, value_name = "[PLACE:]NAME=VALUE")]
    pub annotation: Vec<String>,

    /// Execute every step, whatever is cached
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub no_cache: bool,

    /// Execute the steps of these stages, whatever is cached
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,

    /// Take results from a cache that another machine wrote: an image, or type=registry,ref=NAME,
    /// type=local,src=DIR, type=s3,bucket=BUCKET, type=azblob or type=gha; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,

    /// Write a cache for other machines: type=registry,ref=NAME, type=local,dest=DIR,
    /// type=s3,bucket=BUCKET, type=azblob, type=gha or type=inline, with mode=min|max, and with
    /// mounts=true for the cache mounts of RUN steps; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,

    /// Ask the registry even for images that are here
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true,
          default_missing_value = "always", hide_possible_values = true)]
    pub pull: Option<String>,

    /// Let NAME stand for a directory, docker-image://REF, oci-layout://DIR or DIR:TAG, a git or http
    /// address
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub build_context: Vec<String>,

    /// Let RUN --mount=type=secret mount this
    #[arg(long, value_name = "id=ID,src=FILE|env=NAME")]
    pub secret: Vec<String>,

    /// Refuse to write results with keys, tokens or build arguments that look like secrets
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub detect_credentials: Option<bool>,

    /// Let RUN --mount=type=ssh and git use these keys: those of your agent, or of files
    #[arg(long, value_name = "ID[=SOCKET|KEY,KEY…]")]
    pub ssh: Vec<String>,

    /// Platforms to build for; several make an index of images [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<String>,

    /// Where the result goes: DIR, -, or type=image|registry|oci|docker|local|tar,KEY=VALUE…
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,

    /// Shorthands for outputs.
    #[command(flatten)]
    pub placement: Placement,

    /// Make one layer of what the build adds; with =all, of the base too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true, value_name = "WHAT")]
    pub squash: Option<String>,

    /// Date what the build creates, and leave the times of files as they are
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub source_date_epoch: Option<i64>,

    /// Let no file of a new layer be younger than the source date epoch
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub rewrite_timestamp: bool,

    /// Date what the build creates, and every file of a new layer, exactly so
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true,
          conflicts_with_all = ["source_date_epoch", "rewrite_timestamp"])]
    pub timestamp: Option<i64>,

    /// Execute every step twice and say which files of the two results differ, and why
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub verify_reproducible: bool,

    /// What follows when a RUN fails: fail, or a shell in its place (files, mounts, user and all)
    #[arg(long, value_name = "ACTION")]
    pub on_error: Option<String>,

    /// Leave the history out of the image
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub omit_history: bool,

    /// Name the image, or the index of several, NAME; another --tag
    #[arg(long, value_name = "NAME")]
    pub manifest: Option<String>,

    /// Write the image ID to FILE
    #[arg(long, alias = "imageidfile", value_name = "FILE")]
    pub iidfile: Option<PathBuf>,

    /// Write the result's metadata to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// Write progress to FILE rather than to the terminal
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,

    /// How to show progress: auto, tty, plain, quiet or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,

    /// Print only the image ID
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub quiet: bool,

    /// Say of each step why it was executed, or was not
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub explain: bool,

    /// Ask URL before the registry HOST
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,

    /// How many steps may run at once; 0 leaves it to cooper
    #[arg(short, long, value_name = "N", value_parser = jobs)]
    pub jobs: Option<NonZeroUsize>,

    /// How much memory RUN steps that run at once may take together, such as 8g: each counts with
    /// its --memory limit, or without one with an equal share for each of the jobs
    #[arg(long, value_name = "SIZE", value_parser = super::value::size)]
    pub memory_budget: Option<u64>,

    /// Whether this is a target of a bake file, whose platforms the environment does not set.
    #[arg(skip)]
    pub of_bake: bool,

    /// What RUN steps may do, see and use up.
    #[command(flatten)]
    pub steps: StepArgs,

    /// What is read besides the context.
    #[command(flatten)]
    pub input: InputArgs,

    /// What is said of the image beside it.
    #[command(flatten)]
    pub attest: AttestArgs,

    /// What docker and buildah have and there is no need of.
    #[command(flatten)]
    pub accepted: AcceptedArgs,
}

/// The time stamped on what a build creates.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Its value that leaves it to the context.
const OF_CONTEXT: &str = "context";

impl BuildArgs {
    /// Returns what these arguments ask for, given the environment and the configuration.
    pub fn resolve(&self, settings: &Settings) -> Result<BuildOptions, Report> {
        self.accepted.check(&settings.environment)?;
        let input = self.input.resolve(&settings.environment)?;
        let (context, dockerfile) = self.sources()?;
        let (build_args, source_date_epoch) = self.build_args(settings)?;
        let file = &settings.file;
        let progress =
            config::progress_mode(self.progress.as_deref(), &settings.environment, file)?;
        let epoch_of_context = build_args
            .get(EPOCH)
            .is_some_and(|epoch| epoch == OF_CONTEXT);
        let steps = self.steps.resolve(&file.build)?;
        let registry = settings.registry(&self.registry_mirror)?;
        let attest = self.attest.resolve(&settings.environment, &file.build)?;
        let metadata_provenance =
            attest::metadata_mode(&settings.environment)?.filter(|_| self.metadata_file.is_some());
        let told = attest.provenance.is_some() || metadata_provenance.is_some();
        let asked = vcs::Asked::resolve(&settings.environment, told)?;
        let vcs = asked.and_then(|asked| asked.of(&context, &dockerfile));
        let mut labels = self.labels(&file.build.labels)?;
        if let (Some(asked), Some(vcs)) = (asked, &vcs) {
            asked.label(vcs, &mut labels);
        }
        let mut options = BuildOptions {
            ssh: self.ssh(settings, &context)?,
            context,
            dockerfile,
            tags: self.tags()?,
            target: self.target.clone(),
            first_base: self.input.from.clone(),
            env: input.env,
            unset_env: self.input.unsetenv.clone(),
            ignore_file: self.input.ignorefile.clone(),
            context_modes: if self.input.normalize_modes {
                ContextModes::Normalized
            } else {
                ContextModes::Kept
            },
            cache_ttl: input.cache_ttl,
            cache_from: each("--cache-from", &self.cache_from, share::from)?.concat(),
            cache_to: each("--cache-to", &self.cache_to, share::to)?.concat(),
            omit_history: self.omit_history,
            log_file: self.logfile.clone(),
            platforms: self.platforms(&settings.environment)?,
            build_args,
            labels,
            no_cache: self.no_cache(input.cache_ttl),
            pull: self.pull()?,
            network: steps.network,
            entitlements: steps.entitlements,
            sandbox: steps.sandbox,
            cdi_dirs: steps.cdi_dirs,
            add_hosts: steps.add_hosts,
            dns: steps.dns,
            build_contexts: self.build_contexts()?,
            secrets: self.secrets(settings)?,
            squash: self.squash()?,
            leaks: self.leaks(file.build.detect_credentials),
            attest,
            metadata_provenance,
            metadata_warnings: attest::metadata_warnings(&settings.environment)?,
            vcs,
            limits: steps.limits,
            outputs: self.outputs(&settings.environment)?,
            iidfile: self.iidfile.clone(),
            metadata_file: self.metadata_file.clone(),
            source_date_epoch,
            epoch_of_context,
            verify_reproducible: self.verify_reproducible,
            shell_on_error: self.shell_on_error()?,
            file_times: self.file_times(source_date_epoch, epoch_of_context)?,
            call: self.call()?,
            jobs: self.jobs.or(file.build.jobs).unwrap_or_else(default_jobs),
            memory_budget: self.memory_budget,
            progress: if self.quiet {
                ProgressMode::Quiet
            } else {
                progress
            },
            quiet: self.quiet,
            explain: self.explain,
            registry: RegistryOptions {
                retry_delay: input.retry_delay,
                retries: self.input.retry.unwrap_or(registry.retries),
                ..registry
            },
        };
        if self.rewrite_timestamp && epoch_of_context {
            outputs::rewrite_timestamps(&mut options.outputs);
        }
        outputs::trust_where_asked(&mut options);
        share::settle(&mut options, &settings.environment)?;
        outputs::check_names(&options)?;
        outputs::check_annotations(&options)?;
        check_ignore_file(&options)?;
        Ok(options)
    }

    fn call(&self) -> Result<Call, Report> {
        let text = match (&self.call, self.check) {
            (Some(text), _) => text.as_str(),
            (None, true) => "check",
            (None, false) => return Ok(Call::default()),
        };
        value::call(text).map_err(|error| error.report("--call", text))
    }

    fn sources(&self) -> Result<(ContextSource, DockerfileSource), Report> {
        let dockerfile = source::dockerfile(self.file.as_deref());
        let context = source::context(&self.context).map_err(|error| {
            let context = &self.context;
            error.under(&format!("cannot use {context} as the build context"))
        })?;
        if context == ContextSource::Stdin && dockerfile == DockerfileSource::Stdin {
            return Err(Report::new(
                "standard input cannot be both the build context and the Dockerfile",
            ));
        }
        Ok((context, dockerfile))
    }

    /// Returns the agents; for a context that ssh gives, the user's own unless one is named.
    fn ssh(&self, settings: &Settings, context: &ContextSource) -> Result<Vec<SshSpec>, Report> {
        let agent = settings.environment.path("SSH_AUTH_SOCK");
        let agent = agent.as_deref();
        let mut given = each("--ssh", &self.ssh, |text| source::ssh(text, agent))?;
        let needed =
            matches!(context, ContextSource::Git(git) if cooper_frontend::git::is_ssh(&git.remote));
        if given.is_empty() && needed {
            given.extend(source::default_ssh(agent));
        }
        let mut ids: Vec<&str> = given.iter().map(|spec| spec.id.as_str()).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let id = twice[0];
            return Err(Report::new(format!("--ssh {id} is given twice")));
        }
        Ok(given)
    }

    /// Returns the build arguments and the source date epoch, which is one of them.
    fn build_args(
        &self,
        settings: &Settings,
    ) -> Result<(BTreeMap<String, String>, Option<i64>), Report> {
        let environment = &settings.environment;
        let mut args = BTreeMap::new();
        if settings.file.build.proxy {
            args.extend(environment.proxies());
        }
        args.extend(settings.file.build.args.clone());
        if let Some(epoch) = environment.text(EPOCH).filter(|epoch| !epoch.is_empty()) {
            args.insert(EPOCH.to_owned(), epoch);
        }
        let mut given = each("--build-arg-file", &self.input.build_args()?, pair)?;
        given.extend(each("--build-arg", &self.build_arg, pair)?);
        for (name, value) in given {
            // A name without a value that is not set in the environment leaves the ARG unset.
            match value.or_else(|| environment.text(&name)) {
                Some(value) => args.insert(name, value),
                None => args.remove(&name),
            };
        }
        let asked = each("--output", &self.output, output::epoch)?;
        let asked = asked.into_iter().flatten().next_back();
        if let Some(given) = self.timestamp.or(self.source_date_epoch).or(asked) {
            args.insert(EPOCH.to_owned(), given.to_string());
        }
        let epoch = match args.get(EPOCH).filter(|epoch| !epoch.is_empty()) {
            Some(epoch) if epoch == OF_CONTEXT => None,
            Some(epoch) => Some(epoch.parse().map_err(|_| {
                ValueError::new("not a number of seconds since 1970").report(EPOCH, epoch)
            })?),
            None => None,
        };
        Ok((args, epoch))
    }

    fn platforms(&self, environment: &config::Environment) -> Result<Vec<Platform>, Report> {
        const DEFAULT: &str = "DOCKER_DEFAULT_PLATFORM";
        let mut platforms = Vec::new();
        let default = environment
            .text(DEFAULT)
            .filter(|_| self.platform.is_empty() && !self.of_bake);
        let option = default.as_ref().map_or("--platform", |_| DEFAULT);
        let written = self.platform.iter().chain(&default).map(|text| text.trim());
        for text in written.filter(|text| !text.is_empty()) {
            let platform = if text == "local" {
                Platform::host()
            } else {
                text.parse().map_err(|error: cooper_oci::PlatformError| {
                    ValueError::new(error.to_string()).report(option, text)
                })?
            };
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }

    fn labels(
        &self,
        configured: &BTreeMap<String, String>,
    ) -> Result<Vec<(String, String)>, Report> {
        let given = each("--label", &self.label, pair)?;
        let configured = configured
            .iter()
            .filter(|(name, _)| !given.iter().any(|(given, _)| given == *name))
            .map(|(name, value)| (name.clone(), value.clone()));
        let mut labels: Vec<_> = configured.collect();
        labels.extend(
            given
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_default())),
        );
        Ok(labels)
    }

    fn tags(&self) -> Result<Vec<Reference>, Report> {
        let mut tags = each("--tag", &self.tag, output::image_name)?;
        let manifest = self.manifest.as_slice();
        tags.extend(each("--manifest", manifest, output::image_name)?);
        Ok(tags)
    }

    /// Returns what must be executed; results that may have no age at all are none.
    fn shell_on_error(&self) -> Result<bool, Report> {
        match self.on_error.as_deref() {
            None | Some("" | "fail") => Ok(false),
            Some("shell") => Ok(true),
            Some(other) => {
                let error = ValueError::unknown("action", other, &["fail", "shell"]);
                Err(error.report("--on-error", other))
            }
        }
    }

    fn no_cache(&self, ttl: Option<Duration>) -> NoCache {
        let all = self.no_cache || self.verify_reproducible || ttl == Some(Duration::ZERO);
        match (all, self.no_cache_filter.as_slice()) {
            (true, _) => NoCache::All,
            (false, []) => NoCache::Off,
            (false, stages) => NoCache::Stages(stages.to_vec()),
        }
    }

    fn pull(&self) -> Result<Pull, Report> {
        match self.pull.as_deref() {
            Some("always" | "true" | "1" | "newer" | "ifnewer") => Ok(Pull::Always),
            None | Some("missing" | "false" | "0") => Ok(Pull::Missing),
            Some("never") => Ok(Pull::Never),
            Some(other) => {
                let error = ValueError::unknown("time", other, &["always", "missing", "never"]);
                Err(error.report("--pull", other))
            }
        }
    }

    fn leaks(&self, configured: Option<bool>) -> Leaks {
        let allowed = self
            .steps
            .allow
            .iter()
            .any(|what| what == super::leaks::SECRET_EXPORT);
        let credentials = self.detect_credentials.or(configured).unwrap_or(false);
        Leaks {
            allowed,
            credentials,
        }
    }

    /// Returns the times for files, if they are known without the context.
    fn file_times(
        &self,
        epoch: Option<i64>,
        of_context: bool,
    ) -> Result<Option<FileTimes>, Report> {
        match (self.timestamp, self.rewrite_timestamp, epoch) {
            (Some(exact), ..) => Ok(Some(FileTimes::Exactly(exact))),
            (None, true, None) if of_context => Ok(None),
            (None, true, Some(epoch)) => Ok(Some(FileTimes::AtMost(epoch))),
            (None, true, None) => Err(Report::new("--rewrite-timestamp needs a time to go by")
                .hint("add --source-date-epoch SECONDS, or set SOURCE_DATE_EPOCH")),
            (None, false, _) => Ok(None),
        }
    }

    fn squash(&self) -> Result<Squash, Report> {
        match self.squash.as_deref() {
            None | Some("false" | "0") => Ok(Squash::Off),
            Some("true" | "1" | "new") => Ok(Squash::New),
            Some("all") => Ok(Squash::All),
            Some(other) => {
                let error = ValueError::unknown("choice", other, &["new", "all", "true", "false"]);
                Err(error.report("--squash", other))
            }
        }
    }

    fn build_contexts(&self) -> Result<Vec<(String, NamedContext)>, Report> {
        let contexts = each(
            "--build-context",
            &self.build_context,
            source::build_context,
        )?;
        for (name, context) in &contexts {
            let (NamedContext::Dir(dir) | NamedContext::OciLayout { dir, .. }) = context else {
                continue;
            };
            if !dir.is_dir() {
                let dir = dir.display();
                return Err(Report::new(format!(
                    "--build-context {name}: {dir} is no directory"
                )));
            }
        }
        Ok(contexts)
    }

    fn secrets(&self, settings: &Settings) -> Result<Vec<crate::options::SecretSpec>, Report> {
        let is_set = |name: &str| settings.environment.text(name).is_some();
        let secrets = each("--secret", &self.secret, |text| {
            source::secret(text, &is_set)
        })?;
        for secret in &secrets {
            match &secret.source {
                SecretSource::File(path) if !path.exists() || path.is_dir() => {
                    let (id, path) = (&secret.id, path.display());
                    return Err(Report::new(format!(
                        "--secret {id}: there is no file {path}"
                    )));
                }
                SecretSource::File(_) | SecretSource::Env(_) => {}
            }
        }
        Ok(secrets)
    }
}

/// Of what is fetched or streamed, nothing is ignored.
fn check_ignore_file(options: &BuildOptions) -> Result<(), Report> {
    let is_dir = matches!(options.context, ContextSource::Dir(_));
    if options.ignore_file.is_some() && !is_dir {
        return Err(Report::new(
            "--ignorefile needs a directory as the build context",
        ));
    }
    Ok(())
}

fn jobs(text: &str) -> Result<NonZeroUsize, String> {
    let jobs: usize = text
        .parse()
        .map_err(|_| "not a number of steps".to_owned())?;
    Ok(NonZeroUsize::new(jobs).unwrap_or_else(default_jobs))
}

/// RUN steps wait as often as they compute, so there may be more of them than processors.
fn default_jobs() -> NonZeroUsize {
    const LEAST: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");
    std::thread::available_parallelism().map_or(LEAST, |processors| {
        LEAST.max(processors.saturating_mul(NonZeroUsize::new(4).unwrap_or(LEAST)))
    })
}

#[cfg(test)]
mod tests;
