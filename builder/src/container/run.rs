//! Making a container of an image, and running it attached or not.

use std::io::{self, IsTerminal};

use cooper_cache::{ImageRecord, Store};
use cooper_oci::ImageConfig;
use jiff::Timestamp;

use super::attach::{self, window_size};
use super::containers::Containers;
use super::record::{Held, NewContainer};
use super::spec::RunOptions;
use super::start::{Attachment, start};
use crate::report::{Exit, Report};

/// Makes a container of `image` and holds it.
pub(crate) fn create(
    options: &RunOptions,
    store: &Store,
    image: &ImageRecord,
    config: &ImageConfig,
) -> Result<Held, Report> {
    let config = options
        .config(image, config)
        .map_err(|error| Report::from_error(&error))?;
    let new = NewContainer {
        name: options.name.clone(),
        created: Timestamp::now().to_string(),
        config,
    };
    let containers = Containers::of(store.root());
    let held = containers
        .create(new)
        .map_err(|error| Report::from_error(&error))?;
    // The image may lose its name and go; what the container stands on does not.
    let layers = &held.container.config.layers;
    store
        .hold(&held.container.id, layers)
        .map_err(|error| Report::from_error(&error))?;
    Ok(held)
}

/// Runs a new container attached to this process' streams, and returns its exit code.
pub(crate) fn run_attached(
    store: &Store,
    held: Held,
    options: &attach::Options,
) -> Result<u8, Report> {
    let config = &held.container.config;
    let (terminal, stdin) = (config.terminal, config.open_stdin);
    check_terminal(terminal, stdin)?;
    let attachment = Attachment {
        output: true,
        stdin,
        window: terminal.then(window_size),
    };
    // Signals are collected from here on: one that comes before the container runs is not lost.
    let side = attach::Side::prepare(options, terminal, stdin)?;
    let connection = start(store, held, attachment)?;
    side.run(connection)
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
