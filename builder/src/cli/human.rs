//! Sizes and times as docker writes them for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns `bytes` in decimal units with three significant digits, such as `4.26MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let mut digits = match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    };
    if digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    digits + UNITS[unit]
}

/// Returns `bytes` in binary units with four significant digits, such as `1.504MiB`.
pub(super) fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let mut digits = match value {
        value if value < 9.9995 => format!("{value:.3}"),
        value if value < 99.995 => format!("{value:.2}"),
        value if value < 999.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    };
    if digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    digits + UNITS[unit]
}

/// Returns how long something took or lasts, such as `2 hours`.
pub(super) fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        HOUR..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", seconds / HOUR),
        172_800..1_209_600 => format!("{} days", seconds / DAY),
        1_209_600..5_184_000 => format!("{} weeks", seconds / DAY / 7),
        5_184_000..63_072_000 => format!("{} months", seconds / DAY / 30),
        _ => format!("{} years", seconds / DAY / 365),
    }
}

/// Returns how long before `now` the RFC 3339 time `created` was, such as `2 hours ago`.
pub(super) fn since(created: Option<&str>, now: Timestamp) -> String {
    match created.and_then(|created| created.parse::<Timestamp>().ok()) {
        Some(created) => format!("{} ago", duration(now.as_second() - created.as_second())),
        None => "N/A".to_owned(),
    }
}

/// Returns the RFC 3339 time `created` in the form of docker's `CreatedAt`.
pub(super) fn date(created: Option<&str>) -> String {
    match created.and_then(|created| created.parse::<Timestamp>().ok()) {
        Some(time) => time
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
            .to_string(),
        None => "N/A".to_owned(),
    }
}

/// Returns the bytes of the blocks of everything below `dir`; what cannot be read takes none.
pub(super) fn bytes_below(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.blocks() * 512,
        _ => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_000, "4.26MB"),
            (77_810_000, "77.8MB"),
            (133_400_000, "133MB"),
            (1_090_000_000, "1.09GB"),
            (1_100_000_000, "1.1GB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn memory_is_counted_in_powers_of_two() {
        for (bytes, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1_577_058, "1.504MiB"),
            (64 << 20, "64MiB"),
            (16_500_000_000, "15.37GiB"),
        ] {
            assert_eq!(binary_size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn durations_are_rounded_as_docker_does() {
        for (seconds, expected) in [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (90, "About a minute"),
            (120, "2 minutes"),
            (3600, "About an hour"),
            (47 * 3600, "47 hours"),
            (49 * 3600, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn times_are_told_relative_and_absolute() {
        let now: Timestamp = "2024-05-01T12:00:00Z".parse().expect("valid");
        assert_eq!(since(Some("2024-05-01T10:00:00.5Z"), now), "2 hours ago");
        assert_eq!(since(None, now), "N/A");
        assert_eq!(
            date(Some("2024-05-01T10:00:00+02:00")),
            "2024-05-01 08:00:00 +0000 UTC"
        );
    }
}
