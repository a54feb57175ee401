//! Outputs that would give away a secret.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Context, Cooper, Outcome, need};

const VALUE: &str = "corr3ct-h0rse+battery/staple";

fn cooper() -> Option<Cooper> {
    let cooper = Cooper::new()?;
    std::fs::write(cooper.scratch("token"), format!("{VALUE}\n")).expect("write");
    Some(cooper)
}

fn secret(cooper: &Cooper) -> String {
    format!(
        "--secret=id=token,src={}",
        cooper.scratch("token").display()
    )
}

/// A Dockerfile whose second step does `run` with the secret in `$T`.
fn context(run: &str) -> Context {
    Context::new(&format!(
        "FROM busybox\nRUN echo first > /first\n\
         RUN --mount=type=secret,id=token,env=T {run}\nRUN echo last > /last\n"
    ))
}

fn build(cooper: &Cooper, context: &Context, args: &[&str]) -> Outcome {
    cooper.build(context, &[&[secret(cooper).as_str()], args].concat())
}

#[track_caller]
fn refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    for word in ["it holds secrets", "--allow secret-export"]
        .iter()
        .chain(words)
    {
        assert!(
            outcome.stderr.contains(word),
            "no {word:?} in {}",
            outcome.stderr
        );
    }
    assert!(!outcome.stderr.contains(VALUE), "{}", outcome.stderr);
}

#[test]
fn every_form_of_a_secret_stops_the_export() {
    let Some(cooper) = cooper() else { return };
    let cases = [
        ("echo $T > /root/key", "the secret token is in /root/key"),
        ("echo a:$T:b | base64 > /f", "token in base64 is in /f"),
        ("echo ab:$T:b | base64 > /f", "token in base64 is in /f"),
        ("echo abc:$T:b | base64 > /f", "token in base64 is in /f"),
        (
            "echo $T | hexdump -v -e '1/1 \"%02x\"' > /f",
            "token in hexadecimal is in /f",
        ),
        (
            "echo $T | sed 's/+/%2B/;s,/,%2F,' > /f",
            "token URL-encoded is in /f",
        ),
        (
            "for c in $(echo $T | fold -w1); do printf '%s\\0' $c; done > /f",
            "token in UTF-16 is in /f",
        ),
        (
            "mkdir -p /d && ln -s \"$T\" /d/l",
            "the secret token is in /d/l",
        ),
        // Across the end of a block of a megabyte.
        (
            "(dd if=/dev/zero bs=1048570 count=1; echo $T) 2>/dev/null > /f",
            "the secret token is in /f",
        ),
    ];
    for (run, message) in cases {
        let context = context(run);
        let outcome = build(&cooper, &context, &["-t=leak"]);
        refused(&outcome, &[message, "Dockerfile:3", "in layer"]);
        let outcome = build(&cooper, &context, &["-t=leak", "--squash"]);
        refused(&outcome, &[message, "Dockerfile:3"]);
    }
    let images = cooper.run(&["images", "-q"]).ok().out();
    assert_eq!(images, "", "nothing was kept");
}

#[test]
fn a_secret_that_is_used_and_not_kept_lets_the_image_go() {
    let Some(cooper) = cooper() else { return };
    let context = context("echo $T | sha256sum > /sum && echo ${T}0 | head -c 7 > /short");
    build(&cooper, &context, &["-t=good"]).ok();
    // Known secrets, all from the cache, another output.
    let archive = cooper.scratch("a.tar");
    let output = format!("-otype=oci,dest={}", archive.display());
    build(&cooper, &context, &[&output]).ok();
    assert!(archive.exists());
}

#[test]
fn what_was_packed_before_is_searched_for_new_secrets() {
    let Some(cooper) = cooper() else { return };
    let context = Context::new(&format!("FROM busybox\nRUN echo {VALUE} > /f\n"));
    let output = format!("-otype=oci,dest={}", cooper.scratch("a.tar").display());
    cooper.build(&context, &[&output]).ok();
    let outcome = build(&cooper, &context, &[&output]);
    refused(
        &outcome,
        &["the secret token is in /f, in layer", "Dockerfile:2"],
    );
    assert!(
        outcome.stderr.contains("the image's history"),
        "{}",
        outcome.stderr
    );
}

/// What is written is searched on the way, or before where it could be read at once.
#[test]
fn nothing_is_seen_of_an_archive_in_which_a_secret_is_found() {
    let Some(cooper) = cooper() else { return };
    let context = Context::new(&format!(
        "FROM busybox\nRUN echo fine > /first\nCOPY <<E /f\n{VALUE}\nE\n"
    ));
    // Packed, digested and in no way searched before.
    cooper.build(&context, &["-otype=cacheonly"]).ok();
    for kind in ["oci", "docker"] {
        for compression in ["uncompressed", "gzip"] {
            for dest in ["file", "directory", "pipe"] {
                let path = cooper.scratch(&format!("{kind}-{compression}-{dest}"));
                if dest == "file" {
                    std::fs::write(&path, "before").expect("write");
                }
                let (to, tar) = match dest {
                    "pipe" => ("-".to_owned(), ""),
                    "directory" => (path.display().to_string(), ",tar=false"),
                    _ => (path.display().to_string(), ""),
                };
                let output = format!("-otype={kind},compression={compression},dest={to}{tar}");
                let outcome = build(&cooper, &context, &[&output]);
                let case = format!("{output}\n{}", outcome.stderr);
                refused(
                    &outcome,
                    &["the secret token is in /f, in layer", "Dockerfile:3"],
                );
                assert_eq!(outcome.stdout, b"", "{case}");
                match dest {
                    "file" => {
                        let left = std::fs::read(&path).expect("read");
                        assert_eq!(left, b"before", "{case}");
                    }
                    "directory" => assert_eq!(files_below(&path), 0, "{case}"),
                    _ => {}
                }
            }
        }
    }
    let output = format!("-otype=oci,dest={}", cooper.scratch("kept").display());
    let several = [&*output, "-otype=image,name=leak"];
    refused(&build(&cooper, &context, &several), &[]);
    assert!(!cooper.scratch("kept").exists());
    assert_eq!(cooper.run(&["images", "-q"]).ok().out(), "");
    build(&cooper, &context, &[&output, "--allow=secret-export"]).ok();
    assert!(cooper.scratch("kept").exists());
}

fn files_below(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| match entry.path() {
        path if path.is_dir() => files_below(&path),
        _ => 1,
    };
    entries.flatten().map(count).sum()
}

#[test]
fn trees_are_judged_by_what_is_left_in_them() {
    let Some(cooper) = cooper() else { return };
    let context = Context::new(
        "FROM busybox\nRUN --mount=type=secret,id=token,env=T echo $T > /key\nRUN rm /key\n",
    );
    let outcome = build(&cooper, &context, &["-t=leak"]);
    refused(
        &outcome,
        &["token is in /key", "Dockerfile:2", "--squash leaves it out"],
    );
    build(&cooper, &context, &["-t=squashed", "--squash"]).ok();
    let dir = cooper.scratch("out");
    build(&cooper, &context, &[&format!("-o{}", dir.display())]).ok();
    assert!(!dir.join("key").exists());

    let context = self::context("echo $T > /key");
    for (output, written) in [("local", "out2"), ("tar", "out.tar")] {
        let dest = cooper.scratch(written);
        let output = format!("-otype={output},dest={}", dest.display());
        let outcome = build(&cooper, &context, &[&output]);
        refused(&outcome, &["token is in /key", "Dockerfile:3"]);
        assert!(!Path::new(&dest).exists());
    }
    build(&cooper, &context, &["-otype=cacheonly"]).ok();
}

#[test]
fn the_configuration_and_annotations_are_searched() {
    let Some(cooper) = cooper() else { return };
    let context = Context::new("FROM busybox\nARG T\nENV COPY=$T\nRUN true\n");
    let argument = format!("--build-arg=T={VALUE}");
    let outcome = build(&cooper, &context, &["-t=leak", &argument]);
    refused(
        &outcome,
        &[
            "the image's configuration, in config.Env[1]",
            "the image's history",
            "Dockerfile:2",
        ],
    );
    let plain = Context::new("FROM busybox\n");
    let annotation = format!("--annotation=note={VALUE}");
    let outcome = build(&cooper, &plain, &["-t=leak", &annotation]);
    refused(&outcome, &["the secret token is in the annotation note"]);
}

#[test]
fn a_secret_is_found_in_places_where_nobody_looks() {
    let Some(cooper) = cooper() else { return };
    let text = |line: &str| Context::new(&format!("FROM busybox\n{line}\nRUN true\n"));
    let file = |line: &str, script: &str| {
        let context = text(line).with("f", "x");
        context.sh(script);
        context
    };
    let mut cases: Vec<(Context, &str)> = vec![
        (text(&format!("ARG T=\"{VALUE}\"")), "the image's history"),
        (text(&format!("LABEL a=\"{VALUE}\"")), "in config.Labels.a"),
        (
            text(&format!("LABEL \"{VALUE}\"=a")),
            "configuration, in config.Labels",
        ),
        (text(&format!("MAINTAINER {VALUE}")), "in author"),
        (
            text(&format!("CMD [\"x\", \"-p{VALUE}\"]")),
            "in config.Cmd[1]",
        ),
        (text(&format!("WORKDIR \"/{VALUE}\"")), "token is in /"),
        (text(&format!("COPY <<E /f\n{VALUE}\nE")), "token is in /f"),
        (
            file(
                "COPY d /d",
                &format!("mkdir -p 'd/{VALUE}' && touch 'd/{VALUE}/x'"),
            ),
            "token is in /d/",
        ),
        (
            file(
                "ADD a.tar.gz /a",
                &format!("echo {VALUE} >in; tar -czf a.tar.gz in"),
            ),
            "token is in /a/in",
        ),
        (
            file("COPY in /in", &format!("printf 'x%65530s{VALUE}' >in")),
            "token is in /in",
        ),
    ];
    if need::tool("setfattr").is_some() {
        for attribute in [
            format!("-n user.a -v '{VALUE}'"),
            format!("-n 'user.{VALUE}' -v x"),
        ] {
            let script = format!("setfattr {attribute} f; tar --xattrs -cf a.tar f");
            cases.push((file("ADD a.tar /", &script), "token is in /f"));
        }
    }
    for (context, place) in cases {
        let outcome = build(&cooper, &context, &["-t=leak"]);
        refused(&outcome, &["the secret token", place]);
    }
    let plain = Context::new("FROM busybox\n");
    let outcome = build(
        &cooper,
        &plain,
        &["-t=x", &format!("--annotation={VALUE}=x")],
    );
    refused(
        &outcome,
        &["the secret token is in the annotation [REDACTED]"],
    );
}

/// One that can be a part of a name.
#[test]
fn a_secret_is_found_in_names_and_fields() {
    const NAME: &str = "corr3ct-h0rse-battery";
    let Some(cooper) = Cooper::new() else { return };
    std::fs::write(cooper.scratch("name"), NAME).expect("write");
    let secret = format!("--secret=id=token,src={}", cooper.scratch("name").display());
    let plain = Context::new("FROM busybox\nRUN true\n");
    let dest = cooper.scratch("out").display().to_string();
    let archive = |kind: &str, name: &str| format!("-otype={kind},dest={dest},name={name}");
    let lines = [
        ("USER {}", "in config.User"),
        (
            "HEALTHCHECK CMD curl -H {} x",
            "in config.Healthcheck.Test[1]",
        ),
        ("VOLUME /{}", "in config.Volumes"),
        ("SHELL [\"/{}\"]", "in config.Shell[0]"),
        ("ONBUILD RUN echo {}", "in config.OnBuild[0]"),
        ("ENTRYPOINT [\"{}\"]", "in config.Entrypoint[0]"),
        ("COPY f /{}", "is in /[REDACTED]"),
        ("WORKDIR /{}", "is in /[REDACTED]"),
    ];
    for (line, place) in lines {
        let line = line.replace("{}", NAME);
        let context = Context::new(&format!("FROM busybox\n{line}\n")).with("f", "x");
        let outcome = cooper.build(&context, &[&*secret, "-t=leak"]);
        refused(&outcome, &["the secret token is", place]);
        assert!(!outcome.stderr.contains(NAME), "{}", outcome.stderr);
    }
    let names = [
        format!("-t=r.example/{NAME}:1"),
        format!("-t=leak:{NAME}"),
        format!("-t={NAME}.example/leak"),
        archive("oci", &format!("{NAME}:1")),
        archive("docker", &format!("a:{NAME}")),
        format!("-otype=image,name=a:{NAME}"),
        format!("-otype=registry,name=localhost:1/{NAME}"),
    ];
    for name in names {
        let outcome = cooper.build(&plain, &[&secret, &name]);
        refused(&outcome, &["the secret token is in the name", "[REDACTED]"]);
        assert!(!outcome.stderr.contains(NAME), "{}", outcome.stderr);
    }
    // Where the names of files alone are written.
    let named = Context::new(&format!("FROM scratch\nCOPY f /{NAME}/f\n")).with("f", "x");
    for kind in ["tar", "local"] {
        let output = format!("-otype={kind},dest={dest}");
        let outcome = cooper.build(&named, &[&*secret, &output]);
        refused(&outcome, &["the secret token is in /[REDACTED]"]);
    }
    // What is said of an image: packages are found, and stages are masked.
    let package = format!("Package: {NAME}\nStatus: install ok installed\nVersion: 1\n");
    let packages = Context::new("FROM scratch\nCOPY f /var/lib/dpkg/status\n").with("f", package);
    let outcome = cooper.build(&packages, &[&*secret, "--sbom=true", "-t=leak"]);
    refused(&outcome, &["in sbom.spdx.json, in packages[1].name"]);
    assert!(!outcome.stderr.contains(NAME), "{}", outcome.stderr);
    assert!(!Path::new(&dest).exists());
    let stages = format!("FROM busybox AS {NAME}\nRUN true\nFROM {NAME}\nRUN true\n");
    let output = format!("-otype=oci,tar=false,dest={dest}");
    let options = [&*secret, "--provenance=mode=max", &output];
    let built = cooper.build(&Context::new(&stages), &options).ok();
    assert!(!built.stderr.contains(NAME), "{}", built.stderr);
    for blob in std::fs::read_dir(Path::new(&dest).join("blobs/sha256")).expect("blobs") {
        let bytes = std::fs::read(blob.expect("a blob").path()).expect("read");
        assert!(!String::from_utf8_lossy(&bytes).contains(NAME));
    }
    let images = cooper.run(&["images", "-q"]).ok().out();
    assert_eq!(images, "", "nothing was kept");
}

#[test]
fn what_is_printed_of_a_build_has_no_secret_in_it() {
    let Some(cooper) = cooper() else { return };
    let context = Context::new(
        "FROM busybox\nMAINTAINER corr3ct-h0rse+battery/staple\n\
         RUN --mount=type=secret,id=token,env=T \\\n\
         echo out $T; echo $T | base64 >&2; echo $T | head -c 9; sleep 0.2; echo $T | tail -c 20; exit 3\n",
    );
    let records = cooper.scratch("records.json").display().to_string();
    let metadata = format!("--metadata-file={records}");
    for progress in ["plain", "tty", "rawjson", "quiet"] {
        let option = format!("--progress={progress}");
        let args = [
            option.as_str(),
            "--provenance=mode=max",
            &metadata,
            "--no-cache",
        ];
        let outcome = build(&cooper, &context, &args);
        assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
        let mut said = outcome.stderr.clone() + &outcome.out();
        // In JSON, logs and warnings are in base64.
        for word in outcome.stderr.split('"') {
            let data = STANDARD.decode(word).unwrap_or_default();
            said += &String::from_utf8_lossy(&data);
        }
        if progress != "quiet" {
            assert!(said.contains("out [REDACTED]"), "{progress}: {said}");
        }
        let encoded = STANDARD.encode(VALUE);
        for form in [VALUE, &encoded[..30]] {
            assert!(!said.contains(form), "{progress}: {said}");
        }
    }
    let history = cooper.run(&["builder", "history", "logs"]);
    assert!(
        !(history.stderr.clone() + &history.out()).contains(VALUE),
        "{history}"
    );
    let bake = Context::new("FROM busybox\n").with(
        "docker-bake.hcl",
        "target \"default\" { secret = [\"id=token,env=T\"] }",
    );
    let mut command = cooper.command();
    command
        .args(["bake", "--print"])
        .current_dir(bake.path())
        .env("T", VALUE);
    let printed = crate::support::process::run(command).ok();
    assert!(
        !(printed.stderr.clone() + &printed.out()).contains(VALUE),
        "{printed}"
    );
}

#[test]
fn a_leak_can_be_allowed() {
    let Some(cooper) = cooper() else { return };
    let context = context("echo $T > /key");
    let outcome = build(&cooper, &context, &["-t=leak", "--allow=secret-export"]).ok();
    assert!(
        outcome.stderr.contains("the secret token is in /key"),
        "{}",
        outcome.stderr
    );
    let shown = cooper.run(&["run", "--rm", "leak", "cat", "/key"]).ok();
    assert_eq!(shown.out(), format!("{VALUE}\n"));
}

#[test]
fn short_secrets_are_said_to_be_too_short() {
    let Some(cooper) = cooper() else { return };
    std::fs::write(cooper.scratch("token"), "true\n").expect("write");
    let outcome = build(&cooper, &context("true"), &["-t=x"]).ok();
    let warning = "the secret token is too short to be told from other text";
    assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
}

#[test]
fn credentials_are_detected_on_request() {
    let Some(cooper) = Cooper::new() else { return };
    let key = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7".repeat(4)
    );
    let context = Context::new(
        "FROM busybox\nARG API_TOKEN\nCOPY id_rsa /root/.ssh/id_rsa\nCOPY aws /aws\n\
         RUN echo $API_TOKEN | tee /token | wc -c\nRUN rm /root/.ssh/id_rsa\n",
    )
    .with("id_rsa", key)
    .with("aws", ["key = AKI", "AQ3EGRIOP5JQ6ABCD\n"].concat());
    let args = ["-t=x", "--build-arg=API_TOKEN=0123456789"];
    cooper.build(&context, &args).ok();
    let outcome = cooper.build(&context, &[&args[..], &["--detect-credentials"]].concat());
    refused(
        &outcome,
        &[
            "a private key is in /root/.ssh/id_rsa",
            "an AWS access key is in /aws",
            "the value of the build argument API_TOKEN is in /token",
            "the value of the build argument API_TOKEN is in the image's history",
            "Dockerfile:3",
            "Dockerfile:4",
            "Dockerfile:5",
            "--squash leaves it out",
        ],
    );
    let config = cooper.scratch("config.toml");
    std::fs::write(&config, "[build]\ndetect-credentials = true\n").expect("write");
    let mut command = cooper.build_command(context.path(), &args);
    command.env("COOPER_CONFIG", &config);
    refused(&crate::support::process::run(command), &["a private key"]);
    // Without the key, the token and the argument.
    let clean = Context::new("FROM busybox\nCOPY f /f\n").with("f", "AKIA");
    cooper
        .build(&clean, &[&args[..], &["--detect-credentials"]].concat())
        .ok();
}

/// Says that neither an archive nor a registry gets the image `name`.
#[track_caller]
fn stays(cooper: &Cooper, name: &str, args: &[&str], words: &[&str]) {
    let file = cooper.scratch("saved.tar");
    let to = file.display().to_string();
    let save = ["save", "-o", to.as_str(), name];
    refused(&cooper.run(&[&save[..], args].concat()), words);
    assert!(!file.exists());
    let there = format!("localhost:1/{name}");
    cooper.run(&["tag", name, &there]).ok();
    let push = ["push", there.as_str()];
    refused(&cooper.run(&[&push[..], args].concat()), words);
    let allowed = ["--allow=secret-export"];
    let outcome = cooper.run(&[&save[..], args, &allowed[..]].concat()).ok();
    assert_eq!(outcome.stderr, "");
    std::fs::remove_file(file).expect("the archive");
}

#[test]
fn what_a_failed_step_left_stays_here() {
    let Some(cooper) = cooper() else { return };
    let outcome = build(&cooper, &context("echo $T > /key; exit 3"), &["-t=x"]);
    assert_eq!(outcome.code(), 1, "{}", outcome.stderr);
    let words = ["the secret token is in /key, in layer"];
    stays(&cooper, "failed-step", &[], &words);
    cooper
        .run(&["run", "--name=box", "failed-step", "rm", "/key"])
        .ok();
    refused(&cooper.run(&["commit", "box", "kept"]), &words);
    cooper
        .run(&["commit", "--allow=secret-export", "box", "kept"])
        .ok();
    stays(&cooper, "kept", &[], &words);
    // One that failed without a trace of it goes where it is wanted.
    build(&cooper, &context("exit 3"), &["-t=x"]);
    let file = cooper.scratch("clean.tar").display().to_string();
    cooper.run(&["save", "-o", &file, "failed-step"]).ok();
}

#[test]
fn a_layer_that_held_a_secret_once_is_not_let_go_by_who_does_not_know_it() {
    let Some(cooper) = cooper() else { return };
    let context = Context::new(
        "FROM busybox AS other\nRUN --mount=type=secret,id=token,env=T echo $T > /key; echo x > /f\n\
         FROM busybox\nCOPY --from=other /f /f\n",
    );
    build(&cooper, &context, &["-t=good"]).ok();
    let output = format!("-otype=oci,dest={}", cooper.scratch("a.tar").display());
    let words = ["the secret token is in /key", "Dockerfile:2"];
    for args in [["--target=other", "-t=x"], ["--target=other", &output]] {
        refused(&cooper.build(&context, &args), &words);
    }
    // Nor by a build that starts from it.
    let base = ["--target=other", "-t=base", "--allow=secret-export"];
    cooper.build(&context, &base).ok();
    let above = Context::new("FROM base\nRUN rm /key\n");
    let outcome = cooper.build(&above, &["-t=above"]);
    refused(&outcome, &["the secret token is in /key, in layer"]);
    stays(&cooper, "base", &[], &["the secret token is in /key"]);
}

#[test]
fn a_key_that_a_later_layer_removes_is_detected_by_push_save_and_commit() {
    let Some(cooper) = Cooper::new() else { return };
    let key = format!(
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW".repeat(3)
    );
    let context =
        Context::new("FROM busybox\nCOPY id_rsa /root/.ssh/id_rsa\nRUN rm /root/.ssh/id_rsa\n")
            .with("id_rsa", key);
    cooper.build(&context, &["-t=x"]).ok();
    let words = ["a private key is in /root/.ssh/id_rsa, in layer"];
    let detect = ["--detect-credentials"];
    stays(&cooper, "x", &detect, &words);
    let file = cooper.scratch("asked-nothing.tar").display().to_string();
    cooper.run(&["save", "-o", &file, "x"]).ok();
    // Brought here as an archive it is no different, and committed it stays what it is.
    let other = Cooper::new().expect("as before");
    other.run(&["load", "-i", &file]).ok();
    stays(&other, "x", &detect, &words);
    cooper.run(&["run", "--name=box", "x", "true"]).ok();
    let token = ["-cENV TOKEN=ghp_", "0123456789abcdefghijABCDEFGHIJ012345"].concat();
    let commit = ["commit", detect[0], "box", "kept"];
    refused(&cooper.run(&commit), &words);
    cooper.run(&["commit", &token, "box", "kept"]).ok();
    let in_config = "a GitHub token is in the image's configuration, in config.Env[";
    stays(&cooper, "kept", &detect, &[words[0], in_config]);
    // What the configuration file asks for is asked of these commands too.
    let config = cooper.scratch("config.toml");
    std::fs::write(&config, "[build]\ndetect-credentials = true\n").expect("write");
    let mut command = cooper.command();
    command.args(["save", "-o", &file, "x"]);
    command.env("COOPER_CONFIG", &config);
    refused(&crate::support::process::run(command), &words);
}
