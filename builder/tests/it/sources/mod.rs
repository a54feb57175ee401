//! Every source of files that a build can have besides a directory: repositories, downloads,
//! archives, agents' keys.

mod archive;
mod git;
mod http;
mod ssh;
mod sshd;

use crate::support::Cooper;
use crate::support::process::{self, Outcome};
use crate::support::tree::{self, Tree};

/// Copies the whole context.
const ALL: &str = "FROM scratch\nCOPY . /\n";

/// Runs `cooper build ARGS` with `input` on its standard input.
#[track_caller]
fn build(cooper: &Cooper, args: &[&str], input: &[u8]) -> Outcome {
    let mut command = cooper.command();
    command
        .args(["build", "--progress=plain", &cooper.busybox_context()])
        .args(args);
    process::start(command, input).finish()
}

/// Builds and returns the files of the result.
#[track_caller]
fn files(cooper: &Cooper, args: &[&str], input: &[u8]) -> Tree {
    let file = cooper.scratch("tree.tar");
    let output = format!("-otype=tar,dest={}", file.display());
    let mut all = vec![output.as_str()];
    all.extend(args);
    build(cooper, &all, input).ok();
    tree::read_tar(&file)
}

/// Returns the lines of a tree, sorted by path.
fn lines(tree: &Tree) -> Vec<&str> {
    tree.values().map(String::as_str).collect()
}
