//! A table of packet rules of our own, through nftables' netlink messages.
//!
//! A table is replaced as a whole and in one transaction: packets see the old rules or the new
//! ones and never a part. What belongs to others is never looked at, and nobody else's program
//! (`nft`, `iptables`) has to be there.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::link::{Address, octets};
use super::netlink::{APPEND, CREATE, Message, Socket};

// The numbers of nfnetlink.h and nf_tables.h.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = (SUBSYSTEM << 8) | 1;
const DELTABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEWCHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEWRULE: u16 = (SUBSYSTEM << 8) | 6;
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `NFTA_LIST_ELEM`, `NFTA_DATA_VALUE`, `NFTA_TABLE_NAME` and every other first attribute.
const FIRST: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_INPUT: u32 = 6;
const META_OUTPUT: u32 = 7;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// Bits of `ct state`.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// `IPS_DST_NAT`.
const DESTINATION_CHANGED: u32 = 1 << 5;
/// `RTN_LOCAL`.
const TYPE_LOCAL: u32 = 2;
/// Length of an interface's name in the kernel.
const NAME_LENGTH: usize = 16;

/// A table of both IP versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// Rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets enter it; none enter by themselves when absent.
    pub hook: Option<Hook>,
    /// The rules; a packet that none decides goes on.
    pub rules: Vec<Rule>,
}

/// Where in the kernel a chain is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing: to change destinations.
    Incoming,
    /// What this machine sends, before routing: to change destinations.
    Outgoing,
    /// What goes through: to let it or not.
    Forward,
    /// After routing: to change sources.
    Leaving,
}

impl Hook {
    /// Returns the chain's type, the hook's number and the priority.
    fn place(self) -> (&'static str, u32, i32) {
        match self {
            Self::Incoming => ("nat", 0, -100),
            Self::Forward => ("filter", 2, 0),
            Self::Outgoing => ("nat", 3, -100),
            Self::Leaving => ("nat", 4, 100),
        }
    }
}

/// What happens to packets that match all of some conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The conditions.
    pub matches: Vec<Match>,
    /// What happens.
    pub verdict: Verdict,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It came in through this interface, or through any other.
    Input(String, bool),
    /// It goes out through this interface, or through any other.
    Output(String, bool),
    /// Its source is in this network.
    Source(Address),
    /// Its destination is in this network, or is not.
    Destination(Address, bool),
    /// Its destination is an address of this machine.
    DestinationLocal,
    /// Its protocol, by number, and the port that it goes to.
    Port(u8, u16),
    /// It belongs to a connection that was let through before.
    Established,
    /// Its destination was changed on its way here.
    Redirected,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
    /// Another chain decides.
    Jump(&'static str),
    /// It goes there instead.
    Redirect(SocketAddr),
    /// It comes from the address of the interface that it leaves through.
    Masquerade,
}

impl Table {
    /// Puts the table in the place of the one of that name in the calling thread's network
    /// namespace.
    pub fn replace(&self) -> io::Result<()> {
        // Deleting needs something to delete.
        let mut messages = vec![
            self.message(NEWTABLE, CREATE),
            self.message(DELTABLE, 0),
            self.message(NEWTABLE, CREATE),
        ];
        messages.extend(self.chains.iter().map(|chain| self.chain(chain)));
        for chain in &self.chains {
            let rules = chain.rules.iter().map(|rule| self.rule(chain, rule));
            messages.extend(rules);
        }
        send(messages)
    }

    /// Removes the table called `name`; that there is none is no error.
    pub fn remove(name: &str) -> io::Result<()> {
        let table = Self {
            name: name.to_owned(),
            chains: Vec::new(),
        };
        send(vec![
            table.message(NEWTABLE, CREATE),
            table.message(DELTABLE, 0),
        ])
    }

    /// Tells whether there is a table called `name`.
    pub fn exists(name: &str) -> io::Result<bool> {
        let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
        let message = Message::new(GETTABLE, 0, &[INET, 0, 0, 0]).text(FIRST, name);
        match socket.request(message) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        Message::new(kind, flags, &[INET, 0, 0, 0]).text(FIRST, &self.name)
    }

    fn chain(&self, chain: &Chain) -> Message {
        let message = self.message(NEWCHAIN, CREATE).text(CHAIN_NAME, chain.name);
        let Some(hook) = chain.hook else {
            return message;
        };
        let (kind, number, priority) = hook.place();
        message
            .nest(CHAIN_HOOK, |hook| {
                hook.number_be(HOOK_NUMBER, number)
                    .number_be(HOOK_PRIORITY, priority as u32)
            })
            .number_be(CHAIN_POLICY, libc::NF_ACCEPT as u32)
            .text(CHAIN_TYPE, kind)
    }

    fn rule(&self, chain: &Chain, rule: &Rule) -> Message {
        self.message(NEWRULE, CREATE | APPEND)
            .text(RULE_CHAIN, chain.name)
            .nest(RULE_EXPRESSIONS, |mut list| {
                for condition in &rule.matches {
                    list = matched(list, condition);
                }
                decided(list, &rule.verdict)
            })
    }
}

fn send(messages: Vec<Message>) -> io::Result<()> {
    let subsystem = SUBSYSTEM.to_be_bytes();
    let header = [0, 0, subsystem[0], subsystem[1]];
    let mut batch = vec![Message::new(BATCH_BEGIN, 0, &header)];
    batch.extend(messages);
    batch.push(Message::new(BATCH_END, 0, &header));
    Socket::open(Some(rustix::net::netlink::NETFILTER))?.batch(batch)
}

fn matched(list: Message, condition: &Match) -> Message {
    match condition {
        Match::Input(name, equal) => interface(list, META_INPUT, name, *equal),
        Match::Output(name, equal) => interface(list, META_OUTPUT, name, *equal),
        Match::Source(network) => within(list, *network, 12, 8, true),
        Match::Destination(network, equal) => within(list, *network, 16, 24, *equal),
        Match::DestinationLocal => {
            let list = expression(list, "fib", |data| {
                // The type of the destination's address.
                data.number_be(1, REGISTER_1)
                    .number_be(2, 3)
                    .number_be(3, 1 << 1)
            });
            compare(list, EQUAL, &TYPE_LOCAL.to_ne_bytes())
        }
        Match::Port(protocol, port) => {
            let list = compare(meta(list, META_PROTOCOL), EQUAL, &[*protocol]);
            compare(payload(list, 2, 2, 2), EQUAL, &port.to_be_bytes())
        }
        Match::Established => flag(list, CT_STATE, ESTABLISHED_OR_RELATED),
        Match::Redirected => flag(list, CT_STATUS, DESTINATION_CHANGED),
    }
}

fn decided(list: Message, verdict: &Verdict) -> Message {
    match verdict {
        Verdict::Accept => verdict_code(list, libc::NF_ACCEPT, None),
        Verdict::Drop => verdict_code(list, libc::NF_DROP, None),
        Verdict::Jump(chain) => verdict_code(list, libc::NFT_JUMP, Some(chain)),
        Verdict::Masquerade => expression(list, "masq", |data| data),
        Verdict::Redirect(to) => {
            let (ip, family) = (octets(to.ip()), version(to.ip()));
            let list = load(list, REGISTER_1, &ip);
            let list = load(list, REGISTER_2, &to.port().to_be_bytes());
            expression(list, "nat", |data| {
                data.number_be(1, libc::NFT_NAT_DNAT as u32)
                    .number_be(2, u32::from(family))
                    .number_be(3, REGISTER_1)
                    .number_be(5, REGISTER_2)
            })
        }
    }
}

fn version(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { IPV4 } else { IPV6 }
}

fn expression(list: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    list.nest(FIRST, |element| {
        element
            .text(EXPRESSION_NAME, name)
            .nest(EXPRESSION_DATA, fill)
    })
}

fn meta(list: Message, key: u32) -> Message {
    expression(list, "meta", |data| {
        data.number_be(1, REGISTER_1).number_be(2, key)
    })
}

/// Loads bytes of a header; 1 is the network's, 2 the transport's.
fn payload(list: Message, header: u32, offset: u32, length: u32) -> Message {
    expression(list, "payload", |data| {
        data.number_be(1, REGISTER_1)
            .number_be(2, header)
            .number_be(3, offset)
            .number_be(4, length)
    })
}

fn value(message: Message, kind: u16, bytes: &[u8]) -> Message {
    message.nest(kind, |data| data.attribute(DATA_VALUE, bytes))
}

fn compare(list: Message, operation: u32, bytes: &[u8]) -> Message {
    expression(list, "cmp", |data| {
        let data = data.number_be(1, REGISTER_1).number_be(2, operation);
        value(data, 3, bytes)
    })
}

/// Keeps of the loaded value what `bits` has.
fn mask(list: Message, bits: &[u8]) -> Message {
    expression(list, "bitwise", |data| {
        let data = data
            .number_be(1, REGISTER_1)
            .number_be(2, REGISTER_1)
            .number_be(3, bits.len() as u32);
        let data = value(data, 4, bits);
        value(data, 5, &vec![0; bits.len()])
    })
}

fn load(list: Message, register: u32, bytes: &[u8]) -> Message {
    expression(list, "immediate", |data| {
        value(data.number_be(1, register), 2, bytes)
    })
}

fn verdict_code(list: Message, code: i32, chain: Option<&str>) -> Message {
    expression(list, "immediate", |data| {
        data.number_be(1, 0).nest(2, |data| {
            data.nest(DATA_VERDICT, |verdict| {
                let verdict = verdict.number_be(1, code as u32);
                match chain {
                    Some(chain) => verdict.text(2, chain),
                    None => verdict,
                }
            })
        })
    })
}

fn interface(list: Message, key: u32, name: &str, equal: bool) -> Message {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME_LENGTH, 0);
    let operation = if equal { EQUAL } else { NOT_EQUAL };
    compare(meta(list, key), operation, &bytes)
}

fn flag(list: Message, key: u32, bits: u32) -> Message {
    let list = expression(list, "ct", |data| {
        data.number_be(1, REGISTER_1).number_be(2, key)
    });
    compare(mask(list, &bits.to_ne_bytes()), NOT_EQUAL, &[0; 4])
}

/// Compares an address of the packet, at the offset of its IP version's header.
fn within(list: Message, network: Address, offset4: u32, offset6: u32, equal: bool) -> Message {
    let list = compare(meta(list, META_FAMILY), EQUAL, &[version(network.ip)]);
    if network.prefix == 0 {
        return list;
    }
    let (mut ip, offset) = match network.ip {
        IpAddr::V4(_) => (octets(network.ip), offset4),
        IpAddr::V6(_) => (octets(network.ip), offset6),
    };
    let list = payload(list, 1, offset, ip.len() as u32);
    let bits: Vec<u8> = (0..ip.len() as u32)
        .map(|byte| {
            let set = u32::from(network.prefix).saturating_sub(byte * 8).min(8);
            !(0xff_u16 >> set) as u8
        })
        .collect();
    ip.iter_mut()
        .zip(&bits)
        .for_each(|(byte, bits)| *byte &= bits);
    let operation = if equal { EQUAL } else { NOT_EQUAL };
    compare(mask(list, &bits), operation, &ip)
}

#[cfg(test)]
mod tests {
    use super::super::Namespace;
    use super::super::namespace::tests::{create, skip};
    use super::*;
    use std::process::Command;

    fn table() -> Table {
        let network = |ip: &str, prefix| Address {
            ip: ip.parse().expect("valid"),
            prefix,
        };
        let rule = |matches: &[Match], verdict| Rule {
            matches: matches.to_vec(),
            verdict,
        };
        let bridge = || "br0".to_owned();
        let chain = |name, hook, rules| Chain { name, hook, rules };
        Table {
            name: "trial".into(),
            chains: vec![
                chain(
                    "ports",
                    None,
                    vec![
                        rule(
                            &[
                                Match::Destination(network("192.0.2.1", 32), true),
                                Match::Port(6, 8080),
                            ],
                            Verdict::Redirect("10.0.0.2:80".parse().expect("valid")),
                        ),
                        rule(
                            &[Match::Port(17, 53)],
                            Verdict::Redirect("[fd00::2]:53".parse().expect("valid")),
                        ),
                    ],
                ),
                chain(
                    "incoming",
                    Some(Hook::Incoming),
                    vec![rule(&[Match::DestinationLocal], Verdict::Jump("ports"))],
                ),
                chain(
                    "forward",
                    Some(Hook::Forward),
                    vec![
                        rule(
                            &[Match::Output(bridge(), true), Match::Established],
                            Verdict::Accept,
                        ),
                        rule(
                            &[Match::Input(bridge(), false), Match::Redirected],
                            Verdict::Accept,
                        ),
                        rule(&[Match::Output(bridge(), true)], Verdict::Drop),
                    ],
                ),
                chain(
                    "leaving",
                    Some(Hook::Leaving),
                    vec![rule(
                        &[
                            Match::Source(network("10.0.0.0", 12)),
                            Match::Destination(network("fd00::", 64), false),
                        ],
                        Verdict::Masquerade,
                    )],
                ),
            ],
        }
    }

    const EXPECTED: [&str; 7] = [
        "ip daddr 192.0.2.1 tcp dport 8080 dnat ip to 10.0.0.2:80",
        "udp dport 53 dnat ip6 to [fd00::2]:53",
        "fib daddr type local jump ports",
        "oifname \"br0\" ct state established,related accept",
        "iifname != \"br0\" ct status dnat accept",
        "oifname \"br0\" drop",
        "ip saddr 10.0.0.0/12 ip6 daddr != fd00::/64 masquerade",
    ];

    /// Returns what `nft` understands of the table in the namespace.
    fn listed(namespace: &Namespace) -> Option<String> {
        namespace
            .run(|| {
                table().replace()?;
                table().replace()?;
                assert!(Table::exists("trial")?);
                Command::new("nft")
                    .args(["list", "table", "inet", "trial"])
                    .output()
            })
            .ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn rules_mean_what_they_say_to_nft() {
        let Some(namespace) = create() else { return };
        let Some(listed) = listed(&namespace) else {
            return skip("nft is not installed");
        };
        let rules: Vec<&str> = listed
            .lines()
            .map(str::trim)
            .filter(|line| !(line.is_empty() || line.ends_with(['{', '}', ';'])))
            .collect();
        assert_eq!(rules, EXPECTED, "{listed}");
        let exists = namespace.run(|| {
            Table::remove("trial")?;
            Table::remove("trial")?;
            Table::exists("trial")
        });
        assert!(!exists.expect("removes"));
    }
}
