//! What a container wrote, kept and read back.
//!
//! ```text
//! <container>/json.log        the newest lines: {"log":"…\n","stream":"stdout","time":"…"}
//!             json.log.1      older ones, json.log.2 still older …
//!             json.log.1.gz   the same with compress=true
//! ```
//!
//! The format is docker's json-file, so that whatever reads that reads this. A line longer than
//! 16 KiB comes in several entries; all but the last have no newline. `local` is the same with
//! other limits. Lines for the journal or a syslog server are kept here as well, unless that is
//! switched off; a server that does not take a line loses it.

mod attributes;
mod journald;
mod json_file;
mod options;
mod read;
mod syslog;

use std::io;
use std::path::Path;

use self::journald::Journald;
use self::json_file::JsonFile;
use self::syslog::Syslog;
use super::config::{LogConfig, LogDriver};
use super::record::Container;

pub(crate) use options::LogOptions;
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
pub(crate) struct Log {
    files: Option<JsonFile>,
    elsewhere: Elsewhere,
}

#[derive(Debug)]
enum Elsewhere {
    Nowhere,
    Journal(Journald),
    Server(Box<Syslog>),
}

impl Log {
    /// Opens the log of `container`, whose directory is `dir`.
    pub(crate) fn open(dir: &Path, container: &Container) -> io::Result<Self> {
        let config = &container.config.log;
        let options = options(config)?;
        let attributes = options.selection.of(container);
        let anew = container.config.lifecycle.remove && !json_file::path(dir).exists();
        let open = |rotation| {
            if anew {
                Ok(JsonFile::later(dir, rotation, attributes))
            } else {
                JsonFile::open(dir, rotation, attributes)
            }
        };
        Ok(Self {
            files: options.rotation.map(open).transpose()?,
            elsewhere: Elsewhere::open(config.driver, options, container)?,
        })
    }

    /// Writes a line, or a part of one. A log that cannot be written loses lines; the container
    /// goes on.
    pub(crate) fn write(&mut self, stream: Stream, line: &[u8]) {
        let now = jiff::Timestamp::now();
        if let Some(files) = &mut self.files {
            let _ = files.write(stream, line, now);
        }
        let _ = match &mut self.elsewhere {
            Elsewhere::Nowhere => Ok(()),
            Elsewhere::Journal(journal) => journal.write(stream, line),
            Elsewhere::Server(server) => server.write(stream, line, now),
        };
    }
}

impl Elsewhere {
    fn open(driver: LogDriver, options: LogOptions, container: &Container) -> io::Result<Self> {
        Ok(match driver {
            LogDriver::None | LogDriver::JsonFile | LogDriver::Local => Self::Nowhere,
            LogDriver::Journald => Self::Journal(Journald::open(container, &options.selection)?),
            LogDriver::Syslog => {
                let tag = options.selection.tag(container);
                let syslog = Syslog::open(options.address, options.facility, options.format, tag)?;
                Self::Server(Box::new(syslog))
            }
        })
    }
}

/// Checks that the log of a container can be sent where it is to go. What cannot is an error of
/// the command that starts it; afterwards nobody would hear of it.
pub(crate) fn check(container: &Container) -> io::Result<()> {
    let config = &container.config.log;
    Elsewhere::open(config.driver, options(config)?, container).map(drop)
}

/// Returns whether lines are kept here, so that they can be read.
pub(crate) fn is_kept(config: &LogConfig) -> bool {
    options(config).is_ok_and(|options| options.rotation.is_some())
}

fn options(config: &LogConfig) -> io::Result<LogOptions> {
    let parsed = LogOptions::parse(config.driver, &config.options);
    parsed.map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))
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
