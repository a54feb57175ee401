//! From networks and who is connected to them to packet rules: a pure function.
//!
//! | Chain | Does |
//! |---|---|
//! | `incoming`, `outgoing` | what is addressed to this machine asks `ports` |
//! | `ports` | published ports become containers' |
//! | `forward` | keeps networks apart, and the outside from ports that are not published |
//! | `leaving` | what leaves a network, or comes back into it, gets this machine's address |
//!
//! This machine's own connections to its loopback addresses are not redirected (the kernel
//! drops packets from loopback that leave through another interface): a
//! [relay](super::relay) serves them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cooper_runner::network::{Chain, Hook, Match, Rule, Table, Verdict};

use super::port::Published;
use super::record::{Endpoint, Network};
use super::subnet::Subnet;

/// Returns the rules for `networks`, whose bridges exist, with `endpoints`.
pub(super) fn table(name: &str, networks: &[Network], endpoints: &[Endpoint]) -> Table {
    let chain = |name, hook, rules| Chain { name, hook, rules };
    let local = |loopback: bool| {
        let mut matches = Vec::new();
        if loopback {
            matches.push(Match::DestinationLocal);
        }
        rule(matches, Verdict::Jump("ports"))
    };
    let ports = endpoints.iter().flat_map(|endpoint| {
        endpoint
            .ports
            .iter()
            .filter_map(move |port| redirect(endpoint, port))
    });
    Table {
        name: name.to_owned(),
        chains: vec![
            chain("ports", None, ports.collect()),
            chain("incoming", Some(Hook::Incoming), vec![local(true)]),
            chain("outgoing", Some(Hook::Outgoing), outgoing()),
            chain("forward", Some(Hook::Forward), forward(networks)),
            chain(
                "leaving",
                Some(Hook::Leaving),
                networks.iter().flat_map(leaving).collect(),
            ),
        ],
    }
}

fn rule(matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { matches, verdict }
}

fn loopback4() -> Subnet {
    Subnet::around(Ipv4Addr::LOCALHOST.into(), 8)
}

fn outgoing() -> Vec<Rule> {
    let loopback6 = Subnet::around(Ipv6Addr::LOCALHOST.into(), 128);
    [loopback4(), loopback6]
        .map(|loopback| {
            let elsewhere = Match::Destination(loopback.network(), false);
            rule(
                vec![elsewhere, Match::DestinationLocal],
                Verdict::Jump("ports"),
            )
        })
        .to_vec()
}

/// Returns the rule for a published port; none for one on a loopback address alone, nor for one
/// of an IP version that the container lacks: the relay serves those.
fn redirect(endpoint: &Endpoint, published: &Published) -> Option<Rule> {
    let host = published.host.ip();
    if host.is_loopback() {
        return None;
    }
    let to = endpoint.address(host.is_ipv4())?;
    let mut matches = vec![if host.is_unspecified() {
        Match::Destination(Subnet::around(host, 0).network(), true)
    } else {
        Match::Destination(Subnet::around(host, 128).network(), true)
    }];
    matches.push(Match::Port(
        published.protocol.number(),
        published.host.port(),
    ));
    Some(rule(
        matches,
        Verdict::Redirect(SocketAddr::new(to, published.port)),
    ))
}

fn forward(networks: &[Network]) -> Vec<Rule> {
    let into = |network: &Network| Match::Output(network.interface.clone(), true);
    let from = |network: &Network| Match::Input(network.interface.clone(), true);
    let not_from = |network: &Network| Match::Input(network.interface.clone(), false);
    let not_into = |network: &Network| Match::Output(network.interface.clone(), false);
    let mut rules = Vec::new();
    for network in networks.iter().filter(|network| network.internal) {
        rules.push(rule(vec![from(network), not_into(network)], Verdict::Drop));
        rules.push(rule(vec![into(network), not_from(network)], Verdict::Drop));
    }
    for network in networks.iter().filter(|network| !network.internal) {
        rules.push(rule(
            vec![into(network), Match::Established],
            Verdict::Accept,
        ));
        rules.push(rule(
            vec![into(network), Match::Redirected],
            Verdict::Accept,
        ));
        rules.push(rule(vec![into(network), not_from(network)], Verdict::Drop));
    }
    for network in networks.iter().filter(|network| network.isolated()) {
        rules.push(rule(vec![into(network), from(network)], Verdict::Drop));
    }
    rules
}

fn leaving(network: &Network) -> Vec<Rule> {
    if network.internal || !network.masquerades() {
        return Vec::new();
    }
    let mut rules = Vec::new();
    for range in &network.subnets {
        let source = Match::Source(range.subnet.network());
        let (outside, inside) = (
            Match::Output(network.interface.clone(), false),
            Match::Output(network.interface.clone(), true),
        );
        rules.push(rule(vec![source.clone(), outside], Verdict::Masquerade));
        // A container that reaches another by a published port must get the answer through here.
        rules.push(rule(
            vec![source, inside, Match::Redirected],
            Verdict::Masquerade,
        ));
    }
    rules
}

/// Returns the rules of a container's own namespace, by which its name server can listen on any
/// port: 53 stays free for a server of the container's.
pub(super) fn name_server(address: IpAddr, ports: [(u8, u16); 2]) -> Table {
    let destination = Match::Destination(Subnet::around(address, 128).network(), true);
    let rules = ports.map(|(protocol, port)| {
        rule(
            vec![destination.clone(), Match::Port(protocol, 53)],
            Verdict::Redirect(SocketAddr::new(address, port)),
        )
    });
    Table {
        name: "cooper_names".to_owned(),
        chains: vec![Chain {
            name: "outgoing",
            hook: Some(Hook::Outgoing),
            rules: rules.to_vec(),
        }],
    }
}
