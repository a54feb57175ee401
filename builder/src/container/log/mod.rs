//! What a container wrote, kept and read back.
//!
//! ```text
//! <container>/json.log        the newest lines: {"log":"…\n","stream":"stdout","time":"…"}
//!             json.log.1      older ones, json.log.2 still older …
//!             json.log.1.gz   the same with compress=true
//! ```
//!
//! The format is docker's json-file, so that whatever reads that reads this. A line longer than
//! 16 KiB comes in several entries; all but the last have no newline.

mod json_file;
mod read;

use std::path::Path;

use super::config::{LogConfig, LogDriver};

pub(crate) use json_file::{JsonFile, LogOptions};
pub(crate) use read::{Entry, Reader};

/// The longest part of a line that is one entry.
pub(crate) const LINE: usize = 16 << 10;

/// Which stream wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, and all of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Returns its name in a log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Writes a container's log.
#[derive(Debug)]
pub(crate) enum Log {
    /// Nowhere.
    None,
    /// To files.
    JsonFile(JsonFile),
}

impl Log {
    /// Opens the log that `config` asks for, of the container at `dir`.
    pub(crate) fn open(dir: &Path, config: &LogConfig) -> std::io::Result<Self> {
        Ok(match config.driver {
            LogDriver::None => Self::None,
            LogDriver::JsonFile => {
                let options = LogOptions::parse(&config.options).unwrap_or_default();
                Self::JsonFile(JsonFile::open(dir, options)?)
            }
        })
    }

    /// Writes a line, or a part of one. A log that cannot be written loses lines; the container
    /// goes on.
    pub(crate) fn write(&mut self, stream: Stream, line: &[u8]) {
        if let Self::JsonFile(file) = self {
            let _ = file.write(stream, line, jiff::Timestamp::now());
        }
    }
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes what came, and gives each whole line, or part of a line that is too long, to `each`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = LINE - self.rest.len();
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let end = newline.map_or(bytes.len(), |at| at + 1).min(room);
            let (part, after) = bytes.split_at(end);
            bytes = after;
            self.rest.extend_from_slice(part);
            if self.rest.len() == LINE || self.rest.ends_with(b"\n") {
                each(&self.rest);
                self.rest.clear();
            }
        }
    }

    /// Gives what is left of a line to `each`.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            each(&self.rest);
        }
        self.rest = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_cut_into_lines() {
        let mut lines = Lines::default();
        let mut found: Vec<String> = Vec::new();
        let mut push = |bytes: &[u8]| {
            lines.push(bytes, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
            });
        };
        push(b"a\nb");
        push(b"c\n\nd");
        lines.finish(|line| found.push(String::from_utf8_lossy(line).into_owned()));
        assert_eq!(found, ["a\n", "bc\n", "\n", "d"]);
    }

    #[test]
    fn long_lines_come_in_parts() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut bytes = vec![b'x'; LINE + 5];
        bytes.push(b'\n');
        lines.push(&bytes, |line| found.push(line.len()));
        assert_eq!(found, [LINE, 6]);
    }
}
