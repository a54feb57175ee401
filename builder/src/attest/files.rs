//! Attestations of plain files: statements that lie beside what they are about.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cooper_cache::{
    ContentHash, Entry, LayerIndex, MergedTree, Node, RelPath, StoreError, Timestamp,
};
use cooper_oci::Sha256Hasher;
use rayon::prelude::*;

use super::{Attestation, Subject};

/// Mode of the files.
const MODE: u32 = 0o644;

/// Returns `tree` with a file for each attestation, each a statement about all files of the tree.
///
/// They are written to the directory `dir`, which the tree reads them from. `said` has what each
/// file is called.
pub fn with_statements(
    tree: &MergedTree,
    said: &[(String, &Attestation)],
    time: Timestamp,
    dir: &Path,
) -> Result<MergedTree, StoreError> {
    let subjects = subjects(tree)?;
    let failed = |source| StoreError::Io {
        action: "write",
        path: dir.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut entries = Vec::with_capacity(said.len());
    for (name, attestation) in said {
        let statement = attestation.statement(&subjects);
        std::fs::write(dir.join(name), &statement).map_err(failed)?;
        let content = ContentHash::of(&statement);
        let path = RelPath::from(name.as_str());
        let mut entry = Entry::file(path, MODE, statement.len() as u64, content);
        entry.mtime = time;
        entries.push(entry);
    }
    let index = LayerIndex::new(entries);
    Ok(tree.with_layer(Arc::new(index), dir.to_owned().into()))
}

/// Returns the regular files of a tree with their digests.
fn subjects(tree: &MergedTree) -> Result<Vec<Subject>, StoreError> {
    let root = RelPath::root();
    let nodes = tree.walk(&root);
    let files: Vec<Node<'_>> = nodes.filter(|node| node.entry.is_file()).collect();
    files
        .par_iter()
        .map(|node| {
            let bytes = node.bytes();
            let mut hasher = Sha256Hasher::new();
            let read = bytes.open().and_then(|mut file| {
                io::copy(&mut file, &mut Hashing(&mut hasher))?;
                Ok(())
            });
            read.map_err(|source| StoreError::Io {
                action: "read",
                path: bytes.path().to_owned(),
                source,
            })?;
            Ok(Subject {
                name: String::from_utf8_lossy(node.entry.path.as_bytes()).into_owned(),
                digest: hasher.finish(),
            })
        })
        .collect()
}

/// Takes the digest of what is written.
struct Hashing<'a>(&'a mut Sha256Hasher);

impl io::Write for Hashing<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
