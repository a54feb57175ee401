//! `cooper events`: what happens to containers, images, networks and volumes.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Settings;
use super::container::time;
use super::images::Format;
use super::session::Session;
use super::value::ValueError;
use crate::events::{Event, Journal, Kind, Reader};
use crate::report::{Report, stream_data};

/// How often new events are looked for.
const PAUSE: Duration = Duration::from_millis(50);

/// Options of `cooper events`.
#[derive(Args, Clone, Debug, Default)]
pub struct EventsArgs {
    /// Begin with what has happened since then: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// End then: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,

    /// Only those that fit, such as container=web, event=die, type=volume or label=a=b
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,

    /// How to show them: json or a Go template, such as '{{.Type}} {{.Action}}'
    #[arg(long, value_name = "FORMAT", default_value = "")]
    pub format: Format,
}

impl EventsArgs {
    /// Prints events until the end that is asked for, or until nobody reads any more.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let now = Timestamp::now();
        let parse = |option: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| time(option, text, now))
                .transpose()
        };
        let since = parse("--since", &self.since)?;
        let until = parse("--until", &self.until)?;
        let filters = Filters::parse(&self.filter)?;
        let session = Session::open(settings)?;
        let failed = |error: std::io::Error| {
            Report::from_error(&error).context("cannot read the journal of events")
        };
        let journal = Journal::of(session.store.root());
        let mut reader = if since.is_some() || until.is_some_and(|until| until <= now) {
            Reader::all(journal)
        } else {
            Reader::from_now_on(journal).map_err(failed)?
        };
        loop {
            let over = until.is_some_and(|until| Timestamp::now() >= until);
            for event in reader.more().map_err(failed)? {
                let at = event.timestamp();
                let within =
                    since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until);
                let shown = within && filters.admit(&event);
                // Whoever reads no more has seen enough.
                if shown && !stream_data(&self.render(&event)?)? {
                    return Ok(());
                }
            }
            if over {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn render(&self, event: &Event) -> Result<String, Report> {
        let value = || value(event);
        let named = std::iter::once_with(|| with_go_names(value()));
        match self.format.render("ID", named) {
            Some(text) => text,
            None if self.format == Format::Json => Ok(value().to_string() + "\n"),
            None => Ok(line(event, &TimeZone::system())),
        }
    }
}

/// Returns an event as docker's JSON has it, with the names that it had once.
fn value(event: &Event) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if matches!(event.kind, Kind::Container | Kind::Image) {
        value["status"] = event.action.as_str().into();
        value["id"] = event.actor.id.as_str().into();
        let from = event.actor.attributes.get("image");
        value["from"] = from.map_or("", String::as_str).into();
    }
    value
}

/// Adds what templates know by other names.
fn with_go_names(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        // Templates reach for these by their names in Go.
        for (name, of) in [
            ("Time", "time"),
            ("TimeNano", "timeNano"),
            ("Scope", "scope"),
        ] {
            let of = fields.get(of).cloned().unwrap_or_default();
            fields.insert(name.to_owned(), of);
        }
    }
    value
}

/// Returns an event as docker prints it.
fn line(event: &Event, zone: &TimeZone) -> String {
    let time = event.timestamp().to_zoned(zone.clone());
    let attributes: Vec<_> = event
        .actor
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        format!(" ({})", attributes.join(", "))
    };
    format!(
        "{} {} {} {}{attributes}\n",
        time.strftime(if time.offset().is_zero() {
            "%Y-%m-%dT%H:%M:%S.%9fZ"
        } else {
            "%Y-%m-%dT%H:%M:%S.%9f%:z"
        }),
        event.kind.name(),
        event.action,
        event.actor.id,
    )
}

/// The values of `--filter`: those of one key are alternatives, all keys have to fit.
#[derive(Debug)]
struct Filters(BTreeMap<&'static str, Vec<String>>);

impl Filters {
    const KNOWN: [&'static str; 8] = [
        "container",
        "event",
        "image",
        "label",
        "network",
        "scope",
        "type",
        "volume",
    ];

    fn parse(texts: &[String]) -> Result<Self, Report> {
        let mut filters: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for text in texts {
            let problem = |error: ValueError| error.report("--filter", text);
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| problem(ValueError::new("not a filter").hint("write KEY=VALUE")))?;
            let known = Self::KNOWN.into_iter().find(|known| *known == key);
            let key =
                known.ok_or_else(|| problem(ValueError::unknown("filter", key, &Self::KNOWN)))?;
            filters.entry(key).or_default().push(value.to_owned());
        }
        Ok(Self(filters))
    }

    fn admit(&self, event: &Event) -> bool {
        let fits = |key: &str, value: &String| fits(event, key, value);
        self.0.iter().all(|(key, values)| match *key {
            // Labels are no alternatives.
            "label" => values.iter().all(|value| fits(key, value)),
            key => values.iter().any(|value| fits(key, value)),
        })
    }
}

fn fits(event: &Event, key: &str, value: &String) -> bool {
    let attributes = &event.actor.attributes;
    let id = event.actor.id.as_str();
    let named = |kind: Kind, name: &str| {
        let known = attributes.get(name).is_some_and(|known| known == value);
        event.kind == kind && (known || id.starts_with(value.as_str()))
    };
    match key {
        // An action such as `exec_create: sh` fits by its first word too.
        "event" => {
            let word = event.action.split(':').next();
            event.action == *value || word == Some(value)
        }
        "type" => event.kind.name() == value,
        "scope" => event.scope == *value,
        "label" => match value.split_once('=') {
            Some((name, value)) => attributes.get(name).is_some_and(|known| known == value),
            None => attributes.contains_key(value),
        },
        // Networks and volumes tell which container they were given to.
        "container" => {
            named(Kind::Container, "name")
                || attributes
                    .get("container")
                    .is_some_and(|container| container.starts_with(value.as_str()))
        }
        "image" => match event.kind {
            Kind::Image => named(Kind::Image, "name"),
            _ => attributes.get("image").is_some_and(|image| image == value),
        },
        "network" => named(Kind::Network, "name"),
        "volume" => named(Kind::Volume, "name"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let mut event = Event::new(Kind::Container, "exec_create: sh -c x", "4fa6")
            .with("name", "web")
            .with("image", "app:1")
            .with("tier", "front");
        event.time_nano = 1_714_557_600_000_000_007;
        event
    }

    #[test]
    fn a_line_is_dockers() {
        assert_eq!(
            line(&event(), &TimeZone::UTC),
            "2024-05-01T10:00:00.000000007Z container exec_create: sh -c x 4fa6 \
             (image=app:1, name=web, tier=front)\n"
        );
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        for (texts, expected) in [
            (&[][..], true),
            (&["container=web"], true),
            (&["container=4f"], true),
            (&["container=db"], false),
            (&["container=db", "container=web"], true),
            (&["event=exec_create"], true),
            (&["event=exec_create: sh -c x", "type=container"], true),
            (&["event=die"], false),
            (&["type=image"], false),
            (&["image=app:1"], true),
            (&["label=tier=front", "label=tier"], true),
            (&["label=tier=back"], false),
            (&["volume=web"], false),
            (&["scope=local"], true),
        ] {
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            let filters = Filters::parse(&texts).expect("valid");
            assert_eq!(filters.admit(&event()), expected, "{texts:?}");
        }
        let error = Filters::parse(&["colour=red".to_owned()]).expect_err("unknown");
        assert!(error.render(false).contains("unknown filter"));
    }
}
