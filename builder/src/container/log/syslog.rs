//! Lines to a syslog server: this machine's, or one that is named by its address.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Stream;

/// Where this machine's server listens: the first that is there.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// How long a server may take to answer, and the pause before a lost one is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Severities of RFC 5424.
const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
];

/// A facility's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facility(u8);

impl Default for Facility {
    fn default() -> Self {
        Self(3)
    }
}

impl Facility {
    /// Parses a name or a number up to 23.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let number = FACILITIES.iter().position(|name| *name == text);
        let number = number.map(|number| number as u8).or(text.parse().ok());
        let known = number.filter(|number| usize::from(*number) < FACILITIES.len());
        known.map(Self).ok_or_else(|| "no facility".to_owned())
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// That of the C library, without a host name.
    #[default]
    Plain,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

impl Format {
    /// Parses docker's name of a form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => Self::Plain,
            "rfc3164" => Self::Rfc3164,
            "rfc5424" => Self::Rfc5424,
            "rfc5424micro" => Self::Rfc5424Micro,
            _ => return Err("none of rfc3164, rfc5424 and rfc5424micro".to_owned()),
        })
    }
}

/// Where a server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Address {
    /// On this machine, where such servers do.
    #[default]
    Local,
    Tcp(String),
    Udp(String),
    Unix(PathBuf),
    UnixDatagram(PathBuf),
}

impl Address {
    /// Parses `tcp://HOST[:PORT]`, `udp://HOST[:PORT]`, `unix://PATH` or `unixgram://PATH`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once("://").ok_or("not KIND://ADDRESS")?;
        let host = || match rest.rsplit_once(':') {
            _ if rest.is_empty() => Err("no host".to_owned()),
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(rest.to_owned()),
            Some((_, port)) if !rest.ends_with(']') => Err(format!("{port:?} is no port")),
            _ => Ok(format!("{rest}:514")),
        };
        match kind {
            "tcp" => host().map(Self::Tcp),
            "udp" => host().map(Self::Udp),
            "unix" | "unixgram" if !rest.starts_with('/') => Err("not an absolute path".to_owned()),
            "unix" => Ok(Self::Unix(rest.into())),
            "unixgram" => Ok(Self::UnixDatagram(rest.into())),
            _ => Err("the kind is none of tcp, udp, unix and unixgram".to_owned()),
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Local => {
                let missing = || io::Error::new(io::ErrorKind::NotFound, "no syslog server here");
                let path = LOCAL.map(Path::new).into_iter().find(|path| path.exists());
                let path = path.ok_or_else(missing)?;
                datagram(path).or_else(|_| stream(path))
            }
            Self::Unix(path) => stream(path).or_else(|_| datagram(path)),
            Self::UnixDatagram(path) => datagram(path),
            Self::Tcp(host) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in host.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => {
                            stream.set_nonblocking(true)?;
                            return Ok(Connection::Stream(Box::new(stream)));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Self::Udp(host) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in host.to_socket_addrs()? {
                    let own = if address.is_ipv6() {
                        "[::]:0"
                    } else {
                        "0.0.0.0:0"
                    };
                    let connected = UdpSocket::bind(own)
                        .and_then(|socket| socket.connect(address).map(|()| socket));
                    match connected {
                        Ok(socket) => {
                            socket.set_nonblocking(true)?;
                            return Ok(Connection::Udp(socket));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn datagram(path: &Path) -> io::Result<Connection> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(Connection::Datagram(socket))
}

fn stream(path: &Path) -> io::Result<Connection> {
    let stream = UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(Connection::Stream(Box::new(stream)))
}

enum Connection {
    Datagram(UnixDatagram),
    Udp(UdpSocket),
    Stream(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a connection to a syslog server")
    }
}

impl Connection {
    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(line).map(drop),
            Self::Udp(socket) => socket.send(line).map(drop),
            Self::Stream(stream) => {
                let line = [line, b"\n"].concat();
                let taken = stream.write(&line)?;
                // Half a line would spoil the next one: then the connection is done with.
                let rest = stream.write_all(&line[taken..]);
                rest.map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

/// Sends a container's lines to a syslog server.
#[derive(Debug)]
pub(super) struct Syslog {
    address: Address,
    facility: Facility,
    format: Format,
    tag: String,
    host: String,
    process: String,
    connection: Option<Connection>,
    tried: Instant,
}

impl Syslog {
    /// Connects to the server.
    pub(super) fn open(
        address: Address,
        facility: Facility,
        format: Format,
        tag: String,
    ) -> io::Result<Self> {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        // The number that others know this process by; its own is another one.
        let process = std::fs::read_link("/proc/self").unwrap_or_default();
        Ok(Self {
            connection: Some(address.connect()?),
            address,
            facility,
            format,
            tag,
            host,
            process: process.to_string_lossy().into_owned(),
            tried: Instant::now(),
        })
    }

    /// Sends one line, or a part of one. A server that was lost is tried again now and then.
    pub(super) fn write(&mut self, stream: Stream, line: &[u8], time: Timestamp) -> io::Result<()> {
        let line = self.line(stream, line.strip_suffix(b"\n").unwrap_or(line), time);
        if self.connection.is_none() && self.tried.elapsed() >= PATIENCE {
            self.tried = Instant::now();
            self.connection = self.address.connect().ok();
        }
        let Some(connection) = &mut self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let sent = connection.send(&line);
        if matches!(&sent, Err(error) if error.kind() != io::ErrorKind::WouldBlock) {
            self.connection = None;
            self.tried = Instant::now();
        }
        sent
    }

    fn line(&self, stream: Stream, line: &[u8], time: Timestamp) -> Vec<u8> {
        let severity = match stream {
            Stream::Stdout => INFORMATION,
            Stream::Stderr => ERROR,
        };
        let priority = self.facility.0 * 8 + severity;
        let (tag, host, process) = (&self.tag, &self.host, &self.process);
        let local = time.to_zoned(TimeZone::try_system().unwrap_or(TimeZone::UTC));
        let short = local.strftime("%b %e %H:%M:%S");
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = match self.format {
            Format::Plain => write!(head, "<{priority}>{short} {tag}[{process}]: "),
            Format::Rfc3164 => write!(head, "<{priority}>{short} {host} {tag}[{process}]: "),
            Format::Rfc5424 => {
                let long = local.strftime("%Y-%m-%dT%H:%M:%S%:z");
                write!(head, "<{priority}>1 {long} {host} {tag} {process} {tag} - ")
            }
            Format::Rfc5424Micro => {
                let long = local.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z");
                write!(head, "<{priority}>1 {long} {host} {tag} {process} {tag} - ")
            }
        };
        [head.as_bytes(), line].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_kind_and_a_port() {
        let host = |kind: fn(String) -> Address, text: &str| Ok(kind(text.to_owned()));
        for (text, expected) in [
            ("udp://log", host(Address::Udp, "log:514")),
            ("udp://log:1514", host(Address::Udp, "log:1514")),
            ("tcp://[::1]", host(Address::Tcp, "[::1]:514")),
            ("tcp://[::1]:7", host(Address::Tcp, "[::1]:7")),
            ("unix:///x", Ok(Address::Unix("/x".into()))),
            ("unixgram:///x", Ok(Address::UnixDatagram("/x".into()))),
        ] {
            assert_eq!(Address::parse(text), expected, "{text}");
        }
        for wrong in ["log", "udp://", "udp://log:x", "unix://x", "tcp+tls://log"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_have_the_form_that_is_asked_for() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("log");
        let _server = UnixDatagram::bind(&path).expect("binds");
        let line = |format| {
            let address = Address::UnixDatagram(path.clone());
            let facility = Facility::parse("local1").expect("valid");
            let mut syslog =
                Syslog::open(address, facility, format, "tag".into()).expect("connects");
            (syslog.host, syslog.process) = ("host".into(), "7".into());
            let line = syslog.line(Stream::Stderr, b"said", Timestamp::UNIX_EPOCH);
            String::from_utf8(line).expect("text")
        };
        let plain = line(Format::Plain);
        assert!(
            plain.starts_with("<139>") && plain.ends_with(" tag[7]: said"),
            "{plain}"
        );
        assert!(line(Format::Rfc3164).ends_with(" host tag[7]: said"));
        let long = line(Format::Rfc5424Micro);
        assert!(
            long.starts_with("<139>1 ") && long.contains(":00.000000"),
            "{long}"
        );
        assert!(long.ends_with(" host tag 7 tag - said"), "{long}");
    }

    #[test]
    fn facilities_are_names_or_numbers() {
        assert_eq!(Facility::parse("daemon"), Ok(Facility::default()));
        assert_eq!(Facility::parse("23"), Facility::parse("local7"));
        assert!(Facility::parse("24").is_err());
    }
}
