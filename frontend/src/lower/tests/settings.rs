//! What the command line changes of a build.

use std::collections::BTreeMap;

use super::{Case, exec, graph};
use crate::ir::NetworkMode;
use crate::settings::{AllowedDevices, BuildSettings, NoCache};

fn devices(names: &[(&str, &str)]) -> AllowedDevices {
    let owned = names.iter().map(|(a, b)| ((*a).into(), (*b).into()));
    AllowedDevices::Named(owned.collect::<BTreeMap<String, String>>())
}

#[test]
fn what_a_run_may_not_have_is_refused_in_its_place() {
    let refused = |what: &str, at: &str| {
        format!(
            "not-allowed@{at}: {what} is not allowed (pass --allow {what} if you trust this \
             Dockerfile)"
        )
    };
    let device =
        "not-allowed@v.example/gpu=0: device v.example/gpu=0 is not allowed (pass --allow \
                  device=v.example/gpu=0 if you trust this Dockerfile)"
            .to_owned();
    let none: fn(&mut BuildSettings) = |_| {};
    let host: fn(&mut BuildSettings) = |settings| settings.entitlements.network_host = true;
    let insecure: fn(&mut BuildSettings) = |settings| settings.entitlements.insecure = true;
    let all: fn(&mut BuildSettings) =
        |settings| settings.entitlements.devices = AllowedDevices::All;
    let table = [
        (
            "--network=host",
            none,
            vec![refused("network.host", "host")],
        ),
        (
            "--network=host",
            insecure,
            vec![refused("network.host", "host")],
        ),
        ("--network=host", host, vec![]),
        ("--network=default", none, vec![]),
        ("--network=none", none, vec![]),
        (
            "--security=insecure",
            host,
            vec![refused("security.insecure", "insecure")],
        ),
        ("--security=insecure", insecure, vec![]),
        ("--security=sandbox", none, vec![]),
        ("--device=v.example/gpu=0", none, vec![device.clone()]),
        ("--device=v.example/gpu=0", all, vec![]),
        (
            "--network=host --security=insecure --device=name=v.example/gpu=0",
            none,
            vec![
                refused("network.host", "host"),
                refused("security.insecure", "insecure"),
                device.replace("@v", "@name=v"),
            ],
        ),
    ];
    for (flags, allow, want) in table {
        let case = Case::new(&format!("FROM base\nRUN {flags} x")).with(allow);
        assert_eq!(case.errors(), want, "{flags}");
    }
}

#[test]
fn the_network_of_the_build_is_that_of_steps_that_name_none() {
    for (build, flag, want) in [
        (NetworkMode::Host, "", NetworkMode::Host),
        (NetworkMode::Host, "--network=default ", NetworkMode::Host),
        (NetworkMode::None, "", NetworkMode::None),
        (NetworkMode::Host, "--network=none ", NetworkMode::None),
    ] {
        let lowered = Case::new(&format!("FROM base\nRUN {flag}x"))
            .with(|settings| settings.network = build)
            .lower();
        assert_eq!(exec(&lowered).network, want, "{build:?} {flag}");
    }
}

#[test]
fn devices_are_allowed_by_name_class_and_alias() {
    let named = devices(&[
        ("v.example/gpu=0", "v.example/gpu=0"),
        ("mine", "v.example/gpu=1"),
        ("v.example/net", "v.example/net"),
        ("v.example/usb=*", "v.example/usb=*"),
    ]);
    for (name, want) in [
        ("v.example/gpu=0", Some("v.example/gpu=0")),
        ("v.example/gpu=1", None),
        ("mine", Some("v.example/gpu=1")),
        ("v.example/net=eth0", Some("v.example/net=eth0")),
        ("v.example/usb", Some("v.example/usb")),
        ("v.example/usb=3", Some("v.example/usb=3")),
        ("other", None),
    ] {
        assert_eq!(named.find(name).as_deref(), want, "{name}");
    }
}

#[test]
fn device_flags_are_read_field_by_field() {
    for (flag, want) in [
        ("v.example/gpu=0", Ok(("v.example/gpu=0", false))),
        ("v.example/gpu,required", Ok(("v.example/gpu", true))),
        ("name=a,required=false", Ok(("a", false))),
        ("required,name=a", Ok(("a", true))),
        ("a,required=yes", Err("invalid value for required: yes")),
        ("a,b", Err("unexpected field 'b' in --device")),
        ("required", Err("--device needs the name of a device")),
    ] {
        let case = Case::new(&format!("FROM base\nRUN --device={flag} x"))
            .with(|settings| settings.entitlements.devices = AllowedDevices::All);
        match want {
            Ok((name, required)) => {
                let lowered = case.lower();
                let device = &exec(&lowered).devices[0];
                assert_eq!((device.name.as_str(), device.required), (name, required));
            }
            Err(message) => assert!(case.errors()[0].contains(message), "{flag}"),
        }
    }
}

#[test]
fn the_first_base_can_be_replaced() {
    let text = "FROM one AS a\nRUN x\nFROM two\nCOPY --from=a / /";
    let case = Case::new(text).with(|settings| settings.first_base = Some("other:3".into()));
    let graph = graph(&case.lower());
    assert!(
        graph[0].starts_with("image layer-of-docker.io/library/other:3"),
        "{graph:?}"
    );
    assert!(
        graph.iter().any(|op| op.contains("library/two")),
        "{graph:?}"
    );
    let scratch = Case::new("FROM one\nRUN x")
        .with(|settings| settings.first_base = Some("scratch".into()))
        .lower();
    assert!(!exec(&scratch).base);
}

#[test]
fn variables_are_set_before_each_stage_and_unset_in_the_image() {
    let lowered = Case::new("FROM base AS a\nENV B=file\nFROM a\nRUN echo $A")
        .with(|settings| {
            settings.env = vec![("A".into(), "1".into()), ("B".into(), "flag".into())];
            settings.unset_env = vec!["PATH".into(), "none".into()];
        })
        .lower();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let env = [pair("PATH", "/bin"), pair("A", "1"), pair("B", "file")];
    assert_eq!(exec(&lowered).env, env);
    assert_eq!(lowered.image.config.env, ["A=1", "B=file"]);
}

#[test]
fn a_stage_that_is_not_there_is_warned_of() {
    let lowered = Case::new("FROM base AS build\nRUN x\nFROM build AS test\nRUN y")
        .with(|settings| {
            let named = ["build", "tets", "nowhere"].map(str::to_owned);
            settings.no_cache = NoCache::Stages(named.into());
        })
        .lower();
    let warnings: Vec<_> = lowered.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "--no-cache-filter: there is no stage nowhere",
            "--no-cache-filter: there is no stage tets (did you mean `test`?)"
        ]
    );
    assert!(graph(&lowered)[1].contains('!'), "{:?}", graph(&lowered));
    assert!(!graph(&lowered)[2].contains('!'), "{:?}", graph(&lowered));
}
