//! What a running container has used so far, looked at from outside.
//!
//! A container with limits has a control group that accounts for it; for one without, and for
//! what its group does not account, its processes are asked one by one.

use std::fs;
use std::time::Instant;

use cooper_runner::Usage;

use super::monitor::processes;
use super::record::Found;
use crate::network::NetworkMode;

/// What a container had used at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    at: Instant,
    /// Processor time, memory, processes, bytes at block devices.
    pub(crate) usage: Usage,
    /// Bytes received and sent.
    pub(crate) network: (u64, u64),
}

impl Sample {
    /// Looks at a container; nothing if it does not run.
    pub(crate) fn of(found: &Found) -> Option<Self> {
        if !found.is_active() || found.state.pid == 0 {
            return None;
        }
        let network = match found.container.config.network.mode {
            // What the whole machine received is not the container's.
            NetworkMode::Host => (0, 0),
            _ => received_and_sent(found.state.pid),
        };
        Some(Self {
            at: Instant::now(),
            usage: Usage::of(&found.state.cgroup, &members(found)),
            network,
        })
    }

    /// Returns how much of one processor it took since `before`, in percent.
    pub(crate) fn processor(&self, before: &Self) -> f64 {
        let passed = self.at.saturating_duration_since(before.at).as_nanos() as f64;
        let used = self.usage.cpu.saturating_sub(before.usage.cpu) as f64;
        if passed > 0.0 {
            used / passed * 100.0
        } else {
            0.0
        }
    }
}

/// Returns the container's processes: those of its group, which it may share its PID namespace
/// with others, or those of its PID namespace.
fn members(found: &Found) -> Vec<i32> {
    let lists = found.state.cgroup.iter();
    let mut lists = lists.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    match lists.next() {
        Some(list) => list.lines().filter_map(|pid| pid.parse().ok()).collect(),
        None => processes::of(found.state.pid),
    }
}

/// Returns what the network namespace of a process has received and sent over its interfaces but
/// the loopback, in bytes.
fn received_and_sent(pid: i32) -> (u64, u64) {
    sum_interfaces(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn sum_interfaces(table: &str) -> (u64, u64) {
    let lines = table.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter(|(name, _)| name.trim() != "lo")
        .fold((0, 0), |(received, sent), (_, numbers)| {
            let mut numbers = numbers.split_whitespace().map(|n| n.parse().unwrap_or(0));
            // Eight columns of each direction, bytes first.
            let one: u64 = numbers.next().unwrap_or(0);
            let other: u64 = numbers.nth(7).unwrap_or(0);
            (received + one, sent + other)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up_but_for_the_loopback() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo:     900       1    0    0    0     0          0         0      900       1    0
  eth0:    1000       8    0    0    0     0          0         0      200       2    0
  eth1:      50       1    0    0    0     0          0         0        7       1    0
";
        assert_eq!(sum_interfaces(table), (1050, 207));
    }
}
