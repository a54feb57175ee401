//! Names of containers, asked for by DNS messages (RFC 1035). Pure but for [`Resolver`].
//!
//! A container asks 127.0.0.11. What is a name on one of its networks is answered from
//! `endpoints.json`, which every query reads anew; everything else goes to other servers.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::config::Link;
use super::record::Endpoint;
use super::state::Networks;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// Seconds for which an answer may be kept, as docker's.
const TTL: u32 = 600;
const REFUSED: u8 = 5;

/// What one message asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The name, without a dot at its end.
    name: String,
    kind: u16,
    /// Where the question ends in the message.
    end: usize,
}

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Addresses(Vec<IpAddr>),
    Name(String),
}

/// Reads the question of a message; `None` for what is no query with one question.
pub(super) fn question(message: &[u8]) -> Option<Question> {
    let (flags, count) = (message.get(2)?, message.get(4..6)?);
    if flags & 0xf8 != 0 || count != [0, 1] {
        return None;
    }
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => labels.push(String::from_utf8_lossy(message.get(at..at + length)?)),
            // A question has nothing before it to refer to.
            _ => return None,
        }
        at += length;
    }
    let rest = message.get(at..at + 4)?;
    let (kind, class) = (
        u16::from_be_bytes([rest[0], rest[1]]),
        u16::from_be_bytes([rest[2], rest[3]]),
    );
    (class == CLASS_IN).then(|| Question {
        name: labels.join("."),
        kind,
        end: at + 4,
    })
}

/// Returns the answer to `query` that refuses it.
pub(super) fn refuse(query: &[u8]) -> Option<Vec<u8>> {
    let question = question(query)?;
    Some(response(query, &question, &[], REFUSED))
}

/// Returns an answer; those of another kind than was asked for are left out, and a name that is
/// known but has none of the kind exists all the same.
fn answer(query: &[u8], question: &Question, known: &Known) -> Vec<u8> {
    let records: Vec<(u16, Vec<u8>)> = match known {
        Known::Addresses(addresses) => addresses
            .iter()
            .map(|ip| match ip {
                IpAddr::V4(ip) => (TYPE_A, ip.octets().to_vec()),
                IpAddr::V6(ip) => (TYPE_AAAA, ip.octets().to_vec()),
            })
            .collect(),
        Known::Name(name) => vec![(TYPE_PTR, encoded(name))],
    };
    let wanted: Vec<_> = records
        .into_iter()
        .filter(|(kind, _)| *kind == question.kind)
        .collect();
    response(query, question, &wanted, 0)
}

fn response(query: &[u8], question: &Question, records: &[(u16, Vec<u8>)], code: u8) -> Vec<u8> {
    let mut message = query[..question.end].to_vec();
    // A response; whether recursion was desired is repeated, and it is available.
    message[2] = 0x80 | (query[2] & 1);
    message[3] = 0x80 | code;
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    message[8..HEADER].fill(0);
    for (kind, data) in records {
        // The name is that of the question.
        message.extend([0xc0, HEADER as u8]);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(TTL.to_be_bytes());
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    message
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// Returns the address that a reverse name stands for.
fn reversed(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    let labels = name.strip_suffix(".in-addr.arpa")?;
    let mut parts: Vec<_> = labels.split('.').collect();
    parts.reverse();
    parts.join(".").parse().ok()
}

/// Answers for one container.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) networks: Networks,
    /// The container that asks.
    pub(super) container: String,
    /// Names that only this container has for others.
    pub(super) links: Vec<Link>,
    /// Turns the answers of several, so that each has its share.
    pub(super) turn: AtomicUsize,
}

impl Resolver {
    /// Returns the answer to `query`; `None` for what others are to be asked.
    pub(super) fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let question = question(query)?;
        let known = self.known(&question)?;
        Some(answer(query, &question, &known))
    }

    fn known(&self, question: &Question) -> Option<Known> {
        let endpoints = self.networks.endpoints();
        let names: Vec<(String, String)> = self
            .networks
            .list()
            .ok()?
            .into_iter()
            .filter(super::record::Network::resolves_names)
            .map(|network| (network.id, network.name))
            .collect();
        if question.kind == TYPE_PTR {
            let ip = reversed(&question.name)?;
            return name_of(&self.container, &names, &endpoints, ip).map(Known::Name);
        }
        let own = endpoints
            .iter()
            .filter(|own| own.container == self.container);
        let mut links = self.links.iter().chain(own.flat_map(|own| &own.links));
        let link = links.find(|link| link.alias == question.name);
        let name = link.map_or(question.name.as_str(), |link| link.container.as_str());
        let mut addresses = addresses_of(&self.container, &names, &endpoints, name);
        if addresses.is_empty() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(turn);
        Some(Known::Addresses(addresses))
    }
}

/// Returns the networks, of `names` by ID, that `container` shares with `endpoint`.
fn shared<'a>(
    container: &str,
    names: &'a [(String, String)],
    endpoints: &[Endpoint],
    endpoint: &Endpoint,
) -> Option<&'a str> {
    let own = |other: &Endpoint| other.container == container && other.network == endpoint.network;
    let (_, name) = names.iter().find(|(id, _)| *id == endpoint.network)?;
    endpoints.iter().any(own).then_some(name.as_str())
}

fn addresses_of(
    container: &str,
    names: &[(String, String)],
    endpoints: &[Endpoint],
    name: &str,
) -> Vec<IpAddr> {
    let called = |endpoint: &&Endpoint| {
        let Some(network) = shared(container, names, endpoints, endpoint) else {
            return false;
        };
        let bare = name
            .strip_suffix(network)
            .and_then(|rest| rest.strip_suffix('.'));
        endpoint.is_called(name) || bare.is_some_and(|bare| endpoint.is_called(bare))
    };
    endpoints
        .iter()
        .filter(called)
        .flat_map(|endpoint| endpoint.addresses.iter().copied())
        .collect()
}

fn name_of(
    container: &str,
    names: &[(String, String)],
    endpoints: &[Endpoint],
    ip: IpAddr,
) -> Option<String> {
    endpoints
        .iter()
        .filter(|endpoint| endpoint.addresses.contains(&ip))
        .find_map(|endpoint| {
            let network = shared(container, names, endpoints, endpoint)?;
            Some(format!("{}.{network}", endpoint.name))
        })
}

#[cfg(test)]
mod tests {
    use cooper_runner::network::Mac;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        message.extend(encoded(name));
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        // An EDNS record, which resolvers append.
        message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
        message
    }

    fn endpoint(container: &str, network: &str, ip: &str, aliases: &[&str]) -> Endpoint {
        Endpoint {
            id: String::new(),
            network: network.to_owned(),
            container: format!("{container}{}", "0".repeat(20)),
            name: container.to_owned(),
            addresses: vec![ip.parse().expect("valid")],
            mac: Mac([0; 6]),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            interface: String::new(),
            inner: String::new(),
            gw_priority: 0,
            ports: Vec::new(),
            link_local: Vec::new(),
            links: Vec::new(),
        }
    }

    #[test]
    fn questions_are_read_and_nothing_else() {
        let asked = question(&query("web.example", TYPE_A)).expect("a question");
        assert_eq!((asked.name.as_str(), asked.kind), ("web.example", TYPE_A));
        let mut response = query("web", TYPE_A);
        response[2] |= 0x80;
        assert_eq!(question(&response), None);
        let whole = query("web", TYPE_A);
        for length in 0..HEADER + 9 {
            assert_eq!(question(&whole[..length]), None, "{length}");
        }
        let mut pointer = whole;
        pointer[HEADER] = 0xc0;
        assert_eq!(question(&pointer), None);
    }

    #[test]
    fn answers_hold_what_was_asked_for() {
        let query = query("web", TYPE_A);
        let asked = question(&query).expect("a question");
        let known = Known::Addresses(vec![
            "10.0.0.2".parse().expect("valid"),
            "fd00::2".parse().expect("valid"),
        ]);
        let message = answer(&query, &asked, &known);
        assert_eq!(message[..8], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(message[8..HEADER], [0; 4]);
        assert!(message.ends_with(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 2]));
        let other = Question {
            kind: 16,
            ..asked.clone()
        };
        let empty = answer(&query, &other, &known);
        assert_eq!((empty[3], empty.len()), (0x80, asked.end));
        assert_eq!(refuse(&query).expect("a question")[3], 0x85);
    }

    #[test]
    fn names_are_those_on_shared_networks() {
        let names = [
            ("n".to_owned(), "net".to_owned()),
            ("m".to_owned(), "other".to_owned()),
        ];
        let endpoints = [
            endpoint("me", "n", "10.0.0.2", &[]),
            endpoint("web", "n", "10.0.0.3", &["www"]),
            endpoint("web2", "n", "10.0.0.4", &["www"]),
            endpoint("db", "m", "10.1.0.2", &[]),
        ];
        let me = endpoints[0].container.clone();
        let found = |name: &str| {
            let found = addresses_of(&me, &names, &endpoints, name);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found("web"), ["10.0.0.3"]);
        assert_eq!(found("WEB"), ["10.0.0.3"]);
        assert_eq!(found("web.net"), ["10.0.0.3"]);
        assert_eq!(found("www"), ["10.0.0.3", "10.0.0.4"]);
        assert_eq!(found("web00000000000000000000"), [""; 0]);
        assert_eq!(found("web000000000"), ["10.0.0.3"]);
        assert_eq!(found("db"), [""; 0]);
        let ip = reversed("3.0.0.10.in-addr.arpa").expect("an address");
        assert_eq!(
            name_of(&me, &names, &endpoints, ip).as_deref(),
            Some("web.net")
        );
    }
}
