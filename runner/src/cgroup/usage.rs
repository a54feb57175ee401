//! What a group has used.

use std::fs;
use std::path::{Path, PathBuf};

/// What the processes of a group have used, together. What the system does not account is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time.
    pub cpu: u64,
    /// Bytes of memory in use, without files that could be dropped at once.
    pub memory: u64,
    /// Bytes of memory that may be used; absent without a limit.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to block devices.
    pub written: u64,
}

impl Usage {
    /// Reads what the group at `directories` (one of version 2, or one of each controller of
    /// version 1) has used.
    pub fn read(directories: &[PathBuf]) -> Self {
        Self::of(directories, &[])
    }

    /// Reads what the group at `directories` has used; what no directory accounts is added up over
    /// the processes `pids`, as /proc numbers them.
    pub fn of(directories: &[PathBuf], pids: &[i32]) -> Self {
        let group = Accounted::of_group(directories);
        let whole = group.cpu.is_some()
            && group.memory.is_some()
            && group.pids.is_some()
            && group.io.is_some();
        let added = if whole {
            Self::default()
        } else {
            pids.iter().map(|pid| of_process(*pid)).sum()
        };
        let (read, written) = group.io.unwrap_or((added.read, added.written));
        Self {
            cpu: group.cpu.unwrap_or(added.cpu),
            memory: group.memory.unwrap_or(added.memory),
            memory_limit: group.memory_limit,
            pids: group.pids.unwrap_or(added.pids),
            read,
            written,
        }
    }

    /// Returns the directories of the group that a process is in.
    pub fn directories_of(pid: i32) -> Vec<PathBuf> {
        let path = Path::new("/proc").join(pid.to_string()).join("cgroup");
        let groups = fs::read_to_string(path).unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        super::hierarchy::Mounted::parse(&mounts, &groups)
            .hierarchies
            .into_iter()
            .map(|hierarchy| hierarchy.own)
            .collect()
    }
}

/// What a group accounts.
#[derive(Debug, Default)]
struct Accounted {
    cpu: Option<u64>,
    memory: Option<u64>,
    memory_limit: Option<u64>,
    pids: Option<u64>,
    /// Bytes read and written.
    io: Option<(u64, u64)>,
}

impl Accounted {
    fn of_group(directories: &[PathBuf]) -> Self {
        let text = |name: &str| {
            let mut texts = directories.iter();
            texts.find_map(|directory| fs::read_to_string(directory.join(name)).ok())
        };
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        let field = |name: &str, key: &str| {
            let text = text(name)?;
            let mut lines = text.lines();
            lines.find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(' ')?
                    .parse::<u64>()
                    .ok()
            })
        };
        let held = number("memory.current").or_else(|| number("memory.usage_in_bytes"));
        let cached = field("memory.stat", "total_inactive_file")
            .or_else(|| field("memory.stat", "inactive_file"))
            .unwrap_or_default();
        let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"));
        let both = |text: &str, keys: [&str; 2]| (sum(text, keys[0]), sum(text, keys[1]));
        let io = text("io.stat").map(|text| both(&text, ["rbytes=", "wbytes="]));
        let old = text("blkio.throttle.io_service_bytes");
        Self {
            cpu: number("cpuacct.usage")
                .or_else(|| field("cpu.stat", "usage_usec").map(|time| time * 1000)),
            memory: held.map(|held| held.saturating_sub(cached)),
            // Version 1 says "none" by the greatest number of pages.
            memory_limit: limit.filter(|limit| *limit < 1 << 62),
            pids: number("pids.current"),
            io: io.or_else(|| old.map(|text| both(&text, ["Read ", "Write "]))),
        }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, one| Self {
            cpu: sum.cpu + one.cpu,
            memory: sum.memory + one.memory,
            memory_limit: sum.memory_limit.or(one.memory_limit),
            pids: sum.pids + one.pids,
            read: sum.read + one.read,
            written: sum.written + one.written,
        })
    }
}

/// Nanoseconds of a clock tick in /proc: user space has always been given 100 a second.
const TICK: u64 = 10_000_000;

/// Returns what a process, and its children that have ended, used; nothing if it is gone. Pages
/// of files do not count as its memory, as the inactive ones of a group do not.
fn of_process(pid: i32) -> Usage {
    let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = text("stat");
    // The name in parentheses may hold anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let times = fields.split(' ').skip(11).take(4);
    let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    let (status, io) = (text("status"), text("io"));
    let field = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default()
    };
    Usage {
        cpu: ticks * TICK,
        memory: (field(&status, "RssAnon:") + field(&status, "RssShmem:")) * 1024,
        memory_limit: None,
        pids: field(&status, "Threads:"),
        read: field(&io, "read_bytes:"),
        written: field(&io, "write_bytes:"),
    }
}

/// Adds up the numbers that follow `key`.
fn sum(text: &str, key: &str) -> u64 {
    let after = text
        .match_indices(key)
        .map(|(at, _)| &text[at + key.len()..]);
    let digits = after.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .filter_map(|digits| digits?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("writes");
        }
        directory
    }

    #[test]
    fn both_versions_tell_the_same() {
        let one = group(&[
            ("cpuacct.usage", "5000\n"),
            ("memory.usage_in_bytes", "100\n"),
            (
                "memory.stat",
                "cache 9\ninactive_file 7\ntotal_inactive_file 40\n",
            ),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("pids.current", "3\n"),
            (
                "blkio.throttle.io_service_bytes",
                "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31\n",
            ),
        ]);
        let two = group(&[
            ("cpu.stat", "usage_usec 5\nuser_usec 4\n"),
            ("memory.current", "100\n"),
            ("memory.stat", "anon 9\ninactive_file 40\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            (
                "io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=1\n8:16 rbytes=1 wbytes=0\n",
            ),
        ]);
        let expected = Usage {
            cpu: 5000,
            memory: 60,
            memory_limit: None,
            pids: 3,
            read: 11,
            written: 20,
        };
        for group in [one, two] {
            assert_eq!(Usage::read(&[group.path().to_owned()]), expected);
        }
        assert_eq!(Usage::read(&[]), Usage::default());
    }

    #[test]
    fn what_a_group_does_not_account_is_added_up_over_its_processes() {
        let own = i32::try_from(std::process::id()).expect("fits");
        let group = group(&[("memory.usage_in_bytes", "4096\n")]);
        let usage = Usage::of(&[group.path().to_owned()], &[own, i32::MAX]);
        assert_eq!(usage.memory, 4096);
        assert!(usage.pids >= 1, "{usage:?}");
        let alone = Usage::of(&[], &[own]);
        assert!(alone.memory > 4096, "{alone:?}");
        assert_eq!(alone.memory_limit, None);
    }
}
