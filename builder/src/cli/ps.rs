//! `cooper ps` and `cooper rm`: containers.

use std::collections::BTreeSet;

use clap::Args;
use cooper_oci::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::Format;
use super::session::Session;
use super::table::{Table, shorten};
use super::{Settings, human};
use crate::container::{Container, Containers, Found, State};
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
        let shown = found.iter().filter(|found| self.all || found.live);
        let values = shown.map(|found| self.json(found, now));
        match self.format.render("CONTAINER ID", values) {
            Some(text) if !self.quiet => print_data(&text?),
            _ => print_data(&self.render(&found, now)),
        }
    }

    fn render(&self, found: &[Found], now: Timestamp) -> String {
        let shown = found.iter().filter(|found| self.all || found.live);
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
            "State": if found.live { "running" } else { "exited" },
            "Status": status(found, now),
        })
    }
}

/// Returns how a container fares. One that was running and is not held any more was killed
/// together with the process that ran it.
fn status(found: &Found, now: Timestamp) -> String {
    let ago = |time: &str| human::since(Some(time), now);
    match &found.container.state {
        State::Exited { code, finished } => format!("Exited ({code}) {}", ago(finished)),
        State::Created => "Created".to_owned(),
        State::Running { started } if found.live => {
            let up = ago(started);
            format!("Up {}", up.strip_suffix(" ago").unwrap_or(&up))
        }
        State::Running { .. } => "Dead".to_owned(),
    }
}

/// Options of `cooper rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
}

impl RmArgs {
    /// Removes containers that have ended.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let mut failures = Vec::new();
        for name in &self.containers {
            match self.remove(&session, &containers, name) {
                Ok(()) => print_data(&format!("{name}\n"))?,
                Err(report) => failures.push(report),
            }
        }
        Report::of_all(failures)
    }

    fn remove(&self, session: &Session, containers: &Containers, name: &str) -> Result<(), Report> {
        let failed = |error: crate::container::ContainerError| Report::from_error(&error);
        let found = containers.find(name).map_err(failed)?;
        let container = match found.as_slice() {
            [] => return Err(Report::new(format!("no such container: {name}"))),
            [found] if found.live => {
                return Err(Report::new(format!("container {name} is running"))
                    .hint("end the `cooper run` that runs it"));
            }
            [found] => &found.container,
            _ => return Err(Report::new(format!("{name} could mean several containers"))),
        };
        if self.volumes {
            let volumes = crate::container::Volumes::of(session.store.root());
            container
                .anonymous_volumes
                .iter()
                .try_for_each(|name| volumes.remove(name))
                .map_err(failed)?;
        }
        containers.remove(container).map_err(failed)
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

    fn found(id: char, live: bool, state: State) -> Found {
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
            state,
        };
        Found { container, live }
    }

    fn render(args: &PsArgs) -> String {
        let time = |time: &str| time.to_owned();
        let all = [
            found(
                'a',
                true,
                State::Running {
                    started: time("2024-05-01T11:58:00Z"),
                },
            ),
            found(
                'b',
                false,
                State::Exited {
                    code: 3,
                    finished: time("2024-05-01T11:00:00Z"),
                },
            ),
            found(
                'c',
                false,
                State::Running {
                    started: time("2024-05-01T10:00:00Z"),
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
