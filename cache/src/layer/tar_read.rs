//! Reading tars member by member, with a bound on everything but file data.
//!
//! Understands ustar, GNU long names and pax records. Unlike the general
//! reader of the `tar` crate it never holds more than a mebibyte of names and
//! attributes, whatever sizes a hostile header claims.

use std::io::{self, Read};
use std::ops::Range;

use tar::Header;

use crate::layer::{Timestamp, Xattr};

/// The most that a pax header or a long name may take.
const MAX_EXTENSION: u64 = 1 << 20;

const BLOCK: usize = 512;

/// What one tar header says, extensions included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TarMember {
    /// The name as it stands there: it may climb, or be absolute.
    pub path: Vec<u8>,
    /// What a link leads to.
    pub link: Vec<u8>,
    /// The type flag (POSIX pax, "ustar Header Block"); directories are always `5`, files `0`.
    pub kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) size: u64,
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<Xattr>,
}

/// A tar being read; between two members it gives the data of the first.
pub struct TarReader<R> {
    inner: R,
    /// Bytes of the current member's data that were not read yet.
    left: u64,
    padding: u64,
}

/// Overrides from headers before a member's own.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Timestamp>,
    xattrs: Vec<Xattr>,
    sparse: bool,
}

/// What stands where a header should has not the checksum of one: if it is the first, this is no tar.
#[derive(Debug, thiserror::Error)]
#[error("header checksum mismatch")]
pub struct NotAHeader;

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<R: Read> TarReader<R> {
    /// Reads the tar `inner` from its beginning.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            left: 0,
            padding: 0,
        }
    }

    /// Returns the next member, passing over what was not read of the last; nothing at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "a member's data is read from here, too"
    )]
    pub fn next(&mut self) -> io::Result<Option<TarMember>> {
        let mut extensions = Extensions::default();
        let mut announced = 0;
        loop {
            let rest = self.left + self.padding;
            if io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())? < rest {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = number(&header, SIZE, Header::entry_size)?;
            let kind = header.as_bytes()[156];
            if matches!(kind, b'x' | b'g' | b'L' | b'K') {
                // All of a member's count together, and each for a block at least: what they
                // say is kept until it comes.
                announced = size.max(BLOCK as u64).saturating_add(announced);
                if announced > MAX_EXTENSION {
                    return Err(invalid("names and attributes of more than a mebibyte"));
                }
            }
            match kind {
                b'x' => extensions.read_pax(&self.extension(size)?)?,
                b'g' => drop(self.extension(size)?),
                b'L' => extensions.path = Some(text(self.extension(size)?)),
                b'K' => extensions.link = Some(text(self.extension(size)?)),
                _ => {
                    let member = member(&header, kind, extensions)?;
                    self.left = if holds_data(member.kind) {
                        member.size
                    } else {
                        0
                    };
                    self.padding = self.left.wrapping_neg() % BLOCK as u64;
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Reads one header block; nothing at a clean end.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let outside = block[..148].iter().chain(&block[156..]);
        let sum: u32 = outside.map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, NotAHeader));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut data = vec![0; size as usize];
        self.inner.read_exact(&mut data)?;
        let padding = size.wrapping_neg() % BLOCK as u64;
        io::copy(&mut (&mut self.inner).take(padding), &mut io::sink())?;
        Ok(data)
    }

    /// Reads all of the current member's data.
    pub(super) fn data(&mut self) -> io::Result<Vec<u8>> {
        let expected = self.left as usize;
        let mut data = Vec::with_capacity(expected.min(4 << 20));
        self.read_to_end(&mut data)?;
        Ok(data)
    }

    /// Returns the stream behind the tar.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        match self.inner.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Where a header has its numbers (POSIX ustar).
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;

/// Reads a number of a header. One that is left empty, as GNU tar and busybox do where it means
/// nothing, is 0. What stands there instead of a number is not repeated: it may be anybody's file.
fn number<T: Default>(
    header: &Header,
    field: Range<usize>,
    read: impl FnOnce(&Header) -> io::Result<T>,
) -> io::Result<T> {
    let empty = |byte: &u8| matches!(byte, 0 | b' ');
    if header.as_bytes()[field].iter().all(empty) {
        return Ok(T::default());
    }
    read(header).map_err(|_| invalid("a number in a header is none"))
}

const fn holds_data(kind: u8) -> bool {
    !matches!(kind, b'1'..=b'6')
}

fn member(header: &Header, kind: u8, extensions: Extensions) -> io::Result<TarMember> {
    if extensions.sparse {
        return Err(invalid("sparse files are not supported"));
    }
    let path = extensions
        .path
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extensions
        .link
        .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
    let kind = match kind {
        0 | b'7' | b'0' if kind == 0 && path.ends_with(b"/") => b'5',
        0 | b'7' => b'0',
        kind => kind,
    };
    let id = |value: u64| u32::try_from(value).map_err(|_| invalid("owner out of range"));
    let device = match kind {
        b'3' | b'4' => {
            let part = |field, read: fn(&Header) -> io::Result<Option<u32>>| {
                number(header, field, |header| {
                    read(header).map(Option::unwrap_or_default)
                })
            };
            (
                part(DEVICE_MAJOR, Header::device_major)?,
                part(DEVICE_MINOR, Header::device_minor)?,
            )
        }
        _ => (0, 0),
    };
    let mut xattrs = extensions.xattrs;
    xattrs.sort();
    xattrs.dedup_by(|later, first| later.0 == first.0);
    Ok(TarMember {
        path,
        link: link.unwrap_or_default(),
        kind,
        mode: number(header, MODE, Header::mode)? & 0o7777,
        uid: match extensions.uid {
            Some(uid) => id(uid)?,
            None => id(number(header, UID, Header::uid)?)?,
        },
        gid: match extensions.gid {
            Some(gid) => id(gid)?,
            None => id(number(header, GID, Header::gid)?)?,
        },
        mtime: match extensions.mtime {
            Some(mtime) => mtime,
            None => Timestamp {
                secs: number(header, MTIME, Header::mtime)? as i64,
                nanos: 0,
            },
        },
        size: match extensions.size {
            Some(size) => size,
            None => number(header, SIZE, Header::entry_size)?,
        },
        device,
        xattrs,
    })
}

/// Cuts a GNU long name at its NUL.
fn text(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(end) = data.iter().position(|byte| *byte == 0) {
        data.truncate(end);
    }
    data
}

impl Extensions {
    /// Reads records of the form `LENGTH KEY=VALUE\n`.
    fn read_pax(&mut self, mut data: &[u8]) -> io::Result<()> {
        let malformed = || invalid("malformed pax record");
        while !data.is_empty() && data[0] != 0 {
            let space = data
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or_else(malformed)?;
            let length: usize = ascii(&data[..space]).ok_or_else(malformed)?;
            if length <= space + 1 {
                return Err(malformed());
            }
            let (record, rest) = data.split_at_checked(length).ok_or_else(malformed)?;
            let record = record[space + 1..]
                .strip_suffix(b"\n")
                .ok_or_else(malformed)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(malformed)?;
            self.set(&record[..equals], &record[equals + 1..])
                .ok_or_else(malformed)?;
            data = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(ascii(value)?),
            b"uid" => self.uid = Some(ascii(value)?),
            b"gid" => self.gid = Some(ascii(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
                    && crate::layer::walk::is_kept(name)
                {
                    self.xattrs.push((name.into(), value.into()));
                }
            }
        }
        Some(())
    }
}

fn ascii<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads seconds with a fraction, which may be negative.
fn time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(if whole.starts_with('-') && nanos > 0 {
        Timestamp {
            secs: secs.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        }
    } else {
        Timestamp { secs, nanos }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, secs, nanos) in [
            ("12", 12, 0),
            ("12.5", 12, 500_000_000),
            ("-1.25", -2, 750_000_000),
            ("0.0000000019", 0, 1),
        ] {
            assert_eq!(
                time(text.as_bytes()),
                Some(Timestamp { secs, nanos }),
                "{text}"
            );
        }
        assert_eq!(time(b"x"), None);
    }

    #[test]
    fn numbers_that_are_left_empty_are_zero() {
        for filling in [0, b' '] {
            let mut header = Header::new_ustar();
            header.set_path("f").expect("a short name");
            header.set_entry_type(tar::EntryType::Regular);
            for field in [MODE, UID, GID, SIZE, MTIME, DEVICE_MAJOR, DEVICE_MINOR] {
                header.as_mut_bytes()[field].fill(filling);
            }
            header.set_cksum();
            let mut reader = TarReader::new(&header.as_bytes()[..]);
            let member = reader.next().expect("valid").expect("a member");
            let expected = TarMember {
                path: b"f".to_vec(),
                kind: b'0',
                ..TarMember::default()
            };
            assert_eq!(member, expected);
        }
    }

    #[test]
    fn pax_records_are_read_strictly() {
        let mut extensions = Extensions::default();
        extensions
            .read_pax(b"12 path=a=b\n11 uid=1234\n29 SCHILY.xattr.user.k=\0\xff\n=v\n")
            .expect_err("length");
        let mut extensions = Extensions::default();
        extensions
            .read_pax(b"12 path=a=b\n13 uid=12345\n")
            .expect("read");
        assert_eq!(extensions.path.as_deref(), Some(&b"a=b"[..]));
        assert_eq!(extensions.uid, Some(12345));
        for bad in [
            &b"0 a=b\n"[..],
            b"99 a=b\n",
            b"6 ab\n",
            b"x a=b\n",
            b"13 size=-1234\n",
        ] {
            assert!(Extensions::default().read_pax(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn many_extensions_count_together() {
        let mut header = Header::new_ustar();
        let extension = b"29 SCHILY.xattr.user.k=\0\xff\n=v\n";
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(extension.len() as u64);
        header.set_cksum();
        let mut record = header.as_bytes().to_vec();
        record.extend(extension);
        record.resize(2 * BLOCK, 0);
        let endless = Endless { record, at: 0 };
        let error = TarReader::new(endless).next().expect_err("endless");
        assert_eq!(
            error.to_string(),
            "names and attributes of more than a mebibyte"
        );
    }

    /// The same record again and again.
    struct Endless {
        record: Vec<u8>,
        at: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in buffer.iter_mut() {
                *byte = self.record[self.at];
                self.at = (self.at + 1) % self.record.len();
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn huge_extensions_are_refused_before_they_are_read() {
        let mut header = Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_size(1 << 40);
        header.set_cksum();
        let mut reader = TarReader::new(io::Cursor::new(header.as_bytes().to_vec()));
        assert_eq!(
            reader.next().expect_err("huge").kind(),
            io::ErrorKind::InvalidData
        );
    }
}
