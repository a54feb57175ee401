//! Health checks: a further process now and then, and what its exit codes add up to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cooper_oci::{Healthcheck, RuntimeConfig};
use cooper_runner::{Exit, Process, Stdio};
use rustix::pipe::PipeFlags;

use super::streams::set_nonblocking;
use super::{Main, Monitor, now};
use crate::container::signal;
use crate::container::state::{Health, HealthStatus, Probe, Status};

/// How many results are kept.
const KEPT: usize = 5;

/// How much of what a check wrote is kept.
const OUTPUT: usize = 4096;

/// The exit code of a check that took too long.
const TOO_LONG: i32 = -1;

/// The check of a container, with docker's defaults for what is not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) args: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Check {
    /// Returns the check that the configuration asks for, if any.
    pub(super) fn of(runtime: &RuntimeConfig) -> Option<Self> {
        let Healthcheck {
            test,
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
            ..
        } = runtime.healthcheck.as_ref()?;
        let (kind, rest) = test.split_first()?;
        let args = match kind.as_str() {
            "CMD" if !rest.is_empty() => rest.to_vec(),
            "CMD-SHELL" if !rest.is_empty() => {
                let shell = match runtime.shell.as_slice() {
                    [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                    shell => shell.to_vec(),
                };
                [shell.as_slice(), rest].concat()
            }
            _ => return None,
        };
        let time = |nanos: i64, default: u64| match u64::try_from(nanos) {
            Ok(nanos @ 1..) => Duration::from_nanos(nanos),
            _ => Duration::from_secs(default),
        };
        Some(Self {
            args,
            interval: time(*interval, 30),
            timeout: time(*timeout, 30),
            start_period: time(*start_period, 0),
            start_interval: time(*start_interval, 5),
            retries: if *retries > 0 { *retries } else { 3 },
        })
    }
}

/// The checks of a running container.
pub(super) struct Checks {
    check: Check,
    begun: Instant,
    next: Option<Instant>,
    running: Option<Running>,
}

struct Running {
    process: Process,
    reader: OwnedFd,
    output: Vec<u8>,
    start: String,
    deadline: Instant,
    late: bool,
}

impl Checks {
    pub(super) fn new(check: Check) -> Self {
        let begun = Instant::now();
        let mut checks = Self {
            check,
            begun,
            next: None,
            running: None,
        };
        checks.next = Some(begun + checks.pause(HealthStatus::Starting));
        checks
    }

    pub(super) fn args(&self) -> &[String] {
        &self.check.args
    }

    fn starting(&self) -> bool {
        self.begun.elapsed() < self.check.start_period
    }

    fn pause(&self, status: HealthStatus) -> Duration {
        if status == HealthStatus::Starting && self.starting() {
            self.check.start_interval
        } else {
            self.check.interval
        }
    }

    /// Returns when something is to be done without anything happening.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.running {
            Some(running) => (!running.late).then_some(running.deadline),
            None => self.next,
        }
    }

    /// Returns whether a check is to begin now. One that takes too long is killed.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        match &mut self.running {
            Some(running) if !running.late && running.deadline <= now => {
                running.late = true;
                let _ = running.process.kill(signal::KILL);
                false
            }
            Some(_) => false,
            None => self.next.is_some_and(|next| next <= now),
        }
    }

    /// Returns the streams of a check, and where its output is read.
    pub(super) fn streams() -> io::Result<(Stdio, OwnedFd)> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        set_nonblocking(&reader)?;
        let mut stdio = Stdio::null()?;
        stdio.stdout = writer.try_clone()?;
        stdio.stderr = writer;
        Ok((stdio, reader))
    }

    pub(super) fn begun(&mut self, process: Process, reader: OwnedFd, start: String) {
        self.next = None;
        self.running = Some(Running {
            process,
            reader,
            output: Vec::new(),
            start,
            deadline: Instant::now() + self.check.timeout,
            late: false,
        });
    }

    /// Returns the running check's end and its output, to be watched.
    pub(super) fn watched(&self) -> Option<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        let running = self.running.as_ref()?;
        Some((running.process.pidfd(), running.reader.as_fd()))
    }

    /// Reads what the running check wrote; what is too much is dropped.
    pub(super) fn read(&mut self) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let mut bytes = [0; OUTPUT];
        match rustix::io::read(&running.reader, &mut bytes) {
            Ok(count @ 1..) => {
                let room = OUTPUT - running.output.len();
                running.output.extend_from_slice(&bytes[..count.min(room)]);
                true
            }
            _ => false,
        }
    }

    /// Takes the end of the running check into `health`; returns whether its status changed.
    pub(super) fn ended(&mut self, health: &mut Health, end: String) -> bool {
        while self.read() {}
        let Some(running) = self.running.take() else {
            return false;
        };
        let code = match running.process.wait() {
            _ if running.late => TOO_LONG,
            Ok(exit) => Exit::shell_code(exit),
            Err(_) => TOO_LONG,
        };
        let output = if running.late {
            let seconds = self.check.timeout.as_secs_f64();
            format!("Health check exceeded timeout ({seconds}s)")
        } else {
            String::from_utf8_lossy(&running.output).into_owned()
        };
        self.count(
            health,
            Probe {
                start: running.start,
                end,
                exit_code: code,
                output,
            },
        )
    }

    /// Counts a result, one of a check that could not be started among them.
    pub(super) fn count(&mut self, health: &mut Health, probe: Probe) -> bool {
        let before = health.status;
        if probe.exit_code == 0 {
            health.failing_streak = 0;
            health.status = HealthStatus::Healthy;
        } else if !(before == HealthStatus::Starting && self.starting()) {
            health.failing_streak += 1;
            if health.failing_streak >= self.check.retries {
                health.status = HealthStatus::Unhealthy;
            }
        }
        health.log.push(probe);
        let old = health.log.len().saturating_sub(KEPT);
        health.log.drain(..old);
        self.next = Some(Instant::now() + self.pause(health.status));
        before != health.status
    }
}

impl Monitor {
    pub(super) fn checks(&self) -> Option<&Checks> {
        self.main.as_ref()?.checks.as_ref()
    }

    pub(super) fn checks_mut(&mut self) -> Option<&mut Checks> {
        self.main.as_mut()?.checks.as_mut()
    }

    /// Begins a health check if one is due.
    pub(super) fn check(&mut self, now: Instant) {
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

    pub(super) fn check_ended(&mut self) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start_period: i64) -> Check {
        let runtime = RuntimeConfig {
            healthcheck: Some(Healthcheck {
                test: vec!["CMD-SHELL".into(), "probe".into()],
                start_period,
                retries: 2,
                ..Healthcheck::default()
            }),
            ..RuntimeConfig::default()
        };
        Check::of(&runtime).expect("there is one")
    }

    fn counted(checks: &mut Checks, health: &mut Health, code: i32) -> (HealthStatus, i64) {
        let probe = Probe {
            start: String::new(),
            end: String::new(),
            exit_code: code,
            output: String::new(),
        };
        checks.count(health, probe);
        (health.status, health.failing_streak)
    }

    #[test]
    fn a_check_has_dockers_defaults() {
        let found = check(0);
        assert_eq!(found.args, ["/bin/sh", "-c", "probe"]);
        assert_eq!(found.interval, Duration::from_secs(30));
        assert_eq!(found.retries, 2);
        let none = RuntimeConfig {
            healthcheck: Some(Healthcheck {
                test: vec!["NONE".into()],
                ..Healthcheck::default()
            }),
            ..RuntimeConfig::default()
        };
        assert_eq!(Check::of(&none), None);
    }

    #[test]
    fn so_many_failures_in_a_row_are_unhealthy() {
        use HealthStatus::{Healthy, Starting, Unhealthy};
        let (mut checks, mut health) = (Checks::new(check(0)), Health::default());
        let mut count = |code| counted(&mut checks, &mut health, code);
        assert_eq!(count(1), (Starting, 1));
        assert_eq!(count(0), (Healthy, 0));
        assert_eq!(count(1), (Healthy, 1));
        assert_eq!(count(1), (Unhealthy, 2));
        assert_eq!(count(0), (Healthy, 0));
        for _ in 0..9 {
            let _ = count(0);
        }
        assert_eq!(health.log.len(), KEPT);
    }

    #[test]
    fn failures_of_the_start_do_not_count() {
        let (mut checks, mut health) = (Checks::new(check(i64::MAX)), Health::default());
        for _ in 0..3 {
            let counted = counted(&mut checks, &mut health, 1);
            assert_eq!(counted, (HealthStatus::Starting, 0));
        }
        let counted = counted(&mut checks, &mut health, 0);
        assert_eq!(counted, (HealthStatus::Healthy, 0));
    }
}
