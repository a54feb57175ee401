//! Alpine's packages: apk's database of what is installed.
//!
//! Paragraphs of `L:value` with a letter for each field: P name, V version, A architecture,
//! L licence, m maintainer, o origin.

use cooper_cache::RelPath;

use super::paragraphs::{field, of_paragraphs};
use super::{Distribution, Package, Purl};

/// Returns the packages that are installed.
pub(super) fn packages(text: &[u8], path: &RelPath, distribution: &Distribution) -> Vec<Package> {
    of_paragraphs(text, |paragraph| package(paragraph, path, distribution))
}

fn package(paragraph: &str, path: &RelPath, distribution: &Distribution) -> Option<Package> {
    let field = |name| field(paragraph, name);
    let (name, origin) = (field("P"), field("o"));
    if name.is_empty() {
        return None;
    }
    let upstream = if origin == name { "" } else { origin };
    let purl = Purl::new("apk", distribution.namespace("alpine"), name, field("V"))
        .with("arch", field("A"))
        .with("distro", distribution.qualifier())
        .with("upstream", upstream);
    let mut package = Package::new(&purl, path);
    field("L").clone_into(&mut package.license);
    field("m").clone_into(&mut package.supplier);
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_listed() {
        let text = "C:Q1abc=\nP:musl-utils\nV:1.2.4-r2\nA:x86_64\nL:MIT AND GPL-2.0-or-later\n\
                    o:musl\nm:Someone <a@b>\nF:usr\nR:bin\n\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\n";
        let distribution = Distribution::parse("ID=alpine\nVERSION_ID=3.18.4\n");
        let path = RelPath::from("lib/apk/db/installed");
        let found = packages(text.as_bytes(), &path, &distribution);
        let purls: Vec<_> = found.iter().map(|package| &*package.purl).collect();
        assert_eq!(
            purls,
            [
                "pkg:apk/alpine/musl-utils@1.2.4-r2?arch=x86_64&distro=alpine-3.18.4&upstream=musl",
                "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.18.4",
            ]
        );
        assert_eq!(found[0].license, "MIT AND GPL-2.0-or-later");
    }
}
