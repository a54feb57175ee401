//! Where a build's results go, and how images are written there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_oci::{Compression, Platform, Reference};

/// One `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Into the local store, to a registry, or both.
    Image(ImageOutput),
    /// An OCI layout.
    Oci(ArchiveOutput),
    /// An archive that `docker load` reads.
    Docker(ArchiveOutput),
    /// The root filesystem as files below a directory.
    Local {
        /// The directory; made when missing.
        dest: PathBuf,
        /// What becomes of what is there.
        mode: LocalMode,
        /// Whether each platform has a directory of its own; as many platforms ask for it when
        /// absent.
        split: Option<bool>,
    },
    /// The root filesystem as one tar stream.
    Tar {
        /// Where the stream goes.
        dest: Sink,
        /// Whether each platform has a directory of its own, as for [`Output::Local`].
        split: Option<bool>,
    },
    /// Nowhere: the build only fills the cache.
    CacheOnly,
}

impl Output {
    /// Returns how the image is written; nothing for outputs that write none.
    pub fn format(&self) -> Option<&ImageFormat> {
        match self {
            Self::Image(image) => Some(&image.format),
            Self::Oci(archive) | Self::Docker(archive) => Some(&archive.format),
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }
}

/// `type=image` and `type=registry`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOutput {
    /// Names to use; the build's tags when empty.
    pub names: Vec<Reference>,
    /// Whether the local store keeps the image.
    pub store: bool,
    /// Whether and how the image is pushed under its names.
    pub push: Option<Push>,
    /// How the manifest and its layers are written.
    pub format: ImageFormat,
}

/// How an image is pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// Whether the manifest is named by its digest alone and no tag is moved.
    pub by_digest: bool,
    /// Whether plain HTTP, or HTTPS without a trusted certificate, will do.
    pub insecure: bool,
}

/// `type=oci` and `type=docker` with a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOutput {
    /// Where it goes.
    pub dest: ArchiveDest,
    /// Names to write into it; the build's tags when empty.
    pub names: Vec<Reference>,
    /// How the manifest and its layers are written.
    pub format: ImageFormat,
}

/// Where an image archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveDest {
    /// One tar stream.
    Tar(Sink),
    /// The unpacked layout (`tar=false`).
    Directory(PathBuf),
}

/// Receiver of one stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output (`dest=-`).
    Stdout,
    /// A file, replaced when it exists.
    File(PathBuf),
}

/// How an image's manifest and layers are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the output, and any may be with any"
)]
pub struct ImageFormat {
    /// Compression of layers; what suits the output when absent.
    pub compression: Option<Compression>,
    /// Whether gzip layers are made so that their files can be pulled one by one (eStargz).
    pub chunked: bool,
    /// The compressor's own level.
    pub level: Option<i32>,
    /// Whether layers that came compressed otherwise are compressed anew.
    pub force: bool,
    /// Media types to use; none leaves it to the output (OCI, but docker's for `type=docker`).
    pub oci_media_types: Option<bool>,
    /// Whether what is said of images is in OCI artifacts that name the image as their subject.
    pub artifacts: bool,
    /// Whether file times in new layers are clamped to the source date epoch.
    pub rewrite_timestamp: bool,
    /// Annotations, in the order given.
    pub annotations: Vec<Annotation>,
}

impl ImageFormat {
    /// Returns what is put in one place of an image for `platform`; of a name that is given
    /// twice, the last value.
    pub fn annotations(
        &self,
        place: AnnotationPlace,
        platform: &Platform,
    ) -> BTreeMap<String, String> {
        let wanted = |one: &&Annotation| {
            let here = one.platform.as_ref();
            one.place == place && here.is_none_or(|wanted| wanted.matches(platform))
        };
        self.annotations
            .iter()
            .filter(wanted)
            .map(|one| (one.name.clone(), one.value.clone()))
            .collect()
    }
}

/// A name and a value beside an image's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Where it goes.
    pub place: AnnotationPlace,
    /// The only platform whose image gets it.
    pub platform: Option<Platform>,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where an [`Annotation`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationPlace {
    /// The manifest.
    Manifest,
    /// The manifest's entry in an index.
    ManifestDescriptor,
    /// The index of several platforms.
    Index,
    /// The index' entry in a layout.
    IndexDescriptor,
}

/// What becomes of what is in the directory that files are written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalMode {
    /// It stays, unless a file takes its place.
    #[default]
    Copy,
    /// What the result does not have is removed.
    Delete,
}
