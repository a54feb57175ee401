//! Interfaces, their addresses and routes, through rtnetlink (rtnetlink(7)).

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::{CREATE, EXCLUSIVE, Message, REPLACE, Reply, Socket};

// The numbers of rtnetlink.h, if_link.h, if_addr.h and veth.h.
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// No duplicate-address detection: the address is usable at once.
const IFA_F_NODAD: u32 = 0x02;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;

/// Length of `struct ifinfomsg`.
const IFINFO: usize = 16;
/// Length of `struct ifaddrmsg`.
const IFADDR: usize = 8;
/// Length of `struct rtmsg`.
const RTMSG: usize = 12;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

/// An address and how many bits of it name the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
}

/// An interface among all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The interface.
    pub link: Link,
    /// What is noted with it, by [`Links::note`] or `ip link set alias`.
    pub note: Option<String>,
    /// The number of the bridge that it is a port of.
    pub bridge: Option<u32>,
}

/// Two interfaces, joined: what goes into one comes out of the other.
#[derive(Debug, Clone)]
pub struct NewPair<'a> {
    /// The name of the half that stays.
    pub name: &'a str,
    /// The bridge it becomes a port of.
    pub bridge: &'a Link,
    /// The name of the other half.
    pub peer: &'a str,
    /// Its hardware address.
    pub mac: Mac,
    /// The network namespace it is put in.
    pub namespace: BorrowedFd<'a>,
    /// Greatest length of a packet; the kernel's choice when absent.
    pub mtu: Option<u32>,
    /// Whether what comes out of the namespace may be sent back into it: where bridges ask the
    /// packet rules (`br_netfilter`), a container reaches its own published port that way.
    pub hairpin: bool,
}

/// The interfaces of one network namespace: that of the thread that opens this.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

impl Links {
    /// Connects to the kernel.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open(None)?,
        })
    }

    /// Returns the interface called `name`, if there is one.
    pub fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let message = Message::new(GETLINK, 0, &ifinfo(0, false)).text(IFLA_IFNAME, name);
        match self.socket.request(message) {
            Ok(replies) => Ok(replies.first().and_then(link)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge, down.
    pub fn create_bridge(&mut self, name: &str, mac: Mac, mtu: Option<u32>) -> io::Result<Link> {
        let mut message = Message::new(NEWLINK, CREATE | EXCLUSIVE, &ifinfo(0, false))
            .text(IFLA_IFNAME, name)
            // A bridge without an address of its own takes on the lowest of its ports', and
            // changes it as they come and go.
            .attribute(IFLA_ADDRESS, &mac.0);
        if let Some(mtu) = mtu {
            message = message.number(IFLA_MTU, mtu);
        }
        let message = message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
        self.socket.request(message)?;
        self.find(name)?
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes a pair of interfaces. The half that stays is up.
    pub fn create_pair(&mut self, pair: &NewPair<'_>) -> io::Result<()> {
        let fd = pair.namespace.as_raw_fd() as u32;
        let mtu = |message: Message| match pair.mtu {
            Some(mtu) => message.number(IFLA_MTU, mtu),
            None => message,
        };
        let message = Message::new(NEWLINK, CREATE | EXCLUSIVE, &ifinfo(0, true))
            .text(IFLA_IFNAME, pair.name)
            .number(IFLA_MASTER, pair.bridge.index);
        let message = mtu(message).nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth")
                .nest(IFLA_INFO_DATA, |data| {
                    data.nest(VETH_INFO_PEER, |peer| {
                        let peer = peer
                            .raw(&ifinfo(0, false))
                            .text(IFLA_IFNAME, pair.peer)
                            .attribute(IFLA_ADDRESS, &pair.mac.0)
                            .number(IFLA_NET_NS_FD, fd);
                        mtu(peer)
                    })
                })
        });
        self.socket.request(message)?;
        if pair.hairpin {
            self.allow_hairpin(pair.name)?;
        }
        Ok(())
    }

    /// Lets a bridge send frames back through the port that they came from.
    fn allow_hairpin(&mut self, port: &str) -> io::Result<()> {
        let message = Message::new(NEWLINK, 0, &ifinfo(0, false))
            .text(IFLA_IFNAME, port)
            .nest(IFLA_LINKINFO, |info| {
                info.text(IFLA_INFO_SLAVE_KIND, "bridge")
                    .nest(IFLA_INFO_SLAVE_DATA, |data| {
                        data.attribute(IFLA_BRPORT_MODE, &[1])
                    })
            });
        self.socket.request(message).map(drop)
    }

    /// Brings an interface up.
    pub fn set_up(&mut self, link: &Link) -> io::Result<()> {
        let message = Message::new(NEWLINK, 0, &ifinfo(link.index, true));
        self.socket.request(message).map(drop)
    }

    /// Notes something with an interface, as its alias: 255 bytes at most.
    pub fn note(&mut self, link: &Link, text: &str) -> io::Result<()> {
        let message = Message::new(NEWLINK, 0, &ifinfo(link.index, link.up));
        self.socket
            .request(message.attribute(IFLA_IFALIAS, text.as_bytes()))
            .map(drop)
    }

    /// Returns all interfaces.
    pub fn list(&mut self) -> io::Result<Vec<Listed>> {
        let replies = self
            .socket
            .dump(Message::new(GETLINK, 0, &ifinfo(0, false)))?;
        Ok(replies.iter().filter_map(listed).collect())
    }

    /// Takes an interface down, so that nothing passes it any more; one that is gone is no error.
    pub fn set_down(&mut self, name: &str) -> io::Result<()> {
        let mut header = ifinfo(0, false);
        // Of the flags, none is set and this one changes.
        header[12..].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        self.request_of_any(Message::new(NEWLINK, 0, &header).text(IFLA_IFNAME, name))
    }

    /// Removes an interface; one that is gone is no error. The kernel waits until no processor
    /// uses it, which takes some 10 ms.
    pub fn delete(&mut self, name: &str) -> io::Result<()> {
        let header = ifinfo(0, false);
        self.request_of_any(Message::new(DELLINK, 0, &header).text(IFLA_IFNAME, name))
    }

    /// Asks for something of an interface that may be gone.
    fn request_of_any(&mut self, message: Message) -> io::Result<()> {
        match self.socket.request(message) {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives an interface an address; one that it has already is no error.
    pub fn add_address(&mut self, link: &Link, address: Address) -> io::Result<()> {
        let mut header = [family(address.ip), address.prefix, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&link.index.to_ne_bytes());
        let ip = octets(address.ip);
        let mut message = Message::new(NEWADDR, CREATE | REPLACE, &header)
            .attribute(IFA_LOCAL, &ip)
            .attribute(IFA_ADDRESS, &ip);
        match address.ip {
            IpAddr::V4(ip) if address.prefix < 31 => {
                let hosts = u32::MAX >> address.prefix;
                message = message.attribute(IFA_BROADCAST, &(u32::from(ip) | hosts).to_be_bytes());
            }
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => message = message.number(IFA_FLAGS, IFA_F_NODAD),
        }
        self.socket.request(message).map(drop)
    }

    /// Makes `gateway`, which `link` reaches, the way to everywhere.
    pub fn add_default_route(&mut self, link: &Link, gateway: IpAddr) -> io::Result<()> {
        // Family, lengths, type of service; main table, static, universe, unicast.
        let header = [family(gateway), 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let message = Message::new(NEWROUTE, CREATE | REPLACE, &header)
            .attribute(RTA_GATEWAY, &octets(gateway))
            .number(RTA_OIF, link.index);
        self.socket.request(message).map(drop)
    }

    /// Returns the networks that this namespace has addresses in or routes to, the default route
    /// aside.
    pub fn subnets(&mut self) -> io::Result<Vec<Address>> {
        let mut subnets = Vec::new();
        let addresses = Message::new(GETADDR, 0, &[0; IFADDR]);
        for reply in self.socket.dump(addresses)? {
            let ip = reply.attribute(IFADDR, IFA_ADDRESS).and_then(ip);
            if let (Some([_, prefix]), Some(ip)) = (reply.header(), ip) {
                subnets.push(Address { ip, prefix });
            }
        }
        let routes = Message::new(GETROUTE, 0, &[0; RTMSG]);
        for reply in self.socket.dump(routes)? {
            let ip = reply.attribute(RTMSG, RTA_DST).and_then(ip);
            // Those of the local table are the addresses once more.
            let table = reply.attribute(RTMSG, RTA_TABLE).map(<[u8]>::to_vec);
            let local = table.as_deref() == Some(&255_u32.to_ne_bytes());
            if let (Some([_, prefix]), Some(ip), false) = (reply.header(), ip, local) {
                subnets.push(Address { ip, prefix });
            }
        }
        Ok(subnets)
    }
}

/// Returns a `struct ifinfomsg`.
fn ifinfo(index: u32, up: bool) -> [u8; IFINFO] {
    let mut header = [0; IFINFO];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        let flag = (libc::IFF_UP as u32).to_ne_bytes();
        header[8..12].copy_from_slice(&flag);
        header[12..].copy_from_slice(&flag);
    }
    header
}

fn link(reply: &Reply) -> Option<Link> {
    let header: [u8; IFINFO] = reply.header()?;
    let number = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let name = CStr::from_bytes_until_nul(reply.attribute(IFINFO, IFLA_IFNAME)?).ok()?;
    Some(Link {
        index: number(4),
        name: name.to_str().ok()?.to_owned(),
        up: number(8) & libc::IFF_UP as u32 != 0,
    })
}

fn listed(reply: &Reply) -> Option<Listed> {
    let note = reply.attribute(IFINFO, IFLA_IFALIAS);
    let note = note.and_then(|note| CStr::from_bytes_until_nul(note).ok());
    let bridge = reply.attribute(IFINFO, IFLA_MASTER);
    Some(Listed {
        link: link(reply)?,
        note: note.and_then(|note| Some(note.to_str().ok()?.to_owned())),
        bridge: bridge.and_then(|index| Some(u32::from_ne_bytes(index.try_into().ok()?))),
    })
}

fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::super::namespace::tests::create;
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn a_pair_carries_traffic_between_a_bridge_and_a_namespace() {
        let Some(host) = create() else { return };
        let inside = create().expect("as before");
        let target = inside.as_fd().try_clone_to_owned().expect("copies");
        let found = host.run(move || {
            let mut links = Links::open()?;
            assert_eq!(links.find("br")?, None);
            let bridge = links.create_bridge("br", Mac([2, 0, 0, 0, 0, 1]), None)?;
            for ip in ["10.9.0.1", "fd00:9::1"] {
                let prefix = if ip.contains(':') { 64 } else { 24 };
                let ip = ip.parse().expect("valid");
                links.add_address(&bridge, Address { ip, prefix })?;
                links.add_address(&bridge, Address { ip, prefix })?;
            }
            links.set_up(&bridge)?;
            links.create_pair(&NewPair {
                name: "half",
                bridge: &bridge,
                peer: "eth0",
                mac: Mac([2, 0, 0, 0, 0, 2]),
                namespace: target.as_fd(),
                mtu: Some(1400),
                hairpin: true,
            })?;
            links.subnets()
        });
        let found = found.expect("is made");
        let wanted = |ip: &str, prefix| Address {
            ip: ip.parse().expect("valid"),
            prefix,
        };
        assert!(found.contains(&wanted("10.9.0.0", 24)), "{found:?}");
        assert!(found.contains(&wanted("fd00:9::", 64)), "{found:?}");
        let listener = inside.run(|| {
            let mut links = Links::open()?;
            let eth0 = links.find("eth0")?.expect("was put here");
            for ip in ["10.9.0.2", "fd00:9::2"] {
                let prefix = if ip.contains(':') { 64 } else { 24 };
                let ip = ip.parse().expect("valid");
                links.add_address(&eth0, Address { ip, prefix })?;
            }
            links.set_up(&eth0)?;
            links.add_default_route(&eth0, "10.9.0.1".parse().expect("valid"))?;
            TcpListener::bind("[::]:80")
        });
        let listener = listener.expect("listens");
        for address in ["10.9.0.2:80", "[fd00:9::2]:80"] {
            let stream = host.run(move || TcpStream::connect(address));
            assert!(stream.is_ok(), "{address}: {stream:?}");
        }
        drop(listener);
        let listed = host.run(|| {
            let mut links = Links::open()?;
            let bridge = links.find("br")?.expect("is there");
            links.note(&bridge, "/some/where")?;
            Ok((bridge.index, links.list()?))
        });
        let (bridge, listed) = listed.expect("lists");
        let find = |name: &str| listed.iter().find(|listed| listed.link.name == name);
        let noted = find("br").expect("is listed");
        assert_eq!(noted.note.as_deref(), Some("/some/where"));
        assert_eq!(noted.bridge, None);
        let port = find("half").expect("is listed");
        assert_eq!((&port.note, port.bridge), (&None, Some(bridge)));
        let silent = host.run(|| {
            let mut links = Links::open()?;
            links.set_down("half")?;
            links.set_down("none")?;
            Ok(links.find("half")?.map(|link| link.up))
        });
        assert_eq!(silent.expect("is there"), Some(false));
        let gone = host.run(|| {
            let mut links = Links::open()?;
            links.delete("br")?;
            links.delete("br")?;
            Ok((links.find("br")?, links.find("half")?.is_some()))
        });
        assert_eq!(gone.expect("deletes"), (None, true));
    }
}
