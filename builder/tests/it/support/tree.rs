//! File trees as sorted lines of text, for comparison with what a case expects.
//!
//! ```text
//! d/ 755 0:0
//! d/file 644 0:0 "content"
//! d/hard == d/file
//! d/link -> target
//! d/pipe| 644 0:0
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use tar::{Archive, EntryType};

/// Content longer than this is shown by its length.
const SHOWN: usize = 60;

/// Path → line.
pub(crate) type Tree = BTreeMap<String, String>;

/// Reads the tarball `file`, a whole root file system.
pub(crate) fn read_tar(file: &Path) -> Tree {
    let opened =
        std::fs::File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut archive = Archive::new(opened);
    let mut tree = Tree::new();
    for entry in archive.entries().expect("a tar stream") {
        let mut entry = entry.expect("a tar entry");
        let bytes = entry.path_bytes().into_owned();
        let path = bytes.escape_ascii().to_string();
        let path = path.trim_start_matches("./").trim_matches('/').to_owned();
        if path.is_empty() {
            continue;
        }
        let line = describe(&path, &mut entry);
        tree.insert(path, line);
    }
    tree
}

fn describe<R: Read>(path: &str, entry: &mut tar::Entry<'_, R>) -> String {
    let header = entry.header();
    let kind = header.entry_type();
    let owner = format!(
        "{:o} {}:{}",
        header.mode().expect("mode") & 0o7777,
        header.uid().expect("uid"),
        header.gid().expect("gid")
    );
    let link = entry
        .link_name_bytes()
        .map(|name| name.escape_ascii().to_string())
        .unwrap_or_default();
    match kind {
        EntryType::Directory => format!("{path}/ {owner}"),
        EntryType::Symlink => format!("{path} -> {link}"),
        EntryType::Link => format!("{path} == {}", link.trim_start_matches("./")),
        EntryType::Fifo => format!("{path}| {owner}"),
        EntryType::Char | EntryType::Block => format!("{path}: {owner}"),
        _ => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            if content.len() > SHOWN {
                return format!("{path} {owner} {} bytes", content.len());
            }
            format!("{path} {owner} \"{}\"", content.escape_ascii())
        }
    }
}

/// Returns the lines of `tree` that `base` does not have, and `- path` for what is gone.
pub(crate) fn difference(base: &Tree, tree: &Tree) -> Vec<String> {
    let mut lines: Vec<String> = tree
        .iter()
        .filter(|(path, line)| base.get(*path) != Some(line))
        .map(|(_, line)| line.clone())
        .collect();
    lines.extend(
        base.keys()
            .filter(|path| !tree.contains_key(*path))
            .map(|path| format!("- {path}")),
    );
    lines
}
