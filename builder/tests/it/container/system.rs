//! What happens, and what everything takes: `events`, `system`, `info`.

use serde_json::Value;

use super::{Scene, loaded};
use crate::support::need;

/// Returns what happened so far, as `TYPE ACTION NAME`.
#[track_caller]
fn happened(scene: &Scene, filters: &[&str]) -> Vec<String> {
    let format = "{{.Type}} {{.Action}} {{index .Actor.Attributes \"name\"}}";
    let mut args = vec![
        "events", "--since", "1h", "--until", "0s", "--format", format,
    ];
    for filter in filters {
        args.extend(["--filter", filter]);
    }
    let out = scene.run(&args).ok().out();
    out.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn what_happens_to_a_container_is_told_in_its_order() {
    let Some(scene) = loaded() else { return };
    scene.detached(
        &["--name=web", "--label=tier=front", "-v", "data:/data"],
        &["sleep", "1000"],
    );
    scene.run(&["exec", "web", "true"]).ok();
    scene.run(&["pause", "web"]).ok();
    scene.run(&["unpause", "web"]).ok();
    scene.run(&["cp", "web:/etc/passwd", "-"]).ok();
    let passwd = scene.scratch("passwd").display().to_string();
    std::fs::write(&passwd, "").expect("writes");
    scene.run(&["cp", &passwd, "web:/copy"]).ok();
    scene.run(&["top", "web"]).ok();
    let archive = scene.scratch("web.tar").display().to_string();
    scene.run(&["export", "-o", &archive, "web"]).ok();
    scene.run(&["commit", "--pause=false", "web"]).ok();
    scene.run(&["rename", "web", "shop"]).ok();
    scene.run(&["stop", "-t", "0", "shop"]).ok();
    scene.run(&["rm", "shop"]).ok();
    assert_eq!(
        happened(&scene, &["type=container"]),
        [
            "container create web",
            "container start web",
            "container exec_create: true web",
            "container exec_start: true web",
            "container exec_die web",
            "container pause web",
            "container unpause web",
            "container archive-path web",
            "container extract-to-dir web",
            "container top web",
            "container export web",
            "container commit web",
            "container rename shop",
            "container kill shop",
            "container kill shop",
            "container die shop",
            "container stop shop",
            "container destroy shop",
        ]
    );
    assert_eq!(
        happened(&scene, &["event=die", "label=tier=front"]),
        ["container die shop"]
    );
    assert_eq!(
        happened(&scene, &["container=web", "event=start"]),
        ["container start web"]
    );
    let of_volume = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes \"destination\"}}",
        "-f",
        "volume=data",
    ];
    let told = scene.run(&of_volume).ok().out();
    assert_eq!(told, "create data \nmount data /data\nunmount data \n");
    let of_image = happened(&scene, &["type=image"]);
    assert_eq!(of_image, ["image load busybox:latest"]);
    let json = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "json",
        "-f",
        "event=die",
    ];
    let event: Value = serde_json::from_str(&scene.run(&json).ok().out()).expect("JSON");
    assert_eq!(event["Actor"]["Attributes"]["exitCode"], "137");
    assert_eq!(
        (&event["status"], &event["from"]),
        (&"die".into(), &"busybox".into())
    );
    scene
        .run(&["events", "-f", "colour=red"])
        .exits(1)
        .says("unknown filter");
}

#[test]
fn events_are_followed_as_they_happen() {
    let Some(scene) = loaded() else { return };
    let format = "{{.Action}} {{index .Actor.Attributes \"exitCode\"}}";
    let args = [
        "events",
        "--format",
        format,
        "-f",
        "event=die",
        "-f",
        "event=start",
    ];
    let mut command = scene.command();
    let mut child = command
        .args(args)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let journal = scene.root().join("events/journal");
    let before = std::fs::metadata(&journal).map_or(0, |metadata| metadata.len());
    // It reads from the end that it found; a container that is older than it is not shown.
    std::thread::sleep(std::time::Duration::from_millis(500));
    scene
        .run(&["run", "--rm", "busybox", "sh", "-c", "exit 3"])
        .exits(3);
    assert!(std::fs::metadata(&journal).expect("there").len() > before);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("a pipe"),
    ));
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!([next().trim_end(), &next()], ["start", "die 3"]);
    child.kill().expect("kills");
    child.wait().expect("ends");
}

#[test]
fn a_health_check_and_the_want_of_memory_are_told() {
    let Some(scene) = loaded() else { return };
    let health = [
        "--name=sick",
        "--health-cmd=test -e /ok",
        "--health-interval=50ms",
    ];
    scene.detached(
        &[&health[..], &["--health-retries=1"]].concat(),
        &["sleep", "1000"],
    );
    scene.await_fact("sick", "{{.State.Health.Status}}", "unhealthy");
    scene.run(&["exec", "sick", "touch", "/ok"]).ok();
    scene.await_fact("sick", "{{.State.Health.Status}}", "healthy");
    let told = happened(&scene, &["event=health_status"]);
    assert_eq!(
        told,
        [
            "container health_status: unhealthy sick",
            "container health_status: healthy sick"
        ]
    );
    if need::root().is_some() {
        let limits = ["run", "--name=hungry", "-m=16m", "--memory-swap=16m"];
        let args = [&limits[..], &["busybox", "tail", "/dev/zero"]].concat();
        scene.run(&args).exits(137);
        let told = happened(&scene, &["event=oom", "event=die"]);
        assert_eq!(told, ["container oom hungry", "container die hungry"]);
    }
}

#[test]
fn the_system_is_described_where_scripts_look() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    scene.run(&["create", "busybox"]).ok();
    let format = "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}}";
    for info in [&["info"][..], &["system", "info"]] {
        let args = [info, &["--format", format]].concat();
        assert_eq!(scene.run(&args).ok().out(), "2 1 1 1\n");
        let text = scene.run(info).ok().out();
        assert!(text.contains(" Running: 1\n"), "{text}");
    }
    let root = scene
        .run(&["info", "-f", "{{json .DockerRootDir}}"])
        .ok()
        .out();
    assert_eq!(
        root.trim().trim_matches('"'),
        scene.root().to_str().expect("UTF-8")
    );
    let version = ["version", "--format", "{{.Client.Version}} {{.Server.Os}}"];
    let version = scene.run(&version).ok().out();
    assert!(
        version.ends_with(" linux\n") && !version.starts_with(' '),
        "{version}"
    );
    let sizes = scene
        .run(&["ps", "-as", "--format", "{{.Size}}"])
        .ok()
        .out();
    assert_eq!(sizes.lines().count(), 2);
    assert!(
        sizes.lines().all(|size| size.starts_with("0B (virtual ")),
        "{sizes}"
    );
    let kinds = ["inspect", "--type", "volume", "none"];
    scene.run(&kinds).exits(1).says("no such volume");
    scene.run(&["volume", "create", "data"]).ok();
    let found = scene
        .run(&["inspect", "-f", "{{.Name}} {{.Driver}}", "data"])
        .ok()
        .out();
    assert_eq!(found, "data local\n");
}

#[test]
fn the_store_is_summed_up_and_pruned() {
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=runs", "-v", "used:/used"], &["sleep", "1000"]);
    let write = "head -c 100000 /dev/zero > /x";
    scene
        .run(&[
            "run",
            "--name=ended",
            "-v",
            "/anonymous",
            "busybox",
            "sh",
            "-c",
            write,
        ])
        .ok();
    scene.run(&["volume", "create", "named"]).ok();
    let df = [
        "system",
        "df",
        "--format",
        "{{.Type}}|{{.TotalCount}}|{{.Active}}",
    ];
    assert_eq!(
        scene.run(&df).ok().out(),
        "Images|1|1\nContainers|2|1\nLocal Volumes|3|2\nBuild Cache|0|0\n"
    );
    let table = scene.run(&["system", "df"]).ok().out();
    assert!(table.starts_with("TYPE "), "{table}");
    let verbose = scene.run(&["system", "df", "-v"]).ok().out();
    for part in [
        "Images space usage:",
        "ended",
        "named",
        "Build cache usage: 0B",
    ] {
        assert!(verbose.contains(part), "{part} in {verbose}");
    }

    scene
        .run(&["system", "prune", "--filter", "until=1h", "-f"])
        .ok();
    // A label keeps what does not have it, of every kind.
    scene.run(&["volume", "create"]).ok();
    scene.run(&["network", "create", "apart"]).ok();
    let counts = || {
        ["volume", "network"].map(|kind| {
            let listed = scene.run(&[kind, "ls", "-q"]).ok().out();
            listed.lines().count()
        })
    };
    let before = counts();
    let labelled = ["system", "prune", "-f", "--volumes", "--filter=label=x"];
    scene
        .run(&labelled)
        .ok()
        .prints("Total reclaimed space: 0B\n");
    assert_eq!(counts(), before);
    let aged = ["system", "prune", "-f", "--volumes", "--filter=until=1h"];
    let refused = scene.run(&aged).exits(1);
    refused.says("\"until\" filter is not supported with \"--volumes\"");
    scene.fact("ended", "{{.Id}}");
    let id = scene.fact("ended", "{{.Id}}");
    let pruned = scene
        .run(&["system", "prune", "-f", "--volumes"])
        .ok()
        .out();
    assert!(
        pruned.starts_with(&format!("Deleted Containers:\n{id}\n")),
        "{pruned}"
    );
    assert!(pruned.contains("Deleted Volumes:\n"), "{pruned}");
    assert!(pruned.contains("Total reclaimed space: "), "{pruned}");
    let volumes = scene.run(&["volume", "ls", "-q"]).ok().out();
    assert_eq!(volumes, "named\nused\n");
    let images = scene.run(&["images", "-q"]).ok().out();
    assert_eq!(images.lines().count(), 1);
    scene.run(&["rm", "-f", "runs"]).ok();
    let pruned = scene.run(&["system", "prune", "-af"]).ok().out();
    assert!(pruned.contains("untagged: busybox:latest\n"), "{pruned}");
    assert_eq!(scene.run(&["images", "-q"]).ok().out(), "");
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.reclaimed}}";
    let told = scene
        .run(&[
            "events",
            "--since=1h",
            "--until=0s",
            "--filter=event=prune",
            "--format",
            format,
        ])
        .ok()
        .out();
    let kinds: Vec<_> = told
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let of_the_last = ["container", "network", "image", "builder"];
    assert!(kinds.ends_with(&of_the_last), "{told}");
    assert!(kinds.contains(&"volume"), "{told}");
}
