//! Comments that describe a stage or an argument: `# NAME what it is for`.

/// Returns whether a comment line is for people, and not a directive.
pub(crate) fn is_description(comment: &str) -> bool {
    let Some((key, _)) = comment.split_once('=') else {
        return true;
    };
    let key = key.trim_end();
    !["check", "syntax", "escape"]
        .iter()
        .any(|directive| key.eq_ignore_ascii_case(directive))
}

/// Returns what the comments above an instruction say of `name`: the rest of the first line
/// that starts with it, in its own case.
pub(crate) fn describe(comments: &[String], name: &str) -> Option<String> {
    let lines = comments.iter().filter(|line| is_description(line));
    let mut said = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    said.next().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_starts_with_the_name() {
        let table: &[(&[&str], Option<&str>)] = &[
            (&["base is the base"], Some("is the base")),
            (&["Base is the base"], None),
            (&["about", "base is the base"], Some("is the base")),
            (&["base is the base", "of all"], Some("is the base")),
            (&["base"], None),
            (&["based on"], None),
            (&["check=skip=A", "base b", "check=error=true"], Some("b")),
            (&[], None),
        ];
        for (comments, want) in table {
            let comments: Vec<String> = comments.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(
                describe(&comments, "base").as_deref(),
                *want,
                "{comments:?}"
            );
        }
    }
}
