//! What runs when.

use super::*;

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
