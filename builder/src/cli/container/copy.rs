//! `cooper cp`: files into a container and out of it, or as a tar stream.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::MemfdFlags;

use super::failed;
use crate::cli::Settings;
use crate::cli::session::Session;
use crate::container::Containers;
use crate::container::root::{Root, clean};
use crate::container::transfer::{From, To};
use crate::events::Journal;
use crate::report::Report;

/// Options of `cooper cp`.
#[derive(Args, Clone, Debug)]
pub struct CpArgs {
    /// CONTAINER:PATH, a path of this machine, or - for a tar stream
    pub source: String,

    /// CONTAINER:PATH, a path of this machine, or - for a tar stream
    pub target: String,

    /// Keep owners
    #[arg(short, long)]
    pub archive: bool,

    /// Follow a symbolic link that is the source
    #[arg(short = 'L', long)]
    pub follow_link: bool,

    /// Taken for scripts: nothing is said
    #[arg(short, long, hide = true)]
    pub quiet: bool,
}

/// One side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    Stream,
    Host(&'a str),
    Container(&'a str, &'a str),
}

impl<'a> Place<'a> {
    /// A path of this machine that has a colon is written with a slash before it.
    fn of(text: &'a str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() && !name.contains('/') && name != "." => {
                Self::Container(name, path)
            }
            _ => Self::Host(text),
        }
    }
}

impl CpArgs {
    /// Copies.
    pub fn run(&self, settings: &Settings) -> Result<(), Report> {
        let (source, target) = (Place::of(&self.source), Place::of(&self.target));
        match (source, target) {
            (Place::Container(..), Place::Container(..)) => {
                return Err(Report::new("copying between containers is not supported")
                    .hint("pipe one into the other: cooper cp A:PATH - | cooper cp - B:DIR"));
            }
            (Place::Container(name, ""), _) | (_, Place::Container(name, "")) => {
                return Err(Report::new(format!("no path in container {name}"))
                    .hint(format!("write {name}:/ for all of it")));
            }
            (Place::Container(..), _) | (_, Place::Container(..)) => {}
            _ => return Err(Report::new("one side has to be CONTAINER:PATH")),
        }
        let session = Session::open(settings)?;
        let open = |name: &str, path: &str, action: &str| {
            let found = Containers::of(session.store.root()).one(name);
            let found = found.map_err(|error| failed(&error))?;
            let root = Root::open(&session.store, &found, path)?;
            Journal::of(session.store.root()).write(&found.container.event(action));
            Ok::<_, Report>(root)
        };
        let copied = match (source, target) {
            (Place::Container(name, path), target) => {
                self.out_of(&open(name, path, "archive-path")?, path, target)
            }
            (source, Place::Container(name, path)) => {
                let root = open(name, path, "extract-to-dir")?;
                check_writable(&session, name, &clean(Path::new(path)))?;
                self.into(source, &root, path)
            }
            _ => Ok(()),
        };
        copied.map_err(|error| {
            Report::from_error(&error)
                .context(format!("cannot copy {} to {}", self.source, self.target))
        })
    }

    fn out_of(&self, root: &Root, path: &str, target: Place<'_>) -> io::Result<()> {
        let from = From::of(path, root.path.clone(), self.follow_link);
        let (mut reader, writer) = io::pipe()?;
        let child = Child::start(root, &[reader.as_fd()], || from.pack(&mut &writer))?;
        drop(writer);
        let copied = match target {
            Place::Host(target) => To {
                path: PathBuf::from(target),
                directory: target.ends_with('/'),
                stream: false,
                owners: self.archive,
            }
            .unpack(&mut reader),
            _ => io::copy(&mut reader, &mut io::stdout().lock()).map(drop),
        };
        // What went wrong first is on the other side of the pipe.
        drop(reader);
        child.finish().and(copied)
    }

    fn into(&self, source: Place<'_>, root: &Root, path: &str) -> io::Result<()> {
        let stream = source == Place::Stream;
        let to = To {
            path: root.path.clone(),
            directory: stream || path.ends_with('/'),
            stream,
            owners: self.archive || stream,
        };
        let (reader, mut writer) = io::pipe()?;
        let child = Child::start(root, &[writer.as_fd()], || {
            let unpacked = to.unpack(&mut &reader);
            // What follows the archive's end is not in the way of who writes it.
            let _ = io::copy(&mut &reader, &mut io::sink());
            unpacked
        })?;
        drop(reader);
        let copied = match source {
            Place::Host(source) => {
                let path = PathBuf::from(source);
                From::of(source, path, self.follow_link).pack(&mut writer)
            }
            _ => io::copy(&mut io::stdin().lock(), &mut writer).map(drop),
        };
        drop(writer);
        let unpacked = child.finish();
        match copied {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => unpacked,
            copied => copied.and(unpacked),
        }
    }
}

/// Refuses to write what the container could not: its read-only root, and read-only volumes.
fn check_writable(session: &Session, name: &str, path: &Path) -> Result<(), Report> {
    let found = Containers::of(session.store.root()).one(name);
    let found = found.map_err(|error| failed(&error))?;
    let config = &found.container.config;
    let tmpfs = config.mounts.tmpfs.iter().map(|one| (&one.target, false));
    let volumes = config.mounts.volumes.iter();
    let mounts = volumes.map(|one| (&one.target, one.readonly)).chain(tmpfs);
    let around = mounts.filter(|(target, _)| path.starts_with(target));
    let mount = around.max_by_key(|(target, _)| target.components().count());
    match mount {
        Some((target, true)) => Err(Report::new(format!(
            "the volume at {} of container {name} is mounted read-only",
            target.display()
        ))),
        None if config.isolation.read_only => Err(Report::new(format!(
            "the root file system of container {name} is read-only"
        ))
        .hint("copy into one of its volumes")),
        _ => Ok(()),
    }
}

/// Work in a child below a container's root; what went wrong there is written to memory.
struct Child {
    below: cooper_runner::Below,
    said: File,
}

impl Child {
    fn start(
        root: &Root,
        not_its: &[std::os::fd::BorrowedFd<'_>],
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Self> {
        let said = File::from(rustix::fs::memfd_create("cooper-cp", MemfdFlags::CLOEXEC)?);
        let user = root.user.as_ref().map(AsFd::as_fd);
        let below = cooper_runner::below_root(root.directory.as_fd(), user, not_its, || {
            // Nobody reads on: the other side says why.
            if let Err(error) = work()
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                let _ = (&said).write_all(error.to_string().as_bytes());
            }
        })?;
        Ok(Self { below, said })
    }

    fn finish(self) -> io::Result<()> {
        self.below.wait()?;
        let mut text = String::new();
        let mut said = self.said;
        said.seek(SeekFrom::Start(0))?;
        said.read_to_string(&mut text)?;
        if text.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_separates_the_container_from_the_path() {
        for (text, expected) in [
            ("web:/etc", Place::Container("web", "/etc")),
            ("web:etc", Place::Container("web", "etc")),
            ("./a:b", Place::Host("./a:b")),
            ("/a:b", Place::Host("/a:b")),
            ("a", Place::Host("a")),
            ("-", Place::Stream),
        ] {
            assert_eq!(Place::of(text), expected, "{text}");
        }
    }
}
