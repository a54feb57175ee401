//! A static busybox of this machine, for roots that have no shell.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where distributions keep it.
const PLACES: [&str; 5] = [
    "/bin/busybox",
    "/usr/bin/busybox",
    "/bin/busybox.static",
    "/usr/bin/busybox.static",
    "/sbin/busybox",
];

/// Program header that names a dynamic loader.
const PT_INTERP: u32 = 3;

/// Returns this machine's busybox, if it needs no library.
pub(crate) fn find() -> Option<PathBuf> {
    let mut places = PLACES.into_iter().map(Path::new);
    let found = places.find(|path| is_static(path).unwrap_or(false))?;
    Some(found.to_owned())
}

/// Tells whether `path` is a 64-bit program that asks for no dynamic loader.
pub(crate) fn is_static(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut head = [0; 64];
    file.read_exact(&mut head)?;
    if head[..5] != *b"\x7fELF\x02" {
        return Ok(false);
    }
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let offset = u64::from_le_bytes(head[32..40].try_into().expect("eight bytes"));
    let (size, count) = (half(54), half(56));
    if size < 4 {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut headers = vec![0; usize::from(size) * usize::from(count)];
    file.read_exact(&mut headers)?;
    let kinds = headers.chunks_exact(size.into());
    let mut kinds = kinds.map(|one| u32::from_le_bytes([one[0], one[1], one[2], one[3]]));
    Ok(!kinds.any(|kind| kind == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_a_loader_are_told_from_those_without() {
        let own = std::env::current_exe().expect("a path");
        let expected = cfg!(target_feature = "crt-static");
        assert_eq!(is_static(&own).expect("reads"), expected);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let script = dir.path().join("busybox");
        std::fs::write(&script, format!("#!/bin/sh\n{}", " ".repeat(80))).expect("writes");
        assert!(!is_static(&script).expect("reads"));
        assert!(is_static(&dir.path().join("none")).is_err());
    }
}
