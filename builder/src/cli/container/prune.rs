//! `cooper container prune`: removing all containers that do not run.

use clap::Args;

use super::{Filters, failed};
use crate::cli::confirm::confirmed;
use crate::cli::session::Session;
use crate::cli::{Settings, human};
use crate::container::Containers;
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
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let all = containers.list().map_err(|error| failed(&error))?;
        let networks = Networks::of(session.store.root(), session.rootless)
            .list()
            .map_err(|error| Report::from_error(&error))?;
        let (mut text, mut bytes) = (String::new(), 0);
        for found in all.iter().filter(|found| !found.is_active()) {
            if !filters.admit(found, &all, &networks) {
                continue;
            }
            // One that was started meanwhile is none of these any more.
            let Ok(held) = found.hold() else { continue };
            bytes += human::bytes_below(&found.dir);
            text.push_str(&found.container.id);
            text.push('\n');
            containers.remove(held).map_err(|error| failed(&error))?;
        }
        if !text.is_empty() {
            text = format!("Deleted Containers:\n{text}\n");
        }
        print_data(&format!(
            "{text}Total reclaimed space: {}\n",
            human::size(bytes)
        ))
    }
}
