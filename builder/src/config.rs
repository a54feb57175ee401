//! Settings that are not typed at every command: the environment and the configuration file.
//!
//! A setting is taken from the command line, else from the environment, else from the
//! configuration file, else it has a default. The file with every key there is:
//!
//! ```toml
#![doc = include_str!("../../docs/config.toml")]
//! ```
//!
//! Besides those named above, the environment variables `NO_COLOR` (no colours),
//! `SOURCE_DATE_EPOCH` (the time stamped on what a build creates), `BUILDX_NO_DEFAULT_LOAD`
//! (whether a build without an output only fills the cache), `BUILDX_NO_DEFAULT_ATTESTATIONS` and
//! `BUILDX_METADATA_PROVENANCE` (what is attested unasked), `DOCKER_CONFIG` (directory of
//! the config.json that holds registry credentials), `REGISTRY_AUTH_FILE` (podman's file of the
//! same), `CONTAINERS_REGISTRIES_CONF` and `CONTAINERS_REGISTRIES_CONF_DIR` (in place of the usual
//! registries.conf and registries.conf.d), `SSL_CERT_FILE` and `SSL_CERT_DIR` (the
//! certificates to trust instead of the system's), `TERM` and the proxy variables are read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_cache::{Driver, UnknownDriver};
use serde::Deserialize;

use crate::options::ProgressMode;
use crate::report::{Excerpt, Report, Severity, did_you_mean};

/// The system's configuration file.
const SYSTEM_FILE: &str = "/etc/cooper/config.toml";

/// Proxy variables, of which either case is read and both are given to steps.
pub const PROXY_VARIABLES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// The process's environment, read once; a test makes its own.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    /// Whether the process is the superuser's.
    pub is_root: bool,
}

impl Environment {
    /// Returns the environment of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self {
            variables,
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Returns root's environment of the given variables.
    #[cfg(test)]
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        Self {
            variables,
            is_root: true,
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Returns a variable's value; one that is set to nothing counts as unset.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables
            .get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    }

    /// Returns a variable's value even if it is empty; bytes that are no UTF-8 are replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.variables
            .get(name)
            .map(|value| value.to_string_lossy().into_owned())
    }

    /// Returns whether a variable is set and not empty.
    pub fn has(&self, name: &str) -> bool {
        self.variables
            .get(name)
            .is_some_and(|value| !value.is_empty())
    }

    /// Returns a variable's bytes.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.path(name)
            .map(|value| value.into_os_string().into_encoded_bytes())
    }

    /// Returns the proxy variables that are set, under their upper-case names.
    pub fn proxies(&self) -> BTreeMap<String, String> {
        let value = |name: &str| {
            self.text(name)
                .or_else(|| self.text(&name.to_ascii_lowercase()))
                .filter(|v| !v.is_empty())
        };
        PROXY_VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), value(name)?)))
            .collect()
    }

    fn home(&self) -> PathBuf {
        self.path("HOME").unwrap_or_else(|| PathBuf::from("/"))
    }
}

/// The configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FileConfig {
    /// `root`.
    pub root: Option<PathBuf>,
    /// `progress`.
    pub progress: Option<String>,
    /// `storage-driver`.
    pub storage_driver: Option<String>,
    /// `[build]`.
    pub build: BuildSection,
    /// `[registry]`.
    pub registry: RegistrySection,
    /// `[cache]`.
    pub cache: CacheSection,
    /// `[run]`.
    pub run: RunSection,
}

/// `[run]` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunSection {
    /// `userns-remap`.
    pub userns_remap: Option<String>,
    /// `cdi-spec-dirs`.
    pub cdi_spec_dirs: Option<Vec<PathBuf>>,
}

/// `[cache]` of the configuration file. Sizes are bytes or, as `10%`, a part of the file system.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CacheSection {
    /// `gc`.
    pub gc: bool,
    /// `keep-duration`.
    pub keep_duration: Option<String>,
    /// `reserved-space`.
    pub reserved_space: Option<String>,
    /// `max-used-space`.
    pub max_used_space: Option<String>,
    /// `min-free-space`.
    pub min_free_space: Option<String>,
    /// `hard-limit`.
    pub hard_limit: Option<String>,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self {
            gc: true,
            keep_duration: None,
            reserved_space: None,
            max_used_space: None,
            min_free_space: None,
            hard_limit: None,
        }
    }
}

/// `[build]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BuildSection {
    /// `jobs`.
    pub jobs: Option<std::num::NonZeroUsize>,
    /// `network`.
    pub network: Option<String>,
    /// `shm-size`.
    pub shm_size: Option<String>,
    /// `detect-credentials`.
    pub detect_credentials: Option<bool>,
    /// `provenance`.
    pub provenance: Option<String>,
    /// `sbom`.
    pub sbom: Option<String>,
    /// `proxy`.
    pub proxy: bool,
    /// `args`.
    pub args: BTreeMap<String, String>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
}

impl Default for BuildSection {
    fn default() -> Self {
        Self {
            jobs: None,
            network: None,
            shm_size: None,
            detect_credentials: None,
            provenance: None,
            sbom: None,
            proxy: true,
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// `[registry]` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RegistrySection {
    /// `mirrors`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// `insecure`.
    pub insecure: Vec<String>,
    /// `ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `retries`.
    pub retries: Option<u32>,
    /// `short-names`.
    pub short_names: Option<String>,
}

impl FileConfig {
    /// Reads the file that applies; `named` is the one named on the command line.
    pub fn load(named: Option<&Path>, environment: &Environment) -> Result<Self, Report> {
        if let Some(path) = named
            .map(Path::to_owned)
            .or_else(|| environment.path("COOPER_CONFIG"))
        {
            return Self::read(&path)?.ok_or_else(|| {
                let path = path.display();
                Report::new(format!("the configuration file {path} does not exist"))
            });
        }
        let base = environment
            .path("XDG_CONFIG_HOME")
            .unwrap_or_else(|| environment.home().join(".config"));
        for path in [base.join("cooper/config.toml"), SYSTEM_FILE.into()] {
            if let Some(config) = Self::read(&path)? {
                return Ok(config);
            }
        }
        Ok(Self::default())
    }

    fn read(path: &Path) -> Result<Option<Self>, Report> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&path.display().to_string(), &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Report::from_error(&error).context(format!(
                "cannot read the configuration file {}",
                path.display()
            ))),
        }
    }

    /// Returns the configuration that `text` states; `file` is its name in reports.
    pub fn parse(file: &str, text: &str) -> Result<Self, Report> {
        toml::from_str(text).map_err(|error| {
            let message = error.message().to_owned();
            Report::new(format!("the configuration file {file} is not valid")).excerpt(Excerpt {
                file: file.to_owned(),
                text: Arc::from(text),
                span: error.span().unwrap_or(0..0),
                severity: Severity::Error,
                code: String::new(),
                help: suggestion(&message),
                message,
                label: String::new(),
                notes: Vec::new(),
            })
        })
    }
}

/// Returns advice for serde's message on an unknown field, which lists the known ones.
fn suggestion(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted
        .next()
        .filter(|_| message.starts_with("unknown field"))?;
    did_you_mean(unknown, quoted).map(|known| format!("did you mean `{known}`?"))
}

/// Returns where the store is: `flag` is `--root`.
pub fn store_root(flag: Option<&Path>, environment: &Environment, file: &FileConfig) -> PathBuf {
    flag.map(Path::to_owned)
        .or_else(|| environment.path("COOPER_ROOT"))
        .or_else(|| file.root.clone())
        .unwrap_or_else(|| {
            if environment.is_root {
                return "/var/lib/cooper".into();
            }
            environment
                .path("XDG_DATA_HOME")
                .unwrap_or_else(|| environment.home().join(".local/share"))
                .join("cooper")
        })
}

/// Returns how layers are mounted, if that was said: `flag` is `--storage-driver`.
pub fn storage_driver(
    flag: Option<&str>,
    environment: &Environment,
    file: &FileConfig,
) -> Result<Option<Driver>, Report> {
    let given = flag
        .map(str::to_owned)
        .or_else(|| environment.text("COOPER_STORAGE_DRIVER"))
        .filter(|name| !name.is_empty())
        .or_else(|| file.storage_driver.clone());
    let Some(name) = given.filter(|name| name != "auto") else {
        return Ok(None);
    };
    name.parse().map(Some).map_err(|error: UnknownDriver| {
        let report = Report::from_error(&error);
        match did_you_mean(&name, Driver::NAMES) {
            Some(known) => report.hint(format!("did you mean {known:?}?")),
            None => report.hint("known are overlay, vfs and auto"),
        }
    })
}

/// Ways to show progress.
const PROGRESS_MODES: [&str; 6] = ["auto", "tty", "plain", "quiet", "none", "rawjson"];

/// Returns how progress is shown: `flag` is `--progress`.
pub fn progress_mode(
    flag: Option<&str>,
    environment: &Environment,
    file: &FileConfig,
) -> Result<ProgressMode, Report> {
    let variable = |name: &str| {
        Some((
            environment.text(name).filter(|v| !v.is_empty())?,
            name.to_owned(),
        ))
    };
    let (value, source) = flag
        .map(|value| (value.to_owned(), "--progress".to_owned()))
        .or_else(|| variable("COOPER_PROGRESS"))
        .or_else(|| variable("BUILDKIT_PROGRESS"))
        .or_else(|| {
            Some((
                file.progress.clone()?,
                "`progress` in the configuration".to_owned(),
            ))
        })
        .unwrap_or_else(|| ("auto".to_owned(), String::new()));
    match value.as_str() {
        "auto" => Ok(ProgressMode::Auto),
        "tty" => Ok(ProgressMode::Tty),
        "plain" => Ok(ProgressMode::Plain),
        "quiet" | "none" => Ok(ProgressMode::Quiet),
        "rawjson" => Ok(ProgressMode::RawJson),
        other => {
            let report = Report::new(format!("{source}: {other:?} is no way to show progress"));
            Err(match did_you_mean(other, PROGRESS_MODES) {
                Some(known) => report.hint(format!("did you mean {known:?}?")),
                None => report.hint("known are auto, tty, plain, quiet, none and rawjson"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../docs/config.toml");

    #[test]
    fn the_documented_file_is_understood_key_by_key() {
        let config = FileConfig::parse("docs/config.toml", DOCUMENTED).expect("valid");
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let expected = FileConfig {
            root: Some("/var/lib/cooper".into()),
            progress: Some("auto".to_owned()),
            storage_driver: Some("auto".to_owned()),
            build: BuildSection {
                jobs: std::num::NonZeroUsize::new(16),
                network: Some("host".to_owned()),
                shm_size: Some("64m".to_owned()),
                detect_credentials: Some(false),
                provenance: Some("min".to_owned()),
                sbom: Some("false".to_owned()),
                proxy: true,
                args: one("PIP_INDEX_URL", "https://pypi.example/simple"),
                labels: one("org.opencontainers.image.vendor", "Example"),
            },
            registry: RegistrySection {
                mirrors: BTreeMap::from([(
                    "docker.io".to_owned(),
                    vec!["https://mirror.example".to_owned()],
                )]),
                insecure: vec!["registry.internal:5000".to_owned()],
                ca_file: Some("/etc/ssl/certs/internal.pem".into()),
                retries: Some(3),
                short_names: Some("docker".to_owned()),
            },
            cache: CacheSection {
                gc: true,
                keep_duration: Some("48h".to_owned()),
                reserved_space: Some("10g".to_owned()),
                max_used_space: Some("60%".to_owned()),
                min_free_space: Some("20%".to_owned()),
                hard_limit: Some("200g".to_owned()),
            },
            run: RunSection {
                userns_remap: Some("default".to_owned()),
                cdi_spec_dirs: Some(vec!["/etc/cdi".into(), "/var/run/cdi".into()]),
            },
        };
        assert_eq!(config, expected);
    }

    /// A misspelt key is answered with all that are known; each of them is documented.
    #[test]
    fn every_key_there_is_stands_in_the_documented_file() {
        for (section, least) in [
            ("", 6),
            ("[build]", 9),
            ("[registry]", 5),
            ("[cache]", 6),
            ("[run]", 2),
        ] {
            let text = format!("{section}\nunknown = 1\n");
            let error = toml::from_str::<FileConfig>(&text).expect_err("no such key");
            let mut quoted = error.message().split('`').skip(1).step_by(2);
            assert_eq!(quoted.next(), Some("unknown"));
            let keys: Vec<_> = quoted.collect();
            assert!(keys.len() >= least, "{keys:?}");
            for key in keys {
                let stated = [
                    format!("\n{key} = "),
                    format!("\n[{key}]"),
                    format!(".{key}]"),
                ];
                assert!(stated.iter().any(|s| DOCUMENTED.contains(s)), "{key}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_shown_where_it_stands() {
        let text = "root = \"/x\"\n[registry]\nmirors = {}\n";
        let report = FileConfig::parse("/etc/cooper/config.toml", text).expect_err("misspelt");
        insta::assert_snapshot!(report.render(false), @r"
        error: unknown field `mirors`, expected one of `mirrors`, `insecure`, `ca-file`, `retries`, `short-names`
         --> /etc/cooper/config.toml:3:1
          |
        3 | mirors = {}
          | ^^^^^^
          |
          = help: did you mean `mirrors`?

        ERROR: the configuration file /etc/cooper/config.toml is not valid
        ");
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let file = FileConfig {
            root: Some("/file".into()),
            ..FileConfig::default()
        };
        let empty = FileConfig::default();
        let set = Environment::of([("COOPER_ROOT", "/env")]);
        let unset = Environment::of([("COOPER_ROOT", "")]);
        let user = Environment {
            is_root: false,
            ..Environment::of([("HOME", "/home/a")])
        };
        let xdg = [("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")];
        let xdg = Environment {
            is_root: false,
            ..Environment::of(xdg)
        };
        let flag = Some(Path::new("/flag"));
        for (flag, environment, file, expected) in [
            (flag, &set, &file, "/flag"),
            (None, &set, &file, "/env"),
            (None, &unset, &file, "/file"),
            (None, &unset, &empty, "/var/lib/cooper"),
            (None, &user, &empty, "/home/a/.local/share/cooper"),
            (None, &xdg, &empty, "/data/cooper"),
        ] {
            assert_eq!(store_root(flag, environment, file), Path::new(expected));
        }
    }

    #[test]
    fn progress_follows_the_same_order() {
        let both = Environment::of([("COOPER_PROGRESS", "tty"), ("BUILDKIT_PROGRESS", "plain")]);
        let docker = Environment::of([("BUILDKIT_PROGRESS", "plain")]);
        let file = FileConfig {
            progress: Some("quiet".into()),
            ..FileConfig::default()
        };
        let mode = |flag, environment: &Environment| {
            progress_mode(flag, environment, &file).map_err(|report| report.render(false))
        };
        assert_eq!(mode(Some("rawjson"), &both), Ok(ProgressMode::RawJson));
        assert_eq!(mode(None, &both), Ok(ProgressMode::Tty));
        assert_eq!(mode(None, &docker), Ok(ProgressMode::Plain));
        assert_eq!(mode(None, &Environment::default()), Ok(ProgressMode::Quiet));
        let error = "ERROR: --progress: \"plian\" is no way to show progress\n  \
                     hint: did you mean \"plain\"?\n";
        assert_eq!(mode(Some("plian"), &both), Err(error.to_owned()));
    }

    #[test]
    fn proxies_are_read_in_either_case() {
        let environment = Environment::of([
            ("http_proxy", "http://p:1"),
            ("HTTPS_PROXY", "http://p:2"),
            ("https_proxy", "http://ignored"),
            ("NO_PROXY", ""),
        ]);
        let expected = [("HTTPS_PROXY", "http://p:2"), ("HTTP_PROXY", "http://p:1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment.proxies(), BTreeMap::from(expected));
    }
}
