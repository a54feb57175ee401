//! Sizes and truth values, as every option of a Dockerfile and of the command line writes them.

/// Parses a number of bytes such as `64m`, `1.5GiB` or `1048576`; units are powers of 1024.
/// What does not fit 64 bits is none.
///
/// ```
/// use cooper_frontend::quantity::size;
///
/// assert_eq!(size("1.5k"), Some(1536));
/// assert_eq!(size("64MiB"), size("64m"));
/// assert_eq!(size("many"), None);
/// ```
pub fn size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let bytes = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Parses what Go's `ParseBool` takes.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, want) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("100b", Some(100)),
            ("64k", Some(64 << 10)),
            ("64M", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1.5k", Some(1536)),
            ("1.5g", Some(3 << 29)),
            ("1 gb", Some(1 << 30)),
            ("2P", Some(2 << 50)),
            ("1  gb", None),
            ("", None),
            (".", None),
            ("m", None),
            ("x", None),
            ("1x", None),
            ("-1", None),
            ("1.2.3", None),
            ("99999999999999999999t", None),
            ("16777216t", None),
        ] {
            assert_eq!(size(text), want, "{text:?}");
        }
    }

    #[test]
    fn truth_is_spelt_as_in_go() {
        for (text, want) in [
            ("1", Some(true)),
            ("T", Some(true)),
            ("False", Some(false)),
            ("0", Some(false)),
            ("yes", None),
            ("tRUE", None),
            ("", None),
        ] {
            assert_eq!(boolean(text), want, "{text:?}");
        }
    }
}
