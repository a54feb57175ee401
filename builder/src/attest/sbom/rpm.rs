//! RPM's packages: a header for each, in one of two databases.
//!
//! | File | Database |
//! |---|---|
//! | `rpmdb.sqlite` | SQLite, table `Packages` (Fedora 33, RHEL 9 and later) |
//! | `Packages.db` | ndb (SUSE): slots of 16 bytes that say where each header is |
//!
//! The third, `Packages` in Berkeley DB (RHEL 8 and before), is not read.

use cooper_cache::RelPath;

use super::sqlite::{Database, Value};
use super::{Distribution, Package, Purl};

/// What a header says (RPM file format, header tags).
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCE_RPM: u32 = 1044;

/// Bytes of an index entry: tag, type, offset, count.
const ENTRY: usize = 16;

/// Returns the packages of a SQLite database.
pub(super) fn packages(bytes: &[u8], path: &RelPath, distribution: &Distribution) -> Vec<Package> {
    let rows = Database::new(bytes).and_then(|database| database.rows("Packages"));
    let header = |row: &Vec<Value>| match row.as_slice() {
        [_, Value::Bytes(header), ..] => package(header, path, distribution),
        _ => None,
    };
    rows.iter().flatten().filter_map(header).collect()
}

/// Returns the packages of an ndb database.
pub(super) fn ndb_packages(
    bytes: &[u8],
    path: &RelPath,
    distribution: &Distribution,
) -> Vec<Package> {
    const PAGE: usize = 4096;
    const SLOT: usize = 16;
    let word = |at: usize| {
        let word = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(word.try_into().ok()?) as usize)
    };
    if !bytes.starts_with(b"RpmP") {
        return Vec::new();
    }
    let pages = word(12).unwrap_or_default().min(bytes.len() / PAGE);
    // The database's own header takes the place of two slots.
    let slots = (2 * SLOT..pages * PAGE).step_by(SLOT);
    let header = |at: usize| {
        let is_used = bytes.get(at..at + 4)? == b"Slot" && word(at + 4)? != 0;
        let blob = word(at + 8).filter(|_| is_used)?.checked_mul(SLOT)?;
        let start = blob.checked_add(SLOT)?;
        let length = word(blob + 12).filter(|_| bytes[blob..].starts_with(b"BlbS"))?;
        bytes.get(start..start.checked_add(length)?)
    };
    slots
        .filter_map(|at| package(header(at)?, path, distribution))
        .collect()
}

/// A header: an index of what stands where in the data behind it.
struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let entries = big(bytes, 0)? as usize;
        let length = big(bytes, 4)? as usize;
        let data = entries.checked_mul(ENTRY)?.checked_add(8)?;
        Some(Self {
            index: bytes.get(8..data)?,
            data: bytes.get(data..data.checked_add(length)?)?,
        })
    }

    fn at(&self, tag: u32) -> Option<&'a [u8]> {
        let mut entries = self.index.chunks_exact(ENTRY);
        let entry = entries.find(|entry| big(entry, 0) == Some(tag))?;
        self.data.get(big(entry, 8)? as usize..)
    }

    fn text(&self, tag: u32) -> Option<String> {
        let text = self.at(tag)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    }
}

fn big(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn package(header: &[u8], path: &RelPath, distribution: &Distribution) -> Option<Package> {
    let header = Header::new(header)?;
    // Imported keys are kept like packages, but are for no machine.
    let (name, arch) = (header.text(NAME)?, header.text(ARCH)?);
    let version = format!("{}-{}", header.text(VERSION)?, header.text(RELEASE)?);
    let epoch = header.at(EPOCH).and_then(|epoch| big(epoch, 0));
    let purl = Purl::new("rpm", distribution.namespace("redhat"), &name, &version)
        .with("arch", arch)
        .with("distro", distribution.qualifier())
        .with(
            "epoch",
            epoch.map_or_else(String::new, |epoch| epoch.to_string()),
        )
        .with("upstream", header.text(SOURCE_RPM).unwrap_or_default());
    let mut package = Package::new(&purl, path);
    package.license = header.text(LICENSE).unwrap_or_default();
    package.supplier = header.text(VENDOR).unwrap_or_default();
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as rpm writes it, of strings and one number.
    fn header(name: &str, long: usize) -> Vec<u8> {
        let description = "x".repeat(long);
        let texts = [
            (NAME, name),
            (VERSION, "5.2.15"),
            (RELEASE, "3.fc38"),
            (1005, &*description),
            (LICENSE, "GPL-3.0-or-later"),
            (ARCH, "x86_64"),
            (SOURCE_RPM, "bash-5.2.15-3.fc38.src.rpm"),
        ];
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut entry = |tag: u32, kind: u32, offset: usize| {
            for word in [tag, kind, offset as u32, 1] {
                index.extend(word.to_be_bytes());
            }
        };
        for (tag, text) in texts {
            entry(tag, 6, data.len());
            data.extend(text.as_bytes());
            data.push(0);
        }
        entry(EPOCH, 4, data.len());
        data.extend(1_u32.to_be_bytes());
        let mut header = Vec::new();
        header.extend(((texts.len() + 1) as u32).to_be_bytes());
        header.extend((data.len() as u32).to_be_bytes());
        header.extend(index);
        header.extend(data);
        header
    }

    const PURL: &str = "pkg:rpm/fedora/bash@5.2.15-3.fc38?arch=x86_64&distro=fedora-38&epoch=1\
                        &upstream=bash-5.2.15-3.fc38.src.rpm";

    fn fedora() -> Distribution {
        Distribution::parse("ID=fedora\nVERSION_ID=38\n")
    }

    #[test]
    fn a_header_tells_of_its_package() {
        let found = package(&header("bash", 0), &RelPath::root(), &fedora()).expect("a package");
        assert_eq!(found.purl, PURL);
        assert_eq!(found.license, "GPL-3.0-or-later");
        let whole = header("bash", 0);
        for length in 0..whole.len() {
            assert_eq!(package(&whole[..length], &RelPath::root(), &fedora()), None);
        }
    }

    #[test]
    fn an_ndb_database_says_where_its_headers_are() {
        let blob = header("bash", 0);
        let mut database = vec![0; 4096];
        database[..4].copy_from_slice(b"RpmP");
        database[12] = 1;
        for (at, word) in [(32, *b"Slot"), (36, [1, 0, 0, 0]), (40, [0, 1, 0, 0])] {
            database[at..at + 4].copy_from_slice(&word);
        }
        database.extend(b"BlbS\x01\0\0\0\x01\0\0\0");
        database.extend((blob.len() as u32).to_le_bytes());
        database.extend(&blob);
        let found = ndb_packages(&database, &RelPath::root(), &fedora());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].purl, PURL);
        database.truncate(4200);
        assert_eq!(ndb_packages(&database, &RelPath::root(), &fedora()), []);
    }

    /// Has Python, whose library contains SQLite, write a database with many rows, some of
    /// which take several pages.
    #[test]
    fn a_sqlite_database_is_walked_from_page_to_page() {
        use std::fmt::Write as _;
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("rpmdb.sqlite");
        let script = "import sqlite3,sys\n\
            db=sqlite3.connect(sys.argv[1])\n\
            db.execute('CREATE TABLE other(a)')\n\
            db.execute(\"CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)\")\n\
            for line in sys.stdin: db.execute('INSERT INTO Packages(blob) VALUES(?)',(bytes.fromhex(line),))\n\
            db.commit()";
        let python = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn();
        let Ok(mut python) = python else {
            use std::io::Write;
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no python3 to write a SQLite database"
            );
            return;
        };
        let mut rows = String::new();
        for number in 0..300 {
            let header = header(&format!("p{number}"), number * number);
            for byte in header {
                let _ = write!(rows, "{byte:02x}");
            }
            rows.push('\n');
        }
        {
            use std::io::Write as _;
            let mut stdin = python.stdin.take().expect("a pipe");
            stdin.write_all(rows.as_bytes()).expect("write");
        }
        assert!(python.wait().expect("wait").success());
        let mut bytes = std::fs::read(&path).expect("read");
        let found = packages(&bytes, &RelPath::root(), &fedora());
        let names: Vec<_> = found.iter().map(|package| package.name.clone()).collect();
        let expected: Vec<_> = (0..300).map(|number| format!("p{number}")).collect();
        assert_eq!(names, expected);
        // Damage takes packages away and does no more.
        for at in (4096..bytes.len()).step_by(1501) {
            bytes[at] ^= 0xff;
        }
        assert!(packages(&bytes, &RelPath::root(), &fedora()).len() <= 300);
    }
}
