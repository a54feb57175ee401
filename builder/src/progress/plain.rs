//! One line an event, in the form that BuildKit's users and their scripts know.
//!
//! ```text
//! #4 [build 2/5] RUN make
//! #4 0.123 cc -o main main.c
//! #4 ...
//!
//! #5 [docs 2/2] RUN ./render
//! #5 CACHED
//!
//! #4 [build 2/5] RUN make
//! #4 DONE 0.3s
//! ```
//!
//! One step has the floor at a time. The others' lines wait until it ends or falls silent, so
//! that blocks of output stay together; a line is never cut by another step's.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use super::View;
use super::event::StepId;
use super::model::{Change, Model, Part, Step, StepState};

/// A step that has been silent for this long loses the floor to one that has something to say.
const SILENCE: Duration = Duration::from_millis(400);

/// Whatever waits this long gets the floor even from a step that goes on talking.
const TURN: Duration = Duration::from_secs(5);

/// The plain view.
#[derive(Default)]
pub(super) struct Plain {
    floor: Option<Floor>,
    waiting: BTreeMap<StepId, Waiting>,
    order: VecDeque<StepId>,
    /// Bytes shown for each part, so that a running part is not repeated for nothing.
    blank: bool,
}

struct Floor {
    step: StepId,
    last: Duration,
}

struct Waiting {
    since: Duration,
    text: String,
    ended: bool,
}

impl Plain {
    /// Writes `text` of `step`, or keeps it until the step has the floor.
    fn say(
        &mut self,
        model: &Model,
        id: StepId,
        text: &str,
        ended: bool,
        now: Duration,
        out: &mut String,
    ) {
        match &mut self.floor {
            Some(floor) if floor.step == id => {
                out.push_str(text);
                floor.last = now;
                if ended {
                    self.end_turn(out);
                    self.next_turns(model, now, out);
                }
            }
            Some(_) => {
                let waiting = self.waiting.entry(id).or_insert_with(|| {
                    self.order.push_back(id);
                    Waiting {
                        since: now,
                        text: String::new(),
                        ended: false,
                    }
                });
                waiting.text.push_str(text);
                waiting.ended |= ended;
                self.yield_floor(model, now, out);
            }
            None => self.begin_turn(model, id, text, ended, now, out),
        }
    }

    fn begin_turn(
        &mut self,
        model: &Model,
        id: StepId,
        text: &str,
        ended: bool,
        now: Duration,
        out: &mut String,
    ) {
        let Some(step) = model.step(id) else { return };
        if std::mem::replace(&mut self.blank, true) {
            out.push('\n');
        }
        let _ = writeln!(out, "#{} {}", step.number, step.name);
        out.push_str(text);
        self.floor = (!ended).then_some(Floor {
            step: id,
            last: now,
        });
    }

    fn end_turn(&mut self, _out: &mut String) {
        self.floor = None;
    }

    /// Lets the steps that have ended speak, then the first that has not.
    fn next_turns(&mut self, model: &Model, now: Duration, out: &mut String) {
        while self.floor.is_none() {
            let Some(id) = self.order.pop_front() else {
                return;
            };
            if let Some(waiting) = self.waiting.remove(&id) {
                self.begin_turn(model, id, &waiting.text, waiting.ended, now, out);
            }
        }
    }

    fn yield_floor(&mut self, model: &Model, now: Duration, out: &mut String) {
        let Some(floor) = &self.floor else { return };
        let Some(first) = self.order.front().and_then(|id| self.waiting.get(id)) else {
            return;
        };
        let silent = now.saturating_sub(floor.last) >= SILENCE;
        let overdue = now.saturating_sub(first.since) >= TURN;
        if !silent && !overdue {
            return;
        }
        if let Some(step) = model.step(floor.step) {
            let _ = writeln!(out, "#{} ...", step.number);
        }
        self.floor = None;
        self.next_turns(model, now, out);
    }
}

impl View for Plain {
    fn change(&mut self, model: &Model, change: &Change, now: Duration, out: &mut String) {
        match change {
            Change::Appeared(id) => self.say(model, *id, "", false, now, out),
            Change::Line(id, line) => {
                let Some(step) = model.step(*id) else { return };
                let at = line.at.as_secs_f64();
                let text = format!("#{} {at:.3} {}\n", step.number, line.text);
                self.say(model, *id, &text, false, now, out);
            }
            Change::Part(id, item, part) => {
                let Some(step) = model.step(*id) else { return };
                if part.done {
                    self.say(model, *id, &part_line(step, item, part), false, now, out);
                }
            }
            Change::Ended(id) => {
                let Some(step) = model.step(*id) else { return };
                self.say(model, *id, &end_line(step, now), true, now, out);
            }
            Change::Warning(message) => {
                let _ = writeln!(out, "WARN: {message}");
            }
            Change::Found(_) => {}
        }
    }

    fn frame(
        &mut self,
        model: &Model,
        now: Duration,
        _size: super::screen::Size,
        out: &mut String,
    ) -> Vec<String> {
        self.yield_floor(model, now, out);
        Vec::new()
    }

    fn patience(&self) -> Option<Duration> {
        (!self.order.is_empty()).then_some(SILENCE / 2)
    }

    fn finish(&mut self, model: &Model, now: Duration, out: &mut String) {
        while !self.order.is_empty() {
            self.floor = None;
            self.next_turns(model, now, out);
        }
    }

    fn shows_lines(&self) -> bool {
        true
    }
}

fn end_line(step: &Step, now: Duration) -> String {
    let number = step.number;
    let seconds = step.elapsed(now).as_secs_f64();
    match &step.state {
        StepState::Cached => format!("#{number} CACHED\n"),
        StepState::Failed(error) if error.is_empty() => format!("#{number} FAILED\n"),
        StepState::Failed(error) => format!("#{number} ERROR: {error}\n"),
        StepState::Canceled => format!("#{number} CANCELED\n"),
        StepState::Done | StepState::Running | StepState::Waiting => {
            format!("#{number} DONE {seconds:.1}s\n")
        }
    }
}

fn part_line(step: &Step, item: &str, part: &Part) -> String {
    let mut line = format!("#{} {item}", step.number);
    match part.total {
        Some(total) => {
            let _ = write!(line, " {} / {}", size(part.current), size(total));
            if let Some(rate) = part.rate() {
                let _ = write!(line, " {}/s", size(rate));
            }
        }
        None if part.current > 0 => {
            let _ = write!(line, " {}", size(part.current));
        }
        None => {}
    }
    let _ = write!(line, " {:.1}s", part.at.as_secs_f64());
    line.push_str(if part.done { " done\n" } else { "\n" });
    line
}

/// Returns `bytes` in decimal units with up to two decimals, as BuildKit writes sizes.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.995 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes}B");
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Stream};
    use super::*;

    struct Script {
        model: Model,
        view: Plain,
        out: String,
    }

    impl Script {
        fn new(names: &[&str]) -> Self {
            let mut script = Self {
                model: Model::default(),
                view: Plain::default(),
                out: String::new(),
            };
            for (id, name) in (0..).zip(names) {
                script.tell(
                    0,
                    Event::Declared {
                        step: StepId(id),
                        name: (*name).into(),
                    },
                );
            }
            script
        }

        fn tell(&mut self, now: u64, event: Event) {
            let now = Duration::from_millis(now);
            for change in self.model.apply(event) {
                self.view.change(&self.model, &change, now, &mut self.out);
            }
        }

        fn start(&mut self, now: u64, id: u32) {
            self.tell(
                now,
                Event::Started {
                    step: StepId(id),
                    at: Duration::from_millis(now),
                },
            );
        }

        fn log(&mut self, now: u64, id: u32, data: &str) {
            let at = Duration::from_millis(now);
            let stream = Stream::Stdout;
            self.tell(
                now,
                Event::Log {
                    step: StepId(id),
                    at,
                    stream,
                    data: data.into(),
                },
            );
        }

        fn done(&mut self, now: u64, id: u32) {
            self.tell(
                now,
                Event::Completed {
                    step: StepId(id),
                    at: Duration::from_millis(now),
                },
            );
        }

        fn finish(mut self, now: u64) -> String {
            self.view
                .finish(&self.model, Duration::from_millis(now), &mut self.out);
            self.out
        }
    }

    #[test]
    fn steps_one_after_another() {
        let mut script = Script::new(&[
            "[internal] load .dockerignore",
            "[1/3] FROM a",
            "[2/3] RUN x",
            "[3/3] RUN y",
        ]);
        script.start(0, 0);
        let item = "transferring context".to_owned();
        let (step, at) = (StepId(0), Duration::from_millis(40));
        script.tell(
            40,
            Event::Status {
                step,
                at,
                item,
                current: 1_234,
                total: None,
                done: true,
            },
        );
        script.done(50, 0);
        script.tell(
            60,
            Event::Cached {
                step: StepId(1),
                at: Duration::ZERO,
            },
        );
        script.start(100, 2);
        script.log(223, 2, "hello\nwor");
        script.log(250, 2, "ld");
        script.done(420, 2);
        script.start(420, 3);
        script.tell(
            500,
            Event::Warning {
                message: "mind the gap".into(),
            },
        );
        let error = "process \"/bin/sh -c y\" did not complete successfully: exit code: 2";
        let (step, at, error) = (StepId(3), Duration::from_millis(700), error.into());
        script.tell(
            700,
            Event::Failed {
                step,
                at,
                error,
                canceled: false,
            },
        );
        insta::assert_snapshot!(script.finish(700), @r#"
        #1 [internal] load .dockerignore
        #1 transferring context 1.23kB 0.0s done
        #1 DONE 0.1s

        #2 [1/3] FROM a
        #2 CACHED

        #3 [2/3] RUN x
        #3 0.123 hello
        #3 0.320 world
        #3 DONE 0.3s

        #4 [3/3] RUN y
        WARN: mind the gap
        #4 ERROR: process "/bin/sh -c y" did not complete successfully: exit code: 2
        "#);
    }

    #[test]
    fn a_step_keeps_the_floor_until_it_ends_or_falls_silent() {
        let mut script = Script::new(&["[a 1/1] RUN a", "[b 1/1] RUN b", "[c 1/1] RUN c"]);
        script.start(0, 0);
        script.start(0, 1);
        script.start(0, 2);
        script.log(10, 0, "a1\n");
        script.log(11, 1, "b1\n");
        script.log(12, 0, "a2\n");
        script.log(13, 2, "c1\n");
        script.done(14, 2);
        script.log(500, 1, "b2\n");
        script.log(510, 0, "a3\n");
        script.done(600, 1);
        script.done(700, 0);
        insta::assert_snapshot!(script.finish(700), @r"
        #1 [a 1/1] RUN a
        #1 0.010 a1
        #1 0.012 a2
        #1 ...

        #2 [b 1/1] RUN b
        #2 0.011 b1
        #2 0.500 b2
        #2 DONE 0.6s

        #3 [c 1/1] RUN c
        #3 0.013 c1
        #3 DONE 0.0s

        #1 [a 1/1] RUN a
        #1 0.510 a3
        #1 DONE 0.7s
        ");
    }

    #[test]
    fn sizes_are_decimal() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (1_234_567, "1.23MB"),
            (999_999, "1.00MB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }
}
