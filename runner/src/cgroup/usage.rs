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
        let text = |name: &str| {
            let mut texts = directories.iter();
            texts.find_map(|directory| fs::read_to_string(directory.join(name)).ok())
        };
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        let field = |name: &str, key: &str| {
            let text = text(name)?;
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
        };
        let cpu = field("cpu.stat", "usage_usec").map(|time: u64| time * 1000);
        let held = number("memory.current").or_else(|| number("memory.usage_in_bytes"));
        let cached = field("memory.stat", "total_inactive_file")
            .or_else(|| field("memory.stat", "inactive_file"));
        let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"));
        let (read, written) = text("io.stat")
            .map(|text| (sum(&text, "rbytes="), sum(&text, "wbytes=")))
            .or_else(|| {
                let text = text("blkio.throttle.io_service_bytes")?;
                Some((sum(&text, "Read "), sum(&text, "Write ")))
            })
            .unwrap_or_default();
        Self {
            cpu: number("cpuacct.usage").or(cpu).unwrap_or_default(),
            memory: held
                .unwrap_or_default()
                .saturating_sub(cached.unwrap_or_default()),
            // Version 1 says "none" by the greatest number of pages.
            memory_limit: limit.filter(|limit| *limit < 1 << 62),
            pids: number("pids.current").unwrap_or_default(),
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
}
