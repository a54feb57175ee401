//! Records that are text: a paragraph for each package, a line `NAME:VALUE` for each field.

use super::Package;

/// Returns the packages of those paragraphs that `package` makes one of.
pub(super) fn of_paragraphs(
    text: &[u8],
    package: impl Fn(&str) -> Option<Package>,
) -> Vec<Package> {
    let text = String::from_utf8_lossy(text);
    text.split("\n\n").filter_map(package).collect()
}

/// Returns what the first field of that name says, nothing if there is none.
pub(super) fn field<'t>(paragraph: &'t str, name: &str) -> &'t str {
    let mut lines = paragraph.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}
