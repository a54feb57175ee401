use clap::Parser;

use super::*;
use crate::config::{Environment, FileConfig};
use crate::options::{ImageOutput, Method, Output, ProvenanceMode, Push};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    build: BuildArgs,
}

fn settings(variables: &[(&str, &str)], file: &str) -> Settings {
    Settings {
        environment: Environment::of(variables.iter().copied()),
        file: FileConfig::parse("config.toml", file).expect("valid"),
        root: "/store".into(),
        driver: None,
    }
}

fn resolve_with(args: &[&str], settings: &Settings) -> Result<BuildOptions, String> {
    let line =
        Line::try_parse_from([&["build"], args].concat()).map_err(|error| error.to_string())?;
    line.build
        .resolve(settings)
        .map_err(|report| report.render(false))
}

fn resolve(args: &[&str]) -> Result<BuildOptions, String> {
    resolve_with(args, &settings(&[], ""))
}

#[test]
fn without_options_the_defaults_hold() {
    let options = resolve(&["."]).expect("valid");
    assert_eq!(options.context, ContextSource::Dir(".".into()));
    assert_eq!(options.dockerfile, DockerfileSource::Lookup);
    assert_eq!(options.pull, Pull::Missing);
    assert_eq!(options.network, crate::options::BuildNetwork::Default);
    assert_eq!(options.no_cache, NoCache::Off);
    assert_eq!(options.platforms, []);
    let stored = ImageOutput {
        store: true,
        ..ImageOutput::default()
    };
    assert_eq!(options.outputs, [Output::Image(stored)]);
    assert!(options.jobs.get() >= 16);
    let zero = resolve(&["--jobs=0", "."]).expect("valid");
    assert_eq!(zero.jobs, options.jobs);
    assert_eq!(options.registry.retries, 3);
}

#[test]
fn switches_take_a_truth_value() {
    let switches = |args: &[&str]| {
        let options = resolve(&[args, &["."]].concat()).expect("valid");
        let checks = options.call.method == Method::Check;
        (checks, options.explain, options.verify_reproducible)
    };
    for (args, expected) in [
        (&[][..], (false, false, false)),
        (
            &["--check", "--explain=1", "--verify-reproducible=True"],
            (true, true, true),
        ),
        (
            &["--check=t", "--explain=0", "--verify-reproducible=F"],
            (true, false, false),
        ),
        (&["--call=outline", "--check"], (true, false, false)),
        (&["--check", "--call=outline"], (false, false, false)),
    ] {
        assert_eq!(switches(args), expected, "{args:?}");
    }
    resolve(&["--check=maybe", "."]).expect_err("neither true nor false");
}

#[test]
fn the_environment_has_a_default_platform() {
    let default = settings(&[("DOCKER_DEFAULT_PLATFORM", "linux/s390x")], "");
    let platforms = |args: &[&str], settings: &Settings| {
        let options = resolve_with(&[args, &["."]].concat(), settings).expect("valid");
        let texts = options.platforms.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>()
    };
    assert_eq!(platforms(&[], &default), ["linux/s390x"]);
    assert_eq!(platforms(&["--platform=arm64"], &default), ["linux/arm64"]);
    let wrong = settings(&[("DOCKER_DEFAULT_PLATFORM", "linux/")], "");
    let error = resolve_with(&["."], &wrong).expect_err("no platform");
    assert!(error.contains("for DOCKER_DEFAULT_PLATFORM"), "{error}");
}

#[test]
fn the_values_of_strings_stand_apart_too() {
    let options = resolve(&["--provenance", "mode=min", "--sbom", "false", "."]).expect("valid");
    let provenance = options.attest.provenance.expect("asked for");
    assert_eq!(provenance.mode, ProvenanceMode::Min);
    assert_eq!(options.attest.sbom, None);
    assert_eq!(options.context, ContextSource::Dir(".".into()));
}

#[test]
fn a_whole_command_line_is_understood() {
    let options = resolve(&[
        "-t",
        "app",
        "-t",
        "r.example/app:1",
        "-f",
        "a/Dockerfile",
        "--target=final",
        "--build-arg",
        "A=1",
        "--label=x=y",
        "--label",
        "z",
        "--no-cache-filter=a,b",
        "--pull",
        "--network=none",
        "--add-host=db:10.0.0.1",
        "--ulimit",
        "nofile=10:20",
        "--shm-size=1m",
        "--platform=arm64",
        "--push",
        "-q",
        "--jobs=3",
        "--annotation",
        "k=v",
        ".",
    ])
    .expect("valid");
    let tags: Vec<_> = options.tags.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["docker.io/library/app:latest", "r.example/app:1"]);
    assert_eq!(
        options.dockerfile,
        DockerfileSource::Path("a/Dockerfile".into())
    );
    assert_eq!(options.target.as_deref(), Some("final"));
    assert_eq!(options.build_args["A"], "1");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options.labels, [pair("x", "y"), pair("z", "")]);
    assert_eq!(
        options.no_cache,
        NoCache::Stages(vec!["a".into(), "b".into()])
    );
    assert_eq!(
        (options.pull, options.network),
        (Pull::Always, crate::options::BuildNetwork::None)
    );
    assert_eq!(options.limits.shm_size, Some(1 << 20));
    assert_eq!(options.platforms, ["linux/arm64".parse().expect("valid")]);
    assert_eq!(
        (options.jobs.get(), options.progress),
        (3, ProgressMode::Quiet)
    );
    let [Output::Image(image)] = options.outputs.as_slice() else {
        panic!("{:?}", options.outputs)
    };
    assert_eq!(image.push, Some(Push::default()));
    let place = crate::options::AnnotationPlace::Manifest;
    let annotations = image.format.annotations(place, &Platform::host());
    assert_eq!(annotations["k"], "v");
}

#[test]
fn build_arguments_come_from_four_places() {
    let settings = settings(
        &[
            ("http_proxy", "http://p"),
            ("FROM_ENV", "e"),
            ("SOURCE_DATE_EPOCH", "1700000000"),
        ],
        "[build]\nargs = { A = 'file', B = 'file', C = 'file' }\n",
    );
    let args = [
        "--build-arg=A=flag",
        "--build-arg=FROM_ENV",
        "--build-arg=C",
        "--build-arg=D=",
        ".",
    ];
    let options = resolve_with(&args, &settings).expect("valid");
    let found: Vec<_> = options
        .build_args
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("A", "flag"),
        ("B", "file"),
        ("D", ""),
        ("FROM_ENV", "e"),
        ("HTTP_PROXY", "http://p"),
        ("SOURCE_DATE_EPOCH", "1700000000"),
    ];
    assert_eq!(found, expected);
    assert_eq!(options.source_date_epoch, Some(1_700_000_000));
}

#[test]
fn mirrors_of_a_host_come_from_one_place() {
    let settings = settings(
        &[(
            "COOPER_REGISTRY_MIRRORS",
            "a=http://env1,a=http://env2 b=http://env",
        )],
        "[registry.mirrors]\na = ['http://file']\nc = ['http://file']\n",
    );
    let options =
        resolve_with(&["--registry-mirror", "b=http://flag", "."], &settings).expect("valid");
    let found: Vec<_> = options
        .registry
        .mirrors
        .iter()
        .map(|(host, urls)| format!("{host}: {}", urls.join(" ")))
        .collect();
    assert_eq!(
        found,
        [
            "a: http://env1 http://env2",
            "b: http://flag",
            "c: http://file"
        ]
    );
}

#[test]
fn outputs_and_flags_add_up() {
    let kinds = |args: &[&str]| -> Vec<&str> {
        let options = resolve(&[args, &["-t", "a", "."]].concat()).expect("valid");
        let kind = |output: &Output| match output {
            Output::Image(image) if image.push.is_some() => "push",
            Output::Image(_) => "store",
            Output::Oci(_) => "oci",
            Output::Docker(_) => "docker",
            Output::Local { .. } => "local",
            Output::Tar { .. } => "tar",
            Output::CacheOnly => "none",
        };
        options.outputs.iter().map(kind).collect()
    };
    assert_eq!(kinds(&[]), ["store"]);
    assert_eq!(kinds(&["-o", "out"]), ["local"]);
    assert_eq!(kinds(&["-o", "out", "--load"]), ["local", "store"]);
    assert_eq!(kinds(&["-o", "type=oci,dest=x", "--push"]), ["oci", "push"]);
    assert_eq!(kinds(&["-o", "type=image", "--load"]), ["store"]);
    assert_eq!(kinds(&["-o", "type=cacheonly"]), ["none"]);
}

#[test]
fn switches_take_the_values_that_scripts_give_them() {
    let off = resolve(&[
        "--no-cache=false",
        "-q=false",
        "--rm",
        "--force-rm=false",
        ".",
    ]);
    let off = off.expect("valid");
    assert_eq!((off.no_cache, off.quiet), (NoCache::Off, false));
    let on = resolve(&["--no-cache=true", "-q", "--push=false", "."]).expect("valid");
    assert_eq!((on.no_cache, on.quiet), (NoCache::All, true));
    assert!(resolve(&["--no-cache=maybe", "."]).is_err());
}

#[test]
fn the_dockerfile_is_looked_for_where_f_says() {
    let dir = || ContextSource::Dir(".".into());
    for (args, context, dockerfile) in [
        (&["-"][..], ContextSource::Stdin, DockerfileSource::Lookup),
        (
            &["-f", "a/D", "-"],
            ContextSource::Stdin,
            DockerfileSource::Path("a/D".into()),
        ),
        (&["-f", "-", "."], dir(), DockerfileSource::Stdin),
        (
            &["-f", "https://h/D", "."],
            dir(),
            DockerfileSource::Url("https://h/D".into()),
        ),
    ] {
        let options = resolve(args).expect("valid");
        assert_eq!(
            (options.context, options.dockerfile),
            (context, dockerfile),
            "{args:?}"
        );
    }
}

#[test]
fn what_is_read_and_how_often_it_is_tried() {
    let settings = settings(&[("SHELL_VALUE", "s")], "[registry]\nretries = 7\n");
    let resolve = |args: &[&str]| resolve_with(&[args, &["."]].concat(), &settings);
    let options = resolve(&[
        "--from=other",
        "--env=A=1",
        "--env=SHELL_VALUE",
        "--env=UNSET",
        "--unsetenv=B",
        "--cache-ttl=1h30m",
        "--retry-delay=500ms",
        "--omit-history",
        "--logfile=l",
        "--manifest=m:1",
    ])
    .expect("valid");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(options.first_base.as_deref(), Some("other"));
    assert_eq!(options.env, [pair("A", "1"), pair("SHELL_VALUE", "s")]);
    assert_eq!(options.unset_env, ["B"]);
    assert_eq!(options.cache_ttl, Some(Duration::from_secs(5400)));
    assert_eq!(options.no_cache, NoCache::Off);
    assert_eq!(
        options.registry.retry_delay,
        Some(Duration::from_millis(500))
    );
    assert_eq!(options.registry.retries, 7);
    assert!(options.omit_history);
    assert_eq!(options.log_file, Some("l".into()));
    assert_eq!(options.tags[0].to_string(), "docker.io/library/m:1");

    let options = resolve(&["--cache-ttl=0", "--retry=1"]).expect("valid");
    assert_eq!(
        (options.no_cache, options.registry.retries),
        (NoCache::All, 1)
    );
    for (arg, message) in [
        ("--cache-ttl=soon", "not a duration"),
        ("--retry-delay=3", "not a duration"),
        ("--ignorefile=none", "there is no file none"),
        ("--build-arg-file=none", "cannot read --build-arg-file none"),
    ] {
        let error = resolve(&[arg]).expect_err(arg);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn the_environment_can_leave_the_default_output_out() {
    let outputs = |value: &str, args: &[&str]| {
        let settings = settings(&[("BUILDX_NO_DEFAULT_LOAD", value)], "");
        resolve_with(&[args, &["."]].concat(), &settings).map(|options| options.outputs)
    };
    assert_eq!(outputs("1", &[]), Ok(vec![Output::CacheOnly]));
    for (value, args) in [("0", &[][..]), ("", &[]), ("true", &["--load"])] {
        let found = outputs(value, args).expect("valid");
        assert!(
            matches!(found.as_slice(), [Output::Image(_)]),
            "{value} {args:?}"
        );
    }
    assert!(outputs("maybe", &[]).is_err());
}

#[test]
fn bad_input_is_refused_with_a_reason() {
    let lines: &[&[&str]] = &[
        &["-t", "UPPER", "."],
        &[
            "-t",
            "a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ".",
        ],
        &["no-such-directory"],
        &["Cargo.toml"],
        &["https://example.com/x.git#-x"],
        &["-f", "-", "-"],
        &["--ssh", "default", "."],
        &["--ssh", "a=no-such-file", "."],
        &["--ssh", "a=Cargo.toml", "--ssh", "a=Cargo.toml", "."],
        &["--push", "."],
        &["--pull=allways", "."],
        &["--platform=linux/amd64/v1/x", "."],
        &["--secret", "id=a,src=no-such-file", "."],
        &["--build-context", "a=no-such-directory", "."],
        &["--build-arg", "=x", "."],
        &["--build-arg", "SOURCE_DATE_EPOCH=yesterday", "."],
        &["-o", "-", "-o", "type=oci,dest=-", "."],
    ];
    let reports: String = lines
        .iter()
        .map(|line| resolve(line).expect_err("invalid"))
        .collect();
    insta::assert_snapshot!(reports, @r#"
        ERROR: invalid value "UPPER" for --tag: invalid reference format: repository name (UPPER) must be lowercase
        ERROR: invalid value "a@sha256:0000000000000000000000000000000000000000000000000000000000000000" for --tag: an image cannot be given a name with a digest
        ERROR: cannot use no-such-directory as the build context: No such file or directory (os error 2)
          hint: a context is a directory, a git or http address, or - for standard input
        ERROR: cannot use Cargo.toml as the build context: it is no directory
          hint: to build that Dockerfile: cooper build -f Cargo.toml DIRECTORY; to build an archive: cooper build - <Cargo.toml
        ERROR: cannot use https://example.com/x.git#-x as the build context: invalid reference in a git address: "-x"
          hint: write URL.git#REFERENCE:DIRECTORY; no name begins with a dash, nor has it blanks or any of ~^:?*[\
        ERROR: standard input cannot be both the build context and the Dockerfile
        ERROR: invalid value "default" for --ssh: no ssh agent runs: SSH_AUTH_SOCK is not set
          hint: start one (eval $(ssh-agent)) and add keys (ssh-add), or name a key file: --ssh ID=FILE
        ERROR: invalid value "a=no-such-file" for --ssh: there is no file no-such-file
        ERROR: --ssh a is given twice
        ERROR: a push needs a name
          hint: add --tag REGISTRY/NAME[:TAG]
        ERROR: invalid value "allways" for --pull: unknown time "allways"
          hint: did you mean "always"?
        ERROR: invalid value "linux/amd64/v1/x" for --platform: invalid platform "linux/amd64/v1/x": expected OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7
        ERROR: --secret a: there is no file no-such-file
        ERROR: --build-context a: no-such-directory is no directory
        ERROR: invalid value "=x" for --build-arg: the name is empty
          hint: write NAME=VALUE
        ERROR: invalid value "yesterday" for SOURCE_DATE_EPOCH: not a number of seconds since 1970
        ERROR: only one output can go to stdout
        "#);
    assert!(resolve(&["--provenance=false", "--sbom=false", "."]).is_ok());
}

#[test]
fn a_call_is_a_method_with_a_format() {
    let call = |method, json, ignore_status| Call {
        method,
        json,
        ignore_status,
    };
    let table: &[(&[&str], Call)] = &[
        (&[], call(Method::Build, false, false)),
        (&["--check"], call(Method::Check, false, false)),
        (
            &["--call=check,format=json"],
            call(Method::Check, true, false),
        ),
        (
            &["--call=lint,ignorestatus"],
            call(Method::Check, false, true),
        ),
        (
            &["--call=outline,format=text"],
            call(Method::Outline, false, false),
        ),
        (
            &["--call", "targets,format=json,ignorestatus=false"],
            call(Method::Targets, true, false),
        ),
        (
            &["--call=subrequests.describe"],
            call(Method::Methods, false, false),
        ),
    ];
    for (args, want) in table {
        let options = resolve(&[args, &["."][..]].concat()).expect("valid");
        assert_eq!(options.call, *want, "{args:?}");
    }
    for (args, message) in [
        ("--call=outlin", "did you mean \"outline\"?"),
        ("--call=check,format=yaml", "unknown format \"yaml\""),
        ("--call=check,fmt=json", "unknown key \"fmt\""),
    ] {
        let error = resolve(&[args, "."]).expect_err(args);
        assert!(error.contains(message), "{error}");
    }
}
