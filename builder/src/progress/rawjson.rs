//! One JSON object a change, in the shape of BuildKit's `rawjson` (its `SolveStatus`), so that
//! programs which read that read this.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use base64::Engine;
use cooper_oci::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::View;
use super::event::{StepId, Stream};
use super::model::{Change, Model, Step, StepState};

/// The rawjson view.
pub(super) struct RawJson {
    start: Timestamp,
}

impl RawJson {
    pub(super) fn new(start: SystemTime) -> Self {
        Self {
            start: Timestamp::try_from(start).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    fn time(&self, at: Duration) -> String {
        self.start
            .saturating_add(at)
            .map(|time| time.to_string())
            .unwrap_or_default()
    }

    fn vertex(&self, id: StepId, step: &Step) -> Value {
        let mut vertex = json!({
            "digest": digest(id, step),
            "name": step.name,
            "started": self.time(step.started),
        });
        if let Some(ended) = step.ended {
            vertex["completed"] = self.time(ended).into();
        }
        match &step.state {
            StepState::Cached => vertex["cached"] = true.into(),
            StepState::Failed(error) => vertex["error"] = error.as_str().into(),
            StepState::Canceled => vertex["error"] = "canceled".into(),
            StepState::Waiting | StepState::Running | StepState::Done => {}
        }
        json!({ "vertexes": [vertex] })
    }

    fn object(&self, model: &Model, change: &Change) -> Option<Value> {
        match change {
            Change::Appeared(id) | Change::Ended(id) => Some(self.vertex(*id, model.step(*id)?)),
            Change::Line(id, line) => {
                let step = model.step(*id)?;
                let data = format!("{}\n", line.text);
                Some(json!({ "logs": [{
                    "vertex": digest(*id, step),
                    "stream": match line.stream { Stream::Stdout => 1, Stream::Stderr => 2 },
                    "data": base64::engine::general_purpose::STANDARD.encode(data),
                    "timestamp": self.time(step.started + line.at),
                }] }))
            }
            Change::Part(id, item, part) => {
                let step = model.step(*id)?;
                let at = self.time(step.started + part.at);
                let mut status = json!({
                    "id": item,
                    "vertex": digest(*id, step),
                    "current": part.current,
                    "total": part.total.unwrap_or(0),
                    "timestamp": at,
                    "started": self.time(step.started),
                });
                if part.done {
                    status["completed"] = at.into();
                }
                Some(json!({ "statuses": [status] }))
            }
            Change::Warning(message) => {
                let short = base64::engine::general_purpose::STANDARD.encode(message);
                Some(json!({ "warnings": [{ "level": 1, "short": short }] }))
            }
            Change::Found(warning) => Some(json!({ "warnings": [warning] })),
        }
    }
}

/// Returns an identifier in the form that readers expect; it is no content digest.
fn digest(id: StepId, step: &Step) -> String {
    Digest::sha256(format!("{} {}", id.0, step.name).as_bytes()).to_string()
}

impl View for RawJson {
    fn change(&mut self, model: &Model, change: &Change, _: Duration, out: &mut String) {
        if let Some(object) = self.object(model, change) {
            let _ = writeln!(out, "{object}");
        }
    }

    fn shows_lines(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Event;
    use super::*;

    #[test]
    fn every_line_is_an_object_of_the_known_shape() {
        let mut view = RawJson::new(SystemTime::UNIX_EPOCH);
        let (mut model, mut out) = (Model::default(), String::new());
        let ms = Duration::from_millis;
        let step = StepId(3);
        for event in [
            Event::Declared {
                step,
                name: "RUN x".into(),
            },
            Event::Started { step, at: ms(250) },
            Event::Log {
                step,
                at: ms(500),
                stream: Stream::Stderr,
                data: b"hi\n".to_vec(),
            },
            Event::Status {
                step,
                at: ms(600),
                item: "part".into(),
                current: 5,
                total: None,
                done: true,
            },
            Event::Warning {
                message: "w".into(),
            },
            Event::Found {
                warning: json!({ "url": "u" }),
            },
            Event::Failed {
                step,
                at: ms(1000),
                error: "exit code: 1".into(),
                canceled: false,
            },
        ] {
            for change in model.apply(event) {
                view.change(&model, &change, Duration::ZERO, &mut out);
            }
        }
        insta::assert_snapshot!(out, @r#"
        {"vertexes":[{"digest":"sha256:238e8ca8f26f26736568072fbfad0b5b294dfa620ef0caca8e6b40dfc81f1637","name":"RUN x","started":"1970-01-01T00:00:00.25Z"}]}
        {"logs":[{"vertex":"sha256:238e8ca8f26f26736568072fbfad0b5b294dfa620ef0caca8e6b40dfc81f1637","stream":2,"data":"aGkK","timestamp":"1970-01-01T00:00:00.5Z"}]}
        {"statuses":[{"id":"part","vertex":"sha256:238e8ca8f26f26736568072fbfad0b5b294dfa620ef0caca8e6b40dfc81f1637","current":5,"total":0,"timestamp":"1970-01-01T00:00:00.6Z","started":"1970-01-01T00:00:00.25Z","completed":"1970-01-01T00:00:00.6Z"}]}
        {"warnings":[{"level":1,"short":"dw=="}]}
        {"warnings":[{"url":"u"}]}
        {"vertexes":[{"digest":"sha256:238e8ca8f26f26736568072fbfad0b5b294dfa620ef0caca8e6b40dfc81f1637","name":"RUN x","started":"1970-01-01T00:00:00.25Z","completed":"1970-01-01T00:00:01Z","error":"exit code: 1"}]}
        "#);
    }
}
