use super::*;

/// Shows the file vertex of a COPY or ADD below `FROM base`, `WORKDIR /w`.
fn file(fragment: &str) -> String {
    let lowered = below_base(&format!("WORKDIR /w\nENV v=val\n{fragment}"));
    let target = lowered.target.unwrap();
    let shown = graph(&lowered)[target.index()].clone();
    shown[..shown.rfind('(').unwrap()].to_owned()
}

#[test]
fn sources_and_destinations_are_made_absolute() {
    let table: &[(&str, &str)] = &[
        ("COPY a /b", "file copy 1:/a -> /b"),
        ("COPY a b c/", "file copy 1:/a /b -> /w/c/"),
        ("COPY a .", "file copy 1:/a -> /w/"),
        ("COPY a ./", "file copy 1:/a -> /w/"),
        ("COPY a ..", "file copy 1:/a -> /"),
        ("COPY a /x/../y/.", "file copy 1:/a -> /y/"),
        ("COPY ../../a.txt /b", "file copy 1:/a.txt -> /b"),
        ("COPY a.txt/ /1", "file copy 1:/a.txt -> /1"),
        ("COPY . /", "file copy 1:/ -> /"),
        ("COPY [\"a b\", \"/c d\"]", "file copy 1:/a b -> /c d"),
        ("COPY a\\ b /c", "file copy 1:/a /b -> /c"),
        ("COPY $v ${v}/", "file copy 1:/val -> /w/val/"),
        ("COPY *.txt /1/", "file copy 1:/*.txt? -> /1/"),
        (
            "COPY --chown=1:2 --chmod=0755 a b",
            "file copy 1:/a -> /w/b chown=1:2 chmod=0755",
        ),
        ("COPY --chown=$v a b", "file copy 1:/a -> /w/b chown=val"),
        (
            "COPY --exclude=*.o --exclude=$v a b",
            "file copy 1:/a -> /w/b exclude=*.o,val",
        ),
        ("COPY --parents a/b/c /x/", "file copy 1:///a/b/c -> /x/"),
        (
            "COPY --parents a/./b/**/*.c /x/",
            "file copy 1:/a//b/**/*.c? -> /x/",
        ),
        ("ADD a.tar /x", "file copy 1:/a.tar -> /x unpack"),
        ("ADD --unpack=false a.tar /x", "file copy 1:/a.tar -> /x"),
        (
            "COPY <<f /x\na $v \"b\"\nf",
            "file inline f=\"a val \\\"b\\\"\\n\" -> /x",
        ),
        (
            "COPY <<'f' /x\na $v \\\\\nf",
            "file inline f=\"a $v \\\\\\\\\\n\" -> /x",
        ),
        (
            "COPY <<f /x\n\\\\ \\a\nf",
            "file inline f=\"\\\\ a\\n\" -> /x",
        ),
        (
            "COPY <<f /x\r\na\r\nf\r\n",
            "file inline f=\"a\\r\\n\" -> /x",
        ),
        (
            "COPY --chmod=700 <<-a <<b c /x/\n\t1\na\n2\nb",
            "file copy 1:/c -> /x/ chmod=700; inline a=\"1\\n\" -> /x/ chmod=700; inline b=\"2\\n\" -> /x/ chmod=700",
        ),
        ("ADD http://h/p/f.tgz?q /x/", "file copy 1:/f.tgz -> /x/"),
        (
            "ADD --unpack http://h/f.tgz /x/",
            "file copy 1:/f.tgz -> /x/ unpack",
        ),
        (
            "ADD a http://h/f b /x/",
            "file copy 1:/a -> /x/ unpack; copy 2:/f -> /x/; copy 1:/b -> /x/ unpack",
        ),
        ("ADD https://h/r.git#v1:sub /x/", "file copy 1:/ -> /x/"),
    ];
    for (fragment, want) in table {
        assert_eq!(file(fragment), *want, "{fragment}");
    }
}

#[test]
fn history_lines_are_dockers() {
    let table: &[(&str, &str)] = &[
        ("COPY a  b", "COPY a b # buildkit"),
        ("COPY --link a b", "COPY a b # buildkit"),
        (
            "COPY --parents --chmod=700 --chown=1 a $v/",
            "COPY --parents --chown=1 --chmod=700 a val/ # buildkit",
        ),
        ("COPY --from=x a b", "COPY a b # buildkit"),
        ("ADD a b /c", "ADD a b /c # buildkit"),
        ("COPY a <<f /x\nf", "COPY a <<f /x # buildkit"),
    ];
    for (fragment, want) in table {
        let lowered = below_base(&format!("ENV v=val\n{fragment}"));
        assert_eq!(
            lowered.history.last().unwrap().created_by,
            *want,
            "{fragment}"
        );
    }
}

#[test]
fn a_context_is_one_vertex_with_all_paths_that_are_read() {
    let table: &[(&str, &str)] = &[
        (
            "COPY a /\nCOPY b/c /\nADD *.txt /",
            "local context [*.txt a b/c]()",
        ),
        (
            "COPY a /\nCOPY a/b /\nCOPY a.b /",
            "local context [a a.b]()",
        ),
        ("COPY a /\nCOPY . /", "local context []()"),
        ("COPY a /\nRUN --mount=target=/m x", "local context []()"),
        ("COPY --parents x/**/y ./p/q /", "local context [p/q x]()"),
        ("COPY --parents a/./b /", "local context [a/b]()"),
        ("COPY --parents **/y /", "local context []()"),
    ];
    for (fragment, want) in table {
        let lowered = below_base(fragment);
        let locals: Vec<_> = graph(&lowered)
            .into_iter()
            .filter(|line| line.starts_with("local"))
            .collect();
        assert_eq!(locals, [*want], "{fragment}");
    }
}

#[test]
fn link_stacks_a_layer_of_its_own() {
    let lowered = below_base("COPY --link --chown=1 a b");
    assert_eq!(
        graph(&lowered),
        [
            "image layer-of-docker.io/library/base:latest()",
            "local context [a]()",
            "file bare copy 0:/a -> /b chown=1(1)",
            "merge(0,2)",
        ]
    );
    assert_eq!(lowered.history.last().unwrap().layer, lowered.target);
    let shown: Vec<_> = lowered
        .steps
        .values()
        .map(|step| step.display.as_str())
        .collect();
    assert_eq!(
        shown[1..],
        [
            "[2/2] COPY --link --chown=1 a b",
            "[2/2] LINK COPY --link --chown=1 a b"
        ]
    );
    let ordinary = below_base("COPY --link --chmod=700 a b");
    assert_eq!(
        graph(&ordinary).last().unwrap(),
        "file copy 1:/a -> /b chmod=700(0,1)"
    );
    let scratch = Case::new("FROM scratch\nCOPY --link a b\n").lower();
    assert_eq!(
        graph(&scratch).last().unwrap(),
        "file bare copy 0:/a -> /b(0)"
    );
}

#[test]
fn from_reads_stages_images_and_nothing() {
    let table: &[(&str, &[&str])] = &[
        (
            "FROM scratch AS x\nFROM a\nCOPY --from=x /a /b",
            &[
                "image layer-of-docker.io/library/a:latest()",
                "scratch()",
                "file copy 1:/a -> /b(0,1)",
            ],
        ),
        (
            "FROM scratch\nCOPY --from=scratch /a /b",
            &["scratch()", "file bare copy 0:/a -> /b(0)"],
        ),
        (
            "FROM scratch\nCOPY --from=nginx:1 /a /b",
            &[
                "image layer-of-docker.io/library/nginx:1()",
                "file bare copy 0:/a -> /b(0)",
            ],
        ),
        (
            "ARG V=2\nFROM scratch\nCOPY --from=nginx:$V /a /b",
            &[
                "image layer-of-docker.io/library/nginx:2()",
                "file bare copy 0:/a -> /b(0)",
            ],
        ),
    ];
    for (text, want) in table {
        assert_eq!(graph(&Case::new(text).lower()), *want, "{text}");
    }
}

#[test]
fn copies_that_cannot_work_are_errors() {
    let table: &[(&str, &[&str])] = &[
        (
            "COPY \"a b\" /x",
            &[
                "unclosed-quote@\"a: failed to process \"\\\"a\": unexpected end of statement while looking for matching double-quote",
                "unclosed-quote@\": failed to process \"b\\\"\": unexpected end of statement while looking for matching double-quote",
            ],
        ),
        (
            "COPY --chmod=999 a b",
            &[
                "invalid-chmod@999: invalid chmod parameter: '999'. it should be octal string and between 0 and 07777",
            ],
        ),
        (
            "COPY --chmod=rwx a b",
            &["invalid-chmod@rwx: invalid chmod parameter: 'rwx' is no mode"],
        ),
        (
            "COPY --link --chown=root a b",
            &[
                "chown-by-name@root: --chown=root names a user or group, which nothing defines with --link",
            ],
        ),
        (
            "COPY --exclude=[ a b",
            &["invalid-pattern@[: syntax error in pattern \"[\""],
        ),
        (
            "COPY http://a/b c",
            &["invalid-source@http://a/b: source can't be a URL for COPY (use ADD)"],
        ),
        (
            "COPY git@h:r.git c",
            &["invalid-source@git@h:r.git: source can't be a git ref for COPY (use ADD)"],
        ),
        (
            "ADD --checksum=sha256:x a b",
            &["invalid-checksum@sha256:x: checksum requires HTTP(S) or Git sources"],
        ),
        (
            "ADD --checksum=sha256:x http://a/b http://c/d e/",
            &["invalid-checksum@sha256:x: checksum can't be specified for multiple sources"],
        ),
        (
            "ADD https://h/r.git?bad=1 c",
            &["invalid-source@https://h/r.git?bad=1: unexpected query \"bad\" in a git address"],
        ),
        (
            "COPY --chmod=999 \"a b",
            &[
                "unclosed-quote@\"a: failed to process \"\\\"a\": unexpected end of statement while looking for matching double-quote",
            ],
        ),
    ];
    for (fragment, want) in table {
        assert_eq!(errors_below_base(fragment), *want, "{fragment}");
    }
    let scratch = Case::new("FROM scratch\nCOPY --chown=a a b").errors();
    assert_eq!(scratch.len(), 1, "{scratch:?}");
}
