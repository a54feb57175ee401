//! The command line: one file a command, from raw arguments to resolved options.
//!
//! A command's `Args` type is what was typed; its `resolve` says what that means, given the
//! [`Settings`]; what it then does lives in other modules. Commands return a [`Report`] when they
//! fail, which only [`main`] prints.
//!
//! The order in which a process starts up is fixed: arguments are parsed, then the process
//! becomes root of a user namespace unless it is root, and only then are threads started
//! (progress, signals, workers): a process with threads cannot enter a user namespace. The
//! runner's worker is this executable once more, started when the first step needs it.

pub mod annotation;
pub mod bake;
pub mod build;
pub mod cache;
mod carry;
mod collect;
pub mod completion;
mod confirm;
pub mod container;
pub mod debug;
mod docker;
pub mod doctor;
pub mod du;
pub mod events;
pub mod fsck;
pub mod history;
mod human;
pub mod image_filter;
pub mod image_prune;
mod image_tree;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod interrupt;
mod json;
mod leaks;
pub mod login;
pub mod manifest;
pub mod network;
pub mod output;
pub mod prune;
pub mod ps;
mod registry;
pub mod remote;
pub mod run;
pub mod session;
pub mod source;
pub mod system;
mod table;
pub mod tag;
pub mod template;
pub mod transfer;
mod usage;
pub mod usage_filter;
pub mod value;
pub mod volume;

use crate::exit::ExitCode;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use cooper_cache::Driver;

use crate::config::{self, Environment, FileConfig};
use crate::progress::Look;
use crate::report::{self, Report};

/// Builds and runs container images.
#[derive(Parser, Debug)]
#[command(
    name = "cooper",
    version,
    max_term_width = 100,
    args_override_self = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(flatten)]
    docker: docker::DockerArgs,

    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Global {
    /// Directory of images, layers, caches and containers [env: COOPER_ROOT]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Configuration file [env: COOPER_CONFIG]; of a directory, docker's config.json is read
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How layers are mounted: overlay, vfs (as copies), or whichever works
    /// [env: COOPER_STORAGE_DRIVER]
    #[arg(long, global = true, value_name = "DRIVER")]
    pub storage_driver: Option<String>,
}

#[derive(Subcommand, Debug)]
#[command(defer = true)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Build many images from one definition (HCL, JSON or compose files)
    Bake(Box<bake::BakeArgs>),
    /// Say `docker buildx` and mean cooper
    #[command(subcommand, hide = true)]
    Buildx(docker::Buildx),
    /// Say `docker builder` and mean cooper
    #[command(subcommand, hide = true)]
    Builder(docker::Builder),
    /// Say `docker image` and mean cooper
    #[command(subcommand, hide = true)]
    Image(docker::Image),
    /// Run a program in a container made from an image
    #[command(disable_help_flag = true)]
    Run(Box<run::RunArgs>),
    /// Make a container of an image, to be started later
    #[command(disable_help_flag = true)]
    Create(Box<run::CreateArgs>),
    /// List containers
    Ps(ps::PsArgs),
    /// Start containers that have ended or were only made
    Start(container::StartArgs),
    /// End containers: a signal, and SIGKILL after a while
    Stop(container::StopArgs),
    /// End containers and start them again
    Restart(container::RestartArgs),
    /// Send a signal to containers
    Kill(container::KillArgs),
    /// Wait until containers end, and print their exit codes
    Wait(container::WaitArgs),
    /// Remove containers
    Rm(container::RmArgs),
    /// Give a container another name
    Rename(container::RenameArgs),
    /// Change containers
    Update(container::UpdateArgs),
    /// Show what a container wrote
    Logs(container::LogsArgs),
    /// Connect to a running container's streams
    Attach(container::AttachArgs),
    /// Run a further program in a running container
    Exec(Box<container::ExecArgs>),
    /// Open a shell with a static busybox in an image, a step of a build or a container
    Debug(debug::DebugArgs),
    /// Show where the ports of a container are published
    Port(container::PortArgs),
    /// Hold every process of containers still
    Pause(container::PauseArgs),
    /// Let them go on
    Unpause(container::PauseArgs),
    /// Show the processes of a container
    Top(container::TopArgs),
    /// Show what running containers use
    Stats(container::StatsArgs),
    /// Copy files into a container and out of it
    Cp(container::CpArgs),
    /// Show what a container changed
    Diff(container::DiffArgs),
    /// Write a container's root file system as a tar
    Export(container::ExportArgs),
    /// Make an image of a container
    Commit(container::CommitArgs),
    /// Remove all containers that do not run
    #[command(hide = true)]
    ContainerPrune(container::PruneArgs),
    /// The same commands, as `docker container` has them
    #[command(subcommand)]
    Container(Box<container::ContainerCommand>),
    /// Make and look at networks of containers
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Make and look at volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Show, and make smaller, what everything takes
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Show what happens to containers, images, networks and volumes
    Events(events::EventsArgs),
    /// Fetch an image from a registry
    Pull(remote::PullArgs),
    /// Send an image to a registry
    Push(transfer::PushArgs),
    /// Make an image of the files of an archive
    Import(import::ImportArgs),
    /// Make, look at and send indexes of images for several platforms
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    /// Say `docker buildx imagetools` and mean cooper
    #[command(subcommand, hide = true)]
    Imagetools(manifest::ImagetoolsCommand),
    /// Remove images that nothing needs
    #[command(hide = true)]
    ImagePrune(image_prune::ImagePruneArgs),
    /// Log in to a registry
    Login(login::LoginArgs),
    /// Forget the credentials for a registry
    Logout(login::LogoutArgs),
    /// Read images from an archive
    Load(transfer::LoadArgs),
    /// Write images to an archive
    Save(transfer::SaveArgs),
    /// List images
    Images(images::ImagesArgs),
    /// Show everything about images
    Inspect(inspect::InspectArgs),
    /// Show how an image came to be
    History(history::HistoryArgs),
    /// Give an image another name
    Tag(tag::TagArgs),
    /// Remove images
    Rmi(tag::RmiArgs),
    /// Show what the build cache takes on disk
    Du(du::DuArgs),
    /// Remove what no image and no build needs
    Prune(prune::PruneArgs),
    /// Check the store for damage
    Fsck(fsck::FsckArgs),
    /// Ask the build cache, or keep it in order
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Show where everything is
    Info(info::InfoArgs),
    /// Check whether this machine can build and run
    Doctor(doctor::DoctorArgs),
    /// Show the version
    Version(info::VersionArgs),
    /// Write a script that completes the command line in a shell
    Completion(completion::CompletionArgs),
}

/// What is known before a command's own arguments are looked at.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The process's environment.
    pub environment: Environment,
    /// The configuration file.
    pub file: FileConfig,
    /// Where the store is.
    pub root: PathBuf,
    /// How layers are mounted, if that was said.
    pub driver: Option<Driver>,
}

impl Settings {
    /// Returns the settings that apply to `global` in `environment`.
    pub fn load(global: &Global, environment: Environment) -> Result<Self, Report> {
        let docker = docker::docker_config(global.config.as_deref());
        let own = global.config.as_deref().filter(|_| docker.is_none());
        let file = FileConfig::load(own, &environment)?;
        let environment = match docker {
            Some(directory) => environment.with("DOCKER_CONFIG", directory),
            None => environment,
        };
        let root = config::store_root(global.root.as_deref(), &environment, &file);
        let asked = global.storage_driver.as_deref();
        let driver = config::storage_driver(asked, &environment, &file)?;
        Ok(Self {
            environment,
            file,
            root,
            driver,
        })
    }

    /// Returns how the live view of a build looks, and what is wrong with what asks for it.
    pub fn look(&self) -> (Look, Vec<String>) {
        let text = |name: &str| self.environment.text(name);
        Look::of(
            text("BUILDKIT_COLORS").as_deref(),
            text("BUILDKIT_TTY_LOG_LINES").as_deref(),
        )
    }

    /// Returns whether `stream`, a terminal or not, is to be coloured.
    pub fn color(&self, stream: &impl IsTerminal) -> bool {
        stream.is_terminal()
            && !self.environment.has("NO_COLOR")
            && self
                .environment
                .text("TERM")
                .is_none_or(|term| term != "dumb")
    }
}

/// Runs the command that `args` (the program's name first) state.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &args),
    };
    let environment = Environment::of_process();
    let color = Settings {
        environment: environment.clone(),
        ..Settings::default()
    }
    .color(&std::io::stderr());
    match cli
        .docker
        .check()
        .and_then(|()| Settings::load(&cli.global, environment))
        .and_then(|settings| dispatch(cli.command, &settings))
    {
        Ok(code) => code,
        Err(report) => report.print(color),
    }
}

fn dispatch(command: Command, settings: &Settings) -> Result<ExitCode, Report> {
    match command {
        Command::Build(args) => {
            let options = args.resolve(settings)?;
            build::run(&options, settings)
        }
        Command::Buildx(group) => dispatch(group.into(), settings),
        Command::Builder(group) => dispatch(group.into(), settings),
        Command::Image(group) => dispatch(group.into(), settings),
        Command::Bake(args) => args.run(settings),
        Command::Run(args) => args.run(settings),
        Command::Pull(args) => args.run(settings),
        Command::Push(args) => args.run(settings),
        Command::Import(args) => done(args.run(settings)),
        Command::Manifest(command) => command.run(settings),
        Command::Imagetools(command) => command.run(settings),
        Command::ImagePrune(args) => done(args.run(settings)),
        Command::Login(args) => done(args.run(settings)),
        Command::Logout(args) => done(args.run(settings)),
        Command::Load(args) => done(args.run(settings)),
        Command::Save(args) => done(args.run(settings)),
        Command::Ps(args) => done(args.run(settings)),
        Command::Create(args) => done(args.run(settings)),
        Command::Start(args) => args.run(settings),
        Command::Stop(args) => done(args.run(settings)),
        Command::Restart(args) => done(args.run(settings)),
        Command::Kill(args) => done(args.run(settings)),
        Command::Wait(args) => done(args.run(settings)),
        Command::Rm(args) => done(args.run(settings)),
        Command::Rename(args) => done(args.run(settings)),
        Command::Update(args) => done(args.run(settings)),
        Command::Logs(args) => done(args.run(settings)),
        Command::Attach(args) => args.run(settings),
        Command::Exec(args) => args.run(settings),
        Command::Debug(args) => args.run(settings),
        Command::Port(args) => done(args.run(settings)),
        Command::Pause(args) => done(args.run(settings, true)),
        Command::Unpause(args) => done(args.run(settings, false)),
        Command::Top(args) => done(args.run(settings)),
        Command::Stats(args) => done(args.run(settings)),
        Command::Volume(command) => done(command.run(settings)),
        Command::System(command) => done(command.run(settings)),
        Command::Events(args) => done(args.run(settings)),
        Command::Cp(args) => done(args.run(settings)),
        Command::Diff(args) => done(args.run(settings)),
        Command::Export(args) => done(args.run(settings)),
        Command::Commit(args) => done(args.run(settings)),
        Command::ContainerPrune(args) => done(args.run(settings)),
        Command::Container(command) => dispatch(command.command(), settings),
        Command::Network(command) => done(command.run(settings)),
        Command::Images(args) => done(args.run(settings)),
        Command::Inspect(args) => done(args.run(settings)),
        Command::History(args) => done(args.run(settings)),
        Command::Tag(args) => done(args.run(settings)),
        Command::Rmi(args) => done(args.run(settings)),
        Command::Du(args) => done(args.run(settings)),
        Command::Prune(args) => done(args.run(settings)),
        Command::Fsck(args) => done(args.run(settings)),
        Command::Cache(command) => done(command.run(settings)),
        Command::Info(args) => done(args.run(settings)),
        Command::Doctor(_) => doctor::DoctorArgs::run(settings),
        Command::Version(args) => done(args.run()),
        Command::Completion(args) => done(args.run()),
    }
}

fn done(result: Result<(), Report>) -> Result<ExitCode, Report> {
    result.map(|()| ExitCode::SUCCESS)
}

/// Prints the help that the arguments ask for, or what is wrong with them.
fn usage(error: &clap::Error, args: &[OsString]) -> ExitCode {
    let styled = |is_terminal: bool| {
        let text = error.render();
        if is_terminal {
            text.ansi().to_string()
        } else {
            text.to_string()
        }
    };
    let printed = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            report::print_data(&styled(std::io::stdout().is_terminal()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            report::print_error(&styled(std::io::stderr().is_terminal()));
            Ok(())
        }
        _ => Err(usage::report(error, args)),
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            let settings = Settings {
                environment: Environment::of_process(),
                ..Settings::default()
            };
            report.print(settings.color(&std::io::stderr()))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
