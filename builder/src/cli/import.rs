//! `cooper import`: an image out of the files of an archive.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use cooper_cache::{FileBytes, ImageLayer, StoreError, open_archive};
use cooper_oci::{Descriptor, DiffId, Digest, History, ImageConfig, media_type};
use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::container::change_config;
use super::output::image_name;
use super::session::Session;
use super::{Settings, remote};
use crate::http::{Download, HttpRequest};
use crate::image::Image;
use crate::report::{Report, print_data};

/// Options of `cooper import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Archive with the files of a root directory: a file, a URL, or - for stdin
    #[arg(value_name = "FILE|URL|-")]
    pub source: String,

    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub image: Option<String>,

    /// Change the configuration by a Dockerfile instruction, such as 'USER app' or 'ENV A=1'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,

    /// What stands in the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,

    /// Platform that the files are for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

impl ImportArgs {
    /// Makes the image and prints its ID.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let name = self
            .image
            .as_deref()
            .map(|text| image_name(text).map_err(|error| error.report("the name", text)));
        let name = name.transpose()?;
        let mut config = ImageConfig::new(&remote::platform(self.platform.as_deref())?);
        for change in &self.change {
            change_config(&mut config, change)?;
        }
        let session = Session::open(settings)?;
        let _lease = session.lease()?;
        let failed = |error: StoreError| {
            Report::from_error(&error).context(format!("cannot import {}", self.source))
        };
        let layer = self.layer(&session, settings)?;
        let now = Timestamp::now().to_string();
        config.created = Some(now.clone());
        config.history.push(History {
            created: Some(now),
            comment: Some(match &self.message {
                Some(message) => message.clone(),
                None => format!("Imported from {}", self.source),
            }),
            ..History::default()
        });
        "layers".clone_into(&mut config.rootfs.typ);
        config.rootfs.diff_ids = vec![layer.diff_id.clone()];
        let config_bytes = config.to_json();
        let size = layer.blobs.iter().map(|blob| blob.size).sum();
        let image = Image {
            id: Digest::sha256(&config_bytes),
            config,
            config_bytes,
            layers: vec![layer],
            attestations: Vec::new(),
        };
        let images = session.store.images();
        session
            .store
            .blobs()
            .put(&image.config_bytes)
            .map_err(failed)?;
        images.put(&image.record(size)).map_err(failed)?;
        if let Some(name) = &name {
            images.tag(name, &image.id).map_err(failed)?;
        }
        print_data(&format!("{}\n", image.id))
    }

    /// Brings the archive in, as the plain tar that it holds, and checks that it can be unpacked.
    fn layer(&self, session: &Session, settings: &Settings) -> Result<ImageLayer, Report> {
        let store = &session.store;
        let failed = |error: &dyn std::error::Error| {
            Report::from_error(error).context(format!("cannot import {}", self.source))
        };
        let (path, _copy) = self.open(store.tmp(), settings)?;
        let archive = FileBytes::of(path).open().map_err(|error| failed(&error))?;
        let mut tar = open_archive(archive).map_err(|error| failed(&error))?;
        let mut blob = store.blobs().writer().map_err(|error| failed(&error))?;
        let filled = blob.fill(&mut tar).map_err(|error| failed(&error))?;
        filled.map_err(|error| failed(&error))?;
        let (digest, size) = blob.commit(None, None).map_err(|error| failed(&error))?;
        if size == 0 {
            return Err(Report::new(format!(
                "cannot import {}: it is empty",
                self.source
            )));
        }
        let blob = Descriptor::new(media_type::OCI_LAYER_TAR, digest.clone(), size);
        let diff_id = DiffId(digest);
        let layer = store.layers().apply(&diff_id, &blob);
        let layer = layer.map_err(|error| {
            failed(&error).hint("an image is made of a tar, plain or in gzip, bzip2, xz or zstd")
        })?;
        Ok(ImageLayer {
            diff_id,
            layer: layer.id().clone(),
            blobs: vec![blob],
        })
    }

    /// Returns where the archive is; what is no file is copied to one in `tmp` first, which goes
    /// with what is returned.
    fn open(
        &self,
        tmp: &Path,
        settings: &Settings,
    ) -> Result<(PathBuf, Option<NamedTempFile>), Report> {
        let failed = |error: &dyn std::error::Error| {
            Report::from_error(error).context(format!("cannot read {}", self.source))
        };
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| self.source.starts_with(scheme));
        if !is_url && self.source != "-" {
            let path = PathBuf::from(&self.source);
            return File::open(&path)
                .map(|_| (path, None))
                .map_err(|error| failed(&error));
        }
        let mut copy = NamedTempFile::new_in(tmp).map_err(|error| failed(&error))?;
        if is_url {
            let client = settings.registry_client(&settings.registry(&[])?)?;
            let request = HttpRequest {
                url: &self.source,
                ..HttpRequest::default()
            };
            let mut open = || {
                copy.as_file().set_len(0)?;
                copy.reopen()
            };
            let done: Result<Download<File>, _> = client.http().download(&request, &mut open);
            done.map_err(|error| failed(&error))?;
        } else {
            if io::stdin().is_terminal() {
                return Err(
                    Report::new("an archive is not typed").hint("redirect stdin, or name a file")
                );
            }
            io::copy(&mut io::stdin().lock(), &mut copy).map_err(|error| failed(&error))?;
        }
        Ok((copy.path().to_owned(), Some(copy)))
    }
}
