//! What a second build does and does not do again.

use crate::support::cooper::Ended;
use crate::support::layout::Image;
use crate::support::{Context, Cooper, NONE, need};

const THREE_READERS: &str = "FROM busybox AS one\nCOPY a /a\nRUN cat /a >/one\n\
     FROM busybox AS two\nCOPY b /b\nRUN cat /b >/two\n\
     FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\nRUN cat /one /two >/all\n";

fn three_readers() -> Context {
    Context::new(THREE_READERS).with("a", "a1").with("b", "b1")
}

#[test]
fn a_second_build_executes_nothing() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    let iid = cooper.scratch("iid");
    let args = ["-t=a".to_owned(), format!("--iidfile={}", iid.display())];
    let first = cooper.steps(&context, &args).ok();
    assert_eq!(first.executed().len(), 7, "{:?}", first.executed());
    let id = std::fs::read_to_string(&iid).expect("the ID");

    let second = cooper.steps(&context, &args).ok();
    assert_eq!(second.executed(), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(&iid).expect("the ID"), id);
}

#[test]
fn a_changed_file_re_executes_only_what_reads_it() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    cooper.steps(&context, &["-t=a"]).ok();
    context.write("b", "b2");
    let second = cooper.steps(&context, &["-t=a"]).ok();
    assert_eq!(
        second.executed(),
        [
            "COPY --from=two /two /",
            "COPY b /b",
            "RUN cat /b >/two",
            "RUN cat /one /two >/all",
        ]
    );
    cooper
        .run(&["run", "--rm", "a", "cat", "/all"])
        .ok()
        .prints("a1b2");
}

#[test]
fn a_file_that_nothing_copies_changes_nothing() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    cooper.steps(&context, &["-t=a"]).ok();
    context.write("c", "unread");
    context.sh("touch -d '2001-02-03' a");
    let second = cooper.steps(&context, &["-t=a"]).ok();
    assert_eq!(second.executed(), Vec::<String>::new());
}

#[test]
fn a_parent_rebuilt_to_the_same_content_stops_the_rebuild() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox AS count\nCOPY in /in\nRUN wc -l </in >/count\n\
         FROM busybox\nCOPY --from=count /count /\nRUN echo expensive\n",
    )
    .with("in", "x\n");
    cooper.steps(&context, &["-t=a"]).ok();
    context.write("in", "y\n");
    let second = cooper.steps(&context, &["-t=a"]).ok();
    assert_eq!(second.executed(), ["COPY in /in", "RUN wc -l </in >/count"]);
}

#[test]
fn a_run_whose_root_has_the_same_content_is_not_repeated() {
    let Some(cooper) = Cooper::new() else { return };
    let context = |comment: &str| {
        Context::new(&format!(
            "FROM busybox\nRUN echo same >/f # {comment}\nRUN echo expensive\n"
        ))
    };
    cooper.steps(&context("one"), &["-t=a"]).ok();
    let second = cooper.steps(&context("two"), &["-t=a"]).ok();
    assert_eq!(second.executed(), ["RUN echo same >/f # two"]);
}

#[test]
fn same_name_size_and_time_is_not_the_same_file() {
    let Some(cooper) = Cooper::new() else { return };
    let dockerfile = "FROM busybox\nCOPY f /f\n";
    let context = Context::new(dockerfile).with("f", "one");
    context.sh("touch -d '2020-01-01 00:00:00' f");
    cooper.build(&context, &["-t=a"]).ok();
    context.sh("printf two >f; touch -d '2020-01-01 00:00:00' f");
    cooper.build(&context, &["-t=a"]).ok();
    cooper
        .run(&["run", "--rm", "a", "cat", "/f"])
        .ok()
        .prints("two");

    let other = Context::new(dockerfile);
    other.sh("printf 333 >f; touch -d '2020-01-01 00:00:00' f");
    cooper.build(&other, &["-t=a"]).ok();
    cooper
        .run(&["run", "--rm", "a", "cat", "/f"])
        .ok()
        .prints("333");
}

#[test]
fn a_file_rewritten_at_once_is_seen() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n").with("f", "0");
    let dest = cooper.scratch("out");
    for round in 0..10 {
        context.write("f", round.to_string());
        cooper
            .build(&context, &[format!("-o={}", dest.display())])
            .ok();
        let found = std::fs::read_to_string(dest.join("f")).expect("the file");
        assert_eq!(found, round.to_string());
    }
}

#[test]
fn a_base_with_another_tag_or_compression_and_the_same_content_hits() {
    let Some((cooper, maker)) = Cooper::new().zip(Cooper::new()) else {
        return;
    };
    let base = Context::new("FROM busybox\nCOPY a /a\n").with("a", "a");
    let context = Context::new("FROM base\nRUN cat /a >/b\nCOPY --from=base /a /c\n");
    for (number, how) in [
        "name=base:1",
        "name=base:2",
        "name=base:3,compression=zstd,force-compression=true",
        "name=base:4,compression=gzip,compression-level=1,force-compression=true",
    ]
    .into_iter()
    .enumerate()
    {
        let dir = cooper
            .scratch(&format!("base-{number}"))
            .display()
            .to_string();
        let output = format!("--output=type=oci,tar=false,dest={dir},{how}");
        maker.build(&base, &[output]).ok();
        let given = format!("--build-context=base=oci-layout://{dir}");
        let steps = cooper.steps(&context, &["-t=a", &given]).ok();
        let executed = if number == 0 { 2 } else { 0 };
        assert_eq!(steps.executed().len(), executed, "{how}: {}", steps.outcome);
    }
}

#[test]
fn a_touched_context_hits() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    cooper.steps(&context, &["-t=a"]).ok();
    for script in [
        "touch a b .",
        "cp a c; mv c a",
        "chown 7:8 a b",
        "mv b c; mv c b",
    ] {
        context.sh(script);
        let again = cooper.steps(&context, &["-t=a"]).ok();
        assert_eq!(again.executed(), NONE as &[&str], "{script}");
    }
}

#[test]
fn linked_copies_stack_on_a_changed_base_and_run_nothing() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nARG V\nRUN echo $V >/v\nCOPY --link f /f\nCOPY --link g /d/g\n",
    )
    .with("f", "f")
    .with("g", "g");
    cooper.steps(&context, &["-t=a", "--build-arg=V=1"]).ok();
    let second = cooper.steps(&context, &["-t=a", "--build-arg=V=2"]).ok();
    // What is executed of a linked copy is its stacking.
    let executed = second.executed();
    assert_eq!(
        executed,
        [
            "LINK COPY --link f /f",
            "LINK COPY --link g /d/g",
            "RUN echo 2 >/v"
        ]
    );
    cooper
        .run(&["run", "--rm", "a", "cat", "/v", "/f", "/d/g"])
        .ok()
        .prints("2\nfg");
}

/// Builds a context whose file is said to be from another time, and returns what was copied.
fn copied(cooper: &Cooper, context: &Context) -> String {
    let dest = cooper.scratch("out");
    let output = format!("-o={}", dest.display());
    cooper.build(context, &[output]).ok();
    std::fs::read_to_string(dest.join("f")).expect("the file")
}

#[test]
fn clocks_that_step_between_builds_give_no_stale_hit() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n");
    // What a clock that was wrong, set forward or set back stamps on files.
    let times = [
        "2038-01-20 00:00:00",
        "1970-01-01 00:00:00",
        "tomorrow",
        "1969-12-31 23:59:59 UTC",
        "now",
        "2038-01-20 00:00:00",
        "yesterday",
        "@0.5",
    ];
    for (round, time) in times.iter().enumerate() {
        for text in ["first", "other"] {
            let text = format!("{round}{text}");
            context.sh(&format!("printf {text} >f; touch -d '{time}' f"));
            for again in 0..2 {
                assert_eq!(copied(&cooper, &context), text, "{time} {again}");
            }
        }
    }
}

#[test]
fn a_file_in_the_inode_of_another_is_not_taken_for_it() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n");
    let mut inodes = Vec::new();
    for round in 10..30 {
        // The inode that was freed last is the one that is given out next.
        context.sh(&format!(
            "rm -f f; printf {round} >f; touch -d '2020-01-01 00:00:00' f"
        ));
        let inode = std::fs::metadata(context.join("f")).expect("stat");
        inodes.push(std::os::unix::fs::MetadataExt::ino(&inode));
        assert_eq!(copied(&cooper, &context), round.to_string());
    }
    inodes.sort_unstable();
    inodes.dedup();
    if inodes.len() == 20 {
        need::skip::<()>("this file system gives no inode out again");
    }
}

#[test]
fn files_that_change_while_they_are_read_are_refused_or_taken_as_they_are() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM scratch\nCOPY f /f\n").with("f", "");
    let file = context.join("f");
    let written = |round: u64| format!("{round:08}").repeat(40_000);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                std::fs::write(&file, written(round)).expect("write");
            }
            round
        });
        for _ in 0..8 {
            let output = format!("-o={}", cooper.scratch("out").display());
            let build = cooper.build(&context, &[output]);
            if build.code() != 0 {
                build.exits(1).says("changed while it was being read");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("the writer")
    });
    assert!(
        copied(&cooper, &context) == written(last),
        "what is there in the end"
    );
    cooper.run(&["cache", "fsck"]).ok();
}

#[test]
fn modes_count_but_owners_of_the_context_do_not() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nCOPY f /f\n").with("f", "x");
    cooper.steps(&context, &["-t=a"]).ok();
    context.sh("chmod 600 f");
    let changed = cooper.steps(&context, &["-t=a"]).ok();
    assert_eq!(changed.executed(), ["COPY f /f"]);
    if crate::support::need::is_root() {
        context.sh("chown 12:34 f");
        let same = cooper.steps(&context, &["-t=a"]).ok();
        assert_eq!(same.executed(), Vec::<String>::new());
    }
}

#[test]
fn arguments_count_from_where_they_are_used() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo before\nARG A\nRUN echo after $A\n");
    cooper.steps(&context, &["--build-arg=A=1"]).ok();
    let second = cooper.steps(&context, &["--build-arg=A=2"]).ok();
    assert_eq!(second.executed(), ["RUN echo after 2"]);
    assert_eq!(second.cached(), ["RUN echo before"]);
    let proxied = cooper
        .steps(
            &context,
            &[
                "--build-arg=A=2",
                "--build-arg=HTTP_PROXY=http://127.0.0.1:9",
            ],
        )
        .ok();
    assert_eq!(
        proxied.executed(),
        Vec::<String>::new(),
        "proxies are in no key"
    );
}

#[test]
fn no_cache_executes_everything() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    let first = cooper.steps(&context, &["-t=a"]).ok();
    let again = cooper.steps(&context, &["-t=a", "--no-cache"]).ok();
    assert_eq!(again.executed(), first.executed());
}

#[test]
fn a_failed_build_keeps_what_succeeded() {
    let Some(cooper) = Cooper::new() else { return };
    let context = |last: &str| {
        Context::new(&format!(
            "FROM busybox\nRUN echo one >/1\nRUN echo two >/2\nRUN {last}\n"
        ))
    };
    let failed = cooper.steps(&context("exit 3"), &["-t=a"]);
    assert_eq!(failed.outcome.code(), 1, "{}", failed.outcome);
    assert_eq!(failed.that(Ended::Failed), ["RUN exit 3"]);
    let second = cooper.steps(&context("true"), &["-t=a"]).ok();
    assert_eq!(second.executed(), ["RUN true"]);
}

#[test]
fn a_warm_export_makes_the_same_bytes() {
    let Some(cooper) = Cooper::new() else { return };
    let context = three_readers();
    let first = Image::read(&cooper.build_layout(&context, NONE)).manifest_digest;
    let second = Image::read(&cooper.build_layout(&context, NONE)).manifest_digest;
    assert_eq!(first, second);
}

#[test]
fn cache_mounts_outlive_the_build() {
    let Some(cooper) = Cooper::new() else { return };
    let context = |round: u32| {
        Context::new(&format!(
            "FROM busybox\nARG ROUND={round}\n\
             RUN --mount=type=cache,target=/c echo {round} >>/c/log; cat /c/log\n"
        ))
    };
    cooper.steps(&context(1), NONE).ok();
    let second = cooper.steps(&context(2), NONE).ok();
    assert_eq!(second.output(), "1\n2\n");
}
