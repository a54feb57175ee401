//! Failures, cancellation and panics.

use super::*;

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
