//! Writes the page of each build check below a directory: `cargo run -p cooper-frontend
//! --example check-docs -- docs/checks`.

use std::path::PathBuf;
use std::{env, fs, io};

use cooper_frontend::lint::{RULES, index, page};

fn main() -> io::Result<()> {
    let dir = PathBuf::from(
        env::args()
            .nth(1)
            .unwrap_or_else(|| "docs/checks".to_owned()),
    );
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("README.md"), index())?;
    RULES
        .iter()
        .try_for_each(|rule| fs::write(dir.join(format!("{}.md", rule.name)), page(rule)))
}
