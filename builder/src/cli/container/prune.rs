//! `cooper container prune`: removing all containers that do not run.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;

use super::failed;
use crate::cli::ps::{Filter, parse_filters};
use crate::cli::session::Session;
use crate::cli::{Settings, human};
use crate::container::Containers;
use crate::report::{Report, print_data, print_error};

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
        let filters: Vec<Filter> = parse_filters(&self.filter)?;
        if !self.force && !confirmed() {
            return Ok(());
        }
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let all = containers.list().map_err(|error| failed(&error))?;
        let (mut text, mut bytes) = (String::new(), 0);
        for found in all.iter().filter(|found| !found.is_active()) {
            if !filters.iter().all(|filter| filter.admits(found, &all)) {
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

fn confirmed() -> bool {
    if !io::stdin().is_terminal() {
        return true;
    }
    print_error(
        "WARNING! This will remove all containers that do not run.\nAre you sure you want to continue? [y/N] ",
    );
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.is_ok() && matches!(line.trim(), "y" | "Y")
}
