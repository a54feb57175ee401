//! Files that Git LFS keeps elsewhere.
//!
//! The repository itself holds a pointer of a few lines in place of such a file. Git turns it
//! into the file by a program of the user's, which is not run here, no more than any other
//! filter is: the pointers stay, and that is said.

use std::fs;
use std::path::{Path, PathBuf};

/// What each pointer begins with.
const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// A pointer is shorter than this.
const MAX_SIZE: u64 = 1024;
/// So many files are named.
const MAX_NAMED: usize = 5;

/// Says that files of a checkout are pointers, if some are. What cannot be read is none.
pub(super) fn remark(top: &Path) -> Option<String> {
    let files = files(top);
    let asked = files.iter().filter(|(path, _)| {
        path.file_name()
            .is_some_and(|name| name == ".gitattributes")
    });
    let mut asked = asked.filter_map(|(path, _)| fs::read(path).ok());
    let filter = b"filter=lfs";
    if !asked.any(|text| text.windows(filter.len()).any(|part| part == filter)) {
        return None;
    }
    let small = files.iter().filter(|(_, size)| *size < MAX_SIZE);
    let pointers =
        small.filter(|(path, _)| fs::read(path).is_ok_and(|text| text.starts_with(BEGINNING)));
    let mut names: Vec<_> = pointers
        .filter_map(|(path, _)| Some(path.strip_prefix(top).ok()?.display().to_string()))
        .collect();
    names.sort_unstable();
    let what = match names.len() {
        0 => return None,
        1 => "1 file is a pointer".to_owned(),
        many => format!("{many} files are pointers"),
    };
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    names.truncate(MAX_NAMED);
    Some(format!(
        "warning: {what} of Git LFS, whose content is not fetched: {}{more}\n",
        names.join(", ")
    ))
}

/// Returns the regular files below `top` with their sizes, but not those of `.git`.
fn files(top: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = item.metadata() else { continue };
            if meta.is_file() {
                files.push((item.path(), meta.len()));
            } else if meta.is_dir() && item.file_name() != ".git" {
                open.push(item.path());
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_where_lfs_is_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
        put("b.bin", pointer);
        put(".git/c.bin", pointer);
        put("real.bin", "data");
        assert_eq!(remark(dir.path()), None);
        put("sub/.gitattributes", "*.bin filter=lfs diff=lfs -text\n");
        let one = "warning: 1 file is a pointer of Git LFS, whose content is not fetched: b.bin\n";
        assert_eq!(remark(dir.path()).as_deref(), Some(one));
        for name in ["1", "2", "3", "4", "5"] {
            put(&format!("a/{name}.bin"), pointer);
        }
        let many = "warning: 6 files are pointers of Git LFS, whose content is not fetched: \
                    a/1.bin, a/2.bin, a/3.bin, a/4.bin, a/5.bin, …\n";
        assert_eq!(remark(dir.path()).as_deref(), Some(many));
    }
}
