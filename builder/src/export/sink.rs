//! Files that appear when they are complete.
//!
//! A file is written without a name and linked to its own at the end: whatever kills the writer
//! on the way leaves nothing. File systems that know no nameless files (overlayfs before 6.1,
//! NFS) get one with a temporary name, which an ordinary failure removes.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{ExportError, buffered, failed};

/// Mode of the files that are made.
const MODE: u32 = 0o644;

/// A file on its way.
enum NewFile {
    Nameless(File),
    Named(tempfile::NamedTempFile),
}

/// Writes the file `path` by `write`; it replaces another one only when it is complete.
pub fn to_new_file<T, E: From<ExportError>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(dir).map_err(|e| failed(path, e))?;
    let file = NewFile::create(dir).map_err(|e| failed(path, e))?;
    let (value, file) = buffered(file, write, |e| failed(path, e))?;
    file.publish(dir, path).map_err(|e| failed(path, e))?;
    Ok(value)
}

impl NewFile {
    fn create(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(dir, flags, Mode::from_raw_mode(MODE)) {
            Ok(file) => Ok(Self::Nameless(file.into())),
            Err(_) => Self::named(dir),
        }
    }

    fn named(dir: &Path) -> io::Result<Self> {
        let builder = tempfile::Builder::new().prefix(".cooper-").tempfile_in(dir);
        builder.map(Self::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    fn publish(mut self, dir: &Path, path: &Path) -> io::Result<()> {
        self.file().set_permissions(Permissions::from_mode(MODE))?;
        match self {
            Self::Named(file) => file.persist(path).map(drop).map_err(|error| error.error),
            Self::Nameless(file) => match link(&file, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    replace(&file, dir, path)
                }
                linked => linked,
            },
        }
    }
}

/// Gives a nameless file its name.
fn link(file: &File, path: &Path) -> io::Result<()> {
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, from, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(())
}

/// Puts a nameless file in the place of another one, which takes a name of its own for a moment:
/// a link replaces nothing.
fn replace(file: &File, dir: &Path, path: &Path) -> io::Result<()> {
    // Removed by its guard if the rename fails; the link needs the name free.
    let name = tempfile::Builder::new()
        .prefix(".cooper-")
        .make_in(dir, |name| link(file, name))?;
    name.into_temp_path()
        .persist(path)
        .map_err(|error| error.error)
}

impl Write for NewFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).expect("list");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_a_name_when_it_is_complete() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a.tar");
        for text in ["first", "second"] {
            let before = names(dir.path());
            to_new_file(&path, |out| {
                out.write_all(text.as_bytes())
                    .map_err(|e| failed(&path, e))?;
                assert_eq!(
                    names(dir.path()),
                    before,
                    "nothing shows while it is written"
                );
                Ok::<_, ExportError>(())
            })
            .expect("write");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
            assert_eq!(names(dir.path()), ["a.tar"]);
        }
        let mode = std::fs::metadata(&path).expect("stat").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a.tar");
        std::fs::write(&path, "before").expect("write");
        let failure = || failed(&path, io::ErrorKind::BrokenPipe.into());
        to_new_file::<(), _>(&path, |_| Err(failure())).expect_err("fails");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "before");
        assert_eq!(names(dir.path()), ["a.tar"]);
    }

    #[test]
    fn without_nameless_files_a_temporary_name_does() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a.tar");
        let mut file = NewFile::named(dir.path()).expect("create");
        file.write_all(b"text").expect("write");
        file.publish(dir.path(), &path).expect("publish");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "text");
        assert_eq!(names(dir.path()), ["a.tar"]);
    }
}
