//! What serves a container's network: names, and ports that packet rules do not carry.
//!
//! One thread waits for everything; sockets inside the container's namespace are made by a thread
//! that lives there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cooper_runner::network::Namespace;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::names::{self, Resolver};

/// Bytes of stack of a thread that serves.
pub(super) const STACK: usize = 128 << 10;
const BUFFER: usize = 16 << 10;
/// Greatest length of a datagram.
const DATAGRAM: usize = 64 << 10;
/// How long a client of UDP is remembered without a word from either side, as docker does.
const UDP_PATIENCE: Duration = Duration::from_secs(90);
/// How long another name server may take before the next one is asked.
const NAME_PATIENCE: Duration = Duration::from_secs(3);
/// Clients of UDP and open questions at a time.
const LIMIT: usize = 1024;

/// Where connections to published ports go.
#[derive(Debug)]
pub(super) enum Dial {
    /// From here.
    Here,
    /// From inside the namespace of the bridges.
    Inside(Namespace),
}

/// A published port with its socket.
#[derive(Debug)]
pub(super) enum Door {
    /// TCP, and where its connections go.
    Tcp(TcpListener, SocketAddr),
    /// UDP, and where its datagrams go.
    Udp(UdpSocket, SocketAddr),
    /// A protocol that only packet rules carry; the socket keeps the port.
    Kept(OwnedFd),
}

/// A name server for a container.
#[derive(Debug)]
pub(super) struct NameServer {
    /// Its sockets, inside.
    pub(super) udp: UdpSocket,
    /// The same for TCP.
    pub(super) tcp: TcpListener,
    /// What it knows.
    pub(super) resolver: Arc<Resolver>,
    /// Whom it asks about everything else.
    pub(super) upstream: Vec<SocketAddr>,
}

/// Serves until `stopped` is hung up.
pub(super) fn serve(
    names: Option<NameServer>,
    doors: Vec<Door>,
    dial: Dial,
    stopped: BorrowedFd<'_>,
) -> io::Result<()> {
    if let Some(server) = &names {
        server.udp.set_nonblocking(true)?;
        server.tcp.set_nonblocking(true)?;
    }
    let mut service = Service {
        names,
        doors,
        dial,
        streams: Vec::new(),
        clients: Vec::new(),
        questions: Vec::new(),
    };
    while service.turn(stopped)? {}
    Ok(())
}

/// Everything that is served.
struct Service {
    names: Option<NameServer>,
    doors: Vec<Door>,
    dial: Dial,
    streams: Vec<Stream>,
    clients: Vec<Client>,
    questions: Vec<Pending>,
}

/// A client of a UDP port.
struct Client {
    door: usize,
    address: SocketAddr,
    /// Connected to the container.
    socket: UdpSocket,
    last: Instant,
}

/// A question that another server was asked.
struct Pending {
    query: Vec<u8>,
    client: SocketAddr,
    /// Connected to that server.
    socket: UdpSocket,
    server: usize,
    until: Instant,
}

impl Service {
    /// Waits for something to do and does it; returns false once it is to end.
    fn turn(&mut self, stopped: BorrowedFd<'_>) -> io::Result<bool> {
        let ready = self.wait(stopped)?;
        if ready[0] {
            return Ok(false);
        }
        let mut at = 1;
        let mut next = |count: usize| {
            let slice = ready[at..at + count].to_vec();
            at += count;
            slice
        };
        let names = next(2 * usize::from(self.names.is_some()));
        let doors = next(self.doors.len());
        let clients = next(self.clients.len());
        let questions = next(self.questions.len());
        let now = Instant::now();
        self.serve_streams();
        self.serve_questions(&questions, now);
        self.serve_clients(&clients, now);
        if names.first() == Some(&true) {
            self.serve_names(now);
        }
        if names.get(1) == Some(&true) {
            self.serve_name_streams();
        }
        for (index, _) in doors.iter().enumerate().filter(|(_, ready)| **ready) {
            self.open(index, now);
        }
        Ok(true)
    }

    /// Returns which of: the end, the name server's sockets, the doors, the clients, the
    /// questions and the streams have something.
    fn wait(&self, stopped: BorrowedFd<'_>) -> io::Result<Vec<bool>> {
        let mut fds = vec![(stopped, PollFlags::IN)];
        if let Some(server) = &self.names {
            fds.extend([
                (server.udp.as_fd(), PollFlags::IN),
                (server.tcp.as_fd(), PollFlags::IN),
            ]);
        }
        fds.extend(self.doors.iter().map(|door| match door {
            Door::Tcp(listener, _) => (listener.as_fd(), PollFlags::IN),
            Door::Udp(socket, _) => (socket.as_fd(), PollFlags::IN),
            Door::Kept(socket) => (socket.as_fd(), PollFlags::empty()),
        }));
        fds.extend(
            self.clients
                .iter()
                .map(|client| (client.socket.as_fd(), PollFlags::IN)),
        );
        fds.extend(
            self.questions
                .iter()
                .map(|asked| (asked.socket.as_fd(), PollFlags::IN)),
        );
        for stream in &self.streams {
            fds.extend(stream.interests());
        }
        let mut fds: Vec<_> = fds
            .into_iter()
            .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
            .collect();
        // What has a time limit is looked at now and then.
        let idle = self.clients.is_empty() && self.questions.is_empty();
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let timeout = if idle { None } else { Some(&second) };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    fn serve_streams(&mut self) {
        self.streams.retain_mut(Stream::pump);
    }

    /// Takes what waits at a door.
    fn open(&mut self, index: usize, now: Instant) {
        match &self.doors[index] {
            Door::Tcp(listener, to) => {
                while let Ok((near, _)) = listener.accept() {
                    // A connection that cannot be made is closed, as the container would.
                    if let Ok(far) = self.connect(*to) {
                        self.streams.extend(Stream::new(near, far));
                    }
                }
            }
            Door::Udp(..) => {
                let mut datagram = vec![0; DATAGRAM];
                while let Some((length, from, to)) = self.datagram(index, &mut datagram) {
                    self.hand_on(index, from, to, &datagram[..length], now);
                }
            }
            Door::Kept(_) => {}
        }
    }

    /// Takes one datagram at a door: its length, whence it comes and where it goes.
    fn datagram(&self, door: usize, bytes: &mut [u8]) -> Option<(usize, SocketAddr, SocketAddr)> {
        let Door::Udp(socket, to) = &self.doors[door] else {
            return None;
        };
        let (length, from) = socket.recv_from(bytes).ok()?;
        Some((length, from, *to))
    }

    fn hand_on(
        &mut self,
        door: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let known = |client: &Client| client.door == door && client.address == from;
        let index = match self.clients.iter().position(known) {
            Some(index) => index,
            None if self.clients.len() >= LIMIT => return,
            None => {
                let Ok(socket) = self.connected_udp(to) else {
                    return;
                };
                self.clients.push(Client {
                    door,
                    address: from,
                    socket,
                    last: now,
                });
                self.clients.len() - 1
            }
        };
        let client = &mut self.clients[index];
        client.last = now;
        // A datagram may be lost.
        let _ = client.socket.send(bytes);
    }

    fn serve_clients(&mut self, ready: &[bool], now: Instant) {
        let mut datagram = vec![0; if self.clients.is_empty() { 0 } else { DATAGRAM }];
        for (client, _) in self
            .clients
            .iter_mut()
            .zip(ready)
            .filter(|(_, ready)| **ready)
        {
            let Door::Udp(door, _) = &self.doors[client.door] else {
                continue;
            };
            while let Ok(length) = client.socket.recv(&mut datagram) {
                client.last = now;
                let _ = door.send_to(&datagram[..length], client.address);
            }
        }
        self.clients
            .retain(|client| now.duration_since(client.last) < UDP_PATIENCE);
    }

    /// Begins a connection to the container.
    fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let begin = move || {
            let socket = socket(to, SocketType::STREAM)?;
            match rustix::net::connect(&socket, &to) {
                Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
                Err(errno) => Err(errno.into()),
            }
        };
        match &self.dial {
            Dial::Here => begin(),
            Dial::Inside(namespace) => namespace.run(begin),
        }
    }

    fn connected_udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let begin = move || {
            let socket = socket(to, SocketType::DGRAM)?;
            rustix::net::connect(&socket, &to)?;
            Ok(UdpSocket::from(socket))
        };
        match &self.dial {
            Dial::Here => begin(),
            Dial::Inside(namespace) => namespace.run(begin),
        }
    }

    fn serve_names(&mut self, now: Instant) {
        let Some(server) = &self.names else { return };
        let mut datagram = vec![0; DATAGRAM];
        while let Ok((length, client)) = server.udp.recv_from(&mut datagram) {
            let query = &datagram[..length];
            if let Some(answer) = server.resolver.answer(query) {
                let _ = server.udp.send_to(&answer, client);
            } else if self.questions.len() < LIMIT {
                let asked = ask(server, query.to_vec(), client, 0, now);
                self.questions.extend(asked);
            }
        }
    }

    fn serve_questions(&mut self, ready: &[bool], now: Instant) {
        let Some(server) = &self.names else { return };
        let mut datagram = vec![
            0;
            if self.questions.is_empty() {
                0
            } else {
                DATAGRAM
            }
        ];
        let mut ready = ready.iter().copied();
        let mut again = Vec::new();
        self.questions.retain_mut(|asked| {
            let answered = ready.next().unwrap_or(false);
            if answered {
                if let Ok(length) = asked.socket.recv(&mut datagram) {
                    // The answer to another question is none to this one.
                    if datagram[..length].get(..2) == asked.query.get(..2) {
                        let _ = server.udp.send_to(&datagram[..length], asked.client);
                        return false;
                    }
                    return true;
                }
            } else if now < asked.until {
                return true;
            }
            again.push((
                std::mem::take(&mut asked.query),
                asked.client,
                asked.server + 1,
            ));
            false
        });
        for (query, client, next) in again {
            let asked = ask(server, query, client, next, now);
            self.questions.extend(asked);
        }
    }

    /// Serves names over TCP, which is rare, each connection by a thread of its own.
    fn serve_name_streams(&self) {
        let Some(server) = &self.names else { return };
        while let Ok((stream, _)) = server.tcp.accept() {
            let (resolver, upstream) = (Arc::clone(&server.resolver), server.upstream.clone());
            // Without a thread there is no answer, and the client asks again.
            let _ = std::thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || serve_name_stream(stream, &resolver, &upstream));
        }
    }
}

/// Asks the server numbered `server`, or the first after it that can be asked. When there is
/// none, the client is told so.
fn ask(
    server: &NameServer,
    query: Vec<u8>,
    client: SocketAddr,
    first: usize,
    now: Instant,
) -> Option<Pending> {
    for (index, upstream) in server.upstream.iter().enumerate().skip(first) {
        let asked = socket(*upstream, SocketType::DGRAM).and_then(|socket| {
            rustix::net::connect(&socket, upstream)?;
            let socket = UdpSocket::from(socket);
            socket.send(&query)?;
            Ok(socket)
        });
        if let Ok(socket) = asked {
            return Some(Pending {
                query,
                client,
                socket,
                server: index,
                until: now + NAME_PATIENCE,
            });
        }
    }
    if let Some(refusal) = names::refuse(&query) {
        let _ = server.udp.send_to(&refusal, client);
    }
    None
}

fn serve_name_stream(mut stream: TcpStream, resolver: &Resolver, upstream: &[SocketAddr]) {
    let serve = |stream: &mut TcpStream| -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(NAME_PATIENCE))?;
        loop {
            let query = read_message(stream)?;
            let answer = resolver
                .answer(&query)
                .or_else(|| {
                    upstream
                        .iter()
                        .find_map(|server| ask_stream(*server, &query).ok())
                })
                .or_else(|| names::refuse(&query))
                .ok_or(io::ErrorKind::InvalidData)?;
            write_message(stream, &answer)?;
        }
    };
    // It ends when the client has gone.
    let _ = serve(&mut stream);
}

fn ask_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, NAME_PATIENCE)?;
    stream.set_read_timeout(Some(NAME_PATIENCE))?;
    write_message(&mut stream, query)?;
    read_message(&mut stream)
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes)
}

/// Makes a socket for `address` that never waits.
fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Listens on a port of this machine. IPv6 sockets take no IPv4 connections: another socket does.
pub(super) fn listen(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket(address, kind)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, 1024)?;
    }
    Ok(socket)
}

/// Returns where a socket listens.
pub(super) fn port_of(socket: &OwnedFd) -> io::Result<u16> {
    let address = rustix::net::getsockname(socket)?;
    let address = SocketAddr::try_from(address)?;
    Ok(address.port())
}

/// A connection to a published port, and its other half to the container.
struct Stream {
    ends: [TcpStream; 2],
    /// What was read from one end and goes to the other.
    ways: [Way; 2],
    /// Whether the connection to the container is still being made.
    connecting: bool,
}

#[derive(Default)]
struct Way {
    buffer: Vec<u8>,
    sent: usize,
    /// Nothing more is read.
    ended: bool,
    /// The end was passed on.
    closed: bool,
}

impl Way {
    fn is_empty(&self) -> bool {
        self.sent == self.buffer.len()
    }
}

impl Stream {
    fn new(near: TcpStream, far: TcpStream) -> Option<Self> {
        near.set_nonblocking(true).ok()?;
        // What is small is sent at once, as the client meant it.
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        Some(Self {
            ends: [near, far],
            ways: [Way::default(), Way::default()],
            connecting: true,
        })
    }

    fn interests(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        if self.connecting {
            return vec![(self.ends[1].as_fd(), PollFlags::OUT)];
        }
        let mut wanted = [PollFlags::empty(); 2];
        for (index, way) in self.ways.iter().enumerate() {
            if !way.is_empty() {
                wanted[1 - index] |= PollFlags::OUT;
            } else if !way.ended {
                wanted[index] |= PollFlags::IN;
            }
        }
        let ends = self.ends.iter().zip(wanted);
        // An end that nothing is wanted from would still report that it was hung up.
        ends.filter(|(_, wanted)| !wanted.is_empty())
            .map(|(end, wanted)| (end.as_fd(), wanted))
            .collect()
    }

    /// Moves what can be moved; returns false at the end.
    fn pump(&mut self) -> bool {
        if self.connecting {
            match self.ends[1].take_error() {
                Ok(None) if self.ends[1].peer_addr().is_ok() => self.connecting = false,
                Ok(None) => return true,
                _ => return false,
            }
        }
        let [near, far] = &mut self.ends;
        let [out, back] = &mut self.ways;
        carry(near, far, out) && carry(far, near, back) && !(out.closed && back.closed)
    }
}

/// Moves bytes one way until that would block; returns false when an end is broken.
fn carry(from: &mut TcpStream, to: &mut TcpStream, way: &mut Way) -> bool {
    // Others have their turn after a few rounds.
    for _ in 0..8 {
        if way.is_empty() && !way.ended {
            way.buffer.resize(BUFFER, 0);
            way.sent = 0;
            let read = from.read(&mut way.buffer);
            way.buffer.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => way.ended = true,
                Ok(_) => {}
                Err(error) if waits(&error) => return true,
                Err(_) => return false,
            }
        }
        if !way.is_empty() {
            match to.write(&way.buffer[way.sent..]) {
                Ok(length) => way.sent += length,
                Err(error) if waits(&error) => return true,
                Err(_) => return false,
            }
        }
        if way.is_empty() && way.ended {
            if !way.closed {
                way.closed = true;
                let _ = to.shutdown(Shutdown::Write);
                way.buffer = Vec::new();
                way.sent = 0;
            }
            return true;
        }
    }
    true
}

fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
