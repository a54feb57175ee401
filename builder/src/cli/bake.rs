//! `cooper bake`: many builds from one definition, as `docker buildx bake`.

mod access;
mod call;
mod definition;
mod list;
mod run;
mod target;

use crate::exit::ExitCode;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use super::Settings;
use super::build::Placement;
use super::confirm;
use super::value::{ValueError, boolean};
use crate::bake::{Definition, Override, Plan, attestation, is_remote, print};
use crate::report::{self, Report};

use access::Grants;
use definition::World;

/// The time stamped on what a build creates, which every target is given.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Switches off, set to false, what is asked of the files that a definition names.
const CHECK_FILES: &str = "BUILDX_BAKE_ENTITLEMENTS_FS";

/// Options of `cooper bake`.
#[derive(Args, Clone, Debug, Default)]
pub struct BakeArgs {
    /// Targets and groups to build; may hold wildcards [default: default]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// File of the definition (HCL, JSON or compose); may be repeated; - is stdin
    /// [default: compose.yaml, docker-bake.json, docker-bake.hcl and the like]
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<String>,

    /// Print what would be built, as JSON
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = super::value::switch)]
    pub print: bool,

    /// List targets or variables [type=targets|variables,format=json]
    #[arg(long, value_name = "WHAT", conflicts_with = "print")]
    pub list: Option<String>,

    /// Override an attribute, such as app.args.VERSION=2 or *.platform+=linux/arm64
    #[arg(long, value_name = "TARGET.KEY=VALUE")]
    pub set: Vec<String>,

    /// Set a variable
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,

    /// Do not build, but: check, outline, targets or subrequests.describe [,format=json]
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,

    /// Run the build checks alone; short for --call=check
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", overrides_with = "call",
          value_parser = super::value::switch)]
    pub check: bool,

    /// Shorthands for outputs.
    #[command(flatten)]
    pub placement: Placement,

    /// Execute every step, whatever is cached
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL",
          value_parser = super::value::switch)]
    pub no_cache: Option<bool>,

    /// Ask the registry even for images that are here
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL",
          value_parser = super::value::switch)]
    pub pull: Option<bool>,

    /// Attest how the images were made; short for --set=*.attest=type=provenance
    #[arg(long, value_name = "VALUE")]
    pub provenance: Option<String>,

    /// Attest what the images are made of; short for --set=*.attest=type=sbom
    #[arg(long, value_name = "VALUE")]
    pub sbom: Option<String>,

    /// Grant targets what they ask for: network.host, security.insecure, device, ssh (the agent),
    /// fs.read=PATH, fs.write=PATH or fs=PATH (files outside of the working directory; * for all);
    /// secret-export lets outputs hold secrets
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,

    /// Write the results' metadata to FILE, as JSON by target
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// How to show progress: auto, tty, plain, quiet or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,

    /// Ask URL before the registry HOST
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,

    /// Taken for scripts that name docker's builder: there is one
    #[arg(long, hide = true)]
    pub builder: Option<String>,

    /// Taken for scripts: errors always say all there is
    #[arg(short = 'D', long, hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub debug: Option<String>,
}

impl BakeArgs {
    /// Does what the arguments ask for.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let world = World::new(self, settings)?;
        let files = definition::files(&self.file, &settings.environment)?;
        let definition = world.read(&files)?;
        if let Some(what) = &self.list {
            list::print(what, &definition)?;
            return Ok(ExitCode::SUCCESS);
        }
        let plan = self.plan(&definition, &world)?;
        if self.print {
            report::print_data(&print::pretty(&print::plan(&plan)))?;
            return Ok(ExitCode::SUCCESS);
        }
        self.check_allowed(&plan, &world, settings)?;
        run::run(self, &plan, settings)
    }

    fn plan(&self, definition: &Definition, world: &World<'_>) -> Result<Plan, Report> {
        let names = match self.targets.as_slice() {
            [] => &["default".to_owned()],
            names => names,
        };
        if let Some(remote) = names.iter().find(|name| is_remote(name)) {
            return Err(Report::new(format!("the definition {remote} is remote"))
                .hint("fetch it first, and name its file with -f"));
        }
        let overrides = self.overrides(world)?;
        let mut plan = definition
            .plan(names, &overrides)
            .map_err(definition::unresolved)?;
        // Said of every target, so that `--print` shows what is built.
        let epoch = world.variable(EPOCH).filter(|epoch| !epoch.is_empty());
        for target in plan.targets.values_mut() {
            let own = target.map("args").any(|(name, _)| name == EPOCH);
            if let (false, Some(epoch), Some(args)) = (own, &epoch, target.map_mut("args")) {
                args.insert(EPOCH.to_owned(), Some(epoch.clone()));
            }
        }
        Ok(plan)
    }

    /// Fails if a target asks for what nobody grants, neither `--allow` nor the user when asked.
    fn check_allowed(
        &self,
        plan: &Plan,
        world: &World<'_>,
        settings: &Settings,
    ) -> Result<(), Report> {
        let here = Path::new(".").canonicalize().map_err(|error| {
            Report::from_error(&error).context("cannot find the working directory")
        })?;
        let files = match settings.environment.text(CHECK_FILES) {
            Some(text) => {
                boolean(CHECK_FILES, &text).map_err(|error| error.report(CHECK_FILES, &text))?
            }
            None => true,
        };
        let grants = Grants::new(&self.allow, &self.overrides(world)?, &here)?;
        let missing = grants.missing(plan, &here, files);
        if missing.is_empty() {
            return Ok(());
        }
        let refusal = access::refusal(&missing);
        if !std::io::stdin().is_terminal() {
            return Err(refusal);
        }
        report::print_error(&refusal.render(false));
        if confirm::agreed("Do you want to grant requested privileges and continue?")? {
            Ok(())
        } else {
            Err(refusal)
        }
    }

    /// Returns the overrides: `--set`, then what other options say for all targets.
    fn overrides(&self, world: &World<'_>) -> Result<Vec<Override>, Report> {
        let mut texts = self.set.clone();
        let all = |text: String| format!("*.{text}");
        texts.extend(self.placement.push.then(|| all("push=true".to_owned())));
        texts.extend(self.placement.load.then(|| all("load=true".to_owned())));
        texts.extend(self.no_cache.map(|value| all(format!("no-cache={value}"))));
        texts.extend(self.pull.map(|value| all(format!("pull={value}"))));
        for (kind, value) in [("sbom", &self.sbom), ("provenance", &self.provenance)] {
            let value = value.as_deref().map(|value| attestation(kind, value));
            texts.extend(value.map(|value| all(format!("attest={value}"))));
        }
        let mut out = Vec::new();
        for text in &texts {
            let parsed = Override::parse(text, &|name| world.variable(name));
            out.extend(parsed.map_err(definition::unresolved)?);
        }
        Ok(Override::gather(out))
    }
}

/// Splits `--var`.
fn variable(text: &str) -> Result<(String, String), ValueError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ValueError::new("not a variable").hint("write NAME=VALUE")),
    }
}

/// Returns whether bake variables may be set by the environment.
fn reads_environment(settings: &Settings) -> bool {
    let name = "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP";
    let disabled = settings.environment.text(name);
    !disabled.is_some_and(|text| boolean(name, &text).unwrap_or(false))
}
