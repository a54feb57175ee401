//! Containers with ids of their own.

use std::os::unix::fs::MetadataExt;

use super::{Scene, loaded};
use crate::support::need;
use crate::support::process::{Outcome, run};

/// Lays a file over those that hand out ids, and executes the rest of its arguments.
const LEND: &str = "for file in /etc/subuid /etc/subgid; do mount --bind \"$0\" $file; done; \
                    exec \"$@\"";

/// A scene whose cooper sees other grants of ids than the machine's.
struct Lender {
    scene: Scene,
}

impl Lender {
    fn new(grants: &str) -> Option<Self> {
        need::root()?;
        let there = |path: &str| std::path::Path::new(path).exists();
        if !there("/etc/subuid") || !there("/etc/subgid") {
            return need::skip("there is no /etc/subuid to lay another over");
        }
        let lender = Self { scene: loaded()? };
        std::fs::write(lender.scene.scratch("grants"), grants).expect("writes");
        let tried = lender.run(&["run", "--rm", "--userns=auto", "busybox", "true"]);
        if tried
            .to_string()
            .contains("with the container's own ids here")
        {
            return need::skip("neither kernel nor file system have idmapped mounts");
        }
        Some(lender)
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = self.scene.bare_command("unshare");
        command
            .args(["--mount", "sh", "-euc", LEND])
            .arg(self.scene.scratch("grants"))
            .arg(env!("CARGO_BIN_EXE_cooper"))
            .arg("--root")
            .arg(self.scene.root())
            .args(args);
        self.scene.in_network(args, || run(command))
    }
}

#[test]
fn root_of_a_container_with_ids_of_its_own_is_nobody_outside() {
    let Some(lender) = Lender::new("containers:200000:131072\n") else {
        return;
    };
    let scene = &lender.scene;
    let script = "touch /data/f /g; chown 5:6 /data/f; echo up; exec sleep 1000";
    let options = ["run", "-d", "--userns=auto", "--name=web", "-v=vol:/data"];
    let command = ["busybox", "sh", "-c", script];
    lender.run(&[&options[..], &command].concat()).ok();
    scene.await_log("web", "up");
    let pid = scene.fact("web", "{{.State.Pid}}");
    let owner = std::fs::metadata(format!("/proc/{pid}")).expect("it runs");
    assert_eq!((owner.uid(), owner.gid()), (200_000, 200_000));
    // Inside everything is as it would be without.
    let look = "id -u; stat -c '%u:%g' /etc/passwd /g /data/f /dev/null /etc/hosts; \
                echo out > /dev/stdout";
    let seen = "0\n0:0\n0:0\n5:6\n0:0\n0:0\nout\n";
    lender
        .run(&["exec", "web", "sh", "-c", look])
        .ok()
        .prints(seen);
    let who = "id -u; cat /data/f; touch /data/x 2>/dev/null || echo denied";
    let args = ["exec", "-u=1000", "web", "sh", "-c", who];
    lender.run(&args).ok().prints("1000\ndenied\n");
    // Outside files are kept with the ids of the inside, for containers with others.
    let kept = std::fs::metadata(scene.root().join("volumes/vol/_data/f")).expect("is kept");
    assert_eq!((kept.uid(), kept.gid()), (5, 6));
    let other = "stat -c '%u:%g' /data/f; sed 's/  */ /g' /proc/self/uid_map";
    let own = [
        "run",
        "--rm",
        "--userns=auto",
        "-v=vol:/data",
        "--network=none",
    ];
    let args = [&own[..], &["busybox", "sh", "-c", other]].concat();
    lender.run(&args).ok().prints("5:6\n 0 265536 65536\n");
    let map = scene.fact("web", "{{index .HostConfig.IDMappings.UidMap 0}}");
    assert_eq!(map, "0:200000:65536");
}

#[test]
fn files_of_a_container_with_ids_of_its_own_are_copied_compared_and_committed() {
    let Some(lender) = Lender::new("containers:200000:65536\n") else {
        return;
    };
    let scene = &lender.scene;
    let theirs = scene.scratch("theirs");
    std::fs::write(&theirs, "from outside\n").expect("writes");
    let theirs = theirs.display().to_string();
    let bind = format!("-v={theirs}:/bound:ro");
    let options = ["run", "-d", "--userns=auto", "--name=web", &bind];
    let script = "echo made > /f; chown 7:8 /f; echo up; exec sleep 1000";
    let command = ["busybox", "sh", "-c", script];
    lender.run(&[&options[..], &command].concat()).ok();
    scene.await_log("web", "up");
    // What nobody gave to the container is nobody's in it.
    let look = ["exec", "web", "stat", "-c", "%u:%g", "/bound"];
    lender.run(&look).ok().prints("65534:65534\n");
    lender.run(&["cp", &theirs, "web:/copied"]).ok();
    let look = ["exec", "web", "stat", "-c", "%u:%g", "/copied"];
    lender.run(&look).ok().prints("0:0\n");
    let archive = lender.run(&["cp", "web:/f", "-"]).ok();
    assert!(archive.out().contains("made\n"), "{archive}");
    let changes = lender.run(&["diff", "web"]).ok().out();
    assert!(
        changes.contains("A /copied\n") && changes.contains("A /f\n"),
        "{changes}"
    );
    lender.run(&["restart", "-t0", "web"]).ok();
    lender
        .run(&["exec", "web", "stat", "-c", "%u:%g", "/f"])
        .ok()
        .prints("7:8\n");
    lender.run(&["commit", "web", "made"]).ok();
    let args = ["run", "--rm", "made", "stat", "-c", "%u:%g", "/f"];
    lender.run(&args).ok().prints("7:8\n");
    let args = ["run", "--rm", "--userns=auto", "busybox", "true"];
    let outcome = lender.run(&args).exits(125);
    outcome
        .says("other containers have all the ids")
        .says("/etc/subuid");
}

#[test]
fn all_containers_have_the_ids_that_the_configuration_names() {
    let grants = "dockremap:300000:65536\nme:400000:1000\ncontainers:500000:65536\n";
    let Some(lender) = Lender::new(grants) else {
        return;
    };
    let scene = &lender.scene;
    let dir = scene.scratch("config/cooper");
    std::fs::create_dir_all(&dir).expect("makes");
    let map = [
        "run",
        "--rm",
        "busybox",
        "sed",
        "s/  */ /g",
        "/proc/self/uid_map",
    ];
    for (user, expected) in [("default", " 0 300000 65536\n"), ("me", " 0 400000 1000\n")] {
        let text = format!("[run]\nuserns-remap = {user:?}\n");
        std::fs::write(dir.join("config.toml"), text).expect("writes");
        lender.run(&map).ok().prints(expected);
    }
    // A server of low ports works, on the network that is the container's own.
    let serve = "nc -ll -p 80 -e echo served & \
                 until nc -w 5 127.0.0.1 80 </dev/null 2>/dev/null; do :; done";
    let args = ["run", "--rm", "busybox", "sh", "-c", serve];
    lender.run(&args).ok().prints("served\n");
    let host = [&["run", "--rm", "--userns=host"], &map[2..]].concat();
    lender.run(&host).ok().prints(" 0 0 4294967295\n");
    for option in ["--privileged", "--network=host", "--pid=host"] {
        let refused = lender.run(&["run", "--rm", option, "busybox", "true"]);
        refused.exits(125).says(option).says("--userns=host");
        let allowed = ["run", "--rm", "--userns=host", option, "busybox", "true"];
        lender.run(&allowed).ok();
    }
    let outcome = lender.run(&["run", "--rm", "-u=1000", "busybox", "true"]);
    outcome.exits(125).says("user 1000 does not exist here");
    let text = "[run]\nuserns-remap = \"nobody-here\"\n";
    std::fs::write(dir.join("config.toml"), text).expect("writes");
    let outcome = lender.run(&map).exits(125);
    outcome.says("user nobody-here has no ids in /etc/subuid");
}
