//! The journal of what happens to containers, images, networks, volumes and the build cache.
//!
//! There is no daemon that could tell it: commands and monitors append a line each to
//! `<root>/events/journal`, and whoever wants to know reads it. A line is one write to a file that
//! is open for appending, so that lines of several writers do not mix. A journal of 2 MiB
//! becomes `journal.1`, in the place of the one before it.
//!
//! ```text
//! {"Type":"container","Action":"die","Actor":{"ID":"4f…","Attributes":{"exitCode":"0",…}},
//!  "scope":"local","time":1714557600,"timeNano":1714557600123456789}
//! ```
//!
//! Writing never fails what it tells of: a journal that cannot be written has a gap.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Bytes after which a new journal is begun; some thousand events.
const LIMIT: u64 = 2 << 20;

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container, by its ID.
    Container,
    /// An image, by its name or ID.
    Image,
    /// A network, by its ID.
    Network,
    /// A volume, by its name.
    Volume,
    /// What builds keep.
    Builder,
}

impl Kind {
    /// Returns docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Builder => "builder",
        }
    }
}

/// Something that happened, in docker's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To what kind of thing.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What, such as `start` or `exec_create: sh`.
    #[serde(rename = "Action")]
    pub action: String,
    /// To which one.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Docker's word for "on this machine".
    pub scope: String,
    /// When, in seconds since 1970.
    pub time: i64,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What something happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its ID or name.
    #[serde(rename = "ID")]
    pub id: String,
    /// What is known of it, and of what happened.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Returns an event of now.
    pub fn new(kind: Kind, action: impl Into<String>, id: impl Into<String>) -> Self {
        let now = Timestamp::now();
        Self {
            kind,
            action: action.into(),
            actor: Actor {
                id: id.into(),
                attributes: BTreeMap::new(),
            },
            scope: "local".into(),
            time: now.as_second(),
            time_nano: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        }
    }

    /// Adds what is known of it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.actor.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Returns when it happened.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.time_nano.into()).unwrap_or_default()
    }
}

/// The journal of a store.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Returns the journal of the store at `root`.
    pub fn of(root: &Path) -> Self {
        Self {
            dir: root.join("events"),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Writes down that what nobody used of a kind was removed, which gave back so many bytes.
    pub fn tell_pruned(&self, kind: Kind, bytes: u64) {
        self.write(&Event::new(kind, "prune", "").with("reclaimed", bytes.to_string()));
    }

    /// Writes down what happened. What cannot be written is forgotten.
    pub fn write(&self, event: &Event) {
        let _ = self.append(event);
    }

    fn append(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let path = self.path();
        let open = || File::options().append(true).create(true).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.dir)?;
                open()?
            }
            file => file?,
        };
        if file.metadata()?.len() > LIMIT {
            self.turn_over(&file)?;
            file = open()?;
        }
        file.write_all(&line)
    }

    /// Puts `full` aside unless somebody has done so already.
    fn turn_over(&self, full: &File) -> io::Result<()> {
        flock(full, FlockOperation::LockExclusive)?;
        let path = self.path();
        if fs::metadata(&path)?.ino() == full.metadata()?.ino() {
            fs::rename(&path, self.dir.join("journal.1"))?;
        }
        Ok(())
    }
}

/// Reads a journal from its beginning on.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    /// The journal that is written to now, as far as it is open.
    file: Option<File>,
    /// The start of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Reader {
    /// Returns a reader of what has happened since the journal was begun.
    pub fn all(journal: Journal) -> Self {
        Self {
            journal,
            file: None,
            rest: Vec::new(),
        }
    }

    /// Returns a reader of what happens from now on.
    pub fn from_now_on(journal: Journal) -> io::Result<Self> {
        fs::create_dir_all(&journal.dir)?;
        let mut file = File::options()
            .append(true)
            .read(true)
            .create(true)
            .open(journal.path())?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            journal,
            file: Some(file),
            rest: Vec::new(),
        })
    }

    /// Returns what has come since the last call, oldest first.
    pub fn more(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        if self.file.is_none() {
            match fs::read(self.journal.dir.join("journal.1")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                bytes => self.take(&bytes?, &mut events),
            }
        }
        loop {
            if let Some(file) = &mut self.file {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                self.take(&bytes, &mut events);
            }
            // One that was put aside gets no more lines.
            match self.successor()? {
                None => return Ok(events),
                next => self.file = next,
            }
        }
    }

    /// Returns the journal if it is another one than the one that is open.
    fn successor(&self) -> io::Result<Option<File>> {
        let next = match File::open(self.journal.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            next => next?,
        };
        let number = |file: &File| file.metadata().map(|metadata| metadata.ino());
        match &self.file {
            Some(open) if number(open)? == number(&next)? => Ok(None),
            _ => Ok(Some(next)),
        }
    }

    /// Takes the whole lines of what was read; one that is no event is skipped.
    fn take(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        self.rest.extend(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = lines.split(|byte| *byte == b'\n');
        events.extend(lines.filter_map(|line| serde_json::from_slice::<Event>(line).ok()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (tempfile::TempDir, Journal) {
        let root = tempfile::tempdir().expect("a directory");
        let journal = Journal::of(root.path());
        (root, journal)
    }

    fn actions(reader: &mut Reader) -> Vec<String> {
        let events = reader.more().expect("reads").into_iter();
        events.map(|event| event.action).collect()
    }

    #[test]
    fn what_is_written_is_read_once_and_followed() {
        let (_root, journal) = scene();
        let write = |action: &str| journal.write(&Event::new(Kind::Container, action, "c1"));
        let mut early = Reader::from_now_on(journal.clone()).expect("opens");
        write("create");
        write("start");
        let mut all = Reader::all(journal.clone());
        assert_eq!(actions(&mut all), ["create", "start"]);
        assert_eq!(actions(&mut all), Vec::<String>::new());
        let mut late = Reader::from_now_on(journal.clone()).expect("opens");
        write("die");
        for reader in [&mut all, &mut late] {
            assert_eq!(actions(reader), ["die"]);
        }
        assert_eq!(actions(&mut early), ["create", "start", "die"]);
    }

    #[test]
    fn a_full_journal_is_put_aside_and_still_read() {
        let (_root, journal) = scene();
        let event = Event::new(Kind::Image, "pull", "a".repeat(1000));
        let mut follower = Reader::from_now_on(journal.clone()).expect("opens");
        let mut seen = 0;
        // Into the third journal: the first one is gone by then.
        let count = (LIMIT / 1000) * 5 / 2;
        for _ in 0..count {
            journal.write(&event);
            seen += follower.more().expect("reads").len() as u64;
        }
        assert_eq!(seen, count);
        let kept = Reader::all(journal.clone()).more().expect("reads").len() as u64;
        assert!(kept < count && kept > LIMIT / 2000, "{kept} of {count}");
    }

    #[test]
    fn an_event_has_dockers_shape() {
        let event = Event::new(Kind::Container, "die", "c1").with("exitCode", "3");
        let value = serde_json::to_value(&event).expect("serialises");
        assert_eq!(value["Type"], "container");
        assert_eq!(value["Actor"]["ID"], "c1");
        assert_eq!(value["Actor"]["Attributes"]["exitCode"], "3");
        let nanos = value["timeNano"].as_i64().expect("a number");
        assert_eq!(value["time"], nanos / 1_000_000_000);
    }

    #[test]
    fn half_a_line_waits_for_its_end() {
        let (root, journal) = scene();
        let mut reader = Reader::from_now_on(journal.clone()).expect("opens");
        let line = serde_json::to_string(&Event::new(Kind::Volume, "create", "v")).expect("JSON");
        let path = root.path().join("events/journal");
        let append = |text: &str| {
            let mut file = File::options().append(true).open(&path).expect("opens");
            file.write_all(text.as_bytes()).expect("writes");
        };
        append("garbage\n");
        append(&line[..9]);
        assert_eq!(actions(&mut reader), Vec::<String>::new());
        append(&line[9..]);
        append("\n");
        assert_eq!(actions(&mut reader), ["create"]);
    }
}
