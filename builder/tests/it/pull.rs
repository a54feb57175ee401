//! Registries, honest and otherwise.

use serde_json::json;

use crate::support::http::{Proxy, Response, Server};
use crate::support::layout::{self, Image};
use crate::support::peers::{DockerRegistry, free_port, skopeo};
use crate::support::process::run;
use crate::support::registry::{Access, FakeRegistry, Lie};
use crate::support::{Context, Cooper, NONE, need};

#[test]
fn a_pull_checks_every_byte() {
    let Some(cooper) = Cooper::new() else { return };
    for lie in [Lie::Layer, Lie::Config, Lie::Truncated] {
        let registry = FakeRegistry::start(cooper.busybox_layout(), Access::Open, lie);
        let name = format!("{}/some/image:1", registry.host());
        cooper.run(&["pull", &name]).exits(1).says(registry.host());
        cooper.run(&["inspect", &name]).exits(1);
    }
    let registry = FakeRegistry::start(cooper.busybox_layout(), Access::Open, Lie::Manifest);
    let by_digest = format!("{}/some/image@{}", registry.host(), registry.digest());
    cooper
        .run(&["pull", &by_digest])
        .exits(1)
        .says(&registry.digest());

    let honest = FakeRegistry::honest(cooper.busybox_layout());
    let name = format!("{}/some/image:1", honest.host());
    cooper.run(&["pull", &name]).ok();
    cooper.run(&["run", "--rm", &name, "true"]).ok();
    // A container's command has a network of its own here, where nothing serves.
    let absent = ["run", "--rm", "127.0.0.1:1/no/image", "true"];
    let absent = cooper.run(&absent).exits(125);
    absent.says("Unable to find image '127.0.0.1:1/no/image:latest' locally");
}

#[test]
fn a_build_from_a_lying_registry_fails() {
    let Some(cooper) = Cooper::new() else { return };
    let registry = FakeRegistry::start(cooper.busybox_layout(), Access::Open, Lie::Layer);
    let context = Context::new(&format!(
        "# a comment\nFROM {}/some/image:1\nRUN true\n",
        registry.host()
    ));
    cooper
        .build(&context, &["-t=a"])
        .exits(1)
        .says("/some/image:1")
        .says("sha256:")
        .says("Dockerfile:2");
}

#[test]
fn what_went_wrong_with_a_registry_is_said() {
    let Some(cooper) = Cooper::new() else { return };
    let closed = format!("127.0.0.1:{}/some/image:1", free_port());
    cooper.run(&["pull", &closed]).exits(1).says(&closed);
    let context = Context::new(&format!("FROM {closed}\nRUN true\n"));
    cooper
        .build(&context, NONE)
        .exits(1)
        .says("Dockerfile:1")
        .says(&closed);

    let broken = FakeRegistry::start(cooper.busybox_layout(), Access::Open, Lie::Broken);
    let name = format!("{}/some/image:1", broken.host());
    cooper.run(&["pull", &name]).exits(1).says("500");

    let honest = FakeRegistry::honest(cooper.busybox_layout());
    let name = format!("{}/some/image:missing", honest.host());
    cooper.run(&["pull", &name]).exits(1).says(&name);
}

#[test]
fn credentials_come_from_dockers_config() {
    let Some(cooper) = Cooper::new() else { return };
    let credentials = "someone:pass word";
    for access in [
        Access::Basic(credentials.to_owned()),
        Access::Bearer(credentials.to_owned()),
    ] {
        let registry = FakeRegistry::start(cooper.busybox_layout(), access, Lie::None);
        let name = format!("{}/private/image:1", registry.host());
        let dir = cooper.scratch("home/.docker");
        let _ = std::fs::remove_dir_all(&dir);
        cooper.run(&["pull", &name]).exits(1).says("401");
        std::fs::create_dir_all(&dir).expect("mkdir");
        let auth = "c29tZW9uZTpwYXNzIHdvcmQ=";
        let config = json!({ "auths": { registry.host(): { "auth": auth } } });
        std::fs::write(dir.join("config.json"), config.to_string()).expect("write");
        let outcome = cooper.run(&["pull", &name]).ok();
        assert!(!outcome.stderr.contains("pass word"));
        cooper.run(&["run", "--rm", &name, "true"]).ok();
    }
}

#[test]
fn mirrors_are_asked_first() {
    let Some(cooper) = Cooper::new() else { return };
    let mirror = FakeRegistry::honest(cooper.busybox_layout());
    let context = Context::new("FROM registry.invalid/some/image:1\nRUN echo from a mirror\n");
    let option = format!(
        "--registry-mirror=registry.invalid=http://{}",
        mirror.host()
    );
    cooper
        .build(&context, &[&option])
        .ok()
        .says("from a mirror");
    assert!(
        mirror
            .requests()
            .iter()
            .any(|request| request.contains("/v2/some/image/manifests/1")),
        "{:?}",
        mirror.requests()
    );

    let Some(other) = Cooper::new() else { return };
    let config = other.scratch("config/cooper");
    std::fs::create_dir_all(&config).expect("mkdir");
    let text = format!(
        "[registry.mirrors]\n\"registry.invalid\" = [\"http://{}\"]\n",
        mirror.host()
    );
    std::fs::write(config.join("config.toml"), text).expect("write");
    other.build(&context, NONE).ok().says("from a mirror");

    let Some(third) = Cooper::new() else { return };
    let mut command = third.build_command(context.path(), &["--progress=plain"]);
    command.env(
        "COOPER_REGISTRY_MIRRORS",
        format!("registry.invalid=http://{}", mirror.host()),
    );
    run(command).ok().says("from a mirror");
}

#[test]
fn a_local_image_answers_without_a_registry_unless_asked() {
    let Some(cooper) = Cooper::new() else { return };
    let registry = FakeRegistry::honest(cooper.busybox_layout());
    let context = Context::new(&format!(
        "FROM {}/some/image:1\nRUN true\n",
        registry.host()
    ));
    cooper.build(&context, &["-t=a"]).ok();
    let after_first = registry.requests().len();
    assert!(after_first > 0);
    let second = cooper.steps(&context, &["-t=a"]).ok();
    assert_eq!(second.executed(), Vec::<String>::new());
    assert_eq!(registry.requests()[after_first..], [""; 0]);
    cooper.build(&context, &["-t=a", "--pull"]).ok();
    let asked = registry.requests().split_off(after_first);
    assert!(!asked.is_empty());
    assert!(
        asked.iter().all(|request| !request.contains("/blobs/")),
        "{asked:?}"
    );
}

#[test]
fn an_index_is_read_by_platform() {
    let Some(cooper) = Cooper::new() else { return };
    let base = cooper.busybox_layout();
    let foreign = cooper.scratch("foreign");
    layout::with_config(base, &foreign, |config| {
        config["architecture"] = "s390x".into();
    });
    let host = Image::read(base);
    let entry = |layout: &std::path::Path, architecture: &str| {
        let mut entry = layout::index(layout)["manifests"][0].clone();
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let architecture = host.config["architecture"].as_str().expect("a name");
    let both = [entry(&foreign, "s390x"), entry(base, architecture)];
    // The copied layout holds the blobs of both images.
    let registry = FakeRegistry::index(&foreign, &both);
    let name = format!("{}/some/image:1", registry.host());
    cooper.run(&["pull", &name]).ok();
    cooper.run(&["run", "--rm", &name, "true"]).ok();

    let only_foreign = FakeRegistry::index(&foreign, &both[..1]);
    let name = format!("{}/some/image:1", only_foreign.host());
    cooper.run(&["pull", &name]).exits(1).says("s390x");
}

#[test]
fn an_image_for_another_platform_alone_is_taken_with_a_warning() {
    let Some(cooper) = Cooper::new() else { return };
    let base = cooper.busybox_layout();
    let foreign = cooper.scratch("foreign");
    layout::with_config(base, &foreign, |config| {
        config["architecture"] = "s390x".into();
    });
    let host = Image::read(base).config["architecture"].clone();
    let mut lying = layout::index(&foreign)["manifests"][0].clone();
    lying["platform"] = json!({ "os": "linux", "architecture": host });
    // Nothing says in advance whom it is for; an index says what is not so.
    for (case, registry) in [
        ("one", FakeRegistry::honest(&foreign)),
        ("lying", FakeRegistry::index(&foreign, &[lying])),
    ] {
        let name = format!("{}/{case}/image:1", registry.host());
        let context = Context::new(&format!("FROM {name}\nLABEL a=b\n"));
        let built = cooper.build(&context, &["-t=built"]).ok();
        built
            .says("InvalidBaseImagePlatform")
            .says("was pulled with platform \"linux/s390x\", expected");
        cooper
            .run(&["pull", &name])
            .ok()
            .says("is an image for linux/s390x, not for linux/");
        let pulled = cooper.run(&["pull", "--platform=linux/s390x", &name]);
        match case {
            "one" => assert!(!pulled.ok().stderr.contains("not for")),
            _ => drop(pulled.exits(1).says("linux/s390x")),
        }
        cooper
            .run(&["run", "--rm", &name, "true"])
            .exits(125)
            .says("linux/s390x");
    }
    let option = format!("--build-context=base=oci-layout://{}", foreign.display());
    let context = Context::new("FROM base\nLABEL a=c\n");
    cooper
        .build(&context, &[option])
        .ok()
        .says("InvalidBaseImagePlatform");
}

#[test]
fn the_registry_of_these_tests_is_one_that_skopeo_reads() {
    if need::tool("skopeo").is_none() {
        return;
    }
    let Some(cooper) = Cooper::new() else { return };
    let credentials = || "someone:pass".to_owned();
    for (access, lie, works) in [
        (Access::Open, Lie::None, true),
        (Access::Basic(credentials()), Lie::None, true),
        (Access::Bearer(credentials()), Lie::None, true),
        (Access::Open, Lie::Layer, false),
        (Access::Open, Lie::Config, false),
        (Access::Open, Lie::Truncated, false),
        (Access::Open, Lie::Broken, false),
    ] {
        let what = format!("{access:?}-{lie:?}").replace(':', "-");
        let registry = FakeRegistry::start(cooper.busybox_layout(), access, lie);
        let source = format!("docker://{}/some/image:1", registry.host());
        let target = format!("oci:{}:1", cooper.scratch(&what).display());
        let outcome = skopeo(
            &cooper,
            &[
                "copy",
                "-q",
                "--src-tls-verify=false",
                "--src-creds=someone:pass",
                &source,
                &target,
            ],
        );
        assert_eq!(outcome.code() == 0, works, "{what}: {outcome}");
    }
}

/// The layers of a base image need not be sent to another repository of the registry it came
/// from, nor those that were pushed to one before.
#[test]
fn a_push_takes_what_the_registry_has_from_its_other_repositories() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(registry) = DockerRegistry::start(&cooper) else {
        return;
    };
    let name = |path: &str| format!("{}/{path}", registry.host());
    cooper.load_busybox();
    cooper
        .run(&["tag", "busybox", &name("base/busybox:1")])
        .ok();
    cooper.run(&["push", &name("base/busybox:1")]).ok();

    let Some(other) = Cooper::new() else { return };
    let context = Context::new(&format!(
        "FROM {}\nRUN echo mine > /mine\n",
        name("base/busybox:1")
    ));
    other.build(&context, &["-t", &name("team/app:1")]).ok();
    let pushed = other
        .run(&["push", "--progress=plain", &name("team/app:1")])
        .ok();
    pushed.says("mounted from base/busybox");
    other
        .run(&["tag", &name("team/app:1"), &name("team/again:1")])
        .ok();
    let pushed = other
        .run(&["push", "--progress=plain", &name("team/again:1")])
        .ok();
    let mounted = pushed.stderr.matches("mounted from team/app").count();
    // Both layers and the configuration.
    assert_eq!(mounted, 3, "{pushed}");

    let Some(third) = Cooper::new() else { return };
    third.run(&["pull", &name("team/again:1")]).ok();
    let run = ["run", "--rm", &name("team/again:1"), "cat", "/mine"];
    third.run(&run).ok().prints("mine\n");
}

#[test]
fn logging_in_keeps_what_pulls_need() {
    let Some(cooper) = Cooper::new() else { return };
    let credentials = "someone:pass word";
    for access in [
        Access::Basic(credentials.to_owned()),
        Access::Bearer(credentials.to_owned()),
    ] {
        let registry = FakeRegistry::start(cooper.busybox_layout(), access, Lie::None);
        let host = registry.host();
        let name = format!("{host}/private/image:1");
        cooper.run(&["pull", &name]).exits(1).says("cooper login");
        let login = |password: &str| {
            let args = ["login", "-u", "someone", "--password-stdin", host];
            cooper.start(&args, password.as_bytes()).finish()
        };
        login("wrong\n")
            .exits(1)
            .says("401")
            .says("check the user name");
        cooper
            .run(&["logout", host])
            .ok()
            .prints(&format!("Not logged in to {host}\n"));
        login("pass word\n").ok().prints("Login Succeeded\n");
        cooper.run(&["login", host]).ok().says("stored unencrypted");
        let pulled = cooper.run(&["pull", &name]).ok();
        assert!(!pulled.stderr.contains("pass word"));
        let removing = format!("Removing login credentials for {host}\n");
        cooper.run(&["logout", host]).ok().prints(&removing);
        cooper.run(&["rmi", "-f", &name]).ok();
        cooper.run(&["pull", &name]).exits(1);
    }
    let wrong = |args: &[&str], message: &str| {
        cooper.run(args).exits(1).says(message);
    };
    wrong(&["login", "-u", "a"], "no terminal");
    wrong(
        &["login", "--password-stdin"],
        "--password-stdin needs --username",
    );
    wrong(
        &["login", "-u=a", "-p=b", "--password-stdin"],
        "--password and --password-stdin are mutually exclusive",
    );
}

/// What podman and its kin are told about registries counts, too.
#[test]
fn registries_conf_leads_elsewhere_forbids_and_searches() {
    let Some(cooper) = Cooper::new() else { return };
    let served = FakeRegistry::honest(cooper.busybox_layout());
    let broken = FakeRegistry::start(cooper.busybox_layout(), Access::Open, Lie::Broken);
    let dir = cooper.scratch("config/containers/registries.conf.d");
    std::fs::create_dir_all(&dir).expect("mkdir");
    let conf = format!(
        "[[registry]]\nprefix = \"moved.invalid/team\"\nlocation = \"{served}/copies\"\n\
         [[registry]]\nlocation = \"mirrored.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{served}\"\ninsecure = true\n",
        served = served.host()
    );
    std::fs::write(
        dir.parent().expect("a directory").join("registries.conf"),
        conf,
    )
    .expect("write");
    let more = format!(
        "unqualified-search-registries = [\"{}\", \"{}\"]\n\
         [[registry]]\nprefix = \"moved.invalid/team/secret\"\nblocked = true\n\
         [aliases]\n\"short\" = \"mirrored.invalid/long\"\n",
        broken.host(),
        served.host()
    );
    std::fs::write(dir.join("10-more.conf"), more).expect("write");

    cooper
        .run(&["pull", "moved.invalid/team/app:1"])
        .ok()
        .prints("moved.invalid/team/app:1\n");
    assert!(
        served
            .requests()
            .contains(&"GET /v2/copies/app/manifests/1".to_owned())
    );
    let blocked = cooper
        .run(&["pull", "moved.invalid/team/secret:1"])
        .exits(1);
    blocked.says("moved.invalid/team/secret:1 is blocked by registries.conf");
    let context = Context::new("FROM mirrored.invalid/app:1\nRUN true\n");
    cooper.build(&context, NONE).ok();
    assert!(
        served
            .requests()
            .contains(&"GET /v2/app/manifests/1".to_owned())
    );

    // Names without a registry are docker's unless the user says otherwise.
    let own = cooper.scratch("config/cooper");
    std::fs::create_dir_all(&own).expect("mkdir");
    std::fs::write(
        own.join("config.toml"),
        "[registry]\nshort-names = \"search\"\nretries = 0\n",
    )
    .expect("write");
    cooper
        .run(&["pull", "short:1"])
        .ok()
        .prints("mirrored.invalid/long:1\n");
    let found = format!("{}/some/where:1\n", served.host());
    cooper.run(&["pull", "some/where:1"]).ok().prints(&found);
    cooper
        .build(&Context::new("FROM else/where:1\nRUN true\n"), NONE)
        .ok();
    assert!(
        served
            .requests()
            .contains(&"GET /v2/else/where/manifests/1".to_owned())
    );

    std::fs::write(dir.join("20-wrong.conf"), "[registries.search]\n").expect("write");
    cooper
        .run(&["pull", "x"])
        .exits(1)
        .says("20-wrong.conf")
        .says("version 1");
}

#[test]
fn proxies_are_asked_and_told_apart_by_the_usual_variables() {
    let Some(cooper) = Cooper::new() else { return };
    let registry = FakeRegistry::honest(cooper.busybox_layout());
    let files = Server::start(|_| Response::ok("from afar\n"));
    let to_registry = Proxy::to(registry.host());
    let to_files = Proxy::to(files.address());
    let config = cooper.scratch("config/cooper");
    std::fs::create_dir_all(&config).expect("mkdir");
    let text = "[registry]\ninsecure = [\"registry.invalid:5000\"]\n";
    std::fs::write(config.join("config.toml"), text).expect("write");
    let context = Context::new("FROM scratch\nADD http://files.invalid/f /f\n");
    let build = |variables: &[(&str, &str)]| {
        let mut command = cooper.build_command(context.path(), &["--no-cache", "-t=x"]);
        command.envs(variables.iter().copied());
        run(command)
    };
    let pull = |name: &str, variables: &[(&str, &str)]| {
        let mut command = cooper.command();
        command.args(["pull", name]);
        command.envs(variables.iter().copied());
        run(command)
    };

    // Nobody knows these names but the proxies.
    build(&[]).exits(1).says("files.invalid");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        build(&[(name, &to_files.url())]).ok();
    }
    assert_eq!(to_files.asked(), ["http://files.invalid"]);
    for names in [["HTTPS_PROXY", "HTTP_PROXY"], ["https_proxy", "http_proxy"]] {
        let variables = names.map(|name| (name, to_registry.url()));
        let variables = variables.each_ref().map(|(name, url)| (*name, &**url));
        pull("registry.invalid:5000/busybox", &variables).ok();
    }
    // A tunnel to where TLS might be spoken is refused, so plain requests are tried.
    assert_eq!(
        to_registry.asked(),
        ["http://registry.invalid:5000", "registry.invalid:5000"]
    );

    // Some servers are reached without: those that are named, and this machine always.
    let other = Proxy::to(registry.host());
    let url = other.url();
    let around = [
        ("HTTP_PROXY", &*url),
        ("HTTPS_PROXY", &*url),
        ("no_proxy", "invalid"),
    ];
    build(&around).exits(1);
    pull("registry.invalid:5000/other", &around).exits(1);
    pull(&format!("{}/busybox", registry.host()), &around).ok();
    assert_eq!(other.asked(), [""; 0]);
    // A proxy that is not there is named.
    build(&[("HTTP_PROXY", "http://127.0.0.1:9")]).exits(1);
}
