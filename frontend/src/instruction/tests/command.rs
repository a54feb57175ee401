//! CMD, ENTRYPOINT and SHELL.

use super::assert_errors;

#[test]
fn errors_name_the_token_and_what_would_help() {
    assert_errors(&[
        (
            "SHELL /bin/sh",
            &["shell-not-json@/bin/sh: SHELL requires the arguments to be in JSON form"],
        ),
        (
            "SHELL []",
            &["missing-argument@SHELL: SHELL requires at least one argument"],
        ),
        ("CMD --x a", &["unknown-flag@--x: unknown flag: --x"]),
        (
            "ENTRYPOINT [\"a\", [1]]",
            &[
                "json-not-strings@[1]: when using JSON array syntax, arrays must be comprised of strings only",
            ],
        ),
        (
            "SHELL",
            &["missing-argument@SHELL: SHELL requires at least one argument"],
        ),
    ]);
}

#[test]
fn odd_forms_that_docker_accepts_parse() {
    assert_errors(&[
        ("CMD", &[]),
        ("ENTRYPOINT", &[]),
        ("CMD []", &[]),
        ("CMD [\"a\"] b", &[]),
        ("CMD ['a']", &[]),
        ("CMD [ -f x ] && y", &[]),
    ]);
}

#[test]
fn what_is_nearly_an_array_is_pointed_out() {
    let told = |fragment: &str| {
        let source = crate::SourceFile::new("Dockerfile", format!("FROM a\n{fragment}\n"));
        let dockerfile = crate::parse(&source).unwrap();
        let warnings = dockerfile.warnings.iter();
        let shown = warnings.map(|one| format!("{}: {one}", source.slice(one.span)));
        shown.collect::<Vec<_>>()
    };
    let array = "this looks like a JSON array but is none";
    let table: &[(&str, &str)] = &[
        (
            "run ['a']",
            "['a']: what follows RUN goes to the shell: ARRAY: its texts need double quotes",
        ),
        (
            "RUN --network=none [\"a\",]",
            "[\"a\",]: what follows RUN goes to the shell: ARRAY: it has a comma after its last element",
        ),
        (
            "CMD [\"a\"] && b",
            "[\"a\"] && b: what follows CMD goes to the shell: ARRAY: something follows its closing bracket",
        ),
        (
            "COPY [\"a\" \"b\"]",
            "[\"a\" \"b\"]: what follows COPY is read as words: ARRAY: expected `,` or `]` at column 6",
        ),
        (
            "VOLUME ['/a']",
            "['/a']: what follows VOLUME is read as words: ARRAY: its texts need double quotes",
        ),
    ];
    for (fragment, want) in table {
        assert_eq!(told(fragment), [want.replace("ARRAY", array)], "{fragment}");
    }
    for fragment in [
        "RUN [ -f a ] && b",
        "RUN [[ -f a ]]",
        "RUN [\"a\"]",
        "LABEL a=['b']",
        "COPY [a] b",
    ] {
        assert_eq!(told(fragment), [""; 0], "{fragment}");
    }
}
