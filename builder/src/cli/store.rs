//! `cooper du`, `cooper prune` and `cooper fsck`: the store as a whole.

use clap::Args;
use cooper_cache::{GcOptions, GcReport};

use super::session::Session;
use super::table::Table;
use super::{Settings, human};
use crate::report::{Report, print_data, print_error};

/// Options of `cooper du`.
#[derive(Args, Clone, Debug)]
pub struct DuArgs {}

impl DuArgs {
    /// Prints what the store takes on disk.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let usage = session
            .store
            .disk_usage()
            .map_err(|error| Report::from_error(&error))?;
        let rows = [
            ("Layers", usage.layers),
            ("Blobs", usage.blobs),
            ("Records", usage.records),
            ("Cache mounts", usage.mounts),
            ("Other", usage.other),
        ];
        let mut table = Table::new(["TYPE", "SIZE"]);
        for (kind, bytes) in rows {
            table.row([kind.to_owned(), human::size(bytes)]);
        }
        let total = rows.iter().map(|(_, bytes)| bytes).sum();
        table.row(["Total".to_owned(), human::size(total)]);
        print_data(&table.render())
    }
}

/// Options of `cooper prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Remove the build cache too, and images without a name
    #[arg(short, long)]
    pub all: bool,

    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,

    /// Taken for scripts: nothing is asked
    #[arg(short, long, hide = true)]
    pub force: bool,
}

impl PruneArgs {
    /// Removes what nothing needs.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let options = GcOptions {
            dry_run: self.dry_run,
            records: self.all,
            dangling_images: self.all,
        };
        let taken = session
            .store
            .gc(options)
            .map_err(|error| Report::from_error(&error))?;
        if taken.busy {
            return Err(Report::new(
                "nothing was removed: a build or a container is running",
            ));
        }
        print_data(&self.render(&taken))
    }

    fn render(&self, taken: &GcReport) -> String {
        let images = taken.images.iter().map(|id| format!("image {id}"));
        let layers = taken.layers.iter().map(|id| format!("layer {id}"));
        let blobs = taken.blobs.iter().map(|digest| format!("blob {digest}"));
        let mut lines: Vec<_> = images.chain(layers).chain(blobs).collect();
        let verb = if self.dry_run {
            "Would reclaim"
        } else {
            "Reclaimed"
        };
        lines.push(format!("{} records", taken.records));
        lines.push(format!("{verb}: {}\n", human::size(taken.bytes)));
        lines.join("\n")
    }
}

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
