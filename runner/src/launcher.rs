//! Starting processes as children of this very process, and joining those that run.
//!
//! A [`Runner`](crate::Runner) has a worker do it, since its caller has threads. A program that
//! is there for one container only, and never has threads, needs no worker: it forks itself. It
//! is started by [`detach`] as this executable once more, in a session of its own, from the same
//! protected handle as the worker, and as process 1 of a PID namespace: the kernel ends what is
//! in it when it dies, however it dies.

use crate::cgroup::{self, Cgroup};
use crate::channel::{self, FromChild};
use crate::devices::{Guard, Guards};
use crate::error::{RunError, StartError};
use crate::executor::{Process, Stdio, surroundings};
use crate::init::{self, Context, Inbox, Request};
use crate::namespaces::Views;
use crate::plan::{self, Base};
use crate::seccomp;
use crate::spec::{ExecSpec, Namespace, ProcessSpec};
use crate::sys::{self, WorkerImage};
use crate::zygote;
use rustix::fs::{Mode, OFlags};
use std::cell::RefCell;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A program started by [`detach`].
#[derive(Debug)]
pub struct Detached {
    /// A `SOCK_SEQPACKET` socket, the other end of which [`inherited`] returns there.
    pub socket: OwnedFd,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Starts this executable as `name` (its zeroth argument) in a session of its own, with
/// /dev/null for standard streams and nothing else of the caller's but a socket. With
/// `own_pids` it is process 1 of a new PID namespace.
pub fn detach(name: &str, own_pids: bool) -> Result<Detached, StartError> {
    let system = |action| move |source| StartError::System { action, source };
    let (ours, theirs) = channel::pair().map_err(system("make a socket"))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(system("open /dev/null"))?;
    let executable =
        zygote::protected_executable().map_err(system("open the program's own executable"))?;
    let arguments = [CString::new(name).unwrap_or_default()];
    let image = WorkerImage {
        executable: executable.as_fd(),
        arguments: &arguments,
        control: theirs.as_fd(),
        null: null.as_fd(),
        own_pids,
    };
    let started = sys::spawn_worker(&image)
        .map_err(|errno| system("start a process of this program")(errno.into()))?;
    Ok(Detached {
        socket: ours,
        pidfd: started.pidfd,
    })
}

/// Returns the socket that this program was started with by [`detach`]; to be called once, and
/// first of all.
pub fn inherited() -> io::Result<OwnedFd> {
    let socket = sys::inherited_fd(sys::CONTROL_FD)?;
    rustix::process::umask(Mode::empty());
    sys::reset_signals();
    rustix::process::setsid()?;
    zygote::drop_inheritable()?;
    Ok(socket)
}

/// Gives back the memory that holds this program's code, until it is used again. A process that
/// waits for hours needs little of what its start has read.
pub fn forget_code() {
    sys::forget_code();
}

/// Starts processes as children of this process, which must not have threads.
#[derive(Debug)]
pub struct Launcher {
    context: Context,
    scratch: PathBuf,
    own_pids: OwnedFd,
    guards: Guards,
    /// What keeps the process that was started last from devices.
    guard: RefCell<Guard>,
}

impl Launcher {
    /// Prepares what all processes share.
    pub fn prepare() -> Result<Self, StartError> {
        let system = |errno: rustix::io::Errno| StartError::System {
            action: "prepare a mount namespace",
            source: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self {
            own_pids: rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())
                .map_err(system)?,
            context: Context {
                views: Views::prepare().map_err(system)?,
                default_filter: seccomp::default_filter(crate::caps::CapSet::docker().bits()),
                user: None,
            },
            scratch: PathBuf::new(),
            guards: Guards::default(),
            guard: RefCell::new(Guard::Needless),
        })
    }

    /// Has it work in the directory `scratch`, as in [`RunnerOptions`](crate::RunnerOptions);
    /// nothing is started before.
    pub fn in_scratch(mut self, scratch: impl Into<PathBuf>) -> Result<Self, StartError> {
        self.scratch = scratch.into();
        let made = std::fs::create_dir_all(&self.scratch);
        made.map_err(|source| StartError::Scratch {
            path: self.scratch.clone(),
            source,
        })?;
        Ok(self)
    }

    /// Has processes with ids of their own enter this user namespace.
    #[must_use]
    pub fn with_user(mut self, user: Option<OwnedFd>) -> Self {
        self.context.user = user;
        self
    }

    /// Returns the user namespace of processes with ids of their own.
    pub fn user(&self) -> Option<BorrowedFd<'_>> {
        self.context.user.as_ref().map(AsFd::as_fd)
    }

    /// Starts a process, in a control group of its own if one is given: nothing of it is set up
    /// outside the group. Errors of its set-up come from [`Process::started`].
    pub fn spawn(
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
        plan::guard(&guard, own, &mut base, &mut job)?;
        if base.birthplace.is_none() {
            base.birthplace = own.map(Path::to_owned);
        }
        *self.guard.borrow_mut() = guard;
        let (child, request) = request(stdio)?;
        let pidfd = self
            .fork_in(&spec.pid, &base, request)
            .map_err(|source| RunError::SetUp {
                step: "start a process in its PID namespace".to_owned(),
                source,
            })?;
        // The child waits for its job; hung up without one, it exits.
        channel::send_large(&child, &job).map_err(|source| RunError::Worker { source })?;
        Ok(Process::own(pidfd, child, spec, base.steps, job.steps))
    }

    fn fork_in(&self, pids: &Namespace, base: &Base, request: Request) -> io::Result<OwnedFd> {
        match pids {
            Namespace::Private => self.fork(base, request, true),
            Namespace::Host => self.fork(base, request, false),
            Namespace::Join(path) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let namespace = rustix::fs::open(path, flags, Mode::empty())?;
                self.below(namespace.as_fd(), || self.fork(base, request, false))
            }
        }
    }

    /// Starts a further process in all namespaces of the container whose first process is
    /// `container`, and in its control group if it has one. `program` is executed instead of what
    /// the arguments name; nothing of it has to be in the container. It may use the devices that
    /// what was started last may use.
    pub fn exec(
        &self,
        container: BorrowedFd<'_>,
        spec: &ExecSpec,
        stdio: Stdio,
        cgroup: Option<&Cgroup>,
        program: Option<OwnedFd>,
    ) -> Result<Process, RunError> {
        let mut job = plan::join(spec)?;
        let guard = self.guard.borrow().clone();
        plan::guard_joined(&guard, &mut job);
        let base = Base {
            steps: Vec::new(),
            birthplace: match guard {
                Guard::Group(directory) => Some(directory),
                _ => cgroup
                    .and_then(Cgroup::directory_of_two)
                    .map(Path::to_owned),
            },
        };
        let (child, mut request) = request(stdio)?;
        request.program = program;
        channel::send_large(&child, &job).map_err(|source| RunError::Worker { source })?;
        let pidfd = self.below(container, || {
            let context = &self.context;
            let group = base.open_birthplace()?;
            let group = group.as_ref().map(AsFd::as_fd);
            let base = &base;
            let child = sys::fork_child(false, group, move |born| {
                let birthplace = base.birthplace.as_deref();
                let is_in = birthplace.filter(|_| born);
                // What this process still holds must not be reached from the container.
                let [input, output, error] = &request.streams;
                let kept = [&request.child, input, output, error].map(AsFd::as_fd);
                let program = request.program.as_ref().map(AsFd::as_fd);
                let user = context.user.as_ref().map(AsFd::as_fd);
                let kept = kept.into_iter().chain([container]);
                let kept: Vec<_> = kept.chain(program).chain(user).collect();
                let entered = sys::hide_from_tracers()
                    .and_then(|()| cgroup.map_or(Ok(()), |cgroup| cgroup.enter(is_in)))
                    .and_then(|()| birthplace.map_or(Ok(()), |one| cgroup::enter(one, is_in)))
                    .and_then(|()| sys::keep_only(&kept))
                    .and_then(|()| enter(container));
                match entered {
                    Ok(()) => init::run(context, base, Inbox::Given(request), born),
                    Err(errno) => {
                        let (step, fault) = (u32::MAX, errno.into());
                        let _ =
                            channel::send(&request.child, &FromChild::Failed { step, fault }, &[]);
                    }
                }
            })?;
            Ok(child.pidfd)
        });
        let pidfd = pidfd.map_err(|source| RunError::SetUp {
            step: "enter the container's namespaces".to_owned(),
            source,
        })?;
        Ok(Process::joined(pidfd, child, spec, job.steps))
    }

    fn fork(&self, base: &Base, request: Request, own_pids: bool) -> io::Result<OwnedFd> {
        let context = &self.context;
        let group = base.open_birthplace()?;
        let group = group.as_ref().map(AsFd::as_fd);
        let child = sys::fork_child(own_pids, group, move |born| {
            init::run(context, base, Inbox::Given(request), born);
        });
        Ok(child?.pidfd)
    }

    /// Forks by `fork` in the PID namespace that `namespace`, a handle of one or a pidfd, stands
    /// for.
    fn below(
        &self,
        namespace: BorrowedFd<'_>,
        fork: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<OwnedFd> {
        sys::enter_pids(namespace)?;
        let forked = fork();
        // Its own namespace, or one above, is always allowed.
        sys::enter_pids(self.own_pids.as_fd())?;
        forked
    }
}

/// A child of this process that works below another root; see [`below_root`].
#[derive(Debug)]
pub struct Below {
    pidfd: OwnedFd,
}

impl Below {
    /// Waits for its end.
    pub fn wait(self) -> io::Result<()> {
        let id = rustix::process::WaitId::PidFd(self.pidfd.as_fd());
        rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED)?;
        Ok(())
    }
}

/// Runs `body` in a child whose root is the directory `root`: no path and no link leads out of
/// it, whatever a container does meanwhile. The caller's ends of pipes that
/// `not_its` names are closed there, so that their end is seen. Ids there are those of the user
/// namespace `user`, if one is given. The caller must not have threads.
pub fn below_root(
    root: BorrowedFd<'_>,
    user: Option<BorrowedFd<'_>>,
    not_its: &[BorrowedFd<'_>],
    body: impl FnOnce(),
) -> io::Result<Below> {
    if crate::rootless::thread_count() != Some(1) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let child = sys::fork_helper(|| {
        sys::close_in_child(not_its);
        let entered = rustix::process::fchdir(root)
            .and_then(|()| rustix::process::chroot("."))
            .and_then(|()| user.map_or(Ok(()), init::become_root_of));
        if entered.is_ok() {
            body();
        }
        sys::exit_now(0);
    })?;
    Ok(Below { pidfd: child.pidfd })
}

/// Enters all namespaces of the process `container` but that of PIDs.
fn enter(container: BorrowedFd<'_>) -> rustix::io::Result<()> {
    use rustix::thread::ThreadNameSpaceType as Kind;
    let kinds = Kind::MOUNT
        | Kind::CONTROL_GROUP
        | Kind::HOST_NAME_AND_NIS_DOMAIN_NAME
        | Kind::INTER_PROCESS_COMMUNICATION
        | Kind::NETWORK;
    rustix::thread::move_into_thread_name_spaces(container, kinds)
}

fn request(stdio: Stdio) -> Result<(OwnedFd, Request), RunError> {
    let (child, childs_end) = channel::pair().map_err(|source| RunError::Worker { source })?;
    let request = Request {
        child: childs_end,
        streams: [stdio.stdin, stdio.stdout, stdio.stderr],
        program: None,
    };
    Ok((child, request))
}
