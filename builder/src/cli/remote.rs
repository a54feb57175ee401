//! `cooper pull`.

use crate::exit::ExitCode;

use clap::{ArgAction, Args};
use cooper_oci::{Platform, PlatformError, Reference};

use super::Settings;
use super::interrupt::Interrupt;
use super::session::Session;
use super::value::ValueError;
use crate::config;
use crate::options::{ProgressMode, RegistryOptions};
use crate::progress::{Display, DisplayOptions};
use crate::pull::{Pull, PullError, Pulled};
use crate::registry::{RegistryError, Watch};
use crate::report::{Exit, Report, print_data};

/// Options of `cooper pull`.
#[derive(Args, Clone, Debug)]
pub struct PullArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,

    /// Platform, of an image that is made for several
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,

    /// Pull all tags that the registry has of the name
    #[arg(short, long)]
    pub all_tags: bool,

    /// Show only the image's name at the end
    #[arg(short, long)]
    pub quiet: bool,

    /// How to show progress: auto, tty, plain, quiet or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,

    /// Ask URL before the registry HOST
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,

    #[command(flatten)]
    trust: TrustArgs,
}

/// Docker's content trust, which went out of use; nothing here signs or verifies.
#[derive(Args, Clone, Debug)]
pub(super) struct TrustArgs {
    /// Images are not verified by signatures of docker's content trust
    #[arg(long, hide = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", value_name = "BOOL")]
    disable_content_trust: bool,
}

impl TrustArgs {
    /// Refuses what would seem to be verified and is not.
    pub(super) fn check(&self) -> Result<(), Report> {
        if self.disable_content_trust {
            return Ok(());
        }
        Err(Report::new(
            "--disable-content-trust=false asks for signatures, which are not verified here",
        )
        .hint("name an image by its digest to be sure of it"))
    }
}

impl PullArgs {
    /// Pulls the image.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        self.trust.check()?;
        let reference = reference(&self.name)?;
        let platform = platform(self.platform.as_deref())?;
        let options = settings.registry(&self.registry_mirror)?;
        let mode = config::progress_mode(
            self.progress.as_deref(),
            &settings.environment,
            &settings.file,
        )?;
        let mode = if self.quiet {
            ProgressMode::Quiet
        } else {
            mode
        };
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        if self.all_tags {
            return self.pull_all(&session, settings, &options, mode, &platform);
        }
        let names = options.short_names.meanings(&self.name, &reference);
        let pulled = pull(&session, settings, &options, mode, &names, &platform)?;
        print_data(&format!("{}\n", pulled.reference))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl PullArgs {
    /// Pulls everything of a repository.
    fn pull_all(
        &self,
        session: &Session,
        settings: &Settings,
        options: &RegistryOptions,
        mode: ProgressMode,
        platform: &Platform,
    ) -> Result<ExitCode, Report> {
        let repository = repository(&self.name)?;
        let client = settings.registry_client(options)?;
        let mut tags = client.tags(&repository, Watch::none()).map_err(|error| {
            let report = Report::from_error(&error);
            match error.hint() {
                Some(hint) => report.hint(hint),
                None => report,
            }
        })?;
        tags.sort();
        for tag in tags {
            let name = reference(&format!("{repository}:{tag}"))?;
            let pulled = pull(session, settings, options, mode, &[name], platform)?;
            print_data(&format!("{}\n", pulled.reference))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Pulls the first of the images `names` that a registry has, and shows how it goes.
pub(super) fn pull(
    session: &Session,
    settings: &Settings,
    options: &RegistryOptions,
    mode: ProgressMode,
    names: &[Reference],
    platform: &Platform,
) -> Result<Pulled, Report> {
    let client = settings.registry_client(options)?;
    let display = Display::start(DisplayOptions::new(
        mode,
        settings.color(&std::io::stderr()),
    ));
    let interrupt = Interrupt::listen().map_err(|error| Report::from_error(&error))?;
    let progress = display.progress();
    let pull = Pull {
        store: &session.store,
        client: &client,
        progress: &progress,
        canceled: &|| interrupt.token().is_cancelled(),
    };
    let mut failures = Vec::new();
    let mut pulled = None;
    for name in names {
        match pull.run(name, platform) {
            Ok(found) => {
                pulled = Some(found);
                break;
            }
            Err(error) => failures.push(failure(&error)),
        }
        if interrupt.token().is_cancelled() {
            break;
        }
    }
    display.finish();
    match pulled {
        Some(pulled) => {
            let name = pulled.reference.familiar();
            session.tell("pull", name.as_str(), &name);
            Ok(pulled)
        }
        None => {
            Err(Report::of_all(failures).expect_err("there is a name, which was pulled or was not"))
        }
    }
}

fn failure(error: &PullError) -> Report {
    if matches!(error, PullError::Registry(RegistryError::Canceled)) {
        return Report::new("interrupted").exit(Exit::Interrupted);
    }
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// Returns the image that `name` means at a registry.
pub(super) fn reference(name: &str) -> Result<Reference, Report> {
    let reference: Reference = name
        .parse()
        .map_err(|error: cooper_oci::ReferenceError| Report::from_error(&error))?;
    Ok(reference.with_default_tag())
}

/// Returns the repository that `name` means with `--all-tags`.
pub(super) fn repository(name: &str) -> Result<Reference, Report> {
    let repository: Reference = name
        .parse()
        .map_err(|error: cooper_oci::ReferenceError| Report::from_error(&error))?;
    if repository.tag().is_some() || repository.digest().is_some() {
        return Err(Report::new(format!(
            "{name} names one image, but --all-tags means all of a repository"
        ))
        .hint("leave the tag or digest out"));
    }
    Ok(repository)
}

/// Returns the platform that `--platform` names, this machine's by default.
pub(super) fn platform(text: Option<&str>) -> Result<Platform, Report> {
    let Some(text) = text else {
        return Ok(Platform::host());
    };
    text.parse().map_err(|error: PlatformError| {
        ValueError::new(error.to_string()).report("--platform", text)
    })
}
