//! The process that serves a container's network, where packet rules alone do not.
//!
//! It is this program once more, under [`NAME`]: the process that keeps a container makes
//! processes by forking and has to stay without threads and small. It is started by the command
//! that connects a container, opens the ports, says which they are, and serves until the last
//! copy of its socket's other end is closed, however the holder of that ends. For a container that
//! runs already, whose keeper gets no descriptor any more, it watches the keeper's lock instead.
//!
//! ```text
//! command ── order ──→ service        command ──socket──→ who keeps the container
//!         ←─ answer ──                service ends when that ends
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cooper_runner::network::Namespace;
use rustix::fs::{FlockOperation, flock};
use rustix::net::SocketType;
use serde::{Deserialize, Serialize};

use super::config::Link;
use super::error::NetworkError;
use super::files::NAME_SERVER;
use super::names::Resolver;
use super::port::{PortRequest, Protocol, Published};
use super::relay::{self, Dial, Door, NameServer};
use super::rules;
use super::state::Networks;

/// The zeroth argument by which the program knows that it is this process.
const NAME: &str = "cooper-network";

/// Ports that are tried for a request that names none, each free when the kernel gave it.
const ATTEMPTS: usize = 16;

/// What is to be served.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The path of the container's network namespace.
    pub(super) namespace: PathBuf,
    /// Its addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// Ports to publish.
    pub(super) ports: Vec<PortRequest>,
    /// Where those are published that name no address; everywhere when absent.
    pub(super) at: Option<IpAddr>,
    /// The path of the network namespace from which the addresses can be reached; this one when
    /// absent.
    pub(super) dial: Option<PathBuf>,
    /// Names to serve.
    pub(super) names: Option<NameOrder>,
    /// A file that is locked as long as the container is connected, where nobody keeps the socket.
    pub(super) until: Option<PathBuf>,
}

/// Which names are to be served.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NameOrder {
    /// The directory of the networks.
    pub(super) dir: PathBuf,
    /// The container that asks.
    pub(super) container: String,
    /// See [`Resolver::links`].
    pub(super) links: Vec<Link>,
    /// Whom to ask about other names.
    pub(super) upstream: Vec<SocketAddr>,
}

/// What the process says once it serves, or that it cannot.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Ready(Vec<Published>),
    Taken(SocketAddr, Protocol),
    Deaf(SocketAddr, Protocol, i32),
    Failed(String, i32),
}

/// Starts the process. What is returned ends it once closed.
pub(super) fn start(order: &Order) -> Result<(OwnedFd, Vec<Published>), NetworkError> {
    let failed = || NetworkError::kernel("start the process that serves the container's network");
    let talk = || -> io::Result<(UnixStream, Answer)> {
        let (mut ours, theirs) = UnixStream::pair()?;
        // Its end is noticed by who holds the container, if anyone: nobody waits for it here.
        Command::new("/proc/self/exe")
            .arg0(NAME)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the caller's terminal is not meant for it.
            .process_group(0)
            .spawn()?;
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        ours.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(&ours).read_line(&mut answer)?;
        Ok((ours, serde_json::from_str(&answer)?))
    };
    let (socket, answer) = talk().map_err(failed())?;
    let os = io::Error::from_raw_os_error;
    match answer {
        Answer::Ready(published) => Ok((socket.into(), published)),
        Answer::Taken(address, protocol) => Err(NetworkError::PortTaken { address, protocol }),
        Answer::Deaf(address, protocol, errno) => Err(NetworkError::Listen {
            address,
            protocol,
            source: os(errno),
        }),
        Answer::Failed(action, errno) => Err(NetworkError::Kernel {
            action,
            source: os(errno),
        }),
    }
}

/// Becomes the process that serves a network if this execution of the program was meant for it,
/// and then does not return. To be called first in `main`.
pub fn init() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        // There is nobody to tell, and with the socket everything ends.
        let _ = serve();
        std::process::exit(0);
    }
}

fn serve() -> io::Result<()> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::process::setsid().or_else(|errno| match errno {
        // It leads a group of its own already, and a session is not needed.
        rustix::io::Errno::PERM => Ok(rustix::process::getpid()),
        errno => Err(errno),
    })?;
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line)?;
    let mut order: Order = serde_json::from_str(&line)?;
    let until = order.until.take();
    let (answer, ready) = match open(order) {
        Ok((published, ready)) => (Answer::Ready(published), Some(ready)),
        Err(error) => (refusal(&error), None),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let Some((names, doors, dial)) = ready else {
        return Ok(());
    };
    let stopped = match until {
        Some(path) => unlocked(&path)?,
        None => socket.into(),
    };
    relay::serve(names, doors, dial, stopped.as_fd())
}

/// Returns a pipe that is hung up once nobody keeps the file at `path` locked.
fn unlocked(path: &Path) -> io::Result<OwnedFd> {
    let file = File::open(path)?;
    let (reader, writer) = io::pipe()?;
    let wait = move || {
        // A file that cannot be locked is no reason to serve for ever.
        let _ = rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockShared));
        drop(writer);
    };
    std::thread::Builder::new()
        .stack_size(relay::STACK)
        .spawn(wait)?;
    Ok(reader.into())
}

fn refusal(error: &NetworkError) -> Answer {
    let errno = |source: &io::Error| source.raw_os_error().unwrap_or_default();
    match error {
        NetworkError::PortTaken { address, protocol } => Answer::Taken(*address, *protocol),
        NetworkError::Listen {
            address,
            protocol,
            source,
        } => Answer::Deaf(*address, *protocol, errno(source)),
        NetworkError::Kernel { action, source } => Answer::Failed(action.clone(), errno(source)),
        other => Answer::Failed(other.to_string(), 0),
    }
}

type Ready = (Option<NameServer>, Vec<Door>, Dial);

/// Opens everything that is to be served.
fn open(order: Order) -> Result<(Vec<Published>, Ready), NetworkError> {
    let (published, doors) = open_ports(&order)?;
    let namespace = Namespace::open(&order.namespace).map_err(NetworkError::kernel(
        "open the container's network namespace",
    ))?;
    let names = match order.names {
        Some(names) => Some(name_server(&namespace, names)?),
        None => None,
    };
    let dial = match order.dial {
        Some(path) => Dial::Inside(Namespace::open(&path).map_err(NetworkError::kernel(
            "open the network namespace of this user's containers",
        ))?),
        None => Dial::Here,
    };
    Ok((published, (names, doors, dial)))
}

/// Ports as they were published, and their sockets.
type Opened = (Vec<Published>, Vec<Door>);

/// Opens the ports that are to be published.
fn open_ports(order: &Order) -> Result<Opened, NetworkError> {
    let mut opened: Opened = (Vec::new(), Vec::new());
    for request in &order.ports {
        open_port(request, order, &mut opened)?;
    }
    Ok(opened)
}

/// Opens one port, on every address that was asked for.
fn open_port(
    request: &PortRequest,
    order: &Order,
    opened: &mut Opened,
) -> Result<(), NetworkError> {
    let ip = request.host_ip.or(order.at);
    let candidates: Vec<u16> = match request.host_ports {
        Some((first, last)) => (first..=last).collect(),
        None => vec![0; ATTEMPTS],
    };
    let mut failure = None;
    for port in candidates {
        match open_at(request, ip, port, &order.addresses) {
            Ok((published, doors)) => {
                opened.0.extend(published);
                opened.1.extend(doors);
                return Ok(());
            }
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

fn open_at(
    request: &PortRequest,
    ip: Option<IpAddr>,
    port: u16,
    addresses: &[IpAddr],
) -> Result<Opened, NetworkError> {
    let mut opened: Opened = (Vec::new(), Vec::new());
    let first = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let (door, host) = open_door(request, SocketAddr::new(first, port), addresses)?;
    let published = |host| Published {
        host,
        port: request.port,
        protocol: request.protocol,
    };
    opened.0.push(published(host));
    opened.1.push(door);
    if ip.is_some() {
        return Ok(opened);
    }
    let second = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), host.port());
    match open_door(request, second, addresses) {
        Ok((door, host)) => {
            opened.0.push(published(host));
            opened.1.push(door);
        }
        Err(error @ NetworkError::PortTaken { .. }) => return Err(error),
        // A machine without IPv6.
        Err(_) => {}
    }
    Ok(opened)
}

fn open_door(
    request: &PortRequest,
    address: SocketAddr,
    addresses: &[IpAddr],
) -> Result<(Door, SocketAddr), NetworkError> {
    let protocol = request.protocol;
    let kind = match protocol {
        Protocol::Udp => SocketType::DGRAM,
        Protocol::Tcp | Protocol::Sctp => SocketType::STREAM,
    };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => NetworkError::PortTaken { address, protocol },
        _ => NetworkError::Listen {
            address,
            protocol,
            source,
        },
    };
    let socket = relay::listen(address, kind).map_err(failed)?;
    let host = SocketAddr::new(address.ip(), relay::port_of(&socket).map_err(failed)?);
    // To the address of the same version, or to the one there is.
    let same = |ip: &&IpAddr| ip.is_ipv4() == host.is_ipv4();
    let ip = addresses.iter().find(same).or(addresses.first()).copied();
    let to = SocketAddr::new(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), request.port);
    let door = match protocol {
        Protocol::Tcp => Door::Tcp(TcpListener::from(socket), to),
        Protocol::Udp => Door::Udp(UdpSocket::from(socket), to),
        Protocol::Sctp => Door::Kept(socket),
    };
    Ok((door, host))
}

/// Makes the sockets of a name server inside, and the rules that lead to them.
fn name_server(namespace: &Namespace, order: NameOrder) -> Result<NameServer, NetworkError> {
    let open = || {
        let address = SocketAddr::new(NAME_SERVER.into(), 0);
        let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
        let ports = [
            (Protocol::Udp.number(), udp.local_addr()?.port()),
            (Protocol::Tcp.number(), tcp.local_addr()?.port()),
        ];
        rules::name_server(NAME_SERVER.into(), ports).replace()?;
        Ok((udp, tcp))
    };
    let (udp, tcp) = namespace
        .run(open)
        .map_err(NetworkError::kernel("start the container's name server"))?;
    Ok(NameServer {
        udp,
        tcp,
        resolver: Arc::new(Resolver {
            networks: Networks::at(order.dir),
            container: order.container,
            links: order.links,
            turn: AtomicUsize::new(0),
        }),
        upstream: order.upstream,
    })
}
