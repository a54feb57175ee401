//! Joining a cgroup. Done once by the worker, whose children inherit it: moving each process
//! would cost more than all of its namespaces.

use std::io;
use std::path::Path;

/// Moves this process into the cgroup at `directory`.
pub(crate) fn join(directory: &Path) -> io::Result<()> {
    // 0 is the writer itself, whatever its number in which PID namespace.
    std::fs::write(directory.join("cgroup.procs"), "0")
}
