//! OCI layouts and docker archives, as one tar or as a directory.
//!
//! ```text
//! oci-layout           {"imageLayoutVersion":"1.0.0"}
//! index.json           one descriptor a name, annotated with it
//! blobs/sha256/<hex>   manifest, config, layers
//! manifest.json        docker only: what `docker load` reads
//! repositories         docker only: names for readers of the oldest kind
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cooper_cache::{ImageLayer, Layers};
use cooper_oci::{Compression, Descriptor, Digest, Index, Reference, media_type};
use serde_json::json;

use super::{ExportError, Names, failed, is_held_back, open_blob, to_sink};
use crate::image::{Image, ImageSet, Packed, PackedManifest, Tars};
use crate::options::{AnnotationPlace, ArchiveDest, ArchiveOutput};

/// The layout file of the OCI image layout specification.
const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Name that containerd and docker load an image under.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Tag by which an OCI layout is addressed.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Time of the image.
const CREATED: &str = "org.opencontainers.image.created";

/// What was exported.
#[derive(Debug, Clone)]
pub struct Archived {
    /// The manifest's descriptor.
    pub manifest: Descriptor,
}

/// Which files an archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// An OCI image layout alone.
    Oci,
    /// The same with docker's manifest.json and repositories.
    Docker,
}

/// What goes by the same names: an image or an index of images.
pub(super) struct Exported<'a> {
    set: &'a ImageSet,
    packed: Packed,
    names: Names<'a>,
    /// Those of its entry in the index.
    annotations: BTreeMap<String, String>,
}

/// Writes images to an archive; `names` are what each is called in it.
///
/// Layers that are to be compressed and are not yet are packed into the store first; plain tars
/// go straight into the archive, since their digests and sizes are known. Nothing is read twice:
/// `clear`, which may refuse what is written, is asked before it is seen. For files that is when
/// they are complete and have been searched on the way; for what goes to a pipe, before it begins.
pub fn export_archive<E: From<ExportError>>(
    layers: &Layers,
    images: &[(&ImageSet, Vec<Reference>)],
    output: &ArchiveOutput,
    layout: Layout,
    clear: &dyn Fn() -> Result<(), E>,
) -> Result<Vec<Archived>, E> {
    if matches!(&output.dest, ArchiveDest::Tar(sink) if !is_held_back(sink)) {
        clear()?;
    }
    let exported = packed(layers, images, output, layout)?;
    match &output.dest {
        ArchiveDest::Tar(sink) => to_sink(sink, |out| {
            let mut to = TarTarget(tar::Builder::new(out));
            write_layout(layers, &exported, layout, &mut to)?;
            let ended = to.0.finish();
            ended.map_err(|source| ExportError::Stdout { source })?;
            clear()
        })?,
        ArchiveDest::Directory(dir) => {
            let mut to = DirTarget::new(dir);
            write_layout(layers, &exported, layout, &mut to)?;
            clear()?;
            to.publish()?;
        }
    }
    Ok(exported
        .iter()
        .map(|one| Archived {
            manifest: one.packed.top().clone(),
        })
        .collect())
}

/// Packs the layers of `images` as `output` wants them and makes their manifests.
fn packed<'a>(
    layers: &Layers,
    images: &'a [(&ImageSet, Vec<Reference>)],
    output: &ArchiveOutput,
    layout: Layout,
) -> Result<Vec<Exported<'a>>, ExportError> {
    let oci_types = output.format.oci_media_types;
    let mut exported = Vec::with_capacity(images.len());
    for (set, names) in images {
        exported.push(Exported {
            set,
            // What is beyond docker's own documents is for readers of OCI layouts.
            packed: set.pack(
                layers,
                &output.format,
                !oci_types.unwrap_or(layout == Layout::Oci || set.indexed()),
                names,
                Tars::Streamed,
            )?,
            names,
            annotations: output.format.annotations(
                if set.indexed() {
                    AnnotationPlace::IndexDescriptor
                } else {
                    AnnotationPlace::ManifestDescriptor
                },
                &set.images[0].config.platform(),
            ),
        });
    }
    Ok(exported)
}

impl<'a> Exported<'a> {
    fn images(&self) -> impl Iterator<Item = (&'a Image, &PackedManifest)> {
        self.set.images.iter().zip(&self.packed.manifests)
    }
}

/// Writes a file's bytes.
type Fill<'a> = dyn Fn(&mut dyn Write) -> Result<(), ExportError> + 'a;

/// How much of a file of the store is copied at once.
const PART: usize = 256 << 10;

/// Receives the files of a layout.
trait Target {
    fn directory(&mut self, name: &str) -> Result<(), ExportError>;
    fn file(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<(), ExportError>;
    /// Takes a file of the store.
    fn stored(&mut self, name: &str, size: u64, from: File) -> Result<(), ExportError>;
    /// Takes `size` bytes that `fill` writes.
    fn made(&mut self, name: &str, size: u64, fill: &Fill<'_>) -> Result<(), ExportError>;
    /// Whether a blob is there already, from an earlier export.
    fn has(&self, name: &str, size: u64) -> bool;
}

struct TarTarget<W: Write>(tar::Builder<W>);

impl<W: Write> Target for TarTarget<W> {
    fn directory(&mut self, name: &str) -> Result<(), ExportError> {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        self.append(&mut header, name, &mut io::empty())
    }

    fn file(&mut self, name: &str, size: u64, from: &mut dyn Read) -> Result<(), ExportError> {
        let mut header = header(tar::EntryType::Regular, 0o644, size);
        self.append(&mut header, name, from)
    }

    fn stored(&mut self, name: &str, size: u64, from: File) -> Result<(), ExportError> {
        self.made(name, size, &|to| {
            copy_exactly(&from, size, to).map_err(|e| failed(Path::new(name), e))
        })
    }

    fn made(&mut self, name: &str, size: u64, fill: &Fill<'_>) -> Result<(), ExportError> {
        // The builder pads what it copies, which is nothing here.
        self.file(name, size, &mut io::empty())?;
        let to = self.0.get_mut();
        fill(to)?;
        let padding = size.next_multiple_of(512) - size;
        to.write_all(&[0; 512][..padding as usize])
            .map_err(|e| failed(Path::new(name), e))
    }

    fn has(&self, _: &str, _: u64) -> bool {
        false
    }
}

impl<W: Write> TarTarget<W> {
    fn append(
        &mut self,
        header: &mut tar::Header,
        name: &str,
        from: &mut dyn Read,
    ) -> Result<(), ExportError> {
        self.0
            .append_data(header, name, from)
            .map_err(|e| failed(Path::new(name), e))
    }
}

/// Copies `size` bytes, no fewer.
fn copy_exactly(mut from: &File, size: u64, to: &mut dyn Write) -> io::Result<()> {
    let mut part = vec![0; PART];
    let mut left = size;
    while left > 0 {
        let wanted = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        from.read_exact(&mut part[..wanted])?;
        to.write_all(&part[..wanted])?;
        left -= wanted as u64;
    }
    Ok(())
}

/// A header that says nothing of who wrote it or when.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A layout's directory; its files get their names together.
struct DirTarget {
    dir: PathBuf,
    /// What is complete, with the name that it is to have.
    files: Vec<(tempfile::TempPath, PathBuf)>,
}

impl Target for DirTarget {
    fn directory(&mut self, name: &str) -> Result<(), ExportError> {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path).map_err(|e| failed(&path, e))
    }

    fn file(&mut self, name: &str, _: u64, from: &mut dyn Read) -> Result<(), ExportError> {
        let path = self.dir.join(name);
        self.write(name, |to| {
            io::copy(from, to).map_err(|e| failed(&path, e))?;
            Ok(())
        })
    }

    /// The layout has blobs in the store's own form: the kernel copies them, and shares their
    /// blocks where the file system can. A link would let whoever edits the layout edit the store.
    fn stored(&mut self, name: &str, _: u64, mut from: File) -> Result<(), ExportError> {
        let path = self.dir.join(name);
        self.write(name, |to| {
            io::copy(&mut from, to).map_err(|e| failed(&path, e))?;
            Ok(())
        })
    }

    fn made(&mut self, name: &str, _: u64, fill: &Fill<'_>) -> Result<(), ExportError> {
        self.write(name, |to| fill(to))
    }

    fn has(&self, name: &str, size: u64) -> bool {
        std::fs::metadata(self.dir.join(name))
            .is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }
}

impl DirTarget {
    fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            files: Vec::new(),
        }
    }

    /// Fills a file, which has no name of its own yet.
    fn write(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut File) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let path = self.dir.join(name);
        let dir = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
        let mut file = tempfile::Builder::new()
            .prefix(".cooper-")
            .tempfile_in(dir)
            .map_err(|e| failed(&path, e))?;
        fill(file.as_file_mut())?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))
            .map_err(|e| failed(&path, e))?;
        self.files.push((file.into_temp_path(), path));
        Ok(())
    }

    /// Gives all files their names, in the order they were written: what names others comes last.
    fn publish(self) -> Result<(), ExportError> {
        for (file, path) in self.files {
            file.persist(&path).map_err(|e| failed(&path, e.error))?;
        }
        Ok(())
    }
}

fn write_layout(
    layers: &Layers,
    images: &[Exported<'_>],
    layout: Layout,
    to: &mut dyn Target,
) -> Result<(), ExportError> {
    to.directory("blobs")?;
    to.directory("blobs/sha256")?;
    let mut written = BTreeSet::new();
    for one in images {
        for (image, packed) in one.images() {
            for (layer, blob) in image.layers.iter().zip(&packed.manifest.layers) {
                put_layer(layers, layer, blob, &mut written, to)?;
            }
            put_bytes(&image.id, &image.config_bytes, &mut written, to)?;
            put_bytes(&packed.descriptor.digest, &packed.bytes, &mut written, to)?;
        }
        for said in &one.packed.attestations {
            for (blob, bytes) in &said.blobs {
                put_bytes(&blob.digest, bytes, &mut written, to)?;
            }
            put_bytes(&said.descriptor.digest, &said.bytes, &mut written, to)?;
        }
        if let Some((index, bytes)) = &one.packed.index {
            put_bytes(&index.digest, bytes, &mut written, to)?;
        }
    }
    if layout == Layout::Docker {
        small(to, "manifest.json", &docker_manifest(images))?;
        small(to, "repositories", &repositories(images))?;
    }
    small(to, "oci-layout", OCI_LAYOUT)?;
    small(to, "index.json", &index(images).to_json())
}

fn small(to: &mut dyn Target, name: &str, mut bytes: &[u8]) -> Result<(), ExportError> {
    to.file(name, bytes.len() as u64, &mut bytes)
}

fn put_bytes(
    digest: &Digest,
    bytes: &[u8],
    written: &mut BTreeSet<Digest>,
    to: &mut dyn Target,
) -> Result<(), ExportError> {
    if written.insert(digest.clone()) {
        small(to, &digest.layout_path(), bytes)
    } else {
        Ok(())
    }
}

fn put_layer(
    layers: &Layers,
    layer: &ImageLayer,
    blob: &Descriptor,
    written: &mut BTreeSet<Digest>,
    to: &mut dyn Target,
) -> Result<(), ExportError> {
    let name = blob.digest.layout_path();
    if !written.insert(blob.digest.clone()) || to.has(&name, blob.size) {
        return Ok(());
    }
    let plain = media_type::layer_compression(&blob.media_type) == Some(Compression::None);
    if plain && !layers.blobs().has(&blob.digest) {
        return to.made(&name, blob.size, &|to| {
            Ok(layers.write_plain(&layer.layer, blob, to)?)
        });
    }
    to.stored(&name, blob.size, open_blob(layers, &blob.digest)?)
}

/// One entry a name; an image without a name has one entry without.
fn index(images: &[Exported<'_>]) -> Index {
    let mut manifests = Vec::new();
    for one in images {
        let image = &one.set.images[0];
        let mut plain = one.packed.top().clone();
        if !one.set.indexed() {
            plain = plain.with_platform(image.config.platform());
        }
        if let Some(created) = &image.config.created {
            plain = plain.with_annotation(CREATED, seconds(created));
        }
        for (name, value) in &one.annotations {
            plain = plain.with_annotation(name.clone(), value.clone());
        }
        if one.names.is_empty() {
            manifests.push(plain);
            continue;
        }
        for name in one.names {
            let mut named = plain.clone().with_annotation(IMAGE_NAME, name.to_string());
            if let Some(tag) = name.tag() {
                named = named.with_annotation(REF_NAME, tag);
            }
            manifests.push(named);
        }
    }
    Index::oci(manifests)
}

/// Cuts the fraction off an RFC 3339 time.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, rest)) => {
            let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{whole}{zone}")
        }
        None => time.to_owned(),
    }
}

fn docker_manifest(images: &[Exported<'_>]) -> Vec<u8> {
    let entries: Vec<_> = images
        .iter()
        .filter_map(|one| {
            // It knows one platform; the others are in the index alone, as docker has it.
            let default = one.set.default_image();
            let (image, packed) = one.images().find(|(image, _)| image.id == default.id)?;
            let tags: Vec<String> = one.names.iter().map(Reference::familiar).collect();
            let layers: Vec<String> = packed
                .manifest
                .layers
                .iter()
                .map(|layer| layer.digest.layout_path())
                .collect();
            Some(json!({ "Config": image.id.layout_path(), "RepoTags": tags, "Layers": layers }))
        })
        .collect();
    cooper_oci::json::to_vec(&entries)
}

fn repositories(images: &[Exported<'_>]) -> Vec<u8> {
    let mut names: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for one in images {
        let Some(top) = one.packed.manifests[0].manifest.layers.last() else {
            continue;
        };
        for name in one.names {
            let Some(tag) = name.tag() else { continue };
            let familiar = name.familiar();
            let repository = familiar
                .strip_suffix(&format!(":{tag}"))
                .unwrap_or(&familiar);
            names
                .entry(repository.to_owned())
                .or_default()
                .insert(tag.to_owned(), top.digest.hex().to_owned());
        }
    }
    cooper_oci::json::to_vec(&names)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn annotations_have_whole_seconds() {
        assert_eq!(seconds("2023-11-14T22:13:20.12Z"), "2023-11-14T22:13:20Z");
        assert_eq!(
            seconds("2023-11-14T22:13:20.12+01:00"),
            "2023-11-14T22:13:20+01:00"
        );
        assert_eq!(seconds("2023-11-14T22:13:20Z"), "2023-11-14T22:13:20Z");
    }
}
