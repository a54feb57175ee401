use super::*;
use crate::settings::{NamedContext, NoCache};

#[test]
fn only_what_the_target_needs_is_lowered() {
    let text = "FROM a AS one\nRUN 1\nFROM b AS two\nRUN 2\nFROM c\nCOPY --from=one /x /y\n";
    let lowered = Case::new(text).lower();
    assert_eq!(
        graph(&lowered),
        [
            "image layer-of-docker.io/library/a:latest()",
            "exec [\"/bin/sh\", \"-c\", \"1\"](0)",
            "image layer-of-docker.io/library/c:latest()",
            "file copy 1:/x -> /y(2,1)",
        ]
    );
    let two = Case::new(text)
        .with(|settings| settings.target = Some("TWO".into()))
        .lower();
    assert_eq!(
        graph(&two),
        [
            "image layer-of-docker.io/library/b:latest()",
            "exec [\"/bin/sh\", \"-c\", \"2\"](0)",
        ]
    );
}

#[test]
fn steps_are_counted_and_named_as_docker_does() {
    let lowered = Case::new(
        "FROM a AS base\nENV x=1\nRUN make $x\nFROM base\nWORKDIR /\nWORKDIR /w\nCOPY . .\n",
    )
    .lower();
    let shown: Vec<_> = lowered
        .steps
        .values()
        .map(|step| step.display.as_str())
        .collect();
    assert_eq!(
        shown,
        [
            "[base 1/2] FROM docker.io/library/a:latest",
            "[base 2/2] RUN make 1",
            "[stage-1 1/3] WORKDIR /w",
            "[stage-1 2/3] COPY . .",
        ]
    );
    let single = Case::new("FROM scratch\nCOPY a b\n").lower();
    assert_eq!(
        single.steps.values().next().unwrap().display,
        "[1/1] COPY a b"
    );
}

#[test]
fn a_scratch_image_has_a_path_and_a_root() {
    let lowered = Case::new("FROM scratch\n").lower();
    assert_eq!(lowered.target, None);
    assert_eq!(
        String::from_utf8(lowered.image.to_json()).unwrap(),
        r#"{"architecture":"amd64","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
    );
}

#[test]
fn a_base_image_keeps_its_configuration() {
    let case = Case::new("FROM a\nRUN x\n").image(|_, config| {
        config.created = Some("2020-01-01T00:00:00Z".into());
        config.config.env = vec!["A=1".into()];
        config.config.working_dir = "w/../v".into();
        config.config.user = "u".into();
        config.history.push(cooper_oci::History {
            created_by: "old".into(),
            ..Default::default()
        });
    });
    let lowered = case.lower();
    assert_eq!(lowered.image.created, None);
    assert_eq!(lowered.image.history.len(), 1);
    assert_eq!(lowered.image.config.working_dir, "/v");
    assert_eq!(
        lowered.image.config.env,
        [
            "A=1",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
    let exec = exec(&lowered);
    assert_eq!((exec.cwd.as_str(), exec.user.as_str()), ("/v", "u"));
}

#[test]
fn a_stage_on_a_stage_inherits_layers_history_and_arguments() {
    let lowered = Case::new("FROM a AS one\nARG x=1\nRUN first\nFROM one\nRUN echo $x\n").lower();
    assert_eq!(
        history(&lowered),
        [
            "ARG x=1",
            "RUN |1 x=1 /bin/sh -c first # buildkit",
            "RUN |1 x=1 /bin/sh -c echo $x # buildkit",
        ]
    );
}

#[test]
fn equal_vertices_are_one() {
    let lowered = Case::new(
        "FROM a AS x\nRUN same\nFROM a AS y\nRUN same\nFROM scratch\nCOPY --from=x /1 /\nCOPY --from=y /2 /\n",
    )
    .lower();
    assert_eq!(
        graph(&lowered),
        [
            "image layer-of-docker.io/library/a:latest()",
            "exec [\"/bin/sh\", \"-c\", \"same\"](0)",
            "file bare copy 0:/1 -> /(1)",
            "file copy 1:/2 -> /(2,1)",
        ]
    );
}

#[test]
fn stage_names_follow_dockers_rules() {
    let table: &[(&str, &[&str])] = &[
        ("FROM a AS Base\nFROM base", &[]),
        (
            "FROM a AS Base\nFROM BASE",
            &[
                "invalid-reference@BASE: failed to parse stage name \"BASE\": invalid reference format: repository name (BASE) must be lowercase (did you mean `base`?)",
            ],
        ),
        ("FROM a AS Base\nFROM b\nCOPY --from=BASE x y", &[]),
        ("FROM a AS x\nFROM b\nCOPY --from=0 x y", &[]),
        (
            "FROM a AS x\nFROM b\nCOPY --from=7 x y",
            &["invalid-stage-index@7: invalid stage index 7 (stages are numbered 0 to 1)"],
        ),
        ("FROM a\nCOPY --from=1 x y\nFROM b", &[]),
        (
            "FROM a AS x\nCOPY --from=x a b",
            &["circular-dependency@x: circular dependency detected on stage: x"],
        ),
        (
            "FROM a AS x\nCOPY --from=y a b\nFROM x AS y",
            &["circular-dependency@x: circular dependency detected on stage: x"],
        ),
        (
            "FROM a AS x\nFROM b\nCOPY --from=z a b\nFROM x AS z\nFROM 1",
            &[],
        ),
        (
            "FROM $x",
            &[
                "blank-base@$x: base name ($x) should not be blank (x is not set here: give it a default with `ARG x=…` before the first FROM, or pass --build-arg x=…)",
            ],
        ),
        (
            "ARG BASE=a\nFROM $BSAE",
            &["blank-base@$BSAE: base name ($BSAE) should not be blank (did you mean `BASE`?)"],
        ),
        (
            "FROM --platform=$X a",
            &[
                "empty-platform@$X: empty platform value from expression $X (X is not set here: give it a default with `ARG X=…` before the first FROM, or pass --build-arg X=…)",
            ],
        ),
        (
            "FROM --platform=linux/amd64/v9/z a",
            &[
                "invalid-platform@linux/amd64/v9/z: failed to parse platform linux/amd64/v9/z: invalid platform \"linux/amd64/v9/z\": expected OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7",
            ],
        ),
        ("ARG V=1\nFROM a:$V$TAG-$W", &[]),
        (
            "FROM a:$TAG",
            &[
                "invalid-reference@a:$TAG: failed to parse stage name \"a:\": invalid reference format: invalid tag \"\" (letters, digits, '_', '.' and '-', at most 128, not starting with '.' or '-') (TAG is not set here: give it a default with `ARG TAG=…` before the first FROM, or pass --build-arg TAG=…)",
            ],
        ),
        (
            "FROM a@sha256:abc",
            &[
                "invalid-reference@a@sha256:abc: failed to parse stage name \"a@sha256:abc\": invalid reference format: \"a@sha256:abc\" (a digest is sha256: and 64 hexadecimal digits)",
            ],
        ),
        (
            "FROM Debian",
            &[
                "invalid-reference@Debian: failed to parse stage name \"Debian\": invalid reference format: repository name (Debian) must be lowercase (write it in lower case: debian)",
            ],
        ),
        (
            "FROM a:",
            &[
                "invalid-reference@a:: failed to parse stage name \"a:\": invalid reference format: invalid tag \"\" (letters, digits, '_', '.' and '-', at most 128, not starting with '.' or '-') (a part of the name is empty: leave out what stands before it, or give it a value)",
            ],
        ),
        (
            "FROM a AS one\nFROM b\nRUN --mount=from=$x,target=/m y",
            &["blank-from@$x: --from ($x) is blank"],
        ),
    ];
    for (text, want) in table {
        let case = Case::new(text).with(|settings| {
            settings.target = text.contains("FROM 1").then(|| "x".to_owned());
        });
        assert_eq!(case.errors(), *want, "{text}");
    }
}

#[test]
fn copying_from_a_later_stage_is_an_error() {
    let text = "FROM a AS x\nCOPY --from=y a b\nFROM b AS y\nRUN z";
    let case = Case::new(text).with(|settings| settings.target = Some("x".into()));
    assert_eq!(
        case.errors(),
        [
            "later-stage@y: cannot copy from stage \"y\", it needs to be defined before current stage \"x\" (move y above x)"
        ]
    );
}

#[test]
fn unknown_targets_are_errors() {
    let table: &[(&str, &str, &str)] = &[
        (
            "FROM a AS build",
            "biuld",
            "unknown-target@FROM a AS build: target stage \"biuld\" could not be found (did you mean `build`?)",
        ),
        (
            "FROM a AS build",
            "0",
            "unknown-target@FROM a AS build: target stage \"0\" could not be found (stages of this file: build)",
        ),
        (
            "FROM a",
            "x",
            "unknown-target@FROM a: target stage \"x\" could not be found (no stage of this file has a name)",
        ),
    ];
    for (text, target, want) in table {
        let case = Case::new(text).with(|settings| settings.target = Some((*target).to_owned()));
        assert_eq!(case.errors(), [*want], "{target}");
    }
}

#[test]
fn the_last_stage_of_a_name_counts() {
    let case = Case::new("FROM a AS x\nRUN 1\nFROM b AS x\nRUN 2\n")
        .with(|settings| settings.target = Some("x".into()));
    assert_eq!(exec(&case.lower()).args[2], "2");
}

#[test]
fn platforms_of_stages_and_of_the_build() {
    let case =
        Case::new("FROM --platform=$BUILDPLATFORM a AS x\nRUN x\nFROM b\nCOPY --from=x /a /b\n")
            .with(|settings| {
                settings.platform = "linux/arm64".parse().unwrap();
                settings.platform_explicit = true;
            });
    let lowered = case.lower();
    let platforms: Vec<_> = lowered
        .graph
        .iter()
        .filter_map(|(_, vertex)| match &vertex.op {
            BuildOp::Source(SourceOp::Image(image)) => Some(image.unkeyed.platform.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(lowered.image.architecture, "arm64");
}

#[test]
fn named_contexts_override_images_and_stages() {
    let contexts = |settings: &mut BuildSettings| {
        settings.named_contexts = [
            ("alpine".to_owned(), NamedContext::Image),
            ("files".to_owned(), NamedContext::Local),
        ]
        .into();
    };
    let table: &[(&str, &[&str])] = &[
        (
            "FROM docker.io/library/alpine:latest\nRUN x",
            &[
                "image layer-of-alpine()",
                "exec [\"/bin/sh\", \"-c\", \"x\"](0)",
            ],
        ),
        (
            "FROM a\nCOPY --from=files /x /y",
            &[
                "image layer-of-docker.io/library/a:latest()",
                "local files [x]()",
                "file copy 1:/x -> /y(0,1)",
            ],
        ),
        (
            "FROM a AS alpine\nRUN gone\nFROM alpine\nRUN x",
            &[
                "image layer-of-alpine()",
                "exec [\"/bin/sh\", \"-c\", \"x\"](0)",
            ],
        ),
        (
            "FROM files\nRUN x",
            &[
                "local files []()",
                "file bare copy 0:/ -> /(0)",
                "exec [\"/bin/sh\", \"-c\", \"x\"](1)",
            ],
        ),
    ];
    for (text, want) in table {
        assert_eq!(
            graph(&Case::new(text).with(contexts).lower()),
            *want,
            "{text}"
        );
    }
}

#[test]
fn a_named_context_of_one_platform_goes_before_that_of_all() {
    let contexts = |settings: &mut BuildSettings| {
        settings.named_contexts = [
            ("a".to_owned(), NamedContext::Image),
            ("a::linux/amd64".to_owned(), NamedContext::Image),
            ("b::linux/arm64/v8".to_owned(), NamedContext::Image),
        ]
        .into();
    };
    for (text, want) in [
        ("FROM a", "image layer-of-a::linux/amd64()"),
        ("FROM --platform=arm64 a", "image layer-of-a()"),
        ("FROM b", "image layer-of-docker.io/library/b:latest()"),
        (
            "FROM --platform=linux/arm64 b",
            "image layer-of-b::linux/arm64/v8()",
        ),
    ] {
        assert_eq!(
            graph(&Case::new(text).with(contexts).lower()),
            [want],
            "{text}"
        );
    }
}

#[test]
fn no_cache_forces_the_steps_of_its_stages() {
    let text = "FROM a AS x\nRUN 1\nFROM b\nCOPY --from=x /a /b\n";
    let case = Case::new(text)
        .with(|settings| settings.no_cache = NoCache::Stages(["x".to_owned()].into()));
    assert_eq!(
        graph(&case.lower()),
        [
            "image layer-of-docker.io/library/a:latest()",
            "exec [\"/bin/sh\", \"-c\", \"1\"]!(0)",
            "image layer-of-docker.io/library/b:latest()",
            "file copy 1:/a -> /b(2,1)",
        ]
    );
}

#[test]
fn labels_of_the_build_come_last() {
    let lowered = Case::new("FROM scratch\nLABEL a=1 b=2\n")
        .with(|settings| settings.labels = vec![("a".into(), "3".into())])
        .lower();
    let labels: Vec<_> = lowered.image.config.labels.iter().collect();
    assert_eq!(
        labels,
        [
            (&"a".to_owned(), &"3".to_owned()),
            (&"b".to_owned(), &"2".to_owned())
        ]
    );
}

#[test]
fn the_reference_s_stages() {
    let table: &[(&str, &[&str])] = &[
        (
            "ARG  CODE_VERSION=latest\nFROM base:${CODE_VERSION}\nCMD  /code/run-app\n\nFROM extras:${CODE_VERSION}\nCMD  /code/run-extras\n",
            &["image layer-of-docker.io/library/extras:latest()"],
        ),
        (
            "ARG VERSION=latest\nFROM busybox:$VERSION\nARG VERSION\nRUN echo $VERSION > image_version\n",
            &[
                "image layer-of-docker.io/library/busybox:latest()",
                "exec [\"/bin/sh\", \"-c\", \"echo $VERSION > image_version\"](0)",
            ],
        ),
        (
            "FROM ubuntu AS base\nRUN a\nFROM base AS dev\nRUN b\nFROM base AS prod\nCOPY --from=dev /app /app\n",
            &[
                "image layer-of-docker.io/library/ubuntu:latest()",
                "exec [\"/bin/sh\", \"-c\", \"a\"](0)",
                "exec [\"/bin/sh\", \"-c\", \"b\"](1)",
                "file copy 1:/app -> /app(1,2)",
            ],
        ),
        (
            "FROM golang AS build\nWORKDIR /app\nRUN --mount=type=bind,target=. go build -o /myapp ./cmd\nFROM scratch\nCOPY --from=build /myapp /usr/bin/\n",
            &[
                "image layer-of-docker.io/library/golang:latest()",
                "file mkdir /app 755(0)",
                "local context []()",
                "exec [\"/bin/sh\", \"-c\", \"go build -o /myapp ./cmd\"] bind 1:/ on /app(1,2)",
                "file bare copy 0:/myapp -> /usr/bin/(3)",
            ],
        ),
        // The backslash at the end of a line of COPY joins it with the next.
        (
            "FROM microsoft/nanoserver\nCOPY testfile.txt c:\\\\\nRUN dir c:\\\n",
            &[
                "image layer-of-docker.io/microsoft/nanoserver:latest()",
                "local context [c:RUN dir testfile.txt]()",
                "file copy 1:/testfile.txt /c:RUN /dir -> /c:(0,1)",
            ],
        ),
        (
            "# escape=`\n\nFROM microsoft/nanoserver\nCOPY testfile.txt c:\\\nRUN dir c:\\\n",
            &[
                "image layer-of-docker.io/microsoft/nanoserver:latest()",
                "local context [testfile.txt]()",
                "file copy 1:/testfile.txt -> /c:\\(0,1)",
                "exec [\"/bin/sh\", \"-c\", \"dir c:\\\\\"](2)",
            ],
        ),
    ];
    for (text, want) in table {
        assert_eq!(graph(&Case::new(text).lower()), *want, "{text}");
    }
}
