//! Private caches: how many there may be.

use cooper_solver::{CancelToken, Graph, Vertex};

use super::*;

/// As many locks as there may be caches, all held: one more step waits for the first, and makes
/// no other.
#[test]
fn private_caches_are_bounded() {
    let dir = tempfile::tempdir().expect("tempdir");
    let vertex = Graph::new().add(Vertex::new("RUN", ()), &[]);
    let cancel = CancelToken::new();
    let cx = ExecContext {
        vertex,
        name: "RUN",
        key: None,
        cancel: &cancel,
        log_sink: &|_, _| {},
    };
    let private = || take(dir.path(), "cache", CacheSharing::Private, &cx);
    let mut held: Vec<_> = (0..MOST_COPIES)
        .map(|_| private().expect("a cache of its own"))
        .collect();
    let names: std::collections::BTreeSet<_> = held.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(names.len(), MOST_COPIES as usize);
    cancel.cancel();
    assert!(matches!(private(), Err(OpError::Canceled)), "it waits");
    let first = held.remove(0);
    let path = first.0.clone();
    drop(first);
    assert_eq!(private().expect("the first is free").0, path);
    let files = std::fs::read_dir(dir.path()).expect("locks").count();
    assert_eq!(files, MOST_COPIES as usize, "no more than that");
}
