//! Debian's packages: the status file of dpkg, and its pieces in distroless images.
//!
//! The format is that of Debian's control files: paragraphs of `Field: value`, lines that begin
//! with white space continue the one before.

use cooper_cache::RelPath;

use super::paragraphs::{field, of_paragraphs};
use super::{Distribution, Package, Purl};

/// Returns the packages that are installed.
pub(super) fn packages(text: &[u8], path: &RelPath, distribution: &Distribution) -> Vec<Package> {
    of_paragraphs(text, |paragraph| package(paragraph, path, distribution))
}

fn package(paragraph: &str, path: &RelPath, distribution: &Distribution) -> Option<Package> {
    let field = |name| field(paragraph, name);
    // A package that was removed and left its configuration is not there; distroless images
    // state no state.
    let installed = match field("Status") {
        "" => true,
        status => status.split_ascii_whitespace().nth(2) == Some("installed"),
    };
    let (name, version) = (field("Package"), field("Version"));
    if !installed || name.is_empty() {
        return None;
    }
    let purl = Purl::new("deb", distribution.namespace("debian"), name, version)
        .with("arch", field("Architecture"))
        .with("distro", distribution.qualifier())
        .with("upstream", upstream(field("Source")));
    let mut package = Package::new(&purl, path);
    field("Maintainer").clone_into(&mut package.supplier);
    Some(package)
}

/// Returns the source package, `name@version` if its version is its own: `name (version)`.
fn upstream(source: &str) -> String {
    match source.split_once(" (") {
        Some((name, version)) => format!("{name}@{}", version.trim_end_matches(')')),
        None => source.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: libstdc++6
Status: install ok installed
Priority: optional
Maintainer: Debian GCC Maintainers <debian-gcc@lists.debian.org>
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+deb12u1
Description: GNU Standard C++ Library v3
 Package: not-a-field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: base-files
Version: 12.4
Architecture: all
";

    #[test]
    fn what_is_installed_is_listed() {
        let distribution = Distribution::parse("ID=debian\nVERSION_ID=12\n");
        let path = RelPath::from("var/lib/dpkg/status");
        let found = packages(STATUS.as_bytes(), &path, &distribution);
        let purls: Vec<_> = found.iter().map(|package| &*package.purl).collect();
        assert_eq!(
            purls,
            [
                "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
                "pkg:deb/debian/base-files@12.4?arch=all&distro=debian-12",
            ]
        );
        assert!(found[0].supplier.starts_with("Debian GCC"));
        assert_eq!(found[0].found_in, "/var/lib/dpkg/status");
    }

    #[test]
    fn damage_gives_no_package() {
        let unknown = Distribution::default();
        for text in [&b""[..], b"\0\xff\xfe", b"Version: 1\n", b"Package\n: x"] {
            assert_eq!(packages(text, &RelPath::root(), &unknown), []);
        }
    }
}
