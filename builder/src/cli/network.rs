//! `cooper network`: networks of containers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{ArgAction, Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Settings;
use super::confirm::confirmed;
use super::container::{ConnectArgs, DisconnectArgs, parse_time};
use super::images::Format;
use super::inspect::Shape;
use super::session::Session;
use super::table::Table;
use super::value::{ValueError, each, pair};
use crate::network::{DEFAULT, Network, NetworkError, Networks, NewNetwork};
use crate::report::{Report, print_data};

/// What is done with networks.
#[derive(Subcommand, Clone, Debug)]
#[command(defer = true)]
pub enum NetworkCommand {
    /// Make a network
    Create(CreateArgs),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show everything about networks
    Inspect(InspectArgs),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Connect a container to one more network
    Connect(ConnectArgs),
    /// Take a container off a network
    Disconnect(DisconnectArgs),
    /// Remove all networks that no container is connected to
    Prune(PruneArgs),
}

/// Options of `cooper network create`.
#[derive(Args, Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct CreateArgs {
    /// Its name
    #[arg(value_name = "NETWORK")]
    pub name: String,

    /// What carries it
    #[arg(short, long, default_value = "bridge")]
    pub driver: String,

    /// Addresses, such as 172.28.0.0/16
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Vec<String>,

    /// The address of this machine in a subnet
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Vec<String>,

    /// The part of a subnet that containers get addresses from
    #[arg(long, value_name = "SUBNET")]
    pub ip_range: Vec<String>,

    /// An address of a subnet that containers do not get by themselves
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub aux_address: Vec<String>,

    /// What gives the addresses: default
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    pub ipam_driver: String,

    /// Options of that driver, which has none
    #[arg(long, value_name = "NAME=VALUE")]
    pub ipam_opt: Vec<String>,

    /// Where it reaches: local
    #[arg(long, value_name = "SCOPE", default_value = "local")]
    pub scope: String,

    /// Give IPv4 addresses, which every network does
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub ipv4: bool,

    /// Lead nowhere else
    #[arg(long)]
    pub internal: bool,

    /// Give IPv6 addresses too
    #[arg(long)]
    pub ipv6: bool,

    /// Let containers be connected by hand, which they can be anyway
    #[arg(long)]
    pub attachable: bool,

    /// Labels
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,

    /// Options of the driver
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
}

/// Options of `cooper network ls`.
#[derive(Args, Clone, Debug, Default)]
pub struct LsArgs {
    /// Show only IDs
    #[arg(short, long)]
    pub quiet: bool,

    /// Do not shorten IDs
    #[arg(long)]
    pub no_trunc: bool,

    /// Show only some: driver=, id=, label=, name=, scope=, type=, dangling=
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,

    /// How to show them: table, json or a Go template, such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Options of `cooper network inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// Networks, by name or ID
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,

    /// Show what a Go template gives for each; json is all of it in one line
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<Shape>,

    /// Taken for docker's sake: everything is shown
    #[arg(short, long)]
    pub verbose: bool,
}

/// Options of `cooper network rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Networks, by name or ID
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,

    /// Be content where there is no such network
    #[arg(short, long)]
    pub force: bool,
}

/// Options of `cooper network prune`.
#[derive(Args, Clone, Debug, Default)]
pub struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Remove only some: label=, label!=, until=
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

impl NetworkCommand {
    /// Does it.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let open = || -> Result<Networks, Report> {
            let session = Session::open(settings)?;
            let networks = Networks::of(session.store.root(), session.rootless);
            networks.sweep().map_err(|error| failed(&error))?;
            Ok(networks)
        };
        match self {
            Self::Create(args) => args.run(&open()?),
            Self::Ls(args) => args.run(&open()?),
            Self::Inspect(args) => args.run(&open()?),
            Self::Rm(args) => args.run(&open()?),
            Self::Prune(args) => args.run(&open()?),
            Self::Connect(args) => args.run(settings),
            Self::Disconnect(args) => args.run(settings),
        }
    }
}

fn failed(error: &NetworkError) -> Report {
    let report = Report::from_error(error);
    match error.hint() {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

impl CreateArgs {
    fn run(&self, networks: &Networks) -> Result<(), Report> {
        let network = networks
            .create(&self.resolve()?)
            .map_err(|error| failed(&error))?;
        print_data(&format!("{}\n", network.id))
    }

    /// Returns what these arguments ask for.
    fn resolve(&self) -> Result<NewNetwork, Report> {
        let pairs = |option, texts: &[String]| -> Result<BTreeMap<String, String>, Report> {
            let pairs = each(option, texts, pair)?.into_iter();
            Ok(pairs
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect())
        };
        self.check()?;
        Ok(NewNetwork {
            name: self.name.clone(),
            created: Timestamp::now().to_string(),
            driver: self.driver.clone(),
            subnets: each("--subnet", &self.subnet, parsed)?,
            gateways: each("--gateway", &self.gateway, parsed)?,
            ranges: each("--ip-range", &self.ip_range, parsed)?,
            reserved: each("--aux-address", &self.aux_address, reserved)?
                .into_iter()
                .collect(),
            internal: self.internal,
            ipv6: self.ipv6,
            attachable: self.attachable,
            labels: pairs("--label", &self.label)?,
            options: pairs("--opt", &self.opt)?,
        })
    }
}

impl CreateArgs {
    /// Refuses what no network here is.
    fn check(&self) -> Result<(), Report> {
        for (option, given, known) in [
            ("--ipam-driver", &self.ipam_driver, "default"),
            ("--scope", &self.scope, "local"),
        ] {
            if given != known {
                let error = ValueError::new(format!("there is only {known:?}"));
                return Err(error.report(option, given));
            }
        }
        if !self.ipv4 {
            return Err(Report::new("--ipv4=false: every network has IPv4")
                .hint("leave it out; --ipv6 gives it IPv6 too"));
        }
        each("--ipam-opt", &self.ipam_opt, pair).map(drop)
    }
}

fn reserved(text: &str) -> Result<(String, IpAddr), ValueError> {
    let (name, address) = text
        .split_once('=')
        .ok_or_else(|| ValueError::new("no name and address").hint("write NAME=ADDRESS"))?;
    let address = address
        .parse()
        .map_err(|_| ValueError::new(format!("{address:?} is no address")))?;
    Ok((name.to_owned(), address))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, ValueError> {
    text.parse()
        .map_err(|error: T::Err| ValueError::new(error.to_string()))
}

impl LsArgs {
    fn run(&self, networks: &Networks) -> Result<(), Report> {
        let filters = each("--filter", &self.filter, Filter::parse)?;
        let endpoints = networks.endpoints();
        let used = |network: &Network| {
            let mut endpoints = endpoints.iter();
            endpoints.any(|endpoint| endpoint.network == network.id)
        };
        let mut shown = networks.list().map_err(|error| failed(&error))?;
        shown.retain(|network| Filter::all_match(&filters, network, used(network)));
        let values = shown.iter().map(|network| self.json(network));
        match self.format.render("NETWORK ID", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&shown)),
        }
    }

    fn render(&self, networks: &[Network]) -> String {
        if self.quiet {
            let ids = networks.iter().map(|network| self.id(network));
            return ids.map(|id| id.to_owned() + "\n").collect();
        }
        if self.format == Format::Json {
            let lines = networks.iter().map(|network| self.json(network));
            return lines.map(|line| line.to_string() + "\n").collect();
        }
        let mut table = Table::list(["NETWORK ID", "NAME", "DRIVER", "SCOPE"]);
        for network in networks {
            table.row([self.id(network), &network.name, &network.driver, "local"]);
        }
        table.render()
    }

    fn id<'a>(&self, network: &'a Network) -> &'a str {
        if self.no_trunc {
            &network.id
        } else {
            network.id.get(..12).unwrap_or(&network.id)
        }
    }

    fn json(&self, network: &Network) -> Value {
        let labels: Vec<_> = network
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        json!({
            "CreatedAt": network.created,
            "Driver": network.driver,
            "ID": self.id(network),
            "IPv4": "true",
            "IPv6": network.gateway(false).is_some().to_string(),
            "Internal": network.internal.to_string(),
            "Labels": labels.join(","),
            "Name": network.name,
            "Scope": "local",
        })
    }
}

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    key: String,
    value: String,
}

impl Filter {
    /// Keys that docker has for lists of networks.
    const KEYS: [&str; 9] = [
        "dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until",
    ];

    fn parse(text: &str) -> Result<Self, ValueError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| ValueError::new("no value").hint("write KEY=VALUE"))?;
        if !Self::KEYS.contains(&key) {
            return Err(ValueError::unknown("filter", key, &Self::KEYS));
        }
        if key == "type" && !matches!(value, "builtin" | "custom") {
            return Err(ValueError::unknown("type", value, &["builtin", "custom"]));
        }
        let value = match key {
            "until" => parse_time(value, Timestamp::now())
                .ok_or_else(|| {
                    ValueError::new("not a time").hint("write 2024-05-01T10:00:00Z, or 10m")
                })?
                .to_string(),
            _ => value.to_owned(),
        };
        Ok(Self {
            key: key.to_owned(),
            value,
        })
    }

    /// Tells whether a network passes: any value of each key will do, but every label has to be
    /// there.
    fn all_match(filters: &[Self], network: &Network, used: bool) -> bool {
        filters.iter().all(|filter| {
            let alone = filter.key.starts_with("label");
            let mut same = filters.iter().filter(|other| other.key == filter.key);
            if alone {
                filter.matches(network, used)
            } else {
                same.any(|other| other.matches(network, used))
            }
        })
    }

    fn matches(&self, network: &Network, used: bool) -> bool {
        let fixed = is_fixed(network);
        let labelled = || match self.value.split_once('=') {
            Some((name, value)) => network.labels.get(name).is_some_and(|own| own == value),
            None => network.labels.contains_key(&self.value),
        };
        match self.key.as_str() {
            "dangling" => (self.value == "true" || self.value == "1") == (!used && !fixed),
            "driver" => network.driver == self.value,
            "id" => network.id.starts_with(&self.value),
            "label" => labelled(),
            "label!" => !labelled(),
            "name" => network.name.contains(&self.value),
            "scope" => self.value == "local",
            "type" => (self.value == "custom") != fixed,
            _ => {
                let created: Option<Timestamp> = network.created.parse().ok();
                let until: Option<Timestamp> = self.value.parse().ok();
                created < until
            }
        }
    }
}

/// Tells whether a network is one of those that are always there.
fn is_fixed(network: &Network) -> bool {
    matches!(network.name.as_str(), DEFAULT | "host" | "none")
}

impl InspectArgs {
    fn run(&self, networks: &Networks) -> Result<(), Report> {
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for name in &self.networks {
            match networks
                .find(name)
                .map(|network| networks.inspect(&network))
            {
                Ok(value) => found.push(value),
                Err(error) => failures.push(failed(&error)),
            }
        }
        match &self.format {
            None => {
                let text = serde_json::to_string_pretty(&Value::Array(found)).unwrap_or_default();
                print_data(&(text + "\n"))?;
            }
            Some(shape) => shape.print(found, "network")?,
        }
        Report::of_all(failures)
    }
}

impl RmArgs {
    fn run(&self, networks: &Networks) -> Result<(), Report> {
        let mut failures = Vec::new();
        for name in &self.networks {
            let removed = networks
                .find(name)
                .and_then(|network| networks.remove(&network));
            match removed {
                Ok(()) => print_data(&format!("{name}\n"))?,
                Err(NetworkError::Missing { .. }) if self.force => {}
                Err(error) => failures.push(failed(&error)),
            }
        }
        Report::of_all(failures)
    }
}

impl PruneArgs {
    fn run(&self, networks: &Networks) -> Result<(), Report> {
        let filters = each("--filter", &self.filter, Filter::parse)?;
        let what = "all custom networks not used by at least one container";
        if !self.force && !confirmed(what)? {
            return Ok(());
        }
        let removed = prune(networks, &filters)?;
        if removed.is_empty() {
            return Ok(());
        }
        print_data(&format!("Deleted Networks:\n{}\n\n", removed.join("\n")))
    }
}

/// Removes the networks that nobody is connected to, for `cooper system prune`.
pub(super) fn prune_filtered(
    networks: &Networks,
    filters: &[String],
) -> Result<Vec<String>, Report> {
    prune(networks, &each("--filter", filters, Filter::parse)?)
}

/// Removes the networks that nobody is connected to and that pass; returns their names.
fn prune(networks: &Networks, filters: &[Filter]) -> Result<Vec<String>, Report> {
    let mut removed = Vec::new();
    for network in networks.list().map_err(|error| failed(&error))? {
        if is_fixed(&network) || !Filter::all_match(filters, &network, false) {
            continue;
        }
        match networks.remove(&network) {
            Ok(()) => removed.push(network.name),
            Err(NetworkError::InUse { .. }) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    networks.tell_pruned();
    Ok(removed)
}
