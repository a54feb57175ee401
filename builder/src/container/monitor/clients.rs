//! The monitor's side of a connection. Nothing here waits: the loop calls when there is something
//! to read, or room to write.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use crate::container::protocol::{Answer, Frame, Inbox, Outbox, kind};

/// A command that is connected.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a command may have asked for any of them"
)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) socket: OwnedFd,
    inbox: Inbox,
    pub(super) outbox: Outbox,
    /// Whether it gets the container's output.
    pub(super) output: bool,
    /// Whether its input is the container's.
    pub(super) input: bool,
    /// Whether it is told of the container's end.
    pub(super) waits: bool,
    /// Whether it has asked for that end.
    pub(super) stops: bool,
    /// Whether it has hung up.
    pub(super) gone: bool,
}

impl Client {
    pub(super) fn new(id: u64, socket: OwnedFd) -> io::Result<Self> {
        // The flag is on the socket's own description; the other end waits as it likes.
        let flags = rustix::fs::fcntl_getfl(&socket)?;
        rustix::fs::fcntl_setfl(&socket, flags | OFlags::NONBLOCK)?;
        Ok(Self {
            id,
            socket,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            output: false,
            input: false,
            waits: false,
            stops: false,
            gone: false,
        })
    }

    /// Reads what is there; false at the end of the connection.
    pub(super) fn fill(&mut self) -> bool {
        match self.inbox.fill(&self.socket) {
            Ok(open) => open,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Takes the next whole frame. Nonsense ends the connection.
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.inbox.take().unwrap_or_else(|_| {
            self.gone = true;
            None
        })
    }

    pub(super) fn take_fd(&mut self) -> Option<OwnedFd> {
        self.inbox.take_fd()
    }

    pub(super) fn answer(&mut self, answer: &Answer, fds: Vec<OwnedFd>) {
        let payload = serde_json::to_vec(answer).unwrap_or_default();
        self.outbox.push(kind::ANSWER, &payload, fds);
        self.flush();
    }

    pub(super) fn push(&mut self, kind: u8, payload: &[u8]) {
        self.outbox.push(kind, payload, Vec::new());
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        if self.outbox.flush(&self.socket).is_err() {
            self.gone = true;
        }
    }

    /// Returns whether nothing is left to be told.
    pub(super) fn is_served(&self) -> bool {
        self.gone || self.outbox.size() == 0
    }
}
