//! Lists that are being put together: `manifests/HEX` below the root, by the hash of their name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cooper_oci::{Descriptor, Digest, Index, Reference, media_type};
use serde::{Deserialize, Serialize};

use super::no_such;
use crate::report::Report;

/// An image of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Where it is.
    pub(super) reference: Reference,
    /// What the list says of it.
    pub(super) descriptor: Descriptor,
}

/// All lists.
pub(super) struct Lists {
    dir: PathBuf,
}

impl Lists {
    pub(super) fn of(root: &Path) -> Self {
        Self {
            dir: root.join("manifests"),
        }
    }

    /// Returns a list; nothing if there is none of this name.
    pub(super) fn read(&self, name: &Reference) -> Result<Option<Vec<Entry>>, Report> {
        let path = self.path(name);
        let failed = |error: &dyn std::error::Error| {
            Report::from_error(error).context(format!("cannot read the list {}", path.display()))
        };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| failed(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Returns a list that must be there.
    pub(super) fn get(&self, name: &Reference) -> Result<Vec<Entry>, Report> {
        self.read(name)?.ok_or_else(|| no_such(name))
    }

    /// Writes a list in place of what was.
    pub(super) fn write(&self, name: &Reference, entries: &[Entry]) -> Result<(), Report> {
        let path = self.path(name);
        let temporary = path.with_extension(std::process::id().to_string());
        let text = serde_json::to_vec(entries).expect("plain data always serialises");
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|error| {
                Report::from_error(&error)
                    .context(format!("cannot write the list {}", path.display()))
            })
    }

    /// Forgets a list.
    pub(super) fn remove(&self, name: &Reference) -> Result<(), Report> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_such(name)),
            other => other.map_err(|error| Report::from_error(&error)),
        }
    }

    fn path(&self, name: &Reference) -> PathBuf {
        self.dir.join(Digest::sha256(name.to_string()).hex())
    }
}

/// Adds images to a list; one that is there already is replaced.
pub(super) fn add(entries: &mut Vec<Entry>, more: Vec<Entry>) {
    for entry in more {
        entries.retain(|known| known.descriptor.digest != entry.descriptor.digest);
        entries.push(entry);
    }
}

/// Returns the image of a list that a name or a digest means.
pub(super) fn find<'e>(entries: &'e mut [Entry], name: &str) -> Option<&'e mut Entry> {
    let reference = name
        .parse::<Reference>()
        .ok()
        .map(|name| name.with_default_tag());
    entries.iter_mut().find(|entry| {
        let digest = &entry.descriptor.digest;
        digest.as_str() == name
            || reference.as_ref() == Some(&entry.reference)
            || reference.as_ref().and_then(Reference::digest) == Some(digest)
    })
}

/// Returns the index of a list: docker's kind if all its images are.
pub(super) fn index(entries: &[Entry]) -> Index {
    let descriptors: Vec<_> = entries
        .iter()
        .map(|entry| entry.descriptor.clone())
        .collect();
    let oci = descriptors
        .iter()
        .any(|one| !media_type::is_docker(&one.media_type));
    if oci || descriptors.is_empty() {
        Index::oci(descriptors)
    } else {
        Index::docker(descriptors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: &str, content: &str) -> Entry {
        Entry {
            reference: name.parse::<Reference>().expect("valid").with_default_tag(),
            descriptor: Descriptor::of(kind, content.as_bytes()),
        }
    }

    #[test]
    fn a_list_is_what_was_written_last() {
        let dir = tempfile::tempdir().expect("tempdir");
        let lists = Lists::of(dir.path());
        let name: Reference = "r.example/app:1".parse().expect("valid");
        assert_eq!(lists.read(&name).expect("read"), None);
        assert!(lists.get(&name).is_err());
        let entries = vec![entry("r.example/a", media_type::OCI_MANIFEST, "a")];
        lists.write(&name, &entries).expect("write");
        assert_eq!(lists.get(&name).expect("get"), entries);
        lists.remove(&name).expect("remove");
        assert!(lists.remove(&name).is_err());
    }

    #[test]
    fn images_are_found_and_replaced() {
        let one = entry("r.example/a:1", media_type::DOCKER_MANIFEST, "a");
        let other = entry("r.example/b", media_type::DOCKER_MANIFEST, "b");
        let mut entries = Vec::new();
        add(&mut entries, vec![one.clone(), other.clone()]);
        add(&mut entries, vec![one.clone()]);
        assert_eq!(entries, [other.clone(), one.clone()]);
        let digest = one.descriptor.digest.to_string();
        for (name, found) in [
            ("r.example/a:1", Some(&one)),
            ("r.example/b", Some(&other)),
            (&digest, Some(&one)),
            (&format!("r.example/x@{digest}"), Some(&one)),
            ("r.example/c", None),
        ] {
            assert_eq!(
                find(&mut entries, name).map(|entry| &*entry),
                found,
                "{name}"
            );
        }
        assert_eq!(
            index(&entries).media_type(),
            media_type::DOCKER_MANIFEST_LIST
        );
        add(
            &mut entries,
            vec![entry("r.example/c", media_type::OCI_MANIFEST, "c")],
        );
        assert_eq!(index(&entries).media_type(), media_type::OCI_INDEX);
    }
}
