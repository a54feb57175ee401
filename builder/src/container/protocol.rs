//! What commands and a container's monitor say to each other.
//!
//! A monitor listens on `<container>/socket`; the command that starts it has a connection from
//! the beginning. Both directions carry frames:
//!
//! ```text
//! kind: u8, length: u32 little-endian, payload
//! ```
//!
//! | kind | from | payload |
//! |---|---|---|
//! | `R` | command | a [`Request`] as JSON; descriptors come with its first byte |
//! | `I`, `E` | command | input of the container; the end of it |
//! | `O`, `S` | monitor | the container's standard output; its standard error |
//! | `A` | monitor | an [`Answer`] as JSON; a descriptor comes with its first byte |
//!
//! Paths of sockets are short and those of containers are not: both sides go through a handle of
//! the directory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use cooper_runner::{ExecSpec, ProcessSpec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::{Resources, RestartPolicy};
use super::record::Container;

/// What a monitor is started with. The container's lock and the first connection come along.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The container's directory.
    pub(super) dir: std::path::PathBuf,
    /// The container.
    pub(super) container: Container,
    /// How it fared so far.
    pub(super) state: super::state::State,
    /// Its first process.
    pub(super) spec: ProcessSpec,
    /// The directories of its control group; none without limits.
    pub(super) cgroup: Vec<std::path::PathBuf>,
    /// Where the runner keeps mount points.
    pub(super) scratch: std::path::PathBuf,
    /// Whether its stdin ends with the first command that is attached to it.
    pub(super) stdin_once: bool,
    /// Whether its namespaces are a user's, which it needs as long as it lives.
    pub(super) rootless: bool,
}

/// What a command asks of a monitor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Send the container's output from now on, and how it ends.
    Attach {
        /// Whether frames of input go to the container.
        stdin: bool,
    },
    /// Send no more output and take no more input.
    Detach,
    /// Say how the container ends.
    Wait,
    /// Send a signal to its first process.
    Signal(i32),
    /// End it: by this signal, and by SIGKILL after so many seconds; answered when it has ended.
    Stop {
        signal: Option<i32>,
        timeout: Option<i64>,
    },
    /// Hold it still, or let it go on.
    Pause(bool),
    /// Say which processes it has.
    Processes,
    /// Change the size of its terminal.
    Resize { rows: u16, cols: u16 },
    /// Start a further process; its three streams come along, and its program if that is none of
    /// the container's.
    Exec(Box<ExecSpec>),
    /// Send a signal to the further process of this connection.
    SignalExec(i32),
    /// Hand over its root directory.
    Root,
    /// Replace what it may use.
    Limit(Box<Resources>),
    /// Replace its restart policy.
    Policy(RestartPolicy),
    /// Replace its name.
    Rename(String),
}

/// What a monitor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The container runs.
    Started,
    /// What was asked for is done.
    Done,
    /// It is, but for limits that this kernel does not have, called by these files.
    Discarded(Vec<String>),
    /// It is not, and this is why.
    Failed(Failure),
    /// These are its processes, as the host numbers them.
    Processes(Vec<i32>),
    /// The container has ended.
    Ended {
        /// Its exit code as a shell has it.
        code: i32,
    },
    /// The command is not attached any more.
    Detached,
    /// The further process runs; a terminal of its own comes along.
    ExecStarted,
    /// The further process has ended.
    ExecEnded { code: i32 },
}

/// Why something could not be done, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What went wrong, then its causes.
    pub(crate) messages: Vec<String>,
    /// What can be done about it.
    pub(crate) hint: Option<String>,
    /// The exit code that docker gives for it.
    pub(crate) code: u8,
}

impl Failure {
    /// Returns a failure that says `message`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            messages: vec![message.into()],
            hint: None,
            code: 1,
        }
    }

    /// Returns `error` and its causes.
    pub(crate) fn of(error: &dyn std::error::Error, code: u8) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        Self {
            messages: causes.map(ToString::to_string).collect(),
            hint: None,
            code,
        }
    }
}

/// Kinds of frames.
pub(super) mod kind {
    pub(in crate::container) const REQUEST: u8 = b'R';
    pub(in crate::container) const INPUT: u8 = b'I';
    pub(in crate::container) const INPUT_END: u8 = b'E';
    pub(in crate::container) const OUTPUT: u8 = b'O';
    pub(in crate::container) const ERROR: u8 = b'S';
    pub(in crate::container) const ANSWER: u8 = b'A';
}

/// A frame as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Reads the payload.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.payload)?)
    }
}

/// The largest payload that is taken; output comes in far smaller ones.
const LIMIT: usize = 64 << 20;

const HEAD: usize = 5;

/// The most descriptors that one frame carries.
const MAX_FDS: usize = 8;

/// What has arrived on a connection.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: VecDeque<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Takes the next whole frame.
    pub(crate) fn take(&mut self) -> io::Result<Option<Frame>> {
        if self.bytes.len() < HEAD {
            return Ok(None);
        }
        let head: Vec<u8> = self.bytes.iter().take(HEAD).copied().collect();
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.bytes.len() < HEAD + length {
            return Ok(None);
        }
        self.bytes.drain(..HEAD);
        Ok(Some(Frame {
            kind: head[0],
            payload: self.bytes.drain(..length).collect(),
        }))
    }

    /// Takes the oldest descriptor that has come.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Reads what is there, or waits for something; false at the end of the connection.
    pub(crate) fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut bytes = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&socket, &mut parts, &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => break 0,
                Err(errno) => return Err(errno.into()),
                Ok(message) => break message.bytes,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.fds.extend(rights);
            }
        }
        self.bytes.extend(&bytes[..received]);
        Ok(received > 0)
    }
}

/// What is still to be sent on a connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    parts: VecDeque<(Vec<u8>, usize, Vec<OwnedFd>)>,
    size: usize,
}

impl Outbox {
    /// Adds a frame.
    pub(crate) fn push(&mut self, kind: u8, payload: &[u8], fds: Vec<OwnedFd>) {
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.push(kind);
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        self.size += bytes.len();
        self.parts.push_back((bytes, 0, fds));
    }

    /// Returns how many bytes wait.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Sends as much as the socket takes.
    pub(crate) fn flush(&mut self, socket: impl AsFd) -> io::Result<()> {
        while let Some((bytes, sent, fds)) = self.parts.front_mut() {
            let count = match send(socket.as_fd(), &bytes[*sent..], fds) {
                Err(Errno::AGAIN) => return Ok(()),
                result => result?,
            };
            fds.clear();
            *sent += count;
            self.size -= count;
            if *sent == bytes.len() {
                self.parts.pop_front();
            }
        }
        Ok(())
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[OwnedFd]) -> rustix::io::Result<usize> {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::INVAL);
    }
    loop {
        let parts = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// A command's side of a connection. It waits; a monitor never does.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    inbox: Inbox,
}

impl Connection {
    /// Returns a connection over `socket`.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
        }
    }

    /// Reaches the monitor of the container at `dir`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let (address, _dir) = address(dir)?;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)?;
        Ok(Self::new(socket))
    }

    /// Returns a sender for another thread.
    pub(crate) fn sender(&self) -> io::Result<Sender> {
        Ok(Sender {
            socket: self.socket.try_clone()?,
        })
    }

    /// Sends a request.
    pub(crate) fn request(&self, request: &Request, fds: Vec<OwnedFd>) -> io::Result<()> {
        let payload = serde_json::to_vec(request)?;
        send_frame(&self.socket, kind::REQUEST, &payload, fds)
    }

    /// Waits for the next frame; none at the end of the connection.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.inbox.take()? {
                return Ok(Some(frame));
            }
            if !self.inbox.fill(&self.socket)? {
                return Ok(None);
            }
        }
    }

    /// Waits for an answer, dropping output.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        loop {
            let frame = self.receive()?.ok_or(io::ErrorKind::ConnectionAborted)?;
            if frame.kind == kind::ANSWER {
                return frame.json();
            }
        }
    }

    /// Takes the descriptor that came with an answer.
    pub(crate) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.inbox.take_fd()
    }
}

/// Sends over a connection from another thread; whole frames, however many do.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Sends a request.
    pub(crate) fn request(&self, request: &Request) -> io::Result<()> {
        send_frame(
            &self.socket,
            kind::REQUEST,
            &serde_json::to_vec(request)?,
            Vec::new(),
        )
    }

    /// Sends input.
    pub(crate) fn input(&self, bytes: &[u8]) -> io::Result<()> {
        send_frame(&self.socket, kind::INPUT, bytes, Vec::new())
    }

    /// Says that there is no more input.
    pub(crate) fn end_input(&self) -> io::Result<()> {
        send_frame(&self.socket, kind::INPUT_END, &[], Vec::new())
    }
}

/// Frames of several threads must not mix, and a thread dies holding no lock that matters.
static SENDING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn send_frame(socket: &OwnedFd, kind: u8, payload: &[u8], fds: Vec<OwnedFd>) -> io::Result<()> {
    let mut outbox = Outbox::default();
    outbox.push(kind, payload, fds);
    let _whole = SENDING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    outbox.flush(socket)
}

/// Returns the address of the monitor's socket, valid as long as the handle beside it.
pub(super) fn address(dir: &Path) -> io::Result<(SocketAddrUnix, File)> {
    let handle = File::open(dir)?;
    let path = format!("/proc/self/fd/{}/socket", handle.as_raw_fd());
    Ok((SocketAddrUnix::new(path)?, handle))
}

/// Returns two connected sockets.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_descriptors_arrive_in_order() {
        let (ours, theirs) = pair().expect("a pair");
        let one = Connection::new(ours);
        let mut other = Connection::new(theirs);
        let null = || File::open("/dev/null").expect("opens").into();
        one.request(&Request::Root, vec![null(), null()])
            .expect("sends");
        let sender = one.sender().expect("clones");
        let large = vec![7; 100_000];
        let copy = large.clone();
        let thread = std::thread::spawn(move || {
            sender.input(&copy).expect("sends");
            sender.end_input().expect("sends");
        });
        let frame = other.receive().expect("receives").expect("a frame");
        assert_eq!(frame.kind, kind::REQUEST);
        assert!(matches!(frame.json::<Request>(), Ok(Request::Root)));
        assert!(other.take_fd().is_some() && other.take_fd().is_some());
        assert!(other.take_fd().is_none());
        let frame = other.receive().expect("receives").expect("a frame");
        assert_eq!((frame.kind, frame.payload), (kind::INPUT, large));
        let frame = other.receive().expect("receives").expect("a frame");
        assert_eq!((frame.kind, frame.payload.len()), (kind::INPUT_END, 0));
        thread.join().expect("ends");
        drop(one);
        assert_eq!(other.receive().expect("receives"), None);
    }
}
