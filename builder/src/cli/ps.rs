//! `cooper ps`: the list of containers.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use cooper_oci::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::container::{Filters, networks_of};
use super::images::Format;
use super::session::Session;
use super::table::{Table, shorten};
use super::{Settings, human};
use crate::container::record::written;
use crate::container::{Container, Containers, Found, HealthStatus, Status, VolumeSource};
use crate::image::image_size;
use crate::network::{Endpoint, Network, NetworkError, Networks, column};
use crate::report::{Report, print_data};

/// Options of `cooper ps`.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct PsArgs {
    /// Show containers that have ended too
    #[arg(short, long)]
    pub all: bool,

    /// Show only IDs
    #[arg(short, long)]
    pub quiet: bool,

    /// Only those that fit, such as status=exited, name=web or label=a=b
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,

    /// Only the last that were made, running or not
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub last: Option<usize>,

    /// Only the last that was made, running or not
    #[arg(short, long)]
    pub latest: bool,

    /// Show how much each has written, and how large it is
    #[arg(short, long)]
    pub size: bool,

    /// Do not shorten anything
    #[arg(long)]
    pub no_trunc: bool,

    /// How to show them: table, json or a Go template, such as '{{.Names}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

impl PsArgs {
    /// Prints the containers.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let found = containers
            .list()
            .map_err(|error| Report::from_error(&error))?;
        let connections =
            Connections::read(&session, self.size).map_err(|error| Report::from_error(&error))?;
        let now = Timestamp::now();
        let found = self.shown(&found, &connections)?;
        let values = found
            .iter()
            .map(|found| self.json(found, &connections, now));
        match self.format.render("CONTAINER ID", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&found, &connections, now)),
        }
    }

    /// Returns which of `found`, youngest first, are shown.
    fn shown(&self, found: &[Found], connections: &Connections) -> Result<Vec<Found>, Report> {
        let filters = Filters::parse(&self.filter)?;
        let last = if self.latest { Some(1) } else { self.last };
        let all = self.all || filters.ask_for_state() || last.is_some();
        let fits = |one: &&Found| {
            (all || one.state.status.is_active())
                && filters.admit(one, found, &connections.networks)
        };
        let fitting = found.iter().filter(fits).cloned();
        Ok(fitting.take(last.unwrap_or(usize::MAX)).collect())
    }

    fn render(&self, found: &[Found], connections: &Connections, now: Timestamp) -> String {
        let shown = found.iter();
        if self.quiet {
            return shown
                .map(|found| self.id(&found.container).to_owned() + "\n")
                .collect();
        }
        if self.format == Format::Json {
            return shown
                .map(|found| self.json(found, connections, now).to_string() + "\n")
                .collect();
        }
        let mut header = vec![
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES",
        ];
        header.extend(self.size.then_some("SIZE"));
        let mut table = Table::list(header);
        for found in shown {
            let container = &found.container;
            let mut row = vec![
                self.id(container).to_owned(),
                container.config.image.clone(),
                self.command(container),
                human::since(Some(&container.created), now),
                status(found, now),
                connections.ports(found),
                container.name.clone(),
            ];
            row.extend(self.size.then(|| connections.size(found)));
            table.row(row);
        }
        table.render()
    }

    fn id<'a>(&self, container: &'a Container) -> &'a str {
        if self.no_trunc {
            &container.id
        } else {
            container.id.get(..12).unwrap_or(&container.id)
        }
    }

    fn command(&self, container: &Container) -> String {
        let words = container.config.args().join(" ");
        let words = if self.no_trunc {
            words
        } else {
            shorten(&words, 20)
        };
        format!("\"{words}\"")
    }

    fn json(&self, found: &Found, connections: &Connections, now: Timestamp) -> Value {
        let container = &found.container;
        let labels: Vec<_> = container
            .config
            .runtime
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        json!({
            "Command": self.command(container),
            "CreatedAt": human::date(Some(&container.created)),
            "HealthStatus": found.state.health.as_ref().map_or("", |health| health.status.name()),
            "ID": self.id(container),
            "IPAddresses": connections.addresses(found),
            "Image": container.config.image,
            "Labels": labels.join(","),
            "LocalVolumes": volumes(container).to_string(),
            "Mounts": mounts(container),
            "Names": container.name,
            "Networks": networks_of(found, &connections.networks).join(","),
            "Ports": connections.ports(found),
            "RunningFor": human::since(Some(&container.created), now),
            "Size": if self.size { connections.size(found) } else { "0B".to_owned() },
            "State": found.state.status.name(),
            "Status": status(found, now),
        })
    }
}

/// What is known of containers elsewhere: who is connected to which networks now, and how large
/// their images are.
#[derive(Debug, Default)]
struct Connections {
    networks: Vec<Network>,
    endpoints: Vec<Endpoint>,
    images: BTreeMap<Digest, u64>,
}

impl Connections {
    fn read(session: &Session, sized: bool) -> Result<Self, NetworkError> {
        let networks = Networks::of(session.store.root(), session.rootless);
        // An image that is gone, or cannot be read, has no size to show.
        let images = session.store.images().list().ok().filter(|_| sized);
        let layers = session.store.layers();
        Ok(Self {
            networks: networks.list()?,
            endpoints: networks.endpoints(),
            images: images
                .into_iter()
                .flatten()
                .map(|(image, _)| (image.id.clone(), image_size(&layers, &image)))
                .collect(),
        })
    }

    /// Returns how much a container has written, and that with its image below.
    fn size(&self, found: &Found) -> String {
        let written = human::bytes_below(&written(&found.dir).0);
        let image = self.images.get(&found.container.config.image_id);
        let all = written + image.copied().unwrap_or_default();
        format!("{} (virtual {})", human::size(written), human::size(all))
    }

    /// Returns the addresses of a container that runs, as NETWORK/ADDRESS.
    fn addresses(&self, found: &Found) -> Vec<String> {
        let here = |endpoint: &&Endpoint| endpoint.container == found.container.id;
        let endpoints = self.endpoints.iter().filter(here);
        let all = endpoints.flat_map(|endpoint| {
            let known = |network: &&Network| network.id == endpoint.network;
            let network = self.networks.iter().find(known);
            let addresses = endpoint.addresses.iter();
            addresses.filter_map(move |ip| Some(format!("{}/{ip}", network?.name)))
        });
        all.collect()
    }

    /// Returns where the ports of a container are published, and which are only exposed; of one
    /// that does not run, nothing.
    fn ports(&self, found: &Found) -> String {
        if !found.state.status.is_active() {
            return String::new();
        }
        let container = &found.container;
        let here = |endpoint: &&Endpoint| endpoint.container == container.id;
        let endpoints = self.endpoints.iter().filter(here);
        let published: Vec<_> = endpoints.flat_map(|one| one.ports.clone()).collect();
        let exposed = container.config.runtime.exposed_ports.keys().cloned();
        column(&published, &exposed.collect::<Vec<_>>())
    }
}

/// Returns how many volumes are mounted in a container.
pub(super) fn volumes(container: &Container) -> usize {
    let volumes = container.config.mounts.volumes.iter();
    volumes
        .filter(|volume| matches!(volume.source, VolumeSource::Named(_)))
        .count()
}

/// Returns what is mounted in a container, by name or path.
fn mounts(container: &Container) -> String {
    let volumes = container.config.mounts.volumes.iter();
    let names = volumes.map(|volume| match &volume.source {
        VolumeSource::Host(path) => path.to_string_lossy().into_owned(),
        VolumeSource::Named(name) | VolumeSource::Image { name, .. } => name.clone(),
        VolumeSource::Anonymous => String::new(),
    });
    names.collect::<Vec<_>>().join(",")
}

/// Returns how a container fares, as docker says it.
pub(super) fn status(found: &Found, now: Timestamp) -> String {
    let state = &found.state;
    let ago = |time: &Option<String>| human::since(time.as_deref(), now);
    let up = || {
        let since = ago(&state.started);
        format!("Up {}", since.strip_suffix(" ago").unwrap_or(&since))
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match &state.health {
            Some(health) if health.status == HealthStatus::Starting => {
                format!("{} (health: starting)", up())
            }
            Some(health) => format!("{} ({})", up(), health.status.name()),
            None => up(),
        },
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => {
            format!("Restarting ({}) {}", state.exit_code, ago(&state.finished))
        }
        Status::Exited => format!("Exited ({}) {}", state.exit_code, ago(&state.finished)),
    }
}

/// Returns the images that containers were made from.
pub(super) fn used_images(settings: &Settings) -> Result<BTreeSet<Digest>, Report> {
    let found = Containers::of(&settings.root)
        .list()
        .map_err(|error| Report::from_error(&error))?;
    Ok(found
        .into_iter()
        .map(|found| found.container.config.image_id)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::State;
    use crate::container::testing::found;

    fn render(args: &PsArgs) -> String {
        let time = |time: &str| Some(format!("2024-05-01T{time}:00Z"));
        let all = [
            found(
                'a',
                State {
                    status: Status::Running,
                    started: time("11:58"),
                    ..State::default()
                },
            ),
            found(
                'b',
                State {
                    status: Status::Exited,
                    exit_code: 3,
                    finished: time("11:00"),
                    ..State::default()
                },
            ),
            found(
                'c',
                State {
                    status: Status::Restarting,
                    exit_code: 1,
                    finished: time("11:59"),
                    ..State::default()
                },
            ),
        ];
        let connections = Connections::default();
        let shown = args.shown(&all, &connections).expect("valid");
        let now = "2024-05-01T12:00:00Z".parse().expect("valid");
        args.render(&shown, &connections, now)
    }

    #[test]
    fn running_containers_are_listed() {
        insta::assert_snapshot!(render(&PsArgs::default()), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS                              PORTS     NAMES
        aaaaaaaaaaaa   busybox   "sh -c sleep 100 && …"   2 hours ago   Up 2 minutes                                  a_name
        cccccccccccc   busybox   "sh -c sleep 100 && …"   2 hours ago   Restarting (1) About a minute ago             c_name
        "#);
    }

    #[test]
    fn all_containers_are_listed_on_demand() {
        insta::assert_snapshot!(render(&PsArgs { all: true, ..PsArgs::default() }), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS                              PORTS     NAMES
        aaaaaaaaaaaa   busybox   "sh -c sleep 100 && …"   2 hours ago   Up 2 minutes                                  a_name
        bbbbbbbbbbbb   busybox   "sh -c sleep 100 && …"   2 hours ago   Exited (3) About an hour ago                  b_name
        cccccccccccc   busybox   "sh -c sleep 100 && …"   2 hours ago   Restarting (1) About a minute ago             c_name
        "#);
        let quiet = PsArgs {
            all: true,
            quiet: true,
            ..PsArgs::default()
        };
        assert_eq!(render(&quiet), "aaaaaaaaaaaa\nbbbbbbbbbbbb\ncccccccccccc\n");
    }

    #[test]
    fn json_has_dockers_keys() {
        let json = PsArgs {
            format: Format::Json,
            ..PsArgs::default()
        };
        insta::assert_snapshot!(render(&json), @r#"
        {"Command":"\"sh -c sleep 100 && …\"","CreatedAt":"2024-05-01 10:00:00 +0000 UTC","HealthStatus":"","ID":"aaaaaaaaaaaa","IPAddresses":[],"Image":"busybox","Labels":"a=b","LocalVolumes":"0","Mounts":"","Names":"a_name","Networks":"","Ports":"","RunningFor":"2 hours ago","Size":"0B","State":"running","Status":"Up 2 minutes"}
        {"Command":"\"sh -c sleep 100 && …\"","CreatedAt":"2024-05-01 10:00:00 +0000 UTC","HealthStatus":"","ID":"cccccccccccc","IPAddresses":[],"Image":"busybox","Labels":"a=b","LocalVolumes":"0","Mounts":"","Names":"c_name","Networks":"","Ports":"","RunningFor":"2 hours ago","Size":"0B","State":"restarting","Status":"Restarting (1) About a minute ago"}
        "#);
    }
}
