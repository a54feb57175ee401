//! `--log-opt`: what each driver takes, read and checked before a container is made.
//!
//! | Driver | Options |
//! |---|---|
//! | json-file, local | `max-size`, `max-file`, `compress` |
//! | syslog | `syslog-address`, `syslog-facility`, `syslog-format` |
//! | journald, syslog | `cache-disabled`, `cache-max-size`, `cache-max-file`, `cache-compress` |
//! | all but none | `labels`, `labels-regex`, `env`, `env-regex`, `tag` |
//! | all | `mode`, `max-buffer-size`: taken and without effect, a slow log never stops a container |
//!
//! What goes elsewhere is also kept here, within the limits of `cache-*`, so that `logs` reads it.

use std::collections::BTreeMap;

use regex::Regex;

use super::attributes::{Selection, check_tag};
use super::syslog::{Address, Facility, Format};
use crate::container::config::LogDriver;

/// When a new file begins, and what becomes of the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Bytes after which a new file begins; none is without end.
    pub(crate) max_size: Option<u64>,
    /// How many files are kept, the newest among them.
    pub(crate) max_file: u32,
    /// Whether older files are compressed.
    pub(crate) compress: bool,
}

impl Rotation {
    /// One file without end, as docker's json-file has it.
    const NONE: Self = Self {
        max_size: None,
        max_file: 1,
        compress: false,
    };

    /// Five files of 20 MB, as docker's `local` driver has it.
    const LOCAL: Self = Self {
        max_size: Some(20 << 20),
        max_file: 5,
        compress: true,
    };
}

/// All options of a container's log.
#[derive(Clone, Debug)]
pub(crate) struct LogOptions {
    /// The files that are kept here; none if nothing is.
    pub(super) rotation: Option<Rotation>,
    pub(super) selection: Selection,
    pub(super) address: Address,
    pub(super) facility: Facility,
    pub(super) format: Format,
}

impl LogOptions {
    /// Reads `--log-opt` values; an error names the option that is wrong and says why.
    pub(crate) fn parse(
        driver: LogDriver,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let rotation = match driver {
            LogDriver::None => None,
            LogDriver::JsonFile => Some(Rotation::NONE),
            LogDriver::Local | LogDriver::Journald | LogDriver::Syslog => Some(Rotation::LOCAL),
        };
        let mut parsed = Self {
            rotation,
            selection: Selection::default(),
            address: Address::default(),
            facility: Facility::default(),
            format: Format::default(),
        };
        for (name, value) in options {
            if !parsed.take(driver, name, value)? {
                return Err(format!("{} has no option {name}", driver.name()));
            }
        }
        match parsed.rotation {
            Some(kept) if kept.compress && (kept.max_file < 2 || kept.max_size.is_none()) => {
                Err("compress=true needs max-size, and max-file of 2 at least".to_owned())
            }
            _ => Ok(parsed),
        }
    }

    /// Takes one option; false if the driver has none of that name.
    fn take(&mut self, driver: LogDriver, name: &str, value: &str) -> Result<bool, String> {
        if matches!(name, "mode" | "max-buffer-size") {
            return Ok(true);
        }
        let taken = match driver {
            LogDriver::None => false,
            LogDriver::JsonFile | LogDriver::Local => self.keep(name, name, value)?,
            LogDriver::Journald => self.cache(name, value)?,
            LogDriver::Syslog => self.cache(name, value)? || self.send(name, value)?,
        };
        Ok(taken || (driver != LogDriver::None && self.select(name, value)?))
    }

    fn keep(&mut self, option: &str, name: &str, value: &str) -> Result<bool, String> {
        let Some(rotation) = &mut self.rotation else {
            return Ok(false);
        };
        let wrong = |what: &str| Err(format!("{option}={value}: not {what}"));
        match name {
            "max-size" => match size(value) {
                Some(size @ 1..) => rotation.max_size = Some(size),
                _ if value == "-1" => rotation.max_size = None,
                _ => return wrong("a size such as 10m"),
            },
            "max-file" => match value.parse() {
                Ok(count @ 1..) => rotation.max_file = count,
                _ => return wrong("a number of files, 1 at least"),
            },
            "compress" => match value.parse() {
                Ok(compress) => rotation.compress = compress,
                Err(_) => return wrong("true or false"),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn cache(&mut self, option: &str, value: &str) -> Result<bool, String> {
        match (option, value) {
            ("cache-disabled", "true") => self.rotation = None,
            ("cache-disabled", "false") => {}
            ("cache-disabled", _) => return Err(format!("{option}={value}: not true or false")),
            _ => {
                return match option.strip_prefix("cache-") {
                    Some(name) => self.keep(option, name, value),
                    None => Ok(false),
                };
            }
        }
        Ok(true)
    }

    fn send(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let wrong = |problem| format!("{name}={value}: {problem}");
        match name {
            "syslog-address" => self.address = Address::parse(value).map_err(wrong)?,
            "syslog-facility" => self.facility = Facility::parse(value).map_err(wrong)?,
            "syslog-format" => self.format = Format::parse(value).map_err(wrong)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn select(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let names = || value.split(',').map(str::trim).map(str::to_owned).collect();
        let pattern = || {
            let pattern = Regex::new(value);
            pattern
                .map(Some)
                .map_err(|error| format!("{name}={value}: {error}"))
        };
        let selection = &mut self.selection;
        match name {
            "labels" => selection.labels = names(),
            "env" => selection.env = names(),
            "labels-regex" => selection.labels_regex = pattern()?,
            "env-regex" => selection.env_regex = pattern()?,
            "tag" => {
                check_tag(value).map_err(|problem| format!("{name}={value}: {problem}"))?;
                selection.tag = Some(value.to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads a number of bytes with a unit of 1024s: `1k`, `10m`.
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: LogDriver, pairs: &[(&str, &str)]) -> Result<LogOptions, String> {
        let pairs = pairs.iter();
        let owned = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        LogOptions::parse(driver, &owned.collect())
    }

    #[test]
    fn files_have_a_size_and_a_number() {
        let pairs = [
            ("max-size", "1k"),
            ("max-file", "2"),
            ("mode", "non-blocking"),
        ];
        let found = parse(LogDriver::JsonFile, &pairs).expect("valid");
        let expected = Rotation {
            max_size: Some(1024),
            max_file: 2,
            compress: false,
        };
        assert_eq!(found.rotation, Some(expected));
        let local = parse(LogDriver::Local, &[("max-file", "3")]).expect("valid");
        let expected = Rotation {
            max_file: 3,
            ..Rotation::LOCAL
        };
        assert_eq!(local.rotation, Some(expected));
    }

    #[test]
    fn what_goes_elsewhere_may_be_kept_here_too() {
        let rotation = |pairs: &[(&str, &str)]| {
            parse(LogDriver::Journald, pairs).map(|options| options.rotation)
        };
        assert_eq!(rotation(&[]), Ok(Some(Rotation::LOCAL)));
        assert_eq!(rotation(&[("cache-disabled", "true")]), Ok(None));
        let small = Rotation {
            max_size: Some(1 << 10),
            ..Rotation::LOCAL
        };
        assert_eq!(rotation(&[("cache-max-size", "1k")]), Ok(Some(small)));
    }

    #[test]
    fn options_are_checked() {
        use LogDriver::{Journald, JsonFile, None, Syslog};
        for (driver, option) in [
            (JsonFile, ("max-size", "big")),
            (JsonFile, ("max-size", "0")),
            (JsonFile, ("max-file", "0")),
            (JsonFile, ("compress", "yes")),
            (JsonFile, ("compress", "true")),
            (JsonFile, ("colour", "red")),
            (JsonFile, ("syslog-address", "udp://h")),
            (JsonFile, ("tag", "{{.Colour}}")),
            (JsonFile, ("env-regex", "(")),
            (Journald, ("max-size", "1k")),
            (Journald, ("cache-disabled", "maybe")),
            (Syslog, ("syslog-address", "http://h")),
            (Syslog, ("syslog-facility", "nobody")),
            (Syslog, ("syslog-format", "xml")),
            (None, ("tag", "x")),
        ] {
            assert!(parse(driver, &[option]).is_err(), "{option:?}");
        }
    }
}
