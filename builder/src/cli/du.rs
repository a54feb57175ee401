//! `cooper du`: what the build cache takes on disk, entry by entry.

use std::collections::HashMap;
use std::fmt::Write;

use clap::Args;
use cooper_cache::{UsageEntry, UsageKind};
use cooper_solver::CacheKey;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::Format;
use super::session::Session;
use super::table::Table;
use super::usage_filter::UsageFilter;
use super::{Settings, human};
use crate::build::{Memory, StepMemory};
use crate::report::{Report, print_data};

/// Options of `cooper du`.
#[derive(Args, Clone, Debug, Default)]
pub struct DuArgs {
    /// Show only entries for which this holds, such as type=exec.cachemount or until=24h
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<UsageFilter>,

    /// Show everything about each entry
    #[arg(long)]
    pub verbose: bool,

    /// How to show them: table, json or a Go template, such as '{{.ID}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// An entry with what it came from.
struct Row {
    entry: UsageEntry,
    description: String,
}

impl DuArgs {
    /// Prints what the build cache takes on disk.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let now = Timestamp::now().as_second();
        let mut entries = session
            .store
            .usage_entries()
            .map_err(|error| Report::from_error(&error))?;
        entries.retain(|entry| self.filter.iter().all(|filter| filter.admits(entry, now)));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_used));
        let memories = Memory::all(&session.store).map_err(|error| Report::from_error(&error))?;
        let steps = Memory::by_key(&memories);
        let rows: Vec<_> = entries
            .into_iter()
            .map(|entry| Row::new(entry, &steps))
            .collect();
        let text = match &self.format {
            Format::Table if self.verbose => verbose(&rows, now),
            Format::Table => table(&rows, now),
            Format::Json => lines(&rows, now, |value| Ok(value.to_string()))?,
            Format::Lines(template) | Format::Columns(template) => lines(&rows, now, |value| {
                template
                    .render(value)
                    .map_err(|error| Report::from_error(&error))
            })?,
        };
        print_data(&text)
    }
}

impl Row {
    fn new(entry: UsageEntry, steps: &HashMap<&str, &StepMemory>) -> Self {
        // The smallest result that needs a layer is the step that made it.
        let step = entry
            .records
            .iter()
            .filter_map(|key| steps.get(CacheKey::from_bytes(*key).to_string().as_str()))
            .min_by_key(|step| step.layers.len());
        let description = match (entry.kind, step) {
            (UsageKind::CacheMount, _) => "RUN cache mount".to_owned(),
            (UsageKind::Layer, Some(step)) => step.display.clone(),
            (UsageKind::Layer, None) => String::new(),
        };
        Self { entry, description }
    }

    fn size(&self) -> String {
        let mark = if self.entry.shared { "*" } else { "" };
        human::size(self.entry.bytes) + mark
    }

    fn last_used(&self, now: i64) -> String {
        match self.entry.last_used {
            0 => String::new(),
            used => format!("{} ago", human::duration(now - used)),
        }
    }

    fn json(&self, now: i64) -> Value {
        json!({
            "ID": self.entry.id,
            "Type": type_name(self.entry.kind),
            "Description": self.description,
            "Reclaimable": !self.entry.in_use,
            "Shared": self.entry.shared,
            "Size": human::size(self.entry.bytes),
            "UsageCount": self.entry.uses,
            "LastUsedAt": self.last_used(now),
        })
    }
}

/// Returns docker's name for a kind of entry.
pub(super) fn type_name(kind: UsageKind) -> &'static str {
    match kind {
        UsageKind::Layer => "regular",
        UsageKind::CacheMount => "exec.cachemount",
    }
}

fn table(rows: &[Row], now: i64) -> String {
    let mut table = Table::new(["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"]);
    for row in rows {
        let reclaimable = !row.entry.in_use;
        table.row([
            row.entry.id.clone(),
            reclaimable.to_string(),
            row.size(),
            row.last_used(now),
        ]);
    }
    table.render() + &totals(rows)
}

fn totals(rows: &[Row]) -> String {
    let sum = |admits: &dyn Fn(&UsageEntry) -> bool| {
        let entries = rows.iter().map(|row| &row.entry);
        let bytes = entries
            .filter(|entry| admits(entry))
            .map(|entry| entry.bytes);
        human::size(bytes.sum())
    };
    let mut table = Table::new(["Shared:", &sum(&|entry| entry.shared)]);
    table.row(["Private:", &sum(&|entry| !entry.shared)]);
    table.row(["Reclaimable:", &sum(&|entry| !entry.in_use)]);
    table.row(["Total:", &sum(&|_| true)]);
    table.render()
}

fn verbose(rows: &[Row], now: i64) -> String {
    let mut out = String::new();
    for row in rows {
        let fields = [
            ("ID", row.entry.id.clone()),
            ("Reclaimable", (!row.entry.in_use).to_string()),
            ("Shared", row.entry.shared.to_string()),
            ("Size", human::size(row.entry.bytes)),
            ("Description", row.description.clone()),
            ("Usage count", row.entry.uses.to_string()),
            ("Last used", row.last_used(now)),
            ("Type", type_name(row.entry.kind).to_owned()),
        ];
        for (name, value) in fields {
            let _ = writeln!(out, "{:<16}{value}", format!("{name}:"));
        }
        out.push('\n');
    }
    out + &totals(rows)
}

fn lines(
    rows: &[Row],
    now: i64,
    render: impl Fn(&Value) -> Result<String, Report>,
) -> Result<String, Report> {
    let mut out = String::new();
    for row in rows {
        out.push_str(&render(&row.json(now))?);
        out.push('\n');
    }
    Ok(out)
}
