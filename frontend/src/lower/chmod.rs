//! The syntax of `--chmod`: octal, or clauses such as `u=rwX,go=rX`.

/// Checks a mode; the error says what is wrong.
pub(super) fn check(mode: &str) -> Result<(), String> {
    if mode.bytes().all(|byte| byte.is_ascii_digit()) {
        let octal = u32::from_str_radix(mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777);
        return octal.map(|_| ()).ok_or_else(|| {
            format!(
                "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"
            )
        });
    }
    match mode.split(',').find(|clause| !is_clause(clause)) {
        Some(clause) => Err(format!("invalid chmod parameter: '{clause}' is no mode")),
        None => Ok(()),
    }
}

/// `[ugoa]*` and then one or more of `[-+=]` with permissions.
fn is_clause(clause: &str) -> bool {
    let mut rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if rest.is_empty() {
        return false;
    }
    while let Some(operand) = rest.strip_prefix(['+', '-', '=']) {
        let copied = operand.trim_start_matches(['u', 'g', 'o']);
        rest = if copied.len() + 1 == operand.len() {
            copied
        } else {
            operand.trim_start_matches(['r', 'w', 'x', 'X', 's', 't'])
        };
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_symbolic_modes_are_told_from_nonsense() {
        for mode in [
            "0",
            "755",
            "0644",
            "7777",
            "u=rwX,go=rX",
            "a+x",
            "+x",
            "g=u",
            "u+s,o-rwx",
            "o=",
        ] {
            assert_eq!(check(mode), Ok(()), "{mode}");
        }
        for mode in ["888", "10000", "rwx", "u=rq", "u", "a+x,", "99999999999999"] {
            assert!(check(mode).is_err(), "{mode}");
        }
    }
}
