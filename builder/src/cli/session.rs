//! The store as a command has it open.

use std::os::unix::fs::MetadataExt;

use cooper_cache::{ImageRecord, Lease, Lookup, Store, StoreOptions};
use cooper_oci::{ImageConfig, Reference};
use cooper_runner::rootless;

use super::{Settings, collect};
use crate::report::{Report, did_you_mean};

/// An open store, and whether this process is root only in a user namespace.
#[derive(Debug)]
pub struct Session {
    /// The store.
    pub store: Store,
    /// Whether overlays need `userxattr`, and ids beyond the mapped ones do not exist.
    pub rootless: bool,
}

impl Session {
    /// Becomes root of a user namespace unless the process is root, and opens the store.
    ///
    /// It must come before the first thread: only a process without threads can enter a user
    /// namespace.
    pub fn open(settings: &Settings) -> Result<Self, Report> {
        // In a user namespace everyone is root, and strangers' files are nobody's.
        let user = rustix::process::getuid().as_raw();
        let owner = std::fs::metadata(&settings.root).map(|meta| meta.uid());
        let entered = rootless::enter().map_err(|error| {
            Report::from_error(&error)
                .context("cooper cannot work without root on this machine")
                .hint("`cooper doctor` tells what is missing")
        })?;
        let rootless = entered.is_rootless();
        let store = Store::open(
            &settings.root,
            StoreOptions {
                userxattr: rootless,
            },
        )
        .map_err(|error| {
            let report = Report::from_error(&error)
                .context(format!("cannot open the store {}", settings.root.display()));
            let report = match owner {
                Ok(owner) if owner != user && user != 0 => report.hint(format!(
                    "it belongs to user {owner}, and this is user {user}: each user has a store \
                     of its own"
                )),
                _ => report,
            };
            report.hint("another directory can be given with --root DIR or COOPER_ROOT")
        })?;
        if let Some(limit) = collect::hard_limit(&store, &settings.file.cache)? {
            store.set_limit(limit);
        }
        Ok(Self { store, rootless })
    }

    /// Keeps `cooper prune` from taking what this command reads, or has stored without a name yet.
    pub fn lease(&self) -> Result<Lease, Report> {
        self.store
            .lease()
            .map_err(|error| Report::from_error(&error))
    }

    /// Returns the image that `name` (a reference, an ID or the start of one) means, if any.
    pub fn find_image(&self, name: &str) -> Result<Option<ImageRecord>, Report> {
        match self
            .store
            .images()
            .resolve(name)
            .map_err(|error| Report::from_error(&error))?
        {
            Lookup::Found(record) => Ok(Some(*record)),
            Lookup::Missing => Ok(None),
            Lookup::Ambiguous(ids) => {
                let ids: Vec<_> = ids.iter().map(cooper_oci::Digest::short).collect();
                Err(Report::new(format!("{name} could mean several images"))
                    .hint(format!("they are {}", ids.join(", "))))
            }
        }
    }

    /// Returns the image that `name` means.
    pub fn image(&self, name: &str) -> Result<ImageRecord, Report> {
        if let Some(record) = self.find_image(name)? {
            return Ok(record);
        }
        let report = Report::new(format!("no such image: {name}"));
        let tags = self.store.images().tags().unwrap_or_default();
        let known: Vec<_> = tags
            .iter()
            .map(|(reference, _)| reference.familiar())
            .collect();
        Err(match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(known) => report.hint(format!("did you mean {known}?")),
            None => report,
        })
    }

    /// Returns an image's configuration.
    pub fn config(&self, record: &ImageRecord) -> Result<ImageConfig, Report> {
        let damaged = |error: &dyn std::error::Error| {
            Report::from_error(error).context(format!(
                "the configuration of image {} cannot be read",
                record.id.short()
            ))
        };
        let bytes = self
            .store
            .blobs()
            .read(&record.id)
            .map_err(|error| damaged(&error))?;
        ImageConfig::from_json(&bytes).map_err(|error| damaged(&error))
    }

    /// Returns the names of an image, sorted.
    pub fn names(&self, record: &ImageRecord) -> Result<Vec<Reference>, Report> {
        let tags = self
            .store
            .images()
            .tags()
            .map_err(|error| Report::from_error(&error))?;
        Ok(tags
            .into_iter()
            .filter(|(_, id)| *id == record.id)
            .map(|(name, _)| name)
            .collect())
    }
}
