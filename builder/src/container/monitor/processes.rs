//! The processes of a container, found by their PID namespace, and holding them still.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// How often new processes are looked for while all are being stopped.
const ROUNDS: usize = 64;

/// Returns the processes that share the PID namespace of `first`, as the host numbers them, in
/// that order. Where that namespace is the host's, `first` alone is meant.
pub(super) fn of(first: i32) -> Vec<i32> {
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
        stopped.extend(new);
    }
}

/// Lets every process of a container go on.
pub(super) fn resume(first: i32) {
    send(&of(first), Signal::CONT);
}

fn send(pids: &[i32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that has ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}
