//! Commands on containers that exist: one file a family.

mod changes;
mod copy;
mod exec;
mod filter;
mod inspect;
mod lifecycle;
mod logs;
mod network;
mod prune;
mod stats;
mod top;

use clap::Subcommand;

use super::{Command, inspect as inspect_command, ps, run};
use crate::container::protocol::{Answer, Connection, Request};
use crate::container::start::report;
use crate::container::{ContainerError, Containers, Found};
use crate::report::{Report, print_data};

pub(super) use changes::change_config;
pub use changes::{CommitArgs, DiffArgs, ExportArgs};
pub use copy::CpArgs;
pub use exec::{AttachArgs, ExecArgs};
pub(super) use filter::{Filters, networks_of};
pub(super) use inspect::describe_connected;
pub use lifecycle::{
    KillArgs, RenameArgs, RestartArgs, RmArgs, StartArgs, StopArgs, UpdateArgs, WaitArgs,
};
pub use logs::LogsArgs;
pub(super) use logs::{parse_time, time};
pub use network::{ConnectArgs, DisconnectArgs, PortArgs};
pub use prune::PruneArgs;
pub(super) use prune::prune;
pub use stats::StatsArgs;
pub(super) use stats::memory_of_machine;
pub use top::{PauseArgs, TopArgs};

/// `cooper container COMMAND`.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
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
    /// Hold every process of containers still
    Pause(PauseArgs),
    /// Let them go on
    Unpause(PauseArgs),
    /// Show the processes of a container
    Top(TopArgs),
    /// Show what running containers use
    Stats(StatsArgs),
    /// Copy files into a container and out of it
    Cp(CpArgs),
    /// Show what a container changed
    Diff(DiffArgs),
    /// Write a container's root file system as a tar
    Export(ExportArgs),
    /// Make an image of a container
    Commit(CommitArgs),
    /// Show everything about containers
    Inspect(inspect_command::InspectArgs),
    /// Remove all containers that do not run
    Prune(PruneArgs),
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
            Self::Pause(args) => Command::Pause(args),
            Self::Unpause(args) => Command::Unpause(args),
            Self::Top(args) => Command::Top(args),
            Self::Stats(args) => Command::Stats(args),
            Self::Cp(args) => Command::Cp(args),
            Self::Diff(args) => Command::Diff(args),
            Self::Export(args) => Command::Export(args),
            Self::Commit(args) => Command::Commit(args),
            Self::Inspect(mut args) => {
                args.kind = Some(inspect_command::Kind::Container);
                Command::Inspect(args)
            }
            Self::Prune(args) => Command::ContainerPrune(args),
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
    asked(found, request).map(drop)
}

/// Asks the monitor of a running container for something, and returns its answer.
fn asked(found: &Found, request: &Request) -> Result<Answer, Report> {
    let mut connection = reach(found)?;
    let unanswered = |error: std::io::Error| {
        let name = &found.container.name;
        // A signal may have ended it before this one.
        if Connection::open(&found.dir).is_err() {
            return Report::new(format!("container {name} is not running"))
                .hint("`cooper start` starts it");
        }
        Report::from_error(&error)
            .context(format!("the monitor of container {name} does not answer"))
    };
    connection
        .request(request, Vec::new())
        .map_err(unanswered)?;
    match connection.answer().map_err(unanswered)? {
        Answer::Failed(failure) => Err(report(&failure)),
        answer => Ok(answer),
    }
}
