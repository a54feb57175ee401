//! What a second build does and does not do again.

use crate::support::cooper::Ended;
use crate::support::layout::Image;
use crate::support::{Context, Cooper, NONE};

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
