//! Writing docker's json-file format, with rotation.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::Serialize;

use super::Stream;
use super::attributes::Attributes;
use super::options::Rotation;

#[derive(Serialize)]
struct Line<'a> {
    log: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attrs: &'a Attributes,
    time: String,
}

/// The log's newest file, open.
#[derive(Debug)]
pub(crate) struct JsonFile {
    path: PathBuf,
    /// None until something is written, where nobody looks for the file.
    file: Option<File>,
    size: u64,
    rotation: Rotation,
    attributes: Attributes,
}

impl JsonFile {
    /// Opens the log of the container at `dir`; `attributes` go with each line.
    pub(crate) fn open(dir: &Path, rotation: Rotation, attributes: Attributes) -> io::Result<Self> {
        let mut log = Self::later(dir, rotation, attributes);
        log.size = log.file()?.metadata()?.len();
        Ok(log)
    }

    /// As [`open`](Self::open), of a container that begins anew and goes at its end: the file is
    /// made with the first line.
    pub(crate) fn later(dir: &Path, rotation: Rotation, attributes: Attributes) -> Self {
        Self {
            path: path(dir),
            file: None,
            size: 0,
            rotation,
            attributes,
        }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(append(&self.path)?);
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes one entry.
    pub(crate) fn write(&mut self, stream: Stream, line: &[u8], time: Timestamp) -> io::Result<()> {
        let entry = Line {
            log: &String::from_utf8_lossy(line),
            stream: stream.name(),
            attrs: &self.attributes,
            time: time.to_string(),
        };
        let mut bytes = serde_json::to_vec(&entry)?;
        bytes.push(b'\n');
        let full = self.rotation.max_size.is_some_and(|max| self.size >= max);
        if full {
            self.rotate()?;
        }
        self.file()?.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Makes each file one older, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        if self.rotation.max_file < 2 {
            self.file()?.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        let Self { path, rotation, .. } = self;
        let gone = rotation.max_file - 1;
        for end in ["", ".gz"] {
            absent(fs::remove_file(older(path, gone, end)))?;
        }
        for age in (1..gone).rev() {
            for end in ["", ".gz"] {
                absent(fs::rename(older(path, age, end), older(path, age + 1, end)))?;
            }
        }
        let newest = older(path, 1, "");
        fs::rename(&*path, &newest)?;
        if rotation.compress {
            compress(&newest, &older(path, 1, ".gz"))?;
        }
        self.file = Some(append(&self.path)?);
        self.size = 0;
        Ok(())
    }
}

/// Returns the newest file of the log of the container at `dir`.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("json.log")
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

/// Returns the path of the log that is `age` files old.
pub(super) fn older(path: &Path, age: u32, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}{end}"));
    PathBuf::from(name)
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut encoder = GzEncoder::new(File::create(to)?, Compression::fast());
    io::copy(&mut File::open(from)?, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let rotation = Rotation {
            max_size: Some(100),
            max_file: 3,
            compress: true,
        };
        let attributes = Attributes::from([("k".to_owned(), "v".to_owned())]);
        let mut log = JsonFile::open(dir.path(), rotation, attributes).expect("opens");
        let time: Timestamp = "2024-05-01T10:00:00Z".parse().expect("valid");
        for line in 0..10 {
            log.write(Stream::Stdout, format!("line {line}\n").as_bytes(), time)
                .expect("writes");
        }
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .collect();
        names.sort();
        let expected = ["json.log", "json.log.1.gz", "json.log.2.gz"].map(|name| Ok(name.into()));
        assert_eq!(names, expected);
        let newest = fs::read_to_string(dir.path().join("json.log")).expect("reads");
        assert!(newest.ends_with(
            "{\"log\":\"line 9\\n\",\"stream\":\"stdout\",\"attrs\":{\"k\":\"v\"},\
             \"time\":\"2024-05-01T10:00:00Z\"}\n"
        ));
    }
}
