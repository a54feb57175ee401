//! Rows of one table of a SQLite database (the format's own document, "Database File Format").
//!
//! Just enough to read what rpm keeps: tables with a row number, walked from their root page.
//! A page is visited once at most, so that damage ends the walk and never loops.

use std::collections::HashSet;

/// What every database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes before the first page's own header.
const FILE_HEADER: usize = 100;

/// The value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Bytes(Vec<u8>),
}

/// A database, all of it.
pub(super) struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// Bytes of a page that are used.
    usable: usize,
}

impl<'a> Database<'a> {
    /// Returns the database that `bytes` are; none if they are none.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || bytes.len() < FILE_HEADER {
            return None;
        }
        // The largest size does not fit and is written as 1.
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 1 << 16,
            size if size >= 512 => usize::from(size),
            _ => return None,
        };
        let usable = page_size - usize::from(bytes[20]);
        (usable >= 480).then_some(Self {
            bytes,
            page_size,
            usable,
        })
    }

    /// Returns the rows of a table; none if there is no such table.
    pub(super) fn rows(&self, table: &str) -> Option<Vec<Vec<Value>>> {
        let schema = self.walk(1);
        let root = schema.into_iter().find_map(|row| match row.as_slice() {
            [
                Value::Bytes(kind),
                Value::Bytes(name),
                _,
                Value::Integer(root),
                ..,
            ] if kind == b"table" && name == table.as_bytes() => usize::try_from(*root).ok(),
            _ => None,
        })?;
        Some(self.walk(root))
    }

    /// Returns a page, by its number from 1, and where its header is in it.
    fn page(&self, number: usize) -> Option<(&'a [u8], usize)> {
        let start = number.checked_sub(1)?.checked_mul(self.page_size)?;
        let page = self.bytes.get(start..start.checked_add(self.page_size)?)?;
        Some((page, if number == 1 { FILE_HEADER } else { 0 }))
    }

    /// Returns the rows below a page.
    fn walk(&self, root: usize) -> Vec<Vec<Value>> {
        let mut rows = Vec::new();
        let mut seen = HashSet::new();
        let mut pending = vec![root];
        while let Some(number) = pending.pop() {
            if seen.insert(number) {
                // What cannot be read ends here; other pages stand for themselves.
                let _ = self.visit(number, &mut pending, &mut rows);
            }
        }
        rows
    }

    fn visit(
        &self,
        number: usize,
        pending: &mut Vec<usize>,
        rows: &mut Vec<Vec<Value>>,
    ) -> Option<()> {
        const INNER: u8 = 5;
        const LEAF: u8 = 13;
        let (page, header) = self.page(number)?;
        let kind = *page.get(header)?;
        let count = usize::from(u16_at(page, header + 3)?);
        let cells = header + if kind == INNER { 12 } else { 8 };
        let mut children = Vec::new();
        for cell in 0..count {
            let at = usize::from(u16_at(page, cells + 2 * cell)?);
            match kind {
                INNER => children.push(u32_at(page, at)? as usize),
                LEAF => rows.extend(self.row(page, at)),
                _ => return None,
            }
        }
        if kind == INNER {
            children.push(u32_at(page, header + 8)? as usize);
        }
        // The first one comes off the stack first.
        pending.extend(children.into_iter().rev());
        Some(())
    }

    /// Returns the row of the cell at `at`.
    fn row(&self, page: &[u8], at: usize) -> Option<Vec<Value>> {
        let (length, rest) = varint(page.get(at..)?)?;
        let (_, rest) = varint(rest)?;
        let length = usize::try_from(length).ok()?;
        if length > self.bytes.len() {
            return None;
        }
        let local = self.local(length);
        let mut payload = rest.get(..local)?.to_vec();
        let mut next = if local < length {
            u32_at(rest, local)? as usize
        } else {
            0
        };
        // The rest stands on pages of its own, each with the number of the next in front.
        while payload.len() < length {
            let (page, _) = self.page(next)?;
            next = u32_at(page, 0)? as usize;
            let count = (length - payload.len()).min(self.usable - 4);
            payload.extend(page.get(4..4 + count)?);
        }
        columns(&payload)
    }

    /// Returns how much of a payload is on the cell's own page.
    fn local(&self, length: usize) -> usize {
        let usable = self.usable;
        let most = usable - 35;
        if length <= most {
            return length;
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (usable - 4);
        if fitting <= most { fitting } else { least }
    }
}

/// Returns the columns of a record: their types, then their values.
fn columns(payload: &[u8]) -> Option<Vec<Value>> {
    let (header, mut types) = varint(payload)?;
    let header = usize::try_from(header).ok()?;
    let mut values = payload.get(header..)?;
    let mut columns = Vec::new();
    while payload.len() - types.len() < header {
        let (kind, rest) = varint(types)?;
        types = rest;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            length => usize::try_from((length - 12) / 2).ok()?,
        };
        let (value, rest) = (values.get(..size)?, values.get(size..)?);
        values = rest;
        columns.push(match kind {
            0 | 7 => Value::Null,
            8 | 9 => Value::Integer(kind as i64 - 8),
            1..=6 => {
                let sign = value.first().map_or(0, |byte| i64::from(*byte as i8) >> 7);
                let add = |sum: i64, byte: &u8| sum << 8 | i64::from(*byte);
                Value::Integer(value.iter().fold(sign, add))
            }
            _ => Value::Bytes(value.to_vec()),
        });
    }
    Some(columns)
}

/// Splits off a number of one to nine bytes, seven bits each and eight in the ninth.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (number, byte) in bytes.iter().enumerate().take(9) {
        if number == 8 {
            return Some((value << 8 | u64::from(*byte), &bytes[9..]));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[number + 1..]));
        }
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        for (bytes, value) in [
            (&[0x05][..], 5),
            (&[0x81, 0x00], 128),
            (&[0xff; 9], u64::MAX),
        ] {
            assert_eq!(varint(bytes), Some((value, &[][..])), "{bytes:?}");
        }
        assert_eq!(varint(&[0x80]), None);
    }

    #[test]
    fn records_have_their_types_in_front() {
        let record = [6, 0, 1, 9, 2, 18, 0xff, 0x01, 0x00, b'a', b'b', b'c'];
        assert_eq!(
            columns(&record),
            Some(vec![
                Value::Null,
                Value::Integer(-1),
                Value::Integer(1),
                Value::Integer(256),
                Value::Bytes(b"abc".to_vec()),
            ])
        );
        assert_eq!(columns(&[9, 1]), None);
    }

    #[test]
    fn what_is_no_database_has_no_rows() {
        for bytes in [&b""[..], b"SQLite format 3", &[0; 4096]] {
            assert!(Database::new(bytes).is_none());
        }
        let mut empty = MAGIC.to_vec();
        empty.resize(4096, 0);
        empty[16] = 0x10;
        let rows = Database::new(&empty).expect("a database").rows("Packages");
        assert_eq!(rows, None);
    }
}
