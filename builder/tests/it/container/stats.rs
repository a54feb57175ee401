//! What containers use, as `stats` shows it.

use super::loaded;
use crate::support::need;

const LINE: &str = "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.MemPerc}}|{{.PIDs}}";

/// Returns the number before a unit.
fn number(text: &str) -> f64 {
    let end = text.find(|char: char| !(char.is_ascii_digit() || char == '.'));
    text[..end.unwrap_or(text.len())].parse().expect("a number")
}

#[test]
fn limits_on_memory_and_processors_are_seen() {
    let (Some(()), Some(scene)) = (need::root(), loaded()) else {
        return;
    };
    let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); while :; do :; done";
    let limits = ["--name=busy", "-m", "128m", "--cpus", "0.2"];
    scene.detached(&limits, &["sh", "-c", script]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let stats = ["stats", "--no-stream", "--format", LINE, "busy"];
        let out = scene.run(&stats).ok().out();
        let fields: Vec<_> = out.trim().split('|').collect();
        assert_eq!((fields[0], fields.len()), ("busy", 5), "{out}");
        let (memory, limit) = fields[2].split_once(" / ").expect("two sizes");
        assert_eq!(limit, "128MiB");
        // Each figure is its own look: the kernel lets a quota be used up at a period's end.
        let processor = number(fields[1]);
        assert!(processor < 60.0, "{out}");
        let busy = processor > 5.0 && memory.ends_with("MiB") && number(memory) >= 19.0;
        if busy && number(fields[3]) > 10.0 && number(fields[4]) >= 1.0 {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{out}");
    }
}

#[test]
fn the_table_is_renewed_until_nobody_reads_it() {
    use std::io::BufRead;
    let Some(scene) = loaded() else { return };
    scene.detached(&["--name=idle"], &["sleep", "1000"]);
    let mut command = scene.command();
    let mut child = command
        .args(["stats", "--format", "{{.Name}} {{.PIDs}}"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let lines: Vec<_> = output
        .lines()
        .take(3)
        .map(|line| line.expect("text"))
        .collect();
    assert_eq!(lines, ["idle 1", "idle 1", "idle 1"]);
    // The pipe is closed: the next table finds no reader.
    child.wait().expect("ends");
}

#[test]
fn containers_without_limits_are_counted_too() {
    let Some(scene) = loaded() else { return };
    let script = "sleep 1000 & while :; do :; done";
    scene.detached(&["--name=free"], &["sh", "-c", script]);
    scene
        .run(&["create", "--name=made", "busybox", "true"])
        .ok();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let out = scene.run(&["stats", "--no-stream"]).ok().out();
        let mut lines = out.lines();
        let header = lines.next().expect("a header");
        assert_eq!(
            header
                .split("  ")
                .filter(|cell| !cell.is_empty())
                .map(str::trim)
                .collect::<Vec<_>>(),
            [
                "CONTAINER ID",
                "NAME",
                "CPU %",
                "MEM USAGE / LIMIT",
                "MEM %",
                "NET I/O",
                "BLOCK I/O",
                "PIDS"
            ]
        );
        let line = lines.next().expect("a line");
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!((cells[1], lines.next()), ("free", None), "{out}");
        if number(cells[2]) > 5.0 && cells.last() == Some(&"2") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{out}");
    }
    let all = ["stats", "-a", "--no-stream", "--format", LINE];
    let out = scene.run(&all).ok().out();
    assert!(out.contains("made|0.00%|0B / 0B|0.00%|0\n"), "{out}");
    let json = [
        "stats",
        "--no-stream",
        "--no-trunc",
        "--format",
        "json",
        "free",
    ];
    let line: serde_json::Value = serde_json::from_str(&scene.run(&json).ok().out()).expect("JSON");
    assert_eq!(line["ID"], scene.fact("free", "{{.Id}}"));
    assert!(
        line["NetIO"].as_str().expect("text").contains(" / "),
        "{line}"
    );
    scene
        .run(&["stats", "--no-stream", "nobody"])
        .exits(1)
        .says("no such container");
}
