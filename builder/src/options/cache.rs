//! Caches that machines share: where they are read from and written to.

use std::fmt;
use std::path::PathBuf;

use cooper_oci::Reference;

use super::ImageFormat;
use crate::shared_cache::Keys;

/// Where a shared cache is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFrom {
    /// A registry: a cache of its own, or an image that has one within.
    Registry {
        /// What it is called.
        reference: Reference,
        /// Whether the registry may do without a certificate.
        insecure: bool,
    },
    /// A directory.
    Local {
        /// The directory.
        dir: PathBuf,
        /// The digest of its manifest, or its tag.
        wanted: String,
    },
    /// A bucket.
    Bucket(BucketPlace),
}

/// A cache in a bucket of S3, or of a service that speaks like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlace {
    /// The bucket.
    pub bucket: String,
    /// Where it is.
    pub region: String,
    /// Comes before the names of all objects.
    pub prefix: String,
    /// Comes before the names of lists.
    pub manifests_prefix: String,
    /// Comes before the names of blobs.
    pub blobs_prefix: String,
    /// The service's address; Amazon's when absent.
    pub endpoint: Option<String>,
    /// Whether the bucket is a part of paths, not of the host's name.
    pub path_style: bool,
    /// What the cache is called: it is written under all names, and the first that there is is read.
    pub names: Vec<String>,
    /// Who asks; nobody in particular when absent.
    pub keys: Option<Keys>,
}

impl Default for BucketPlace {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            region: String::new(),
            prefix: String::new(),
            manifests_prefix: "manifests/".to_owned(),
            blobs_prefix: "blobs/".to_owned(),
            endpoint: None,
            path_style: false,
            names: vec!["buildkit".to_owned()],
            keys: None,
        }
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bucket, prefix) = (&self.bucket, &self.prefix);
        write!(to, "s3://{bucket}/{prefix}{}", self.names.join(";"))
    }
}

/// Where a shared cache is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// The image itself tells of its layers' keys.
    Inline,
    /// A registry.
    Registry {
        /// What it is to be called.
        reference: Reference,
        /// Whether the registry may do without a certificate.
        insecure: bool,
    },
    /// A directory.
    Local {
        /// The directory.
        dir: PathBuf,
        /// What it is called in there.
        tag: String,
        /// Whether what else is in there goes.
        reset: bool,
    },
    /// A bucket.
    Bucket(BucketPlace),
}

/// A shared cache to be written after a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    /// Where it goes.
    pub place: CachePlace,
    /// Which results it gets.
    pub mode: CacheMode,
    /// How layers that were not packed before are packed, and the types of its manifest.
    pub format: ImageFormat,
    /// Whether its manifest is one of an image, else an index of blobs.
    pub image_manifest: bool,
    /// Whether it gets the cache mounts of the steps too.
    pub mounts: bool,
    /// Whether the build succeeds although it could not be written.
    pub ignore_error: bool,
}

impl CacheTo {
    /// Returns the cache that goes along in the image.
    pub fn inline() -> Self {
        Self {
            place: CachePlace::Inline,
            mode: CacheMode::Min,
            format: ImageFormat::default(),
            image_manifest: true,
            mounts: false,
            ignore_error: false,
        }
    }
}

/// Which results a shared cache gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers are part of the result.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

impl CacheFrom {
    /// Returns its name if its registry may do without a certificate.
    pub fn insecure(&self) -> Option<&Reference> {
        match self {
            Self::Registry {
                reference,
                insecure: true,
            } => Some(reference),
            _ => None,
        }
    }
}

impl fmt::Display for CacheFrom {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { reference, .. } => write!(to, "{}", reference.familiar()),
            Self::Local { dir, wanted } => write!(to, "{}:{wanted}", dir.display()),
            Self::Bucket(place) => place.fmt(to),
        }
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline => to.write_str("the image"),
            Self::Registry { reference, .. } => write!(to, "{}", reference.familiar()),
            Self::Local { dir, tag, .. } => write!(to, "{}:{tag}", dir.display()),
            Self::Bucket(place) => place.fmt(to),
        }
    }
}
