//! `cooper volume`: directories that outlive containers.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::confirm::confirmed;
use super::container::failed;
use super::images::Format;
use super::inspect::Shape;
use super::session::Session;
use super::table::Table;
use super::value::{ValueError, each, pair};
use super::{Settings, human};
use crate::container::{ANONYMOUS, Containers, Found, Volume, Volumes, is_volume_name, users};
use crate::events::{Journal, Kind};
use crate::report::{Exit, Report, print_data};

/// What is done with volumes.
#[derive(Subcommand, Clone, Debug)]
#[command(defer = true)]
pub enum VolumeCommand {
    /// Make a volume
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show everything about volumes
    Inspect(InspectArgs),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Remove volumes that no container mounts
    Prune(PruneArgs),
}

/// Options of `cooper volume create`.
#[derive(Args, Clone, Debug, Default)]
pub struct CreateArgs {
    /// Its name; one is made up when absent
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,

    /// What keeps it: local
    #[arg(short, long, default_value = "local")]
    pub driver: String,

    /// Labels
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,

    /// type=none, o=bind and device=DIR show a directory of this machine
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
}

/// Options of `cooper volume ls`.
#[derive(Args, Clone, Debug, Default)]
pub struct LsArgs {
    /// Show only names
    #[arg(short, long)]
    pub quiet: bool,

    /// Show only some: dangling=, driver=, label=, name=
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,

    /// How to show them: table, json or a Go template, such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Options of `cooper volume inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,

    /// Show what a Go template gives for each; json is all of it in one line
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<Shape>,
}

/// Options of `cooper volume rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    pub volumes: Vec<String>,

    /// Be content where there is no such volume
    #[arg(short, long)]
    pub force: bool,
}

/// Options of `cooper volume prune`.
#[derive(Args, Clone, Debug, Default)]
pub struct PruneArgs {
    /// Those with a name too
    #[arg(short, long)]
    pub all: bool,

    /// Remove only some: label=, label!=
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// The volumes and containers of a store.
struct Scene {
    journal: Journal,
    volumes: Volumes,
    containers: Vec<Found>,
}

impl Scene {
    fn open(settings: &Settings) -> Result<Self, Report> {
        let session = Session::open(settings)?;
        let root = session.store.root();
        let containers = Containers::of(root).list();
        Ok(Self {
            journal: Journal::of(root),
            volumes: Volumes::of(root),
            containers: containers.map_err(|error| failed(&error))?,
        })
    }

    fn list(&self) -> Result<Vec<Volume>, Report> {
        self.volumes.list().map_err(|error| failed(&error))
    }

    fn is_used(&self, volume: &Volume) -> bool {
        !users(&self.containers, &volume.name).is_empty()
    }

    fn find(&self, name: &str) -> Result<Volume, Report> {
        let found = self.volumes.find(name).map_err(|error| failed(&error))?;
        found.ok_or_else(|| missing(name))
    }
}

/// Returns that there is no volume of that name.
pub(super) fn missing(name: &str) -> Report {
    Report::new(format!("no such volume: {name}")).hint("`cooper volume ls` lists them")
}

/// Returns docker's description of a volume.
pub(super) fn document(volumes: &Volumes, volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volumes.data(&volume.name),
        "Name": volume.name,
        "Options": volume.options,
        "Scope": "local",
    })
}

impl VolumeCommand {
    /// Does it.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        match self {
            // What is wrong with the arguments is said before anything is opened.
            Self::Create(args) => args.run(&args.resolve()?, settings),
            Self::Ls(args) => args.run(&Scene::open(settings)?),
            Self::Inspect(args) => args.run(&Scene::open(settings)?),
            Self::Rm(args) => args.run(&Scene::open(settings)?),
            Self::Prune(args) => args.run(settings),
        }
    }
}

impl CreateArgs {
    fn run(&self, volume: &Volume, settings: &Settings) -> Result<(), Report> {
        let scene = Scene::open(settings)?;
        let before = scene
            .volumes
            .find(&volume.name)
            .map_err(|error| failed(&error))?;
        if before.is_some_and(|before| !self.opt.is_empty() && before.options != volume.options) {
            return Err(Report::new(format!(
                "volume {} exists with other options",
                volume.name
            )));
        }
        scene
            .volumes
            .create(volume)
            .map_err(|error| failed(&error))?;
        print_data(&format!("{}\n", volume.name))
    }

    /// Returns what these arguments ask for.
    fn resolve(&self) -> Result<Volume, Report> {
        if self.driver != "local" {
            let error = ValueError::unknown("driver", &self.driver, &["local"]);
            return Err(error.report("--driver", &self.driver));
        }
        let pairs = |option, texts: &[String]| -> Result<BTreeMap<String, String>, Report> {
            let pairs = each(option, texts, pair)?.into_iter();
            Ok(pairs
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect())
        };
        let mut labels = pairs("--label", &self.label)?;
        let name = match &self.name {
            Some(name) if is_volume_name(name) => name.clone(),
            Some(name) => {
                return Err(Report::new(format!("{name:?} cannot be a volume's name"))
                    .hint("a name has letters, digits, '_', '.' and '-', two at least"));
            }
            None => {
                labels.insert(ANONYMOUS.into(), String::new());
                crate::container::random_id().map_err(|error| Report::from_error(&error))?
            }
        };
        Ok(Volume {
            name,
            created: Timestamp::now().to_string(),
            labels,
            options: check_options(pairs("--opt", &self.opt)?)
                .map_err(|error| error.report("--opt", &self.opt.join(",")))?,
        })
    }
}

/// Refuses options that docker's driver does not have, or that say only half of it.
pub(in crate::cli) fn check_options(
    options: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ValueError> {
    const KNOWN: [&str; 3] = ["type", "o", "device"];
    if let Some(name) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(ValueError::unknown("option", name, &KNOWN));
    }
    let words = options.get("o").map(String::as_str).unwrap_or_default();
    let bound = words
        .split(',')
        .any(|word| matches!(word, "bind" | "rbind"));
    match options.get("device").map(std::path::Path::new) {
        None if options.is_empty() => Ok(options),
        None => Err(ValueError::new("no device").hint(
            "write device=/DIR with type=none and o=bind, device=tmpfs with type=tmpfs, \
             device=:/PATH with type=nfs and o=addr=HOST",
        )),
        Some(device) if bound && !device.is_absolute() => Err(ValueError::new(format!(
            "the device {} of a bind is no absolute path",
            device.display()
        ))),
        Some(_) if !bound && !options.contains_key("type") => {
            Err(ValueError::new("no type of file system").hint("such as type=tmpfs, nfs or ext4"))
        }
        Some(_) => Ok(options),
    }
}

impl LsArgs {
    fn run(&self, scene: &Scene) -> Result<(), Report> {
        let filters = each("--filter", &self.filter, Filter::parse)?;
        let mut volumes = scene.list()?;
        volumes.retain(|volume| Filter::all_match(&filters, volume, scene.is_used(volume)));
        if self.quiet {
            return print_data(&names(&volumes));
        }
        let values = volumes.iter().map(|volume| line(scene, volume));
        match self.format.render("ID", values.clone()) {
            Some(text) => print_data(&text?),
            None if self.format == Format::Json => print_data(
                &values
                    .map(|value| value.to_string() + "\n")
                    .collect::<String>(),
            ),
            None => {
                let mut table = Table::list(["DRIVER", "VOLUME NAME"]);
                for volume in &volumes {
                    table.row(["local", &volume.name]);
                }
                print_data(&table.render())
            }
        }
    }
}

/// Returns a volume with the keys that docker's list has.
fn line(scene: &Scene, volume: &Volume) -> Value {
    let labels = volume.labels.iter();
    let labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    json!({
        "Availability": "N/A",
        "Driver": "local",
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": scene.volumes.data(&volume.name),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}

fn names(volumes: &[Volume]) -> String {
    volumes
        .iter()
        .map(|volume| volume.name.clone() + "\n")
        .collect()
}

impl InspectArgs {
    fn run(&self, scene: &Scene) -> Result<(), Report> {
        let (mut documents, mut failures) = (Vec::new(), Vec::new());
        for name in &self.volumes {
            match scene.find(name) {
                Ok(volume) => documents.push(document(&scene.volumes, &volume)),
                Err(report) => failures.push(report),
            }
        }
        match &self.format {
            None => {
                let text = serde_json::to_string_pretty(&documents).unwrap_or_default();
                print_data(&format!("{}\n", text.replace("  ", "    ")))?;
            }
            Some(shape) => shape.print(documents, "volume")?,
        }
        Report::of_all(failures)
    }
}

impl RmArgs {
    fn run(&self, scene: &Scene) -> Result<(), Report> {
        let mut failures = Vec::new();
        for name in &self.volumes {
            match self.remove(scene, name) {
                Ok(()) => print_data(&format!("{name}\n"))?,
                Err(report) => failures.push(report.exit(Exit::Code(1))),
            }
        }
        Report::of_all(failures)
    }

    fn remove(&self, scene: &Scene, name: &str) -> Result<(), Report> {
        match scene.find(name) {
            Err(_) if self.force => return Ok(()),
            found => found?,
        };
        let users = users(&scene.containers, name);
        if !users.is_empty() {
            let users = users.iter().map(|found| found.container.name.as_str());
            let users: Vec<_> = users.collect();
            return Err(
                Report::new(format!("volume {name} is in use")).hint(format!(
                    "remove the containers that mount it first: {}",
                    users.join(", ")
                )),
            );
        }
        scene.volumes.remove(name).map_err(|error| failed(&error))
    }
}

impl PruneArgs {
    fn run(&self, settings: &Settings) -> Result<(), Report> {
        let mut texts = self.filter.clone();
        // Docker's older spelling of --all.
        let all = self.all
            || texts
                .iter()
                .any(|text| matches!(&**text, "all=true" | "all=1" | "all"));
        texts.retain(|text| !text.starts_with("all"));
        let filters = each("--filter", &texts, Filter::parse)?;
        let what = if all {
            "all volumes that no container mounts"
        } else {
            "all volumes without a name that no container mounts"
        };
        if !self.force && !confirmed(what)? {
            return Ok(());
        }
        let scene = Scene::open(settings)?;
        let (removed, bytes) = prune(&scene, all, &filters)?;
        let deleted = if removed.is_empty() {
            String::new()
        } else {
            format!("Deleted Volumes:\n{}\n", names(&removed))
        };
        print_data(&format!(
            "{deleted}Total reclaimed space: {}\n",
            human::size(bytes)
        ))
    }
}

/// Removes volumes that no container mounts, and returns them and the bytes that they took.
fn prune(scene: &Scene, all: bool, filters: &[Filter]) -> Result<(Vec<Volume>, u64), Report> {
    let mut volumes = scene.list()?;
    volumes.retain(|volume| {
        (all || volume.is_anonymous())
            && !scene.is_used(volume)
            && Filter::all_match(filters, volume, false)
    });
    let mut bytes = 0;
    for volume in &volumes {
        bytes += human::bytes_below(&scene.volumes.data(&volume.name));
        let removed = scene.volumes.remove(&volume.name);
        removed.map_err(|error| failed(&error))?;
    }
    scene.journal.tell_pruned(Kind::Volume, bytes);
    Ok((volumes, bytes))
}

/// Removes volumes without a name that no container mounts, for `cooper system prune`.
pub(super) fn prune_anonymous(
    settings: &Settings,
    filters: &[String],
) -> Result<(Vec<String>, u64), Report> {
    let filters = each("--filter", filters, Filter::parse)?;
    let (volumes, bytes) = prune(&Scene::open(settings)?, false, &filters)?;
    Ok((
        volumes.into_iter().map(|volume| volume.name).collect(),
        bytes,
    ))
}

/// One `--filter`.
#[derive(Clone, Debug)]
enum Filter {
    Dangling(bool),
    Driver(String),
    Label(String, Option<String>),
    NoLabel(String, Option<String>),
    Name(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, ValueError> {
        const KNOWN: [&str; 4] = ["dangling", "driver", "label", "name"];
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| ValueError::new("not a filter").hint("write KEY=VALUE"))?;
        let label = || match value.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        };
        Ok(match key {
            "dangling" => Self::Dangling(super::value::boolean(key, value)?),
            "driver" => Self::Driver(value.to_owned()),
            "label" => {
                let (name, value) = label();
                Self::Label(name, value)
            }
            "label!" => {
                let (name, value) = label();
                Self::NoLabel(name, value)
            }
            "name" => Self::Name(value.to_owned()),
            _ => return Err(ValueError::unknown("filter", key, &KNOWN)),
        })
    }

    fn all_match(filters: &[Self], volume: &Volume, used: bool) -> bool {
        let labelled = |name: &String, value: &Option<String>| match value {
            Some(value) => volume.labels.get(name) == Some(value),
            None => volume.labels.contains_key(name),
        };
        let named: Vec<_> = filters
            .iter()
            .filter_map(|filter| match filter {
                Self::Name(name) => Some(volume.name.contains(name.as_str())),
                _ => None,
            })
            .collect();
        // Names are alternatives.
        (named.is_empty() || named.contains(&true))
            && filters.iter().all(|filter| match filter {
                Self::Dangling(wanted) => *wanted != used,
                Self::Driver(driver) => driver == "local",
                Self::Label(name, value) => labelled(name, value),
                Self::NoLabel(name, value) => !labelled(name, value),
                Self::Name(_) => true,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_volumes_admit_what_they_say() {
        let volume = Volume {
            name: "web-data".into(),
            labels: [("tier".to_owned(), "db".to_owned())].into(),
            ..Volume::default()
        };
        for (texts, expected) in [
            (&["name=data"][..], true),
            (&["name=x", "name=web"], true),
            (&["name=x"], false),
            (&["label=tier"], true),
            (&["label=tier=db", "dangling=false"], true),
            (&["label=tier=web"], false),
            (&["label!=tier"], false),
            (&["dangling=true"], false),
            (&["driver=local"], true),
            (&["driver=nfs"], false),
        ] {
            let filters: Vec<_> = texts.iter().map(|text| Filter::parse(text)).collect();
            let filters: Result<Vec<_>, _> = filters.into_iter().collect();
            let found = Filter::all_match(&filters.expect("valid"), &volume, true);
            assert_eq!(found, expected, "{texts:?}");
        }
        assert!(Filter::parse("colour=red").is_err() && Filter::parse("name").is_err());
    }

    #[test]
    fn the_options_of_a_volume_go_together() {
        let options = |texts: &[&str]| {
            let pairs = texts.iter().filter_map(|text| text.split_once('='));
            let pairs = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            check_options(pairs).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
        };
        for (texts, said) in [
            (&[][..], "fine"),
            (&["type=none", "o=bind", "device=/srv"], "fine"),
            (&["o=bind", "device=/srv"], "fine"),
            (&["type=tmpfs", "device=tmpfs", "o=size=1m,uid=8"], "fine"),
            (&["type=nfs", "o=addr=1.2.3.4", "device=:/x"], "fine"),
            (
                &["type=none", "o=bind", "device=srv"],
                "the device srv of a bind is no absolute path",
            ),
            (&["type=tmpfs"], "no device"),
            (&["device=/dev/sdz"], "no type of file system"),
        ] {
            assert_eq!(options(texts), said, "{texts:?}");
        }
        assert!(options(&["size=1g"]).contains("size"));
    }
}
