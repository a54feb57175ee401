//! `--metadata-file`: what programs are told of a result, in buildx's words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::run;
use crate::support::{Context, Cooper};

/// Two violations: the casing of `as`, and a relative directory.
const WARNED: &str = "FROM scratch as base\nWORKDIR here\n";

const PROVENANCE: &str = "buildx.build.provenance";
const REFERENCE: &str = "buildx.build.ref";
const WARNINGS: &str = "buildx.build.warnings";
const CONFIG: &str = "containerimage.config.digest";
const DESCRIPTOR: &str = "containerimage.descriptor";
const DIGEST: &str = "containerimage.digest";
const NAME: &str = "image.name";

/// Builds with these variables and options and returns the metadata.
#[track_caller]
fn metadata(cooper: &Cooper, variables: &[(&str, &str)], args: &[&str]) -> Value {
    let path = cooper.scratch("metadata.json");
    let to_file = format!("--metadata-file={}", path.display());
    let args = [&[&*to_file], args].concat();
    let context = Context::new(WARNED);
    let mut command = cooper.build_command(context.path(), &args);
    command.envs(variables.iter().copied());
    run(command).ok();
    serde_json::from_slice(&std::fs::read(path).expect("the file")).expect("JSON")
}

fn keys(metadata: &Value) -> Vec<&str> {
    let object = metadata.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// Variables, options, and the keys of the file.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);

#[test]
fn it_has_the_keys_that_buildx_writes() {
    let Some(cooper) = Cooper::new() else { return };
    let to = |what: &str, name: &str| {
        let at = cooper.scratch(name);
        format!("--output=type={what},dest={}", at.display())
    };
    let (oci, local) = (to("oci", "oci.tar"), to("local", "files"));
    let (both, min) = ("--platform=linux/amd64,linux/arm64", PROVENANCE);
    let told = [&format!("{min}/linux/amd64"), &format!("{min}/linux/arm64")];
    let warned = ("BUILDX_METADATA_WARNINGS", "1");
    let silent = ("BUILDX_METADATA_PROVENANCE", "0");
    let stored = [min, REFERENCE, CONFIG, DIGEST];
    #[rustfmt::skip]
    let cases: [Row<'_>; 8] = [
        (&[], &[], &stored),
        (&[], &["-t=a"], &[min, REFERENCE, CONFIG, DIGEST, NAME]),
        (&[], &[&oci], &[min, REFERENCE, CONFIG, DESCRIPTOR, DIGEST]),
        (&[], &[&local], &stored),
        (&[], &["--output=type=cacheonly"], &stored),
        (&[silent], &[], &[REFERENCE, CONFIG, DIGEST]),
        (&[warned], &[], &[min, REFERENCE, WARNINGS, CONFIG, DIGEST]),
        (&[], &[&oci, both], &[told[0], told[1], REFERENCE, DESCRIPTOR, DIGEST]),
    ];
    for (variables, args, expected) in cases {
        let metadata = metadata(&cooper, variables, args);
        assert_eq!(keys(&metadata), expected, "{variables:?} {args:?}");
    }
}

#[test]
fn a_build_has_a_name_that_its_provenance_knows() {
    let Some(cooper) = Cooper::new() else { return };
    let told = [0, 1].map(|_| metadata(&cooper, &[], &[]));
    for told in &told {
        let id = told[PROVENANCE]["runDetails"]["metadata"]["invocationId"].as_str();
        let expected = format!("default/default/{}", id.expect("an ID"));
        assert_eq!(told[REFERENCE], expected);
    }
    assert_ne!(told[0][REFERENCE], told[1][REFERENCE]);
}

/// The warnings of [`WARNED`] in a file, as BuildKit tells of them.
fn warnings(file: &str) -> Value {
    let rule = "https://docs.docker.com/go/dockerfile/rule";
    let one = |short: &str, detail: &str, page: &str, line: usize| {
        json!({
            "level": 1,
            "short": STANDARD.encode(short),
            "detail": [STANDARD.encode(detail)],
            "sourceInfo": {
                "filename": file,
                "data": STANDARD.encode(WARNED),
                "language": "Dockerfile",
            },
            "range": [{ "start": { "line": line }, "end": { "line": line } }],
            "url": format!("{rule}/{page}/"),
        })
    };
    json!([
        one(
            "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)",
            "`AS` is written in the same case as its `FROM`",
            "from-as-casing",
            1,
        ),
        one(
            "WorkdirRelativePath: Relative workdir \"here\" can have unexpected results if the \
             base image changes (line 2)",
            "The first `WORKDIR` of a stage is absolute",
            "workdir-relative-path",
            2,
        ),
    ])
}

#[test]
fn what_the_checks_found_is_told_to_programs() {
    let Some(cooper) = Cooper::new() else { return };
    let told = metadata(&cooper, &[("BUILDX_METADATA_WARNINGS", "true")], &[]);
    let file = told[WARNINGS][0]["sourceInfo"]["filename"].as_str();
    assert_eq!(told[WARNINGS], warnings(file.expect("a name")));

    // The lines of rawjson have them too, and nothing else is among the lines.
    let context = Context::new(WARNED);
    let outcome = run(cooper.build_command(context.path(), &["--progress=rawjson"])).ok();
    let lines = outcome.stderr.lines().map(|line| {
        let object: Value = serde_json::from_str(line).expect(line);
        object
    });
    let found: Vec<Value> = lines
        .filter_map(|mut line| Some(line.get_mut("warnings")?[0].take()))
        .collect();
    let file = found[0]["sourceInfo"]["filename"].as_str();
    assert_eq!(json!(found), warnings(file.expect("a name")));
}

#[test]
fn bake_tells_of_each_target_and_of_the_checks_once() {
    let Some(cooper) = Cooper::new() else { return };
    let layout = cooper.busybox_layout().display().to_string();
    let definition = format!(
        "group \"default\" {{ targets = [\"a\", \"b\"] }}\n\
         target \"_base\" {{ contexts = {{ busybox = \"oci-layout://{layout}\" }} }}\n\
         target \"a\" {{ inherits = [\"_base\"] }}\n\
         target \"b\" {{\n  inherits = [\"_base\"]\n  tags = [\"example/b\"]\n}}\n"
    );
    let context = Context::new(WARNED).with("docker-bake.hcl", definition);
    let bake = |variables: &[(&str, &str)]| -> Value {
        let mut command = cooper.command();
        let args = ["bake", "--load", "--metadata-file=metadata.json"];
        command.args(args).current_dir(context.path());
        command.envs(variables.iter().copied());
        run(command).ok();
        let text = std::fs::read(context.path().join("metadata.json"));
        serde_json::from_slice(&text.expect("the file")).expect("JSON")
    };
    assert_eq!(keys(&bake(&[])), ["a", "b"]);
    let told = bake(&[("BUILDX_METADATA_WARNINGS", "1")]);
    assert_eq!(keys(&told), ["a", "b", WARNINGS]);
    assert_eq!(told[WARNINGS], warnings("Dockerfile"));
    assert_eq!(keys(&told["a"]), [PROVENANCE, REFERENCE, CONFIG, DIGEST]);
    assert_eq!(
        keys(&told["b"]),
        [PROVENANCE, REFERENCE, CONFIG, DIGEST, NAME]
    );
    assert_ne!(told["a"][REFERENCE], told["b"][REFERENCE]);
}
