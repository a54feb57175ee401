//! `cooper ps`: the list of containers.

use std::collections::BTreeSet;

use clap::Args;
use cooper_oci::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::Format;
use super::session::Session;
use super::table::{Table, shorten};
use super::{Settings, human};
use crate::container::{Container, Containers, Found, HealthStatus, Status};
use crate::report::{Report, print_data};

/// Options of `cooper ps`.
#[derive(Args, Clone, Debug, Default)]
pub struct PsArgs {
    /// Show containers that have ended too
    #[arg(short, long)]
    pub all: bool,

    /// Show only IDs
    #[arg(short, long)]
    pub quiet: bool,

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
        let shown = found
            .iter()
            .filter(|found| self.all || found.state.status.is_active());
        let values = shown.map(|found| self.json(found, now));
        match self.format.render("CONTAINER ID", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&found, now)),
        }
    }

    fn render(&self, found: &[Found], now: Timestamp) -> String {
        let shown = found
            .iter()
            .filter(|found| self.all || found.state.status.is_active());
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
        let mut table = Table::new([
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "NAMES",
        ]);
        for found in shown {
            let container = &found.container;
            table.row([
                self.id(container).to_owned(),
                container.config.image.clone(),
                self.command(container),
                human::since(Some(&container.created), now),
                status(found, now),
                container.name.clone(),
            ]);
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
            "Names": container.name,
            "RunningFor": human::since(Some(&container.created), now),
            "State": found.state.status.name(),
            "Status": status(found, now),
        })
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
        args.render(&all, "2024-05-01T12:00:00Z".parse().expect("valid"))
    }

    #[test]
    fn running_containers_are_listed() {
        insta::assert_snapshot!(render(&PsArgs::default()), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS         NAMES
        aaaaaaaaaaaa   busybox   "sh -c sleep 100 && …"   2 hours ago   Up 2 minutes   a_name
        "#);
    }

    #[test]
    fn all_containers_are_listed_on_demand() {
        insta::assert_snapshot!(render(&PsArgs { all: true, ..PsArgs::default() }), @r#"
        CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS                         NAMES
        aaaaaaaaaaaa   busybox   "sh -c sleep 100 && …"   2 hours ago   Up 2 minutes                   a_name
        bbbbbbbbbbbb   busybox   "sh -c sleep 100 && …"   2 hours ago   Exited (3) About an hour ago   b_name
        cccccccccccc   busybox   "sh -c sleep 100 && …"   2 hours ago   Dead                           c_name
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
        insta::assert_snapshot!(render(&json), @r#"{"Command":"\"sh -c sleep 100 && …\"","CreatedAt":"2024-05-01 10:00:00 +0000 UTC","ID":"aaaaaaaaaaaa","Image":"busybox","Labels":"a=b","Names":"a_name","RunningFor":"2 hours ago","State":"running","Status":"Up 2 minutes"}"#);
    }
}
