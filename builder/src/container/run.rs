//! Making a container of an image, and running it attached or not.

use std::io::{self, IsTerminal};

use cooper_cache::{ImageRecord, Store};
use cooper_oci::ImageConfig;
use jiff::Timestamp;

use super::attach::{self, window_size};
use super::config::{MountConfig, VolumeMount, VolumeSource};
use super::containers::Containers;
use super::protocol::Connection;
use super::record::{ContainerError, Held, NewContainer};
use super::spec::RunOptions;
use super::start::{Attachment, Monitor, start, volume_source};
use super::volume::{ANONYMOUS, Filling, Volume, Volumes};
use crate::report::{Exit, Report};

/// Makes a container of `image` and holds it. Its volumes are made with it: others may mount them
/// although it never runs.
pub(crate) fn create(
    options: &RunOptions,
    store: &Store,
    image: &ImageRecord,
    config: &ImageConfig,
) -> Result<Held, Report> {
    let failed = |error: ContainerError| {
        let report = Report::from_error(&error);
        match error {
            ContainerError::NoIds(ids) => report.hint(ids.hint()),
            _ => report,
        }
    };
    let containers = Containers::of(store.root());
    let mut options = options.clone();
    inherit(&mut options.mounts, &containers)?;
    let mut config = options
        .config(image, config)
        .map_err(|error| Report::from_error(&error))?;
    let new = NewContainer {
        name: options.name.clone(),
        created: Timestamp::now().to_string(),
        anonymous_volumes: name_volumes(&mut config.mounts)
            .map_err(|error| Report::from_error(&error))?,
        config,
    };
    let held = containers.create(new).map_err(failed)?;
    // The image may lose its name and go; what the container stands on does not.
    let layers = held.container.config.all_layers();
    let held_layers = store
        .hold(&held.container.id, &layers)
        .map_err(|error| Report::from_error(&error));
    match held_layers.and_then(|()| make_volumes(store, &held)) {
        Ok(()) => Ok(held),
        Err(report) => {
            // What cannot be removed now stays listed, as made and not started.
            let _ = containers.remove_with(held, true);
            Err(report)
        }
    }
}

/// Adds what the containers of `--volumes-from` mount to what is mounted, unless there is another
/// mount at its place.
fn inherit(mounts: &mut MountConfig, containers: &Containers) -> Result<(), Report> {
    for text in &mounts.from {
        let (name, readonly) = match text.rsplit_once(':') {
            Some((name, "ro")) => (name, true),
            Some((name, "rw" | "z" | "Z")) => (name, false),
            Some((_, mode)) => {
                return Err(
                    Report::new(format!("--volumes-from {text}: no mode {mode:?}"))
                        .hint("write CONTAINER, CONTAINER:ro or CONTAINER:rw"),
                );
            }
            None => (text.as_str(), false),
        };
        let found = containers
            .one(name)
            .map_err(|error| Report::from_error(&error).context("cannot take its volumes"))?;
        for volume in found.container.config.mounts.volumes {
            let taken = mounts.volumes.iter().any(|own| own.target == volume.target)
                || mounts.tmpfs.iter().any(|own| own.target == volume.target);
            if !taken {
                mounts.volumes.push(VolumeMount {
                    readonly: volume.readonly || readonly,
                    ..volume
                });
            }
        }
    }
    Ok(())
}

/// Gives anonymous volumes their names, and returns them.
fn name_volumes(mounts: &mut MountConfig) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for volume in &mut mounts.volumes {
        if volume.source == VolumeSource::Anonymous {
            let name = super::random_id()?;
            volume.source = VolumeSource::Named(name.clone());
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes the volumes of a new container, and fills those that are empty.
fn make_volumes(store: &Store, held: &Held) -> Result<(), Report> {
    let config = &held.container.config;
    let volumes = Volumes::of(store.root());
    for mount in &config.mounts.volumes {
        let VolumeSource::Named(name) = &mount.source else {
            continue;
        };
        let mut volume = Volume {
            name: name.clone(),
            created: Timestamp::now().to_string(),
            labels: mount.options.labels.clone(),
            options: mount.options.driver_options.clone(),
        };
        if held.container.anonymous_volumes.contains(name) {
            volume.labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        volumes
            .create(&volume)
            .map_err(|error| Report::from_error(&error))?;
        let filling = Filling {
            store,
            layers: &config.layers,
            path: &mount.target,
        };
        // What the image has would not be at the same place in a part of the volume.
        let fills = !mount.options.nocopy && mount.options.subpath.is_none();
        volume_source(store, mount, fills.then_some(&filling))?;
    }
    Ok(())
}

/// A container that runs, attached to this process' streams.
#[derive(Debug)]
pub(crate) struct Attached {
    side: attach::Side,
    connection: Connection,
}

impl Attached {
    /// Starts a container, which may have its monitor already.
    pub(crate) fn start(
        store: &Store,
        held: Held,
        monitor: Option<Monitor>,
        options: &attach::Options,
    ) -> Result<Self, Report> {
        let config = &held.container.config;
        let (terminal, stdin) = (config.terminal, config.open_stdin);
        check_terminal(terminal, stdin)?;
        let attachment = Attachment {
            output: true,
            stdin,
            window: terminal.then(window_size),
        };
        // Signals are collected from here on: one that comes before the container runs is not
        // lost.
        let side = attach::Side::prepare(options, terminal, stdin)?;
        let connection = start(store, held, monitor, attachment)?;
        Ok(Self { side, connection })
    }

    /// Carries its streams until it ends, and returns its exit code.
    pub(crate) fn carry(self) -> Result<u8, Report> {
        self.side.run(self.connection)
    }
}

/// Refuses a terminal for a command whose own input is none.
pub(crate) fn check_terminal(terminal: bool, stdin: bool) -> Result<(), Report> {
    if terminal && stdin && !io::stdin().is_terminal() {
        return Err(Report::new("-it was asked for, and stdin is no terminal")
            .hint("leave -t out")
            .exit(Exit::Code(1)));
    }
    Ok(())
}
