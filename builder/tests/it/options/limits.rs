//! Limits of steps, as the steps and the kernel see them.

use super::steps::seen;
use crate::support::{Context, Cooper, need};

/// Needs the right to make control groups of a controller; returns where its hierarchy is, and
/// whether it is of version 2.
fn controller(name: &str) -> Option<(std::path::PathBuf, bool)> {
    need::root()?;
    let top = std::path::Path::new("/sys/fs/cgroup");
    if std::fs::read_to_string(top.join("cgroup.controllers"))
        .is_ok_and(|known| known.split_whitespace().any(|known| known == name))
    {
        return Some((top.to_owned(), true));
    }
    let own = top.join(name);
    let probe = own.join("cooper-test-probe");
    if own.is_dir() && std::fs::create_dir(&probe).is_ok() {
        let _ = std::fs::remove_dir(&probe);
        return Some((own, false));
    }
    need::skip(&format!("no {name} control group can be made here"))
}

#[test]
fn memory_is_limited_and_a_step_that_needs_more_is_told_so() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(_) = controller("memory") else {
        return;
    };
    // The shell's variable grows beyond any limit.
    let greedy = "RUN x=0123456789abcdef; while :; do x=$x$x; done";
    let context = Context::new(&format!("FROM busybox\n{greedy}\n"));
    cooper
        .build(
            &context,
            &["-otype=cacheonly", "--memory=16m", "--memory-swap=16m"],
        )
        .exits(1)
        .says("used up its memory of 16777216 bytes");
    // The limit is no part of the key, and one that suffices changes nothing.
    let modest = Context::new("FROM busybox\nRUN echo modest\n");
    cooper
        .build(&modest, &["-otype=cacheonly", "--resource=memory=64m"])
        .ok();
    let steps = cooper
        .steps(&modest, &["-otype=cacheonly", "-m", "32m"])
        .ok();
    assert!(steps.executed().iter().all(|step| !step.contains("RUN")));
}

#[test]
fn processors_are_those_given() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(_) = controller("cpuset") else {
        return;
    };
    let found = seen(
        &cooper,
        "grep Cpus_allowed_list /proc/self/status",
        &["--cpuset-cpus=0"],
    );
    assert_eq!(found.split_whitespace().last(), Some("0"), "{found}");
}

#[test]
fn groups_are_made_below_the_parent_and_removed() {
    let Some(cooper) = Cooper::new() else { return };
    let Some((hierarchy, _)) = controller("cpu") else {
        return;
    };
    let parent = format!("cooper-test-{}", std::process::id());
    let option = format!("--cgroup-parent=/{parent}");
    let marker = cooper.scratch("marker");
    std::fs::create_dir(&marker).expect("mkdir");
    let volume = format!("--volume={}:/m", marker.display());
    let context =
        Context::new("FROM busybox\nRUN touch /m/here; while [ -e /m/here ]; do sleep 0.1; done\n");
    let args = ["-otype=cacheonly", &option, &volume, "--cpu-quota=50000"];
    let running = cooper.start_build(&context, &args);
    let here = marker.join("here");
    while !here.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let groups = || -> Vec<_> {
        let entries = std::fs::read_dir(hierarchy.join(&parent)).expect("the parent");
        let entries = entries.map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let made = groups();
    assert_eq!(made.len(), 1, "{made:?}");
    let processes = std::fs::read_to_string(made[0].join("cgroup.procs")).expect("processes");
    assert!(!processes.is_empty());
    let quota = ["cpu.cfs_quota_us", "cpu.max"]
        .iter()
        .find_map(|file| std::fs::read_to_string(made[0].join(file)).ok());
    let quota = quota.expect("a quota");
    assert_eq!(quota.split_whitespace().next(), Some("50000"));
    std::fs::remove_file(&here).expect("rm");
    running.finish().ok();
    assert_eq!(groups(), [] as [std::path::PathBuf; 0]);
    remove_everywhere(&parent);
}

/// Removes what `--cgroup-parent` had made in each hierarchy.
fn remove_everywhere(parent: &str) {
    let top = std::path::Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(top).into_iter().flatten().flatten();
    for hierarchy in below.map(|entry| entry.path()).chain([top.to_owned()]) {
        let _ = std::fs::remove_dir(hierarchy.join(parent));
    }
}

#[test]
fn sizes_and_ulimits_reach_the_step() {
    let Some(cooper) = Cooper::new() else { return };
    let found = seen(
        &cooper,
        "df -k /dev/shm | tail -1 && ulimit -n",
        &["--shm-size=3m", "--ulimit=nofile=123:456"],
    );
    assert!(
        found.contains(" 3072 ") && found.ends_with("123\n"),
        "{found}"
    );
}

#[test]
fn steps_that_need_the_whole_memory_budget_run_one_after_another() {
    let Some(cooper) = Cooper::new() else { return };
    let Some(_) = controller("memory") else {
        return;
    };
    let step = |name: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,id=log,target=/log \
             echo begin >>/log/log; sleep 0.3; echo end >>/log/log; echo {name} >/{name}\n"
        )
    };
    let text = ["one", "two", "three"].map(step).concat()
        + "FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\nCOPY --from=three /three /\n\
           RUN --mount=type=cache,id=log,target=/log tr '\\n' ' ' </log/log >/seen\n";
    let context = Context::new(&text);
    let limits = [
        "--memory=64m",
        "--memory-budget=100m",
        "--jobs=4",
        "-t=seen",
    ];
    cooper.build(&context, &limits).ok();
    let seen = cooper.run(&["run", "--rm", "seen", "cat", "/seen"]).ok();
    seen.prints("begin end begin end begin end ");
    cooper
        .build(&context, &["--memory-budget=lots", "-t=seen"])
        .says("not a size");
}
