//! The rooms and the arrows between them, as `cargo metadata` sees them.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// What each room may depend on. Whoever adds a room or an arrow changes this table.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "cooper-builder",
        &[
            "cooper-cache",
            "cooper-frontend",
            "cooper-oci",
            "cooper-runner",
            "cooper-solver",
        ],
    ),
    ("cooper-cache", &["cooper-oci"]),
    ("cooper-frontend", &["cooper-oci", "cooper-solver"]),
    ("cooper-oci", &[]),
    ("cooper-runner", &[]),
    ("cooper-solver", &[]),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

/// Room → rooms it names in its manifest. A crate may use itself in its own tests.
fn arrows_of(metadata: &Metadata, kinds: &[DependencyKind]) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    metadata
        .workspace_packages()
        .iter()
        .map(|package| {
            let inside = package
                .dependencies
                .iter()
                .filter(|dependency| kinds.contains(&dependency.kind))
                .map(|dependency| dependency.name.clone())
                .filter(|name| members.contains(name) && *name != *package.name)
                .collect();
            (package.name.to_string(), inside)
        })
        .collect()
}

#[test]
fn rooms_depend_on_each_other_only_along_the_arrows() {
    let drawn: BTreeMap<String, BTreeSet<String>> = ARROWS
        .iter()
        .map(|(room, to)| {
            let to = to.iter().map(ToString::to_string).collect();
            ((*room).to_owned(), to)
        })
        .collect();
    let kinds = [
        DependencyKind::Normal,
        DependencyKind::Build,
        DependencyKind::Development,
    ];
    let found = arrows_of(&metadata(), &kinds);

    let rooms = |of: &BTreeMap<String, BTreeSet<String>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(rooms(&found), rooms(&drawn), "the rooms of the workspace");
    for (room, to) in &found {
        let beyond: Vec<_> = to.difference(&drawn[room]).collect();
        assert!(beyond.is_empty(), "{room} may not depend on {beyond:?}");
    }
}

#[test]
fn only_the_builder_makes_a_program() {
    let programs: Vec<String> = metadata()
        .workspace_packages()
        .iter()
        .flat_map(|package| package.targets.iter())
        .filter(|target| target.is_bin())
        .map(|target| target.name.clone())
        .collect();
    assert_eq!(programs, ["cooper"]);
}
