//! Becoming root of a user namespace, so that everything else works without privileges.

mod shared;

pub use shared::Shared;

use shared::Place;

use crate::channel;
use crate::sys;
use rustix::thread::UnshareFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What [`enter`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// The process is root already; nothing was done.
    AlreadyRoot,
    /// Root of a new user namespace with a range of subordinate ids.
    Subordinate {
        /// How many ids are mapped, root included.
        ids: u32,
    },
    /// Root of a new user namespace that maps only the caller: files of other owners cannot
    /// be represented.
    Single,
}

impl Entered {
    /// Tells whether the process lives in a user namespace of its own making, so that overlays
    /// need `userxattr`.
    pub fn is_rootless(self) -> bool {
        self != Self::AlreadyRoot
    }
}

/// Why the process cannot become root of a user namespace.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel forbids unprivileged user namespaces.
    #[error("unprivileged user namespaces are disabled: set {setting}={wanted} (it is {actual})")]
    Disabled {
        /// The sysctl that forbids it.
        setting: &'static str,
        /// The value that allows it.
        wanted: &'static str,
        /// The value it has.
        actual: String,
    },
    /// The process has threads already; a user namespace can be entered only without.
    #[error("a user namespace can only be entered before the process starts threads")]
    Threads,
    /// `newuidmap` or `newgidmap` refused the mapping.
    #[error("{program} failed: {stderr}")]
    Mapping {
        /// The program.
        program: &'static str,
        /// What it said.
        stderr: String,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Becomes root of a user namespace and a new mount namespace unless the process is root already.
///
/// The user namespace is the one that `shared` holds, if it does; otherwise it is a new one that
/// `shared` holds from then on. Subordinate ids of `/etc/subuid` and `/etc/subgid` are mapped in a
/// new one when there are any and `newuidmap` is installed. Must be called before the process
/// starts threads and before [`crate::Runner::start`].
pub fn enter(shared: &Shared) -> Result<Entered, RootlessError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Entered::AlreadyRoot);
    }
    if thread_count() != Some(1) {
        return Err(RootlessError::Threads);
    }
    preflight()?;
    match shared.enter() {
        Ok(Place::Entered) => {
            sys::unshare(UnshareFlags::NEWNS)
                .map_err(|errno| system("make a mount namespace")(errno.into()))?;
            Ok(entered(
                &std::fs::read_to_string(UID_MAP).unwrap_or_default(),
            ))
        }
        Ok(Place::Vacant(making)) => {
            let entered = enter_new()?;
            making.start().map_err(system("start a process"))?;
            Ok(entered)
        }
        // What needs a namespace in common says so; a directory that is another user's does, too.
        Err(_) => enter_new(),
    }
}

const UID_MAP: &str = "/proc/self/uid_map";

/// Returns what a map of user ids tells of the namespace that has it.
fn entered(map: &str) -> Entered {
    let counts = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    match counts.filter_map(|count| count.parse::<u32>().ok()).sum() {
        0 | 1 => Entered::Single,
        ids => Entered::Subordinate { ids },
    }
}

/// Becomes root of a new user and mount namespace.
fn enter_new() -> Result<Entered, RootlessError> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let Some(maps) = subordinate_maps(uid, gid) else {
        enter_alone(uid, gid)?;
        return Ok(Entered::Single);
    };
    enter_with_helper(&maps)?;
    Ok(Entered::Subordinate { ids: maps.ids() })
}

fn system(action: &'static str) -> impl Fn(io::Error) -> RootlessError {
    move |source| RootlessError::System { action, source }
}

pub(crate) fn thread_count() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?
        .trim()
        .parse()
        .ok()
}

/// Settings that forbid user namespaces: path, name, the value that forbids, one that allows.
const SETTINGS: &[(&str, &str, &str, &str)] = &[
    (
        "kernel/unprivileged_userns_clone",
        "kernel.unprivileged_userns_clone",
        "0",
        "1",
    ),
    (
        "user/max_user_namespaces",
        "user.max_user_namespaces",
        "0",
        "15000",
    ),
];

/// AppArmor lets the namespace be made and then refuses everything in it.
const APPARMOR: (&str, &str, &str, &str) = (
    "kernel/apparmor_restrict_unprivileged_userns",
    "kernel.apparmor_restrict_unprivileged_userns",
    "1",
    "0",
);

fn preflight() -> Result<(), RootlessError> {
    SETTINGS.iter().try_for_each(check_setting)
}

fn check_setting(
    (path, setting, forbids, wanted): &(&str, &'static str, &str, &'static str),
) -> Result<(), RootlessError> {
    let actual = std::fs::read_to_string(Path::new("/proc/sys").join(path)).unwrap_or_default();
    let actual = actual.trim().to_owned();
    if actual == *forbids {
        return Err(RootlessError::Disabled {
            setting,
            wanted,
            actual,
        });
    }
    Ok(())
}

/// Says why the kernel refused, as far as its settings tell.
fn refusal(errno: rustix::io::Errno) -> RootlessError {
    let error = system("enter a user namespace")(errno.into());
    check_setting(&APPARMOR).err().unwrap_or(error)
}

fn unshare() -> Result<(), RootlessError> {
    crate::sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(refusal)
}

/// Maps the caller alone; without privileges no more than that is allowed.
fn enter_alone(uid: u32, gid: u32) -> Result<(), RootlessError> {
    unshare()?;
    let write = |file: &str, line: String| {
        std::fs::write(Path::new("/proc/self").join(file), line).map_err(|error| {
            check_setting(&APPARMOR)
                .err()
                .unwrap_or_else(|| system("map the user's own id")(error))
        })
    };
    // Who could drop groups could gain what those groups are denied.
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("0 {gid} 1"))?;
    write("uid_map", format!("0 {uid} 1"))
}

/// A range of ids: first inside, first outside, count.
type Range = (u32, u32, u32);

#[derive(Debug, PartialEq, Eq)]
struct Maps {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl Maps {
    fn ids(&self) -> u32 {
        self.uids.iter().map(|(_, _, count)| count).sum()
    }
}

fn subordinate_maps(uid: u32, gid: u32) -> Option<Maps> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let name = user_name(&read("/etc/passwd"), uid);
    let uids = ranges(&read("/etc/subuid"), name.as_deref(), uid, uid);
    let gids = ranges(&read("/etc/subgid"), name.as_deref(), uid, gid);
    let installed = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_else(|| crate::DEFAULT_PATH.into());
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    let usable = uids.len() > 1 && gids.len() > 1 && installed(UIDMAP) && installed(GIDMAP);
    usable.then_some(Maps { uids, gids })
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').next().map(str::to_owned)
}

/// Returns the caller's own id as 0 and the ranges that `database` grants it after that.
fn ranges(database: &str, name: Option<&str>, uid: u32, own: u32) -> Vec<Range> {
    let uid = uid.to_string();
    let mut ranges = vec![(0, own, 1)];
    let mut next: u32 = 1;
    for line in database.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [owner, start, count] = fields[..] else {
            continue;
        };
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else {
            continue;
        };
        let Some(end) = next.checked_add(count) else {
            continue;
        };
        if count > 0 && (Some(owner) == name || owner == uid) {
            ranges.push((next, start, count));
            next = end;
        }
    }
    ranges
}

const UIDMAP: &str = "newuidmap";
const GIDMAP: &str = "newgidmap";

/// The set-user-ID programs work only outside of the new namespace, on a process that is in it:
/// a helper stays behind to run them.
fn enter_with_helper(maps: &Maps) -> Result<(), RootlessError> {
    let (ours, theirs) = channel::pair().map_err(system("make a socket"))?;
    let target = std::process::id();
    let helper = sys::fork_helper(|| help(&theirs, target, maps))
        .map_err(|errno| system("start a helper process")(errno.into()))?;
    drop(theirs);
    unshare()?;
    let talk = system("talk to the helper process");
    channel::send(&ours, &true, &[]).map_err(&talk)?;
    let answer = channel::receive(&ours).map_err(&talk)?;
    let _ = rustix::process::waitid(
        rustix::process::WaitId::PidFd(helper.pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    let gone = || talk(io::ErrorKind::ConnectionAborted.into());
    match channel::decode(&answer.ok_or_else(gone)?.bytes).map_err(&talk)? {
        Answer::Mapped => Ok(()),
        Answer::Refused { uids, stderr } => {
            let program = if uids { UIDMAP } else { GIDMAP };
            Err(RootlessError::Mapping { program, stderr })
        }
    }
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Answer {
    Mapped,
    Refused { uids: bool, stderr: String },
}

fn help(socket: &OwnedFd, target: u32, maps: &Maps) {
    let Ok(Some(_)) = channel::receive(socket) else {
        return;
    };
    let map = |program: &str, ranges: &[Range]| -> Result<(), String> {
        let numbers = ranges
            .iter()
            .flat_map(|(inside, outside, count)| [inside, outside, count]);
        let mut command = std::process::Command::new(program);
        command
            .arg(target.to_string())
            .args(numbers.map(u32::to_string));
        let output = command.output().map_err(|error| error.to_string())?;
        let stderr = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() {
            Ok(())
        } else {
            Err(stderr())
        }
    };
    let refused = |uids| move |stderr| Answer::Refused { uids, stderr };
    let result = map(UIDMAP, &maps.uids)
        .map_err(refused(true))
        .and_then(|()| map(GIDMAP, &maps.gids).map_err(refused(false)));
    let answer = result.err().unwrap_or(Answer::Mapped);
    let _ = channel::send(socket, &answer, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_user_follow_its_own_id() {
        let database =
            "other:100000:65536\nme:165536:65536\n# x\n1000:300000:10\nme:0:0\nbad:x:1\n";
        assert_eq!(
            ranges(database, Some("me"), 1000, 1000),
            [(0, 1000, 1), (1, 165_536, 65_536), (65_537, 300_000, 10)]
        );
        assert_eq!(ranges(database, None, 5, 7), [(0, 7, 1)]);
    }

    #[test]
    fn a_map_of_ids_tells_how_many_there_are() {
        assert_eq!(
            entered("         0       1000          1\n"),
            Entered::Single
        );
        assert_eq!(
            entered("0 1000 1\n1 165536 65536\n"),
            Entered::Subordinate { ids: 65537 }
        );
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("me"));
        assert_eq!(user_name(passwd, 7), None);
    }
}
