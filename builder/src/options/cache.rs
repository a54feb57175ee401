//! Caches that machines share: where they are read from and written to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
    /// A service.
    Service(ServicePlace),
}

/// A cache in a service that keeps blobs by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServicePlace {
    /// A bucket.
    Bucket(BucketPlace),
    /// The cache of GitHub Actions.
    Actions(ActionsPlace),
    /// A container of Azure's.
    Container(ContainerPlace),
}

impl fmt::Display for ServicePlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(place) => place.fmt(to),
            Self::Actions(place) => place.fmt(to),
            Self::Container(place) => place.fmt(to),
        }
    }
}

/// How long the parts of a blob are that is sent in several, in bytes, unless it is said.
const PART_SIZE: u64 = 32 << 20;

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
    /// How many bytes of a blob one request sends.
    pub part_size: u64,
    /// How many parts of a blob travel at once.
    pub parallel: usize,
    /// The age at which a blob that is still named is made young again.
    pub touch_refresh: Duration,
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
            part_size: PART_SIZE,
            parallel: 4,
            touch_refresh: Duration::from_secs(24 * 3600),
        }
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bucket, prefix) = (&self.bucket, &self.prefix);
        write!(to, "s3://{bucket}/{prefix}{}", self.names.join(";"))
    }
}

/// A cache in a container of Azure's Blob storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPlace {
    /// Where the storage account is.
    pub account_url: String,
    /// What the account is called; the first part of the host's name when absent.
    pub account_name: Option<String>,
    /// The account's key; nobody in particular asks when absent.
    pub key: Option<Token>,
    /// The container.
    pub container: String,
    /// Comes before the names of all blobs.
    pub prefix: String,
    /// Comes before the names of lists.
    pub manifests_prefix: String,
    /// Comes before the names of layers.
    pub blobs_prefix: String,
    /// What the cache is called: it is written under all names, and the first that there is is read.
    pub names: Vec<String>,
    /// How many bytes of a blob one request sends.
    pub part_size: u64,
    /// How many parts of a blob travel at once.
    pub parallel: usize,
}

impl Default for ContainerPlace {
    fn default() -> Self {
        Self {
            account_url: String::new(),
            account_name: None,
            key: None,
            container: "buildkit-cache".to_owned(),
            prefix: String::new(),
            manifests_prefix: "manifests".to_owned(),
            blobs_prefix: "blobs".to_owned(),
            names: vec!["buildkit".to_owned()],
            part_size: PART_SIZE,
            parallel: 4,
        }
    }
}

impl fmt::Display for ContainerPlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, container) = (self.account_url.trim_end_matches('/'), &self.container);
        write!(to, "{url}/{container}/{}", self.names.join(";"))
    }
}

/// A cache in the cache service of GitHub Actions, or of one that speaks like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionsPlace {
    /// What the cache is called.
    pub scope: String,
    /// The protocol; the first when absent.
    pub version: Option<ActionsVersion>,
    /// Where the service is that speaks the first protocol.
    pub url: Option<String>,
    /// Where the service is that speaks the second.
    pub url_v2: Option<String>,
    /// Who asks; a job's is made for it.
    pub token: Option<Token>,
    /// How long the reading or the writing of a cache may take.
    pub timeout: Duration,
    /// Where GitHub tells all that is there, instead of being asked for each blob.
    pub listing: Option<Listing>,
    /// How many bytes of a blob one request sends.
    pub part_size: u64,
}

/// The protocols of GitHub's cache service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActionsVersion {
    /// The first.
    #[default]
    V1,
    /// The second.
    V2,
}

/// GitHub's REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its address.
    pub api: String,
    /// `OWNER/NAME`.
    pub repository: String,
    /// Who asks.
    pub token: Token,
}

/// A secret that says who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Default for ActionsPlace {
    fn default() -> Self {
        Self {
            scope: "buildkit".to_owned(),
            version: None,
            url: None,
            url_v2: None,
            token: None,
            timeout: Duration::from_secs(600),
            listing: None,
            part_size: PART_SIZE,
        }
    }
}

impl ActionsPlace {
    /// Returns where the service is, if that is known.
    pub fn service_url(&self) -> Option<&str> {
        let (first, second) = match self.version.unwrap_or_default() {
            ActionsVersion::V1 => (&self.url, &None),
            ActionsVersion::V2 => (&self.url_v2, &self.url),
        };
        first.as_deref().or(second.as_deref())
    }
}

impl fmt::Display for ActionsPlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "gha:{}", self.scope)
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
    /// A service.
    Service(ServicePlace),
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
            Self::Service(place) => place.fmt(to),
        }
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline => to.write_str("the image"),
            Self::Registry { reference, .. } => write!(to, "{}", reference.familiar()),
            Self::Local { dir, tag, .. } => write!(to, "{}:{tag}", dir.display()),
            Self::Service(place) => place.fmt(to),
        }
    }
}
