//! `--filter` of the commands that list containers.

use std::mem::discriminant;

use jiff::Timestamp;

use super::parse_time;
use crate::cli::value::ValueError;
use crate::container::{Found, Status, VolumeSource};
use crate::network::port::{self, Protocol};
use crate::network::{Network, NetworkMode};
use crate::report::Report;

/// The filters of one command.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Filters(Vec<Filter>);

impl Filters {
    /// Parses the values of `--filter`.
    pub(in crate::cli) fn parse(texts: &[String]) -> Result<Self, Report> {
        let parsed = texts
            .iter()
            .map(|text| filter(text).map_err(|error| error.report("--filter", text)));
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether one asks for containers that do not run, so that -a goes without saying.
    pub(in crate::cli) fn ask_for_state(&self) -> bool {
        let of_state = |one: &Filter| matches!(one, Filter::Status(_) | Filter::Exited(_));
        self.0.iter().any(of_state)
    }

    /// Returns whether `found`, one of `all`, fits: every label and, of each other kind of filter
    /// that was given, one at least. `networks` are those that there are.
    pub(in crate::cli) fn admit(&self, found: &Found, all: &[Found], networks: &[Network]) -> bool {
        self.0.iter().all(|filter| {
            let mut same = self
                .0
                .iter()
                .filter(|other| discriminant(*other) == discriminant(filter));
            match filter {
                Filter::Label(..) | Filter::NoLabel(..) => filter.admits(found, all, networks),
                _ => same.any(|one| one.admits(found, all, networks)),
            }
        })
    }
}

/// Returns the networks that a container is to be connected to, by name.
pub(in crate::cli) fn networks_of(found: &Found, networks: &[Network]) -> Vec<String> {
    let config = &found.container.config.network;
    match &config.mode {
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::None => vec!["none".to_owned()],
        NetworkMode::Container(name) => vec![format!("container:{name}")],
        NetworkMode::Bridge => {
            let named = |wanted: &String| {
                let known = networks.iter().find(|network| network.id == *wanted);
                known.map_or_else(|| wanted.clone(), |network| network.name.clone())
            };
            let endpoints = config.endpoints.iter();
            endpoints.map(|endpoint| named(&endpoint.network)).collect()
        }
    }
}

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Id(String),
    Name(String),
    Label(String, Option<String>),
    NoLabel(String, Option<String>),
    Status(String),
    Exited(i32),
    Ancestor(String),
    Before(String),
    Since(String),
    Health(String),
    Volume(String),
    Network(String),
    Publish(Ports),
    Expose(Ports),
    Until(Timestamp),
}

fn filter(text: &str) -> Result<Filter, ValueError> {
    const KNOWN: [&str; 14] = [
        "id", "name", "label", "status", "exited", "ancestor", "before", "since", "health",
        "volume", "network", "publish", "expose", "until",
    ];
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| ValueError::new("not a filter").hint("write KEY=VALUE"))?;
    let label = |value: &str| match value.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (value.to_owned(), None),
    };
    let owned = || value.to_owned();
    Ok(match key {
        "id" => Filter::Id(owned()),
        "name" => Filter::Name(owned()),
        "label" => {
            let (name, value) = label(value);
            Filter::Label(name, value)
        }
        "label!" => {
            let (name, value) = label(value);
            Filter::NoLabel(name, value)
        }
        "status" => {
            let known = [
                "created",
                "running",
                "paused",
                "restarting",
                "exited",
                "removing",
                "dead",
            ];
            if !known.contains(&value) {
                return Err(ValueError::unknown("state", value, &known));
            }
            Filter::Status(owned())
        }
        "exited" => Filter::Exited(
            value
                .parse()
                .map_err(|_| ValueError::new(format!("{value:?} is no exit code")))?,
        ),
        "ancestor" => Filter::Ancestor(owned()),
        "before" => Filter::Before(owned()),
        "since" => Filter::Since(owned()),
        "health" => Filter::Health(owned()),
        "volume" => Filter::Volume(owned()),
        "network" => Filter::Network(owned()),
        "publish" => Filter::Publish(Ports::parse(value)?),
        "expose" => Filter::Expose(Ports::parse(value)?),
        "until" => Filter::Until(
            parse_time(value, Timestamp::now()).ok_or_else(|| ValueError::new("not a time"))?,
        ),
        _ => return Err(ValueError::unknown("filter", key, &KNOWN)),
    })
}

impl Filter {
    /// Returns whether `found`, one of `all`, fits.
    fn admits(&self, found: &Found, all: &[Found], networks: &[Network]) -> bool {
        let (container, state) = (&found.container, &found.state);
        let labels = &container.config.runtime.labels;
        let labelled = |name: &String, value: &Option<String>| match (labels.get(name), value) {
            (Some(has), Some(value)) => has == value,
            (has, None) => has.is_some(),
            (None, Some(_)) => false,
        };
        let made = |name: &String| {
            let of =
                |one: &&Found| one.container.name == *name || one.container.id.starts_with(name);
            all.iter()
                .find(of)
                .map(|one| one.container.created.as_str())
        };
        match self {
            Self::Id(id) => container.id.starts_with(id.as_str()),
            Self::Name(name) => name_fits(&container.name, name),
            Self::Label(name, value) => labelled(name, value),
            Self::NoLabel(name, value) => !labelled(name, value),
            Self::Status(status) => state.status.name() == status,
            Self::Exited(code) => state.status == Status::Exited && state.exit_code == *code,
            Self::Ancestor(image) => {
                let config = &container.config;
                let id = config.image_id.to_string();
                let tagged = config
                    .image
                    .strip_suffix(":latest")
                    .unwrap_or(&config.image);
                tagged == image.strip_suffix(":latest").unwrap_or(image)
                    || id == *image
                    || id.trim_start_matches("sha256:").starts_with(image.as_str())
            }
            Self::Before(name) => made(name).is_some_and(|time| *container.created < *time),
            Self::Since(name) => made(name).is_some_and(|time| *container.created > *time),
            Self::Health(wanted) => match &state.health {
                Some(health) => health.status.name() == wanted,
                None => wanted == "none",
            },
            Self::Volume(volume) => {
                let mut mounted = container.config.mounts.volumes.iter();
                mounted.any(|mount| {
                    mount.target.to_str() == Some(volume)
                        || matches!(&mount.source, VolumeSource::Named(name) if name == volume)
                })
            }
            Self::Network(wanted) => networks_of(found, networks).iter().any(|name| {
                let by_id = |network: &&Network| network.id.starts_with(wanted.as_str());
                name == wanted
                    || networks
                        .iter()
                        .filter(by_id)
                        .any(|network| network.name == *name)
            }),
            Self::Publish(wanted) => {
                let mut ports = container.config.network.ports.iter();
                ports.any(|one| wanted.hold(one.port, one.protocol))
            }
            Self::Expose(wanted) => {
                let mut ports = container.config.runtime.exposed_ports.keys();
                ports.any(|text| {
                    port::exposed(text).is_some_and(|(port, protocol)| wanted.hold(port, protocol))
                })
            }
            Self::Until(time) => container
                .created
                .parse::<Timestamp>()
                .is_ok_and(|created| created < *time),
        }
    }
}

/// Ports of a container: `PORT`, `FIRST-LAST`, each with a protocol or with TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: Protocol,
}

impl Ports {
    fn parse(text: &str) -> Result<Self, ValueError> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse(), last.parse(), protocol.parse()) {
            (Ok(first), Ok(last), Ok(protocol)) => Ok(Self {
                first,
                last,
                protocol,
            }),
            _ => Err(ValueError::new(format!("{text:?} is no port"))
                .hint("write PORT, FIRST-LAST or PORT/PROTOCOL")),
        }
    }

    fn hold(&self, port: u16, protocol: Protocol) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// A part of a name fits; `^` and `$` hold it at the start and the end.
fn name_fits(name: &str, wanted: &str) -> bool {
    let (start, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest.strip_prefix('/').unwrap_or(rest)),
        None => (false, wanted.strip_prefix('/').unwrap_or(wanted)),
    };
    match (start, wanted.strip_suffix('$')) {
        (true, Some(wanted)) => name == wanted,
        (true, None) => name.starts_with(wanted),
        (false, Some(wanted)) => name.ends_with(wanted),
        (false, None) => name.contains(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::State;
    use crate::container::testing::found;
    use crate::network::NetworkConfig;
    use crate::network::port::PortRequest;

    fn exited() -> Found {
        let mut one = found(
            'a',
            State {
                status: Status::Exited,
                exit_code: 3,
                ..State::default()
            },
        );
        let config = &mut one.container.config;
        config.network = NetworkConfig::bridge();
        config.network.ports.push(PortRequest {
            host_ip: None,
            host_ports: None,
            port: 8080,
            protocol: Protocol::Tcp,
        });
        let exposed = ("80/tcp".to_owned(), cooper_oci::Empty {});
        config.runtime.exposed_ports.extend([exposed]);
        one
    }

    #[test]
    fn filters_admit_what_they_say() {
        let one = exited();
        for (text, admits) in [
            ("id=aaa", true),
            ("id=b", false),
            ("name=_na", true),
            ("name=^a_name$", true),
            ("name=^name", false),
            ("label=a", true),
            ("label=a=b", true),
            ("label=a=c", false),
            ("label!=a", false),
            ("status=exited", true),
            ("status=running", false),
            ("exited=3", true),
            ("exited=0", false),
            ("ancestor=busybox:latest", true),
            ("ancestor=debian", false),
            ("before=a_name", false),
            ("health=none", true),
            ("volume=/data", false),
            ("until=2024-06-01", true),
            ("network=bridge", true),
            ("network=host", false),
            ("publish=8080", true),
            ("publish=8000-9000/udp", false),
            ("expose=80-81", true),
            ("expose=80/udp", false),
        ] {
            let parsed = filter(text).expect(text);
            assert_eq!(
                parsed.admits(&one, std::slice::from_ref(&one), &[]),
                admits,
                "{text}"
            );
        }
        for wrong in [
            "status=asleep",
            "exited=x",
            "colour=red",
            "name",
            "expose=x",
        ] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filters_of_one_kind_are_alternatives_but_labels_are_not() {
        let one = exited();
        for (texts, admits) in [
            (&["name=other", "name=a_name"][..], true),
            (&["name=other", "name=another"], false),
            (&["name=a_name", "status=running"], false),
            (&["status=running", "status=exited"], true),
            (&["label=a", "label=a=b"], true),
            (&["label=a", "label=c"], false),
            (&[], true),
        ] {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            let filters = Filters::parse(&texts).expect("valid");
            let all = std::slice::from_ref(&one);
            assert_eq!(filters.admit(&one, all, &[]), admits, "{texts:?}");
        }
    }
}
