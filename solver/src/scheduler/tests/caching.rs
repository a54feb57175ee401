//! Keys, hits and what stops a rebuild.

use super::*;

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
