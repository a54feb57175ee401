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
            &[
                "invalid-source@bad: unexpected query \"bad\" in a git address (known are ref, tag, branch, commit, checksum, subdir, submodules, keep-git-dir, mtime, fetch-by-commit)",
            ],
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

const COPIES: &[(&str, &str)] = &[
    (
        "COPY file1.txt file2.txt /usr/src/things/",
        "file copy 1:/file1.txt /file2.txt -> /usr/src/things/",
    ),
    (
        "COPY ../something /something",
        "file copy 1:/something -> /something",
    ),
    (
        "COPY something/ /something",
        "file copy 1:/something -> /something",
    ),
    (
        "COPY /something /something",
        "file copy 1:/something -> /something",
    ),
    ("COPY *.png /dest/", "file copy 1:/*.png? -> /dest/"),
    ("COPY index.?s /dest/", "file copy 1:/index.?s? -> /dest/"),
    (
        "COPY arr[[]0].txt /dest/",
        "file copy 1:/arr[[]0].txt? -> /dest/",
    ),
    (
        "COPY [\"arr[[]0] x.txt\", \"/d/\"]",
        "file copy 1:/arr[[]0] x.txt? -> /d/",
    ),
    ("COPY test.txt /abs", "file copy 1:/test.txt -> /abs"),
    ("COPY test.txt /abs/", "file copy 1:/test.txt -> /abs/"),
    ("COPY test.txt rel/", "file copy 1:/test.txt -> /w/rel/"),
    (
        "COPY --chmod=755 app.sh /app/",
        "file copy 1:/app.sh -> /app/ chmod=755",
    ),
    (
        "ARG MODE=440\nCOPY --chmod=$MODE . .",
        "file copy 1:/ -> /w/ chmod=440",
    ),
    (
        "COPY --chmod=+x script.sh /app/",
        "file copy 1:/script.sh -> /app/ chmod=+x",
    ),
    (
        "COPY --chmod=u=rwX,go=rX . /app/",
        "file copy 1:/ -> /app/ chmod=u=rwX,go=rX",
    ),
    (
        "COPY --chmod=g=u config/ /config/",
        "file copy 1:/config -> /config/ chmod=g=u",
    ),
    (
        "COPY --chown=55:mygroup files* /somedir/",
        "file copy 1:/files*? -> /somedir/ chown=55:mygroup",
    ),
    (
        "COPY --chown=bin files* /somedir/",
        "file copy 1:/files*? -> /somedir/ chown=bin",
    ),
    (
        "COPY --chown=1 files* /somedir/",
        "file copy 1:/files*? -> /somedir/ chown=1",
    ),
    (
        "COPY --chown=10:11 files* /somedir/",
        "file copy 1:/files*? -> /somedir/ chown=10:11",
    ),
    (
        "COPY --chown=myuser:mygroup --chmod=644 files* /somedir/",
        "file copy 1:/files*? -> /somedir/ chown=myuser:mygroup chmod=644",
    ),
    ("COPY --link=false a b", "file copy 1:/a -> /w/b"),
    (
        "COPY ./x/a.txt ./y/a.txt /no_parents/",
        "file copy 1:/x/a.txt /y/a.txt -> /no_parents/",
    ),
    (
        "COPY --parents ./x/a.txt ./y/a.txt /parents/",
        "file copy 1:///x/a.txt ///y/a.txt -> /parents/",
    ),
    (
        "COPY --parents=false ./x/a.txt /p/",
        "file copy 1:/x/a.txt -> /p/",
    ),
    (
        "COPY --parents ./x/./y/*.txt /parents/",
        "file copy 1:/x//y/*.txt? -> /parents/",
    ),
    (
        "COPY --parents ./src/**/*.txt /parents/",
        "file copy 1:///src/**/*.txt? -> /parents/",
    ),
    (
        "COPY --exclude=*.txt --exclude=*.md hom* /mydir/",
        "file copy 1:/hom*? -> /mydir/ exclude=*.txt,*.md",
    ),
    (
        "COPY --from=img /etc/nginx/nginx.conf /nginx.conf",
        "file copy 1:/etc/nginx/nginx.conf -> /nginx.conf",
    ),
    // A source below --from is looked for from the root, wherever WORKDIR is.
    (
        "COPY --from=img nginx.conf .",
        "file copy 1:/nginx.conf -> /w/",
    ),
    ("ENV FOO=/bar\nADD . $FOO", "file copy 1:/ -> /bar unpack"),
    (
        "ENV FOO=/bar\nCOPY \\$FOO /quux",
        "file copy 1:/$FOO -> /quux",
    ),
    ("COPY '$v' /quux", "file copy 1:/$v -> /quux"),
    // What is not quite JSON is words.
    ("COPY [\"a\", 'b']  /c", "file copy 1:/[a,? /b] -> /c"),
];

#[test]
fn the_reference_s_copies() {
    for (fragment, want) in COPIES {
        assert_eq!(file(fragment), *want, "{fragment}");
    }
}

const ADDITIONS: &[(&str, &[&str])] = &[
    (
        "ADD https://example.com/archive.zip /usr/src/things/",
        &[
            "https://example.com/archive.zip archive.zip ",
            "file copy 1:/archive.zip -> /usr/src/things/",
        ],
    ),
    (
        "ADD http://example.com/foobar /",
        &[
            "http://example.com/foobar foobar ",
            "file copy 1:/foobar -> /",
        ],
    ),
    (
        "ADD http://example.com/foo /bar",
        &["http://example.com/foo foo ", "file copy 1:/foo -> /bar"],
    ),
    (
        "ADD --unpack=true https://example.com/archive.tar.gz /download",
        &[
            "https://example.com/archive.tar.gz archive.tar.gz ",
            "file copy 1:/archive.tar.gz -> /download unpack",
        ],
    ),
    (
        "ADD --unpack=false my-archive.tar.gz .",
        &["file copy 1:/my-archive.tar.gz -> /"],
    ),
    (
        "ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://h/linux-0.01.tar.gz /",
        &[
            "https://h/linux-0.01.tar.gz linux-0.01.tar.gz sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d",
            "file copy 1:/linux-0.01.tar.gz -> /",
        ],
    ),
    (
        "ARG V=1\nADD https://h/$V/f${V}.tgz?v=$V /",
        &["https://h/1/f1.tgz?v=1 f1.tgz ", "file copy 1:/f1.tgz -> /"],
    ),
    (
        "ADD [\"https://h/a b\", \"/c d/\"]",
        &["https://h/a b a b ", "file copy 1:/a b -> /c d/"],
    ),
    (
        "ADD --chmod=755 --chown=1 HTTPS://h/a /b",
        &["file copy 1:/HTTPS:/h/a -> /b chown=1 chmod=755 unpack"],
    ),
    (
        "ADD git@github.com:user/repo.git /usr/src/things/",
        &[
            "git@github.com:user/repo.git None None None None",
            "file copy 1:/ -> /usr/src/things/",
        ],
    ),
    (
        "ADD git@github.com:moby/buildkit.git#v0.14.1:docs /buildkit-docs",
        &[
            "git@github.com:moby/buildkit.git Some(\"v0.14.1\") Some(\"docs\") None None",
            "file copy 1:/ -> /buildkit-docs",
        ],
    ),
    (
        "ADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1 /buildkit",
        &[
            "https://github.com/moby/buildkit.git Some(\"v0.10.1\") None None Some(true)",
            "file copy 1:/ -> /buildkit",
        ],
    ),
    (
        "ADD --checksum=be1f38e https://github.com/moby/buildkit.git#v0.26.2 /",
        &[
            "https://github.com/moby/buildkit.git Some(\"v0.26.2\") None Some(\"be1f38e\") None",
            "file copy 1:/ -> /",
        ],
    ),
];

#[test]
fn the_reference_s_additions() {
    let sources = |fragment: &str| {
        let lowered = below_base(fragment);
        let shown = lowered.graph.iter().filter_map(|(_, vertex)| {
            Some(match &vertex.op {
                BuildOp::Source(SourceOp::Http(http)) => {
                    let checksum = http.checksum.as_ref().map(ToString::to_string);
                    format!(
                        "{} {} {}",
                        http.url,
                        http.filename,
                        checksum.unwrap_or_default()
                    )
                }
                BuildOp::Source(SourceOp::Git(git)) => format!(
                    "{} {:?} {:?} {:?} {:?}",
                    git.remote, git.reference, git.subdir, git.checksum, git.keep_git_dir
                ),
                BuildOp::File(file) => show_file(file),
                _ => return None,
            })
        });
        shown.collect::<Vec<_>>()
    };
    for (fragment, want) in ADDITIONS {
        assert_eq!(sources(fragment), *want, "{fragment}");
    }
}
