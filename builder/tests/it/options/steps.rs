//! What RUN steps see of the command line.

use crate::support::{Context, Cooper, need};

/// Builds `RUN command` with `args` and returns what the step printed.
pub(super) fn seen(cooper: &Cooper, command: &str, args: &[&str]) -> String {
    let context = Context::new(&format!("FROM busybox\nRUN {command}\n"));
    let mut all = vec!["--no-cache", "--output=type=cacheonly"];
    all.extend(args);
    cooper.steps(&context, &all).ok().output()
}

#[test]
fn hosts_and_resolvers_are_those_given() {
    let Some(cooper) = Cooper::new() else { return };
    let hosts = seen(
        &cooper,
        "cat /etc/hosts",
        &[
            "--add-host=db:10.0.0.7,six=[::6]",
            "--add-host=me=host-gateway",
        ],
    );
    for line in ["10.0.0.7\tdb", "::6\tsix", "127.0.0.1\tme"] {
        assert!(hosts.lines().any(|known| known == line), "{line}: {hosts}");
    }
    let resolvers = seen(
        &cooper,
        "cat /etc/resolv.conf",
        &[
            "--dns=192.0.2.1",
            "--dns-search=corp.example",
            "--dns-option=ndots:3",
        ],
    );
    assert!(
        resolvers.ends_with("nameserver 192.0.2.1\nsearch corp.example\noptions ndots:3\n"),
        "{resolvers}"
    );
    let own = seen(
        &cooper,
        "test -e /etc/resolv.conf || echo none",
        &["--dns=none"],
    );
    assert_eq!(own, "none\n");
}

#[test]
fn capabilities_are_added_and_dropped() {
    let Some(cooper) = Cooper::new() else { return };
    let command = "grep -E 'CapEff|CapBnd' /proc/self/status";
    for (args, bits) in [
        (&[][..], "00000000a80425fb"),
        (&["--cap-add=NET_ADMIN"], "00000000a80435fb"),
        (&["--cap-drop=CHOWN,KILL"], "00000000a80425da"),
        (
            &["--cap-add=NET_ADMIN", "--cap-drop=ALL"],
            "0000000000000000",
        ),
    ] {
        let found = seen(&cooper, command, args);
        assert_eq!(found.matches(bits).count(), 2, "{args:?}: {found}");
    }
}

#[test]
fn volumes_are_seen_and_leave_nothing_in_the_image() {
    let Some(cooper) = Cooper::new() else { return };
    let shared = cooper.scratch("shared");
    std::fs::create_dir(&shared).expect("mkdir");
    std::fs::write(shared.join("from-host"), "h").expect("write");
    let volume = |option: &str| format!("--volume={}:/deep/mnt{option}", shared.display());
    let write = |name: &str| format!("cat /deep/mnt/from-host && echo x >/deep/mnt/{name}");

    seen(&cooper, &write("rw"), &[&volume("")]);
    assert!(shared.join("rw").exists());
    seen(&cooper, &write("thrown"), &[&volume(":O")]);
    assert!(!shared.join("thrown").exists());
    let refused = Context::new(&format!("FROM busybox\nRUN {}\n", write("ro")));
    let args = ["-otype=cacheonly".to_owned(), volume(":ro")];
    cooper
        .build(&refused, &args)
        .exits(1)
        .says("Read-only file system");

    let context = Context::new("FROM busybox\nRUN test -f /deep/mnt/from-host\n");
    let dest = cooper.scratch("files");
    let output = format!("-otype=local,dest={}", dest.display());
    cooper.build(&context, &[volume(""), output]).ok();
    assert!(!dest.join("deep/mnt").exists(), "the mount point remained");
}

#[test]
fn devices_come_by_path_and_by_name() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(()) = need::root() else { return };
    let look = "ls -l /dev/extra && head -c 2 /dev/extra | wc -c";
    let found = seen(&cooper, look, &["--device=/dev/zero:/dev/extra"]);
    assert!(
        found.contains("1,   5") && found.ends_with("2\n"),
        "{found}"
    );

    let specifications = cooper.scratch("cdi");
    std::fs::create_dir(&specifications).expect("mkdir");
    let yaml = "cdiVersion: 0.6.0\nkind: v.example/zero\ndevices:\n- name: a\n  containerEdits:\n    \
                env: [MADE_BY=cdi]\n    deviceNodes:\n    - {path: /dev/extra, hostPath: /dev/zero}\n";
    std::fs::write(specifications.join("zero.yaml"), yaml).expect("write");
    let specifications = format!("--cdi-config-dir={}", specifications.display());
    let look = format!("{look} && echo $MADE_BY");
    let wanted = |found: String| assert!(found.ends_with("2\ncdi\n"), "{found}");
    wanted(seen(
        &cooper,
        &look,
        &[&specifications, "--device=v.example/zero=a"],
    ));
    let by_step = format!("--device=v.example/zero,required {look}");
    wanted(seen(
        &cooper,
        &by_step,
        &[&specifications, "--allow=device"],
    ));
    let unasked = cooper.scratch("unasked");
    std::fs::create_dir(&unasked).expect("mkdir");
    let yaml = yaml.replace(
        "devices:\n",
        "annotations: {org.mobyproject.buildkit.device.autoallow: true}\ndevices:\n",
    );
    std::fs::write(unasked.join("zero.yaml"), yaml).expect("write");
    let unasked = format!("--cdi-config-dir={}", unasked.display());
    wanted(seen(&cooper, &by_step, &[&unasked]));
    let by_alias = format!("--device=mine {look}");
    let alias = "--allow=device=v.example/zero=a,alias=mine";
    wanted(seen(&cooper, &by_alias, &[&specifications, alias]));

    let context = Context::new("FROM busybox\nRUN --device=v.example/other,required true\n");
    let args = [specifications.as_str(), "--allow=device"];
    cooper
        .build(&context, &args)
        .exits(1)
        .says("there is no device v.example/other: known are v.example/zero=a");
    let optional = "--device=v.example/other echo without";
    let found = seen(&cooper, optional, &[&specifications, "--allow=device"]);
    assert_eq!(found, "without\n");
}

#[test]
fn privileges_need_leave() {
    let Some(cooper) = Cooper::new() else { return };
    for (flag, entitlement) in [
        ("--network=host", "network.host"),
        ("--security=insecure", "security.insecure"),
    ] {
        let context = Context::new(&format!("FROM busybox\nRUN {flag} true\n"));
        cooper
            .build(&context, &["-otype=cacheonly"])
            .exits(1)
            .says(&format!("{entitlement} is not allowed"))
            .says(&format!("--allow {entitlement}"));
        let allow = format!("--allow={entitlement}");
        cooper.build(&context, &["-otype=cacheonly", &allow]).ok();
    }
    let host = Context::new("FROM busybox\nRUN --network=host true\n");
    cooper
        .build(&host, &["-otype=cacheonly", "--network=host"])
        .ok();
    let capabilities = "--security=insecure grep CapEff /proc/self/status";
    let found = seen(&cooper, capabilities, &["--allow=security.insecure"]);
    assert!(!found.contains("a80425fb"), "{found}");
}

#[test]
fn limits_and_hosts_are_outside_the_cache_and_the_rest_is_in_it() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo once\n");
    let run = |args: &[&str]| {
        let all = [args, &["--output=type=cacheonly"]].concat();
        let executed = cooper.steps(&context, &all).ok().executed();
        executed.iter().any(|step| step.contains("RUN echo once"))
    };
    assert!(run(&[]));
    for outside in [
        "--add-host=a:1.2.3.4",
        "--dns=192.0.2.1",
        "--shm-size=1m",
        "--ulimit=nofile=512",
        "--allow=network.host",
    ] {
        assert!(!run(&[outside]), "{outside}");
    }
    for inside in [
        "--cap-add=NET_ADMIN",
        "--cap-drop=CHOWN",
        "--volume=/usr:/mnt/usr:ro",
        "--device=/dev/null:/dev/other",
        "--network=none",
    ] {
        assert!(run(&[inside]), "{inside}");
        assert!(!run(&[inside]), "{inside}, again");
    }
}
