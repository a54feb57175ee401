//! Inheritance, several files, overrides, groups and links.

use serde_json::json;

use super::{Case, bare};
use crate::bake::{Override, ResolveError};

fn printed(text: &str, names: &[&str], sets: &[&str]) -> serde_json::Value {
    Case {
        names,
        sets,
        ..Case::of("docker-bake.hcl", text)
    }
    .print()
}

#[test]
fn a_target_inherits_in_order_and_has_the_last_word() {
    let text = r#"
        target "one" {
            args       = { A = "1", B = "1", C = "1" }
            tags       = ["one"]
            platforms  = ["linux/amd64"]
            secret     = ["id=s,src=1"]
            attest     = ["type=sbom", "type=provenance,mode=min"]
            dockerfile = "one"
            output     = ["type=docker"]
        }
        target "two" {
            inherits   = ["one"]
            args       = { B = "2", C = "2" }
            secret     = ["id=t,src=2"]
            attest     = ["type=sbom,disabled=true"]
        }
        target "other" { args = { C = "other" } }
        target "default" {
            inherits   = ["two", "other"]
            args       = { D = "own", A = null }
            tags       = []
            output     = null
        }
    "#;
    assert_eq!(
        bare(printed(text, &[], &[])["target"]["default"].take()),
        json!({
            "attest": [{ "disabled": true, "type": "sbom" }, { "mode": "min", "type": "provenance" }],
            "dockerfile": "one",
            "args": { "A": "1", "B": "2", "C": "other", "D": "own" },
            "secret": [{ "id": "s", "src": "1" }, { "id": "t", "src": "2" }],
            "platforms": ["linux/amd64"],
            "output": [{ "type": "docker" }],
        })
    );
}

#[test]
fn every_attribute_is_printed() {
    let text = r#"
        target "default" {
            annotations       = ["a=b", "a=b", ""]
            cache-from        = ["user/app:cache,user/app:other", { type = "local", src = "c" }]
            cache-to          = ["type=inline"]
            call              = "check"
            context           = "./src/../lib/"
            contexts          = { img = "docker-image://alpine", empty = "" }
            description       = "d"
            dockerfile-inline = "FROM scratch"
            entitlements      = ["security.insecure"]
            extra-hosts       = { h = "1.2.3.4", gone = null }
            labels            = { l = 1 }
            network           = "none"
            no-cache          = 1
            no-cache-filter   = ["s"]
            pull              = "false"
            shm-size          = "64m"
            ssh               = ["default", "k=a,b", { id = "o", paths = ["p"] }]
            target            = "stage"
            ulimits           = ["nofile=1:2"]
            secret            = ["type=env,id=E,src=VAR", { id = "F", src = "f" }]
        }
    "#;
    assert_eq!(
        printed(text, &[], &[])["target"]["default"],
        json!({
            "description": "d",
            "annotations": ["a=b"],
            "context": "lib",
            "contexts": { "img": "docker-image://alpine" },
            "dockerfile": "Dockerfile",
            "dockerfile-inline": "FROM scratch",
            "labels": { "l": "1" },
            "cache-from": [
                { "ref": "user/app:cache", "type": "registry" },
                { "ref": "user/app:other", "type": "registry" },
                { "src": "c", "type": "local" },
            ],
            "cache-to": [{ "type": "inline" }],
            "target": "stage",
            "secret": [{ "id": "E", "env": "VAR" }, { "id": "F", "src": "f" }],
            "ssh": [{ "id": "default" }, { "id": "k", "paths": ["a", "b"] }, { "id": "o", "paths": ["p"] }],
            "pull": false,
            "no-cache": true,
            "network": "none",
            "no-cache-filter": ["s"],
            "shm-size": "64m",
            "ulimits": ["nofile=1:2"],
            "call": "check",
            "entitlements": ["security.insecure"],
            "extra-hosts": { "h": "1.2.3.4" },
        })
    );
}

#[test]
fn overrides_replace_append_and_add() {
    let text = r#"
        group "default" { targets = ["app-a", "app-b", "db"] }
        target "app-a" { tags = ["a"] }
        target "app-b" {
            tags   = ["b"]
            output = ["type=image"]
        }
        target "db" {
            platforms = ["linux/amd64"]
            output    = ["type=local,dest=out"]
        }
    "#;
    for (sets, name, expected) in [
        (
            &["app-*.args.X=1"][..],
            "app-b",
            json!({ "args": { "X": "1" }, "tags": ["b"], "output": [{ "type": "image" }] }),
        ),
        (
            &["app-a.tags=x", "app-a.tags=y"],
            "app-a",
            json!({ "tags": ["x", "y"] }),
        ),
        (&["app-a.tags+=x"], "app-a", json!({ "tags": ["a", "x"] })),
        (
            &["*.platform=linux/arm64"],
            "db",
            json!({ "platforms": ["linux/arm64"], "output": [{ "dest": "out", "type": "local" }] }),
        ),
        (
            &["*.no-cache"],
            "app-a",
            json!({ "tags": ["a"], "no-cache": true }),
        ),
        (
            &["app-[ab].labels.a.b=c"],
            "app-a",
            json!({ "labels": { "a.b": "c" }, "tags": ["a"] }),
        ),
        (
            &["app-a.target=t", "app-a.network=none"],
            "app-a",
            json!({ "tags": ["a"], "target": "t", "network": "none" }),
        ),
        (
            &["app-?.contexts.n=dir"],
            "app-a",
            json!({ "contexts": { "n": "dir" }, "tags": ["a"] }),
        ),
        (
            &["*.push=true"],
            "app-a",
            json!({ "tags": ["a"], "output": [{ "push": "true", "type": "image" }] }),
        ),
        (
            &["*.push=true"],
            "app-b",
            json!({ "tags": ["b"], "output": [{ "push": "true", "type": "image" }] }),
        ),
        (
            &["*.push=true"],
            "db",
            json!({ "platforms": ["linux/amd64"], "output": [{ "dest": "out", "type": "local" }] }),
        ),
        (
            &["*.load=true"],
            "app-a",
            json!({ "tags": ["a"], "output": [{ "type": "docker" }] }),
        ),
        (
            &["*.load=true"],
            "app-b",
            json!({ "tags": ["b"], "output": [{ "type": "image" }, { "type": "docker" }] }),
        ),
        (
            &["app-a.attest=type=sbom", "app-a.secrets=id=s"],
            "app-a",
            json!({ "attest": [{ "type": "sbom" }], "tags": ["a"], "secret": [{ "id": "s" }] }),
        ),
    ] {
        let printed = bare(printed(text, &[], sets)["target"][name].take());
        assert_eq!(printed, expected, "{sets:?}");
    }
}

#[test]
fn wrong_overrides_are_refused() {
    for (text, expected) in [
        ("tags=x", "it names no key"),
        ("a.tgas=x", "there is no key \"tgas\""),
        ("a.args=x", "args needs a name"),
        ("a.tags", "it has no value"),
        ("a.tags.x=y", "tags has no part \"x\""),
        ("a.inherits=x", "there is no key \"inherits\""),
    ] {
        match Override::parse(text, &|_| None) {
            Err(ResolveError::Override { problem, .. }) => assert_eq!(problem, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let unset = Override::parse("a.args.UNSET", &|_| None);
    assert!(matches!(unset, Ok(None)));
    let set = Override::parse("a.args.SET", &|_| Some("v".to_owned()));
    assert!(matches!(set, Ok(Some(_))));
}

#[test]
fn files_are_merged_in_order() {
    let files = [
        (
            "docker-bake.hcl",
            "variable \"V\" { default = \"1\" }\ngroup \"default\" { targets = [\"a\"] }\n\
             target \"a\" {\n  args = { V = V, K = \"first\" }\n  tags = [\"one\"]\n}\n",
        ),
        (
            "docker-bake.override.json",
            r#"{"variable": {"V": {"default": "2"}}, "group": {"default": {"targets": ["b"]}},
                "target": {"a": {"args": {"K": "second"}, "tags": ["two"]}, "b": {"inherits": ["a"]}}}"#,
        ),
    ];
    let case = Case {
        files: files.to_vec(),
        ..Case::default()
    };
    assert_eq!(
        case.print(),
        json!({
            "group": { "default": { "targets": ["b"] } },
            "target": { "b": {
                "context": ".", "dockerfile": "Dockerfile",
                "args": { "K": "second", "V": "2" }, "tags": ["two"],
            } },
        })
    );
}

#[test]
fn groups_nest_and_names_may_have_wildcards() {
    let text = r#"
        group "g" { targets = ["inner", "a"] }
        group "inner" { targets = ["b", "g"] }
        target "a" {}
        target "b" {}
        target "app-1" {}
        target "app-2" {}
    "#;
    for (names, expected) in [
        (&["g"][..], &["a", "b"][..]),
        (&["inner", "app-1"], &["a", "app-1", "b"]),
        (&["app-*"], &["app-1", "app-2"]),
        (&["?"], &["a", "b"]),
    ] {
        let printed = printed(text, names, &[]);
        let targets = printed["target"].as_object().expect("an object");
        assert_eq!(targets.keys().collect::<Vec<_>>(), expected, "{names:?}");
    }
}

#[test]
fn contexts_that_are_targets_bring_them_along() {
    let text = r#"
        target "base" {
            output       = ["type=docker"]
            entitlements = ["security.insecure"]
        }
        target "app" { contexts = { b = "target:base" } }
    "#;
    let printed = printed(text, &["app"], &[]);
    assert_eq!(
        printed["target"]["base"]["output"],
        json!([{ "type": "cacheonly" }])
    );
    assert_eq!(
        printed["target"]["app"]["entitlements"],
        json!(["security.insecure"])
    );
    assert_eq!(printed["group"]["default"]["targets"], json!(["app"]));
}

#[test]
fn what_cannot_be_resolved_is_told() {
    let text = r#"
        target "a" { inherits = ["nope"] }
        target "x" { contexts = { y = "target:y" } }
        target "y" { contexts = { x = "target:x" } }
        target "stdin" { context = "-" }
        target "webapp" {}
    "#;
    let case = Case::of("docker-bake.hcl", text);
    let definition = case.read().expect("valid");
    for (name, expected) in [
        ("a", "the target a inherits from nope, which is not there"),
        ("x", "the target y needs x, which needs y"),
        (
            "stdin",
            "the target stdin takes its context from stdin, which bake cannot give it",
        ),
        ("wepapp", "there is no target wepapp"),
        ("q*", "there is no target q*"),
        ("web.1", "there is no target web.1"),
        ("default", "there is no target default"),
    ] {
        let error = definition
            .plan(&[name.to_owned()], &[])
            .expect_err("it fails");
        assert_eq!(error.to_string(), expected);
    }
    let error = definition
        .plan(&["wepapp".to_owned()], &[])
        .expect_err("it fails");
    assert!(
        matches!(&error, ResolveError::UnknownTarget { suggestion: Some(meant), .. } if meant == "webapp"),
        "{error:?}"
    );
}
