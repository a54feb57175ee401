//! The processes of a container, found by their PID namespace, and holding them still.

use std::fs;
use std::time::Duration;

use cooper_runner::own_number;
use rustix::process::{Pid, Signal, kill_process};

/// How often new processes are looked for while all are being stopped.
const ROUNDS: usize = 64;

/// How often, a millisecond apart, is looked whether a process stands still.
const SETTLING: usize = 10_000;

/// Returns the processes that share the PID namespace of `first`, as the host numbers them, in
/// that order. Where that namespace is the host's, `first` alone is meant.
pub(in crate::container) fn of(first: i32) -> Vec<i32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(&first.to_string()) else {
        return Vec::new();
    };
    if namespace("self").as_ref() == Some(&own) {
        return vec![first];
    }
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![first];
    };
    let mut found: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            let pid = name.parse().ok()?;
            (namespace(name)? == own).then_some(pid)
        })
        .collect();
    found.sort_unstable();
    found
}

/// Stops every process of a container; those that are born meanwhile are found in the next round.
pub(super) fn stop(first: i32) {
    let mut stopped = Vec::new();
    for _ in 0..ROUNDS {
        let new: Vec<_> = of(first)
            .into_iter()
            .filter(|pid| !stopped.contains(pid))
            .collect();
        if new.is_empty() {
            return;
        }
        send(&new, Signal::STOP);
        for pid in &new {
            settle(*pid);
        }
        stopped.extend(new);
    }
}

/// Waits until a process stands still: a signal is sent at once, but a thread that is in a system
/// call ends that first. One that the kernel does not let go of is not waited for forever.
fn settle(pid: i32) {
    for _ in 0..SETTLING {
        if threads(pid)
            .iter()
            .all(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the states of a process' threads, as proc_pid_stat(5) has them; none if it is gone.
fn threads(pid: i32) -> Vec<char> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let state = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // The name before it is in parentheses and may hold anything.
        stat.rsplit_once(") ")?.1.chars().next()
    };
    tasks.flatten().filter_map(state).collect()
}

/// Lets every process of a container go on.
pub(super) fn resume(first: i32) {
    send(&of(first), Signal::CONT);
}

fn send(pids: &[i32], signal: Signal) {
    // A monitor has a PID namespace of its own, and numbers of its own.
    let pids = pids.iter().filter_map(|pid| own_number(*pid));
    for pid in pids.filter_map(Pid::from_raw) {
        // One that has ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}
