//! The container's first process, from its start to what follows its end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cooper_runner::{Cgroup, RunError};
use rustix::fs::{FlockOperation, flock};

use super::health::{Check, Checks};
use super::streams::Streams;
use super::{BACKOFF, BACKOFF_LIMIT, DRAIN_TURNS, Main, Monitor, SETTLED, now};
use crate::container::Volumes;
use crate::container::config::{RestartPolicy, VolumeSource};
use crate::container::containers::Containers;
use crate::container::protocol::{Answer, Failure};
use crate::container::record;
use crate::container::signal;
use crate::container::state::{self, Health, State, Status};
use crate::events::{Event, Kind};
use crate::network::Networks;

impl Monitor {
    /// Starts the first process for the first time.
    pub(super) fn begin(&mut self) {
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

    pub(super) fn start(&mut self) -> Result<(), RunError> {
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
        self.tell_of_volumes("mount");
        self.tell_all("start");
        Ok(())
    }

    pub(super) fn group_directories(&self) -> Vec<PathBuf> {
        let group = self.cgroup.as_ref();
        group.map(Cgroup::directories).unwrap_or_default()
    }

    /// Deals with the end of the first process, and so of all of them.
    pub(super) fn main_ended(&mut self) {
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
        self.tell_of_volumes("unmount");
        self.after_end(main.since.elapsed());
    }

    /// Writes down what happened to the volumes that the container mounts.
    fn tell_of_volumes(&self, action: &str) {
        for volume in &self.config().mounts.volumes {
            let VolumeSource::Named(name) = &volume.source else {
                continue;
            };
            let event = Event::new(Kind::Volume, action, name.as_str())
                .with("driver", "local")
                .with("container", self.held.container.id.as_str());
            let target = volume.target.display().to_string();
            let event = match action {
                "mount" => event
                    .with("destination", target)
                    .with(
                        "propagation",
                        volume.options.propagation.clone().unwrap_or_default(),
                    )
                    .with("read/write", (!volume.readonly).to_string()),
                _ => event,
            };
            self.held.tell(&event);
        }
    }

    /// Decides what follows an end after so long a life.
    pub(super) fn after_end(&mut self, lived: Duration) {
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

    /// Ends the monitor's work: what was to be removed is not known any more, the state is
    /// written, the lock is free, and who waits is told.
    pub(super) fn finish(&mut self, answer: &Answer) {
        self.finished = true;
        self.cgroup = None;
        self.held.state.cgroup = Vec::new();
        self.disconnect();
        // One that stays mounted is used by the next container, or goes with the volume.
        let (volumes, containers) = (Volumes::of(self.store()), Containers::of(self.store()));
        let _ = volumes.release(self.config(), &containers, &self.held.container.id);
        // What cannot be removed now is by the next command that looks.
        let goes = self.held.container.config.lifecycle.remove && self.forget().is_ok();
        if goes {
            self.listener = None;
            self.tell(answer);
            // Files that no container has are nothing to wait for.
            let _ = record::remove_dir(&self.held.dir);
            return;
        }
        // A command that is hung up reads the state: it has to be the last one by then.
        self.write_state();
        self.listener = None;
        // Nobody connects to what is not there.
        let _ = std::fs::remove_file(self.held.dir.join("socket"));
        let _ = flock(&self.held.lock, FlockOperation::Unlock);
        self.tell(answer);
    }

    /// Takes away what is written of the container's networks. What cannot be taken away now is by
    /// the next command that looks.
    fn disconnect(&mut self) {
        if self.network.is_empty() {
            return;
        }
        let networks = Networks::of(self.store(), self.launch.rootless);
        let _ = networks.detach(&self.held.container.id);
        self.network.clear();
    }

    /// Returns the store's directory.
    fn store(&self) -> &std::path::Path {
        // <root>/containers/<id>
        self.held.dir.ancestors().nth(2).unwrap_or(&self.held.dir)
    }

    fn forget(&self) -> Result<(), record::ContainerError> {
        Containers::of(self.store()).forget(&self.held, true)
    }
}
