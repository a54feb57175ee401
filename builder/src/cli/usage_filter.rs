//! `--filter` of `cooper du` and `cooper prune`: which entries of the build cache are meant.

use std::str::FromStr;
use std::time::Duration;

use cooper_cache::{UsageEntry, UsageKind};
use jiff::{SignedDuration, Timestamp};

use super::du::type_name;
use super::value::{ValueError, boolean};

/// What an entry must be.
#[derive(Clone, Debug, PartialEq)]
pub enum UsageFilter {
    /// Unused for longer than this.
    Until(Duration),
    /// Of this id, or one that begins like this.
    Id(String),
    /// Of this type.
    Type(UsageKind),
    /// Needed by an image or a container, or not.
    InUse(bool),
    /// Needed by several results, or not.
    Shared(bool),
}

const KEYS: [&str; 6] = ["until", "id", "type", "inuse", "shared", "private"];
const TYPES: [UsageKind; 2] = [UsageKind::Layer, UsageKind::CacheMount];

impl UsageFilter {
    /// Returns whether an entry is meant; `now` is in seconds since the epoch.
    pub fn admits(&self, entry: &UsageEntry, now: i64) -> bool {
        match self {
            Self::Until(time) => now - entry.last_used > time.as_secs() as i64,
            Self::Id(id) => {
                let bare = entry.id.split_once(':').map_or("", |(_, hex)| hex);
                entry.id.starts_with(id.as_str()) || bare.starts_with(id.as_str())
            }
            Self::Type(kind) => entry.kind == *kind,
            Self::InUse(wanted) => entry.in_use == *wanted,
            Self::Shared(wanted) => entry.shared == *wanted,
        }
    }
}

impl FromStr for UsageFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        Ok(match key {
            "until" | "unused-for" => Self::Until(until(value, Timestamp::now())?),
            "id" => Self::Id(value.to_owned()),
            "type" => {
                let known = TYPES.map(type_name);
                let kind = TYPES.into_iter().find(|kind| type_name(*kind) == value);
                Self::Type(kind.ok_or_else(|| ValueError::unknown("type", value, &known))?)
            }
            "inuse" => Self::InUse(boolean(key, value)?),
            "shared" => Self::Shared(boolean(key, value)?),
            "private" => Self::Shared(!boolean(key, value)?),
            _ => return Err(ValueError::unknown("filter", key, &KEYS)),
        })
    }
}

/// Returns how long before `now` the time `text` is: a Go duration (`36h`, `1h30m`), a Unix time
/// or an RFC 3339 time.
pub fn until(text: &str, now: Timestamp) -> Result<Duration, ValueError> {
    let wrong = || {
        ValueError::new("not a time")
            .hint("write a duration such as 24h or 1h30m, or a time such as 2024-05-01T00:00:00Z")
    };
    let since = |time: Timestamp| now.duration_since(time);
    let ago = if let Ok(seconds) = text.parse::<i64>() {
        since(Timestamp::from_second(seconds).map_err(|_| wrong())?)
    } else if let Ok(time) = text.parse::<Timestamp>() {
        since(time)
    } else {
        text.parse::<SignedDuration>().map_err(|_| wrong())?
    };
    ago.try_into().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> UsageEntry {
        UsageEntry {
            id: id.to_owned(),
            kind: UsageKind::Layer,
            bytes: 1,
            in_use: false,
            shared: true,
            last_used: 1000,
            uses: 0,
            records: Vec::new(),
        }
    }

    #[test]
    fn filters_admit_what_they_say() {
        for (filter, admits) in [
            ("until=10s", true),
            ("until=2h", false),
            ("id=blake3:ab", true),
            ("id=abc", true),
            ("id=cd", false),
            ("type=regular", true),
            ("type=exec.cachemount", false),
            ("inuse", false),
            ("inuse=false", true),
            ("shared", true),
            ("private", false),
        ] {
            let parsed: UsageFilter = filter.parse().expect(filter);
            assert_eq!(
                parsed.admits(&entry("blake3:abcd"), 1100),
                admits,
                "{filter}"
            );
        }
    }

    #[test]
    fn times_are_durations_or_moments() {
        let now: Timestamp = "2024-05-02T00:00:00Z".parse().expect("valid");
        let hours = |text| until(text, now).map(|time| time.as_secs() / 3600);
        assert_eq!(hours("24h"), Ok(24));
        assert_eq!(hours("1h30m").map(|_| ()), Ok(()));
        assert_eq!(hours("2024-05-01T00:00:00Z"), Ok(24));
        assert_eq!(hours("1714521600"), Ok(24));
        assert!(hours("soon").is_err() && hours("2025-01-01T00:00:00Z").is_err());
        assert!("typ=regular".parse::<UsageFilter>().is_err());
        assert!("type=reg".parse::<UsageFilter>().is_err());
    }
}
