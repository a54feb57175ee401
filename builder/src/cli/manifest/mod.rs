//! `cooper manifest`: indexes made of images that registries have, one for each platform.
//!
//! A list is put together here, one small file below `manifests/` of the root, and pushed as one;
//! images that are elsewhere are copied along, from registry to registry. `buildx imagetools` does
//! the same in one step.

mod details;
mod list;

use crate::exit::ExitCode;
use std::fmt::Write;

use clap::{Args, Subcommand};
use cooper_oci::{Index, Reference, media_type};
use serde_json::{Value, json};

use super::interrupt::Interrupt;
use super::json::indented;
use super::template::Template;
use super::{Settings, remote};
use crate::registry::{Client, RegistryError, RemoteDocument, Watch};
use crate::report::{Exit, Report, print_data};
use list::{Entry, Lists};

/// `cooper manifest …`
#[derive(Subcommand, Clone, Debug)]
#[command(defer = true)]
pub enum ManifestCommand {
    /// Put a list together, to be annotated and pushed
    Create(CreateArgs),
    /// Say which platform an image of a list is for
    Annotate(AnnotateArgs),
    /// Show a list, or what a registry has under a name
    Inspect(InspectArgs),
    /// Send a list, and the images that its repository lacks
    Push(PushArgs),
    /// Forget lists
    Rm(RmArgs),
}

/// Options of `cooper manifest create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub list: String,

    /// Images and lists to put into it
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,

    /// Add to a list that is there already
    #[arg(short, long)]
    pub amend: bool,

    /// Registries may speak plain HTTP, or have any certificate
    #[arg(long)]
    pub insecure: bool,
}

/// Options of `cooper manifest annotate`.
#[derive(Args, Clone, Debug)]
pub struct AnnotateArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub list: String,

    /// The image, by the name it was put in by, or by digest
    #[arg(value_name = "IMAGE")]
    pub image: String,

    /// Architecture
    #[arg(long)]
    pub arch: Option<String>,

    /// Operating system
    #[arg(long)]
    pub os: Option<String>,

    /// What the operating system must be able to do
    #[arg(long, value_delimiter = ',')]
    pub os_features: Vec<String>,

    /// Version of the operating system
    #[arg(long)]
    pub os_version: Option<String>,

    /// Variant of the architecture
    #[arg(long)]
    pub variant: Option<String>,
}

/// Options of `cooper manifest inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// A list, or anything that a registry has; of two names the first is the list, and the
    /// second an image of it
    #[arg(required = true, num_args = 1..=2, value_name = "NAME")]
    pub names: Vec<String>,

    /// Show the manifests behind a list, too
    #[arg(short, long)]
    pub verbose: bool,

    /// Registries may speak plain HTTP, or have any certificate
    #[arg(long)]
    pub insecure: bool,
}

/// Options of `cooper manifest push`.
#[derive(Args, Clone, Debug)]
pub struct PushArgs {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub list: String,

    /// Forget the list once it was sent
    #[arg(short, long)]
    pub purge: bool,

    /// Registries may speak plain HTTP, or have any certificate
    #[arg(long)]
    pub insecure: bool,
}

/// Options of `cooper manifest rm`.
#[derive(Args, Clone, Debug)]
pub struct RmArgs {
    /// Names of lists
    #[arg(required = true, value_name = "LIST")]
    pub lists: Vec<String>,
}

/// `docker buildx imagetools …`
#[derive(Subcommand, Clone, Debug)]
#[command(defer = true)]
pub enum ImagetoolsCommand {
    /// Make an index of images that registries have, and send it
    Create(ImagetoolsCreateArgs),
    /// Show what a registry has under a name
    Inspect(ImagetoolsInspectArgs),
}

/// Options of `cooper buildx imagetools create`.
#[derive(Args, Clone, Debug)]
pub struct ImagetoolsCreateArgs {
    /// Images and indexes to put into it
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,

    /// Name to send it under
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,

    /// Add to what the first name stands for
    #[arg(long)]
    pub append: bool,

    /// Show the index in place of sending it
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `cooper buildx imagetools inspect`.
#[derive(Args, Clone, Debug)]
pub struct ImagetoolsInspectArgs {
    /// The name
    pub name: String,

    /// Show it byte for byte
    #[arg(long)]
    pub raw: bool,

    /// Show what a Go template gives of .Name, .Manifest, .Image, .Provenance and .SBOM, such as
    /// '{{.Manifest.Digest}}' or '{{json .SBOM.SPDX}}'
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "raw")]
    pub format: Option<Template>,
}

impl ManifestCommand {
    /// Does what the command says.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        let lists = Lists::of(&settings.root);
        match self {
            Self::Create(args) => args.run(settings, &lists),
            Self::Annotate(args) => args.run(&lists),
            Self::Inspect(args) => args.run(settings, &lists),
            Self::Push(args) => args.run(settings, &lists),
            Self::Rm(args) => args.run(&lists),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

impl CreateArgs {
    fn run(&self, settings: &Settings, lists: &Lists) -> Result<(), Report> {
        let name = remote::reference(&self.list)?;
        let mut entries = match lists.read(&name)? {
            Some(_) if !self.amend => {
                return Err(
                    Report::new(format!("there is a list {} already", name.familiar()))
                        .hint("--amend adds to it; `cooper manifest rm` forgets it"),
                );
            }
            known => known.unwrap_or_default(),
        };
        let registries = Registries::new(settings, &self.images, self.insecure)?;
        for image in &self.images {
            list::add(&mut entries, registries.entries(image)?);
        }
        lists.write(&name, &entries)?;
        print_data(&format!("Created manifest list {name}\n"))
    }
}

impl AnnotateArgs {
    fn run(&self, lists: &Lists) -> Result<(), Report> {
        let name = remote::reference(&self.list)?;
        let mut entries = lists.get(&name)?;
        let entry = list::find(&mut entries, &self.image).ok_or_else(|| {
            Report::new(format!(
                "there is no image {} in {}",
                self.image,
                name.familiar()
            ))
        })?;
        let mut platform = entry.descriptor.platform.clone().unwrap_or_default();
        for (value, place) in [
            (&self.arch, &mut platform.architecture),
            (&self.os, &mut platform.os),
        ] {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }
        if self.variant.is_some() {
            platform.variant.clone_from(&self.variant);
        }
        if self.os_version.is_some() {
            platform.os_version.clone_from(&self.os_version);
        }
        for feature in &self.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            return Err(
                Report::new("a platform needs an operating system and an architecture")
                    .hint("give --os and --arch"),
            );
        }
        entry.descriptor.platform = Some(platform);
        lists.write(&name, &entries)
    }
}

impl InspectArgs {
    fn run(&self, settings: &Settings, lists: &Lists) -> Result<(), Report> {
        let registries = Registries::new(settings, &self.names, self.insecure)?;
        let name = remote::reference(&self.names[0])?;
        let local = lists.read(&name)?;
        let asked = &self.names[self.names.len() - 1];
        let of_list = match (&local, self.names.len()) {
            (Some(entries), 2) => {
                let mut entries = entries.clone();
                let found = list::find(&mut entries, asked).map(|entry| entry.clone());
                let missing =
                    || Report::new(format!("there is no image {asked} in {}", name.familiar()));
                Some(vec![found.ok_or_else(missing)?])
            }
            (Some(entries), _) => Some(entries.clone()),
            (None, 2) => return Err(no_such(&name)),
            (None, _) => None,
        };
        if let Some(entries) = of_list {
            if self.names.len() == 2 || self.verbose {
                return print_data(&registries.verbose(&entries)?);
            }
            return print_data(&printed(&parsed(&list::index(&entries).to_json())));
        }
        let found = registries.document(&name)?;
        if !self.verbose {
            return print_data(&printed(&parsed(&found.bytes)));
        }
        print_data(&registries.verbose(&registries.entries(asked)?)?)
    }
}

impl PushArgs {
    fn run(&self, settings: &Settings, lists: &Lists) -> Result<(), Report> {
        let name = remote::reference(&self.list)?;
        let entries = lists.get(&name)?;
        let mut names: Vec<String> = entries
            .iter()
            .map(|entry| entry.reference.to_string())
            .collect();
        names.push(self.list.clone());
        let registries = Registries::new(settings, &names, self.insecure)?;
        let digest = registries.push(&name, &entries)?;
        if self.purge {
            lists.remove(&name)?;
        }
        print_data(&format!("{digest}\n"))
    }
}

impl RmArgs {
    fn run(&self, lists: &Lists) -> Result<(), Report> {
        let mut failures = Vec::new();
        for list in &self.lists {
            let removed = remote::reference(list).and_then(|name| lists.remove(&name));
            failures.extend(removed.err());
        }
        Report::of_all(failures)
    }
}

impl ImagetoolsCommand {
    /// Does what the command says.
    pub fn run(&self, settings: &Settings) -> Result<ExitCode, Report> {
        match self {
            Self::Create(args) => args.run(settings),
            Self::Inspect(args) => args.run(settings),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

impl ImagetoolsCreateArgs {
    fn run(&self, settings: &Settings) -> Result<(), Report> {
        let names: Vec<Reference> = self
            .tag
            .iter()
            .map(|tag| remote::reference(tag))
            .collect::<Result<_, _>>()?;
        if names.is_empty() && !self.dry_run {
            return Err(Report::new("an index needs a name").hint("give --tag NAME, or --dry-run"));
        }
        let registries = Registries::new(settings, &[], false)?;
        let mut entries = Vec::new();
        let first = self.tag.first().filter(|_| self.append);
        for source in first.into_iter().chain(&self.sources) {
            list::add(&mut entries, registries.entries(source)?);
        }
        if self.dry_run {
            return print_data(&printed(&parsed(&list::index(&entries).to_json())));
        }
        for name in &names {
            let digest = registries.push(name, &entries)?;
            print_data(&format!("{}@{digest}\n", name.familiar()))?;
        }
        Ok(())
    }
}

impl ImagetoolsInspectArgs {
    fn run(&self, settings: &Settings) -> Result<(), Report> {
        let registries = Registries::new(settings, &[], false)?;
        let name = remote::reference(&self.name)?;
        let found = registries.document(&name)?;
        if self.raw {
            return print_data(&String::from_utf8_lossy(&found.bytes));
        }
        if let Some(template) = &self.format {
            let details = details::details(&registries, &name, &found)?;
            let text = template.render_any(&details);
            let text = text.map_err(|error| {
                Report::from_error(&error).context("--format does not fit what is there")
            })?;
            return print_data(&(text + "\n"));
        }
        let top = &found.descriptor;
        let mut text = format!(
            "Name:      {name}\nMediaType: {}\nDigest:    {}\n",
            top.media_type, top.digest
        );
        if let Ok(index) = Index::from_json(&found.bytes) {
            text.push_str("\nManifests:\n");
            for entry in &index.manifests {
                let platform = entry.platform.as_ref().map(ToString::to_string);
                let _ = write!(
                    text,
                    "  Name:      {}@{}\n  MediaType: {}\n  Platform:  {}\n\n",
                    name.without_tag(),
                    entry.digest,
                    entry.media_type,
                    platform.unwrap_or_default()
                );
            }
        }
        print_data(&text)
    }
}

/// The registries, while a command goes on.
struct Registries {
    client: Client,
    interrupt: Interrupt,
}

impl Registries {
    /// Reaches registries; those of `names` may be `insecure`.
    fn new(settings: &Settings, names: &[String], insecure: bool) -> Result<Self, Report> {
        let mut options = settings.registry(&[])?;
        if insecure {
            let named = names.iter().map(|name| remote::reference(name));
            let named = named.collect::<Result<Vec<_>, _>>()?;
            options
                .insecure
                .extend(named.iter().map(|name| name.domain().to_owned()));
        }
        Ok(Self {
            client: settings.registry_client(&options)?,
            interrupt: Interrupt::listen().map_err(|error| Report::from_error(&error))?,
        })
    }

    /// Runs a call that an interrupt ends.
    fn call<T>(
        &self,
        call: impl FnOnce(&Client, Watch<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, Report> {
        let canceled = || self.interrupt.token().is_cancelled();
        let watch = Watch {
            event: &|_| {},
            canceled: &canceled,
        };
        call(&self.client, watch).map_err(|error| {
            if matches!(error, RegistryError::Canceled) {
                return Report::new("interrupted").exit(Exit::Interrupted);
            }
            let report = Report::from_error(&error);
            match error.hint() {
                Some(hint) => report.hint(hint),
                None => report,
            }
        })
    }

    fn document(&self, name: &Reference) -> Result<RemoteDocument, Report> {
        self.call(|client, watch| client.document(name, watch))
    }

    /// Returns the images that a name stands for: an image, or all of an index.
    fn entries(&self, name: &str) -> Result<Vec<Entry>, Report> {
        let reference = remote::reference(name)?;
        let found = self.document(&reference)?;
        if let Ok(index) = Index::from_json(&found.bytes) {
            let entry = |descriptor| Entry {
                reference: reference.clone(),
                descriptor,
            };
            return Ok(index.manifests.into_iter().map(entry).collect());
        }
        let platform = self.call(|client, watch| client.platform(&reference, &found, watch))?;
        let descriptor = found.descriptor.with_platform(platform);
        Ok(vec![Entry {
            reference,
            descriptor,
        }])
    }

    /// Sends a list with everything that its repository lacks; returns its digest.
    fn push(&self, name: &Reference, entries: &[Entry]) -> Result<cooper_oci::Digest, Report> {
        let index = list::index(entries);
        let bytes = index.to_json();
        let sources: Vec<_> = entries
            .iter()
            .map(|entry| (entry.reference.clone(), entry.descriptor.clone()))
            .collect();
        let pushed = self.call(|client, watch| {
            client.push_index(name, (index.media_type(), &bytes), &sources, watch)
        })?;
        Ok(pushed.digest)
    }

    /// Returns what docker shows of each image with `--verbose`.
    fn verbose(&self, entries: &[Entry]) -> Result<String, Report> {
        let mut shown = Vec::with_capacity(entries.len());
        for entry in entries {
            let digest = entry.descriptor.digest.clone();
            let name = entry.reference.without_tag().with_digest(digest);
            let found = self.document(&name)?;
            let key = if media_type::is_docker(&entry.descriptor.media_type) {
                "SchemaV2Manifest"
            } else {
                "OCIManifest"
            };
            shown.push(json!({
                "Ref": entry.reference.to_string(),
                "Descriptor": entry.descriptor,
                key: parsed(&found.bytes),
            }));
        }
        Ok(printed(&match shown.as_mut_slice() {
            [one] => one.take(),
            _ => Value::Array(shown),
        }))
    }
}

fn no_such(name: &Reference) -> Report {
    Report::new(format!("there is no list {}", name.familiar()))
        .hint("`cooper manifest create` makes one")
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// Returns `value` as docker prints manifests.
fn printed(value: &Value) -> String {
    indented(value, "   ")
}
