//! Scans of small directories.

use std::fs::{self, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::checksum::ContentHash;

const ALL: fn(&RelPath, bool) -> Verdict = |_, _| Verdict::Include;

fn context(files: &[(&str, &str)]) -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path().join("context");
    for (name, data) in files {
        let full = root.join(name);
        fs::create_dir_all(full.parent().expect("parent")).expect("mkdir");
        fs::write(full, data).expect("write");
    }
    let index = dir.path().join("index");
    (dir, root, index)
}

fn names(tree: &MergedTree) -> Vec<String> {
    tree.walk(&RelPath::root())
        .skip(1)
        .map(|node| node.entry.path.to_string())
        .collect()
}

fn content(tree: &MergedTree, path: &str) -> ContentHash {
    match tree.get(&path.into()).expect(path).entry.kind {
        EntryKind::File { content, .. } => content,
        _ => panic!("{path} is no file"),
    }
}

/// Makes what was just written old enough for its hash to be remembered.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(40));
}

#[test]
fn a_scan_stats_and_only_asked_files_are_hashed() {
    let (_dir, root, index) = context(&[("a/x", "1"), ("a-b", "2"), ("b/y", "3")]);
    fs::set_permissions(root.join("a/x"), fs::Permissions::from_mode(0o4751)).expect("chmod");
    let scan = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    assert_eq!(names(&scan.tree()), ["/a", "/a/x", "/a-b", "/b", "/b/y"]);
    assert!(matches!(
        scan.tree().digest(&"a".into()),
        Err(crate::ResolveError::Unhashed { .. })
    ));
    scan.ensure_hashed(&["a".into()]).expect("hash");
    let tree = scan.tree();
    assert_eq!(content(&tree, "a/x"), ContentHash::of(b"1"));
    assert_eq!(content(&tree, "b/y"), ContentHash::UNHASHED);
    let entry = tree.get(&"a/x".into()).expect("a/x").entry.clone();
    assert_eq!((entry.mode, entry.uid, entry.gid), (0o4751, 0, 0));
    assert_eq!(tree.read(&"a/x".into()).expect("read"), b"1");
    tree.digest(&"a".into()).expect("digest");
}

#[test]
fn hashes_are_remembered_and_a_damaged_memory_is_forgotten() {
    let (_dir, root, index) = context(&[("a", "1"), ("b", "2")]);
    settle();
    let scan = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    scan.ensure_hashed(&[RelPath::root()]).expect("hash");
    let again = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    assert_eq!(content(&again.tree(), "a"), ContentHash::of(b"1"));
    assert_eq!(
        again.tree().digest(&RelPath::root()),
        scan.tree().digest(&RelPath::root()),
    );
    let mut data = fs::read(&index).expect("read");
    *data.last_mut().expect("bytes") ^= 1;
    fs::write(&index, data).expect("write");
    let again = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    assert_eq!(content(&again.tree(), "a"), ContentHash::UNHASHED);
}

#[test]
fn the_same_name_size_and_mtime_is_not_the_same_file() {
    let (_dir, root, index) = context(&[("f", "one")]);
    settle();
    let scan = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    scan.ensure_hashed(&[RelPath::root()]).expect("hash");
    let before = fs::metadata(root.join("f"))
        .expect("stat")
        .modified()
        .expect("mtime");
    fs::write(root.join("f"), "two").expect("write");
    let file = fs::File::options()
        .write(true)
        .open(root.join("f"))
        .expect("open");
    file.set_times(FileTimes::new().set_modified(before))
        .expect("utime");
    let again = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    assert_eq!(content(&again.tree(), "f"), ContentHash::UNHASHED);
    again.ensure_hashed(&["f".into()]).expect("hash");
    assert_eq!(content(&again.tree(), "f"), ContentHash::of(b"two"));
}

#[test]
fn what_changed_a_moment_ago_or_in_the_future_is_not_remembered() {
    let (_dir, root, index) = context(&[("now", "1"), ("future", "1")]);
    let later = SystemTime::now() + std::time::Duration::from_secs(1000);
    let file = fs::File::options()
        .write(true)
        .open(root.join("future"))
        .expect("open");
    file.set_times(FileTimes::new().set_modified(later))
        .expect("utime");
    settle();
    fs::write(root.join("now"), "2").expect("write");
    let scan = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    scan.ensure_hashed(&[RelPath::root()]).expect("hash");
    let again = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    assert_eq!(content(&again.tree(), "now"), ContentHash::UNHASHED);
    assert_eq!(content(&again.tree(), "future"), ContentHash::UNHASHED);
}

#[test]
fn many_rapid_rewrites_are_never_mistaken_for_each_other() {
    let (_dir, root, index) = context(&[("f", "000")]);
    for round in 0..200 {
        let data = format!("{round:03}");
        fs::write(root.join("f"), &data).expect("write");
        let scan = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
        scan.ensure_hashed(&[RelPath::root()]).expect("hash");
        assert_eq!(content(&scan.tree(), "f"), ContentHash::of(data.as_bytes()));
    }
}

#[test]
fn excluded_directories_are_kept_only_for_what_is_included_below() {
    let (_dir, root, index) = context(&[
        ("keep/x", ""),
        ("maybe/in", ""),
        ("maybe/out", ""),
        ("empty/out", ""),
        ("no/x", ""),
    ]);
    let filter = |path: &RelPath, _: bool| match path.to_string().as_str() {
        "/no" => Verdict::Exclude,
        "/maybe" | "/empty" => Verdict::ExcludeButDescend,
        path if path.ends_with("/out") => Verdict::Exclude,
        _ => Verdict::Include,
    };
    let scan = ContextScan::scan(&root, &[], &filter, &index).expect("scan");
    assert_eq!(
        names(&scan.tree()),
        ["/keep", "/keep/x", "/maybe", "/maybe/in"]
    );
}

#[test]
fn sub_paths_bring_what_leads_to_them_and_where_their_links_lead() {
    let (_dir, root, index) = context(&[
        ("a/b/c", ""),
        ("a/z", ""),
        ("real/deep/f", ""),
        ("real/other", ""),
        ("x", ""),
    ]);
    symlink("../../real/deep", root.join("a/b/link")).expect("symlink");
    symlink("/a/./b", root.join("via")).expect("symlink");
    let names = |roots: &[&str]| {
        let roots: Vec<RelPath> = roots.iter().map(|root| RelPath::from(*root)).collect();
        names(
            &ContextScan::scan(&root, &roots, &ALL, &index)
                .expect("scan")
                .tree(),
        )
    };
    assert_eq!(names(&["x"]), ["/x"]);
    assert_eq!(names(&["a/z", "missing/y"]), ["/a", "/a/z"]);
    let linked = [
        "/a",
        "/a/b",
        "/a/b/c",
        "/a/b/link",
        "/real",
        "/real/deep",
        "/real/deep/f",
    ];
    assert_eq!(names(&["a/b"]), linked);
    assert_eq!(names(&["via/c"]), ["/a", "/a/b", "/a/b/c", "/via"]);
    assert_eq!(names(&["x", ""]).len(), 11);
}

#[test]
fn hard_links_within_the_context_are_one_object() {
    let (_dir, root, index) = context(&[("a", "1"), ("c", "1")]);
    fs::hard_link(root.join("a"), root.join("b")).expect("link");
    let scan = ContextScan::scan(&root, &[], &ALL, &index).expect("scan");
    let tree = scan.tree();
    let link = |path: &str| tree.get(&path.into()).expect(path).entry.hardlink;
    assert!(link("a").is_some() && link("a") == link("b") && link("c").is_none());
}
