//! `cooper bake`: many builds from one definition.

use std::process::Command;

use serde_json::Value;

use crate::support::layout;
use crate::support::process::{Outcome, run};
use crate::support::terminal::Terminal;
use crate::support::{Context, Cooper, need};

/// Returns `cooper bake ARGS` in the directory of a definition.
fn command(cooper: &Cooper, context: &Context, args: &[&str]) -> Command {
    let mut command = cooper.command();
    command.arg("bake").args(args).current_dir(context.path());
    command
}

#[track_caller]
fn bake(cooper: &Cooper, context: &Context, args: &[&str]) -> Outcome {
    run(command(cooper, context, args))
}

/// A context with a stage that two targets share; each RUN of it leaves a new number.
fn shared(cooper: &Cooper, definition: &str) -> Context {
    let dockerfile = "FROM busybox AS base\nRUN cat /proc/sys/kernel/random/uuid >/id && echo made-$((1+1))\n\
                      FROM base AS one\nRUN echo one >/name\n\
                      FROM base AS two\nARG WHAT=two\nRUN echo $WHAT >/name\n";
    let layout = cooper.busybox_layout().display().to_string();
    let base = format!(
        "target \"_base\" {{\n  contexts = {{ busybox = \"oci-layout://{layout}\" }}\n}}\n"
    );
    Context::new(dockerfile).with("docker-bake.hcl", base + definition)
}

const GROUP: &str = r#"
group "default" { targets = ["one", "two"] }
target "one" {
  inherits = ["_base"]
  target   = "one"
  output   = ["type=local,dest=out/one"]
}
target "two" {
  inherits = ["_base"]
  target   = "two"
  tags     = ["example/two:1"]
  output   = ["type=local,dest=out/two", "type=docker"]
}
"#;

#[test]
fn a_stage_that_two_targets_share_runs_once() {
    let Some(cooper) = Cooper::new() else { return };
    let context = shared(&cooper, GROUP);
    let log = bake(&cooper, &context, &["--progress=plain"]).ok().stderr;
    assert_eq!(log.matches(" made-2").count(), 1, "{log}");
    let read = |path: &str| std::fs::read_to_string(context.path().join(path)).expect(path);
    assert_eq!(read("out/one/id"), read("out/two/id"));
    assert_eq!(
        (read("out/one/name"), read("out/two/name")),
        ("one\n".into(), "two\n".into())
    );
    cooper.run(&["inspect", "example/two:1"]).ok();
}

#[test]
fn a_target_starts_from_another_one() {
    let Some(cooper) = Cooper::new() else { return };
    let context = shared(
        &cooper,
        r#"
target "base" {
  inherits = ["_base"]
  target   = "base"
}
target "default" {
  contexts          = { start = "target:base" }
  dockerfile-inline = <<-EOT
    FROM start
    COPY docker-bake.hcl /definition
    RUN test -s /id && echo "from $(cat /id)" >/out
  EOT
  output = ["type=local,dest=out"]
}
"#,
    );
    let log = bake(&cooper, &context, &["--progress=plain"]).ok().stderr;
    assert_eq!(log.matches(" made-2").count(), 1, "{log}");
    let out = std::fs::read_to_string(context.path().join("out/out")).expect("out");
    assert!(out.starts_with("from ") && out.len() > 36, "{out:?}");
    bake(&cooper, &context, &["--check"]).ok();
}

#[test]
fn the_command_line_overrides_the_definition() {
    let Some(cooper) = Cooper::new() else { return };
    let context = shared(&cooper, GROUP);
    let args = [
        "two",
        "--set=two.args.WHAT=other",
        "--set=*.output=type=local,dest=elsewhere",
        "--metadata-file=meta.json",
        "--progress=plain",
    ];
    bake(&cooper, &context, &args).ok();
    let read = |path: &str| std::fs::read_to_string(context.path().join(path)).expect(path);
    assert_eq!(read("elsewhere/name"), "other\n");
    let metadata: Value = serde_json::from_str(&read("meta.json")).expect("JSON");
    let names: Vec<_> = metadata
        .as_object()
        .expect("a map by target")
        .keys()
        .collect();
    assert_eq!(names, ["two"]);
    let id = metadata["two"]["containerimage.config.digest"].as_str();
    assert!(id.is_some_and(|id| id.starts_with("sha256:")), "{metadata}");
}

#[test]
fn a_compose_file_is_a_definition() {
    let Some(cooper) = Cooper::new() else { return };
    let layout = cooper.busybox_layout().display();
    let compose = format!(
        "services:\n  app.one:\n    image: example/app:${{TAG:-1}}\n    build:\n      context: ./sub\n      \
         additional_contexts: {{busybox: \"oci-layout://{layout}\"}}\n      args: {{WHO: \"$WHO\"}}\n  \
         db: {{image: postgres}}\n"
    );
    let context = Context::empty()
        .with("compose.yaml", compose)
        .with(".env", "WHO=env file\n")
        .with("sub/Dockerfile", "FROM busybox\nARG WHO\nLABEL who=$WHO\n");
    bake(&cooper, &context, &["--load"]).ok();
    let inspected = cooper.run(&["inspect", "example/app:1"]).ok().out();
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(inspected[0]["Config"]["Labels"]["who"], "env file");
}

#[test]
fn files_are_read_from_several_places() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::empty()
        .with(
            "a.hcl",
            "variable \"V\" { default = \"a\" }\ntarget \"default\" { tags = [V] }\n",
        )
        .with("b.json", r#"{"target": {"default": {"target": "stage"}}}"#);
    let mut command = command(
        &cooper,
        &context,
        &["--print", "--file=a.hcl", "-f", "b.json"],
    );
    command.env("V", "from-env");
    let printed: Value = serde_json::from_str(&run(command).ok().out()).expect("JSON");
    let expected = serde_json::json!({
        "context": ".", "dockerfile": "Dockerfile", "tags": ["from-env"], "target": "stage",
    });
    assert_eq!(printed["target"]["default"], expected);

    let listed = bake(
        &cooper,
        &context,
        &["-f=a.hcl", "--list=variables", "--var=V=x"],
    );
    listed
        .ok()
        .prints("VARIABLE   TYPE     VALUE   DESCRIPTION\nV          string   x\n");
    let piped = cooper.start(&["bake", "-f", "-", "--list=targets"], b"target \"t\" {}\n");
    piped.finish().ok().prints("TARGET   DESCRIPTION\nt\n");
    let mut remote = cooper.command();
    remote
        .args(["bake", "https://example.com/repo.git"])
        .current_dir(context.path());
    run(remote).exits(1).says("no bake definition");
}

#[test]
fn what_a_build_cannot_do_is_refused_where_it_is_written() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\n").with(
        "docker-bake.hcl",
        "target \"default\" {\n  output = [\"type=locl,dest=x\"]\n}\n\
         target \"host\" {\n  network = \"host\"\n}\n",
    );
    bake(&cooper, &context, &[])
        .exits(1)
        .says("docker-bake.hcl:2:12")
        .says("did you mean \"local\"?");
    bake(&cooper, &context, &["host"])
        .exits(1)
        .says("asks for network.host")
        .says("--allow=network.host");
    bake(&cooper, &context, &["host", "--allow=network.host"]).ok();
    bake(&cooper, &context, &["nope"])
        .exits(1)
        .says("there is no target nope");
    bake(&cooper, &context, &["-D", "."])
        .exits(1)
        .says("there is no target .\n")
        .says("bake takes targets");
}

#[test]
fn what_is_wrong_in_a_definition_is_shown_where_it_is() {
    let Some(cooper) = Cooper::new() else { return };
    let cases: [(&str, &[&str]); 7] = [
        (
            "target \"default\" {\n  dockerfile = \"Dockrfile\"\n}\n",
            &[
                "bake.hcl:2:16",
                "there is no Dockerfile Dockrfile",
                "hint: dockerfile is relative",
            ],
        ),
        (
            "target \"default\" {\n  context = \"nosuch\"\n}\n",
            &[
                "bake.hcl:2:13",
                "No such file",
                "hint: a context is a directory",
            ],
        ),
        (
            "group \"default\" { targets = [\"a\", \"bb\"] }\ntarget \"a\" {}\n",
            &[
                "there is no target bb, which the group default names",
                "hint: known are default, a",
            ],
        ),
        (
            "target \"default\" {\n  contexts = { x = \"target:none\" }\n}\n",
            &["there is no target none, which a context of the target default names"],
        ),
        (
            "function \"f\" {\n  params = [a]\n}\n",
            &[
                "bake.hcl:1:10",
                "the function f has no result",
                "help: write params = ",
            ],
        ),
        (
            "variable \"A\" {\n  type = \"string\"\n}\nvariable \"B\" {\n  type = strng\n}\n",
            &[
                "bake.hcl:2:10",
                "without quotes",
                "bake.hcl:5:10",
                "did you mean `string`?",
            ],
        ),
        (
            "target \"default\" {\n  platforms = [\"linux/amd64/x/y\"]\n}\n",
            &["bake.hcl:2:15", "invalid platform", "such as linux/amd64"],
        ),
    ];
    for (definition, words) in cases {
        let context = Context::new("FROM scratch\n").with("docker-bake.hcl", definition);
        let outcome = bake(&cooper, &context, &[]).exits(1);
        for word in words {
            assert!(
                outcome.stderr.contains(word),
                "{definition}: {word}\n{outcome}"
            );
        }
    }
}

#[test]
fn a_failed_target_is_named() {
    let Some(cooper) = Cooper::new() else { return };
    let context = shared(
        &cooper,
        r#"
target "default" {
  inherits          = ["_base"]
  dockerfile-inline = "FROM busybox\nRUN exit 3\n"
}
"#,
    );
    bake(&cooper, &context, &[])
        .exits(1)
        .says("dockerfile-inline:2")
        .says("exit code: 3");
}

#[test]
fn checks_answer_for_each_target() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch AS good\nFROM scratch as bad\n").with(
        "docker-bake.hcl",
        "group \"default\" { targets = [\"good\", \"bad\"] }\n\
         target \"good\" { target = \"good\" }\ntarget \"bad\" { target = \"bad\" }\n",
    );
    let told = bake(&cooper, &context, &["--check"]).exits(1).out();
    assert!(told.contains("bad\n\nCheck complete, 1 warning"), "{told}");
    let json = bake(&cooper, &context, &["--call=targets,format=json", "good"])
        .ok()
        .out();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["target"]["good"]["build"]["target"], "good");
    assert_eq!(
        json["target"]["good"]["targets"]["targets"][0]["name"],
        "good"
    );
}

#[test]
fn files_elsewhere_are_reached_if_that_is_granted() {
    let Some(cooper) = Cooper::new() else { return };
    let definition = r#"
        target "default" {
          context    = ".."
          dockerfile = "sub/Dockerfile"
          secret     = ["id=s,src=/etc/hostname"]
          output     = ["../out"]
        }
    "#;
    let context = Context::empty()
        .with("sub/docker-bake.hcl", definition)
        .with("sub/Dockerfile", "FROM scratch\nCOPY file /\n")
        .with("file", "x\n");
    let bake = |args: &[&str], check: &str| {
        let mut command = cooper.command();
        command.arg("bake").args(args);
        command.current_dir(context.path().join("sub"));
        command.env("BUILDX_BAKE_ENTITLEMENTS_FS", check);
        run(command)
    };
    let written = context.join("out/file");
    let up = context.path().canonicalize().expect("it exists");
    let up = up.display();
    let refused = bake(&[], "1")
        .exits(1)
        .says("additional privileges requested");
    for flag in [
        "fs.read=/etc/hostname",
        &format!("fs.read={up}"),
        &format!("fs.write={up}/out"),
    ] {
        assert!(
            refused.stderr.contains(&format!("--allow={flag}")),
            "{refused}"
        );
    }
    bake(&["--allow=fs.read=..", "--allow=fs.write=../out"], "1")
        .exits(1)
        .says("the target default asks for leave to read /etc/hostname");
    bake(&["--allow=fs.raed=.."], "1").exits(1).says("fs.read");
    assert!(!written.exists());
    // Nothing is built by printing, and what --set says is the user's own word.
    bake(&["--print"], "1").ok();
    let own = [
        "--set=*.secret=id=s,src=/etc/hostname",
        "--set=*.output=../out",
    ];
    bake(
        &[
            own[0],
            own[1],
            "--set=*.context=..",
            "--set=*.dockerfile=sub/Dockerfile",
        ],
        "1",
    )
    .ok();
    assert!(written.exists());
    std::fs::remove_file(&written).expect("removed");
    bake(&["--allow=fs=..", "--allow=fs.read=/etc"], "1").ok();
    bake(&["--allow=fs=*"], "1").ok();
    bake(&[], "0").ok();
    assert!(written.exists());
}

#[test]
fn a_group_of_targets_for_several_platforms_is_one_graph() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS tool\n\
                      RUN cat /proc/sys/kernel/random/uuid >/id && echo made-$((1+1))\n\
                      FROM scratch AS one\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n\
                      COPY --from=tool /id /\n\
                      FROM one AS two\nENV two=2\n";
    let layout = cooper.busybox_layout().display();
    let definition = format!(
        r#"
        group "all" {{ targets = ["one", "two"] }}
        target "_both" {{
          contexts  = {{ busybox = "oci-layout://{layout}" }}
          platforms = ["linux/amd64", "linux/arm64"]
        }}
        target "one" {{
          inherits = ["_both"]
          target   = "one"
          output   = ["type=oci,dest=out/one,tar=false"]
        }}
        target "two" {{
          inherits  = ["_both"]
          target    = "two"
          platforms = ["linux/arm64", "linux/s390x"]
          output    = ["type=local,dest=out/two"]
        }}
        "#
    );
    let context = Context::new(dockerfile).with("docker-bake.hcl", definition);
    let log = bake(&cooper, &context, &["--progress=plain", "all"]).ok();
    assert_eq!(log.stderr.matches(" made-2").count(), 1, "{log}");
    let one = context.join("out/one");
    let digest = layout::index(&one)["manifests"][0]["digest"].clone();
    let top = layout::read_blob(&one, digest.as_str().expect("a digest"));
    let top: Value = serde_json::from_slice(&top).expect("JSON");
    let entries = top["manifests"].as_array().expect("an index");
    let platforms = entries
        .iter()
        .map(|entry| &entry["platform"]["architecture"]);
    assert_eq!(platforms.collect::<Vec<_>>(), ["amd64", "arm64"]);
    let read = |path: &str| std::fs::read(context.join(path)).expect(path);
    assert_eq!(
        read("out/two/linux_arm64/id"),
        read("out/two/linux_s390x/id")
    );
}

#[test]
fn privileges_are_asked_for_at_a_terminal() {
    let (Some(cooper), Some(())) = (Cooper::new(), need::tool("setsid")) else {
        return;
    };
    let context = Context::empty()
        .with(
            "sub/docker-bake.hcl",
            "target \"default\" {\n  output = [\"../out\"]\n}\n",
        )
        .with("sub/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let mut command = cooper.command();
    command.arg("bake").current_dir(context.join("sub"));
    for (answer, code) in [("n\n", 1), ("\n", 1), ("y\n", 0)] {
        let mut terminal = Terminal::start(&command, 24, 200);
        terminal.shows("additional privileges requested");
        terminal.shows("Do you want to grant requested privileges and continue? [y/N] ");
        terminal.types(answer);
        assert_eq!(terminal.ends(), Some(code), "{answer:?}");
        assert_eq!(context.join("out/Dockerfile").exists(), code == 0);
    }
}
