//! SPDX 2.3 documents in JSON.

use std::fmt::Write;

use cooper_oci::Digest;
use serde_json::{Value, json};

use super::Package;
use crate::attest::Attestation;

/// The predicate's type.
pub const PREDICATE_TYPE: &str = "https://spdx.dev/Document";
/// Nobody says so.
const UNSTATED: &str = "NOASSERTION";
/// The element that the document is.
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
/// The element that holds all packages.
const ROOT: &str = "SPDXRef-DocumentRoot";

/// What a document is about.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    /// What was looked through.
    pub name: &'a str,
    /// When it was made, RFC 3339 with whole seconds.
    pub created: &'a str,
    /// What it is called as a file.
    pub file_name: &'a str,
    /// What was found.
    pub packages: &'a [Package],
}

impl Document<'_> {
    /// Returns the document as an attestation.
    pub fn attestation(&self) -> Attestation {
        Attestation {
            predicate_type: PREDICATE_TYPE.to_owned(),
            file_name: self.file_name.to_owned(),
            predicate: self.json(),
        }
    }

    fn json(&self) -> Value {
        let mut packages = vec![self.root()];
        let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", ROOT)];
        for package in self.packages {
            let id = identifier(package);
            relationships.push(relationship(ROOT, "CONTAINS", &id));
            packages.push(self::package(package, &id));
        }
        json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": DOCUMENT,
            "name": self.name,
            "documentNamespace": self.namespace(),
            "creationInfo": {
                "created": self.created,
                "creators": [concat!("Tool: cooper-", env!("CARGO_PKG_VERSION"))],
            },
            "packages": packages,
            "relationships": relationships,
        })
    }

    /// Returns a name that no other document has: it is made of what the document says.
    fn namespace(&self) -> String {
        let mut text = format!("{}\n{}\n", self.name, self.created);
        for package in self.packages {
            let _ = writeln!(text, "{} {}", package.purl, package.found_in);
        }
        let digest = Digest::sha256(text.as_bytes());
        format!("https://spdx.org/spdxdocs/cooper-{}", digest.hex())
    }

    fn root(&self) -> Value {
        json!({
            "name": self.name,
            "SPDXID": ROOT,
            "downloadLocation": UNSTATED,
            "filesAnalyzed": false,
            "licenseConcluded": UNSTATED,
            "licenseDeclared": UNSTATED,
            "copyrightText": UNSTATED,
            "primaryPackagePurpose": "CONTAINER",
        })
    }
}

fn package(package: &Package, id: &str) -> Value {
    let mut value = json!({
        "name": package.name,
        "SPDXID": id,
        "downloadLocation": UNSTATED,
        "filesAnalyzed": false,
        "sourceInfo": format!("recorded in {}", package.found_in),
        "licenseConcluded": UNSTATED,
        "licenseDeclared": license(&package.license),
        "copyrightText": UNSTATED,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl,
        }],
    });
    if !package.version.is_empty() {
        value["versionInfo"] = package.version.clone().into();
    }
    if !package.supplier.is_empty() {
        value["supplier"] = format!("Organization: {}", package.supplier).into();
    }
    // What is no expression of SPDX's is still what the package says.
    if !package.license.is_empty() && license(&package.license) == UNSTATED {
        value["licenseComments"] = package.license.clone().into();
    }
    value
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// Returns an element's name: letters, digits, dots and hyphens alone.
fn identifier(package: &Package) -> String {
    let text = format!("{}\0{}", package.purl, package.found_in);
    let digest = Digest::sha256(text.as_bytes());
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = package.name.chars().map(plain).collect();
    format!("SPDXRef-Package-{name}-{}", &digest.hex()[..16])
}

/// Returns a licence that is an expression in SPDX's identifiers; other words mean nothing to its
/// readers.
fn license(text: &str) -> &str {
    // One of a document's own would have to be explained in it.
    match spdx::Expression::parse(text) {
        Ok(_) if !text.contains("LicenseRef-") => text,
        _ => UNSTATED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages() -> Vec<Package> {
        let package = |name: &str, license: &str| Package {
            purl: format!("pkg:deb/debian/{name}@1"),
            name: name.to_owned(),
            version: "1".to_owned(),
            license: license.to_owned(),
            supplier: String::new(),
            found_in: "/var/lib/dpkg/status".to_owned(),
        };
        vec![package("g++", "custom"), package("musl", "MIT")]
    }

    #[test]
    fn a_document_describes_what_holds_the_packages() {
        let document = Document {
            name: "app",
            created: "2024-01-01T00:00:00Z",
            file_name: "sbom.spdx.json",
            packages: &packages(),
        };
        let text = serde_json::to_string_pretty(&document.attestation().predicate);
        insta::assert_snapshot!(text.expect("JSON").replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
        {
          "spdxVersion": "SPDX-2.3",
          "dataLicense": "CC0-1.0",
          "SPDXID": "SPDXRef-DOCUMENT",
          "name": "app",
          "documentNamespace": "https://spdx.org/spdxdocs/cooper-37649879ff34b3a12d329605d7344bbb32afbf7bdb5f53b89ff8d6a17f5150f9",
          "creationInfo": {
            "created": "2024-01-01T00:00:00Z",
            "creators": [
              "Tool: cooper-VERSION"
            ]
          },
          "packages": [
            {
              "name": "app",
              "SPDXID": "SPDXRef-DocumentRoot",
              "downloadLocation": "NOASSERTION",
              "filesAnalyzed": false,
              "licenseConcluded": "NOASSERTION",
              "licenseDeclared": "NOASSERTION",
              "copyrightText": "NOASSERTION",
              "primaryPackagePurpose": "CONTAINER"
            },
            {
              "name": "g++",
              "SPDXID": "SPDXRef-Package-g---ab9badb492b2acb4",
              "downloadLocation": "NOASSERTION",
              "filesAnalyzed": false,
              "sourceInfo": "recorded in /var/lib/dpkg/status",
              "licenseConcluded": "NOASSERTION",
              "licenseDeclared": "NOASSERTION",
              "copyrightText": "NOASSERTION",
              "externalRefs": [
                {
                  "referenceCategory": "PACKAGE-MANAGER",
                  "referenceType": "purl",
                  "referenceLocator": "pkg:deb/debian/g++@1"
                }
              ],
              "versionInfo": "1",
              "licenseComments": "custom"
            },
            {
              "name": "musl",
              "SPDXID": "SPDXRef-Package-musl-7ba71631f7c108b5",
              "downloadLocation": "NOASSERTION",
              "filesAnalyzed": false,
              "sourceInfo": "recorded in /var/lib/dpkg/status",
              "licenseConcluded": "NOASSERTION",
              "licenseDeclared": "MIT",
              "copyrightText": "NOASSERTION",
              "externalRefs": [
                {
                  "referenceCategory": "PACKAGE-MANAGER",
                  "referenceType": "purl",
                  "referenceLocator": "pkg:deb/debian/musl@1"
                }
              ],
              "versionInfo": "1"
            }
          ],
          "relationships": [
            {
              "spdxElementId": "SPDXRef-DOCUMENT",
              "relationshipType": "DESCRIBES",
              "relatedSpdxElement": "SPDXRef-DocumentRoot"
            },
            {
              "spdxElementId": "SPDXRef-DocumentRoot",
              "relationshipType": "CONTAINS",
              "relatedSpdxElement": "SPDXRef-Package-g---ab9badb492b2acb4"
            },
            {
              "spdxElementId": "SPDXRef-DocumentRoot",
              "relationshipType": "CONTAINS",
              "relatedSpdxElement": "SPDXRef-Package-musl-7ba71631f7c108b5"
            }
          ]
        }
        "#);
    }

    #[test]
    fn only_expressions_are_declared() {
        for (text, declared) in [
            ("MIT", true),
            ("MIT AND (GPL-2.0-or-later OR BSD-3-Clause)", true),
            ("GPL-2.0-or-later WITH GCC-exception-3.1", true),
            ("MIT OR", false),
            ("AND", false),
            ("MIT BSD-3-Clause", false),
            ("Public Domain", false),
            ("", false),
        ] {
            assert_eq!(
                license(text) == text && !text.is_empty(),
                declared,
                "{text}"
            );
        }
    }
}
