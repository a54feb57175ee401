//! The pinned corpus of the fuzz targets, with a stable toolchain.

use std::fs;
use std::path::Path;

#[expect(unreachable_pub, reason = "a crate of its own for cargo-fuzz")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/fuzz")
        .join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&dir).expect("the target has a pinned corpus") {
        let data = fs::read(entry.expect("a readable directory").path()).expect("a readable file");
        target(&data);
        inputs += 1;
    }
    assert!(inputs > 5, "only {inputs} inputs in {}", dir.display());
}

#[test]
fn parser_keeps_its_promises() {
    replay("parser", targets::parser);
}

#[test]
fn word_keeps_its_promises() {
    replay("word", targets::word);
}

#[test]
fn dockerignore_keeps_its_promises() {
    replay("dockerignore", targets::dockerignore);
}

#[test]
fn json_keeps_its_promises() {
    replay("json", targets::json);
}

#[test]
fn pipeline_keeps_its_promises() {
    replay("pipeline", targets::pipeline);
}
