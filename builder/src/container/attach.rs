//! The streams and signals between a running container and a command that is attached to it.
//!
//! The container's streams are its monitor's; what passes between is frames. With a terminal the
//! command's own is in raw mode, so that every key, Ctrl-C among them, is the container's, and a
//! sequence of keys detaches: the command ends and the container goes on.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use cooper_runner::{Process, WindowSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::{Handle, Signals};

use super::protocol::{Answer, Connection, Request, Sender, kind};
use super::start::report;
use crate::report::Report;

/// Interrupts after which a container that ignores them is killed.
const PATIENCE: u32 = 3;

/// Signals that are the container's business.
const RELAYED: [i32; 8] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT,
];

/// How a command is attached.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whether signals go to the container.
    pub(crate) relay: bool,
    /// Keys that detach.
    pub(crate) detach_keys: Vec<u8>,
    /// Whether the container's standard output is shown.
    pub(crate) stdout: bool,
    /// Whether its standard error is.
    pub(crate) stderr: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            relay: true,
            detach_keys: vec![0x10, 0x11],
            stdout: true,
            stderr: true,
        }
    }
}

/// A command's side of the streams, before there is a container.
#[derive(Debug)]
pub(crate) struct Side {
    signals: Signals,
    options: Options,
    terminal: bool,
    stdin: bool,
}

impl Side {
    /// Begins to collect signals.
    pub(crate) fn prepare(options: &Options, terminal: bool, stdin: bool) -> Result<Self, Report> {
        let mut wanted = Vec::new();
        if options.relay {
            wanted.extend(RELAYED);
        }
        if terminal {
            wanted.push(SIGWINCH);
        }
        Ok(Self {
            signals: Signals::new(wanted).map_err(stream_error)?,
            options: options.clone(),
            terminal,
            stdin,
        })
    }

    /// Carries streams and signals until the container ends, and returns its exit code, or 0 once
    /// the keys that detach were pressed.
    pub(crate) fn run(self, mut connection: Connection) -> Result<u8, Report> {
        let raw = RawMode::enter(self.terminal && self.stdin).map_err(stream_error)?;
        if self.terminal {
            let WindowSize { rows, cols } = window_size();
            let size = Request::Resize { rows, cols };
            connection
                .request(&size, Vec::new())
                .map_err(stream_error)?;
        }
        let sender = connection.sender().map_err(stream_error)?;
        let relay = Relay::start(self.signals, sender, false).map_err(stream_error)?;
        if self.stdin {
            let sender = connection.sender().map_err(stream_error)?;
            let keys = if self.terminal {
                self.options.detach_keys.clone()
            } else {
                Vec::new()
            };
            // It may wait for a key for ever; the process's end takes it along.
            spawn("stdin", move || send_input(&sender, &keys)).map_err(stream_error)?;
        }
        let code = carry(&mut connection, &self.options);
        relay.stop();
        drop(raw);
        code
    }
}

impl Side {
    /// Waits for the end of a further process that has the streams themselves.
    pub(crate) fn run_exec(self, mut connection: Connection) -> Result<u8, Report> {
        let sender = connection.sender().map_err(stream_error)?;
        let relay = Relay::start(self.signals, sender, true).map_err(stream_error)?;
        let code = carry(&mut connection, &self.options);
        relay.stop();
        code
    }

    /// Carries the terminal of a further process until that ends.
    pub(crate) fn run_terminal(
        self,
        mut connection: Connection,
        terminal: OwnedFd,
    ) -> Result<u8, Report> {
        let sender = connection.sender().map_err(stream_error)?;
        let options = self.options.clone();
        let detach = move || {
            let _ = sender.request(&Request::Detach);
        };
        self.at_terminal(terminal, detach, || carry(&mut connection, &options))
    }

    /// Carries the terminal of a process that this program started itself until that ends.
    pub(crate) fn run_process(mut self, mut process: Process) -> Result<u8, Report> {
        // There is nothing that could keep it.
        self.options.detach_keys.clear();
        let Some(terminal) = process.take_terminal() else {
            return Err(Report::new("the process has no terminal"));
        };
        let end = || {
            let exit = process.wait();
            let code = exit
                .map_err(|error| Report::from_error(&error))?
                .shell_code();
            Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
        };
        self.at_terminal(terminal, || {}, end)
    }

    fn at_terminal(
        self,
        terminal: OwnedFd,
        detach: impl Fn() + Send + 'static,
        end: impl FnOnce() -> Result<u8, Report>,
    ) -> Result<u8, Report> {
        let clone = || terminal.try_clone().map(File::from);
        let raw = RawMode::enter(self.stdin).map_err(stream_error)?;
        let mut signals = self.signals;
        let handle = signals.handle();
        let resized = clone().map_err(stream_error)?;
        spawn("window", move || {
            for _ in signals.forever() {
                resize(&resized);
            }
        })
        .map_err(stream_error)?;
        let mut output = clone().map_err(stream_error)?;
        let shown = spawn("terminal", move || copy_terminal(&mut output)).map_err(stream_error)?;
        if self.stdin {
            let mut input = clone().map_err(stream_error)?;
            let keys = self.options.detach_keys.clone();
            spawn("keys", move || {
                let mut pressed = Keys::new(&keys);
                let mut buffer = [0; 4 << 10];
                while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
                    let (bytes, detached) = pressed.pass(&buffer[..count]);
                    let written = input.write_all(&bytes);
                    if detached {
                        detach();
                    }
                    if detached || written.is_err() {
                        return;
                    }
                }
            })
            .map_err(stream_error)?;
        }
        let code = end();
        handle.close();
        // The last that it wrote is still in its terminal, which reads as an error after it.
        drop(terminal);
        wait_briefly(&shown);
        drop(raw);
        code
    }
}

/// A terminal that another process of the container has kept open has no end.
fn wait_briefly(shown: &JoinHandle<()>) {
    for _ in 0..50 {
        if shown.is_finished() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn copy_terminal(from: &mut File) {
    let mut buffer = [0; 16 << 10];
    let mut stdout = io::stdout();
    loop {
        match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let shown = stdout.write_all(&buffer[..count]);
                if shown.and_then(|()| stdout.flush()).is_err() {
                    return;
                }
            }
        }
    }
}

fn resize(terminal: &File) {
    let WindowSize { rows, cols } = window_size();
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // A terminal without a process has no size to be told.
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn stream_error(error: io::Error) -> Report {
    Report::from_error(&error).context("cannot connect the container's streams")
}

/// Shows what comes, until the container ends.
fn carry(connection: &mut Connection, options: &Options) -> Result<u8, Report> {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    // One that is closed takes nothing, and the container goes on.
    let show = |stream: &mut dyn Write, bytes: &[u8]| {
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    };
    loop {
        let frame = connection.receive().map_err(stream_error)?;
        let Some(frame) = frame else {
            return Err(Report::new("the container's monitor is gone")
                .hint("`cooper ps -a` tells how the container fares"));
        };
        match frame.kind {
            kind::OUTPUT if options.stdout => show(&mut stdout, &frame.payload),
            kind::ERROR if options.stderr => show(&mut stderr, &frame.payload),
            kind::ANSWER => match frame.json().map_err(stream_error)? {
                Answer::Ended { code } | Answer::ExecEnded { code } => {
                    return Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
                }
                Answer::Detached => return Ok(0),
                Answer::Failed(failure) => return Err(report(&failure)),
                Answer::Started
                | Answer::Done
                | Answer::ExecStarted
                | Answer::Processes(_)
                | Answer::Discarded(_) => {}
            },
            _ => {}
        }
    }
}

/// Returns the size of the terminal that this process is on.
pub(crate) fn window_size() -> WindowSize {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    size.map_or(WindowSize { rows: 24, cols: 80 }, |size| WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

/// Sends stdin to the container until it ends or `keys` come.
fn send_input(sender: &Sender, keys: &[u8]) {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; 16 << 10];
    let mut detach = Keys::new(keys);
    loop {
        match stdin.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => {
                let _ = sender.end_input();
                return;
            }
            Ok(count) => {
                let (bytes, detached) = detach.pass(&buffer[..count]);
                if !bytes.is_empty() && sender.input(&bytes).is_err() {
                    return;
                }
                if detached {
                    let _ = sender.request(&Request::Detach);
                    return;
                }
            }
        }
    }
}

/// Finds a sequence of keys in what is typed. Keys that may begin it are held back.
#[derive(Debug)]
pub(super) struct Keys {
    sequence: Vec<u8>,
    seen: usize,
}

impl Keys {
    pub(super) fn new(sequence: &[u8]) -> Self {
        Self {
            sequence: sequence.to_vec(),
            seen: 0,
        }
    }

    /// Returns what of `typed` is for the container, and whether the sequence is complete.
    pub(super) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &key in typed {
            if self.sequence.get(self.seen) == Some(&key) {
                self.seen += 1;
                if self.seen == self.sequence.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.sequence[..self.seen]);
            self.seen = usize::from(self.sequence.first() == Some(&key));
            if self.seen == 0 {
                passed.push(key);
            }
        }
        (passed, false)
    }
}

/// A terminal in raw mode.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Puts the terminal on stdin, if that is one and `wanted`, into raw mode.
    pub(super) fn enter(wanted: bool) -> io::Result<Option<Self>> {
        if !wanted || !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing else to try.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Hands on signals that this process gets.
#[derive(Debug)]
struct Relay {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Relay {
    fn start(mut signals: Signals, sender: Sender, exec: bool) -> io::Result<Self> {
        let handle = signals.handle();
        let thread = spawn("signals", move || {
            let mut interrupts = 0;
            for signal in signals.forever() {
                // A monitor that is gone is noticed where its answers are read.
                let request = match relayed(signal, &mut interrupts) {
                    Request::Signal(signal) if exec => Request::SignalExec(signal),
                    request => request,
                };
                let _ = sender.request(&request);
            }
        })?;
        Ok(Self { handle, thread })
    }

    fn stop(self) {
        self.handle.close();
        let _ = self.thread.join();
    }
}

fn relayed(signal: i32, interrupts: &mut u32) -> Request {
    if signal == SIGWINCH {
        let WindowSize { rows, cols } = window_size();
        return Request::Resize { rows, cols };
    }
    *interrupts += u32::from(matches!(signal, SIGINT | SIGTERM));
    // The first process of a container ignores signals that it has no handler for, and the user
    // has to be able to end it all the same.
    Request::Signal(if *interrupts >= PATIENCE {
        SIGKILL
    } else {
        signal
    })
}

/// Parses keys that detach: letters and `ctrl-X`, separated by commas.
pub(crate) fn detach_keys(text: &str) -> Option<Vec<u8>> {
    let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-")) {
        (&[key], _) => Some(key),
        (_, Some(control)) => match control.as_bytes() {
            &[letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            b"@" => Some(0),
            &[sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
            _ => None,
        },
        _ => None,
    };
    text.split(',').map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_detach_are_found_and_others_pass() {
        let mut keys = Keys::new(&[0x10, 0x11]);
        assert_eq!(keys.pass(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.pass(b"b\x10"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x11c"), (b"\x10".to_vec(), true));
        assert_eq!(Keys::new(&[]).pass(b"x"), (b"x".to_vec(), false));
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        for (text, expected) in [
            ("ctrl-p,ctrl-q", Some(vec![0x10, 0x11])),
            ("a,b", Some(vec![b'a', b'b'])),
            ("ctrl-@,ctrl-_", Some(vec![0, 31])),
            ("ctrl-A", None),
            ("ab", None),
            ("", None),
        ] {
            assert_eq!(detach_keys(text), expected, "{text}");
        }
    }
}
