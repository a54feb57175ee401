//! What containers changed: `cooper diff`, `cooper export` and `cooper commit`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use cooper_oci::{ImageConfig, Reference};
use jiff::Timestamp;

use super::{ask, failed};
use crate::cli::Settings;
use crate::cli::leaks::LeakArgs;
use crate::cli::session::Session;
use crate::container::protocol::Request;
use crate::container::{Containers, Found, Status, changes};
use crate::events::Journal;
use crate::image::{DatedLayer, Image, Parts};
use crate::report::{Report, print_data};

/// Options of `cooper diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The container, by name or ID
    pub container: String,
}

impl DiffArgs {
    /// Prints each path that was added (A), changed (C) or deleted (D).
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let found = one(&session, &self.container)?;
        let changes = changes::list(&session.store, &found.container.config, &found.dir)
            .map_err(|error| Report::from_error(&error))?;
        let lines = changes.iter().map(|(change, path)| {
            let path = String::from_utf8_lossy(path.as_bytes());
            format!("{} /{path}\n", change.letter())
        });
        print_data(&lines.collect::<String>())
    }
}

/// Options of `cooper export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The container, by name or ID
    pub container: String,

    /// File in place of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl ExportArgs {
    /// Writes the container's root file system as a tar.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        if self.output.is_none() && io::stdout().is_terminal() {
            return Err(Report::new("an archive is not for a terminal")
                .hint("name a file with -o, or redirect stdout"));
        }
        let session = Session::open(settings)?;
        let found = one(&session, &self.container)?;
        let to: Box<dyn Write> = match &self.output {
            None => Box::new(io::stdout().lock()),
            Some(path) => Box::new(File::create(path).map_err(|error| {
                Report::from_error(&error).context(format!("cannot create {}", path.display()))
            })?),
        };
        let mut to = BufWriter::new(to);
        let config = &found.container.config;
        changes::export(&session.store, config, &found.dir, &mut to)
            .map_err(|error| Report::from_error(&error))?;
        to.flush().map_err(|error| {
            Report::from_error(&error).context(format!("cannot export {}", self.container))
        })?;
        Journal::of(session.store.root()).write(&found.container.event("export"));
        Ok(())
    }
}

/// Options of `cooper commit`.
#[derive(Args, Clone, Debug)]
pub struct CommitArgs {
    /// The container, by name or ID
    pub container: String,

    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub image: Option<String>,

    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    pub author: Option<String>,

    /// What was done
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,

    /// Change the configuration by a Dockerfile instruction, such as 'USER app' or 'ENV A=1'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,

    /// Hold the container still meanwhile
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL",
          value_parser = crate::cli::value::switch)]
    pub pause: bool,

    /// What is done about secrets.
    #[command(flatten)]
    pub leaks: LeakArgs,
}

impl CommitArgs {
    /// Makes an image of the container and prints its ID.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let name: Option<Reference> = self
            .image
            .as_deref()
            .map(|text| {
                let name = text.parse::<Reference>().map_err(|error| {
                    Report::from_error(&error).context(format!("{text:?} is no image name"))
                })?;
                Ok(name.with_default_tag())
            })
            .transpose()?
            .map(|name: Reference| name.with_default_tag());
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let found = one(&session, &self.container)?;
        let hold = self.pause && found.state.status == Status::Running && found.is_active();
        if hold {
            ask(&found, &Request::Pause(true))?;
        }
        let made = self.make(settings, &session, &found, name.as_ref());
        if hold {
            ask(&found, &Request::Pause(false))?;
        }
        let made = made?;
        let mut event = found.container.event("commit");
        event = event.with("imageID", made.to_string());
        if let Some(name) = &name {
            event = event.with("imageRef", name.to_string());
        }
        Journal::of(session.store.root()).write(&event);
        print_data(&format!("{made}\n"))
    }

    fn make(
        &self,
        settings: &Settings,
        session: &Session,
        found: &Found,
        name: Option<&Reference>,
    ) -> Result<cooper_oci::Digest, Report> {
        let stored = |error: cooper_cache::StoreError| {
            Report::from_error(&error).context(format!("cannot commit {}", self.container))
        };
        let base = session.image(&found.container.config.image_id.to_string())?;
        let mut config: ImageConfig = session.config(&base)?;
        let layer =
            changes::commit(&session.store, &found.container.config, &found.dir).map_err(stored)?;
        let ids = found.container.config.layers.iter().chain([layer.id()]);
        let root: Vec<_> = ids
            .map(|id| DatedLayer {
                id: id.clone(),
                created: None,
            })
            .collect();
        let now = Timestamp::now().to_string();
        config.config = found.container.config.runtime.clone();
        config.author = self.author.clone().unwrap_or_default();
        for change in &self.change {
            change_config(&mut config, change)?;
        }
        config.history.push(cooper_oci::History {
            created: Some(now.clone()),
            created_by: found.container.config.args().join(" "),
            author: self.author.clone(),
            comment: self.message.clone(),
            ..cooper_oci::History::default()
        });
        let parts = Parts {
            config,
            base_created: Some(now),
            history: &[],
            omit_history: false,
            root: &root,
            squashed: None,
            epoch: None,
        };
        let image = Image::assemble(parts, &session.store.layers()).map_err(stored)?;
        self.leaks
            .check(session, settings, std::iter::once(&image))?;
        session
            .store
            .blobs()
            .put(&image.config_bytes)
            .map_err(stored)?;
        let size = base.size + layer.size().unwrap_or_default();
        let images = session.store.images();
        images.put(&image.record(size)).map_err(stored)?;
        if let Some(name) = name {
            images
                .tag(&name.with_default_tag(), &image.id)
                .map_err(stored)?;
        }
        Ok(image.id)
    }
}

/// Applies one instruction to an image's configuration.
pub(in crate::cli) fn change_config(config: &mut ImageConfig, text: &str) -> Result<(), Report> {
    let wrong = |what: &str| {
        Report::new(format!("invalid value {text:?} for --change: {what}"))
            .hint("ENV, LABEL, CMD, ENTRYPOINT, USER, WORKDIR, EXPOSE, VOLUME, ONBUILD and STOPSIGNAL change an image")
    };
    let (word, rest) = text
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((text, ""));
    let rest = rest.trim();
    let runtime = &mut config.config;
    let words = || -> Vec<String> {
        serde_json::from_str(rest)
            .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
    };
    let names = || -> Vec<String> {
        serde_json::from_str(rest)
            .unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect())
    };
    let pairs = || pairs(rest).ok_or_else(|| wrong("it has no value"));
    match word.to_ascii_uppercase().as_str() {
        _ if rest.is_empty() => return Err(wrong("it has no argument")),
        "CMD" => runtime.cmd = Some(words()),
        "ENTRYPOINT" => runtime.entrypoint = Some(words()),
        "USER" => rest.clone_into(&mut runtime.user),
        "WORKDIR" => rest.clone_into(&mut runtime.working_dir),
        "STOPSIGNAL" => runtime.stop_signal = Some(rest.to_owned()),
        "ENV" => {
            for (name, value) in pairs()? {
                let prefix = format!("{name}=");
                runtime.env.retain(|known| !known.starts_with(&prefix));
                runtime.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => runtime.labels.extend(pairs()?),
        "ONBUILD" => runtime.on_build.push(rest.to_owned()),
        "EXPOSE" => runtime
            .exposed_ports
            .extend(names().into_iter().map(|port| {
                let port = if port.contains('/') {
                    port
                } else {
                    port + "/tcp"
                };
                (port, cooper_oci::Empty {})
            })),
        "VOLUME" => runtime
            .volumes
            .extend(names().into_iter().map(|path| (path, cooper_oci::Empty {}))),
        _ => return Err(wrong("this instruction cannot be used here")),
    }
    Ok(())
}

/// Parses `NAME=VALUE NAME="OTHER VALUE"`, or a name and a value with spaces between them.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let bare = |value: &str| {
        let inner = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        inner.unwrap_or(value).to_owned()
    };
    let first = text.split_whitespace().next()?;
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), bare(value.trim()))]);
    }
    let words = words(text);
    let pairs = words.iter().map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// Splits at spaces that are neither quoted nor escaped.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, quote) {
            ('\\', None | Some('"')) => words.last_mut().into_iter().for_each(|word| {
                word.extend(chars.next());
            }),
            (char, Some(open)) if char == open => quote = None,
            ('"' | '\'', None) => quote = Some(char),
            (char, None) if char.is_whitespace() => words.push(String::new()),
            (char, _) => words
                .last_mut()
                .into_iter()
                .for_each(|word| word.push(char)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn one(session: &Session, name: &str) -> Result<Found, Report> {
    Containers::of(session.store.root())
        .one(name)
        .map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use cooper_oci::Platform;

    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = ImageConfig::new(&Platform::new("linux", "amd64"));
        config.config.env = vec!["A=0".into(), "AB=1".into()];
        for change in [
            "CMD [\"a\", \"b\"]",
            "entrypoint run me",
            "ENV A=\"x y\"",
            "ENV C 2",
            "LABEL l=v",
            "USER app",
            "WORKDIR /w",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/data\"]",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN make",
            "ENV D=1 E=\"2 3\" F=4\\ 5 G='6 7'",
            "LABEL m=n \"o p\"=q",
        ] {
            change_config(&mut config, change).expect("valid");
        }
        let runtime = config.config;
        assert_eq!(runtime.cmd, Some(vec!["a".into(), "b".into()]));
        let shell = ["/bin/sh", "-c", "run me"].map(str::to_owned);
        assert_eq!(runtime.entrypoint, Some(shell.into()));
        assert_eq!(
            runtime.env,
            ["AB=1", "A=x y", "C=2", "D=1", "E=2 3", "F=4 5", "G=6 7"]
        );
        let labels: Vec<_> = runtime
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(labels, ["l=v", "m=n", "o p=q"]);
        assert_eq!(runtime.on_build, ["RUN make"]);
        let ports: Vec<_> = runtime.exposed_ports.keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp"]);
        assert!(runtime.volumes.contains_key("/data"));
        let mut config = ImageConfig::new(&Platform::new("linux", "amd64"));
        for wrong in ["RUN x", "CMD", "ENV A"] {
            assert!(change_config(&mut config, wrong).is_err(), "{wrong}");
        }
    }
}
