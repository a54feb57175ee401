//! How a container fares.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How far a container has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, not started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Held still.
    Paused,
    /// At its end, and about to be started again.
    Restarting,
    /// At its end.
    Exited,
}

impl Status {
    /// Returns the word that docker has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }

    /// Returns whether it has, or will have again without being asked, a process.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// How a container fares, as its monitor writes it down. Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// How far it has come.
    pub status: Status,
    /// Its first process; 0 without one.
    pub pid: i32,
    /// When that process began, in clock ticks since the machine started; tells it from another
    /// process of that number.
    pub pid_began: u64,
    /// The machine's start that the numbers above belong to.
    pub boot: String,
    /// When it was last started.
    pub started: Option<String>,
    /// When it last ended.
    pub finished: Option<String>,
    /// How it last ended.
    pub exit_code: i32,
    /// Why it could not be started, or what became of its monitor.
    pub error: String,
    /// How often its policy has started it again.
    pub restarts: u32,
    /// Whether a command ended it, so that its policy does not apply.
    pub stopped: bool,
    /// What its health check says.
    pub health: Option<Health>,
    /// Whether the kernel killed a process of it because its memory was used up.
    pub oom_killed: bool,
    /// The directories of its control group; none without limits.
    pub cgroup: Vec<PathBuf>,
}

impl State {
    /// Makes the state of a container that is active, and that nobody monitors any more, true.
    pub(super) fn bury(&mut self, now: String) {
        let rebooted = boot_id() != self.boot;
        let error = if rebooted {
            "the machine was restarted while it ran"
        } else {
            "its monitor was killed"
        };
        error.clone_into(&mut self.error);
        self.status = Status::Exited;
        self.pid = 0;
        self.cgroup = Vec::new();
        self.exit_code = 137;
        self.finished = Some(now);
    }

    /// Returns the process that outlives its monitor: one that shares the host's process numbers,
    /// and so was not ended with the monitor's own.
    pub(super) fn orphan(&self) -> Option<rustix::process::Pid> {
        let same =
            self.pid > 0 && self.boot == boot_id() && began(self.pid) == Some(self.pid_began);
        same.then(|| rustix::process::Pid::from_raw(self.pid))
            .flatten()
    }
}

/// What a health check says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: i64,
    /// The last checks, oldest first.
    pub log: Vec<Probe>,
}

/// The outcome of the health checks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// The last check succeeded.
    Healthy,
    /// As many checks in a row as it takes have failed.
    Unhealthy,
}

impl HealthStatus {
    /// Returns the word that docker has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Probe {
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended, RFC 3339.
    pub end: String,
    /// Its exit code; -1 if it took too long.
    pub exit_code: i32,
    /// The start of what it wrote.
    pub output: String,
}

/// Returns what names this start of the machine.
pub(super) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Returns when a process began, in clock ticks since the machine started.
pub(super) fn began(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses among it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_killed_monitor_is_told_from_a_reboot() {
        let own = std::process::id() as i32;
        let running = State {
            status: Status::Running,
            pid: own,
            pid_began: began(own).expect("this process runs"),
            boot: boot_id(),
            ..State::default()
        };
        assert_eq!(
            running.orphan().map(rustix::process::Pid::as_raw_pid),
            Some(own)
        );
        let mut killed = running.clone();
        killed.bury("now".into());
        assert_eq!((killed.status, killed.exit_code), (Status::Exited, 137));
        assert_eq!(killed.error, "its monitor was killed");
        let mut rebooted = State {
            boot: "another".into(),
            ..running.clone()
        };
        assert_eq!(rebooted.orphan(), None);
        rebooted.bury("now".into());
        assert_eq!(rebooted.error, "the machine was restarted while it ran");
        let reused = State {
            pid_began: 1,
            ..running
        };
        assert_eq!(reused.orphan(), None);
    }
}
