use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    steps: StepArgs,
}

fn resolve(args: &[&str]) -> Result<Steps, String> {
    let line =
        Line::try_parse_from([&["build"], args].concat()).map_err(|error| error.to_string())?;
    let file = BuildSection::default();
    line.steps
        .resolve(&file)
        .map_err(|report| report.render(false))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn networks_are_three() {
    for (args, network, leave) in [
        (&[][..], BuildNetwork::Default, false),
        (&["--network=default"], BuildNetwork::Default, false),
        (&["--network", "host"], BuildNetwork::Host, true),
        (&["--net=none"], BuildNetwork::None, false),
    ] {
        let steps = resolve(args).expect("valid");
        assert_eq!(
            (steps.network, steps.entitlements.network_host),
            (network, leave),
            "{args:?}"
        );
    }
}

#[test]
fn entitlements_are_granted_one_by_one() {
    let named = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        AllowedDevices::Named(owned.collect())
    };
    let none = || named(&[]);
    for (args, network_host, insecure, devices) in [
        (&[][..], false, false, none()),
        (&["--allow="], false, false, none()),
        (&["--allow=network.host"], true, false, none()),
        (
            &["--allow", "network.host", "--allow", "security.insecure"],
            true,
            true,
            none(),
        ),
        (&["--allow=device"], false, false, AllowedDevices::All),
        (
            &["--allow=device=v/gpu=0", "--allow=device=v/gpu=1,alias=one"],
            false,
            false,
            named(&[("v/gpu=0", "v/gpu=0"), ("one", "v/gpu=1")]),
        ),
    ] {
        let want = Entitlements {
            network_host,
            insecure,
            devices,
        };
        assert_eq!(resolve(args).expect("valid").entitlements, want, "{args:?}");
    }
}

#[test]
fn hosts_may_come_several_at_once() {
    let steps = resolve(&["--add-host=a:1.2.3.4,b=::1", "--add-host", "c=[::2]"]).expect("valid");
    let hosts: Vec<_> = steps
        .add_hosts
        .iter()
        .map(|host| format!("{} {}", host.name, host.address))
        .collect();
    assert_eq!(hosts, ["a 1.2.3.4", "b ::1", "c ::2"]);
}

#[test]
fn capabilities_are_named_as_the_kernel_does() {
    let steps = resolve(&[
        "--cap-add=net_admin,CAP_SYS_ADMIN",
        "--cap-add=NET_ADMIN",
        "--cap-drop=all",
    ]);
    let sandbox = steps.expect("valid").sandbox;
    assert_eq!(sandbox.cap_add, ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    assert_eq!(sandbox.cap_drop.len(), Capability::all().count());
}

#[test]
fn volumes_say_what_happens_to_writes() {
    let volume = |access| Volume {
        source: "/usr".into(),
        target: "/mnt/x".into(),
        access,
    };
    for (text, access) in [
        ("/usr:/mnt/x", VolumeAccess::ReadWrite),
        ("/usr:/mnt/x:rw,z", VolumeAccess::ReadWrite),
        ("/usr:/mnt/./x:ro,Z", VolumeAccess::ReadOnly),
        ("/usr:/mnt/x:O", VolumeAccess::Discarded),
    ] {
        let steps = resolve(&["-v", text]).expect("valid");
        assert_eq!(steps.sandbox.volumes, [volume(access)], "{text}");
    }
}

#[test]
fn devices_are_paths_or_names() {
    let node = |target: &str| HostDevice {
        source: "/dev/null".into(),
        target: target.into(),
    };
    for (text, devices, cdi) in [
        ("/dev/null", vec![node("/dev/null")], &[][..]),
        ("/dev/null:rwm", vec![node("/dev/null")], &[]),
        ("/dev/null:/dev/x", vec![node("/dev/x")], &[]),
        ("/dev/null:/dev/x:rw", vec![node("/dev/x")], &[]),
        ("v.example/gpu=0", vec![], &["v.example/gpu=0"]),
    ] {
        let sandbox = resolve(&["--device", text]).expect("valid").sandbox;
        assert_eq!(
            (sandbox.devices, sandbox.cdi_devices),
            (devices, texts(cdi))
        );
    }
}

#[test]
fn limits_are_written_in_two_ways() {
    let all = Resources {
        cgroup_parent: Some("/p".into()),
        memory: Some(64 << 20),
        memory_swap: Some(-1),
        cpu_shares: Some(512),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        cpuset_cpus: Some("0-1,3".into()),
        cpuset_mems: Some("0".into()),
    };
    let values = [
        ("memory", "64m"),
        ("memory-swap", "-1"),
        ("cpu-shares", "512"),
        ("cpu-period", "50000"),
        ("cpu-quota", "25000"),
        ("cpuset-cpus", "0-1,3"),
        ("cpuset-mems", "0"),
    ];
    let own = values.map(|(name, value)| format!("--{name}={value}"));
    let named = values.map(|(name, value)| format!("--resource={name}={value}"));
    let alone = resolve(&["--memory-swap", "-1"]).expect("valid");
    assert_eq!(alone.limits.resources.memory_swap, None);
    let short = ["-m64m", "--memory-swap", "-1", "-c", "512"];
    for args in [own, named] {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let steps = resolve(&[&["--cgroup-parent=/p"], args.as_slice()].concat()).expect("valid");
        assert_eq!(steps.limits.resources, all);
    }
    let steps = resolve(&short).expect("valid").limits.resources;
    assert_eq!(
        (steps.memory, steps.memory_swap, steps.cpu_shares),
        (Some(64 << 20), Some(-1), Some(512))
    );
    let zero = [
        "--memory=0",
        "--cpu-shares=0",
        "--cpu-quota=0",
        "--cpuset-cpus=",
        "--cgroup-parent=",
    ];
    let steps = resolve(&zero).expect("valid");
    assert_eq!(steps.limits.resources, Resources::default());
    let beaten = resolve(&["--resource=memory=1g", "--memory=2g"]).expect("valid");
    assert_eq!(beaten.limits.resources.memory, Some(2 << 30));
}

#[test]
fn resolvers_are_addresses_or_none() {
    let dns = resolve(&[
        "--dns=1.1.1.1",
        "--dns",
        "::1",
        "--dns-search=a",
        "--dns-opt=ndots:1",
    ]);
    let dns = dns.expect("valid").dns;
    let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["1.1.1.1", "::1"]);
    assert_eq!(
        (dns.search, dns.options),
        (texts(&["a"]), texts(&["ndots:1"]))
    );
    assert!(resolve(&["--dns=none"]).expect("valid").dns.of_image);
}

#[test]
fn isolation_is_what_linux_has() {
    for kind in ["", "default", "oci", "chroot", "rootless"] {
        assert!(resolve(&["--isolation", kind]).is_ok(), "{kind}");
    }
}

#[test]
fn bad_values_are_refused_with_a_reason() {
    let lines: &[&[&str]] = &[
        &["--network=bridge"],
        &["--allow=security.insecur"],
        &["--allow=device=v/gpu,as=x"],
        &["--add-host=a"],
        &["--add-host=a:host"],
        &["--cap-add=SYS_ADMN"],
        &["--cap-drop=everything"],
        &["--volume=/usr"],
        &["--volume=/usr:mnt"],
        &["--volume=/no/such/path:/x"],
        &["--volume=/usr:/x:U"],
        &["--volume=/usr:/x:rx"],
        &["--device=/etc/hosts"],
        &["--device=/dev/null:r"],
        &["--device=a:b:c:d"],
        &["--dns=server"],
        &["--dns=none", "--dns=1.1.1.1"],
        &["--dns=1.1.1.1", "--network=none"],
        &["--shm-size=lots"],
        &["--ulimit=nofiel=3"],
        &["--resource=memory"],
        &["--resource=mem=1g"],
        &["--memory=much"],
        &["--memory-swap=1g"],
        &["--memory=1g", "--memory-swap=512m"],
        &["--cpu-shares=-1"],
        &["--cpu-quota=half"],
        &["--cpuset-cpus=3-1"],
        &["--isolation=hyperv"],
    ];
    let reports: String = lines
        .iter()
        .map(|line| resolve(line).err().expect("invalid"))
        .collect();
    insta::assert_snapshot!(reports, @r#"
    ERROR: invalid value "bridge" for --network: unknown network "bridge"
      hint: known are default, host, none
    ERROR: invalid value "security.insecur" for --allow: unknown entitlement "security.insecur"
      hint: did you mean "security.insecure"?
    ERROR: invalid value "device=v/gpu,as=x" for --allow: "as=x" is no setting of a device
      hint: write device=NAME[,alias=NAME]
    ERROR: invalid value "a" for --add-host: no address
      hint: write HOST:IP
    ERROR: invalid value "a:host" for --add-host: "host" is no IP address
    ERROR: invalid value "SYS_ADMN" for --cap-add: unknown capability "SYS_ADMN"
      hint: did you mean SYS_ADMIN?
    ERROR: invalid value "everything" for --cap-drop: unknown capability "everything"
      hint: capabilities(7) has the list
    ERROR: invalid value "/usr" for --volume: not a source and a target
      hint: write SOURCE:TARGET[:ro|rw|O]
    ERROR: invalid value "/usr:mnt" for --volume: the target "mnt" is no absolute path
    ERROR: invalid value "/no/such/path:/x" for --volume: /no/such/path does not exist
    ERROR: invalid value "/usr:/x:U" for --volume: U would change the owner of files on this machine
      hint: chown them yourself, or use O
    ERROR: invalid value "/usr:/x:rx" for --volume: unknown mount option "rx"
      hint: did you mean "ro"?
    ERROR: invalid value "/etc/hosts" for --device: /etc/hosts is no device
    ERROR: invalid value "/dev/null:r" for --device: a device cannot be given for reading or writing alone
      hint: its file's own mode decides: change that, or write rwm
    ERROR: invalid value "a:b:c:d" for --device: not a device
      hint: write PATH[:TARGET][:rwm] or VENDOR/CLASS=NAME
    ERROR: invalid value "server" for --dns: "server" is no IP address
    ERROR: --dns=none leaves the image's own file, which has no further options
      hint: leave out --dns=none, or the others
    ERROR: --dns means nothing with --network=none
      hint: leave one of them out
    ERROR: invalid value "lots" for --shm-size: not a size
      hint: write a number and b, k, m, g or t, such as 64m
    ERROR: invalid value "nofiel=3" for --ulimit: unknown limit "nofiel"
      hint: did you mean "nofile"?
    ERROR: invalid value "memory" for --resource: no value
      hint: write NAME=VALUE
    ERROR: invalid value "mem=1g" for --resource: unknown resource "mem"
      hint: known are memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems
    ERROR: invalid value "much" for --memory: not a size
      hint: write a number and b, k, m, g or t, such as 64m
    ERROR: --memory-swap needs --memory
      hint: it is the limit of memory and swap together
    ERROR: --memory-swap is less than --memory
      hint: it is the limit of memory and swap together
    ERROR: invalid value "-1" for --cpu-shares: not a number, 0 or more
    ERROR: invalid value "half" for --cpu-quota: not a number of microseconds
    ERROR: invalid value "3-1" for --cpuset-cpus: not a list of numbers
      hint: write it as 0-3 or 0,1
    ERROR: invalid value "hyperv" for --isolation: unknown isolation "hyperv"
      hint: known are default, oci, rootless, chroot
    "#);
}
