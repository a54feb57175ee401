//! Go's modules, as the linker writes them into executables.
//!
//! The section `.go.buildinfo` of an ELF file begins with a magic string; since Go 1.18 the
//! compiler's version and the list of modules stand behind its header of 32 bytes, each with its
//! length before it (Go's package `debug/buildinfo`). Older ones hold addresses and are not read.

use cooper_cache::{FileReader, RelPath};

use super::{Package, Purl, read_at};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Bytes of the section's header.
const HEADER: usize = 32;
/// Set in the header's flags if the strings follow it.
const INLINE: u8 = 2;
/// Bytes that stand around the list of modules, to be found by other tools.
const SENTINEL: usize = 16;
/// The longest list of modules, in bytes.
const LONGEST: usize = 16 << 20;

/// Returns the modules that an executable is made of; none if it is none of Go's.
pub(super) fn packages(file: &FileReader, path: &RelPath) -> Vec<Package> {
    let info = section(file).and_then(|section| parse(&section));
    info.map_or_else(Vec::new, |(version, modules)| {
        list(&version, &modules, path)
    })
}

/// The numbers of an ELF file, in its own order.
struct Elf {
    big: bool,
    wide: bool,
}

impl Elf {
    fn number(&self, bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(offset..offset + size)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }

    /// Returns the field that is at one place in files of 32 bits and at another in those of 64.
    fn word(&self, bytes: &[u8], narrow: usize, wide: usize) -> Option<u64> {
        if self.wide {
            self.number(bytes, wide, 8)
        } else {
            self.number(bytes, narrow, 4)
        }
    }
}

/// Returns the build information's section of an ELF file.
fn section(file: &FileReader) -> Option<Vec<u8>> {
    let head = read_at(file, 0, 64)?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let elf = Elf {
        wide: *head.get(4)? == 2,
        big: *head.get(5)? == 2,
    };
    let table = elf.word(&head, 0x20, 0x28)?;
    let (size, count, names) = if elf.wide {
        (0x3a, 0x3c, 0x3e)
    } else {
        (0x2e, 0x30, 0x32)
    };
    let size = elf.number(&head, size, 2)? as usize;
    let count = elf.number(&head, count, 2)? as usize;
    let names = elf.number(&head, names, 2)? as usize;
    if table == 0 || size < 40 {
        return None;
    }
    let table = read_at(file, table, size * count)?;
    let header = |number: usize| table.get(number * size..(number + 1) * size);
    let place = |header: &[u8]| {
        let offset = elf.word(header, 0x10, 0x18)?;
        let length = elf.word(header, 0x14, 0x20)?;
        Some((offset, usize::try_from(length).ok()?.min(LONGEST)))
    };
    let (offset, length) = place(header(names)?)?;
    let strings = read_at(file, offset, length)?;
    let found = (0..count).find_map(|number| {
        let header = header(number)?;
        let name = strings.get(elf.number(header, 0, 4)? as usize..)?;
        name.starts_with(b".go.buildinfo\0").then_some(header)
    })?;
    let (offset, length) = place(found)?;
    read_at(file, offset, length)
}

/// Returns the compiler's version and the list of modules.
fn parse(section: &[u8]) -> Option<(String, String)> {
    let rest = section.strip_prefix(MAGIC)?;
    if rest.get(1)? & INLINE == 0 {
        return None;
    }
    let (version, rest) = string(section.get(HEADER..)?)?;
    let (modules, _) = string(rest)?;
    let inner = modules.get(SENTINEL..modules.len().checked_sub(SENTINEL)?)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(version), text(inner)))
}

/// Splits off a string with its length before it, in groups of seven bits.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (number, byte) in bytes.iter().enumerate().take(9) {
        length |= usize::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            let rest = &bytes[number + 1..];
            return (length <= rest.len()).then(|| rest.split_at(length));
        }
    }
    None
}

fn list(version: &str, modules: &str, path: &RelPath) -> Vec<Package> {
    let module = |name: &str, version: &str| {
        let (namespace, name) = name.rsplit_once('/').unwrap_or(("", name));
        Package::new(&Purl::new("golang", namespace, name, version), path)
    };
    let compiler = version.split_ascii_whitespace().next().unwrap_or_default();
    let mut found = vec![module("stdlib", compiler.trim_start_matches("go"))];
    for line in modules.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            // A main module that was not fetched says so.
            ["mod", name, version, ..] => {
                let version = if *version == "(devel)" { "" } else { version };
                found.push(module(name, version));
            }
            ["dep", name, version, ..] => found.push(module(name, version)),
            // Takes the place of the one before.
            ["=>", name, version, ..] => {
                found.pop();
                found.push(module(name, version));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use cooper_cache::FileBytes;

    use super::*;

    /// An ELF file of 64 bits that has the section and the names of sections alone.
    fn executable(modules: &str) -> Vec<u8> {
        let mut section = MAGIC.to_vec();
        section.extend([8, INLINE]);
        section.resize(HEADER, 0);
        let framed = ["0123456789abcdef", modules, "fedcba9876543210"].concat();
        for text in ["go1.22.1", &framed] {
            let mut length = text.len();
            while length >= 0x80 {
                section.push(length as u8 | 0x80);
                length >>= 7;
            }
            section.push(length as u8);
            section.extend(text.as_bytes());
        }
        let names = b"\0.go.buildinfo\0.shstrtab\0";
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        let (at_section, at_names) = (64, 64 + section.len());
        let table = at_names + names.len();
        file[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        file[0x3a..0x40].copy_from_slice(&[64, 0, 2, 0, 1, 0]);
        file.extend(&section);
        file.extend(names);
        for (name, offset, size) in [
            (1_u32, at_section, section.len()),
            (15, at_names, names.len()),
        ] {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(offset as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend(header);
        }
        file
    }

    fn purls(bytes: &[u8]) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("write");
        let file = FileBytes::of(file.path().to_owned()).open().expect("open");
        let found = packages(&file, &RelPath::from("app"));
        found.into_iter().map(|package| package.purl).collect()
    }

    #[test]
    fn modules_are_read_from_executables() {
        let modules = "path\texample.org/app\nmod\texample.org/app\t(devel)\t\n\
                       dep\tgithub.com/a/b\tv1.2.3\th1:x=\ndep\told.example/c\tv1.0.0\n\
                       =>\tnew.example/c\tv1.1.0\th1:y=\nbuild\t-compiler=gc\n";
        assert_eq!(
            purls(&executable(modules)),
            [
                "pkg:golang/stdlib@1.22.1",
                "pkg:golang/example.org/app",
                "pkg:golang/github.com/a/b@v1.2.3",
                "pkg:golang/new.example/c@v1.1.0",
            ]
        );
    }

    #[test]
    fn what_is_no_executable_of_go_has_no_modules() {
        let whole = executable("dep\ta\tv1\n");
        for length in [0, 5, 60, 70, 100, whole.len() - 1] {
            assert_eq!(purls(&whole[..length]), Vec::<String>::new(), "{length}");
        }
        assert_eq!(purls(b"#!/bin/sh\nexit 0\n"), Vec::<String>::new());
    }
}
