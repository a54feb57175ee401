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

mod clients;
mod health;
pub(super) mod processes;
mod streams;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cooper_runner::network::path_of;
use cooper_runner::{Cgroup, ExecSpec, Exit, Launcher, Network, Process, RunError, Stdio};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketFlags};

use self::clients::Client;
use self::health::{Check, Checks};
use self::streams::Streams;
use super::config::{Resources, RestartPolicy};
use super::containers::Containers;
use super::log::Log;
use super::protocol::{self, Answer, Failure, Inbox, Launch, Request, kind};
use super::record::{self, Held};
use super::signal;
use super::state::{self, Health, Probe, State, Status};
use crate::network::Networks;

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
            launcher: Launcher::prepare(&launch.scratch).map_err(io::Error::other)?,
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

    /// Starts the first process for the first time.
    fn begin(&mut self) {
        match self.start() {
            Ok(()) => self.answer(0, &Answer::Started),
            Err(error) => {
                let code = u8::try_from(error.exit_code()).unwrap_or(125);
                let mut failure = Failure::of(&error, code);
                failure.hint = error.hint().map(str::to_owned);
                let state = &mut self.held.state;
                state.status = Status::Created;
                state.exit_code = code.into();
                state.error = failure.messages.join(": ");
                self.finish(&Answer::Failed(failure));
            }
        }
    }

    fn start(&mut self) -> Result<(), RunError> {
        let (streams, stdio) = Streams::new(self.config()).map_err(|source| RunError::SetUp {
            step: "make the container's streams".to_owned(),
            source,
        })?;
        let mut process = self
            .launcher
            .spawn(&self.launch.spec, stdio, self.cgroup.as_ref())?;
        process.started()?;
        let streams = streams.with_terminal(process.take_terminal());
        let pid = process.pid().unwrap_or(0);
        let checks = Check::of(&self.config().runtime).map(Checks::new);
        self.held.state = State {
            status: Status::Running,
            pid,
            pid_began: state::began(pid).unwrap_or(0),
            boot: state::boot_id(),
            started: Some(now()),
            finished: self.held.state.finished.take(),
            restarts: self.held.state.restarts,
            health: checks.as_ref().map(|_| Health::default()),
            cgroup: self.group_directories(),
            ..State::default()
        };
        self.write_state();
        self.main = Some(Main {
            process,
            streams,
            since: Instant::now(),
            checks,
            memory_kills: self.cgroup.as_ref().map_or(0, Cgroup::memory_kills),
        });
        self.tell_all("start");
        Ok(())
    }

    fn group_directories(&self) -> Vec<PathBuf> {
        let group = self.cgroup.as_ref();
        group.map(Cgroup::directories).unwrap_or_default()
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

    fn checks(&self) -> Option<&Checks> {
        self.main.as_ref()?.checks.as_ref()
    }

    fn checks_mut(&mut self) -> Option<&mut Checks> {
        self.main.as_mut()?.checks.as_mut()
    }

    /// Begins a health check if one is due.
    fn check(&mut self, now: Instant) {
        if self.held.state.status != Status::Running {
            return;
        }
        let due = self.checks_mut().is_some_and(|checks| checks.due(now));
        if !due {
            return;
        }
        let start = self::now();
        if let Err(problem) = self.begin_check(start.clone()) {
            let probe = Probe {
                end: self::now(),
                start,
                exit_code: -1,
                output: problem,
            };
            if let Some(Main {
                checks: Some(checks),
                ..
            }) = &mut self.main
            {
                let health = self.held.state.health.get_or_insert_default();
                checks.count(health, probe);
            }
            self.write_state();
        }
    }

    fn begin_check(&mut self, start: String) -> Result<(), String> {
        let Some(Main {
            process,
            checks: Some(checks),
            ..
        }) = &mut self.main
        else {
            return Ok(());
        };
        let container = &self.held.container;
        let args = checks.args().iter().map(Into::into).collect();
        let spec = container.config.further(&container.id, args);
        let mut spec = spec.map_err(|error| error.to_string())?;
        spec.apparmor.clone_from(&self.launch.spec.apparmor);
        let (stdio, reader) = Checks::streams().map_err(|error| error.to_string())?;
        let mut probe = self
            .launcher
            .exec(process.pidfd(), &spec, stdio, self.cgroup.as_ref(), None)
            .map_err(|error| error.to_string())?;
        probe.started().map_err(|error| error.to_string())?;
        checks.begun(probe, reader, start);
        Ok(())
    }

    fn check_ended(&mut self) {
        if let Some(Main {
            checks: Some(checks),
            ..
        }) = &mut self.main
        {
            let health = self.held.state.health.get_or_insert_default();
            let before = health.status;
            checks.ended(health, now());
            let after = health.status;
            self.write_state();
            if before != after {
                self.tell_all(&format!("health_status: {}", after.name()));
            }
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC;
        let accepted = rustix::net::accept_with(listener, flags).map_err(io::Error::from);
        if let Ok(client) = accepted.and_then(|socket| Client::new(self.next_client, socket)) {
            self.next_client += 1;
            self.clients.push(client);
        }
    }

    /// Takes what a command sent.
    fn read_client(&mut self, index: usize) {
        let open = self.clients[index].fill();
        while let Some(frame) = self.clients[index].take() {
            match frame.kind {
                kind::REQUEST => match frame.json::<Request>() {
                    Ok(request) => self.serve_request(index, request),
                    Err(error) => {
                        let failure = Failure::of(&error, 125);
                        self.answer(index, &Answer::Failed(failure));
                    }
                },
                kind::INPUT if self.clients[index].input => {
                    if let Some(main) = &mut self.main {
                        main.streams.push_input(&frame.payload);
                    }
                }
                kind::INPUT_END => self.input_ended(index),
                _ => {}
            }
        }
        if !open {
            self.input_ended(index);
            let client = &mut self.clients[index];
            client.gone = true;
            let id = client.id;
            // A further process ends with the command that asked for it only if that held its
            // terminal, which then hangs up.
            self.execs
                .iter_mut()
                .filter(|exec| exec.client == id)
                .for_each(|exec| exec.client = 0);
        }
    }

    fn input_ended(&mut self, index: usize) {
        let once = self.launch.stdin_once && std::mem::take(&mut self.clients[index].input);
        if let (true, Some(main)) = (once, &mut self.main) {
            main.streams.end_input();
        }
    }

    fn answer(&mut self, index: usize, answer: &Answer) {
        self.clients[index].answer(answer, Vec::new());
    }

    fn serve_request(&mut self, index: usize, request: Request) {
        match request {
            Request::Attach { stdin } => {
                let client = &mut self.clients[index];
                client.output = true;
                client.waits = true;
                client.input = stdin;
                // The command that starts it is attached before there is anything to attach to.
                if self.main.is_some() {
                    self.tell_all("attach");
                }
            }
            Request::Detach => {
                let client = &mut self.clients[index];
                (client.output, client.input) = (false, false);
                self.answer(index, &Answer::Detached);
            }
            Request::Wait => self.clients[index].waits = true,
            Request::Signal(number) => {
                if self.main.is_none() {
                    return self.refuse(index);
                }
                let stops = number == signal::KILL || number == self.stop_signal();
                self.held.state.stopped |= stops;
                self.signal(number);
                if number == signal::KILL && self.frozen {
                    // Not every kind of group lets a process that it holds still be killed.
                    self.let_go();
                }
                self.answer(index, &Answer::Done);
            }
            Request::Stop { signal, timeout } => self.stop(index, signal, timeout),
            Request::Pause(pause) => self.pause(index, pause),
            Request::Processes => {
                let found = processes::of(self.held.state.pid);
                self.answer(index, &Answer::Processes(found));
            }
            Request::Resize { rows, cols } => {
                if let Some(main) = &self.main {
                    main.streams.resize(rows, cols);
                }
            }
            Request::Exec(spec) => self.exec(index, *spec),
            Request::SignalExec(number) => {
                let id = self.clients[index].id;
                for exec in self.execs.iter().filter(|exec| exec.client == id) {
                    // One that has ended needs no signal.
                    let _ = exec.process.kill(number);
                }
            }
            Request::Root => self.root(index),
            Request::Limit(resources) => {
                let answer = self.limit(*resources);
                self.answer(index, &answer);
            }
            Request::Policy(policy) => {
                self.held.container.config.lifecycle.restart = policy;
                self.answer(index, &Answer::Done);
            }
            Request::Rename(name) => {
                self.held.container.name = name;
                self.answer(index, &Answer::Done);
            }
        }
    }

    fn refuse(&mut self, index: usize) {
        let name = &self.held.container.name;
        let failure = Failure::new(format!("container {name} is not running"));
        self.answer(index, &Answer::Failed(failure));
    }

    /// Holds every process still, or lets them go on.
    fn pause(&mut self, index: usize, pause: bool) {
        let name = &self.held.container.name;
        let (from, to, problem) = if pause {
            (Status::Running, Status::Paused, "is not running")
        } else {
            (Status::Paused, Status::Running, "is not paused")
        };
        if self.held.state.status != from {
            let failure = Failure::new(format!("container {name} {problem}"));
            return self.answer(index, &Answer::Failed(failure));
        }
        self.held.state.status = to;
        if pause {
            self.hold();
        } else {
            self.let_go();
        }
        self.tell_all(if pause { "pause" } else { "unpause" });
        self.write_state();
        self.answer(index, &Answer::Done);
    }

    /// Holds every process still: by the control group if it has one that can, by signals else.
    fn hold(&mut self) {
        self.frozen = self.cgroup.as_ref().is_some_and(|group| group.freeze(true));
        if !self.frozen {
            processes::stop(self.held.state.pid);
        }
    }

    fn let_go(&mut self) {
        match &self.cgroup {
            Some(group) if std::mem::take(&mut self.frozen) => drop(group.freeze(false)),
            _ => processes::resume(self.held.state.pid),
        }
    }

    /// Replaces what the container may use, which may take a group that it has not had yet.
    fn limit(&mut self, resources: Resources) -> Answer {
        let parent = resources.cgroup_parent.clone();
        let limits = match resources.group_limits() {
            Ok(limits) => limits,
            Err(error) => return Answer::Failed(Failure::of(&error, 1)),
        };
        let pids = processes::of(self.held.state.pid);
        let group = self.cgroup.get_or_insert_with(|| Cgroup::adopt(Vec::new()));
        let id = &self.held.container.id;
        let updated = group.update(parent.as_deref(), id, &limits, &pids);
        let discarded = group.missing().iter().map(ToString::to_string).collect();
        self.held.state.cgroup = self.group_directories();
        self.write_state();
        match updated {
            Ok(()) => {
                self.held.container.config.resources = resources;
                Answer::Discarded(discarded)
            }
            Err(error) => {
                let mut failure = Failure::of(&error, 1);
                failure.hint = error.hint().map(str::to_owned);
                Answer::Failed(failure)
            }
        }
    }

    fn stop_signal(&self) -> i32 {
        let asked = self.config().runtime.stop_signal.as_deref();
        asked.and_then(signal::number).unwrap_or(signal::TERM)
    }

    fn signal(&self, number: i32) {
        if let Some(main) = &self.main {
            let killed = self.held.container.event("kill");
            self.held.tell(&killed.with("signal", number.to_string()));
            // One that has ended needs no signal.
            let _ = main.process.kill(number);
        }
    }

    fn stop(&mut self, index: usize, number: Option<i32>, timeout: Option<i64>) {
        self.held.state.stopped = true;
        self.clients[index].stops = true;
        if self.main.is_none() {
            if self.restart_at.take().is_some() {
                let code = self.held.state.exit_code;
                self.held.state.status = Status::Exited;
                self.finish(&Answer::Ended { code });
            }
            return;
        }
        let timeout = timeout.or(self.config().lifecycle.stop_timeout);
        let timeout = timeout.unwrap_or(STOP_TIMEOUT);
        self.signal(number.unwrap_or_else(|| self.stop_signal()));
        if self.held.state.status == Status::Paused {
            // What is held still could not follow the signal.
            self.held.state.status = Status::Running;
            self.let_go();
        }
        self.kill_at = u64::try_from(timeout)
            .ok()
            .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    }

    fn exec(&mut self, index: usize, mut spec: ExecSpec) {
        if !spec.privileged {
            // What the container may not do, what joins it may not do either.
            spec.apparmor.clone_from(&self.launch.spec.apparmor);
        }
        let client = &mut self.clients[index];
        let streams = [client.take_fd(), client.take_fd(), client.take_fd()];
        let program = client.take_fd();
        let (Some(main), [Some(stdin), Some(stdout), Some(stderr)]) = (&self.main, streams) else {
            return self.refuse(index);
        };
        let stdio = Stdio {
            stdin,
            stdout,
            stderr,
        };
        let group = self.cgroup.as_ref();
        let pidfd = main.process.pidfd();
        let started = self.launcher.exec(pidfd, &spec, stdio, group, program);
        let started = started.and_then(|mut process| process.started().map(|()| process));
        match started {
            Ok(mut process) => {
                let words: Vec<_> = spec
                    .args
                    .iter()
                    .map(|word| word.to_string_lossy())
                    .collect();
                let words = words.join(" ");
                self.tell_all(&format!("exec_create: {words}"));
                self.tell_all(&format!("exec_start: {words}"));
                let terminal = process.take_terminal().into_iter().collect();
                let client = &mut self.clients[index];
                client.answer(&Answer::ExecStarted, terminal);
                let client = client.id;
                self.execs.push(Exec { process, client });
            }
            Err(error) => {
                let code = u8::try_from(error.exit_code()).unwrap_or(126);
                let mut failure = Failure::of(&error, code);
                failure.hint = error.hint().map(str::to_owned);
                self.answer(index, &Answer::Failed(failure));
            }
        }
    }

    fn exec_ended(&mut self, index: usize) {
        let Exec { process, client } = self.execs.remove(index);
        let code = process.wait().map_or(125, Exit::shell_code);
        let died = self.held.container.event("exec_die");
        self.held.tell(&died.with("exitCode", code.to_string()));
        let asked = self.clients.iter_mut().find(|known| known.id == client);
        if let Some(asked) = asked {
            asked.answer(&Answer::ExecEnded { code }, Vec::new());
        }
    }

    /// Hands over the container's root as it sees it, mounts included.
    fn root(&mut self, index: usize) {
        let Some(main) = &self.main else {
            return self.refuse(index);
        };
        let path = format!("/proc/{}/root", main.process.pid().unwrap_or(0));
        match File::open(path) {
            Ok(root) => self.clients[index].answer(&Answer::Done, vec![root.into()]),
            Err(error) => {
                let failure = Failure::of(&error, 1);
                self.answer(index, &Answer::Failed(failure));
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

    /// Deals with the end of the first process, and so of all of them.
    fn main_ended(&mut self) {
        // What the pipes hold is bounded; a process that shares them may outlive this one.
        for _ in 0..DRAIN_TURNS {
            let before = self.main.as_ref().map_or(0, |main| main.streams.taken());
            let count = self
                .main
                .as_ref()
                .map_or(0, |main| main.streams.outputs().count());
            (0..count).rev().for_each(|index| self.output(index));
            if self
                .main
                .as_ref()
                .is_none_or(|main| main.streams.taken() == before)
            {
                break;
            }
        }
        let Some(mut main) = self.main.take() else {
            return;
        };
        main.streams.finish(&mut self.log);
        self.kill_at = None;
        for exec in &self.execs {
            // Those of a container that shares its processes are not ended with it.
            let _ = exec.process.kill(signal::KILL);
        }
        let code = match main.process.wait() {
            Ok(exit) => exit.shell_code(),
            Err(error) => {
                self.held.state.error = error.to_string();
                125
            }
        };
        self.held.state.exit_code = code;
        let died = self.held.container.event("die");
        let lived = main.since.elapsed().as_secs().to_string();
        let died = died.with("exitCode", code.to_string());
        if let Some(group) = &self.cgroup {
            self.held.state.oom_killed = group.memory_kills() > main.memory_kills;
            // Those of a container that shares its processes are not ended with it.
            group.kill();
        }
        if self.held.state.oom_killed {
            self.tell_all("oom");
        }
        self.held.tell(&died.with("execDuration", lived));
        if self.held.state.stopped && self.clients.iter().any(|client| client.stops) {
            self.tell_all("stop");
        }
        self.after_end(main.since.elapsed());
    }

    /// Decides what follows an end after so long a life.
    fn after_end(&mut self, lived: Duration) {
        let state = &mut self.held.state;
        state.pid = 0;
        state.finished = Some(now());
        let code = state.exit_code;
        let again = !state.stopped
            && match self.held.container.config.lifecycle.restart {
                RestartPolicy::No => false,
                RestartPolicy::OnFailure(times) => {
                    code != 0 && (times == 0 || self.held.state.restarts < times)
                }
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            };
        if !again {
            self.held.state.status = Status::Exited;
            return self.finish(&Answer::Ended { code });
        }
        if lived >= SETTLED {
            self.backoff = BACKOFF;
        }
        self.held.state.status = Status::Restarting;
        self.write_state();
        self.restart_at = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_LIMIT);
        self.tell(&Answer::Ended { code });
    }

    /// Ends the monitor's work: what was to be removed is, the state is written, the lock is
    /// free, and who waits is told.
    fn finish(&mut self, answer: &Answer) {
        self.finished = true;
        self.cgroup = None;
        self.held.state.cgroup = Vec::new();
        // A command that is hung up reads the state: it has to be the last one by then.
        self.write_state();
        self.listener = None;
        // Nobody connects to what is not there.
        let _ = std::fs::remove_file(self.held.dir.join("socket"));
        self.disconnect();
        if self.held.container.config.lifecycle.remove {
            // What cannot be removed now is by the next command that looks.
            let _ = self.remove();
        }
        let _ = flock(&self.held.lock, FlockOperation::Unlock);
        self.tell(answer);
    }

    /// Takes away what is written of the container's networks. What cannot be taken away now is by
    /// the next command that looks.
    fn disconnect(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let root = self.held.dir.parent().and_then(std::path::Path::parent);
        let networks = Networks::of(root.unwrap_or(&self.held.dir), false);
        let _ = networks.detach(&self.held.container.id);
        self.network.clear();
    }

    fn remove(&self) -> Result<(), record::ContainerError> {
        let root = self.held.dir.parent().and_then(std::path::Path::parent);
        let containers = Containers::of(root.unwrap_or(&self.held.dir));
        let lock = self.held.lock.try_clone();
        containers.remove(Held {
            container: self.held.container.clone(),
            state: self.held.state.clone(),
            dir: self.held.dir.clone(),
            lock: lock.map_err(record::ContainerError::io("lock", &self.held.dir))?,
        })
    }

    fn tell(&mut self, answer: &Answer) {
        for client in &mut self.clients {
            if client.stops {
                client.answer(&Answer::Done, Vec::new());
            } else if client.waits || matches!(answer, Answer::Failed(_)) {
                client.answer(answer, Vec::new());
            }
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
