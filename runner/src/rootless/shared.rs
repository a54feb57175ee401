//! The namespaces that all commands of a user have in common.
//!
//! The kernel gives rights over a namespace to the user namespace that it was made in, and to
//! those above. Commands that each make a user namespace could do nothing with what another one
//! made: not connect two containers, and not enter one. So the first command leaves a process
//! behind, the *holder*, in whose user namespace the next ones work, too. It also keeps a network
//! namespace, in which a user's bridges are what root's are in the machine's.
//!
//! ```text
//! <dir>/making   locked while a holder is started
//!       used     locked, shared, by everything that needs the namespaces
//!       holder   which process it is; locked by it for as long as it lives
//! ```
//!
//! The holder waits for the lock on `used` and ends with it, that is after the last command and
//! the last container. Killed before that, it takes the network of running containers away; new
//! commands begin with another one.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use crate::sys;

/// What a holder says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// The inode of its user namespace: another process of this number has another one.
    user: u64,
    /// The descriptor of the pipe that ends with it.
    leash: RawFd,
}

/// The namespaces that the commands of a user have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    dir: PathBuf,
}

impl Shared {
    /// Returns those that are written down in `dir`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Keeps the namespaces for as long as the descriptor is open, in whichever process.
    pub fn hold(&self) -> io::Result<OwnedFd> {
        self.lock("used", FlockOperation::LockShared)
    }

    /// Returns a path that leads to the network namespace.
    pub fn network(&self) -> io::Result<PathBuf> {
        Ok(self.holder()?.process().join("ns/net"))
    }

    /// Returns a pipe that is hung up when the namespaces end.
    pub fn leash(&self) -> io::Result<OwnedFd> {
        let holder = self.holder()?;
        let path = holder.process().join(format!("fd/{}", holder.leash));
        Ok(File::open(path)?.into())
    }

    /// Runs `work` on a thread in the network namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let namespace = File::open(self.network()?)?;
        let inside = move || {
            let network = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), network)?;
            Ok(work())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("network".to_owned());
            let thread = thread.spawn_scoped(scope, inside)?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits for what starts a holder, if anybody does at this moment, and returns the one there is.
    fn holder(&self) -> io::Result<Holder> {
        let _made = self.lock("making", FlockOperation::LockShared)?;
        self.live().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the process that keeps this user's namespaces has ended",
            )
        })
    }

    fn live(&self) -> Option<Holder> {
        let path = self.dir.join("holder");
        let file = File::open(&path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => {}
            _ => return None,
        }
        let holder: Holder = postcard::from_bytes(&fs::read(&path).ok()?).ok()?;
        let user = fs::metadata(holder.process().join("ns/user")).ok()?;
        (user.ino() == holder.user).then_some(holder)
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> io::Result<OwnedFd> {
        let file = self.open(name)?;
        rustix::io::retry_on_intr(|| flock(&file, operation))?;
        Ok(file.into())
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.dir.join(name))
    }

    /// Enters the holder's user namespace, or says that none could be entered. Then one can be
    /// [started](Making::start) from the caller's.
    pub(super) fn enter(&self) -> io::Result<Place> {
        fs::create_dir_all(&self.dir)?;
        // Kept until the caller ends: the holder does not, before that.
        let used = self.hold()?;
        let lock = self.lock("making", FlockOperation::LockExclusive)?;
        let Some(holder) = self.live() else {
            let shared = self.clone();
            return Ok(Place::Vacant(Making { shared, lock, used }));
        };
        let namespace = File::open(holder.process().join("ns/user"))?;
        let user = Some(LinkNameSpaceType::User);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), user)?;
        std::mem::forget(used);
        Ok(Place::Entered)
    }

    /// What the holder does until it is alone.
    fn keep(&self, making: OwnedFd) -> io::Result<()> {
        // Nothing of the command's stays open, above all no stream of it.
        sys::keep_only(&[making.as_fd()])?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        rustix::process::setsid()?;
        rustix::process::chdir("/")?;
        rustix::thread::set_name(c"cooper-holder")?;
        let file = self.open("holder")?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        sys::unshare(UnshareFlags::NEWNET)?;
        crate::network::loopback_up()?;
        let (leash, _held) = io::pipe()?;
        let holder = Holder {
            // As /proc counts, which may be another PID namespace's.
            pid: fs::read_link("/proc/self")?
                .to_str()
                .and_then(|pid| pid.parse().ok())
                .ok_or(io::ErrorKind::NotFound)?,
            user: fs::metadata("/proc/self/ns/user")?.ino(),
            leash: leash.as_raw_fd(),
        };
        let text = postcard::to_stdvec(&holder).map_err(io::Error::other)?;
        file.set_len(0)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &text, 0)?;
        drop(making);
        let alone = self.lock("used", FlockOperation::LockExclusive);
        fs::remove_file(self.dir.join("holder"))?;
        alone.map(drop)
    }
}

impl Holder {
    fn process(self) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string())
    }
}

/// Whether there was a namespace to enter.
#[derive(Debug)]
pub(super) enum Place {
    /// The caller is in it.
    Entered,
    /// There was none.
    Vacant(Making),
}

/// The right to start a holder.
#[derive(Debug)]
pub(super) struct Making {
    shared: Shared,
    lock: OwnedFd,
    used: OwnedFd,
}

impl Making {
    /// Leaves a process behind that keeps the namespaces of the caller, which has one thread.
    pub(super) fn start(self) -> io::Result<()> {
        let Self { shared, lock, used } = self;
        // The lock goes over to the holder, which gives it back once it can be found.
        sys::fork_helper(|| {
            // Without a holder, what needs one says so.
            let _ = shared.keep(lock);
            sys::exit_now(0);
        })?;
        std::mem::forget(used);
        Ok(())
    }
}
