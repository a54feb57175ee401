//! `cooper prune`: the store made smaller.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use cooper_cache::{Evict, GcOptions, GcReport, Policy, Store};
use jiff::Timestamp;

use super::session::Session;
use super::usage_filter::UsageFilter;
use super::value::size;
use super::{Settings, human};
use crate::events::{Journal, Kind};
use crate::report::{Report, print_data};

/// Options of `cooper prune`.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct PruneArgs {
    /// Remove the build cache too, and images without a name
    #[arg(short, long)]
    pub all: bool,

    /// Remove of the build cache what this holds for, such as until=24h or type=exec.cachemount
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<UsageFilter>,

    /// Remove of the build cache until all takes at most SIZE
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_used_space: Option<u64>,

    /// Remove of the build cache until SIZE is free on the file system
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub min_free_space: Option<u64>,

    /// Always leave SIZE of the build cache
    #[arg(long, value_name = "SIZE", value_parser = size, alias = "keep-storage")]
    pub reserved_space: Option<u64>,

    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,

    /// Say everything that is removed; it always is
    #[arg(long, hide = true)]
    pub verbose: bool,

    /// Taken for scripts: nothing is asked
    #[arg(short, long, hide = true)]
    pub force: bool,
}

impl PruneArgs {
    /// Removes what nothing needs, and what the options give up.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let session = Session::open(settings)?;
        let options = GcOptions {
            dry_run: self.dry_run,
            cache: self.evict(&session.store)?,
            dangling_images: self.all,
        };
        let taken = session
            .store
            .gc(&options)
            .map_err(|error| Report::from_error(&error))?;
        if !self.dry_run {
            Journal::of(session.store.root()).tell_pruned(Kind::Builder, taken.bytes);
        }
        print_data(&render(&taken, self.dry_run))
    }

    fn evict(&self, store: &Store) -> Result<Evict, Report> {
        let mut policy = Policy {
            keep_duration: None,
            reserved_space: self.reserved_space,
            max_used_space: self.max_used_space,
            min_free_space: self.min_free_space,
        };
        let limited = policy != Policy::default();
        let mut others = Vec::new();
        for filter in &self.filter {
            match filter {
                UsageFilter::Until(time) => {
                    policy.keep_duration = policy.keep_duration.max(Some(*time));
                }
                other => others.push(other),
            }
        }
        if !others.is_empty() {
            let now = Timestamp::now().as_second();
            let entries = store
                .usage_entries()
                .map_err(|error| Report::from_error(&error))?;
            let ids: HashSet<_> = entries
                .into_iter()
                .filter(|entry| others.iter().all(|filter| filter.admits(entry, now)))
                .map(|entry| entry.id)
                .collect();
            return Ok(Evict::Only(policy, ids));
        }
        if self.all || limited || policy.keep_duration > Some(Duration::ZERO) {
            return Ok(Evict::By(policy));
        }
        Ok(Evict::Nothing)
    }
}

fn render(taken: &GcReport, dry_run: bool) -> String {
    let images = taken.images.iter().map(|id| format!("image {id}"));
    let layers = taken.layers.iter().map(|id| format!("layer {id}"));
    let blobs = taken.blobs.iter().map(|digest| format!("blob {digest}"));
    let mounts = taken.mounts.iter().map(|id| format!("cache mount {id}"));
    let mut lines: Vec<_> = images.chain(layers).chain(blobs).chain(mounts).collect();
    lines.push(format!("{} records", taken.records));
    if taken.in_use > 0 {
        lines.push(format!("{} more are used by running builds", taken.in_use));
    }
    let verb = if dry_run {
        "Would reclaim"
    } else {
        "Reclaimed"
    };
    lines.push(format!("{verb}: {}\n", human::size(taken.bytes)));
    lines.join("\n")
}
