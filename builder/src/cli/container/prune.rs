//! `cooper container prune`: removing all containers that do not run.

use clap::Args;

use super::{Filters, failed};
use crate::cli::confirm::confirmed;
use crate::cli::session::Session;
use crate::cli::{Settings, human};
use crate::container::Containers;
use crate::events::{Journal, Kind};
use crate::network::Networks;
use crate::report::{Report, print_data};

/// Options of `cooper container prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Only those that fit: until=TIME, label=NAME[=VALUE] or label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

impl PruneArgs {
    /// Removes them.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let filters = Filters::parse(&self.filter)?;
        if !self.force && !confirmed("all stopped containers")? {
            return Ok(());
        }
        let (removed, bytes) = prune(settings, &filters)?;
        let text = if removed.is_empty() {
            String::new()
        } else {
            format!("Deleted Containers:\n{}\n\n", removed.join("\n"))
        };
        print_data(&format!(
            "{text}Total reclaimed space: {}\n",
            human::size(bytes)
        ))
    }
}

/// Removes the containers that do not run and that `filters` take; returns their IDs, and the
/// bytes that they took.
pub(in crate::cli) fn prune(
    settings: &Settings,
    filters: &Filters,
) -> Result<(Vec<String>, u64), Report> {
    let session = Session::open(settings)?;
    let containers = Containers::of(session.store.root());
    let all = containers.list().map_err(|error| failed(&error))?;
    let networks = Networks::of(session.store.root(), session.rootless)
        .list()
        .map_err(|error| Report::from_error(&error))?;
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for found in all.iter().filter(|found| !found.is_active()) {
        if !filters.admit(found, &all, &networks) {
            continue;
        }
        // One that was started meanwhile is none of these any more.
        let Ok(held) = found.hold() else { continue };
        bytes += human::bytes_below(&found.dir);
        removed.push(found.container.id.clone());
        containers.remove(held).map_err(|error| failed(&error))?;
    }
    Journal::of(session.store.root()).tell_pruned(Kind::Container, bytes);
    Ok((removed, bytes))
}
