//! The pages of the build checks say what the rules say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cooper_frontend::lint::{RULES, index, page};

const REGENERATE: &str =
    "regenerate it with: cargo run -p cooper-frontend --example check-docs -- docs/checks";

#[test]
fn each_rule_has_its_page() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/checks");
    let mut pages: BTreeMap<String, String> = RULES
        .iter()
        .map(|rule| (format!("{}.md", rule.name), page(rule)))
        .collect();
    pages.insert("README.md".to_owned(), index());
    for (name, page) in &pages {
        let written = fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert!(
            written == *page,
            "docs/checks/{name} is not up to date; {REGENERATE}"
        );
    }
    let entries = fs::read_dir(&dir).expect("docs/checks exists");
    for entry in entries {
        let name = entry.expect("a readable directory").file_name();
        let name = name.to_string_lossy();
        assert!(
            pages.contains_key(&*name),
            "docs/checks/{name} belongs to no rule: remove it"
        );
    }
}
