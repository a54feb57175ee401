use cooper_frontend::describe::{outline, targets};
use cooper_frontend::plan::Plan;
use cooper_frontend::settings::BuildSettings;
use cooper_frontend::{lint, parse};

use super::*;

const FILE: &str = "\
# GO_VERSION sets the Go version
ARG GO_VERSION=1.22

# base is the base stage
FROM golang:${GO_VERSION} as base
# DOCS_URL sets the base URL
ARG DOCS_URL
RUN --mount=type=secret,id=token,required --mount=type=ssh --mount=type=cache,target=/c \\
    make

FROM base AS release
CMD run \\
  it
";

fn parts() -> (SourceFile, Plan) {
    let file = SourceFile::new("Dockerfile", FILE);
    let dockerfile = parse(&file).expect("a Dockerfile");
    let platform = "linux/amd64".parse().expect("a platform");
    let plan = Plan::new(&dockerfile, &BuildSettings::new(platform)).expect("a plan");
    (file, plan)
}

fn place(first: usize, last: usize) -> Value {
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}

fn checked() -> Checked {
    let (file, plan) = parts();
    let (config, notes) = lint::Config::of(&file, &plan).expect("no options");
    let images = cooper_frontend::image::ResolvedImages::new();
    let warnings = lint::check(&lint::Inputs::new(&file, &plan, &images), &config);
    Checked {
        file,
        warnings,
        notes,
    }
}

#[test]
fn checks_are_told_as_docker_tells_them() {
    insta::assert_snapshot!(check_text(&checked()), @r"
    Check complete, 2 warnings have been found!

    WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
    'as' and 'FROM' keywords' casing do not match
    Dockerfile:5
    --------------------
       3 |
       4 |     # base is the base stage
       5 | >>> FROM golang:${GO_VERSION} as base
       6 |     # DOCS_URL sets the base URL
       7 |     ARG DOCS_URL
    --------------------

    WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
    JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
    Dockerfile:12
    --------------------
      10 |
      11 |     FROM base AS release
      12 | >>> CMD run \
      13 | >>>   it
    --------------------
    ");
    let none = Checked {
        warnings: Vec::new(),
        ..checked()
    };
    assert_eq!(check_text(&none), "Check complete, no warnings found.\n");
}

#[test]
fn checks_have_docker_s_json() {
    let mut found = Inspection {
        checked: Some(checked()),
        error: None,
    };
    let value = check_json(&found);
    assert_eq!(value["sources"][0]["filename"], "Dockerfile");
    assert_eq!(value["sources"][0]["data"], data(&checked().file));
    assert_eq!(
        value["warnings"],
        json!([
            {
                "ruleName": "FromAsCasing",
                "description": "`AS` is written in the same case as its `FROM`",
                "url": "https://docs.docker.com/go/dockerfile/rule/from-as-casing/",
                "detail": "'as' and 'FROM' keywords' casing do not match",
                "location": place(5, 5),
            },
            {
                "ruleName": "JSONArgsRecommended",
                "description": "`CMD` and `ENTRYPOINT` are JSON arrays",
                "url": "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
                "detail": "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
                "location": place(12, 13),
            },
        ])
    );
    found.error = Some(BuildError::Interrupted);
    assert_eq!(check_json(&found)["buildError"]["message"], "interrupted");
}

#[test]
fn an_outline_is_text_or_json() {
    let (file, plan) = parts();
    let outline = outline(&plan).expect("an outline");
    insta::assert_snapshot!(outline_text(&outline), @r"
    TARGET:      release

    BUILD ARG    VALUE   DESCRIPTION
    GO_VERSION   1.22    sets the Go version
    DOCS_URL             sets the base URL

    SECRET   REQUIRED
    token    true

    SSH       REQUIRED
    default

    CACHE MOUNT
    /c
    ");
    let mut value = outline_json(&file, &outline);
    value["sources"] = json!([]);
    assert_eq!(
        value,
        json!({
            "name": "release",
            "description": "",
            "args": [
                {
                    "name": "GO_VERSION",
                    "description": "sets the Go version",
                    "value": "1.22",
                    "location": place(2, 2),
                },
                {
                    "name": "DOCS_URL",
                    "description": "sets the base URL",
                    "value": "",
                    "location": place(7, 7),
                },
            ],
            "secrets": [{ "name": "token", "required": true, "location": place(8, 9) }],
            "ssh": [{ "name": "default", "location": place(8, 9) }],
            "cache": [{ "ID": "/c", "location": place(8, 9) }],
            "sources": [],
        })
    );
}

#[test]
fn targets_are_text_or_json() {
    let (file, _) = parts();
    let targets = targets(&parse(&file).expect("a Dockerfile"));
    insta::assert_snapshot!(targets_text(&targets), @r"
    TARGET              DESCRIPTION
    base                is the base stage
    release (default)
    ");
    let mut value = targets_json(&file, &targets);
    value["sources"] = json!([]);
    assert_eq!(
        value,
        json!({
            "targets": [
                {
                    "name": "base",
                    "description": "is the base stage",
                    "base": "golang:${GO_VERSION}",
                    "location": place(5, 5),
                },
                { "name": "release", "base": "base", "default": true, "location": place(11, 11) },
            ],
            "sources": [],
        })
    );
}

#[test]
fn methods_are_text_or_json() {
    let answer = methods();
    insta::assert_snapshot!(answer.text, @r"
    NAME                   VERSION   DESCRIPTION
    outline                1.0.0     What a build of the target takes
    lint                   1.0.0     What the build checks find
    targets                1.0.0     The stages that can be built
    subrequests.describe   1.0.0     This list
    ");
    assert_eq!(
        answer.json[1],
        json!({
            "name": "frontend.lint",
            "version": "1.0.0",
            "type": "rpc",
            "description": "What the build checks find",
        })
    );
    let listed = METHODS.map(|(name, _)| super::super::super::value::call(name));
    assert!(listed.iter().all(Result::is_ok), "each can be asked");
}
