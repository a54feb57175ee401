//! OCI data types: digests, descriptors, media types, platforms, references,
//! image configurations, manifests and indexes.
//!
//! This crate owns the shapes that images are described with and the rules to
//! read and write them; it does no I/O and knows no store. Everything is
//! validated where it enters: a [`Digest`] or a [`Reference`] that exists is
//! well formed.
//!
//! Documents are written byte for byte as BuildKit writes them (field order,
//! omitted empties, Go's escaping: see [`json`]), and fields that this crate
//! does not know survive a round trip in the `extra` maps. The `Serialize`
//! implementations are for self-describing formats (JSON) only.
//!
//! ```
//! use cooper_oci::{Platform, Reference};
//!
//! let reference: Reference = "busybox".parse()?;
//! assert_eq!(reference.with_default_tag().to_string(), "docker.io/library/busybox:latest");
//! assert_eq!("aarch64".parse::<Platform>()?.to_string(), "linux/arm64");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod json;
pub mod media_type;

mod config;
mod descriptor;
mod digest;
mod manifest;
mod platform;
mod reference;

pub use config::{Empty, Healthcheck, History, ImageConfig, RootFs, RuntimeConfig};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError, Hasher, Sha256Hasher};
pub use json::{DocumentError, Extra};
pub use manifest::{Index, Manifest};
pub use media_type::Compression;
pub use platform::{Platform, PlatformError};
pub use reference::{DEFAULT_DOMAIN, DEFAULT_TAG, Reference, ReferenceError};
