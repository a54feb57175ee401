//! Reading a log back, rotated files included, and following it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde::Deserialize;

use super::attributes::Attributes;
use super::json_file::older;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    /// What was written.
    pub(crate) log: String,
    /// `stdout` or `stderr`.
    pub(crate) stream: String,
    /// When.
    pub(crate) time: Timestamp,
    /// What `--log-opt` added to it.
    #[serde(default)]
    pub(crate) attrs: Attributes,
}

/// Reads the log of a container.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    /// The newest file, and how far it is read.
    current: Option<(File, u64)>,
    /// The start of an entry whose end is not written yet.
    rest: Vec<u8>,
}

impl Reader {
    /// Returns a reader of the log of the container at `dir`.
    pub(crate) fn of(dir: &Path) -> Self {
        Self {
            path: super::json_file::path(dir),
            current: None,
            rest: Vec::new(),
        }
    }

    /// Returns all that is there, oldest first.
    pub(crate) fn all(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut age = 0;
        while ["", ".gz"]
            .iter()
            .any(|end| older(&self.path, age + 1, end).exists())
        {
            age += 1;
        }
        for age in (1..=age).rev() {
            let plain = older(&self.path, age, "");
            let bytes = match fs::read(&plain) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    gunzip(&older(&self.path, age, ".gz"))?
                }
                bytes => bytes?,
            };
            entries.extend(parse(&bytes));
        }
        entries.extend(self.more()?);
        Ok(entries)
    }

    /// Returns what was written since the last call. A file that was rotated meanwhile is read to
    /// its end first.
    pub(crate) fn more(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        if let Some((mut file, mut at)) = self.current.take() {
            if file.metadata()?.len() < at {
                at = 0;
                self.rest.clear();
            }
            entries.extend(self.read(&mut file, &mut at)?);
            let same =
                fs::metadata(&self.path).and_then(|now| Ok((now.ino(), file.metadata()?.ino())));
            match same {
                Ok((now, then)) if now == then => {
                    self.current = Some((file, at));
                    return Ok(entries);
                }
                _ => self.rest.clear(),
            }
        }
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(mut file) => {
                let mut at = 0;
                entries.extend(self.read(&mut file, &mut at)?);
                self.current = Some((file, at));
            }
        }
        Ok(entries)
    }

    fn read(&mut self, file: &mut File, at: &mut u64) -> io::Result<Vec<Entry>> {
        file.seek(SeekFrom::Start(*at))?;
        let mut bytes = std::mem::take(&mut self.rest);
        *at += file.read_to_end(&mut bytes)? as u64;
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        self.rest = bytes.split_off(end);
        Ok(parse(&bytes))
    }
}

/// Returns the entries of a file; a line that a crash cut off is none.
fn parse(bytes: &[u8]) -> Vec<Entry> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

fn gunzip(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = BufReader::new(MultiGzDecoder::new(File::open(path)?));
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(part);
        let length = part.len();
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::log::options::Rotation;
    use crate::container::log::{JsonFile, Stream};

    #[test]
    fn rotated_files_are_read_and_the_newest_is_followed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let rotation = Rotation {
            max_size: Some(150),
            max_file: 3,
            compress: true,
        };
        let mut log = JsonFile::open(dir.path(), rotation, Attributes::new()).expect("opens");
        let mut write = |line: u32| {
            let text = format!("{line}\n");
            log.write(Stream::Stderr, text.as_bytes(), Timestamp::UNIX_EPOCH)
                .expect("writes");
        };
        let texts = |entries: Vec<Entry>| -> String {
            entries
                .iter()
                .map(|entry| entry.log.trim_end().to_owned() + " ")
                .collect()
        };
        (0..7).for_each(&mut write);
        let mut reader = Reader::of(dir.path());
        assert_eq!(texts(reader.all().expect("reads")), "0 1 2 3 4 5 6 ");
        assert_eq!(texts(reader.more().expect("reads")), "");
        (7..9).for_each(&mut write);
        assert_eq!(texts(reader.more().expect("reads")), "7 8 ");
        (9..10).for_each(&mut write);
        assert_eq!(texts(reader.more().expect("reads")), "9 ");
    }
}
