//! Why a source that a COPY names is not there, and what may have been meant.

use cooper_cache::{EntryKind, MergedTree, RelPath};

use crate::build::context::Ignored;
use crate::report::did_you_mean;

/// What is copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build::ops) enum Place {
    /// The build context; paths are shown relative to it.
    Context,
    /// A build context that is a Dockerfile at an address, and nothing else.
    Alone,
    /// A stage or an image; paths are shown from its root.
    Image,
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Self::Context | Self::Alone => "the build context",
            Self::Image => "the stage or image",
        }
    }

    fn show(self, path: &RelPath) -> String {
        let shown = path.to_string();
        match self {
            Self::Context | Self::Alone => shown.trim_start_matches('/').to_owned(),
            Self::Image => shown,
        }
    }
}

/// Returns advice about `path`, which is not in `tree`, the whole of what can be copied from.
pub(in crate::build::ops) fn advice(
    tree: &MergedTree,
    path: &RelPath,
    ignored: Option<&Ignored>,
    place: Place,
) -> String {
    let shown = place.show(path);
    if let Some(Ignored {
        file,
        line,
        pattern,
    }) = ignored
    {
        let file = file.file_name().unwrap_or(file.as_os_str());
        return format!(
            "{shown} exists, but `{pattern}` on line {line} of {} leaves it out",
            file.display()
        );
    }
    if let Some(target) = link_target(tree, path) {
        return format!(
            "{shown} is a symbolic link to {target}, which is not in {}",
            place.words()
        );
    }
    match similar(tree, path).or_else(|| elsewhere(tree, path)) {
        Some(found) => format!("did you mean {}?", place.show(&found)),
        None if place == Place::Alone => "the build context is the downloaded Dockerfile alone; \
             with the files of a directory: cooper build -f ADDRESS DIRECTORY"
            .to_owned(),
        None => format!("there is nothing of that name in {}", place.words()),
    }
}

fn link_target(tree: &MergedTree, path: &RelPath) -> Option<String> {
    match &tree.get(path)?.entry.kind {
        EntryKind::Symlink { target } => Some(String::from_utf8_lossy(target).into_owned()),
        _ => None,
    }
}

/// Returns an existing path that differs from `path` in the spelling of one component.
fn similar(tree: &MergedTree, path: &RelPath) -> Option<RelPath> {
    let names: Vec<&[u8]> = path.components().collect();
    let mut at = RelPath::root();
    for (number, name) in names.iter().enumerate() {
        let next = at.join(name);
        if tree.get(&next).is_some() {
            at = next;
            continue;
        }
        let rest = names[number + 1..].join(&b'/');
        let candidates: Vec<String> = tree
            .children(&at)
            .filter(|node| {
                tree.get(&RelPath::clean(node.entry.path.join(&rest).as_bytes()))
                    .is_some()
            })
            .filter_map(|node| String::from_utf8(node.entry.path.file_name()?.to_vec()).ok())
            .collect();
        let meant = did_you_mean(
            std::str::from_utf8(name).ok()?,
            candidates.iter().map(String::as_str),
        )?;
        let found = at.join(meant).join(rest);
        return Some(RelPath::clean(found.as_bytes()));
    }
    None
}

/// Returns the least deep path that ends in the same name.
fn elsewhere(tree: &MergedTree, path: &RelPath) -> Option<RelPath> {
    let name = path.file_name()?;
    tree.walk(&RelPath::root())
        .map(|node| &node.entry.path)
        .filter(|found| found.file_name() == Some(name))
        .min_by_key(|found| found.components().count())
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use cooper_cache::{ContentHash, Entry, LayerIndex};

    use super::*;

    fn tree() -> MergedTree {
        let file = |path: &str| Entry::file(RelPath::from(path), 0o644, 1, ContentHash::UNHASHED);
        let dir = |path: &str| Entry::dir(RelPath::from(path), 0o755);
        let target = b"../out".to_vec().into();
        let link = Entry::new(RelPath::from("link"), EntryKind::Symlink { target }, 0o777);
        let entries = vec![
            dir("src"),
            file("src/main.c"),
            file("README.md"),
            dir("a"),
            dir("a/deep"),
            file("a/deep/only-here"),
            link,
        ];
        MergedTree::new(vec![(
            Arc::new(LayerIndex::new(entries)),
            PathBuf::new().into(),
        )])
    }

    #[test]
    fn advice_names_the_pattern_the_link_or_what_was_meant() {
        let ignored = Ignored {
            file: PathBuf::from("/context/.dockerignore"),
            line: 3,
            pattern: "*.key".to_owned(),
        };
        let rows = [
            (
                "my.key",
                Some(&ignored),
                "my.key exists, but `*.key` on line 3 of .dockerignore leaves it out",
            ),
            (
                "link",
                None,
                "link is a symbolic link to ../out, which is not in the build context",
            ),
            ("readme.md", None, "did you mean README.md?"),
            ("scr/main.c", None, "did you mean src/main.c?"),
            ("src/mian.c", None, "did you mean src/main.c?"),
            ("only-here", None, "did you mean a/deep/only-here?"),
            (
                "zzzzzz",
                None,
                "there is nothing of that name in the build context",
            ),
        ];
        for (path, ignored, expected) in rows {
            let path = RelPath::from(path);
            assert_eq!(advice(&tree(), &path, ignored, Place::Context), expected);
        }
    }
}
