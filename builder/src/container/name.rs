//! Names for containers that were given none.

const QUALITIES: [&str; 32] = [
    "amber", "brisk", "calm", "clear", "daring", "deft", "eager", "early", "fair", "fleet",
    "gentle", "glad", "hardy", "humble", "keen", "kind", "lively", "lucid", "mellow", "modest",
    "nimble", "patient", "plain", "quick", "quiet", "ready", "sober", "steady", "sturdy", "tidy",
    "vivid", "warm",
];

/// Words of the cooper's trade and what comes in barrels.
const THINGS: [&str; 32] = [
    "adze",
    "ale",
    "anvil",
    "apple",
    "barrel",
    "bilge",
    "bucket",
    "bung",
    "butt",
    "cask",
    "chime",
    "churn",
    "cider",
    "croze",
    "drum",
    "firkin",
    "flagon",
    "hammer",
    "hogshead",
    "hoop",
    "keg",
    "kilderkin",
    "malt",
    "mallet",
    "oak",
    "pail",
    "plane",
    "puncheon",
    "rivet",
    "stave",
    "tun",
    "vat",
];

/// Returns a name that `seed` picks.
pub(super) fn generate(seed: u32) -> String {
    let quality = QUALITIES[seed as usize % QUALITIES.len()];
    let thing = THINGS[(seed >> 8) as usize % THINGS.len()];
    let round = seed >> 16;
    if round == 0 {
        format!("{quality}_{thing}")
    } else {
        format!("{quality}_{thing}{}", round % 100)
    }
}

/// Returns whether docker would take `name`.
pub(super) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() > 1
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_valid_and_spread() {
        assert_eq!(generate(0), "amber_adze");
        assert_eq!(generate(0x0101), "brisk_ale");
        assert_eq!(generate(0x0007_0101), "brisk_ale7");
        assert!((0..2000).all(|seed| is_valid(&generate(seed * 977))));
    }

    #[test]
    fn names_follow_dockers_rule() {
        for (name, valid) in [
            ("web", true),
            ("a_b.c-1", true),
            ("", false),
            ("a", false),
            ("-a", false),
            ("a/b", false),
            ("a b", false),
        ] {
            assert_eq!(is_valid(name), valid, "{name:?}");
        }
    }
}
