//! Commands on containers that exist: one file a family.

mod exec;
mod lifecycle;
mod logs;
mod network;

use clap::Subcommand;

use super::{Command, ps, run};
use crate::container::protocol::{Answer, Connection, Request};
use crate::container::start::report;
use crate::container::{ContainerError, Containers, Found};
use crate::report::{Report, print_data};

pub use exec::{AttachArgs, ExecArgs};
pub use lifecycle::{
    KillArgs, RenameArgs, RestartArgs, RmArgs, StartArgs, StopArgs, UpdateArgs, WaitArgs,
};
pub use logs::LogsArgs;
pub use network::{ConnectArgs, DisconnectArgs, PortArgs};

/// `cooper container COMMAND`.
#[derive(Subcommand, Debug)]
pub enum ContainerCommand {
    /// Run a program in a container made from an image
    #[command(disable_help_flag = true)]
    Run(Box<run::RunArgs>),
    /// Make a container of an image, to be started later
    #[command(disable_help_flag = true)]
    Create(Box<run::CreateArgs>),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::PsArgs),
    /// Start containers that have ended or were only made
    Start(StartArgs),
    /// End containers: a signal, and SIGKILL after a while
    Stop(StopArgs),
    /// End containers and start them again
    Restart(RestartArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Wait until containers end, and print their exit codes
    Wait(WaitArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Change containers
    Update(UpdateArgs),
    /// Show what a container wrote
    Logs(LogsArgs),
    /// Connect to a running container's streams
    Attach(AttachArgs),
    /// Run a further program in a running container
    Exec(Box<ExecArgs>),
    /// Show where ports are published
    Port(PortArgs),
}

impl ContainerCommand {
    /// Returns the command that this is a longer spelling of.
    pub(super) fn command(self) -> Command {
        match self {
            Self::Run(args) => Command::Run(args),
            Self::Create(args) => Command::Create(args),
            Self::Ls(args) => Command::Ps(args),
            Self::Start(args) => Command::Start(args),
            Self::Stop(args) => Command::Stop(args),
            Self::Restart(args) => Command::Restart(args),
            Self::Kill(args) => Command::Kill(args),
            Self::Wait(args) => Command::Wait(args),
            Self::Rm(args) => Command::Rm(args),
            Self::Rename(args) => Command::Rename(args),
            Self::Update(args) => Command::Update(args),
            Self::Logs(args) => Command::Logs(args),
            Self::Attach(args) => Command::Attach(args),
            Self::Exec(args) => Command::Exec(args),
            Self::Port(args) => Command::Port(args),
        }
    }
}

/// Returns what went wrong with a container.
pub(super) fn failed(error: &ContainerError) -> Report {
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

/// Does `work` on each container that is named, printing the name after each that succeeds; the
/// failures are reported after all of them.
fn each(
    containers: &Containers,
    names: &[String],
    mut work: impl FnMut(&Found) -> Result<(), Report>,
) -> Result<(), Report> {
    let mut failures = Vec::new();
    for name in names {
        let found = containers.one(name).map_err(|error| failed(&error));
        match found.and_then(|found| work(&found)) {
            Ok(()) => print_data(&format!("{name}\n"))?,
            Err(report) => failures.push(report),
        }
    }
    Report::of_all(failures)
}

/// Reaches the monitor of a running container.
pub(super) fn reach(found: &Found) -> Result<Connection, Report> {
    let name = &found.container.name;
    if !found.is_active() {
        return Err(Report::new(format!("container {name} is not running"))
            .hint("`cooper start` starts it"));
    }
    Connection::open(&found.dir).map_err(|error| {
        Report::from_error(&error)
            .context(format!("cannot reach the monitor of container {name}"))
            .hint("if it has just ended, `cooper ps -a` tells how")
    })
}

/// Asks the monitor of a running container for something, and waits until it is done.
pub(super) fn ask(found: &Found, request: &Request) -> Result<(), Report> {
    let mut connection = reach(found)?;
    let unanswered = |error: std::io::Error| {
        let name = &found.container.name;
        Report::from_error(&error)
            .context(format!("the monitor of container {name} does not answer"))
    };
    connection
        .request(request, Vec::new())
        .map_err(unanswered)?;
    match connection.answer().map_err(unanswered)? {
        Answer::Failed(failure) => Err(report(&failure)),
        _ => Ok(()),
    }
}
