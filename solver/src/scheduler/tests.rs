//! The scheduler on fake ops.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::testing::{
    Calls, FakeError, FakeOp, FakeOutput, Solved, SpyIndex, solve_as, solve_with,
};
use crate::{
    CacheKey, CancelToken, Claim, ExecContext, Graph, KeyIndex, MemoryBudget, MemoryIndex, Record,
    SolveError, SolveEvent, SolveOptions, Stream, Vertex, VertexId,
};

/// Much longer than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test instead of hanging, should a solve not return.
fn watched<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || sender.send(test()).expect("the test waits"));
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("the solve hangs"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

/// A graph of fakes, each added under its own name.
#[derive(Default)]
struct Fakes {
    graph: Graph<FakeOp>,
}

impl Fakes {
    fn add(&mut self, name: &str, op: &FakeOp, inputs: &[VertexId]) -> VertexId {
        self.graph.add(Vertex::new(name, op.clone()), inputs)
    }

    fn forced(&mut self, name: &str, op: &FakeOp, inputs: &[VertexId]) -> VertexId {
        let vertex = Vertex {
            ignore_cache: true,
            ..Vertex::new(name, op.clone())
        };
        self.graph.add(vertex, inputs)
    }

    fn solve(&self, targets: &[VertexId], index: &dyn KeyIndex<FakeOutput>) -> Solved {
        solve_with(&self.graph, targets, index)
    }
}

fn outputs(solved: &Solved) -> Vec<&str> {
    solved
        .result
        .as_ref()
        .expect("it is solved")
        .iter()
        .map(|output| &**output)
        .collect()
}

/// Waits until the op's result is no longer wanted.
fn until_canceled(cx: &ExecContext<'_>) -> Result<FakeOutput, FakeError> {
    let start = Instant::now();
    while !cx.cancel.is_cancelled() {
        assert!(start.elapsed() < PATIENCE, "nobody canceled");
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(FakeError::new("interrupted"))
}

#[test]
fn an_empty_list_of_targets_is_solved() {
    let fakes = Fakes::default();
    assert_eq!(
        fakes.solve(&[], &SpyIndex::new()).result.unwrap(),
        [] as [FakeOutput; 0]
    );
}

#[test]
fn a_target_of_another_graph_is_an_error() {
    let mut other = Fakes::default();
    let vertex = other.add("a", &FakeOp::new("a"), &[]);
    let solved = Fakes::default().solve(&[vertex], &SpyIndex::new());
    assert!(matches!(solved.result, Err(SolveError::UnknownTarget { vertex: v }) if v == vertex));
}

#[test]
fn outputs_come_in_the_order_of_the_targets_even_if_repeated() {
    let mut fakes = Fakes::default();
    let a = fakes.add("a", &FakeOp::new("a"), &[]);
    let b = fakes.add("b", &FakeOp::new("b"), &[a]);
    let solved = fakes.solve(&[b, a, b], &SpyIndex::new());
    assert_eq!(outputs(&solved), ["b(a())", "a()", "b(a())"]);
}

#[test]
fn a_vertex_may_read_an_input_twice() {
    let mut fakes = Fakes::default();
    let source = fakes.add("source", &FakeOp::source("x"), &[]);
    let base = fakes.add("base", &FakeOp::new("base"), &[]);
    let op = FakeOp::new("op");
    let twice = fakes.add("twice", &op, &[source, base, source, base]);
    let index = SpyIndex::new();
    assert_eq!(
        outputs(&fakes.solve(&[twice], &index)),
        ["op(x,base(),x,base())"]
    );
    assert_eq!(
        op.calls(),
        Calls {
            definition: 1,
            input_content: 4,
            exec: 1
        }
    );
    assert_eq!(fakes.solve(&[twice], &index).end_of(twice), "cached");
    assert_eq!(
        op.calls(),
        Calls {
            definition: 2,
            input_content: 6,
            exec: 1
        }
    );
}

#[test]
fn a_hit_on_the_last_definition_key_visits_nothing_above() {
    let mut fakes = Fakes::default();
    let [base_op, middle_op, last_op] = ["base", "middle", "last"].map(FakeOp::new);
    let base = fakes.add("base", &base_op, &[]);
    let middle = fakes.add("middle", &middle_op, &[base]);
    let last = fakes.add("last", &last_op, &[middle]);
    let index = SpyIndex::new();
    let first = fakes.solve(&[last], &index);
    assert_eq!(first.ends_of([base, middle, last]), ["completed"; 3]);
    index.take_looked_up();
    index.take_recorded();

    let second = fakes.solve(&[last], &index);

    assert_eq!(outputs(&second), ["last(middle(base()))"]);
    assert_eq!(second.ends_of([base, middle, last]), ["cached"; 3]);
    assert_eq!(index.take_looked_up().len(), 1);
    assert_eq!(index.take_recorded(), [] as [&str; 0]);
    assert_eq!(
        base_op.calls(),
        Calls {
            definition: 2,
            input_content: 0,
            exec: 1
        }
    );
    assert_eq!(
        middle_op.calls(),
        Calls {
            definition: 2,
            input_content: 1,
            exec: 1
        }
    );
    assert_eq!(
        last_op.calls(),
        Calls {
            definition: 2,
            input_content: 1,
            exec: 1
        }
    );
}

#[test]
fn the_keys_of_all_that_a_target_is_made_of_are_told_even_on_a_hit() {
    let mut fakes = Fakes::default();
    let [base, middle, last] = ["base", "middle", "last"].map(FakeOp::new);
    let base = fakes.add("base", &base, &[]);
    let middle = fakes.add("middle", &middle, &[base]);
    let last = fakes.add("last", &last, &[middle]);
    let index = SpyIndex::new();
    let cancel = CancelToken::new();
    let keys = || {
        let told = std::cell::RefCell::new(std::collections::BTreeMap::new());
        let named = |vertex, key| assert_eq!(told.borrow_mut().insert(vertex, key), None);
        let options = SolveOptions {
            named: Some(&named),
            ..SolveOptions::new(1, &cancel)
        };
        let solved = solve_as(&fakes.graph, &[last], &index, &options);
        solved.result.expect("solved");
        told.into_inner()
    };
    let cold = keys();
    assert_eq!(
        cold.keys().copied().collect::<Vec<_>>(),
        [base, middle, last]
    );
    assert!(cold.values().all(|key| index.lookup(key).is_some()));
    assert_eq!(keys(), cold);
}

#[test]
fn vertices_that_no_target_reaches_are_left_alone() {
    let mut fakes = Fakes::default();
    let stray_op = FakeOp::new("stray").fails("never");
    let base = fakes.add("base", &FakeOp::new("base"), &[]);
    let stray = fakes.add("stray", &stray_op, &[base]);
    let last = fakes.add("last", &FakeOp::new("last"), &[base]);
    let solved = fakes.solve(&[last], &SpyIndex::new());
    assert_eq!(outputs(&solved), ["last(base())"]);
    assert_eq!(stray_op.calls(), Calls::default());
    assert!(solved.events.iter().all(|event| event.vertex() != stray));
}

#[test]
fn a_parent_rebuilt_to_the_same_content_stops_the_rebuild() {
    let index = SpyIndex::new();
    let child_op = FakeOp::new("child");
    let last_op = FakeOp::new("last");
    for (label, ends) in [
        ("parent, first writing", ["completed"; 3]),
        ("rewritten", ["completed", "cached", "cached"]),
    ] {
        let mut fakes = Fakes::default();
        let parent = fakes.add("parent", &FakeOp::new(label).gives("same"), &[]);
        let child = fakes.add("child", &child_op, &[parent]);
        let last = fakes.add("last", &last_op, &[child]);
        let solved = fakes.solve(&[last], &index);
        assert_eq!(solved.ends_of([parent, child, last]), ends);
    }
    assert_eq!([child_op.calls().exec, last_op.calls().exec], [1, 1]);

    // The cut-off wrote the new definition keys down: now nothing is visited.
    let mut fakes = Fakes::default();
    let parent_op = FakeOp::new("rewritten");
    let parent = fakes.add("parent", &parent_op, &[]);
    let child = fakes.add("child", &child_op, &[parent]);
    let last = fakes.add("last", &last_op, &[child]);
    index.take_looked_up();
    assert_eq!(fakes.solve(&[last], &index).end_of(parent), "cached");
    assert_eq!(
        (index.take_looked_up().len(), parent_op.calls().exec),
        (1, 0)
    );
}

#[test]
fn only_what_is_read_of_an_input_counts() {
    let sources: [fn(&str) -> FakeOp; 2] = [FakeOp::source, |content| {
        FakeOp::new(content).gives(content)
    }];
    for source in sources {
        let index = SpyIndex::new();
        let copy = FakeOp::new("copy")
            .reads(|_, output| output[..1].to_owned())
            .gives("copied");
        for (content, end) in [("a1", "completed"), ("a2", "cached"), ("b2", "completed")] {
            let mut fakes = Fakes::default();
            let source = fakes.add("source", &source(content), &[]);
            let target = fakes.add("copy", &copy, &[source]);
            assert_eq!(
                fakes.solve(&[target], &index).end_of(target),
                end,
                "{content}"
            );
        }
    }
}

#[test]
fn sources_without_definition_run_each_time_and_are_never_recorded() {
    let index = SpyIndex::new();
    let op = FakeOp::new("op");
    let last = FakeOp::new("last");
    for (content, ends) in [
        ("v1", ["completed", "completed", "completed"]),
        ("v1", ["completed", "cached", "cached"]),
        ("v2", ["completed", "completed", "completed"]),
        ("v1", ["completed", "cached", "cached"]),
    ] {
        let mut fakes = Fakes::default();
        let source_op = FakeOp::source(content);
        let source = fakes.add("source", &source_op, &[]);
        let middle = fakes.add("op", &op, &[source]);
        let target = fakes.add("last", &last, &[middle]);
        let solved = fakes.solve(&[target], &index);
        assert_eq!(solved.ends_of([source, middle, target]), ends, "{content}");
        assert_eq!(source_op.calls().exec, 1);
    }
    assert_eq!([op.calls().exec, last.calls().exec], [2, 2]);
    assert_eq!(index.take_recorded(), ["op", "last", "op", "last"]);
}

#[test]
fn an_op_without_definition_may_have_inputs() {
    let index = SpyIndex::new();
    let mut fakes = Fakes::default();
    let base_op = FakeOp::new("base");
    let base = fakes.add("base", &base_op, &[]);
    let context = fakes.add("context", &FakeOp::source("x"), &[base]);
    let target_op = FakeOp::new("target");
    let target = fakes.add("target", &target_op, &[context]);
    assert_eq!(
        fakes
            .solve(&[target], &index)
            .ends_of([base, context, target]),
        ["completed"; 3]
    );
    let again = fakes.solve(&[target], &index);
    assert_eq!(
        again.ends_of([base, context, target]),
        ["cached", "completed", "cached"]
    );
    assert_eq!([base_op.calls().exec, target_op.calls().exec], [1, 1]);
}

#[test]
fn a_target_without_definition_runs() {
    let mut fakes = Fakes::default();
    let source = fakes.add("source", &FakeOp::source("x"), &[]);
    assert_eq!(outputs(&fakes.solve(&[source], &SpyIndex::new())), ["x"]);
}

#[test]
fn ignoring_the_cache_runs_the_vertex_and_cuts_off_below_it_by_content() {
    let index = SpyIndex::new();
    let [base_op, forced_op, child_op, last_op] =
        ["base", "forced", "child", "last"].map(FakeOp::new);
    let solve = |force: bool, forced_op: &FakeOp| {
        let mut fakes = Fakes::default();
        let base = fakes.add("base", &base_op, &[]);
        let vertex = Vertex {
            ignore_cache: force,
            ..Vertex::new("forced", forced_op.clone())
        };
        let forced = fakes.graph.add(vertex, &[base]);
        let child = fakes.add("child", &child_op, &[forced]);
        let last = fakes.add("last", &last_op, &[child]);
        let solved = fakes.solve(&[last], &index);
        let output = outputs(&solved)[0].to_owned();
        (solved.ends_of([base, forced, child, last]), output)
    };
    assert_eq!(solve(false, &forced_op).0, ["completed"; 4]);

    assert_eq!(
        solve(true, &forced_op).0,
        ["cached", "completed", "cached", "cached"]
    );
    assert_eq!(forced_op.calls().exec, 2);

    // The forced run gives something else: everything below follows, and later solves see it,
    // although all definition keys are those of before.
    let changed_op = forced_op.clone().gives("changed");
    let changed = (
        ["cached", "completed", "completed", "completed"],
        "last(child(changed))".into(),
    );
    assert_eq!(solve(true, &changed_op), changed);
    assert_eq!(
        solve(false, &changed_op),
        (["cached"; 4], "last(child(changed))".into())
    );
    assert_eq!([child_op.calls().exec, last_op.calls().exec], [2, 2]);
}

#[test]
fn ignoring_the_cache_looks_nothing_of_the_vertex_up() {
    let index = SpyIndex::new();
    let mut fakes = Fakes::default();
    let op = FakeOp::new("op");
    let base = fakes.add("base", &FakeOp::new("base"), &[]);
    let target = fakes.forced("target", &op, &[base]);
    for exec in [1, 2] {
        index.take_looked_up();
        assert_eq!(fakes.solve(&[target], &index).end_of(target), "completed");
        assert_eq!(op.calls().exec, exec);
    }
    let base_key = CacheKey::of("fake op", "base");
    let expected = crate::key::vertex_key(base_key, []);
    assert_eq!(index.take_looked_up(), [expected]);
}

#[test]
fn a_vertex_in_a_diamond_runs_once() {
    let mut fakes = Fakes::default();
    let [top, left, right, bottom] = ["top", "left", "right", "bottom"].map(FakeOp::new);
    let a = fakes.add("top", &top, &[]);
    let b = fakes.add("left", &left, &[a]);
    let c = fakes.add("right", &right, &[a]);
    let d = fakes.add("bottom", &bottom, &[b, c]);
    assert_eq!(
        outputs(&fakes.solve(&[d], &SpyIndex::new())),
        ["bottom(left(top()),right(top()))"]
    );
    for op in [top, left, right, bottom] {
        assert_eq!(op.calls().exec, 1);
    }
}

#[test]
fn equal_vertices_of_one_graph_run_once() {
    let slow = FakeOp::new("slow").runs(|_, _| {
        std::thread::sleep(Duration::from_millis(20));
        Ok("slow".into())
    });
    for force in [false, true] {
        let mut fakes = Fakes::default();
        let base = fakes.add("base", &FakeOp::new("base"), &[]);
        let mut targets = Vec::new();
        for name in ["one", "two", "three"] {
            let vertex = Vertex {
                ignore_cache: force,
                ..Vertex::new(name, slow.clone())
            };
            targets.push(fakes.graph.add(vertex, &[base]));
        }
        // Another way to the same content: equal content keys, different definition keys.
        let other = fakes.add("other base", &FakeOp::new("other").gives("base()"), &[]);
        let vertex = Vertex {
            ignore_cache: force,
            ..Vertex::new("four", slow.clone())
        };
        targets.push(fakes.graph.add(vertex, &[other]));
        let index = SpyIndex::new();
        let before = slow.calls().exec;

        let solved = fakes.solve(&targets, &index);

        assert_eq!(slow.calls().exec, before + 1);
        let mut ends: Vec<_> = targets
            .iter()
            .map(|target| solved.end_of(*target))
            .collect();
        ends.sort_unstable();
        assert_eq!(ends, ["cached", "cached", "cached", "completed"]);
        assert_eq!(outputs(&solved), ["slow"; 4]);
        // Each definition key was written down.
        if !force {
            let four = fakes.solve(&targets[3..], &index);
            assert_eq!(four.ends_of([other, targets[3]]), ["cached", "cached"]);
        }
    }
}

#[test]
fn independent_vertices_run_at_once_up_to_the_number_of_jobs() {
    for jobs in [0, 1, 3] {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        // With three jobs, three must meet for any to go on.
        let meeting = Arc::new(Barrier::new(jobs.max(1)));
        let mut fakes = Fakes::default();
        let mut targets = Vec::new();
        for number in 0..6 {
            let (running, most, meeting) = (running.clone(), most.clone(), meeting.clone());
            let op = FakeOp::new(&number.to_string()).runs(move |_, _| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                meeting.wait();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok("".into())
            });
            targets.push(fakes.add("op", &op, &[]));
        }
        let solved = watched(move || {
            let cancel = CancelToken::new();
            let options = SolveOptions::new(jobs, &cancel);
            solve_as(&fakes.graph, &targets, &SpyIndex::new(), &options)
        });
        assert_eq!(outputs(&solved).len(), 6);
        assert_eq!(most.load(Ordering::SeqCst), jobs.max(1));
    }
}

#[test]
fn keys_are_computed_while_all_jobs_run_something_long() {
    let gate = Arc::new(Barrier::new(2));
    let (in_run, in_weigh) = (gate.clone(), gate);
    // Each waits for the other: the run for the hashing of the other branch.
    let long = FakeOp::new("long").runs(move |_, _| {
        in_run.wait();
        Ok("long".into())
    });
    let hashed = FakeOp::new("hashed").reads(move |_, output| {
        in_weigh.wait();
        output.to_owned()
    });
    let mut fakes = Fakes::default();
    let base = fakes.add("base", &FakeOp::new("base"), &[]);
    let long = fakes.add("long", &long, &[base]);
    let hashed = fakes.add("hashed", &hashed, &[base]);
    let solved = watched(move || {
        let cancel = CancelToken::new();
        let options = SolveOptions::new(1, &cancel);
        solve_as(&fakes.graph, &[long, hashed], &SpyIndex::new(), &options)
    });
    assert_eq!(outputs(&solved), ["long", "hashed(base())"]);
}

#[test]
fn the_longest_known_path_goes_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut fakes = Fakes::default();
    let mut add = |name: &'static str, inputs: &[VertexId]| {
        let order = order.clone();
        let op = FakeOp::new(name).runs(move |_, _| {
            order.lock().unwrap().push(name);
            Ok(name.into())
        });
        fakes.graph.add(Vertex::new(name, op), inputs)
    };
    let quick = add("quick", &[]);
    let slow = add("slow", &[]);
    let head = add("head of a long path", &[]);
    let tail = add("tail of a long path", &[head]);
    let seconds = move |vertex| {
        let seconds = [(quick, 1), (slow, 5), (head, 1), (tail, 9)];
        seconds
            .iter()
            .find(|known| known.0 == vertex)
            .map(|known| Duration::from_secs(known.1))
    };
    // All three heads become ready in the same round, as they are forced and need no lookup.
    for vertex in [quick, slow, head, tail] {
        fakes.graph.vertex_mut(vertex).ignore_cache = true;
    }
    let cancel = CancelToken::new();
    let options = SolveOptions {
        durations: Some(&seconds),
        ..SolveOptions::new(1, &cancel)
    };

    solve_as(
        &fakes.graph,
        &[quick, slow, tail],
        &SpyIndex::new(),
        &options,
    )
    .result
    .unwrap();

    let last = order.lock().unwrap().clone();
    assert_eq!(last[0], "head of a long path");
    let position = |name| last.iter().position(|ran| *ran == name).unwrap();
    assert!(position("slow") < position("quick"), "{last:?}");
}

#[test]
fn no_more_runs_at_once_than_there_is_memory_for() {
    let mut fakes = Fakes::default();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let mut vertices = Vec::new();
    for number in 0..12 {
        let (running, most) = (running.clone(), most.clone());
        let op = FakeOp::new(&number.to_string()).runs(move |_, _| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(number.to_string().into())
        });
        vertices.push(fakes.add("RUN", &op, &[]));
    }
    let huge = vertices[7];
    let need = |vertex| if vertex == huge { 100 } else { 4 };
    let cancel = CancelToken::new();
    let options = SolveOptions {
        memory: Some(MemoryBudget {
            bytes: 9,
            need: &need,
        }),
        ..SolveOptions::new(8, &cancel)
    };
    let solved = solve_as(&fakes.graph, &vertices, &SpyIndex::new(), &options);
    solved
        .result
        .expect("all run, what is too large for the budget too");
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
}

#[test]
fn a_failure_cancels_the_rest_and_says_why() {
    let (solved, vertices, after) = watched(|| {
        let meeting = Arc::new(Barrier::new(2));
        let other = meeting.clone();
        let failing = FakeOp::new("failing").runs(move |_, _| {
            meeting.wait();
            Err(FakeError::new("exit code 2"))
        });
        let running = FakeOp::new("running").runs(move |_, cx| {
            other.wait();
            until_canceled(cx)
        });
        let after = FakeOp::new("after");
        let mut fakes = Fakes::default();
        let failing = fakes.add("RUN make", &failing, &[]);
        let running = fakes.add("running", &running, &[]);
        let below = fakes.add("below", &after, &[failing, running]);
        let solved = fakes.solve(&[below], &SpyIndex::new());
        (solved, [failing, running, below], after)
    });
    assert_eq!(solved.ends_of(vertices), ["failed", "canceled", "canceled"]);
    assert_eq!(after.calls().exec, 0);
    let error = solved.result.unwrap_err();
    assert_eq!(error.to_string(), "RUN make failed");
    let SolveError::Op { vertex, source, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (vertex, source),
        (vertices[0], FakeError::new("exit code 2"))
    );
    let told = solved.events.iter().find_map(|event| match event {
        SolveEvent::Failed { vertex, error, .. } if *vertex == vertices[0] => Some(error.as_str()),
        _ => None,
    });
    assert_eq!(told, Some("exit code 2"));
}

#[test]
fn what_completes_in_spite_of_a_failure_is_recorded() {
    let (solved, [failing, sibling], index) = watched(|| {
        let meeting = Arc::new(Barrier::new(2));
        let other = meeting.clone();
        let failing_op = FakeOp::new("failing").runs(move |_, _| {
            meeting.wait();
            Err(FakeError::new("no"))
        });
        let sibling_op = FakeOp::new("sibling").runs(move |_, cx| {
            other.wait();
            until_canceled(cx).or(Ok("made it".into()))
        });
        let mut fakes = Fakes::default();
        let failing = fakes.add("failing", &failing_op, &[]);
        let sibling = fakes.add("sibling", &sibling_op, &[]);
        let index = SpyIndex::new();
        (
            fakes.solve(&[failing, sibling], &index),
            [failing, sibling],
            index,
        )
    });
    assert_eq!(solved.ends_of([failing, sibling]), ["failed", "completed"]);
    assert_eq!(index.take_recorded(), ["sibling"]);
}

#[test]
fn a_solve_can_be_canceled_from_outside() {
    let (solved, vertices) = watched(|| {
        let cancel = CancelToken::new();
        let trigger = cancel.clone();
        let op = FakeOp::new("op").runs(move |_, cx| {
            trigger.cancel();
            until_canceled(cx)
        });
        let mut fakes = Fakes::default();
        let first = fakes.add("first", &op, &[]);
        let second = fakes.add("second", &FakeOp::new("second"), &[first]);
        let solved = solve_as(
            &fakes.graph,
            &[second],
            &SpyIndex::new(),
            &SolveOptions::new(2, &cancel),
        );
        (solved, [first, second])
    });
    assert!(
        matches!(solved.result, Err(SolveError::Canceled)),
        "{:?}",
        solved.result
    );
    assert_eq!(solved.ends_of(vertices), ["canceled", "canceled"]);
}

#[test]
fn a_solve_that_is_canceled_beforehand_calls_nothing() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let op = FakeOp::new("op");
    let mut fakes = Fakes::default();
    let vertex = fakes.add("op", &op, &[]);
    let index = SpyIndex::new();
    let solved = solve_as(
        &fakes.graph,
        &[vertex],
        &index,
        &SolveOptions::new(2, &cancel),
    );
    assert!(matches!(solved.result, Err(SolveError::Canceled)));
    assert_eq!(solved.end_of(vertex), "canceled");
    assert_eq!(op.calls(), Calls::default());
}

#[test]
fn a_panic_in_an_op_is_an_error() {
    let panics = |_: usize, _: &str| -> String { panic!("boom") };
    let cases = [
        ("exec", FakeOp::new("op").runs(|_, _| panic!("boom"))),
        ("input_content", FakeOp::new("op").reads(panics)),
    ];
    for (method, op) in cases {
        let (solved, vertices) = watched(move || {
            let mut fakes = Fakes::default();
            let base = fakes.add("base", &FakeOp::new("base"), &[]);
            let bad = fakes.add("bad", &op, &[base]);
            let below = fakes.add("below", &FakeOp::new("below"), &[bad]);
            (fakes.solve(&[below], &SpyIndex::new()), [base, bad, below])
        });
        assert_eq!(
            solved.ends_of(vertices),
            ["completed", "failed", "canceled"],
            "{method}"
        );
        assert_eq!(solved.result.unwrap_err().to_string(), "bad panicked: boom");
    }
}

#[test]
fn a_definition_that_fails_or_panics_is_an_error() {
    let bad = FakeOp::new("bad");
    let cases = [
        (
            bad.clone().defines(|| Err(FakeError::new("no such file"))),
            "bad failed",
        ),
        (bad.defines(|| panic!("boom")), "bad panicked: boom"),
    ];
    for (op, message) in cases {
        let (solved, vertices) = watched(move || {
            let mut fakes = Fakes::default();
            let bad = fakes.add("bad", &op, &[]);
            let below = fakes.add("below", &FakeOp::new("below"), &[bad]);
            (fakes.solve(&[below], &SpyIndex::new()), [bad, below])
        });
        assert_eq!(solved.ends_of(vertices), ["failed", "canceled"]);
        assert_eq!(solved.result.unwrap_err().to_string(), message);
    }
}

#[test]
fn costly_definitions_are_asked_for_in_parallel() {
    let meeting = Arc::new(Barrier::new(2));
    let slow = FakeOp::new("slow").defines(|| {
        std::thread::sleep(Duration::from_millis(5));
        Ok(Some(CacheKey::of("fake op", "slow")))
    });
    let mut fakes = Fakes::default();
    let mut targets = vec![fakes.add("slow", &slow, &[])];
    for name in ["one", "two"] {
        let meeting = meeting.clone();
        let op = FakeOp::new(name).defines(move || {
            meeting.wait();
            Ok(Some(CacheKey::of("fake op", name)))
        });
        targets.push(fakes.add(name, &op, &[]));
    }
    let solved = watched(move || fakes.solve(&targets, &SpyIndex::new()));
    assert_eq!(outputs(&solved), ["slow()", "one()", "two()"]);
}

/// An index that panics.
struct BadIndex;

impl KeyIndex<FakeOutput> for BadIndex {
    fn lookup(&self, _: &CacheKey) -> Option<FakeOutput> {
        panic!("no disk")
    }
    fn record(&self, _: &Record<'_, FakeOutput>) {}
    fn try_claim(&self, _: &CacheKey) -> Option<Box<dyn Claim + '_>> {
        None
    }
}

#[test]
fn a_panic_in_the_index_is_an_error() {
    let solved = watched(|| {
        let mut fakes = Fakes::default();
        let vertex = fakes.add("op", &FakeOp::new("op"), &[]);
        fakes.solve(&[vertex], &BadIndex)
    });
    assert_eq!(
        solved.result.unwrap_err().to_string(),
        "op panicked: no disk"
    );
}

#[test]
fn two_solves_on_one_index_run_a_vertex_once() {
    let op = FakeOp::new("op").runs(|_, _| {
        std::thread::sleep(Duration::from_millis(30));
        Ok("result".into())
    });
    let mut fakes = Fakes::default();
    let base = fakes.add("base", &FakeOp::new("base"), &[]);
    let vertex = fakes.add("op", &op, &[base]);
    let index = SpyIndex::new();
    let meeting = Barrier::new(4);
    let mut ends = std::thread::scope(|scope| {
        let solve = || {
            meeting.wait();
            let solved = fakes.solve(&[vertex], &index);
            assert_eq!(outputs(&solved), ["result"]);
            solved.end_of(vertex)
        };
        let solves = [(); 4].map(|()| scope.spawn(solve));
        solves.map(|solve| solve.join().expect("the solve ends"))
    });
    ends.sort_unstable();
    assert_eq!(ends, ["cached", "cached", "cached", "completed"]);
    assert_eq!(op.calls().exec, 1);
}

/// An index whose claims are all held elsewhere until they are let go.
struct ClaimedIndex {
    memory: MemoryIndex<FakeOutput>,
    let_go: AtomicUsize,
}

impl KeyIndex<FakeOutput> for ClaimedIndex {
    fn lookup(&self, key: &CacheKey) -> Option<FakeOutput> {
        self.memory.lookup(key)
    }
    fn record(&self, record: &Record<'_, FakeOutput>) {
        self.memory.record(record);
    }
    fn try_claim(&self, key: &CacheKey) -> Option<Box<dyn Claim + '_>> {
        let left = self.let_go.load(Ordering::SeqCst);
        if left > 0 {
            self.let_go.store(left - 1, Ordering::SeqCst);
            return None;
        }
        self.memory.try_claim(key)
    }
}

#[test]
fn a_vertex_runs_here_if_the_claims_holder_gives_up() {
    for force in [false, true] {
        let op = FakeOp::new("op");
        let mut fakes = Fakes::default();
        let vertex = Vertex {
            ignore_cache: force,
            ..Vertex::new("op", op.clone())
        };
        let vertex = fakes.graph.add(vertex, &[]);
        let index = ClaimedIndex {
            memory: MemoryIndex::new(),
            let_go: AtomicUsize::new(6),
        };
        assert_eq!(fakes.solve(&[vertex], &index).end_of(vertex), "completed");
        assert_eq!(op.calls().exec, 1);
    }
}

#[test]
fn waiting_for_a_claim_takes_no_slot_and_ends_on_cancellation() {
    let (solved, vertices) = watched(|| {
        let cancel = CancelToken::new();
        let trigger = cancel.clone();
        let mut fakes = Fakes::default();
        let claimed = fakes.add("claimed", &FakeOp::new("claimed"), &[]);
        let source = FakeOp::source("x").runs(|_, _| {
            std::thread::sleep(Duration::from_millis(20));
            Ok("x".into())
        });
        let free = fakes.add("free", &source, &[]);
        let last = FakeOp::source("y").runs(move |_, _| {
            trigger.cancel();
            Ok("y".into())
        });
        let last = fakes.add("last", &last, &[free]);
        let index = ClaimedIndex {
            memory: MemoryIndex::new(),
            let_go: AtomicUsize::new(usize::MAX),
        };
        let solved = solve_as(
            &fakes.graph,
            &[claimed, last],
            &index,
            &SolveOptions::new(1, &cancel),
        );
        (solved, [claimed, free, last])
    });
    assert!(matches!(solved.result, Err(SolveError::Canceled)));
    assert_eq!(
        solved.ends_of(vertices),
        ["canceled", "completed", "completed"]
    );
}

#[test]
fn events_frame_what_an_op_writes() {
    let op = FakeOp::new("op").runs(|_, cx| {
        cx.log(Stream::Stdout, b"hello\n");
        cx.log(Stream::Stderr, b"oops\n");
        Ok("".into())
    });
    let mut fakes = Fakes::default();
    let vertex = fakes.add("op", &op, &[]);
    let solved = fakes.solve(&[vertex], &SpyIndex::new());
    let told: Vec<_> = solved
        .events
        .iter()
        .map(|event| match event {
            SolveEvent::Started { .. } => "started",
            SolveEvent::Log {
                stream: Stream::Stdout,
                data,
                ..
            } if data == b"hello\n" => "out",
            SolveEvent::Log {
                stream: Stream::Stderr,
                data,
                ..
            } if data == b"oops\n" => "err",
            SolveEvent::Completed { .. } => "completed",
            _ => "something else",
        })
        .collect();
    assert_eq!(told, ["started", "out", "err", "completed"]);
}

#[test]
fn what_is_above_a_hit_is_told_as_soon_as_nothing_can_ask_for_it() {
    let index = SpyIndex::new();
    let mut fakes = Fakes::default();
    let top = fakes.add("top", &FakeOp::new("top"), &[]);
    let hit = fakes.add("hit", &FakeOp::new("hit"), &[top]);
    fakes.solve(&[hit], &index).result.unwrap();
    let last = fakes.add("last", &FakeOp::new("last"), &[hit]);

    let solved = fakes.solve(&[last], &index);

    assert_eq!(
        solved.ends_of([top, hit, last]),
        ["cached", "cached", "completed"]
    );
    let position = |wanted: VertexId| {
        solved
            .events
            .iter()
            .position(|event| event.vertex() == wanted)
            .expect("it is told")
    };
    assert!(position(top) < position(last));
}

#[test]
fn a_chain_of_a_hundred_thousand_vertices_is_solved() {
    let (first, second) = watched(|| {
        let mut fakes = Fakes::default();
        let op = FakeOp::new("link").gives("x");
        let mut last = fakes.add("link", &op, &[]);
        for _ in 1..100_000 {
            last = fakes.add("link", &op, &[last]);
        }
        let index = MemoryIndex::new();
        let first = fakes.solve(&[last], &index);
        let second = fakes.solve(&[last], &index);
        (first, second)
    });
    assert_eq!(outputs(&first), ["x"]);
    assert_eq!(outputs(&second), ["x"]);
    let cached = |event: &&SolveEvent| matches!(event, SolveEvent::Cached { .. });
    assert_eq!(second.events.iter().filter(cached).count(), 100_000);
}

/// A small generator of numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Returns an op whose behaviour follows from its label.
fn op_of(label: usize, failing: bool) -> FakeOp {
    let name = label.to_string();
    let count = |inputs: &[FakeOutput]| inputs.concat().len() % 5;
    match label {
        0..4 => FakeOp::source(&name),
        4..8 => FakeOp::new(&name).gives("same"),
        8 if failing => FakeOp::new(&name).fails("told to"),
        _ => {
            FakeOp::new(&name).runs(move |inputs, _| Ok(format!("{name}:{}", count(inputs)).into()))
        }
    }
}

/// Returns a graph of all kinds of vertices, and some of them as targets.
fn random_graph(numbers: &mut Numbers, failing: bool) -> (Fakes, Vec<VertexId>) {
    let mut fakes = Fakes::default();
    for number in 0..40 {
        let label = numbers.below(20);
        let inputs: Vec<_> = (0..numbers.below(4).min(number))
            .map(|_| VertexId::from_index(numbers.below(number)))
            .collect();
        let vertex = Vertex {
            ignore_cache: numbers.below(10) == 0,
            ..Vertex::new(label.to_string(), op_of(label, failing))
        };
        fakes.graph.add(vertex, &inputs);
    }
    let targets = (0..3)
        .map(|_| VertexId::from_index(numbers.below(40)))
        .collect();
    (fakes, targets)
}

#[test]
fn every_reached_vertex_ends_once_whatever_the_graph() {
    watched(|| {
        for seed in 0..300 {
            let mut numbers = Numbers(seed);
            let failing = seed % 2 == 1;
            let (fakes, targets) = random_graph(&mut numbers, failing);
            let index = SpyIndex::new();
            for _ in 0..3 {
                let solved = fakes.solve(&targets, &index);
                assert!(
                    failing || solved.result.is_ok(),
                    "seed {seed}: {:?}",
                    solved.result
                );
                for vertex in fakes.graph.reachable(&targets) {
                    let end = solved.end_of(vertex);
                    let good = ["cached", "completed"].contains(&end);
                    assert!(
                        good || solved.result.is_err(),
                        "seed {seed}: {vertex} {end}"
                    );
                }
            }
        }
    });
}

#[test]
fn an_index_full_of_other_graphs_gives_what_an_empty_one_gives() {
    watched(|| {
        let shared = SpyIndex::new();
        let (mut ran, mut reached) = (0, 0);
        for seed in 1000..1300 {
            let (fakes, targets) = random_graph(&mut Numbers(seed), false);
            let warm = fakes.solve(&targets, &shared);
            let cold = fakes.solve(&targets, &SpyIndex::new());
            assert_eq!(outputs(&warm), outputs(&cold), "seed {seed}");
            let completed = |event: &&SolveEvent| matches!(event, SolveEvent::Completed { .. });
            ran += warm.events.iter().filter(completed).count();
            reached += fakes.graph.reachable(&targets).len();
        }
        // It would prove nothing if nothing hit.
        assert!(reached - ran > reached / 4, "{ran} of {reached} ran");
    });
}
