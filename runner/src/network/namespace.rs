//! Network namespaces that this process holds.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use rustix::fs::{FlockOperation, flock};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Enough for a few system calls; most of a default stack would never be touched, but a holder of
/// many containers should not even reserve it.
const STACK: usize = 64 << 10;

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace, and a thread that lives in it.
///
/// Only a thread that is in a namespace can make sockets of it, and a process without privileges
/// over the namespace that it came from can enter one and never leave: a thread of its own stays
/// inside and does what has to be done there.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    thread: Sender<Work>,
}

impl Namespace {
    /// Makes a namespace in which only the loopback interface is up.
    pub fn create() -> io::Result<Self> {
        Self::start(|| {
            crate::sys::unshare(UnshareFlags::NEWNET)?;
            super::loopback_up()?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        })
    }

    /// Opens the namespace at `path`, such as `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?.into())
    }

    /// Takes a namespace that is open.
    pub fn of(fd: OwnedFd) -> io::Result<Self> {
        Self::start(|| {
            enter(fd.as_fd())?;
            Ok(fd)
        })
    }

    /// Takes a namespace that is new, and brings its loopback interface up.
    pub fn begin(fd: OwnedFd) -> io::Result<Self> {
        Self::start(|| {
            enter(fd.as_fd())?;
            super::loopback_up()?;
            Ok(fd)
        })
    }

    fn start(enter: impl FnOnce() -> io::Result<OwnedFd> + Send + 'static) -> io::Result<Self> {
        let (entered, answer) = channel();
        let (thread, work) = channel::<Work>();
        std::thread::Builder::new()
            .name("network".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let ready = enter();
                let failed = ready.is_err();
                if entered.send(ready).is_err() || failed {
                    return;
                }
                for work in work {
                    work();
                }
            })?;
        let fd = answer.recv().map_err(io::Error::other)??;
        Ok(Self { fd, thread })
    }

    /// Runs `work` inside and returns what it does.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (done, answer) = channel();
        let work = move || {
            // A caller that has gone does not want to know.
            let _ = done.send(work());
        };
        self.thread
            .send(Box::new(work))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        answer.recv().map_err(io::Error::other)?
    }

    /// Returns a path that leads to the namespace for as long as this value and this process live.
    pub fn path(&self) -> PathBuf {
        path_of(self.fd.as_fd())
    }

    /// Moves the calling thread inside, for good: threads and processes that it starts are inside
    /// too.
    pub fn enter(&self) -> io::Result<()> {
        enter(self.fd.as_fd())
    }
}

impl From<Namespace> for OwnedFd {
    /// Keeps the namespace without a thread in it.
    fn from(namespace: Namespace) -> Self {
        namespace.fd
    }
}

/// Returns a path that leads to what is open as `fd`, for this process and others.
pub fn path_of(fd: BorrowedFd<'_>) -> PathBuf {
    // In a PID namespace of its own a process has another number than /proc has for it.
    let process = std::fs::read_link("/proc/self").unwrap_or_else(|_| "self".into());
    let fd = fd.as_raw_fd().to_string();
    Path::new("/proc").join(process).join("fd").join(fd)
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    let network = Some(LinkNameSpaceType::Network);
    Ok(rustix::thread::move_into_link_name_space(
        namespace, network,
    )?)
}

/// Waits for, and takes, the lock of the calling thread's network namespace, which all processes
/// in that namespace have in common. It is held until the file is dropped.
///
/// What two processes must not do at once here (choosing a subnet that nobody uses) concerns
/// stores that know nothing of each other.
pub fn lock() -> io::Result<File> {
    let file = File::open("/proc/thread-self/ns/net")?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// Returns a namespace for a test, or says that the test is not run.
    pub(crate) fn create() -> Option<Namespace> {
        match Namespace::create() {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                assert!(!rustix::process::geteuid().is_root(), "{error}");
                skip("needs root");
                None
            }
        }
    }

    /// Says that the calling test is not run.
    pub(crate) fn skip(reason: &str) {
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        let _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
    }

    #[test]
    fn a_namespace_has_a_loopback_of_its_own() {
        let Some(first) = create() else { return };
        let listener = first
            .run(|| TcpListener::bind("127.0.0.1:4000"))
            .expect("listens");
        assert!(first.run(|| TcpStream::connect("127.0.0.1:4000")).is_ok());
        let again = Namespace::open(&first.path()).expect("opens");
        assert!(again.run(|| TcpStream::connect("127.0.0.1:4000")).is_ok());
        let second = create().expect("as before");
        assert!(second.run(|| TcpStream::connect("127.0.0.1:4000")).is_err());
        drop(listener);
    }

    #[test]
    fn each_namespace_has_its_own_lock() {
        let Some(namespace) = create() else { return };
        let _held = namespace.run(lock).expect("takes");
        let other = create().expect("as before");
        assert!(other.run(lock).is_ok());
        let taken = namespace.run(|| {
            let file = File::open("/proc/thread-self/ns/net")?;
            Ok(flock(&file, FlockOperation::NonBlockingLockExclusive)?)
        });
        assert!(taken.is_err());
    }
}
