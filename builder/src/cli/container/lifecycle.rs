//! Starting, ending, waiting for, naming and removing containers.

use crate::exit::ExitCode;

use clap::Args;

use super::{ask, asked, each, failed, reach};
use crate::cli::Settings;
use crate::cli::run::{LimitArgs, RelayArgs, restart_policy};
use crate::cli::session::Session;
use crate::container::protocol::{Answer, Request};
use crate::container::run::Attached;
use crate::container::start::{Attachment, start, warn_of_discarded};
use crate::container::{Containers, Found, RestartPolicy, Status, signal};
use crate::events::Journal;
use crate::report::{Report, print_data, print_error};

/// Options of `cooper start`.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// Show what the container writes, and pass signals on
    #[arg(short, long)]
    pub attach: bool,

    /// Send stdin to the container
    #[arg(short, long)]
    pub interactive: bool,

    /// How this command is attached.
    #[command(flatten)]
    pub relay: RelayArgs,
}

impl StartArgs {
    /// Starts containers; attached to one, returns its exit code.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let options = self.relay.resolve()?;
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        if self.attach || self.interactive {
            let [name] = self.containers.as_slice() else {
                return Err(Report::new(
                    "only one container at a time can be attached to",
                ));
            };
            let found = containers.one(name).map_err(|error| failed(&error))?;
            let mut held = found.hold().map_err(|error| failed(&error))?;
            held.container.config.open_stdin &= self.interactive;
            let attached = Attached::start(&session.store, held, None, &options)?;
            return attached.carry().map(ExitCode::from);
        }
        each(&containers, &self.containers, |found| {
            start_one(&session, found)
        })
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Starts a container; one that runs already is left alone.
fn start_one(session: &Session, found: &Found) -> Result<(), Report> {
    if found.is_active() {
        return Ok(());
    }
    let held = found.hold().map_err(|error| failed(&error))?;
    start(&session.store, held, None, Attachment::default()).map(drop)
}

/// How containers are brought to their end.
#[derive(Args, Clone, Debug)]
pub struct EndArgs {
    /// Signal that asks the container to end
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<String>,

    /// Seconds until SIGKILL; -1 to wait for ever
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub time: Option<i64>,
}

/// Options of `cooper stop`.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// How they end.
    #[command(flatten)]
    pub end: EndArgs,
}

impl StopArgs {
    /// Ends containers, all at once.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let request = self.end.request()?;
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        // Each is asked before the first is waited for.
        let mut asked = Vec::new();
        let mut failures = Vec::new();
        for name in &self.containers {
            match containers.one(name).map_err(|error| failed(&error)) {
                Err(report) => failures.push(report),
                Ok(found) if !found.is_active() => asked.push((name, None)),
                Ok(found) => match reach(&found) {
                    Ok(connection) => {
                        // A monitor that has gone meanwhile has nothing left to end.
                        let _ = connection.request(&request, Vec::new());
                        asked.push((name, Some(connection)));
                    }
                    // It has ended between the look and the call.
                    Err(_) => asked.push((name, None)),
                },
            }
        }
        for (name, connection) in asked {
            if let Some(mut connection) = connection {
                let _ = connection.answer();
            }
            print_data(&format!("{name}\n"))?;
        }
        Report::of_all(failures)
    }
}

impl EndArgs {
    /// Returns what a monitor is asked for.
    fn request(&self) -> Result<Request, Report> {
        let signal = self.signal.as_deref();
        let signal = signal.map(|text| signal_number("--signal", text));
        Ok(Request::Stop {
            signal: signal.transpose()?,
            timeout: self.time,
        })
    }
}

fn signal_number(option: &str, text: &str) -> Result<i32, Report> {
    signal::number(text).ok_or_else(|| {
        Report::new(format!("invalid value {text:?} for {option}: not a signal"))
            .hint("write a name such as SIGTERM, or a number")
    })
}

/// Options of `cooper restart`.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// How they end.
    #[command(flatten)]
    pub end: EndArgs,
}

impl RestartArgs {
    /// Ends containers and starts them again.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let request = self.end.request()?;
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        each(&containers, &self.containers, |found| {
            if found.is_active() {
                ask(found, &request)?;
            }
            let held = found.hold().map_err(|error| failed(&error))?;
            start(&session.store, held, None, Attachment::default())?;
            Journal::of(session.store.root()).write(&found.container.event("restart"));
            Ok(())
        })
    }
}

/// Options of `cooper kill`.
#[derive(Args, Clone, Debug)]
pub struct KillArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
}

impl KillArgs {
    /// Sends the signal.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let number = signal_number("--signal", &self.signal)?;
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        each(&containers, &self.containers, |found| {
            ask(found, &Request::Signal(number))
        })
    }
}

/// Options of `cooper wait`.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl WaitArgs {
    /// Prints the exit code of each once it has ended.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let mut failures = Vec::new();
        for name in &self.containers {
            let found = containers.one(name).map_err(|error| failed(&error));
            match found.and_then(|found| wait(&containers, &found)) {
                Ok(code) => print_data(&format!("{code}\n"))?,
                Err(report) => failures.push(report),
            }
        }
        Report::of_all(failures)
    }
}

fn wait(containers: &Containers, found: &Found) -> Result<i32, Report> {
    if found.is_active()
        && let Ok(mut connection) = reach(found)
        && connection.request(&Request::Wait, Vec::new()).is_ok()
        && let Ok(Answer::Ended { code }) = connection.answer()
    {
        return Ok(code);
    }
    // It had ended, or its monitor died; what is written down then is the truth.
    let found = containers.one(&found.container.id);
    Ok(found.map_err(|error| failed(&error))?.state.exit_code)
}

/// Options of `cooper rename`.
#[derive(Args, Clone, Debug)]
pub struct RenameArgs {
    /// The container, by name or ID
    pub container: String,

    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    pub name: String,
}

impl RenameArgs {
    /// Gives the container its new name.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let found = containers
            .one(&self.container)
            .map_err(|error| failed(&error))?;
        containers
            .rename(&found, &self.name)
            .map_err(|error| failed(&error))?;
        if found.is_active() {
            ask(&found, &Request::Rename(self.name.clone()))?;
        }
        let renamed = found.container.event("rename");
        let old = format!("/{}", found.container.name);
        let renamed = renamed
            .with("oldName", old)
            .with("name", self.name.as_str());
        Journal::of(session.store.root()).write(&renamed);
        Ok(())
    }
}

/// Takes a link from what is written down of its container, and prints its name.
fn unlink(containers: &Containers, path: &str) -> Result<(), Report> {
    let bare = path.strip_prefix('/').unwrap_or(path);
    let (name, alias) = bare.split_once('/').unwrap_or((bare, ""));
    let mut container = containers
        .one(name)
        .map_err(|error| failed(&error))?
        .container;
    let links = &mut container.config.network.links;
    let before = links.len();
    links.retain(|link| link.alias != alias);
    if links.len() == before {
        return Err(
            Report::new(format!("container {name} has no link {alias:?}"))
                .hint("write CONTAINER/ALIAS"),
        );
    }
    containers
        .update(&container)
        .map_err(|error| failed(&error))?;
    print_data(&format!("{path}\n"))
}

/// Options of `cooper rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// Kill those that run, and be content with those that do not exist
    #[arg(short, long)]
    pub force: bool,

    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,

    /// Remove a link, given as CONTAINER/ALIAS, and no container
    #[arg(short, long)]
    pub link: bool,
}

impl RmArgs {
    /// Removes containers.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        if self.link {
            return Report::of_all(
                self.containers
                    .iter()
                    .filter_map(|path| unlink(&containers, path).err())
                    .collect(),
            );
        }
        let (present, absent): (Vec<_>, Vec<_>) = self
            .containers
            .iter()
            .cloned()
            .partition(|name| !self.force || containers.one(name).is_ok());
        for name in absent {
            print_error(&format!("no such container: {name}\n"));
        }
        each(&containers, &present, |found| {
            self.remove(&containers, found)
        })
    }

    fn remove(&self, containers: &Containers, found: &Found) -> Result<(), Report> {
        let name = &found.container.name;
        if found.is_active() {
            if !self.force {
                let state = match found.state.status {
                    Status::Paused => "paused",
                    Status::Restarting => "being restarted",
                    _ => "running",
                };
                return Err(Report::new(format!("container {name} is {state}"))
                    .hint("`cooper stop` ends it, `cooper rm -f` kills it"));
            }
            let request = Request::Stop {
                signal: Some(signal::KILL),
                timeout: Some(0),
            };
            // One that ends by itself meanwhile is as good.
            let _ = ask(found, &request);
        }
        let held = match found.hold() {
            // It was to go at its end, and has.
            Err(crate::container::ContainerError::Missing { .. })
                if found.container.config.lifecycle.remove =>
            {
                return Ok(());
            }
            held => held.map_err(|error| failed(&error))?,
        };
        let volumes = self.volumes || held.container.config.lifecycle.remove;
        containers
            .remove_with(held, volumes)
            .map_err(|error| failed(&error))
    }
}

/// Options of `cooper update`.
#[derive(Args, Clone, Debug)]
pub struct UpdateArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// What follows the end: no, on-failure, on-failure:TIMES, always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,

    /// What they may use from now on.
    #[command(flatten)]
    pub limits: LimitArgs,
}

impl UpdateArgs {
    /// Changes containers, running or not.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let policy = self
            .restart
            .as_deref()
            .map(|text| restart_policy(text).map_err(|error| error.report("--restart", text)));
        let policy = policy.transpose()?;
        if policy.is_none() && self.limits.is_empty() {
            return Err(Report::new("nothing is to be changed").hint("give a limit, or --restart"));
        }
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        each(&containers, &self.containers, |found| {
            let mut container = found.container.clone();
            self.limits.lay_over(&mut container.config.resources)?;
            let lifecycle = &mut container.config.lifecycle;
            lifecycle.restart = policy.unwrap_or(lifecycle.restart);
            if lifecycle.remove && lifecycle.restart != RestartPolicy::No {
                return Err(Report::new("--rm and --restart exclude each other"));
            }
            // What the kernel refuses is not written down.
            if found.is_active() && !self.limits.is_empty() {
                let resources = Box::new(container.config.resources.clone());
                if let Answer::Discarded(files) = asked(found, &Request::Limit(resources))? {
                    warn_of_discarded(&files);
                }
            }
            containers
                .update(&container)
                .map_err(|error| failed(&error))?;
            Journal::of(session.store.root()).write(&container.event("update"));
            match policy {
                Some(policy) if found.is_active() => ask(found, &Request::Policy(policy)),
                _ => Ok(()),
            }
        })
    }
}
