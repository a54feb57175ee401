//! The state of every step, as the events so far tell it.
//!
//! One thread owns the [`Model`]. It redacts, cuts output into lines and numbers the steps, and
//! says in [`Change`]s what is new, so that the views only have to lay it out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::event::{Event, StepId, Stream};
use super::redact::{Redactor, Secrets};

/// How many bytes of a step's output are kept for the case that it fails.
const TAIL_BYTES: usize = 4 << 20;

/// A line that grows beyond this is cut, so that a step cannot fill the memory with one line.
const LONGEST_LINE: usize = 64 << 10;

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StepState {
    /// Not started.
    Waiting,
    /// Started.
    Running,
    /// Its result was known.
    Cached,
    /// Carried out.
    Done,
    /// Failed, for this reason.
    Failed(String),
    /// Stopped because another step failed or the user asked for it.
    Canceled,
}

/// One line that a step wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Time since the step began.
    pub at: Duration,
    /// Where it was written.
    pub stream: Stream,
    /// The line, redacted, without its end.
    pub text: String,
}

/// Part of a step's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Bytes (or items) done.
    pub current: u64,
    /// Bytes (or items) in all, where known.
    pub total: Option<u64>,
    /// Time since the step began, at the first status.
    pub began: Duration,
    /// Time since the step began, at the latest status.
    pub at: Duration,
    /// Whether it is finished.
    pub done: bool,
}

impl Part {
    /// Returns how many bytes moved in a second, once that can be told; only of transfers, whose
    /// end is known.
    pub(super) fn rate(&self) -> Option<u64> {
        let elapsed = self.at.saturating_sub(self.began).as_secs_f64();
        (self.total.is_some() && elapsed >= 0.1).then(|| (self.current as f64 / elapsed) as u64)
    }
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// Its name.
    pub name: String,
    /// Its number, from 1 in order of first appearance; 0 before that.
    pub number: usize,
    /// Where it is.
    pub state: StepState,
    /// When it began.
    pub started: Duration,
    /// When it ended.
    pub ended: Option<Duration>,
    /// The last lines that it wrote.
    pub tail: VecDeque<Line>,
    /// How many lines were dropped from the tail's front.
    pub dropped: u64,
    /// The parts that it reported, in order of appearance.
    pub parts: Vec<(String, Part)>,
    tail_bytes: usize,
    output: BTreeMap<Stream, Output>,
}

/// One stream of a step between its bytes and its lines.
#[derive(Debug, Default)]
struct Output {
    redactor: Redactor,
    line: Vec<u8>,
    /// A carriage return was the last byte: a newline completes the line, anything else starts
    /// it over as on a terminal.
    returned: bool,
}

/// What an event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A step appeared and has its number.
    Appeared(StepId),
    /// A step wrote a line.
    Line(StepId, Line),
    /// A part of a step's work went on.
    Part(StepId, String, Part),
    /// A step ended.
    Ended(StepId),
    /// A warning was given.
    Warning(String),
    /// A build check found something.
    Found(serde_json::Value),
}

/// Every step of the build.
#[derive(Debug, Default)]
pub(super) struct Model {
    steps: BTreeMap<StepId, Step>,
    secrets: Secrets,
    appeared: usize,
}

impl Model {
    /// Returns what must not be shown.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Returns the step; the model made every id that it gives out.
    pub(super) fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(&id)
    }

    /// Returns the steps that have appeared, by number.
    pub(super) fn appeared(&self) -> Vec<(StepId, &Step)> {
        let mut steps: Vec<_> = self
            .steps
            .iter()
            .filter(|(_, step)| step.number > 0)
            .map(|(id, step)| (*id, step))
            .collect();
        steps.sort_by_key(|(_, step)| step.number);
        steps
    }

    /// Returns how many steps have ended well, and how many there are.
    pub(super) fn totals(&self) -> (usize, usize) {
        let done = |step: &&Step| matches!(step.state, StepState::Done | StepState::Cached);
        (self.steps.values().filter(done).count(), self.steps.len())
    }

    /// Takes `event` in and returns what is new.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Change> {
        let mut changes = Vec::new();
        match event {
            Event::Declared { step, name } => self.declare(step, &name),
            Event::Started { step, at } => self.appear(step, at, &mut changes),
            Event::Log {
                step,
                at,
                stream,
                data,
            } => self.log(step, at, stream, &data, &mut changes),
            Event::Status {
                step,
                at,
                item,
                current,
                total,
                done,
            } => {
                self.appear(step, at, &mut changes);
                let part = Part {
                    current,
                    total,
                    began: at,
                    at,
                    done,
                };
                self.part(step, item, part, &mut changes);
            }
            Event::Found { warning } => changes.push(Change::Found(warning)),
            Event::Warning { message } => {
                changes.push(Change::Warning(self.secrets.clean(&message)));
            }
            Event::Cached { step, at } => self.end(step, at, StepState::Cached, &mut changes),
            Event::Completed { step, at } => self.end(step, at, StepState::Done, &mut changes),
            Event::Failed {
                step,
                at,
                canceled: true,
                ..
            } => {
                self.end(step, at, StepState::Canceled, &mut changes);
            }
            Event::Failed {
                step,
                at,
                error,
                canceled: false,
            } => {
                let error = self.secrets.clean(&error);
                self.end(step, at, StepState::Failed(error), &mut changes);
            }
            Event::Redact { values } => values.iter().for_each(|value| self.secrets.add(value)),
        }
        changes
    }

    fn declare(&mut self, id: StepId, name: &str) {
        let step = Step {
            name: self.secrets.clean(name),
            number: 0,
            state: StepState::Waiting,
            started: Duration::ZERO,
            ended: None,
            tail: VecDeque::new(),
            dropped: 0,
            parts: Vec::new(),
            tail_bytes: 0,
            output: BTreeMap::new(),
        };
        self.steps.entry(id).or_insert(step);
    }

    fn appear(&mut self, id: StepId, at: Duration, changes: &mut Vec<Change>) {
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        if step.number == 0 {
            self.appeared += 1;
            step.number = self.appeared;
            step.started = at;
            step.state = StepState::Running;
            changes.push(Change::Appeared(id));
        }
    }

    fn part(&mut self, id: StepId, item: String, mut part: Part, changes: &mut Vec<Change>) {
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        part.at = part.at.saturating_sub(step.started);
        part.began = part.at;
        match step.parts.iter_mut().find(|(name, _)| *name == item) {
            Some((_, known)) => {
                part.began = known.began;
                *known = part.clone();
            }
            None => step.parts.push((item.clone(), part.clone())),
        }
        changes.push(Change::Part(id, item, part));
    }

    fn log(
        &mut self,
        id: StepId,
        at: Duration,
        stream: Stream,
        data: &[u8],
        changes: &mut Vec<Change>,
    ) {
        self.appear(id, at, changes);
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        let output = step.output.entry(stream).or_default();
        let shown = output.redactor.filter(&self.secrets, data);
        let lines = output.split(&shown);
        step.push(id, at, stream, lines, changes);
    }

    fn end(&mut self, id: StepId, at: Duration, state: StepState, changes: &mut Vec<Change>) {
        self.appear(id, at, changes);
        let Some(step) = self.steps.get_mut(&id) else {
            return;
        };
        if step.ended.is_some() {
            return;
        }
        for (stream, mut output) in std::mem::take(&mut step.output) {
            let rest = output.redactor.finish(&self.secrets);
            let mut lines = output.split(&rest);
            if !output.line.is_empty() {
                lines.push(output.take());
            }
            step.push(id, at, stream, lines, changes);
        }
        step.state = state;
        step.ended = Some(at);
        if !matches!(step.state, StepState::Failed(_)) {
            step.tail.clear();
        }
        changes.push(Change::Ended(id));
    }
}

impl Step {
    fn push(
        &mut self,
        id: StepId,
        at: Duration,
        stream: Stream,
        lines: Vec<String>,
        changes: &mut Vec<Change>,
    ) {
        for text in lines {
            let line = Line {
                at: at.saturating_sub(self.started),
                stream,
                text,
            };
            self.tail_bytes += line.text.len() + 1;
            self.tail.push_back(line.clone());
            while self.tail_bytes > TAIL_BYTES {
                let Some(first) = self.tail.pop_front() else {
                    break;
                };
                self.tail_bytes -= first.text.len() + 1;
                self.dropped += 1;
            }
            changes.push(Change::Line(id, line));
        }
    }

    /// Returns what the step has written of a line that it has not ended yet.
    pub(super) fn unfinished_line(&self) -> Option<String> {
        let output = self
            .output
            .values()
            .find(|output| !output.line.is_empty())?;
        Some(String::from_utf8_lossy(&output.line).into_owned())
    }

    /// Returns how long the step ran, or has been running by `now`.
    pub(super) fn elapsed(&self, now: Duration) -> Duration {
        self.ended.unwrap_or(now).saturating_sub(self.started)
    }
}

impl Output {
    fn split(&mut self, data: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in data {
            if byte == b'\n' {
                self.returned = false;
                lines.push(self.take());
                continue;
            }
            if byte == b'\r' {
                self.returned = true;
            } else {
                if std::mem::take(&mut self.returned) {
                    self.line.clear();
                }
                self.line.push(byte);
                if self.line.len() >= LONGEST_LINE {
                    lines.push(self.take());
                }
            }
        }
        lines
    }

    fn take(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: StepId = StepId(7);

    fn log(data: &str) -> Event {
        let at = Duration::from_millis(1500);
        Event::Log {
            step: STEP,
            at,
            stream: Stream::Stdout,
            data: data.into(),
        }
    }

    fn started() -> Model {
        let mut model = Model::default();
        model.apply(Event::Declared {
            step: STEP,
            name: "RUN x".into(),
        });
        model.apply(Event::Started {
            step: STEP,
            at: Duration::from_secs(1),
        });
        model
    }

    fn texts(changes: &[Change]) -> Vec<&str> {
        changes
            .iter()
            .filter_map(|change| match change {
                Change::Line(_, line) => Some(line.text.as_str()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn output_is_cut_into_lines_as_a_terminal_would_show_them() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["a\nb\n"], &["a", "b"]),
            (&["a", "b\nc"], &["ab", "c"]),
            (&["10%\r50%\r100%\n"], &["100%"]),
            (&["dos\r\nline\r", "\n"], &["dos", "line"]),
            (&["\n\n"], &["", ""]),
            (&["\u{fffd}"], &["\u{fffd}"]),
            (&["x\r\r\n"], &["x"]),
        ];
        for (chunks, expected) in cases {
            let mut model = started();
            let mut changes: Vec<_> = chunks
                .iter()
                .flat_map(|chunk| model.apply(log(chunk)))
                .collect();
            changes.extend(model.apply(Event::Completed {
                step: STEP,
                at: Duration::from_secs(2),
            }));
            assert_eq!(texts(&changes), *expected, "{chunks:?}");
        }
    }

    #[test]
    fn a_failed_step_keeps_its_tail_and_others_do_not() {
        let mut model = started();
        model.apply(log("one\ntwo\n"));
        let failed = Event::Failed {
            step: STEP,
            at: Duration::from_secs(2),
            error: "exit code: 1".into(),
            canceled: false,
        };
        assert_eq!(model.apply(failed), [Change::Ended(STEP)]);
        let step = model.step(STEP).expect("declared above");
        assert_eq!(step.tail.len(), 2);
        assert_eq!(step.tail[0].at, Duration::from_millis(500));
        assert_eq!(step.elapsed(Duration::ZERO), Duration::from_secs(1));
    }

    #[test]
    fn steps_are_numbered_when_they_appear_and_counted_when_they_are_declared() {
        let mut model = Model::default();
        for id in 0..3 {
            model.apply(Event::Declared {
                step: StepId(id),
                name: format!("step {id}"),
            });
        }
        let at = Duration::ZERO;
        model.apply(Event::Cached {
            step: StepId(2),
            at,
        });
        model.apply(Event::Started {
            step: StepId(0),
            at,
        });
        let numbers: Vec<_> = model
            .appeared()
            .iter()
            .map(|(id, step)| (id.0, step.number))
            .collect();
        assert_eq!(numbers, [(2, 1), (0, 2)]);
        assert_eq!(model.totals(), (1, 3));
    }

    #[test]
    fn names_errors_and_output_are_redacted() {
        let mut model = Model::default();
        model.apply(Event::Redact {
            values: vec![b"hunter2".to_vec()],
        });
        model.apply(Event::Declared {
            step: STEP,
            name: "RUN login hunter2".into(),
        });
        let changes = [log("hun"), log("ter2\n")]
            .map(|event| model.apply(event))
            .concat();
        assert_eq!(texts(&changes), ["[REDACTED]"]);
        let at = Duration::ZERO;
        let error = "login hunter2 failed".into();
        model.apply(Event::Failed {
            step: STEP,
            at,
            error,
            canceled: false,
        });
        let step = model.step(STEP).expect("declared above");
        assert_eq!(step.name, "RUN login [REDACTED]");
        assert_eq!(
            step.state,
            StepState::Failed("login [REDACTED] failed".into())
        );
    }

    #[test]
    fn a_transfer_has_a_rate_once_time_has_passed() {
        let part = |at, total| Part {
            current: 3_000_000,
            total,
            began: Duration::from_millis(500),
            at: Duration::from_millis(at),
            done: false,
        };
        assert_eq!(part(550, Some(9_000_000)).rate(), None);
        assert_eq!(part(2000, Some(9_000_000)).rate(), Some(2_000_000));
        assert_eq!(part(2000, None).rate(), None);
    }
}
