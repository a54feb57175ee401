//! Which kernel this is.

/// Tells whether the running kernel is of the version `MAJOR.MINOR` or a later one.
pub(crate) fn is_at_least(version: &str) -> bool {
    reaches(
        &rustix::system::uname().release().to_string_lossy(),
        version,
    )
}

fn reaches(release: &str, version: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text.split(|char: char| !char.is_ascii_digit());
        let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok());
        (next(), next())
    };
    numbers(release) >= numbers(version)
}

#[cfg(test)]
mod tests {
    use super::reaches;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for (release, version, reached) in [
            ("6.8.0-13-amd64", "6.8", true),
            ("6.10-rc1", "6.8", true),
            ("10.0.1", "6.8", true),
            ("6.1.0-13-amd64", "6.8", false),
            ("5.15.167.4-microsoft-standard-WSL2", "6.8", false),
        ] {
            assert_eq!(reaches(release, version), reached, "{release}");
        }
    }
}
