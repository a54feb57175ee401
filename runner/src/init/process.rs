//! The last steps: terminal, streams, identity, confinement, and the program itself.

use super::identity;
use super::{Child, StepResult};
use crate::caps;
use crate::channel::{self, Fault, FromChild};
use crate::plan::{Filter, Standard};
use crate::rootfs::{attach_on, clone_tree};
use crate::seccomp;
use crate::spec::DEFAULT_PATH;
use crate::sys;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::LinkNameSpaceType;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Larger user databases are not read: an image must not make the set-up run out of memory.
const DATABASE_LIMIT: u64 = 16 << 20;

impl Child<'_> {
    /// Opens a terminal in the container's own devpts, makes it `/dev/console` and hands the
    /// master side to the caller.
    pub(super) fn make_terminal(&mut self, rows: u16, cols: u16) -> StepResult {
        let pts = self.standard(|standard| *standard == Standard::Pts)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::openat(pts, c"ptmx", flags, Mode::empty())?;
        let slave = open_slave(&master, rows, cols)?;
        self.bind_console(&rustix::pty::ptsname(&master, Vec::new())?)?;
        self.hand_over_terminal(&master, slave)
    }

    /// Opens a terminal of the container that was joined. What is at its path is the container's
    /// doing; anything but a terminal multiplexer has no peer and is refused.
    pub(super) fn open_terminal(&mut self, rows: u16, cols: u16) -> StepResult {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let master = rustix::fs::openat2(CWD, c"/dev/pts/ptmx", flags, Mode::empty(), resolve)?;
        rustix::io::ioctl_fionbio(&master, false)?;
        let slave = open_slave(&master, rows, cols)?;
        self.hand_over_terminal(&master, slave)
    }

    fn hand_over_terminal(&mut self, master: &OwnedFd, slave: OwnedFd) -> StepResult {
        let request = self.request.as_ref().ok_or(Fault::Errno(libc::ENOTCONN))?;
        channel::send(&request.child, &FromChild::Terminal, &[master.as_fd()])?;
        self.terminal = Some(slave);
        Ok(())
    }

    fn bind_console(&self, name: &CStr) -> StepResult {
        let number = name
            .to_bytes()
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        let number = CString::new(number).map_err(|_| Fault::Errno(libc::EINVAL))?;
        let pts = self.standard(|standard| *standard == Standard::Pts)?;
        let dev = self.standard(|standard| matches!(standard, Standard::Dev { .. }))?;
        match rustix::fs::mknodat(
            dev,
            c"console",
            FileType::RegularFile,
            Mode::from_raw_mode(0o620),
            0,
        ) {
            // Made as one of the host's devices.
            Err(Errno::EXIST) => {}
            result => result?,
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let console = rustix::fs::openat(dev, c"console", flags, Mode::empty())?;
        Ok(attach_on(&clone_tree(pts, &number, false)?, console)?)
    }

    pub(super) fn resolve_user(&mut self, user: &str, groups: &[String]) -> StepResult {
        let passwd = database(c"/etc/passwd")?;
        let group = database(c"/etc/group")?;
        self.identity = identity::resolve(user, groups, &passwd, &group)?;
        Ok(())
    }

    /// Starts a session and connects the standard streams.
    pub(super) fn connect_streams(&self) -> StepResult {
        rustix::process::setsid()?;
        let request = self.request.as_ref().ok_or(Fault::Errno(libc::ENOTCONN))?;
        let [stdin, stdout, stderr] = match &self.terminal {
            Some(terminal) => {
                rustix::process::ioctl_tiocsctty(terminal)?;
                [terminal.as_fd(); 3]
            }
            None => [
                &request.streams[0],
                &request.streams[1],
                &request.streams[2],
            ]
            .map(AsFd::as_fd),
        };
        rustix::stdio::dup2_stdin(stdin)?;
        rustix::stdio::dup2_stdout(stdout)?;
        rustix::stdio::dup2_stderr(stderr)?;
        let owner = match self.ids {
            Some(ids) => ids.user(self.identity.uid),
            None => self.identity.uid,
        };
        if owner != 0 {
            for stream in [stdin, stdout, stderr] {
                give_stream(stream, self.terminal.is_some(), owner);
            }
        }
        Ok(())
    }

    /// Becomes root of the container's user namespace, from where there is no way back.
    pub(super) fn enter_user(&self) -> StepResult {
        let user = self.context.user.as_ref();
        let user = user.ok_or(Fault::Errno(libc::ENOENT))?;
        Ok(become_root_of(user.as_fd())?)
    }

    /// Installs the filter, which needs a capability, and then lowers everything.
    pub(super) fn confine(
        &self,
        capabilities: u64,
        filter: &Filter,
        no_new_privileges: bool,
    ) -> StepResult {
        if no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        match filter {
            Filter::None => {}
            Filter::Default if capabilities == caps::CapSet::docker().bits() => {
                sys::install_filter(&self.context.default_filter)?;
            }
            Filter::Default => sys::install_filter(&seccomp::default_filter(capabilities))?,
            Filter::Program(program) => sys::install_filter(program)?,
        }
        caps::become_user(&self.identity, capabilities)
    }

    /// Executes the program; returns only if that fails.
    pub(super) fn execute(&self, args: &[CString], env: &[CString]) -> StepResult {
        let env = self.environment(env);
        sys::close_on_exec_from(3)?;
        let given = self
            .request
            .as_ref()
            .and_then(|request| request.program.as_ref());
        if let Some(given) = given {
            let errno = sys::execveat(given.as_fd(), args, &env);
            return Err(Fault::NotExecutable(errno.raw_os_error()));
        }
        let program = args.first().ok_or(Fault::NotFound)?;
        if program.as_bytes().contains(&b'/') {
            return Err(refusal(program, sys::execve(program, args, &env)));
        }
        let path = env
            .iter()
            .find_map(|pair| pair.as_bytes().strip_prefix(b"PATH="));
        let mut denied = None;
        for directory in path
            .unwrap_or(DEFAULT_PATH.as_bytes())
            .split(|byte| *byte == b':')
        {
            let candidate = candidate(directory, program);
            match refusal(&candidate, sys::execve(&candidate, args, &env)) {
                Fault::NotFound => {}
                fault @ Fault::NotExecutable(libc::EACCES) => denied = Some(fault),
                fault => return Err(fault),
            }
        }
        Err(denied.unwrap_or(Fault::NotFound))
    }

    fn environment(&self, env: &[CString]) -> Vec<CString> {
        let mut env = env.to_vec();
        if !env.iter().any(|pair| pair.as_bytes().starts_with(b"HOME=")) {
            let home = self.identity.home.as_deref().unwrap_or("/");
            env.extend(CString::new(format!("HOME={home}")).ok());
        }
        env
    }
}

/// Becomes root of a user namespace below the caller's.
pub(crate) fn become_root_of(user: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(user, Some(LinkNameSpaceType::User))?;
    // The host's ids are nobody's here.
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Unlocks a terminal, gives it a size and returns the side that the process gets.
fn open_slave(master: &OwnedFd, rows: u16, cols: u16) -> Result<OwnedFd, Errno> {
    rustix::pty::unlockpt(master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(master, flags)?;
    let size = Winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(master, size)?;
    Ok(slave)
}

/// Writes a kernel setting; those of a namespace are those of the writer's.
pub(super) fn write_setting(path: &CStr, value: &[u8]) -> StepResult {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::io::write(&file, value)?;
    Ok(())
}

/// Asks for an AppArmor profile at the next execution. Kernels since 5.8 have a file of their own
/// for it beside the one that all such modules share.
pub(super) fn ask_for_profile(request: &CStr) -> StepResult {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let own = rustix::fs::open("/proc/self/attr/apparmor/exec", flags, Mode::empty());
    let file = match own {
        Err(Errno::NOENT) => rustix::fs::open("/proc/self/attr/exec", flags, Mode::empty())?,
        opened => opened?,
    };
    rustix::io::write(&file, request.to_bytes())?;
    Ok(())
}

/// An empty entry of `PATH` is the working directory.
fn candidate(directory: &[u8], program: &CStr) -> CString {
    let directory = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    let path = [directory, program.to_bytes()].join(&b'/');
    CString::new(path).unwrap_or_default()
}

fn refusal(path: &CStr, errno: Errno) -> Fault {
    match errno {
        Errno::NOENT | Errno::NOTDIR => {
            match rustix::fs::access(path, rustix::fs::Access::EXISTS) {
                Ok(()) => Fault::NoInterpreter,
                Err(_) => Fault::NotFound,
            }
        }
        errno => Fault::NotExecutable(errno.raw_os_error()),
    }
}

/// A pipe that the caller made belongs to it; a process of another user could not reopen it
/// as `/dev/stdout`. The same holds for the container's own terminal, never for the caller's.
/// What refuses to change hands stays as it is.
fn give_stream(stream: BorrowedFd<'_>, own_terminal: bool, owner: u32) {
    let is_pipe = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    if own_terminal || rustix::fs::fstat(stream).is_ok_and(is_pipe) {
        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(owner)), None::<Gid>);
    }
}

/// Reads a user database of the image; a missing one is empty. What is no regular file could
/// block for ever and is refused.
fn database(path: &CStr) -> StepResult<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        result => File::from(result?),
    };
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL.into());
    }
    let mut bytes = Vec::new();
    file.take(DATABASE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Enters the working directory, and makes sure that it is inside the root: neither a link of
/// proc to an open directory nor a leaked descriptor may lead out. One that is missing is made.
pub(super) fn enter_directory(path: &CStr, make: bool) -> StepResult {
    let directory = match open_directory(path) {
        Err(Errno::NOENT) if make => make_directories(path)?,
        opened => opened?,
    };
    rustix::process::fchdir(&directory)?;
    // The kernel says "(unreachable)" of a directory outside the root.
    let current = rustix::process::getcwd(Vec::new())?;
    if current.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Errno::NOENT.into())
    }
}

fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
}

/// Makes the missing directories of `path`, root's and 0755, each below one that was opened
/// without leaving the root.
fn make_directories(path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut parent = open_directory(c"/")?;
    let mut walked = Vec::new();
    for name in path.to_bytes().split(|byte| *byte == b'/') {
        if name.is_empty() {
            continue;
        }
        walked.push(b'/');
        walked.extend_from_slice(name);
        let walked = CString::new(walked.as_slice()).map_err(|_| Errno::INVAL)?;
        parent = match open_directory(&walked) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                open_directory(&walked)?
            }
            opened => opened?,
        };
    }
    Ok(parent)
}
