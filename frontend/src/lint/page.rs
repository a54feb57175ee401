//! The rules' documentation as Markdown pages.

use std::fmt::Write as _;

use super::{Given, RULES, Rule};

/// Returns the page of one rule.
pub fn page(rule: &Rule) -> String {
    let mut out = format!("# {}\n\n{}.\n", rule.name, rule.summary);
    if rule.experimental {
        let _ = write!(
            out,
            "\nThis check is experimental: it runs only when asked for, by `# check=experimental={}` \
             or `--build-arg BUILDKIT_DOCKERFILE_CHECK=experimental={}`.\n",
            rule.name, rule.name
        );
    }
    let _ = write!(out, "\n## Why\n\n{}\n", rule.doc.trim());
    for (heading, files) in [("Reported", rule.bad), ("Accepted", rule.good)] {
        if files.is_empty() {
            continue;
        }
        let _ = write!(out, "\n## {heading}\n{}", given(rule.given));
        for file in files {
            let _ = write!(out, "\n```dockerfile\n{file}```\n");
        }
    }
    let _ = write!(
        out,
        "\n## Switching it off\n\nFor the whole file, in its first lines:\n\n```dockerfile\n# check=skip={0}\n```\n\n\
         For one instruction, the same comment directly above it. For one build, whatever the file \
         says:\n\n```console\n$ cooper build --build-arg BUILDKIT_DOCKERFILE_CHECK=skip={0} .\n```\n",
        rule.name
    );
    out
}

/// Says what the examples need besides.
fn given(given: Given) -> String {
    match given {
        Given::Nothing => String::new(),
        Given::Ignored(lines) => format!("\nWith this `.dockerignore`:\n\n```text\n{lines}```\n"),
        Given::BaseFor(platform) => {
            format!("\nBuilt for linux/amd64, with a base image that exists for {platform} only:\n")
        }
    }
}

/// Returns the page that lists all rules.
pub fn index() -> String {
    let mut out = String::from(
        "# Build checks\n\nThese run with every build and are reported after it; `cooper build \
         --check` runs them alone and exits with 1 if there is something to report. With \
         `# check=error=true` in its first lines a file that breaks a rule is not built.\n\n\
         | Rule | Asks for |\n|---|---|\n",
    );
    for rule in RULES {
        let mark = if rule.experimental {
            " (experimental)"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "| [{0}]({0}.md){mark} | {1} |",
            rule.name, rule.summary
        );
    }
    out
}
