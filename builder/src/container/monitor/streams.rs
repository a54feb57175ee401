//! The standard streams of a container: pipes, or one terminal.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cooper_runner::Stdio;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use crate::container::config::Config;
use crate::container::log::{Lines, Log, Stream};

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// The monitor's ends of a container's streams.
pub(super) struct Streams {
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
    input: Option<OwnedFd>,
    waiting: VecDeque<u8>,
    /// Whether the input ends once what waits is written.
    ending: bool,
    taken: u64,
}

struct Output {
    fd: OwnedFd,
    stream: Stream,
    lines: Lines,
    open: bool,
}

impl Streams {
    /// Makes the streams of a container, and what its process gets of them.
    pub(super) fn new(config: &Config) -> io::Result<(Self, Stdio)> {
        let mut streams = Self {
            outputs: Vec::new(),
            terminal: None,
            input: None,
            waiting: VecDeque::new(),
            ending: false,
            taken: 0,
        };
        if config.terminal {
            return Ok((streams, Stdio::null()?));
        }
        let mut output = |stream| -> io::Result<OwnedFd> {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&reader)?;
            streams.outputs.push(Output::new(reader, stream));
            Ok(writer)
        };
        let (stdout, stderr) = (output(Stream::Stdout)?, output(Stream::Stderr)?);
        let stdin = if config.open_stdin {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&writer)?;
            streams.input = Some(writer);
            reader
        } else {
            File::open("/dev/null")?.into()
        };
        let stdio = Stdio {
            stdin,
            stdout,
            stderr,
        };
        Ok((streams, stdio))
    }

    /// Connects the container's terminal, if it has one.
    pub(super) fn with_terminal(mut self, terminal: Option<OwnedFd>) -> Self {
        let Some(terminal) = terminal else {
            return self;
        };
        // Without these there is a terminal that shows and takes nothing; the process runs.
        if set_nonblocking(&terminal).is_ok()
            && let (Ok(output), Ok(input)) = (terminal.try_clone(), terminal.try_clone())
        {
            self.outputs.push(Output::new(output, Stream::Stdout));
            self.input = Some(input);
        }
        self.terminal = Some(terminal);
        self
    }

    /// Returns the outputs that are still open.
    pub(super) fn outputs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = self.outputs.iter().filter(|output| output.open);
        open.map(|output| output.fd.as_fd())
    }

    /// Returns how many bytes have been read.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Reads an open output into the log, and returns what came.
    pub(super) fn read(&mut self, index: usize, log: &mut Log) -> Option<(Stream, Vec<u8>)> {
        let output = self
            .outputs
            .iter_mut()
            .filter(|output| output.open)
            .nth(index)?;
        let mut bytes = vec![0; CHUNK];
        match rustix::io::read(&output.fd, &mut bytes) {
            Ok(count @ 1..) => {
                bytes.truncate(count);
                self.taken += count as u64;
                let stream = output.stream;
                output.lines.push(&bytes, |line| log.write(stream, line));
                Some((stream, bytes))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            // The end of a pipe; a terminal whose other side is closed reads as an error.
            Ok(_) | Err(_) => {
                output.open = false;
                None
            }
        }
    }

    /// Writes what is left of lines to the log.
    pub(super) fn finish(&mut self, log: &mut Log) {
        for output in &mut self.outputs {
            let stream = output.stream;
            output.lines.finish(|line| log.write(stream, line));
        }
    }

    /// Takes input for the container.
    pub(super) fn push_input(&mut self, bytes: &[u8]) {
        if self.input.is_some() && !self.ending {
            self.waiting.extend(bytes);
            self.feed();
        }
    }

    /// Ends the container's input after what waits. A terminal's has no end.
    pub(super) fn end_input(&mut self) {
        self.ending = self.terminal.is_none();
        self.feed();
    }

    /// Returns the input if something waits for it to take more.
    pub(super) fn waiting_input(&self) -> Option<BorrowedFd<'_>> {
        let input = self.input.as_ref()?;
        (!self.waiting.is_empty()).then(|| input.as_fd())
    }

    /// Returns how many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Writes as much of what waits as the container takes.
    pub(super) fn feed(&mut self) {
        while let Some(input) = &self.input {
            let (next, _) = self.waiting.as_slices();
            if next.is_empty() {
                if self.ending {
                    self.input = None;
                }
                return;
            }
            match rustix::io::write(input, next) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The container has closed it.
                Err(_) => {
                    self.waiting.clear();
                    self.input = None;
                }
            }
        }
    }

    /// Changes the size of the terminal, if there is one.
    pub(super) fn resize(&self, rows: u16, cols: u16) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize {
                ws_row: rows,
                ws_col: cols,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal without a process has no size to be told.
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }
}

impl Output {
    fn new(fd: OwnedFd, stream: Stream) -> Self {
        Self {
            fd,
            stream,
            lines: Lines::default(),
            open: true,
        }
    }
}

pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}
