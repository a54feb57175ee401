//! What commands ask of a monitor, and what they are told.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use cooper_runner::{Cgroup, ExecSpec, Exit, Stdio};
use rustix::net::SocketFlags;

use super::clients::Client;
use super::{Exec, Monitor, STOP_TIMEOUT, processes};
use crate::container::config::Resources;
use crate::container::protocol::{Answer, Failure, Request, kind};
use crate::container::signal;
use crate::container::state::Status;

impl Monitor {
    pub(super) fn accept(&mut self) {
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
    pub(super) fn read_client(&mut self, index: usize) {
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

    pub(super) fn answer(&mut self, index: usize, answer: &Answer) {
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
            let problem = match self.held.state.status {
                Status::Paused => "is paused already",
                _ => "is not running",
            };
            (Status::Running, Status::Paused, problem)
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

    pub(super) fn signal(&self, number: i32) {
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

    pub(super) fn exec(&mut self, index: usize, mut spec: ExecSpec) {
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

    pub(super) fn exec_ended(&mut self, index: usize) {
        let Exec { process, client } = self.execs.remove(index);
        let code = process.wait().map_or(125, Exit::shell_code);
        let died = self.held.container.event("exec_die");
        self.held.tell(&died.with("exitCode", code.to_string()));
        let asked = self.clients.iter_mut().find(|known| known.id == client);
        if let Some(asked) = asked {
            asked.answer(&Answer::ExecEnded { code }, Vec::new());
        }
    }

    /// Hands over the container's root as it sees it, mounts included, and its user namespace if
    /// it has one of its own.
    fn root(&mut self, index: usize) {
        let Some(main) = &self.main else {
            return self.refuse(index);
        };
        let path = format!("/proc/{}/root", main.process.pid().unwrap_or(0));
        match File::open(path) {
            Ok(root) => {
                let user = self.launcher.user().map(|user| user.try_clone_to_owned());
                let user = user.and_then(Result::ok);
                let handles = [root.into()].into_iter().chain(user).collect();
                self.clients[index].answer(&Answer::Done, handles);
            }
            Err(error) => {
                let failure = Failure::of(&error, 1);
                self.answer(index, &Answer::Failed(failure));
            }
        }
    }

    pub(super) fn tell(&mut self, answer: &Answer) {
        for client in &mut self.clients {
            if client.stops {
                client.answer(&Answer::Done, Vec::new());
            } else if client.waits || matches!(answer, Answer::Failed(_)) {
                client.answer(answer, Vec::new());
            }
        }
    }
}
