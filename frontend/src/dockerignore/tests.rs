use super::*;

#[test]
fn patterns_match_as_mobys_do() {
    let table: &[(&str, &str, bool)] = &[
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir", false),
        ("dir/**", "dir2/file", false),
        ("**/dir", "dir", true),
        ("**/dir", "a/dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**file", "dir/afile", true),
        ("**/file", "dir/afile", false),
        ("**f?le", "dir/afile", false),
        ("a**/*.txt", "abcd.txt", true),
        ("a**/*.txt", "a/b/c.txt", true),
        ("a/*.txt", "a/b/c.txt", false),
        ("a/*.txt", "a/c.txt", true),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        ("[!a].txt", "!.txt", true),
        ("[!a].txt", "a.txt", true),
        ("[!a].txt", "b.txt", false),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a\\", "a", false),
        ("abc", "abc/def", true),
        ("abc", "xabc", false),
        ("*", "a/b", true),
        ("?.txt", "ab.txt", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("docs", "docs/a/b", true),
        ("docs/", "docs/a", true),
        ("./docs", "docs/a", true),
        ("/docs", "docs/a", true),
        ("a/../b", "b", true),
        ("../b.txt", "b.txt", false),
        (".", "a", false),
        ("/", "a", false),
        ("  a  ", "a", true),
        ("#a", "#a", false),
        ("\\#a", "#a", true),
        ("äö?", "äöü", true),
    ];
    for (pattern, path, want) in table {
        let matcher = DockerIgnore::parse(pattern);
        let got = matcher.is_ok_and(|matcher| matcher.matches(path));
        assert_eq!(got, *want, "{pattern:?} on {path:?}");
    }
}

#[test]
fn the_last_match_wins_even_below_an_excluded_directory() {
    let table: &[(&str, &str, bool)] = &[
        ("a\n!a/b", "a/b", false),
        ("a\n!a/b", "a/b/c", false),
        ("a\n!a/b", "a/c", true),
        ("!a\na", "a", true),
        ("*\n!*.md", "x.md", false),
        ("*\n!*.md", "d/x.md", true),
        ("**/x\n!**/y", "a/x/y", false),
        ("**/x\n!**/y", "a/x/z", true),
        ("*\n! README\nREADME", "README", true),
        ("\u{feff}a\r\nb\r\n", "a", true),
        ("\u{feff}a\r\nb\r\n", "b", true),
    ];
    for (file, path, want) in table {
        assert_eq!(
            DockerIgnore::parse(file).unwrap().matches(path),
            *want,
            "{file:?} on {path}"
        );
    }
}

#[test]
fn a_walk_prunes_what_nothing_brings_back() {
    use Verdict::{Descend, Exclude, Include};
    let table: &[(&str, &str, bool, Verdict)] = &[
        ("a", "a", true, Exclude),
        ("a", "b", true, Include),
        ("a\n!a/b", "a", true, Descend),
        ("a\n!a/b", "a", false, Exclude),
        ("a\n!a/b", "a/c", true, Exclude),
        ("!a/b\na", "a", true, Exclude),
        ("*\n!*.md", "d", true, Exclude),
        ("*\n!**/*.md", "d", true, Descend),
        ("*\n!src", "d", true, Exclude),
        ("*\n!src", "src", true, Include),
        ("*\n!src/main/java", "src", true, Descend),
        ("*\n!src/main/java", "srcs", true, Exclude),
        ("node_modules\n!other", "node_modules", true, Exclude),
    ];
    for (file, path, is_dir, want) in table {
        let matcher = DockerIgnore::parse(file).unwrap();
        assert_eq!(matcher.verdict(path, *is_dir), *want, "{file:?} on {path}");
    }
}

#[test]
fn broken_lines_are_errors() {
    let table: &[(&str, &str, &str)] = &[
        ("a\n[", "[", "syntax error in pattern \"[\""),
        ("\u{feff} !\n", "!", "illegal exclusion pattern: \"!\""),
        (
            "# ! [\r\n\r\n  !  \r\n",
            "!",
            "illegal exclusion pattern: \"!\"",
        ),
        ("[a-]", "[a-]", "syntax error in pattern \"[a-]\""),
        (
            "a\n\n !  []a]\nb",
            "!  []a]",
            "syntax error in pattern \"!  []a]\"",
        ),
        ("a\\", "a\\", "syntax error in pattern \"a\\\\\""),
    ];
    for (file, place, want) in table {
        let error = DockerIgnore::parse(file).unwrap_err();
        assert_eq!(error.to_string(), *want, "{file:?}");
        let span = error.span(file);
        assert_eq!(&file[span.range()], *place, "{file:?}");
        assert_eq!(span.start, file.rfind(place).unwrap(), "{file:?}");
    }
}

#[test]
fn the_reason_names_line_and_pattern() {
    let matcher = DockerIgnore::parse("# comment\n\n*.o\n!keep.o\n").unwrap();
    assert_eq!(
        matcher.reason("a.o"),
        Some(Decision {
            line: 3,
            pattern: "*.o"
        })
    );
    assert_eq!(matcher.reason("keep.o"), None);
    assert_eq!(matcher.reason("a.c"), None);
}

#[test]
fn hostile_patterns_stay_linear() {
    for pattern in ["**/*a".repeat(2000), "*a".repeat(8000), "*".repeat(20_000)] {
        let matcher = DockerIgnore::parse(&format!("{pattern}c")).unwrap();
        assert!(!matcher.matches(&"ab/".repeat(1300)));
    }
}

#[test]
fn stars_in_a_row_mean_what_moby_means() {
    for (pattern, path, want) in [
        ("****foo", "afoo", false),
        ("****foo", "a/b/foo", true),
        ("**foo", "afoo", true),
        ("***/foo", "a/b/foo", true),
        ("a***", "a/b", true),
    ] {
        let matcher = DockerIgnore::parse(pattern).unwrap();
        assert_eq!(matcher.matches(path), want, "{pattern:?} on {path:?}");
    }
}
