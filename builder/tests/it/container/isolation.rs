//! What containers share and what not.

use super::loaded;
use crate::support::need;

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
    ];
    for (options, script, expected) in cases {
        let args = [&["run", "--rm"], *options, &["busybox", "sh", "-c", script]].concat();
        scene.run(&args).ok().prints(expected);
    }
    let refused = ["run", "--rm", "--sysctl=vm.swappiness=1", "busybox", "true"];
    scene.run(&refused).exits(125).says("own namespaces");
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
