//! Lines to systemd's journal, by its native protocol: one datagram an entry.
//!
//! ```text
//! NAME=value\n                          a value of one line
//! NAME\n<length: u64 LE><value>\n       any other
//! ```
//!
//! Fields are those of docker's journald driver.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::Stream;
use super::attributes::{Attributes, Selection};
use crate::container::record::Container;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Syslog's priorities, which the journal shares.
const INFORMATION: &str = "6";
const ERROR: &str = "3";

/// Sends a container's lines to the journal.
#[derive(Debug)]
pub(super) struct Journald {
    socket: UnixDatagram,
    /// What is the same in every entry, encoded.
    common: Vec<u8>,
}

impl Journald {
    /// Connects to the journal.
    pub(super) fn open(container: &Container, selection: &Selection) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A journal that is stuck costs lines, not the container.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            common: common(container, selection),
        })
    }

    /// Sends one line, or a part of one.
    pub(super) fn write(&self, stream: Stream, line: &[u8]) -> io::Result<()> {
        let mut entry = self.common.clone();
        let whole = line.strip_suffix(b"\n");
        push(&mut entry, "MESSAGE", whole.unwrap_or(line));
        let priority = match stream {
            Stream::Stdout => INFORMATION,
            Stream::Stderr => ERROR,
        };
        push(&mut entry, "PRIORITY", priority.as_bytes());
        if whole.is_none() {
            push(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        self.socket.send(&entry).map(drop)
    }
}

fn common(container: &Container, selection: &Selection) -> Vec<u8> {
    let tag = selection.tag(container);
    let mut entry = Vec::new();
    for (name, value) in [
        ("CONTAINER_ID", container.short()),
        ("CONTAINER_ID_FULL", &container.id),
        ("CONTAINER_NAME", &container.name),
        ("CONTAINER_TAG", &tag),
        ("IMAGE_NAME", &container.config.image),
        ("SYSLOG_IDENTIFIER", &tag),
    ] {
        push(&mut entry, name, value.as_bytes());
    }
    let mut attributes: Attributes = selection.of(container);
    attributes.remove("tag");
    for (name, value) in attributes {
        push(&mut entry, &field(&name), value.as_bytes());
    }
    entry
}

fn push(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

/// Returns a name as the journal takes it from others: capitals, digits and inner underscores.
fn field(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let plain = upper.replace(|char: char| !char.is_ascii_alphanumeric(), "_");
    plain
        .trim_start_matches(|char: char| !char.is_ascii_alphabetic())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_several_lines_have_a_length() {
        let mut entry = Vec::new();
        push(&mut entry, "A", b"b=c");
        push(&mut entry, "M", b"x\ny");
        assert_eq!(entry, b"A=b=c\nM\n\x03\0\0\0\0\0\0\0x\ny\n");
    }

    #[test]
    fn fields_are_capitals() {
        assert_eq!(field("org.team-1"), "ORG_TEAM_1");
        assert_eq!(field("_private"), "PRIVATE");
    }
}
