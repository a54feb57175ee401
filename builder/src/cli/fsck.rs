//! `cooper fsck`: the store checked for damage.

use clap::Args;

use super::Settings;
use super::session::Session;
use crate::report::{Report, print_data, print_error};

/// Options of `cooper fsck`.
#[derive(Args, Clone, Debug)]
pub struct FsckArgs {
    /// Remove what is damaged, so that it is made or fetched again
    #[arg(long)]
    pub repair: bool,
}

impl FsckArgs {
    /// Reads everything and says what is wrong.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let found = session
            .store
            .fsck(self.repair)
            .map_err(|error| Report::from_error(&error))?;
        for problem in &found.problems {
            let outcome = if problem.repaired { " (removed)" } else { "" };
            print_error(&format!(
                "{}: {}{outcome}\n",
                problem.path.display(),
                problem.reason
            ));
        }
        print_data(&format!(
            "{} checked, {} damaged\n",
            found.checked,
            found.problems.len()
        ))?;
        if found.problems.iter().all(|problem| problem.repaired) {
            return Ok(());
        }
        Err(Report::new("the store is damaged")
            .hint("`cooper fsck --repair` removes what is damaged"))
    }
}
