//! Volumes, mounts and data-volume containers.

use std::fs;

use super::{Scene, documents, loaded};
use crate::support::Context;

/// Runs a shell in a container that goes at its end, and returns what it prints.
#[track_caller]
fn prints(scene: &Scene, options: &[&str], script: &str) -> String {
    let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    scene.run(&args).ok().out()
}

/// Runs a shell in a container, which has to fail with `problem`.
#[track_caller]
fn fails(scene: &Scene, options: &[&str], script: &str, problem: &str) {
    let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    let outcome = scene.run(&args);
    assert_ne!(outcome.code(), 0, "{outcome}");
    outcome.says(problem);
}

#[test]
fn volumes_are_made_listed_looked_at_and_removed() {
    let Some(scene) = loaded() else { return };
    assert_eq!(
        scene
            .run(&["volume", "create", "--label", "tier=db", "data"])
            .ok()
            .out(),
        "data\n"
    );
    let made = scene.run(&["volume", "create"]).ok().out();
    let made = made.trim_end();
    assert_eq!(made.len(), 64);
    prints(&scene, &["-v", "used:/x"], "echo 1 > /x/a");
    scene
        .run(&["create", "--name=holder", "-v", "held:/x", "busybox"])
        .ok();
    let list = |filters: &[&str]| {
        scene
            .run(&[&["volume", "ls", "-q"], filters].concat())
            .ok()
            .out()
    };
    let mut names = ["data", "held", "used", made];
    names.sort_unstable();
    assert_eq!(list(&[]).lines().collect::<Vec<_>>(), names);
    assert_eq!(list(&["-f", "label=tier"]), "data\n");
    assert_eq!(list(&["-f", "dangling=false"]), "held\n");
    assert_eq!(list(&["-f", "name=us"]), "used\n");
    let shown = scene.run(&["volume", "inspect", "data"]).ok();
    let document = &documents(&shown)[0];
    assert_eq!(document["Labels"]["tier"], "db");
    let place = document["Mountpoint"].as_str().expect("a path");
    assert_eq!(fs::read_dir(place).expect("there").count(), 0);
    let format = [
        "volume",
        "inspect",
        "-f",
        "{{.Name}} {{.Driver}} {{.Scope}}",
        "data",
    ];
    assert_eq!(scene.run(&format).ok().out(), "data local local\n");

    let refused = scene
        .run(&["volume", "rm", "data", "held", "none"])
        .exits(1);
    assert_eq!(refused.out(), "data\n");
    refused
        .says("volume held is in use")
        .says("no such volume: none");
    scene.run(&["volume", "rm", "-f", "none"]).ok();
    let pruned = scene.run(&["volume", "prune", "-f"]).ok().out();
    assert_eq!(
        pruned,
        format!("Deleted Volumes:\n{made}\n\nTotal reclaimed space: 0B\n")
    );
    scene.run(&["rm", "holder"]).ok();
    let all = scene.run(&["volume", "prune", "-af"]).ok().out();
    assert!(all.starts_with("Deleted Volumes:\nheld\nused\n\n"), "{all}");
    assert_eq!(list(&[]), "");
}

#[test]
fn mounts_are_what_they_are_asked_to_be() {
    let Some(scene) = loaded() else { return };
    let host = Context::empty()
        .with("dir/file", "host\n")
        .with("dir/sub/x", "");
    let dir = host.join("dir").display().to_string();
    let bind = |rest: &str| format!("type=bind,source={dir},target=/m{rest}");
    assert_eq!(
        prints(
            &scene,
            &["--mount", &bind("")],
            "cat /m/file; echo x > /m/new"
        ),
        "host\n"
    );
    assert!(host.join("dir/new").exists());
    fails(
        &scene,
        &["--mount", &bind(",readonly")],
        "echo x > /m/y",
        "Read-only file system",
    );
    let missing = "type=bind,src=/no/such/dir,dst=/m";
    fails(
        &scene,
        &["--mount", missing],
        "true",
        "cannot mount /no/such/dir",
    );
    assert!(!std::path::Path::new("/no/such").exists());
    let made = format!(
        "--mount=source=shared,target=/m,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={dir}"
    );
    if crate::support::need::is_root() {
        assert_eq!(prints(&scene, &[&made], "cat /m/file"), "host\n");
    }
    let nfs = "--mount=source=far,target=/m,volume-opt=type=nfs,volume-opt=device=:/x";
    fails(&scene, &[nfs], "true", "cannot mount volume far");
    // In a CSV field, quotes hold a comma.
    let comma = Context::empty().with("a,b/file", "comma\n");
    let source = comma.join("a,b").display().to_string();
    let quoted = format!("type=bind,\"source={source}\",target=/m");
    assert_eq!(
        prints(&scene, &["--mount", &quoted], "cat /m/file"),
        "comma\n"
    );

    let volume = ["--mount", "source=vol,target=/v"];
    prints(
        &scene,
        &volume,
        "mkdir -p /v/part; echo inner > /v/part/file",
    );
    let part = [
        "--mount",
        "source=vol,target=/p,volume-subpath=part,readonly",
    ];
    assert_eq!(prints(&scene, &part, "cat /p/file"), "inner\n");
    fails(&scene, &part, "echo x > /p/file", "Read-only file system");
    let none = ["--mount", "source=vol,target=/p,volume-subpath=none"];
    fails(&scene, &none, "true", "/p");
    scene
        .run(&[
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            "o=bind",
            "-o",
            &format!("device={dir}"),
            "bound",
        ])
        .ok();
    assert_eq!(
        prints(&scene, &["-v", "bound:/b:ro"], "cat /b/file"),
        "host\n"
    );
    scene.run(&["volume", "rm", "bound"]).ok();
    assert!(host.join("dir/file").exists());
    for (option, text, problem) in [
        ("--mount", "type=bind,dst=/x", "a bind has no source"),
        ("--mount", "type=nfs,dst=/x", "unknown type"),
        ("-v", "/a:/x:sideways", "unknown mount option"),
    ] {
        scene
            .run(&["run", option, text, "busybox"])
            .exits(125)
            .says(problem);
    }
}

#[test]
fn file_systems_in_memory_are_what_they_are_asked_to_be() {
    let Some(scene) = loaded() else { return };
    let tmpfs = "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700";
    let script = "stat -c %a /t; df -k /t | tail -n 1 | awk '{print $2}'";
    assert_eq!(prints(&scene, &["--mount", tmpfs], script), "700\n1024\n");
    let owned = "/t:mode=750,uid=7,gid=8,nr_inodes=3";
    let script = "stat -c '%a %u:%g' /t; touch /t/a /t/b; touch /t/c 2>/dev/null || echo full";
    let expected = "750 7:8\nfull\n";
    assert_eq!(prints(&scene, &["--tmpfs", owned], script), expected);
    let program = "cp /bin/busybox /t/echo && /t/echo runs 2>/dev/null || echo denied";
    assert_eq!(prints(&scene, &["--tmpfs=/t"], program), "denied\n");
    assert_eq!(
        prints(&scene, &["--mount=type=tmpfs,dst=/t"], program),
        "denied\n"
    );
    assert_eq!(prints(&scene, &["--tmpfs=/t:exec"], program), "runs\n");
    fails(
        &scene,
        &["--tmpfs=/t:ro"],
        "echo x > /t/y",
        "Read-only file system",
    );
    fails(&scene, &["--tmpfs=/t:loud"], "true", "unknown option");
}

#[test]
fn volumes_are_filled_from_the_image_unless_told_otherwise() {
    let Some(scene) = loaded() else { return };
    let context = Context::new(
        "FROM busybox\nRUN mkdir -p /data/sub && echo image > /data/file && chown -R 5:6 /data\n\
         VOLUME /data\n",
    );
    scene.build(&context, &["-t", "filled"]).ok();
    let run = |options: &[&str], script: &str| {
        let args = [&["run", "--rm"], options, &["filled", "sh", "-c", script]].concat();
        scene.run(&args).ok().out()
    };
    assert_eq!(
        run(&[], "cat /data/file; stat -c %u:%g /data"),
        "image\n5:6\n"
    );
    assert_eq!(
        scene.run(&["volume", "ls", "-q"]).ok().out(),
        "",
        "it goes with --rm"
    );
    assert_eq!(
        run(
            &["-v", "named:/data"],
            "cat /data/file; echo mine > /data/file"
        ),
        "image\n"
    );
    assert_eq!(run(&["-v", "named:/data"], "cat /data/file"), "mine\n");
    assert_eq!(run(&["-v", "bare:/data:nocopy"], "ls /data"), "");
    let nocopy = "source=bare2,target=/data,volume-nocopy";
    assert_eq!(run(&["--mount", nocopy], "ls /data"), "");
    // One that was made and never started has its volume, filled, all the same.
    scene.run(&["create", "--name=store", "filled"]).ok();
    let kept = scene
        .run(&["volume", "ls", "-q", "-f", "dangling=false"])
        .ok()
        .out();
    assert_eq!(kept.lines().count(), 1);
    assert_eq!(
        prints(&scene, &["--volumes-from", "store"], "cat /data/file"),
        "image\n"
    );
    scene.run(&["rm", "store"]).ok();
    let all = scene.run(&["volume", "ls", "-q"]).ok().out();
    assert!(all.contains(kept.trim_end()), "it stays without -v");
    scene.run(&["create", "--name=store", "filled"]).ok();
    scene.run(&["rm", "-v", "store"]).ok();
    assert_eq!(scene.run(&["volume", "ls", "-q"]).ok().out(), all);
}

#[test]
fn a_data_volume_container_is_shared_backed_up_and_restored() {
    let Some(scene) = loaded() else { return };
    scene
        .run(&["create", "--name=store", "-v", "/dbdata", "busybox", "true"])
        .ok();
    let from = ["--volumes-from", "store"];
    prints(
        &scene,
        &from,
        "echo one > /dbdata/a; mkdir /dbdata/d; echo two > /dbdata/d/b",
    );
    assert_eq!(
        prints(&scene, &from, "cat /dbdata/a /dbdata/d/b"),
        "one\ntwo\n"
    );
    fails(
        &scene,
        &["--volumes-from", "store:ro"],
        "echo x > /dbdata/a",
        "Read-only file system",
    );
    scene
        .run(&["run", "--rm", "--volumes-from", "nobody", "busybox"])
        .exits(125)
        .says("no such container");

    // The course's backup: a container with the volume and a directory of the host.
    let host = Context::empty();
    let backup = format!("{}:/backup", host.path().display());
    prints(
        &scene,
        &[&from[..], &["-v", &backup]].concat(),
        "tar cf /backup/backup.tar /dbdata",
    );
    assert!(host.join("backup.tar").exists());
    scene
        .run(&[
            "create",
            "--name=store2",
            "-v",
            "/dbdata",
            "busybox",
            "true",
        ])
        .ok();
    let from2 = ["--volumes-from", "store2", "-v", &backup];
    prints(&scene, &from2, "cd / && tar xf /backup/backup.tar");
    assert_eq!(
        prints(
            &scene,
            &["--volumes-from", "store2"],
            "cat /dbdata/a /dbdata/d/b"
        ),
        "one\ntwo\n"
    );

    // What two containers mount stays until the last of them is gone.
    scene
        .run(&[
            "create",
            "--name=reader",
            "--volumes-from",
            "store",
            "busybox",
        ])
        .ok();
    let volume = scene.fact("store", "{{range .Mounts}}{{.Name}}{{end}}");
    assert_eq!(
        scene.fact(
            "reader",
            "{{range .Mounts}}{{.Name}} {{.Destination}}{{end}}"
        ),
        format!("{volume} /dbdata")
    );
    assert_eq!(
        scene.fact("reader", "{{.HostConfig.VolumesFrom}}"),
        "[store]"
    );
    scene.run(&["rm", "-v", "store"]).ok();
    scene
        .run(&["volume", "rm", &volume])
        .exits(1)
        .says("in use")
        .says("reader");
    scene.run(&["rm", "-v", "reader"]).ok();
    scene.run(&["volume", "rm", &volume]).ok();
}

#[test]
fn mounts_of_the_host_are_followed_only_when_asked_for() {
    let (Some(()), Some(scene)) = (crate::support::need::root(), loaded()) else {
        return;
    };
    let host = Context::empty();
    let dir = host.path().display().to_string();
    // In a mount namespace of the test's own, so that the machine's is left alone.
    let cooper = env!("CARGO_BIN_EXE_cooper");
    let root = scene.root().display().to_string();
    let script = format!(
        "set -e; mount --bind {dir} {dir}; mount --make-shared {dir}; mkdir {dir}/later
         c='{cooper} --root {root}'
         $c run -d --network none --name follows -v {dir}:/m:rslave busybox sleep 1000 >&2
         $c run -d --network none --name keeps -v {dir}:/m busybox sleep 1000 >&2
         mount -t tmpfs none {dir}/later; touch {dir}/later/seen
         $c exec follows ls /m/later; echo -; $c exec keeps ls /m/later
         $c rm -f follows keeps >&2; umount {dir}/later
         into='run --rm --network none --privileged'
         $c $into -v {dir}:/m busybox mount -t tmpfs none /m/later
         grep -c {dir}/later /proc/self/mountinfo || :
         $c $into -v {dir}:/m:rshared busybox mount -t tmpfs none /m/later
         grep -c {dir}/later /proc/self/mountinfo
         umount {dir}/later; umount {dir}"
    );
    let output = scene
        .bare_command("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "seen\n-\n0\n1\n",
        "{said}"
    );
}

#[test]
fn images_are_mounted_whole_or_in_part_and_cannot_be_written_to() {
    let Some(scene) = loaded() else { return };
    if crate::support::need::root().is_none() {
        return;
    }
    let context = Context::new("FROM scratch\nCOPY d /d\n").with("d/f", "x\n");
    scene.build(&context, &["-t=files"]).ok();
    let mount = |more: &str| format!("--mount=type=image,source=files,target=/m{more}");
    let write = "; echo y > /m/new || echo refused";
    let whole = prints(&scene, &[&mount("")], &format!("cat /m/d/f{write}"));
    assert_eq!(whole, "x\nrefused\n");
    let part = [&*mount(",image-subpath=d")];
    assert_eq!(prints(&scene, &part, "cat /m/f; ls /m"), "x\nf\n");
    fails(
        &scene,
        &[&mount(",image-subpath=../d")],
        "true",
        "no path below an image",
    );
    fails(
        &scene,
        &[&mount(",volume-subpath=d")],
        "true",
        "no key of type=image",
    );
    let absent = "--mount=type=image,source=nothing,target=/m";
    fails(&scene, &[absent], "true", "no such image: nothing");

    // It stays although its name and everything that nobody names goes.
    scene.detached(&["--name=web", &mount("")], &["sleep", "1000"]);
    let shown = "{{(index .Mounts 0).Type}} {{(index .Mounts 0).Source}} {{(index .Mounts 0).RW}}";
    assert_eq!(scene.fact("web", shown), "image files false");
    scene.run(&["stop", "-t=0", "web"]).ok();
    scene.run(&["rmi", "files"]).ok();
    scene.run(&["prune", "-af"]).ok();
    scene.run(&["start", "web"]).ok();
    scene
        .run(&["exec", "web", "cat", "/m/d/f"])
        .ok()
        .prints("x\n");
}

#[test]
fn volumes_of_file_systems_are_shared_while_containers_run() {
    let Some(scene) = loaded() else { return };
    if crate::support::need::root().is_none() || crate::support::need::tool("mount").is_none() {
        return;
    }
    let create = ["volume", "create", "--opt=type=tmpfs", "--opt=device=tmpfs"];
    let named = ["--opt=o=size=1m,uid=8,mode=750", "memory"];
    scene.run(&[&create[..], &named].concat()).ok();
    let volume = "-v=memory:/m";
    scene.detached(&["--name=one", volume], &["sleep", "1000"]);
    scene.detached(&["--name=two", volume], &["sleep", "1000"]);
    scene
        .run(&["exec", "one", "sh", "-c", "echo x > /m/f"])
        .ok();
    let look = "stat -c '%u %a' /m; df -k /m | tail -1 | awk '{print $1, $2}'; cat /m/f";
    scene
        .run(&["exec", "two", "sh", "-c", look])
        .ok()
        .prints("8 750\ntmpfs 1024\nx\n");
    scene.run(&["rm", "-f", "one"]).ok();
    scene
        .run(&["exec", "two", "cat", "/m/f"])
        .ok()
        .prints("x\n");
    scene.run(&["rm", "-f", "two"]).ok();
    // With the last container goes what was in memory.
    assert_eq!(prints(&scene, &[volume], "ls /m"), "");
    scene.run(&["volume", "rm", "memory"]).ok();

    let disk = [
        "volume",
        "create",
        "--opt=type=ext4",
        "--opt=device=/dev/nothing",
        "disk",
    ];
    scene.run(&disk).ok();
    fails(&scene, &["-v=disk:/m"], "true", "cannot mount volume disk");
    fails(&scene, &["-v=disk:/m"], "true", "/dev/nothing");
    let half = ["volume", "create", "--opt=type=nfs", "half"];
    scene.run(&half).exits(1).says("no device");
}
