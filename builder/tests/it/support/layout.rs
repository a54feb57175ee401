//! OCI image layouts: read, check and repack them, independent of cooper's own code.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// An image of a layout directory.
pub(crate) struct Image {
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    pub(crate) manifest_digest: String,
}

/// Returns where a layout keeps the blob `digest`.
pub(crate) fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn sha256(data: &[u8]) -> String {
    cooper_oci::Digest::sha256(data).to_string()
}

/// Reads the blob `digest` and checks that it is what it is called.
pub(crate) fn read_blob(layout: &Path, digest: &str) -> Vec<u8> {
    let path = blob(layout, digest);
    let data = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(sha256(&data), digest, "{}", path.display());
    data
}

fn parse(data: &[u8]) -> Value {
    serde_json::from_slice(data).expect("JSON")
}

/// Reads the index of a layout.
pub(crate) fn index(layout: &Path) -> Value {
    parse(&std::fs::read(layout.join("index.json")).expect("index.json"))
}

impl Image {
    /// Reads the only image of a layout, going through one nested index if there is one.
    pub(crate) fn read(layout: &Path) -> Self {
        let mut digest = index(layout)["manifests"][0]["digest"]
            .as_str()
            .expect("a manifest")
            .to_owned();
        let mut manifest = parse(&read_blob(layout, &digest));
        if let Some(inner) = manifest["manifests"][0]["digest"].as_str() {
            inner.clone_into(&mut digest);
            manifest = parse(&read_blob(layout, &digest));
        }
        let config = manifest["config"]["digest"].as_str().expect("a config");
        let config = parse(&read_blob(layout, config));
        Self {
            manifest,
            config,
            manifest_digest: digest,
        }
    }

    /// Returns the manifest that a layout's index names first, of whatever kind.
    pub(crate) fn manifest_of(layout: &Path) -> Value {
        let index = index(layout);
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
        parse(&read_blob(layout, digest))
    }

    /// Returns the digests of the layers' blobs.
    pub(crate) fn layers(&self) -> Vec<String> {
        let layers = self.manifest["layers"].as_array().expect("layers");
        layers
            .iter()
            .map(|layer| layer["digest"].as_str().expect("a digest").to_owned())
            .collect()
    }
}

/// Packs the layout directory `layout` as a tarball in which the image is called `name`.
pub(crate) fn archive(layout: &Path, name: &str, file: &Path) {
    let status = Command::new("python3")
        .arg(super::need::source_tree().join("builder/benches/layout_tar.py"))
        .arg(layout)
        .arg(name)
        .arg(file)
        .status()
        .expect("python3");
    assert!(status.success(), "layout_tar.py");
}

/// Copies `layout` to `dest` with `edit` applied to the image's config.
pub(crate) fn with_config(layout: &Path, dest: &Path, edit: impl FnOnce(&mut Value)) {
    let status = Command::new("cp")
        .arg("-a")
        .args([layout, dest])
        .status()
        .expect("cp");
    assert!(status.success(), "cp");
    let image = Image::read(layout);
    let put = |value: &Value| {
        let data = serde_json::to_vec(value).expect("JSON");
        let digest = sha256(&data);
        std::fs::write(blob(dest, &digest), &data).expect("write");
        (digest, data.len())
    };
    let mut config = image.config;
    edit(&mut config);
    let mut manifest = image.manifest;
    let (digest, size) = put(&config);
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = size.into();
    let (digest, size) = put(&manifest);
    let mut top = index(layout);
    top["manifests"][0]["digest"] = digest.into();
    top["manifests"][0]["size"] = size.into();
    top["manifests"][0]["platform"]["architecture"] = config["architecture"].clone();
    std::fs::write(dest.join("index.json"), top.to_string()).expect("write");
}
