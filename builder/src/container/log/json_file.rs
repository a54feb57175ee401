//! Writing docker's json-file format, with rotation.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::Serialize;

use super::Stream;

/// The options of the json-file driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// Bytes after which a new file begins; none is without end.
    pub(crate) max_size: Option<u64>,
    /// How many files are kept, the newest among them.
    pub(crate) max_file: u32,
    /// Whether older files are compressed.
    pub(crate) compress: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_size: None,
            max_file: 1,
            compress: false,
        }
    }
}

impl LogOptions {
    /// Reads `--log-opt` values; an error names the option that is wrong and says why.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in options {
            let wrong = |what: &str| Err(format!("{name}={value}: not {what}"));
            match name.as_str() {
                "max-size" => match size(value) {
                    Some(size @ 1..) => parsed.max_size = Some(size),
                    _ if value == "-1" => parsed.max_size = None,
                    _ => return wrong("a size such as 10m"),
                },
                "max-file" => match value.parse() {
                    Ok(count @ 1..) => parsed.max_file = count,
                    _ => return wrong("a number of files, 1 at least"),
                },
                "compress" => match value.as_str() {
                    "true" => parsed.compress = true,
                    "false" => parsed.compress = false,
                    _ => return wrong("true or false"),
                },
                // What docker adds to each line from the container; readers here have them.
                "mode" | "max-buffer-size" | "labels" | "labels-regex" | "env" | "env-regex"
                | "tag" => {}
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if parsed.compress && (parsed.max_file < 2 || parsed.max_size.is_none()) {
            return Err("compress=true needs max-size, and max-file of 2 at least".to_owned());
        }
        Ok(parsed)
    }
}

/// Reads a number of bytes with a unit of 1024s: `1k`, `10m`.
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[derive(Serialize)]
struct Line<'a> {
    log: &'a str,
    stream: &'a str,
    time: String,
}

/// The log's newest file, open.
#[derive(Debug)]
pub(crate) struct JsonFile {
    path: PathBuf,
    file: File,
    size: u64,
    options: LogOptions,
}

impl JsonFile {
    /// Opens the log of the container at `dir`.
    pub(crate) fn open(dir: &Path, options: LogOptions) -> io::Result<Self> {
        let path = dir.join("json.log");
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size,
            options,
        })
    }

    /// Writes one entry.
    pub(crate) fn write(&mut self, stream: Stream, line: &[u8], time: Timestamp) -> io::Result<()> {
        let entry = Line {
            log: &String::from_utf8_lossy(line),
            stream: stream.name(),
            time: time.to_string(),
        };
        let mut bytes = serde_json::to_vec(&entry)?;
        bytes.push(b'\n');
        let full = self.options.max_size.is_some_and(|max| self.size >= max);
        if full {
            self.rotate()?;
        }
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Makes each file one older, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let Self { path, options, .. } = self;
        if options.max_file < 2 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        let gone = options.max_file - 1;
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
        if options.compress {
            compress(&newest, &older(path, 1, ".gz"))?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
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

    fn options(pairs: &[(&str, &str)]) -> Result<LogOptions, String> {
        let pairs = pairs.iter();
        LogOptions::parse(
            &pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn options_are_checked() {
        let found = options(&[("max-size", "1k"), ("max-file", "2")]).expect("valid");
        assert_eq!((found.max_size, found.max_file), (Some(1024), 2));
        for wrong in [
            &[("max-size", "big")][..],
            &[("max-size", "0")],
            &[("max-file", "0")],
            &[("compress", "yes")],
            &[("compress", "true")],
            &[("colour", "red")],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = options(&[("max-size", "100"), ("max-file", "3"), ("compress", "true")]);
        let mut log = JsonFile::open(dir.path(), options.expect("valid")).expect("opens");
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
            "{\"log\":\"line 9\\n\",\"stream\":\"stdout\",\"time\":\"2024-05-01T10:00:00Z\"}\n"
        ));
    }
}
