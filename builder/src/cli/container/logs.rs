//! `cooper logs`: what a container wrote.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use cooper_frontend::instruction::parse_duration;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::failed;
use crate::cli::Settings;
use crate::cli::session::Session;
use crate::container::log::{Entry, Reader, is_kept};
use crate::container::{Containers, Found};
use crate::report::Report;

/// Between two looks for more.
const PAUSE: Duration = Duration::from_millis(50);

/// Options of `cooper logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsArgs {
    /// The container, by name or ID
    pub container: String,

    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,

    /// Only the last lines, so many or `all`
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    pub tail: String,

    /// Only what was written since then: a time, or as long ago as 10m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// Only what was written until then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Show when each line was written
    #[arg(short, long)]
    pub timestamps: bool,

    /// Show what --log-opt added to lines
    #[arg(long)]
    pub details: bool,
}

impl LogsArgs {
    /// Prints the log.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let now = Timestamp::now();
        let bound = |option: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| time(option, text, now))
                .transpose()
        };
        let view = View {
            since: bound("--since", &self.since)?,
            until: bound("--until", &self.until)?,
            timestamps: self.timestamps,
            details: self.details,
        };
        // Docker takes anything else, `all` and negative numbers among it, for all of them.
        let tail = self.tail.parse::<usize>().ok();
        let session = Session::open(settings)?;
        let containers = Containers::of(session.store.root());
        let found = containers
            .one(&self.container)
            .map_err(|error| failed(&error))?;
        let log = &found.container.config.log;
        if !is_kept(log) {
            let why = match log.options.get("cache-disabled") {
                Some(_) => "cache-disabled=true",
                None => "--log-driver=none",
            };
            return Err(Report::new(format!(
                "container {} keeps no log: it was made with {why}",
                found.container.name
            )));
        }
        self.show(&containers, &found, &view, tail)
            .map_err(|error| {
                Report::from_error(&error)
                    .context(format!("cannot read the log of {}", found.container.name))
            })
    }

    fn show(
        &self,
        containers: &Containers,
        found: &Found,
        view: &View,
        tail: Option<usize>,
    ) -> io::Result<()> {
        let mut reader = Reader::of(&found.dir);
        let mut entries = reader.all()?;
        entries.retain(|entry| view.shows(entry));
        let skip = tail.map_or(0, |tail| start_of_tail(&entries, tail));
        if view.print(&entries[skip..]).is_err() {
            return Ok(());
        }
        let mut active = self.follow && found.is_active();
        while active {
            std::thread::sleep(PAUSE);
            // What is written before the end is there when the end is seen.
            active = containers
                .one(&found.container.id)
                .is_ok_and(|now| now.is_active());
            let mut entries = reader.more()?;
            entries.retain(|entry| view.shows(entry));
            // Whoever reads no more has seen enough.
            if view.print(&entries).is_err() || view.is_over(Timestamp::now()) {
                break;
            }
        }
        Ok(())
    }
}

/// Returns where the last `tail` lines begin; a line may be several entries.
fn start_of_tail(entries: &[Entry], tail: usize) -> usize {
    let mut lines = 0;
    for (index, entry) in entries.iter().enumerate().rev() {
        let ends = entry.log.ends_with('\n') || index + 1 == entries.len();
        lines += usize::from(ends);
        if lines > tail {
            return index + 1;
        }
    }
    0
}

/// Which entries are shown, and how.
struct View {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    timestamps: bool,
    details: bool,
}

impl View {
    fn shows(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time <= until)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now > until)
    }

    /// Prints each entry to the stream that it came from.
    fn print(&self, entries: &[Entry]) -> io::Result<()> {
        let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
        for entry in entries {
            let stream: &mut dyn Write = if entry.stream == "stderr" {
                &mut stderr
            } else {
                &mut stdout
            };
            if self.timestamps {
                write!(stream, "{:.9} ", entry.time)?;
            }
            if self.details {
                let details: Vec<_> = entry.attrs.iter().map(detail).collect();
                write!(stream, "{} ", details.join(","))?;
            }
            stream.write_all(entry.log.as_bytes())?;
        }
        stdout.flush()?;
        stderr.flush()
    }
}

/// Returns a label or variable as docker shows it: what would be mistaken for another is escaped.
fn detail((name, value): (&String, &String)) -> String {
    let escape = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        text.bytes().fold(String::new(), |mut escaped, byte| {
            match byte {
                b' ' => escaped.push('+'),
                byte if plain(byte) => escaped.push(byte.into()),
                // Writing to a string cannot fail.
                byte => drop(write!(escaped, "%{byte:02X}")),
            }
            escaped
        })
    };
    format!("{}={}", escape(name), escape(value))
}

/// Parses a time: RFC 3339 with or without its zone and its end, seconds since 1970, or a
/// duration before now.
pub(in crate::cli) fn time(option: &str, text: &str, now: Timestamp) -> Result<Timestamp, Report> {
    parse_time(text, now).ok_or_else(|| {
        Report::new(format!("invalid value {text:?} for {option}: not a time"))
            .hint("write 2024-05-01T10:00:00, seconds since 1970, or how long ago, such as 10m")
    })
}

pub(in crate::cli) fn parse_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Some((seconds, fraction)) = text.split_once('.')
        && let (Ok(seconds), Ok(_)) = (seconds.parse::<i64>(), fraction.parse::<u64>())
    {
        let nanos: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        return Timestamp::new(seconds, nanos).ok();
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Some(nanos) = parse_duration(text) {
        return now
            .checked_sub(jiff::SignedDuration::from_nanos(nanos))
            .ok();
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let local = text
        .parse::<DateTime>()
        .or_else(|_| format!("{text}:00:00").parse())
        .ok()?;
    local
        .to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        let now: Timestamp = "2024-05-01T10:00:00Z".parse().expect("valid");
        for (text, expected) in [
            ("2024-05-01T09:00:00Z", Some("2024-05-01T09:00:00Z")),
            ("2024-05-01T09:00:00+02:00", Some("2024-05-01T07:00:00Z")),
            ("2024-05-01T09:00:00", Some("2024-05-01T09:00:00Z")),
            ("2024-05-01", Some("2024-05-01T00:00:00Z")),
            ("10m", Some("2024-05-01T09:50:00Z")),
            ("1h30m", Some("2024-05-01T08:30:00Z")),
            ("1714557600", Some("2024-05-01T10:00:00Z")),
            ("1714557600.5", Some("2024-05-01T10:00:00.5Z")),
            ("yesterday", None),
        ] {
            let expected = expected.map(|time| time.parse().expect("valid"));
            assert_eq!(parse_time(text, now), expected, "{text}");
        }
    }

    #[test]
    fn the_tail_counts_lines() {
        let entry = |log: &str| Entry {
            log: log.into(),
            stream: "stdout".into(),
            time: Timestamp::UNIX_EPOCH,
            attrs: std::collections::BTreeMap::new(),
        };
        let entries = ["a\n", "long", " line\n", "c"].map(entry);
        for (tail, start) in [(0, 4), (1, 3), (2, 1), (3, 0), (9, 0)] {
            assert_eq!(start_of_tail(&entries, tail), start, "{tail}");
        }
    }
}
