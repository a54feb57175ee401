//! Netlink messages (RFC 3549): encoding, sending, and what the kernel answers.
//!
//! Everything here is synchronous: one request, its acknowledgement, the next request. The few
//! messages that a container's network takes are not worth a dependency, and none of the crates
//! for it works without an asynchronous runtime.

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `NLM_F_*` that requests here use.
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const REPLACE: u16 = 0x100;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The attribute's payload is a list of attributes.
const NESTED: u16 = 0x8000;
/// How an attribute's number is told from its flags.
const TYPE_MASK: u16 = 0x3fff;
/// Large enough for what the kernel sends at once, which it limits to 32 KiB.
const RECEIVE: usize = 64 << 10;

/// A message under construction.
#[derive(Debug, Clone)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Starts a message; `header` is what the family puts before the attributes.
    pub(super) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// Adds an attribute.
    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Adds an attribute that ends with a zero byte.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds a number in the machine's byte order, as rtnetlink has it.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network order, as netfilter has it.
    pub(super) fn number_be(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds an attribute made of what `fill` adds.
    pub(super) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Adds bytes as they are, padded.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        let length = (value.len() + 4) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }

    /// Returns the message with its length, number and `flags` filled in.
    fn finish(mut self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// One message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The family's header and the attributes.
    body: Vec<u8>,
}

impl Reply {
    /// Returns the first `N` bytes, the family's header.
    pub(super) fn header<const N: usize>(&self) -> Option<[u8; N]> {
        self.body.get(..N)?.try_into().ok()
    }

    /// Returns the value of the attribute `kind` after a header of `skip` bytes.
    pub(super) fn attribute(&self, skip: usize, kind: u16) -> Option<&[u8]> {
        find(self.body.get(skip..)?, kind)
    }
}

/// Returns the attribute `kind` among `attributes`.
pub(super) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if length < 4 || length > attributes.len() {
            return None;
        }
        if u16::from_ne_bytes([c, d]) & TYPE_MASK == kind {
            return Some(&attributes[4..length]);
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    None
}

/// A connection to one family of the kernel, in the network namespace it was opened in.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket for `protocol`; `None` is rtnetlink.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and returns what comes before its acknowledgement.
    pub(super) fn request(&mut self, message: Message) -> io::Result<Vec<Reply>> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence, ACK);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        self.answer()
    }

    /// Sends a request for a list and returns it.
    pub(super) fn dump(&mut self, message: Message) -> io::Result<Vec<Reply>> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence, DUMP);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        self.answer()
    }

    /// Sends messages that take effect together or not at all: only the last but one of them, the
    /// last before the end marker, is acknowledged; every one may fail.
    pub(super) fn batch(&mut self, messages: Vec<Message>) -> io::Result<()> {
        let acknowledged = messages.len().saturating_sub(2);
        let mut bytes = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            self.sequence += 1;
            let flags = if index == acknowledged { ACK } else { 0 };
            bytes.extend(message.finish(self.sequence, flags));
        }
        // A batch is one datagram; the default buffer is too small for a few hundred rules.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, 4 << 20);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        let answer = self.answer().map(drop);
        // What else failed in the batch is already waiting; it must not answer the next request.
        while self.is_readable()? {
            let _ = self.receive()?;
        }
        answer
    }

    fn is_readable(&self) -> io::Result<bool> {
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        let now = rustix::event::Timespec::default();
        Ok(rustix::event::poll(&mut fds, Some(&now))? > 0)
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; RECEIVE];
        let (length, _) = loop {
            match rustix::net::recv(&self.fd, &mut buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        buffer.truncate(length);
        Ok(buffer)
    }

    fn answer(&self) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        loop {
            let packet = self.receive()?;
            let mut rest = packet.as_slice();
            while rest.len() >= HEADER {
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                if length < HEADER || length > rest.len() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                let body = &rest[HEADER..length];
                match kind {
                    ERROR => return errno(body).map_or(Ok(replies), Err),
                    DONE => return Ok(replies),
                    _ => replies.push(Reply {
                        body: body.to_vec(),
                    }),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Returns the error of an `NLMSG_ERROR`; 0 in it is an acknowledgement.
fn errno(body: &[u8]) -> Option<io::Error> {
    let code = body.get(..4)?;
    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
    (code != 0).then(|| io::Error::from_raw_os_error(-code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let message = Message::new(16, CREATE, &[7; 16])
            .text(3, "lo")
            .nest(18, |inner| inner.number(1, 5));
        let bytes = message.finish(9, ACK);
        assert_eq!(bytes.len(), 16 + 16 + 8 + 4 + 8);
        assert_eq!(bytes[..4], 52_u32.to_ne_bytes());
        assert_eq!(bytes[6..8], (REQUEST | CREATE | ACK).to_ne_bytes());
        assert_eq!(bytes[8..12], 9_u32.to_ne_bytes());
        let reply = Reply {
            body: bytes[16..].to_vec(),
        };
        assert_eq!(reply.header::<2>(), Some([7, 7]));
        assert_eq!(reply.attribute(16, 3), Some(b"lo\0".as_slice()));
        let nested = reply.attribute(16, 18).expect("is there");
        assert_eq!(find(nested, 1), Some(5_u32.to_ne_bytes().as_slice()));
        assert_eq!(find(nested, 2), None);
    }

    #[test]
    fn truncated_attributes_are_not_read() {
        assert_eq!(find(&[9, 0, 1, 0, 1], 1), None);
        assert_eq!(find(&[3, 0, 1, 0], 1), None);
        assert_eq!(find(&[4, 0], 1), None);
    }
}
