//! `cooper ps`: the list of containers.

use std::collections::BTreeSet;

use clap::Args;
use cooper_oci::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::Format;
use super::session::Session;
use super::table::{Table, shorten};
use super::value::ValueError;
use super::{Settings, human};
use crate::container::{Container, Containers, Found, HealthStatus, Status, VolumeSource};
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
        let now = Timestamp::now();
        let found = self.shown(&found)?;
        let values = found.iter().map(|found| self.json(found, now));
        match self.format.render("CONTAINER ID", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&found, now)),
        }
    }

    /// Returns which of `found`, youngest first, are shown.
    fn shown(&self, found: &[Found]) -> Result<Vec<Found>, Report> {
        let filters = parse_filters(&self.filter)?;
        let of_state = filters.iter().any(Filter::is_of_state);
        let last = if self.latest { Some(1) } else { self.last };
        let all = self.all || of_state || last.is_some();
        let fits = |one: &Found| {
            (all || one.state.status.is_active())
                && filters.iter().all(|filter| filter.admits(one, found))
        };
        let fitting: Vec<_> = found.iter().filter(|one| fits(one)).cloned().collect();
        Ok(fitting
            .into_iter()
            .take(last.unwrap_or(usize::MAX))
            .collect())
    }

    fn render(&self, found: &[Found], now: Timestamp) -> String {
        let shown = found.iter();
        if self.quiet {
            return shown
                .map(|found| self.id(&found.container).to_owned() + "\n")
                .collect();
        }
        if self.format == Format::Json {
            return shown
                .map(|found| self.json(found, now).to_string() + "\n")
                .collect();
        }
        let mut header = vec![
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "NAMES",
        ];
        header.extend(self.size.then_some("SIZE"));
        let mut table = Table::new(header);
        for found in shown {
            let container = &found.container;
            let mut row = vec![
                self.id(container).to_owned(),
                container.config.image.clone(),
                self.command(container),
                human::since(Some(&container.created), now),
                status(found, now),
                container.name.clone(),
            ];
            row.extend(self.size.then(|| written(found)));
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

    fn json(&self, found: &Found, now: Timestamp) -> Value {
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
            "ID": self.id(container),
            "Image": container.config.image,
            "Labels": labels.join(","),
            "LocalVolumes": container.anonymous_volumes.len().to_string(),
            "Mounts": mounts(container),
            "Names": container.name,
            "RunningFor": human::since(Some(&container.created), now),
            "Size": if self.size { written(found) } else { "0B".to_owned() },
            "State": found.state.status.name(),
            "Status": status(found, now),
        })
    }
}

/// Returns how much a container has written.
fn written(found: &Found) -> String {
    human::size(human::bytes_below(&found.dir.join("fs")))
}

/// Returns what is mounted in a container, by name or path.
fn mounts(container: &Container) -> String {
    let volumes = container.config.mounts.volumes.iter();
    let names = volumes.map(|volume| match &volume.source {
        VolumeSource::Host(path) => path.to_string_lossy().into_owned(),
        VolumeSource::Named(name) => name.clone(),
        VolumeSource::Anonymous => String::new(),
    });
    names.collect::<Vec<_>>().join(",")
}

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
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
    Until(Timestamp),
}

/// Parses the values of `--filter`. As docker's, those of one kind are alternatives where one
/// container has only one such value.
pub(super) fn parse_filters(texts: &[String]) -> Result<Vec<Filter>, Report> {
    texts
        .iter()
        .map(|text| filter(text).map_err(|error| error.report("--filter", text)))
        .collect()
}

fn filter(text: &str) -> Result<Filter, ValueError> {
    const KNOWN: [&str; 11] = [
        "id", "name", "label", "status", "exited", "ancestor", "before", "since", "health",
        "volume", "until",
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
        "until" => Filter::Until(
            super::container::parse_time(value, Timestamp::now())
                .ok_or_else(|| ValueError::new("not a time"))?,
        ),
        _ => return Err(ValueError::unknown("filter", key, &KNOWN)),
    })
}

impl Filter {
    /// Returns whether it asks for containers that do not run, so that -a goes without saying.
    fn is_of_state(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Exited(_))
    }

    /// Returns whether `found`, one of `all`, fits.
    pub(super) fn admits(&self, found: &Found, all: &[Found]) -> bool {
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
            Self::Until(time) => container
                .created
                .parse::<Timestamp>()
                .is_ok_and(|created| created < *time),
        }
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

    fn found(id: char, state: State) -> Found {
        let mut config = crate::container::testing::config(false);
        config.runtime.cmd = Some(
            ["sh", "-c", "sleep 100 && echo done"]
                .map(str::to_owned)
                .into(),
        );
        config.runtime.labels = [("a".to_owned(), "b".to_owned())].into();
        let container = Container {
            id: id.to_string().repeat(64),
            name: format!("{id}_name"),
            created: "2024-05-01T10:00:00Z".into(),
            config,
            anonymous_volumes: Vec::new(),
        };
        Found {
            live: state.status.is_active(),
            container,
            state,
            dir: "/c".into(),
        }
    }

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
        let shown = args.shown(&all).expect("valid");
        args.render(&shown, "2024-05-01T12:00:00Z".parse().expect("valid"))
    }

    #[test]
    fn running_containers_are_listed() {
        insta::assert_snapshot!(render(&PsArgs::default()), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS                              NAMES
        aaaaaaaaaaaa   busybox   "sh -c sleep 100 && …"   2 hours ago   Up 2 minutes                        a_name
        cccccccccccc   busybox   "sh -c sleep 100 && …"   2 hours ago   Restarting (1) About a minute ago   c_name
        "#);
    }

    #[test]
    fn all_containers_are_listed_on_demand() {
        insta::assert_snapshot!(render(&PsArgs { all: true, ..PsArgs::default() }), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS                              NAMES
        aaaaaaaaaaaa   busybox   "sh -c sleep 100 && …"   2 hours ago   Up 2 minutes                        a_name
        bbbbbbbbbbbb   busybox   "sh -c sleep 100 && …"   2 hours ago   Exited (3) About an hour ago        b_name
        cccccccccccc   busybox   "sh -c sleep 100 && …"   2 hours ago   Restarting (1) About a minute ago   c_name
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
        {"Command":"\"sh -c sleep 100 && …\"","CreatedAt":"2024-05-01 10:00:00 +0000 UTC","ID":"aaaaaaaaaaaa","Image":"busybox","Labels":"a=b","LocalVolumes":"0","Mounts":"","Names":"a_name","RunningFor":"2 hours ago","Size":"0B","State":"running","Status":"Up 2 minutes"}
        {"Command":"\"sh -c sleep 100 && …\"","CreatedAt":"2024-05-01 10:00:00 +0000 UTC","ID":"cccccccccccc","Image":"busybox","Labels":"a=b","LocalVolumes":"0","Mounts":"","Names":"c_name","RunningFor":"2 hours ago","Size":"0B","State":"restarting","Status":"Restarting (1) About a minute ago"}
        "#);
    }

    #[test]
    fn filters_admit_what_they_say() {
        let one = found(
            'a',
            State {
                status: Status::Exited,
                exit_code: 3,
                ..State::default()
            },
        );
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
        ] {
            let parsed = filter(text).expect(text);
            assert_eq!(
                parsed.admits(&one, std::slice::from_ref(&one)),
                admits,
                "{text}"
            );
        }
        for wrong in ["status=asleep", "exited=x", "colour=red", "name"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
