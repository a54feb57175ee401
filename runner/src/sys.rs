//! The only unsafe code: system calls that `rustix` does not wrap, and forking.
//!
//! Two kinds of child are made here. The worker is started from a process that may have
//! threads, so between fork and exec only system calls are made on values prepared before
//! (nothing that takes a lock or allocates). Children of the worker, which never has threads,
//! may run any code: no other thread can have held a lock at the fork.
#![expect(
    unsafe_code,
    reason = "the one module that talks to the kernel without rustix"
)]

use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Size of the first version of `struct clone_args`, which kernels before 5.7 know alone.
const CLONE_ARGS_VERSION_0: usize = 64;

/// Size of the version of `struct clone_args` that ends with `cgroup`.
const CLONE_ARGS_VERSION_2: usize = 88;

/// Begins the child in the control group that `cgroup` is the directory of.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// What the worker is started with is moved above its fixed descriptors first.
const FIRST_FREE: RawFd = 16;

type Result<T> = std::result::Result<T, Errno>;

fn last_errno() -> Errno {
    Errno::from_raw_os_error(
        io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}

fn check(result: libc::c_long) -> Result<libc::c_long> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(result)
    }
}

/// A new process as its parent sees it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pidfd: OwnedFd,
}

/// Forks, into new namespaces if `flags` say so and into a control group of version 2 if one is
/// given, and returns twice: `None` is the child.
///
/// # Safety
/// In a process with threads the child may only make system calls.
unsafe fn fork(flags: libc::c_int, group: Option<BorrowedFd<'_>>) -> Result<Option<Child>> {
    let mut pidfd: RawFd = -1;
    let (into, size) = match group {
        Some(_) => (CLONE_INTO_CGROUP, CLONE_ARGS_VERSION_2),
        None => (0, CLONE_ARGS_VERSION_0),
    };
    let mut arguments = libc::clone_args {
        flags: (libc::CLONE_PIDFD | flags) as u64 | into,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| group.as_raw_fd() as u64),
    };
    // SAFETY: the structure outlives the call. Without CLONE_VM and with no stack given this is
    // fork(2): the child goes on with a copy of this stack.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut arguments), size) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel stored a descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(Child { pidfd }))
}

/// Runs `body` in a child, with `own_pids` as process 1 of a new PID namespace, and ends it when
/// that returns. It is told whether the child began in `group`, a directory of version 2: where it
/// could not, it has to enter by itself. The caller must be single-threaded.
pub(crate) fn fork_child(
    own_pids: bool,
    group: Option<BorrowedFd<'_>>,
    body: impl FnOnce(bool),
) -> Result<Child> {
    let flags = if own_pids { libc::CLONE_NEWPID } else { 0 };
    // SAFETY: only the worker and programs with a launcher call this, which have one thread.
    let fork = |group| unsafe { fork(flags, group) };
    let (forked, began_in_it) = match group.map(|group| fork(Some(group))) {
        Some(Ok(forked)) => (forked, true),
        Some(Err(_)) | None => (fork(None)?, false),
    };
    match forked {
        Some(child) => Ok(child),
        None => run_to_end(|| body(began_in_it)),
    }
}

/// Runs `body` in a child with the caller's namespaces. The caller must be single-threaded.
pub(crate) fn fork_helper(body: impl FnOnce()) -> Result<Child> {
    // SAFETY: all callers make sure that there is one thread.
    if let Some(child) = unsafe { fork(0, None) }? {
        return Ok(child);
    }
    run_to_end(body)
}

fn run_to_end(body: impl FnOnce()) -> ! {
    // Unwinding must not reach the caller's code in a second process.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    exit_now(125)
}

/// What the worker process is started with.
#[derive(Debug)]
pub(crate) struct WorkerImage<'a> {
    /// The executable, opened.
    pub(crate) executable: BorrowedFd<'a>,
    /// Its name and arguments.
    pub(crate) arguments: &'a [CString],
    /// The control socket; descriptor 3 in the worker.
    pub(crate) control: BorrowedFd<'a>,
    /// Descriptors 0 to 2 in the worker.
    pub(crate) null: BorrowedFd<'a>,
    /// Whether it is process 1 of a new PID namespace.
    pub(crate) own_pids: bool,
}

/// The descriptor at which the worker finds its control socket.
pub(crate) const CONTROL_FD: RawFd = 3;

/// Starts the worker. Every other descriptor of the caller
/// is closed in it, so that it holds no lock and no pipe of the caller's.
pub(crate) fn spawn_worker(image: &WorkerImage<'_>) -> Result<Child> {
    let argv = pointers(image.arguments);
    let envp: [*const libc::c_char; 1] = [ptr::null()];
    let flags = if image.own_pids {
        libc::CLONE_NEWPID
    } else {
        0
    };
    // SAFETY: until exec the child makes system calls only, on the values above.
    if let Some(child) = unsafe { fork(flags, None) }? {
        return Ok(child);
    }
    // SAFETY: system calls on integers and on pointers that are valid for the whole block;
    // execveat and _exit do not return.
    unsafe {
        // A process that does little would otherwise get its heap in pieces of 2 MiB, each of
        // which is cleared first.
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
        let executable = libc::fcntl(
            image.executable.as_raw_fd(),
            libc::F_DUPFD_CLOEXEC,
            FIRST_FREE,
        );
        let control = libc::fcntl(image.control.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FREE);
        let null = libc::fcntl(image.null.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FREE);
        for standard in 0..CONTROL_FD {
            libc::dup2(null, standard);
        }
        libc::dup2(control, CONTROL_FD);
        libc::syscall(
            libc::SYS_close_range,
            CONTROL_FD + 1,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        libc::syscall(
            libc::SYS_execveat,
            executable,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        libc::_exit(127)
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Takes ownership of a descriptor that this process was started with.
pub(crate) fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD on a number has no memory effects.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and only the worker's entry, once, asks for it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Replaces the program; returns only the reason why not.
pub(crate) fn execve(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: integers alone, then both arrays are null-terminated and point to strings that
    // outlive the call.
    unsafe {
        // `spawn_worker` took them, for itself alone.
        libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
        libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    last_errno()
}

/// As [`execve`], of an open file.
pub(crate) fn execveat(
    program: BorrowedFd<'_>,
    arguments: &[CString],
    environment: &[CString],
) -> Errno {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    // SAFETY: as in `execve`; the path is a constant.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    last_errno()
}

/// Unmaps what was read of the program and its libraries. The kernel maps it again, from memory,
/// as it is used.
pub(crate) fn forget_code() {
    // SAFETY: `forget_object` keeps to the contract of the callback and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(forget_object), ptr::null_mut()) };
}

/// Unmaps the segments of one loaded object that were never writable: they hold what the file
/// holds. Those with relocations are left, though they are read-only by now.
unsafe extern "C" fn forget_object(
    object: *mut libc::dl_phdr_info,
    _: usize,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid object, whose program headers are mapped.
    let (object, headers) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (object, std::slice::from_raw_parts(object.dlpi_phdr, count))
    };
    // SAFETY: sysconf takes an integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let unwritten = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    for header in headers.iter().filter(unwritten) {
        let begin = (object.dlpi_addr + header.p_vaddr) & !(page - 1);
        let end = (object.dlpi_addr + header.p_vaddr + header.p_memsz) & !(page - 1);
        // SAFETY: a private mapping of a file that was never written to reads the same again.
        // The page at the end may hold the beginning of a writable segment and is left.
        unsafe {
            libc::madvise(
                begin as *mut libc::c_void,
                end.saturating_sub(begin) as usize,
                libc::MADV_DONTNEED,
            )
        };
    }
    0
}

/// Ends the process without running anything that was registered for its exit.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default action and unblocks all of them.
pub(crate) fn reset_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL with no flags; sigemptyset initialises the set.
    // Numbers that the kernel refuses (KILL, STOP, those of libc) keep their action.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Marks every descriptor from `first` on as close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> Result<()> {
    // SAFETY: changes flags of descriptors only.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// `unshare(2)` for namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<()> {
    // SAFETY: unsafe for CLONE_FILES and CLONE_FS, which the callers do not pass.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Makes children be born in another PID namespace: that of a pidfd, or one given by a handle.
pub(crate) fn enter_pids(namespace: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: it changes where later children are born, and nothing else.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWPID) }.into()).map(drop)
}

/// Closes descriptors that their owners will never drop: this process ends without unwinding.
pub(crate) fn close_in_child(fds: &[BorrowedFd<'_>]) {
    for fd in fds {
        // SAFETY: nothing of this process uses them any more, as the caller promises.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
}

/// Closes every descriptor but the standard streams and these. Their owners never drop them: this process executes another
/// program, or ends without unwinding.
pub(crate) fn keep_only(kept: &[BorrowedFd<'_>]) -> Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    // The numbers of the standard streams stay taken, so that nothing else gets them.
    let mut first = 3;
    for number in numbers.into_iter().chain([u32::MAX]) {
        if number > first {
            // SAFETY: nothing of this process uses them any more, as the caller promises.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) })?;
        }
        first = first.max(number.saturating_add(1));
    }
    Ok(())
}

/// Keeps processes without privileges over this one from looking into it.
pub(crate) fn hide_from_tracers() -> Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes an integer.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(drop)
}

/// Forks the program off and stays as a small init: passes on every signal, reaps every process,
/// and ends as the program does. Returns in the child only. The caller is process 1 of a PID
/// namespace, and no thread of it but this one exists.
pub(crate) fn stay_as_init() -> Result<()> {
    // SAFETY: signal sets are initialised by sigfillset; they and the status outlive the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
        let child = check(libc::fork().into())? as libc::pid_t;
        if child == 0 {
            // A group of its own, which a terminal's keys reach.
            libc::setpgid(0, 0);
            libc::tcsetpgrp(0, libc::getpgrp());
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            return Ok(());
        }
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        loop {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigwaitinfo(&raw const all, &raw mut info);
            if signal > 0 && signal != libc::SIGCHLD {
                libc::kill(child, signal);
            }
            let mut status = 0;
            loop {
                let ended = libc::waitpid(-1, &raw mut status, libc::WNOHANG);
                if ended <= 0 {
                    break;
                }
                if ended == child && libc::WIFSIGNALED(status) {
                    exit_now(128 + libc::WTERMSIG(status));
                }
                if ended == child {
                    exit_now(libc::WEXITSTATUS(status));
                }
            }
        }
    }
}

/// Sends any signal number, real-time ones included.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: no siginfo is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    })
    .map(drop)
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets attributes of the mount `fd` refers to and, if `recursive`, of those below it.
pub(crate) fn mount_setattr(
    fd: BorrowedFd<'_>,
    set: MountAttrFlags,
    recursive: bool,
) -> Result<()> {
    let attributes = MountAttr {
        attr_set: u64::from(set.bits()),
        ..MountAttr::default()
    };
    change_mount(fd, &attributes, recursive)
}

/// Has the detached mount `fd` show its files' ids as those of the host that they are in the user
/// namespace `user`.
pub(crate) fn map_mount(fd: BorrowedFd<'_>, user: BorrowedFd<'_>) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attributes = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        userns_fd: user.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    change_mount(fd, &attributes, false)
}

/// Has what the calling process makes belong to these ids, without losing a capability by it.
pub(crate) fn own_as(uid: u32, gid: u32) -> Result<()> {
    const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: system calls on integers. The latter two return what was set before.
    unsafe {
        check(libc::prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0).into())?;
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        let refused =
            libc::setfsuid(u32::MAX) as u32 != uid || libc::setfsgid(u32::MAX) as u32 != gid;
        if refused { Err(Errno::PERM) } else { Ok(()) }
    }
}

/// Starts a child in new user and network namespaces that waits until it is killed.
pub(crate) fn fork_holder() -> Result<Child> {
    // SAFETY: the child makes system calls only.
    if let Some(child) = unsafe { fork(libc::CLONE_NEWUSER | libc::CLONE_NEWNET, None) }? {
        return Ok(child);
    }
    // SAFETY: system calls on integers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        loop {
            libc::pause();
        }
    }
}

/// Sets the propagation of the mount `fd` refers to and, if `recursive`, of those below it.
pub(crate) fn set_propagation(
    fd: BorrowedFd<'_>,
    propagation: MountPropagationFlags,
    recursive: bool,
) -> Result<()> {
    let attributes = MountAttr {
        propagation: u64::from(propagation.bits()),
        ..MountAttr::default()
    };
    change_mount(fd, &attributes, recursive)
}

fn change_mount(fd: BorrowedFd<'_>, attributes: &MountAttr, recursive: bool) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure outlives the call and its size is passed along.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// One instruction of a classic BPF program, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// Installs a system-call filter. Needs `CAP_SYS_ADMIN` or no-new-privileges.
pub(crate) fn install_filter(filter: &[Instruction]) -> Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has the layout of sock_filter, and the kernel only reads the array.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
    .map(drop)
}

/// Commands of `bpf(2)`, the type of programs for devices, and where these are attached.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of the groups around hold too.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a program that decides on devices. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or `CAP_SYS_ADMIN`.
pub(crate) fn load_device_program(program: &[[u8; 8]]) -> Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 3],
    }
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        rest: [0; 3],
    };
    // SAFETY: the structure is the beginning of `union bpf_attr` for this command; what it points
    // to outlives the call, and the kernel only reads it.
    let fd = check(unsafe {
        let size = size_of::<Load>();
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size)
    })?;
    // SAFETY: the kernel returned a descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Has a program decide on the devices of a control group of version 2, beside those of the
/// groups around it.
pub(crate) fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let attach: [u32; 4] = [
        group.as_raw_fd() as u32,
        program.as_raw_fd() as u32,
        BPF_CGROUP_DEVICE,
        BPF_F_ALLOW_MULTI,
    ];
    // SAFETY: the beginning of `union bpf_attr` for this command: integers alone.
    check(unsafe {
        let size = size_of_val(&attach);
        libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size)
    })
    .map(drop)
}

/// Returns how many programs decide on the devices of a control group by being attached to it.
pub(crate) fn device_programs(group: BorrowedFd<'_>) -> Result<u32> {
    // Group, kind, flags of the question and the answer, the address of a list, its length.
    let mut query: [u32; 8] = [0; 8];
    query[0] = group.as_raw_fd() as u32;
    query[1] = BPF_CGROUP_DEVICE;
    // SAFETY: the beginning of `union bpf_attr` for this command; without a list the kernel writes
    // to the structure alone.
    check(unsafe {
        let size = size_of_val(&query);
        libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size)
    })?;
    Ok(query[6])
}

/// Drops a capability by number from the bounding set.
pub(crate) fn drop_bounding(capability: u8) -> Result<()> {
    // SAFETY: PR_CAPBSET_DROP takes an integer.
    let result = unsafe {
        libc::prctl(
            libc::PR_CAPBSET_DROP,
            libc::c_ulong::from(capability),
            0,
            0,
            0,
        )
    };
    check(result.into()).map(drop)
}

/// Sets a limit by the kernel's number of the resource.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    // The kernel's `rlimit64`. C libraries differ in the type of their `setrlimit`'s first argument.
    let limit = [soft, hard];
    let (own, old) = (0, std::ptr::null_mut::<[u64; 2]>());
    // SAFETY: the array outlives the call, and no old limits are asked for.
    let result = unsafe { libc::syscall(libc::SYS_prlimit64, own, resource, limit.as_ptr(), old) };
    check(result).map(drop)
}

/// Brings an interface up, through any socket of the network namespace.
pub(crate) fn interface_up(socket: impl AsFd, name: &CStr) -> Result<()> {
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes_with_nul()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the request outlives the call; the kernel reads an ifreq for this number.
    check(
        unsafe {
            libc::ioctl(
                socket,
                libc::SIOCSIFFLAGS as libc::Ioctl,
                &raw const request,
            )
        }
        .into(),
    )
    .map(drop)
}
