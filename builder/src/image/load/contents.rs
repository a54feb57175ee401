//! One pass over an image archive: its documents in memory, everything else a blob of the store.
//!
//! Nothing of what the archive claims about itself decides how much memory this takes.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use cooper_cache::{Decompressed, Limits, NotAHeader, Store, TarReader};
use cooper_oci::Digest;

use super::{LoadError, MAX_DOCUMENT};

/// Links that are followed from one name in the archive to another.
const MAX_LINKS: usize = 8;
/// How many files and links an archive may have.
const MAX_FILES: usize = 1 << 20;
/// How many bytes their names may take together.
const MAX_NAMES: usize = 64 << 20;
/// What a compressed archive may grow to, in bytes.
const MAX_UNPACKED: u64 = 1 << 40;

/// What one pass over the archive found.
#[derive(Default)]
pub(super) struct Contents {
    /// The documents at the top.
    pub(super) documents: HashMap<String, Vec<u8>>,
    /// Files by name, each a blob in the store.
    files: HashMap<String, (Digest, u64)>,
    links: HashMap<String, String>,
}

impl Contents {
    pub(super) fn read(store: &Store, archive: impl Read) -> Result<Self, LoadError> {
        let broken = |last: &Option<String>| {
            let last = last.clone();
            move |source| LoadError::Archive { last, source }
        };
        let mut last = None;
        let mut archive = TarReader::new(plain(archive).map_err(broken(&last))?);
        let mut contents = Self::default();
        let (mut count, mut names) = (0, 0);
        let first = |source: io::Error| match source.get_ref() {
            Some(inner) if inner.is::<NotAHeader>() => LoadError::NotAnArchive,
            _ => LoadError::Archive { last: None, source },
        };
        let mut next = archive.next().map_err(first)?;
        while let Some(member) = next {
            let name = clean(&String::from_utf8_lossy(&member.path));
            count += 1;
            names += name.len() + member.link.len();
            if count > MAX_FILES || names > MAX_NAMES {
                return Err(LoadError::Bomb {
                    what: "too many names",
                });
            }
            match member.kind {
                b'1' | b'2' => {
                    let target = String::from_utf8_lossy(&member.link);
                    // A hard link's target is a name in the archive.
                    let base = match member.kind {
                        b'1' => "",
                        _ => name.rsplit_once('/').map_or("", |(dir, _)| dir),
                    };
                    let target = clean(&format!("{base}/{target}"));
                    contents.links.insert(name.clone(), target);
                }
                b'0' => contents.take(store, &name, &mut archive, last.as_deref())?,
                _ => {}
            }
            last = Some(name);
            next = archive.next().map_err(broken(&last))?;
        }
        Ok(contents)
    }

    fn take(
        &mut self,
        store: &Store,
        name: &str,
        entry: &mut impl Read,
        last: Option<&str>,
    ) -> Result<(), LoadError> {
        let broken = |source| LoadError::Archive {
            last: last.map(str::to_owned),
            source,
        };
        let refused = |source| LoadError::Store {
            name: name.to_owned(),
            source,
        };
        if matches!(
            name,
            "manifest.json" | "index.json" | "oci-layout" | "repositories"
        ) {
            let mut bytes = Vec::new();
            entry
                .take(MAX_DOCUMENT + 1)
                .read_to_end(&mut bytes)
                .map_err(broken)?;
            if bytes.len() as u64 > MAX_DOCUMENT {
                return Err(LoadError::TooLarge {
                    name: name.to_owned(),
                });
            }
            self.documents.insert(name.to_owned(), bytes);
            return Ok(());
        }
        let expected = Digest::of_layout_path(name);
        let algorithm = expected
            .as_ref()
            .map_or(cooper_oci::Algorithm::Sha256, Digest::algorithm);
        let mut writer = store.blobs().writer_with(algorithm).map_err(refused)?;
        writer.fill(entry).map_err(broken)?.map_err(refused)?;
        let (digest, size) = writer.commit(expected.as_ref(), None).map_err(refused)?;
        self.files.insert(name.to_owned(), (digest, size));
        Ok(())
    }

    /// Returns the blob that a name in the archive stands for.
    pub(super) fn file(&self, name: &str) -> Option<&(Digest, u64)> {
        let mut name = clean(name);
        for _ in 0..MAX_LINKS {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        self.files.get(&name)
    }
}

/// Drops `.` and empty components and resolves `..` within the archive.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Undoes gzip, bzip2, xz or zstd around the whole archive.
fn plain<'a>(archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let taken = Rc::new(Cell::new(0));
    let counted = Counted {
        inner: archive,
        taken: taken.clone(),
    };
    let inner = Decompressed::new(BufReader::with_capacity(1 << 20, counted))?;
    if inner.is_plain() {
        return Ok(Box::new(inner));
    }
    Ok(Box::new(Bounded {
        inner: Box::new(inner),
        given: 0,
        taken,
        limits: Limits {
            bytes: MAX_UNPACKED,
            ..Limits::default()
        },
    }))
}

/// A stream that counts what is taken of it.
struct Counted<R> {
    inner: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// A stream that must not grow beyond what its compressed form can hold.
struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    given: u64,
    taken: Rc<Cell<u64>>,
    limits: Limits,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        let most = self.limits.of(self.taken.get());
        if self.given > most {
            let text = format!("it grows to more than {most} bytes when it is unpacked");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_grows_beyond_all_reason_is_cut_off() {
        let bounded = |taken, limits| Bounded {
            inner: Box::new(io::repeat(0).take(5000)),
            given: 0,
            taken: Rc::new(Cell::new(taken)),
            limits,
        };
        let limits = Limits {
            bytes: 6000,
            entries: 1,
            free: 1000,
            ratio: 10,
        };
        let read = |taken, limits| io::copy(&mut bounded(taken, limits), &mut io::sink());
        assert_eq!(read(500, limits).expect("ten times"), 5000);
        let refused = read(499, limits).expect_err("more than ten times");
        assert!(
            refused.to_string().contains("more than 4990 bytes"),
            "{refused}"
        );
        let free = Limits {
            free: 5000,
            ..limits
        };
        assert_eq!(read(1, free).expect("no more than any"), 5000);
        let few = Limits {
            bytes: 4000,
            ..free
        };
        assert!(read(500, few).is_err());
    }

    #[test]
    fn names_in_an_archive_stay_in_it() {
        assert_eq!(clean("./a//b/../c"), "a/c");
        assert_eq!(clean("../../etc/passwd"), "etc/passwd");
        assert_eq!(clean("/x"), "x");
    }
}
