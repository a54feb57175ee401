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
        let kept: Vec<_> = [header].into_iter().chain(lines).collect();
        Ok(kept.join("\n") + "\n")
    }
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
