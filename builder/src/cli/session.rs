//! The store as a command has it open.

use std::os::unix::fs::MetadataExt;

use cooper_cache::{ImageRecord, Lease, Lookup, PlatformImage, Store, StoreOptions};
use cooper_oci::{ImageConfig, Platform, Reference};
use cooper_runner::rootless::{self, Shared};

use super::{Settings, collect};
use crate::events::{Event, Journal, Kind};
use crate::image::{Image, ImageSet};
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
        // Other processes, which work elsewhere, find it too.
        let absolute =
            std::path::absolute(&settings.root).unwrap_or_else(|_| settings.root.clone());
        let owner = std::fs::metadata(&settings.root).map(|meta| meta.uid());
        let shared = Shared::at(crate::network::shared(&absolute));
        let entered = rootless::enter(&shared).map_err(|error| {
            Report::from_error(&error)
                .context("cooper cannot work without root on this machine")
                .hint("`cooper doctor` tells what is missing")
        })?;
        let rootless = entered.is_rootless();
        let store = Store::open(
            &settings.root,
            StoreOptions {
                userxattr: rootless,
                driver: settings.driver,
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

    /// Writes down what happened to an image, which is called `name` there.
    pub fn tell(&self, action: &str, id: impl Into<String>, name: &str) {
        let event = Event::new(Kind::Image, action, id).with("name", name);
        Journal::of(self.store.root()).write(&event);
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

    /// Returns the image that `name` means, if any; of those for several platforms the one for
    /// `platform`.
    pub fn find_platform(
        &self,
        name: &str,
        platform: &Platform,
    ) -> Result<Option<ImageRecord>, Report> {
        let members = self.platforms(name)?;
        if members.is_empty() {
            return self.find_image(name);
        }
        let image = &member(name, &members, platform)?.image;
        let record = self.store.images().get(image);
        record.map_err(|error| Report::from_error(&error))
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

    /// Returns the image that `name` means, the one for `platform` if that is asked for.
    pub fn image_for(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<ImageRecord, Report> {
        let record = self.image(name)?;
        let Some(platform) = platform else {
            return Ok(record);
        };
        if !self.platforms(name)?.is_empty() {
            let found = self.find_platform(name, platform)?;
            return found
                .ok_or_else(|| Report::new(format!("the image of {name} for {platform} is gone")));
        }
        let own = self.config(&record)?.platform();
        if platform.matches(&own) {
            return Ok(record);
        }
        Err(Report::new(format!("{name} has no image for {platform}"))
            .hint(format!("it is for {own}")))
    }

    /// Returns the images that `name` means for these platforms, or all that it stands for.
    pub fn image_set(&self, name: &str, platforms: &[Platform]) -> Result<ImageSet, Report> {
        let images = self.store.images();
        let mut members = self.platforms(name)?;
        if !members.is_empty() && !platforms.is_empty() {
            let chosen = |platform| member(name, &members, platform).cloned();
            let chosen: Vec<_> = platforms.iter().map(chosen).collect::<Result<_, _>>()?;
            members.retain(|member| chosen.contains(member));
        }
        let load = |record: &ImageRecord| {
            Image::load(&self.store, record).map_err(|error| Report::from_error(&error))
        };
        if members.is_empty() {
            let record = self.image(name)?;
            for platform in platforms {
                self.image_for(name, Some(platform))?;
            }
            return Ok(load(&record)?.into());
        }
        let mut set = Vec::with_capacity(members.len());
        for member in members {
            let record = images.get(&member.image);
            let record = record.map_err(|error| Report::from_error(&error))?;
            let gone = || {
                Report::new(format!(
                    "the image of {name} for {} is gone",
                    member.platform
                ))
            };
            set.push(load(&record.ok_or_else(gone)?)?);
        }
        Ok(ImageSet::new(set))
    }

    /// Returns the images that `name` stands for; none unless it stands for several platforms.
    pub fn platforms(&self, name: &str) -> Result<Vec<PlatformImage>, Report> {
        let Ok(reference) = name.parse::<Reference>() else {
            return Ok(Vec::new());
        };
        let images = self.store.images();
        let members = images.platforms(&reference.with_default_tag());
        members.map_err(|error| Report::from_error(&error))
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

/// Returns the image for `platform`, the closest that runs there.
fn member<'m>(
    name: &str,
    members: &'m [PlatformImage],
    platform: &Platform,
) -> Result<&'m PlatformImage, Report> {
    let ranked = members
        .iter()
        .filter_map(|member| Some((platform.rank(&member.platform)?, member)));
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, member)| member).ok_or_else(|| {
        let known: Vec<_> = members.iter().map(|m| m.platform.to_string()).collect();
        Report::new(format!("{name} has no image for {platform}"))
            .hint(format!("it has {}", known.join(", ")))
    })
}
