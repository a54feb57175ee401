//! Compose files.

use serde_json::json;

use super::{Case, bare};

fn service(text: &str, name: &str) -> serde_json::Value {
    let case = Case {
        variables: &[("SET", "env"), ("TAG", "v2"), ("YES", "true")],
        ..Case::of("compose.yaml", text)
    };
    bare(case.print()["target"][name].take())
}

const SERVICES: &str = r#"
name: project
x-args: &args
  SHARED: "1"
services:
  db:
    build: ./db
    image: db:${TAG:-latest}
  web.app:
    image: ignored
    environment:
      FROM_SERVICE: service
    build:
      context: ./web
      dockerfile: web.Dockerfile
      dockerfile_inline: |
        FROM scratch
        ARG A=$${A}
      target: final
      args:
        <<: *args
        NUMBER: 5
        FROM_SERVICE:
        SET:
        DOT:
        UNSET:
        FILLED: ${MISSING:-default}
      labels:
        - a=b
        - empty
      tags:
        - r.example/web:${TAG}
      cache_from:
        - type=local,src=cache
        - user/web:cache
      cache_to: [type=inline]
      platforms: [linux/amd64, linux/arm64]
      ssh:
        - key=path
        - default
      secrets:
        - token
        - source: variable
      no_cache: ${YES}
      pull: true
      additional_contexts:
        base: service:db
        dir: ./more
        image: docker-image://alpine
      network: none
      extra_hosts:
        - "h:1.2.3.4"
        - "h=::1"
      shm_size: 128m
      ulimits:
        nproc: 65535
        nofile: { soft: 1, hard: 2 }
      provenance: mode=max
      sbom: true
      x-bake:
        tags: [extra]
        output: type=docker
        no-cache-filter: [stage]
        contexts: { more: "target:db" }
        unknown: ignored
  image-only:
    image: busybox
secrets:
  token:
    file: ./token.txt
  variable:
    environment: TOKEN
"#;

#[test]
fn services_with_a_build_are_targets() {
    assert_eq!(
        service(SERVICES, "db"),
        json!({ "context": "db", "tags": ["db:v2"] })
    );
    assert_eq!(
        service(SERVICES, "web_app"),
        json!({
            "attest": [{ "type": "sbom" }, { "mode": "max", "type": "provenance" }],
            "context": "web",
            "contexts": {
                "base": "target:db", "dir": "more", "image": "docker-image://alpine", "more": "target:db",
            },
            "dockerfile": "web.Dockerfile",
            "dockerfile-inline": "FROM scratch\nARG A=$${A}\n",
            "args": {
                "DOT": "from .env", "FILLED": "default", "FROM_SERVICE": "service", "NUMBER": "5",
                "SET": "env", "SHARED": "1",
            },
            "labels": { "a": "b", "empty": "" },
            "tags": ["r.example/web:v2", "extra"],
            "cache-from": [
                { "src": "cache", "type": "local" },
                { "ref": "user/web:cache", "type": "registry" },
            ],
            "cache-to": [{ "type": "inline" }],
            "target": "final",
            "secret": [{ "id": "token", "src": "token.txt" }, { "id": "variable", "env": "TOKEN" }],
            "ssh": [{ "id": "default" }, { "id": "key", "paths": ["path"] }],
            "platforms": ["linux/amd64", "linux/arm64"],
            "output": [{ "type": "docker" }],
            "pull": true,
            "no-cache": true,
            "network": "none",
            "no-cache-filter": ["stage"],
            "shm-size": "128MiB",
            "ulimits": ["nproc=65535:65535", "nofile=1:2"],
            "extra-hosts": { "h": "1.2.3.4,::1" },
        })
    );
}

#[test]
fn later_files_and_bake_files_have_the_last_word() {
    let files = [
        (
            "compose.yml",
            "services:\n  a:\n    build:\n      context: a\n      args: {K: one, L: one}\n      tags: [x]\n  \
             b:\n    extends: a\n    build: {target: t}\n",
        ),
        (
            "compose.override.yml",
            "services:\n  a:\n    build:\n      args: {K: two}\n      tags: [y]\n",
        ),
        (
            "docker-bake.hcl",
            "target \"a\" {\n  args = { M = \"hcl\" }\n}\n",
        ),
    ];
    let printed = Case {
        files: files.to_vec(),
        ..Case::default()
    }
    .print();
    assert_eq!(printed["group"]["default"]["targets"], json!(["a", "b"]));
    assert_eq!(
        printed["target"]["a"],
        json!({
            "context": "a", "dockerfile": "Dockerfile",
            "args": { "K": "two", "L": "one", "M": "hcl" }, "tags": ["x", "y"],
        })
    );
    assert_eq!(
        printed["target"]["b"],
        json!({
            "context": "a", "dockerfile": "Dockerfile",
            "args": { "K": "one", "L": "one" }, "tags": ["x"], "target": "t",
        })
    );
}

#[test]
fn tags_reset_and_override_what_earlier_files_say() {
    let base = "services:\n  a:\n    image: old\n    build:\n      context: a\n      target: t\n      \
                args: {K: one, L: one}\n      tags: [x]\n  b:\n    build: b\n";
    for (later, a) in [
        (
            "a: {build: {args: {K: !reset null}, tags: !override [y]}}",
            json!({ "context": "a", "target": "t", "args": { "L": "one" }, "tags": ["y"] }),
        ),
        (
            "a: {build: {args: !override {M: two}, target: !reset null, tags: !reset []}}",
            json!({ "context": "a", "args": { "M": "two" }, "tags": ["old"] }),
        ),
        (
            "a: {image: !reset null, build: !override {context: c}}",
            json!({ "context": "c" }),
        ),
        ("a: {build: !reset null}", json!(null)),
    ] {
        let later = format!("services:\n  {later}\n");
        let case = Case {
            files: vec![("compose.yml", base), ("compose.override.yml", &later)],
            ..Case::default()
        };
        assert_eq!(bare(case.print()["target"]["a"].take()), a, "{later}");
    }
}

#[test]
fn faults_of_compose_files_have_places() {
    let report = |text: &str| {
        let case = Case::of("compose.yaml", text);
        let faults = case.read().expect_err("it has faults");
        let report = crate::report::Report::new("");
        let report = faults
            .iter()
            .fold(report, |report, fault| report.excerpt(fault.excerpt()));
        report.render(false)
    };
    let several = "services:\n  a:\n    build:\n      context: .\n      no_cache: perhaps\n  \
                   b:\n    build:\n      secrets: [nope]\n";
    let cases = [
        several,
        "services:\n  a:\n    build:\n      contxt: .\n",
        "services:\n  é: {build: \"${X:?say X}\"}\n",
        "services:\n  a: [\n",
        "services:\n  a: {extends: b}\n",
        "services:\n  a: &a {build: *a}\n",
        "services:\n  a: {build: .}\n  a: {build: .}\n",
        "include: [other.yaml]\nservices: {}\n",
        "name: nothing\n",
    ];
    let all: Vec<_> = cases.iter().map(|text| report(text)).collect();
    insta::assert_snapshot!("faults-of-compose", all.join(""));
}
