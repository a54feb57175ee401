use super::*;

fn env() -> Environment {
    let mut env = Environment::default();
    for (name, value) in [
        ("b", "bee"),
        ("empty", ""),
        ("path", "/a/b/c.tar.gz"),
        ("x", "foo"),
        ("star", "a*b*c"),
        ("lines", "ab\ncd"),
    ] {
        env.set(name, value);
    }
    env
}

#[test]
fn words_expand_as_docker_expands_them() {
    let table: &[(&str, &str)] = &[
        ("plain", "plain"),
        ("$b", "bee"),
        ("${b}", "bee"),
        ("a${b}c", "abeec"),
        ("$bc", ""),
        ("'$b'", "$b"),
        ("\"$b\"", "bee"),
        ("\"a\\tb\"", "a\\tb"),
        ("a\\tb", "atb"),
        ("\\$b", "$b"),
        ("\"\\$b\"", "$b"),
        ("\"\\\\\"", "\\"),
        ("$", "$"),
        ("a$", "a$"),
        ("$$", ""),
        ("$1", ""),
        ("$@", ""),
        ("$.", "$."),
        ("${none:-w}", "w"),
        ("${none-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${b:-w}", "bee"),
        ("${b:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${none+w}", ""),
        ("${none:-$b}", "bee"),
        ("${none:-${b:+${x}}}", "foo"),
        ("${none:-'a b'}", "a b"),
        ("${b:?no}", "bee"),
        ("${empty?no}", ""),
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path#x}", "/a/b/c.tar.gz"),
        ("${x#?}", "oo"),
        ("${x%?}", "fo"),
        ("${star#a\\*}", "b*c"),
        ("${star%\\*?}", "a*b"),
        ("${x/o/0}", "f0o"),
        ("${x//o/0}", "f00"),
        ("${x/o/}", "fo"),
        ("${x/#foo/Q}", "foo"),
        ("${x/*/Q}", "Q"),
        ("${path//\\//_}", "_a_b_c.tar.gz"),
        ("${none/a/b}", ""),
        ("${lines%%b*}", "ab\ncd"),
    ];
    for (word, want) in table {
        let got = Lexer::new('\\')
            .expand(word, &env())
            .map(|value| value.word);
        assert_eq!(got.as_deref(), Ok(*want), "{word}");
    }
}

#[test]
fn words_that_cannot_expand_say_why() {
    let table: &[(&str, &str, &str)] = &[
        (
            "a'b",
            "unexpected end of statement while looking for matching single-quote",
            "'b",
        ),
        (
            "\"b",
            "unexpected end of statement while looking for matching double-quote",
            "\"b",
        ),
        ("a${b", "syntax error: missing '}'", "${b"),
        ("${", "syntax error: missing '}'", "${"),
        ("a ${b\nc }", "syntax error: missing '}'", "${b"),
        ("${}", "syntax error: bad substitution", "${}"),
        ("${{b}", "syntax error: bad substitution", "${{b}"),
        ("${:b}", "syntax error: bad substitution", "${:b}"),
        (
            "${b^^}",
            "unsupported modifier (^) in substitution",
            "${b^^}",
        ),
        (
            "${b:=v}",
            "unsupported modifier (:=) in substitution",
            "${b:=v}",
        ),
        ("${x//o}", "syntax error: missing '/' in ${}", "${x//o}"),
        ("${x/o/0", "syntax error: missing '}'", "${x/o/0"),
        ("${none:?msg}", "none: msg", "${none:?msg}"),
        ("${none?}", "none: is not allowed to be unset", "${none?}"),
        (
            "${empty:?}",
            "empty: is not allowed to be empty",
            "${empty:?}",
        ),
        (
            "${x#\\y}",
            "invalid pattern (\\y) in substitution: invalid escape '\\y'",
            "${x#\\y}",
        ),
    ];
    for (word, want, marked) in table {
        let error = Lexer::new('\\').expand(word, &env()).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), &word[error.range.clone()]),
            (*want, *marked),
            "{word}"
        );
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let word = "${a:-".repeat(100_000);
    let error = Lexer::new('\\').expand(&word, &env()).unwrap_err();
    assert_eq!(error.kind, WordErrorKind::TooDeep);
}

#[test]
fn a_long_pattern_on_a_long_value_is_an_error_and_no_wait() {
    let mut env = env();
    env.set("long", "a".repeat(1 << 17));
    let lexer = Lexer::new('\\');
    for word in [
        "${long##*${long}b}",
        "${long%%$long$long}",
        "${long//*$long/x}",
    ] {
        let error = lexer.expand(word, &env).unwrap_err();
        assert_eq!(
            (error.kind, &word[error.range]),
            (WordErrorKind::TooCostly, word)
        );
    }
    let within = format!("${{long##*{}}}", "a".repeat(180));
    for word in ["${long##*a}", &within] {
        assert_eq!(lexer.expand(word, &env).unwrap().word, "");
    }
}

#[test]
fn words_split_at_blanks_outside_quotes() {
    let mut env = env();
    env.set("two", "80 90");
    let table: &[(&str, &[&str])] = &[
        ("a b", &["a", "b"]),
        ("'a b' c", &["a b", "c"]),
        ("$two/tcp", &["80", "90/tcp"]),
        ("a\\ b", &["a b"]),
        ("", &[]),
        ("cat << EOF > /x", &["cat", "<< EOF", ">", "/x"]),
        ("<<-EOF", &["<<-EOF"]),
    ];
    for (word, want) in table {
        assert_eq!(
            Lexer::new('\\').expand(word, &env).unwrap().words,
            *want,
            "{word}"
        );
    }
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    let got = Lexer::new('`').expand("C:\\dir`$b`a", &env()).unwrap();
    assert_eq!(got.word, "C:\\dir$ba");
}

#[test]
fn display_text_keeps_quotes_and_unset_variables() {
    let lexer = Lexer::new('\\').keep_quotes().keep_unset();
    let got = lexer
        .expand("echo \"$b\" '$b' $none ${none:-a}", &env())
        .unwrap();
    assert_eq!(got.word, "echo \"bee\" '$b' $none ${none:-a}");
}

#[test]
fn heredoc_bodies_expand_without_quoting() {
    let got = Lexer::new('\\')
        .ignore_quotes()
        .expand("\"$b\" '\\$b' \\\\ \\a", &env())
        .unwrap();
    assert_eq!(got.word, "\"bee\" '$b' \\ a");
}

#[test]
fn a_variable_set_again_moves_to_the_end() {
    let mut env = Environment::default();
    env.set("a", "1");
    env.set("b", "2");
    env.set("a", "3");
    let want = [("b", "2"), ("a", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(env.to_vec(), want);
}

#[test]
fn variables_cannot_take_all_memory() {
    let lexer = Lexer::new('\\');
    let mut env = Environment::default();
    env.set("A", "x".repeat(3000));
    env.set("B", "y".repeat(1 << 18));
    assert_eq!(lexer.expand("$B$B$B", &env).unwrap().word.len(), 3 << 18);
    for word in ["${B}".repeat(9), format!("${{A//x/{}}}", "z".repeat(3000))] {
        let error = lexer.expand(&word, &env).unwrap_err();
        assert_eq!(error.kind, WordErrorKind::TooLong);
    }
}
