//! The disk under control: what `[cache]` of the configuration means, and collection after builds.

use cooper_cache::{Policy, Store};
use jiff::Timestamp;

use super::usage_filter::until;
use super::value::{self, ValueError};
use crate::config::CacheSection;
use crate::report::Report;

const GB: u64 = 1_000_000_000;

/// Collects after a build, if the configuration wants it and it is due.
///
/// A build is not worse for it: what fails here is told by `cooper prune`.
pub(super) fn after_build(store: &Store, section: &CacheSection) -> Result<(), Report> {
    if section.gc {
        let policy = policy(section, store.capacity())?;
        let _ = store.auto_gc(policy);
    }
    Ok(())
}

/// Returns the limits of the build cache on a file system of `capacity` bytes.
///
/// What is not set is a part of the file system, at most so many bytes.
fn policy(section: &CacheSection, capacity: u64) -> Result<Policy, Report> {
    let part = |percent: u64, most: u64| (capacity / 100 * percent).min(most);
    let limit = |key: &str, text: &Option<String>, default: u64| match text {
        Some(text) => space(text, capacity).map_err(|error| in_file(error, key, text)),
        None => Ok(default),
    };
    let keep_duration = section
        .keep_duration
        .as_ref()
        .map(|text| {
            until(text, Timestamp::now()).map_err(|error| in_file(error, "keep-duration", text))
        })
        .transpose()?;
    let max = limit(
        "max-used-space",
        &section.max_used_space,
        part(60, 100 * GB),
    )?;
    Ok(Policy {
        keep_duration,
        reserved_space: Some(limit(
            "reserved-space",
            &section.reserved_space,
            part(10, 10 * GB).min(max),
        )?),
        max_used_space: Some(max),
        min_free_space: Some(limit(
            "min-free-space",
            &section.min_free_space,
            part(20, 20 * GB),
        )?),
    })
}

/// Returns the bytes that the store may never exceed, if the configuration sets a limit.
pub(super) fn hard_limit(store: &Store, section: &CacheSection) -> Result<Option<u64>, Report> {
    let limit = |text: &String| {
        space(text, store.capacity()).map_err(|error| in_file(error, "hard-limit", text))
    };
    section.hard_limit.as_ref().map(limit).transpose()
}

fn in_file(error: ValueError, key: &str, text: &str) -> Report {
    error.report(&format!("`{key}` in [cache] of the configuration"), text)
}

/// Parses a size, or a part of `capacity` such as `10%`.
fn space(text: &str, capacity: u64) -> Result<u64, ValueError> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        return value::size(text);
    };
    let percent: u64 = percent
        .trim()
        .parse()
        .ok()
        .filter(|part| *part <= 100)
        .ok_or_else(|| {
            ValueError::new("not a part").hint("write a size such as 20g, or a part such as 10%")
        })?;
    Ok(capacity / 100 * percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_sizes_or_parts_of_the_file_system() {
        let section = CacheSection {
            max_used_space: Some("50%".to_owned()),
            reserved_space: Some("1k".to_owned()),
            keep_duration: Some("48h".to_owned()),
            ..CacheSection::default()
        };
        let found = policy(&section, 1000 * GB).expect("valid");
        let expected = Policy {
            keep_duration: Some(std::time::Duration::from_secs(48 * 3600)),
            reserved_space: Some(1024),
            max_used_space: Some(500 * GB),
            min_free_space: Some(20 * GB),
        };
        assert_eq!(found, expected);
        let small = policy(&CacheSection::default(), 10 * GB).expect("valid");
        assert_eq!(
            (
                small.reserved_space,
                small.max_used_space,
                small.min_free_space
            ),
            (Some(GB), Some(6 * GB), Some(2 * GB))
        );
        for text in ["101%", "x%", "many"] {
            assert!(space(text, GB).is_err(), "{text}");
        }
    }
}
