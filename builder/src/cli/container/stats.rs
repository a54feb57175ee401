//! `cooper stats`: what running containers use, now and again.

use std::collections::HashMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::failed;
use crate::cli::images::Format;
use crate::cli::session::Session;
use crate::cli::table::Table;
use crate::cli::{Settings, human};
use crate::container::sample::Sample;
use crate::container::{Containers, Found};
use crate::report::{Report, stream_data};

/// How long processor time is watched for one figure, and how often the table is renewed.
const INTERVAL: Duration = Duration::from_millis(500);

/// Clears a terminal and puts the cursor in its corner.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Options of `cooper stats`.
#[derive(Args, Clone, Debug, Default)]
pub struct StatsArgs {
    /// Containers, by name or ID; those that run when none is given
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,

    /// Show containers that do not run too
    #[arg(short, long)]
    pub all: bool,

    /// Print it once
    #[arg(long)]
    pub no_stream: bool,

    /// Do not shorten IDs
    #[arg(long)]
    pub no_trunc: bool,

    /// How to show them: table, json or a Go template, such as '{{.Name}} {{.CPUPerc}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

impl StatsArgs {
    /// Prints what containers use until nobody reads it any more.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let machine = memory_of_machine();
        let clear = io::stdout().is_terminal() && !self.no_stream;
        let mut before: HashMap<String, Sample> = HashMap::new();
        let mut shown = false;
        loop {
            let found = self.shown(&containers)?;
            let samples: Vec<_> = found.iter().map(Sample::of).collect();
            let rows = found.iter().zip(&samples).enumerate();
            let lines = rows.map(|(index, (found, sample))| Line {
                asked: self.containers.get(index).map(String::as_str),
                found,
                sample: sample.as_ref(),
                before: before.get(&found.container.id),
                machine,
            });
            let known = samples.iter().all(Option::is_none) || !before.is_empty();
            if known || shown {
                let text = self.render(&lines.collect::<Vec<_>>())?;
                let clear = if clear { CLEAR } else { "" };
                // Whoever reads no more has seen enough.
                if !stream_data(&format!("{clear}{text}"))? || self.no_stream {
                    return Ok(());
                }
                shown = true;
            }
            let ids = found.iter().map(|found| found.container.id.clone());
            before = ids
                .zip(samples)
                .filter_map(|(id, sample)| Some((id, sample?)))
                .collect();
            std::thread::sleep(INTERVAL);
        }
    }

    fn shown(&self, containers: &Containers) -> Result<Vec<Found>, Report> {
        if self.containers.is_empty() {
            let mut found = containers.list().map_err(|error| failed(&error))?;
            found.retain(|found| self.all || found.is_active());
            return Ok(found);
        }
        let names = self.containers.iter();
        names
            .map(|name| containers.one(name).map_err(|error| failed(&error)))
            .collect()
    }

    fn render(&self, lines: &[Line<'_>]) -> Result<String, Report> {
        let values = lines.iter().map(|line| line.json(self.no_trunc));
        match self.format.render("CONTAINER ID", values.clone()) {
            Some(text) => text,
            None if self.format == Format::Json => {
                Ok(values.map(|value| value.to_string() + "\n").collect())
            }
            None => Ok(table(values)),
        }
    }
}

fn table(values: impl Iterator<Item = Value>) -> String {
    let mut table = Table::list([
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ]);
    for value in values {
        let columns = [
            "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
        ];
        table.row(columns.map(|name| value[name].as_str().unwrap_or_default().to_owned()));
    }
    table.render()
}

/// One container and what it uses.
struct Line<'a> {
    /// What it was called on the command line.
    asked: Option<&'a str>,
    found: &'a Found,
    sample: Option<&'a Sample>,
    before: Option<&'a Sample>,
    /// Bytes of memory that the machine has.
    machine: u64,
}

impl Line<'_> {
    /// Returns the line with docker's keys.
    fn json(&self, whole: bool) -> Value {
        let container = &self.found.container;
        let id = if whole {
            &container.id
        } else {
            container.short()
        };
        let usage = self.sample.map(|sample| sample.usage).unwrap_or_default();
        let processor = match (self.sample, self.before) {
            (Some(now), Some(before)) => now.processor(before),
            _ => 0.0,
        };
        // One that does not run is limited to nothing.
        let limit = match usage.memory_limit {
            Some(limit) => limit.min(self.machine),
            None if self.sample.is_some() => self.machine,
            None => 0,
        };
        let part = if limit > 0 {
            usage.memory as f64 / limit as f64 * 100.0
        } else {
            0.0
        };
        let (received, sent) = self.sample.map(|sample| sample.network).unwrap_or_default();
        let both = |one, other| format!("{} / {}", human::size(one), human::size(other));
        json!({
            "BlockIO": both(usage.read, usage.written),
            "CPUPerc": format!("{processor:.2}%"),
            "Container": self.asked.unwrap_or(id),
            "ID": id,
            "MemPerc": format!("{part:.2}%"),
            "MemUsage": format!(
                "{} / {}",
                human::binary_size(usage.memory),
                human::binary_size(limit)
            ),
            "Name": container.name,
            "NetIO": both(received, sent),
            "PIDs": usage.pids.to_string(),
        })
    }
}

/// Returns how many bytes of memory this machine has.
pub(in crate::cli) fn memory_of_machine() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
