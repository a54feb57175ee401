//! What containers share and what not.

use super::loaded;

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
