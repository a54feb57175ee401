//! `cooper exec` and `cooper attach`: reaching into a running container.

use crate::exit::ExitCode;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use clap::Args;
use cooper_runner::{CapSet, ExecSpec, UserSpec};
use rustix::fs::{MemfdFlags, SealFlags};

use super::{failed, reach};
use crate::cli::Settings;
use crate::cli::run::{RelayArgs, attach_options, variables};
use crate::cli::session::Session;
use crate::container::attach::{self, Side, window_size};
use crate::container::protocol::{Answer, Connection, Request};
use crate::container::run::check_terminal;
use crate::container::start::report;
use crate::container::{Containers, Found, Status};
use crate::report::{Exit, Report};

/// Options of `cooper exec`.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct ExecArgs {
    /// The container, by name or ID
    pub container: String,

    /// Program and arguments
    #[arg(
        required = true,
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,

    /// Do not wait for its end
    #[arg(short, long)]
    pub detach: bool,

    /// A program of this machine to execute, under the first word of the command.
    #[arg(skip)]
    pub program: Option<PathBuf>,

    /// Let stdin reach the program
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the program a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Set a variable; without a value, to that of the environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,

    /// Read variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,

    /// Confine nothing
    #[arg(long)]
    pub privileged: bool,

    /// Keys that detach, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
}

impl ExecArgs {
    /// Runs the program and returns its exit code.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let options = attach_options(true, self.detach_keys.as_deref())?;
        let env = variables(&self.env_file, &self.env, settings)?;
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let found = containers
            .one(&self.container)
            .map_err(|error| failed(&error))?;
        if found.state.status == Status::Paused {
            return Err(
                Report::new(format!("container {} is paused", found.container.name))
                    .hint("`cooper unpause` lets it go on"),
            );
        }
        let spec = self.spec(&found, env)?;
        check_terminal(self.tty && !self.detach, self.interactive)?;
        let connection = reach(&found)?;
        self.carry(spec, connection, &options).map(ExitCode::from)
    }

    /// Returns the process: the container's, but for what the options say.
    fn spec(&self, found: &Found, env: Vec<(String, String)>) -> Result<ExecSpec, Report> {
        let config = &found.container.config;
        let args = self.command.iter().map(Into::into).collect();
        let mut spec = config
            .further(&found.container.id, args)
            .map_err(|error| Report::from_error(&error))?;
        spec.env = config.env(&config.hostname(&found.container.id), self.tty);
        for (name, value) in env {
            spec.env.retain(|(known, _)| *known != *name);
            spec.env.push((name.into(), value.into()));
        }
        if let Some(directory) = &self.workdir {
            spec.cwd = Path::new("/").join(spec.cwd).join(directory);
        }
        if let Some(user) = &self.user {
            spec.user = UserSpec(user.clone());
        }
        if self.privileged {
            spec.privileged = true;
            spec.capabilities = CapSet::all();
        }
        spec.terminal = self.tty.then(window_size);
        Ok(spec)
    }

    fn carry(
        &self,
        spec: ExecSpec,
        mut connection: Connection,
        options: &attach::Options,
    ) -> Result<u8, Report> {
        let streams = Streams::new(self.interactive && !self.tty, self.detach || self.tty)
            .map_err(stream_error)?;
        let side = Side::prepare(options, self.tty, self.interactive)?;
        let mut fds = streams.fds;
        if let Some(program) = &self.program {
            fds.push(sealed_copy(program).map_err(stream_error)?);
        }
        connection
            .request(&Request::Exec(Box::new(spec)), fds)
            .map_err(stream_error)?;
        match connection.answer().map_err(stream_error)? {
            Answer::Failed(failure) => return Err(report(&failure)),
            _ if self.detach => return Ok(0),
            _ => {}
        }
        let code = match connection.take_fd() {
            Some(terminal) => side.run_terminal(connection, terminal),
            None => side.run_exec(connection),
        };
        for output in streams.outputs {
            // A thread that panicked has nothing more to write.
            let _ = output.join();
        }
        code
    }
}

/// Copies a program to memory that nobody can write to: the container sees what executes in it.
fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("program", flags)?);
    io::copy(&mut File::open(path)?, &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn stream_error(error: io::Error) -> Report {
    Report::from_error(&error)
        .context("cannot connect the program's streams")
        .exit(Exit::Code(126))
}

/// The streams that a further process gets: those of this process as they are, which costs
/// nothing, or pipes where they are terminals, which it must not see.
struct Streams {
    fds: Vec<OwnedFd>,
    outputs: Vec<JoinHandle<()>>,
}

impl Streams {
    fn new(stdin: bool, nothing: bool) -> io::Result<Self> {
        let mut outputs = Vec::new();
        let null = || -> io::Result<OwnedFd> {
            let null = File::options().read(true).write(true).open("/dev/null")?;
            Ok(null.into())
        };
        if nothing {
            return Ok(Self {
                fds: vec![null()?, null()?, null()?],
                outputs,
            });
        }
        let stdin = if !stdin {
            null()?
        } else if io::stdin().is_terminal() {
            let (reader, mut writer) = io::pipe()?;
            // It may wait for a key for ever; the process's end takes it along.
            attach::spawn("stdin", move || {
                let _ = io::copy(&mut io::stdin(), &mut writer);
            })?;
            reader.into()
        } else {
            io::stdin().as_fd().try_clone_to_owned()?
        };
        let stdout = output("stdout", io::stdout, &mut outputs)?;
        let stderr = output("stderr", io::stderr, &mut outputs)?;
        Ok(Self {
            fds: vec![stdin, stdout, stderr],
            outputs,
        })
    }
}

/// Returns what a further process writes to for `stream` of this one: itself, or a pipe to a thread
/// that copies if it is a terminal.
fn output<W: Write + AsFd + IsTerminal + 'static>(
    name: &'static str,
    stream: fn() -> W,
    copying: &mut Vec<JoinHandle<()>>,
) -> io::Result<OwnedFd> {
    if !stream().is_terminal() {
        return stream().as_fd().try_clone_to_owned();
    }
    let (mut reader, writer) = io::pipe()?;
    copying.push(attach::spawn(name, move || {
        let _ = io::copy(&mut reader, &mut stream());
    })?);
    Ok(writer.into())
}

/// Options of `cooper attach`.
#[derive(Args, Clone, Debug)]
pub struct AttachArgs {
    /// The container, by name or ID
    pub container: String,

    /// Send no input
    #[arg(long)]
    pub no_stdin: bool,

    /// How this command is attached.
    #[command(flatten)]
    pub relay: RelayArgs,
}

impl AttachArgs {
    /// Carries the container's streams until it ends, and returns its exit code.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let options = self.relay.resolve()?;
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let found = containers
            .one(&self.container)
            .map_err(|error| failed(&error))?;
        if found.state.status == Status::Paused {
            return Err(Report::new("a paused container cannot be attached to")
                .hint("`cooper unpause` lets it go on"));
        }
        let config = &found.container.config;
        let stdin = config.open_stdin && !self.no_stdin;
        check_terminal(config.terminal, stdin)?;
        let side = Side::prepare(&options, config.terminal, stdin)?;
        let connection = reach(&found)?;
        connection
            .request(&Request::Attach { stdin }, Vec::new())
            .map_err(stream_error)?;
        side.run(connection).map(ExitCode::from)
    }
}
