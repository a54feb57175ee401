//! `cooper system`: the store as a whole.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use clap::{Args, Subcommand};
use cooper_cache::{Evict, GcOptions, ImageRecord, LayerId, Policy, StoreError, UsageEntry};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::confirm::confirmed;
use super::container::{Filters, failed, time};
use super::du::type_name;
use super::events::EventsArgs;
use super::images::{Format, short_id};
use super::info::InfoArgs;
use super::session::Session;
use super::table::Table;
use super::value::ValueError;
use super::{Settings, human};
use crate::container::record::written;
use crate::container::{Containers, Found, Volume, Volumes, users};
use crate::events::{Journal, Kind};
use crate::image::layer_sizes;
use crate::network::Networks;
use crate::report::{Report, print_data};

/// What is done with the store.
#[derive(Subcommand, Clone, Debug)]
#[command(defer = true)]
pub enum SystemCommand {
    /// Show what everything takes on disk
    Df(DfArgs),
    /// Show what happens to containers, images, networks and volumes
    Events(EventsArgs),
    /// Show where everything is, and what this machine can
    Info(InfoArgs),
    /// Remove everything that is not used
    Prune(PruneArgs),
}

impl SystemCommand {
    /// Does it.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        match self {
            Self::Df(args) => args.run(settings),
            Self::Events(args) => args.run(settings),
            Self::Info(args) => args.run(settings),
            Self::Prune(args) => args.run(settings),
        }
    }
}

/// Options of `cooper system df`.
#[derive(Args, Clone, Debug, Default)]
pub struct DfArgs {
    /// Show each image, container, volume and entry of the build cache
    #[arg(short, long)]
    pub verbose: bool,

    /// How to show it: table, json or a Go template, such as '{{.Type}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Options of `cooper system prune`.
#[derive(Args, Clone, Debug, Default)]
pub struct PruneArgs {
    /// Images that no container uses too, named or not, and the whole build cache
    #[arg(short, long)]
    pub all: bool,

    /// Volumes without a name too
    #[arg(long)]
    pub volumes: bool,

    /// Only what fits: until=TIME, label=NAME[=VALUE] or label!=NAME[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// Everything that takes place.
struct Usage {
    images: Vec<ImageRecord>,
    names: HashMap<String, Vec<String>>,
    containers: Vec<Found>,
    volumes: Vec<(Volume, u64)>,
    /// What the layers of images hold.
    sizes: HashMap<LayerId, u64>,
    /// Layers, and cache mounts.
    entries: Vec<UsageEntry>,
}

/// One line of the summary.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    name: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

impl Part {
    fn reclaimable(&self) -> String {
        match (self.reclaimable * 100).checked_div(self.bytes) {
            Some(percent) => format!("{} ({percent}%)", human::size(self.reclaimable)),
            None => human::size(self.reclaimable),
        }
    }

    fn json(&self) -> Value {
        json!({
            "Active": self.active.to_string(),
            "Reclaimable": self.reclaimable(),
            "Size": human::size(self.bytes),
            "TotalCount": self.total.to_string(),
            "Type": self.name,
        })
    }
}

impl Usage {
    fn of(session: &Session) -> Result<Self, Report> {
        let store = &session.store;
        let images = store.images().list();
        let images = images.map_err(|error| Report::from_error(&error))?;
        let names = images.iter().map(|(record, names)| {
            let names = names.iter().map(cooper_oci::Reference::familiar);
            (record.id.to_string(), names.collect())
        });
        let volumes = Volumes::of(store.root());
        let listed = volumes.list().map_err(|error| failed(&error))?;
        let sized = listed.into_iter().map(|volume| {
            let bytes = human::bytes_below(&volumes.data(&volume.name));
            (volume, bytes)
        });
        let entries = store.usage_entries();
        let layers = store.layers();
        let sizes = images.iter().flat_map(|(record, _)| {
            let sizes = layer_sizes(&layers, record);
            record
                .layers
                .iter()
                .map(|layer| layer.layer.clone())
                .zip(sizes)
        });
        Ok(Self {
            sizes: sizes.collect(),
            names: names.collect(),
            containers: Containers::of(store.root())
                .list()
                .map_err(|error| failed(&error))?,
            volumes: sized.collect(),
            entries: entries.map_err(|error| Report::from_error(&error))?,
            images: images.into_iter().map(|(record, _)| record).collect(),
        })
    }

    /// Returns how many containers were made from an image.
    fn containers_of(&self, image: &ImageRecord) -> usize {
        let made = |found: &&Found| found.container.config.image_id == image.id;
        self.containers.iter().filter(made).count()
    }

    /// Returns the bytes of the layers of `images`, each counted once.
    fn bytes_of<'a>(&self, images: impl Iterator<Item = &'a ImageRecord>) -> u64 {
        let layers: BTreeSet<&LayerId> = images
            .flat_map(|image| image.layers.iter().map(|layer| &layer.layer))
            .collect();
        let sizes = layers.iter().filter_map(|id| self.sizes.get(id));
        sizes.sum()
    }

    /// Returns the entries of the build cache: layers that no image or container needs, and cache
    /// mounts.
    fn cache(&self) -> impl Iterator<Item = &UsageEntry> {
        self.entries.iter().filter(|entry| !entry.in_use)
    }

    fn parts(&self) -> [Part; 4] {
        let used: Vec<_> = self
            .images
            .iter()
            .filter(|image| self.containers_of(image) > 0)
            .collect();
        let image_bytes = self.bytes_of(self.images.iter());
        let written = |found: &Found| human::bytes_below(&written(&found.dir).0);
        let stopped = self.containers.iter().filter(|found| !found.is_active());
        let unused = |volume: &&(Volume, u64)| users(&self.containers, &volume.0.name).is_empty();
        let cache: u64 = self.cache().map(|entry| entry.bytes).sum();
        [
            Part {
                name: "Images",
                total: self.images.len(),
                active: used.len(),
                bytes: image_bytes,
                reclaimable: image_bytes.saturating_sub(self.bytes_of(used.into_iter())),
            },
            Part {
                name: "Containers",
                total: self.containers.len(),
                active: self
                    .containers
                    .iter()
                    .filter(|found| found.is_active())
                    .count(),
                bytes: self.containers.iter().map(written).sum(),
                reclaimable: stopped.map(written).sum(),
            },
            Part {
                name: "Local Volumes",
                total: self.volumes.len(),
                active: self.volumes.len() - self.volumes.iter().filter(unused).count(),
                bytes: self.volumes.iter().map(|(_, bytes)| bytes).sum(),
                reclaimable: self
                    .volumes
                    .iter()
                    .filter(unused)
                    .map(|(_, bytes)| bytes)
                    .sum(),
            },
            Part {
                name: "Build Cache",
                total: self.cache().count(),
                active: 0,
                bytes: cache,
                reclaimable: cache,
            },
        ]
    }

    fn image_lines(&self, now: Timestamp) -> Vec<Value> {
        let lines = self.images.iter().map(|image| {
            let others = self.images.iter().filter(|other| other.id != image.id);
            let others: Vec<_> = others.collect();
            let own = self.bytes_of(std::iter::once(image));
            let all = self.bytes_of(others.iter().copied().chain([image]));
            let unique = all.saturating_sub(self.bytes_of(others.into_iter()));
            let names = self.names.get(&image.id.to_string());
            let name = names.and_then(|names| names.first());
            let (repository, tag) = name
                .and_then(|name| name.rsplit_once(':'))
                .unwrap_or(("<none>", "<none>"));
            json!({
                "Repository": repository,
                "Tag": tag,
                "ID": short_id(&image.id.to_string()),
                "CreatedSince": human::since(image.created.as_deref(), now),
                "Size": human::size(own),
                "SharedSize": human::size(own.saturating_sub(unique)),
                "UniqueSize": human::size(unique),
                "Containers": self.containers_of(image).to_string(),
            })
        });
        lines.collect()
    }

    fn container_lines(&self, now: Timestamp) -> Vec<Value> {
        let lines = self.containers.iter().map(|found| {
            let container = &found.container;
            json!({
                "ID": container.short(),
                "Image": container.config.image,
                "Command": format!("\"{}\"", container.config.args().join(" ")),
                "LocalVolumes": super::ps::volumes(container).to_string(),
                "Size": human::size(human::bytes_below(&written(&found.dir).0)),
                "RunningFor": human::since(Some(&container.created), now),
                "Status": super::ps::status(found, now),
                "Names": container.name,
            })
        });
        lines.collect()
    }

    fn volume_lines(&self) -> Vec<Value> {
        let lines = self.volumes.iter().map(|(volume, bytes)| {
            json!({
                "Name": volume.name,
                "Links": users(&self.containers, &volume.name).len().to_string(),
                "Size": human::size(*bytes),
            })
        });
        lines.collect()
    }

    fn cache_lines(&self, now: Timestamp) -> Vec<Value> {
        let lines = self.cache().map(|entry| {
            let used = match entry.last_used {
                0 => String::new(),
                used => format!("{} ago", human::duration(now.as_second() - used)),
            };
            json!({
                "ID": entry.id,
                "CacheType": type_name(entry.kind),
                "Size": human::size(entry.bytes),
                "LastUsedSince": used,
                "UsageCount": entry.uses.to_string(),
                "Shared": entry.shared.to_string(),
            })
        });
        lines.collect()
    }

    fn document(&self, now: Timestamp) -> Value {
        json!({
            "Images": self.image_lines(now),
            "Containers": self.container_lines(now),
            "Volumes": self.volume_lines(),
            "BuildCache": self.cache_lines(now),
        })
    }

    fn verbose(&self, now: Timestamp) -> String {
        let document = self.document(now);
        let part = |title: &str, of: &str, columns: &[(&str, &str)]| {
            let mut table = Table::list(columns.iter().map(|(header, _)| *header));
            for line in document[of].as_array().into_iter().flatten() {
                let cells = columns
                    .iter()
                    .map(|(_, key)| line[key].as_str().unwrap_or_default());
                table.row(cells);
            }
            format!("{title}\n\n{}\n", table.render())
        };
        let cache: u64 = self.cache().map(|entry| entry.bytes).sum();
        [
            part(
                "Images space usage:",
                "Images",
                &[
                    ("REPOSITORY", "Repository"),
                    ("TAG", "Tag"),
                    ("IMAGE ID", "ID"),
                    ("CREATED", "CreatedSince"),
                    ("SIZE", "Size"),
                    ("SHARED SIZE", "SharedSize"),
                    ("UNIQUE SIZE", "UniqueSize"),
                    ("CONTAINERS", "Containers"),
                ],
            ),
            part(
                "Containers space usage:",
                "Containers",
                &[
                    ("CONTAINER ID", "ID"),
                    ("IMAGE", "Image"),
                    ("COMMAND", "Command"),
                    ("LOCAL VOLUMES", "LocalVolumes"),
                    ("SIZE", "Size"),
                    ("CREATED", "RunningFor"),
                    ("STATUS", "Status"),
                    ("NAMES", "Names"),
                ],
            ),
            part(
                "Local Volumes space usage:",
                "Volumes",
                &[
                    ("VOLUME NAME", "Name"),
                    ("LINKS", "Links"),
                    ("SIZE", "Size"),
                ],
            ),
            part(
                &format!("Build cache usage: {}", human::size(cache)),
                "BuildCache",
                &[
                    ("CACHE ID", "ID"),
                    ("CACHE TYPE", "CacheType"),
                    ("SIZE", "Size"),
                    ("LAST USED", "LastUsedSince"),
                    ("USAGE", "UsageCount"),
                    ("SHARED", "Shared"),
                ],
            ),
        ]
        .concat()
    }
}

impl DfArgs {
    /// Prints what everything takes.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let usage = Usage::of(&session)?;
        let now = Timestamp::now();
        if self.verbose {
            let one = || std::iter::once(usage.document(now));
            return match self.format.render("ID", one()) {
                Some(text) => print_data(&text?),
                None if self.format == Format::Json => {
                    print_data(&format!("{}\n", usage.document(now)))
                }
                None => print_data(&usage.verbose(now)),
            };
        }
        let parts = usage.parts();
        let values = parts.iter().map(Part::json);
        match self.format.render("ID", values.clone()) {
            Some(text) => print_data(&text?),
            None if self.format == Format::Json => print_data(
                &values
                    .map(|value| value.to_string() + "\n")
                    .collect::<String>(),
            ),
            None => print_data(&summary(&parts)),
        }
    }
}

fn summary(parts: &[Part]) -> String {
    let mut table = Table::list(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    for part in parts {
        table.row([
            part.name.to_owned(),
            part.total.to_string(),
            part.active.to_string(),
            human::size(part.bytes),
            part.reclaimable(),
        ]);
    }
    table.render()
}

impl PruneArgs {
    /// Removes what nothing uses.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        Limit::parse(&self.filter)?;
        let filters = Filters::parse(&self.filter)?;
        if self.volumes && self.filter.iter().any(|text| text.starts_with("until")) {
            return Err(
                Report::new("The \"until\" filter is not supported with \"--volumes\"")
                    .hint("what is in a volume has no age: prune the volumes by themselves"),
            );
        }
        if !self.force && !confirmed(&self.what())? {
            return Ok(());
        }
        let mut bytes = 0;
        let containers = super::container::prune(settings, &filters)?;
        bytes += print_part("Containers", containers)?;
        let session = Session::open(settings)?;
        let networks = Networks::of(session.store.root(), session.rootless);
        networks
            .sweep()
            .map_err(|error| Report::from_error(&error))?;
        let removed = super::network::prune_filtered(&networks, &self.filter)?;
        print_part("Networks", (removed, 0))?;
        if self.volumes {
            let removed = super::volume::prune_anonymous(settings, &self.filter)?;
            bytes += print_part("Volumes", removed)?;
        }
        bytes += self.images(&session)?;
        print_data(&format!("Total reclaimed space: {}\n", human::size(bytes)))
    }

    /// Returns what is to be removed, for the question.
    fn what(&self) -> String {
        let mut what = vec![
            "all containers that do not run",
            "all networks without containers",
        ];
        what.extend(
            self.volumes
                .then_some("all volumes without a name or a container"),
        );
        what.push(if self.all {
            "all images without a container"
        } else {
            "all images without a name"
        });
        what.extend(self.all.then_some("the build cache"));
        what.join(", ")
    }

    /// Removes images and the build cache, and returns the bytes.
    fn images(&self, session: &Session) -> Result<u64, Report> {
        let stored = |error: StoreError| Report::from_error(&error);
        let limit = Limit::parse(&self.filter)?;
        let containers = Containers::of(session.store.root()).list();
        let used: BTreeSet<_> = containers
            .map_err(|error| failed(&error))?
            .into_iter()
            .map(|found| found.container.config.image_id)
            .collect();
        let images = session.store.images();
        for (record, names) in images.list().map_err(stored)? {
            let wanted = names.is_empty() || self.all;
            if !wanted || used.contains(&record.id) || !limit.admits(session, &record)? {
                continue;
            }
            for name in &names {
                images.untag(name).map_err(stored)?;
                session.tell("untag", record.id.to_string(), &name.familiar());
                print_data(&format!("untagged: {}\n", name.familiar()))?;
            }
            images.remove(&record.id).map_err(stored)?;
            session.tell("delete", record.id.to_string(), &record.id.to_string());
            print_data(&format!("deleted: {}\n", record.id))?;
        }
        let cache = if self.all && limit.labels.is_empty() {
            Evict::By(limit.policy())
        } else {
            Evict::Nothing
        };
        let with_cache = !matches!(cache, Evict::Nothing);
        let taken = session.store.gc(&GcOptions {
            dry_run: false,
            cache,
            dangling_images: false,
        });
        let bytes = taken.map_err(stored)?.bytes;
        let journal = Journal::of(session.store.root());
        // Images and the cache share their layers: what both gave back is told once, of images.
        journal.tell_pruned(Kind::Image, bytes);
        if with_cache {
            journal.tell_pruned(Kind::Builder, 0);
        }
        Ok(bytes)
    }
}

/// What `--filter` says of images and the build cache.
#[derive(Debug, Default)]
struct Limit {
    /// Only what is older.
    until: Option<Timestamp>,
    /// Labels that an image must have, or must not.
    labels: Vec<(String, Option<String>, bool)>,
}

impl Limit {
    fn parse(texts: &[String]) -> Result<Self, Report> {
        let mut limit = Self::default();
        for text in texts {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            match key {
                "until" => limit.until = Some(time("--filter", value, Timestamp::now())?),
                "label" | "label!" => {
                    let (name, value) = match value.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (value, None),
                    };
                    limit.labels.push((name.to_owned(), value, key == "label"));
                }
                _ => {
                    let error = ValueError::unknown("filter", key, &["until", "label", "label!"]);
                    return Err(error.report("--filter", text));
                }
            }
        }
        Ok(limit)
    }

    fn admits(&self, session: &Session, image: &ImageRecord) -> Result<bool, Report> {
        let created = image.created.as_deref();
        let created = created.and_then(|time| time.parse::<Timestamp>().ok());
        if let Some(until) = self.until
            && created.is_none_or(|created| created >= until)
        {
            return Ok(false);
        }
        if self.labels.is_empty() {
            return Ok(true);
        }
        let labels = session.config(image)?.config.labels;
        Ok(self.labels.iter().all(|(name, value, wanted)| {
            let has = labels.get(name);
            let fits = has.is_some() && (value.is_none() || has == value.as_ref());
            fits == *wanted
        }))
    }

    fn policy(&self) -> Policy {
        let age = self
            .until
            .map(|until| Timestamp::now().duration_since(until));
        Policy {
            keep_duration: age.and_then(|age| Duration::try_from(age).ok()),
            ..Policy::default()
        }
    }
}

/// Prints what was removed of one kind, and returns the bytes.
fn print_part(title: &str, (names, bytes): (Vec<String>, u64)) -> Result<u64, Report> {
    if !names.is_empty() {
        print_data(&format!("Deleted {title}:\n{}\n\n", names.join("\n")))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_dockers_columns() {
        let part = |name, total, active, bytes, reclaimable| Part {
            name,
            total,
            active,
            bytes,
            reclaimable,
        };
        let parts = [
            part("Images", 5, 2, 16_430_000, 11_630_000),
            part("Containers", 2, 0, 212, 212),
            part("Local Volumes", 2, 1, 36, 0),
            part("Build Cache", 0, 0, 0, 0),
        ];
        insta::assert_snapshot!(summary(&parts), @r"
        TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images          5         2         16.4MB    11.6MB (70%)
        Containers      2         0         212B      212B (100%)
        Local Volumes   2         1         36B       0B (0%)
        Build Cache     0         0         0B        0B
        ");
        assert_eq!(parts[0].json()["Reclaimable"], "11.6MB (70%)");
    }
}
