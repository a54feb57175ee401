//! The worker: a single-threaded process that makes one child for each process to run.
//!
//! It is this executable once more, started from a read-only clone of the mount that holds it:
//! what a container executes or opens as `/proc/self/exe` before its own program runs (a hostile
//! image can arrange that, CVE-2019-5736) cannot be written. It is process 1 of a PID
//! namespace around all containers: when it dies, the kernel kills everything below it, and
//! it ends as soon as its control socket is hung up, that is when the caller dies.
//!
//! It never waits for a child's set-up: children do that themselves and talk to the caller
//! directly. It only makes them, and reports how they end.

use crate::channel::{self, FromWorker};
use crate::error::StartError;
use crate::init::{self, Context, Inbox, Request};
use crate::namespaces::Views;
use crate::plan::Base;
use crate::seccomp;
use crate::sys::{self, WorkerImage};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, MemfdFlags, Mode, SealFlags};
use rustix::mount::MountAttrFlags;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// The worker's name in the process table, by which [`crate::init()`] knows that it is one.
pub(crate) const NAME: &str = "cooper-worker";

/// What the worker is told first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) warm: u32,
    /// Path of the cgroup to join.
    pub(crate) cgroup: Option<PathBuf>,
}

/// Starts the worker and returns its control socket and pidfd.
pub(crate) fn launch(settings: &Settings) -> Result<(OwnedFd, OwnedFd), StartError> {
    let system = |action| move |source| StartError::System { action, source };
    let (ours, theirs) = channel::pair().map_err(system("make a socket"))?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(system("open /dev/null"))?;
    let executable = protected_executable().map_err(system("open the program's own executable"))?;
    let arguments = [CString::new(NAME).unwrap_or_default()];
    let image = WorkerImage {
        executable: executable.as_fd(),
        arguments: &arguments,
        control: theirs.as_fd(),
        null: null.as_fd(),
        own_pids: true,
    };
    let worker = sys::spawn_worker(&image)
        .map_err(|errno| system("start the worker in a new PID namespace")(errno.into()))?;
    channel::send(&ours, settings, &[]).map_err(system("reach the worker"))?;
    Ok((ours, worker.pidfd))
}

/// Returns a handle of this executable through which nobody can write to it.
pub(crate) fn protected_executable() -> io::Result<OwnedFd> {
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let clone = crate::rootfs::clone_tree(CWD, c"/proc/self/exe", false)
        .and_then(|mount| sys::mount_setattr(mount.as_fd(), read_only, false).map(|()| mount));
    match clone {
        Ok(mount) => Ok(mount),
        // The executable's mount is not in this mount namespace.
        Err(_) => sealed_copy(),
    }
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create(NAME, flags)?);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}

/// Tells whether this execution of the program is the worker's.
pub(crate) fn is_worker() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// Runs the worker until the caller is gone.
pub(crate) fn serve() -> ! {
    let _ = Worker::prepare().and_then(|mut worker| worker.run());
    // The kernel kills every process of this PID namespace now.
    sys::exit_now(0)
}

struct Running {
    pidfd: OwnedFd,
    /// Leads to the caller; `None` for a child without work.
    exit: Option<OwnedFd>,
}

struct Warm {
    base: Vec<u8>,
    inbox: OwnedFd,
    pidfd: OwnedFd,
}

struct Worker {
    control: OwnedFd,
    settings: Settings,
    context: Context,
    running: Vec<Running>,
    warm: VecDeque<Warm>,
}

impl Worker {
    fn prepare() -> io::Result<Self> {
        let control = sys::inherited_fd(sys::CONTROL_FD)?;
        rustix::process::umask(Mode::empty());
        sys::reset_signals();
        // Not to be reached by signals of the caller's terminal.
        rustix::process::setsid()?;
        drop_inheritable()?;
        let packet = channel::receive(&control)?.ok_or(io::ErrorKind::ConnectionAborted)?;
        let settings: Settings = channel::decode(&packet.bytes)?;
        if let Some(cgroup) = &settings.cgroup {
            crate::cgroup::join(cgroup)?;
        }
        let context = Context {
            views: Views::prepare()?,
            default_filter: seccomp::default_filter(crate::caps::CapSet::docker().bits()),
            user: None,
        };
        Ok(Self {
            control,
            settings,
            context,
            running: Vec::new(),
            warm: VecDeque::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            let (requested, ended) = self.wait()?;
            for index in ended.into_iter().rev() {
                self.reap(index)?;
            }
            if requested && !self.accept()? {
                return Ok(());
            }
        }
    }

    /// Waits for a request or the end of children; returns the positions of the latter.
    fn wait(&self) -> io::Result<(bool, Vec<usize>)> {
        let children = self.running.iter().map(|running| running.pidfd.as_fd());
        let watched = [self.control.as_fd()].into_iter().chain(children);
        let mut fds: Vec<PollFd<'_>> = watched
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        channel::poll(&mut fds)?;
        let ended = (0..self.running.len()).filter(|index| channel::is_ready(&fds[index + 1]));
        Ok((channel::is_ready(&fds[0]), ended.collect()))
    }

    fn reap(&mut self, index: usize) -> io::Result<()> {
        let running = self.running.swap_remove(index);
        let status =
            rustix::process::waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        if let (Some(status), Some(exit)) = (status, running.exit) {
            let code = status.exit_status();
            let message = FromWorker::Exited {
                code,
                signal: status.terminating_signal(),
            };
            // A caller that has lost interest is no error.
            let _ = channel::send(&exit, &message, &[]);
        }
        Ok(())
    }

    /// Takes one request; returns false when the caller is gone.
    fn accept(&mut self) -> io::Result<bool> {
        let Some(packet) = channel::receive(&self.control)? else {
            return Ok(false);
        };
        let Ok(fds) = <[OwnedFd; 5]>::try_from(packet.fds) else {
            return Ok(true);
        };
        let [exit, child, stdin, stdout, stderr] = fds;
        let request = Request {
            child,
            streams: [stdin, stdout, stderr],
            program: None,
        };
        let started = match self.take_warm(&packet.bytes) {
            Some(warm) => {
                let started = hand_over(warm, &request);
                // A child made later must not inherit it: the caller would wait for the end of
                // a pipe that the child holds.
                drop(request);
                started
            }
            None => self.fork(&packet.bytes, Inbox::Given(request)),
        };
        let (message, pidfd) = match started {
            Ok(pidfd) => (FromWorker::Started, Some(pidfd)),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                (FromWorker::NotStarted { errno }, None)
            }
        };
        let attached: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
        let _ = channel::send(&exit, &message, &attached);
        if let Some(pidfd) = pidfd {
            self.running.push(Running {
                pidfd,
                exit: Some(exit),
            });
            self.keep_warm(&packet.bytes);
        }
        Ok(true)
    }

    fn fork(&self, base: &[u8], inbox: Inbox) -> io::Result<OwnedFd> {
        let base: Base = channel::decode(base)?;
        let context = &self.context;
        let group = base.open_birthplace()?;
        let group = group.as_ref().map(AsFd::as_fd);
        let base = &base;
        let child = sys::fork_child(true, group, move |born| {
            init::run(context, base, inbox, born);
        });
        Ok(child?.pidfd)
    }

    fn take_warm(&mut self, base: &[u8]) -> Option<Warm> {
        let index = self.warm.iter().position(|warm| warm.base == base)?;
        self.warm.remove(index)
    }

    /// Prepares children for more of what was asked for last; those for something else go.
    fn keep_warm(&mut self, base: &[u8]) {
        let wanted = self.settings.warm as usize;
        while self.warm.len() >= wanted.max(1) {
            let Some(oldest) = self.warm.front() else {
                break;
            };
            if oldest.base == base {
                return;
            }
            // Its inbox is hung up, upon which it exits; it is reaped like any other.
            let Some(Warm { pidfd, .. }) = self.warm.pop_front() else {
                break;
            };
            self.running.push(Running { pidfd, exit: None });
        }
        while self.warm.len() < wanted {
            let Ok((ours, theirs)) = channel::pair() else {
                return;
            };
            let Ok(pidfd) = self.fork(base, Inbox::Later(theirs)) else {
                return;
            };
            self.warm.push_back(Warm {
                base: base.to_vec(),
                inbox: ours,
                pidfd,
            });
        }
    }
}

fn hand_over(warm: Warm, request: &Request) -> io::Result<OwnedFd> {
    let [stdin, stdout, stderr] = &request.streams;
    let fds = [
        request.child.as_fd(),
        stdin.as_fd(),
        stdout.as_fd(),
        stderr.as_fd(),
    ];
    channel::send_bytes(warm.inbox.as_fd(), &[0], &fds)?;
    Ok(warm.pidfd)
}

/// Nothing of the caller's inheritable and, with it, ambient capabilities reaches a container.
pub(crate) fn drop_inheritable() -> rustix::io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, sets)
}
