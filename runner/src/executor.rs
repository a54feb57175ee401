//! The caller's side: starting the worker, running processes, waiting and killing.

use crate::error::{RunError, StartError};
use crate::spec::ProcessSpec;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// How a [`Runner`] works.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// A directory for the runner's own use on the file system that holds the layers, so that
    /// every file of an overlay has one device number. It is created when missing; several
    /// processes may share it. It holds empty mount points and never user data.
    pub scratch: PathBuf,
    /// A cgroup directory that all processes are to live in; `None` inherits the caller's.
    /// The worker joins it once, so that a single process pays nothing.
    pub cgroup: Option<PathBuf>,
    /// How many children with prepared namespaces wait for work. Each saves about half of the
    /// set-up time of a process started while another core is idle.
    pub warm: usize,
}

impl RunnerOptions {
    /// Returns options that keep no children ready.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            scratch: scratch.into(),
            cgroup: None,
            warm: 0,
        }
    }
}

/// The standard streams of a process. With a terminal they are not used.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// Returns three handles of `/dev/null`.
    pub fn null() -> io::Result<Self> {
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        Ok(Self {
            stdin: null.try_clone()?.into(),
            stdout: null.try_clone()?.into(),
            stderr: null.into(),
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// Returns the code a shell would show: the exit code, or 128 + the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// Tells whether the process exited with 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Starts processes in namespaces. Cheap to share: all methods take `&self`.
///
/// Every process started by it dies when the runner is dropped or this process dies.
#[derive(Debug)]
pub struct Runner {
    options: RunnerOptions,
}

impl Runner {
    /// Starts the worker process.
    ///
    /// The program's `main` must have called [`crate::init`] first: the worker is this
    /// executable once more.
    pub fn start(options: RunnerOptions) -> Result<Self, StartError> {
        std::fs::create_dir_all(&options.scratch).map_err(|source| StartError::Scratch {
            path: options.scratch.clone(),
            source,
        })?;
        Ok(Self { options })
    }

    /// Runs a process to its end.
    pub fn run(&self, spec: &ProcessSpec, stdio: Stdio) -> Result<Exit, RunError> {
        self.spawn(spec, stdio)?.wait()
    }

    /// Starts a process. Errors of its set-up come from [`Process::wait`] or
    /// [`Process::started`].
    pub fn spawn(&self, spec: &ProcessSpec, stdio: Stdio) -> Result<Process, RunError> {
        let _ = (&self.options, spec, stdio);
        Err(RunError::Worker {
            source: io::ErrorKind::Unsupported.into(),
        })
    }
}

/// A started process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Process {
    /// Waits until the program itself has been executed, or set-up has failed.
    pub fn started(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    /// Returns the process ID as this process sees it.
    pub fn pid(&self) -> Option<i32> {
        None
    }

    /// Returns the process' pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pidfd.as_fd()
    }

    /// Returns a handle that can signal the process from another thread.
    pub fn killer(&self) -> io::Result<Killer> {
        Ok(Killer {
            pidfd: self.pidfd.try_clone()?,
        })
    }

    /// Takes the master side of the terminal, once the process has started.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits for the end of the process and of everything it started, and removes the mount
    /// points made for it.
    pub fn wait(self) -> Result<Exit, RunError> {
        Err(RunError::Worker {
            source: io::ErrorKind::Unsupported.into(),
        })
    }
}

/// Signals one process; never another that got its number later.
#[derive(Debug)]
pub struct Killer {
    pidfd: OwnedFd,
}

impl Killer {
    /// Sends `signal` to the process. Signalling one that has ended is no error.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        let _ = (&self.pidfd, signal);
        Ok(())
    }
}
