//! Several cooper processes on one store.

use crate::support::{Context, Cooper, NONE, Outcome};

#[test]
fn four_builds_at_once_share_a_store() {
    let Some(cooper) = Cooper::new() else { return };
    let contexts: Vec<Context> = (0..4)
        .map(|number| {
            Context::new(&format!(
                "FROM busybox\nCOPY shared /shared\nRUN sleep 0.2; cat /shared >/copy\n\
                 RUN echo {number} >/number\n"
            ))
            .with("shared", "the same everywhere")
        })
        .collect();
    for round in 0..3 {
        let running: Vec<_> = contexts
            .iter()
            .enumerate()
            .map(|(number, context)| cooper.start_build(context, &[format!("-t=c{number}")]))
            .collect();
        for build in running {
            let outcome = build.finish().ok();
            assert!(
                !outcome.stderr.to_lowercase().contains("lock"),
                "{round}: {outcome}"
            );
        }
    }
    for number in 0..4 {
        let name = format!("c{number}");
        cooper
            .run(&["run", "--rm", &name, "cat", "/number", "/copy"])
            .ok()
            .prints(&format!("{number}\nthe same everywhere"));
    }
}

#[test]
fn the_same_build_at_once_executes_each_step_once() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new(
        "FROM busybox\nRUN --mount=type=cache,target=/c sleep 1; echo ran >>/c/log\n\
         RUN --mount=type=cache,target=/c wc -l </c/log\n",
    );
    let running: Vec<_> = (0..4)
        .map(|number| cooper.start_build(&context, &[format!("-t=same{number}")]))
        .collect();
    let outcomes: Vec<Outcome> = running
        .into_iter()
        .map(|build| build.finish().ok())
        .collect();
    let counts: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.stderr.contains(" 1\n"))
        .collect();
    assert_eq!(
        counts.len(),
        1,
        "the count is printed by the one build that ran it"
    );
    let check = Context::new(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo lines=$(wc -l </c/log)\n",
    );
    cooper.build(&check, NONE).ok().says("lines=1");
}

#[test]
fn reading_commands_run_beside_a_build() {
    let Some(cooper) = Cooper::new() else { return };
    let context = Context::new("FROM busybox\nRUN echo begun; sleep 2\n");
    let mut build = cooper.start_build(&context, &["-t=slow"]);
    build.wait_until_says("begun");
    cooper.load_busybox();
    cooper.run(&["images"]).ok();
    cooper.run(&["run", "--rm", "busybox", "true"]).ok();
    build.finish().ok();
}
