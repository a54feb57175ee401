//! What containers share and what not.

use super::loaded;
use crate::support::{Context, need};

#[test]
fn options_confine_and_free() {
    let Some(scene) = loaded() else { return };
    let cases: &[(&[&str], &str, &str)] = &[
        (
            &["--cap-drop=CHOWN"],
            "touch /f; chown 1 /f 2>/dev/null || echo denied",
            "denied\n",
        ),
        (
            &["--read-only"],
            "touch /f 2>/dev/null || echo denied",
            "denied\n",
        ),
        (&["--init"], "echo $$", "2\n"),
        (&["--uts=host"], "hostname | wc -l", "1\n"),
        (&["--pid=host"], "[ -d /proc/2 ] && echo many", "many\n"),
        (
            &[
                "--network=none",
                "--sysctl=net.ipv4.ip_unprivileged_port_start=7",
            ],
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
            "7\n",
        ),
        (
            &["--ulimit=nofile=77:88"],
            "ulimit -n; ulimit -Hn",
            "77\n88\n",
        ),
        (&["--group-add=77", "-u=7:8"], "id -G", "8 77\n"),
        (
            &["--device=/dev/null:/dev/nothing"],
            "echo x > /dev/nothing && echo written",
            "written\n",
        ),
        (
            &["--domainname=shop.example", "-h=web", "--network=none"],
            "cat /proc/sys/kernel/domainname; grep -o 'web.shop.example web' /etc/hosts; hostname",
            "shop.example\nweb.shop.example web\nweb\n",
        ),
    ];
    for (options, script, expected) in cases {
        let args = [&["run", "--rm"], *options, &["busybox", "sh", "-c", script]].concat();
        scene.run(&args).ok().prints(expected);
    }
    let refused = ["run", "--rm", "--sysctl=vm.swappiness=1", "busybox", "true"];
    scene.run(&refused).exits(125).says("own namespaces");
}

#[test]
fn what_is_said_of_a_container_can_be_inspected() {
    let Some(scene) = loaded() else { return };
    let said = ["--annotation=a.b=c=d", "--domainname=x", "--cgroupns=host"];
    let made = [&["create", "--name=web"], &said[..], &["busybox", "true"]].concat();
    scene.run(&made).ok();
    let template = "{{json .HostConfig.Annotations}} {{.Config.Domainname}} \
        {{.HostConfig.CgroupnsMode}}";
    assert_eq!(scene.fact("web", template), r#"{"a.b":"c=d"} x host"#);
    for (option, advice) in [
        ("--annotation=a", "write a=VALUE"),
        ("--cgroupns=other", "host"),
        ("--device-cgroup-rule=c 1:3", "root|'c 42:* rmw'"),
        (
            "--storage-opt=size=1g",
            "mount a file system of the right size",
        ),
        ("--gpus=all", "select device driver|nvidia-ctk cdi generate"),
        ("--isolation=hyperv", "linux only supports 'default'"),
        ("--runtime=other", "cooper makes containers itself"),
        ("--stop-signal=foo", "not a signal"),
        ("--cpus=9999", "Range of CPUs is from 0.01 to"),
    ] {
        let refused = scene
            .run(&["run", "--rm", option, "busybox", "true"])
            .exits(125);
        let advised = advice
            .split('|')
            .any(|advice| refused.stderr.contains(advice));
        assert!(advised, "{refused}");
    }
}

#[test]
fn shared_memory_is_that_of_whose_namespace_it_is() {
    let Some(scene) = loaded() else { return };
    let write = "echo theirs > /dev/shm/x; sleep 1000";
    scene.detached(&["--name=web", "--ipc=shareable"], &["sh", "-c", write]);
    assert_eq!(scene.fact("web", "{{.HostConfig.IpcMode}}"), "shareable");
    let look = "until [ -s /dev/shm/x ]; do :; done; cat /dev/shm/x; echo ours > /dev/shm/y";
    let joined = ["run", "--rm", "--ipc=container:web", "busybox", "sh", "-c"];
    let joined = [&joined[..], &[look]].concat();
    scene.run(&joined).ok().prints("theirs\n");
    let back = ["exec", "web", "cat", "/dev/shm/y"];
    assert_eq!(scene.run(&back).ok().out(), "ours\n");
    // What another puts there in the place of a directory leads nowhere.
    let turn = "mkdir /tmp/own; rm -f /dev/shm/x; ln -s /etc /dev/shm/x";
    scene.run(&["exec", "web", "sh", "-c", turn]).ok();
    let link = [
        "run",
        "--rm",
        "--ipc=container:web",
        "busybox",
        "readlink",
        "/dev/shm/x",
    ];
    scene.run(&link).ok().prints("/etc\n");
    // Those that did not offer it keep it to themselves.
    for mode in ["private", "none"] {
        scene.detached(
            &["--name=own", &format!("--ipc={mode}")],
            &["sleep", "1000"],
        );
        let refused = scene.run(&["run", "--rm", "--ipc=container:own", "busybox", "true"]);
        refused
            .exits(125)
            .says("not shareable")
            .says("--ipc=shareable");
        scene.run(&["rm", "-f", "own"]).ok();
    }
    let name = format!("cooper-test-{}", std::process::id());
    let write = format!("echo all > /dev/shm/{name}");
    let host = ["run", "--rm", "--ipc=host", "busybox", "sh", "-c", &write];
    scene.run(&host).ok();
    let path = std::path::Path::new("/dev/shm").join(name);
    assert_eq!(std::fs::read_to_string(&path).expect("is there"), "all\n");
    std::fs::remove_file(path).expect("removes");
}

/// Devices of a vendor: a node, a mount and variables.
const SPECIFICATION: &str = r#"{
    "cdiVersion": "0.6.0",
    "kind": "KIND",
    "containerEdits": {"env": ["DRIVER=1"]},
    "devices": [
        {"name": "0", "containerEdits": {
            "env": ["ZERO=1"],
            "deviceNodes": [{"path": "/dev/vendor0", "hostPath": "/dev/null"}],
            "mounts": [{"hostPath": "LIBRARY", "containerPath": "/lib/vendor", "options": ["ro"]}]
        }},
        {"name": "all", "containerEdits": {
            "deviceNodes": [{"path": "/dev/vendor-all", "hostPath": "/dev/zero"}]
        }},
        {"name": "hooked", "containerEdits": {
            "hooks": [{"hookName": "createContainer", "path": "/usr/bin/hook"}]
        }}
    ]
}"#;

#[test]
fn devices_are_given_by_name_and_by_kind() {
    let Some(scene) = loaded() else { return };
    let (config, library) = (scene.scratch("config/cooper"), scene.scratch("vendor"));
    let specifications = scene.scratch("cdi");
    for directory in [&config, &specifications] {
        std::fs::create_dir_all(directory).expect("makes");
    }
    std::fs::write(&library, "library\n").expect("writes");
    let text = format!("[run]\ncdi-spec-dirs = [{specifications:?}]\n");
    std::fs::write(config.join("config.toml"), text).expect("writes");
    let none = ["run", "--rm", "--gpus=all", "busybox", "true"];
    let refused = scene.run(&none).exits(125);
    refused.says("could not select device driver \"\" with capabilities: [[gpu]]");
    for (file, kind) in [
        ("a.json", "vendor.example/card"),
        ("b.json", "nvidia.com/gpu"),
    ] {
        let text = SPECIFICATION.replace("KIND", kind);
        let text = text.replace("LIBRARY", library.to_str().expect("text"));
        std::fs::write(specifications.join(file), text).expect("writes");
    }
    let first = "card $DRIVER $ZERO; echo lost > /dev/vendor0; cat /lib/vendor; \
                 touch /lib/vendor 2>/dev/null || echo kept";
    let first = format!("echo {first}");
    let all = "[ -c /dev/vendor-all ] && head -c 1 /dev/vendor-all | od -An -tx1; echo $DRIVER";
    for (option, script, expected) in [
        (
            "--device=vendor.example/card=0",
            first.as_str(),
            "card 1 1\nlibrary\nkept\n",
        ),
        ("--gpus=device=0", &first, "card 1 1\nlibrary\nkept\n"),
        ("--gpus=1", &first, "card 1 1\nlibrary\nkept\n"),
        ("--gpus=all", all, " 00\n1\n"),
    ] {
        let args = ["run", "--rm", option, "busybox", "sh", "-c", script];
        scene.run(&args).ok().prints(expected);
    }
    for (option, message) in [
        (
            "--device=vendor.example/card=9",
            "known are nvidia.com/gpu=0",
        ),
        ("--device=vendor.example/card=hooked", "hooks are not run"),
        (
            "--gpus=driver=other",
            "could not select device driver \"other\"",
        ),
    ] {
        let refused = scene.run(&["run", "--rm", option, "busybox", "true"]);
        refused.exits(125).says(message);
    }
    let named = [
        "create",
        "--name=web",
        "--gpus=all",
        "--device=vendor.example/card=0",
    ];
    scene.run(&[&named[..], &["busybox"]].concat()).ok();
    let requests = "{{range .HostConfig.DeviceRequests}}{{.Driver}} {{.Count}} {{.DeviceIDs}} \
        {{.Capabilities}};{{end}}";
    assert_eq!(
        scene.fact("web", requests),
        "cdi 0 [vendor.example/card=0] []; -1 [] [[gpu]];"
    );
}

#[test]
fn control_groups_are_the_hosts_when_asked_for() {
    let Some(scene) = loaded() else { return };
    let look = |mode: &str| {
        let option = format!("--cgroupns={mode}");
        let args = [
            "run",
            "--rm",
            &option,
            "busybox",
            "readlink",
            "/proc/self/ns/cgroup",
        ];
        scene.run(&args).ok().out()
    };
    let own = std::fs::read_link("/proc/self/ns/cgroup").expect("reads");
    assert_eq!(look("host").trim_end(), own.to_string_lossy());
    assert_ne!(look("private").trim_end(), own.to_string_lossy());
}

/// Returns the numbers of a device of this machine that opens, and that containers do not have.
fn device() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let known = ["fuse", "loop-control", "net/tun", "ppp", "kvm", "hwrng"];
    let found = known.iter().find_map(|name| {
        let path = std::path::Path::new("/dev").join(name);
        std::fs::File::open(&path).ok()?;
        let number = std::fs::metadata(&path).ok()?.rdev();
        Some((rustix::fs::major(number), rustix::fs::minor(number)))
    });
    found.or_else(|| need::skip("this machine has no device to try"))
}

/// Whoever can make nodes could read the host's disks by one.
#[test]
fn a_node_gives_no_device() {
    let Some(scene) = loaded() else { return };
    let Some((major, minor)) = need::root().and_then(|()| device()) else {
        return;
    };
    let open = format!("mknod /n c {major} {minor} && exec 3</n && echo opened");
    let run = |options: &[&str], script: &str| {
        let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
        scene.run(&args)
    };
    let denied = "Operation not permitted";
    run(&[], &open).exits(1).says(denied);
    run(&["--cap-add=ALL"], &open).exits(1).says(denied);
    run(&["-m=64m", "--security-opt=seccomp=unconfined"], &open)
        .exits(1)
        .says(denied);
    let rule = format!("--device-cgroup-rule=c {major}:{minor} rm");
    run(&[&rule], &open).ok().prints("opened\n");
    let write = open.replace("3</n", "3>/n");
    run(&[&rule], &write).exits(1).says(denied);
    run(&["--privileged"], &open).ok().prints("opened\n");
    // Those that every container has are had by any node.
    let usual =
        "mknod /n c 1 3 && echo x > /n && mkdir /d && mknod /d/z c 1 5 && head -c 1 /d/z | wc -c";
    run(&[], usual).ok().prints("1\n");
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    scene
        .run(&["exec", "web", "sh", "-c", &open])
        .exits(1)
        .says(denied);
    let exec = ["exec", "--privileged", "web", "sh", "-c", "exec 3</n"];
    scene.run(&exec).exits(1).says(denied);
}

/// The same of a build's steps, which run what a Dockerfile says.
#[test]
fn a_node_gives_a_step_no_device() {
    let Some(scene) = loaded() else { return };
    let Some((major, minor)) = need::root().and_then(|()| device()) else {
        return;
    };
    let open = format!("mknod /n c {major} {minor} && exec 3</n && echo opened");
    let context = Context::new(&format!("FROM busybox\nRUN {open}\n"));
    scene
        .build::<&str>(&context, &[])
        .exits(1)
        .says("Operation not permitted");
    let insecure = Context::new(&format!(
        "# syntax=docker/dockerfile:1-labs\nFROM busybox\nRUN --security=insecure {open}\n\
        RUN exec 3</n\n"
    ));
    let outcome = scene.build(&insecure, &["--allow=security.insecure"]);
    outcome
        .exits(1)
        .says("opened")
        .says("Operation not permitted");
}

#[test]
fn processes_of_another_container_are_seen_when_asked_for() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=one", "-h", "first"], &["sleep", "1234"]);
    let other = ["run", "--rm", "--pid=container:one", "--uts=container:one"];
    let script = "ps -o args | grep -c 'sleep 123[4]'; hostname";
    let args = [&other[..], &["busybox", "sh", "-c", script]].concat();
    if crate::support::need::is_root() {
        scene.run(&args).ok().prints("1\nfirst\n");
    }
    let missing = ["run", "--rm", "--pid=container:no", "busybox", "true"];
    scene.run(&missing).exits(125).says("no such container");
}

#[test]
fn an_init_passes_signals_on_and_ends_as_its_program_does() {
    let Some(scene) = loaded() else { return };
    let script = "trap 'exit 6' TERM; echo ready; while :; do sleep 0.02; done";
    scene.detached(&["--name=web", "--init"], &["sh", "-c", script]);
    scene.await_log("web", "ready");
    scene.run(&["stop", "web"]).ok();
    assert_eq!(scene.fact("web", "{{.State.ExitCode}}"), "6");
}

/// Docker's form of a profile: the first rule with a capability, the second on an argument.
#[test]
fn a_profile_decides_over_system_calls_of_all_processes() {
    let Some(scene) = loaded() else { return };
    let path = scene.scratch("profile.json");
    let profile = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "args": [],
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"name": "kill", "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}
        ]
    }"#;
    std::fs::write(&path, profile).expect("writes");
    let option = format!("seccomp={}", path.display());
    let script = "mkdir /x; chmod 1 /etc; kill -USR1 $$; kill -0 $$ && echo alive";
    let args = ["--security-opt", &option, "busybox", "sh", "-c", script];
    let found = scene.run(&[&["run", "--rm"], &args[..]].concat()).ok();
    let found = found.prints("alive\n");
    let said = found.stderr.replace('\'', "");
    assert!(
        said.contains("mkdir: cant create directory /x: No space left"),
        "{said}"
    );
    assert!(
        said.contains("chmod: /etc: Operation not permitted"),
        "{said}"
    );
    let more = [
        "run",
        "--rm",
        "--cap-add=SYS_ADMIN",
        "--security-opt",
        &option,
        "busybox",
    ];
    scene
        .run(&[&more[..], &["chmod", "755", "/etc"]].concat())
        .ok();
    scene.detached(
        &["--name=web", "--security-opt", &option],
        &["sleep", "1000"],
    );
    let joined = scene.run(&["exec", "web", "mkdir", "/x"]);
    joined.exits(1).says("No space left");
    for (text, says) in [
        ("{", "EOF while parsing"),
        (
            "{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}",
            "SCMP_ACT_NOTIFY",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": \"SCMP_ACT_LOG\"}]}",
            "rule 1",
        ),
    ] {
        std::fs::write(&path, text).expect("writes");
        let bad = ["run", "--security-opt", &option, "busybox", "true"];
        scene.run(&bad).exits(125).says(says).says("profile.json");
    }
}

#[test]
fn system_paths_are_open_when_asked_for() {
    let Some(scene) = loaded() else { return };
    let script = "grep -c ' /proc/[a-z]' /proc/self/mounts; true";
    let count = |options: &[&str]| {
        let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
        let found = scene.run(&args).ok().out();
        found.trim().parse::<usize>().expect("a number")
    };
    assert_eq!(count(&["--security-opt", "systempaths=unconfined"]), 0);
    assert!(count(&[]) > 3);
}

/// Whether this kernel has AppArmor in force.
fn has_apparmor() -> bool {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|enabled| enabled.trim() == "Y")
}

#[test]
fn a_profile_that_the_kernel_does_not_have_is_refused() {
    let Some(scene) = loaded() else { return };
    let args = [
        "run",
        "--rm",
        "--security-opt=apparmor=no-such-profile",
        "busybox",
        "true",
    ];
    let outcome = scene.run(&args).exits(125).says("no-such-profile");
    if !has_apparmor() {
        outcome.says("this kernel has no AppArmor enabled");
    }
    let free = [
        "run",
        "--rm",
        "--security-opt=apparmor=unconfined",
        "busybox",
        "true",
    ];
    scene.run(&free).ok();
}

#[test]
fn apparmor_confines_what_capabilities_and_system_calls_do_not() {
    let Some(scene) = loaded() else { return };
    let tools = need::root().and(need::tool("apparmor_parser"));
    if tools.is_none() {
        return;
    }
    if !has_apparmor() {
        return need::skip::<()>("this kernel has no AppArmor enabled").unwrap_or_default();
    }
    let current = ["cat", "/proc/self/attr/current"];
    let default = scene
        .run(&[&["run", "--rm", "busybox"], &current[..]].concat())
        .ok()
        .out();
    let known = ["cooper-default (enforce)\n", "docker-default (enforce)\n"];
    assert!(known.contains(&default.as_str()), "{default}");
    let free = ["--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"];
    let mount = "mount -t tmpfs tmpfs /mnt 2>/dev/null && echo mounted || echo denied";
    for (profile, expected) in [("cooper-default", "denied\n"), ("unconfined", "mounted\n")] {
        let option = format!("--security-opt=apparmor={profile}");
        if profile == "cooper-default" && default.starts_with("docker") {
            continue;
        }
        let args = [
            &["run", "--rm", &option],
            &free[..],
            &["busybox", "sh", "-c"],
        ]
        .concat();
        let script = format!("mkdir -p /mnt; {mount}");
        scene
            .run(&[&args[..], &[&script]].concat())
            .ok()
            .prints(expected);
    }
    // What joins the container is confined as it is.
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    scene
        .run(&[&["exec", "web"], &current[..]].concat())
        .ok()
        .prints(&default);
    let unconfined = ["run", "--rm", "--privileged", "busybox"];
    let args = [&unconfined[..], &current[..]].concat();
    scene.run(&args).ok().prints("unconfined\n");
}
