//! Where the views' text goes: a file, stderr as a stream, or as a terminal with a part redrawn in place.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A build that is over by then never draws a frame, and so never pays for one.
const GRACE: Duration = Duration::from_millis(50);

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The receiver of everything that is shown.
pub(super) enum Sink {
    Stream,
    File(File),
    Screen(Screen),
}

pub(super) struct Screen {
    start: Instant,
    held: String,
    bar: Option<ProgressBar>,
}

impl Sink {
    pub(super) fn stderr() -> Self {
        Self::Stream
    }

    pub(super) fn screen() -> Self {
        Self::Screen(Screen {
            start: Instant::now(),
            held: String::new(),
            bar: None,
        })
    }

    /// Returns the terminal's size as it is now; it may change while a build runs.
    pub(super) fn size(&self) -> Size {
        let fallback = Size {
            columns: 80,
            rows: 24,
        };
        match self {
            Self::Stream | Self::File(_) => fallback,
            Self::Screen(_) => rustix::termios::tcgetwinsize(std::io::stderr())
                .ok()
                .filter(|size| size.ws_col > 0 && size.ws_row > 0)
                .map_or(fallback, |size| Size {
                    columns: size.ws_col.into(),
                    rows: size.ws_row.into(),
                }),
        }
    }

    /// Shows `text` for good and replaces the frame below it.
    pub(super) fn show(&mut self, text: &str, frame: &[String]) {
        match self {
            Self::Stream | Self::File(_) if text.is_empty() => {}
            Self::Stream => super::write_stderr(text),
            // A log that cannot be written fails no build.
            Self::File(file) => drop(file.write_all(text.as_bytes())),
            Self::Screen(screen) => screen.show(text, frame),
        }
    }

    /// Removes the frame and shows `text` for good.
    pub(super) fn finish(&mut self, text: &str) {
        match self {
            Self::File(file) => return drop(file.write_all(text.as_bytes())),
            Self::Screen(Screen { held, bar, .. }) => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
                super::write_stderr(&std::mem::take(held));
            }
            Self::Stream => {}
        }
        super::write_stderr(text);
    }
}

impl Screen {
    fn show(&mut self, text: &str, frame: &[String]) {
        if self.bar.is_none() && self.start.elapsed() < GRACE {
            self.held.push_str(text);
            return;
        }
        let held = std::mem::take(&mut self.held) + text;
        let bar = self.bar.get_or_insert_with(new_bar);
        // The frame first: what is printed redraws it, and must not redraw the one before.
        bar.set_message(frame.join("\n"));
        if held.is_empty() {
            bar.tick();
        } else {
            bar.println(held.trim_end_matches('\n'));
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}
