//! What is said of an image beside it: how it was made, and what it is made of.
//!
//! An [`Attestation`] is an in-toto *predicate* of a known type. It becomes a *statement* when the
//! thing that it is about has a digest: for an image the manifest's, for plain files their own.
//! Statements hang on an image as BuildKit hangs them (its document on attestation storage):
//!
//! ```text
//! index
//! ├─ manifest            platform linux/amd64
//! └─ manifest            platform unknown/unknown, annotated with the digest of the one above
//!    ├─ config           a configuration whose diff IDs are the statements' digests
//!    ├─ layer            application/vnd.in-toto+json, annotated with the predicate's type
//!    └─ …
//! ```
//!
//! Readers that know nothing of them pick a manifest by platform and never see them. On request
//! (`oci-artifact=true`) the manifest is an OCI artifact: its subject is the image's manifest, by
//! which registries list it as a referrer, and its configuration is empty.
//!
//! What is in a predicate is decided by what was built alone: no host name, no user, no path of
//! this machine. With a source date epoch no clock either, so that a reproducible image stays
//! reproducible with everything that hangs on it.
//!
//! - [`provenance`]: SLSA provenance v1, from the facts of a build.
//! - [`sbom`]: an SPDX document of the packages that a file tree records.

mod files;
mod llb;
pub mod provenance;
mod purl;
pub mod sbom;

use cooper_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use files::with_statements;
pub use llb::op;
pub use purl::Purl;

/// The type of statements (in-toto attestation framework, statement v1).
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The media type of a statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The type of an attestation manifest that is an artifact.
const ARTIFACT_TYPE: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// Says on a layer of an attestation manifest which predicate it holds.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// Says on an entry of an index what it is there for.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// What it says of an attestation manifest.
const ATTESTATION: &str = "attestation-manifest";
/// Says on an entry of an index which other one it is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Something that is said of an image or of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// URI of the predicate's type.
    pub predicate_type: String,
    /// What a file with it is called.
    pub file_name: String,
    /// The predicate.
    pub predicate: Value,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub digest: Digest,
}

impl Subject {
    /// Returns the subjects that an image is, one for each of its names.
    pub fn image(names: &[Reference], platform: &Platform, manifest: &Digest) -> Vec<Self> {
        let subject = |name: String| Self {
            name,
            digest: manifest.clone(),
        };
        if names.is_empty() {
            return vec![subject("_".to_owned())];
        }
        let of = |name: &Reference| subject(Purl::image(name, platform).to_string());
        names.iter().map(of).collect()
    }
}

impl Attestation {
    /// Returns the statement that this is of `subjects`, as it is stored.
    pub fn statement(&self, subjects: &[Subject]) -> Vec<u8> {
        let subjects: Vec<Value> = subjects
            .iter()
            .map(|subject| {
                let (algorithm, hex) = (subject.digest.algorithm().as_str(), subject.digest.hex());
                serde_json::json!({ "name": subject.name, "digest": { algorithm: hex } })
            })
            .collect();
        let statement = serde_json::json!({
            "_type": STATEMENT,
            "subject": subjects,
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        });
        cooper_oci::json::to_vec(&statement)
    }
}

/// Returns which other entry of its index an entry says something about, if it does.
pub fn about(entry: &Descriptor) -> Option<Digest> {
    let annotation = |name| entry.annotations.get(name);
    annotation(REFERENCE_TYPE).filter(|kind| *kind == ATTESTATION)?;
    annotation(REFERENCE_DIGEST)?.parse().ok()
}

/// The manifest that carries the attestations of one image, with all that it names.
#[derive(Debug, Clone)]
pub struct AttestationManifest {
    /// Its entry in the index.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The statements and the configuration.
    pub blobs: Vec<(Descriptor, Vec<u8>)>,
}

impl AttestationManifest {
    /// Returns the manifest with what is said of the image whose manifest is `image`, as an OCI
    /// artifact if asked.
    pub fn new(
        attestations: &[Attestation],
        subjects: &[Subject],
        image: &Descriptor,
        artifact: bool,
    ) -> Self {
        let mut blobs: Vec<(Descriptor, Vec<u8>)> = attestations
            .iter()
            .map(|attestation| {
                let bytes = attestation.statement(subjects);
                let layer = Descriptor::of(IN_TOTO, &bytes)
                    .with_annotation(PREDICATE_TYPE, attestation.predicate_type.clone());
                (layer, bytes)
            })
            .collect();
        let layers: Vec<Descriptor> = blobs.iter().map(|(layer, _)| layer.clone()).collect();
        let unknown = Platform::new("unknown", "unknown");
        let config = if artifact {
            empty_config()
        } else {
            config(&unknown, &layers)
        };
        let mut manifest = Manifest::oci(config.0.clone(), layers);
        if artifact {
            manifest.artifact_type = Some(ARTIFACT_TYPE.to_owned());
            let (media_type, digest) = (&image.media_type, image.digest.clone());
            manifest.subject = Some(Descriptor::new(media_type, digest, image.size));
        }
        blobs.push(config);
        let bytes = manifest.to_json();
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes)
            .with_annotation(REFERENCE_DIGEST, image.digest.to_string())
            .with_annotation(REFERENCE_TYPE, ATTESTATION)
            .with_platform(unknown);
        Self {
            descriptor,
            bytes,
            blobs,
        }
    }
}

/// Returns a configuration that says of an image that it has these layers, and nothing else.
fn config(platform: &Platform, layers: &[Descriptor]) -> (Descriptor, Vec<u8>) {
    let mut config = ImageConfig::new(platform);
    "layers".clone_into(&mut config.rootfs.typ);
    let diff_id = |layer: &Descriptor| cooper_oci::DiffId(layer.digest.clone());
    config.rootfs.diff_ids = layers.iter().map(diff_id).collect();
    let config = config.to_json();
    (Descriptor::of(media_type::OCI_CONFIG, &config), config)
}

/// Returns the empty configuration of artifacts (OCI image specification, guidance for an empty
/// descriptor).
fn empty_config() -> (Descriptor, Vec<u8>) {
    let config = b"{}".to_vec();
    let mut descriptor = Descriptor::of(media_type::OCI_EMPTY, &config);
    descriptor.data = Some("e30=".to_owned());
    (descriptor, config)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn a_manifest_of_attestations_is_what_buildkit_describes() {
        let image = Digest::sha256(b"image");
        let name: Reference = "r.example/app:1".parse().expect("valid");
        let subjects = Subject::image(&[name], &Platform::new("linux", "arm64"), &image);
        let attestation = Attestation {
            predicate_type: "https://spdx.dev/Document".to_owned(),
            file_name: "sbom.spdx.json".to_owned(),
            predicate: serde_json::json!({ "spdxVersion": "SPDX-2.3" }),
        };
        let image = Descriptor::new(media_type::OCI_MANIFEST, image, 668);
        let made = AttestationManifest::new(from_ref(&attestation), &subjects, &image, false);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        insta::assert_snapshot!(text(&made.blobs[0].1), @r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"pkg:docker/r.example/app@1?platform=linux%2Farm64","digest":{"sha256":"6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"}}],"predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3"}}"#);
        insta::assert_snapshot!(text(&made.blobs[1].1), @r#"{"architecture":"unknown","config":{},"os":"unknown","rootfs":{"type":"layers","diff_ids":["sha256:44da8d20f98f43cc842199225733395de615a6976bb61d03cf5a5468f9528b6f"]}}"#);
        insta::assert_snapshot!(text(&made.bytes), @r#"
        {
          "schemaVersion": 2,
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": "sha256:80366fbe584dd9c6f7627a09a23adcb9ec6437751c9f54433a513728a5b415a8",
            "size": 167
          },
          "layers": [
            {
              "mediaType": "application/vnd.in-toto+json",
              "digest": "sha256:44da8d20f98f43cc842199225733395de615a6976bb61d03cf5a5468f9528b6f",
              "size": 286,
              "annotations": {
                "in-toto.io/predicate-type": "https://spdx.dev/Document"
              }
            }
          ]
        }
        "#);
        let entry = serde_json::to_string(&made.descriptor).expect("JSON");
        insta::assert_snapshot!(entry, @r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:d88b7eaae4b1ff17ace2677621c949e3e00b2253caff0ff719e9a1391fa8e636","size":558,"annotations":{"vnd.docker.reference.digest":"sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d","vnd.docker.reference.type":"attestation-manifest"},"platform":{"architecture":"unknown","os":"unknown"}}"#);
    }

    #[test]
    fn an_artifact_names_the_image_as_its_subject() {
        let image = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"image"), 668);
        let made = AttestationManifest::new(&[], &[], &image, true);
        let text = String::from_utf8(made.bytes).expect("text");
        insta::assert_snapshot!(text, @r#"
        {
          "schemaVersion": 2,
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
          "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
            "data": "e30="
          },
          "layers": [],
          "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d",
            "size": 668
          }
        }
        "#);
        assert_eq!(made.blobs[0].1, b"{}");
    }

    #[test]
    fn what_has_no_name_is_a_subject_all_the_same() {
        let digest = Digest::sha256(b"image");
        let subjects = Subject::image(&[], &Platform::host(), &digest);
        let expected = Subject {
            name: "_".to_owned(),
            digest,
        };
        assert_eq!(subjects, [expected]);
    }
}
