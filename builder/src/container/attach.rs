//! The streams and signals between a container and whoever runs it.
//!
//! Without `-t` a container must not see a terminal: where the caller's stream is one, a pipe
//! stands between; any other stream is handed over as it is, which costs nothing. With `-t` the
//! container has a terminal of its own, and the caller's is in raw mode while it runs, so that
//! every key, Ctrl-C among them, is the container's.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use cooper_runner::{Killer, Process, Stdio, WindowSize};
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

/// Interrupts after which a container that ignores them is killed.
const PATIENCE: u32 = 3;

/// Signals that are the container's business.
const RELAYED: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH];

/// The caller's side of a container's streams, and the signals for it: they are collected from
/// here on, so that one that comes before the process runs is not lost and does not end the
/// caller alone.
#[derive(Debug)]
pub(super) struct Streams {
    signals: Signals,
    /// What the container's process gets; absent with a terminal of its own.
    stdio: Option<Stdio>,
    /// Ends once the container's side is closed.
    outputs: Vec<JoinHandle<()>>,
    interactive: bool,
}

impl Streams {
    /// Makes the streams of a container without a terminal.
    pub(super) fn plain(interactive: bool) -> io::Result<Self> {
        let mut outputs = Vec::new();
        let stdin = if !interactive {
            File::open("/dev/null")?.into()
        } else if io::stdin().is_terminal() {
            let (reader, writer) = io::pipe()?;
            // It may wait for a key for ever; the process's end takes it along.
            spawn("stdin", move || {
                copy(io::stdin(), File::from(OwnedFd::from(writer)));
            })?;
            reader.into()
        } else {
            io::stdin().as_fd().try_clone_to_owned()?
        };
        let stdout = output("stdout", io::stdout(), &mut outputs)?;
        let stderr = output("stderr", io::stderr(), &mut outputs)?;
        Ok(Self {
            signals: Signals::new(RELAYED)?,
            stdio: Some(Stdio {
                stdin,
                stdout,
                stderr,
            }),
            outputs,
            interactive,
        })
    }

    /// Makes the streams of a container with a terminal.
    pub(super) fn terminal(interactive: bool) -> io::Result<Self> {
        Ok(Self {
            signals: Signals::new(RELAYED)?,
            stdio: None,
            outputs: Vec::new(),
            interactive,
        })
    }

    /// Takes the streams that the process is to be started with.
    pub(super) fn take_stdio(&mut self) -> io::Result<Stdio> {
        match self.stdio.take() {
            Some(stdio) => Ok(stdio),
            None => Stdio::null(),
        }
    }

    /// Connects the started process; what is returned undoes it all when dropped.
    pub(super) fn connect(mut self, process: &mut Process) -> io::Result<Attached> {
        let mut raw = None;
        let terminal = process.take_terminal();
        if let Some(terminal) = &terminal {
            let master = File::from(terminal.try_clone()?);
            self.outputs
                .push(spawn("terminal", move || copy(master, io::stdout()))?);
            if self.interactive {
                raw = RawMode::enter()?;
                let master = File::from(terminal.try_clone()?);
                spawn("keys", move || copy(io::stdin(), master))?;
            }
        }
        let signals = Relay::start(self.signals, process.killer()?, terminal)?;
        Ok(Attached {
            outputs: self.outputs,
            signals,
            raw,
        })
    }
}

/// A container that is connected.
#[derive(Debug)]
pub(super) struct Attached {
    outputs: Vec<JoinHandle<()>>,
    signals: Relay,
    raw: Option<RawMode>,
}

impl Attached {
    /// Waits until everything that the container wrote is out, and gives the terminal back.
    pub(super) fn finish(self) {
        for output in self.outputs {
            // A thread that panicked has nothing more to write.
            let _ = output.join();
        }
        self.signals.stop();
        drop(self.raw);
    }
}

/// Returns the size of the terminal that this process is on.
pub(super) fn window_size() -> WindowSize {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    size.map_or(WindowSize { rows: 24, cols: 80 }, |size| WindowSize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
}

fn output<S>(name: &str, stream: S, outputs: &mut Vec<JoinHandle<()>>) -> io::Result<OwnedFd>
where
    S: Write + AsFd + IsTerminal + Send + 'static,
{
    if !stream.is_terminal() {
        return stream.as_fd().try_clone_to_owned();
    }
    let (reader, writer) = io::pipe()?;
    outputs.push(spawn(name, move || copy(reader, stream))?);
    Ok(writer.into())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}

/// Copies until either side ends. A terminal whose other side is closed reads as an error.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length)
                if to
                    .write_all(&buffer[..length])
                    .and_then(|()| to.flush())
                    .is_err() =>
            {
                return;
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            _ => {}
        }
    }
}

/// A terminal in raw mode.
#[derive(Debug)]
struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Puts the terminal on stdin into raw mode; there may be none.
    fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
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
    fn start(mut signals: Signals, killer: Killer, terminal: Option<OwnedFd>) -> io::Result<Self> {
        let handle = signals.handle();
        let thread = spawn("signals", move || {
            let mut interrupts = 0;
            for signal in signals.forever() {
                relay(signal, &killer, terminal.as_ref(), &mut interrupts);
            }
        })?;
        Ok(Self { handle, thread })
    }

    fn stop(self) {
        self.handle.close();
        let _ = self.thread.join();
    }
}

fn relay(signal: i32, killer: &Killer, terminal: Option<&OwnedFd>, interrupts: &mut u32) {
    if signal == SIGWINCH {
        let WindowSize { rows, cols } = window_size();
        if let Some(terminal) = terminal {
            let size = Winsize {
                ws_row: rows,
                ws_col: cols,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            let _ = tcsetwinsize(terminal, size);
        }
        return;
    }
    *interrupts += u32::from(matches!(signal, SIGINT | SIGTERM));
    // The first process of a container ignores signals that it has no handler for, and the user
    // has to be able to end it all the same.
    let signal = if *interrupts >= PATIENCE {
        SIGKILL
    } else {
        signal
    };
    // One that has ended meanwhile needs no signal.
    let _ = killer.kill(signal);
}
