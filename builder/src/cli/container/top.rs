//! `cooper top`, `cooper pause` and `cooper unpause`: the processes of containers.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use clap::Args;

use super::{ask, each, failed, reach};
use crate::cli::Settings;
use crate::cli::session::Session;
use crate::container::Containers;
use crate::container::protocol::{Answer, Request};
use crate::container::start::report;
use crate::events::Journal;
use crate::report::{Report, print_data};

/// Least characters of a column.
const WIDTH: usize = 20;

/// Options of `cooper top`.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// The container, by name or ID
    pub container: String,

    /// Options of this machine's ps in place of -ef; its output must have a PID column
    #[arg(
        value_name = "PS_OPTION",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub options: Vec<String>,
}

impl TopArgs {
    /// Prints what `ps` says of the container's processes.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let found = Containers::of(session.store.root())
            .one(&self.container)
            .map_err(|error| failed(&error))?;
        let mut connection = reach(&found)?;
        let answered = connection
            .request(&Request::Processes, Vec::new())
            .and_then(|()| connection.answer())
            .map_err(|error| Report::from_error(&error))?;
        let pids = match answered {
            Answer::Processes(pids) => {
                Journal::of(session.store.root()).write(&found.container.event("top"));
                pids
            }
            Answer::Failed(failure) => return Err(report(&failure)),
            _ => Vec::new(),
        };
        print_data(&self.table(&pids)?)
    }

    fn table(&self, pids: &[i32]) -> Result<String, Report> {
        let options = match self.options.as_slice() {
            [] => vec!["-ef".to_owned()],
            options => options.to_vec(),
        };
        let output = match Command::new("ps").args(&options).output() {
            Ok(output) => output,
            // A machine without ps; its default is known.
            Err(_) if self.options.is_empty() => return Ok(plain(pids)),
            Err(error) => {
                return Err(Report::from_error(&error).context("cannot run ps"));
            }
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Report::new(format!("ps failed: {}", said.trim())));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let header = text.lines().next().unwrap_or_default();
        let column = header
            .split_whitespace()
            .position(|name| name == "PID")
            .ok_or_else(|| Report::new("the output of ps has no PID column"))?;
        let listed = |line: &&str| {
            let pid = line.split_whitespace().nth(column);
            pid.and_then(|pid| pid.parse().ok())
                .is_some_and(|pid: i32| pids.contains(&pid))
        };
        let lines = text.lines().skip(1).filter(listed);
        Ok(columns([header].into_iter().chain(lines)))
    }
}

/// Returns the output of `ps`, header first, with docker's columns: 20 characters at least, and
/// the last has what is left.
fn columns<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<_> = lines.collect();
    let count = lines
        .first()
        .map_or(0, |header| header.split_whitespace().count());
    let rows = lines.iter().map(|line| cells(line, count));
    let rows: Vec<_> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        WIDTH.max(longest + 3)
    };
    let widths: Vec<_> = (1..count).map(|column| width(column - 1)).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, "{cell:<width$}");
        }
        let _ = writeln!(text, "{}", row.last().unwrap_or(&""));
    }
    text
}

/// Splits a line into as many cells as there are columns.
fn cells(line: &str, count: usize) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut rest = line.trim();
    for _ in 1..count {
        let (cell, left) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        cells.push(cell);
        rest = left.trim_start();
    }
    cells.push(rest);
    cells
}

fn plain(pids: &[i32]) -> String {
    let mut text = String::from("PID\tCMD\n");
    for pid in pids {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{pid}\t{}", line.trim_end());
    }
    text
}

/// Options of `cooper pause` and `cooper unpause`.
#[derive(Args, Clone, Debug)]
pub struct PauseArgs {
    /// Containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl PauseArgs {
    /// Holds containers still, or lets them go on.
    pub fn run(&self, settings: &Settings, pause: bool) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        each(&containers, &self.containers, |found| {
            ask(found, &Request::Pause(pause))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_dockers() {
        let found = columns(
            [
                "  PID TTY CMD",
                "    1 ?   sleep  100",
                "  22 pts/0 sh -c x",
            ]
            .into_iter(),
        );
        let expected = "PID                 TTY                 CMD\n\
                        1                   ?                   sleep  100\n\
                        22                  pts/0               sh -c x\n";
        assert_eq!(found, expected);
    }
}
