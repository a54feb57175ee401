//! Keys in steps: `RUN --mount=type=ssh` with real agents.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::process::{self, Outcome};
use crate::support::{Context, Cooper, need};

/// A real agent with one key, and two more keys in files.
pub(super) struct Keys {
    pub(super) cooper: Cooper,
    agent: Child,
    pub(super) socket: PathBuf,
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// Needs OpenSSH's client programs.
pub(super) fn keys() -> Option<Keys> {
    for program in ["ssh-agent", "ssh-add", "ssh-keygen"] {
        need::tool(program)?;
    }
    let cooper = Cooper::new()?;
    let dir = cooper.scratch("keys");
    std::fs::create_dir(&dir).expect("mkdir");
    for name in ["agents", "one", "two"] {
        let path = dir.join(name).display().to_string();
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path];
        process::tool("ssh-keygen", &args);
    }
    // A key with a passphrase, and one that others could read.
    let locked = dir.join("locked").display().to_string();
    let args = ["-q", "-t", "ed25519", "-N", "secret", "-f", &locked];
    process::tool("ssh-keygen", &args);
    process::tool("chmod", &["644", &dir.join("two").display().to_string()]);
    let socket = PathBuf::from("agent.sock");
    let agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .current_dir(&dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("ssh-agent");
    let socket = dir.join(socket);
    let keys = Keys {
        cooper,
        agent,
        socket,
    };
    let begun = Instant::now();
    while UnixStream::connect(&keys.socket).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no agent");
        std::thread::sleep(Duration::from_millis(5));
    }
    keys.ssh_add(&[&dir.join("agents").display().to_string()]);
    Some(keys)
}

impl Keys {
    pub(super) fn path(&self, name: &str) -> String {
        self.cooper.scratch("keys").join(name).display().to_string()
    }

    /// Runs ssh-add with the real agent.
    fn ssh_add(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("ssh-add");
        command.args(args).env("SSH_AUTH_SOCK", &self.socket);
        process::run(command)
    }

    /// Builds with the agent in the environment.
    fn build(&self, context: &Context, args: &[&str]) -> Outcome {
        let mut all = vec!["--progress=plain", "-otype=cacheonly"];
        all.extend(args);
        let mut command = self.cooper.build_command(context.path(), &all);
        command.env("SSH_AUTH_SOCK", &self.socket);
        process::run(command)
    }
}

/// A context with the host's own ssh-add and the libraries that it needs, on busybox.
fn client(steps: &str) -> Context {
    let context = Context::new(&format!("FROM busybox\nCOPY root /\n{steps}"));
    context.sh(
        "mkdir root; program=$(command -v ssh-add); mkdir -p root/bin; cp \"$program\" root/bin/ssh-add
         for file in $(ldd \"$program\" | grep -o '/[^ ]*'); do
             mkdir -p \"root$(dirname \"$file\")\"; cp -L \"$file\" \"root$file\"
         done",
    );
    context
}

#[test]
fn steps_see_the_keys_that_they_are_given() {
    let Some(keys) = keys() else { return };
    let context = client(
        "ARG N\nRUN --mount=type=ssh ssh-add -L\nRUN --mount=type=ssh,id=more,required ssh-add -L\n",
    );
    let socket = format!("--ssh=default={}", keys.socket.display());
    let files = format!("--ssh=more={},{}", keys.path("one"), keys.path("two"));
    let file = format!("--ssh=default={}", keys.path("one"));
    for (given, names) in [
        ("--ssh=default", ["agents", "one", "two"].as_slice()),
        (&socket, &["agents", "one", "two"]),
        (&file, &["one", "one", "two"]),
    ] {
        let outcome = keys.build(&context, &["--no-cache", given, &files]).ok();
        let seen: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("ssh-ed25519"))
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        assert_eq!(seen, names, "{outcome}");
    }
}

#[test]
fn keys_can_be_used_but_not_changed() {
    let Some(keys) = keys() else { return };
    let context = client(
        "RUN --mount=type=ssh ssh-add -L >/before; ! ssh-add -D; ! ssh-add -X </dev/null; ssh-add -L | cmp - /before\n",
    );
    keys.build(&context, &["--ssh=default"]).ok();
    let left = keys.ssh_add(&["-L"]).ok();
    assert!(left.out().ends_with(" agents\n"), "{left}");
}

#[test]
fn the_socket_is_the_steps_own_and_leaves_nothing() {
    let Some(keys) = keys() else { return };
    let context = Context::new(
        "FROM busybox\nRUN --mount=type=ssh,uid=5,gid=6,mode=640,target=/a/sock stat -c 'socket %a %u:%g %F' /a/sock; echo $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh --mount=type=ssh,id=b echo $SSH_AUTH_SOCK; ls /run/buildkit\n\
         RUN test ! -e /a -a ! -e /run/buildkit -a -z \"$SSH_AUTH_SOCK\"\n",
    );
    let second = format!("--ssh=b={}", keys.path("one"));
    let outcome = keys.build(&context, &["--ssh=default", &second]).ok();
    let outcome = outcome
        .says("socket 640 5:6 socket")
        .says(" /a/sock\n")
        .says(" /run/buildkit/ssh_agent.0\n")
        .says(" ssh_agent.1\n");
    assert!(outcome.stderr.contains("ssh_agent.0\n"), "{outcome}");
    // Which keys there are is no part of what a step is known by.
    let other = format!("--ssh=default={}", keys.path("two"));
    let again = keys.build(&context, &[&other]).ok();
    assert_eq!(again.stderr.matches("CACHED").count(), 3, "{again}");
}

#[test]
fn a_step_without_its_agent_runs_unless_it_requires_one() {
    let Some(keys) = keys() else { return };
    let optional = Context::new("FROM busybox\nRUN --mount=type=ssh test ! -e $SSH_AUTH_SOCK\n");
    keys.build(&optional, &[]).ok();
    let required = Context::new("FROM busybox\nRUN --mount=type=ssh,id=deploy,required true\n");
    keys.build(&required, &["--ssh=default"])
        .exits(1)
        .says("ssh agent deploy was not given")
        .says("pass it with --ssh deploy");
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let Some(keys) = keys() else { return };
    let context = Context::new("FROM busybox\n");
    let nonsense = keys.cooper.scratch("nonsense");
    std::fs::write(&nonsense, "no key\n").expect("write");
    for path in [&*keys.path("locked"), &nonsense.display().to_string()] {
        let given = format!("--ssh=default={path}");
        keys.build(&context, &[&given])
            .exits(1)
            .says("is not a key that can be used")
            .says("ssh-add FILE");
    }
    assert!(Path::new(&keys.socket).exists());
}
