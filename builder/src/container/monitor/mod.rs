//! The process that a container lives under.
//!
//! It is this program once more, started by [`start`](super::start) in a session of its own. It
//! has one thread and one loop over descriptors; everything that happens to the container happens
//! in it, so that nothing needs a lock:
//!
//! ```text
//! first process ends ──────┐                    ┌→ json.log
//! its output comes ────────┤                    ├→ attached commands
//! a command connects/asks ─┼─→ Monitor::turn ───┼→ state.json
//! a further process ends ──┤                    ├→ its input, signals
//! a deadline passes ───────┘                    └→ a new first process
//! ```
//!
//! It holds the container's lock from before its first state is written until after its last,
//! and is process 1 of the PID namespace around the container's: if it is killed, the kernel
//! ends every process of the container and lets go of the lock, and the next command finds both.
//! Containers that share the processes of others cannot be below it; they are ended by the
//! command that finds the lock free.
//!
//! An attached command that does not read stops the container's output once [`CLIENT_LIMIT`]
//! bytes wait for it, as a pipe would; it never stops the monitor.
//!
//! Here is the loop; [`life`] starts and ends the container, [`requests`] does what commands ask,
//! [`health`] checks.

mod clients;
mod health;
mod life;
pub(super) mod processes;
mod requests;
mod streams;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use cooper_runner::network::path_of;
use cooper_runner::{Cgroup, Launcher, Network, Process};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags};

use self::clients::Client;
use self::health::Checks;
use self::streams::Streams;
use super::log::Log;
use super::protocol::{self, Inbox, Launch, kind};
use super::record::Held;
use super::signal;
use super::state::Status;

/// The zeroth argument by which the program knows that it is a monitor.
pub(crate) const NAME: &str = "cooper-monitor";

/// Bytes that may wait for one command before the container's output has to.
const CLIENT_LIMIT: usize = 1 << 20;

/// How often the streams are read after the end; each holds a few chunks.
const DRAIN_TURNS: usize = 1 << 10;

/// Seconds from the stop signal to SIGKILL unless said otherwise.
const STOP_TIMEOUT: i64 = 10;

/// Waits between an end and the start after it: the first, and the longest.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);

/// After so long without anything to do, memory that is not needed for waiting is given back.
const QUIET: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// A container that ran so long begins with the first wait again.
const SETTLED: Duration = Duration::from_secs(10);

/// Runs the monitor to the container's end.
pub(crate) fn serve() -> ! {
    // A command that went away before it said what to run leaves nothing to do, and there is
    // nobody to tell.
    if let Ok(Some(mut monitor)) = Monitor::receive() {
        monitor.run();
    }
    std::process::exit(0)
}

struct Monitor {
    launch: Launch,
    held: Held,
    launcher: Launcher,
    log: Log,
    listener: Option<OwnedFd>,
    clients: Vec<Client>,
    next_client: u64,
    main: Option<Main>,
    execs: Vec<Exec>,
    /// When SIGKILL follows the stop signal.
    kill_at: Option<Instant>,
    restart_at: Option<Instant>,
    backoff: Duration,
    finished: bool,
    /// Whether memory may hold what was needed for the last piece of work alone.
    littered: bool,
    /// What keeps the container connected, its network namespace first; none without networks.
    network: Vec<OwnedFd>,
    /// What keeps the namespaces that a user's commands and containers have in common.
    _shared: Option<OwnedFd>,
    /// Its control group; none without limits.
    cgroup: Option<Cgroup>,
    /// Whether it is the group that holds it still.
    frozen: bool,
}

/// The container's first process.
struct Main {
    process: Process,
    streams: Streams,
    since: Instant,
    checks: Option<Checks>,
    /// Processes that the kernel had killed for want of memory before it began.
    memory_kills: u64,
}

/// A further process.
struct Exec {
    process: Process,
    client: u64,
}

/// What a polled descriptor belongs to.
#[derive(Clone, Copy)]
enum Token {
    Listener,
    Main,
    Output(usize),
    Input,
    Client(usize),
    Exec(usize),
    Check,
    CheckOutput,
}

impl Token {
    /// Tells whether it is only the container's output or input that moves on.
    fn is_stream(self) -> bool {
        matches!(self, Self::Output(_) | Self::Input)
    }
}

impl Monitor {
    /// Waits for the command's word and prepares everything but the process.
    fn receive() -> io::Result<Option<Self>> {
        let socket = cooper_runner::inherited()?;
        // The command is still making the container.
        let launcher = Launcher::prepare().map_err(io::Error::other)?;
        let mut inbox = Inbox::default();
        if !inbox.fill(&socket)? {
            return Ok(None);
        }
        let fds = [inbox.take_fd(), inbox.take_fd(), inbox.take_fd()];
        let [Some(launch), Some(lock), Some(first)] = fds else {
            return Ok(None);
        };
        let mut text = Vec::new();
        let mut launch = File::from(launch);
        launch.rewind()?;
        launch.read_to_end(&mut text)?;
        let mut launch: Launch = serde_json::from_slice(&text)?;
        let mut user = None;
        if launch.spec.ids.is_some() {
            user = inbox.take_fd();
        }
        let shared = if launch.rootless {
            inbox.take_fd()
        } else {
            None
        };
        let mut network = Vec::new();
        while let Some(fd) = inbox.take_fd() {
            network.push(fd);
        }
        if let Some(namespace) = network.first() {
            launch.spec.network = Network::Namespace(path_of(namespace.as_fd()));
        }
        rustix::process::chdir("/")?;
        let held = Held {
            container: launch.container.clone(),
            state: launch.state.clone(),
            dir: launch.dir.clone(),
            lock: File::from(lock),
        };
        Ok(Some(Self {
            launcher: launcher
                .in_scratch(&launch.scratch)
                .map_err(io::Error::other)?
                .with_user(user),
            log: Log::open(&launch.dir, &launch.container)?,
            listener: Some(listen(&launch.dir)?),
            clients: vec![Client::new(0, first)?],
            next_client: 1,
            main: None,
            execs: Vec::new(),
            kill_at: None,
            restart_at: None,
            backoff: BACKOFF,
            finished: false,
            littered: true,
            network,
            _shared: shared,
            cgroup: (!launch.cgroup.is_empty()).then(|| Cgroup::adopt(launch.cgroup.clone())),
            frozen: false,
            launch,
            held,
        }))
    }

    fn run(&mut self) {
        // The command attaches before the process runs, so that nothing is missed.
        self.read_client(0);
        self.begin();
        while !(self.finished && self.clients.iter().all(Client::is_served)) {
            self.turn();
        }
    }

    fn config(&self) -> &super::config::Config {
        &self.held.container.config
    }

    /// Writes down what happened to the container.
    fn tell_all(&self, action: &str) {
        self.held.tell(&self.held.container.event(action));
    }

    /// A state that cannot be written (a full disk) is written at the next change.
    fn write_state(&self) {
        let _ = self.held.write_state();
    }

    /// Waits for something to happen, and deals with it.
    fn turn(&mut self) {
        let deadline = self.timeout();
        let quiet = self.littered && deadline.is_none_or(|left| left > QUIET);
        let timeout = if quiet { Some(QUIET) } else { deadline };
        let mut watched = self.watched();
        let mut fds: Vec<_> = watched.iter().map(|(_, fd)| fd.clone()).collect();
        // Interrupted, it is called again.
        let polled = rustix::event::poll(&mut fds, timeout.as_ref());
        if quiet && polled == Ok(0) {
            self.littered = false;
            cooper_runner::forget_code();
            return;
        }
        let mut ready = Vec::new();
        if polled.is_ok() {
            let events = watched.drain(..).zip(&fds);
            ready.extend(
                events
                    .map(|((token, _), fd)| (token, fd.revents()))
                    .filter(|(_, events)| !events.is_empty()),
            );
        }
        self.littered |= ready.iter().any(|(token, _)| !token.is_stream());
        // Positions stay valid while the later ones are dealt with first.
        for (token, events) in ready.into_iter().rev() {
            self.dispatch(token, events);
        }
        self.deadlines();
        self.clients.retain(|client| !client.gone);
    }

    fn watched(&self) -> Vec<(Token, PollFd<'_>)> {
        let mut watched = Vec::new();
        let mut watch =
            |token, fd, flags| watched.push((token, PollFd::from_borrowed_fd(fd, flags)));
        if let Some(listener) = &self.listener {
            watch(Token::Listener, listener.as_fd(), PollFlags::IN);
        }
        if let Some(main) = &self.main {
            watch(Token::Main, main.process.pidfd(), PollFlags::IN);
            let full = |client: &Client| client.output && client.outbox.size() > CLIENT_LIMIT;
            if !self.clients.iter().any(full) {
                for (index, output) in main.streams.outputs().enumerate() {
                    watch(Token::Output(index), output, PollFlags::IN);
                }
            }
            if let Some(input) = main.streams.waiting_input() {
                watch(Token::Input, input, PollFlags::OUT);
            }
        }
        if let Some((end, output)) = self.checks().and_then(Checks::watched) {
            watch(Token::Check, end, PollFlags::IN);
            watch(Token::CheckOutput, output, PollFlags::IN);
        }
        let input_full = self
            .main
            .as_ref()
            .is_some_and(|main| main.streams.waiting() > CLIENT_LIMIT);
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if !(client.input && input_full) {
                flags |= PollFlags::IN;
            }
            if client.outbox.size() > 0 {
                flags |= PollFlags::OUT;
            }
            watch(Token::Client(index), client.socket.as_fd(), flags);
        }
        for (index, exec) in self.execs.iter().enumerate() {
            watch(Token::Exec(index), exec.process.pidfd(), PollFlags::IN);
        }
        watched
    }

    fn timeout(&self) -> Option<Timespec> {
        let check = self
            .checks()
            .filter(|_| self.held.state.status == Status::Running)
            .and_then(Checks::deadline);
        let next = [self.kill_at, self.restart_at, check]
            .into_iter()
            .flatten()
            .min()?;
        let left = next.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    fn dispatch(&mut self, token: Token, events: PollFlags) {
        match token {
            Token::Listener => self.accept(),
            Token::Main => self.main_ended(),
            Token::Output(index) => self.output(index),
            Token::Input => {
                if let Some(main) = &mut self.main {
                    main.streams.feed();
                }
            }
            Token::Client(index) => {
                if events.contains(PollFlags::OUT) {
                    self.clients[index].flush();
                }
                if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read_client(index);
                }
            }
            Token::Exec(index) => self.exec_ended(index),
            Token::Check => self.check_ended(),
            Token::CheckOutput => {
                if let Some(checks) = self.checks_mut() {
                    // Its end is noticed by that of the process.
                    let _ = checks.read();
                }
            }
        }
    }

    fn deadlines(&mut self) {
        let now = Instant::now();
        let passed = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(&self.kill_at) {
            self.kill_at = None;
            self.signal(signal::KILL);
        }
        self.check(now);
        if passed(&self.restart_at) {
            self.restart_at = None;
            self.held.state.restarts += 1;
            if let Err(error) = self.start() {
                self.held.state.error = error.to_string();
                self.held.state.exit_code = error.exit_code();
                self.after_end(Duration::ZERO);
            }
        }
    }

    /// Takes output of the container; an end of it is noticed once.
    fn output(&mut self, index: usize) {
        let Some(main) = &mut self.main else {
            return;
        };
        let Some((stream, bytes)) = main.streams.read(index, &mut self.log) else {
            return;
        };
        let kind = match stream {
            super::log::Stream::Stdout => kind::OUTPUT,
            super::log::Stream::Stderr => kind::ERROR,
        };
        for client in self.clients.iter_mut().filter(|client| client.output) {
            client.push(kind, &bytes);
        }
    }
}

fn listen(dir: &std::path::Path) -> io::Result<OwnedFd> {
    let (address, _dir) = protocol::address(dir)?;
    // One that a killed monitor left.
    let _ = std::fs::remove_file(dir.join("socket"));
    let flags = SocketFlags::CLOEXEC;
    let kind = rustix::net::SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

fn now() -> String {
    Timestamp::now().to_string()
}
