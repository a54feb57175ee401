//! RUN cache mounts that come back on another machine.

use super::{NOTHING, machines};
use crate::support::peers::DockerRegistry;
use crate::support::{Context, Cooper};

/// A step that adds to a cache and shows it; `round` tells one build from another.
fn adding(round: u32, sharing: &str) -> Context {
    Context::new(&format!(
        "FROM busybox\nRUN --mount=type=cache,target=/c,sharing={sharing},mode=0770 \
         echo {round} >>/c/log; cat /c/log; stat -c '%a %u %n' /c /c/log\n"
    ))
}

#[test]
fn cache_mounts_come_along_and_are_there_when_a_step_needs_them() {
    for sharing in ["shared", "locked", "private"] {
        let Some((here, there)) = machines() else {
            return;
        };
        let dir = here.scratch("cache").display().to_string();
        let to = format!("--cache-to=type=local,dest={dir},mounts=true");
        let from = format!("--cache-from=type=local,src={dir}");
        here.steps(&adding(1, sharing), &["-otype=cacheonly", &to])
            .ok();

        let hit = there
            .steps(&adding(1, sharing), &["-otype=cacheonly", &from])
            .ok();
        assert_eq!(hit.executed(), NOTHING);
        assert_eq!(
            there
                .run(&["cache", "export", "type=local,dest=none"])
                .ok()
                .out(),
            ""
        );

        let next = there
            .steps(&adding(2, sharing), &["-otype=cacheonly", &from])
            .ok();
        let seen = "1\n2\n770 0 /c\n644 0 /c/log\n";
        assert!(
            next.output().starts_with(seen),
            "{sharing}: {}",
            next.output()
        );
        let own = there
            .steps(&adding(3, sharing), &["-otype=cacheonly", &from])
            .ok();
        assert!(
            own.output().starts_with("1\n2\n3\n"),
            "{sharing}: what is here stays"
        );
    }
}

#[test]
fn cache_mounts_travel_by_themselves_and_only_what_changed() {
    let Some((here, there)) = machines() else {
        return;
    };
    let Some(registry) = DockerRegistry::start(&here) else {
        return;
    };
    let cache = format!("{}/team/mounts", registry.host());
    let step = |what: &str| {
        Context::new(&format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c {what}\n"
        ))
    };
    let fill = step("dd if=/dev/urandom of=/c/big bs=1M count=40 2>/dev/null; cat /c/big | md5sum");
    let sum = here.steps(&fill, &["-otype=cacheonly"]).ok().output();
    let exported = here
        .run(&["cache", "export", "--progress=plain", &cache])
        .ok();
    assert!(exported.out().trim().ends_with(" exported"), "{exported}");
    exported.says(", 0 were there");
    here.steps(&step("echo more >/c/small"), &["-otype=cacheonly"])
        .ok();
    let again = here
        .run(&["cache", "export", "--progress=plain", &cache])
        .ok();
    let sent = again
        .stderr
        .lines()
        .find_map(|line| line.split("sent ").nth(1))
        .expect("a line");
    let count = |text: &str| {
        text.split(' ')
            .next()
            .and_then(|word| word.parse::<u32>().ok())
    };
    let (sent, present) = (count(sent), sent.split(", ").nth(1).and_then(count));
    assert!(sent < present && present.is_some(), "{again}");

    let imported = there.run(&["cache", "import", &cache]).ok();
    assert!(imported.out().trim().ends_with(" imported"), "{imported}");
    let shown = there
        .steps(
            &step("cat /c/big | md5sum; cat /c/small"),
            &["-otype=cacheonly"],
        )
        .ok();
    assert_eq!(shown.output(), format!("{sum}more\n"));
    let kept = there.run(&["cache", "import", &cache]).ok();
    assert!(
        kept.out().trim().ends_with(" here already, and kept"),
        "{kept}"
    );
    there.run(&["cache", "fsck"]).ok();
}

#[test]
fn a_damaged_cache_mount_begins_empty_and_an_import_of_it_fails() {
    let Some((here, there)) = machines() else {
        return;
    };
    let dir = here.scratch("cache");
    let to = format!("type=local,dest={}", dir.display());
    let from = format!("type=local,src={}", dir.display());
    here.steps(&adding(1, "shared"), &["-otype=cacheonly"]).ok();
    here.run(&["cache", "export", &to]).ok();
    for blob in std::fs::read_dir(dir.join("blobs/sha256")).expect("blobs") {
        let path = blob.expect("a blob").path();
        let mut bytes = std::fs::read(&path).expect("read");
        if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            *bytes.last_mut().expect("bytes") ^= 1;
            std::fs::write(path, bytes).expect("write");
        }
    }
    there.run(&["cache", "import", &from]).exits(1);
    let args = [
        "-otype=cacheonly".to_owned(),
        format!("--cache-from={from}"),
    ];
    let built = there.steps(&adding(2, "shared"), &args).ok();
    assert!(
        built.output().contains("the cache mount begins empty"),
        "{}",
        built.output()
    );
    assert!(built.output().contains("2\n770"), "{}", built.output());
    there
        .run(&["cache", "import", "type=local,src=nowhere"])
        .exits(1)
        .says("cannot read");
    there
        .run(&["cache", "import", "type=gha"])
        .exits(1)
        .says("ACTIONS_RUNTIME_TOKEN");
    there
        .run(&["cache", "export", "type=inline"])
        .exits(1)
        .says("no place");
}

/// Builds a step that works on a cache mount for a moment, twice at once, and returns what each
/// saw.
fn at_once(cooper: &Cooper, sharing: &str) -> Vec<String> {
    let context = |number: u32| {
        Context::new(&format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c,sharing={sharing} \
             echo begin >>/c/log; sleep 2; echo end >>/c/log; cat /c/log; echo {number} >/n\n"
        ))
    };
    let contexts = [context(1), context(2)];
    let running: Vec<_> = contexts
        .iter()
        .map(|context| cooper.start_build(context, &["-otype=cacheonly"]))
        .collect();
    let seen = running.into_iter().map(|build| {
        let outcome = build.finish().ok();
        let lines = outcome.stderr.lines();
        let words = lines.filter_map(|line| line.rsplit(' ').next());
        let words: Vec<_> = words
            .filter(|word| ["begin", "end"].contains(word))
            .collect();
        words.join(" ")
    });
    let mut seen: Vec<String> = seen.collect();
    seen.sort();
    seen
}

#[test]
fn a_locked_cache_has_one_user_and_a_private_one_is_nobody_elses_among_processes() {
    let Some(cooper) = Cooper::new() else { return };
    assert_eq!(
        at_once(&cooper, "locked"),
        ["begin end", "begin end begin end"]
    );
    let Some(cooper) = Cooper::new() else { return };
    assert_eq!(at_once(&cooper, "private"), ["begin end", "begin end"]);
}

#[test]
fn a_shared_cache_is_everybodys_at_once() {
    let Some(cooper) = Cooper::new() else { return };
    let wait = "until [ -e /c/$OTHER ]; do sleep 0.05; done; echo met";
    let context = |own: &str, other: &str| {
        Context::new(&format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c OTHER={other}; touch /c/{own}; {wait}\n"
        ))
    };
    let contexts = [context("a", "b"), context("b", "a")];
    let running: Vec<_> = contexts
        .iter()
        .map(|context| cooper.start_build(context, &["-otype=cacheonly"]))
        .collect();
    for build in running {
        build.finish().ok().says("met");
    }
}
