//! The live view of a terminal.
//!
//! Steps that have ended scroll away above; below them stand the totals and the running steps,
//! each with its time and its last lines:
//!
//! ```text
//!  => CACHED [build 1/5] FROM docker.io/library/debian                      0.0s
//! [+] Building 3.2s (7/9)
//!  => [build 2/5] RUN make                                                  2.1s
//!  => => # cc -c parse.c
//! ```

use std::fmt::Write;
use std::time::Duration;

use super::View;
use super::event::StepId;
use super::look::Look;
use super::model::{Change, Model, Step, StepState};
use super::plain::size as bytes;
use super::screen::Size;

/// How often the times of running steps are brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// The tty view.
pub(super) struct Tty {
    /// None without colours.
    look: Option<Look>,
    /// Lines of output shown below a running step, where there is room.
    tail: usize,
    running: Vec<StepId>,
    columns: usize,
}

#[derive(Clone, Copy)]
enum Paint {
    None,
    Good,
    Bad,
    Faint,
    Canceled,
    Warning,
}

impl Tty {
    /// Returns the view for a terminal that is `size` now; each frame says anew what it is.
    pub(super) fn new(look: Option<Look>, tail: usize, size: Size) -> Self {
        Self {
            look,
            tail,
            running: Vec::new(),
            columns: columns(size),
        }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        let Some(look) = &self.look else {
            return text.to_owned();
        };
        let code = match paint {
            Paint::None => return text.to_owned(),
            Paint::Good => look.run.code(),
            Paint::Bad => look.error.code(),
            Paint::Faint => "2".to_owned(),
            Paint::Canceled => look.cancel.code(),
            Paint::Warning => look.warning.code(),
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn ended(&self, step: &Step, now: Duration) -> String {
        let (mark, paint) = match &step.state {
            StepState::Cached => ("CACHED ", Paint::Good),
            StepState::Failed(_) => ("ERROR ", Paint::Bad),
            StepState::Canceled => ("CANCELED ", Paint::Canceled),
            StepState::Done | StepState::Running | StepState::Waiting => ("", Paint::Good),
        };
        let label = format!(" => {mark}{}", step.name);
        self.paint(paint, &timed(&label, step.elapsed(now), self.columns))
    }

    fn running_lines(&self, step: &Step, now: Duration, room: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if room == 0 {
            return lines;
        }
        lines.push(timed(
            &format!(" => {}", step.name),
            step.elapsed(now),
            self.columns,
        ));
        let open = step.parts.iter().filter(|(_, part)| !part.done);
        for (item, part) in open.take(room - 1) {
            let total = part
                .total
                .map(|total| format!(" / {}", bytes(total)))
                .unwrap_or_default();
            let rate = part.rate().map(|rate| format!(" {}/s", bytes(rate)));
            let rate = rate.unwrap_or_default();
            let label = format!(" => => {item} {}{total}{rate}", bytes(part.current));
            lines.push(timed(&label, part.at, self.columns));
        }
        let unfinished = step.unfinished_line();
        let texts: Vec<_> = step
            .tail
            .iter()
            .map(|line| line.text.as_str())
            .chain(unfinished.as_deref())
            .collect();
        let tail = self.tail.min(room.saturating_sub(lines.len()));
        for text in &texts[texts.len().saturating_sub(tail)..] {
            let line = cut(&format!(" => => # {}", visible(text)), self.columns);
            lines.push(self.paint(Paint::Faint, &line));
        }
        lines
    }

    fn title(model: &Model, now: Duration, end: &str) -> String {
        let (done, total) = model.totals();
        format!(
            "[+] Building {:.1}s ({done}/{total}){end}",
            now.as_secs_f64()
        )
    }
}

impl View for Tty {
    fn change(&mut self, model: &Model, change: &Change, now: Duration, out: &mut String) {
        match change {
            Change::Appeared(id) => self.running.push(*id),
            Change::Ended(id) => {
                self.running.retain(|running| running != id);
                if let Some(step) = model.step(*id) {
                    let _ = writeln!(out, "{}", self.ended(step, now));
                }
            }
            Change::Warning(message) => {
                let line = self.paint(Paint::Warning, &format!(" => WARN: {message}"));
                let _ = writeln!(out, "{line}");
            }
            Change::Line(..) | Change::Part(..) | Change::Found(_) => {}
        }
    }

    fn frame(&mut self, model: &Model, now: Duration, size: Size, _: &mut String) -> Vec<String> {
        self.columns = columns(size);
        let mut lines = vec![Self::title(model, now, "")];
        let steps: Vec<_> = self
            .running
            .iter()
            .filter_map(|id| model.step(*id))
            .collect();
        let room = size.rows.saturating_sub(2);
        for (index, step) in steps.iter().enumerate() {
            let left = room.saturating_sub(lines.len());
            let share = left.div_ceil(steps.len() - index).max(1);
            lines.extend(self.running_lines(step, now, share.min(left)));
        }
        lines
    }

    fn patience(&self) -> Option<Duration> {
        Some(TICK)
    }

    fn finish(&mut self, model: &Model, now: Duration, out: &mut String) {
        let any = |is: fn(&StepState) -> bool| model.appeared().iter().any(|(_, s)| is(&s.state));
        let (end, paint) = if any(|state| matches!(state, StepState::Failed(_))) {
            (" FAILED", Paint::Bad)
        } else if any(|state| matches!(state, StepState::Canceled)) {
            (" CANCELED", Paint::Canceled)
        } else {
            (" FINISHED", Paint::None)
        };
        let _ = writeln!(out, "{}", self.paint(paint, &Self::title(model, now, end)));
    }
}

/// Returns `label` with `elapsed` at the right edge.
fn timed(label: &str, elapsed: Duration, columns: usize) -> String {
    let time = format!(" {:.1}s", elapsed.as_secs_f64());
    let room = columns.saturating_sub(time.len() + 1);
    let label = cut(&visible(label), room);
    format!("{label:<room$}{time}")
}

/// Returns how wide lines are: in a terminal of less, nothing could be told.
fn columns(size: Size) -> usize {
    size.columns.max(20)
}

/// Returns at most `columns` characters of `text`.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Returns `text` without escape sequences and control characters, which would break the frame.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(character) = chars.next() {
        match character {
            '\x1b' => skip_escape(&mut chars),
            '\t' => out.push_str("  "),
            character if character.is_control() => {}
            character => out.push(character),
        }
    }
    out
}

fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // CSI: parameters, then one final byte.
        Some('[') => {
            while chars
                .next()
                .is_some_and(|character| !('@'..='~').contains(&character))
            {}
        }
        // OSC: up to BEL or the string terminator.
        Some(']') => {
            while let Some(character) = chars.next() {
                if character == '\x07' || (character == '\x1b' && chars.next().is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Stream};
    use super::*;

    const WIDE: Size = Size {
        columns: 80,
        rows: 24,
    };

    fn scene(color: bool) -> (Tty, Model, String) {
        let (mut tty, mut model, mut out) = (
            Tty::new(color.then(Look::default), 6, WIDE),
            Model::default(),
            String::new(),
        );
        let ms = Duration::from_millis;
        let step = StepId;
        let mut events: Vec<_> = (0..)
            .zip([
                "[build 1/3] FROM base",
                "[build 2/3] RUN make -j2 && make install",
                "[docs 1/1] RUN ./render",
                "exporting to image",
            ])
            .map(|(id, name)| Event::Declared {
                step: step(id),
                name: name.into(),
            })
            .collect();
        events.extend([
            Event::Cached {
                step: step(0),
                at: ms(10),
            },
            Event::Started {
                step: step(1),
                at: ms(20),
            },
            Event::Started {
                step: step(2),
                at: ms(30),
            },
            Event::Log {
                step: step(1),
                at: ms(100),
                stream: Stream::Stdout,
                data: b"\x1b[32mcc\x1b[0m -c a.c\n\tcc -c b.c\nlinking".to_vec(),
            },
            Event::Status {
                step: step(2),
                at: ms(900),
                item: "fetch fonts".into(),
                current: 1_500_000,
                total: Some(3_000_000),
                done: false,
            },
        ]);
        for event in events {
            for change in model.apply(event) {
                tty.change(&model, &change, ms(1000), &mut out);
            }
        }
        (tty, model, out)
    }

    fn frame(tty: &mut Tty, model: &Model, columns: usize, rows: usize) -> String {
        let now = Duration::from_millis(3210);
        tty.frame(model, now, Size { columns, rows }, &mut String::new())
            .join("\n")
    }

    #[test]
    fn what_ends_before_the_first_frame_fits_the_terminal() {
        let narrow = Size {
            columns: 40,
            ..WIDE
        };
        let tty = Tty::new(None, 6, narrow);
        let name = "[internal] load build definition from Dockerfile";
        let line = timed(name, Duration::ZERO, tty.columns);
        assert_eq!(line, "[internal] load build definition … 0.0s");
    }

    #[test]
    fn running_steps_stand_below_the_totals() {
        let (mut tty, model, out) = scene(false);
        let frame = frame(&mut tty, &model, 60, 24);
        insta::assert_snapshot!(format!("{out}---\n{frame}"), @r"
         => CACHED [build 1/3] FROM base                                           0.0s
        ---
        [+] Building 3.2s (1/4)
         => [build 2/3] RUN make -j2 && make install           3.2s
         => => # cc -c a.c
         => => #   cc -c b.c
         => => # linking
         => [docs 1/1] RUN ./render                            3.2s
         => => fetch fonts 1.50MB / 3.00MB                     0.9s
        ");
    }

    #[test]
    fn a_small_terminal_gets_a_small_frame() {
        let (mut tty, model, _) = scene(false);
        insta::assert_snapshot!(frame(&mut tty, &model, 30, 5), @r"
        [+] Building 3.2s (1/4)
         => [build 2/3] RUN mak… 3.2s
         => [docs 1/1] RUN ./re… 3.2s
        ");
    }

    #[test]
    fn the_end_says_whether_all_went_well() {
        let (mut tty, mut model, _) = scene(false);
        let at = Duration::from_secs(2);
        let mut out = String::new();
        let error = "exit code: 1".into();
        for event in [
            Event::Failed {
                step: StepId(1),
                at,
                error,
                canceled: false,
            },
            Event::Failed {
                step: StepId(2),
                at,
                error: String::new(),
                canceled: true,
            },
        ] {
            for change in model.apply(event) {
                tty.change(&model, &change, at, &mut out);
            }
        }
        tty.finish(&model, at, &mut out);
        insta::assert_snapshot!(out, @r"
         => ERROR [build 2/3] RUN make -j2 && make install                         2.0s
         => CANCELED [docs 1/1] RUN ./render                                       2.0s
        [+] Building 2.0s (1/4) FAILED
        ");
    }

    #[test]
    fn an_interrupted_build_is_not_called_finished() {
        let (mut tty, mut model, _) = scene(false);
        let at = Duration::from_secs(2);
        let mut out = String::new();
        for step in [StepId(1), StepId(2)] {
            let event = Event::Failed {
                step,
                at,
                error: String::new(),
                canceled: true,
            };
            for change in model.apply(event) {
                tty.change(&model, &change, at, &mut out);
            }
        }
        tty.finish(&model, at, &mut out);
        assert!(out.ends_with("[+] Building 2.0s (1/4) CANCELED\n"), "{out}");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_frame() {
        let cases = [
            ("plain", "plain"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://a\x1b\\link", "link"),
            ("a\x08b\tc", "ab  c"),
            ("\x1b", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }
}
