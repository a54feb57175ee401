//! Platforms: their names, normal forms and compatibility.
//!
//! The rules are those of containerd's `platforms` package, which BuildKit and
//! docker use: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`,
//! and a machine also runs what its older variants run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::json::null_default;

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// The form is not `os[/arch[/variant]]`.
    #[error(
        "invalid platform {input:?}: expected OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7"
    )]
    Format {
        /// The text as given.
        input: String,
    },
    /// A single word is neither an operating system nor an architecture.
    #[error("invalid platform {input:?}: unknown operating system or architecture")]
    Unknown {
        /// The text as given.
        input: String,
    },
}

/// An operating system on a CPU architecture, in Go's names.
///
/// The fields hold what a document says. [`FromStr`], [`Platform::host`] and
/// [`Platform::normalized`] give the normal form, in which equal platforms are
/// equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// The architecture: `amd64`, `arm64`, …
    #[serde(deserialize_with = "null_default")]
    pub architecture: String,
    /// The operating system: `linux`, `windows`, …
    #[serde(deserialize_with = "null_default")]
    pub os: String,
    /// The operating system's version (Windows).
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system (Windows).
    #[serde(
        rename = "os.features",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// The architecture's variant: `v7`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

const KNOWN_OS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const KNOWN_ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

impl Platform {
    /// Makes a platform without a variant, as given.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            ..Self::default()
        }
    }

    /// Returns the platform that this program was built for, in normal form.
    pub fn host() -> Self {
        let little = cfg!(target_endian = "little");
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if little => "mips64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture).normalized()
    }

    /// Returns the normal form.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let variant = self.variant.as_deref().unwrap_or_default();
        let (architecture, variant) = normalize_architecture(&self.architecture, variant);
        Self {
            architecture,
            os: normalize_os(&self.os),
            os_version: self.os_version.clone().filter(|v| !v.is_empty()),
            os_features: self.os_features.clone(),
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// Returns whether what is made for `candidate` runs here.
    pub fn matches(&self, candidate: &Self) -> bool {
        self.rank(candidate).is_some()
    }

    /// Returns how far `candidate` is from this platform: 0 for the very same,
    /// more for older variants and compatible architectures, none if what is made
    /// for it does not run here.
    pub fn rank(&self, candidate: &Self) -> Option<usize> {
        let (this, candidate) = (self.normalized(), candidate.normalized());
        if this.os != candidate.os || !version_matches(&this, &candidate) {
            return None;
        }
        let wanted = (
            candidate.architecture,
            candidate.variant.unwrap_or_default(),
        );
        this.ladder().iter().position(|step| *step == wanted)
    }

    /// Lists (architecture, variant) of everything that runs on this normalised
    /// platform, the closest first.
    fn ladder(&self) -> Vec<(String, String)> {
        let architecture = self.architecture.as_str();
        let variant = self.variant.as_deref().unwrap_or_default();
        let mut steps = vec![(architecture.to_owned(), variant.to_owned())];
        let mut add = |architecture: &str, variant: String| {
            steps.push((architecture.to_owned(), variant));
        };
        match architecture {
            "amd64" => {
                for lower in (1..major(variant).unwrap_or(1)).rev() {
                    // The normal form of v1 has no variant.
                    add(
                        "amd64",
                        if lower == 1 {
                            String::new()
                        } else {
                            format!("v{lower}")
                        },
                    );
                }
                add("386", String::new());
            }
            "arm" => {
                for lower in (5..major(variant).unwrap_or(5)).rev() {
                    add("arm", format!("v{lower}"));
                }
            }
            "arm64" => {
                if major(variant).is_some_and(|major| major > 8) {
                    add("arm64", String::new());
                }
                for lower in (5..=8).rev() {
                    add("arm", format!("v{lower}"));
                }
            }
            _ => {}
        }
        steps
    }
}

/// Windows images run on the build of Windows they are made for.
fn version_matches(this: &Platform, candidate: &Platform) -> bool {
    if this.os != "windows" {
        return true;
    }
    let build = |p: &Platform| -> Option<String> {
        Some(
            p.os_version
                .as_ref()?
                .splitn(4, '.')
                .take(3)
                .collect::<Vec<_>>()
                .join("."),
        )
    };
    match (build(this), build(candidate)) {
        (Some(this), Some(candidate)) => this == candidate,
        _ => true,
    }
}

/// Returns the number after `v` and before any `.`.
fn major(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn normalize_os(os: &str) -> String {
    match os.to_lowercase().as_str() {
        "" => Platform::host().os,
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalize_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os`, `arch`, `os/arch` or `os/arch/variant` into the normal form;
    /// what is missing is the host's. `os(version)` states a version.
    fn from_str(input: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Format {
            input: input.to_owned(),
        };
        let parts: Vec<&str> = input.split('/').collect();
        let word = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let (os, os_version) = match parts[0].split_once('(') {
            Some((os, rest)) => (os, Some(rest.strip_suffix(')').ok_or_else(malformed)?)),
            None => (parts[0], None),
        };
        if !word(os) || !parts[1..].iter().all(|part| word(part)) {
            return Err(malformed());
        }
        let mut platform = match parts.as_slice() {
            [_] => from_word(os).ok_or_else(|| PlatformError::Unknown {
                input: input.to_owned(),
            })?,
            [_, architecture] => Self::new(os, *architecture),
            [_, architecture, variant] => {
                let variant = Some((*variant).to_owned());
                Self {
                    variant,
                    ..Self::new(os, *architecture)
                }
            }
            _ => return Err(malformed()),
        };
        platform.os_version = os_version.map(str::to_owned);
        Ok(platform.normalized())
    }
}

/// Reads a lone operating system or architecture.
fn from_word(word: &str) -> Option<Platform> {
    let host = Platform::host();
    let os = normalize_os(word);
    if KNOWN_OS.contains(&os.as_str()) {
        return Some(Platform { os, ..host });
    }
    let (architecture, variant) = normalize_architecture(word, "");
    KNOWN_ARCHITECTURES
        .contains(&architecture.as_str())
        .then(|| Platform {
            variant: Some(variant),
            ..Platform::new(host.os, architecture)
        })
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if let Some(version) = &self.os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{}", self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_into_the_normal_form() {
        let host = Platform::host();
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/x86-64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("linux/ppc64le", "linux/ppc64le"),
        ];
        for (input, expected) in cases {
            assert_eq!(
                input.parse::<Platform>().unwrap().to_string(),
                expected,
                "{input}"
            );
        }
        assert_eq!(
            "linux".parse::<Platform>().unwrap().architecture,
            host.architecture
        );
        for (input, architecture) in [("arm64", "arm64"), ("x86_64", "amd64"), ("s390x", "s390x")] {
            let platform: Platform = input.parse().unwrap();
            assert_eq!(
                (&platform.os, platform.architecture.as_str()),
                (&host.os, architecture)
            );
        }
        assert_eq!(
            "arm".parse::<Platform>().unwrap().variant.as_deref(),
            Some("v7")
        );
    }

    #[test]
    fn malformed_texts_are_named() {
        for input in [
            "",
            "/",
            "linux/",
            "/amd64",
            "linux/amd64/v1/x",
            "*",
            "linux/*",
            "a b",
            "linux(1/amd64",
        ] {
            let error = input.parse::<Platform>().unwrap_err();
            assert_eq!(
                error,
                PlatformError::Format {
                    input: input.to_owned()
                },
                "{input}"
            );
        }
        let error = "linus".parse::<Platform>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid platform \"linus\": unknown operating system or architecture"
        );
    }

    #[test]
    fn machines_run_what_older_ones_run() {
        // (machine, candidate, rank)
        let cases = [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/386", Some(1)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64/v3", "linux/amd64/v2", Some(1)),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64/v3", "linux/386", Some(3)),
            ("linux/386", "linux/amd64", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64", "linux/arm/v8", Some(1)),
            ("linux/arm64", "linux/arm/v7", Some(2)),
            ("linux/arm64", "linux/arm/v5", Some(4)),
            ("linux/arm64/v9", "linux/arm64", Some(1)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm/v5", "linux/arm/v5", Some(0)),
            ("linux/amd64", "windows/amd64", None),
            ("linux/amd64", "unknown/unknown", None),
            (
                "windows(10.0.17763.1)/amd64",
                "windows(10.0.17763.2)/amd64",
                Some(0),
            ),
            (
                "windows(10.0.17763.1)/amd64",
                "windows(10.0.20348.1)/amd64",
                None,
            ),
        ];
        for (machine, candidate, rank) in cases {
            let machine: Platform = machine.parse().unwrap();
            let platform: Platform = candidate.parse().unwrap();
            assert_eq!(machine.rank(&platform), rank, "{machine} runs {candidate}");
            assert_eq!(machine.matches(&platform), rank.is_some());
        }
    }

    #[test]
    fn json_keeps_what_a_document_says() {
        let text = r#"{"architecture":"arm64","os":"linux","os.version":"1","os.features":["a"],"variant":"v8"}"#;
        let platform: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&platform).unwrap(), text);
        assert_eq!(platform.normalized().variant, None);
    }
}
