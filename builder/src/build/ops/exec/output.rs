//! A step's process while it runs: its two streams and its end.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use cooper_runner::{Cgroup, Exit, ProcessSpec, RunError, Runner, Stdio};
use cooper_solver::{ExecContext, Stream};
use rustix::event::{PollFd, PollFlags, poll};

/// Bytes read from a stream at once.
const CHUNK: usize = 32 * 1024;

/// Runs `spec` with nothing on stdin, passing its output on, until it ends or is canceled.
pub(super) fn run(
    runner: &Runner,
    spec: &ProcessSpec,
    cgroup: Option<&Cgroup>,
    cx: &ExecContext<'_>,
) -> Result<Exit, RunError> {
    let worker = |source: io::Error| RunError::Worker { source };
    let (out, stdout) = io::pipe().map_err(worker)?;
    let (err, stderr) = io::pipe().map_err(worker)?;
    let stdin = std::fs::File::open("/dev/null").map_err(worker)?;
    let stdio = Stdio {
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let process = runner.spawn_in(spec, stdio, cgroup)?;
    let killer = process.killer().map_err(worker)?;
    let _guard = cx.cancel.on_cancel(move || {
        // The process may have ended just now; then there is nothing to kill.
        let _ = killer.kill(rustix::process::Signal::KILL.as_raw());
    });
    forward(out.into(), err.into(), cx).map_err(worker)?;
    process.wait()
}

/// Passes both streams on until both have ended.
fn forward(out: OwnedFd, err: OwnedFd, cx: &ExecContext<'_>) -> io::Result<()> {
    let mut streams = [
        (Stream::Stdout, Some(std::fs::File::from(out))),
        (Stream::Stderr, Some(std::fs::File::from(err))),
    ];
    let mut buffer = vec![0; CHUNK];
    loop {
        let ready = ready(&streams)?;
        if ready.is_empty() {
            return Ok(());
        }
        for at in ready {
            let (stream, file) = &mut streams[at];
            let Some(open) = file else { continue };
            match open.read(&mut buffer) {
                Ok(0) => *file = None,
                Ok(read) => cx.log(*stream, &buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits until an open stream has data or an end; returns which. None is open: empty.
fn ready(streams: &[(Stream, Option<std::fs::File>); 2]) -> io::Result<Vec<usize>> {
    let open: Vec<usize> = (0..streams.len())
        .filter(|at| streams[*at].1.is_some())
        .collect();
    let mut fds: Vec<PollFd<'_>> = open
        .iter()
        .filter_map(|at| streams[*at].1.as_ref())
        .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN))
        .collect();
    if fds.is_empty() {
        return Ok(Vec::new());
    }
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    Ok(open
        .into_iter()
        .zip(&fds)
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(at, _)| at)
        .collect())
}
