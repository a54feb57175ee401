//! `cooper load`, `save` and `push`: images in and out of the store.

use crate::exit::ExitCode;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cooper_cache::ImageRecord;
use cooper_oci::{Compression, Descriptor, Platform, Reference};

use super::interrupt::Interrupt;
use super::leaks::LeakArgs;
use super::session::Session;
use super::{Settings, remote};
use crate::config;
use crate::export::{ExportError, Layout, export_archive};
use crate::image::{self, ImageSet, Loaded};
use crate::options::{ArchiveDest, ArchiveOutput, ImageFormat, ProgressMode, Sink};
use crate::progress::{Display, DisplayOptions};
use crate::push::{PushError, PushRequest, push_image};
use crate::registry::{Client, RegistryError};
use crate::report::{Exit, Report, print_data};

/// Options of `cooper load`.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// Archive to read [default: stdin]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Print only IDs
    #[arg(short, long)]
    pub quiet: bool,

    /// Of images for several platforms, load only these platforms' [default: all]
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<Platform>,
}

impl LoadArgs {
    /// Loads the archive's images.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let (name, archive) = self.open()?;
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let loaded = image::load(&session.store, archive, &self.platform)
            .map_err(|error| Report::from_error(&error).context(format!("cannot load {name}")))?;
        for image in &loaded {
            let name = image.names.first().map(Reference::familiar);
            session.tell("load", image.id.to_string(), &name.unwrap_or_default());
        }
        print_data(
            &loaded
                .iter()
                .map(|image| self.line(image))
                .collect::<String>(),
        )
    }

    fn open(&self) -> Result<(String, Box<dyn Read>), Report> {
        let Some(path) = &self.input else {
            if io::stdin().is_terminal() {
                return Err(
                    Report::new("no archive to load").hint("give one with -i FILE or on stdin")
                );
            }
            return Ok((
                "the archive on stdin".to_owned(),
                Box::new(io::stdin().lock()),
            ));
        };
        let file = File::open(path).map_err(|error| {
            Report::from_error(&error).context(format!("cannot open {}", path.display()))
        })?;
        Ok((path.display().to_string(), Box::new(file)))
    }

    fn line(&self, image: &Loaded) -> String {
        if self.quiet {
            return format!("{}\n", image.id);
        }
        if image.names.is_empty() {
            return format!("Loaded image ID: {}\n", image.id);
        }
        let line = |name: &Reference| "Loaded image: ".to_owned() + &name.familiar() + "\n";
        image.names.iter().map(line).collect()
    }
}

/// Options of `cooper save`.
#[derive(Args, Clone, Debug)]
pub struct SaveArgs {
    /// Images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,

    /// Archive to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// docker archives are OCI layouts too, with docker's files added
    #[arg(long, value_name = "FORMAT", default_value = "docker")]
    pub format: ArchiveFormat,

    /// Compression of layers: gzip, zstd or uncompressed
    #[arg(long, value_name = "NAME")]
    pub compression: Option<Compression>,

    /// Of images for several platforms, save only these platforms' [default: all]
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub platform: Vec<Platform>,

    /// What is done about secrets.
    #[command(flatten)]
    pub leaks: LeakArgs,
}

/// Which files an archive has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchiveFormat {
    /// What `docker load` reads
    #[value(alias = "docker-archive")]
    Docker,
    /// An OCI layout alone
    #[value(alias = "oci-archive")]
    Oci,
}

impl SaveArgs {
    /// Writes the images.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        if self.output.is_none() && io::stdout().is_terminal() {
            return Err(Report::new("an archive would be written to the terminal")
                .hint("redirect stdout, or give -o FILE"));
        }
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let mut images: Vec<(ImageSet, Vec<Reference>)> = Vec::new();
        for name in &self.images {
            let set = session.image_set(name, &self.platform)?;
            let record = session.image(name)?;
            let names = saved_names(name, session.names(&record)?);
            match images.iter_mut().find(|(known, _)| *known == set) {
                Some((_, known)) => known.extend(names),
                None => images.push((set, names)),
            }
        }
        let all = images.iter().flat_map(|(set, _)| &set.images);
        self.leaks.check(&session, settings, all)?;
        let images: Vec<_> = images
            .iter()
            .map(|(set, names)| (set, names.clone()))
            .collect();
        let layout = match self.format {
            ArchiveFormat::Docker => Layout::Docker,
            ArchiveFormat::Oci => Layout::Oci,
        };
        let cleared = || Ok::<_, ExportError>(());
        let layers = session.store.layers();
        export_archive(&layers, &images, &self.archive(), layout, &cleared)
            .map_err(|error| Report::from_error(&error))?;
        Ok(())
    }

    fn archive(&self) -> ArchiveOutput {
        let sink = self.output.clone().filter(|path| path != Path::new("-"));
        let format = ImageFormat {
            compression: self.compression,
            force: self.compression.is_some(),
            ..ImageFormat::default()
        };
        ArchiveOutput {
            dest: ArchiveDest::Tar(sink.map_or(Sink::Stdout, Sink::File)),
            names: Vec::new(),
            format,
        }
    }
}

/// Returns what an image is called in an archive: what the user called it, if that is one of its
/// names, and nothing if it was called by its ID.
fn saved_names(asked: &str, names: Vec<Reference>) -> Vec<Reference> {
    let Ok(asked) = asked.parse::<Reference>() else {
        return Vec::new();
    };
    let asked = asked.with_default_tag();
    names.into_iter().filter(|name| *name == asked).collect()
}

/// Options of `cooper push`.
#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    /// The image's name, which says where it goes
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,

    /// Push all tags that the name has here
    #[arg(short, long)]
    pub all_tags: bool,

    /// Show only the digest at the end
    #[arg(short, long)]
    pub quiet: bool,

    /// How to show progress: auto, tty, plain, quiet or rawjson
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,

    /// Compression of layers that are not compressed yet: gzip, zstd or uncompressed
    #[arg(long, value_name = "NAME")]
    pub compression: Option<Compression>,

    /// Of images for several platforms, push only this one's [default: all]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<Platform>,

    /// What is done about secrets.
    #[command(flatten)]
    pub leaks: LeakArgs,

    #[command(flatten)]
    trust: remote::TrustArgs,
}

impl PushArgs {
    /// Pushes the image.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        self.trust.check()?;
        let environment = &settings.environment;
        let mode = config::progress_mode(self.progress.as_deref(), environment, &settings.file)?;
        let mode = if self.quiet {
            ProgressMode::Quiet
        } else {
            mode
        };
        let name = remote::reference(&self.name)?;
        let client = settings.registry_client(&settings.registry(&[])?)?;
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let names = if self.all_tags {
            self.tags(&session)?
        } else {
            vec![name]
        };
        let mut loaded = Vec::with_capacity(names.len());
        for name in &names {
            let set = session.image_set(&name.to_string(), self.platform.as_slice())?;
            loaded.push(set);
        }
        let images = loaded.iter().flat_map(|set| &set.images);
        self.leaks.check(&session, settings, images)?;
        let color = settings.color(&io::stderr());
        let display = Display::start(DisplayOptions::new(mode, color));
        let interrupt = Interrupt::listen().map_err(|error| Report::from_error(&error))?;
        let pushing = Pushing {
            session: &session,
            client: &client,
            display: &display,
            interrupt: &interrupt,
        };
        let pushed: Result<Vec<String>, Report> = names
            .iter()
            .zip(&loaded)
            .map(|(name, set)| self.one(&pushing, name, set))
            .collect();
        display.finish();
        print_data(&pushed?.concat())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns all names of the repository that `name` means.
    fn tags(&self, session: &Session) -> Result<Vec<Reference>, Report> {
        let repository = remote::repository(&self.name)?;
        let tags = session.store.images().tags();
        let tags = tags.map_err(|error| Report::from_error(&error))?;
        let names = tags.into_iter().map(|(name, _)| name);
        let names: Vec<_> = names
            .filter(|name| name.domain() == repository.domain() && name.path() == repository.path())
            .collect();
        if names.is_empty() {
            return Err(Report::new(format!(
                "no image here has a name of the repository {}",
                repository.familiar()
            )));
        }
        Ok(names)
    }

    /// Pushes the image `name`; returns the line that tells of it.
    fn one(
        &self,
        pushing: &Pushing<'_>,
        name: &Reference,
        set: &ImageSet,
    ) -> Result<String, Report> {
        let session = pushing.session;
        let record = session.image(&name.to_string())?;
        let format = ImageFormat {
            compression: self.compression,
            ..ImageFormat::default()
        };
        let original = match set.images.as_slice() {
            [image] if image.id == record.id => self.original(session, &record)?,
            _ => None,
        };
        let request = PushRequest {
            // Everything of an image in the store is there.
            fetch: &|_| Ok(()),
            elsewhere: BTreeMap::new(),
            set,
            names: std::slice::from_ref(name),
            format: &format,
            original,
            by_digest: false,
            canceled: &|| pushing.interrupt.token().is_cancelled(),
        };
        let step = pushing.display.progress().step(format!("push {name}"));
        let result = push_image(&session.store, pushing.client, &request, &step);
        let manifest = step.end_with(result).map_err(|error| failure(&error))?;
        session.tell("push", name.familiar(), &name.familiar());
        Ok(format!("{}@{}\n", name.familiar(), manifest.digest))
    }

    /// Returns the manifest that the image was pulled with, if all its layers are here as they
    /// came: they are then pushed byte for byte.
    fn original(
        &self,
        session: &Session,
        record: &ImageRecord,
    ) -> Result<Option<(Descriptor, Vec<u8>)>, Report> {
        let blobs = session.store.blobs();
        let Some(manifest) = &record.manifest else {
            return Ok(None);
        };
        let complete = record.layers.iter().all(|layer| {
            layer
                .blobs
                .first()
                .is_some_and(|blob| blobs.has(&blob.digest))
        });
        if self.compression.is_some() || !complete || !blobs.has(&manifest.digest) {
            return Ok(None);
        }
        let bytes = blobs
            .read(&manifest.digest)
            .map_err(|error| Report::from_error(&error))?;
        Ok(Some((manifest.clone(), bytes)))
    }
}

/// What pushes need.
struct Pushing<'a> {
    session: &'a Session,
    client: &'a Client,
    display: &'a Display,
    interrupt: &'a Interrupt,
}

fn failure(error: &PushError) -> Report {
    let report = Report::from_error(error);
    let hint = match error {
        PushError::Registry { source, .. } if matches!(**source, RegistryError::Canceled) => {
            return Report::new("interrupted").exit(Exit::Interrupted);
        }
        PushError::Registry { source, .. } => source.hint(),
        PushError::NoName | PushError::Store(_) => None,
    };
    match hint {
        Some(hint) => report.hint(hint),
        None => report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_saved_under_the_name_it_was_asked_for_by() {
        let names = || {
            ["a:latest", "b:1"]
                .map(|name| name.parse().expect("valid"))
                .to_vec()
        };
        let saved = |asked: &str| -> Vec<String> {
            saved_names(asked, names())
                .iter()
                .map(Reference::familiar)
                .collect()
        };
        assert_eq!(saved("a"), ["a:latest"]);
        assert_eq!(saved("docker.io/library/b:1"), ["b:1"]);
        assert_eq!(saved("b"), Vec::<String>::new());
        assert_eq!(saved("0123456789ab"), Vec::<String>::new());
    }
}
