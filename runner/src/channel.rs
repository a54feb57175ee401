//! Messages between the caller, the worker and its children.
//!
//! All sockets are `SOCK_SEQPACKET`: one message, one packet, and a hang-up when the other side
//! is gone. Each process has two of its own besides the worker's control socket:
//!
//! | socket | held by | carries |
//! |---|---|---|
//! | control | caller, worker | [`Base`](crate::plan::Base) + the descriptors of a request |
//! | child | caller, child | the plan; then [`FromChild`]; ends when the program is executed |
//! | exit | caller, worker | [`FromWorker`]: started with its pidfd, then how it ended |

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most descriptors that one message carries.
pub(crate) const MAX_FDS: usize = 5;

/// Larger messages travel in a sealed memory file: a socket buffer may be as small as this.
const INLINE_LIMIT: usize = 96 << 10;

/// What a child tells the caller before it executes the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromChild {
    /// The master side of the terminal comes along.
    Terminal,
    /// These were made in the root file system and must not stay there.
    Stubs(Vec<Stub>),
    /// A step failed; nothing was executed.
    Failed { step: u32, fault: Fault },
}

/// What the worker tells the caller.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The child exists; its pidfd comes along.
    Started,
    /// The child could not be made.
    NotStarted { errno: i32 },
    /// The child and everything in its PID namespace has ended.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
    },
}

/// Why a step failed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// A system call failed.
    Errno(i32),
    UnknownUser,
    UnknownGroup(String),
    /// The user namespace has no such user.
    UnmappedUser(u32),
    /// The user namespace has no such group.
    UnmappedGroup(u32),
    /// Ids of a mount cannot be translated here.
    UnmappedMount,
    NotFound,
    NoInterpreter,
    NotExecutable(i32),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno.raw_os_error())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Something made in the root file system to mount on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stub {
    /// Path relative to the root, free of symbolic links.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: StubKind,
}

/// How a [`Stub`] came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StubKind {
    Directory,
    File,
    /// A directory of a lower layer that was copied up because a stub was made in it. It is
    /// removed again unless its status changed since.
    CopiedUp(Status),
    /// A directory of a root that is no overlay, in which a stub was made. It gets back the time of
    /// its last change unless its status changed since.
    Touched {
        /// Seconds and nanoseconds.
        mtime: (i64, i64),
        status: Status,
    },
}

/// What tells that nobody touched a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Seconds and nanoseconds. Two changes within one clock tick share it, hence the rest.
    pub(crate) ctime: (i64, i64),
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

impl Status {
    /// Stands for one that is not known yet.
    pub(crate) const UNKNOWN: Self = Self {
        ctime: (0, 0),
        mode: 0,
        owner: (0, 0),
    };
}

impl From<&rustix::fs::Stat> for Status {
    fn from(stat: &rustix::fs::Stat) -> Self {
        Self {
            ctime: (stat.st_ctime, stat.st_ctime_nsec as i64),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
        }
    }
}

/// Returns two connected sockets.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Sends one value, which must be small, with descriptors.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    send_bytes(socket.as_fd(), &bytes, fds)
}

/// Sends a value of any size: a large one as a sealed memory file.
pub(crate) fn send_large<T: Serialize>(socket: impl AsFd, message: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    if bytes.len() <= INLINE_LIMIT {
        return send_bytes(socket.as_fd(), &bytes, &[]);
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("cooper-plan", flags)?);
    file.write_all(&bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW,
    )?;
    send_bytes(socket.as_fd(), &[0], &[file.as_fd()])
}

pub(crate) fn send_bytes(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    retry(|| {
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    Ok(())
}

/// One packet as it came.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Receives one packet; `None` when the other side is gone.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; INLINE_LIMIT];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let length = match received {
        Ok(message) => message.bytes,
        Err(Errno::CONNRESET) => 0,
        Err(errno) => return Err(errno.into()),
    };
    if length == 0 {
        return Ok(None);
    }
    bytes.truncate(length);
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(Some(Packet { bytes, fds }))
}

/// Receives a value sent by [`send_large`].
pub(crate) fn receive_large<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<T>> {
    let Some(mut packet) = receive(socket)? else {
        return Ok(None);
    };
    if let Some(fd) = packet.fds.pop() {
        let mut file = File::from(fd);
        packet.bytes.clear();
        file.rewind()?;
        file.read_to_end(&mut packet.bytes)?;
    }
    decode(&packet.bytes).map(Some)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

/// Waits until one of the descriptors is readable or hung up.
pub(crate) fn poll(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    retry(|| rustix::event::poll(fds, None))?;
    Ok(())
}

/// Tells whether a polled descriptor has something to read or is hung up.
pub(crate) fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.revents()
        .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_larger_than_a_socket_buffer_arrive_whole() {
        let (a, b) = pair().unwrap();
        for size in [10, INLINE_LIMIT, 4 << 20] {
            let value: Vec<u8> = (0..size).map(|i| i as u8).collect();
            send_large(&a, &value).unwrap();
            assert_eq!(receive_large::<Vec<u8>>(&b).unwrap(), Some(value));
        }
    }

    #[test]
    fn hang_up_reads_as_none() {
        let (a, b) = pair().unwrap();
        drop(a);
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn descriptors_travel() {
        let (a, b) = pair().unwrap();
        let (c, d) = pair().unwrap();
        send(&a, &7_u32, &[c.as_fd()]).unwrap();
        let packet = receive(&b).unwrap().unwrap();
        assert_eq!(decode::<u32>(&packet.bytes).unwrap(), 7);
        send(&packet.fds[0], &8_u32, &[]).unwrap();
        assert_eq!(
            decode::<u32>(&receive(&d).unwrap().unwrap().bytes).unwrap(),
            8
        );
    }
}
