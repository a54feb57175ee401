//! Several solves on one index, and what they tell.

use super::*;

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
