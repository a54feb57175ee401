//! Files of containers: copied in and out, compared, exported, made into images.

use std::fs;

use super::loaded;
use crate::support::process::tool;

#[test]
fn files_are_copied_both_ways_running_or_not() {
    let Some(scene) = loaded() else { return };
    let dir = scene.scratch("data");
    fs::create_dir_all(dir.join("sub")).expect("makes");
    fs::write(dir.join("sub/f"), "from outside\n").expect("writes");
    let (dir, out) = (dir.display().to_string(), scene.scratch("out"));
    let back = out.display().to_string();
    scene.detached(&["--name=web"], &["sleep", "1000"]);
    for running in [true, false] {
        if !running {
            scene.run(&["stop", "-t0", "web"]).ok();
        }
        let target = format!("web:/copied-{running}");
        scene.run(&["cp", &dir, &target]).ok();
        scene.run(&["cp", &format!("{target}/sub/f"), &back]).ok();
        assert_eq!(fs::read_to_string(&out).expect("reads"), "from outside\n");
        scene
            .run(&["cp", "web:/no/such", &back])
            .exits(1)
            .says("No such file");
    }
    let tar = scene.run(&["cp", "web:/copied-true/sub", "-"]).ok().stdout;
    let archive = scene.scratch("sub.tar");
    fs::write(&archive, &tar).expect("writes");
    let listed = tool("tar", &["tf", &archive.display().to_string()]).out();
    assert_eq!(listed, "sub/\nsub/f\n");
    scene.start(&["cp", "-", "web:/tmp"], &tar).finish().ok();
    scene.run(&["cp", "web:/tmp/sub/f", &back]).ok();
    scene.run(&["cp", &dir, &back]).exits(1);
}

#[test]
fn links_of_a_container_do_not_lead_out_of_it() {
    let Some(scene) = loaded() else { return };
    let secret = scene.scratch("secret");
    fs::write(&secret, "host\n").expect("writes");
    let script = format!(
        "ln -s {} /link; ln -s / /root-link; sleep 1000",
        secret.display()
    );
    scene.detached(&["--name=web"], &["sh", "-c", &script]);
    scene
        .run(&[
            "exec",
            "web",
            "sh",
            "-c",
            "while [ ! -L /root-link ]; do sleep 0.02; done",
        ])
        .ok();
    let out = scene.scratch("out").display().to_string();
    scene.run(&["cp", "-L", "web:/link", &out]).exits(1);
    scene
        .run(&["cp", &secret.display().to_string(), "web:/root-link/inside"])
        .ok();
    scene
        .run(&["exec", "web", "cat", "/inside"])
        .ok()
        .prints("host\n");
}

#[test]
fn changes_are_listed_exported_and_committed() {
    let Some(scene) = loaded() else { return };
    let script = "mkdir /new; echo x > /new/f; rm /bin/ls; echo y >> /etc/passwd";
    scene
        .run(&[
            "run",
            "--name=web",
            "-e",
            "A=1",
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .ok();
    let changes = scene.run(&["diff", "web"]).ok();
    changes.prints("C /bin\nD /bin/ls\nC /etc\nC /etc/passwd\nA /new\nA /new/f\n");
    let archive = scene.scratch("web.tar").display().to_string();
    scene.run(&["export", "-o", &archive, "web"]).ok();
    let listed = tool("tar", &["tf", &archive]).out();
    let has = |name: &str| {
        listed
            .lines()
            .any(|line| line.trim_start_matches("./") == name)
    };
    assert!(
        has("new/f") && has("bin/busybox") && !has("bin/ls"),
        "{listed}"
    );
    scene
        .run(&[
            "commit",
            "-m",
            "said",
            "-a",
            "me",
            "-c",
            "CMD cat /new/f",
            "web",
            "made:1",
        ])
        .ok();
    scene.run(&["run", "--rm", "made:1"]).ok().prints("x\n");
    scene
        .run(&[
            "run",
            "--rm",
            "made:1",
            "sh",
            "-c",
            "echo $A; test -e /bin/ls || echo gone",
        ])
        .ok()
        .prints("1\ngone\n");
}

/// Returns whether a layer of an image holds `text`.
fn layers_hold(scene: &super::Scene, image: &str, text: &str) -> bool {
    let archive = scene.scratch("saved.tar").display().to_string();
    scene.run(&["save", "-o", &archive, image]).ok();
    let dir = scene.scratch("saved");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).expect("makes");
    let dir = dir.display().to_string();
    tool("tar", &["xf", &archive, "-C", &dir]);
    let unpacked = "find \"$0\" -type f -exec sh -c 'gzip -dcf < {}' \\; | grep -ac \"$1\" || true";
    tool("sh", &["-c", unpacked, &dir, text]).out() != "0\n"
}

#[test]
fn a_leaked_secret_stays_in_the_layers_until_they_are_flattened() {
    let Some(scene) = loaded() else { return };
    let steps: [(&str, &str, &str, &str); 2] = [
        (
            "busybox",
            "echo s3cr3t-value > /key; echo kept > /f",
            "leaky",
            "one",
        ),
        ("leaky", "rm /key", "cleaned", "two"),
    ];
    for (from, script, image, name) in steps {
        let name = format!("--name={name}");
        scene
            .run(&[
                "run",
                &name,
                "-e=TOKEN=s3cr3t-token",
                from,
                "sh",
                "-c",
                script,
            ])
            .ok();
        scene
            .run(&["commit", "-m", image, &name["--name=".len()..], image])
            .ok();
    }
    let gone = [
        "run",
        "--rm",
        "cleaned",
        "sh",
        "-c",
        "test -e /key || echo gone",
    ];
    scene.run(&gone).ok().prints("gone\n");
    assert!(
        layers_hold(&scene, "cleaned", "s3cr3t-value"),
        "it was only covered"
    );
    let history = scene
        .run(&["history", "--format={{.Comment}}", "cleaned"])
        .ok();
    assert!(history.out().starts_with("cleaned\nleaky\n"), "{history}");
    let variables = ["inspect", "--format={{json .Config.Env}}"];
    let leaks = |image| scene.run(&[&variables[..], &[image]].concat()).ok().out();
    assert!(leaks("cleaned").contains("s3cr3t-token"));

    let archive = scene.scratch("flat.tar").display().to_string();
    scene.run(&["export", "-o", &archive, "two"]).ok();
    scene.run(&["import", &archive, "flat"]).ok();
    let left = [
        "run",
        "--rm",
        "flat",
        "sh",
        "-c",
        "cat /f; test -e /key || echo gone",
    ];
    scene.run(&left).ok().prints("kept\ngone\n");
    assert!(
        !layers_hold(&scene, "flat", "s3cr3t"),
        "nothing of it is left"
    );
    assert!(!leaks("flat").contains("s3cr3t"));
    let layers = ["inspect", "--format={{len .RootFS.Layers}}", "flat"];
    scene.run(&layers).ok().prints("1\n");
    let history = scene.run(&["history", "-q", "flat"]).ok();
    assert_eq!(history.out().lines().count(), 1, "{history}");
}

#[test]
fn nothing_is_copied_to_where_the_container_cannot_write() {
    let Some(scene) = loaded() else { return };
    let file = scene.scratch("file");
    fs::write(&file, "copied\n").expect("writes");
    let file = file.display().to_string();
    let options = ["--read-only", "-v=data:/data", "-v=given:/given:ro"];
    let create = [
        &["create", "--name=web"],
        &options[..],
        &["busybox", "sleep", "1000"],
    ]
    .concat();
    scene.run(&create).ok();
    let tried = |running: bool| {
        for (to, said) in [
            (
                "web:/etc/file",
                "the root file system of container web is read-only",
            ),
            (
                "web:/given/file",
                "the volume at /given of container web is mounted read-only",
            ),
            (
                "web:/data/../file",
                "the root file system of container web is read-only",
            ),
        ] {
            let outcome = scene.run(&["cp", &file, to]).exits(1);
            assert!(outcome.stderr.contains(said), "{running}: {outcome}");
        }
        scene.run(&["cp", &file, "web:/data/file"]).ok();
    };
    tried(false);
    scene.run(&["start", "web"]).ok();
    tried(true);
    scene
        .run(&["exec", "web", "cat", "/data/file"])
        .ok()
        .prints("copied\n");
}

#[test]
fn what_is_copied_before_the_start_is_there_after_it() {
    let Some(scene) = loaded() else { return };
    let file = scene.scratch("file");
    fs::write(&file, "copied\n").expect("writes");
    let file = file.display().to_string();
    scene
        .run(&["create", "--name=web", "busybox", "cat", "/etc/file"])
        .ok();
    let nowhere = format!("{file}.missing/");
    let outcome = scene.run(&["cp", "web:/etc/passwd", &nowhere]);
    outcome.exits(1).says("is no directory");
    for _ in 0..2 {
        scene.run(&["cp", &file, "web:/etc/file"]).ok();
        scene.run(&["cp", "web:/etc/file", "-"]).ok();
        scene
            .run(&[
                "export",
                "web",
                "-o",
                &scene.scratch("tar").display().to_string(),
            ])
            .ok();
        scene.run(&["start", "-a", "web"]).ok().prints("copied\n");
    }
}
