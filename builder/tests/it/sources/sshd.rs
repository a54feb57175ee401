//! Repositories behind a real ssh server on the loopback.

use std::path::PathBuf;
use std::process::Command;

use super::ssh::{Keys, keys};
use crate::support::need;
use crate::support::peers::{Server, free_port};
use crate::support::process::{self, Outcome};
use crate::support::repository::Repositories;

const SSHD: &str = "/usr/sbin/sshd";

/// Starts a server that lets the agent's key in, with a host key of that name, on `port` or any
/// that is free.
fn serve(keys: &Keys, host_key: &str, port: Option<u16>) -> Server {
    let key = keys.path(host_key);
    process::tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    let port = port.unwrap_or_else(free_port);
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {key}\nAuthorizedKeysFile {}\n\
         StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\n",
        keys.path("agents.pub")
    );
    let file = keys.path(&format!("{host_key}.conf"));
    std::fs::write(&file, config).expect("write");
    if need::is_root() {
        // Where the server's unprivileged half is shut in; empty, and made at each start.
        std::fs::create_dir_all("/run/sshd").expect("mkdir");
    }
    let mut command = Command::new(SSHD);
    Server::start(command.args(["-D", "-q", "-f", &file]), port)
}

/// Needs an ssh server and its clients.
fn world() -> Option<(Keys, Repositories)> {
    if !PathBuf::from(SSHD).is_file() {
        return need::skip("sshd is not installed");
    }
    let keys = keys()?;
    let repositories = Repositories::new()?;
    repositories.make(
        "r",
        "printf 'FROM scratch\\nCOPY a /\\n' >Dockerfile; echo one >a; commit one
         git checkout -q -b next; echo two >a; commit two; git checkout -q main",
    );
    Some((keys, repositories))
}

/// Builds `context` with the agent, and returns what the file in it says.
fn build(keys: &Keys, context: &str) -> (Outcome, String) {
    let dest = keys.cooper.scratch("out");
    let output = format!("-otype=local,mode=delete,dest={}", dest.display());
    let mut command = keys.cooper.command();
    command.env("SSH_AUTH_SOCK", &keys.socket);
    command.args(["build", "--progress=plain", &output, context]);
    let outcome = process::run(command);
    let text = std::fs::read_to_string(dest.join("a")).unwrap_or_default();
    (outcome, text)
}

#[test]
fn a_context_comes_from_a_real_server() {
    let Some((keys, repositories)) = world() else {
        return;
    };
    let user = process::tool("id", &["-un"]).out();
    let user = user.trim();
    let server = serve(&keys, "host", None);
    let (port, path) = (server.port, repositories.join("r"));
    let url = format!("ssh://{user}@127.0.0.1:{port}{}", path.display());
    let (outcome, text) = build(&keys, &format!("{url}#main"));
    outcome.ok();
    assert_eq!(text, "one\n");
    let (outcome, text) = build(&keys, &format!("{url}#next"));
    outcome.ok();
    assert_eq!(text, "two\n");

    let (outcome, _) = build(&keys, &format!("{url}-none"));
    outcome
        .exits(1)
        .says("does not appear to be a git repository");

    // The same address with another key may be somebody else.
    drop(server);
    let server = serve(&keys, "other", Some(port));
    let (outcome, _) = build(&keys, &format!("{url}#main"));
    outcome
        .exits(1)
        .says("the server's key is not the one in known_hosts");
    drop(server);

    let (outcome, _) = build(&keys, &format!("{url}#main"));
    outcome.exits(1).says("Connection refused");
}
