//! `cooper cache export` and `cooper cache import`: RUN cache mounts on other machines.

use std::fmt::Write as _;

use clap::Args;

use super::Settings;
use super::build::{cache_from, cache_to, complete};
use super::interrupt::Interrupt;
use super::session::Session;
use crate::build::{self, Moved, export_mounts, import_mounts};
use crate::config;
use crate::options::{CacheFrom, CachePlace, RegistryOptions};
use crate::progress::{Display, DisplayOptions, Progress};
use crate::report::{Exit, Report, print_data};
use crate::shared_cache::SharedCacheError;
use cooper_solver::CancelToken;

/// Options of `cooper cache export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Where they go, as in `cooper build --cache-to`: a registry's NAME, type=registry,ref=NAME or
    /// type=local,dest=DIR. What is there under that name is replaced
    #[arg(value_name = "CACHE")]
    pub to: String,

    /// How progress is shown: auto, tty, plain, rawjson, quiet or none
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
}

/// Options of `cooper cache import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Where they are, as in `cooper build --cache-from`: a registry's NAME, type=registry,ref=NAME
    /// or type=local,src=DIR
    #[arg(value_name = "CACHE")]
    pub from: String,

    /// How progress is shown: auto, tty, plain, rawjson, quiet or none
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
}

impl ExportArgs {
    /// Writes all cache mounts.
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Report> {
        let invalid = |error: super::value::ValueError| error.report("CACHE", &self.to);
        let to = cache_to(&self.to).map_err(invalid)?;
        let [mut to] = <[_; 1]>::try_from(to)
            .map_err(|_| Report::new("cache mounts go to one cache at a time"))?;
        if let CachePlace::Service(place) = &mut to.place {
            complete(place, &settings.environment)?;
        }
        let to = &to;
        let insecure = match &to.place {
            CachePlace::Inline => {
                return Err(Report::new("an image has no place for cache mounts")
                    .hint("write them to a name of their own: type=registry,ref=NAME"));
            }
            CachePlace::Registry {
                reference,
                insecure,
            } => insecure.then(|| reference.domain().to_owned()),
            CachePlace::Local { .. } | CachePlace::Service(_) => None,
        };
        let moved = with_session(
            settings,
            self.progress.as_deref(),
            insecure,
            |session, progress, cancel| export_mounts(session, to, progress, cancel),
        )?;
        say(&moved, "exported", "in use, and left out")
    }
}

impl ImportArgs {
    /// Makes the cache mounts that are not here.
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Report> {
        let invalid = |error: super::value::ValueError| error.report("CACHE", &self.from);
        let from = cache_from(&self.from).map_err(invalid)?;
        let [mut from] = <[_; 1]>::try_from(from)
            .map_err(|_| Report::new("cache mounts come from one cache at a time"))?;
        if let CacheFrom::Service(place) = &mut from {
            complete(place, &settings.environment)?;
        }
        let from = &from;
        let insecure = from
            .insecure()
            .map(|reference| reference.domain().to_owned());
        let moved = with_session(
            settings,
            self.progress.as_deref(),
            insecure,
            |session, progress, cancel| import_mounts(session, from, progress, cancel),
        )?;
        say(&moved, "imported", "here already, and kept")
    }
}

fn with_session(
    settings: &Settings,
    progress: Option<&str>,
    insecure: Option<String>,
    work: impl FnOnce(&build::Session, &Progress, &CancelToken) -> Result<Moved, SharedCacheError>,
) -> Result<Moved, Report> {
    let mode = config::progress_mode(progress, &settings.environment, &settings.file)?;
    let session = Session::open(settings)?;
    let mut registry: RegistryOptions = settings.registry(&[])?;
    registry.insecure.extend(insecure);
    let session = build::Session {
        store: session.store,
        client: settings.registry_client(&registry)?,
        resolv_conf: Vec::new(),
    };
    let color = settings.color(&std::io::stderr());
    let display = Display::start(DisplayOptions::new(mode, color));
    let interrupt = Interrupt::listen().map_err(|error| Report::from_error(&error))?;
    let result = work(&session, &display.progress(), interrupt.token());
    display.finish();
    if interrupt.token().is_cancelled() {
        return Err(Report::silent(Exit::Interrupted));
    }
    result.map_err(|error| {
        let report = Report::from_error(&error);
        error.hint().into_iter().fold(report, Report::hint)
    })
}

fn say(moved: &Moved, done: &str, left: &str) -> Result<(), Report> {
    let mut out = String::new();
    for name in &moved.done {
        let _ = writeln!(out, "{name} {done}");
    }
    for name in &moved.left {
        let _ = writeln!(out, "{name} {left}");
    }
    print_data(&out)
}
