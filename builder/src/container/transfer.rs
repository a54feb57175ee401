//! Trees as tar streams: packing what is at a path, and unpacking below another.
//!
//! Both sides work on plain paths. The side that is a container's works in a child whose root is
//! that container's, so that no link leads out of it whatever the container does meanwhile.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, chown, lchown};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct From {
    /// The file or directory.
    pub(crate) path: PathBuf,
    /// Whether it is what the directory holds that is meant (`dir/.`).
    pub(crate) contents: bool,
    /// Whether a link that `path` is is followed.
    pub(crate) follow: bool,
}

impl From {
    /// Reads a source as it is written.
    pub(crate) fn of(text: &str, path: PathBuf, follow: bool) -> Self {
        Self {
            path,
            contents: text.ends_with("/.") || text == ".",
            follow,
        }
    }

    /// Writes a tar of it. Its entries are below its name, or `.` for what it holds.
    pub(crate) fn pack(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut path = self.path.clone();
        if self.follow || self.contents {
            path = fs::canonicalize(&path)?;
        }
        let metadata = fs::symlink_metadata(&path)?;
        if self.contents && !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let name = match self.path.file_name() {
            Some(name) if !self.contents => PathBuf::from(name),
            _ => PathBuf::from("."),
        };
        let mut builder = Builder::new(to);
        builder.mode(tar::HeaderMode::Complete);
        add(&mut builder, &path, &name, &metadata)?;
        builder.finish()
    }
}

fn add(
    builder: &mut Builder<&mut dyn Write>,
    path: &Path,
    name: &Path,
    metadata: &fs::Metadata,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    let kind = metadata.file_type();
    if kind.is_symlink() {
        header.set_size(0);
        return builder.append_link(&mut header, name, fs::read_link(path)?);
    }
    if kind.is_file() {
        // One that grows meanwhile is cut where it was; one that shrinks is an error.
        let file = File::open(path)?.take(metadata.len());
        return builder.append_data(&mut header, name, file);
    }
    header.set_size(0);
    if !kind.is_dir() {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_socket() {
            return Ok(());
        }
        let device = metadata.rdev();
        header.set_device_major(rustix::fs::major(device))?;
        header.set_device_minor(rustix::fs::minor(device))?;
        return builder.append_data(&mut header, name, io::empty());
    }
    // A directory's name ends with a slash, as tar has it.
    builder.append_data(&mut header, name.join(""), io::empty())?;
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let below = entry.path();
        let metadata = match fs::symlink_metadata(&below) {
            // It went away between the listing and now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        add(builder, &below, &name.join(entry.file_name()), &metadata)?;
    }
    Ok(())
}

/// Where something is copied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct To {
    /// The path.
    pub(crate) path: PathBuf,
    /// Whether it has to be a directory (`dir/`, or a stream).
    pub(crate) directory: bool,
    /// Whether names stay as they come: a stream has no one top.
    pub(crate) stream: bool,
    /// Whether files keep their owners; else they are root's.
    pub(crate) owners: bool,
}

impl To {
    /// Makes what a tar holds, as docker's cp does: below an existing directory under its own
    /// name, and else under the last part of the path.
    pub(crate) fn unpack(&self, from: &mut dyn Read) -> io::Result<()> {
        let is_dir = fs::metadata(&self.path).is_ok_and(|metadata| metadata.is_dir());
        if self.directory && !is_dir {
            let problem = format!("{} is no directory", self.path.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, problem));
        }
        let mut archive = Archive::new(from);
        let mut top: Option<PathBuf> = None;
        let mut directories = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = plain(&entry.path()?)?;
            if top.is_none() && !self.stream && !is_dir {
                let is_file = !entry.header().entry_type().is_dir();
                if self.path.exists() && !is_file {
                    let problem = format!("{} is no directory", self.path.display());
                    return Err(io::Error::new(io::ErrorKind::NotADirectory, problem));
                }
                top = Some(name.components().take(1).collect());
            }
            let path = match &top {
                Some(top) => join(&self.path, name.strip_prefix(top).unwrap_or(&name)),
                None => join(&self.path, &name),
            };
            self.make(&mut entry, &path)?;
            if entry.header().entry_type().is_dir() {
                directories.push((path, entry.header().mode()?));
            }
        }
        // A directory that forbids writing has to be filled first.
        for (path, mode) in directories.into_iter().rev() {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
        }
        Ok(())
    }

    fn make<R: Read>(&self, entry: &mut tar::Entry<'_, R>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let (uid, gid) = if self.owners {
            (entry.header().uid()? as u32, entry.header().gid()? as u32)
        } else {
            (0, 0)
        };
        if kind == EntryType::Directory {
            return match fs::create_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                    Ok(())
                }
                made => made.and_then(|()| chown(path, Some(uid), Some(gid))),
            };
        }
        entry.set_preserve_permissions(true);
        entry.set_preserve_mtime(true);
        entry.unpack(path)?;
        if kind == EntryType::Symlink {
            return lchown(path, Some(uid), Some(gid));
        }
        let mode = fs::metadata(path)?.permissions();
        chown(path, Some(uid), Some(gid))?;
        // A change of owner takes set-user-ID bits away.
        fs::set_permissions(path, mode)
    }
}

fn join(base: &Path, name: &Path) -> PathBuf {
    if name.as_os_str().is_empty() {
        base.to_owned()
    } else {
        base.join(name)
    }
}

/// Returns a name without `.`; one that leads elsewhere is refused.
fn plain(name: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir | Component::RootDir => {}
            _ => {
                let problem = format!("the archive has the name {}", name.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(from: &From, to: &To) -> io::Result<()> {
        let mut tar = Vec::new();
        from.pack(&mut tar)?;
        to.unpack(&mut tar.as_slice())
    }

    fn to(path: PathBuf) -> To {
        To {
            path,
            directory: false,
            stream: false,
            owners: true,
        }
    }

    #[test]
    fn names_follow_dockers_rules() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("src/sub")).expect("makes");
        fs::write(at("src/sub/f"), "text").expect("writes");
        std::os::unix::fs::symlink("f", at("src/sub/link")).expect("links");
        fs::create_dir(at("there")).expect("makes");
        let from = |text: &str, path: &str| From::of(text, at(path), false);
        copy(&from("src", "src"), &to(at("there"))).expect("copies");
        assert_eq!(fs::read(at("there/src/sub/f")).expect("reads"), b"text");
        copy(&from("src", "src"), &to(at("new"))).expect("copies");
        assert_eq!(fs::read(at("new/sub/f")).expect("reads"), b"text");
        let link = fs::read_link(at("new/sub/link")).expect("a link");
        assert_eq!(link, Path::new("f"));
        copy(&from("src/.", "src"), &to(at("there"))).expect("copies");
        assert_eq!(fs::read(at("there/sub/f")).expect("reads"), b"text");
        copy(&from("f", "src/sub/f"), &to(at("g"))).expect("copies");
        assert_eq!(fs::read(at("g")).expect("reads"), b"text");
        copy(&from("f", "src/sub/f"), &to(at("there"))).expect("copies");
        assert_eq!(fs::read(at("there/f")).expect("reads"), b"text");
        assert!(copy(&from("src", "src"), &to(at("g"))).is_err());
        let slash = To {
            directory: true,
            ..to(at("no"))
        };
        assert!(copy(&from("f", "src/sub/f"), &slash).is_err());
        assert!(plain(Path::new("a/../b")).is_err());
    }
}
