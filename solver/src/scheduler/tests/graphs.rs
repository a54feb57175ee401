//! Which vertices are visited, and how often.

use super::*;

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
