//! The caller's side: starting the worker, running processes, waiting and killing.

use crate::cgroup::Cgroup;
use crate::channel::{self, Fault, FromChild, FromWorker, Stub};
use crate::devices::Guards;
use crate::error::{RunError, StartError};
use crate::plan::{self, Source, Step, Surroundings};
use crate::spec::{ExecSpec, ProcessSpec, Rootfs};
use crate::stubs;
use crate::sys;
use crate::zygote;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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
    control: OwnedFd,
    worker: OwnedFd,
    scratch: PathBuf,
    guards: Guards,
}

impl Runner {
    /// Starts the worker process.
    ///
    /// The program's `main` must have called [`crate::init()`] first: the worker is this
    /// executable once more. Does not wait for it.
    pub fn start(options: RunnerOptions) -> Result<Self, StartError> {
        let RunnerOptions {
            scratch,
            cgroup,
            warm,
        } = options;
        std::fs::create_dir_all(&scratch)
            .and_then(|()| scratch.canonicalize())
            .map_err(|source| StartError::Scratch {
                path: scratch.clone(),
                source,
            })?;
        let settings = zygote::Settings {
            warm: warm as u32,
            cgroup,
        };
        let (control, worker) = zygote::launch(&settings)?;
        Ok(Self {
            control,
            worker,
            scratch,
            guards: Guards::default(),
        })
    }

    /// Runs a process to its end.
    pub fn run(&self, spec: &ProcessSpec, stdio: Stdio) -> Result<Exit, RunError> {
        self.spawn(spec, stdio)?.wait()
    }

    /// Starts a process. Errors of its set-up come from [`Process::wait`] or
    /// [`Process::started`].
    pub fn spawn(&self, spec: &ProcessSpec, stdio: Stdio) -> Result<Process, RunError> {
        self.spawn_in(spec, stdio, None)
    }

    /// Starts a process, in a control group of its own if one is given: nothing of it is set up
    /// outside the group.
    pub fn spawn_in(
        &self,
        spec: &ProcessSpec,
        stdio: Stdio,
        cgroup: Option<&Cgroup>,
    ) -> Result<Process, RunError> {
        let (mut base, mut job) = plan::plan(spec, &surroundings(&self.scratch, spec)?)?;
        if let Some(cgroup) = cgroup {
            plan::enter_group(cgroup, &mut base, &mut job)?;
        }
        let guard = self.guards.of(spec, cgroup);
        let own = cgroup.and_then(Cgroup::directory_of_two);
        // It enters that by itself: born there, children that are kept ready would keep it, too.
        plan::guard(&guard, own, &mut base, &mut job)?;
        let worker = |source| RunError::Worker { source };
        let (child, childs_end) = channel::pair().map_err(worker)?;
        let (exit, workers_end) = channel::pair().map_err(worker)?;
        let streams = [
            stdio.stdin.as_fd(),
            stdio.stdout.as_fd(),
            stdio.stderr.as_fd(),
        ];
        let fds = [
            workers_end.as_fd(),
            childs_end.as_fd(),
            streams[0],
            streams[1],
            streams[2],
        ];
        channel::send_large(&child, &job).map_err(worker)?;
        channel::send(&self.control, &base, &fds).map_err(worker)?;
        // Only the worker and the child may keep these open, or their end would go unnoticed.
        drop((workers_end, childs_end, stdio));
        let pidfd = started(&exit)?;
        let context = Context::of(spec, base.steps, job.steps);
        Ok(Process {
            pidfd,
            parent: Parent::Worker(exit),
            child,
            context,
            set_up: SetUp::default(),
        })
    }
}

/// Returns what the plan of `spec` needs to know of the file system around it.
pub(crate) fn surroundings(scratch: &Path, spec: &ProcessSpec) -> Result<Surroundings, RunError> {
    let Rootfs::Overlay { .. } = spec.rootfs else {
        return Ok(Surroundings::default());
    };
    let layer = stubs::layer(scratch, &stubs::wanted(spec)).map_err(|source| RunError::SetUp {
        step: format!("make mount points in {}", scratch.display()),
        source,
    })?;
    Ok(Surroundings { stubs: Some(layer) })
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Its PID namespace, and so every process started by it, goes with it.
        let _ = sys::pidfd_signal(self.worker.as_fd(), libc::SIGKILL);
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(self.worker.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
    }
}

fn started(exit: &OwnedFd) -> Result<OwnedFd, RunError> {
    let worker = |source| RunError::Worker { source };
    let gone = || worker(io::ErrorKind::ConnectionAborted.into());
    let mut packet = channel::receive(exit).map_err(worker)?.ok_or_else(gone)?;
    match channel::decode(&packet.bytes).map_err(worker)? {
        FromWorker::Started => packet.fds.pop().ok_or_else(gone),
        FromWorker::NotStarted { errno } => Err(RunError::SetUp {
            step: "start a process in a new PID namespace".to_owned(),
            source: io::Error::from_raw_os_error(errno),
        }),
        FromWorker::Exited { .. } => Err(gone()),
    }
}

/// What is known of the set-up so far.
#[derive(Debug, Default)]
struct SetUp {
    finished: bool,
    terminal: Option<OwnedFd>,
    stubs: Vec<Stub>,
    failure: Option<(u32, Fault)>,
}

/// A started process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    parent: Parent,
    child: OwnedFd,
    context: Context,
    set_up: SetUp,
}

/// Whose child a process is, and so who learns how it ends.
#[derive(Debug)]
enum Parent {
    /// The worker's, which tells over this socket.
    Worker(OwnedFd),
    /// This process'.
    Own,
}

impl Process {
    /// Returns a process of `spec` that is a child of this one.
    pub(crate) fn own(
        pidfd: OwnedFd,
        child: OwnedFd,
        spec: &ProcessSpec,
        base: Vec<Step>,
        job: Vec<Step>,
    ) -> Self {
        Self {
            pidfd,
            parent: Parent::Own,
            child,
            context: Context::of(spec, base, job),
            set_up: SetUp::default(),
        }
    }

    /// Returns a process of `spec` in a running container, a child of this one.
    pub(crate) fn joined(
        pidfd: OwnedFd,
        child: OwnedFd,
        spec: &ExecSpec,
        steps: Vec<Step>,
    ) -> Self {
        Self {
            pidfd,
            parent: Parent::Own,
            child,
            context: Context {
                steps,
                program: spec.args.first().cloned().unwrap_or_default(),
                user: spec.user.0.clone(),
                cwd: spec.cwd.clone(),
                rootfs: None,
                mounts: Vec::new(),
            },
            set_up: SetUp::default(),
        }
    }

    /// Waits until the program itself has been executed, or set-up has failed. After an error
    /// there is nothing to wait for.
    pub fn started(&mut self) -> Result<(), RunError> {
        self.follow_set_up()?;
        match self.set_up.failure.take() {
            None => Ok(()),
            Some((step, fault)) => {
                let _ = self.ended();
                Err(self.context.error(step, fault))
            }
        }
    }

    /// Returns the process ID as this process sees it; `None` once it has ended.
    pub fn pid(&self) -> Option<i32> {
        pid_of(&self.pidfd)
    }

    /// Returns the process' pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns a handle that can signal the process from another thread.
    pub fn killer(&self) -> io::Result<Killer> {
        Ok(Killer {
            pidfd: self.pidfd.try_clone()?,
        })
    }

    /// Sends a signal to the process.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        signal_process(&self.pidfd, signal)
    }

    /// Takes the master side of the terminal; there is one after [`Process::started`].
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.set_up.terminal.take()
    }

    /// Waits for the end of the process and of everything it started, and removes the mount
    /// points made for it.
    pub fn wait(mut self) -> Result<Exit, RunError> {
        self.follow_set_up()?;
        let ended = self.ended();
        match self.set_up.failure.take() {
            Some((step, fault)) => Err(self.context.error(step, fault)),
            None => ended,
        }
    }

    /// Reads what the child says until it executes the program or ends.
    fn follow_set_up(&mut self) -> Result<(), RunError> {
        let worker = |source| RunError::Worker { source };
        while !self.set_up.finished {
            let Some(mut packet) = channel::receive(&self.child).map_err(worker)? else {
                self.set_up.finished = true;
                break;
            };
            match channel::decode(&packet.bytes).map_err(worker)? {
                FromChild::Terminal => self.set_up.terminal = packet.fds.pop(),
                FromChild::Stubs(stubs) => self.set_up.stubs = stubs,
                FromChild::Failed { step, fault } => self.set_up.failure = Some((step, fault)),
            }
        }
        Ok(())
    }

    /// Waits until all is over.
    fn ended(&mut self) -> Result<Exit, RunError> {
        let exit = match &self.parent {
            Parent::Worker(socket) => told(socket),
            Parent::Own => reaped(&self.pidfd),
        }?;
        let stubs = std::mem::take(&mut self.set_up.stubs);
        let root = match &self.context.rootfs {
            Some(Rootfs::Overlay { upper, .. }) => upper,
            Some(Rootfs::Directory(path)) => path,
            None => return Ok(exit),
        };
        stubs::remove(root, &stubs).map_err(|source| RunError::SetUp {
            step: "remove mount points".to_owned(),
            source,
        })?;
        Ok(exit)
    }
}

/// Waits for the worker's word.
fn told(socket: &OwnedFd) -> Result<Exit, RunError> {
    let worker = |source| RunError::Worker { source };
    let gone = || worker(io::ErrorKind::ConnectionAborted.into());
    let packet = channel::receive(socket).map_err(worker)?.ok_or_else(gone)?;
    match channel::decode(&packet.bytes).map_err(worker)? {
        FromWorker::Exited { code, signal } => exit_of(code, signal).ok_or_else(gone),
        _ => Err(gone()),
    }
}

/// Waits for a child of this process.
fn reaped(pidfd: &OwnedFd) -> Result<Exit, RunError> {
    let worker = |source| RunError::Worker { source };
    let status = loop {
        let id = rustix::process::WaitId::PidFd(pidfd.as_fd());
        match rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.map_err(|errno| worker(errno.into()))?,
        }
    };
    status
        .and_then(|status| exit_of(status.exit_status(), status.terminating_signal()))
        .ok_or_else(|| worker(io::ErrorKind::NotFound.into()))
}

fn exit_of(code: Option<i32>, signal: Option<i32>) -> Option<Exit> {
    code.map(Exit::Code).or(signal.map(Exit::Signal))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill(libc::SIGKILL);
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
        signal_process(&self.pidfd, signal)
    }
}

pub(crate) fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let info = std::fs::read_to_string(info).ok()?;
    let pid: i32 = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))?
        .trim()
        .parse()
        .ok()?;
    (pid > 0).then_some(pid)
}

fn signal_process(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    match sys::pidfd_signal(pidfd.as_fd(), signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// What an error message needs to know of the spec.
#[derive(Debug)]
struct Context {
    steps: Vec<Step>,
    program: OsString,
    user: String,
    cwd: PathBuf,
    /// None for a process that joined a container.
    rootfs: Option<Rootfs>,
    mounts: Vec<PathBuf>,
}

impl Context {
    fn of(spec: &ProcessSpec, base: Vec<Step>, job: Vec<Step>) -> Self {
        let mounts = spec.mounts.iter().map(|mount| mount.target.clone());
        Self {
            steps: base.into_iter().chain(job).collect(),
            program: spec.args.first().cloned().unwrap_or_default(),
            user: spec.user.0.clone(),
            cwd: spec.cwd.clone(),
            rootfs: Some(spec.rootfs.clone()),
            mounts: mounts.collect(),
        }
    }

    /// Says in the caller's terms what went wrong in the child.
    fn error(&self, step: u32, fault: Fault) -> RunError {
        let program = self.program.clone();
        let source = match fault {
            Fault::NotFound => {
                let searched = !program.as_bytes().contains(&b'/');
                return RunError::NotFound { program, searched };
            }
            Fault::NoInterpreter => return RunError::NoInterpreter { program },
            Fault::NotExecutable(errno) => {
                let source = io::Error::from_raw_os_error(errno);
                return RunError::NotExecutable { program, source };
            }
            Fault::UnknownUser => {
                let user = self.user.split(':').next().unwrap_or_default().to_owned();
                return RunError::UnknownUser { user };
            }
            Fault::UnknownGroup(group) => return RunError::UnknownGroup { group },
            Fault::UnmappedMount => return RunError::UnmappedMount,
            Fault::UnmappedUser(id) => return RunError::UnmappedId { kind: "user", id },
            Fault::UnmappedGroup(id) => return RunError::UnmappedId { kind: "group", id },
            Fault::Errno(errno) => io::Error::from_raw_os_error(errno),
        };
        let target = |index: &u32| {
            self.mounts
                .get(*index as usize)
                .cloned()
                .unwrap_or_default()
        };
        match self.steps.get(step as usize) {
            Some(Step::WorkingDirectory { .. }) => RunError::WorkingDirectory {
                path: self.cwd.clone(),
                source,
            },
            Some(Step::Overlay { .. } | Step::Directory { .. }) => self.rootfs_error(source),
            Some(Step::Source {
                mount,
                source: from,
            }) => RunError::MountSource {
                target: target(mount),
                path: source_path(from),
                source,
            },
            Some(Step::Attach { mount, .. }) => RunError::Mount {
                target: target(mount),
                source,
            },
            Some(Step::TextFile { target, .. }) => {
                let target = Path::new("/").join(OsStr::from_bytes(target.as_bytes()));
                RunError::Mount { target, source }
            }
            Some(step) => RunError::SetUp {
                step: describe(step),
                source,
            },
            None => RunError::SetUp {
                step: "enter the container's namespaces".to_owned(),
                source,
            },
        }
    }

    fn rootfs_error(&self, source: io::Error) -> RunError {
        let (upper, lowers) = match &self.rootfs {
            Some(Rootfs::Overlay { upper, lowers, .. }) => (upper.clone(), lowers.len()),
            Some(Rootfs::Directory(path)) => (path.clone(), 0),
            None => (PathBuf::new(), 0),
        };
        RunError::Rootfs {
            upper,
            lowers,
            source,
        }
    }
}

fn source_path(source: &Source) -> PathBuf {
    let (path, subpath) = match source {
        Source::Tree { path, subpath, .. } => (Some(path), subpath.as_ref()),
        Source::Overlay { stack, subpath, .. } => (stack.lowers.first(), subpath.as_ref()),
        Source::Foreign { path, .. } => (Some(path), None),
        Source::Tmpfs { .. } => (None, None),
    };
    let parts = [path, subpath].into_iter().flatten();
    parts
        .map(|part| OsStr::from_bytes(part.as_bytes()))
        .collect()
}

fn describe(step: &Step) -> String {
    match step {
        Step::Isolate { .. } => "enter new namespaces".to_owned(),
        Step::JoinNetwork { .. } => "enter the network namespace".to_owned(),
        Step::Loopback => "bring up the loopback interface".to_owned(),
        Step::Make(standard) => format!("make the {standard:?} file system"),
        Step::EnterSkeleton | Step::LeaveSkeleton | Step::ReturnToSkeleton => {
            "enter a mount namespace".to_owned()
        }
        Step::Place | Step::AttachStandard => "mount /proc, /sys and /dev".to_owned(),
        Step::Mask { path, .. } => format!("mask /{}", path.to_string_lossy()),
        Step::ReadOnly { path, .. } => format!("make /{} read-only", path.to_string_lossy()),
        Step::AttachRoot | Step::Pivot { .. } => "change the root".to_owned(),
        Step::Terminal { .. } => "make a terminal".to_owned(),
        Step::Join(path) => format!("enter the namespace {}", path.to_string_lossy()),
        Step::EnterGroup(directory) | Step::EnterGuard(directory) => {
            format!("enter the control group {}", directory.to_string_lossy())
        }
        Step::Setting { path, .. } => format!("set {}", path.to_string_lossy()),
        Step::Profile(_) => "ask for the AppArmor profile".to_owned(),
        Step::OpenTerminal { .. } => "make a terminal".to_owned(),
        Step::Init => "start the init process".to_owned(),
        Step::Hostname(_) | Step::Domain(_) => "set the host name".to_owned(),
        Step::Streams => "connect the standard streams".to_owned(),
        Step::Assume(_) | Step::EnterUser => "become root of the user namespace".to_owned(),
        Step::User { .. } => "read /etc/passwd and /etc/group".to_owned(),
        Step::Limit { resource, .. } => format!("set resource limit {resource}"),
        Step::Umask(_) => "set the umask".to_owned(),
        Step::Confine { .. } => "drop privileges".to_owned(),
        other => format!("{other:?}"),
    }
}
