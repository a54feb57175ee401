//! `cooper image prune`: removing images that nothing needs.

use clap::Args;
use cooper_cache::{GcOptions, ImageRecord};
use cooper_oci::Reference;

use super::confirm::confirmed;
use super::image_filter::{Facts, ImageFilter, ImageFilters};
use super::session::Session;
use super::{Settings, human, ps};
use crate::events::{Journal, Kind};
use crate::report::{Report, print_data};

/// Options of `cooper image prune`.
#[derive(Args, Clone, Debug)]
pub struct ImagePruneArgs {
    /// Remove all that no container was made of, not only those without a name
    #[arg(short, long)]
    pub all: bool,

    /// Only those that fit: until=TIME, label=NAME[=VALUE] or label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<ImageFilter>,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

impl ImagePruneArgs {
    /// Removes them.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let what = if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        if !self.force && !confirmed(what)? {
            return Ok(());
        }
        let session = Session::open(settings)?;
        let filters = ImageFilters::new(&self.filter, &session)?;
        let used = ps::used_images(settings)?;
        let images = session.store.images();
        let failed = |error: cooper_cache::StoreError| Report::from_error(&error);
        let mut text = String::new();
        for (record, names) in images.list().map_err(failed)? {
            let spare = names.is_empty() || self.all;
            if !spare
                || used.contains(&record.id)
                || !admitted(&session, &filters, &record, &names)?
            {
                continue;
            }
            for name in &names {
                session.tell("untag", record.id.to_string(), &name.familiar());
                text.extend(["untagged: ", &name.familiar(), "\n"]);
            }
            images.remove(&record.id).map_err(failed)?;
            session.tell("delete", record.id.to_string(), record.id.as_str());
            text.extend(["deleted: ", record.id.as_str(), "\n"]);
        }
        let freed = session.store.gc(&GcOptions::default()).map_err(failed)?;
        if !text.is_empty() {
            text = format!("Deleted Images:\n{text}\n");
        }
        Journal::of(session.store.root()).tell_pruned(Kind::Image, freed.bytes);
        let bytes = human::size(freed.bytes);
        print_data(&format!("{text}Total reclaimed space: {bytes}\n"))
    }
}

/// Whether `filters` admit an image; its configuration is read only if they ask for labels.
pub(super) fn admitted(
    session: &Session,
    filters: &ImageFilters,
    record: &ImageRecord,
    names: &[Reference],
) -> Result<bool, Report> {
    let config = if filters.needs_labels() {
        session.config(record)?
    } else {
        cooper_oci::ImageConfig::default()
    };
    let labels = config.config.labels.iter();
    Ok(filters.admit(&Facts {
        created: record.created.as_deref().and_then(|at| at.parse().ok()),
        labels: labels
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        names,
    }))
}
